"""Whether a series rises or falls, noise taken into account: Kendall's rank test, exact.

Of n values in time there are n (n - 1) / 2 pairs; an inversion is one of which the later is lower. Were there no trend, every
order of the values would be as likely, so the chance of that many inversions is a count of permutations. It hangs neither on
how large the noise is nor on its shape, which of a reward nobody knows. Seven values that all fall have a chance of 1/5040.
"""

import itertools
import math
from collections.abc import Sequence


def falling(values: Sequence[float]) -> float:
    """The chance that values without a trend fall as much as these, or more; 1 for fewer than two. Equal ones do not fall."""
    inversions = sum(later < earlier for earlier, later in itertools.combinations(values, 2))
    return sum(permutations(len(values))[inversions:]) / math.factorial(len(values))


def rising(values: Sequence[float]) -> float:
    """The same of rising."""
    return falling([-value for value in values])


def permutations(n: int) -> list[int]:
    """How many permutations of n things have 0, 1, 2, ... inversions."""
    counts = [1]
    for size in range(2, n + 1):  # the new largest thing stands before 0 to size - 1 of the others
        longer = [0] * (len(counts) + size - 1)
        for inversions, count in enumerate(counts):
            for more in range(size):
                longer[inversions + more] += count
        counts = longer
    return counts
