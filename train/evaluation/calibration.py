"""Whether a model knows when it is right: confidence beside correctness, in bins. RL-tuned models are known to be less
calibrated, so this is told beside accuracy.

Two kinds of confidence are looked at:
    agreement   share of a problem's samples that give the commonest answer; right is whether that answer is (the majority
                vote). A majority that is counted by its own votes looks surer than it is: with n samples of a model without
                any idea it is at least 1/n, and on average well above; the fewer the samples, the more. So it is
                compared at equal n only.
    sequence    exp(log-probability / tokens) of one sample, the geometric mean of its tokens' probabilities. The
                length is divided out, since the probability of a whole answer says most of all how long it is.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

BINS = 10


class Claim(NamedTuple):
    """One statement, and whether it held."""

    confidence: float
    right: float
    """0 or 1; between where answers tie."""


def calibration(claims: Sequence[Claim]) -> dict[str, Any] | None:
    """Bins of equal width with ECE, ECE of bins of equal mass, and the Brier score; None of no claims.

    The expected calibration error is the mean distance of confidence and correctness over bins, weighed by their claims
    (Naeini et al., AAAI 2015). With few claims a bin differs by chance alone, so it is never 0; equal mass suffers less.
    """
    if not claims:
        return None
    ordered = sorted(claims)
    wide: list[list[Claim]] = [[] for _ in range(BINS)]
    for claim in ordered:
        wide[min(BINS - 1, int(claim.confidence * BINS))].append(claim)
    return {
        "claims": len(claims),
        "confidence": fmean(claim.confidence for claim in claims),
        "right": fmean(claim.right for claim in claims),
        "ece": _error(wide),
        "ece_equal_mass": _error(_equal_mass(ordered)),
        "brier": fmean((claim.confidence - claim.right) ** 2 for claim in claims),
        "bins": [
            {
                "from": number / BINS,
                "claims": len(some),
                "confidence": fmean(claim.confidence for claim in some),
                "right": fmean(claim.right for claim in some),
            }
            for number, some in enumerate(wide)
            if some
        ],
    }


def _equal_mass(ordered: Sequence[Claim]) -> list[list[Claim]]:
    """Bins of about as many claims each; those of equal confidence are in one."""
    bins: list[list[Claim]] = [[]]
    for claim in ordered:
        full = len(bins[-1]) >= len(ordered) / BINS
        if full and claim.confidence != bins[-1][-1].confidence:
            bins.append([])
        bins[-1].append(claim)
    return bins


def _error(bins: Sequence[Sequence[Claim]]) -> float:
    claims = sum(map(len, bins))
    gaps = (abs(sum(claim.confidence - claim.right for claim in some)) for some in bins)
    return sum(gaps) / claims
