"""How many traces of every group stay under budgets in rows and tokens, when the groups are to have shares of the whole.

Traces come in an order that is given; of a group the first ones stay, up to where the next would go over what the group
has: no trace is passed over for being long. A group that has too little leaves its place empty: the others are not
enlarged, which would move the shares further off. Of what a group gets the largest part is `share * total`, where the
total is the largest that keeps every budget (Quotas).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation.balancing.allocation import Counts, Reals, spread
from distill.selecting.targets import Unit


@dataclass(frozen=True)
class Ordered:
    """Traces in the order in which they stay, by group."""

    lengths: Counts
    """Tokens of all traces, [N]."""
    by_group: Sequence[Counts]
    """Tokens up to and with each trace of a group, in its order."""

    @classmethod
    def of(cls, groups: npt.NDArray[np.integer], lengths: Counts, count: int) -> "Ordered":
        """groups: the number of every trace's group, below `count`."""
        return cls(lengths, [np.cumsum(lengths[groups == group]) for group in range(count)])

    @property
    def rows(self) -> Counts:
        """Traces of every group, [G]."""
        return np.array([len(sums) for sums in self.by_group], np.int64)

    @property
    def tokens(self) -> Counts:
        """Tokens of every group, [G]."""
        return self.tokens_of(self.rows)

    def tokens_of(self, taken: Counts) -> Counts:
        """Tokens of the first so many traces of every group."""
        return np.array(
            [int(sums[count - 1]) if count else 0 for sums, count in zip(self.by_group, taken, strict=True)], np.int64
        )

    def within(self, quotas: Counts, of: Unit) -> Counts:
        """How many traces of every group its quota holds."""
        if of == "rows":
            return np.minimum(quotas, self.rows)
        return np.array(
            [np.searchsorted(sums, quota, "right") for sums, quota in zip(self.by_group, quotas, strict=True)], np.int64
        )

    def budget(self, rows: int | None, tokens: int | None) -> tuple[int, int]:
        """How many traces the budgets alone hold, whatever their group: by rows, and by tokens."""
        there = len(self.lengths)
        by_tokens = there if tokens is None else int(np.searchsorted(np.cumsum(self.lengths), tokens, "right"))
        return there if rows is None else min(rows, there), by_tokens


@dataclass(frozen=True)
class Quotas:
    """Shares of a total, by group."""

    of: Unit
    total: int
    quotas: Counts
    """What every group may have, in rows or tokens, [G]."""
    taken: Counts
    """Traces that it gets, [G]."""
    holds: int
    """The largest total at which every group that has traces has its share."""

    @classmethod
    def fit(cls, ordered: Ordered, shares: Reals, of: Unit, rows: int | None, tokens: int | None) -> "Quotas":
        """The largest total whose shares lie within the budgets; without any, the largest at which the shares hold."""
        there = ordered.rows if of == "rows" else ordered.tokens
        holds = int(np.floor((there / shares)[there > 0].min() + 1e-9)) if there.any() else 0
        own, other = (rows, tokens) if of == "rows" else (tokens, rows)
        top = own if own is not None else holds
        if own is None and other is not None:
            top = int(np.ceil((there / shares).max()))

        def at(total: int) -> tuple[Counts, Counts]:
            quotas = spread(total, shares, np.zeros(len(shares), np.int64), np.full(len(shares), total))
            return quotas, ordered.within(quotas, of)

        def fits(taken: Counts) -> bool:
            got = int(ordered.tokens_of(taken).sum() if of == "rows" else taken.sum())
            return other is None or got <= other

        low, high = (top, top) if fits(at(top)[1]) else (0, top - 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(at(middle)[1]) else (low, middle - 1)
        return cls(of, low, *at(low), holds)
