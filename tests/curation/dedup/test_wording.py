"""What makes two texts the same to read, and what keeps them apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.dedup.wording import Wording, normalized, pieces, wording, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 2 + 3?", "what is 2+3"),
        ("Find $\\dfrac{1}{2}$.", "Find \\( \\frac{1}{2} \\)"),
        ("Let $\\left( x \\right)$ be", "let (x) be"),
        ("已知 x=1，求 y。", "已知x = 1, 求y."),
        ("Ａ １２", "a 12"),
        ("one\n\ttwo", "one two"),
        ("$a_{2}^{} x^{3}$", "a_2 x^3"),
        ("1,986 and $12{,}345$ and 1\\,000\\,000", "1986 and 12345 and 1000000"),
        ("triangle $A B C$", "triangle ABC"),
        ("\\dfrac12 + \\cfrac{1}{2}", "\\frac{1}{2} + \\frac{1}{2}"),
        ("$x \\leq 2 \\times 3$", "x ≤ 2×3"),
        ("it costs \\$30", "it costs $30"),
        ("1, 2, \\ldots, 9", "1, 2, ..., 9"),
        ("Tom’s hat", "Tom's hat"),
        ("8. Find $x$.", "Find $x$"),
        ("2x + 3y", "2 x + 3 y"),
        ("\\log2x", "\\log 2x"),
        ("$x \\geqslant 1 \\rightarrow y \\neq 2$", "x ≥ 1 → y ≠ 2"),
        ("$\\{x \\mid x > 0\\}$", "$\\left\\{ x | x > 0 \\right\\}$"),
        ("\\begin{aligned} x &= 1 \\\\ y &= 2 \\end{aligned}", "\\begin{align*}x=1\\\\y=2\\end{align*}"),
        ("$90^{\\circ}$ and $f^{\\prime}$", "90° and f'"),
        ("a \\text{ cm} \\quad b \\, c \\; d", "a cm b c d"),
        ("$\\frac1{20}$, $\\sqrt{3}$", "\\frac{1}{20} \\sqrt3"),
        ("x² + x₁ + 2π", "x^2 + x_{1} + 2\\pi"),
        ("约 １，０００ 米", "约1000米"),
        ("٣ apples", "3 apples"),
        ("$1,\\!000$", "1000"),
        ("Find x. Let's think step by step and output the final answer within \\boxed{}.", "Find x"),
        ("Find x.\n\nPlease reason step by step, and put your final answer within $\\boxed{}$", "Find x"),
        ("a\u200bb \u2028 c", "ab c"),
        ("a\0b", "a b"),
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
        ("What is .5?", "What is 5?"),
        ("the pair 1, 200", "the pair 1200"),
        ("1,98 6", "1986"),
        ("8.5 Find x", "Find x"),
        ("8. Is it 5. Or not", "Is it Or not"),
        ("a \\rightarrow b", "a b"),
        ("x^{10}", "x^1 0"),
        ("Compute n!", "Compute n"),
        ("Find \\sin x", "Find \\cos x"),
        ("Find f'(x)", "Find f(x)"),
        ("dog bites man", "man bites dog"),
        ("x^2", "x_2"),
        ("is a < b", "is a > b"),
        ("x1 and x2", "x 1 and x 2"),
        ("H2O", "H 2 O"),
        ("the pair (1,234)", "the pair (1234)"),
        ("f(1,200)", "f(1200)"),
        ("[1,450]", "[1450]"),
        ("{400,401,402,\\ldots,499}", "{400401402,\\ldots,499}"),
        ("100,200,300,...", "100200300"),
        ("2^{n+1}", "2^n+1"),
        ("\\{1\\}", "{1}"),
        ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&2&3&4\\end{pmatrix}"),
        ("\\mathbb{R}", "R"),
        ("Think step by step", "Find x. Think step by step"),
        ("ΔABC ∈ S", "ΔABC ∉ S"),
        ("café", "cafe"),
        ("\ud800", "\udfff"),
    ],
)
def test_numbers_operators_and_order_are_kept(one: str, other: str) -> None:
    assert normalized(one) != normalized(other)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("w12 H2O x1", "w12 h2o x1"),
        ("2x 12ab3", "2 x 12 ab3"),
        ("3.14, .5 and 5. End.2", "3.14 .5 and 5 end 2"),
        ("It cost $1,234 (of 5,678), then", "it cost 1234 ( of 5 678 ) then"),
        ("\\frac{12}{3}x^{10}", "\\frac 12 3 x ^ 10"),
        ("\\alpha2", "\\alpha 2"),
        ("求 $x+1$ 的值。", "求 x + 1 的 值"),
        ("naïve Straße", "naïve straße"),
        ("ΑΒΓ αβγ, 2α", "αβγ αβγ 2 \\alpha"),
        ("f'(x)=y!", "f ' ( x ) = y !"),
    ],
)
def test_tokens(text: str, tokens: str) -> None:
    assert normalized(text) == tokens


def test_blank_texts_are_equal() -> None:
    assert words(["", "  ", "\n\t", "\0"]) == [[""]] * 4


def test_a_text_of_punctuation_alone_is_still_itself() -> None:
    assert normalized("???") != normalized("...")


def rows(read: Wording) -> list[tuple[list[int], list[int], int]]:
    """The literal and the compared tokens of every text, and the hash of its numbers."""
    return [
        (read.literal.row(text).tolist(), read.compared.row(text).tolist(), int(read.numbers[text]))
        for text in range(len(read.literal))
    ]


def test_numbers_are_told_apart_by_value_and_order_spelled_out_or_not() -> None:
    read = wording(["two apples, 3 pears", "2 pears; three apples x7", "3 apples, 2 pears", "1 apple", "no apple"])

    assert read.numbers[0] == read.numbers[1]
    assert len(set(read.numbers.tolist())) == 4


def test_ignored_numbers_are_all_the_same_number() -> None:
    one, other, third = rows(wording(["2 + 30", "4 + 5.5", "4 - 5"], ignore_numbers=True))

    assert one[0] != other[0]
    assert one[1:] == other[1:]
    assert one[1] != third[1]


def test_characters_are_those_of_the_tokens() -> None:
    one, other, third, fourth = rows(wording(["ab \\dfrac c", "a b\\frac c", "求12", "求12"], "characters"))

    assert one[1] == other[1]
    assert len(one[1]) == 8
    assert third == fourth
    assert len(third[1]) == 3


def test_characters_of_ignored_numbers_are_one() -> None:
    assert [len(row[1]) for row in rows(wording(["x = 12345", "...", ""], "characters", True))] == [3, 3, 1]


def test_a_text_without_tokens_is_one_token() -> None:
    blank, also_blank, dots, question = rows(wording(["", " \n", "...", "?"]))

    assert blank == also_blank
    assert len({tuple(row[0]) for row in (blank, dots, question)}) == 3
    assert len(dots[0]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "word 12 " * 130_000,
        "\x01\x02\x7f" * 1000,
        "\udcff\0\x80\ufffe",
        "\\" * 5001,
        "{" * 5000,
        "1," * 5000,
    ],
)
def test_odd_texts_are_read(text: str) -> None:
    """1 MB in one word and in many, control characters, lone surrogates, NUL, and what rules of LaTeX look for."""
    alone = rows(wording([text]))

    assert rows(wording(["before it", text, "behind"]))[1] == alone[0]
    assert alone != rows(wording([text + " more"]))


ANY = st.lists(
    st.text(st.sampled_from("aZ1.,{}\\$^_ \n\0()é求²∈α\ud800'") | st.characters(codec=None), max_size=40), min_size=1
)


@given(ANY)
def test_a_text_is_read_the_same_alone_and_among_others(texts: list[str]) -> None:
    together = rows(wording(texts))

    assert together == [row for text in texts for row in rows(wording([text]))]
    assert words(texts) == [row for text in texts for row in words([text])]


@given(ANY)
def test_texts_have_equal_hashes_when_their_words_are_equal(texts: list[str]) -> None:
    told = [tuple(row) for row in words(texts)]
    hashed = [tuple(row[0]) for row in rows(wording(texts))]

    assert len(set(told)) == len(set(hashed)) == len(set(zip(told, hashed, strict=True)))


def test_pieces_keep_the_order_and_leave_nothing_out() -> None:
    texts = ["x" * 1_200_000, "", "y" * 1_200_000, *map(str, range(9000))]

    assert [text for piece in pieces(texts) for text in piece] == texts
    assert len(list(pieces(texts))) == 3


def test_every_token_has_a_hash_of_its_own() -> None:
    texts = [f"w{n} {n} {'long' * (1 + n % 30)}{n}" for n in range(20_000)]

    assert len(np.unique(np.concatenate([wording(piece).literal.values for piece in pieces(texts)]))) == 60_000


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('How often is "a" in "banana"?', 'How often is "a" in "papaya"?', False),
        ("How often is “a” in “banana”?", 'How often is "a" in "banana"?', True),
        ('He said "go" twice', "He said go twice", False),
        ('a board of 6" and no other', 'a plank of 6" and no other', True),
        (f'He said "{"word " * 20}red"', f'He said "{"word " * 20}blue"', True),
    ],
)
def test_quoted_words_are_told_apart_like_numbers(one: str, other: str, same: bool) -> None:
    numbers = wording([one, other]).numbers
    assert (numbers[0] == numbers[1]) == same
