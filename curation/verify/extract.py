r"""Where in a completion the answer is looked for: the one scope shared by verifiers, filters, rewards and exports.

`final_text` cuts the reasoning off; `stated_answer` finds the answer in what is left, by the first of

1. the content of the last `<answer>…</answer>`: of the last complete box in it, when there is one,
2. the content of the last complete `\boxed{…}`; boxes that stand side by side at the end are one answer, joined by
   commas,
3. what follows the last "answer is", "Answer:", "答案是" or, at the start of a line, "####" on its line (on the next line
   with text when that line is empty),
4. the last lines with text: one, or as many as the reference answer has; a single line without a label of one letter
   ("A: 26", "x: 694").

None of it looks at the reference answer, so a completion cannot offer several.
"""

import re
from typing import Literal, NamedTuple

NOT_CLOSED = "thinking was not closed"
NO_ANSWER = "no answer found"

_MARKER = re.compile(
    r"\banswers?\b[*_`\s]*(?:(?:is|are)(?!n['’]t)|=|:|：)[*_`:：]*|答案[*_`\s]*(?:是|为|为|=|:|：)+[*_`:：]*|^[ \t]*#{4}(?!#)",
    re.IGNORECASE | re.MULTILINE,
)
_LABEL = re.compile(r"[A-Za-z]\s?[:：]\s*(?=\S)")
_BOX = re.compile(r"\\(?:boxed|fbox)")
_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_JOIN = re.compile(
    r"(?:[^\w\\]|_|\\[^A-Za-z]|\\(?:q?quad|approx|to|mid|(?:long)?(?:right)?arrow|Rightarrow|times|cdot|pm|neq?|not)(?![A-Za-z])"
    r"|\\text\{\s*(?:and|or)\s*\}|\band\b|\bor\b|和|或|\bpart\b|(?<!\w)(?:[a-z]|\d{1,2}|[ivx]{1,4})[).:])*",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"[\s$]*(?:=|≈|\\approx)[\s$]*")
_JOINS = re.compile(r"[,;，、]|\b(?:and|or)\b|和|或|\\q?quad")
_STOP = re.compile(r"\n|[.。!?](?=\s|$)")
_OPENED = re.compile(r"<(?:think|thinking|thought)\s{0,9}>", re.IGNORECASE)
_CLOSED = re.compile(r"</(?:think|thinking|thought)\s{0,9}>", re.IGNORECASE)
_LONGEST_JOIN = 60
_BARE_BOX = re.compile(r"\\boxed\s+([^\s{}$\\]+)")


class Stated(NamedTuple):
    """The answer that a text states, and by which form."""

    text: str
    form: Literal["boxed", "tag", "marker", "last lines"]


def final_text(completion: str) -> str | None:
    """What is graded: the text after the last `</think>`; None when thinking was opened and not closed. `<thinking>`
    and `<thought>` are the same.

    A completion without tags is its own final text. Where the chat template opens `<think>` in the prompt, a
    completion that was cut off while thinking has no tag at all: the caller knows its finish reason and decides.
    """
    text = _CLOSED.split(completion)[-1]
    return None if _OPENED.search(text) else text


def last_boxed(text: str) -> str | None:
    r"""The content of the complete `\boxed{…}` that opens last, braces balanced (`\{` and `\}` are no braces); None
    when there is none.

    Boxes side by side before it belong to it ("`\boxed{1}` and `\boxed{2}`" is "1, 2"): nothing but joining words,
    signs and labels ("(b)") between them, or one sentence on one line that joins them. Equal neighbours count once, and
    a box that is set equal to the next gives way to it. `\boxed 5` without braces counts when no box has braces. One
    pass, so unclosed boxes cost no more than closed ones.
    """
    boxes = _boxes(text)
    if not boxes:
        return str(bare[-1]) if (bare := _BARE_BOX.findall(text)) else None
    last = boxes[-1]
    contents = [last.content]
    for box in reversed(boxes[:-1]):
        between = text[box.end : min(last.start, box.end + _LONGEST_JOIN)]
        joined = _JOIN.fullmatch(between) or (_JOINS.search(between) and not _STOP.search(between))
        if last.start - box.end > _LONGEST_JOIN or not joined:
            break
        last = box
        if box.content and box.content not in contents and not _EQUALS.fullmatch(between):
            contents.insert(0, box.content)
    return ", ".join(contents)


class _Box(NamedTuple):
    start: int
    end: int
    content: str


def _boxes(text: str) -> list[_Box]:
    """The complete boxes, in the order in which they open."""
    if (first := _BOX.search(text)) is None:
        return []
    open_braces: list[re.Match[str] | None] = []  # what opened each open brace: a box, or None for an ordinary brace
    found = []
    for token in _BOX_TOKEN.finditer(text, first.start()):
        if token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}":
            if open_braces and (opening := open_braces.pop()):
                found.append((opening.start(), token.end(), opening.end(), token.start()))
        elif token[0].endswith("{") and token[0] != "\\{":
            open_braces.append(token)
    found.sort()
    innermost = [at for at, box in enumerate(found) if at + 1 == len(found) or found[at + 1][0] >= box[1]]
    return [_Box(start, end, text[begin:stop].strip()) for start, end, begin, stop in (found[at] for at in innermost)]


def last_tagged(text: str) -> str | None:
    """The content of the last closed `<answer>…</answer>`; None when there is none."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return None if start < 0 else text[start + len("<answer>") : end].strip()


def after_marker(text: str) -> str | None:
    """What follows the last "answer is" (or its like) on its line or, when nothing does, the next line with text;
    None without a marker.
    """
    last = None
    for last in _MARKER.finditer(text):  # noqa: B007 - the last match is wanted
        pass
    rest = text[last.end() :].strip() if last else ""
    return unmark(rest.split("\n", 1)[0]) or None


def unmark(text: str) -> str:
    """The text without surrounding Markdown emphasis and white space."""
    return text.strip().strip("*_`").strip()


def stated_answer(text: str, lines: int = 1, labelled: bool = True) -> Stated | None:
    """The answer that a final text states, by the order at the top of this file; None when the text is blank or what
    is stated is empty.

    labelled: whether a letter before a colon is a label; of a choice ("C: 12") it is the answer.
    """
    tagged = last_tagged(text)
    scope = text if tagged is None else tagged
    if (boxed := last_boxed(scope)) is not None:
        return Stated(boxed, "boxed") if boxed else None
    if tagged is not None:
        return Stated(tagged, "tag") if tagged else None
    if lines == 1 and (marked := after_marker(text)):
        return Stated(marked, "marker")
    if not text.strip():
        return None
    said = "\n".join(text.strip().split("\n")[-lines:]).strip()
    if lines == 1 and labelled and (label := _LABEL.match(said)):
        said = said[label.end() :]
    return Stated(said, "last lines")
