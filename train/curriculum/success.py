"""How often each problem is solved now: what was measured of it before training, and what training saw since.

Evidence is a count of right and of wrong answers. The policy changes under it: when new answers of a problem come in, those
it has count half for every `half_life` batches since they did,

    right <- right * 2**(-elapsed / half_life) + new right,    wrong likewise

which is the power discount of a drifting Beta posterior (Smith 1979, J. R. Stat. Soc. B 41; West and Harrison, Bayesian
Forecasting, 1997): with time a rate is known less well, and is no other. So a problem that nobody tried again keeps its
estimate, one that is tried again soon pools with what was known, and one that is tried again late is as it is now.

The estimate is the mean of Beta(right + 1/2, wrong + 1/2), Jeffreys' prior: one half where nothing is known, and never 0 or 1.
The counts of a measurement that stopped early are taken as they are: how it was stopped is no part of a likelihood.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PRIOR = 0.5
"""Jeffreys': of right answers, and of wrong ones."""
LEFT = 0.5
"""Right answers that must be left for a problem to count as solved: below, the prior says more of it than they do."""


class Success:
    """Counts and estimates of n problems, by their place in the set."""

    def __init__(self, right: Sequence[int | None], wrong: Sequence[int | None], half_life: float) -> None:
        """right, wrong: counts measured before training, None where nothing was. half_life: in batches."""
        self.right, self.wrong = counts(right), counts(wrong)
        self.half_life = half_life
        self.seen = np.zeros(len(self.right), dtype=np.int64)
        """The batch of the newest evidence; 0 for what was measured."""

    def observe(self, problem: int, right: int, known: int, batch: int) -> None:
        """Adds the graded answers of a group: `right` of `known`. What was not graded is no part of either."""
        if not known:
            return
        kept = 2.0 ** (-(batch - int(self.seen[problem])) / self.half_life)
        self.right[problem] = kept * self.right[problem] + right
        self.wrong[problem] = kept * self.wrong[problem] + known - right
        self.seen[problem] = batch

    def rates(self) -> NDArray[np.float64]:
        """The success rate of every problem, above 0 and below 1."""
        rates: NDArray[np.float64] = (self.right + PRIOR) / (self.right + self.wrong + 2 * PRIOR)
        return rates

    def unsolved(self) -> NDArray[np.bool_]:
        """Which problems were tried and are solved no more, if they ever were: their groups are expected to teach nothing."""
        tried: NDArray[np.bool_] = self.right + self.wrong > 0
        return tried & (self.right < LEFT)

    def state(self, problems: Sequence[int]) -> dict[str, Any]:
        """What is known of some problems, as plain data; floats come back from JSON as they were."""
        return {name: getattr(self, name)[[*problems]].tolist() for name in ("right", "wrong", "seen")}

    def restore(self, problems: Sequence[int], state: dict[str, Any]) -> None:
        """Takes back what `state` gave for the same problems."""
        for name in ("right", "wrong", "seen"):
            getattr(self, name)[[*problems]] = state[name]


def counts(values: Sequence[int | None]) -> NDArray[np.float64]:
    """Counts as an array, 0 for None: no evidence."""
    return np.array([value or 0 for value in values], dtype=np.float64)
