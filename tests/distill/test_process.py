"""Process labels: lists of steps and labels from columns of problems, and what is refused."""

import json
from typing import Any

import pyarrow as pa
import pytest

from curation.duck import connect
from distill.process import STEPS, Steps, steps_of

IN_META = {"completions": "meta->'$.steps'", "labels": "meta->'$.labels'"}


def found(*metas: dict[str, Any] | None, rows: int = 512, **sql: str) -> list[dict[str, Any]]:
    """What is read of problems with such a `meta`."""
    con = connect()
    meta = pa.array([None if meta is None else json.dumps(meta) for meta in metas], pa.string())
    ids = [f"p{n}" for n in range(len(metas))]
    con.register(
        "problems", pa.table({"id": ids, "split": ["train"] * len(ids), "prompt": ["1+1?"] * len(ids), "meta": meta})
    )
    return [row for table in steps_of(con, "problems", Steps(**{**IN_META, **sql}), rows) for row in table.to_pylist()]


def fault(steps: Any, labels: Any, **sql: str) -> str | None:
    (row,) = found({"steps": steps, "labels": labels}, **sql)
    assert (row["labels"] is None) == (row["fault"] is not None)
    return row["fault"]


def test_steps_and_labels_are_read_as_stepwise_supervision_has_them():
    (row,) = found({"steps": ["Let x be 1, say.", "So 2."], "labels": [True, False]})
    assert row == {
        "id": "p0",
        "split": "train",
        "prompt": "1+1?",
        "completions": ["Let x be 1, say.", "So 2."],
        "labels": [True, False],
        "fault": None,
    }


def test_problems_without_steps_and_labels_are_no_rows():
    metas = [None, {}, {"steps": None, "labels": None}, {"steps": ["a"], "labels": [1]}, {"other": 1}]
    assert [row["id"] for row in found(*metas)] == ["p3"]
    assert found(None) == []


def test_labels_are_true_or_false_or_one_or_zero():
    assert [row["labels"] for row in found({"steps": ["a", "b"], "labels": [1, 0]})] == [[True, False]]
    assert fault(["a", "b", "c"], [1, -1, 0]) == "label 2 is neither true nor false: -1"
    assert fault(["a"], [None]) == "label 1 is neither true nor false: null"
    assert fault(["a", "b"], [True, "good"]) == "label 2 is neither true nor false: good"


def test_other_ratings_are_read_by_sql():
    ratings = "list_transform((meta->'$.labels')::int[], lambda rating: rating >= 0)"
    assert [row["labels"] for row in found({"steps": ["a", "b"], "labels": [-1, 0]}, labels=ratings)] == [[False, True]]


@pytest.mark.parametrize(
    ("steps", "labels", "said"),
    [
        (["a", "b"], [True], "2 steps, 1 labels"),
        ([], [], "there are no steps"),
        (["a", "  "], [True, True], "step 2 is empty"),
        (["a", None], [True, True], "step 2 is empty"),
        (["a"], None, "there are steps without labels"),
        (None, [True], "there are labels without steps"),
        ("a\nb", [True], "the steps are no list"),
        (["a"], {"first": True}, "the labels are no list"),
    ],
)
def test_lists_that_make_no_sense_are_refused_with_the_reason(steps: Any, labels: Any, said: str):
    assert fault(steps, labels) == said


def test_a_problem_without_a_prompt_is_refused():
    assert fault(["a"], [True], prompt="nullif(prompt, '1+1?')") == "there is no prompt"


def test_lists_may_be_json_text_and_are_read_as_a_stream():
    assert fault('["a"]', [True], completions="meta->>'$.steps'") is None
    rows = found(*[{"steps": [f"step {n}"], "labels": [True]} for n in range(3000)], rows=1000)
    assert [row["completions"] for row in rows] == [[f"step {n}"] for n in range(3000)]


def test_columns_that_are_lists_are_taken_as_they_are():
    con = connect()
    table = {"id": ["p"], "split": ["test"], "prompt": ["?"], "steps": [["a", "b"]], "good": [[True, False]]}
    con.register("problems", pa.table(table))
    (read,) = steps_of(con, "problems", Steps(completions="steps", labels="good"))
    assert read.schema == STEPS
    assert (read["completions"].to_pylist(), read["labels"].to_pylist()) == ([["a", "b"]], [[True, False]])


def test_sql_that_does_not_fit_is_told_by_its_key():
    columns = pa.schema([("prompt", pa.string()), ("meta", pa.string()), ("passes", pa.int64())])
    assert Steps(**IN_META).mistakes(columns) == []
    assert Steps(**IN_META).reads == {"meta", "prompt"}
    assert Steps(completions="passes", labels="label", prompt="passes").mistakes(columns) == [
        "completions: 'passes' gives BIGINT, neither a list nor its JSON text",
        "labels: 'label' names no known column: label; known are prompt, meta, passes",
        "prompt: 'passes' gives BIGINT, not text",
    ]
