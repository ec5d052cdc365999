"""Consensus: what samples agree on, beside the gold answer and where there is none."""

import io
from typing import Any

import pytest
from fake_server import FakeServer
from lab import Lab, decided, sums
from rich.console import Console

from curation.inspect import why
from flows.curate import Outcome
from flows.recipe import RecipeError

SETTINGS = {"model": "policy", "n": 4, "max_tokens": 64}
COLUMNS = ("gold_suspect", "consensus_answer", "consensus_votes", "consensus_samples", "consensus_share")


@pytest.fixture
def asking(lab: Lab) -> Lab:
    """Six sums. Of four samples the fake model gets (a + b) % 5 right, and is off by one in the others."""
    lab.recipe["annotate"], lab.recipe["keep"] = {"consensus": SETTINGS}, {"trusted": "not gold_suspect"}
    return lab


def found(outcome: Outcome) -> dict[str, tuple[Any, ...]]:
    return {prompt: tuple(row[name] for name in COLUMNS) for prompt, row in decided(outcome).items()}


def test_a_gold_answer_is_suspect_where_samples_agree_on_another(asking: Lab) -> None:
    asking.source("sums", sums((2, 2), (3, 4), (1, 1), (1, 5), (5, 5)))
    assert found(asking()) == {
        "What is 2 + 2?": (False, "4", 4, 4, 1.0),
        "What is 3 + 4?": (False, "7", 2, 4, 0.5),  # two say 8: no agreement
        "What is 1 + 1?": (False, "2", 2, 4, 0.5),
        "What is 1 + 5?": (True, "7", 3, 4, 0.75),
        "What is 5 + 5?": (True, "11", 4, 4, 1.0),
    }


def test_planted_wrong_golds_are_found_and_no_others(asking: Lab) -> None:
    """The model is right in 3 or 4 of 4 samples; ten of thirty answers are off."""
    pairs = [(a, b) for a in range(3, 14) for b in range(3, 14) if (a + b) % 5 >= 3][:30]
    rows = sums(*pairs)
    for row in rows[::3]:
        row["answer"] = str(int(row["answer"]) + 10)
    asking.source("sums", rows)
    suspects = {prompt for prompt, row in decided(asking()).items() if row["gold_suspect"]}
    assert suspects == {row["prompt"] for row in rows[::3]}
    assert len(suspects) == 10


def test_how_many_have_to_agree_is_a_setting(asking: Lab) -> None:
    asking.source("sums", sums((1, 5)))  # three of four are wrong, alike
    asking.recipe["annotate"]["consensus"] = {**SETTINGS, "agree": 0.8}
    assert found(asking()) == {"What is 1 + 5?": (False, "7", 3, 4, 0.75)}
    asking.recipe["annotate"]["consensus"] = {**SETTINGS, "agree": 0.5}
    with pytest.raises(RecipeError, match=r"annotate\.consensus\.agree"):
        asking()


def test_a_problem_without_an_answer_gets_a_candidate_and_no_gold(asking: Lab) -> None:
    asking.source("sums", [{"prompt": "What is 1 + 2?"}, {"prompt": "What is 5 + 5?", "answer": " "}])
    outcome = asking()
    assert found(outcome) == {
        "What is 1 + 2?": (None, "3", 3, 4, 0.75),
        "What is 5 + 5?": (None, "11", 4, 4, 1.0),
    }
    rows = decided(outcome)
    assert [row["answer"] for row in rows.values()] == [None, " "]
    assert {row["rule_trusted"] for row in rows.values()} == {"unknown"}
    assert rows["What is 1 + 2?"]["consensus_answers"][0] == {"answer": "3", "votes": 3, "same_as_gold": None}
    assert not any("grader failed" in warning for warning in outcome.warnings)


def test_a_candidate_becomes_a_label_only_in_a_new_pool_that_says_so(asking: Lab) -> None:
    asking.source("sums", [{"prompt": "What is 1 + 2?"}, {"prompt": "What is 3 + 4?"}])
    dataset = asking().dataset
    assert dataset is not None
    asking.recipe |= {"name": "labelled", "annotate": {}, "keep": {}}
    asking.recipe["sources"] = {
        "labelled": {
            "parquet": f"{dataset.folder}/decisions.parquet",
            "where": "answer is null and consensus_share >= 0.75",
            "columns": {
                "answer": "consensus_answer",
                "meta": "json_object('answer_from', 'consensus', 'votes', consensus_votes)",
            },
        }
    }
    rows = decided(asking())
    told = [(prompt, row["answer"], row["verifier"], row["meta"]) for prompt, row in rows.items()]
    assert told == [("What is 1 + 2?", "3", "exact", '{"answer_from":"consensus","votes":3}')]


def test_samples_are_those_of_a_pass_rate_with_equal_settings(asking: Lab, fake_server: FakeServer) -> None:
    asking.recipe["annotate"] = {"pass_rate": {**SETTINGS, "settle": "never"}, "consensus": SETTINGS}
    outcome = asking()
    assert outcome.drawn.keys() == {"pass_rate"}
    assert sum(fake_server.asked.values()) == 6 * 4


def test_more_samples_are_drawn_beside_those_that_are_there(asking: Lab) -> None:
    asking.source("sums", sums((1, 5)))
    asking()
    asking.recipe["annotate"]["consensus"] = {**SETTINGS, "n": 8}
    outcome = asking()
    assert outcome.drawn["consensus"]["drawn"] == 4
    assert found(outcome) == {"What is 1 + 5?": (True, "7", 6, 8, 0.75)}


def test_what_the_grader_failed_at_could_be_any_answer(asking: Lab) -> None:
    asking.source("sums", [{"prompt": "What is 2 + 2?", "answer": "see above"}], verifier="math")
    assert found(asking()) == {"What is 2 + 2?": (None, None, 0, 0, None)}


def test_what_no_verifier_compares_is_neither_drawn_nor_known(asking: Lab) -> None:
    row = {
        "prompt": "What is 1 + 2?",
        "verifier_args": '{"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}',
    }
    asking.source("sums", [row], verifier="instructions")
    asking.source("none", sums((2, 2)), verifier=None)
    outcome = asking()
    assert found(outcome) == dict.fromkeys(("What is 1 + 2?", "What is 2 + 2?"), (None,) * 5)
    assert outcome.drawn == {}
    assert any("1 problems name a verifier that compares no two answers" in warning for warning in outcome.warnings)


def test_cut_off_samples_agree_with_nothing_and_below_rls_length_could_agree_with_anything(asking: Lab) -> None:
    asking.source("sums", sums((5, 5)))  # the first sample has 17 characters, the next 20, 23 and 26
    asking.recipe["annotate"]["consensus"] = {**SETTINGS, "max_tokens": 20}
    assert found(asking()) == {"What is 5 + 5?": (False, "11", 2, 2, 0.5)}
    asking.recipe["annotate"]["consensus"]["cut_off"] = "unknown"
    assert found(asking()) == {"What is 5 + 5?": (None, "11", 2, 2, None)}


def test_why_shows_the_answers_with_their_votes_and_shared_rollouts_once(asking: Lab) -> None:
    asking.source("sums", sums((1, 5)))
    asking.recipe["annotate"] = {"pass_rate": {**SETTINGS, "settle": "never"}, "consensus": SETTINGS}
    dataset = asking().dataset
    assert dataset is not None
    data = why.why(dataset, "")
    assert data["measured"]["consensus"]["consensus_answers"] == [
        {"answer": "7", "votes": 3, "same_as_gold": False},
        {"answer": "6", "votes": 1, "same_as_gold": True},
    ]
    out = io.StringIO()
    why.show(Console(file=out, width=200), data)
    assert "7 (votes 3, same_as_gold False)" in out.getvalue()
    assert "consensus: the same 4 rollouts as those of pass_rate" in out.getvalue()


def test_an_answer_of_white_space_is_none(asking: Lab) -> None:
    asking.source("sums", [{"prompt": "What is 2 + 2?", "answer": "\n\t"}])
    assert [row["gold_suspect"] for row in decided(asking()).values()] == [None]
