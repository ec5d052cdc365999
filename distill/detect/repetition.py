"""Loops: a phrase, a line or a paragraph that a text says over and over.

    Wait, let me check again. Wait, let me check again. Wait, let me check again. ...
    Attempt 4: let me check that once more.  Attempt 5: let me check that once more. ...

A run of NGRAM tokens (words, numbers; line breaks and signs are none) that stands TURNS times or more, each time at most
FARTHEST tokens after the last, is said again. A loop is a stretch of at least SHORTEST tokens of which nearly all are said
again. So it may cross lines, have its turns varied by a word, and take paragraphs in turns.

What is no loop though its words come again and again:

- cases gone through one after another, a table, a long multiplication: in every turn more than one number is new. Where one
  is, it is a counter, and the turns are a loop, if there are COUNTED_TURNS, and they are longer than a line of a table or
  have no number besides.
- rows of numbers, formulas and single letters, unless there are very many: matrices, truth tables.
- a few words in any order, such as a table of yes and no.

A text without words between blanks may loop in its characters (`hahahaha`): that is looked for too, with periods up to
LONGEST_PERIOD. Time is linear in the text, but for one sort.

Kimi k1.5 ends samples that repeat themselves; Qwen3 (section 4.1) drops what repeats itself heavily. Neither gives a rule.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distill.detect.words import spans

NGRAM = 5
TURNS = 4
FARTHEST = 2000
SHORTEST = 48
NEARLY_ALL = 0.75
WINDOW = 24
"""Tokens over which the share of what is said again is taken."""
COUNTED_TURNS, COUNTED = 8, 10
"""Turns of a loop whose turns differ by a number, and the tokens of a turn that may have another number."""
NEW_NUMBERS = 0.06
"""Share of the tokens that are new numbers in cases gone through."""
SIGNS_ONLY, EXACT_SIGNS, EXACT = 400, 150, 0.95
"""Tokens of a loop that has hardly any words; the same, where so much of each turn is that of the one before."""
FEW_KINDS = 6
"""Different tokens that make up nearly all of a stretch: then its turns have to be of one length."""
LONGEST_PERIOD, CHARACTERS = 16, 240
PHRASE = 120
"""Characters of the phrase that is shown."""

Ints = npt.NDArray[np.int64]
_ONE_TOKEN = 100
"""Characters of a token that is no word."""
_FORMULA_WORDS = (
    "frac dfrac tfrac sqrt sin cos tan cot sec csc log ln exp lim sum prod int cdot times div pm mp left right text mathrm "
    "mathbf boxed begin end pmatrix bmatrix matrix align aligned cases quad qquad le leq ge geq ne neq approx equiv pmod mod pi "
    "theta alpha beta gamma delta omega phi lambda mu sigma circ degree overline vec hat bar infty ldots dots cdots subset "
    "cup cap mapsto implies iff rightarrow leftarrow binom operatorname hline array"
)
_LATEX = frozenset(_FORMULA_WORDS.split())
"""Words of formulas."""


class Loops(NamedTuple):
    """What a text has of loops."""

    share: float
    """Share of its tokens that are in loops, 0 to 1."""
    longest: int
    """Tokens of the longest loop."""
    at: tuple[int, int] | None
    """Where the longest stands, in characters."""
    phrase: str | None
    """One turn of the longest."""


NONE = Loops(0.0, 0, None, None)


class _Loop(NamedTuple):
    """Tokens [begin, end), in turns of about `period` tokens, and which of them are new in their turn."""

    begin: int
    end: int
    period: int
    new: npt.NDArray[np.bool_]


def loops(text: str, words: Sequence[str]) -> Loops:
    """The loops of a text. words: its tokens (words.py)."""
    if len(words) < SHORTEST:
        return _in_characters(text)
    if max(map(len, words)) >= _ONE_TOKEN and (found := _in_characters(text)).at:
        return found
    ids = np.fromiter(map(hash, words), np.int64, len(words))
    stretches = [each for each in _stretches(ids) if _is_loop(each, ids, words)]
    if not stretches:
        return NONE
    longest = max(stretches, key=lambda each: each.end - each.begin)
    at = spans(text)
    begin, end = at[longest.begin][0], at[longest.end - 1][1]
    turn = text[begin : at[min(longest.begin + longest.period, longest.end) - 1][1]]
    share = sum(each.end - each.begin for each in stretches) / len(words)
    return Loops(round(share, 4), longest.end - longest.begin, (begin, end), " ".join(turn.split())[:PHRASE])


def _stretches(ids: Ints) -> list[_Loop]:
    """Where nearly all is said again."""
    grams = _hashes(ids)
    order = np.argsort(grams, kind="stable")
    gap = np.diff(order)
    linked = (np.diff(grams[order]) == 0) & (gap <= FARTHEST)
    # Of equal grams in their order, chains of neighbours that are near each other; a chain counts by its length.
    chain = np.concatenate(([0], np.cumsum(~linked)))
    again = np.zeros(len(grams), bool)
    again[order] = np.bincount(chain)[chain] >= TURNS
    if not again.any():
        return []
    period = np.zeros(len(grams), np.int64)
    period[order[1:]] = np.where(linked, gap, 0)
    period[order[:-1]] = np.where((period[order[:-1]] == 0) & linked, gap, period[order[:-1]])
    covered = np.zeros(len(ids) + 1, np.int64)
    np.add.at(covered, np.flatnonzero(again), 1)
    np.add.at(covered, np.flatnonzero(again) + NGRAM, -1)
    said_again = np.cumsum(covered[:-1]) > 0
    dense = np.convolve(said_again, np.ones(WINDOW), mode="same") >= NEARLY_ALL * WINDOW
    edges = np.flatnonzero(np.diff(np.concatenate(([False], dense, [False])).astype(np.int8)))
    since, until = _run(said_again), len(ids) - _run(said_again[::-1])[::-1]
    found = []
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        inside = np.flatnonzero(said_again[begin:end])
        if len(inside) < SHORTEST * NEARLY_ALL:
            continue
        # The window blurs the edges: they are where what is said again begins and ends.
        first, last = begin + int(inside[0]), begin + int(inside[-1]) + 1
        first, last = int(since[first]), int(until[last - 1])
        periods = period[first : min(last, len(period))]
        periods = periods[periods > 0]
        if last - first >= SHORTEST and len(periods):
            found.append(_Loop(first, last, int(np.median(periods)), ~said_again[first:last]))
    return found


def _run(said: npt.NDArray[np.bool_]) -> Ints:
    """For every token where the run of equal ones that it is in begins."""
    changes = np.concatenate(([True], said[1:] != said[:-1]))
    out: Ints = np.maximum.accumulate(np.where(changes, np.arange(len(said)), 0))
    return out


def _hashes(ids: Ints) -> Ints:
    """A number for every NGRAM tokens in a row."""
    out = np.zeros(len(ids) - NGRAM + 1, np.int64)
    with np.errstate(over="ignore"):
        for place in range(NGRAM):
            out = out * np.int64(0x5851F42D4C957F2D) + (ids[place : place + len(out)] + 1)
    return out


def _is_loop(loop: _Loop, ids: Ints, words: Sequence[str]) -> bool:
    """Whether the stretch is none of what may come again and again."""
    some = ids[loop.begin : loop.end]
    turns = len(some) / loop.period
    if turns < TURNS - 0.5:
        return False
    tokens = words[loop.begin : loop.end]
    same = float((some[loop.period :] == some[: -loop.period]).mean())
    worded = sum(
        (len(token) > 1 and token[0].isalpha() and token not in _LATEX) or token > "\u2fff" for token in tokens
    )
    if worded < len(some) / 2 and len(some) < (EXACT_SIGNS if same >= EXACT else SIGNS_ONLY):
        return False
    common = sum(count for _, count in Counter(tokens).most_common(FEW_KINDS))
    if common >= 0.9 * len(some) and same < 0.9:
        return False
    numbers = np.array([token[0].isdigit() for token in tokens])
    new = int((numbers & loop.new).sum())
    if new <= turns / 2:
        return True
    if new > 1.5 * turns:
        return new < NEW_NUMBERS * len(some)
    others = int(numbers.sum()) - new
    return turns >= COUNTED_TURNS and (loop.period >= COUNTED or others < turns / 2)


def _in_characters(text: str) -> Loops:
    """Loops of very short periods in the characters themselves: what has no blanks is one token."""
    if len(text) < CHARACTERS:
        return NONE
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    best = (0, 0, 0)
    for period in range(1, LONGEST_PERIOD + 1):
        same = np.concatenate(([False], codes[period:] == codes[:-period], [False]))
        edges = np.flatnonzero(same[1:] != same[:-1])
        if not len(edges):
            continue
        lengths = edges[1::2] - edges[::2]
        at = int(lengths.argmax())
        if lengths[at] + period > best[1] - best[0]:
            best = (int(edges[2 * at]), int(edges[2 * at + 1]) + period, period)
    begin, end, period = best
    if end - begin < CHARACTERS or not any(sign.isalnum() for sign in text[begin : begin + period]):
        return NONE
    return Loops(round((end - begin) / len(text), 4), end - begin, (begin, end), text[begin : begin + period])
