"""What shows that RL goes wrong, also while its reward rises: sentences with numbers and what to do. Pure functions of logs.

    for alarm in alarms(run.metrics(), held_out="eval_accuracy"):
        print(alarm.message)

A line is what was logged of a step, or the average of some, as metrics.jsonl has it: `step`, the keys of total.py, `kl` and
`entropy` as TRL names them, and now and then an accuracy on held-out problems. What a line has not, or is None, is unknown, and
is not judged.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from curation.sampled import CUT_OFF_WARNING
from train.rewards.section import KINDS
from train.rewards.trend import falling, rising

PROXY, ENTROPY, KL = "rewards/total/mean", "entropy", "kl"
RECENT = 10
"""Lines that a mean is taken over: a batch of some dozens of groups says little by itself."""
STUCK = 20
"""Lines after which what never varied is taken to stay so: each drew other problems."""
WINDOW, FALLING, RISING = 12, 0.001, 0.05
"""Held-out measurements that are looked at, and the chances (trend.py) below which they fall and the proxy rises. Looked at
after each of 50 measurements of a metric that stays, while the proxy rises, 3 runs of 100 are alarmed for nothing; a metric that
falls by half its noise from one to the next is found after 11 of them (median of 100 runs)."""
EQUAL = 0.5
"""Share of groups without an advantage: from here on more is generated in vain than is trained on."""
UNKNOWN = 0.02
"""Share of completions that could not be graded. Of problems whose own answer the grader accepts hardly any cannot."""
LOW, HIGH = 0.1, 3.0
"""Entropy beside that of the first steps. At a tenth the samples of a prompt are nearly the same, and what is not tried cannot
be learned (2505.22617: where the entropy ends, the reward does); at three times, text falls apart."""
KL_JUMP, KL_LEAST = 3.0, 0.05
"""KL beside that of the lines before, and the nats a token below which a jump is noise."""

Lines = Sequence[Mapping[str, Any]]


class Alarm(NamedTuple):
    """Something that is wrong."""

    kind: str
    message: str
    """One or two sentences, with numbers and what to do."""
    hopeless: bool = False
    """Whether going on trains nothing."""


def alarms(lines: Lines, proxy: str = PROXY, held_out: str | None = None) -> list[Alarm]:
    """What is wrong now, what is hopeless first. Nothing is remembered: what lasts is told again.

    lines: in order of `step`. proxy, held_out: keys of the reward that is trained on, and of what it stands for.
    """
    apart = None if held_out is None else parted(lines, proxy, held_out)
    found = [*([apart] if apart else []), *_ungraded(lines), *_equal(lines), *_cut_off(lines)]
    found += [*_entropy(lines), *_kl(lines), *_constant(lines)]
    return sorted(found, key=lambda alarm: not alarm.hopeless)


def parted(lines: Lines, proxy: str, held_out: str) -> Alarm | None:
    """Over-optimisation: the proxy rises while the held-out metric falls, both by more than chance.

    Looked at are the last WINDOW measurements since the weights of the rewards changed last. Beside each stands the mean of the
    proxy since the one before.
    """
    since = _changed(lines)
    measured = [line for line in lines if _number(line, held_out) is not None and line["step"] >= since]
    true = _numbers(measured, held_out)[-WINDOW:]
    if falling(true) > FALLING:
        return None
    ends = [since - 1, *(line["step"] for line in measured)]
    steps, beside = ends[-len(true) :], []
    for before, step in itertools.pairwise(ends[-len(true) - 1 :]):
        if not (some := _numbers([line for line in lines if before < line["step"] <= step], proxy)):
            return None
        beside.append(fmean(some))
    if rising(beside) > RISING:
        return None
    half = len(true) // 2
    return Alarm(
        "over_optimised",
        f"{held_out} fell from {fmean(true[:half]):.3g} to {fmean(true[-half:]):.3g} over the last {len(true)} measurements "
        f"(steps {steps[0]} to {steps[-1]}), while {proxy} rose from {fmean(beside[:half]):.3g} to {fmean(beside[-half:]):.3g}: "
        "the policy learns what is paid for, not what it stands for. Go back to a checkpoint from before, read the completions "
        "that are paid most, and fix the reward; a KL penalty (`beta`) or a lower learning rate only puts it off",
    )


def _ungraded(lines: Lines) -> Iterator[Alarm]:
    share = _recent(lines, "completions/unknown")
    if share is not None and share >= UNKNOWN:
        yield Alarm(
            "ungraded",
            f"{share:.0%} of the completions of the last {RECENT} lines could not be graded and trained nothing; the reason of "
            "their verdicts says why. Problems whose own answer the grader refuses leave with the rule `gold: gold_accepted`",
            hopeless=_always(lines, "completions/unknown", 1.0),
        )


def _equal(lines: Lines) -> Iterator[Alarm]:
    share = _recent(lines, "groups/all_equal")
    if share is None or share < EQUAL:
        return
    right, wrong = (_recent(lines, f"groups/all_{outcome}") or 0.0 for outcome in ("correct", "wrong"))
    if right >= wrong:
        remedy = "Take problems that are solved less often, or end here: these are learned"
    else:
        remedy = "Take problems that are solved more often, more samples a prompt, or SFT before"
    yield Alarm(
        "all_equal",
        f"{share:.0%} of the groups of the last {RECENT} lines have one reward for all their samples and train nothing; "
        f"{right:.0%} are all correct, {wrong:.0%} all wrong. {remedy}",
        hopeless=_always(lines, "groups/all_equal", 1.0),
    )


def _cut_off(lines: Lines) -> Iterator[Alarm]:
    share = _recent(lines, "completions/cut_off")
    if share is not None and share > CUT_OFF_WARNING:
        yield Alarm(
            "cut_off",
            f"{share:.0%} of the completions of the last {RECENT} lines were cut off and count as wrong: what is taught is to be "
            "short, not to be right. Raise `max_tokens`, or add `overlong: {}`, which lowers the reward before the cut",
        )


def _entropy(lines: Lines) -> Iterator[Alarm]:
    values = _numbers(lines, ENTROPY)
    if len(values) < 2 * RECENT or (first := fmean(values[:RECENT])) <= 0:
        return
    now = fmean(values[-RECENT:])
    if now <= LOW * first:
        yield Alarm(
            "entropy_low",
            f"the entropy fell from {first:.3g} to {now:.3g} nats a token: the samples of a prompt are nearly the same, and "
            "little is left to learn from. Raise the upper clip (`epsilon_high`), sample at temperature 1, or lower the "
            "learning rate",
        )
    if now >= HIGH * first:
        yield Alarm(
            "entropy_high",
            f"the entropy rose from {first:.3g} to {now:.3g} nats a token: the text falls apart. Read some completions; lower "
            "the learning rate, or add a KL penalty (`beta`)",
        )


def _kl(lines: Lines) -> Iterator[Alarm]:
    values = _numbers(lines, KL)
    if len(values) < 2 * RECENT:
        return
    before, now = fmean(values[-2 * RECENT : -RECENT]), fmean(values[-RECENT:])
    if now >= KL_LEAST and now >= KL_JUMP * before:
        yield Alarm(
            "kl",
            f"the KL from the reference went from {before:.3g} to {now:.3g} nats a token within {RECENT} lines: the policy "
            "leaves what it started from. Lower the learning rate, or raise `beta`",
        )


def _constant(lines: Lines) -> Iterator[Alarm]:
    """Rewards that everyone gets the same of, which is not the best there is."""
    for name, kind in KINDS.items():
        weight, means = _numbers(lines, f"rewards/{name}/weight"), _numbers(lines, f"rewards/{name}/mean")
        if not weight or not weight[-1] or not _always(lines, f"rewards/{name}/std", 0.0):
            continue
        if means[-1] < max(kind.OF_CORRECT, kind.OF_WRONG):
            yield Alarm(
                "constant",
                f"the reward {name} was {means[-1]:g} for every completion of the last {STUCK} lines: no sample shows the policy "
                "what would be better. Look at some completions, and start from a model that gets it at times, or leave it out",
            )


def _changed(lines: Lines) -> float:
    """The step since which the weights of the rewards are as they are now."""
    since, known = -math.inf, dict[str, Any]()
    for line in lines:
        for name in KINDS:
            if (weight := _number(line, f"rewards/{name}/weight")) is not None:
                if known.setdefault(name, weight) != weight:
                    since = line["step"]
                known[name] = weight
    return since


def _always(lines: Lines, key: str, value: float) -> bool:
    """Whether the last STUCK lines with a key all have this value."""
    last = _numbers(lines, key)[-STUCK:]
    return len(last) == STUCK and set(last) == {value}


def _recent(lines: Lines, key: str) -> float | None:
    """The mean of the last RECENT lines that have a key; None where fewer have."""
    last = _numbers(lines, key)[-RECENT:]
    return fmean(last) if len(last) == RECENT else None


def _numbers(lines: Lines, key: str) -> list[float]:
    return [value for line in lines if (value := _number(line, key)) is not None]


def _number(line: Mapping[str, Any], key: str) -> float | None:
    value = line.get(key)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
