"""PPO (1707.06347) for language models, as in Ziegler 2019 (1909.08593): a value head, GAE, and a KL price in the reward.

TRL has no PPO any more. This is its GRPOTrainer with advantages of its own and a loss of its own, so that rollouts, rewards,
the frozen reference and logs are TRL's. Importing it imports TRL, which takes seconds.

The value is one linear layer on the policy's last hidden state, as in Ziegler 2019: a model of its own (Stiennon 2020,
2009.01325) costs the memory and the time of a second policy. The price is that the value's loss also moves the policy's
layers, so `value_coef` is small. The head begins at 0 and is no part of what is published: it is kept beside a checkpoint's
weights, its optimizer's state and the adaptive coefficients with them.

A completion whose reward is unknown trains nothing, neither the policy nor the value.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import trl
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from train.on_groups import WithRewards
from train.policy import (
    clipped_policy_loss,
    clipped_value_loss,
    doubled_or_halved,
    gae,
    k3,
    penalised_policy_loss,
    proportional,
    token_rewards,
    whiten,
)

GRPOConfig: Any = trl.GRPOConfig  # Any: see on_groups.py
HEAD, HEAD_FILE, STATE_FILE = "value_head", "value_head.safetensors", "ppo.json"
TRUST = ("clipped", "penalty")


@dataclass
class PPOConfig(GRPOConfig):  # type: ignore[misc]  # TRL's configuration as Any
    """GRPO's: `beta` is the KL's price in the reward, `epsilon` the clip, `num_iterations` the passes over a batch.

    num_generations may be anything from 2: prompts stand that often in a batch, and nothing is compared within a group.
    """

    num_iterations: int = field(default=4)
    ddp_find_unused_parameters: bool | None = field(default=False)
    """The value is no output of the model, and DDP would take the head for unused."""
    beta: float = field(default=0.05)
    gamma: float = field(default=1.0, metadata={"help": "Discount a token."})
    lam: float = field(default=0.95, metadata={"help": "Of GAE: 1 is the return minus the value."})
    value_learning_rate: float = field(
        default=1e-4, metadata={"help": "Of the head, which begins at 0, while the policy's may be 1e-6."}
    )
    value_coef: float = field(default=0.1, metadata={"help": "Weight of the value's loss."})
    value_clip: float = field(default=0.2, metadata={"help": "How far a value may move in the passes over a batch."})
    clamp_kl: bool = field(default=True, metadata={"help": "Whether a negative estimate of a token's KL is 0."})
    kl_target: float | None = field(
        default=None, metadata={"help": "Nats a completion: `beta` follows it (Ziegler 2019). None: it is constant."}
    )
    trust: str = field(
        default="clipped",
        metadata={"help": "What keeps an update near: `clipped`, or `penalty`, which stands for TRPO."},
    )
    penalty: float = field(default=1.0, metadata={"help": "Of trust `penalty`: the price of a nat, to begin with."})
    penalty_target: float = field(default=0.01, metadata={"help": "Nats a token that a batch may move the policy."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gamma", "lam"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"PPO: {name} {value:g}: give a number from 0 to 1")
        for name in ("value_learning_rate", "value_coef", "value_clip", "penalty", "penalty_target", "kl_target"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"PPO: {name} {value:g}: must be above 0")
        if self.trust not in TRUST:
            raise ValueError(f"PPO: trust {self.trust!r}: known are {', '.join(TRUST)}")
        if self.kl_target is not None and self.beta == 0:
            raise ValueError("PPO: kl_target needs a beta to begin with, and that is 0; give one, such as 0.05")
        updates = self.num_iterations * self.steps_per_generation
        if self.trust == "penalty" and updates <= self.gradient_accumulation_steps:
            raise ValueError(
                "PPO: trust `penalty` with one update a batch has nothing to measure: the policy is the one that sampled; "
                "raise num_iterations or steps_per_generation"
            )


class PPO(WithRewards):
    """The trainer. args: a PPOConfig. On one device or several with DDP: a sharded policy has no hidden state to hand out."""

    beta: float
    """The KL's price in the reward; follows `kl_target` where there is one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            raise ValueError(
                "PPO: its value head is on a policy that is whole on every device; train with DDP, without FSDP and DeepSpeed, "
                "or hand the set over with `cuvee export --to verl`"
            )
        self.penalty: float = self.args.penalty
        self._moved: list[float] = []
        """Of the last pass over the batch: nats a token between the policy that sampled and the one before each update."""
        model = self.accelerator.unwrap_model(self.model)
        whole = model.get_base_model() if hasattr(model, "peft_config") else model
        head = nn.Linear(model.config.get_text_config().hidden_size, 1, device=self.accelerator.device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        setattr(model, HEAD, head)
        if whole is model:  # adapters are saved without it anyway
            ignored = {f"{HEAD}.{name}" for name, _ in head.named_parameters()}
            model._keys_to_ignore_on_save = {*(model._keys_to_ignore_on_save or ()), *ignored}
        self._seen: list[Tensor] | None = None
        """Values of the forward passes that are being made for them, else None."""
        whole.base_model.register_forward_hook(self._see)

    @property
    def head(self) -> nn.Linear:
        """The value head."""
        found: nn.Linear = getattr(self.accelerator.unwrap_model(self.model), HEAD)
        return found

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None:
            optimizer, own = super().create_optimizer(model), list(self.head.parameters())
            for group in optimizer.param_groups:
                group["params"] = [one for one in group["params"] if all(one is not other for other in own)]
            optimizer.add_param_group({"params": own, "lr": self.args.value_learning_rate, "weight_decay": 0.0})
        return self.optimizer

    def _see(self, backbone: nn.Module, given: Any, output: Any) -> None:
        if self._seen is not None:
            hidden = output.last_hidden_state
            with torch.autocast(hidden.device.type, enabled=False):  # values in half precision are steps
                self._seen.append(self.head(hidden.float()).squeeze(-1))

    def _passed(
        self, model: Any, inputs: dict[str, Any], rows: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Any]:
        """log_p, entropy and values of the completions' tokens, (B, T) each, and a mixture of experts' own loss."""
        tokens = inputs["completion_ids"].size(1)
        self._seen = []
        try:
            log_p, entropy, balance = self._get_per_token_logps_and_entropies(
                model,
                torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
                torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1),
                tokens,
                batch_size=rows,
                compute_entropy=True,
                compute_aux_loss=self.aux_loss_enabled,
            )
            values = torch.cat(self._seen)
        finally:
            self._seen = None
        return log_p, entropy, values[:, -tokens - 1 : -1], balance

    def advantages(self, inputs: list[dict[str, Any]], output: dict[str, Any]) -> Tensor:
        training = self.model.training
        if training:
            self._follow_penalty()
        rewards = self.own(self.rewards)
        mask = output["completion_mask"] * output.get("tool_mask", 1) * ~rewards.isnan().unsqueeze(1)
        rows = self.args.per_device_train_batch_size if training else self.args.per_device_eval_batch_size
        with torch.no_grad():
            log_old, _, values, _ = self._passed(self.model, output, rows)
        kl = log_old - output["ref_per_token_logps"] if self.beta else torch.zeros_like(log_old)
        of_tokens = token_rewards(rewards.nan_to_num(nan=0.0), kl, mask, self.beta, self.args.clamp_kl)
        advantages, returns = gae(of_tokens, values, mask, self.args.gamma, self.args.lam)
        output |= {"old_per_token_logps": log_old, "values": values, "returns": returns, "value_mask": mask}
        output["num_items_in_batch"] = self._sum(mask.sum())
        self._tell_batch(output, kl, "train" if training else "eval")
        return whiten(advantages, mask, self._sum)

    def _tell_batch(self, output: dict[str, Any], kl: Tensor, mode: str) -> None:
        told, mask = self._metrics[mode], output["value_mask"]
        values, returns = ((output[key] * mask) for key in ("values", "returns"))
        count = self._sum(mask.sum()).clamp(min=1)
        mean = self._sum(returns.sum()) / count
        spread = self._sum(((returns - mean) ** 2 * mask).sum())
        unexplained = self._sum(((returns - values) ** 2).sum())
        if spread > 0:
            told["value/explained_variance"].append(1 - (unexplained / spread).item())
        if self.beta:
            completions = self._sum(mask.any(1).sum()).clamp(min=1)
            of_completion = (self._sum((kl * mask).sum()) / completions).item()
            told["kl"].append((self._sum((kl * mask).sum()) / count).item())
            told["kl/completion"].append(of_completion)
            told["kl/beta"].append(self.beta)
            if self.args.kl_target is not None and mode == "train":
                self.beta = proportional(self.beta, of_completion, self.args.kl_target)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        log_p, entropy, values, balance = self._passed(model, inputs)
        mask, log_old, advantages = inputs["value_mask"], inputs["old_per_token_logps"], inputs["advantages"]
        if self.args.trust == "clipped":
            of_policy = clipped_policy_loss(log_p, log_old, advantages, self.epsilon_low)
        else:
            of_policy = penalised_policy_loss(log_p, log_old, advantages, self.penalty)
        if "importance_sampling_ratio" in inputs:  # of the engine that sampled
            of_policy = of_policy * inputs["importance_sampling_ratio"]
        of_value = clipped_value_loss(values, inputs["values"], inputs["returns"], self.args.value_clip)

        training = self.model.training
        accumulated = self.current_gradient_accumulation_steps if training else 1
        # The mean over the tokens of all that is accumulated, not of the means of its parts.
        tokens = inputs["num_items_in_batch"].clamp(min=1) / self.accelerator.num_processes
        share = accumulated / self.args.steps_per_generation if training else 1
        loss: Tensor = ((of_policy + self.args.value_coef * of_value) * mask).sum() / (tokens * share)
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * balance / accumulated
        with torch.no_grad():
            clipped = ((log_p - log_old).exp() - 1).abs() > self.epsilon_low
            self._tell_update(
                mask,
                "train" if training else "eval",
                {"policy/kl_old": k3(log_old, log_p), "clip_ratio/region_mean": clipped, "entropy": entropy}
                | {"value/loss": of_value},
            )
        return loss

    def _tell_update(self, mask: Tensor, mode: str, of_tokens: dict[str, Tensor]) -> None:
        """Means over the tokens of all processes."""
        sums = self._sum(torch.stack([mask.sum(), *((one * mask).sum() for one in of_tokens.values())]).float())
        means = (sums[1:] / sums[0].clamp(min=1)).tolist()
        for name, mean in zip(of_tokens, means, strict=True):
            self._metrics[mode][name].append(mean)
        a_pass = self.args.steps_per_generation
        if mode == "train" and self._step % (a_pass * self.num_iterations) >= a_pass * (self.num_iterations - 1):
            self._moved.append(means[0])

    def _follow_penalty(self) -> None:
        if self.args.trust == "penalty" and self._moved:
            moved = sum(self._moved) / len(self._moved)
            self.penalty = doubled_or_halved(self.penalty, moved, self.args.penalty_target)
            self._metrics["train"]["policy/penalty"].append(self.penalty)
        self._moved = []

    def _sum(self, tensor: Tensor) -> Tensor:
        summed: Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return summed

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        # An engine that takes over the policy's weights knows no value head.
        model = self.accelerator.unwrap_model(self.model)
        head = model._modules.pop(HEAD)
        try:
            return super()._generate_single_turn(*args, **kwargs)
        finally:
            model._modules[HEAD] = head

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
            save_file(self.head.state_dict(), folder / HEAD_FILE)
            state = {"beta": self.beta, "penalty": self.penalty, "moved": self._moved}
            (folder / STATE_FILE).write_text(json.dumps(state) + "\n", encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        if missing := [name for name in (HEAD_FILE, STATE_FILE) if not (folder / name).is_file()]:
            raise ValueError(f"{folder}: {missing[0]} is missing; PPO goes on from a checkpoint that PPO wrote")
        self.head.load_state_dict(load_file(folder / HEAD_FILE))
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        self.beta, self.penalty, self._moved = state["beta"], state["penalty"], state["moved"]
