r"""The formula in a statement: what of "so it costs $12$ dollars." is compared.

A statement that is a formula already is taken whole. In prose the formula is the first after "answer is" and the last in
a last line, delimited or a bare number; others joined to it by a comma, "and", "or", "maybe" or their like belong to it, so
that "5 or 7" stays a list. One that is negated ("not 5") or whose value the words beside it change ("twice 5") is none, and
a line that has no other gives no answer. Passes are linear in the text.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from curation.verify.extract import Stated, after_marker, unmark
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
_MAGNITUDE = r"(?:(?:hundred|thousand|million|billion|trillion|dozen)\b|[万亿])"
_BARE = re.compile(
    rf"(?<![A-Za-z0-9_.\\])(?:[-−+]\s?)?[$€£¥]?\s?(?:{_NUMBER})(?:\s?\\?%|\s(?:percent|pct)\b|\s?{_MAGNITUDE})?"
    rf"(?:\s?[-+*/^×÷]\s?\(?(?:{_NUMBER})(?:\s?\\?%)?\)?)*|[$€£]\s?(?:{_NUMBER})(?:\s?{_MAGNITUDE})?"
)
_JOIN = re.compile(
    r"(?=[^\d]*?(?:[,;、，&(/|]|\b(?:and|or|to|maybe|perhaps|possibly|probably|alternatively|otherwise|plus|minus|times|over|through)\b"
    r"|\b(?:could|might|may)\b|和|或|到|至|可能))"
    r"(?:[\s,;、，&(/|]|\b(?:and|or|but|to|maybe|perhaps|possibly|probably|alternatively|otherwise|else|either|also|even|though"
    r"|although|it|could|might|may|can|be|plus|minus|times|over|through)\b|和|或者?|到|至|可能|也|是)*",
    re.IGNORECASE,
)
_LONGEST_JOIN = 80
_DENIED = re.compile(
    r"(?:\b(?:not(?!\s+only)|cannot|never|neither|nor|instead\s+of|rather\s+than|other\s+than|anything\s+but|all\s+but|except(?:\s+for)?|unlike)|n['’]t"
    r"|\b(?:less|more|fewer|greater|larger|smaller|bigger|higher|lower)\s+than|\bat\s+(?:least|most)|\b(?:twice|thrice|half|double|triple|"
    r"under|above|below|nearly|almost|up\s+to)|\b(?:root|square|cube|reciprocal|inverse|logarithm|log|factorial|negative|opposite|power)\s+of|不|非|大于|小于)"
    r"(?:\s+(?:be|is|are|equals?|to|exactly|the|number|value|just|simply|actually|really|a|an|of))*[\s:=*是等于]*(?:[$€£]|\\[(\[])*$",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(r"\b(?:negative|minus)\s+$", re.IGNORECASE)
_CHANGED = re.compile(
    r"[\s$]*(?:\\[)\]])?\s*(?:squared|cubed|factorial|dozens?|and\s+a\s+(?:half|third|quarter)|or\s+(?:more|less|fewer|greater|higher|above|below)"
    r"|个?半|以上|以下)",
    re.IGNORECASE,
)
_OR_DENIED = re.compile(r"[\s$]*(?:or|nor)[\s$]*", re.IGNORECASE)
_BEFORE = 60
_ASIDE = re.compile(
    r"\((?![A-Za-z0-9]{1,2}\)).*[A-Za-z]{4,}.*\)|(?:let me know|i hope|hope (?:this|that)|feel free|would you|confidence)\b.*",
    re.IGNORECASE,
)
_YES_OR_NO = re.compile(r"(yes|no|true|false)\b[,.:;]?\s+(?:because|since|as)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|。|！|？")
_BEHIND = re.compile(r"\s*(\\?%|[A-Za-z]+|[\u4e00-\u9fff]{1,8})")
_TIMES = re.compile(rf"\s*({_MAGNITUDE})", re.IGNORECASE)
_STYLED = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}")
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
    if stated.form == "boxed":
        bare = styled[1] if (styled := _STYLED.fullmatch(stated.text)) else stated.text
        marked = after_marker(bare)
        return stated.text if marked is None else _in_prose(marked, first=True) or None
    if stated.form == "tag" and not _prose(stated.text):
        return stated.text
    if stated.form in ("marker", "tag"):
        return _in_prose(stated.text, first=stated.form == "marker") or None
    above = text.rstrip().rsplit("\n", _LINES_BACK)[-_LINES_BACK:]
    lines = [stated.text, *(line for line in reversed(above[:-1]))]
    lines = [line for line in lines if not _ASIDE.fullmatch(unmark(line))] or lines
    return next((found for line in lines if (found := _in_prose(line, first=False)) is not None), None) or None


def _in_prose(line: str, first: bool) -> str | None:
    """The formula of a line; "" where it only says what the answer is not, None where it says nothing."""
    line = unmark(line)
    if reason := _YES_OR_NO.match(line):
        return reason[1]
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
    said = _said(line, spans)
    if spans and not said:
        return ""
    spans = said
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
        if right.start - left.end > _LONGEST_JOIN or not _JOIN.fullmatch(line, left.end, right.start):
            break
        chain.append(span)
    return chain


def _said(line: str, spans: list[_Span]) -> list[_Span]:
    """The spans that are said to be something: neither denied nor changed by the words beside them; "negative 5" with
    its sign.
    """
    said, denied_to = [], -1
    for span in spans:
        before = line[max(0, span.start - _BEFORE) : span.start]
        joined = (
            denied_to >= 0 and span.start - denied_to < _BEFORE and _OR_DENIED.fullmatch(line, denied_to, span.start)
        )
        if joined or _DENIED.search(before) or _CHANGED.match(line, span.end):
            denied_to = span.end
        elif _NEGATIVE.search(before) and span.text[:1] not in "-−":
            said.append(_Span(span.start, span.end, f"-{span.text}"))
        else:
            said.append(span)
    return said


def _with_unit(line: str, span: _Span) -> str:
    """The text of a formula, with a unit that stands behind its delimiter."""
    if times := _TIMES.match(line, span.end):
        span = _Span(span.start, times.end(), f"{span.text} {times[1]}")
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
