"""The weighted sum of the rewards of a batch, and its parts for the log. Pure functions of arrays; NaN is unknown.

    total = sum over rewards of weight * value

What is unknown must count neither as 0 nor as anything else that its neighbours did not get. So

- where a reward that decides (accuracy) is unknown, the total is: the completion has to train nothing;
- another unknown value is put at the mean of that reward over the group's completions that have a total, where none of them has
  it over those of the batch: it neither raises nor lowers the completion against its group.

Groups are as in GRPO: the samples of one prompt stand together, as many for every prompt.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
SAME = 1e-9
"""Totals nearer to each other than this are equal: what is between is rounding."""


def total(values: Floats, weights: Floats, decides: Flags, group: int) -> Floats:
    """The totals (N,), NaN where unknown.

    values: (N, R) of R rewards. weights: (R,), 0 for those that do not count. decides: (R,), whether without it the total is
    unknown. group: completions of a prompt; divides N.
    """
    counts = weights > 0
    missing: Flags = np.isnan(values)
    undecided = np.logical_or.reduce(missing[:, counts & decides], axis=1)
    nothing = np.logical_and.reduce(missing[:, counts], axis=1)
    unknown: Flags = undecided | nothing
    given = np.where(unknown[:, None], np.nan, values)
    grouped = given.reshape(-1, group, values.shape[1])
    neutral = mean(given, axis=0)
    neutral = np.where(np.isnan(neutral), 0.0, neutral)
    of_group = mean(grouped, axis=1)[:, None, :]
    filled = np.where(np.isnan(grouped), np.where(np.isnan(of_group), neutral, of_group), grouped)
    totals: Floats = (filled * weights).sum(axis=2).reshape(-1)
    totals[unknown] = np.nan
    return totals


def told(parts: Mapping[str, Floats], totals: Floats, correct: Floats, cut_off: Flags, group: int) -> dict[str, float]:
    """What is logged of a batch; what is unknown is not in it.

    rewards/NAME/mean, std, unknown     of every reward without its weight, and of the sum as `total`: mean and standard deviation
                                        (of a sample) over what is known, and the share that is not
    completions/correct, unknown        share of what is known, and the share of which it is not
    completions/cut_off
    groups/all_equal                    share of the groups whose totals, as far as they are known, are all the same, so that
                                        nothing has an advantage; not of groups of one, which have another baseline
    groups/all_correct, all_wrong       share of the groups with a known completion whose known ones are all so
    """
    found = {}
    for name, values in {**parts, "total": totals}.items():
        known = values[~np.isnan(values)]
        found[f"rewards/{name}/mean"] = float(known.mean()) if len(known) else None
        found[f"rewards/{name}/std"] = float(known.std(ddof=1)) if len(known) > 1 else None
        found[f"rewards/{name}/unknown"] = 1 - len(known) / len(values)
    right = correct.reshape(-1, group)
    rate = mean(right, axis=1)
    rate = rate[~np.isnan(rate)]
    found["completions/correct"] = _share(correct[~np.isnan(correct)] == 1)
    found["completions/unknown"] = _share(np.isnan(correct))
    found["completions/cut_off"] = _share(cut_off)
    found["groups/all_equal"] = _share(all_equal(totals, group)) if group > 1 else None
    found["groups/all_correct"] = _share(rate == 1)
    found["groups/all_wrong"] = _share(rate == 0)
    return {name: value for name, value in found.items() if value is not None}


def all_equal(totals: Floats, group: int) -> Flags:
    """Which groups train nothing: no two of their known totals differ."""
    grouped = totals.reshape(-1, group)
    most = np.where(np.isnan(grouped), -np.inf, grouped).max(axis=1)
    least = np.where(np.isnan(grouped), np.inf, grouped).min(axis=1)
    equal: Flags = most - least <= SAME  # -inf where nothing is known
    return equal


def mean(values: Floats, axis: int) -> Floats:
    """The mean of what is known; NaN of nothing."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    summed = np.where(known, values, 0.0).sum(axis=axis)
    out: Floats = np.where(count > 0, summed / np.maximum(count, 1), np.nan)
    return out


def _share(flags: npt.NDArray[Any]) -> float | None:
    return float(flags.mean()) if len(flags) else None
