"""Text in and out of code problems: the program in a completion, and whether two outputs are the same."""

import math
import re
import textwrap
from collections.abc import Collection
from typing import Any

_FENCE = re.compile(
    r"^[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([\w+#.-]*+)[^\n]*+\n(.*?)(?:^[ \t]*+\1[ \t]*+$|\Z)", re.MULTILINE | re.DOTALL
)
_DEFINED = re.compile(r"\b(?:def|class)\s+(\w+)")
_PYTHON = ("", "python", "python3", "py", "py3")
_NO_PROGRAM = ("", "text", "txt", "plaintext", "output", "console")


def program_in(text: str, names: Collection[str], any_language: bool = False) -> str:
    """The program that a final text states: the last fenced block, without common indentation, else the whole text.

    Blocks marked as another language than Python do not count, unless `any_language`. Of several blocks, one that
    defines one of `names` (functions that the tests call) goes before those that only use it, and one that is marked as
    a language before one that is not: that may be an example of its output. A block that is not closed ends with the
    text.
    """
    fences = [(language.lower(), code) for _, language, code in _FENCE.findall(text)]
    blocks = [(language, code) for language, code in fences if any_language or language in _PYTHON]
    if not blocks:
        return text
    defining = [code for _, code in blocks if not set(_DEFINED.findall(code)).isdisjoint(names)]
    marked = [code for language, code in blocks if language not in _NO_PROGRAM]
    return textwrap.dedent((defining or marked or [code for _, code in blocks])[-1])


def readings(program: str, prefix: str) -> list[str]:
    """The ways to read a completion as a program, the likeliest first.

    With a prefix (a function's head and docstring) it continues that or repeats it; a first line that lost its
    indentation is given it back; and it may stand alone.
    """
    if not prefix:
        return [program]
    head = prefix if prefix.endswith("\n") else prefix + "\n"
    return [head + program, f"{head}    {program.lstrip()}", program]


def same_output(output: str, expected: str, tolerance: float = 0) -> bool:
    """Whether two outputs have the same lines, each with the same tokens; lines without tokens do not count.

    With a tolerance, tokens that are numbers may differ by it, absolutely or relatively.
    """
    ours, theirs = _lines(output), _lines(expected)
    if ours == theirs or not tolerance:
        return ours == theirs
    return len(ours) == len(theirs) and all(
        len(had) == len(wanted) and all(_close(a, b, tolerance) for a, b in zip(had, wanted, strict=True))
        for had, wanted in zip(ours, theirs, strict=True)
    )


def _lines(text: str) -> list[list[str]]:
    return [tokens for line in text.splitlines() if (tokens := line.split())]


def _close(ours: str, theirs: str, tolerance: float) -> bool:
    if ours == theirs:
        return True
    try:
        return _near(float(ours), float(theirs), tolerance)
    except ValueError:
        return False


def _near(ours: float, theirs: float, tolerance: float) -> bool:
    try:
        return math.isclose(ours, theirs, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:  # a whole number beyond all floats
        return False


def same_result(result: Any, expected: Any, tolerance: float = 0) -> bool:
    """Whether a function's result is the expected JSON value; tuples are lists, and keys of dicts their text.

    `True` is no 1. With a tolerance, numbers may differ by it, absolutely or relatively.
    """
    if isinstance(result, (list, tuple)) and isinstance(expected, list):
        return len(result) == len(expected) and all(
            same_result(ours, theirs, tolerance) for ours, theirs in zip(result, expected, strict=True)
        )
    if isinstance(result, dict) and isinstance(expected, dict):
        named = {str(key): value for key, value in result.items()}
        return named.keys() == expected.keys() and all(
            same_result(named[key], expected[key], tolerance) for key in expected
        )
    numbers = not isinstance(result, bool) and not isinstance(expected, bool)
    if numbers and isinstance(result, (int, float)) and isinstance(expected, (int, float)):
        return result == expected or (tolerance > 0 and _near(result, expected, tolerance))
    return type(result) is type(expected) and bool(result == expected)
