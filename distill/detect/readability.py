"""Thinking that is hard to read: very long paragraphs, code.

DeepSeek-R1 (section 2.3.3) drops chains of thought with "long paragraphs and code blocks"; it gives no length. A paragraph is
what stands between line breaks: a list is none, and a wall of text is one.
"""

import re
from typing import NamedTuple

from distill.detect.words import count

_FENCE = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.MULTILINE | re.DOTALL
)
_NAMES = (
    "python py python3 c cpp c++ java javascript js typescript ts go rust ruby php sql bash sh shell matlab r julia haskell "
    "scala kotlin swift perl lua csharp c# html css json yaml xml asm sage sympy mathematica lean coq"
)
_LANGUAGES = frozenset(_NAMES.split())
_CODE_LINE = re.compile(
    r"^[ \t]*(?:def \w+\(.*\):|class \w+.*:|import [\w.]+(?: as \w+)?$|from [\w.]+ import "
    r"|for \w+(?:, ?\w+)* in .+:$|while .+:$|if .+:$|elif .+:$|else:$"
    r"|return [\w(\[\"'-]|print\(|#include ?<|int main\(|public (?:static|class) "
    r"|(?:const|let|var) \w+ = |function \w*\(|(?:std::)?cout ?<<|\w+\.append\("
    r"|[\w\[\]., ]+ ?[-+*/%|&]?= ?[^=].*;$|\w+ = (?:\[\]|\{\}|\w+\(.*\))$|[{}]\s*$)",
    re.MULTILINE,
)
_SURE = re.compile(
    r"^[ \t]*(?:def \w+\(.*\):|import \w|from [\w.]+ import |#include|int main|public |function \w*\("
    r"|for \w+ in range\(|print\()",
    re.MULTILINE,
)
_HINTS = ("def ", "import ", "#include", "int main", "\npublic ", "\nfunction ", "range(", "print(")
CODE_LINES = 3
"""Lines of code in a row that are a block without a fence."""
_ABOUT = re.compile(
    r"```|\[asy\]|\b(?:code|program|python|javascript|java|c\+\+|algorithm|pseudo-?code|function signature|script|sql)\b"
    r"|代码|程序|编程|算法",
    re.IGNORECASE,
)


class Readability(NamedTuple):
    """What there is to read."""

    longest_paragraph: int
    """Words."""
    code: bool
    """Whether a block of code stands in it."""


def readability(thinking: str) -> Readability:
    """Of a thinking."""
    return Readability(longest_paragraph(thinking), has_code(thinking))


def longest_paragraph(text: str) -> int:
    """Words of the longest paragraph."""
    longest = 0
    for paragraph in sorted(text.splitlines(), key=len, reverse=True):
        if len(paragraph) <= longest:  # a word has a character at least
            break
        longest = max(longest, count(paragraph))
        if len(paragraph) < 2 * longest:
            break
    return longest


def has_code(text: str) -> bool:
    """Whether code stands in it: in a fence that names a language or holds code, or some lines of it without."""
    if "```" in text or "~~~" in text:
        for fence in _FENCE.finditer(text):
            if fence[1].lower() in _LANGUAGES or _SURE.search(fence[2]) or len(_CODE_LINE.findall(fence[2])) >= 2:
                return True
    if not any(hint in text for hint in _HINTS) or not _SURE.search(text):
        return False
    row = sure = 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        is_code = bool(_CODE_LINE.match(line)) or (row > 0 and line.startswith((" ", "\t")))
        row, sure = (row + 1, sure + bool(_SURE.match(line))) if is_code else (0, 0)
        if row >= CODE_LINES and sure:
            return True
    return False


def asks_for_code(prompt: str, verifier: str | None) -> bool:
    """Whether code in the thinking is what the problem is about."""
    return verifier == "code" or bool(_ABOUT.search(prompt))
