"""What TRL computes, held to the papers in float64 NumPy: advantages and losses of GRPO, Dr. GRPO, DAPO and RLOO."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import trl
from rl_on_digits import trainer
from tiny_model import tiny_model

Floats = npt.NDArray[np.float64]
NAN = float("nan")
EPSILON = 1e-4
LENGTH = 8


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("start"))


def numbers(rewards: list[float | None]) -> Floats:
    return np.array([NAN if one is None else one for one in rewards])


def of_group(rewards: list[float | None], scaled: bool) -> Floats:
    """(r - mean) / (std + 1e-4), std of a sample; what is unknown is left out, and has 0."""
    r = numbers(rewards)
    known = r[~np.isnan(r)]
    spread = known.std(ddof=1) + EPSILON if scaled else 1.0
    return np.nan_to_num((r - known.mean()) / spread)


def leave_one_out(rewards: list[float | None]) -> Floats:
    r = numbers(rewards)
    known = ~np.isnan(r)
    return np.array([r[i] - r[known & (np.arange(len(r)) != i)].mean() if known[i] else 0.0 for i in range(len(r))])


REWARDS: list[list[float | None]] = [[1, 0, 0, 1], [1, 1, 1, 1], [0, 0.25, None, 1], [-1, 2, 0.5, 0]]


def advantages(kind: Any, config: Any, start: Path, out: Path, **arguments: Any) -> Floats:
    """TRL's for REWARDS, a row a group."""
    flat = [one for group in REWARDS for one in group]
    made = trainer(
        kind,
        config,
        start,
        out,
        reward=lambda **_: flat,
        **{"num_generations": 4, "per_device_train_batch_size": 16, "max_completion_length": 2} | arguments,
    )
    made.model.train()
    rows = [made.train_dataset[number] for number in range(4) for _ in range(4)]
    found: Floats = made._generate_and_score_completions(rows)["advantages"].double().numpy()
    return found.reshape(4, 4)


@pytest.mark.parametrize("scaled", [True, False], ids=["grpo", "dr_grpo"])
def test_advantages_of_a_group_are_normalised_and_leave_out_what_is_unknown(
    scaled: bool, start: Path, tmp_path: Path
) -> None:
    found = advantages(trl.GRPOTrainer, trl.GRPOConfig, start, tmp_path, scale_rewards="group" if scaled else "none")

    np.testing.assert_allclose(found, [of_group(group, scaled) for group in REWARDS], atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-5)
    assert found[2, 2] == 0


def test_rloo_compares_with_the_mean_of_the_others(start: Path, tmp_path: Path) -> None:
    found = advantages(trl.RLOOTrainer, trl.RLOOConfig, start, tmp_path, beta=0.0)

    np.testing.assert_allclose(found, [leave_one_out(group) for group in REWARDS], atol=1e-5)


class Tabular(trl.GRPOTrainer):
    """TRL's loss for log-probabilities that are given."""

    log_p: torch.Tensor

    def _get_per_token_logps_and_entropies(self, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
        return self.log_p, torch.zeros_like(self.log_p), None


def tabular(start: Path, out: Path, loss_type: str, **arguments: Any) -> Any:
    made = trainer(
        Tabular,
        trl.GRPOConfig,
        start,
        out,
        loss_type=loss_type,
        max_completion_length=LENGTH,
        use_bias_correction_kl=False,
        **arguments,
    )
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    return made


def loss_of(made: Any, log_p: torch.Tensor, mask: Floats, of_samples: Floats, **more: Floats) -> torch.Tensor:
    made.log_p = log_p
    kept = torch.tensor(mask)
    prompt = torch.ones(len(mask), 1, dtype=torch.long)
    inputs = {
        **{"prompt_ids": prompt, "prompt_mask": prompt, "completion_ids": kept.long(), "completion_mask": kept},
        **{"advantages": torch.tensor(of_samples), "num_items_in_batch": kept.sum()},
        **{name: torch.tensor(value) for name, value in more.items()},
    }
    loss: torch.Tensor = made._compute_loss(made.model, inputs)
    return loss


def lengths(*tokens: int) -> Floats:
    return (np.arange(LENGTH) < np.array(tokens)[:, None]).astype(np.float64)


@pytest.mark.parametrize(
    ("loss_type", "arguments"),
    [("grpo", {"beta": 0.04}), ("dr_grpo", {}), ("dapo", {"epsilon": 0.2, "epsilon_high": 0.28})],
    ids=["grpo", "dr_grpo", "dapo"],
)
def test_losses_are_the_papers(loss_type: str, arguments: dict[str, Any], start: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask, of_samples = lengths(1, 3, 8, 5), rng.normal(size=4)
    log_p, log_old, log_ref = rng.normal(scale=0.3, size=(3, 4, LENGTH)) - 1
    ratio, a = np.exp(log_p - log_old), of_samples[:, None]
    clipped = np.clip(ratio, 0.8, 1 + arguments.get("epsilon_high", 0.2))
    kl = np.exp(log_ref - log_p) - (log_ref - log_p) - 1
    of_tokens = (-np.minimum(ratio * a, clipped * a) + arguments.get("beta", 0.0) * kl) * mask
    wanted = {
        "grpo": (of_tokens.sum(1) / mask.sum(1)).mean(),
        "dr_grpo": of_tokens.sum() / (len(mask) * LENGTH),
        "dapo": of_tokens.sum() / mask.sum(),
    }[loss_type]

    made = tabular(start, tmp_path, loss_type, **arguments)
    found = loss_of(
        made, torch.tensor(log_p), mask, of_samples, old_per_token_logps=log_old, ref_per_token_logps=log_ref
    )

    assert found.item() == pytest.approx(wanted, rel=1e-6)


RIGHT, SHORT, LONG = range(3)


def updated(start: Path, out: Path, loss_type: str) -> Floats:
    """The probabilities of a right answer, a short wrong one and a long wrong one, after one step on a sample of each.

    The first token decides between them, and all are as likely at first; what follows it is certain.
    """
    choice = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    mask = lengths(2, 2, 8)
    first = choice.log_softmax(0).unsqueeze(1)
    log_p = torch.cat([first, torch.zeros(3, LENGTH - 1, dtype=torch.float64)], 1)
    made = tabular(start, out, loss_type)

    loss_of(made, log_p, mask, of_group([1, 0, 0], scaled=loss_type == "grpo")).backward()

    assert choice.grad is not None
    found: Floats = (-choice.grad).softmax(0).numpy()
    return found


def test_grpo_prefers_the_longer_of_two_wrong_answers_and_dr_grpo_does_not(start: Path, tmp_path: Path) -> None:
    grpo, dr_grpo = updated(start, tmp_path, "grpo"), updated(start, tmp_path, "dr_grpo")

    assert grpo[RIGHT] > 1 / 3
    assert dr_grpo[RIGHT] > 1 / 3
    assert grpo[LONG] > 1.05 * grpo[SHORT]
    assert dr_grpo[LONG] == pytest.approx(dr_grpo[SHORT], abs=1e-12)
