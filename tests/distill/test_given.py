"""Traces that come with the problems: taken over, graded and decided on like any others."""

from pathlib import Path
from typing import Any

import pytest
from distilling import distilling, rows, traces
from fake_server import NAME
from lab import Lab

from flows.curate import Outcome

URL = "http://127.0.0.1:1/v1"
"""Nothing is drawn, so no server is there."""


def thought(answer: str) -> str:
    return f"<think>\nOne counts on, so it is {answer}.\n</think>\n\nThe answer is {answer}"


def problem(prompt: str, answer: str, **meta: Any) -> dict[str, Any]:
    return {"prompt": prompt, "answer": answer, "meta": meta}


PROBLEMS = [
    problem("right", "7", one=thought("7"), many=[thought("7"), "So I say 8. The answer is 8"]),
    problem("wrong", "7", one=thought("8"), many=[thought("7"), thought("7"), None, "", thought("07")]),
    problem("empty", "7", one="", many=[]),
    problem("blank", "7", one="  \n", many=[" "]),
    problem("none", "7"),
    problem("apart", "7", one="The answer is 7", thinking="One counts on, so it is 7.", many=None),
    problem("marked", "7", one="<think>\nSo it is <|im_end|> 7.\n</think>\n\nThe answer is 7"),
]
OTHERS = [problem("other", "7", one=thought("7"))]
SETS = {
    "one": {"is": "sft", "traces": "one", "max_faulty": 0.5, "select": {"k": None}},
    "all": {"is": "sft", "traces": "one", "keep": {"right": None}, "max_faulty": 0.5, "select": {"k": None}},
    "many": {
        "is": "sft",
        "traces": "many",
        "keep": {"well_formed": None},
        "select": {"k": None},
    },
}


@pytest.fixture(scope="module")
def runs(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Outcome, Lab]:
    """A run, and one after a trace has changed in the source."""
    lab = distilling(Lab(tmp_path_factory.mktemp("given"), {"model": NAME, "url": URL}), model_folder)
    lab.recipe["traces"] = {
        "one": {"text": "meta->>'$.one'", "thinking": "meta->>'$.thinking'"},
        "many": {"text": "(meta->'$.many')::varchar[]"},
    }
    lab.recipe["sets"] = SETS
    lab.source("sums", PROBLEMS)
    lab.source("others", OTHERS)
    before = lab()
    lab.source("sums", [problem("right", "7", one=thought("7")), problem("wrong", "7", one=thought("7"))])
    return before, lab(), lab


def by_prompt(outcome: Outcome, config: str) -> list[tuple[str, int, bool | None, str | None]]:
    """Of every trace: problem, index, whether it is right, and what dropped it."""
    assert outcome.dataset is not None
    con = outcome.dataset.store.connect()
    prompts = dict(con.execute(f"select id, prompt from {outcome.dataset.decisions()}").fetchall())
    found = [(prompts[t["id"]], t["sample_index"], t["correct"], t["dropped_by"]) for t in traces(outcome, config)]
    return sorted(found)


def test_a_text_is_graded_and_decided_on_and_none_is_no_trace(runs: tuple[Outcome, Outcome, Lab]) -> None:
    assert by_prompt(runs[0], "one") == [
        ("apart", 0, True, None),
        ("marked", 0, True, "template"),
        ("other", 0, True, None),
        ("right", 0, True, None),
        ("wrong", 0, False, "right"),
    ]


def test_rules_may_let_wrong_ones_pass(runs: tuple[Outcome, Outcome, Lab]) -> None:
    assert {row["prompt"][0]["content"] for row in rows(runs[0], "all")} == {"apart", "other", "right", "wrong"}


def test_thinking_that_stands_apart_comes_into_the_students_form(runs: tuple[Outcome, Outcome, Lab]) -> None:
    [row] = [row for row in rows(runs[0], "one") if row["prompt"][0]["content"] == "apart"]
    assert row["completion"][0]["content"] == thought("7")


def test_of_a_list_every_text_is_a_trace_and_equal_ones_are_one(runs: tuple[Outcome, Outcome, Lab]) -> None:
    assert by_prompt(runs[0], "many") == [
        ("right", 0, True, None),
        ("right", 1, False, "right"),
        ("wrong", 0, True, None),
        ("wrong", 4, False, "right"),
    ]


def test_what_changed_in_the_source_is_taken_over_anew(runs: tuple[Outcome, Outcome, Lab]) -> None:
    assert runs[1].new
    assert by_prompt(runs[1], "one") == [
        ("other", 0, True, None),
        ("right", 0, True, None),
        ("wrong", 0, True, None),
    ]


def test_a_source_that_did_not_change_is_not_taken_over_again(runs: tuple[Outcome, Outcome, Lab]) -> None:
    before, after, lab = runs
    [other] = [row for row in rows(before, "one") if row["prompt"][0]["content"] == "other"]
    assert other in rows(after, "one")
    assert [row["problem_id"] for row in lab.stored("rollouts")].count(other["id"]) == 1


def test_a_trace_that_the_template_does_not_keep_has_its_reason(runs: tuple[Outcome, Outcome, Lab]) -> None:
    [faulty] = [row for row in traces(runs[0], "one") if row["fault"]]
    assert faulty["fault"] == "the text of thinking holds '<|im_end|>', which is a token that ends or begins something"
    assert not faulty["kept"]
