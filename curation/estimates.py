"""The pass rate of a problem whose sampling stopped early, estimated without pretending that it did not.

A problem is sampled until its rules are settled (settling.py), so passes/(passes + fails) leans towards the states that
settle them: under "1 to 6 of 8" a rate of .10 reads .15 on average, and .66 reads .59. Everything here follows from the
*endings*, the states in which sampling can stop. All states before an ending are unsettled, so the ways that lead to it
are all orders of its samples, but for the last, which has to settle it.

Counts are those of the settling prefix, by sample index. Samples that no grader could judge are no part of them; they are
taken to be independent of whether they would have passed. Sampling that stopped before either end (the server refused the rest)
is read as if no more samples had been meant.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.settling import Settling, settling

LEVEL = 0.9
HALVINGS = 48


class Ending(NamedTuple):
    """A state in which sampling can stop."""

    passes: int
    fails: int
    ways: int
    """How many orders of its samples lead there, all of them equally likely."""

    @property
    def rate(self) -> float:
        return self.passes / (self.passes + self.fails)

    def chance(self, rate: float) -> float:
        """ways * rate**passes * (1 - rate)**fails, in logarithms: of 1024 samples the factors leave what a float holds."""
        if rate in (0.0, 1.0):
            return float((self.fails if rate else self.passes) == 0)
        return math.exp(math.log(self.ways) + self.passes * math.log(rate) + self.fails * math.log1p(-rate))


@functools.lru_cache(64)
def endings(pattern: str, horizon: int | None = None) -> tuple[Ending, ...]:
    """Every state in which sampling can stop when `horizon` samples (default: all n) can be graded, by rising rate.

    None for a constant pattern, which asks for no sample.
    """
    of = settling(pattern)
    horizon = of.n if horizon is None else horizon
    found = []
    for passes in range(horizon + 1):
        for fails in range(horizon - passes + 1):
            if not of.settled(passes, fails):
                if passes + fails == horizon:
                    found.append(Ending(passes, fails, math.comb(horizon, passes)))
            elif ways := sum(_ways(of, passes, fails)):
                found.append(Ending(passes, fails, ways))
            else:
                break  # what has still more fails comes after a settled state too
    return tuple(sorted(found, key=lambda ending: ending.rate))


def _ways(of: Settling, passes: int, fails: int) -> tuple[int, int]:
    """How many ways to a settled state end with a pass, and how many with a fail."""
    by_pass = math.comb(passes - 1 + fails, fails) if passes and not of.settled(passes - 1, fails) else 0
    by_fail = math.comb(passes + fails - 1, passes) if fails and not of.settled(passes, fails - 1) else 0
    return by_pass, by_fail


def unbiased(pattern: str, passes: int, fails: int) -> float | None:
    """The rate whose mean over many problems is their mean rate; None when nothing was graded. For averages only.

        ways from (1 pass, 0 fails) to the state / ways from (0, 0) to it, both through unsettled states
        (Girshick, Mosteller and Savage, Annals of Mathematical Statistics 17, 1946)

    That is the chance that the first sample passed, given where sampling ended. As all ways but for the last sample are
    open, it is the rate of the samples before the last one when only a pass, or only a fail, could be last there, and
    passes/(passes + fails) when either could. So one late pass of a band reads 0.

    Unknown samples that are independent of the outcome change nothing: however many there are, the graded ones follow the
    same ways to the same states, only ending sooner, and neither count depends on how soon.
    """
    graded = passes + fails
    if not graded:
        return None
    of = settling(pattern)
    if graded == 1 or not of.settled(passes, fails):
        return passes / graded
    by_pass, by_fail = _ways(of, passes, fails)
    assert by_pass or by_fail, f"{passes} passes and {fails} fails are beyond where {pattern!r} is settled"
    return (by_pass * (passes - 1) + by_fail * passes) / ((by_pass + by_fail) * (graded - 1))


@functools.cache
def interval(pattern: str, passes: int, fails: int) -> tuple[float | None, float | None]:
    """The central 90 % interval: the rates that neither one-sided exact test rejects at 5 %; (None, None) without samples.

    The tests order the endings by passes/(passes + fails): the lower end is inf{rate: P(an ending's rate is no lower than
    this one's) > 5 %}, the upper end likewise. Where nothing settles early it is that of Clopper and Pearson (Biometrika
    26, 1934).

    It holds the true rate at least nine times in ten, whatever the order: the true rate lies below the lower end only when
    its own test rejects what was seen, once in twenty at most. That stays true when some samples cannot be graded: how
    many there were to be matters to no settled state. As many samples as it has tell whether the ending
    will have its rate t or more: a sequence that they do not settle has fewer passes and more fails than it, and ends below
    t, or fewer fails and more passes, and ends above, as past its passes and fails all states are settled.

    Halving finds the ends because P(ending's rate >= t) rises with the rate, under any way to stop: its derivative is
    E[passes - rate * samples; ending's rate >= t] / (rate * (1 - rate)). No term of it is negative while rate <= t; beyond,
    all terms of the other endings are, which is the same, as by Wald's identity those of all endings sum to zero.
    """
    if not passes + fails:
        return None, None
    of = settling(pattern)
    tests = _tests(pattern, of.n if of.settled(passes, fails) else passes + fails)
    rate = passes / (passes + fails)
    return (
        _where_likely(tests[:, tests[0] >= rate], rising=True) if passes else 0.0,
        _where_likely(tests[:, tests[0] <= rate], rising=False) if fails else 1.0,
    )


@functools.lru_cache(256)
def _tests(pattern: str, horizon: int) -> NDArray[np.float64]:
    """The endings as rows of their rates, passes, fails and logarithms of ways."""
    possible = endings(pattern, horizon)
    return np.array([(ending.rate, ending.passes, ending.fails, math.log(ending.ways)) for ending in possible]).T


def _where_likely(tail: NDArray[np.float64], rising: bool) -> float:
    """Where the chance of a tail, which rises or falls with the rate, passes 5 %; on its unlikely side."""
    _, passes, fails, log_ways = tail
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        chances = np.exp(log_ways + passes * math.log(middle) + fails * math.log1p(-middle))
        likely = bool(chances.sum() > (1 - LEVEL) / 2)
        low, high = (low, middle) if likely is rising else (middle, high)
    return low if rising else high


def bias(pattern: str, rate: float) -> float:
    """By how much passes/(passes + fails) is too high on average, when each sample passes with `rate`; exact.

    0 for a constant pattern, of which nothing is drawn.
    """
    return math.fsum(ending.chance(rate) * (ending.rate - rate) for ending in endings(pattern))
