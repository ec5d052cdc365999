"""Problems that ask the same, whatever way they are written; and whether they agree on the answer."""

from typing import Any

import pyarrow as pa
import pytest

from curation import problem
from curation.duplicates import Duplicates, normalized


def found(*rows: tuple[str, str | None] | tuple[str, str | None, str]) -> list[dict[str, Any]]:
    """(prompt, answer[, verifier]) in, one dict a row out, ids a, b, c, …"""
    problems = pa.table(
        {
            "id": [chr(ord("a") + number) for number in range(len(rows))],
            "prompt": [row[0] for row in rows],
            "messages": pa.array([[] for _ in rows], problem.MESSAGES),
            "answer": pa.array([row[1] for row in rows], pa.string()),
            "verifier": [row[2] if len(row) == 3 else "math" for row in rows],
            "verifier_args": pa.array([None for _ in rows], pa.string()),
        }
    )
    return sorted(Duplicates().annotate(problems).to_pylist(), key=lambda row: row["id"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 2 + 3?", "what is 2+3"),
        ("Find $\\dfrac{1}{2}$.", "Find \\( \\frac{1}{2} \\)"),
        ("Let $\\left( x \\right)$ be", "let (x) be"),
        ("已知 x=1，求 y。", "已知x = 1, 求y."),
        ("Ａ １２", "a 12"),
        ("one\n\ttwo", "one two"),
    ],
)
def test_spelling_makes_no_difference(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 2 + 3?", "What is 2 - 3?"),
        ("What is 2 + 3?", "What is 2 + 4?"),
        ("What is 23?", "What is 2 3?"),
        ("What is 1.5?", "What is 15?"),
        ("Compute n!", "Compute n"),
        ("Find \\sin x", "Find \\cos x"),
        ("Find f'(x)", "Find f(x)"),
        ("dog bites man", "man bites dog"),
        ("x^2", "x_2"),
        ("is a < b", "is a > b"),
    ],
)
def test_numbers_operators_and_order_are_kept(one: str, other: str) -> None:
    assert normalized(one) != normalized(other)


def test_a_text_of_punctuation_alone_is_still_itself() -> None:
    assert normalized("???") != normalized("...")


def test_duplicates_share_a_cluster_named_by_the_smallest_id() -> None:
    rows = found(("What is 1 + 1?", "2"), ("What is 1 + 2?", "3"), ("what is 1+1", "2"))
    assert [row["has_duplicate"] for row in rows] == [True, False, True]
    assert [row["cluster"] for row in rows] == ["a", "b", "a"]
    assert [row["cluster_size"] for row in rows] == [2, 1, 2]


def test_answers_conflict_only_where_the_verifier_finds_them_different() -> None:
    rows = found(("half?", "0.5"), ("Half?", "\\frac{1}{2}"), ("third?", "1/3"), ("Third?", "1/4"))
    assert [row["answer_conflict"] for row in rows] == [False, False, True, True]


def test_an_answer_that_cannot_be_compared_leaves_the_conflict_unknown() -> None:
    rows = found(("tower?", "2"), ("Tower?", "10^{10^{10^{10^{10}}}}+1"))
    assert [row["answer_conflict"] for row in rows] == [None, None]


def test_a_missing_answer_conflicts_with_nothing() -> None:
    rows = found(("why?", "because", "exact"), ("Why?", None, "exact"))
    assert [row["answer_conflict"] for row in rows] == [False, False]
    assert rows[0]["has_duplicate"]


def test_earlier_turns_are_part_of_what_is_asked() -> None:
    problems = pa.table(
        {
            "id": ["a", "b"],
            "prompt": ["And then?", "And then?"],
            "messages": pa.array(
                [[{"role": "user", "content": "one"}], [{"role": "user", "content": "two"}]], problem.MESSAGES
            ),
            "answer": ["1", "2"],
            "verifier": ["math", "math"],
            "verifier_args": pa.array([None, None], pa.string()),
        }
    )
    assert Duplicates().annotate(problems)["has_duplicate"].to_pylist() == [False, False]
