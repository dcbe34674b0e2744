"""What an endpoint's status does to the webhook."""

from __future__ import annotations

import pytest

from sipup_middleware.jobs.catalog.webhook_answer import judge
from sipup_middleware.jobs.running import Discard, Retry

NOW = 1_445_412_450.0
"""Half a minute before Wed, 21 Oct 2015 07:28:00 GMT."""


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_success(status: int) -> None:
    judge(status, None, now=NOW)


@pytest.mark.parametrize("status", [101, 300, 301, 302, 304, 307, 308, 400, 401, 404, 405, 410, 413, 422])
def test_what_the_next_attempt_would_get_too_is_final(status: int) -> None:
    with pytest.raises(Discard):
        judge(status, "1", now=NOW)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with pytest.raises(Retry) as raised:
        judge(status, None, now=NOW)

    assert raised.value.after is None


@pytest.mark.parametrize(
    ("said", "after"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("9999999999", 3600.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 30.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 3600.0),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(
    status: int, said: str, after: float | None
) -> None:
    with pytest.raises(Retry) as raised:
        judge(status, said, now=NOW)

    assert raised.value.after == after


def test_others_are_not_asked_when() -> None:
    with pytest.raises(Retry) as raised:
        judge(502, "120", now=NOW)

    assert raised.value.after is None
