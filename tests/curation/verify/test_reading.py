"""What of a statement in prose is compared."""

import pytest

from curation.verify.extract import stated_answer
from curation.verify.reading import formula


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"\boxed{12 \text{ dollars}}", r"12 \text{ dollars}"),
        ("The answer is 5.", "5"),
        ("The answer is $x = 3$ because $y = 2$.", "x = 3"),
        ("The answer is 5 because 2 + 3 = 5.", "5"),
        ("The answer is $5$ or $7$.", "5 or 7"),
        ("The answer is $5$ or perhaps $7$, I think.", "5, 7"),
        ("The answer is 5, although it might be 7.", "5, 7"),
        ("The answer is $5$ plus $7$", "5, 7"),
        ("The answer is not 5, it is 6.", "6"),
        ("The answer is 5, not 6.", "5"),
        ("It is 5, not 6.", "5"),
        ("Not 7.\nIt is 5.\nIt is not 4 or 6.", None),
        ("The answer is negative 5", "-5"),
        ("The answer is less than 5", None),
        ("The answer is 5 squared.", None),
        ("The answer is $5$ million.", "5 million"),
        (r"\boxed{\text{The answer is 5}}", "5"),
        ("**4**\n\n(Confidence: 90%)", "4"),
        ("So it is 5.\n\nLet me know if you want 2 more examples!", "5"),
        ("Yes, because 3 divides 9.", "Yes"),
        ("答案是12厘米。", r"12 \text{厘米}"),
        ("So we find $x = 5$ or $x = 7$.", "x = 5, x = 7"),
        ("The answer is 5. Or is it 7?", "5"),
        ("The answer is $5$ km.", "5 km"),
        ("The answer is $5$ km a day.", r"5 \text{km}"),
        ("The answer is $28$ %", "28 %"),
        ("The answer is no solution", "no solution"),
        ("That makes 7 animals.", "7"),
        ("There are 3 dogs and 4 cats.", "4"),
        ("It lies between 12 and 13.", "12, 13"),
        ("So the units digit of \\(18^6\\) is 4.", "4"),
        ("She pays $120 first and then $100, $220 in all.", "$100, $220"),
        ("so y = 2x + 1", "2x + 1"),
        ("réponse est (35 + 70 = 105).", "105"),
        ("Answer $$ \n 9 \n $$", "9"),
        ("\\begin{align*}\nx &= 4\n\\end{align*}", "x &= 4"),
        ("It is 42.\nI hope that this helps!", "42"),
        ("90 $^\\circ$", "90 ^\\circ"),
        ("$1$ and $2$", "1 and 2"),
        ("Monday", "Monday"),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_the_formula_of_a_completion(text: str, said: str | None) -> None:
    stated = stated_answer(text)
    assert (formula(stated, text) if stated else None) == said


@pytest.mark.parametrize("opening", ["$", "$1 ", "\\(", "\\[", "5 or ", "5, ", "= ", "(5", "5)", "1.", "$x$ and "])
def test_text_that_repeats_takes_linear_time(opening: str) -> None:
    text = opening * 50_000
    stated = stated_answer(text)
    assert stated is not None
    formula(stated, text)  # a quadratic pass would take minutes
