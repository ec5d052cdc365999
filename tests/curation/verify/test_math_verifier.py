"""Mathematical equality. Rows that need no algebra are graded here, the others in the pool, which has imported it."""

from fractions import Fraction

import pytest

from curation.verify import grade
from curation.verify.math import normalize, plain_number, quick_equal
from curation.verify.pool import GraderPool, Job


@pytest.mark.parametrize(
    ("answer", "completion", "outcome"),
    [
        ("5", " 5", "correct"),
        ("5", "The answer is 5.", "correct"),
        ("1000", r"\boxed{1,000}", "correct"),
        ("1000", r"\boxed{1{,}000}", "correct"),
        ("0.5", r"\boxed{\frac{1}{2}}", "correct"),
        ("-1/2", r"\boxed{-\dfrac{1}{2}}", "correct"),
        ("18", r"\boxed{\$18}", "correct"),
        ("18", "$18$", "correct"),
        ("-3", "−3", "correct"),
        (r"\frac{\pi}{2}", r"\boxed{\dfrac{\pi}{2}}", "correct"),
        ("5", r"\boxed{6}", "wrong"),
        ("5", r"It is 5, so \boxed{7}", "wrong"),
        ("5", "", "wrong"),
    ],
)
def test_without_algebra(answer: str, completion: str, outcome: str) -> None:
    assert grade("math", answer, completion).outcome == outcome


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("+1,234.50", Fraction("1234.5")),
        (".5", Fraction(1, 2)),
        ("-3/4", Fraction(-3, 4)),
        (r"\frac{-3}{4}", Fraction(-3, 4)),
        ("1/0", None),
        ("12,34", None),
        ("50%", None),
        ("9" * 300, None),
    ],
)
def test_plain_numbers(text: str, value: Fraction | None) -> None:
    assert plain_number(normalize(text)) == value


def test_near_numbers_are_left_to_math_verify() -> None:
    assert quick_equal("1/3", "0.3333333") is None
    assert quick_equal("1/3", "0.333") is False


@pytest.mark.parametrize(
    ("answer", "completion", "outcome"),
    [
        ("x+1", r"\boxed{1+x}", "correct"),
        ("x^2-1", r"\boxed{(x-1)(x+1)}", "correct"),
        (r"2\sqrt{3}", r"The answer is $\sqrt{12}$.", "correct"),
        ("1/3", r"\boxed{0.3333333}", "correct"),
        ("(1,2)", r"\boxed{(1, 2)}", "correct"),
        ("1, 2", r"\boxed{2 or 1}", "correct"),
        ("7", "There are 3 dogs and 4 cats.\nThat makes 7 animals.", "correct"),
        ("5", "It is 2+3", "correct"),
        ("x+1", r"\boxed{x+2}", "wrong"),
        ("5", "I do not know.", "wrong"),
        ("5", r"\boxed{\frac{1}{}", "wrong"),
        ("blue", r"\boxed{blue}", "correct"),
        ("blue", r"\boxed{red}", "error"),
    ],
)
def test_with_math_verify(pool: GraderPool, answer: str, completion: str, outcome: str) -> None:
    assert pool.submit(Job("math", answer, completion)).result().outcome == outcome


def test_the_reasons_say_which_side_could_not_be_read(pool: GraderPool) -> None:
    unreadable = pool.submit(Job("math", "blue", r"\boxed{red}")).result()
    assert unreadable.reason == "the reference answer cannot be read"
    nothing = pool.submit(Job("math", "5", "I do not know.")).result()
    assert nothing.reason == "no answer found"
