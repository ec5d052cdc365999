"""`grade`: one door to all verifiers; a measurement that failed is `error`."""

import subprocess
import sys

import pytest

from curation import verify
from curation.verify import Verdict


def test_an_unknown_verifier_is_named_with_the_nearest_known() -> None:
    with pytest.raises(ValueError, match=r"unknown verifier 'maths': known are math, .*did you mean 'math'"):
        verify.grade("maths", "5", "5")


@pytest.mark.parametrize("answer", [None, "", " \n"])
@pytest.mark.parametrize("name", ["math", "exact", "choice"])
def test_a_problem_without_an_answer_is_unknown(name: str, answer: str | None) -> None:
    """What the completion answers is told all the same."""
    assert verify.grade(name, answer, "5") == Verdict("error", "5", "the problem has no answer")


@pytest.mark.parametrize(("name", "answer"), [("math", "5"), ("exact", "5"), ("choice", "C")])
def test_unclosed_thinking_is_wrong(name: str, answer: str) -> None:
    assert verify.grade(name, answer, f"<think>{answer}") == Verdict("wrong", None, "thinking was not closed")


@pytest.mark.parametrize("args", ["{", "[1]", '{"dataset": "no such"}'])
def test_what_a_verifier_raises_is_the_reason(args: str) -> None:
    verdict = verify.grade("reasoning-gym", "5", "5", args)
    assert verdict.outcome == "error"
    assert verdict.reason.split(":")[0] in ("JSONDecodeError", "ValueError", "KeyError")


@pytest.mark.parametrize(
    ("name", "answer", "args"),
    [
        ("math", r"\frac{1}{2}", None),
        ("math", "$x^2+1$", None),
        ("math", r"\{1, 2\}", None),
        ("math", "#### 7", None),
        ("exact", "New  York.", None),
        ("exact", "two\nlines", None),
        ("exact", "}{", None),
        ("choice", "C", None),
        ("choice", "(C)", None),
        ("choice", "12", '{"choices": ["10", "11", "12"]}'),
    ],
)
def test_every_verifier_accepts_the_answer_it_writes(name: str, answer: str, args: str | None) -> None:
    assert verify.grade(name, answer, verify.as_completion(name, answer, args), args).outcome == "correct"


def test_every_verifier_has_a_version() -> None:
    assert verify.versions() == {
        "math": 3,
        "exact": 3,
        "choice": 3,
        "reasoning-gym": 3,
        "code": 2,
        "instructions": 2,
    }


def test_naming_and_versions_import_nothing_heavy() -> None:
    program = "import sys, curation.verify as v; v.versions(); import curation.verify.pool; print({'sympy', 'math_verify', 'reasoning_gym', 'numpy'} & set(sys.modules))"  # noqa: E501
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
