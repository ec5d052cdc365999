r"""Mathematical equality: a small exact comparison for the bulk, math-verify for the rest.

What is compared is what `extract.stated_answer` finds: a boxed answer before anything else, then what follows "answer
is", then the last line; where math-verify reads nothing in that, the last expression of the whole final text.

- Equal text after normalising (`$`, `\left`, `\dfrac`, thin spaces, a final full stop), or plain numbers with equal
  values, are correct.
- Plain numbers (integers, decimals, `a/b`, `\frac{a}{b}`, thousands separators) that differ by more than 1e-6 are
  wrong.
- Everything else is decided by math-verify 0.9: symbolic equality, floats rounded to 6 places, sets, intervals,
  matrices.

math-verify is called without its own time limits: they are alarms of the main thread, and on a loaded machine they
answer False where nothing was decided. The worker pool has the deadline. A reference answer in which nothing can be
read is `error`; a completion in which nothing can be read is `wrong`.
"""

import functools
import re
from fractions import Fraction
from typing import Any

from curation.verify import Verdict
from curation.verify.extract import NO_ANSWER, NOT_CLOSED, final_text, last_boxed, stated_answer

VERSION = 1
NEEDS_ANSWER = True

ROUNDING = Fraction(1, 10**6)
"""math-verify rounds floats to six places: numbers further apart are never equal to it."""

_NUMBER = re.compile(r"[+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)")
_RATIO = re.compile(r"([+-]?)(\d+)/(\d+)|([+-]?)\\frac\{([+-]?\d+)\}\{(\d+)\}")
_DELIMITED = re.compile(r"\$\$(.*)\$\$|\$([^$]*)\$|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
_NOISE = re.compile(r"\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\[!,;: ]|(?<!\\)~|(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")
_SPELLING = (("{,}", ","), ("−", "-"), ("\\$", ""), ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"))
_LONGEST_NUMBER = 200
_COMMANDS = re.compile(
    r"\\(?:text|textbf|mathrm|operatorname)\*?\{[^{}]*\}|\\[a-zA-Z]+|sin|cos|tan|cot|sec|csc|log|exp|sqrt|max|min|arc"
)
_WORD = re.compile(r"[A-Za-z]{3,}|\b(?:is|it|so|we|to|of|in|at|be|by|an|as|no)\b", re.IGNORECASE)
_LIST_WORD = re.compile(r"\s+(?:and|or)\s+")
_WARM_UP = (
    *(r"\frac{3}{4}", r"x^2+1", r"2\sqrt{3}", r"(1,2)", r"[1,2)", r"x=5", r"1,2,3", r"\pi", r"\sin(x)", r"50\%"),
    *(r"\text{even}", r"10^{3}", r"\begin{pmatrix}1\\2\end{pmatrix}", r"\left\{1,2\right\}", r"x \in (0,1)"),
    *(r"(-\infty,2]\cup[3,\infty)", r"3x-2y\le 4"),
)


def grade(answer: str, completion: str, args: dict[str, Any]) -> Verdict:
    """Correct when the stated answer equals the reference answer as mathematics."""
    text = final_text(completion)
    if text is None:
        return Verdict("wrong", None, NOT_CLOSED)
    if (stated := stated_answer(text)) is None:
        return Verdict("wrong", None, NO_ANSWER)
    gold = answer.strip() if (boxed := last_boxed(answer)) is None else boxed
    if (equal := quick_equal(gold, stated.text)) is not None:
        return Verdict("correct" if equal else "wrong", stated.text, "")

    reference = _read_answer(gold)
    if not _has_value(reference):
        return Verdict("error", stated.text, "the reference answer cannot be read")
    found = _read(stated.text, formula=stated.form == "boxed" or _is_formula(stated.text))
    if not _has_value(found) and stated.form in ("marker", "last lines"):
        found = _read(text, formula=False) or found
    if not found:
        return Verdict("wrong", stated.text, NO_ANSWER)
    equal = _math_verify().verify(reference, found, timeout_seconds=None, raise_on_error=True)
    extracted = next((part for part in found if isinstance(part, str)), stated.text)
    return Verdict("correct" if equal else "wrong", extracted, "" if _has_value(found) else "the answer cannot be read")


def quick_equal(a: str, b: str) -> bool | None:
    """Equality where it needs no algebra: equal text, or plain numbers; None where math-verify must decide."""
    a, b = normalize(a), normalize(b)
    if a and a == b:
        return True
    x, y = plain_number(a), plain_number(b)
    if x is None or y is None:
        return None
    if x == y:
        return True
    return False if abs(x - y) > ROUNDING else None


def normalize(text: str) -> str:
    """LaTeX without what does not change its meaning: delimiters, sizes, thin spaces, spelling variants, a final full
    stop.
    """
    text = text.strip()
    if delimited := _DELIMITED.fullmatch(text.removesuffix(".")):
        text = next(part for part in delimited.groups() if part is not None)
    for variant, usual in _SPELLING:
        text = text.replace(variant, usual)
    return _NOISE.sub("", text).strip().removesuffix(".").lstrip("$")


def plain_number(text: str) -> Fraction | None:
    """The value of a normalised plain number; None for anything else, also for numbers too long to be worth it."""
    if len(text) > _LONGEST_NUMBER:
        return None
    if _NUMBER.fullmatch(text):
        return Fraction(text.replace(",", ""))
    if ratio := _RATIO.fullmatch(text):
        sign, top, bottom = (ratio[1], ratio[2], ratio[3]) if ratio[2] else (ratio[4], ratio[5], ratio[6])
        if int(bottom):
            return Fraction(int(top), int(bottom)) * (-1 if sign == "-" else 1)
    return None


def _is_formula(text: str) -> bool:
    """Whether the text is bare mathematics: no delimiters of its own, and no words but those that join a list."""
    words = _COMMANDS.sub(" ", _LIST_WORD.sub(" , ", text))
    return "$" not in text and "\\(" not in text and "\\[" not in text and not _WORD.search(words)


def _read(text: str, formula: bool) -> list[Any]:
    """What math-verify reads: the expression, then the text it was read from; only the text when it cannot be parsed;
    empty when nothing is found.
    """
    wrapped = f"\\boxed{{{_LIST_WORD.sub(', ', text)}}}" if formula else text
    read: list[Any] = _math_verify().parse(wrapped, parsing_timeout=None, raise_on_error=True)
    return read


@functools.lru_cache(maxsize=1024)
def _read_answer(answer: str) -> list[Any]:
    """The reference answer, which meets many completions."""
    return _read(answer, formula=_is_formula(answer))


def _has_value(read: list[Any]) -> bool:
    return any(not isinstance(part, str) for part in read)


@functools.cache
def _math_verify() -> Any:
    """math-verify, imported at first use (seconds), without its warning that the time limits are off."""
    import math_verify.grader
    import math_verify.parser

    math_verify.parser.TIMEOUT_WARNING_SHOWN = True
    math_verify.grader.TIMEOUT_WARNING_SHOWN = True
    return math_verify


def as_completion(answer: str, args: dict[str, Any]) -> str:
    r"""The answer in `\boxed{}`; in a sentence where its braces are unbalanced or it brings its own delimiters."""
    boxed = f"\\boxed{{{answer.strip()}}}"
    if last_boxed(boxed) == answer.strip() and "$" not in answer.strip().strip("$"):
        return boxed
    return f"The answer is {answer.strip()}"


def warm() -> None:
    """Import math-verify and let its LaTeX parser build its tables, which takes 50 ms for every construct it has not
    met.
    """
    for expression in _WARM_UP:
        read = _read(expression, formula=True)
        _math_verify().verify(read, read, timeout_seconds=None)
