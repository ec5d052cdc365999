"""When samples have settled a problem, and how many more that takes.

What the rules over one pass-rate annotator make of a problem is a *pattern*: n + 1 characters, character k for the case
that k of all n samples pass. Equal characters mean equal outcomes. For `passes between 1 and 6` of 8 it is "FTTTTTTFF".

After some samples, `passes` and `fails` of them, between `passes` and `n - fails` of all n pass: a sample that is not drawn,
or that no grader could judge, could be either. The state is settled when the pattern is the same all that way. More
samples only narrow the way, so a settled state stays settled; and every state before one that is not settled is not
settled either, which makes the sums below short.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

CHANCES_KEPT = 1 << 18


def never(n: int) -> str:
    """The pattern that only all n samples settle: every count has an outcome of its own."""
    return "".join(chr(0x100 + k) for k in range(n + 1))


@functools.cache
def settling(pattern: str) -> "Settling":
    """The tables of a pattern, built once: under a millisecond for n = 64, a tenth of a second for n = 1024."""
    return Settling(pattern)


class Settling:
    """What can be said of every state of a pattern. States are counts of graded samples: passes + fails <= n."""

    def __init__(self, pattern: str) -> None:
        assert pattern, "a pattern has an outcome for no pass at all"
        self.pattern = pattern
        self.n = len(pattern) - 1
        self._enough = self._fails_that_settle()
        self.fewest_table = self._fewest()
        """The fewest further graded samples that could settle a state: `fewest_table[passes][fails]`, 0 when settled."""

    def _fails_that_settle(self) -> list[int]:
        """By passes: a state is settled when it has so many fails, so that its outcomes end where those of `passes` do."""
        end, enough = self.n, [0] * (self.n + 1)
        for passes in range(self.n, -1, -1):
            if self.pattern[passes] != self.pattern[end]:
                end = passes
            enough[passes] = self.n - end
        return enough

    def _fewest(self) -> list[list[int]]:
        table: list[list[int]] = [[] for _ in range(self.n + 1)]
        after_pass: list[int] = []
        for passes in range(self.n, -1, -1):
            row = [0] * (self.n - passes + 1)
            for fails in range(self._enough[passes] - 1, -1, -1):
                row[fails] = 1 + min(after_pass[fails], row[fails + 1])
            table[passes] = after_pass = row
        return table

    @functools.cached_property
    def remaining_table(self) -> list[list[float]]:
        """How many further samples a state takes on average: `remaining_table[passes][fails]`; rates as in `chance`."""
        table: list[list[float]] = [[] for _ in range(self.n + 1)]
        after_pass: list[float] = []
        for passes in range(self.n, -1, -1):
            row = [0.0] * (self.n - passes + 1)
            for fails in range(self._enough[passes] - 1, -1, -1):
                seen = passes + fails + 2
                row[fails] = 1 + (passes + 1) / seen * after_pass[fails] + (fails + 1) / seen * row[fails + 1]
            table[passes] = after_pass = row
        return table

    def settled(self, passes: int, fails: int) -> bool:
        return fails >= self._enough[passes]

    def fewest(self, passes: int, fails: int) -> int:
        """The fewest further graded samples that could settle it; 0 when it is settled."""
        return self.fewest_table[passes][fails]

    def chance(self, passes: int, fails: int, ahead: int) -> float:
        """How likely yet another sample is needed after `ahead` further ones: that these do not settle it.

        The pass rate is believed to be Beta(1 + passes, 1 + fails), as after a uniform prior.
        """
        return _chance(self, passes, fails, ahead)

    def expected(self, rate: float) -> float:
        """How many samples are drawn on average when each passes with `rate` and every one can be graded."""
        enough, total = np.array(self._enough), 0.0
        binomial = np.ones(1)  # the chances of 0 .. t passes among the first t samples
        for t in range(self.n):
            fails = np.arange(t, -1, -1)
            total += float(binomial[fails < enough[: t + 1]].sum())
            binomial = np.append(binomial * (1 - rate), 0.0) + np.append(0.0, binomial * rate)
        return total

    def expected_given(self, passes: int) -> float:
        """How many samples are drawn on average when `passes` of all n pass, every order of them being as likely.

        The sum, over the states that are not settled, of the chance that the samples go through it.
        """
        p, f = np.ogrid[: passes + 1, : self.n - passes + 1]
        ways = _log_comb(p + f, p) + _log_comb(self.n - p - f, passes - p)
        chance = np.exp(ways - _log_comb(np.array(self.n), np.array(passes)))
        return float(chance[f < np.array(self._enough)[: passes + 1, None]].sum())


@functools.lru_cache(CHANCES_KEPT)
def _chance(of: Settling, passes: int, fails: int, ahead: int) -> float:
    """The beta-binomial distribution in whole numbers: of comb(passes + fails + ahead + 1, ahead) equally likely cases."""
    if passes + fails + ahead >= of.n:
        return 0.0
    open_ = sum(
        math.comb(passes + k, k) * math.comb(fails + ahead - k, ahead - k)
        for k in range(ahead + 1)
        if not of.settled(passes + k, fails + ahead - k)
    )
    return open_ / math.comb(passes + fails + ahead + 1, ahead)


def _log_comb(of: NDArray[np.int64], taken: NDArray[np.int64]) -> NDArray[np.float64]:
    log_factorial = np.array([math.lgamma(k + 1) for k in range(int(of.max()) + 1)])
    logs: NDArray[np.float64] = log_factorial[of] - log_factorial[taken] - log_factorial[of - taken]
    return logs
