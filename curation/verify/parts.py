r"""The parts of an answer that has several: lists, sets, tuples, intervals, unions, vectors and matrices.

Only the outermost structure is read, by brackets and separators, in one pass; parts are texts, which may have parts of
their own. Texts are those that `latex.plain` gives. A comma between digits that groups them ("1,000") separates
nothing outside brackets.
"""

import re
from typing import Literal, NamedTuple

Kind = Literal["one", "list", "set", "round", "square", "half-open", "union", "matrix"]


class Parts(NamedTuple):
    """Texts and how they are held together.

    "one": a single text. "list": separated, without brackets. "round" and "square": in equal brackets: a tuple, or an
    interval. "half-open": `[a,b)`, its brackets in `held`. "union": joined by `\\cup`. "matrix": entries in the order of
    reading, the number of columns in `held`; a single row or column is "round".
    """

    kind: Kind
    texts: tuple[str, ...]
    held: str = ""


_TOKEN = re.compile(
    r"\\[{}|\\]|\\(?:text\s*\{\s*,?\s*(?:and|or)\s*\}|cup(?![A-Za-z])|pm(?![A-Za-z])|langle|rangle|begin|end)"
    r"|(?<![<>!:\\])=(?!=)|\\approx(?![A-Za-z])|[()\[\]{},;]|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|(?<=[)\]}])\s*U\s*(?=[(\[{])",
)
_GROUPED = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_MATRIX = re.compile(
    r"\\(?:begin\{(?P<kind>[pbB]?matrix|array)\}(?:\{[lcr|\s]*\})?)(?P<rows>.*?)\\end\{(?P=kind)\}", re.DOTALL
)
_MEMBER = re.compile(r"(?:\\forall\s*)?[A-Za-z](?:_\{?\w\}?)?\s*\\in\s*(?=[\\\[({])")
_OPEN = {"(": ")", "[": "]", "{": "}", "\\{": "}", "\\langle": ">", "\\begin": "end"}
_CLOSE = {")": ")", "]": "]", "}": "}", "\\}": "}", "\\rangle": ">", "\\end": "end"}


def parts(text: str) -> Parts:
    """What a plain text is made of."""
    text = _MEMBER.sub("", text, count=1) if _MEMBER.match(text) else text
    if not _TOKEN.search(text):
        return Parts("one", (text,))
    if matrix := _matrix(text):
        return matrix
    if "\\pm" in text:
        text = _both_signs(text)
    top, whole = _split(text, frozenset({"\\cup", "U"}))
    if len(top) > 1:
        return Parts("union", tuple(top))
    top, whole = _split(text, frozenset({",", ";", "and", "or"}))
    if len(top) > 1:
        return Parts("list", tuple(top))
    if whole is None:
        return Parts("one", (text,))
    opening, closing = whole
    inner = text[len(opening) : len(text) - len(closing)].strip()
    inside, _ = _split(inner, frozenset({",", ";", "and", "or"}), grouped=False)
    closing = closing.removeprefix("\\")
    if opening in ("{", "\\{"):
        if opening == "{" and len(inside) == 1:
            return parts(inner)
        return Parts("set", tuple(part for part in inside if part))
    if opening == "\\langle":
        return Parts("round", tuple(inside))
    if opening + closing in ("(]", "[)"):
        return Parts("half-open", tuple(inside), opening + closing)
    if opening == "(" and len(inside) == 1:
        return parts(inner)
    return Parts("round" if opening == "(" else "square", tuple(inside))


def split(text: str, separators: frozenset[str]) -> list[str]:
    """The texts between separators outside all brackets."""
    return _split(text, separators)[0] if any(separator in text for separator in separators) else [text]


def _split(text: str, separators: frozenset[str], grouped: bool = True) -> tuple[list[str], tuple[str, str] | None]:
    """The texts between separators outside all brackets, and the pair of brackets that encloses everything, if one
    does. Brackets may differ in kind, as those of an interval do. An unbalanced text is one part.
    """
    protected = [span.span() for span in _GROUPED.finditer(text)] if grouped and "," in separators else []
    depth, start, found = 0, 0, []
    first: str | None = None
    enclosing: tuple[str, str] | None = None
    for token in _TOKEN.finditer(text):
        sign = token[0].strip()
        if sign in _OPEN:
            if depth == 0 and token.start() == 0:
                first = sign
            depth += 1
        elif sign in _CLOSE:
            depth -= 1
            if depth < 0:
                return [text], None
            if depth == 0 and first is not None:
                enclosing = (first, token[0]) if token.end() == len(text) else None
                first = None
        elif depth == 0:
            kind = ("or" if "or" in sign else "and") if sign.startswith("\\text") else sign
            if kind in separators and not _inside(token.start(), protected):
                found.append(text[start : token.start()])
                start = token.end()
    if depth:
        return [text], None
    found.append(text[start:])
    return [part for part in (part.strip() for part in found) if part] or [text], enclosing


def _inside(at: int, spans: list[tuple[int, int]]) -> bool:
    while spans and spans[0][1] <= at:  # positions only grow
        spans.pop(0)
    return bool(spans) and spans[0][0] <= at


def _both_signs(text: str) -> str:
    r"""A text with `\pm` as two, the upper signs and the lower, where it is one part of its own."""
    texts, enclosing = _split(text, frozenset({",", ";", "and", "or"}))
    if enclosing or not any("\\pm" in part for part in texts):
        return text
    both = []
    for part in texts:
        both += [part.replace("\\pm", "+"), part.replace("\\pm", "-")] if "\\pm" in part else [part]
    return ", ".join(part.removeprefix("+").strip() for part in both)


def _matrix(text: str) -> Parts | None:
    if not (matrix := _MATRIX.fullmatch(text.strip("[()] "))):
        return None
    if "\\begin" in matrix["rows"]:
        return None
    rows = [
        row.split("&")
        for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr", matrix["rows"].replace("\\hline", ""))
        if row.strip()
    ]
    width = {len(row) for row in rows}
    if len(width) != 1:
        return None
    entries = tuple(entry.strip() for row in rows for entry in row)
    columns = width.pop()
    return (
        Parts("round", entries)
        if 1 in (columns, len(rows)) and len(entries) > 1
        else Parts("matrix", entries, str(columns))
    )
