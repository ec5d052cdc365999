"""The algorithms that TRL does not have raise the reward of problems they have not seen, on a task of seconds."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from rl_on_digits import chance, right, taught, trainer
from safetensors.torch import load_file

from train.on_groups import MirrorDescent, MirrorDescentConfig, OnlineRFT, ProcessGRPO
from train.ppo import HEAD_FILE, PPO, PPOConfig

RISE = 0.15
"""Of the mean probability of the right answer. A policy that learns nothing has it where it was."""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught(tmp_path_factory.mktemp("start"))


def rises(made: Any) -> None:
    before = chance(made.model, made.processing_class)
    assert before < 0.5

    made.train()

    assert chance(made.model, made.processing_class) > before + RISE


def logged(made: Any, name: str) -> list[Any]:
    return [line[name] for line in made.state.log_history if name in line]


def of_steps(prompts: Any, completions: Any, completion_ids: Any, **_: Any) -> list[list[tuple[int, float | None]]]:
    """The digit is a step of its own, and so is what follows, which is as good as the digit."""
    rewards = right(prompts, completions)
    return [[(0, reward), (len(ids) - 1, reward)] for reward, ids in zip(rewards, completion_ids, strict=True)]


def test_online_rft_learns(start: Path, tmp_path: Path) -> None:
    rises(trainer(OnlineRFT, trl.GRPOConfig, start, tmp_path, loss_type="grpo"))


def test_mirror_descent_learns(start: Path, tmp_path: Path) -> None:
    """Eight updates an iteration, each iteration with a new optimizer."""
    made = trainer(
        MirrorDescent,
        MirrorDescentConfig,
        start,
        tmp_path,
        per_device_train_batch_size=32,
        steps_per_generation=4,
        num_iterations=2,
        max_steps=96,
    )
    rises(made)

    moved = logged(made, "log_ratio_squared")
    assert moved[::8] == [pytest.approx(0, abs=1e-9)] * 12  # the first update of an iteration is at its reference
    assert min(moved[7::8]) > 1e-4
    assert {int(state["step"]) for state in made.optimizer.state.values()} == {8}


def test_process_rewards_learn(start: Path, tmp_path: Path) -> None:
    rises(trainer(ProcessGRPO, trl.GRPOConfig, start, tmp_path, more={"step_rewards": of_steps}, loss_type="grpo"))


@pytest.mark.parametrize(
    "arguments", [{"trust": "clipped"}, {"trust": "penalty", "kl_target": 0.2}], ids=["clip", "trust"]
)
def test_ppo_learns(start: Path, tmp_path: Path, arguments: dict[str, Any]) -> None:
    made = trainer(PPO, PPOConfig, start, tmp_path, value_learning_rate=1e-2, max_steps=80, **arguments)
    rises(made)

    assert logged(made, "policy/kl_old")[::4] == [pytest.approx(0, abs=1e-9)] * 20
    explained = logged(made, "value/explained_variance")
    assert sum(explained[-5:]) > sum(explained[:5])
    if arguments["trust"] == "penalty":
        assert len(set(logged(made, "kl/beta"))) > 1
        assert len(set(logged(made, "policy/penalty"))) > 1


def some_unknown(prompts: Any, completions: Any, **_: Any) -> list[float | None]:
    """Every fifth is not known."""
    return [None if place % 5 == 4 else one for place, one in enumerate(right(prompts, completions))]


def drawn(made: Any) -> dict[str, Any]:
    """A batch of rollouts as it goes to the loss, of a policy that has left the reference and values states."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one in made.model.parameters():
            one.add_(torch.randn(one.shape, generator=rng), alpha=0.02)
        made.head.weight.copy_(0.1 * torch.randn(1, 64, generator=rng))
    made.model.train()
    rows = [made.train_dataset[number] for number in range(8) for _ in range(8)]
    batch: dict[str, Any] = made._generate_and_score_completions(rows)
    return batch


def test_values_are_of_the_state_before_each_token(start: Path, tmp_path: Path) -> None:
    made = trainer(PPO, PPOConfig, start, tmp_path)
    batch = drawn(made)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        states = made.model.model(input_ids=ids, attention_mask=seen).last_hidden_state
    before = batch["prompt_ids"].size(1) - 1

    for t in range(batch["completion_ids"].size(1)):
        inside = batch["completion_mask"][:, t].bool()
        torch.testing.assert_close(batch["values"][inside, t], made.head(states[inside, before + t]).squeeze(-1))


def test_advantages_of_ppo_are_those_of_the_rollouts(start: Path, tmp_path: Path) -> None:
    """By a loop over tokens, from the log-probabilities, the values and the rewards."""
    made = trainer(PPO, PPOConfig, start, tmp_path, reward=some_unknown, beta=0.3, gamma=0.9, lam=0.8)
    batch = drawn(made)
    task = made.rewards.tolist()
    advantages, returns = {}, {}
    for row, reward in enumerate(task):
        if math.isnan(reward):
            continue
        advantage = value = 0.0
        last = int(batch["completion_mask"][row].sum()) - 1
        for t in range(last, -1, -1):
            paid = -0.3 * max(0.0, (batch["old_per_token_logps"] - batch["ref_per_token_logps"])[row, t].item())
            now = batch["values"][row, t].item()
            advantage = paid + (reward if t == last else 0) + 0.9 * value - now + 0.9 * 0.8 * advantage
            value = now
            advantages[row, t], returns[row, t] = advantage, advantage + now
    found = torch.tensor(list(advantages.values()))
    whitened = (found - found.mean()) / found.std(correction=0)

    assert {row for row, _ in advantages} == {row for row in range(64) if row % 5 != 4}
    assert batch["num_items_in_batch"] == len(advantages)
    for (row, t), one in zip(advantages, whitened.tolist(), strict=True):
        assert batch["advantages"][row, t].item() == pytest.approx(one, rel=1e-3, abs=1e-3)
        assert batch["returns"][row, t].item() == pytest.approx(returns[row, t], abs=1e-4)
    assert (batch["advantages"] != 0).sum() == len(advantages)


@pytest.mark.parametrize(("kind", "config"), [(PPO, PPOConfig), (MirrorDescent, MirrorDescentConfig)])
def test_an_update_is_the_same_however_its_batch_is_divided(
    kind: Any, config: Any, start: Path, tmp_path: Path
) -> None:
    once: dict[str, Any] = {"max_steps": 1, "num_iterations": 1}
    whole = trainer(kind, config, start, tmp_path, **once)
    whole.train()
    in_parts = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 4}
    parts = trainer(kind, config, start, tmp_path, **once, **in_parts)  # seeds what it draws, so after the other
    parts.train()

    assert logged(parts, "grad_norm")[0] == pytest.approx(logged(whole, "grad_norm")[0], rel=1e-3)
    assert sum(logged(parts, "loss")) == pytest.approx(sum(logged(whole, "loss")), abs=1e-5)


def test_each_of_several_updates_on_a_batch_of_ppo_has_the_weight_of_one(start: Path, tmp_path: Path) -> None:
    made = trainer(PPO, PPOConfig, start, tmp_path, steps_per_generation=2, per_device_train_batch_size=32)
    batch = drawn(made)

    def loss(rows: slice, accumulated: int) -> float:
        made.current_gradient_accumulation_steps = accumulated
        part = {name: one[rows] if one.dim() else one for name, one in batch.items()}
        return float(made._compute_loss(made.model, part))

    halves = loss(slice(0, 32), 1) + loss(slice(32, 64), 1)
    assert halves == pytest.approx(2 * loss(slice(0, 64), 2), rel=1e-4)


def test_the_penalty_follows_each_batch_once(start: Path, tmp_path: Path) -> None:
    made = trainer(PPO, PPOConfig, start, tmp_path, trust="penalty", penalty_target=0.01)
    made._moved = [0.5, 1.5]

    drawn(made)
    assert made.penalty == 2
    drawn(made)
    assert made.penalty == 2


def test_steps_that_are_unknown_train_nothing_and_the_table_has_what_was_trained(start: Path, tmp_path: Path) -> None:
    def half_known(completion_ids: Any, **_: Any) -> list[list[tuple[int, float | None]]]:
        return [[(0, None if row % 2 else float(row % 4))] for row in range(len(completion_ids))]

    made = trainer(ProcessGRPO, trl.GRPOConfig, start, tmp_path, more={"step_rewards": half_known})
    made.model.eval()
    rows = [made.train_dataset[number] for number in range(2) for _ in range(8)]

    found = made._generate_and_score_completions(rows)["advantages"]

    one = 1 / (math.sqrt(4 / 3) + 1e-4)  # 0, 2, 0, 2 of a group are known
    assert found[:, 0].tolist() == pytest.approx([-one, 0, one, 0] * 4)
    assert not found[:, 1:].any()
    assert list(made._logs["advantages"]) == pytest.approx(found.sum(1).tolist())


@pytest.mark.parametrize(
    ("kind", "config", "more"),
    [
        (PPO, PPOConfig, {}),
        (MirrorDescent, MirrorDescentConfig, {}),
        (ProcessGRPO, trl.GRPOConfig, {"step_rewards": of_steps}),
    ],
)
def test_held_out_rewards_are_measured_between_the_steps(
    kind: Any, config: Any, more: dict[str, Any], start: Path, tmp_path: Path
) -> None:
    made = trainer(kind, config, start, tmp_path, more=more, max_steps=4, per_device_eval_batch_size=16)
    made.eval_dataset = made.train_dataset.select(range(4))
    before = made.evaluate()
    made.train()
    after = made.evaluate()

    for found in (before, after):
        assert 0 <= found["eval_reward"] <= 1
        assert math.isfinite(found["eval_loss"])


def test_ppo_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(start: Path, tmp_path: Path) -> None:
    settings = {"trust": "penalty", "kl_target": 0.2, "max_steps": 16, "save_strategy": "steps", "save_steps": 8}
    whole = trainer(PPO, PPOConfig, start, tmp_path, **settings)
    whole.train()
    assert not any("value_head" in name for name in load_file(tmp_path / "checkpoint-8" / "model.safetensors"))
    assert load_file(tmp_path / "checkpoint-8" / HEAD_FILE)["weight"].abs().sum() > 0

    again = trainer(PPO, PPOConfig, start, tmp_path, **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))

    assert (again.beta, again.penalty) == (whole.beta, whole.penalty)
    first, second = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in second)
    assert "value_head.weight" in second


def test_adapters_leave_the_weights_alone_and_go_on_with_their_value_head(start: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    def made() -> Any:
        adapters = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        settings = {"max_steps": 8, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 4}
        return trainer(PPO, PPOConfig, start, tmp_path, more={"peft_config": adapters}, **settings)

    whole, again = made(), made()
    whole.train()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))

    assert logged(whole, "kl")[0] == pytest.approx(0, abs=1e-6)  # the reference is the model without them
    assert logged(whole, "kl")[-1] > 0
    first, second = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in second)
    names = load_file(tmp_path / "checkpoint-8" / "adapter_model.safetensors").keys()
    assert names
    assert all("lora" in name for name in names)


def test_a_batch_that_was_being_used_up_is_used_up_and_the_next_begin_where_they_would(
    start: Path, tmp_path: Path
) -> None:
    """Four updates a batch, stopped after two of the first."""
    drawn: list[tuple[int, str]] = []

    def seen(prompts: Any, completions: Any, trainer_state: Any, **_: Any) -> list[float | None]:
        drawn.append((trainer_state.global_step, " | ".join(prompt[-1]["content"] for prompt in prompts)))
        return right(prompts, completions)

    settings = {"num_iterations": 4, "max_steps": 12, "save_strategy": "steps", "save_steps": 2}
    arguments = (MirrorDescent, MirrorDescentConfig, start, tmp_path, seen)
    trainer(*arguments, **settings).train()
    whole = drawn.copy()
    drawn.clear()
    trainer(*arguments, **settings).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))

    assert [step for step, _ in whole] == [0, 4, 8]
    assert [step for step, _ in drawn] == [2, 4, 8]
    assert [prompts for _, prompts in drawn] == [prompts for _, prompts in whole]


def test_ppo_refuses_a_checkpoint_without_its_value_head(start: Path, tmp_path: Path) -> None:
    settings = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    trainer(PPO, PPOConfig, start, tmp_path, **settings).train()
    (tmp_path / "checkpoint-1" / HEAD_FILE).unlink()

    with pytest.raises(ValueError, match=r"checkpoint-1: value_head\.safetensors is missing"):
        trainer(PPO, PPOConfig, start, tmp_path, **settings).train(str(tmp_path / "checkpoint-1"))


def unknown(prompts: Any, **_: Any) -> list[float | None]:
    return [None] * len(prompts)


@pytest.mark.parametrize(
    ("kind", "config"), [(OnlineRFT, trl.GRPOConfig), (MirrorDescent, MirrorDescentConfig), (PPO, PPOConfig)]
)
def test_what_cannot_be_graded_moves_nothing(kind: Any, config: Any, start: Path, tmp_path: Path) -> None:
    made = trainer(kind, config, start, tmp_path, reward=unknown, max_steps=2)
    before = {name: one.clone() for name, one in made.model.state_dict().items()}

    made.train()

    assert all(torch.equal(one, before[name]) for name, one in made.model.state_dict().items())


@pytest.mark.parametrize(
    ("config", "arguments", "said"),
    [
        (MirrorDescentConfig, {"tau": 0.0}, "tau 0: must be above 0"),
        (MirrorDescentConfig, {"beta": 0.1}, r"beta 0\.1: its baseline is the mean alone"),
        (PPOConfig, {"lam": 1.5}, r"lam 1\.5: give a number from 0 to 1"),
        (PPOConfig, {"value_clip": 0.0}, "value_clip 0: must be above 0"),
        (PPOConfig, {"trust": "trpo"}, "trust 'trpo': known are clipped, penalty"),
        (PPOConfig, {"beta": 0.0, "kl_target": 1.0}, "kl_target needs a beta to begin with"),
        (PPOConfig, {"trust": "penalty", "num_iterations": 1}, "raise num_iterations or steps_per_generation"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    config: Any, arguments: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        config(output_dir=str(tmp_path), bf16=False, **arguments)


def test_steps_have_to_fit_their_completions(start: Path, tmp_path: Path) -> None:
    def beyond(completion_ids: Any, **_: Any) -> list[list[tuple[int, float]]]:
        return [[(len(ids), 1.0)] for ids in completion_ids]

    made = trainer(ProcessGRPO, trl.GRPOConfig, start, tmp_path, more={"step_rewards": beyond})

    with pytest.raises(ValueError, match=r"step_rewards: a step that ends at token \d of a completion with \d"):
        made.train()
