"""Conversations of several turns out of rows of one, and which turns carry a flag.

Every row is the trained turn, the last, of exactly one conversation, so nothing that is trained on is lost and nothing trained on
twice. Some rows get history: other rows of their split lend problem and answer, without thinking and untrained. Those that lend
go round in the order of a hash, so that all have lent before one lends again; a row that does not fit is passed over until the
next round. No two turns are of one problem, and the whole stays within the longest that is asked for.

Flags follow Qwen3's meaning: one holds until the next. So a turn whose mode is not the one in force gets its flag, any other
only at the rates of the recipe. A flag in the system message of a conversation speaks for all turns: they are of one mode then,
and none has a flag of its own. In other conversations the first turn's flag may stand there and a later one override it.

Arrays: rows [R] of one split, in the order in which they are offered history; turns [T] of all conversations.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.fusing.flags import Flag, FlagIn
from distill.fusing.settings import Fusion

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]
Booleans = NDArray[np.bool_]

FLAG_TOKENS = 10
"""Tokens of a flag and the blank before it, at most: no tokenizer makes more than one of a byte."""
SYSTEM_TOKENS = 16
"""Tokens around a system message that was not there before, with room to spare."""
LOOKS = 64
"""Rows looked at for the history of one."""
MOST_TOKENS = 1 << 62
FLAGS: tuple[Flag, ...] = ("none", "think", "no_think")
PLACES: tuple[FlagIn | None, ...] = (None, "user", "system")
_NO_PLACE, _USER, _SYSTEM = range(3)


class Rows(NamedTuple):
    """Rows of one split: arrays [R]."""

    problem: NDArray[np.uint64]
    """The same for rows of one problem."""
    thinks: Booleans
    tokens: Integers
    """Of the whole row."""
    history_tokens: Integers
    """Of what it lends: the row without thinking."""
    alone: Booleans
    """Whether it can neither lend nor borrow."""
    lend: NDArray[np.uint64]
    """The order in which rows lend."""
    turns: Reals
    """Random numbers from 0 to 1, one for each purpose: how many turns,"""
    flag: Reals
    """whether it has a flag where it needs none,"""
    place: Reals
    """where its flag is,"""
    first: Reals
    """and where that of the first turn is, when its own is in a user message."""


class Plan(NamedTuple):
    """Turns of all conversations: arrays [T]. The last of a conversation is `turn == turns - 1`."""

    conversation: Integers
    """The row trained on, by its place in Rows."""
    turn: Integers
    turns: Integers
    """Turns of the conversation."""
    row: Integers
    """The row whose texts the turn has."""
    flag: Integers
    """Index into FLAGS."""
    place: Integers
    """Index into PLACES."""


def plan(rows: Rows, fusion: Fusion, max_length: int | None) -> tuple[Plan, int]:
    """The conversations of a split, and how many of several turns were asked for.

    max_length: tokens of a conversation; None for no limit. A thinking row that would be too long with a flag gets none.
    """
    longest = MOST_TOKENS if max_length is None else max_length
    wanted = int(np.floor(fusion.multi_turn * len(rows.tokens) + 0.5))
    history = _histories(rows, fusion, wanted, longest)
    singles = np.setdiff1d(np.arange(len(rows.tokens)), np.array(list(history), np.int64))
    turns = [turn for row, before in history.items() for turn in _flagged(rows, fusion, row, before)]
    several = np.array(turns, np.int64).reshape(-1, len(Plan._fields))
    columns = np.concatenate([_single(rows, fusion, singles, longest), several])
    return Plan(*columns[np.lexsort((columns[:, 1], columns[:, 0]))].T), wanted


def _system(rows: Rows, fusion: Fusion, which: Integers | int) -> Booleans:
    return np.asarray(rows.place[which] < fusion.flags.system_rate)


def _single(rows: Rows, fusion: Fusion, which: Integers, longest: int) -> Integers:
    """Conversations of one turn [W, fields of Plan]."""
    thinks, room = rows.thinks[which], longest - rows.tokens[which]
    without = thinks & ((rows.flag[which] >= fusion.flags.think_rate) | (room < FLAG_TOKENS))
    system = _system(rows, fusion, which) & (room >= FLAG_TOKENS + SYSTEM_TOKENS)
    flag = np.where(without, FLAGS.index("none"), np.where(thinks, FLAGS.index("think"), FLAGS.index("no_think")))
    place = np.where(without, _NO_PLACE, np.where(system, _SYSTEM, _USER))
    return np.stack([which, np.zeros_like(which), np.ones_like(which), which, flag, place], axis=1)


def _histories(rows: Rows, fusion: Fusion, wanted: int, longest: int) -> dict[int, list[int]]:
    """Rows that lend history, in their order, by the row that gets it: `wanted` of them where there are enough."""
    lenders = np.argsort(rows.lend, kind="stable")
    lenders = lenders[~rows.alone[lenders]]
    if not wanted or not len(lenders):
        return {}
    low, high = fusion.turns
    turns = low + np.minimum((rows.turns * (high - low + 1)).astype(np.int64), high - low)
    system = _system(rows, fusion, np.arange(len(rows.tokens)))
    room = longest - rows.tokens - FLAG_TOKENS * turns - SYSTEM_TOKENS
    # The shortest that lend may be of its own problem: this only saves looking.
    can = np.flatnonzero(~rows.alone & (room >= np.sort(rows.history_tokens[lenders])[: low - 1].sum()))
    found: dict[int, list[int]] = {}
    at = 0
    for row in can[: 4 * wanted + 1000].tolist():
        if len(found) == wanted:
            break
        left, problems, history = int(room[row]), {int(rows.problem[row])}, []
        for look in range(min(LOOKS, len(lenders))):
            lender = int(lenders[(at + look) % len(lenders)])
            problem, tokens = int(rows.problem[lender]), int(rows.history_tokens[lender])
            if problem in problems or tokens > left or (system[row] and rows.thinks[lender] != rows.thinks[row]):
                continue
            history.append(lender)
            problems.add(problem)
            left -= tokens
            if len(history) == turns[row] - 1:
                break
        if len(history) >= low - 1:
            found[row] = history
            at = (at + look + 1) % len(lenders)
    return found


def _flagged(rows: Rows, fusion: Fusion, row: int, history: list[int]) -> list[tuple[int, ...]]:
    """The turns of one conversation, as Plan has them."""
    rates = {True: fusion.flags.think_rate, False: fusion.flags.no_think_rate}
    for_all = bool(_system(rows, fusion, row))
    first = _SYSTEM if for_all or rows.first[row] < fusion.flags.system_rate else _USER
    found: list[tuple[int, ...]] = []
    thinking = True
    for turn, of in enumerate([*history, row]):
        thinks = bool(rows.thinks[of])
        again = rows.flag[of] < rates[thinks] and (turn == 0 or not for_all)
        writes = thinks != thinking or again
        flag = FLAGS.index("think" if thinks else "no_think") if writes else FLAGS.index("none")
        place = _NO_PLACE if not writes else first if turn == 0 else _USER
        found.append((row, turn, len(history) + 1, of, flag, place))
        thinking = thinks
    return found
