"""What is shown of data never drives the terminal."""

import io
from typing import Any

import pytest
from lab import Lab, sums
from rich.console import Console

from curation.inspect import summary, why
from curation.inspect.visible import visible

BAD = "\x1b]0;owned\x07 \x9b31m \x00 \u202e [/b]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\x00\x07\x7f\x9b\r\t", "a\\x00\\x07\\x7f\\x9b\\r\\t"),
        ("\u202a\u202e\u2066\u2069\u200e\u200f", "\\u202a\\u202e\\u2066\\u2069\\u200e\\u200f"),
        ("two\nlines, 中文, é, \U0001f600", "two\nlines, 中文, é, \U0001f600"),
    ],
)
def test_control_characters_and_bidi_formatting_are_shown_as_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown


def printed(show: Any, data: Any) -> str:
    out = io.StringIO()
    show(Console(file=out, width=400), data)
    return out.getvalue()


def test_rows_and_names_are_shown_as_they_are() -> None:
    shown = printed(summary.show_rows, [{"id": "1", "prompt": BAD}])
    assert "\\x1b]0;owned\\x07 \\x9b31m \\x00 \\u202e [/b]" in shown
    counts = {"read": 1, "kept": 0, "dropped": 0, "rejected": 1}
    data = {"dataset": BAD, "folder": "w[/]x", "counts": counts, "funnel": [], "pass_rates": {BAD: []}, "sets": {}}
    data |= {"gold": {BAD: [{"source": BAD, "accepted": 0, "rejected": 1, "unknown": 0, "reason": BAD}]}}
    counted = dict.fromkeys(("duplicates", "near", "answer_conflict", "near_conflict", "majority", "already"), 1)
    data |= {"duplicates": {BAD: counted}}
    found = dict.fromkeys(("items", "found", "verbatim", "ngram", "reworded"), 1)
    data |= {"contamination": {BAD: [{"benchmark": BAD} | found]}}
    data |= {"guesses": {BAD: [{"kind": BAD, "guessed": 0, "tested": 1}]}}
    data |= {"difficulties": [{"said": BAD, "measured": BAD, "problems": 10, "spearman": None}]}
    shown = printed(summary.show, data | {"sources": {"s": {"reasons": {BAD: 1}}}})
    assert "w[/]x" in shown
    assert visible(shown) == shown


def test_a_problem_and_its_rollouts_are_shown_as_they_are() -> None:
    asked = {"id": "1", "row": 0, "source": "s", "prompt": BAD, "answer": BAD, "verifier": "exact", "license": BAD}
    asked |= {"verifier_args": BAD}
    rollout = {"sample_index": 0, "outcome": "correct", "extracted": BAD, "tokens": 1, "text": BAD}
    rollout |= {"extra": True, "budget_hit": True}
    data = {"problem": asked, "kept": False, "dropped_by": BAD, "split": "train", "duplicate": None}
    facts = {"similarity": 0.5, "answer": BAD}
    partner = {"what": BAD, "id": BAD, "text": BAD, "facts": facts, "spans": [[2, 4]], "own_spans": [[2, 4]]}
    data |= {"partners": [partner], "text_columns": [], "balance": {"group": BAD, "before": 2, "after": 1}}
    data |= {"rules": [{"rule": "r", "condition": BAD, "outcome": "fail"}], "measured": {"m": {"column": BAD}}}
    shown = printed(why.show, data | {"rollouts": {"pass_rate": [rollout]}})
    assert visible(shown) == shown
    assert shown.count("owned") == 15


def test_samples_beyond_where_the_rules_were_settled_are_marked(lab: Lab) -> None:
    lab(settle="never")
    dataset = lab(settle="early").dataset
    assert dataset is not None
    some = next(row for row in summary.rows(dataset, None, 6) if row["prompt"] == "What is 3 + 4?")
    data = why.why(dataset, some["id"])
    assert [r["extra"] for r in data["rollouts"]["pass_rate"]] == [False, False, False, True]  # P P F, and one more
    assert "4 rollouts, 1 of them beyond where the rules were settled: they do not count" in printed(why.show, data)


def test_answers_that_their_own_verifier_refuses_are_counted_by_source(lab: Lab) -> None:
    lab.source("letters", [{"prompt": "Which?", "answer": answer} for answer in ("B", "none")], verifier="choice")
    lab.recipe["annotate"], lab.recipe["keep"] = {"gold": {}}, {}
    dataset = lab().dataset
    assert dataset is not None
    data = summary.summary(dataset)
    reason = "the reference answer names no choice: 'none'"
    assert data["gold"] == {
        "gold": [
            {"source": "letters", "accepted": 1, "rejected": 0, "unknown": 1, "reason": reason},
            {"source": "sums", "accepted": 6, "rejected": 0, "unknown": 0, "reason": ""},
        ]
    }
    shown = printed(summary.show, data)
    assert ["letters", "1", "0", "1", *reason.split()] in [line.split() for line in shown.splitlines()]
    assert ["sums", "6", "0", "0"] in [line.split() for line in shown.splitlines()]


def test_rows_that_a_rule_dropped_stand_with_what_it_read_and_failed_ones_first(lab: Lab) -> None:
    rows = [{"prompt": f"Which? {answer}", "answer": answer} for answer in ("none", "B", "5")]
    lab.source(
        "letters",
        rows,
        columns={"prompt": "prompt", "answer": "answer", "verifier": "if(answer = '5', 'exact', 'choice')"},
    )
    lab.recipe["annotate"], lab.recipe["keep"] = {"gold": {}}, {"gold": "gold_accepted and answer <> '5'"}
    dataset = lab().dataset
    assert dataset is not None
    found = summary.rows(dataset, "gold", 9)
    told = [(row["answer"], row["outcome"], row["gold_accepted"], row["gold_reason"]) for row in found]
    assert told[0] == ("5", "fail", True, "")
    assert told[1] == ("none", "unknown", None, "the reference answer names no choice: 'none'")
    assert summary.counted(dataset, "gold") == len(told)
    assert summary.counted(dataset, None) == dataset.manifest["counts"]["kept"]


def test_hits_of_the_guess_test_are_counted_by_kind_of_answer(lab: Lab) -> None:
    lab.source("sums", sums((1, 4), (3, 4), (2, 2)))
    lab.recipe["annotate"] = {"form": {}, "guess": {"model": "policy", "n": 4}}
    lab.recipe["keep"] = {}
    dataset = lab().dataset
    assert dataset is not None
    assert summary.summary(dataset)["guesses"] == {"guess": [{"kind": "integer", "guessed": 2, "tested": 3}]}


def test_rates_are_told_by_tenths_where_sampling_stopped_early(lab: Lab) -> None:
    dataset = lab(settle="early").dataset
    assert dataset is not None
    bins = {b["passes"]: b["problems"] for b in summary.summary(dataset)["pass_rates"]["pass_rate"] if b["problems"]}
    assert bins == {"0": 3, "0.6 to 0.7": 2, "1": 1}
