"""RESP2, taken apart however it was cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.ratelimit.wire import CutShort, Refusal, packed, unpacked, word

BULKS = st.binary(max_size=20)
REPLIES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | BULKS,
    lambda items: st.lists(items, max_size=4),
    max_leaves=8,
)


def as_sent(reply: Any) -> bytes:
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(as_sent, reply))
    if isinstance(reply, bytes):
        return word(reply)
    return b"$-1\r\n" if reply is None else b":%d\r\n" % reply


@given(st.lists(REPLIES, min_size=1, max_size=4))
def test_replies_that_follow_each_other_are_told_apart(replies: list[Any]) -> None:
    data, at, found = b"".join(map(as_sent, replies)), 0, []

    while at < len(data):
        reply, at = unpacked(data, at)
        found.append(reply)

    assert found == replies


@given(REPLIES, st.data())
def test_half_a_reply_is_waited_for(reply: Any, data: st.DataObject) -> None:
    sent = as_sent(reply)
    cut = data.draw(st.integers(0, len(sent) - 1))

    with pytest.raises(CutShort):
        unpacked(sent[:cut], 0)


@pytest.mark.parametrize(
    ("sent", "reply"),
    [(b"+OK\r\n", b"OK"), (b"*-1\r\n", None), (b"_\r\n", None), (b"*0\r\n", []), (b"$0\r\n\r\n", b"")],
)
def test_every_other_form_is_known(sent: bytes, reply: Any) -> None:
    assert unpacked(sent, 0) == (reply, len(sent))


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OOM"),
        (b"-CROSSSLOT Keys in request don't hash to the same slot\r\n", "CROSSSLOT"),
        (b"-ERR\r\n", "ERR"),
    ],
)
def test_an_error_is_a_refusal_that_tells_its_code_alone(sent: bytes, code: str) -> None:
    refusal, _ = unpacked(sent, 0)

    assert isinstance(refusal, Refusal)
    assert (refusal.code, str(refusal)) == (code, code)


@pytest.mark.parametrize("sent", [b"HTTP/1.1 400 Bad Request\r\n", b":one\r\n", b"\r\n", b"*x\r\n"])
def test_what_is_no_reply_is_an_error(sent: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a reply|invalid literal|one argument"):
        unpacked(sent, 0)


def test_a_command_is_its_words_with_their_lengths() -> None:
    assert packed("SET", "é", 5, "") == b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$1\r\n5\r\n$0\r\n\r\n"
