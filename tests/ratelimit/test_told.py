from __future__ import annotations

from sipup_middleware.ratelimit.told import MAX_TOLD, Told


def test_what_lasts_is_news_once_until_it_is_over() -> None:
    told = Told()

    news = [told.is_new(("ip", "a", False), now=now, until=10) for now in (0, 1, 9)]
    again = told.is_new(("ip", "a", False), now=10, until=20)

    assert news == [True, False, False]
    assert again


def test_a_ban_is_other_news_than_a_refusal_and_so_is_another_client() -> None:
    told = Told()

    news = [
        told.is_new(what, now=0, until=10)
        for what in (("ip", "a", False), ("ip", "a", True), ("ip", "b", False), ("user", "a", False))
    ]

    assert news == [True] * 4


def test_a_flood_of_clients_fills_no_memory() -> None:
    told = Told()

    for number in range(3 * MAX_TOLD):
        assert told.is_new(("ip", str(number), False), now=0, until=10)

    assert len(told._until) <= MAX_TOLD
