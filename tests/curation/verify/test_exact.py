"""Equality of text after normalising."""

import pytest

from curation.verify import grade


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("5", " 5"),
        ("blue", "so the answer is: blue."),
        ("blue", "The answer is **blue**."),
        ("blue", r"\boxed{\text{blue}}"),
        ("New York", "<answer>New\n York</answer>"),
        ("ＡＢ１", "AB1"),
        ("a b\nc", "It is\na b\nc"),
        (r"\boxed{blue}", "blue"),
    ],
)
def test_correct(answer: str, completion: str) -> None:
    assert grade("exact", answer, completion).outcome == "correct"


@pytest.mark.parametrize(
    ("answer", "completion", "extracted"),
    [
        ("blue", "Blue", "Blue"),
        ("5", "5 apples", "5 apples"),
        ("blue", "blue\nred", "red"),
        ("blue", "", None),
    ],
)
def test_wrong(answer: str, completion: str, extracted: str | None) -> None:
    verdict = grade("exact", answer, completion)
    assert (verdict.outcome, verdict.extracted) == ("wrong", extracted)


def test_case_is_ignored_when_asked() -> None:
    assert grade("exact", "Blue", "BLUE", '{"ignore_case": true}').outcome == "correct"
