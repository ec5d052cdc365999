"""What a model's answers to a task come to, as plain data. Rates are 0 to 1; None is unknown."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from train.evaluation import estimates
from train.evaluation.calibration import Claim, calibration
from train.evaluation.drawing import Answered, Sample
from train.evaluation.majority import majorities

MOST_GROUPS = 50


def measured(problems: Sequence[Answered]) -> dict[str, Any]:
    """Accuracy with its interval, pass@k, the majority vote, lengths, calibration, and accuracy by group.

    problems: with all of their samples, as far as they are there.
    """
    samples = [sample for one in problems for sample in one.samples]
    known = [sample for sample in samples if sample.correct is not None]
    asked = sum(one.asked for one in problems)
    votes = majorities(problems)
    return {
        "problems": len(problems),
        "asked": asked,
        "known": len(known),
        "errors": sum(sample.correct is None for sample in samples),
        "not_drawn": asked - len(samples),
        "accuracy": accuracy(problems),
        "pass_at": _pass_at(problems),
        "majority": _rate([claim.right for claim in votes.values()]),
        "cut_off": _share([sample.cut_off for sample in samples]),
        "budget_hit": _share([sample.budget_hit for sample in samples if sample.budget_hit is not None]),
        "tokens": _lengths(known, lambda sample: sample.tokens),
        "thinking_tokens": _lengths(known, lambda sample: sample.tokens * sample.thinking),
        "calibration": {
            "agreement": calibration([claim for claim in votes.values() if claim.confidence]),
            "sequence": calibration([claim for sample in known if (claim := _sure(sample)) is not None]),
        },
        "by": _by(problems),
    }


def accuracy(problems: Sequence[Answered]) -> dict[str, Any]:
    """pass@1: the mean over problems of the share of correct samples, with its 90 % interval.

    `lowest` and `highest`: if all that is unknown were wrong, or correct.
    """
    counts = [one.counted for one in problems]
    known = [one for one in counts if one.known]
    lowest, highest = estimates.bounds(counts)
    rates = [one.rate for one in known]
    low, high = estimates.interval(rates, sum(one.known for one in known))
    return {
        "rate": fmean(rates) if rates else None,
        "low": low,
        "high": high,
        "lowest": lowest,
        "highest": highest,
        "problems": len(known),
    }


def _pass_at(problems: Sequence[Answered]) -> list[dict[str, Any]]:
    """pass@k for k = 1, 2, 4, ... up to n, each over the problems with so many known samples."""
    counts = [one.counted for one in problems]
    told = []
    for k in estimates.powers(max((sum(one) for one in counts), default=1)):
        rates = [estimates.pass_at(k, one.correct, one.known) for one in counts if one.known >= k]
        told.append({"k": k, **_rate(rates)})
    return told


def _rate(rates: Sequence[float]) -> dict[str, Any]:
    """The mean of a rate a problem."""
    low, high = estimates.interval(rates, len(rates))
    return {"rate": fmean(rates) if rates else None, "low": low, "high": high, "problems": len(rates)}


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _lengths(known: Sequence[Sample], length: Callable[[Sample], float]) -> dict[str, float | None]:
    """Mean lengths: of all samples, of the correct and of the wrong ones. Thinking is told from the rest by characters."""
    parts = {"all": known, "correct": [s for s in known if s.correct], "wrong": [s for s in known if not s.correct]}
    return {name: fmean(map(length, part)) if part else None for name, part in parts.items()}


def _sure(sample: Sample) -> Claim | None:
    if sample.logprob is None or not sample.tokens or sample.correct is None:
        return None
    return Claim(math.exp(min(0.0, sample.logprob / sample.tokens)), float(sample.correct))


def _by(problems: Sequence[Answered]) -> dict[str, list[dict[str, Any]]]:
    """Accuracy by every column that tells problems apart; the largest groups, by number where their names are numbers."""
    told = {}
    for column in problems[0].by if problems else ():
        groups: dict[str | None, list[Answered]] = {}
        for one in problems:
            groups.setdefault(one.by[column], []).append(one)
        if len(groups) > 1:
            largest = sorted(groups.items(), key=lambda group: (-len(group[1]), str(group[0])))
            told[column] = [{"group": name, **accuracy(some)} for name, some in _in_order(largest[:MOST_GROUPS])]
    return told


def _in_order(groups: list[tuple[str | None, list[Answered]]]) -> list[tuple[str | None, list[Answered]]]:
    """As they are; where their names are numbers, by number, what has none last."""
    if not all(name is None or name.isdecimal() for name, _ in groups):
        return groups
    return sorted(groups, key=lambda group: math.inf if group[0] is None else int(group[0]))


def wider(problems: Sequence[Answered], n: int, more: int) -> tuple[float, float] | None:
    """Half the width of the accuracy's interval now, and about what it would be with `more` samples a problem instead of n.

    The variance between problems stays; that within them falls with the number of samples.
    """
    rates = [one.counted.rate for one in problems if one.counted.known]
    if len(rates) < 2 or n < 2 or fmean(rates) in (0.0, 1.0):
        return None
    mean = fmean(rates)
    whole = fmean((rate - mean) ** 2 for rate in rates)
    within = fmean(rate * (1 - rate) for rate in rates) / (n - 1)
    less = max(0.0, whole - within) + within * n / more
    low, high = estimates.interval(rates, n * len(rates))
    now = (high - low) / 2
    return now, now * math.sqrt(less / whole) if whole else now
