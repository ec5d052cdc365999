"""What is found of a stage of RL before a step is paid for."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from digits_recipe import Digits
from rich.console import Console
from tiny_model import tiny_model

from curation.progress import Progress
from flows.preflighted import show
from flows.recipe import load
from flows.train import looked_at, prepare
from train.band import band
from train.memory import Machine
from train.preflight import StageRefused
from train.rl_preflight import RLPreflight

MACHINE = Machine("cpu", "2 processors", 1, memory=1 << 34, free=1 << 34, bf16=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def digits(model: Path, tmp_path: Path) -> Digits:
    return Digits(tmp_path, model)


def looked(
    digits: Digits, counts: tuple[list[int | None], list[int | None]] | None = None, **stage: Any
) -> RLPreflight:
    """counts: what was solved, and what was not, of some problems."""
    digits.recipe["train"]["rl"] |= stage
    prepared = prepare(load(digits.path), "rl", digits.published(), MACHINE)
    if counts is not None:
        prepared = replace(prepared, band=band(*counts, prepared.stage.group))  # type: ignore[attr-defined]  # of RL
    found = looked_at(prepared, Progress(quiet=True))
    assert isinstance(found, RLPreflight)
    return found


def test_prompts_are_counted_and_rewards_tried_on_what_is_known(digits: Digits) -> None:
    seen = looked(digits)

    seen.check()
    assert (seen.prompts["train"].rows, seen.prompts["test"].rows) == (66, 24)
    assert seen.prompts["train"].longest == 6  # user, two digits with a blank between, end, assistant
    assert [(one.kind, one.right, one.wrong) for one in seen.tried] == [
        ("its own answer", 64, 0),
        ("another problem's", 0, 64),
        ("nothing", 0, 64),
    ]
    assert seen.steps is not None
    assert (seen.steps.an_epoch, seen.steps.in_all) == (8, 40)
    assert seen.record()["rewards"][0] == {
        "kind": "its own answer",
        "right": 64,
        "wrong": 0,
        "unknown": 0,
        "reward": 1.0,
    }


def test_it_is_shown(digits: Digits) -> None:
    out = io.StringIO()
    show(Console(file=out, width=140), looked(digits, ([4, 4], [4, 0])))

    assert "│ <|user|>0 1<|end|><|assistant|>" in out.getvalue()
    assert "its own answer" in out.getvalue()
    assert "groups of 8: about" in out.getvalue()


def test_prompts_over_the_limit_are_refused(digits: Digits) -> None:
    with pytest.raises(StageRefused, match=r"90 of 90 and max_tokens \(251\) together are more than the 256 .* 250"):
        looked(digits, max_tokens=251).check()


def test_a_reward_that_is_the_same_for_all_is_refused(digits: Digits) -> None:
    with pytest.raises(StageRefused, match="0 for right, wrong and empty completions alike"):
        looked(digits, rewards={"accuracy": None, "repetition": {}}).check()


def test_a_verifier_that_refuses_the_own_answers_is_refused(digits: Digits) -> None:
    digits.recipe["sources"]["pairs"] |= {"verifier": "choice"}

    with pytest.raises(
        StageRefused, match=r"of 64 problems the verifier accepts the own answer of 0; the first of the others is"
    ):
        looked(digits).check()


def test_a_set_that_is_smaller_than_a_batch_of_rollouts_is_refused(digits: Digits) -> None:
    digits.recipe["sources"]["pairs"]["limit"] = 6

    with pytest.raises(StageRefused, match=r"has \d problems, and a batch of rollouts takes 8 .* lower batch_size"):
        looked(digits).check()


def test_groups_that_would_all_be_equal_are_told_and_then_refused(digits: Digits) -> None:
    some = looked(digits, ([80, 80, 40], [0, 0, 40]))
    assert any("would be all equal" in one and "less often" in one for one in some.warnings)

    with pytest.raises(StageRefused, match=r"would be all equal .* solved more often"):
        looked(digits, ([0] * 50, [1000] * 50)).check()


def test_problems_without_a_verifier_and_judged_ones_are_refused(digits: Digits) -> None:
    del digits.recipe["sources"]["pairs"]["verifier"]

    with pytest.raises(StageRefused, match="name no verifier"):
        looked(digits).check()


def test_what_may_be_gamed_is_told(digits: Digits) -> None:
    seen = looked(digits, rewards={"format": {"weight": 2}})

    assert any("a wrong completion can get up to 2" in one for one in seen.warnings)


def test_a_reference_counts_as_memory(digits: Digits) -> None:
    without, with_one = looked(digits).memory, looked(digits, kl=0.1).memory

    assert without is not None
    assert with_one is not None
    assert with_one.weights == 2 * without.weights


def test_a_curriculum_by_what_was_not_measured_is_refused(digits: Digits) -> None:
    with pytest.raises(StageRefused, match="easy_to_hard, and nothing says which problem of the set is easy"):
        looked(digits, curriculum={}).check()
    with pytest.raises(StageRefused, match="'full' has no pass rates in the set"):
        looked(digits, curriculum={"rates": "full"}).check()
