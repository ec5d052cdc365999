"""Where the steps of a completion end, in tokens: what a reward for every step is given at (on_groups.py)."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

SEPARATOR = "\n\n"
"""What stands between two steps of a solution, as the process sets of PRM800K's kind have it."""


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of every token by itself. A character in several tokens comes out as other ones, which ends no step."""
    return [tokenizer.decode([one]) for one in ids]


def step_ends(tokens: Sequence[str], separator: str = SEPARATOR) -> list[tuple[int, str]]:
    """Of every step the place of its last token and its text, without what separates it from its neighbours.

    tokens: a completion's, as text. The separator belongs to the step before it, and a token with the end of one step and the
    beginning of the next to the first of them. What is blank is no step: several separators are as one. A step that ends
    within the same token as the one before it is joined to that one, as a token has one reward.
    """
    ends = list(accumulate(map(len, tokens)))
    found: list[tuple[int, str]] = []
    begin, pieces = 0, "".join(tokens).split(separator)
    for number, piece in enumerate(pieces):
        end = begin + len(piece) + (len(separator) if number < len(pieces) - 1 else 0)
        if text := piece.strip():
            place = bisect_left(ends, end)
            if found and found[-1][0] == place:
                found[-1] = (place, found[-1][1] + separator + text)
            else:
                found.append((place, text))
        begin = end
    return found
