"""A sweep says what a run under those rules would come to, or that it does not know."""

import tempfile
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.again import IN, OUT, UNDECIDED
from curation.duck import connect
from curation.duplicates import NEAR
from curation.frozen import Frozen
from curation.problem import SCHEMA
from curation.publish import Dataset, publish
from curation.rules import Decisions, Measured, place
from curation.settling import never, settling
from curation.store import Store
from curation.sweep import changed

N = 4
WORDS = Measured("form", pa.schema([("prompt_words", pa.int64())]))
GOLD = Measured("gold", pa.schema([("gold_accepted", pa.bool_())]))
DUPLICATES = Measured(
    "duplicates", pa.schema([("same_text", pa.string()), ("near_texts", NEAR)]), decides_duplicates=True
)
COUNTS = ("passes", "fails", "errors", "drawn", "used")
RATE = Measured(
    "pass_rate", pa.schema([*((name, pa.int64()) for name in COUNTS), ("pass_rate", pa.float64())]), samples=N
)
STEPS = (WORDS, GOLD, DUPLICATES, RATE)

PROBLEM = st.fixed_dictionaries(
    {
        "prompt_words": st.integers(1, 4),
        "gold_accepted": st.sampled_from([True, True, True, False, None]),
        "same_text": st.sampled_from("xyz"),
        "answer": st.sampled_from(["1", "22"]),
        "samples": st.text("PPPFFFE", min_size=N, max_size=N),  # pass, fail, and the grader failed, by sample index
    }
)
BAND = st.tuples(st.integers(0, N), st.integers(0, N)).map(
    lambda ends: "passes between {} and {}".format(*sorted(ends))
)
RULES = st.fixed_dictionaries(
    {
        "long": st.none() | st.integers(1, 4).map("prompt_words >= {}".format),
        "gold": st.sampled_from([None, "gold_accepted"]),
        "early": st.none() | st.integers(0, N).map("passes <= {}".format),
        "unique": st.sampled_from([None, "not duplicate"]),
        "learnable": BAND | st.sampled_from(["pass_rate >= 0.5", "passes >= 2 or prompt_words > 2"]),
        "graded": st.sampled_from([None, None, None, "errors = 0"]),
    }
)


def run(con: duckdb.DuckDBPyConnection, problems: list[dict[str, Any]], keep: Mapping[str, str]) -> Decisions:
    """What a run decides: measured is what no rule above has dropped, and samples are drawn until rules are settled."""
    con.register("problems", pa.Table.from_pylist(problems, schema=SCHEMA))
    by_id = {row["id"]: row for row in problems}
    decisions = Decisions(con, "problems", ["a"])
    placed = place(keep, STEPS)
    for number, step in enumerate(STEPS, start=1):
        decisions.wanted(everything=step is DUPLICATES)
        wanted = [id_ for (id_,) in con.execute("select id from wanted order by id").fetchall()]
        rows = [{name: by_id[id_].get(name) for name in ("id", *step.columns.names)} for id_ in wanted]
        if step is RATE:
            patterns = decisions.patterns(RATE, placed)
            found = dict(con.execute(f"from {patterns}").fetchall()) if patterns is not None else {}
            rows = [counts(by_id[id_], found.get(id_, never(N))) for id_ in wanted]
        decisions.add(step, pa.Table.from_pylist(rows, pa.schema([("id", pa.string()), *step.columns])))
        for rule in placed:
            if rule.after == number:
                decisions.apply(rule)
    decisions.finish()
    return decisions


def published(folder: str, problems: list[dict[str, Any]], keep: Mapping[str, str]) -> Dataset:
    store = Store(folder)
    con = store.connect()
    decisions = run(con, problems, keep)
    annotators = [
        {"key": s.key, "annotator": s.key, "prefix": "", "columns": s.columns.names, "n": s.samples} for s in STEPS
    ]
    manifest = {
        "name": "d", "code_version": "0", "rules": decisions.funnel(), "licenses": [], "annotators": annotators,
        "counts": {"read": len(problems), "kept": 0, "dropped": 0, "rejected": 0}, "pool": {"sources": {"a": {}}}, "recipe": {},
    }  # fmt: skip
    return publish(store, con, {}, "row", manifest, "")[0]


def counts(problem: dict[str, Any], pattern: str) -> dict[str, Any]:
    """What is counted of the shortest settling prefix of a problem's samples."""
    drawn = next(
        (
            k
            for k in range(N)
            if settling(pattern).settled(*(problem["samples"][:k].count(verdict) for verdict in "PF"))
        ),
        N,
    )
    p, f, e = (problem["samples"][:drawn].count(verdict) for verdict in "PFE")
    rate = p / (p + f) if p + f else None
    found = {"passes": p, "fails": f, "errors": e, "drawn": drawn, "used": drawn, "pass_rate": rate}
    return {"id": problem["id"]} | found


def filled(entries: list[dict[str, Any]], near: set[frozenset[str]]) -> list[dict[str, Any]]:
    """Problems as a pool has them; texts of a pair in `near` are near each other."""
    rows = [
        dict.fromkeys(SCHEMA.names)
        | {"id": f"{n:02}", "prompt": "p", "messages": [], "verifier": "exact", "source": "a", "row": n}
        | entry
        for n, entry in enumerate(entries)
    ]
    first = {row["same_text"]: row["id"] for row in reversed(rows)}
    for row in rows:
        others = [text for text in first if {text, row["same_text"]} in near]
        row["near_texts"] = [{"id": first[text], "similarity": 0.9, "same_answer": None} for text in sorted(others)]
    return rows


@settings(max_examples=12, deadline=None)
@given(
    entries=st.lists(PROBLEM, min_size=1, max_size=12),
    near=st.sets(st.sampled_from([frozenset("xy"), frozenset("yz")])),
    before=RULES,
    after=RULES,
)
def test_a_sweep_keeps_what_a_run_would_or_says_that_it_does_not_know(
    entries: list[dict[str, Any]],
    near: set[frozenset[str]],
    before: dict[str, str | None],
    after: dict[str, str | None],
) -> None:
    problems = filled(entries, near)
    old = {name: rule for name, rule in before.items() if rule is not None}
    changes = {name: rule for name, rule in after.items() if rule is not None or name in old}
    with tempfile.TemporaryDirectory() as folder, connect() as con:
        frozen = Frozen(published(folder, problems, old))
        keep = changed(frozen, changes)
        state = frozen.decide(keep).state.tolist()
        names = frozen.column("id").to_pylist()
        kept = {name for name, now in zip(names, state, strict=True) if now == IN}
        undecided = {name for name, now in zip(names, state, strict=True) if now == UNDECIDED}
        run(con, problems, keep)
        really = {id_ for (id_,) in con.execute("select id from decisions where kept").fetchall()}
    assert kept <= really <= kept | undecided


@settings(max_examples=3, deadline=None)
@given(entries=st.lists(PROBLEM, min_size=1, max_size=12), rules=RULES)
def test_a_sweep_without_a_change_leaves_nothing_open(
    entries: list[dict[str, Any]], rules: dict[str, str | None]
) -> None:
    problems = filled(entries, {frozenset("xy")})
    with tempfile.TemporaryDirectory() as folder:
        frozen = Frozen(published(folder, problems, {name: rule for name, rule in rules.items() if rule is not None}))
        assert frozen.decide(frozen.keep).state.tolist() == [IN if kept else OUT for kept in frozen.codes("kept::int")]
