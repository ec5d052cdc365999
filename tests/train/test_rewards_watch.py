"""What is told of a run that goes wrong, and that nothing is told of one that does not."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.rewards.trend import falling, permutations, rising
from train.rewards.watch import RECENT, STUCK, WINDOW, Alarm, alarms, parted

Line = dict[str, Any]


def steps(n: int, **series: Any) -> list[Line]:
    """n logged lines. series: a value for all, or a function of the step."""
    return [
        {"step": step} | {key: value(step) if callable(value) else value for key, value in series.items()}
        for step in range(1, n + 1)
    ]


def keyed(lines: list[Line], **keys: str) -> list[Line]:
    """Lines with other keys, which are no names."""
    return [{keys.get(key, key): value for key, value in line.items()} for line in lines]


def only(found: list[Alarm], kind: str) -> Alarm:
    (alarm,) = found
    assert alarm.kind == kind
    return alarm


# ---- trends


@given(st.integers(0, 7))
def test_permutations_are_counted_by_their_inversions(n: int) -> None:
    counted = [0] * (n * (n - 1) // 2 + 1)
    for order in itertools.permutations(range(n)):
        counted[sum(a > b for a, b in itertools.combinations(order, 2))] += 1
    assert permutations(n) == counted


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6, unique=True))
def test_the_chance_of_a_trend_is_the_share_of_orders_that_fall_as_much(values: list[int]) -> None:
    def inversions(some: tuple[int, ...]) -> int:
        return sum(a > b for a, b in itertools.combinations(some, 2))

    orders = list(itertools.permutations(values))
    own = inversions(tuple(values))
    assert falling(values) == sum(inversions(order) >= own for order in orders) / len(orders)
    assert rising(values) == sum(inversions(order) <= own for order in orders) / len(orders)


def test_a_few_values_and_equal_ones_show_no_trend() -> None:
    assert falling([]) == falling([1]) == falling([2, 2, 2, 2, 2, 2, 2, 2]) == 1.0
    assert falling([3, 2, 1]) == 1 / 6
    assert falling([7, 6, 5, 4, 3, 2, 1]) == 1 / math.factorial(7)


# ---- the proxy and what it stands for


def measured(proxy: Callable[[int], float], true: Callable[[int], float], n: int, every: int = 10) -> list[Line]:
    """Steps with a proxy, and the true metric at every tenth."""
    lines = keyed(steps(n * every, proxy=proxy), proxy="rewards/total/mean")
    for line in lines[every - 1 :: every]:
        line["eval"] = true(line["step"])
    return lines


def test_a_proxy_that_rises_while_the_held_out_metric_falls_is_told_with_both() -> None:
    lines = measured(lambda step: step / 1000, lambda step: 0.5 - step / 1000, 8)
    alarm = only(alarms(lines, held_out="eval"), "over_optimised")
    assert alarm.message.startswith(
        "eval fell from 0.475 to 0.435 over the last 8 measurements (steps 10 to 80), while rewards/total/mean "
        "rose from 0.0205 to 0.0605: the policy learns what is paid for"
    )
    assert not alarm.hopeless


@pytest.mark.parametrize(
    ("proxy", "true"),
    [
        (lambda step: step, lambda step: step),  # both rise
        (lambda step: -step, lambda step: -step),  # both fall: learning fails, but nothing is gamed
        (lambda step: step, lambda step: 0.5),
        (lambda step: 0.5, lambda step: -step),
        (lambda step: step, lambda step: min(step, 100)),  # learned
        (lambda step: None, lambda step: -step),  # nothing is known of the proxy
        (lambda step: step, lambda step: math.nan),
    ],
)
def test_where_only_one_of_them_moves_or_both_together_there_is_no_alarm(proxy: Any, true: Any) -> None:
    assert alarms(measured(proxy, true, 20), held_out="eval") == []


def test_six_measurements_are_too_few_to_tell() -> None:
    assert parted(measured(lambda step: step, lambda step: -step, 6), "rewards/total/mean", "eval") is None
    assert parted(measured(lambda step: step, lambda step: -step, 7), "rewards/total/mean", "eval") is not None


def test_what_fell_before_the_window_is_over() -> None:
    fell = measured(lambda step: step, lambda step: -min(step, 10 * WINDOW), 2 * WINDOW + 2)
    assert alarms(fell[: 10 * WINDOW], held_out="eval")
    assert alarms(fell, held_out="eval") == []
    peaked = measured(lambda step: step, lambda step: -abs(step - 300), 30 + WINDOW)  # rose for longer than it falls
    message = only(alarms(peaked, held_out="eval"), "over_optimised").message
    assert (
        f"the last {WINDOW} measurements (steps 310 to 420), while rewards/total/mean rose from 330 to 390" in message
    )


def test_a_reward_that_is_switched_on_is_no_rise_of_the_proxy() -> None:
    lines = measured(lambda step: 0.2 + step / 1000 + (step > 60), lambda step: 0.5 - step / 1000, 12)
    for line in lines:
        line["rewards/length/weight"] = 0.5 * (line["step"] > 60)
    assert alarms(lines, held_out="eval") == []  # six measurements since
    message = only(alarms(lines + after(lines), held_out="eval"), "over_optimised").message
    assert "(steps 70 to 130), while rewards/total/mean rose from 1.28 to 1.32" in message


def after(lines: list[Line]) -> list[Line]:
    """Ten steps more."""
    last = lines[-1]
    return [
        last | {"step": last["step"] + more, "rewards/total/mean": 1.32 + more / 1000, "eval": None}
        for more in range(1, 10)
    ] + [last | {"step": last["step"] + 10, "rewards/total/mean": 1.33, "eval": 0.5 - 0.13}]


def test_noise_alone_hardly_ever_alarms_and_a_fall_within_it_is_found() -> None:
    draw = np.random.default_rng(0)

    def alarmed(slope: float) -> bool:
        lines = [
            {
                "step": step,
                "proxy": step / 100 + draw.normal(0, 0.01),
                "true": 0.5 - slope * step + draw.normal(0, 0.02),
            }
            for step in range(1, 31)
        ]
        return any(parted(lines[:now], "proxy", "true") for now in range(WINDOW, 31))

    assert sum(alarmed(0.0) for _ in range(60)) <= 3
    assert sum(alarmed(0.01) for _ in range(20)) >= 18


# ---- what else is watched


HEALTHY = {
    "rewards/total/mean": 0.6,
    "rewards/accuracy/mean": 0.5,
    "rewards/accuracy/std": 0.5,
    "rewards/accuracy/weight": 1.0,
    "completions/unknown": 0.0,
    "completions/cut_off": 0.05,
    "groups/all_equal": 0.3,
    "groups/all_correct": 0.2,
    "groups/all_wrong": 0.1,
    "entropy": 0.5,
    "kl": 0.01,
}


def run(n: int, **changed: Any) -> list[Line]:
    """A healthy run but for some keys: `a__b` is a/b."""
    return steps(n, **HEALTHY | {key.replace("__", "/"): value for key, value in changed.items()})


def test_nothing_is_told_of_a_healthy_run() -> None:
    assert alarms(run(100, rewards__total__mean=lambda step: step), held_out="eval") == []
    assert alarms([]) == []
    assert alarms([{"step": 1}]) == []


def test_a_line_of_which_something_is_unknown_hides_nothing_of_the_others() -> None:
    lines = run(100, completions__cut_off=lambda step: math.nan if step == 95 else None if step == 97 else 0.5)
    assert "50% of the completions" in only(alarms(lines), "cut_off").message


@pytest.mark.parametrize(
    ("changed", "kind", "numbers"),
    [
        ({"completions__unknown": 0.04}, "ungraded", ["4%"]),
        ({"completions__cut_off": 0.12}, "cut_off", ["12%", "`max_tokens`"]),
        (
            {"groups__all_equal": 0.5, "groups__all_correct": 0.4},
            "all_equal",
            ["50%", "40% are all", "10% all wrong", "solved less"],
        ),
        (
            {"groups__all_equal": 0.7, "groups__all_wrong": 0.6},
            "all_equal",
            ["70%", "60% all wrong", "solved more often"],
        ),
        ({"entropy": lambda step: 0.5 if step <= 50 else 0.05}, "entropy_low", ["from 0.5 to 0.05"]),
        ({"entropy": lambda step: 0.5 if step <= 50 else 1.5}, "entropy_high", ["from 0.5 to 1.5"]),
        ({"kl": lambda step: 0.02 if step <= 90 else 0.06}, "kl", ["from 0.02 to 0.06"]),
        ({"rewards__accuracy__std": 0.0, "rewards__accuracy__mean": 0.0}, "constant", ["accuracy was 0 for every"]),
    ],
)
def test_what_is_wrong_is_told_with_its_numbers(changed: dict[str, Any], kind: str, numbers: list[str]) -> None:
    alarm = only(alarms(run(100, **changed)), kind)
    assert all(number in alarm.message for number in numbers)
    assert not alarm.hopeless


@pytest.mark.parametrize(
    "changed",
    [
        {"completions__unknown": 0.019},
        {"completions__cut_off": 0.1},
        {"groups__all_equal": 0.49},
        {"entropy": lambda step: 0.5 if step <= 50 else 0.06},
        {"entropy": lambda step: 0.5 if step <= 50 else 1.4},
        {"entropy": 0.0},  # greedy
        {"kl": lambda step: 0.02 if step <= 90 else 0.05},  # less than three times
        {"kl": lambda step: 0.001 if step <= 90 else 0.04},  # noise
        {"kl": lambda step: 0.06},
        {"rewards__format__std": 0.0, "rewards__format__mean": 1.0, "rewards__format__weight": 1.0},  # learned
        {"rewards__repetition__std": 0.0, "rewards__repetition__mean": 0.0, "rewards__repetition__weight": 1.0},
        {"rewards__format__std": 0.0, "rewards__format__mean": 0.0, "rewards__format__weight": 0.0},  # only logged
        {"completions__cut_off": None, "kl": math.nan, "entropy": None},
    ],
)
def test_below_the_thresholds_nothing_is_told(changed: dict[str, Any]) -> None:
    assert alarms(run(100, **changed)) == []


def test_a_share_is_that_of_the_last_lines() -> None:
    assert alarms(run(100, completions__cut_off=lambda step: 0.9 if step <= 100 - RECENT else 0.0)) == []
    (alarm,) = alarms(run(100, completions__cut_off=lambda step: 0.9 if step > 95 else 0.0))
    assert "45%" in alarm.message
    assert alarms(run(RECENT - 1, completions__cut_off=0.9)) == []


@pytest.mark.parametrize("key", ["groups__all_equal", "completions__unknown"])
def test_what_trains_nothing_for_long_is_hopeless_and_comes_first(key: str) -> None:
    still = run(STUCK - 1, completions__cut_off=0.5, **{key: 1.0})
    assert [alarm.hopeless for alarm in alarms(still)] == [False, False]
    alarm, other = alarms(run(STUCK, completions__cut_off=0.5, **{key: 1.0}))
    assert (alarm.hopeless, other.kind) == (True, "cut_off")
    assert [one.hopeless for one in alarms(run(STUCK, **{key: lambda step: 1.0 if step > 1 else 0.9}))] == [False]
