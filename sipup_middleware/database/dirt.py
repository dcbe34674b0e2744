"""What a SQL text may leave behind in its session, and whether it may run twice; each is read once.

What is not known to be harmless counts as the worse: it costs a reset, or an `OutcomeUnknown`, never a leak.
What a function does inside is invisible here: ``Database(always_reset=True)`` is for those who hide SET.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ("Traits", "traits_of")

_KEPT = 2_000
"""Texts remembered; an app that builds more of them by hand starts over."""

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_FIRST = re.compile(r"[\s(]*([a-z]+)(?:\s+([a-z]+))?", re.IGNORECASE)
_CALLED = re.compile(r"\b([a-z_][\w.]*)\s*\(")
_ROW_LOCK = re.compile(r"\bfor\s+(?:no\s+key\s+)?update\b")
_CHANGES = re.compile(r"\b(?:insert|update|delete|merge|into|nextval|setval|pg_notify)\b|\"\s*\(")
_LEAVES = re.compile(
    r"\b(?:create|replace|into|local|global)\s+temp(?:orary)?\b|\bpg_temp|\bset_config\b"
    r"|\bpg_(?:try_)?advisory_(?:un)?lock|\blo_open\b|\bdblink_connect",
    re.IGNORECASE,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READING = _words("select show table values with")
_CLEAN = _READING | _words(
    """
    alter analyze cluster comment copy create delete drop explain grant insert merge notify refresh reindex
    revoke truncate update vacuum
    """
)
_PASSING = _words("constraints local transaction")
"""``SET`` of these ends with the transaction."""

_SPOILING = _words("deallocate discard load prepare")

_HARMLESS = _words(
    """
    all and any as asc by case cast desc distinct else exists filter from group having in is join lateral
    like limit not offset on or order over partition row select some then union using values when where
    with within

    abs age array_agg array_length array_position avg bool_and bool_or btrim cardinality ceil ceiling
    char_length coalesce concat concat_ws count cume_dist current_setting date date_part date_trunc
    decimal decode dense_rank encode exp extract first_value floor format gen_random_uuid generate_series
    greatest initcap json_agg json_build_object jsonb_agg jsonb_array_elements jsonb_array_length
    jsonb_build_object jsonb_each jsonb_object_agg lag last_value lead least left length ln lower lpad
    ltrim make_date make_interval max md5 min mod now nullif numeric ntile percent_rank percentile_cont
    pg_backend_pid pg_sleep position power random rank regexp_match regexp_replace repeat replace reverse
    right round row_number row_to_json rpad rtrim similarity split_part sqrt starts_with string_agg
    string_to_array strpos substr substring sum to_char to_date to_json to_jsonb to_number to_timestamp
    to_tsquery to_tsvector trim trunc ts_rank unnest upper varchar
    """
)
"""Keywords that may stand before a parenthesis, and functions that only compute."""


class Traits(NamedTuple):
    """What is known of a statement before it runs."""

    dirties: bool
    """It may leave state in the session that the next borrower must not see."""

    spoils: bool
    """... that a reset does not undo without breaking the driver's own statements."""

    reads: bool
    """It changes no data: it calls no function but those known to compute only."""

    repeatable: bool
    """It reads, plainly: it may run once more on another connection."""


_known: dict[str, Traits] = {}


def traits_of(sql: str) -> Traits:
    """Return the traits of *sql*; a dict's lookup from the second time on."""
    found = _known.get(sql)
    if found is None:
        if len(_known) >= _KEPT:
            _known.clear()
        found = _known[sql] = _read(sql)
    return found


def _read(sql: str) -> Traits:
    bare = _COMMENT.sub(" ", sql)
    first = _FIRST.match(bare)
    word, second = ((first[1] or "").lower(), (first[2] or "").lower()) if first else ("", "")
    several = ";" in sql.rstrip("; \t\r\n")
    clean = word in _CLEAN or (word == "set" and second in _PASSING)
    # A comment's mark may stand in a literal, so both texts are searched.
    dirties = several or not clean or bool(_LEAVES.search(sql) or _LEAVES.search(bare))
    text = _ROW_LOCK.sub(" ", sql.lower())
    reads = (
        word in _READING
        and not several
        and not _CHANGES.search(text)
        and _HARMLESS.issuperset(_CALLED.findall(text))
    )
    spoils = word in _SPOILING or (several and not _SPOILING.isdisjoint(text.split()))
    return Traits(dirties, spoils, reads, repeatable=reads and not dirties and word != "with")
