"""Whether pass rates stay honest although sampling stops early, and what stopping early saves.

    .venv/bin/python benchmarks/rates.py [--problems 80000] [--json]

Problems of one true rate are sampled until a band is settled: 1 to 6 of 8, 1 to 7 of 10, 1 to 11 of 16. Lengths are
lognormal and wrong answers three times as long on average, so that what arrives first is more often right. Beside each
other stand
    arrival   the usual way, as peer: all n in flight at once, stop when what arrived settles it; passes/arrived, with the
              interval of Clopper and Pearson
    ours      as our scheduler launches (the next index while the fewest that could settle it are more than are in flight),
              the shortest prefix of indexes that settles: pass_rate, pass_rate_unbiased and its interval (estimates.py)
and, without simulation, what the same must be on average: summed over all endings, weighed by their chance.

Claims, the worst over 18 cells of 6 rates and 3 bands:
    bias of the rate for averages   of pass_rate_unbiased, less than .005 either way
    coverage of the interval        how often it holds the true rate, at least .89 simulated, .9 exactly
    samples as expected             simulated against the exact expectation that `plan` tells, within 1 %
    samples saved                   exact, mean over rates .10, .11, ... .75; the least of the three bands
"""

import argparse
import heapq
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from curation.estimates import bias, endings, interval, unbiased
from curation.settling import Settling, never, settling

RATES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
BANDS = ((1, 6, 8), (1, 7, 10), (1, 11, 16))
SEED = 20261122
WRONG_IS_LONGER = 3.0
SPREAD = 0.8
"""Of the logarithm of a length."""
Samples = list[tuple[bool, float]]
"""Of one problem, by index: whether it passes, and how long it is."""


def pattern_of(low: int, high: int, n: int) -> str:
    return "".join("T" if low <= k <= high else "F" for k in range(n + 1))


def draw(rate: float, n: int, problems: int, seed: int) -> list[Samples]:
    random = np.random.default_rng([SEED, seed])
    passed = random.random((problems, n)) < rate
    lengths = random.lognormal(0.0, SPREAD, (problems, n)) * np.where(passed, 1.0, WRONG_IS_LONGER)
    return [list(zip(*rows, strict=True)) for rows in zip(passed.tolist(), lengths.tolist(), strict=True)]


def launch(of: Settling, samples: Samples, in_flight: Callable[[int, int], int]) -> tuple[int, int, int]:
    """Launches indexes in order while fewer are in flight than `in_flight` allows for what has arrived.

    The passes and fails that have arrived when they settle it, and how many samples were launched.
    """
    flying: list[tuple[float, int]] = []
    passes = fails = launched = 0
    now = 0.0
    while not of.settled(passes, fails):
        while launched < of.n and len(flying) < in_flight(passes, fails):
            heapq.heappush(flying, (now + samples[launched][1], launched))
            launched += 1
        now, index = heapq.heappop(flying)
        passed = samples[index][0]
        passes, fails = passes + passed, fails + (not passed)
    return passes, fails, launched


def by_arrival(of: Settling, samples: Samples) -> tuple[int, int]:
    passes, fails, _ = launch(of, samples, lambda passes, fails: of.n)
    return passes, fails


def by_index(of: Settling, samples: Samples) -> tuple[int, int, int]:
    """The settling prefix, of those that our scheduler launched; and how many it launched."""
    *_, launched = launch(of, samples, of.fewest)
    passes = fails = 0
    for passed, _ in samples[:launched]:
        if of.settled(passes, fails):
            break
        passes, fails = passes + passed, fails + (not passed)
    assert of.settled(passes, fails), "the prefix of what was launched does not settle it"
    return passes, fails, launched


@dataclass(frozen=True)
class Cell:
    """One band at one true rate. Biases are mean estimate - rate; `exact` is over all endings."""

    n: int
    rate: float
    arrival_bias: float
    arrival_coverage: float
    plain_bias: float
    exact_plain_bias: float
    unbiased_bias: float
    exact_unbiased_bias: float
    coverage: float
    exact_coverage: float
    samples: float
    launched: float
    exact_samples: float


def holds(ends: tuple[float | None, float | None], rate: float) -> bool:
    low, high = ends
    assert low is not None
    assert high is not None
    return low <= rate <= high


def cell(band: tuple[int, int, int], rate: float, problems: int, seed: int) -> Cell:
    pattern, n = pattern_of(*band), band[2]
    of, every = settling(pattern), never(n)
    drawn = draw(rate, n, problems, seed)
    arrived = [by_arrival(of, samples) for samples in drawn]
    ours = [by_index(of, samples) for samples in drawn]
    exact = endings(pattern)
    return Cell(
        n=n,
        rate=rate,
        arrival_bias=fmean(p / (p + f) for p, f in arrived) - rate,
        arrival_coverage=fmean(holds(interval(every, p, f), rate) for p, f in arrived),
        plain_bias=fmean(p / (p + f) for p, f, _ in ours) - rate,
        exact_plain_bias=bias(pattern, rate),
        unbiased_bias=fmean(unbiased(pattern, p, f) or 0.0 for p, f, _ in ours) - rate,
        exact_unbiased_bias=sum(e.chance(rate) * (unbiased(pattern, e.passes, e.fails) or 0.0) for e in exact) - rate,
        coverage=fmean(holds(interval(pattern, p, f), rate) for p, f, _ in ours),
        exact_coverage=sum(e.chance(rate) * holds(interval(pattern, e.passes, e.fails), rate) for e in exact),
        samples=fmean(p + f for p, f, _ in ours),
        launched=fmean(launched for *_, launched in ours),
        exact_samples=of.expected(rate),
    )


HEAD = """
               arrival order       pass_rate bias    unbiased bias     coverage            samples
   n  rate    bias  coverage       ours   exact      ours   exact      ours   exact    prefix  launched  exact"""


def row(of: Cell) -> str:
    return (
        f"{of.n:>4}  {of.rate:.2f}  {of.arrival_bias:+.3f}    {of.arrival_coverage:.3f}"
        f"      {of.plain_bias:+.3f}  {of.exact_plain_bias:+.3f}"
        f"    {of.unbiased_bias:+.4f}  {abs(of.exact_unbiased_bias):.3f}"
        f"     {of.coverage:.3f}   {of.exact_coverage:.3f}"
        f"    {of.samples:6.3f}    {of.launched:6.3f}  {of.exact_samples:5.3f}"
    )


def saved(band: tuple[int, int, int]) -> float:
    of = settling(pattern_of(*band))
    return 1 - fmean(of.expected(percent / 100) for percent in range(10, 76)) / of.n


def claims(cells: list[Cell]) -> dict[str, dict[str, Any]]:
    worst = max(abs(of.unbiased_bias) for of in cells)
    arrival = max(abs(of.arrival_bias) for of in cells)
    coverage, exact = min(of.coverage for of in cells), min(of.exact_coverage for of in cells)
    plain_coverage = min(of.arrival_coverage for of in cells)
    off = max(abs(of.samples / of.exact_samples - 1) for of in cells)
    savings = {f"{low} to {high} of {n}": round(saved((low, high, n)), 4) for low, high, n in BANDS}
    least = min(savings.values())
    return {
        "bias of the rate for averages": {
            "ours": round(worst, 4),
            "peer": round(arrival, 4),
            "ratio": round(worst / arrival, 4),
            "goal": 0.005,
            "holds": worst < 0.005,
            "exact": round(max(abs(of.exact_unbiased_bias) for of in cells), 12),
            "plain pass_rate": round(max(abs(of.plain_bias) for of in cells), 4),
        },
        "coverage of the interval": {
            "ours": round(coverage, 4),
            "peer": round(plain_coverage, 4),
            "ratio": round(coverage / plain_coverage, 4),
            "goal": 0.89,
            "holds": coverage >= 0.89 and exact >= 0.9,
            "exact": round(exact, 4),
        },
        "samples as expected": {
            "ours": round(off, 4),
            "peer": None,
            "ratio": round(off, 4),
            "goal": 0.01,
            "holds": off <= 0.01,
        },
        "samples saved": {
            "ours": least,
            "peer": None,
            "ratio": least,
            "goal": None,
            "holds": None,
            "bands": savings,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=80_000, help="problems a cell (80000)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    began, cells = time.monotonic(), []
    if not options.json:
        print(HEAD)
    for band in BANDS:
        for rate in RATES:
            cells.append(cell(band, rate, options.problems, len(cells)))
            if not options.json:
                print(row(cells[-1]), flush=True)
    result = claims(cells)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"\n{options.problems} problems a cell, seed {SEED}, {time.monotonic() - began:.0f} s\n")
    for claim, figures in result.items():
        print(f"{claim}: {figures}")


if __name__ == "__main__":
    main()
