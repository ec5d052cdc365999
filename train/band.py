"""What a set's problems are worth to RL before a step is paid for: groups that will be all equal, and so train nothing.

A group of G answers to a problem that is solved with rate p is all right with probability p^G and all wrong with (1 - p)^G;
its advantages are then zero. p is not known: k right answers of n were measured. With a prior Beta(a, b) the posterior is
Beta(a + k, b + n - k), and the expectation over it is

    E[p^G + (1 - p)^G] = prod_{i < G} (a + k + i)/(a + b + n + i) + prod_{i < G} (b + n - k + i)/(a + b + n + i)

The prior is fitted to the pool that the set was taken from (empirical Bayes): by the rates of all problems that were measured,
those that the rules dropped too. Of a band alone it cannot be: what has 1 to 7 right of 10 looks as if no rate were near 0 or
1, and the share came out at a third to a half of the true one. Where the pool is not at hand it is Jeffreys', Beta(1/2, 1/2),
with which it was off by up to a tenth. Taking p = k/n instead would call every problem of 0 of 8 lost.

How sampling was stopped is no part of a likelihood, so counts of problems that were settled early are good. All of it is
about the model that was measured; training changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from train.curriculum.success import PRIOR

ROUNDS = 10_000
NEAR = 1e-6
"""Relative change of the prior at which its fit ends."""
Counts = Sequence[int | None]


class Beta(NamedTuple):
    """A distribution over rates."""

    right: float
    wrong: float


JEFFREYS = Beta(PRIOR, PRIOR)


@dataclass(frozen=True)
class Band:
    """What is expected of the groups of a set, every problem drawn equally often."""

    group: int
    """Answers a group."""
    problems: int
    """Those with a measured rate."""
    unknown: int
    """Those without: nothing is said of them."""
    samples: float
    """Graded answers a problem, on average."""
    all_right: float
    """Expected share of groups in which every answer is right."""
    all_wrong: float
    """And wrong."""
    never: int
    """Problems without a right answer."""
    always: int
    """Problems without a wrong one."""
    prior: Beta
    fitted: bool
    """Whether the prior is that of the pool."""

    @property
    def all_equal(self) -> float:
        """Expected share of groups that train nothing."""
        return self.all_right + self.all_wrong

    def __str__(self) -> str:
        beside = f"; {self.unknown:,} more have none" if self.unknown else ""
        return (
            f"groups of {self.group}: about {self.all_equal:.0%} would be all equal and train nothing ({self.all_right:.0%} "
            f"all right, {self.all_wrong:.0%} all wrong), by the pass rates of {self.problems:,} problems, "
            f"{self.samples:.1f} samples each, {self.never:,} never solved and {self.always:,} always{beside}"
        )


def band(passes: Counts, fails: Counts, group: int, pool: tuple[Counts, Counts] | None = None) -> Band | None:
    """What to expect of groups of `group` answers; None when no problem has a measured rate.

    passes, fails: right and wrong answers of each problem of the set; None, or 0 of both, is no measurement. pool: the same
    of all problems that were measured, by the same model.
    """
    known, prior = _known(passes, fails), JEFFREYS if pool is None else fitted(*pool)
    if not len(known):
        return None
    right, wrong = known.T
    return Band(
        group=group,
        problems=len(known),
        unknown=len(passes) - len(known),
        samples=float(known.sum(axis=1).mean()),
        all_right=float(_alike(prior.right + right, prior.wrong + wrong, group).mean()),
        all_wrong=float(_alike(prior.wrong + wrong, prior.right + right, group).mean()),
        never=int((right == 0).sum()),
        always=int((wrong == 0).sum()),
        prior=prior,
        fitted=pool is not None,
    )


def fitted(passes: Counts, fails: Counts) -> Beta:
    """The Beta distribution under which the counts of many problems are likeliest, and one right and one wrong answer more.

    Minka's fixed point (Estimating a Dirichlet distribution, 2000, eq. 55), from Jeffreys' prior:

        a <- a * sum_j [digamma(a + k_j) - digamma(a)] / sum_j [digamma(a + b + n_j) - digamma(a + b)]

    and b likewise; digamma(a + k) - digamma(a) is the sum of 1/(a + i) over i < k, so all that is needed of the counts is how
    many are above each i. The two answers more keep both above 0. Fewer than two answers a problem tell the mean only.
    """
    known = _known(passes, fails)
    right, wrong, both = _above(known[:, 0], 1), _above(known[:, 1], 1), _above(known.sum(axis=1), 2)
    a, b = JEFFREYS
    for _ in range(ROUNDS):
        total = _sum(both, a + b)
        before = a, b
        a, b = a * _sum(right, a) / total, b * _sum(wrong, b) / total
        if abs(a - before[0]) + abs(b - before[1]) < NEAR * (a + b):
            break
    return Beta(a, b)


def _known(passes: Counts, fails: Counts) -> NDArray[np.int64]:
    """Rows (right, wrong) of the problems that were measured."""
    rows = [(k or 0, m or 0) for k, m in zip(passes, fails, strict=True)]
    return np.array([row for row in rows if any(row)], dtype=np.int64).reshape(-1, 2)


def _above(counts: NDArray[np.int64], more: int) -> NDArray[np.float64]:
    """How many of the counts are above 0, 1, 2, ..., and `more` of 1."""
    found = len(counts) - np.cumsum(np.bincount(counts, minlength=1)).astype(np.float64)
    found[0] += more
    return found


def _sum(above: NDArray[np.float64], start: float) -> float:
    return float((above / (start + np.arange(len(above)))).sum())


def _alike(same: NDArray[np.float64], other: NDArray[np.float64], group: int) -> NDArray[np.float64]:
    """E[p^group] under Beta(same, other), by problem."""
    steps = np.arange(group)[:, None]
    found: NDArray[np.float64] = ((same + steps) / (same + other + steps)).prod(axis=0)
    return found
