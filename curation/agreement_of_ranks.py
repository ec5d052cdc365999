"""How far two measurements put the same things in the same order: Spearman's rank correlation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rho of pairs, -1 to 1; equal values share the mean of their ranks (Kendall, Rank Correlation Methods, ch. 3).

    None where there is no order to compare: fewer than two pairs, or a side on which all values are equal.
    """
    assert len(one) == len(other)
    if len(one) < 2:
        return None
    a, b = (mean_ranks(np.asarray(side, float)) for side in (one, other))
    a, b = a - a.mean(), b - b.mean()
    spread = np.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / spread, -1.0, 1.0)) if spread else None


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; of equal values their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: NDArray[np.float64] = (last - (count - 1) / 2)[place]
    return ranks
