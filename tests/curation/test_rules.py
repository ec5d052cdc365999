"""Rules: what passes, fails and is unknown; counts that speak of all n samples; who stays of duplicates."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.duck import connect
from curation.problem import SCHEMA
from curation.rules import Decisions, Measured, RuleError, place

FORM = Measured("form", pa.schema([("proof", pa.bool_())]))
GOLD = Measured("gold", pa.schema([("gold_accepted", pa.bool_())]))
DUPLICATES = Measured(
    "duplicates", pa.schema([("cluster", pa.string()), ("same_text", pa.string())]), decides_duplicates=True
)
COUNTS = pa.schema([("passes", pa.int64()), ("fails", pa.int64()), ("drawn", pa.int64()), ("pass_rate", pa.float64())])
RATE = Measured("pass_rate", COUNTS, samples=4)

Row = dict[str, Any]


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as con:
        con.execute("set threads = 1")
        yield con


def decide(
    con: duckdb.DuckDBPyConnection,
    problems: Sequence[Row],
    annotators: Mapping[str, Measured],
    measured: Mapping[str, Sequence[Row]],
    keep: Mapping[str, str],
    **finish: Any,
) -> list[Row]:
    """Decisions over literal problems and measurements, as `curate` makes them."""
    filled = [
        dict.fromkeys(SCHEMA.names) | {"prompt": row["id"], "messages": [], "source": "a", "row": n} | row
        for n, row in enumerate(problems)
    ]
    con.register("problems", pa.Table.from_pylist(filled, schema=SCHEMA))
    steps = list(annotators.values())
    rules = place(keep, steps)
    decisions = Decisions(con, "problems", ["a", "b"])
    for number, step in enumerate([None, *steps]):
        if step is not None:
            schema = pa.schema([("id", pa.string()), *step.columns])
            decisions.add(step, pa.Table.from_pylist(list(measured[step.key]), schema=schema))
        for rule in rules:
            if rule.after == number:
                decisions.apply(rule)
    decisions.finish(**finish)
    rows: list[Row] = con.sql("select * from decisions order by row").to_arrow_table().to_pylist()
    assert len(rows) == len(problems)
    return rows


def outcomes(rows: Sequence[Row], rule: str) -> list[str]:
    return [row[f"rule_{rule}"] for row in rows]


# Where a rule stands


def test_a_rule_stands_after_the_annotators_whose_columns_it_reads() -> None:
    keep = {
        "late": "passes > 0",
        "both": "passes > 0 and not proof",
        "early": "license = 'MIT'",
        "unique": "not DUPLICATE",
        "form": "not proof",
    }
    placed = place(keep, [FORM, DUPLICATES, RATE])
    assert [(rule.name, rule.after, rule.reads) for rule in placed] == [
        ("early", 0, ()),
        ("form", 1, ("form",)),
        ("unique", 2, ("duplicates",)),
        ("late", 3, ("pass_rate",)),
        ("both", 3, ("form", "pass_rate")),
    ]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("pases > 1", r"names no known column: pases; did you mean passes or"),
        ("not duplicate", "names no known column: duplicate"),
        ("passes", "gives BIGINT, not true or false"),
        ("passes > 1) or (true", "is not a SQL expression"),
        ("measured is null", "names no known column: measured"),
        ("exists(select 1)", "has a subquery"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named(expression: str, why: str) -> None:
    with pytest.raises(RuleError, match=why) as error:
        place({"fine": "true", "bad": expression}, [FORM, RATE])
    assert error.value.rule == "bad"


# Outcomes


def test_what_a_rule_says_of_measured_unknown_and_unmeasured_rows(con: duckdb.DuckDBPyConnection) -> None:
    rows = decide(
        con,
        [{"id": "yes"}, {"id": "no"}, {"id": "failed"}, {"id": "never"}],
        {"gold": GOLD},
        {
            "gold": [
                {"id": "yes", "gold_accepted": True},
                {"id": "no", "gold_accepted": False},
                {"id": "failed", "gold_accepted": None},
            ]
        },
        {"gold": "gold_accepted"},
    )
    assert outcomes(rows, "gold") == ["pass", "fail", "unknown", "unmeasured"]
    assert [row["kept"] for row in rows] == [True, False, False, False]
    assert [row["dropped_by"] for row in rows] == [None, "gold", "gold", "gold"]
    assert [row["measured"] for row in rows] == [["gold"], ["gold"], ["gold"], []]


def test_a_value_that_cannot_be_computed_is_unknown_for_its_row_only(con: duckdb.DuckDBPyConnection) -> None:
    rows = decide(con, [{"id": "1", "answer": "12"}, {"id": "2", "answer": "x"}], {}, {}, {"large": "answer::int > 3"})
    assert outcomes(rows, "large") == ["pass", "unknown"]


def test_a_row_counts_at_its_first_rule_but_has_the_outcome_of_all(con: duckdb.DuckDBPyConnection) -> None:
    rows = decide(
        con,
        [{"id": "1", "license": "MIT"}, {"id": "2"}],
        {"form": FORM},
        {"form": [{"id": "1", "proof": True}, {"id": "2", "proof": True}]},
        {"form": "not proof", "license": "license = 'MIT'"},
    )
    assert [row["dropped_by"] for row in rows] == ["form", "license"]
    assert outcomes(rows, "form") == ["fail", "fail"]
    assert outcomes(rows, "license") == ["pass", "unknown"]


def test_without_rules_everything_stays(con: duckdb.DuckDBPyConnection) -> None:
    assert [row["kept"] for row in decide(con, [{"id": "1"}], {}, {}, {})] == [True]


def test_names_and_texts_are_never_sql(con: duckdb.DuckDBPyConnection) -> None:
    odd = 'it\'s "x"; drop table state --'
    rows = decide(con, [{"id": odd, "license": odd}], {}, {}, {"same": "license = '" + odd.replace("'", "''") + "'"})
    assert [(row["id"], row["kept"]) for row in rows] == [(odd, True)]


# Counts speak of all n samples


def rates(*counts: tuple[int, int]) -> list[Row]:
    return [
        {"id": f"{n}", "passes": p, "fails": f, "drawn": p + f, "pass_rate": p / (p + f) if p + f else None}
        for n, (p, f) in enumerate(counts)
    ]


@pytest.mark.parametrize(
    ("expression", "of_four"),
    [
        # passes, fails:            0,0        1,0        1,1        3,0        4,0        0,4
        ("passes between 1 and 3", ["unknown", "unknown", "pass", "unknown", "fail", "fail"]),
        ("passes >= 1", ["unknown", "pass", "pass", "pass", "pass", "fail"]),
        ("fails = 0", ["unknown", "unknown", "fail", "unknown", "pass", "fail"]),
        ("pass_rate >= 0.75", ["unknown", "unknown", "unknown", "pass", "pass", "fail"]),
        ("passes + fails = 4", ["pass"] * 6),
        ("drawn >= 2", ["fail", "fail", "pass", "pass", "pass", "pass"]),
    ],
)
def test_a_rule_has_a_value_when_the_samples_not_drawn_cannot_change_it(
    con: duckdb.DuckDBPyConnection, expression: str, of_four: list[str]
) -> None:
    counts = rates((0, 0), (1, 0), (1, 1), (3, 0), (4, 0), (0, 4))
    rows = decide(con, [{"id": row["id"]} for row in counts], {"r": RATE}, {"pass_rate": counts}, {"r": expression})
    assert outcomes(rows, "r") == of_four


def test_counts_of_a_prefixed_annotator_have_their_own_n(con: duckdb.DuckDBPyConnection) -> None:
    full = Measured("full", pa.schema([f.with_name("full_" + f.name) for f in COUNTS]), prefix="full_", samples=2)
    rows = decide(
        con,
        [{"id": "0"}],
        {"r": RATE, "full": full},
        {"pass_rate": rates((1, 0)), "full": rates((1, 0))},
        {"four": "passes <= 3", "two": "full_passes <= 1", "either": "passes > 0 or full_passes > 5"},
    )
    assert [outcomes(rows, name) for name in ("four", "two", "either")] == [["unknown"], ["unknown"], ["pass"]]


N = 4
NUMBER = st.sampled_from(["passes", "fails", "pass_rate * 4", "prompt_words"]) | st.integers(-1, 5).map(str)
COMPARISON = st.builds("({} {} {})".format, NUMBER, st.sampled_from(["<", "<=", "=", "<>", ">"]), NUMBER)
RANGE = st.builds("({} between {} and {})".format, NUMBER, st.integers(0, 4), st.integers(0, 4))
EXPRESSION = st.recursive(
    COMPARISON | RANGE | st.sampled_from(["proof", "(proof is null)", "coalesce(proof, passes > 1)"]),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("(not {})".format, inner)
    ),
    max_leaves=4,
)
WORDS = Measured("form", pa.schema([("proof", pa.bool_()), ("prompt_words", pa.int64())]))
ROW = st.tuples(
    st.integers(0, N).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, N - p))),
    st.sampled_from([True, False, None]),
    st.sampled_from([None, 0, 2]),
)


@settings(max_examples=60, deadline=None)
@given(expression=EXPRESSION, drawn=st.lists(ROW, min_size=1, max_size=5))
def test_the_value_is_that_of_every_way_the_rest_could_go(
    con: duckdb.DuckDBPyConnection, expression: str, drawn: list[Any]
) -> None:
    """Against every completion of the draws, one by one."""
    counts = rates(*(pair for pair, _, _ in drawn))
    form = [{"id": f"{n}", "proof": proof, "prompt_words": words} for n, (_, proof, words) in enumerate(drawn)]
    rows = decide(
        con,
        [{"id": row["id"]} for row in counts],
        {"form": WORDS, "r": RATE},
        {"form": form, "pass_rate": counts},
        {"r": expression},
    )
    expected = []
    for (passes, fails), proof, words in drawn:
        values = set()
        for k in range(passes, N - fails + 1):
            given_row = f"select {k} as passes, {N - k} as fails, {k}/{N}::double as pass_rate, $1::bool as proof"
            query = f"select {expression} from ({given_row}, $2::bigint as prompt_words)"
            values.add(con.execute(query, [proof, words]).fetchall()[0][0])
        expected.append({True: "pass", False: "fail", None: "unknown"}[values.pop() if len(values) == 1 else None])
    assert outcomes(rows, "r") == expected


# Duplicates


def same(**texts: str) -> list[Row]:
    smallest = {text: min(name for name in texts if texts[name] == text) for text in texts.values()}
    return [{"id": name, "same_text": text, "cluster": smallest[text]} for name, text in texts.items()]


def test_of_equal_problems_the_preferred_one_stays(con: duckdb.DuckDBPyConnection) -> None:
    problems = [
        {"id": "p1", "source": "b", "answer": "long answer"},
        {"id": "p2", "source": "a", "answer": "1"},
        {"id": "p3", "source": "a", "answer": "12"},
        {"id": "q", "source": "b"},
    ]
    rows = decide(
        con,
        problems,
        {"duplicates": DUPLICATES},
        {"duplicates": same(p1="t", p2="t", p3="t", q="u")},
        {"unique": "not duplicate"},
    )
    assert [(row["id"], row["kept"]) for row in rows] == [("p1", False), ("p2", False), ("p3", True), ("q", True)]


@pytest.mark.parametrize("prefix", ["", "strict_"])
def test_an_accepted_answer_is_preferred_whatever_its_annotator_is_called(
    con: duckdb.DuckDBPyConnection, prefix: str
) -> None:
    gold = Measured(f"{prefix}gold", pa.schema([(f"{prefix}gold_accepted", pa.bool_())]), prefix=prefix)
    accepted = [
        {"id": "1", "gold_accepted": None},
        {"id": "2", "gold_accepted": False},
        {"id": "3", "gold_accepted": True},
    ]
    rows = decide(
        con,
        [{"id": "1", "answer": "longest"}, {"id": "2", "answer": "longer"}, {"id": "3"}],
        {"gold": gold, "duplicates": DUPLICATES},
        {
            gold.key: [{"id": r["id"], f"{prefix}gold_accepted": r["gold_accepted"]} for r in accepted],
            "duplicates": same(**{"1": "t", "2": "t", "3": "t"}),
        },
        {"unique": "not duplicate"},
    )
    assert [row["id"] for row in rows if row["kept"]] == ["3"]


def test_a_cluster_does_not_vanish_with_its_favourite(con: duckdb.DuckDBPyConnection) -> None:
    rows = decide(
        con,
        [
            {"id": "1", "license": "secret", "answer": "long"},
            {"id": "2", "license": "MIT"},
            {"id": "3", "license": "MIT"},
        ],
        {"duplicates": DUPLICATES},
        {"duplicates": same(**{"1": "t", "2": "t", "3": "t"})},
        {"license": "license = 'MIT'", "unique": "not duplicate"},
    )
    assert [(row["kept"], row["dropped_by"]) for row in rows] == [(False, "license"), (True, None), (False, "unique")]
    # Whether the first would be one was never decided.
    assert outcomes(rows, "unique") == ["unmeasured", "pass", "fail"]


ENTRY = st.fixed_dictionaries(
    {
        "text": st.sampled_from("xyz"),
        "source": st.sampled_from("ab"),
        "answer": st.sampled_from([None, "1", "22", "33"]),
        "gold": st.sampled_from([True, False, None]),
        "license": st.sampled_from(["MIT", "other", None]),
    }
)


@settings(max_examples=30, deadline=None)
@given(entries=st.lists(ENTRY, min_size=1, max_size=12))
def test_the_greedy_pass_is_that_of_plain_python(con: duckdb.DuckDBPyConnection, entries: list[Row]) -> None:
    problems = [
        {"id": f"{n:02}", "source": e["source"], "answer": e["answer"], "license": e["license"]}
        for n, e in enumerate(entries)
    ]
    rows = decide(
        con,
        problems,
        {"gold": GOLD, "duplicates": DUPLICATES},
        {
            "gold": [{"id": f"{n:02}", "gold_accepted": e["gold"]} for n, e in enumerate(entries)],
            "duplicates": same(**{f"{n:02}": e["text"] for n, e in enumerate(entries)}),
        },
        {"license": "license = 'MIT'", "unique": "not duplicate"},
    )

    def preference(n: int) -> tuple[Any, ...]:
        entry = entries[n]
        gold = {True: 0, False: 1, None: 2}[entry["gold"]]
        return gold, entry["source"], -len(entry["answer"]) if entry["answer"] is not None else 1, n

    kept: dict[str, int] = {}
    for n in sorted(range(len(entries)), key=preference):
        if entries[n]["license"] == "MIT":
            kept.setdefault(entries[n]["text"], n)
    assert {int(row["id"]) for row in rows if row["kept"]} == set(kept.values())


# Holdout


def test_duplicates_stand_on_the_same_side(con: duckdb.DuckDBPyConnection) -> None:
    ids = [f"{n:03}" for n in range(300)]
    rows = decide(
        con,
        [{"id": name} for name in ids],
        {"duplicates": DUPLICATES},
        {"duplicates": same(**{name: f"{int(name) // 3}" for name in ids})},
        {},
        holdout=0.3,
    )
    sides = [{row["split"] for row in rows[n : n + 3]} for n in range(0, 300, 3)]
    assert all(len(side) == 1 for side in sides)
    assert 15 <= sides.count({"test"}) <= 45


def test_identical_rows_stand_on_the_same_side_also_without_duplicates(con: duckdb.DuckDBPyConnection) -> None:
    ids = [f"{n:032x}{copy}" for n in range(100) for copy in ("", "~2")]
    rows = decide(con, [{"id": name} for name in ids], {}, {}, {}, holdout=0.5)
    assert all(one["split"] == two["split"] for one, two in zip(rows[::2], rows[1::2], strict=True))


def test_the_split_is_that_of_last_year_and_depends_on_the_seed(con: duckdb.DuckDBPyConnection) -> None:
    problems = [{"id": f"{n:032x}"} for n in range(12)]

    def held_out(seed: int) -> list[int]:
        rows = decide(con, problems, {}, {}, {}, holdout=0.3, seed=seed)
        return [n for n, row in enumerate(rows) if row["split"] == "test"]

    assert held_out(0) == [4, 7]
    assert held_out(1) != held_out(0)


@pytest.mark.parametrize(("holdout", "sides"), [(0.0, {"train"}), (1e-9, {"train"}), (0.999999999, {"test"})])
def test_the_ends_of_the_holdout(con: duckdb.DuckDBPyConnection, holdout: float, sides: set[str]) -> None:
    rows = decide(con, [{"id": f"{n}"} for n in range(50)], {}, {}, {}, holdout=holdout)
    assert {row["split"] for row in rows} == sides
