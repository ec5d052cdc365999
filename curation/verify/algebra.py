r"""Equality of two formulas that are more than plain numbers: parsed by latex2sympy, decided by values or math-verify.

Expressions are compared by their values at random points (`numeric.py`), equations and inequalities up to a factor.
What has no values (sets, relations that must be solved, integrals) is left to math-verify 0.9. Where it finds no
equality and a value could not be had, nothing was decided.

The parser is a grammar of LaTeX: no text is evaluated as Python. math-verify is called without its own time limits: they
are alarms of the main thread, and on a loaded machine they answer False where nothing was decided. The worker pool
has the deadline.
"""

import functools
import re
from fractions import Fraction
from typing import Any

from curation.verify.numbers import Number, number, same

LONGEST = 3_000
"""Characters of a formula that is parsed; the parser needs time that grows faster than the text."""

_FUNCTION = re.compile(
    r"(?<![\\A-Za-z])(?<!operatorname\{)(?:arc)?"
    r"(?:sinh?|cosh?|tanh?|cot|sec|csc|log|ln|exp|max|min|gcd|lcm|pi|infinity)(?![A-Za-z])"
)
_OPERATOR = re.compile(
    r"\\(?:operatorname|text)\s*\{\s*(ar?c?)?(sinh?|cosh?|tanh?|cot|sec|csc|log|ln|exp|max|min)\s*\}"
)
_SIDE_BY_SIDE = re.compile(r"(?<![\w^.\\{])[\d.]+\s+\.?\d")
_INFINITY = re.compile(r"^\s*[+-]?\s?\\infty\s*$|[,<>(\[]|\\(?:lim|sum|int|prod|cup|cap|in|le|ge|to)(?![A-Za-z])")
_FACTOR = re.compile(r"(?<![\w^.\\{])(\d+)\s?\(")
_NAMES = {"infinity": r"\infty", "lcm": r"\operatorname{lcm}", "gcd": r"\operatorname{gcd}"}


class UnreadableError(ValueError):
    """A text is no formula that the parser knows."""


def equal(gold: str, stated: str, tolerance: Fraction | None = None) -> bool | None:
    """Whether two formulas are the same; None when that cannot be decided.

    gold, stated: plain texts (`latex.plain`). tolerance: relative, for constants. Raises `UnreadableError` for `stated`.
    A reference that cannot be read is the caller's to notice, by `readable`.
    """
    a, b = parsed(gold), parsed(stated)
    if a == b:
        return True
    if getattr(a, "is_finite", None) and (_undefined(b) or getattr(b, "is_infinite", None)):
        return False
    try:
        decided = _by_value(a, b, gold, stated, tolerance)
    except _numeric().Undecided as problem:
        if "too large" in str(problem):
            return None
        return _by_math_verify(a, b) or None
    except ZeroDivisionError:
        return _by_math_verify(a, b) or None
    return _by_math_verify(a, b) if decided is None else decided


def _undefined(read: Any) -> bool:
    """Whether it is no number: 0/0."""
    return type(read).__name__ in ("NaN", "ComplexInfinity")


def readable(text: str) -> bool:
    """Whether the parser can read a text."""
    try:
        parsed(text)
    except UnreadableError:
        return False
    return True


@functools.lru_cache(maxsize=512)
def parsed(text: str) -> Any:
    """The sympy object of a formula; raises `UnreadableError`."""
    if len(text) > LONGEST:
        raise UnreadableError(f"a formula of {len(text)} characters")
    if _SIDE_BY_SIDE.search(text):
        raise UnreadableError("numbers side by side, which the parser would add")
    if "\\infty" in text and not _INFINITY.search(text):
        raise UnreadableError("infinity is no number to compute with")
    if (plain_number := number(text)) is not None:
        from sympy import Rational

        return Rational(plain_number.value.numerator, plain_number.value.denominator)
    from latex2sympy2_extended.latex2sympy2 import (
        ConversionConfig,
        latex2sympy,
    )

    case_counts = ConversionConfig(lowercase_symbols=False)
    try:
        read = latex2sympy(spelled(text), is_real=True, normalization_config=None, conversion_config=case_counts)
    except (RecursionError, MemoryError):
        raise
    except Exception as problem:  # the parser raises whatever comes
        raise UnreadableError(str(problem).split("\n", 1)[0]) from problem
    if read is None or not hasattr(read, "free_symbols"):
        raise UnreadableError("not a formula")
    return read


def spelled(text: str) -> str:
    r"""The text as the parser wants it: `^(n+1)` and `sqrt(3)` with braces, functions with a backslash."""
    text = _OPERATOR.sub(_operator, text.replace("**", "^").replace("~", " "))
    text = _FACTOR.sub(r"\1\\cdot (", text)
    text = _FUNCTION.sub(lambda name: " " + _NAMES.get(name[0], f"\\{name[0]}") + " ", text)
    out, closers = [], []
    at = 0
    for token in re.finditer(r"\\?sqrt\s*\(|\^\s*\(|[()]", text):
        out.append(text[at : token.start()])
        at = token.end()
        if token[0] == "(":
            closers.append(")")
            out.append("(")
        elif token[0] == ")":
            out.append(closers.pop() if closers else ")")
        else:
            closers.append("}")
            out.append("^{" if token[0].startswith("^") else "\\sqrt{")
    return "".join(out) + text[at:]


def _operator(written: re.Match[str]) -> str:
    inverse = ("ar" if written[2].endswith("h") else "arc") if written[1] else ""
    return f"\\{inverse}{written[2]} "


def _by_value(a: Any, b: Any, gold: str, stated: str, tolerance: Fraction | None) -> bool | None:
    numeric = _numeric()
    if getattr(a, "is_Relational", False):
        return _relations(a, b)
    if _shape(a) and _shape(a) == _shape(b):
        pairs = list(zip(a.flat(), b.flat(), strict=True))
        return all(numeric.same_values(x, y) for x, y in pairs)
    if not (_is_expression(a) and _is_expression(b)):
        return None
    if numeric.same_values(a, b):
        return True
    if a.free_symbols or b.free_symbols:
        return False
    x, y = number(gold), number(stated)
    if x is None and (real := _real(a)) is not None:
        x = Number(real)
    if y is None and (real := _real(b)) is not None:
        y = Number(real)
    if x is None or y is None or (tolerance is None and x.places is None and y.places is None):
        return False
    return same(x, y, tolerance)


def _relations(a: Any, b: Any) -> bool | None:
    """Two equations or inequalities that are one up to a factor; None when that does not show it."""
    if not getattr(b, "is_Relational", False) or not all(_is_expression(side) for side in (*a.args, *b.args)):
        return None
    factor = _numeric().ratio(a.lhs - a.rhs, b.lhs - b.rhs)
    if factor is None:
        return False if "Unequality" in (type(a).__name__, type(b).__name__) else None
    if type(a).__name__ == type(b).__name__ and (type(a).__name__ in ("Equality", "Unequality") or factor.real > 0):
        return True
    turned = {"StrictLessThan": "StrictGreaterThan", "LessThan": "GreaterThan"}
    turned |= {other: one for one, other in turned.items()}
    return True if factor.real < 0 and turned.get(type(a).__name__) == type(b).__name__ else None


def _by_math_verify(a: Any, b: Any) -> bool | None:
    """What math-verify finds; None for what it refuses: values that are no numbers."""
    verify = _math_verify().verify
    try:
        return bool(verify(a, b, timeout_seconds=None, raise_on_error=True, allow_set_relation_comp=True))
    except ValueError:
        return None


def _is_expression(read: Any) -> bool:
    return (
        bool(getattr(read, "is_commutative", False))
        and not getattr(read, "is_Boolean", False)
        and hasattr(read, "evalf")
    )


def _shape(read: Any) -> Any:
    return read.shape if getattr(read, "is_Matrix", False) and hasattr(read, "flat") else None


def _real(expression: Any) -> Fraction | None:
    """The value of a constant, if it is real and finite."""
    exact: Fraction | None = _numeric().fraction(_numeric().value(expression, {}))
    return exact


def _numeric() -> Any:
    from curation.verify import numeric

    return numeric


@functools.cache
def _math_verify() -> Any:
    """math-verify, imported at first use (seconds), without its warning that the time limits are off."""
    import math_verify.grader
    import math_verify.parser

    math_verify.parser.TIMEOUT_WARNING_SHOWN = True
    math_verify.grader.TIMEOUT_WARNING_SHOWN = True
    return math_verify
