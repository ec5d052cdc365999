"""Strategies for answers: numbers in every spelling, formulas, and what is neither."""

from fractions import Fraction

from hypothesis import strategies as st

PIECES = [
    *("\\boxed{", "\\frac{", "\\sqrt{", "\\text{", "\\left(", "\\right)", "\\{", "\\}", "{", "}", "(", ")", "[", "]"),
    *(
        "^",
        "_",
        "\\pm",
        "\\cup",
        "\\in",
        "\\le",
        "<",
        "=",
        "\\approx",
        ",",
        ";",
        " and ",
        " or ",
        "+",
        "-",
        "*",
        "/",
        ".",
    ),
    *("%", "\\%", "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\\\", "\\begin{pmatrix}", "\\end{pmatrix}", "&", "!", "|"),
    *("°", "²", "½", "√", "−", "0", "1", "2", "12", "1,000", "3.5", "x", "y", "n", "e", "i", "\\pi", "\\infty", "sin"),
    *(
        "\\log",
        "\\binom{5}{2}",
        "cm",
        "kg",
        "answer is ",
        "#### ",
        "A: ",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
    ),
    *("\n", " ", "\u200b", "\u202e", "答案是", "yes"),
]
pieces = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
texts = pieces | st.text(max_size=20)
answers = st.sampled_from(
    [
        *(
            "5",
            "-3",
            "0.5",
            r"\frac{1}{2}",
            r"2\sqrt{3}",
            r"\frac{\pi}{2}",
            "x+1",
            "x^2-1",
            "(1, 2)",
            "1, 2",
            r"\{1, 2\}",
        ),
        *("[0, 1)", r"(-\infty, 2]", "x = 3", "x > 5", "50\\%", "12 cm", "even", r"1 \pm \sqrt{2}", "1,000", "1.5e3"),
        *(
            r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
            r"\frac{n(n+1)}{2}",
            r"\sin x",
            "2^{10}",
            r"\sqrt[3]{2}",
            "3i",
            "n!",
        ),
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """An answer with a piece put in, taken out or doubled."""
    text = draw(answers)
    at = draw(st.integers(0, len(text)))
    to = min(len(text), at + draw(st.integers(0, 3)))
    return text[:at] + draw(st.sampled_from(["", *PIECES])) + text[to:] + (text[at:to] if draw(st.booleans()) else "")


def spellings(value: Fraction) -> list[str]:
    """The ways in which a fraction is written."""
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    written = [f"{sign}{top}/{bottom}", f"{sign}\\frac{{{top}}}{{{bottom}}}", f"\\frac{{{sign}{top}}}{{{bottom}}}"]
    written += [f"${sign}\\dfrac{{{top}}}{{{bottom}}}$", f"{sign}\\left(\\tfrac{{{top}}}{{{bottom}}}\\right)"]
    if bottom == 1:
        written += [
            f"{sign}{top}",
            f"{sign}{top:,}",
            f"{sign}{top}.0",
            f"{sign}{top:,}".replace(",", "{,}"),
            f"x = {sign}{top}",
        ]
    if top > bottom > 1:
        written.append(f"{sign}{top // bottom}\\frac{{{top % bottom}}}{{{bottom}}}")
    return written
