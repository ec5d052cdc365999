"""A completion taken apart: what the model thought, and what it answered.

    "<think>\\n2 + 2 is 4.\\n</think>\\n\\nIt is 4."   ->  thinking "2 + 2 is 4.", answer "It is 4."
    "It is 4."                                   ->  no think block: thinking None, answer "It is 4."
    "<think>\\nLet me see"                        ->  not closed: thinking "Let me see", answer None

Tags are `<think>`, `<thinking>` and `<thought>` as graders know them (curation/verify/extract.py): the answer is what
`final_text` grades, without the blanks around it. Where a completion has OpenThoughts' `<|begin_of_thought|>` in place of
them, the answer is what stands in its solution tags. A teacher with other tags names them.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Tags(NamedTuple):
    """What opens or closes a think block, as patterns."""

    either: str
    """Matches both tags; of the closing one the group `closing`."""
    around_answer: str | None = None
    """What is dropped around the answer."""


THINK = Tags(r"(?i)<(?P<closing>/)?(?:think|thinking|thought)\s{0,9}>")
"""Those of DeepSeek-R1, Qwen3 and most others."""
OPEN_THOUGHTS = Tags(r"<\|(?:begin|(?P<closing>end))_of_thought\|>", r"<\|(?:begin|end)_of_solution\|>")
DEFAULT = (THINK, OPEN_THOUGHTS)


class Parts(NamedTuple):
    """What `split` finds."""

    thinking: str | None
    """Without tags and blanks around it, several blocks joined by an empty line; None where there is no block."""
    answer: str | None
    """What follows the last block; None where it was not closed."""
    blocks: int
    """Think blocks: tags that open one or that close one, whichever are more."""
    closed: bool
    """Whether the last block was closed; true of none."""


def tags(opening: str, closing: str) -> Tags:
    """Tags as they are written. Raises ValueError when one is empty or both are the same."""
    if not opening.strip() or not closing.strip() or opening == closing:
        raise ValueError(f"tags need an opening and another closing one, not {opening!r} and {closing!r}")
    return Tags(f"{re.escape(opening)}|(?P<closing>{re.escape(closing)})")


def split(text: str, reasoning: str | None = None, opened: bool = False, known: Sequence[Tags] = DEFAULT) -> Parts:
    """The parts of a completion.

    text: what follows the prompt; without the reasoning where the server parsed it off.
    reasoning: what the server parsed off; None or blank where it did not.
    opened: whether the prompt had opened the think block already.
    known: the tags looked for; the first kind counts of which the text has one.

    With `reasoning` a blank text is an empty answer: that the thinking was cut off only the finish reason tells.
    """
    parsed_off = reasoning if reasoning and reasoning.strip() else None
    kind = next((kind for kind in known if _tag(kind).search(text)), known[0])
    parts = _split(text, kind, opened and parsed_off is None)
    if parsed_off is None:
        return parts
    thinking = "\n\n".join(piece for piece in (parsed_off.strip(), parts.thinking) if piece)
    return Parts(thinking, parts.answer, parts.blocks + 1, parts.closed)


def _split(text: str, kind: Tags, opened: bool) -> Parts:
    """By one kind of tags, in one pass."""
    found = [(tag.start(), tag.end(), tag["closing"] is None) for tag in _tag(kind).finditer(text)]
    if not found and not opened:
        return Parts(None, _answer(text, kind), 0, True)
    opening = [begin for begin, _, opens in found if opens]
    closing = [(begin, end) for begin, end, opens in found if not opens]
    # A block that is closed first was opened by the prompt, whether or not we were told.
    began = opened or not found[0][2]
    again = began and opening[:1] != [] and not text[: opening[0]].strip()  # the model repeats the prompt's tag
    blocks = max(len(opening) + began - again, len(closing))
    end, after = closing[-1] if closing else (0, 0)
    closed = bool(closing) and (not opening or opening[-1] < end)
    inside = text[0 if began else opening[0] : end if closed else len(text)]
    pieces = [inside[begin:end].strip() for begin, end in _between(_tag(kind), inside)]
    return Parts("\n\n".join(filter(None, pieces)), _answer(text[after:], kind) if closed else None, blocks, closed)


def _between(tag: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Where what stands between the tags begins and ends."""
    begin = 0
    for match in tag.finditer(text):
        yield begin, match.start()
        begin = match.end()
    yield begin, len(text)


@functools.cache
def _tag(kind: Tags) -> re.Pattern[str]:
    return re.compile(kind.either)


def _answer(text: str, kind: Tags) -> str:
    return (re.sub(kind.around_answer, "", text) if kind.around_answer else text).strip()
