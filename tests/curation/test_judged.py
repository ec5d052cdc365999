"""Problems that name a judge: sampled as any others, graded by a model, and never by a rule in its place."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from judge_server import NAME, JudgeServer, texts
from lab import Lab, decided, sums

from curation.budget import Budget
from curation.inspect.why import why
from curation.judge_record import add_record
from curation.progress import Progress
from curation.store import Store
from flows.curate import StepFailed, curate
from flows.recipe import RecipeError, load


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


@pytest.fixture
def judged(lab: Lab, judge: JudgeServer) -> Lab:
    """Two sums for the judge, and one for the rule."""
    lab.source("sums", sums((3, 4), (2, 2)), verifier="judge")
    lab.source("ruled", sums((10, 5)))
    lab.recipe["models"]["wise"] = {"model": NAME, "url": judge.url, "revision": "1"}
    lab.recipe["judge"] = {"model": "wise"}
    return lab


def passes(lab: Lab) -> dict[str, Any]:
    return {prompt: row["passes"] for prompt, row in decided(lab()).items()}


def test_a_judge_grades_the_problems_that_name_it_and_no_others(judged: Lab, judge: JudgeServer) -> None:
    found = passes(judged)
    assert {texts(prompt)["problem"] for prompt in judge.prompts} == {"What is 3 + 4?", "What is 2 + 2?"}
    judged.source("sums", sums((3, 4), (2, 2)))  # the rule says the same of numbers
    assert found == passes(judged)


def test_its_verdicts_are_its_own_and_another_judge_grades_again_without_sampling(
    judged: Lab, judge: JudgeServer
) -> None:
    judged()
    first = {row["verifier"] for row in judged.stored("verdicts", "rollout")} - {"exact"}
    assert len(first) == 1
    assert first.pop().startswith("judge-")
    asked, rollouts = len(judge.prompts), len(judged.stored("rollouts"))
    judged()
    assert len(judge.prompts) == asked
    judged.recipe["judge"]["twice"] = True
    judged()
    assert len(judge.prompts) == 3 * asked
    assert len(judged.stored("rollouts")) == rollouts


def test_a_judge_without_a_verdict_leaves_the_sample_unknown(judged: Lab, judge: JudgeServer) -> None:
    judge.reply = '{"verdict": "unsure"}'
    rows = decided(judged())
    assert (rows["What is 3 + 4?"]["passes"], rows["What is 3 + 4?"]["errors"]) == (0, 4)
    assert rows["What is 3 + 4?"]["rule_learnable"] == "unknown"
    assert rows["What is 10 + 5?"]["errors"] == 0


def test_why_shows_what_the_judge_said(judged: Lab) -> None:
    outcome = judged()
    assert outcome.dataset is not None
    data = why(outcome.dataset, decided(outcome)["What is 2 + 2?"]["id"])
    reasons = {rollout["reason"] for rollout in data["rollouts"]["pass_rate"]}
    assert reasons <= {"judge: the judge says equivalent", "judge: the judge says different"}
    assert reasons


def test_the_card_names_a_judge_that_was_never_measured(judged: Lab) -> None:
    outcome = judged()
    assert outcome.dataset is not None
    assert any("the judge judge was never measured" in warning for warning in outcome.warnings)
    card = Path(outcome.dataset.folder, "README.md").read_text()
    assert "2 problems are graded by a model, judge, not by rules. This judge was **never measured**" in card


def test_the_card_tells_the_rates_of_one_that_was(judged: Lab) -> None:
    store, loaded = Store(str(judged.workspace)), load(str(judged.write()))
    assert loaded.judge is not None
    none, some = {"of": 0}, {"of": 40, "rate": 0.025, "low": 0.005, "high": 0.1}
    measured = {"labelled": 90, "false_accepts": some, "false_rejects": none}
    with store.locked():
        add_record(store, loaded.judge, {"labels": {}, "date": "2026-11-22T10:00:00", "judge": measured})
    outcome = judged()
    assert outcome.dataset is not None
    assert not any("never measured" in warning for warning in outcome.warnings)
    card = Path(outcome.dataset.folder, "README.md").read_text()
    assert "On 90 labelled answers (2026-11-22): false accepts 2.5% (90 % interval 0.5% to 10.0%)." in card


def test_gold_leaves_to_the_judge_what_is_its(judged: Lab) -> None:
    judged.recipe["annotate"] = {"gold": {}}
    judged.recipe["keep"] = {}
    rows = decided(judged())
    assert (rows["What is 2 + 2?"]["gold_accepted"], rows["What is 10 + 5?"]["gold_accepted"]) == (None, True)
    assert rows["What is 2 + 2?"]["gold_reason"] == "a judge grades this problem"


def test_a_recipe_without_the_judge_that_a_source_names_is_refused(judged: Lab) -> None:
    del judged.recipe["judge"]
    with pytest.raises(RecipeError, match=r"sources.sums.verifier: the recipe has no judge; add `judge: {model"):
        judged()


def test_rows_that_name_a_judge_which_the_recipe_lacks_end_the_run_with_a_remedy(lab: Lab) -> None:
    rows = [row | {"by": "judge"} for row in sums((3, 4))]
    lab.source("sums", rows, verifier=None, columns={"prompt": "prompt", "answer": "answer", "verifier": '"by"'})
    with pytest.raises(StepFailed) as failed:
        lab()
    assert "1 problems name the verifier `judge`, and the recipe has no judge: add" in str(failed.value.__cause__)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "nobody"}, "judge.model: 'nobody' is no model of this recipe"),
        ({}, "judge.model: None is no model of this recipe"),
        ({"model": "wise", "twyce": True}, "judge.twyce"),
        ({"model": "wise", "rubric": "be kind"}, "rubric: is for kind: quality"),
    ],
)
def test_a_judge_that_cannot_be_is_refused_when_loaded(judged: Lab, settings: dict[str, Any], said: str) -> None:
    judged.recipe["judge"] = settings
    with pytest.raises(RecipeError, match=said):
        judged()


def test_errors_of_a_grader_stay_until_they_are_to_be_graded_again(judged: Lab, judge: JudgeServer) -> None:
    judge.reply = "rubbish"
    outcome = judged()
    assert decided(outcome)["What is 2 + 2?"]["errors"] == 4
    assert any("8 samples are neither right nor wrong" in warning for warning in outcome.warnings)
    judge.reply = None
    assert decided(judged())["What is 2 + 2?"]["errors"] == 4
    again = curate(load(str(judged.write())), str(judged.workspace), retry_errors=True, progress=Progress(quiet=True))
    assert {row["errors"] for row in decided(again).values()} == {0}
    assert {row["errors"] for row in decided(judged()).values()} == {0}
    assert len(judged.stored("rollouts")) == 12


def test_code_is_refused_before_a_sample_is_drawn_where_there_is_no_sandbox(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": "Add.", "verifier_args": {"test": "assert add(1, 2) == 3"}}]
    lab.source("programs", rows, verifier="code")
    monkeypatch.setenv("PATH", "/nonexistent")
    for annotate in ({"gold": {}}, lab.recipe["annotate"]):
        lab.recipe["annotate"], lab.recipe["keep"] = annotate, {}
        with pytest.raises(StepFailed) as failed:
            lab()
        assert "1 problems name the verifier `code`. bubblewrap is not installed" in str(failed.value.__cause__)
    assert lab.stored("rollouts") == []


def test_a_budget_pays_for_all_that_the_judge_took(judged: Lab, judge: JudgeServer) -> None:
    budget = Budget.parse("100Mtok")
    recipe = load(str(judged.write()))
    outcome = curate(recipe, str(judged.workspace), budget=budget, progress=Progress(quiet=True))
    drawn = outcome.drawn["pass_rate"]
    assert drawn["judge_calls"] == len(judge.prompts) == 8
    assert drawn["judge_tokens"] > 0
    assert budget.spent == drawn["tokens"] + drawn["judge_tokens"]
