"""Measured difficulty: 1 to 10, by the pass rates of one or several models."""

import pytest
from lab import Lab, decided, sums

from curation.duck import connect
from curation.inspect.difficulties import agreements, spearman
from curation.sweep import sweep
from flows.plan import plan
from flows.recipe import RecipeError, load


@pytest.fixture
def rated(lab: Lab) -> Lab:
    """Sums that the fake model solves in all, half and none of 4 samples; at length 18 only the first can be right."""
    lab.source("sums", sums((2, 2), (3, 4), (1, 4)))
    sampled = {"model": "policy", "n": 4, "max_tokens": 64, "settle": "never"}
    lab.recipe["annotate"] = {
        "pass_rate": sampled,
        "short": {**sampled, "is": "pass_rate", "max_tokens": 18},
        "difficulty": {"of": ["pass_rate", "short"]},
    }
    lab.recipe["keep"] = {"hard": "measured_difficulty > 5"}
    return lab


def test_difficulty_is_ten_less_nine_times_the_mean_pass_rate(rated: Lab) -> None:
    rows = decided(rated())
    assert {prompt: (row["measured_difficulty"], row["difficulty_models"]) for prompt, row in rows.items()} == {
        "What is 2 + 2?": (1 + 9 * (1 - (1 + 0.25) / 2), 2),
        "What is 3 + 4?": (1 + 9 * (1 - (0.5 + 0.25) / 2), 2),
        "What is 1 + 4?": (10.0, 2),
    }
    assert [prompt for prompt, row in rows.items() if row["kept"]] == ["What is 3 + 4?", "What is 1 + 4?"]


def test_a_rate_that_is_unknown_counts_for_nothing(rated: Lab) -> None:
    rated.recipe["annotate"]["short"]["cut_off"] = "unknown"
    rated.source("more", sums((1, 2)), verifier=None)
    rows = decided(rated())
    assert rows["What is 2 + 2?"]["measured_difficulty"] == 1.0  # the one sample that ended is right
    assert (rows["What is 1 + 2?"]["measured_difficulty"], rows["What is 1 + 2?"]["difficulty_models"]) == (None, 0)
    assert rows["What is 1 + 2?"]["rule_hard"] == "unknown"


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (["shrt"], "annotate.difficulty.of: 'shrt' is no pass_rate annotator above it; did you mean short"),
        (["consensus"], "annotate.difficulty.of: 'consensus' is no pass_rate annotator above it"),
        (["short", "short"], "annotate.difficulty.of: names an annotator twice"),
        ([], "annotate.difficulty.of"),
    ],
)
def test_it_is_made_of_pass_rates_above_it(rated: Lab, of: list[str], message: str) -> None:
    rated.recipe["annotate"]["difficulty"]["of"] = of
    with pytest.raises(RecipeError) as error:
        load(str(rated.write()))
    assert message in str(error.value)


def test_a_plan_knows_it_where_the_rates_are_there(rated: Lab) -> None:
    rated()
    rated.source("sums", sums((2, 2), (3, 4), (1, 4), (4, 4)))
    planned = plan(load(str(rated.write())), str(rated.workspace))
    assert planned["annotators"][-1] == {"key": "difficulty", "annotator": "difficulty", "problems": 4, "missing": 0}


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ("(1, 10), (2, 20), (3, 900)", (3, 1.0)),
        ("(1, 3.5), (2, 2.5), (3, 1.5), (null, 9), (9, null)", (3, -1.0)),
        ("(1, 1), (1, 2), (2, 3), (3, 3)", (4, 0.889)),  # ranks 1.5, 1.5, 3, 4 and 1, 2, 3.5, 3.5
        ("(1, 7), (2, 7)", (2, None)),
        ("(null::int, 7)", (0, None)),
    ],
)
def test_agreement_with_what_an_llm_says_is_by_ranks(pairs: str, told: tuple[int, float | None]) -> None:
    assert spearman(connect(), f"(values {pairs}) as t(said, measured)", "said", "measured") == told


def test_without_tags_an_inspection_tells_no_agreement(rated: Lab) -> None:
    dataset = rated().dataset
    assert dataset is not None
    assert agreements(dataset) == []


def test_a_rule_over_it_draws_all_samples_that_it_rests_on(rated: Lab) -> None:
    """Or else how hard a problem is would depend on where other rules had stopped."""
    for rate in ("pass_rate", "short"):
        rated.recipe["annotate"][rate]["settle"] = "early"
    rated.recipe["keep"]["learnable"] = "passes >= 1"
    assert {row["used"] for row in decided(rated()).values()} == {4}
    del rated.recipe["keep"]["hard"]
    assert {row["used"] for row in decided(rated()).values()} == {1, 4}


def test_a_sweep_does_not_decide_by_a_difficulty_that_rests_on_fewer(rated: Lab) -> None:
    rated.recipe["annotate"] = {
        "pass_rate": {"model": "policy", "n": 4, "max_tokens": 64},
        "difficulty": {"of": ["pass_rate"]},
    }
    rated.recipe["keep"] = {"learnable": "passes >= 1"}
    dataset = rated().dataset
    assert dataset is not None
    again = sweep(dataset, {"hard": "measured_difficulty > 5"})
    # The one without a pass was drawn whole, and falls to `learnable`; the others stopped at their first.
    assert (again.kept, again.dropped, again.undecided) == (0, 1, 2)
