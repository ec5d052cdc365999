"""Pass rates: what is counted, the interval, and what the user is warned of."""

import math
from itertools import pairwise

import pytest
from lab import Lab, decided, sums
from scipy.stats import beta  # type: ignore[import-untyped]

from curation.pass_rate import LEVEL, PassRate, interval

COUNTED = ("passes", "fails", "errors", "truncated", "drawn", "used", "pass_rate")


def test_counts_and_rates_of_samples(lab: Lab) -> None:
    """The fake model is right in (a + b) % 5 of 4 samples."""
    lab.source("sums", sums((3, 4), (2, 2), (1, 4)))
    rows = decided(lab())
    counts = {prompt: tuple(row[name] for name in COUNTED) for prompt, row in rows.items()}
    assert counts == {
        "What is 3 + 4?": (2, 2, 0, 0, 4, 4, 0.5),
        "What is 2 + 2?": (4, 0, 0, 0, 4, 4, 1.0),
        "What is 1 + 4?": (0, 4, 0, 0, 4, 4, 0.0),
    }
    assert rows["What is 3 + 4?"]["pass_rate_low"] == pytest.approx(interval(2, 4)[0])
    assert [prompt for prompt, row in rows.items() if row["kept"]] == ["What is 3 + 4?"]


def test_a_sample_that_is_cut_off_is_a_failure_and_many_are_warned_of(lab: Lab) -> None:
    lab.source("sums", sums((2, 2)))
    outcome = lab(max_tokens=18)  # the first sample has 16 characters, the next 19, 22 and 25
    row = decided(outcome)["What is 2 + 2?"]
    assert [row[name] for name in COUNTED] == [1, 3, 0, 3, 4, 4, 0.25]
    assert any("75% of the samples were cut off at max_tokens=18" in warning for warning in outcome.warnings)


def test_few_that_are_cut_off_are_not_warned_of(lab: Lab) -> None:
    lab.source("sums", sums((2, 2)))
    assert not any("cut off" in warning for warning in lab(max_tokens=25).warnings)


def test_an_error_of_the_grader_is_neither_a_pass_nor_a_failure(lab: Lab) -> None:
    lab.source("sums", [{"prompt": "What is 2 + 2?", "answer": " "}])
    row = decided(lab())["What is 2 + 2?"]
    assert [row[name] for name in COUNTED] == [0, 0, 4, 0, 4, 0, None]
    assert (row["pass_rate_low"], row["pass_rate_high"]) == (None, None)
    assert row["rule_learnable"] == "unknown"


def test_a_problem_that_nothing_can_grade_is_not_sampled_and_stays_unknown(lab: Lab) -> None:
    lab.source("more", sums((1, 2)), verifier=None)
    outcome = lab()
    row = decided(outcome)["What is 1 + 2?"]
    assert [row[name] for name in COUNTED] == [0, 0, 0, 0, 0, 0, None]
    assert (row["rule_learnable"], row["kept"]) == ("unknown", False)
    assert any("1 problems name no verifier" in warning for warning in outcome.warnings)
    assert outcome.drawn["pass_rate"]["drawn"] == 6 * 4


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    tail = (1 - LEVEL) / 2
    for used in (1, 2, 4, 8, 16, 100, 1024):
        for passes in {0, 1, used // 3, used // 2, used - 1, used}:
            low, high = interval(passes, used)
            assert low == pytest.approx(beta.ppf(tail, passes, used - passes + 1) if passes else 0, abs=1e-9)
            assert high == pytest.approx(
                beta.ppf(1 - tail, passes + 1, used - passes) if passes < used else 1, abs=1e-9
            )


def test_the_interval_holds_the_true_rate_at_least_nine_times_in_ten() -> None:
    """By enumeration: every outcome of 8 samples, weighed by its chance, for many true rates."""
    for step in range(1, 200):
        rate, covered = step / 200, 0.0
        for passes in range(9):
            low, high = interval(passes, 8)
            assert low is not None
            assert high is not None
            if low <= rate <= high:
                covered += math.comb(8, passes) * rate**passes * (1 - rate) ** (8 - passes)
        assert covered >= LEVEL


def test_the_interval_moves_up_with_every_pass_and_is_unknown_without_samples() -> None:
    assert interval(0, 0) == (None, None)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(interval(k, 16) for k in range(17)))  # type: ignore[operator]


def test_how_it_runs_is_no_part_of_the_settings() -> None:
    assert "patience" not in PassRate(model="policy", n=8, max_tokens=64, patience=5).settings()
