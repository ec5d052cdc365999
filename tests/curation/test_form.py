"""What `form` says of small texts, each with its reason, and how often it is right on the labelled half kept for that."""

import runpy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curation.form import Form

ROOT = Path(__file__).parents[2]
POOL = ROOT.parent / "shared" / "data" / "pool" / "pool.parquet"


def forms(*rows: tuple[str | None, str | None], **settings: Any) -> list[dict[str, Any]]:
    prompts, answers = zip(*rows, strict=True)
    ids = [f"{n:032x}" for n in range(len(rows))]
    columns = {"id": ids, "prompt": pa.array(prompts, pa.string()), "answer": pa.array(answers, pa.string())}
    form = Form(**settings)
    rows_out: list[dict[str, Any]] = form.checked(pa.table(columns)).to_pylist()
    return rows_out


def form(prompt: str | None, answer: str | None = None, **settings: Any) -> dict[str, Any]:
    return forms((prompt, answer), **settings)[0]


OPTIONS = [
    ("How many legs has a crab?\n(A) 6\n(B) 8\n(C) 10", "parentheses, one a line"),
    ("A crab has how many legs? (A) 6 (B) 8 (C) 10 (D) 12", "parentheses, in one line"),
    ("How many legs has a crab?\nA. 6\nB. 8\nC. 10\nD. 12", "full stops"),
    ("How many legs has a crab? A. 6 B. 8 C. 10 D. 12", "full stops, in one line"),
    ("The number of legs of a crab is (  )\nA: six\nB: eight\nC: ten\nD: twelve", "colons"),
    ("How many legs has a crab?\nOptions: A)6 B)8 C)10 D)12 E)14", "closing parentheses, nothing between"),
    ("How many legs has a crab?\n**A)** six\n**B)** eight\n**C)** ten", "Markdown bold"),
    (r"Legs of a crab: $\textbf{(A)}\ 6 \qquad\textbf{(B)}\ 8 \qquad\textbf{(C)}\ 10$", "LaTeX bold"),
    (r"Legs of a crab: $\mathrm{(A) \ 6 } \qquad \mathrm{(B) \ 8 } \qquad \mathrm{(C) \ 10 }$", "LaTeX roman"),
    (r"Legs of a crab: ${(A)}\ 6 \quad {(B)}\ 8 \quad {(C)}\ 10$", "braces"),
    (r"Legs of a crab are $\text{A. } 6 \qquad \text{B. } 8 \qquad \text{C. } 10$", "LaTeX text"),
    ("How many legs has a crab?\nA 6\nB 8\nC 10\nD 12", "bare letters at line starts"),
    ("Which has the most legs?  (a) a crab  (b) an ant  (c) a cat", "lower case, offered"),
    ("Sine is bounded. This is shown by: 1. its series, 2. the unit circle, 3. None of the above. Return the number "
     "as the answer.", "digits, offered"),
    ("Which is bigger: 7/9 or 0.8?", "two values to choose from"),
    ("Is $x^3 - x$ odd, even, or neither?", "a closed list of words"),
    ('Is the function increasing?\n\nEnter "rising", "falling", or "neither".', "quoted words"),
    ("Determine if the curve is a line, a circle, or an ellipse.", "a list of words after `is`"),
    ("Which of the following is prime: 51, 57, 59?", "a list of values"),
    ("Which of the following hold?\nA. 2 is even.\nB. 3 is even.\nC. 5 is odd.\nGive all letters.", "a subset is picked"),
    ("Which statements are correct? ① all cats purr ② all dogs bark ③ all cows moo", "circled numbers, a subset is picked"),
    ("螃蟹有几条腿？\nA. 6\nB. 8\nC. 10\nD. 12", "Chinese"),
    ("螃蟹的腿数是（　）\nA．6　B．8　C．10　D．12", "Chinese, fullwidth stops"),
    ("螃蟹的腿数是（　）（A）6（B）8（C）10（D）12", "Chinese, fullwidth parentheses"),
    ("螃蟹的腿数是（ ）\nＡ、6\nＢ、8\nＣ、10", "Chinese, fullwidth letters"),
    ("下列说法正确的是：①猫会叫；②狗会飞；③鱼会游。", "Chinese, circled numbers"),
    ("The robot did what?\nA. find gold\nB. buy computers\nC. sing\nD. prove itself", "options that read like demands"),
    ("设 $a=1, b=2, c=3$, 则 ( )\nA. $a<b<c$\nB. $b<a<c$\nC. $c<b<a$\nD. $c<a<b$", "options that end in a letter"),
]  # fmt: skip
NO_OPTIONS = [
    ("In triangle ABC, points A, B, C lie on a circle. Find angle C.", "points"),
    (r"Let \(A\), \(B\) and \(C\) be points. Find \(AB\).", "LaTeX parentheses are no label"),
    ("Draw from P(A), P(B) and P(C). What is P(A)?", "functions"),
    (
        "B is east of point A. C is north of point B. D is west of point C. How far is A from D?",
        "sentences end in a label",
    ),
    ("Box A: 3 balls. Box B: 4 balls. Box C: 5 balls. How many balls are there?", "the labels are names"),
    ("(a) Find x. (b) Find y. (c) Find x + y.", "sub-questions"),
    ("A) Find the sum.\nB) Find the product.\nC) Find the ratio.", "sub-questions in capitals"),
    ("Find all f such that (a) f is odd, (b) f(1) = 1, (c) f is monotone.", "conditions"),
    ("How many of these are true? ① 2 is even ② 3 is even ③ 5 is odd", "asks for a number"),
    ("Which of the following is equal to 33 million?", "the options were lost"),
    ("True or false: 2 is even.", "true and false are not options"),
    ("It is A:B:C on the clock. Find A + B + C.", "a time of day"),
    ("A [asy] label('A.',A); label('B.',B); label('C.',C); [/asy] has which area?", "labels in drawing code"),
    ("三角形的顶点为A、B、C，求面积。", "Chinese, points"),
]


@pytest.mark.parametrize(("text", "why"), OPTIONS)
def test_options_are_found_in_every_layout(text: str, why: str) -> None:
    assert form(text, "8")["multiple_choice"] is True, why


@pytest.mark.parametrize(("text", "why"), NO_OPTIONS)
def test_what_only_looks_like_options_is_none(text: str, why: str) -> None:
    assert form(text, "A")["multiple_choice"] is False, why


def test_choice_never_rests_on_the_answers_letter() -> None:
    assert form("How many legs has a crab?", "B")["multiple_choice"] is False
    assert form("How many legs has a crab?\nA. 6\nB. 8\nC. 10", "ten")["multiple_choice"] is True


@pytest.mark.parametrize(
    ("text", "answer", "expected", "why"),
    [
        ("Can a crab swim?", "True", True, "a yes/no question"),
        ("Can a crab swim?", None, True, "without an answer the text suffices"),
        (
            "Let n be prime. If n > 2, is n odd? Explain.",
            "Yes. Even ones have a factor 2.",
            True,
            "Explain asks no more",
        ),
        ("Is S convex? Return 1 for yes and 0 for no.", "1", True, "the format is explicit"),
        (
            "Is this graph a tree? Return True if it is, otherwise return False.",
            "False",
            True,
            "the format is explicit",
        ),
        ("True or false: every tree is a graph.", "True", True, "said so"),
        ("Every tree is a graph.", "True", True, "a statement whose answer is a truth value"),
        ("State if the functions are inverses: f(x) = x, g(x) = x", "Yes", True, "no question mark"),
        ("Determine whether the series converges.", None, True, "whether"),
        ("2是偶数吗？", "是", True, "Chinese"),
        ("Is there a largest such n? If so, find it.", "7", False, "more is asked"),
        ("Is there a largest such n?", "7", False, "the answer is a value"),
        ("For which n is it true that n divides 10?", "5", False, "asks for a number"),
        ("Is 2 even? Is 3 even?", None, False, "two questions"),
        ("A says: is it raining? How many lie?", "3", False, "a question inside a story"),
        ("你能猜出甲原有多少只羊吗？", "13", False, "Chinese, asks for a number"),
        ("Solve x = x + 1.", "No solution", False, "an answer that only begins like one"),
    ],
)
def test_yes_or_no(text: str, answer: str | None, expected: bool, why: str) -> None:
    assert form(text, answer)["true_false"] is expected, why


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        ("Prove that 2 is even.", True, "prove"),
        ("Given that x < y, show that x + 1 < y + 1.", True, "show that"),
        ("Find, with proof, the largest n.", True, "a proof beside a short answer"),
        ("Find all n. Prove your conclusion.", True, "a proof beside a short answer"),
        ("Verify that the curve is a sine and find its length.", True, "verify that"),
        ("Demonstrate that the sum is even.", True, "demonstrate"),
        ("**Q.** Justify that the map is injective.", True, "justify that"),
        ("Prove or disprove: every tree has a leaf.", True, "disprove"),
        ("证明：2是偶数。", True, "Chinese"),
        ("已知 x<y，求证 x+1<y+1。", True, "Chinese"),
        ("Find all n such that n divides 10.", False, "find all"),
        ("How many are there? Justify your answer.", False, "a short answer is asked"),
        ("Find the inverse. If there is none, explain why.", False, "a short answer is asked"),
        ("Could the king prove his claim?", False, "somebody else proves"),
        ("Two coins show heads. The records show that it rained. How often?", False, "other meanings of show"),
        ("Arrange the letters of the word PROOF.", False, "a word"),
        ("出示身份证明的有几人？", False, "Chinese, a document"),
    ],
)
def test_proof(text: str, expected: bool, why: str) -> None:
    assert form(text)["proof"] is expected, why


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        ("A box. (1) Find its area. (2) Find its volume.", True, "numbered"),
        (r"A box.<br/>$(1)$ Find its area;<br/>$(2)$ Find its volume.", True, "numbered, in dollars"),
        ("(Ⅰ) Find a. (Ⅱ) Under the condition of (Ⅰ), find b.", True, "Roman signs; a mention is no label"),
        ("How many integers up to 100\n\na) are even;\n\nb) are odd?", True, "one stem for all"),
        ("Prove that: (a) a < b. (b) b < c.", True, "one stem for all"),
        ("1. What is 2 + 2?\n2. What is 3 + 3?", True, "lines"),
        ("**p1.** Find x. **p2.** Find y.", True, "a bundle of problems"),
        ("Who has more? How many more has he?", True, "two questions in a row"),
        ("Is the system solvable? If so, must the solution be unique?", True, "two yes/no questions"),
        ("Find the mean and variance of 1, 2, 3.", True, "two values"),
        ("How many cows are there, and how many pigs are there?", True, "two values in a sentence"),
        ("已知圆。（1）求半径；（2）求面积。", True, "Chinese"),
        ("第一问：求半径。第二问：求面积。", True, "Chinese, in words"),
        ("Find all f such that: (a) f is odd. (b) f(1) = 1.", False, "conditions"),
        ("Maximise x subject to (1) x < 3, (2) x > 1. What is x?", False, "conditions"),
        ("Prove that one of the following holds: (i) a = b. (ii) a = c.", False, "a disjunction"),
        ("f(1) = 2 and f(2) = 3. Find f(3).", False, "arguments of a function"),
        ("Write it as a/b in lowest terms. What is a/b? What is a + b?", False, "asks about the same thing"),
        ("Is there such a k? If so, what is k?", False, "a lead-in"),
        ('He asked "Who? Where?" How many words were that?', False, "quoted questions"),
        ("三年级(1)班有5人，(2)班有6人，一共有多少人？", False, "Chinese, names of classes"),
        (
            "Context question:\n(a) What is x?\nContext answer:\n3\n(b) What is y?",
            False,
            "the first comes with its answer",
        ),
        ("Which is a root?\nA. 1\nB. 2\nC. 3", False, "options"),
    ],
)
def test_several_questions(text: str, expected: bool, why: str) -> None:
    assert form(text)["multi_part"] is expected, why


@pytest.mark.parametrize(
    ("text", "figure", "link"),
    [
        ("Find the shaded area in the figure.", True, False),
        ("The grid is cut as shown. How many pieces?", True, False),
        ("The diagram below shows a cube.", True, False),
        ("如图，求阴影面积。", True, False),
        ("![a cube](https://example.org/cube.png) Find its volume.", True, True),
        (r"\includegraphics{cube} Find its volume.", True, False),
        ("As shown in the figure. [asy] draw((0,0)--(1,1)); [/asy]", False, False),
        (r"The table shown lists sales. \begin{tabular}{c} 1 \end{tabular}", False, False),
        ("He wants to figure out the graph of y = x.", False, False),
        ("See www.example.org for details.", False, True),
        ("See [the notes](notes.pdf).", False, True),
        ("Expand [2](x + 1).", False, False),
    ],
)
def test_figures_and_links(text: str, figure: bool, link: bool) -> None:
    row = form(text)
    assert (row["needs_figure"], row["has_link"]) == (figure, link)


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("How many legs?", "en", 3),
        (r"Trouvez \frac{a}{b} s'il vous plaît.", "other", 5),
        ("求 $x+1$ 的值。", "zh", 4),
        (r"\frac{1}{2} + 3", None, 3),
        ("Сколько ног у краба?", "other", 4),
        ("カニの足は何本ですか", "other", 10),
        ("What does 你好 mean?", "en", 5),
        ("", None, 0),
    ],
)
def test_language_and_words(text: str, language: str | None, words: int) -> None:
    row = form(text)
    assert (row["language"], row["prompt_words"]) == (language, words)


def test_a_language_left_out_of_the_settings_is_other() -> None:
    assert form("求面积。", languages=("en",))["language"] == "other"
    assert form("Montrer que $n^2+n$ est pair pour tout entier $n$.", languages=("en", "fr"))["language"] == "fr"
    with pytest.raises(ValidationError, match=r"french: not among the languages told apart: af, am, ar.* fr, "):
        Form(languages=("french",))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("1,234", "integer"), ("-7", "integer"), (r"2{,}016", "integer"), (r"\$49", "integer"), ("0.5", "decimal"),
        ("1.2e5", "decimal"), ("3/4", "fraction"), (r"-\frac{3}{4}", "fraction"), (r"\frac{\pi}{4}", "expression"),
        ("x = 3", "expression"), ("1:4", "expression"), ("B", "expression"), ("True", "boolean"), (r"\text{No}", "boolean"),
        ("是", "boolean"), ("No solution", "text"), (r"\text{two lines}", "text"), ("等腰三角形", "text"),
        ("", "none"), (None, "none"),
    ],
)  # fmt: skip
def test_kind_of_answer(answer: str | None, kind: str) -> None:
    assert form("How many?", answer)["answer_kind"] == kind


@pytest.mark.parametrize("answer", ["B", "(b)", r"\text{B}", "B."])
def test_a_letter_is_a_choice_where_options_are_offered(answer: str) -> None:
    assert form("How many?\nA. 1\nB. 2\nC. 3", answer)["answer_kind"] == "choice"


def test_what_cannot_be_told_is_null() -> None:
    booleans = ("multiple_choice", "true_false", "proof", "multi_part", "needs_figure")
    for text in ("", "  \n", None, "Сколько ног у краба?"):
        assert [form(text)[name] for name in booleans] == [None] * 5, text
    assert form(None)["prompt_words"] is None
    assert form("Сколько ног у краба?\nA. 6\nB. 8\nC. 10")["multiple_choice"] is True  # labels need no language
    assert form("Сколько ног у краба?")["has_link"] is False


def test_an_empty_table_has_the_columns() -> None:
    empty = pa.table({name: pa.array([], pa.string()) for name in ("id", "prompt", "answer")})
    assert Form().checked(empty).schema == Form.table_schema()


ODD = st.text(alphabet=st.sampled_from("Aab1(2).:$*\\[]{}?!\n 、（①是|&\"'_/") | st.characters(codec="utf-8"))


@settings(max_examples=300, deadline=None)
@given(ODD, st.none() | ODD)
def test_any_text_gets_a_row(prompt: str, answer: str | None) -> None:
    assert form(prompt, answer).keys() == {"id", *Form.COLUMNS.names}


@pytest.mark.parametrize(
    "piece",
    [
        "(A) ",
        "((((",
        "$$$",
        "(1)(2)",
        "A. B. C. ",
        "? ",
        "is ",
        "[asy]",
        "a",
        "\n",
        " ",
        "①",
        "\\text{",
        "which, or ",
        "如图",
    ],
)
def test_a_megabyte_of_anything_ends_soon(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    # A pattern that backtracks would take hours, which the suite's own limit ends.
    found = forms(
        (text, text),
        (f"A proof? (a) {text} (b) which is it? (2) A. B. C. none of the above", None),
        (f"Justify it. Explain whatever; is {text} true or false?", "yes" + text),
    )
    assert len(found) == 3


# Precision and recall on the held half, a bit below what `benchmarks/form.py` prints.
REACHED = {
    "multiple_choice": (0.98, 0.96),
    "true_false": (0.98, 0.96),
    "proof": (0.98, 0.94),
    "multi_part": (0.96, 0.87),
    "needs_figure": (0.57, 0.78),
}


@pytest.mark.skipif(not POOL.exists(), reason=f"the labelled texts are not here: {POOL}")
def test_precision_and_recall_on_the_held_half() -> None:
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "form.py"))
    scores = benchmark["scores"](benchmark["labelled"](POOL, "held"))
    for label, (precision, recall) in REACHED.items():
        assert scores[label].precision >= precision, label
        assert scores[label].recall >= recall, label
