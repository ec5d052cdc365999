"""Numbers, units and parts, as they are read from plain text."""

from fractions import Fraction

import pytest

from curation.verify.latex import plain, tight
from curation.verify.numbers import number
from curation.verify.parts import Parts, parts
from curation.verify.units import measured


@pytest.mark.parametrize(
    ("text", "value", "places"),
    [
        ("12", 12, None),
        ("+1,234.50", Fraction("1234.5"), 2),
        (".5", Fraction(1, 2), 1),
        ("-3/4", Fraction(-3, 4), None),
        (r"\frac{-3}{4}", Fraction(-3, 4), None),
        (r"-2\frac{1}{3}", Fraction(-7, 3), None),
        ("2 1/3", Fraction(7, 3), None),
        ("1.50e3", 1500, -1),
        (r"1.5\times 10^{-3}", Fraction(3, 2000), 4),
        ("10^{-3}", Fraction(1, 1000), None),
    ],
)
def test_a_plain_number(text: str, value: Fraction, places: int | None) -> None:
    assert number(text) == (value, places)


@pytest.mark.parametrize(
    "text", ["1/0", "12,34", "50%", "2^{10}", "1.2.3", "1e999999999", "", "+", "x", "9" * 500, "3.10^2"]
)
def test_these_are_no_plain_numbers(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("102 kPa", "102", "kPa"),
        (r"15\mbox{ cm}^2", "15", "cm^2"),
        ("15 square centimeters", "15", "cm^2"),
        ("3 m/s", "3", "m / s"),
        ("3 meters per second", "3", "m / s"),
        (r"\$18", "18", "$"),
        ("18 dollars", "18", "$"),
        (r"50\%", "50", "%"),
        (r"90^\circ", "90", "°"),
        ("7 red apples", "7", ""),
        ("1010_{2}", "1010", "base 2"),
        (r"2F_{\text{sixteen}}", r"2F_{\text{sixteen}}", ""),
        ("12平方厘米", "12", "cm^2"),
        ("5个", "5", ""),
        ("5或7", "5或7", ""),
        ("8 pm", "8", "pm"),
        ("5 or seven", "5 or seven", ""),
        ("2xy", "2xy", ""),
        (r"2\sqrt{3}\text{ cm}", r"2\sqrt{3}", "cm"),
        ("5m", "5m", ""),
        ("5 x", "5 x", ""),
        ("2 sin x", "2 sin x", ""),
        (r"x^{\text{max}}", r"x^{\text{max}}", ""),
    ],
)
def test_a_value_and_its_unit(text: str, value: str, unit: str) -> None:
    assert measured(plain(text))[:2] == (value, unit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", Parts("one", ("5",))),
        ("1,000", Parts("one", ("1,000",))),
        ("1,000, 2,000", Parts("list", ("1,000", "2,000"))),
        ("10,100,1000", Parts("list", ("10", "100", "1000"))),
        ("x = 1 or x = 2", Parts("list", ("x = 1", "x = 2"))),
        (r"\{1, 2\}", Parts("set", ("1", "2"))),
        ("(1, 2)", Parts("round", ("1", "2"))),
        ("((1))", Parts("one", ("1",))),
        ("(1,2),(3,4)", Parts("list", ("(1,2)", "(3,4)"))),
        ("[0, 1)", Parts("half-open", ("0", "1"), "[)")),
        ("[1, 2, 3]", Parts("square", ("1", "2", "3"))),
        (r"(0,1) \cup [2,3]", Parts("union", ("(0,1)", "[2,3]"))),
        (r"2 \pm \sqrt{3}", Parts("list", (r"2 + \sqrt{3}", r"2 - \sqrt{3}"))),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", Parts("round", ("1", "2"))),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", Parts("matrix", ("1", "2", "3", "4"), "2")),
        (r"x \in (0,1)", Parts("round", ("0", "1"))),
        ("(1, 2", Parts("one", ("(1, 2",))),
        (r"f(1,2)", Parts("one", ("f(1,2)",))),
    ],
)
def test_the_parts_of_an_answer(text: str, expected: Parts) -> None:
    assert parts(plain(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"$\dfrac{1}{2}$.", r"\frac{1}{2}"),
        (r"\left( 1 ,\, 2 \right)", "(1,2)"),
        (r"\frac12", r"\frac{1}{2}"),
        (r"11,\! 111", "11111"),
        ("10⁻²⁷", "10^{-27}"),
        ("2½", r"2\frac{1}{2}"),
        ("3√13", r"3\sqrt{13}"),
        ("１２", "12"),
        ("1\u200b2", "12"),
        ("\u202e12", "\u202e12"),
        (r"12^{\text{th}}", "12"),
        (r"x\le5", r"x\le5"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ],
)
def test_one_spelling(text: str, expected: str) -> None:
    assert tight(plain(text)) == expected
