"""A set's own rules over traces: what they drop, by which rule, and how many traces count."""

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

from distill import keeping

COLUMNS = pa.schema([("sample_index", pa.int32()), ("correct", pa.bool_()), ("words", pa.int32())])


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """One problem with five traces, and what was measured of it."""
    with duckdb.connect() as con:
        con.execute(
            """create table traced as from (values
                ('a', 'r0', 0, false, 10, 'x'), ('a', 'r1', 1, true, 90, 'y'), ('a', 'r2', 2, true, 10, 'z'),
                ('a', 'r3', 3, null, 10, null), ('a', 'r4', 4, true, null, null)
            ) as t(problem_id, rollout, sample_index, correct, words, text_digest)"""
        )
        con.execute("create table decisions as from (values ('a', 50, 7)) as t(id, prompt_words, words)")
        yield con


def dropped(con: duckdb.DuckDBPyConnection, rules: dict[str, str], enough: int | None = None) -> dict[str, str | None]:
    keeping.decide(con, rules, COLUMNS, enough, "decided")
    return dict(con.execute("select rollout, dropped_by from decided order by sample_index").fetchall())


def test_a_trace_stays_when_every_rule_is_true_and_unknown_is_not_true(con: duckdb.DuckDBPyConnection) -> None:
    assert dropped(con, {"right": "correct", "short": "words < 50"}) == {
        "r0": "right",
        "r1": "short",
        "r2": None,
        "r3": "right",
        "r4": "short",
    }


def test_a_rule_may_read_what_was_measured_of_the_problem(con: duckdb.DuckDBPyConnection) -> None:
    assert [*dropped(con, {"shorter_than_the_problem": "words < prompt_words"}).values()].count(None) == 3


def test_a_name_that_trace_and_problem_share_is_that_of_the_trace(con: duckdb.DuckDBPyConnection) -> None:
    assert dropped(con, {"nine": "words > 9"})["r0"] is None


def test_a_rule_that_cannot_be_computed_of_a_trace_is_unknown(con: duckdb.DuckDBPyConnection) -> None:
    assert dropped(con, {"odd": "(words || ' words')::int > 0"})["r0"] == "odd"
    assert con.execute("select distinct rule_odd from decided").fetchall() == [("unknown",)]


def test_traces_behind_those_that_are_enough_do_not_count(con: duckdb.DuckDBPyConnection) -> None:
    assert dropped(con, {"right": "correct"}, enough=1) == {
        "r0": "right",
        "r1": None,
        "r2": "enough",
        "r3": "enough",
        "r4": "enough",
    }


def test_of_traces_with_the_same_text_the_first_that_the_rules_keep_counts(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("update traced set text_digest = 'x' where rollout in ('r0', 'r1', 'r2')")
    fates = {"r0": "right", "r1": None, "r2": "same_text", "r3": "right", "r4": None}
    assert dropped(con, {"right": "correct"}) == fates
    assert dropped(con, {"right": "correct"}, enough=2) == fates  # a copy is not another one


def test_the_funnel_counts_a_trace_at_its_first_failing_rule(con: duckdb.DuckDBPyConnection) -> None:
    rules = {"right": "correct", "short": "words < 50"}
    keeping.decide(con, rules, COLUMNS, None, "decided")
    assert [tuple(one.values())[2:] for one in keeping.funnel(con, "decided", rules)] == [
        (5, 3, 1, 1),
        (3, 1, 1, 1),
        (1, 1, 0, 0),
    ]


def test_a_set_without_rules_keeps_all(con: duckdb.DuckDBPyConnection) -> None:
    assert {*dropped(con, {}).values()} == {None}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"right": "correct"}, True),
        ({"right": "correct is true"}, True),
        ({"right": "CORRECT and correct"}, True),
        ({"right": "correct is not false"}, False),  # what is not known passes
        ({"right": "correct is not null"}, False),
        ({"right": "correct or words < 5"}, False),
        ({"short": "words < 5"}, False),
        ({}, False),
    ],
)
def test_a_set_keeps_only_what_is_right_when_some_rule_says_so(
    con: duckdb.DuckDBPyConnection, rules: dict[str, str], expected: bool
) -> None:
    assert keeping.only_right(con, rules, COLUMNS) is expected


def test_own_rules_come_over_the_default_ones_by_name() -> None:
    rules = keeping.rules_of({"right": None, "fluent": "repetition < 0.5", "short": "drawn_tokens < 900"}, "seen_")
    assert "right" not in rules
    assert rules["fluent"] == "repetition < 0.5"
    assert rules["short"] == "drawn_tokens < 900"
    assert rules["clean"] == "not seen_contaminated and not trace_contaminated"
    assert "clean" not in keeping.rules_of({}, None)


def test_a_rule_over_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(keeping.RuleMistake, match="wordz") as mistake:
        keeping.check({"right": "correct", "short": "wordz < 5"}, COLUMNS)
    assert mistake.value.rule == "short"
