"""Algorithms over groups that TRL does not have: online RFT, process-supervised GRPO, and Kimi k1.5's mirror descent.

Each is TRL's GRPOTrainer with other advantages or another loss, so that rollouts, rewards, references and logs are TRL's.
Importing this imports TRL, which takes seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import trl
from torch import Tensor

from train.policy import accepted, mirror_descent_loss, process_advantages

# Any: TRL's annotations leave out what is always there in a training.
GRPOTrainer: Any = trl.GRPOTrainer
GRPOConfig: Any = trl.GRPOConfig

StepRewards = Callable[..., Sequence[Sequence[tuple[int, float | None]]]]
"""Of every completion its steps: the place of the last token, counted from 0 in the completion, and the step's reward.

Called as TRL's reward functions are: with `prompts, completions, completion_ids` and the columns of the rows, each a list, and
with `trainer_state`, `log_metric` and `log_extra`. None: unknown.
"""


class Aligned(GRPOTrainer):  # type: ignore[misc]  # TRL's trainer as Any
    """Goes on from a checkpoint in the middle of the updates on a batch: its prompts are answered again, for the rest of them.

    TRL counts from 0 again, so that each batch after it is drawn late, in the middle of the turns of its prompts.
    """

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._step = self.state.global_step * self.args.gradient_accumulation_steps


class WithRewards(Aligned):
    """A trainer that makes its own advantages of the rewards."""

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Tensor:
        of_all: Tensor = super()._calculate_rewards(inputs, prompts, completions, ids)
        sums = (of_all * self.reward_weights.to(of_all.device)).nansum(1)
        self.rewards = torch.where(of_all.isnan().all(1), torch.nan, sums)
        """(B over all processes,): as TRL sums them up, NaN where none is known."""
        return of_all

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        advantages = self.advantages(inputs, output)
        output["advantages"] = advantages
        # TRL has put its own into the table of completions.
        whole = self.accelerator.gather(advantages if advantages.dim() == 1 else advantages.sum(1))
        logged = self._logs["advantages"]
        for _ in range(min(len(whole), len(logged))):
            logged.pop()
        logged.extend(whole.tolist())
        return output

    def advantages(self, inputs: list[dict[str, Any]], output: dict[str, Any]) -> Tensor:
        """(B,) or (B, T), of this process: what the loss takes. output: as TRL makes it, to be read and added to."""
        raise NotImplementedError

    def own(self, of_all: Tensor) -> Tensor:
        """This process's part of what is over all processes' completions."""
        count = len(of_all) // self.accelerator.num_processes
        return of_all[self.accelerator.process_index * count :][:count]


class OnlineRFT(WithRewards):
    """Fine-tuning on the policy's own correct samples, drawn as it learns (DeepSeekMath, 2402.03300, section 5.2.1).

    The advantage is 1 for a correct sample and 0 for another; with `beta=0` and the loss `grpo`, one update a batch has the
    gradient of SFT on the correct ones, each weighed by 1/length. The reward is 1, 0 or unknown: `accuracy` alone.
    """

    def advantages(self, inputs: list[dict[str, Any]], output: dict[str, Any]) -> Tensor:
        return self.own(accepted(self.rewards))


class ProcessGRPO(WithRewards):
    """GRPO with a reward for every step (DeepSeekMath, section 4.1.3). The reward functions are logged, and train nothing."""

    def __init__(self, *args: Any, step_rewards: StepRewards, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.step_rewards = step_rewards

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Tensor:
        rewards = super()._calculate_rewards(inputs, prompts, completions, ids)
        columns: dict[str, Any] = {
            key: [row[key] for row in inputs] for key in inputs[0] if key not in ("prompt", "completion")
        }
        columns |= {
            "trainer_state": self.state,
            "log_metric": self._log_metric,
            "log_extra": self._log_completion_extra,
        }
        found = self.step_rewards(prompts=prompts, completions=completions, completion_ids=ids, **columns)
        if len(found) != len(completions):
            raise ValueError(
                f"step_rewards: {len(found)} lists of steps for {len(completions)} completions; give one for every completion"
            )
        self._steps = torch.full((len(ids), max(map(len, ids))), torch.nan, device=rewards.device)
        for row, (steps, tokens) in enumerate(zip(found, ids, strict=True)):
            for place, reward in steps:
                if not 0 <= place < len(tokens):
                    raise ValueError(
                        f"step_rewards: a step that ends at token {place} of a completion with {len(tokens)}; give the place of "
                        "its last token, counted from 0"
                    )
                self._steps[row, place] = torch.nan if reward is None else reward
        return rewards

    def advantages(self, inputs: list[dict[str, Any]], output: dict[str, Any]) -> Tensor:
        width = self._steps.size(1)
        steps = self.accelerator.gather(self.accelerator.pad_across_processes(self._steps, dim=1, pad_index=torch.nan))
        mode, group = ("train", self.num_generations) if self.model.training else ("eval", self.num_generations_eval)
        self._metrics[mode]["steps/reward"].append(steps.nanmean().item())
        self._metrics[mode]["steps/known"].append((~steps.isnan()).sum(1).float().mean().item())
        found = self.own(process_advantages(steps, group))[:, :width]
        mask: Tensor = output["completion_mask"]
        return torch.nn.functional.pad(found, (0, mask.size(1) - width)) * mask  # TRL may have padded further


@dataclass
class MirrorDescentConfig(GRPOConfig):  # type: ignore[misc]  # TRL's configuration as Any
    """GRPO's, with the group's mean as baseline and no deviation, and without a reference other than the last policy."""

    scale_rewards: str | bool = field(default="none")
    beta: float = field(default=0.0)
    tau: float = field(default=0.1, metadata={"help": "Weight of the squared log-ratio. The paper gives no number."})
    reset_optimizer: bool = field(
        default=True, metadata={"help": "Whether every iteration begins with a new optimizer, as in the paper."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale_rewards != "none" or self.beta != 0:
            raise ValueError(
                f"mirror descent: scale_rewards {self.scale_rewards!r}, beta {self.beta:g}: its baseline is the mean alone, and "
                "its reference the last policy; leave both out"
            )
        if self.tau <= 0:
            raise ValueError(f"mirror descent: tau {self.tau:g}: must be above 0")
        if self.use_vllm and self.vllm_importance_sampling_correction:
            raise ValueError(
                "mirror descent: vllm_importance_sampling_correction is of tokens, and its loss of whole completions; set it to "
                "false"
            )


class MirrorDescent(Aligned):
    """Online policy mirror descent (Kimi k1.5, 2501.12599, section 2.3.2).

    An iteration is one batch of rollouts and the updates on it: `steps_per_generation` and `num_iterations` make several. Its
    reference is the policy that the rollouts are from, and the optimizer is new. With one update an iteration the squared
    log-ratio has no gradient, and a new Adam steps by the gradient's sign: `reset_optimizer` is for several.
    """

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        if self.model.training and self.args.reset_optimizer:
            if self.is_deepspeed_enabled:
                raise ValueError(
                    "mirror descent: DeepSpeed keeps the optimizer to itself; set reset_optimizer to false, or train with DDP"
                )
            self.optimizer.state.clear()
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        mask = inputs["completion_mask"]
        if "tool_mask" in inputs:
            mask = mask * inputs["tool_mask"]
        log_p, entropy, balance = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1),
            inputs["completion_ids"].size(1),
            compute_entropy=True,
            compute_aux_loss=self.aux_loss_enabled,
        )
        log_old = inputs.get("old_per_token_logps")
        log_old = log_p.detach() if log_old is None else log_old  # TRL leaves it out where both are the same
        loss = mirror_descent_loss(log_p, log_old, inputs["advantages"], mask, self.args.tau).mean()
        if self.aux_loss_enabled:  # of a mixture of experts
            loss = loss + self.router_aux_loss_coef * balance

        training = self.model.training
        moved = ((log_p - log_old) * mask).sum(1).detach()
        told = self._metrics["train" if training else "eval"]
        told["log_ratio_squared"].append(self.accelerator.gather(moved**2).mean().item())
        sums = self.accelerator.reduce(torch.stack([(entropy * mask).sum(), mask.sum()]).detach(), reduction="sum")
        told["entropy"].append((sums[0] / sums[1].clamp(min=1)).item())
        return loss / self.current_gradient_accumulation_steps if training else loss
