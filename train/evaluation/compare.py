"""Two models on the same problems: the difference of their accuracies, its interval, and a paired test.

A problem is a pair of rates. Under the hypothesis that the models are alike, either of the two could have been the other's,
so every difference may change its sign: p is the share of all 2^problems sign patterns whose mean difference is at least as
far from 0 as the one that was seen (Fisher 1935; paired randomisation). It is exact for any number of problems, as long as
rates need no finer steps than `FINEST` allows.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from statistics import fmean
from typing import Any

import numpy as np

from train.evaluation.estimates import Counted, Z, student

FINEST = 400_000
"""Steps of all problems together, at most: finer rates, of problems with odd numbers of known samples, are rounded to them."""


class NotPaired(ValueError):
    """Two models did not answer the same problems."""


def compare(one: Mapping[str, Counted], other: Mapping[str, Counted]) -> dict[str, Any]:
    """How much better `other` is than `one`, by problem id: difference, low, high, p, problems; None where nothing is known.

    Problems of which a model has no known sample are left out of both, and counted. Raises NotPaired.
    """
    if one.keys() != other.keys():
        raise NotPaired(
            f"the models were asked {len(one)} and {len(other)} problems, {len(one.keys() & other.keys())} of them the same; "
            "only the same problems can be compared: evaluate both on the same tasks"
        )
    both = [id_ for id_ in one if one[id_].known and other[id_].known]
    told: dict[str, Any] = {"problems": len(both), "left_out": len(one) - len(both)}
    if not both:
        return told | dict.fromkeys(("difference", "low", "high", "p"))
    gains = [
        Fraction(other[id_].correct, other[id_].known) - Fraction(one[id_].correct, one[id_].known) for id_ in both
    ]
    samples = fmean(min(one[id_].known, other[id_].known) for id_ in both)
    low, high = interval([float(gain) for gain in gains], samples)
    return told | {"difference": float(sum(gains) / len(gains)), "low": low, "high": high, "p": sign_flip(gains)}


def interval(gains: Sequence[float], samples: float) -> tuple[float, float]:
    """The 90 % interval of the mean gain, of problems like these; samples: of each by each model.

    Student's, with the variance taken with two problems more on which the models differ by chance: else it had no width
    where they differ on none (after Agresti and Min, Statistics in Medicine 24, 2005, whose case is one sample).
    """
    problems, mean = len(gains), fmean(gains)
    if problems < 2:
        return -1.0, 1.0
    spread = (math.fsum((gain - mean) ** 2 for gain in gains) + 1 / samples) / (problems - 1 + 2)
    half = max(Z, student(problems - 1)) * math.sqrt(spread / problems)
    return max(-1.0, mean - half), min(1.0, mean + half)


def sign_flip(gains: Sequence[Fraction]) -> float:
    """The p value of both sides. Counts sums of whole steps by adding one problem after the other: no pattern is listed."""
    steps = math.lcm(*(gain.denominator for gain in gains))
    steps = min(steps, max(8, FINEST // len(gains)))
    whole = [abs(round(gain * steps)) for gain in gains]
    seen = abs(sum(round(gain * steps) for gain in gains))
    chances = np.ones(1)  # of the sums of signed gains so far, from the smallest up, every second one
    for gain in filter(None, whole):
        chances = (np.pad(chances, (0, gain)) + np.pad(chances, (gain, 0))) / 2
    most = sum(whole)
    sums = np.abs(2 * np.arange(len(chances)) - most)
    return min(1.0, float(chances[sums >= seen].sum()))
