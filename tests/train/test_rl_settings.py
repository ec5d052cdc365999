"""What a recipe says of RL: algorithms by name, how is sampled, whom it trains; and what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
from digits_recipe import CPU, Digits
from tiny_model import tiny_model

from flows.evaluating import student, trained
from flows.recipe import RecipeError, load
from flows.train import prepare
from train.memory import Machine
from train.rl_stage import RL_STAGES
from train.run import RunError


@pytest.fixture
def digits(tmp_path: Path) -> Digits:
    return Digits(tmp_path, tiny_model(tmp_path / "tiny"))


def prepared(digits: Digits, **machine: Any) -> Any:
    return prepare(load(digits.path), "rl", digits.published(), Machine(**(vars(CPU) | machine)))


def settings(digits: Digits) -> dict[str, tuple[Any, str]]:
    return {one.name: (one.value, one.origin) for one in prepared(digits).resolved.settings}


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [
        ("grpo", {"loss_type": "grpo", "scale_rewards": "group", "beta": 0.04, "num_generations": 64}),
        (
            "r1",
            {"epsilon": 10, "beta": 0.001, "sync_ref_model": True, "ref_model_sync_steps": 400, "learning_rate": 3e-6},
        ),
        ("dr_grpo", {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0}),
        (
            "dapo",
            {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28, "beta": 0, "steps_per_generation": 16 * 128},
        ),
        ("rloo", {"normalize_advantages": False, "beta": 0.05, "num_generations": 4}),
        ("online_rft", {"loss_type": "grpo", "scale_rewards": "none"}),
        ("kimi", {"tau": 0.1, "beta": 0, "reset_optimizer": True}),
        ("ppo", {"num_iterations": 4, "gamma": 1, "lam": 0.95, "epsilon": 0.2}),
    ],
)
def test_an_algorithm_is_a_name(algorithm: str, arguments: dict[str, Any], digits: Digits) -> None:
    digits.recipe["train"]["rl"] = {"is": algorithm, "max_tokens": 4}
    found = prepared(digits).resolved.trl

    assert {name: found[name] for name in arguments} == arguments


def test_every_algorithm_is_there() -> None:
    assert {*RL_STAGES} == {"grpo", "r1", "dr_grpo", "dapo", "rloo", "online_rft", "kimi", "ppo"}


def test_samples_are_drawn_as_difficulty_was_measured(digits: Digits) -> None:
    dataset = digits.published()
    digits.recipe["train"]["rl"] = {"batch_size": 64, "top_p": 0.9}
    digits.recipe["annotate"] = {
        "small": {"is": "pass_rate", "model": "policy", "n": 4, "max_tokens": 9, "temperature": 0.7, "top_k": 5}
    }
    loaded = load(digits.path)
    assert loaded.training.policy is not None
    assert loaded.training.policy.counts == ("small_passes", "small_fails")
    resolved = prepare(loaded, "rl", dataset, CPU).resolved
    found = {one.name: (one.value, one.origin) for one in resolved.settings}

    assert found["temperature"] == (0.7, "annotate.small")
    assert found["max_tokens"] == (9, "annotate.small")
    assert found["top_k"] == (5, "annotate.small")
    assert found["top_p"] == (0.9, "recipe")


def test_a_stage_without_measured_difficulty_samples_plainly_and_says_its_length(digits: Digits) -> None:
    assert settings(digits)["temperature"] == (1.0, "Cuvee")
    del digits.recipe["train"]["rl"]["max_tokens"]

    with pytest.raises(RecipeError, match=r"train.rl.max_tokens: is missing, .* give it, such as max_tokens: 8192"):
        load(digits.path)


def test_the_policy_is_asked_as_difficulty_is_measured_and_a_student_as_its_sets_ask(digits: Digits) -> None:
    digits.recipe["models"]["policy"]["prompt"] = {"style": "raw", "template": "{prompt} =", "stop": ["\n"]}
    digits.recipe["sources"]["pairs"]["prompt"] = {"shots": [{"prompt": "1 2", "answer": "2"}]}
    policy = prepared(digits).settings
    digits.recipe["student"] = {"model": "policy", "system": "be brief"}
    student = prepared(digits).settings

    assert policy["prompts"]["pairs"]["style"] == "raw"
    assert policy["prompts"]["pairs"]["shots"] == [{"prompt": "1 2", "answer": "2"}]
    assert policy["stop"] == ["\n"]
    assert student["prompts"]["pairs"]["style"] == "chat"
    assert student["prompts"]["pairs"]["system"] == "be brief"
    assert student["stop"] == []
    assert student["hash"] != policy["hash"]


def test_a_stage_starts_from_the_one_before_it_which_starts_from_the_policy(digits: Digits) -> None:
    digits.recipe["train"]["again"] = {"is": "dapo", "batch_size": 64, "max_tokens": 4}
    training = load(digits.path).training

    assert training.starts == {"rl": "policy", "again": "rl"}
    assert (training.line("again"), training.root("again")) == (["rl", "again"], "policy")


def test_without_a_student_the_policy_is_evaluated_as_difficulty_is_measured(digits: Digits) -> None:
    digits.recipe["models"]["policy"]["prompt"] = {"style": "raw", "template": "{prompt} ="}
    loaded = load(digits.path)

    assert student(loaded).prompt.template == "{prompt} ="
    after = trained(loaded, digits.folder / "model")
    assert (after.model, after.prompt) == (str(digits.folder / "model"), student(loaded).prompt)


def test_how_it_is_measured_is_no_part_of_what_is_trained(digits: Digits) -> None:
    first = prepared(digits).run.folder
    digits.recipe["train"]["rl"] |= {"evaluate_every": 3, "device_batch_size": 8}
    assert prepared(digits).run.folder == first
    digits.recipe["train"]["rl"]["temperature"] = 0.9
    assert prepared(digits).run.folder != first


def test_a_policy_that_is_reached_by_url_has_no_weights_to_train(digits: Digits) -> None:
    dataset = digits.published()
    digits.recipe["models"]["policy"] |= {"url": "http://127.0.0.1:1/v1"}

    with pytest.raises(RunError, match="the policy 'policy' is reached by `url`, and training needs its weights"):
        prepare(load(digits.path), "rl", dataset, CPU)


def test_sources_that_stop_at_different_strings_are_refused(digits: Digits) -> None:
    digits.recipe["sources"]["more"] = digits.recipe["sources"]["pairs"] | {"prompt": {"stop": ["\n"]}}

    with pytest.raises(RunError, match=r"the sources end answers at different strings .* give `stop` once"):
        prepared(digits)


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ({"is": "gropo"}, "train.rl: 'gropo' is no algorithm; did you mean grpo?"),
        (
            {"group": 7},
            "train.rl: batch_size * updates is 64 completions, which are no whole groups of 7; give a batch_size",
        ),
        (
            {"is": "online_rft", "kl": None, "rewards": {"format": {}}},
            "train.rl: rewards: online_rft trains on what is right",
        ),
        ({"rewards": {"overlong": {"limit": 50}}}, "train.rl.rewards.overlong.limit: 50 tokens are never reached"),
        ({"rewards": {"acuracy": {}}}, "train.rl.rewards.acuracy: unknown key; did you mean accuracy?"),
        ({"is": "r1", "kl": 0}, "train.rl: reference_every: without `kl` there is no reference"),
        ({"temperature": 0}, "train.rl.temperature: input should be greater than 0; given 0"),
        ({"trl": {"beta": 1}}, "train.rl.trl: beta: set by the stage itself"),
        ({"set": "sft"}, "train.rl.set: 'sft' is no set of this recipe"),
    ],
)
def test_mistakes_are_told_when_the_recipe_is_loaded(stage: dict[str, Any], told: str, digits: Digits) -> None:
    whole = digits.recipe["train"]["rl"] | stage
    digits.recipe["train"]["rl"] = {key: value for key, value in whole.items() if value is not None}

    with pytest.raises(RecipeError, match=re.escape(told)):
        load(digits.path)
