import itertools

import pytest

from distill.detect.repetition import NONE, Loops, loops
from distill.detect.words import tokens

PROSE = (
    "We need the number of ways to seat five people around a table. Rotations count as one, so fix the first person. "
    "The others can sit in any order, which gives twenty four ways. Reflections differ here because the table has a front. "
)


def found(text: str) -> Loops:
    return loops(text, tokens(text))


@pytest.mark.parametrize(
    ("turn", "turns"),
    [
        ("Wait, let me check again. ", 40),
        ("Wait, let me check again.\n\n", 40),
        ("has, ", 100),
        ("So the last digit is 0,\nand the number ends in 20. Wait, no, it ends in 0. ", 8),
        ("\\frac{1}{2} = e^{i\\pi/6} = ", 60),
        ("让我再检查一遍这个计算。", 12),
        ("ох уж эта задача, начнём сначала. ", 15),
    ],
)
def test_a_phrase_over_and_over_is_a_loop(turn, turns):
    text = PROSE + turn * turns
    loop = found(text)
    assert loop.share > 0.4
    assert loop.longest > 48
    assert loop.at is not None
    assert abs(loop.at[0] - len(PROSE)) < 40
    assert len(text) - loop.at[1] < 20


def test_the_phrase_is_one_turn():
    assert found(PROSE + "Wait, let me check again. " * 40).phrase == "Wait, let me check again"


def test_turns_may_differ_by_a_word_or_a_counter():
    ordinals = ["first", "second", "third", "fourth", "fifth", "last"] * 4
    by_a_word = "\n".join(f"Wait, maybe the {which} condition of the problem was not used yet." for which in ordinals)
    counted = "\n".join(f"Attempt {turn}: that is not right either, let me try once more." for turn in range(1, 20))
    assert found(PROSE + by_a_word).share > 0.5
    assert found(PROSE + counted).share > 0.5


def test_paragraphs_that_take_turns_are_a_loop():
    one = "Maybe the base is two and the height is three, so the area is half of six. "
    other = "But then the perimeter would not be an integer, which contradicts what is given. "
    assert found(PROSE + (one + other) * 5).share > 0.5


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "",
        "no",
        "\n".join(f"17 times {k} is {17 * k}" for k in range(1, 40)),
        "\n".join(
            f"If n = {k}, then the expression equals {k * k + 1}, which is not divisible by 7." for k in range(1, 40)
        ),
        "\n".join(f"Is {k} divisible by 3? No." for k in range(1, 80, 3)),
        "\n".join(
            f"12345 * {k} = {12345 * k}, shifted by {k} places that is {12345 * k * 10**k}" for k in range(1, 12)
        ),
        "\n".join(" | ".join(cell) for cell in itertools.product(["yes", "no"], repeat=4)),
        "\n".join("0 0 0 0 1 0 0 0" for _ in range(8)),
        "\\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix} " * 6,
        "|---|---|\n" * 40 + "-" * 500,
        (PROSE + "Let me verify that. ") * 3,
    ],
)
def test_what_comes_again_for_a_reason_is_no_loop(text):
    assert found(text) == NONE


def test_a_text_without_blanks_loops_in_its_characters():
    loop = found("The answer is " + "ha" * 300)
    assert loop.phrase in {"ha", "ah"}
    assert loop.share > 0.9


def test_millions_of_characters_take_no_quadratic_work():
    assert found("wait " * 400_000).share > 0.99
    assert found("a" * 4_000_000).share > 0.99
