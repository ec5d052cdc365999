"""Stages of reinforcement learning: what a recipe says of them. Nothing here imports torch.

A batch of rollouts is `batch_size * updates` completions, `group` of every problem. It is trained on in `updates` optimizer
steps of `batch_size` completions each, `passes` times over. With one update and one pass the policy that is trained is the one
that sampled, and no clip does anything.

Defaults are the algorithm's published settings; `PAPER` says where each is from.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from train.curriculum.settings import Curriculum
from train.rewards.overlong import Overlong
from train.rewards.section import Section
from train.stage import Stage


class RLStage(Stage):
    """What stages that sample their own answers have."""

    SETS: ClassVar[tuple[str, ...]] = ("rl",)
    PASSED: ClassVar[Mapping[str, str]] = {"group": "num_generations", "passes": "num_iterations"}

    set: str = "rl"
    """The set whose problems are answered: the name of a config of the dataset."""
    group: int = Field(default=16, ge=2)
    """Completions of a problem in a batch of rollouts."""
    batch_size: int = Field(default=64, gt=0)
    """Completions an optimizer step, over all devices."""
    updates: int = Field(default=1, gt=0)
    """Optimizer steps a pass over a batch of rollouts, which has `batch_size * updates` completions."""
    passes: int = Field(default=1, gt=0)
    """Passes over a batch of rollouts."""
    temperature: float | None = Field(default=None, gt=0)
    """Of the samples; by default as difficulty was measured, else 1."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Share of probability sampled from; by default as difficulty was measured, else 1."""
    max_tokens: int | None = Field(default=None, gt=0, lt=1 << 31)
    """Length at which a completion is cut off; by default as difficulty was measured."""
    rewards: Section = Section()
    """What is rewarded, and how much."""
    curriculum: Curriculum | None = None
    """Which problems come next; by default passes over the set in random order."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """At its highest, after the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    """How the learning rate falls after the warm-up."""
    warmup: float = Field(default=0.0, ge=0)
    """Steps in which the learning rate rises: a share of all below 1, else their number."""
    evaluate_every: int | None = Field(default=None, gt=0)
    """Steps between two measurements on held-out problems; by default a tenth of the stage. First and last are always there."""
    keep_rollouts: bool = False
    """Whether every completion is kept in the run's folder, as files that `cuvee import` reads: to decide difficulty again."""
    vllm: Literal["colocate", "server"] | None = None
    """Sample with vLLM on the devices that train, or with a server that `trl vllm-serve` has started; by default with
    transformers."""

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if (self.batch_size * self.updates) % self.group:
            raise ValueError(
                f"batch_size * updates is {self.batch_size * self.updates:,} completions, which are no whole groups of "
                f"{self.group}; give a batch_size that group divides, such as {self.group * -(-self.batch_size // self.group)}"
            )
        return self

    @property
    def problems(self) -> int:
        """Problems in a batch of rollouts."""
        return self.batch_size * self.updates // self.group

    @property
    def reference_weight(self) -> float:
        """What leaving the reference costs; 0 where there is none."""
        return float(getattr(self, "kl", 0.0))


class OverGroups(RLStage):
    """What algorithms have that compare the completions of a problem and clip."""

    TRAINER: ClassVar[str] = "grpo"
    PASSED: ClassVar[Mapping[str, str]] = {
        **RLStage.PASSED,
        "kl": "beta",
        "clip": "epsilon",
        "clip_high": "epsilon_high",
    }

    kl: float = Field(default=0.0, ge=0)
    """How much is paid for leaving the reference, the model that the stage starts from; without it there is no reference."""
    clip: float = Field(default=0.2, gt=0)
    """How far below 1 a token's ratio to the policy that sampled may go before it is clipped, and above."""
    clip_high: float | None = Field(default=None, gt=0)
    """How far above 1, where that is another."""
    reference_every: int | None = Field(default=None, gt=0)
    """Steps after which the policy becomes the reference; by default never."""
    mask_cut_off: bool = False
    """Whether a completion that was cut off trains nothing; it counts in its group's mean all the same."""

    @model_validator(mode="after")
    def _has_reference(self) -> Self:
        if self.reference_every is not None and not self.kl:
            raise ValueError("reference_every: without `kl` there is no reference; give both, or neither")
        if self.reference_every is not None and self.lora is not None:
            raise ValueError(
                "reference_every: with adapters the reference is the model without them; leave out one of the two"
            )
        return self


class GRPO(OverGroups):
    """Group relative policy optimisation (DeepSeekMath, 2402.03300)."""

    KIND: ClassVar[str] = "grpo"
    LOSS: ClassVar[Mapping[str, Any]] = {
        "loss_type": "grpo",
        "scale_rewards": "group",
        "use_bias_correction_kl": False,
    }
    PAPER: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("group", "batch_size", "updates", "passes", "learning_rate", "kl"), "DeepSeekMath (2402.03300, 4.2)"
    )

    group: int = Field(default=64, ge=2)
    """Completions of a problem in a batch of rollouts."""
    batch_size: int = Field(default=1024, gt=0)
    """Completions an optimizer step, over all devices."""
    kl: float = Field(default=0.04, ge=0)
    """How much is paid for leaving the reference, the model that the stage starts from; without it there is no reference."""


class R1(OverGroups):
    """GRPO as DeepSeek-R1-Zero and R1's second stage have it (2501.12948)."""

    KIND: ClassVar[str] = "r1"
    LOSS: ClassVar[Mapping[str, Any]] = GRPO.LOSS
    PAPER: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("group", "batch_size", "learning_rate", "kl", "clip", "reference_every"), "DeepSeek-R1 (2501.12948, version 2)"
    )

    group: int = Field(default=16, ge=2)
    """Completions of a problem in a batch of rollouts."""
    batch_size: int = Field(default=512, gt=0)
    """Completions an optimizer step, over all devices."""
    learning_rate: float = Field(default=3e-6, gt=0)
    """At its highest, after the warm-up."""
    kl: float = Field(default=0.001, ge=0)
    """How much is paid for leaving the reference; without it there is no reference."""
    clip: float = Field(default=10.0, gt=0)
    """How far below 1 a token's ratio to the policy that sampled may go before it is clipped, and above."""
    reference_every: int | None = Field(default=400, gt=0)
    """Steps after which the policy becomes the reference; by default never."""


class DrGRPO(OverGroups):
    """GRPO without the division by length and by deviation (2503.20783)."""

    KIND: ClassVar[str] = "dr_grpo"
    LOSS: ClassVar[Mapping[str, Any]] = {"loss_type": "dr_grpo", "scale_rewards": "none"}
    PAPER: ClassVar[Mapping[str, str]] = {"kl": "Dr. GRPO (2503.20783, 3.2)"}


class DAPO(OverGroups):
    """Decoupled clips, a loss over all tokens, no reference (2503.14476).

    Its dynamic sampling, which draws problems again until no group is all equal, is left to the band of the set and to
    `curriculum`.
    """

    KIND: ClassVar[str] = "dapo"
    LOSS: ClassVar[Mapping[str, Any]] = {"loss_type": "dapo", "scale_rewards": "group"}
    PAPER: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            *("group", "batch_size", "updates", "learning_rate", "warmup", "kl", "clip", "clip_high"),
            *("mask_cut_off", "rewards"),
        ),
        "DAPO (2503.14476, 4.1)",
    )

    batch_size: int = Field(default=512, gt=0)
    """Completions an optimizer step, over all devices."""
    updates: int = Field(default=16, gt=0)
    """Optimizer steps a pass over a batch of rollouts, which has `batch_size * updates` completions."""
    warmup: float = Field(default=320, ge=0)
    """Steps in which the learning rate rises: a share of all below 1, else their number."""
    clip_high: float | None = Field(default=0.28, gt=0)
    """How far above 1, where that is another."""
    mask_cut_off: bool = True
    """Whether a completion that was cut off trains nothing; it counts in its group's mean all the same."""
    rewards: Section = Section(overlong=Overlong())
    """What is rewarded, and how much."""


class RLOO(RLStage):
    """REINFORCE with the mean of the other completions as baseline, and the KL in the reward (2402.14740)."""

    KIND: ClassVar[str] = "rloo"
    TRAINER: ClassVar[str] = "rloo"
    LOSS: ClassVar[Mapping[str, Any]] = {"normalize_advantages": False}
    PASSED: ClassVar[Mapping[str, str]] = {**RLStage.PASSED, "kl": "beta", "clip": "epsilon"}
    PAPER: ClassVar[Mapping[str, str]] = {"group": "RLOO (2402.14740)"}

    group: int = Field(default=4, ge=2)
    """Completions of a problem in a batch of rollouts."""
    kl: float = Field(default=0.05, ge=0)
    """What a nat of KL from the reference costs of the reward; without it there is no reference."""
    clip: float = Field(default=0.2, gt=0)
    """How far a completion's ratio to the policy that sampled may go from 1 before it is clipped."""


class OnlineRFT(RLStage):
    """Fine-tuning on the policy's own correct samples, drawn as it learns (DeepSeekMath, 5.2.1)."""

    KIND: ClassVar[str] = "online_rft"
    TRAINER: ClassVar[str] = "online_rft"
    LOSS: ClassVar[Mapping[str, Any]] = {"loss_type": "grpo", "scale_rewards": "none"}

    @model_validator(mode="after")
    def _rewards_right_and_wrong(self) -> Self:
        counting = {name: one.weight for name, one in self.rewards.parts.items() if one.weight}
        if counting != {"accuracy": 1.0}:
            raise ValueError(
                f"rewards: {self.KIND} trains on what is right and needs a reward of 1 or 0; reward `accuracy` alone, with the "
                "weight 1, and give others the weight 0 to log them"
            )
        return self


class Kimi(RLStage):
    """Online policy mirror descent (Kimi k1.5, 2501.12599, 2.3.2). The paper gives none of the numbers."""

    KIND: ClassVar[str] = "kimi"
    TRAINER: ClassVar[str] = "mirror_descent"
    LOSS: ClassVar[Mapping[str, Any]] = {"scale_rewards": "none", "beta": 0.0}
    PASSED: ClassVar[Mapping[str, str]] = {**RLStage.PASSED, "tau": "tau", "reset_optimizer": "reset_optimizer"}
    PAPER: ClassVar[Mapping[str, str]] = {"reset_optimizer": "Kimi k1.5 (2501.12599, 2.3.2)"}

    updates: int = Field(default=4, gt=0)
    """Optimizer steps a pass over a batch of rollouts, which has `batch_size * updates` completions."""
    tau: float = Field(default=0.1, gt=0)
    """Weight of the squared log-ratio of a completion to the policy that sampled it."""
    reset_optimizer: bool = True
    """Whether every batch of rollouts begins with a new optimizer."""


class PPO(RLStage):
    """Proximal policy optimisation with a value head and the KL in the reward (1707.06347; 1909.08593)."""

    KIND: ClassVar[str] = "ppo"
    TRAINER: ClassVar[str] = "ppo"
    PASSED: ClassVar[Mapping[str, str]] = {
        **RLStage.PASSED,
        **{"kl": "beta", "clip": "epsilon", "gamma": "gamma", "lam": "lam", "clamp_kl": "clamp_kl", "trust": "trust"},
        **{"value_learning_rate": "value_learning_rate", "value_coef": "value_coef", "kl_target": "kl_target"},
    }
    PAPER: ClassVar[Mapping[str, str]] = {
        "clip": "PPO (1707.06347, 6.1)",
        **dict.fromkeys(("passes", "gamma", "lam", "value_coef"), "Ziegler 2019 (1909.08593, 2.2) and its code"),
    }

    group: int = Field(default=4, ge=2)
    """Completions of a problem in a batch of rollouts; nothing is compared within it."""
    passes: int = Field(default=4, gt=0)
    """Passes over a batch of rollouts."""
    kl: float = Field(default=0.05, ge=0)
    """What a nat of KL from the reference costs of a token's reward; without it there is no reference."""
    kl_target: float | None = Field(default=None, gt=0)
    """Nats a completion that `kl` is adapted to; by default it is constant."""
    clamp_kl: bool = True
    """Whether a negative estimate of a token's KL is 0."""
    clip: float = Field(default=0.2, gt=0)
    """How far a token's ratio to the policy that sampled may go from 1 before it is clipped."""
    trust: Literal["clipped", "penalty"] = "clipped"
    """What keeps an update near: the clip, or an adaptive KL penalty, which stands for TRPO's trust region."""
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount a token."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """Of the advantage estimate: 1 is the return minus the value."""
    value_learning_rate: float = Field(default=1e-4, gt=0)
    """Of the value head."""
    value_coef: float = Field(default=0.1, gt=0)
    """Weight of the value's loss."""


RL_STAGES: dict[str, type[RLStage]] = {kind.KIND: kind for kind in (GRPO, R1, DrGRPO, DAPO, RLOO, OnlineRFT, Kimi, PPO)}
"""Algorithms of RL by name."""
DEFAULT = GRPO.KIND
"""What a stage called `rl` is that does not say."""
