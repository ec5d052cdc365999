"""A stage's settings as arguments of TRL's trainer, each with where its value comes from.

    recipe          written there
    a paper         the stage's own default, as published (stage.py)
    Cuvee           the stage's own default, where the paper says nothing
    this machine    follows from the devices there are
    the set         follows from its rows

TRL's defaults are others in places, and change with its versions: every value that matters is passed on, and the table
shows TRL's beside ours. What is in no row of it is TRL's default.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from train.memory import Machine
from train.rl_stage import OverGroups, RLStage
from train.stage import OnRows, Stage

SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
OPTIMIZERS = {"adamw": "adamw_torch_fused", "rmsprop": "rmsprop", "adafactor": "adafactor"}
SAMPLING: tuple[tuple[str, str, Any], ...] = (
    ("temperature", "temperature", 1.0),
    ("top_p", "top_p", 1.0),
    ("max_tokens", "max_completion_length", None),
    ("top_k", "top_k", -1),
    ("min_p", "min_p", 0.0),
    ("repetition_penalty", "repetition_penalty", 1.0),
)
"""How completions are sampled: fields, what TRL calls them, and what they are where nobody says."""
TENTH = 0.1
"""Share of a stage between two checkpoints."""


TRL: dict[str, Any] = {
    **{"num_train_epochs": 3.0, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    **{"lr_scheduler_type": "linear", "warmup_steps": 0, "optim": "adamw_torch_fused", "weight_decay": 0.0},
    **{"max_grad_norm": 1.0, "bf16": True, "gradient_checkpointing": True, "save_steps": 500},
}
"""Defaults of TRL 1.16, importing which takes seconds; a test compares."""
_ON_ROWS = {"max_length": 1024}
_ROLLOUTS = {
    **{"learning_rate": 1e-6, "num_iterations": 1, "epsilon": 0.2, "temperature": 1.0, "top_p": 1.0, "top_k": 0},
    **{"repetition_penalty": 1.0, "sync_ref_model": False},
}
_GRPO = _ROLLOUTS | {
    **{"num_generations": 8, "max_completion_length": 512, "beta": 0.0, "epsilon_high": None, "loss_type": "dapo"},
    **{"scale_rewards": "group", "use_bias_correction_kl": True},
}
TRL_OF: dict[str, dict[str, Any]] = {
    "sft": _ON_ROWS | {"learning_rate": 2e-5, "packing": False},
    "dpo": _ON_ROWS | {"learning_rate": 1e-6, "beta": 0.1, "loss_type": ["sigmoid"]},
    "cpo": _ON_ROWS
    | {"learning_rate": 1e-6, "beta": 0.1, "loss_type": "sigmoid", "cpo_alpha": 1.0, "simpo_gamma": 0.5},
    "reward": _ON_ROWS | {"learning_rate": 1e-4, "center_rewards_coefficient": None},
    "grpo": _GRPO,
    "rloo": _ROLLOUTS
    | {"num_generations": 2, "max_completion_length": 512, "beta": 0.05, "normalize_advantages": False},
    "online_rft": _GRPO,
    "mirror_descent": _GRPO | {"scale_rewards": "none"},
    "ppo": _GRPO | {"num_iterations": 4, "beta": 0.05},
}
"""And of its trainers."""


CONFIGS = {
    "sft": ("trl", "SFTConfig"),
    "dpo": ("trl", "DPOConfig"),
    "reward": ("trl", "RewardConfig"),
    "grpo": ("trl", "GRPOConfig"),
    "rloo": ("trl", "RLOOConfig"),
    "online_rft": ("trl", "GRPOConfig"),
    "mirror_descent": ("train.on_groups", "MirrorDescentConfig"),
    "ppo": ("train.ppo", "PPOConfig"),
}
"""Where the configuration of each trainer is; of cpo see config_of."""


class Resolved(NamedTuple):
    """A setting as it will be used."""

    name: str
    value: Any
    origin: str
    trl: str = ""
    """TRL's defaults, where they are others."""


class AsMeasured(NamedTuple):
    """How RL samples: settings of the annotator that measured how difficult problems are."""

    sampling: Mapping[str, Any]
    """temperature, top_p, max_tokens, top_k, min_p, repetition_penalty."""
    origin: str
    """Where they are from, by the place in the recipe."""


class StageError(ValueError):
    """A stage cannot be trained as it is written."""


@dataclass(frozen=True)
class Arguments:
    """What TRL is asked for."""

    trl: Mapping[str, Any]
    """Arguments of its configuration, `output_dir` aside."""
    precision: str
    settings: list[Resolved]


def arguments(
    name: str, stage: Stage, machine: Machine, longest: int, seed: int, measured: AsMeasured | None = None
) -> Arguments:
    """longest: tokens of the set's longest row; of RL there is none. measured: how difficulty was, where it was.

    Raises StageError, with the stage's key in a recipe.
    """
    found: list[Resolved] = []
    passed: dict[str, Any] = dict(stage.LOSS)
    defaults = TRL | TRL_OF[stage.TRAINER]

    def say(key: str, value: Any, origin: str | None = None, **trl: Any) -> None:
        """One setting, passed on as what TRL calls it."""
        passed.update(trl)
        written = key in stage.model_fields_set
        came = "recipe" if written else origin or stage.PAPER.get(key, "Cuvee")
        others = {argument: defaults[argument] for argument, own in trl.items() if defaults.get(argument, own) != own}
        found.append(
            Resolved(key, value, came, ", ".join(f"{argument} {_told(one)}" for argument, one in others.items()))
        )

    for key, value in stage.LOSS.items():
        found.append(Resolved(key, value, f"what {stage.KIND} is", _other(defaults, key, value)))
    say("set", stage.set)
    say("learning_rate", stage.learning_rate, learning_rate=stage.learning_rate)
    if stage.steps is not None:
        say("steps", stage.steps, max_steps=stage.steps)
    else:
        say("epochs", stage.epochs, num_train_epochs=stage.epochs)
    device, rounds = _division(name, stage, machine)
    say("batch_size", stage.batch_size)
    say(
        "device_batch_size",
        f"{device} on {machine.devices} x {machine.device}, {rounds} times a step{_instead(device, stage)}",
        per_device_train_batch_size=device,
        gradient_accumulation_steps=rounds,
    )
    passed["per_device_eval_batch_size"] = device
    if isinstance(stage, OnRows):
        say("max_length", stage.max_length or longest, "the set", max_length=stage.max_length or longest)
    say("schedule", stage.schedule, **_schedule(stage))
    say("warmup", stage.warmup, warmup_steps=stage.warmup if stage.warmup < 1 else round(stage.warmup))
    say("optimizer", stage.optimizer, optim=OPTIMIZERS[stage.optimizer])
    say("weight_decay", stage.weight_decay, weight_decay=stage.weight_decay)
    say("max_grad_norm", stage.max_grad_norm, max_grad_norm=stage.max_grad_norm)
    for key, argument in stage.PASSED.items():
        say(key, getattr(stage, key), **{argument: getattr(stage, key)})
    if isinstance(stage, RLStage):
        _rollouts(name, stage, rounds, measured, say)
        passed |= {"num_generations_eval": 1, "shuffle_dataset": True, "remove_unused_columns": False}
    precision = _precision(name, stage, machine)
    say("precision", precision, "this machine", bf16=precision == "bf16")
    again = stage.gradient_checkpointing if stage.gradient_checkpointing is not None else machine.device == "cuda"
    say("gradient_checkpointing", again, "this machine", gradient_checkpointing=again)
    if stage.lora is not None:
        say("lora", f"rank {stage.lora.rank}, alpha {stage.lora.alpha:g}, on {stage.lora.targets}")
    say("save_every", stage.save_every or "a tenth", save_strategy="steps", save_steps=stage.save_every or TENTH)
    passed["save_total_limit"] = stage.keep_checkpoints
    passed |= {"logging_steps": stage.log_every, "report_to": list(stage.report_to), "logging_nan_inf_filter": False}
    passed |= {"seed": seed, "data_seed": seed, "disable_tqdm": True, "use_cpu": machine.device == "cpu"}
    if stage.trl and (unknown := sorted({*stage.trl} - {*config_of(stage.TRAINER).__dataclass_fields__})):
        raise StageError(
            f"train.{name}.trl: {', '.join(unknown)}: no argument of TRL's {config_of(stage.TRAINER).__name__}"
        )
    for key, value in stage.trl.items():
        passed[key] = value
        found.append(Resolved(f"trl.{key}", value, "recipe", _other(defaults, key, value)))
    return Arguments(passed, precision, found)


def _rollouts(name: str, stage: RLStage, rounds: int, measured: AsMeasured | None, say: Callable[..., None]) -> None:
    """How a stage of RL samples."""
    say("updates", stage.updates, steps_per_generation=rounds * stage.updates)
    known = dict(measured.sampling) if measured is not None else {}
    for key, argument, otherwise in SAMPLING:
        value, origin = getattr(stage, key, None), None
        if value is None:
            value, origin = known.get(key), measured.origin if measured is not None and key in known else "Cuvee"
        value = otherwise if value is None else value
        assert value is not None, f"train.{name}.{key}: checked when the recipe was loaded"
        if hasattr(stage, key) or value != otherwise:
            value = 0 if key == "top_k" and value < 0 else value  # what it is called here for all
            say(key, value, origin, **{argument: value})
    if isinstance(stage, OverGroups):
        say("mask_cut_off", stage.mask_cut_off)
        if stage.reference_every is not None:
            every = {"sync_ref_model": True, "ref_model_sync_steps": stage.reference_every}
            say("reference_every", stage.reference_every, **every, ref_model_mixup_alpha=1.0)
    say("rewards", ", ".join(f"{key} {one.weight:g}" for key, one in stage.rewards.parts.items()))
    if (plan := stage.curriculum) is not None:
        after = f", by priority after {plan.prioritise_after:g} of the stage" if plan.prioritise_after < 1 else ""
        say("curriculum", f"{plan.order} by {plan.difficulty or plan.rates}{after}")
    every_steps = stage.evaluate_every or TENTH
    say("evaluate_every", stage.evaluate_every or "a tenth", eval_strategy="steps", eval_steps=every_steps)
    if stage.vllm is not None:
        say("vllm", stage.vllm, use_vllm=True, vllm_mode=stage.vllm)


def _division(name: str, stage: Stage, machine: Machine) -> tuple[int, int]:
    """Rows a device takes at once, and how often for one step."""
    if stage.batch_size % machine.devices:
        raise StageError(
            f"train.{name}.batch_size: {stage.batch_size} rows cannot be shared out evenly to {machine.devices} devices; give "
            f"a multiple, such as {-(-stage.batch_size // machine.devices) * machine.devices}"
        )
    share = stage.batch_size // machine.devices
    device = max(rows for rows in range(1, min(stage.device_batch_size, share) + 1) if share % rows == 0)
    return device, share // device


def _instead(device: int, stage: Stage) -> str:
    wanted = stage.device_batch_size
    return (
        ""
        if device == wanted or "device_batch_size" not in stage.model_fields_set
        else f" ({wanted} does not divide it)"
    )


def _schedule(stage: Stage) -> dict[str, Any]:
    if stage.schedule == "cosine" and stage.floor:
        return {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": stage.floor}}
    return {"lr_scheduler_type": SCHEDULERS[stage.schedule]}


def _precision(name: str, stage: Stage, machine: Machine) -> str:
    if stage.precision == "bf16" and not machine.bf16:
        raise StageError(f"train.{name}.precision: {machine.name} computes no bf16; give auto or fp32")
    if stage.precision != "auto":
        return stage.precision
    return "bf16" if machine.device == "cuda" and machine.bf16 else "fp32"


def config_of(trainer: str) -> Any:
    """TRL's configuration class. Importing it takes seconds."""
    if trainer == "cpo":
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the lock pins its version
        from trl.experimental.cpo import CPOConfig

        return CPOConfig
    from importlib import import_module

    module, kind = CONFIGS[trainer]
    return getattr(import_module(module), kind)


def _other(defaults: Mapping[str, Any], argument: str, value: Any) -> str:
    return "" if defaults.get(argument, value) == value else f"{argument} {_told(defaults[argument])}"


def _told(value: Any) -> str:
    value = getattr(value, "value", value)  # transformers' enums
    return f"{value:g}" if isinstance(value, float) else str(value)
