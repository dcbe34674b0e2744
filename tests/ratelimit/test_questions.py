"""Commands that are packed beforehand say what they would say if they were packed anew."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.ratelimit.policy import Rule
from sipup_middleware.ratelimit.questions import Decides, client_key, counter_key, digest, evaluating, spec
from sipup_middleware.ratelimit.scripts import DECIDE
from sipup_middleware.ratelimit.wire import word
from tests.ratelimit.doubles import rule

RULES = [
    rule((5, 60), index=0, name="a", who="ip"),
    rule((9, 3600), index=1, name="b", who="ip", strategy="gcra", burst=20),
    rule((7, 60), index=2, name="c", who="user", late=True),
    rule((7, 60), index=3, name="d", who="100%d", shadow=True),
]
ASKS = st.lists(st.tuples(st.sampled_from(RULES), st.sampled_from(["x", "y", "%b", "\udcff"])), min_size=1)


def anew(asks: Sequence[tuple[Rule, str]], terms: str | None) -> bytes:
    clients: list[str] = []
    specs: list[str] = []
    for each, name in asks:
        client = client_key(each.who, digest(name))
        if client not in clients:
            clients.append(client)
        specs.append(spec(each, 0 if terms is None else clients.index(client) + 1))
    keys = [counter_key(each, digest(name)) for each, name in asks] + ([] if terms is None else clients)
    return evaluating(DECIDE, keys, ["", len(asks), *specs, *([] if terms is None else [terms])])


@pytest.mark.parametrize("terms", [None, "5:60000:1000:2.0:3600000:86400000:1.0"])
@given(st.lists(ASKS, min_size=1, max_size=4))
def test_each_request_is_asked_about_in_its_own_words(
    terms: str | None, requests: list[list[tuple[Rule, str]]]
) -> None:
    decides = Decides(bans=terms is not None)
    swung = b"" if terms is None else word(terms.encode())

    for asks in requests * 2:
        assert decides.write(asks, word(b""), swung) == anew(asks, terms)


def test_what_is_kept_is_bounded_and_no_rule_is_taken_for_one_that_is_gone() -> None:
    decides = Decides(bans=False)

    for amount in range(1, 3000):
        asks = [(rule((amount, 60)), "x")]
        assert decides.write(asks, word(b""), b"") == anew(asks, None)

    assert len(decides._known) <= 1024
