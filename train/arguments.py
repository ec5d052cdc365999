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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from train.memory import Machine
from train.stage import Stage

SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
OPTIMIZERS = {"adamw": "adamw_torch_fused", "rmsprop": "rmsprop", "adafactor": "adafactor"}
OWN = {"beta": "beta", "gamma": "simpo_gamma", "center": "center_rewards_coefficient", "packing": "packing"}
"""What single algorithms have, as TRL names it."""
TENTH = 0.1
"""Share of a stage between two checkpoints."""


TRL: dict[str, Any] = {
    **{"num_train_epochs": 3.0, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "max_length": 1024},
    **{"lr_scheduler_type": "linear", "warmup_steps": 0, "optim": "adamw_torch_fused", "weight_decay": 0.0},
    **{"max_grad_norm": 1.0, "bf16": True, "gradient_checkpointing": True, "save_steps": 500},
}
"""Defaults of TRL 1.16, importing which takes seconds; a test compares."""
TRL_OF: dict[str, dict[str, Any]] = {
    "sft": {"learning_rate": 2e-5, "packing": False},
    "dpo": {"learning_rate": 1e-6, "beta": 0.1, "loss_type": ["sigmoid"]},
    "cpo": {"learning_rate": 1e-6, "beta": 0.1, "loss_type": "sigmoid", "cpo_alpha": 1.0, "simpo_gamma": 0.5},
    "reward": {"learning_rate": 1e-4, "center_rewards_coefficient": None},
}
"""And of its trainers."""


class Resolved(NamedTuple):
    """A setting as it will be used."""

    name: str
    value: Any
    origin: str
    trl: str = ""
    """TRL's defaults, where they are others."""


class StageError(ValueError):
    """A stage cannot be trained as it is written."""


@dataclass(frozen=True)
class Arguments:
    """What TRL is asked for."""

    trl: Mapping[str, Any]
    """Arguments of its configuration, `output_dir` aside."""
    precision: str
    settings: list[Resolved]


def arguments(name: str, stage: Stage, machine: Machine, longest: int, seed: int) -> Arguments:
    """longest: tokens of the set's longest row. Raises StageError, with the stage's key in a recipe."""
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
    say("max_length", stage.max_length or longest, "the set", max_length=stage.max_length or longest)
    say("schedule", stage.schedule, **_schedule(stage))
    say("warmup", stage.warmup, warmup_steps=stage.warmup if stage.warmup < 1 else round(stage.warmup))
    say("optimizer", stage.optimizer, optim=OPTIMIZERS[stage.optimizer])
    say("weight_decay", stage.weight_decay, weight_decay=stage.weight_decay)
    say("max_grad_norm", stage.max_grad_norm, max_grad_norm=stage.max_grad_norm)
    for key, argument in OWN.items():
        if key in type(stage).model_fields:
            say(key, getattr(stage, key), **{argument: getattr(stage, key)})
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

    return getattr(import_module("trl"), {"sft": "SFTConfig", "dpo": "DPOConfig", "reward": "RewardConfig"}[trainer])


def _other(defaults: Mapping[str, Any], argument: str, value: Any) -> str:
    return "" if defaults.get(argument, value) == value else f"{argument} {_told(defaults[argument])}"


def _told(value: Any) -> str:
    value = getattr(value, "value", value)  # transformers' enums
    return f"{value:g}" if isinstance(value, float) else str(value)
