"""Other rules over the same measurements: what is known, and what would have to be measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lab import Lab, sums

from curation.balance import apply
from curation.balancing.targets import Balance
from curation.grid import GridError, Number, grid, numbers, unfilled
from curation.problem import SCHEMA
from curation.publish import Dataset, publish
from curation.rules import Decisions, Measured, RuleError, place
from curation.store import Store
from curation.sweep import Cost, Sweep, SweepError, sweep

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
            ("mean_tokens", pa.float64()),
        ]
    ),
    samples=8,
)


def published(
    folder: Path, problems: Mapping[str, dict[str, Any]], texts: Mapping[str, str], counts: Mapping[str, tuple[int, int]],
    keep: Mapping[str, str], balance: dict[str, Any] | None = None,
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
        {
            "id": name,
            "passes": p,
            "fails": f,
            "drawn": p + f,
            "used": p + f,
            "pass_rate": p / (p + f),
            "mean_tokens": 10.0 * p,
        }
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
    record = None
    if balance is not None:
        record = apply(decisions, Balance.model_validate(balance), seed=0).record()
    decisions.finish()
    annotators = [
        {"key": a.key, "annotator": a.key, "prefix": "", "columns": a.columns.names, "n": a.samples}
        | ({"settles": ["learnable"]} if a is RATE else {})
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
        "balance": record,
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


def told(result: Sweep) -> dict[str, int]:
    counts = {name: getattr(result, name) for name in ("kept", "dropped", "undecided", "appeared", "vanished")}
    return counts | {"samples": result.cost.samples}


def test_without_a_change_the_decisions_are_the_same(dataset: Dataset) -> None:
    assert told(sweep(dataset, {})) == {
        "kept": 1, "dropped": 4, "undecided": 0, "samples": 0, "appeared": 0, "vanished": 0,
    }  # fmt: skip


def test_what_other_rules_would_keep_and_drop(dataset: Dataset) -> None:
    assert told(sweep(dataset, {"learnable": "passes = 0"})) == {
        "kept": 1, "dropped": 4, "undecided": 0, "samples": 0, "appeared": 1, "vanished": 1,
    }  # fmt: skip


def test_a_row_settled_for_another_band_or_never_measured_is_undecided(dataset: Dataset) -> None:
    result = sweep(dataset, {"learnable": "passes between 3 and 6", "licensed": None})
    # `copy` (2 of 5 right) is the one of its pair that stays, and open now; `other` was never sampled.
    assert told(result) == {"kept": 0, "dropped": 3, "undecided": 2, "samples": 3 + 8, "appeared": 0, "vanished": 0}
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
        ({"balance": "true"}, r"is what chooses among rows that every rule keeps"),
        ({"nope": None}, r"is no rule of d@.*; its rules are licensed, unique, learnable"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(dataset: Dataset, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        sweep(dataset, changes)


def test_what_would_decide_the_undecided_rows_is_told_in_tokens(dataset: Dataset) -> None:
    result = sweep(dataset, {"learnable": "passes between 3 and 6", "licensed": None})
    # 25 samples were used: 7 of `easy` with 70 tokens each, 10 of `right` and `copy` with 20, 8 of `hard` with none.
    assert result.cost == Cost(samples=11, tokens=round(11 * (7 * 70 + 10 * 20) / 25))


def test_what_tells_of_the_samples_drawn_is_open_until_all_are(dataset: Dataset) -> None:
    """A run under this rule draws all eight; of `right` there are five."""
    result = sweep(dataset, {"sure": "pass_rate > 0.1 and drawn >= 2"})
    assert (result.kept, result.undecided) == (0, 1)


def test_rows_are_counted_by_a_column(dataset: Dataset) -> None:
    result = sweep(dataset, {"licensed": None, "learnable": "passes = 0"}, by=["license", "SOURCE"])
    assert result.groups == {
        "license": [
            {"value": "MIT", "problems": 4, "was": 1, "kept": 1, "undecided": 0},
            {"value": "secret", "problems": 1, "was": 0, "kept": 0, "undecided": 1},
        ],
        "source": [{"value": "a", "problems": 5, "was": 1, "kept": 1, "undecided": 1}],
    }


@pytest.mark.parametrize("by", ["nothing", "rule_nothing"])
def test_what_is_no_column_cannot_be_counted_by(dataset: Dataset, by: str) -> None:
    with pytest.raises(SweepError, match=f"--by: '{by}' names no known column: {by}"):
        sweep(dataset, {}, by=[by])


def test_a_grid_is_a_sweep_for_every_value(dataset: Dataset) -> None:
    changes = {"licensed": None, "learnable": "passes between {low} and {high}"}
    result = grid(dataset, changes, {"low": [0, 1, 3], "high": [5, 6]})
    assert [(cell.values, cell.kept, cell.dropped, cell.undecided) for cell in result.cells] == [
        ({"low": low, "high": high}, *found)
        for low, high in [(0, 5), (0, 6), (1, 5), (1, 6), (3, 5), (3, 6)]
        for found in [numbers_of(dataset, changes, low, high)]
    ]
    # `right` and what was never sampled; each counts once however many cells leave it open.
    assert (result.undecided, result.cost.samples) == (2, 3 + 8)


def numbers_of(dataset: Dataset, changes: Mapping[str, str | None], low: int, high: int) -> tuple[int, int, int]:
    filled = {name: rule and rule.format(low=low, high=high) for name, rule in changes.items()}
    result = sweep(dataset, filled)
    return result.kept, result.dropped, result.undecided


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3", [3]),
        ("5, 1,5", [5, 1]),
        ("0..3,7", [0, 1, 2, 3, 7]),
        ("0.1..0.4..0.1", [0.1, 0.2, 0.3, 0.4]),
        ("-1..1..0.75", [-1, -0.25, 0.5]),
    ],
)
def test_values_of_a_grid(text: str, values: list[Number]) -> None:
    assert numbers(text) == values


@pytest.mark.parametrize("text", ["", "a", "1..b", "3..1", "1..2..0", "0..9999", "nan", "1..inf", "1,"])
def test_what_is_no_values_of_a_grid_is_refused(text: str) -> None:
    with pytest.raises(GridError):
        numbers(text)


@pytest.mark.parametrize(
    ("rule", "values", "message"),
    [
        ("passes > {low}", {}, r"\{low\} has no values; give --grid low="),
        ("passes > 1", {"low": [1]}, r"no rule has \{low\}"),
        ("passes in ({a}, {b}, {c})", {"a": [1], "b": [1], "c": [1]}, "3 placeholders are too many"),
        ("passes > {a} + {b}", {"a": [*range(30)], "b": [*range(30)]}, "900 combinations of values are too many"),
    ],
)
def test_a_grid_whose_values_do_not_fit_is_refused(
    dataset: Dataset, rule: str, values: dict[str, list[Number]], message: str
) -> None:
    with pytest.raises(GridError, match=message):
        grid(dataset, {"learnable": rule}, values)


def test_a_placeholder_without_a_grid_is_refused() -> None:
    with pytest.raises(GridError, match=r"rule learnable has a placeholder \{low\} without values"):
        unfilled({"learnable": "passes > {low}", "gone": None})


def test_a_negative_value_begins_no_comment(dataset: Dataset) -> None:
    assert grid(dataset, {"learnable": "0 -{a} <= passes"}, {"a": [-8, 0]}).cells[0].kept == 0


def balanced(folder: Path, **balance: Any) -> Dataset:
    """Three that can be learnt, one that is too easy."""
    names = {"1": (2, 2), "2": (2, 2), "3": (2, 2), "4": (8, 0)}
    rows = {name: {"license": "MIT"} for name in names}
    return published(
        folder, rows, {name: name for name in names}, names, {"learnable": "passes between 1 and 6"}, balance
    )


def test_a_recipe_that_balances_is_balanced_again_once_nothing_is_undecided(tmp_path: Path) -> None:
    dataset = balanced(tmp_path, size=2, prefer="row")
    same, looser = sweep(dataset, {}), sweep(dataset, {"learnable": "passes >= 1"})
    assert (same.kept, same.appeared, same.vanished, same.unbalanced) == (2, 0, 0, False)
    assert [(entry["rule"], entry["entered"], entry["pass"]) for entry in looser.funnel] == [
        ("learnable", 4, 4),
        ("balance", 4, 2),
    ]
    assert (looser.kept, looser.appeared, looser.vanished) == (2, 1, 1)  # 3 and 4 in place of 2 and 3


def test_without_the_balance_what_is_kept_is_counted_before_it(tmp_path: Path) -> None:
    open_ = sweep(balanced(tmp_path / "open", size=2, prefer="row"), {"learnable": "passes between 3 and 6"})
    assert (open_.unbalanced, open_.was, open_.undecided) == (True, 3, 3)
    # A run under this rule would stop sampling elsewhere, and prefer other rows.
    rates = sweep(balanced(tmp_path / "rates", size=2, prefer="pass_rate"), {"learnable": "passes >= 1"})
    assert (rates.unbalanced, rates.was, rates.kept, rates.undecided) == (True, 3, 4, 0)


def test_what_was_unknown_in_the_run_stays_unknown_under_the_same_rules(lab: Lab) -> None:
    """A row that nothing can grade, one that the server refuses, a rule that is NULL however the samples go."""
    lab.source("more", sums((1, 2)), verifier=None)
    lab.source("odd", sums((2, 2), trouble=" (refuse)"))
    lab.recipe["keep"] = {"some": "passes >= 1 and license <> parent_id"}
    outcome = lab(settle="early")
    assert outcome.dataset is not None
    counts = outcome.dataset.manifest["counts"]
    assert told(sweep(outcome.dataset, {})) == {
        "kept": counts["kept"], "dropped": counts["dropped"],
        "undecided": 0, "samples": 0, "appeared": 0, "vanished": 0,
    }  # fmt: skip


def test_a_guess_test_alone_can_be_swept_over(lab: Lab) -> None:
    lab.recipe["annotate"] = {"guess": {"model": "policy", "n": 4}}
    lab.recipe["keep"] = {"not_guessed": "not guessed"}
    outcome = lab()
    assert outcome.dataset is not None
    assert told(sweep(outcome.dataset, {}))["kept"] == outcome.dataset.manifest["counts"]["kept"]


def test_a_looser_rule_over_what_was_settled_early_needs_no_sample(lab: Lab) -> None:
    outcome = lab(settle="early")
    assert outcome.dataset is not None
    result = sweep(outcome.dataset, {"learnable": "passes >= 1"})
    assert (result.undecided, result.appeared) == (0, 1)
    assert sweep(outcome.dataset, {"learnable": "passes between 1 and 2"}).undecided == 2  # P P F: 2 or 3 of 4


def test_a_balance_that_reads_rates_is_not_applied_where_sampling_would_stop_elsewhere(lab: Lab) -> None:
    """No rule read the counts, so all four were drawn; under one that does a run draws fewer of some."""
    lab.recipe["annotate"]["pass_rate"]["settle"] = "early"
    lab.recipe["keep"] = {}
    lab.recipe["balance"] = {"size": 2, "prefer": "pass_rate"}
    dataset = lab().dataset
    assert dataset is not None
    again = sweep(dataset, {"learnable": "passes >= 1"})
    assert (again.unbalanced, again.undecided) == (True, 0)


def test_rows_are_counted_by_a_column_or_any_sql_over_them(lab: Lab) -> None:
    dataset = lab().dataset
    assert dataset is not None
    found = sweep(dataset, {}, by=["length(answer)"]).groups["length(answer)"]
    assert [(group["value"], group["problems"]) for group in found] == [("1", 3), ("2", 3)]
    with pytest.raises(SweepError, match="names no known column: sorce; did you mean source"):
        sweep(dataset, {}, by=["sorce"])


def test_a_class_of_letters_in_a_pattern_is_no_placeholder() -> None:
    unfilled({"greek": r"regexp_matches(prompt, '\p{Greek}')"})
