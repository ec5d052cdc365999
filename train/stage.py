"""Training stages: what a recipe says of them. Nothing here imports torch.

A stage is named by its algorithm, and its defaults are the algorithm's published settings; `PAPER` says where each comes
from. What a paper leaves open is ours, and what nobody says is TRL's default (arguments.py has all of it in one table).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

STUDENT = "student"
"""What `start` calls the model that the recipe's sets are written for."""
POLICY = "policy"
"""What it calls the model whose samples say how difficult problems are; RL can start from it."""


class Lora(BaseModel):
    """Low-rank adapters instead of all weights; they are merged into the weights when the stage is done."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    rank: int = Field(default=32, gt=0)
    """Rank of the adapters."""
    alpha: float = Field(default=64, gt=0)
    """Their weight is alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapters."""
    targets: str | tuple[str, ...] = "all-linear"
    """Which layers have one, as PEFT names them; the output layer never has."""


class Stage(BaseModel):
    """What every stage has."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    KIND: ClassVar[str]
    """The algorithm's name."""
    TRAINER: ClassVar[str]
    """TRL's trainer."""
    SETS: ClassVar[tuple[str, ...]]
    """The kinds of set it trains on."""
    PAPER: ClassVar[Mapping[str, str]] = {}
    """Where a default comes from, by field."""
    LOSS: ClassVar[Mapping[str, Any]] = {}
    """TRL's arguments that make the algorithm what it is."""
    PASSED: ClassVar[Mapping[str, str]] = {}
    """What the algorithm alone has: fields, and what TRL calls them."""
    ANSWERS: ClassVar[bool] = True
    """Whether what it trains answers problems, so that a later stage can start from it and it can be evaluated."""

    set: str
    """The set it trains on: the name of a config of the dataset."""
    start: str | None = None
    """The stage whose result is trained on, or `student`; by default the stage before that can answer, or the student."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """At its highest, after the warm-up."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the set."""
    steps: int | None = Field(default=None, gt=0)
    """Optimizer steps after which it ends, whatever `epochs` says."""
    batch_size: int = Field(default=64, gt=0)
    """Rows an optimizer step, over all devices."""
    device_batch_size: int = Field(default=4, gt=0)
    """Rows that one device takes at once: memory, not the result, depends on it. At most `batch_size` over the devices."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    floor: float = Field(default=0.0, ge=0, lt=1)
    """Share of the learning rate that a cosine falls to."""
    warmup: float = Field(default=0.05, ge=0)
    """Steps in which the learning rate rises: a share of all below 1, else their number."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decay of the weights."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients above are scaled down to it."""
    optimizer: Literal["adamw", "rmsprop", "adafactor"] = "adamw"
    """The optimizer."""
    lora: Lora | None = None
    """Train low-rank adapters; by default all weights."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Numbers in which is computed; `auto` is bf16 on a GPU that has it, else fp32. The optimizer's are always fp32."""
    gradient_checkpointing: bool | None = None
    """Compute activations twice to save memory; by default on a GPU."""
    save_every: int | None = Field(default=None, gt=0)
    """Steps between checkpoints; by default a tenth of the stage."""
    keep_checkpoints: int = Field(default=2, gt=0)
    """Checkpoints that are kept; an old one goes when the new one is whole."""
    log_every: int = Field(default=1, gt=0)
    """Steps between two lines of metrics.jsonl."""
    report_to: tuple[str, ...] = ("tensorboard",)
    """Where else metrics go, as transformers names them: tensorboard, wandb, mlflow, ...; [] for nowhere."""
    trl: dict[str, Any] = {}
    """Further arguments of TRL's trainer configuration, by its own names."""

    @field_validator("trl")
    @classmethod
    def _not_ours(cls, given: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(OURS & given.keys()):
            raise ValueError(
                f"{', '.join(taken)}: set by the stage itself; use its own keys ({', '.join(cls.model_fields)})"
            )
        return given


class OnRows(Stage):
    """What stages on written answers have."""

    max_length: int | None = Field(default=None, gt=0)
    """Tokens a row may have; by default as many as the longest row has, so that none is cut."""


class SFT(OnRows):
    """Supervised fine-tuning on the answers of an SFT or fusion set; prompts are not trained on."""

    KIND: ClassVar[str] = "sft"
    TRAINER: ClassVar[str] = "sft"
    SETS: ClassVar[tuple[str, ...]] = ("sft", "fusion")
    PASSED: ClassVar[Mapping[str, str]] = {"packing": "packing"}
    PAPER: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("learning_rate", "epochs", "batch_size", "schedule", "warmup", "weight_decay"), "s1 (2501.19393, app. D)"
    )

    learning_rate: float = Field(default=1e-5, gt=0)
    """At its highest, after the warm-up."""
    epochs: float = Field(default=5.0, gt=0)
    """Passes over the set."""
    batch_size: int = Field(default=16, gt=0)
    """Rows an optimizer step, over all devices."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Decay of the weights."""
    packing: bool = False
    """Several rows in one sequence of `max_length`, kept apart; batch sizes then count sequences."""


class Preference(OnRows):
    """What stages on pairs of answers have."""

    SETS: ClassVar[tuple[str, ...]] = ("preference",)


class DPO(Preference):
    """Direct preference optimisation (2305.18290)."""

    KIND: ClassVar[str] = "dpo"
    TRAINER: ClassVar[str] = "dpo"
    LOSS: ClassVar[Mapping[str, Any]] = {"loss_type": ["sigmoid"]}
    PASSED: ClassVar[Mapping[str, str]] = {"beta": "beta"}
    PAPER: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("beta", "learning_rate", "batch_size", "optimizer", "schedule", "warmup"), "DPO (2305.18290, app. B)"
    )

    beta: float = Field(default=0.1, gt=0)
    """How much is paid for leaving the reference, the model that the stage starts from."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """At its highest, after the warm-up."""
    optimizer: Literal["adamw", "rmsprop", "adafactor"] = "rmsprop"
    """The optimizer."""
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    """How the learning rate falls after the warm-up."""
    warmup: float = Field(default=150, ge=0)
    """Steps in which the learning rate rises: a share of all below 1, else their number."""


class DPONorm(Preference):
    """DPO with every log-ratio divided by the length of its answer (Tulu 3, 2411.15124)."""

    KIND: ClassVar[str] = "dpo_norm"
    TRAINER: ClassVar[str] = "dpo"
    LOSS: ClassVar[Mapping[str, Any]] = {"loss_type": ["sigmoid_norm"]}
    PASSED: ClassVar[Mapping[str, str]] = {"beta": "beta"}
    PAPER: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("beta", "learning_rate", "epochs", "batch_size", "schedule", "warmup"), "Tulu 3 (2411.15124, table 20, 8B)"
    )

    beta: float = Field(default=5.0, gt=0)
    """How much is paid for leaving the reference, the model that the stage starts from, a token."""
    learning_rate: float = Field(default=5e-7, gt=0)
    """At its highest, after the warm-up."""
    batch_size: int = Field(default=128, gt=0)
    """Pairs an optimizer step, over all devices."""
    schedule: Literal["cosine", "linear", "constant"] = "linear"
    """How the learning rate falls after the warm-up."""
    warmup: float = Field(default=0.1, ge=0)
    """Steps in which the learning rate rises: a share of all below 1, else their number."""


class SimPO(Preference):
    """Length-normalised likelihoods apart by a margin, without a reference model (2405.14734)."""

    KIND: ClassVar[str] = "simpo"
    TRAINER: ClassVar[str] = "cpo"
    LOSS: ClassVar[Mapping[str, Any]] = {"loss_type": "simpo", "cpo_alpha": 0.0}
    PASSED: ClassVar[Mapping[str, str]] = {"beta": "beta", "gamma": "simpo_gamma"}
    PAPER: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("beta", "gamma", "learning_rate", "epochs", "batch_size", "schedule", "warmup"),
        "SimPO (2405.14734, app. B, Llama-3-Base)",
    )

    beta: float = Field(default=2.0, gt=0)
    """Scale of the mean log-likelihoods."""
    gamma: float = Field(default=1.0, ge=0)
    """The margin that the chosen answer has to have."""
    learning_rate: float = Field(default=6e-7, gt=0)
    """At its highest, after the warm-up."""
    batch_size: int = Field(default=128, gt=0)
    """Pairs an optimizer step, over all devices."""
    warmup: float = Field(default=0.1, ge=0)
    """Steps in which the learning rate rises: a share of all below 1, else their number."""


class Reward(Preference):
    """A reward model: Bradley-Terry on the pairs, as in InstructGPT (2203.02155)."""

    KIND: ClassVar[str] = "reward"
    TRAINER: ClassVar[str] = "reward"
    ANSWERS: ClassVar[bool] = False
    PASSED: ClassVar[Mapping[str, str]] = {"center": "center_rewards_coefficient"}
    PAPER: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("learning_rate", "epochs", "batch_size", "schedule", "floor"), "InstructGPT (2203.02155, app. C.2)"
    )

    learning_rate: float = Field(default=9e-6, gt=0)
    """At its highest, after the warm-up."""
    floor: float = Field(default=0.1, ge=0, lt=1)
    """Share of the learning rate that a cosine falls to."""
    center: float | None = Field(default=None, gt=0)
    """Weight of a term that keeps rewards around 0 (2312.09244, eq. 2)."""


STAGES: dict[str, type[Stage]] = {kind.KIND: kind for kind in (SFT, DPO, DPONorm, SimPO, Reward)}
"""Algorithms on written answers, by name; those of RL are in rl_stage.py."""

OURS = frozenset(
    re.findall(
        r"\w+",
        """
    output_dir learning_rate num_train_epochs max_steps per_device_train_batch_size gradient_accumulation_steps max_length
    lr_scheduler_type lr_scheduler_kwargs warmup_steps warmup_ratio weight_decay max_grad_norm optim bf16 fp16
    gradient_checkpointing save_steps save_strategy save_total_limit logging_steps report_to packing beta loss_type cpo_alpha
    simpo_gamma center_rewards_coefficient seed data_seed chat_template_path resume_from_checkpoint
    num_generations num_generations_eval steps_per_generation generation_batch_size num_iterations max_completion_length
    temperature top_p top_k min_p repetition_penalty epsilon epsilon_high scale_rewards reward_weights
    mask_truncated_completions sync_ref_model ref_model_sync_steps ref_model_mixup_alpha eval_strategy eval_steps
    use_bias_correction_kl normalize_advantages tau reset_optimizer lam kl_target trust value_learning_rate
    """,
    )
)
"""TRL's arguments that a stage sets."""
