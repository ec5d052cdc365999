"""How often the intervals of an evaluation hold, and what calibration reads where there is nothing to read. No model is asked.

    python benchmarks/evaluation.py

Goal: 90 % intervals that hold about nine times in ten. Problems have rates drawn from Beta(m c, (1 - m) c): m is the true
accuracy, and the smaller c the more problems are either always or never solved. The numbers are in LOG.md.
"""

import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from train.evaluation import estimates
from train.evaluation.calibration import Claim, calibration
from train.evaluation.compare import interval

ROUNDS = 400
PROBLEMS, SAMPLES, MEANS, SPREADS = (15, 30, 50, 100, 200), (1, 4, 16, 64), (0.05, 0.1, 0.3, 0.5), (0.3, 1.0, 4.0)


def of_accuracy(draw: np.random.Generator) -> None:
    print(
        "Coverage of the interval of an accuracy, mean (least) over true accuracies .05 to .5 and spreads of problems"
    )
    print("problems   " + "".join(f"k = {samples:<12}" for samples in SAMPLES))
    every = []
    for problems in PROBLEMS:
        cells = []
        for samples in SAMPLES:
            held = [_held(draw, problems, samples, m, c) for m, c in itertools.product(MEANS, SPREADS)]
            every += held
            cells.append(f"{np.mean(held):.3f} ({min(held):.3f})")
        print(f"{problems:<11}" + "".join(f"{cell:<16}" for cell in cells))
    print(
        f"all: mean {np.mean(every):.3f}, least {min(every):.3f}, below .86 in {np.mean(np.array(every) < 0.86):.1%}\n"
    )


def _held(draw: np.random.Generator, problems: int, samples: int, mean: float, spread: float) -> float:
    held = 0
    for _ in range(ROUNDS):
        rates = draw.binomial(samples, draw.beta(mean * spread, (1 - mean) * spread, problems)) / samples
        low, high = estimates.interval(rates.tolist(), problems * samples)
        held += low <= mean <= high
    return held / ROUNDS


def of_difference(draw: np.random.Generator) -> None:
    print(
        "Coverage of the interval of a difference: one model solves every problem by a share of what is left more often"
    )
    print("problems   " + "".join(f"k = {samples:<12}" for samples in SAMPLES))
    for problems in PROBLEMS:
        cells = []
        for samples in SAMPLES:
            held = []
            for gain, mean in itertools.product((0.0, 0.1), (0.1, 0.4)):
                hits = 0
                for _ in range(ROUNDS):
                    p = draw.beta(mean, 1 - mean, problems)
                    one, other = (draw.binomial(samples, q) / samples for q in (p, p + gain * (1 - p)))
                    low, high = interval((other - one).tolist(), samples)
                    hits += low <= gain * (1 - mean) <= high
                held.append(hits / ROUNDS)
            cells.append(f"{np.mean(held):.3f} ({min(held):.3f})")
        print(f"{problems:<11}" + "".join(f"{cell:<16}" for cell in cells))
    print()


def of_agreement(draw: np.random.Generator) -> None:
    print(
        "The majority's share by samples a problem: one and the same model says less the more often it is asked, so ECE is"
    )
    print(
        "compared at equal n only (2,000 problems; an answer is right with p uniform in 0 to 1, else one of 5 wrong ones)"
    )
    for samples in (2, 4, 8, 16, 64):
        claims = []
        for p in draw.uniform(0, 1, 2000):
            votes = draw.multinomial(samples, [p, *[(1 - p) / 5] * 5])
            first = votes == votes.max()
            claims.append(Claim(votes.max() / samples, float(first[0] / first.sum())))
        told = calibration(claims)
        assert told is not None
        print(f"n = {samples:<3} says {told['confidence']:.3f}, right {told['right']:.3f}, ECE {told['ece']:.3f}")


def main() -> None:
    draw = np.random.default_rng(0)
    of_accuracy(draw)
    of_difference(draw)
    of_agreement(draw)


if __name__ == "__main__":
    main()
