"""What holds for every answer, over a few hundred examples; tests/slow/verify has a hundred thousand."""

import sys
from fractions import Fraction
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from strange import answers, mutated, pieces, spellings, texts

from curation.verify import grade
from curation.verify.latex import plain, tight
from curation.verify.numbers import number, same
from curation.verify.parts import parts

fractions = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=999)


@settings(max_examples=60)
@given(value=fractions, data=st.data())
def test_a_number_equals_itself_in_every_spelling(value: Fraction, data: st.DataObject) -> None:
    gold, stated = (data.draw(st.sampled_from(spellings(value))) for _ in range(2))
    assert grade("math", gold, f"\\boxed{{{stated}}}").outcome == "correct"


@given(a=fractions, b=fractions, data=st.data())
def test_different_fractions_differ_in_every_spelling(a: Fraction, b: Fraction, data: st.DataObject) -> None:
    gold, stated = data.draw(st.sampled_from(spellings(a))), data.draw(st.sampled_from(spellings(b)))
    assert grade("math", gold, f"\\boxed{{{stated}}}").outcome == ("correct" if a == b else "wrong")


@given(value=st.integers(-(10**12), 10**12), other=st.integers(-(10**12), 10**12))
def test_integers_are_equal_only_to_themselves(value: int, other: int) -> None:
    assert (grade("math", str(value), f"The answer is {other}.").outcome == "correct") == (value == other)


@given(value=st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=1000, places=6))
def test_a_decimal_is_read_exactly(value: object) -> None:
    read = number(str(value))
    assert read is not None
    assert read.value == Fraction(str(value))


@given(exact=fractions, digits=st.integers(1, 9))
def test_a_rounded_decimal_stands_for_a_fraction_from_four_digits_on(exact: Fraction, digits: int) -> None:
    gold, rounded = number(f"{exact.numerator}/{exact.denominator}"), number(f"{float(exact):.{digits}f}")
    assert gold is not None
    assert rounded is not None
    if exact.denominator != 1 and rounded.value != exact:
        assert same(gold, rounded) == (rounded.digits >= 4)


@given(text=texts)
def test_reading_never_raises_and_is_stable(text: str) -> None:
    once = plain(text)
    assert tight(tight(once)) == tight(once)
    assert parts(once).texts


@settings(max_examples=200)
@given(answer=mutated() | answers, completion=pieces | mutated())
def test_grading_never_raises(answer: str, completion: str) -> None:
    verdict = grade("math", answer, completion)
    assert verdict.outcome in ("correct", "wrong", "error")
    assert "Error:" not in verdict.reason


@settings(max_examples=150)
@given(a=answers, b=answers)
def test_equality_is_symmetric_among_answers_without_decimals(a: str, b: str) -> None:
    there, back = grade("math", a, f"\\boxed{{{b}}}").outcome, grade("math", b, f"\\boxed{{{a}}}").outcome
    assert there == back
    assert there != "error"
