"""The letter that a completion settles on."""

import pytest

from curation.verify import grade

CHOICES = '{"choices": ["10", "a dog", "12", "7"]}'


@pytest.mark.parametrize(
    "completion",
    [
        "C",
        "c",
        "(C)",
        "（Ｃ）",
        r"\boxed{C}",
        r"$\boxed{\mathbf{C}}$",
        r"\boxed{\text{(C) } 12}",
        r"The answer is $\textbf{(C)}\ 12$",
        "The answer is (C).",
        "The answer is C. A is too small.",
        "**Answer:** **C**",
        "Answer: C because A is wrong",
        "答案是C",
        "C) 12",
        "C: 12",
        "So it must be option C.",
        "Therefore C",
        "The answer is C) 12, not B",
        "<answer>C</answer>",
    ],
)
def test_these_choose_c(completion: str) -> None:
    assert grade("choice", "C", completion).outcome == "correct"
    assert grade("choice", "C", completion, CHOICES).outcome == "correct"
    assert grade("choice", "B", completion).outcome == "wrong"


@pytest.mark.parametrize(
    "completion",
    [
        "A or C",
        "The answer is A or C",
        "(A) and (C)",
        r"\boxed{A, C}",
        "A) 3  B) 4  C) 5",
        "The answer is C or maybe D",
        "The answer is C but B",
        "The answer is C|B",
        "The answer is C (or B)",
        r"\boxed{A B C D}",
        r"\boxed{C\\B}",
    ],
)
def test_two_letters_are_ambiguous(completion: str) -> None:
    verdict = grade("choice", "C", completion)
    assert (verdict.outcome, verdict.reason) == ("wrong", "ambiguous: more than one choice is named")


@pytest.mark.parametrize("completion", ["A train leaves at 5", "I think it's hard.", "I would answer A dog", "", "12"])
def test_prose_chooses_nothing(completion: str) -> None:
    assert grade("choice", "C", completion).reason == "no choice found"


@pytest.mark.parametrize("completion", ["The answer is not C", "The answer is all but C.", "It isn't C.", "答案不是C"])
def test_a_letter_that_is_denied_is_not_chosen(completion: str) -> None:
    assert grade("choice", "C", completion).reason == "no choice found"
    assert grade("choice", "B", "The answer is not C but B").outcome == "correct"


@pytest.mark.parametrize(("completion", "letter"), [("12", "C"), (r"\boxed{7}", "D"), ("The answer is a dog.", "B")])
def test_the_text_of_a_choice_stands_for_its_letter(completion: str, letter: str) -> None:
    assert grade("choice", letter, completion, CHOICES).outcome == "correct"


def test_a_letter_beyond_the_choices_is_none() -> None:
    assert grade("choice", "C", "E", CHOICES).reason == "no choice found"


@pytest.mark.parametrize("answer", ["C", "(C)", "C. 12", "12", r"\text{C}", r"\boxed{C}"])
def test_the_reference_may_be_written_in_these_ways(answer: str) -> None:
    assert grade("choice", answer, "C", CHOICES).outcome == "correct"


@pytest.mark.parametrize("answer", ["AC", "A and C", "13"])
def test_a_reference_that_is_not_one_choice_is_an_error(answer: str) -> None:
    assert grade("choice", answer, "C", CHOICES).outcome == "error"
