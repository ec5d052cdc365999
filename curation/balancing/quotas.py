"""The targets of a balance in rows: how many of every group and bin are to stay, and afterwards which targets were missed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curation.balancing.allocation import Counts, Reals, drawn, mixed, spread
from curation.balancing.targets import Balance, limit_of, rows
from curation.sql import short

NAMED = 10
"""Groups that a message names."""


@dataclass(frozen=True)
class Missed:
    """A target that was not met."""

    target: str
    """What the recipe calls it: `size`, `floors.geometry`, `mix.8..10`; `by.geometry` is the share of a group."""
    wanted: int
    """Rows."""
    got: int
    why: str

    def __str__(self) -> str:
        return (
            f"balance.{short(' '.join(self.target.split()))}: {self.wanted:,} rows wanted, {self.got:,} got: {self.why}"
        )


@dataclass(frozen=True)
class Quotas:
    """Targets in rows; arrays are by group, as `groups` has them."""

    balance: Balance
    groups: list[str]
    there: Counts
    """Rows that every rule keeps by group and bin of the mix; one bin where there is none."""
    size: int
    floors: Counts
    caps: Counts

    @classmethod
    def of(cls, balance: Balance, groups: Sequence[str], there: Counts) -> "Quotas":
        size = balance.size if balance.size is not None else _largest(balance, groups, there.sum(axis=1))
        floors = [rows(balance.floors, group, size) or 0 for group in groups]
        caps = [size if (cap := rows(balance.caps, group, size)) is None else min(cap, size) for group in groups]
        return cls(balance, list(groups), there, size, np.array(floors, np.int64), np.array(caps, np.int64))

    @property
    def weights(self) -> Reals:
        weights: Reals = np.maximum(self.there.sum(axis=1), 1) ** self.balance.temperature
        return weights

    @property
    def shares(self) -> Reals:
        """Of the bins of the mix."""
        return np.array([1.0] if self.balance.mix is None else [*self.balance.mix.shares.values()])

    def cells(self, seed: int) -> Counts:
        """How many rows stay, by group and bin."""
        most = np.minimum(self.caps, self.there.sum(axis=1))
        least = np.minimum(self.floors, most)
        if least.sum() > self.size:
            least = spread(self.size, least, np.zeros_like(least), least)
        if self.balance.rule == "s1":
            return drawn(self.size, self.groups, least, most, seed)[:, None]
        groups = spread(self.size, self.weights, least, most)
        if self.balance.mix is None:
            return groups[:, None]
        return mixed(self.size, self.there, groups, least, most, self.shares)

    def missed(self, kept: int, after: Mapping[str, int], by_bin: Mapping[str, int]) -> list[Missed]:
        """What was not met, and why. kept: rows that every rule keeps; after: those that stay by group, `by_bin` by bin."""
        return [
            *self._size(kept, sum(after.values())),
            *self._no_groups(),
            *self._no_row(),
            *self._groups(after),
            *self._mix(by_bin),
        ]

    def _size(self, kept: int, stay: int) -> Iterator[Missed]:
        if self.balance.size is None:
            if kept and not stay:
                why = "without `size` caps are shares of what stays, and those of all groups have to sum to 1 at least"
                yield Missed("caps", kept, 0, why)
        elif stay < self.size:
            why = "no more lie in a bin of the mix" if stay == self.there.sum() else "caps leave no more"
            yield Missed("size", self.size, stay, "the rules keep no more" if stay == kept else why)

    def _no_groups(self) -> Iterator[Missed]:
        """Names of no group, which are mistyped as often as not."""
        known = ", ".join(self.groups[:NAMED]) + (", …" if len(self.groups) > NAMED else "")
        for key, limits in (("caps", self.balance.caps), ("floors", self.balance.floors)):
            for group in limits if isinstance(limits, dict) else ():
                if group not in self.groups:
                    why = f"no row is in this group; groups are {known}"
                    yield Missed(f"{key}.{group}", rows(limits, group, self.size) or 0, 0, why)

    def _no_row(self) -> Iterator[Missed]:
        """Groups whose cap is less than a row."""
        for number, group in enumerate(self.groups):
            if self.caps[number] == 0 < self.size:
                yield Missed(f"caps.{group}", 1, 0, "its share is less than a row, so all of it goes")

    def _groups(self, after: Mapping[str, int]) -> Iterator[Missed]:
        """Groups below their floor, and such as have too few rows for their share."""
        stay = sum(after.values())
        shared = self.balance.size == stay and self.balance.rule is None
        # A size that is not met leaves every group short, which was said.
        shares = spread(self.size, self.weights, self.floors, self.caps) if shared else np.zeros_like(self.floors)
        has = self.there.sum(axis=1)
        for number, group in enumerate(self.groups):
            floor, share, got = int(self.floors[number]), int(shares[number]), after[group]
            all_of_it = got == has[number]
            if got < floor:
                why = "it has no more" if all_of_it else f"all floors together are above size, {self.size:,}"
                yield Missed(f"floors.{group}", floor, got, why)
            elif got < share and (all_of_it or self.balance.mix is not None):
                yield Missed(
                    f"by.{group}", share, got, "it has no more" if all_of_it else "the mix takes no more of it"
                )

    def _mix(self, by_bin: Mapping[str, int]) -> Iterator[Missed]:
        if self.balance.mix is None:
            return
        most = np.full(len(self.shares), self.size)
        wanted = spread(self.size, self.shares, np.zeros_like(most), most)
        for number, bin_ in enumerate(self.balance.mix.shares):
            if (got := by_bin[bin_]) < wanted[number]:
                all_of_it = got == self.there[:, number].sum()
                why = "no more rows lie in it" if all_of_it else "size, caps and floors of the groups leave no more"
                yield Missed(f"mix.{bin_}", int(wanted[number]), got, why)


def _largest(balance: Balance, groups: Sequence[str], there: Counts) -> int:
    """The most rows that can stay with no group above its cap, where caps may be shares of them."""
    caps = [limit_of(balance.caps, group) for group in groups]
    low, high = 0, int(there.sum())
    while low < high:
        size = math.ceil((low + high) / 2)
        # Parts of rows count here; they are rounded off where the size is known.
        most = [size if cap is None else cap * size if isinstance(cap, float) else cap for cap in caps]
        low, high = (size, high) if np.minimum(there, most).sum() >= size - 1e-6 else (low, size - 1)
    # A cap is whole rows: rounded down, fewer stay, of which it may be more than its share.
    while (stay := _within(balance, groups, there, low)) < low:
        low = stay
    return low


def _within(balance: Balance, groups: Sequence[str], there: Counts, size: int) -> int:
    """Rows that caps leave when shares are of this size."""
    caps = [size if (cap := rows(balance.caps, group, size)) is None else cap for group in groups]
    return int(np.minimum(there, caps).sum())
