"""Pass rates: what is counted, the interval, and what the user is warned of."""

import pytest
from fake_server import FakeServer
from lab import Lab, decided, sums

from curation.estimates import interval, unbiased
from curation.pass_rate import PassRate
from curation.settling import never

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
    assert rows["What is 3 + 4?"]["pass_rate_low"] == pytest.approx(interval(never(4), 2, 2)[0])
    assert [prompt for prompt, row in rows.items() if row["kept"]] == ["What is 3 + 4?"]


def test_the_mean_length_is_that_of_the_samples_that_count(lab: Lab) -> None:
    """Samples of a sum with one digit have 16, 19, 22 and 25 characters, which are the fake model's tokens."""
    lab.source("sums", sums((2, 2), (1, 1)))
    lab.source("more", sums((1, 2)), verifier=None)
    lengths = {prompt: row["mean_tokens"] for prompt, row in decided(lab()).items()}
    assert lengths == {"What is 2 + 2?": 20.5, "What is 1 + 1?": 20.5, "What is 1 + 2?": None}
    rows = decided(lab(settle="early"))  # P P F settles 1 + 1
    assert rows["What is 1 + 1?"]["mean_tokens"] == 19.0
    assert decided(lab(max_tokens=18))["What is 2 + 2?"]["mean_tokens"] == (16 + 3 * 18) / 4


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
    assert [row[name] for name in COUNTED] == [0, 0, 4, 0, 4, 4, None]
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


# Settled early


def test_sampling_of_a_problem_stops_once_its_rules_have_a_value(lab: Lab, fake_server: FakeServer) -> None:
    """The rule is `passes between 1 and 3` of 4; the first (a + b) % 5 of four samples are right."""
    lab.policy["concurrency"] = 1  # or idle slots draw what may be needed
    rows = decided(lab(settle="early"))
    counts = {prompt: tuple(row[name] for name in COUNTED) for prompt, row in rows.items()}
    assert counts == {
        "What is 3 + 4?": (2, 1, 0, 0, 3, 3, 2 / 3),  # P P F
        "What is 10 + 5?": (0, 4, 0, 0, 4, 4, 0.0),
        "What is 2 + 2?": (4, 0, 0, 0, 4, 4, 1.0),
        "What is 8 + 7?": (0, 4, 0, 0, 4, 4, 0.0),
        "What is 6 + 9?": (0, 4, 0, 0, 4, 4, 0.0),
        "What is 1 + 1?": (2, 1, 0, 0, 3, 3, 2 / 3),
    }
    assert sum(fake_server.asked.values()) == 22
    row = rows["What is 3 + 4?"]
    assert row["pass_rate_unbiased"] == unbiased("FTTTF", 2, 1) == 1.0  # P P F is the only way there, and begins with P
    assert (row["pass_rate_low"], row["pass_rate_high"]) == interval("FTTTF", 2, 1)


def test_drawing_the_rest_afterwards_changes_no_outcome(lab: Lab) -> None:
    early, full = decided(lab(settle="early")), decided(lab(settle="never"))
    assert {p: row["rule_learnable"] for p, row in early.items()} == {p: r["rule_learnable"] for p, r in full.items()}
    assert {row["used"] for row in full.values()} == {4}


def test_samples_beyond_the_settling_index_are_kept_and_do_not_count(lab: Lab) -> None:
    lab(settle="never")
    outcome = lab(settle="early")
    assert outcome.drawn == {}
    row = decided(outcome)["What is 3 + 4?"]
    assert [row[name] for name in COUNTED] == [2, 1, 0, 0, 4, 3, 2 / 3]
    assert len(lab.stored("rollouts")) == 24


def test_samples_that_another_annotator_draws_later_publish_nothing_new(lab: Lab) -> None:
    lab.recipe["annotate"]["full"] = {"is": "pass_rate", "model": "policy", "n": 4, "max_tokens": 64, "settle": "never"}
    first, again = lab(settle="early"), lab(settle="early")
    assert (first.new, again.new) == (True, False)
    assert again.dataset == first.dataset


def test_another_rule_draws_only_what_it_needs_more(lab: Lab) -> None:
    lab.policy["concurrency"] = 1
    lab.recipe["keep"] = {"hard": "passes = 0"}
    first = lab(settle="early")
    assert first.drawn["pass_rate"]["drawn"] == 3 + 3 * 4  # one hit settles it
    lab.recipe["keep"] = {"learnable": "passes between 1 and 3"}
    assert lab(settle="early").drawn["pass_rate"]["drawn"] == 22 - 15


def test_without_a_rule_over_the_counts_all_are_drawn(lab: Lab) -> None:
    lab.recipe["keep"] = {"short": "length(prompt) < 100"}
    assert lab(settle="early").drawn["pass_rate"]["drawn"] == 24


def test_a_rule_that_also_reads_what_comes_later_takes_all_samples(lab: Lab) -> None:
    lab.recipe["annotate"]["form"] = {}
    lab.recipe["keep"] = {"learnable": "passes between 1 and 3 and not proof"}
    assert lab(settle="early").drawn["pass_rate"]["drawn"] == 24


def test_cut_off_samples_are_unknown_below_the_length_that_rl_uses(lab: Lab) -> None:
    lab.source("sums", sums((2, 2)))
    lab.recipe["train"] = {"rl": {"max_tokens": 64, "temperature": 0.5}}
    del lab.recipe["annotate"]["pass_rate"]["max_tokens"]
    full = lab()
    assert decided(full)["What is 2 + 2?"]["passes"] == 4
    assert full.drawn["pass_rate"]["drawn"] == 4
    row = decided(lab(max_tokens=18))["What is 2 + 2?"]
    assert [row[name] for name in COUNTED] == [1, 0, 0, 3, 4, 4, 1.0]
    assert row["rule_learnable"] == "unknown"


def test_how_it_runs_is_no_part_of_the_settings() -> None:
    assert "patience" not in PassRate(model="policy", n=8, max_tokens=64, patience=5).settings()
