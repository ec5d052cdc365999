"""A text as words, for all that counts or compares them.

count   what stands between blanks; of scripts that put none between words (Han, kana) and of hangul every character is
        one, as in the column `prompt_words` of problems
tokens  small words, numbers, single characters of those scripts; no signs
"""

import re

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Han, kana and hangul, as a part of a character class."""
Span = tuple[int, int]

_EACH = re.compile(f"[{CJK}]")
_TOKEN = re.compile(rf"[^\W\d_{CJK}]+(?:['’][^\W\d_{CJK}]+)?|\d+|[{CJK}]")
_GREEK = ("\u0370", "\u03ff")
_SMALL = bytes(ord(chr(code).lower()) if chr(code).isalnum() or chr(code) == "'" else 32 for code in range(128))
_SMALL += b" " * 128


def count(text: str) -> int:
    """The words of a text."""
    if text.isascii() or not _EACH.search(text):
        return len(text.split())
    spaced, characters = _EACH.subn(" ", text)
    return characters + sum(any(sign.isalnum() for sign in word) for word in spaced.split())


def tokens(text: str) -> list[str]:
    """The tokens of a text; a tenth of the time where all its letters are ASCII or Greek, which is a sign then."""
    narrow = _narrow(text)
    return _TOKEN.findall(text.lower()) if narrow is None else narrow.split()


def spans(text: str) -> list[Span]:
    """Where each token stands, in characters."""
    narrow = _narrow(text)
    return [match.span() for match in (_TOKEN.finditer(text) if narrow is None else re.finditer("[^ ]+", narrow))]


def _narrow(text: str) -> str | None:
    """The text, small, with a blank for every character that is in no token; None where that would lose letters."""
    if not text.isascii() and any(sign > "\x7f" and sign.isalpha() and not _is_greek(sign) for sign in set(text)):
        return None
    return text.encode("ascii", "replace").translate(_SMALL).decode("ascii")


def _is_greek(sign: str) -> bool:
    return _GREEK[0] <= sign <= _GREEK[1]
