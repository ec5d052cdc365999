r"""The formula in a statement: what of "so it costs $12$ dollars." is compared.

A statement that is a formula already is taken whole. In prose the formula is the first after "answer is" and the last in
a last line, delimited or a bare number; others joined to it by a comma, "and" or "or" belong to it, so that
"5 or 7" stays a list. Passes are linear in the text.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from curation.verify.extract import Stated, unmark
from curation.verify.latex import undelimited
from curation.verify.units import name_of

_LONGEST_FORMULA = 3_000
_LINES_BACK = 40
_FEW_WORDS = 2

_COMMANDS = re.compile(
    r"\\(?:text|textbf|mathrm|mbox|operatorname|begin|end)\*?\s*\{[^{}]*\}|\\[a-zA-Z]+"
    r"|(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|exp|sqrt|max|min|gcd|lcm|inf(?:inity)?|(?<=[\d\s])(?:percent|pct)\b"
)
_LIST_WORD = re.compile(r"\b(?:and|or)\b")
_WORD = re.compile(
    r"[A-Za-z]{3,}|\b(?:is|it|so|we|to|of|in|at|be|by|an|as|no)\b|[\u4e00-\u9fff\u0600-\u06ff]", re.IGNORECASE
)
_DELIMITER = re.compile(r"(?<!\\)\$\$?|\\[()\[\]]")
_CLOSES = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:[.,]\d+)?(?:[eE][+-]?\d+)?|\.\d+"
_BARE = re.compile(
    rf"(?<![A-Za-z0-9_.\\])(?:[-−+]\s?)?[$€£¥]?\s?(?:{_NUMBER})(?:\s?\\?%|\s(?:percent|pct)\b)?"
    rf"(?:\s?[-+*/^×÷]\s?\(?(?:{_NUMBER})(?:\s?\\?%)?\)?)*|[$€£]\s?(?:{_NUMBER})"
)
_JOIN = re.compile(r"\s*(?:,|;|、|，|,?\s*(?:and|or)\b|和|或|&)\s*(?:\band\b|\bor\b)?\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|。|！|？")
_BEHIND = re.compile(r"\s*(\\?%|[A-Za-z]+)")
_FRAME = re.compile(r"(?:\\(?:begin|end)\s*\{[^{}]*\}|\\[()\[\]]|[\s$*.,;:#>_`{}|-])*")
_EQUATION = re.compile(r".*(?<![<>!\\])=\s*(?!\s)(.+)", re.DOTALL)


class _Span(NamedTuple):
    start: int
    end: int
    text: str


def formula(stated: Stated, text: str) -> str | None:
    """The formula that a statement makes, as text; None where there is none.

    text: the final text, whose lines above a last line without mathematics are looked through, from below.
    """
    if stated.form in ("boxed", "tag") and (stated.form == "boxed" or not _prose(stated.text)):
        return stated.text
    if stated.form in ("marker", "tag"):
        return _in_prose(stated.text, first=stated.form == "marker")
    if (found := _in_prose(stated.text, first=False)) is not None:
        return found
    above = text.rstrip().rsplit("\n", _LINES_BACK)
    return next(
        (found for line in reversed(above[-_LINES_BACK:]) if (found := _in_prose(line, first=False)) is not None), None
    )


def _in_prose(line: str, first: bool) -> str | None:
    line = unmark(line)
    if first and not _prose(line):
        return line.rstrip(" .") or None
    if first and (end := _end_of_sentence(line)):
        line = line[:end]
    elif not first:
        line = line.rstrip(" .")
    whole = undelimited(line)
    if "$" not in whole and "\\(" not in whole and (whole != line or not _prose(line)):
        return None if _FRAME.fullmatch(line) else line
    if not first and len(line.split()) <= _FEW_WORDS and not re.search(r"[\d$]", line):
        return line
    spans = list(_delimited(line))
    if spans and not _prose(bare := line.replace("$", "")):  # such as "$1$ and $2$"
        return bare
    if not spans and not first and (equation := _EQUATION.fullmatch(line)) and not _prose(equation[1]):
        return _balanced(equation[1])
    spans = sorted(span for span in [*spans, *_numbers(line, spans)] if span.text)
    if not spans:
        return line if first and len(line) <= _LONGEST_FORMULA else None
    chain = _joined(line, spans if first else spans[::-1], first)
    texts = [_with_unit(line, span) for span in sorted(chain)]
    return texts[0] if len(texts) == 1 else ", ".join(undelimited(one) for one in texts)


def _joined(line: str, spans: list[_Span], first: bool) -> list[_Span]:
    """The first of the spans with those joined to it."""
    chain = spans[:1]
    for span in spans[1:]:
        left, right = (chain[-1], span) if first else (span, chain[-1])
        if not _JOIN.fullmatch(line, left.end, right.start):
            break
        chain.append(span)
    return chain


def _with_unit(line: str, span: _Span) -> str:
    """The text of a formula, with a unit that stands behind its delimiter."""
    behind = _BEHIND.match(line, span.end)
    unit = behind[1].removeprefix("\\") if behind else ""
    if behind is None or not name_of(unit) or (unit != "%" and (len(unit) == 1 or unit == "in")):
        return span.text
    return span.text + (" %" if behind[1].endswith("%") else f" \\text{{{behind[1]}}}")


def _delimited(line: str) -> Iterator[_Span]:
    """The formulas between delimiters. A dollar sign before a price opens none: what follows it is prose."""
    opening = None
    for token in _DELIMITER.finditer(line):
        if opening is not None and token[0] == _CLOSES[opening[0]]:
            inner = line[opening.end() : token.start()]
            price = line[token.end() : token.end() + 1].isdigit()
            if opening[0] == "$" and (price or len(inner) > _LONGEST_FORMULA or _prose(inner)):
                opening = token  # the first was a price; this one may open
                continue
            yield _Span(opening.start(), token.end(), inner.strip())
            opening = None
        elif opening is None and token[0] in _CLOSES:
            opening = token


def _numbers(line: str, formulas: list[_Span]) -> Iterator[_Span]:
    """The bare numbers outside the delimited formulas."""
    at = 0
    for number in _BARE.finditer(line):
        while at < len(formulas) and formulas[at].end <= number.start():
            at += 1
        if at == len(formulas) or number.end() <= formulas[at].start:
            yield _Span(number.start(), number.end(), number[0].strip())


def _balanced(text: str) -> str:
    """The text without brackets at its end that were opened before it."""
    while text.endswith(")") and text.count(")") > text.count("("):
        text = text[:-1].rstrip()
    return text


def _end_of_sentence(line: str) -> int | None:
    """Where the first sentence ends, outside formulas."""
    inside = [(span.start, span.end) for span in _delimited(line)]
    for end in _SENTENCE_END.finditer(line):
        if not any(start < end.start() < stop for start, stop in inside[:50]) and end.start():
            return end.start()
    return None


def _prose(text: str) -> bool:
    """Whether there are words, other than those of formulas, lists and units behind a number; or delimiters inside."""
    if "$" in text.replace("\\$", "").strip(" $") or "\\(" in text[2:] or "\\[" in text[2:]:
        return True
    return bool(_WORD.search(_COMMANDS.sub(" ", _LIST_WORD.sub(" , ", text))))
