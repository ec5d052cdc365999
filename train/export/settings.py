"""What a recipe says of training on a set, by our names, each value with where it is from: what launch commands are written of.

First comes the training stage of the recipe that trains on the set, its own values and its algorithm's published defaults
(train/stage.py). What RL samples with, and says nothing of, is as difficulty was measured. The rest is left to the trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from train.export.asked import Asked
from train.rl_stage import DEFAULT, RL_STAGES, RLStage
from train.stage import STAGES, Stage

RL = "rl"
LARGEST_BATCH = 128
GENERATIONS = 8
NEUTRAL: dict[str, Any] = {
    **{"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    **{"thinking_budget": None, "packing": False, "lora": None, "trl": {}},
}
"""Values that say the same as saying nothing, to any trainer."""
HOW = (
    "device_batch_size",
    "precision",
    "gradient_checkpointing",
    "save_every",
    "keep_checkpoints",
    "log_every",
    "report_to",
)
"""How a stage runs here: a cluster has its own."""
MEASURED = "as difficulty was measured"
OURS = {"group": "generations", "kl": "beta", "clip": "epsilon", "clip_high": "epsilon_high"}
"""What a stage of RL calls what is told here by other names."""
NOT_TOLD = (
    "batch_size",
    "updates",
    "passes",
    "vllm",
    "evaluate_every",
    "keep_rollouts",
    "mask_cut_off",
    "rewards",
    "curriculum",
)
"""What of a stage of RL is told in another way, or only where the recipe says it."""


class SettingsError(ValueError):
    """A stage of the recipe cannot be read."""


class Setting(NamedTuple):
    """A value, and where it is from."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """What is known of training on one set."""

    stage: str | None
    """The recipe's stage; None when it has none for this set."""
    algorithm: str
    values: Mapping[str, Setting] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name].value

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str, default: Any) -> Any:
        return default if (setting := self.values.get(name)) is None else setting.value


def settings(manifest: Mapping[str, Any], name: str, kind: str, rows: int, longest: int, asked: Asked) -> Settings:
    """The settings of training on the set `name`. Raises SettingsError.

    rows: of its split `train`. longest: tokens of its longest row; 0 where they are not counted.
    """
    recipe = manifest["recipe"]
    stage, algorithm, found = _stage(recipe, name, kind)
    if kind == RL:
        for key, value in asked.sampling.items():
            found.setdefault(
                "generations" if key == "n" else key, Setting(value, f"{MEASURED}, annotate.{asked.place}")
            )
        found.setdefault("generations", Setting(GENERATIONS, "Cuvee"))
        if (low := found.get("epsilon")) is not None:
            found.setdefault("epsilon_high", low)
    elif longest:
        found.setdefault("max_length", Setting(longest, "the set's longest row"))
    if (warmup := found.pop("warmup", None)) is not None:
        found["warmup_share" if warmup.value < 1 else "warmup_steps"] = warmup
    most = min(LARGEST_BATCH, max(rows, 1))
    found.setdefault("batch_size", Setting(1 << (most.bit_length() - 1), f"Cuvee: the set has {rows:,} rows"))
    found.setdefault("seed", Setting(recipe.get("seed", 0), "the recipe's seed"))
    said = {
        key: one for key, one in found.items() if key not in HOW and (key not in NEUTRAL or one.value != NEUTRAL[key])
    }
    return Settings(stage, algorithm, said)


def _stage(recipe: Mapping[str, Any], name: str, kind: str) -> tuple[str | None, str, dict[str, Setting]]:
    """The first stage that trains on the set: its name, its algorithm, its values."""
    for stage, given in (recipe.get("train") or {}).items():
        values = dict(given or {})
        algorithm = values.pop("is", DEFAULT if stage == RL else stage)
        if values.get("set", RL if stage == RL or algorithm in RL_STAGES else None) == name:
            read = _read(stage, algorithm, values)
            return stage, algorithm, _of_rl(stage, read) if isinstance(read, RLStage) else _of_rows(stage, read)
    return None, {"preference": "dpo", RL: "grpo"}.get(kind, "sft"), {}


def _read(stage: str, algorithm: str, values: Mapping[str, Any]) -> Stage:
    published = (
        "The dataset was published by another version of Cuvee; run its recipe again, which publishes it by this one"
    )
    if (known := RL_STAGES.get(algorithm) or STAGES.get(algorithm)) is None:
        raise SettingsError(f"train.{stage} of the recipe in the manifest: {algorithm!r} is no algorithm. {published}")
    try:
        return known.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise SettingsError(
            f"train.{stage}.{key} of the recipe in the manifest: {first['msg']} (given: {first['input']!r}). {published}"
        ) from error


def _of_rl(stage: str, read: RLStage) -> dict[str, Setting]:
    """By the names that are told here; `batch_size` is in problems, of a batch of rollouts."""
    found = {
        OURS.get(key, key): Setting(value, _origin(stage, read, key))
        for key in type(read).model_fields
        if key not in ("set", "start", *NOT_TOLD) and (value := getattr(read, key)) is not None
    }
    found["batch_size"] = Setting(
        read.problems, f"{_origin(stage, read, 'batch_size', 'updates', 'group')}: completions / group"
    )
    if (updates := read.updates * read.passes) > 1:
        found["updates"] = Setting(updates, _origin(stage, read, "updates", "passes"))
    written = read.model_dump(mode="json", exclude_unset=True)
    for key in ("mask_cut_off", "rewards", "curriculum"):
        if key in written:
            found[key] = Setting(written[key], _origin(stage, read, key))
    return found


def _of_rows(stage: str, read: Stage) -> dict[str, Setting]:
    return {
        key: Setting(value, _origin(stage, read, key))
        for key in type(read).model_fields
        if key not in ("set", "start") and (value := getattr(read, key)) is not None
    }


def _origin(stage: str, read: Stage, *keys: str) -> str:
    """Where a value is from that follows from some settings: the first that the recipe says, else a paper."""
    written = [f"recipe: train.{stage}.{key}" for key in keys if key in read.model_fields_set]
    return next(iter([*written, *(read.PAPER[key] for key in keys if key in read.PAPER), "Cuvee"]))
