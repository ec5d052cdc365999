"""Which sample is drawn next, and that every rule comes out as if all n had been drawn, whatever arrives when."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.duck import connect
from curation.outcomes import ASKED, CUT_OFF, ERROR, FAIL, MISSING, PASS, Outcomes, Prefix
from curation.problem import SCHEMA
from curation.rules import Decisions, Measured, Rule
from curation.rules import place as placed
from curation.settling import never

BAND = "FTTTTTTFF"
"""passes between 1 and 6, n = 8"""
CODES = {"P": PASS, "F": FAIL, "C": CUT_OFF, "E": ERROR, "?": ASKED, ".": MISSING}


def outcomes(*rows: str, pattern: str = BAND, cut_off_fails: bool = True) -> Outcomes:
    """Problems whose samples stand as written: P, F, C(ut off), E(rror), ? in flight, . missing."""
    made = Outcomes(len(rows[0]), pa.chunked_array([pa.array([pattern] * len(rows))]), cut_off_fails)
    made.codes[:] = bytes(CODES[code] for row in rows for code in row)
    made.begin()
    return made


def taken(made: Outcomes) -> list[int]:
    """Everything that is needed now, in order."""
    places = []
    while (next_one := made.take()) is not None:
        places.append(next_one)
    return places


# What counts


@pytest.mark.parametrize(
    ("row", "prefix"),
    [
        ("PFF.....", (3, 1, 2)),  # 1 to 6 of 8 pass, however the rest goes
        ("PFFPPPPP", (3, 1, 2)),  # what was drawn beyond does not count
        ("FFPFFFFF", (3, 1, 2)),
        ("PPPPPPP.", (7, 7, 0)),  # more than 6
        ("FFFFFFFF", (8, 0, 8)),
        ("PCC.....", (3, 1, 2)),
        ("PEFEF...", (5, 1, 2)),
        ("P.FFFFFF", (1, 1, 0)),  # not by arrival: sample 1 may be the long one
        ("P?FF....", (1, 1, 0)),
    ],
)
def test_the_shortest_run_of_indexes_that_settles_counts(row: str, prefix: tuple[int, int, int]) -> None:
    assert outcomes(row).prefix(0) == Prefix(*prefix)


def test_cut_off_samples_count_as_nothing_where_they_are_unknown() -> None:
    assert outcomes("PCCFF...", cut_off_fails=False).prefix(0) == Prefix(5, 1, 2)


# What is drawn


@pytest.mark.parametrize(
    ("row", "indexes"),
    [
        ("........", [0, 1, 2]),  # a pass and two fails are the fewest that settle
        ("F.......", [1, 2]),
        ("FF......", [2]),
        ("FFF.....", [3]),
        ("PPPPPP..", [6]),
        ("F?......", [2]),
        ("F??.....", []),  # if the two in flight are P and F it is settled
        ("P.FF....", [1]),
        ("PFF.....", []),
        ("EEEEEEE.", [7]),
    ],
)
def test_only_what_is_surely_needed_is_drawn(row: str, indexes: list[int]) -> None:
    assert taken(outcomes(row)) == indexes


def test_the_first_samples_of_all_problems_come_before_the_second_of_any() -> None:
    assert taken(outcomes(*["...."] * 3, pattern=never(4))) == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_what_becomes_needed_at_a_lower_index_comes_first() -> None:
    made = outcomes("....", "....", pattern=never(4))
    assert [made.take() for _ in range(4)] == [0, 4, 1, 5]
    made.codes[0] = MISSING  # the server failed at it
    assert [made.take() for _ in range(3)] == [0, 6, 2]


def test_nothing_is_drawn_of_a_closed_problem() -> None:
    made = outcomes("........", "........")
    made.close(0)
    assert taken(made) == [8, 9, 10]


def test_an_idle_slot_draws_what_is_likeliest_to_be_needed() -> None:
    hopeless, easy = "FFFFFF?.", "PPPPPP?."
    made = outcomes(easy, hopeless)
    assert taken(made) == []
    assert made.guess([0, 1]) == 15  # the seventh sample likely settles the easy one and not the hopeless one
    assert made.guess([0, 1]) is None


def test_a_rule_that_nothing_changes_needs_no_sample() -> None:
    made = outcomes("....", pattern="TTTTT")
    assert (taken(made), made.prefix(0)) == ([], Prefix(0, 0, 0))


# The whole of it

N = 6
FORM = Measured("form", pa.schema([("words", pa.int64()), ("kind", pa.string())]))
RATE = Measured(
    "pass_rate",
    pa.schema([("passes", pa.int64()), ("fails", pa.int64()), ("pass_rate", pa.float64()), ("used", pa.int64())]),
    samples=N,
)
counts = st.integers(0, N)
atoms = st.one_of(
    st.builds("passes between {} and {}".format, counts, counts),
    st.builds("fails >= {}".format, counts),
    st.builds("passes = {}".format, counts),
    st.builds("pass_rate > {}".format, st.sampled_from(["0.2", "0.5", "0.75"])),
    st.builds("passes > words - {}".format, counts),
    st.builds("case when kind = 'a' then passes > {} else fails < {} end".format, counts, counts),
    st.builds("nullif(passes, {}) > 1".format, counts),
    st.sampled_from(["words > 2", "kind is null", "kind = 'a'", "kind::int > passes"]),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({}) and ({})".format, inner, inner),
        st.builds("({}) or ({})".format, inner, inner),
        st.builds("not ({})".format, inner),
        st.builds("coalesce({}, false)".format, inner),
    ),
    max_leaves=4,
)
problems = st.tuples(
    st.text("PFCE", min_size=N, max_size=N), st.sampled_from([None, 1, 3, 5]), st.sampled_from([None, "a", "7"])
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as con:
        con.execute("set threads = 1")
        yield con


@given(
    st.lists(problems, min_size=1, max_size=4),
    st.lists(conditions, min_size=1, max_size=2),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_every_rule_comes_out_as_if_all_n_were_drawn(
    con: duckdb.DuckDBPyConnection,
    given_problems: list[tuple[str, int | None, str | None]],
    given_rules: list[str],
    cut_off_fails: bool,
    chance: random.Random,
) -> None:
    """Random rules, outcomes and orders of arrival, with samples that turn out not to be needed and ones that get lost."""
    rows = [row for row, _, _ in given_problems]
    filled = [
        dict.fromkeys(SCHEMA.names) | {"id": str(i), "prompt": "p", "source": "s", "row": i} for i in range(len(rows))
    ]
    con.register("problems", pa.Table.from_pylist(filled, schema=SCHEMA))
    form = [{"id": str(i), "words": words, "kind": kind} for i, (_, words, kind) in enumerate(given_problems)]
    rules = placed({f"r{number}": rule for number, rule in enumerate(given_rules)}, [FORM, RATE])
    decisions = Decisions(con, "problems", ["s"])
    decisions.add(FORM, pa.Table.from_pylist(form, schema=pa.schema([("id", pa.string()), *FORM.columns])))
    decisions.wanted(everything=True)
    patterns = decisions.patterns(RATE, rules)
    by_id = {} if patterns is None else dict(con.execute(f"select id, pattern from {patterns}").fetchall())
    pattern = [by_id.get(str(i), never(N)) for i in range(len(rows))]

    made = Outcomes(N, pa.chunked_array([pa.array(pattern)]), cut_off_fails)
    made.begin()
    flying: list[int] = []
    guessed = lost = 0
    while True:
        while len(flying) < 5 and (next_one := made.take()) is not None:
            flying.append(next_one)
        if len(flying) < 5 and guessed < 3 and (next_one := made.guess({p // N for p in flying})) is not None:
            guessed += 1
            flying.append(next_one)
        if not flying:
            break
        place = flying.pop(chance.randrange(len(flying)))
        problem = place // N
        if lost < 3 and chance.random() < 0.1:
            lost += 1
            made.codes[place] = MISSING  # the server failed: it is asked again
        else:
            made.codes[place] = CODES[rows[problem][place % N]]
        if made.is_settled(problem):
            made.close(problem)
            for other in [p for p in flying if p // N == problem]:
                flying.remove(other)
                made.codes[other] = MISSING
        made.queue(problem)

    used = [made.prefix(problem) for problem in range(len(rows))]
    if not guessed and not lost:
        drawn = [N - made.code(MISSING, problem, N) for problem in range(len(rows))]
        assert drawn == [prefix.used for prefix in used], "a sample was drawn that was not needed"
    failing = "FC" if cut_off_fails else "F"
    full = [Prefix(N, row.count("P"), sum(map(row.count, failing))) for row in rows]
    assert outcome(con, form, rules, used) == outcome(con, form, rules, full)


def outcome(con: object, form: list[dict[str, Any]], rules: Sequence[Rule], used: list[Prefix]) -> list[Any]:
    """The outcome of every rule, problem by problem, with these counts."""
    decisions = Decisions(con, "problems", ["s"])
    counts = [
        {
            "id": str(i),
            "passes": p.passes,
            "fails": p.fails,
            "pass_rate": p.passes / (p.passes + p.fails) if p.passes + p.fails else None,
            "used": p.used,
        }
        for i, p in enumerate(used)
    ]
    for measured, rows in ((FORM, form), (RATE, counts)):
        decisions.add(measured, pa.Table.from_pylist(rows, schema=pa.schema([("id", pa.string()), *measured.columns])))
    for rule in rules:
        decisions.apply(rule)
    decisions.finish()
    names = ", ".join(f"rule_{rule.name}" for rule in rules)
    return con.execute(f"select {names} from decisions order by row").fetchall()
