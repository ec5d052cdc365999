"""Estimates, the paired test and calibration, against literal values and by counting everything."""

import itertools
import math
from fractions import Fraction
from statistics import fmean

import numpy as np
import pytest

from curation.verify import VERIFIERS
from train.evaluation.calibration import Claim, calibration
from train.evaluation.compare import NotPaired, compare, interval, sign_flip
from train.evaluation.drawing import Answered, Sample
from train.evaluation.estimates import Counted, bounds, effective, pass_at, powers, student
from train.evaluation.estimates import interval as of_rate
from train.evaluation.majority import AS_TEXT, majorities
from train.evaluation.measured import measured
from train.evaluation.settings import Evaluation

# ---- pass@k


@pytest.mark.parametrize(("correct", "of"), [(0, 5), (1, 5), (3, 5), (5, 5), (2, 6)])
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_correct_sample(correct: int, of: int) -> None:
    samples = [True] * correct + [False] * (of - correct)
    for k in range(1, of + 1):
        subsets = list(itertools.combinations(samples, k))
        assert pass_at(k, correct, of) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_is_told_for_powers_of_two_and_for_all_samples() -> None:
    assert [powers(n) for n in (1, 4, 6, 8)] == [[1], [1, 2, 4], [1, 2, 4, 6], [1, 2, 4, 8]]


# ---- the interval of an accuracy


def test_an_interval_has_a_width_where_nothing_or_everything_is_solved() -> None:
    low, high = of_rate([0.0] * 30, 30 * 64)
    assert low == 0
    assert high == pytest.approx(0.0827, abs=1e-3)  # as of 30 samples: those of a problem may all be the same
    assert of_rate([1.0] * 30, 30 * 64) == pytest.approx((1 - high, 1))


def test_samples_of_one_problem_count_for_less_the_more_alike_they_are() -> None:
    all_or_nothing, mixed = [0.0, 1.0] * 50, [0.4, 0.6] * 50
    assert effective(all_or_nothing, 1600) == pytest.approx(100, rel=0.05)
    assert effective(mixed, 1600) > 1000


def test_of_no_problem_everything_is_possible() -> None:
    assert of_rate([], 0) == (0.0, 1.0)


def test_the_interval_holds_the_true_accuracy_about_nine_times_in_ten() -> None:
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        rates = draw.binomial(8, draw.beta(1, 2, 40)) / 8
        low, high = of_rate(rates.tolist(), 320)
        held += low <= 1 / 3 <= high
    assert 0.86 < held / 400 < 0.95


@pytest.mark.parametrize(("freedom", "quantile"), [(4, 2.1318), (10, 1.8125), (30, 1.6973)])
def test_students_quantile_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, abs=0.003)


def test_what_is_unknown_is_never_counted_wrong_and_its_bounds_are_told() -> None:
    problems = [Counted(2, 0, 2), Counted(0, 4, 0)]
    assert fmean(one.rate for one in problems) == 0.5
    assert bounds(problems) == (0.25, 0.5)


# ---- two models


@pytest.mark.parametrize("steps", [[1, 2, 3, -1], [4, 4, -4, 1, 0], [-2, -2, -2, -1, -3, -1], [0, 0], [1]])
def test_the_paired_test_is_exact(steps: list[int]) -> None:
    seen = abs(sum(steps))
    flips = [
        sum(s * x for s, x in zip(signs, steps, strict=True)) for signs in itertools.product((1, -1), repeat=len(steps))
    ]
    expected = sum(abs(total) >= seen for total in flips) / len(flips)
    assert sign_flip([Fraction(step, 4) for step in steps]) == pytest.approx(expected)


def test_six_wins_of_six_are_one_chance_in_thirty_two() -> None:
    assert sign_flip([Fraction(1, 2)] * 6) == pytest.approx(2 / 64)


def test_a_difference_is_of_the_problems_that_are_known_of_both() -> None:
    base = {"a": Counted(1, 3), "b": Counted(0, 4), "c": Counted(0, 0, 4)}
    tuned = {"a": Counted(3, 1), "b": Counted(1, 3), "c": Counted(4, 0)}
    told = compare(base, tuned)
    assert (told["problems"], told["left_out"], told["difference"]) == (2, 1, 0.375)
    assert told["low"] < 0.375 < told["high"]
    assert told["p"] == 0.5


def test_models_that_are_alike_on_every_problem_may_still_differ_a_little_on_others() -> None:
    low, high = interval([0.0] * 30, samples=4)
    assert low == -high
    assert 0.01 < high < 0.1


def test_other_problems_cannot_be_compared() -> None:
    with pytest.raises(NotPaired, match="2 and 1 problems, 1 of them the same"):
        compare({"a": Counted(1, 0), "b": Counted(1, 0)}, {"a": Counted(1, 0)})


# ---- calibration


def test_calibration_by_hand() -> None:
    claims = [Claim(0.25, 0), Claim(0.25, 1), Claim(0.75, 1), Claim(1.0, 1)]
    told = calibration(claims)
    assert told is not None
    # In the bin of .25 half are right, in that of .75 all, and in the last one all: (2 * .25 + .25 + 0) / 4.
    assert told["ece"] == pytest.approx(0.1875)
    assert told["brier"] == pytest.approx((0.0625 + 0.5625 + 0.0625 + 0) / 4)
    assert [(one["from"], one["claims"], one["right"]) for one in told["bins"]] == [
        (0.2, 2, 0.5),
        (0.7, 1, 1),
        (0.9, 1, 1),
    ]


def test_bins_of_equal_mass_keep_equal_confidences_together() -> None:
    told = calibration([Claim(0.5, right) for right in (0, 1) * 20])
    assert told is not None
    assert told["ece_equal_mass"] == 0


def test_of_no_claims_nothing_is_told() -> None:
    assert calibration([]) is None


# ---- what samples come to


def sample(index: int, outcome: str | None, extracted: str | None = None, cut_off: bool = False) -> Sample:
    return Sample(index, outcome, extracted, "", cut_off, 10 + index, 0.5, None, None, "", None)


def problem(id_: str, *samples: Sample, source: str = "one") -> Answered:
    return Answered(id_, "2 + 2", "4", "exact", None, {"source": source}, list(samples), len(samples))


RIGHT, WRONG = ("correct", "4"), ("wrong", "5")


def test_the_majority_is_what_most_samples_answer() -> None:
    votes = majorities(
        [
            problem("three of four", sample(0, *RIGHT), sample(1, *RIGHT), sample(2, *WRONG), sample(3, *RIGHT)),
            problem("a tie", sample(0, *RIGHT), sample(1, *WRONG)),
            problem(
                "all differ",
                sample(0, "wrong", "1"),
                sample(1, "wrong", "2"),
                sample(2, "wrong", "3"),
                sample(3, *RIGHT),
            ),
            problem("no answer", sample(0, None, None, cut_off=True)),
            problem("not known", sample(0, *RIGHT), sample(1, "error")),
        ]
    )
    assert votes == {
        "three of four": Claim(0.75, 1),
        "a tie": Claim(0.5, 0.5),
        "all differ": Claim(0.25, 0.25),
        "no answer": Claim(0, 0),
    }


def test_answers_that_are_only_scored_are_equal_as_text() -> None:
    found = problem("scored", sample(0, *WRONG), sample(1, *RIGHT), sample(2, *WRONG), sample(3, "wrong", "6"))
    code = problem("code", sample(0, *RIGHT), sample(1, *RIGHT))
    [found.verifier], code.verifier = AS_TEXT, "code"
    assert found.verifier in VERIFIERS
    assert majorities([found, code]) == {"scored": Claim(0.5, 0)}


def test_groups_with_numbers_for_names_come_in_their_order() -> None:
    names = ["10", "2", None, "2"]
    told = measured(
        [Answered(str(n), "", "", "exact", None, {"difficulty": name}, [], 1) for n, name in enumerate(names)]
    )
    assert [one["group"] for one in told["by"]["difficulty"]] == ["2", "10", None]


def test_errors_are_unknown_and_cut_off_is_wrong() -> None:
    told = measured(
        [
            problem("a", sample(0, *RIGHT), sample(1, "error"), source="one"),
            problem("b", sample(0, *WRONG), sample(1, None, cut_off=True), source="two"),
        ]
    )
    assert told["accuracy"]["rate"] == 0.5
    assert (told["accuracy"]["lowest"], told["accuracy"]["highest"]) == (0.25, 0.5)
    assert (told["known"], told["errors"], told["cut_off"]) == (3, 1, 0.25)
    assert told["tokens"] == {"all": pytest.approx(31 / 3), "correct": 10, "wrong": 10.5}
    assert [(one["k"], one["rate"], one["problems"]) for one in told["pass_at"]] == [(1, 0.5, 2), (2, 0, 1)]
    assert [(one["group"], one["rate"]) for one in told["by"]["source"]] == [("one", 1), ("two", 0)]


def test_sequence_probability_is_a_tokens_geometric_mean() -> None:
    sure = Sample(0, "correct", "4", "", False, 10, 0.0, None, 10 * math.log(0.8), "", None)
    told = measured([problem("a", sure)])["calibration"]["sequence"]
    assert told["confidence"] == pytest.approx(0.8)


# ---- settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"temperature": 0}, "4 greedy samples are one and the same"),
        ({"tasks": {"humaneval": {}}}, "the answers of humaneval cannot be graded as they are"),
        ({"tasks": {"mine": {}}}, "say where its problems are"),
        ({"modes": {"think": {"template": "no place"}}}, "has no {prompt}"),
        ({"budgets": [2048]}, "leaves no room for an answer"),
        ({"budgets": [0], "thinking_budget": 8}, "one of thinking_budget and budgets"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Evaluation.model_validate(given)


def test_every_mode_is_asked_with_every_budget() -> None:
    settings = Evaluation.model_validate(
        {"modes": {"think": {}, "plain": {"system": "Be short."}}, "budgets": [0, 64, None]}
    )
    assert [(one.mode, one.budget) for one in settings.conditions] == [
        *(("think", budget) for budget in (0, 64, None)),
        *(("plain", budget) for budget in (0, 64, None)),
    ]
    assert settings.conditions[3].prompt == {"system": "Be short.", "prefill": "<think>\n\n</think>\n\n"}


def test_a_shipped_benchmark_is_named_alone() -> None:
    task = Evaluation.model_validate({"tasks": {"aime24": {"limit": 3}}}).tasks["aime24"]
    assert task.model_dump(include={"hf", "split", "limit", "verifier"}) == {
        "hf": "HuggingFaceH4/aime_2024",
        "split": "train",
        "limit": 3,
        "verifier": "math",
    }
