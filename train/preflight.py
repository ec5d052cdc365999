"""What is looked at before a step is paid for: every row as tokens of the trainee, steps, memory, disk.

What certainly goes wrong is a problem, and refuses; what may, or what somebody may want to know, is a warning. Of what
cannot be found out it is said that it is unknown.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curation.progress import Progress
from distill.rendering import Renderer
from distill.staging import FAULTS, TOO_LONG
from train.memory import FP32, STATES, Estimate, Machine, Size, estimate, optimizer, size, told
from train.rows import Lengths, columns_of, lengths, rows_of
from train.run import CHECKPOINTS
from train.stage import OnRows

SAMPLES = 3
"""Rows that are shown."""
COLUMNS = {"sft": ("id", "rollout", "sample_index", "tokens", "trained_tokens")}
PAIR_COLUMNS = ("id", "chosen_rollout", "rejected_rollout", "tokens", "chosen_tokens", "rejected_tokens")
LESS = "train adapters (`lora: {}`), take a smaller model, or an optimizer that keeps less (`optimizer: adafactor`)"


class StageRefused(ValueError):
    """A stage cannot be trained: says everything that is in its way."""


@dataclass(frozen=True)
class Disk:
    """Bytes that the run folder may grow by, and that are free there."""

    needed: int
    free: int


@dataclass(frozen=True)
class Steps:
    """Optimizer steps. Of packed rows it is not known how many share a sequence: these are the fewest."""

    an_epoch: int
    in_all: int
    packed: bool


@dataclass
class Preflight:
    """What was found of a stage."""

    name: str
    machine: Machine
    tags: tuple[str, str]
    """What opens and closes thinking."""
    splits: dict[str, Lengths] = field(default_factory=dict)
    steps: Steps | None = None
    memory: Estimate | None = None
    """None where it is unknown."""
    disk: Disk | None = None
    notes: list[str] = field(default_factory=list)
    """What the template does."""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raises StageRefused when something is in the way."""
        if self.problems:
            raise StageRefused(f"train.{self.name} cannot be trained:" + "".join(f"\n  {one}" for one in self.problems))

    def record(self) -> dict[str, Any]:
        """As plain data; the rows that are shown by their pieces."""
        return {
            "splits": {split: _plain(found) for split, found in self.splits.items()},
            "steps": None if self.steps is None else asdict(self.steps),
            "memory": None if self.memory is None else asdict(self.memory) | {"total": self.memory.total},
            "disk": None if self.disk is None else asdict(self.disk),
            "machine": asdict(self.machine),
            "notes": self.notes,
            "problems": self.problems,
            "warnings": self.warnings,
        }


def look(
    settings: Mapping[str, Any],
    stage: OnRows,
    renderer: Renderer,
    machine: Machine,
    folder: Path,
    progress: Progress | None = None,
) -> Preflight:
    """Looks at a stage; nothing is written.

    settings: of the run (settings.json), whose set Cuvee has published. renderer: of the model that the stage starts from.
    folder: the run's. Raises what reading the rows and the model's config raises, but where only the memory depends on it.
    """
    seen = Preflight(settings["stage"], machine, renderer.template.tags, notes=renderer.notes)
    longest = _look_at_rows(seen, settings, stage, renderer, progress or Progress(quiet=True))
    if longest is None:
        return seen
    seen.steps = steps(settings["arguments"], seen.splits["train"], machine.devices)
    _look_at_steps(seen, settings["arguments"], stage.batch_size)
    model = look_at_machine(seen, settings, folder, longest)
    if model is not None and renderer.end_of_turn >= model.words:
        seen.problems.append(
            f"start: answers end with token {renderer.end_of_turn}, and {settings['start']['model']} knows {model.words:,} "
            "tokens: this tokenizer is another model's; give `student.tokenizer` and `student.chat_template` that go with the "
            "weights"
        )
    return seen


def look_at_machine(seen: Preflight, settings: Mapping[str, Any], folder: Path, longest: int) -> Size | None:
    """Whether memory and disk will do; gives the model's size, None where it is unknown. longest: tokens of a sequence."""
    start, machine = settings["start"], seen.machine
    try:
        model = size(start["model"], start["revision"], reward=settings["trainer"] == "reward")
    except (OSError, ValueError, AttributeError, KeyError) as error:  # no config, or one of another kind of model
        seen.warnings.append(f"memory and disk: unknown, {start['model']}: {' '.join(str(error).split())[:200]}")
        return None
    seen.memory = estimate(settings, model, machine.device, machine.devices, longest)
    _look_at_memory(seen, settings, seen.memory, machine)
    seen.disk = disk(settings, model, seen.memory, folder)
    if seen.disk.needed > seen.disk.free:
        keep = settings["arguments"]["save_total_limit"]
        seen.problems.append(
            f"disk: checkpoints and the model need {told(seen.disk.needed)}, and {told(seen.disk.free)} are free in "
            f"{folder}; free some, give another --out, or keep fewer than {keep} checkpoints (keep_checkpoints)"
        )
    return model


def _look_at_rows(
    seen: Preflight, settings: Mapping[str, Any], stage: OnRows, renderer: Renderer, progress: Progress
) -> int | None:
    """Reads all rows; gives the tokens of the longest sequence that is trained on, None where there is none."""
    files = settings["data"]
    if not files["train"] or not rows_of(files["train"]):
        seen.problems.append(
            f"set: {settings['set']} of {settings['dataset']} has no row to train on; `cuvee inspect "
            f"{settings['dataset']} --set {settings['set']}` shows what became of its traces"
        )
        return None
    wanted = {*settings["columns"], *COLUMNS.get(settings["trainer"], PAIR_COLUMNS)}
    if missing := sorted(wanted - set(columns_of(files["train"]))):
        seen.problems.append(
            f"set: {settings['set']} has no {', '.join(missing)}, and {settings['kind']} trains on {' or '.join(stage.SETS)} "
            "sets as Cuvee publishes them; name another set, or run the recipe again"
        )
        return None
    limit = settings["arguments"]["max_length"]
    total = sum(rows_of(files[split]) for split in ("train", "test"))
    with progress.step("preflight", total) as step:
        for split, shown in (("train", SAMPLES), ("test", 0)):
            seen.splits[split] = lengths(files[split], split, renderer, limit, shown, step)
    if not seen.splits["test"].rows:
        seen.warnings.append(
            "set: no row is held out, so there will be no held-out loss; `holdout: 0.05` holds some out"
        )
    _look_at_faults(seen, settings, renderer)
    _look_at_lengths(seen, settings, stage)
    if settings["arguments"].get("packing"):
        return int(limit)
    return min(int(limit), max(found.longest for found in seen.splits.values()))


def _look_at_faults(seen: Preflight, settings: Mapping[str, Any], renderer: Renderer) -> None:
    found = [*seen.splits.values()]
    rows = sum(one.rows for one in found)
    if recounted := sum(one.recounted for one in found):
        seen.warnings.append(
            f"set: {recounted:,} of {rows:,} rows have other lengths than {settings['dataset']} says: it was counted with "
            "another tokenizer or chat template than those of the model that is trained; what is told here is of the latter"
        )
    reasons = Counter[str]()
    for one in found:
        reasons += one.faults.reasons
    if too_long := reasons.pop(TOO_LONG, 0):
        seen.warnings.append(
            f"rows: {too_long:,} of {rows:,} are longer than {settings['start']['model']} reads, {renderer.max_length:,} tokens"
        )
    for reason, count in reasons.most_common(FAULTS):
        first = next(one.faults.examples[reason] for one in found if reason in one.faults.examples)
        seen.problems.append(
            f"rows: {count:,} of {rows:,} are not what would be trained; the first is of problem {first}. Build the set with "
            "the model that is trained as the recipe's `student`, or give the template that it was built with "
            "(`student.chat_template`)"
        )


def _look_at_lengths(seen: Preflight, settings: Mapping[str, Any], stage: OnRows) -> None:
    cut, limit = sum(one.cut for one in seen.splits.values()), settings["arguments"]["max_length"]
    if not cut:
        return
    longest = max(one.longest for one in seen.splits.values())
    rows = sum(one.rows for one in seen.splits.values())
    said = (
        f"max_length: {cut:,} of {rows:,} rows are longer than {limit:,} tokens and would be cut, the longest has {longest:,}; "
        "a row that is cut does not end, so the model is not taught to"
    )
    untrained = sum(one.untrained for one in seen.splits.values())
    if stage.max_length is None:
        seen.problems.append(f"{said}. Give max_length: {longest}, or a smaller one to have them cut")
    elif untrained == rows:
        seen.problems.append(
            f"max_length: {limit:,} tokens are filled by every row's prompt, so nothing would be trained; the longest row has "
            f"{longest:,}"
        )
    else:
        more = f"; of {untrained:,} nothing is trained, as the prompt alone fills it" if untrained else ""
        seen.warnings.append(f"{said}{more}")


def steps(arguments: Mapping[str, Any], train: Lengths, devices: int) -> Steps:
    """As transformers' Trainer counts them: a device that has no row left for a batch gets one again."""
    packed = bool(arguments.get("packing"))
    rows = -(-train.tokens // arguments["max_length"]) if packed else train.rows
    batches = -(-rows // (arguments["per_device_train_batch_size"] * devices))
    an_epoch = -(-batches // arguments["gradient_accumulation_steps"])
    limit = arguments.get("max_steps", -1)
    in_all = limit if limit > 0 else math.ceil(an_epoch * arguments.get("num_train_epochs", 1))
    return Steps(an_epoch, in_all, packed)


def _look_at_steps(seen: Preflight, arguments: Mapping[str, Any], batch_size: int) -> None:
    assert seen.steps is not None
    if not seen.steps.packed and batch_size > (rows := seen.splits["train"].rows):
        seen.warnings.append(
            f"batch_size: {batch_size:,} rows are more than the {rows:,} that there are: a step takes all of them, once"
        )
    warmup = arguments.get("warmup_steps", 0)
    if warmup >= 1 and warmup >= seen.steps.in_all:
        seen.warnings.append(
            f"warmup: the learning rate rises for {warmup:,} steps and there are {seen.steps.in_all:,}, so it never gets to "
            f"{arguments['learning_rate']:g}; give a share, such as warmup: 0.1, or more epochs"
        )


def _look_at_memory(seen: Preflight, settings: Mapping[str, Any], needed: Estimate, machine: Machine) -> None:
    """Weights, gradients and optimizer alone are certain; the rest is an estimate."""
    device = settings["arguments"]["per_device_train_batch_size"]
    shared = (
        " Several devices can share them out: --accelerate fsdp2"
        if machine.devices > 1 and machine.device == "cuda"
        else ""
    )
    alone = f"weights, gradients and optimizer alone take {told(needed.fixed)}"
    if needed.fixed > machine.memory * machine.devices or (needed.fixed > machine.memory and not shared):
        seen.problems.append(f"memory: {alone}, and {machine.name} has {told(machine.memory)}; {LESS}")
    elif needed.fixed > machine.memory:
        seen.warnings.append(
            f"memory: {alone}, and a device ({machine.name}) has {told(machine.memory)}.{shared}; or {LESS}"
        )
    elif needed.total > machine.free:
        smaller = (
            f"lower device_batch_size ({device}; batch_size, and with it the result, stays), " if device > 1 else ""
        )
        again = "" if settings["arguments"]["gradient_checkpointing"] else "gradient_checkpointing: true, "
        seen.warnings.append(
            f"memory: about {told(needed.total)} are needed and {told(machine.free)} of {told(machine.memory)} are free "
            f"({machine.name}), so it may well end out of memory; {smaller}{again}a smaller max_length, or {LESS}"
        )


def disk(settings: Mapping[str, Any], model: Size, needed: Estimate, folder: Path) -> Disk:
    """A new checkpoint is written before the oldest goes; what the folder has of them already is not needed again."""
    kept = settings["arguments"]["save_total_limit"] + 1
    checkpoint = (FP32 + STATES[optimizer(settings["arguments"]["optim"])]) * (
        needed.trained if settings["lora"] else model.parameters
    )
    there = sum(file.stat().st_size for file in (folder / CHECKPOINTS).rglob("*") if file.is_file())
    place = next(one for one in (folder, *folder.parents) if one.is_dir())
    wanted = kept * checkpoint + model.parameters * FP32
    return Disk(max(0, wanted - there), shutil.disk_usage(place).free)


def _plain(found: Lengths) -> dict[str, Any]:
    plain = {name: value for name, value in vars(found).items() if isinstance(value, int)}
    buckets = [{"up_to": tokens, "rows": rows} for tokens, rows in sorted(found.buckets.items())]
    samples = [{"id": row["id"], "segments": row["segments"]} for row in found.samples]
    return plain | {"lengths": buckets, "faults": found.faults.record(), "samples": samples}
