"""Accuracy from samples: pass@1 with its interval, pass@k, and what errors leave open. Rates are 0 to 1.

A problem is `Counted`: of n samples so many are correct and so many wrong; the rest is unknown (the grader failed, the
server refused), and never counted as wrong: rates are over what is known, and `bounds` says what the rest could make of them.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance
from typing import NamedTuple

LEVEL = 0.9
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
ADDED = 2
"""Problems that `effective` adds."""


class Counted(NamedTuple):
    """The samples of one problem."""

    correct: int
    wrong: int
    """A sample that was cut off is wrong."""
    unknown: int = 0

    @property
    def known(self) -> int:
        return self.correct + self.wrong

    @property
    def rate(self) -> float:
        """Share of the known samples that is correct."""
        return self.correct / self.known


def pass_at(k: int, correct: int, of: int) -> float:
    """The chance that k of the samples, drawn without replacement, hold a correct one: without bias for any k <= of.

    1 - C(of - correct, k) / C(of, k) (Chen et al., arXiv 2107.03374, eq. 1).
    """
    assert 0 < k <= of, f"pass@{k} of {of} samples"
    return 1 - math.comb(of - correct, k) / math.comb(of, k)


def powers(n: int) -> list[int]:
    """1, 2, 4, ... up to n, and n itself."""
    found = [1 << power for power in range(n.bit_length())]
    return found if found[-1] == n else [*found, n]


def bounds(problems: Sequence[Counted]) -> tuple[float, float]:
    """The mean rate if all that is unknown were wrong, and if all of it were correct."""
    if not problems:
        return 0.0, 1.0
    low = fmean(one.correct / sum(one) for one in problems)
    return low, low + fmean(one.unknown / sum(one) for one in problems)


def interval(rates: Sequence[float], samples: int) -> tuple[float, float]:
    """The 90 % interval of the mean rate, of problems like these: other problems would be harder or easier.

    rates: by problem. samples: of all problems together.

    Wilson's score interval (1927) at the *effective* number of samples: as many independent ones as would vary as much as
    the mean over problems does (Korn and Graubard, Survey Methodology 24, 1998, with their correction for few problems).
    Where no problem, or every one, was solved, nothing tells how much they vary, and it is the number of problems: the
    interval has a width. benchmarks/evaluation.py says how often it holds the true rate: too seldom where a few problems of
    very many are solved.
    """
    return score(fmean(rates), effective(rates, samples)) if rates else (0.0, 1.0)


def effective(rates: Sequence[float], samples: int) -> float:
    """The effective number of samples.

    Few problems, of which few are solved, seem to vary less than they do: the variance is taken with `ADDED` problems more,
    solved always or never.
    """
    problems, mean = len(rates), fmean(rates)
    if mean in (0.0, 1.0) or problems < 2:
        return float(problems)
    widest = mean * (1 - mean)
    spread = ((problems - 1) * variance(rates) + ADDED * widest) / (problems - 1 + ADDED)
    return min(float(samples), problems * widest / spread) * (Z / student(problems - 1)) ** 2


def score(rate: float, samples: float) -> tuple[float, float]:
    """Wilson's interval of a rate of so many samples, which need not be whole."""
    square = Z * Z / samples
    middle = (rate + square / 2) / (1 + square)
    half = math.sqrt(square * rate * (1 - rate) + square * square / 4) / (1 + square)
    # At the ends it touches 0 and 1, which rounding misses.
    return 0.0 if rate == 0 else max(0.0, middle - half), 1.0 if rate == 1 else min(1.0, middle + half)


def student(freedom: int) -> float:
    """What Z is of the normal distribution, of Student's t: by Cornish and Fisher's expansion, to a hundredth from 4 on."""
    z, v = Z, freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
