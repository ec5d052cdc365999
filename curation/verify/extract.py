r"""Where in a completion the answer is looked for: the one scope shared by verifiers, filters, rewards and exports.

`final_text` cuts the reasoning off; `stated_answer` finds the answer in what is left, by the first of

1. the content of the last complete `\boxed{…}` (inside the last `<answer>…</answer>` when there is one),
2. the content of the last `<answer>…</answer>`,
3. what follows the last "answer is", "Answer:" or "答案是" on its line (on the next line with text when that line is
   empty),
4. the last lines with text: one, or as many as the reference answer has.
"""

import re
from typing import Literal, NamedTuple

NOT_CLOSED = "thinking was not closed"
NO_ANSWER = "no answer found"

_MARKER = re.compile(
    r"\banswers?\b[*_`\s]*(?:is|are|=|:|：)[*_`:：]*|答案[*_`\s]*(?:是|为|为|=|:|：)+[*_`:：]*", re.IGNORECASE
)
_BOX = re.compile(r"\\(?:boxed|fbox)")
_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s+([^\s{}$\\]+)")


class Stated(NamedTuple):
    """The answer that a text states, and by which form."""

    text: str
    form: Literal["boxed", "tag", "marker", "last lines"]


def final_text(completion: str) -> str | None:
    """What is graded: the text after the last `</think>`; None when thinking was opened and not closed.

    A completion without tags is its own final text. Where the chat template opens `<think>` in the prompt, a
    completion that was cut off while thinking has no tag at all: the caller knows its finish reason and decides.
    """
    _, _, text = completion.rpartition("</think>")
    return None if "<think>" in text else text


def last_boxed(text: str) -> str | None:
    r"""The content of the complete `\boxed{…}` that opens last, braces balanced (`\{` and `\}` are no braces); None
    when there is none.

    `\boxed 5` without braces counts when no box has braces. One pass, so unclosed boxes cost no more than closed ones.
    """
    if (first := _BOX.search(text)) is None:
        return None
    open_braces: list[
        int | None
    ] = []  # for each open brace, where its box's content begins; None for an ordinary brace
    found, found_at = None, -1
    for token in _BOX_TOKEN.finditer(text, first.start()):
        if token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}":
            begin = open_braces.pop() if open_braces else None
            if begin is not None and begin > found_at:
                found, found_at = text[begin : token.start()].strip(), begin
        elif token[0].endswith("{") and token[0] != "\\{":
            open_braces.append(token.end())
    if found is None and (bare := _BARE_BOX.findall(text)):
        return str(bare[-1])
    return found


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


def stated_answer(text: str, lines: int = 1) -> Stated | None:
    """The answer that a final text states, by the order at the top of this file; None when the text is blank or what
    is stated is empty.
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
    return Stated("\n".join(text.strip().split("\n")[-lines:]).strip(), "last lines")
