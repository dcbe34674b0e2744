from __future__ import annotations

import pytest

from sipup_middleware.database import dirt
from sipup_middleware.database.dirt import traits_of


@pytest.mark.parametrize(
    "sql",
    [
        "SET work_mem = '1MB'",
        "set session role other",
        "/* c */ SET x.y = 1",
        "-- c\nRESET ALL",
        "LISTEN jobs",
        "UNLISTEN *",
        "LOCK TABLE t",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "PREPARE q AS SELECT 1",
        "DECLARE c CURSOR FOR SELECT 1",
        "BEGIN",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT set_config('a.b', 'c', false)",
        "SELECT '--', set_config('a.b', 'c', false)",
        "SELECT/**/set_config/**/('a.b', 'c', false)",
        "CREATE TEMP TABLE t (i int)",
        "CREATE /**/ TEMPORARY VIEW v AS SELECT 1",
        "SELECT 1 INTO TEMP t",
        "CREATE TABLE pg_temp.t (i int)",
        "SELECT 1; SELECT 2",
        "",
        "WHATEVER comes next",
    ],
)
def test_what_may_leave_state_is_dirty(sql: str) -> None:
    assert traits_of(sql).dirties


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM settings",
        "SELECT 1;",
        "UPDATE t SET i = 1",
        "INSERT INTO t VALUES (1)",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "SET LOCAL work_mem = '1MB'",
        "SELECT pg_advisory_xact_lock(1)",
        "CREATE TABLE t (temp int)",
        "SELECT temp FROM weather",
    ],
)
def test_what_leaves_nothing_costs_no_reset(sql: str) -> None:
    assert not traits_of(sql).dirties


@pytest.mark.parametrize(
    ("sql", "spoils"),
    [("PREPARE q AS SELECT 1", True), ("SELECT 1; PREPARE q AS SELECT 1", True), ("SET a = 1", False)],
)
def test_what_no_reset_undoes_costs_the_connection(sql: str, *, spoils: bool) -> None:
    assert traits_of(sql).spoils is spoils


@pytest.mark.parametrize(
    ("sql", "reads", "repeatable"),
    [
        ("SELECT a, count(*) FROM t WHERE b IN (1, 2) GROUP BY a", True, True),
        ("(SELECT 1)", True, True),
        ("SHOW work_mem", True, True),
        ("VALUES (1)", True, True),
        ("SELECT * FROM t FOR UPDATE", True, True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", True, False),
        ("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", False, False),
        ("SELECT nextval('s')", False, False),
        ("SELECT place_order(1)", False, False),
        ('SELECT "place order"(1)', False, False),
        ("SELECT 1; DELETE FROM t", False, False),
        ("SELECT * INTO u FROM t", False, False),
        ("INSERT INTO t VALUES (1)", False, False),
        ("EXPLAIN ANALYZE DELETE FROM t", False, False),
    ],
)
def test_only_what_is_known_to_read_counts_as_a_read(sql: str, *, reads: bool, repeatable: bool) -> None:
    assert (traits_of(sql).reads, traits_of(sql).repeatable) == (reads, repeatable)


def test_texts_are_remembered_up_to_a_bound() -> None:
    for number in range(3 * dirt._KEPT):
        traits_of(f"SELECT {number}")

    assert len(dirt._known) <= dirt._KEPT
