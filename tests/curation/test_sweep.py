"""Other rules over the same measurements: what is known, and what would have to be measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lab import Lab, sums

from curation.problem import SCHEMA
from curation.publish import Dataset, publish
from curation.rules import Decisions, Measured, RuleError, place
from curation.store import Store
from curation.sweep import Sweep, sweep

DUPLICATES = Measured(
    "duplicates", pa.schema([("cluster", pa.string()), ("same_text", pa.string())]), decides_duplicates=True
)
RATE = Measured(
    "pass_rate",
    pa.schema(
        [
            ("passes", pa.int64()),
            ("fails", pa.int64()),
            ("drawn", pa.int64()),
            ("used", pa.int64()),
            ("pass_rate", pa.float64()),
        ]
    ),
    samples=8,
)


def published(
    folder: Path, problems: Mapping[str, dict[str, Any]], texts: Mapping[str, str], counts: Mapping[str, tuple[int, int]],
    keep: Mapping[str, str],
) -> Dataset:  # fmt: skip
    """A dataset whose pass rates were measured only where no rule had dropped the row."""
    store = Store(str(folder))
    con = store.connect()
    rows = [
        dict.fromkeys(SCHEMA.names)
        | {"id": name, "prompt": name, "messages": [], "verifier": "exact", "source": "a", "row": n}
        | row
        for n, (name, row) in enumerate(problems.items())
    ]
    con.register("problems", pa.Table.from_pylist(rows, schema=SCHEMA))
    same = [{"id": name, "same_text": text, "cluster": text} for name, text in texts.items()]
    rates = [
        {"id": name, "passes": p, "fails": f, "drawn": p + f, "used": p + f, "pass_rate": p / (p + f)}
        for name, (p, f) in counts.items()
    ]
    measured = {"duplicates": same, "pass_rate": rates}
    decisions = Decisions(con, "problems", ["a"])
    placed = place(keep, [DUPLICATES, RATE])
    for number, annotator in enumerate([None, DUPLICATES, RATE]):
        if annotator is not None:
            schema = pa.schema([("id", pa.string()), *annotator.columns])
            decisions.add(annotator, pa.Table.from_pylist(measured[annotator.key], schema=schema))
        for rule in placed:
            if rule.after == number:
                decisions.apply(rule)
    decisions.finish()
    annotators = [
        {"key": a.key, "annotator": a.key, "prefix": "", "columns": a.columns.names, "n": a.samples}
        for a in (DUPLICATES, RATE)
    ]
    manifest = {
        "name": "d",
        "code_version": "0",
        "counts": {"read": len(rows), "kept": 0, "dropped": 0, "rejected": 0},
        "rules": decisions.funnel(),
        "licenses": [],
        "annotators": annotators,
        "pool": {"sources": {"a": {}}},
        "recipe": {},
    }
    dataset, _ = publish(store, con, {}, "row", manifest, "")
    return dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Eight samples; the rule `licensed` kept `other` from being sampled, `unique` kept `copy` from it."""
    return published(
        tmp_path,
        {
            "easy": {"license": "MIT"},
            "right": {"license": "MIT"},
            "hard": {"license": "MIT"},
            "copy": {"license": "MIT"},
            "other": {"license": "secret"},
        },
        {"easy": "e", "right": "r", "hard": "h", "copy": "r", "other": "o"},
        {"easy": (7, 0), "right": (2, 3), "hard": (0, 8), "copy": (2, 3)},
        {"licensed": "license = 'MIT'", "unique": "not duplicate", "learnable": "passes between 1 and 6"},
    )


def numbers(result: Sweep) -> dict[str, int]:
    return {name: getattr(result, name) for name in ("kept", "dropped", "undecided", "samples", "appeared", "vanished")}


def test_without_a_change_the_decisions_are_the_same(dataset: Dataset) -> None:
    assert numbers(sweep(dataset, {})) == {
        "kept": 1, "dropped": 4, "undecided": 0, "samples": 0, "appeared": 0, "vanished": 0,
    }  # fmt: skip


def test_what_other_rules_would_keep_and_drop(dataset: Dataset) -> None:
    assert numbers(sweep(dataset, {"learnable": "passes = 0"})) == {
        "kept": 1, "dropped": 4, "undecided": 0, "samples": 0, "appeared": 1, "vanished": 1,
    }  # fmt: skip


def test_a_row_settled_for_another_band_or_never_measured_is_undecided(dataset: Dataset) -> None:
    result = sweep(dataset, {"learnable": "passes between 3 and 6", "licensed": None})
    # `copy` (2 of 5 right) is the one of its pair that stays, and open now; `other` was never sampled.
    assert numbers(result) == {"kept": 0, "dropped": 3, "undecided": 2, "samples": 3 + 8, "appeared": 0, "vanished": 0}
    assert [(r["rule"], r["entered"], r["unmeasured"], r["unknown"]) for r in result.funnel] == [
        ("unique", 5, 0, 0),
        ("learnable", 4, 2, 0),
    ]


def test_a_rule_can_be_added_and_removed(dataset: Dataset) -> None:
    result = sweep(dataset, {"unique": None, "named": "prompt like 'r%'"})
    assert [r["rule"] for r in result.funnel] == ["licensed", "named", "learnable"]
    assert (result.kept, result.appeared) == (1, 1)


def test_whether_a_row_is_a_duplicate_stays_open_with_the_one_before_it(tmp_path: Path) -> None:
    dataset = published(
        tmp_path,
        {"1": {"license": "secret", "answer": "long"}, "2": {"license": "MIT"}, "3": {"license": "MIT"}},
        {"1": "t", "2": "t", "3": "t"},
        {"2": (2, 2), "3": (2, 2)},
        {"licensed": "license = 'MIT'", "learnable": "passes between 1 and 6", "unique": "not duplicate and drawn > 0"},
    )
    result = sweep(dataset, {"licensed": None})
    # 1 may pass or not once it is sampled: with it 2 goes, without it 2 stays; 3 goes either way.
    assert (result.kept, result.dropped, result.undecided) == (0, 1, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learnable": "pases > 1"}, r"names no known column: pases; did you mean passes"),
        ({"nope": None}, r"is no rule of d@.*; its rules are licensed, unique, learnable"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(dataset: Dataset, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        sweep(dataset, changes)


def test_what_was_unknown_in_the_run_stays_unknown_under_the_same_rules(lab: Lab) -> None:
    """A row that nothing can grade, one that the server refuses, a rule that is NULL however the samples go."""
    lab.source("more", sums((1, 2)), verifier=None)
    lab.source("odd", sums((2, 2), trouble=" (refuse)"))
    lab.recipe["keep"] = {"some": "passes >= 1 and license <> parent_id"}
    outcome = lab(settle="early")
    assert outcome.dataset is not None
    counts = outcome.dataset.manifest["counts"]
    assert numbers(sweep(outcome.dataset, {})) == {
        "kept": counts["kept"], "dropped": counts["dropped"],
        "undecided": 0, "samples": 0, "appeared": 0, "vanished": 0,
    }  # fmt: skip


def test_a_guess_test_alone_can_be_swept_over(lab: Lab) -> None:
    lab.recipe["annotate"] = {"guess": {"model": "policy", "n": 4}}
    lab.recipe["keep"] = {"not_guessed": "not guessed"}
    outcome = lab()
    assert outcome.dataset is not None
    assert numbers(sweep(outcome.dataset, {}))["kept"] == outcome.dataset.manifest["counts"]["kept"]


def test_a_looser_rule_over_what_was_settled_early_needs_no_sample(lab: Lab) -> None:
    outcome = lab(settle="early")
    assert outcome.dataset is not None
    result = sweep(outcome.dataset, {"learnable": "passes >= 1"})
    assert (result.undecided, result.appeared) == (0, 1)
    assert sweep(outcome.dataset, {"learnable": "passes between 1 and 2"}).undecided == 2  # P P F: 2 or 3 of 4
