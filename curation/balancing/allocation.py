"""How many rows to take of every group, and of every group's bins: shares under limits, in whole rows.

`spread` fills groups like water: every group gets its weight times one common level, at least its floor, at most its cap
and what is there; what is left of rounding goes to the largest remainders. `mixed` adds a second margin: bins (of
difficulty) with shares of their own. The limits of groups hold first, then the bins get their shares as far as rows are
there, then the groups theirs, and every group's bins are as near to the same mix as can be (iterative proportional
fitting, Deming and Stephan 1940, with limits; a maximum flow puts what rounding leaves). `drawn` draws groups uniformly instead.

Arrays: groups [G], bins [B], cells [G, B]. Of equals the first comes first.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Reals = NDArray[np.float64]

ROUNDS = 100
"""Rounds of proportional fitting: evenness is all that depends on them."""
HALVINGS = 120
NEARLY = 1e-9
"""What a sum of reals may be off by."""


def spread(total: int, weights: Reals | Counts, least: Counts, most: Counts) -> Counts:
    """Whole numbers in proportion to `weights` that lie between `least` and `most` and sum to `total`.

    The sum is less where `most` sums to less. Where `least` sums to more, that is what is shared, in proportion to itself.
    """
    exact = _level(total, weights, least, most)
    whole = np.floor(exact + NEARLY).astype(np.int64)
    upwards = np.argsort(np.round(whole - exact, 6), kind="stable")
    upwards = upwards[whole[upwards] < most[upwards]]
    whole[upwards[: min(total, int(most.sum())) - int(whole.sum())]] += 1
    return whole


def _level(total: int, weights: Reals | Counts, least: Counts, most: Counts) -> Reals:
    """`spread` before rounding."""
    least = np.minimum(least, most)
    if least.sum() > total:
        return _level(total, least, np.zeros_like(least), least)
    if not weights.sum() or total >= most.sum():
        return most.astype(float)
    low, high = 0.0, float(np.max(most / np.where(weights > 0, weights, np.inf)))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * weights, least, most).sum() < total else (low, middle)
    found: Reals = np.clip(high * weights, least, most)
    return found


def drawn(total: int, groups: Sequence[str], least: Counts, most: Counts, seed: int) -> Counts:
    """How many of every group come when a group is drawn uniformly, until there are `total`; a group leaves at its `most`.

    What each has to have, `least`, comes first. Where every group's rows arrive at exponential intervals, the next to
    arrive is of each group alike: so the first to arrive are those drawn, and each group has its own random numbers.
    """
    arrivals = []
    for group, low, high in zip(groups, least, most, strict=True):
        bits = np.random.PCG64(int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()))
        arrivals.append(np.cumsum(-np.log(((bits.random_raw(int(high - low)) >> 11) + 0.5) / 2.0**53)))
    of = np.repeat(np.arange(len(groups)), most - least)
    first = np.argsort(np.concatenate([np.empty(0), *arrivals]), kind="stable")[: total - int(least.sum())]
    return least + np.bincount(of[first], minlength=len(groups))


def mixed(total: int, there: Counts, groups: Counts, least: Counts, most: Counts, shares: Reals) -> Counts:
    """Rows to take of every cell: `total` of them where the limits allow.

    there: rows of every cell. groups: the number wanted of every group; `least` and `most` hold whatever the bins want.
    shares: of the bins.
    """
    most = np.minimum(most, there.sum(axis=1))
    least = np.minimum(least, most)
    total = min(total, int(most.sum()))
    assert least.sum() <= total
    bins = spread(total, shares, np.zeros(len(shares), np.int64), there.sum(axis=0))
    taken = _placed(total, there, groups, least, most, shares, bins)
    can_be = taken.sum(axis=0)
    # To sums that can be had the cells are fitted evenly.
    return taken if (can_be == bins).all() else _placed(total, there, groups, least, most, shares, can_be)


def _placed(
    total: int, there: Counts, groups: Counts, least: Counts, most: Counts, shares: Reals, bins: Counts
) -> Counts:
    """`mixed` with sums that the bins are to have: where they cannot, they are as near as can be, the cells anyhow."""
    exact = _fitted(total, there, groups, least, most, shares, bins)
    taken = np.floor(exact + NEARLY).astype(np.int64)
    # What a group has to have comes before the mix.
    floors = np.maximum(least, taken.sum(axis=1))
    _push(taken, there, floors, np.maximum(bins, taken.sum(axis=0)))
    _push(taken, there, floors, there.sum(axis=0))
    missing = np.maximum(bins - taken.sum(axis=0), 0)
    goal = taken.sum(axis=0) + spread(total - int(taken.sum()), missing, np.zeros_like(bins), missing)
    for rows in (np.maximum(groups, taken.sum(axis=1)), most):
        _round_up(taken, exact, there, rows, goal)
        _push(taken, there, rows, goal)
    # What a bin cannot give, the others do, by their shares.
    can_give = np.ones(len(bins), bool)
    while taken.sum() < total:
        can_give &= taken.sum(axis=0) >= goal
        assert can_give.any()
        room = np.where(can_give, there.sum(axis=0) - taken.sum(axis=0), 0)
        goal = taken.sum(axis=0) + spread(total - int(taken.sum()), shares, np.zeros_like(bins), room)
        can_give &= room > 0
        _push(taken, there, most, goal)
    return taken


def _fitted(
    total: int, there: Counts, groups: Counts, least: Counts, most: Counts, shares: Reals, bins: Counts
) -> Reals:
    """Cells in reals: no row sum above `most`, no column sum above `bins`, and those below `least` leave room for it."""
    cells = np.minimum(np.outer(groups, shares / shares.sum()), there)
    # To the shares of groups first; where the bins cannot have their sums beside these, within the groups' limits.
    for low, high in ((groups, groups), (least, most)):
        for _ in range(ROUNDS):
            cells = np.minimum(there, cells * _ratio(bins, cells.sum(axis=0)))
            rows = cells.sum(axis=1)
            cells = np.minimum(there, cells * _ratio(np.clip(rows, low, high), rows)[:, None])
    cells *= np.minimum(1, _ratio(bins, cells.sum(axis=0)))
    rows = cells.sum(axis=1)
    above, room = np.maximum(rows - least, 0), total - int(least.sum())
    if above.sum() > room:
        cells *= _ratio(np.where(rows > least, least + above * (room / above.sum()), rows), rows)[:, None]
    return cells


def _ratio(wanted: Reals | Counts, got: Reals) -> Reals:
    return np.divide(wanted, got, out=np.ones_like(got), where=got > 0)


def _round_up(taken: Counts, exact: Reals, there: Counts, rows: Counts, columns: Counts) -> None:
    """Takes one more of the cells with the largest remainders, where their row and column have room."""
    in_row, in_column = rows - taken.sum(axis=1), columns - taken.sum(axis=0)
    rest = np.round(exact - taken, 6)
    for cell in np.argsort(-rest, axis=None, kind="stable")[: int((rest > 0).sum())]:
        g, b = divmod(int(cell), taken.shape[1])
        if in_row[g] > 0 and in_column[b] > 0 and taken[g, b] < there[g, b]:
            taken[g, b] += 1
            in_row[g] -= 1
            in_column[b] -= 1


def _push(taken: Counts, there: Counts, rows: Counts, columns: Counts) -> None:
    """Takes as many more as rows and columns allow: a maximum flow by shortest paths (Edmonds and Karp 1972).

    What a row or column has is never taken from it, only moved within it.
    """
    while True:
        in_row, in_column = rows - taken.sum(axis=1), columns - taken.sum(axis=0)
        path = _path(taken, there, in_row, in_column)
        if not path:
            return
        (last, _), (_, first) = path[0], path[-1]
        amount = min(int(in_row[last]), int(in_column[first]))
        amount = min([amount, *(int(there[c] - taken[c]) for c in path[::2]), *(int(taken[c]) for c in path[1::2])])
        for number, cell in enumerate(path):
            taken[cell] += -amount if number % 2 else amount


def _path(taken: Counts, there: Counts, in_row: Counts, in_column: Counts) -> list[tuple[int, int]]:
    """Cells to take more and less of by turns, from a row with room to a column with room; empty when there is none."""
    through = np.full(len(in_row), -1)
    """The column by which a row was reached."""
    came = dict.fromkeys(map(int, np.flatnonzero(in_column > 0)), -1)
    """The row by which a column was reached, -1 where it has room itself."""
    waiting = list(came)
    for b in waiting:
        reached = np.flatnonzero((there[:, b] > taken[:, b]) & (through < 0))
        through[reached] = b
        if len(ends := reached[in_row[reached] > 0]):
            path = [(int(ends[np.argmax(in_row[ends])]), b)]
            while (g := came[path[-1][1]]) >= 0:
                path += [(g, path[-1][1]), (g, int(through[g]))]
            return path
        for other in range(taken.shape[1]):
            if other not in came and len(holding := reached[taken[reached, other] > 0]):
                came[other] = int(holding[0])
                waiting.append(other)
    return []
