"""How far verdicts agree with labels: the table of two by two, and its rates with Wilson's interval.

    table = Agreement()
    table.add(label=False, outcome="correct")     # a false accept
    table.false_accepts                           # Rate(1, 1): of the answers labelled wrong, those called correct

A verdict `error` decides nothing: it is counted, and no part of a rate.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

Outcome = Literal["correct", "wrong", "error"]
OUTCOMES: tuple[Outcome, ...] = ("correct", "wrong", "error")
LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of some rows. Of none there is no share, and it may be anything from 0 to 1."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.count, self.of)

    def told(self) -> dict[str, Any]:
        low, high = self.interval
        return {"count": self.count, "of": self.of, "rate": self.value, "low": low, "high": high}


def wilson(count: int, of: int, level: float = LEVEL) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927, Journal of the American Statistical Association 22:158).

    The rates under which `count` of `of` is no surprise at this level, by the normal approximation; unlike the usual
    interval it has a width at 0 and at 1.
    """
    if not of:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate, square = count / of, z * z / of
    middle = (rate + square / 2) / (1 + square)
    half = math.sqrt(square * rate * (1 - rate) + square * square / 4) / (1 + square)
    # At the ends the interval touches 0 and 1, which rounding misses.
    return 0.0 if count == 0 else max(0.0, middle - half), 1.0 if count == of else min(1.0, middle + half)


@dataclass
class Agreement:
    """Outcomes counted beside labels; a label is whether the answer is right."""

    counts: Counter[tuple[bool, Outcome]] = field(default_factory=Counter)

    def add(self, label: bool, outcome: Outcome) -> None:
        self.counts[label, outcome] += 1

    @property
    def labelled(self) -> int:
        return self.counts.total()

    @property
    def agreement(self) -> Rate:
        """Of all that were decided, those as labelled."""
        agreed = self.counts[True, "correct"] + self.counts[False, "wrong"]
        return Rate(agreed, agreed + self.counts[True, "wrong"] + self.counts[False, "correct"])

    @property
    def false_accepts(self) -> Rate:
        """Of those labelled wrong that were decided, those called correct."""
        return Rate(self.counts[False, "correct"], self.counts[False, "correct"] + self.counts[False, "wrong"])

    @property
    def false_rejects(self) -> Rate:
        """Of those labelled right that were decided, those called wrong."""
        return Rate(self.counts[True, "wrong"], self.counts[True, "correct"] + self.counts[True, "wrong"])

    def told(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return {
            "labelled": self.labelled,
            "right": {outcome: self.counts[True, outcome] for outcome in OUTCOMES},
            "wrong": {outcome: self.counts[False, outcome] for outcome in OUTCOMES},
            "agreement": self.agreement.told(),
            "false_accepts": self.false_accepts.told(),
            "false_rejects": self.false_rejects.told(),
        }
