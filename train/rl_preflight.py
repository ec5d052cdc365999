"""What is looked at before a step of RL is paid for: prompts as tokens of the policy, groups, rewards, memory, disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.progress import Progress, Step
from curation.prompt import Prompt
from distill.staging import length_bucket
from distill.tokenized import positions
from train.band import Band
from train.curriculum.measured import CurriculumError, Measured
from train.curriculum.problems import ProblemSampler
from train.memory import Machine
from train.preflight import Preflight, Steps, look_at_machine
from train.prompting import Asked, ask, tokenizer_of
from train.rewards.accuracy import ungradable
from train.rl_stage import RLStage
from train.tried import Tried, tried

SHOWN, TRIED = 3, 64
"""Prompts that are shown; problems that the rewards are tried on (tried.py)."""
BATCH = 1024
LOST = 0.98
"""Share of groups that are expected to be all equal, from which on a stage is refused."""
MANY = 0.5
"""And from which on it is said."""


@dataclass
class Prompts:
    """A split's problems as the policy is asked them, in tokens."""

    rows: int = 0
    tokens: int = 0
    longest: int = 0
    too_long: int = 0
    """Those that leave less than `max_tokens` of the model's positions."""
    opened: int = 0
    """Those that end inside a think block."""
    buckets: Counter[int] = field(default_factory=Counter)
    """Problems by the power of two that holds their prompt."""


@dataclass
class RLPreflight(Preflight):
    """What was found of a stage of RL."""

    prompts: dict[str, Prompts] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    """Prompts, spread over the set, as the policy sees them."""
    band: Band | None = None
    tried: list[Tried] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        found = super().record()
        del found["splits"]
        prompts = {
            split: {
                **asdict(one),
                "buckets": [{"up_to": tokens, "rows": rows} for tokens, rows in sorted(one.buckets.items())],
            }
            for split, one in self.prompts.items()
        }
        band = None if self.band is None else asdict(self.band) | {"all_equal": self.band.all_equal}
        tried = [
            {
                "kind": one.kind,
                "right": one.right,
                "wrong": one.wrong,
                "unknown": one.unknown,
                "reward": one.mean,
            }
            for one in self.tried
        ]
        return found | {"prompts": prompts, "groups": band, "rewards": tried, "shown": self.shown}


def look(
    settings: Mapping[str, Any],
    stage: RLStage,
    machine: Machine,
    folder: Path,
    band: Band | None,
    progress: Progress | None = None,
) -> RLPreflight:
    """Looks at a stage; nothing is written.

    settings: of the run (settings.json). folder: the run's. band: what the measured pass rates say. Raises what reading the
    rows and the tokenizer raises.
    """
    seen = RLPreflight(settings["stage"], machine, ("<think>", "</think>"), band=band)
    tokenizer = tokenizer_of(settings["start"])
    limit, known = (
        settings["arguments"]["max_completion_length"],
        positions(settings["start"]["model"], settings["start"]["revision"]),
    )
    total = sum(pq.read_metadata(file).num_rows for files in settings["data"].values() for file in files)
    chosen: list[tuple[dict[str, Any], Asked]] = []
    verifiers = Counter[str | None]()
    with (progress or Progress(quiet=True)).step("preflight", total) as step:
        for split, files in settings["data"].items():
            room = None if known is None else known - limit
            taken = _read(seen, split, files, settings, tokenizer, room, verifiers, step)
            chosen += taken if split == "train" else []
    train = seen.prompts["train"]
    seen.shown = [
        tokenizer.decode(one.ids, skip_special_tokens=False)
        for _, one in chosen[:: max(1, len(chosen) // SHOWN)][:SHOWN]
    ]
    seen.problems += [
        f"set: {one}"
        for one in ungradable(
            [{"verifier": name} for name in verifiers.elements()], judged=settings.get("judge") is not None
        )
    ]
    _look_at_prompts(seen, settings, known)
    seen.steps = _steps(settings["arguments"], stage, train.rows)
    _look_at_steps(seen, settings, stage, train.rows)
    _look_at_groups(seen)
    _look_at_curriculum(seen, settings, stage)
    if not seen.problems:
        trial = tried(settings, stage.rewards, seen.steps.in_all, tokenizer, chosen)
        seen.tried, seen.problems, seen.warnings = trial.kinds, trial.problems, [*seen.warnings, *trial.warnings]
    longest = max(one.longest for one in seen.prompts.values()) + limit
    look_at_machine(seen, settings, folder, longest)
    return seen


def _read(
    seen: RLPreflight,
    split: str,
    files: Sequence[str],
    settings: Mapping[str, Any],
    tokenizer: Any,
    room: int | None,
    verifiers: Counter[str | None],
    step: Step,
) -> list[tuple[dict[str, Any], Asked]]:
    """Asks every problem of a split; gives some, spread over it. room: tokens that a prompt may have."""
    prompts = {source: Prompt.model_validate(one) for source, one in settings["prompts"].items()}
    found = seen.prompts[split] = Prompts()
    total = sum(pq.read_metadata(file).num_rows for file in files)
    places = {number * total // TRIED for number in range(TRIED)}
    taken = []
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(BATCH, columns=list(settings["columns"])):
            for row in batch.to_pylist():
                asked = ask(tokenizer, prompts[row["source"]], row)
                if found.rows in places:
                    taken.append((row, asked))
                verifiers[row["verifier"]] += 1
                found.rows += 1
                found.tokens += len(asked.ids)
                found.longest = max(found.longest, len(asked.ids))
                found.too_long += room is not None and len(asked.ids) > room
                found.opened += asked.opened
                found.buckets[length_bucket(len(asked.ids))] += 1
            step.advance(batch.num_rows)
    return taken


def _look_at_prompts(seen: RLPreflight, settings: Mapping[str, Any], known: int | None) -> None:
    found, limit = [*seen.prompts.values()], settings["arguments"]["max_completion_length"]
    if known is None:
        seen.warnings.append(f"prompts: {settings['start']['model']} does not say how many tokens it reads")
    elif too_long := sum(one.too_long for one in found):
        longest = max(one.longest for one in found)
        said = (
            f"prompts: {too_long:,} of {sum(one.rows for one in found):,} and max_tokens ({limit:,}) together are more than the "
            f"{known:,} tokens that {settings['start']['model']} reads; the longest prompt has {longest:,}"
        )
        remedy = (
            f"lower max_tokens to {known - longest:,}, or leave the longest problems out (`where` of the set)"
            if known > longest
            else "leave the longest problems out (`where` of the set)"
        )
        seen.problems.append(f"{said}; {remedy}")
    if not seen.prompts["test"].rows:
        seen.warnings.append(
            "set: no problem is held out, so nothing will show whether the reward stands for what it should; `holdout: 0.05` "
            "holds some out"
        )


def _steps(arguments: Mapping[str, Any], stage: RLStage, rows: int) -> Steps:
    """A batch of rollouts that is not full is left out, as TRL does."""
    an_epoch = rows // stage.problems * stage.updates * stage.passes
    limit = arguments.get("max_steps", -1)
    return Steps(an_epoch, limit if limit > 0 else -int(-an_epoch * arguments.get("num_train_epochs", 1) // 1), False)


def _look_at_steps(seen: RLPreflight, settings: Mapping[str, Any], stage: RLStage, rows: int) -> None:
    if rows < stage.problems:
        size = rows * stage.group
        seen.problems.append(
            f"set: {settings['set']} has {rows:,} problems, and a batch of rollouts takes {stage.problems:,} (batch_size "
            f"{stage.batch_size:,} * updates {stage.updates:,} / group {stage.group:,}); lower batch_size * updates to "
            f"{size:,} at most, or widen the band"
        )
    assert seen.steps is not None
    warmup = settings["arguments"].get("warmup_steps", 0)
    if seen.steps.in_all and 1 <= warmup >= seen.steps.in_all:
        seen.warnings.append(
            f"warmup: the learning rate rises for {warmup:,} steps and there are {seen.steps.in_all:,}, so it never gets to "
            f"{settings['arguments']['learning_rate']:g}; give a share, such as warmup: 0.1, or more epochs"
        )


def _look_at_groups(seen: RLPreflight) -> None:
    if seen.band is None or seen.band.all_equal < MANY:
        return
    easy = seen.band.all_right >= seen.band.all_wrong
    remedy = "less often (a rule such as `learnable: passes <= 6`)" if easy else "more often (`learnable: passes >= 1`)"
    found = seen.problems if seen.band.all_equal >= LOST else seen.warnings
    found.append(f"{seen.band}; keep problems that are solved {remedy}, or raise `group`")


def _look_at_curriculum(seen: RLPreflight, settings: Mapping[str, Any], stage: RLStage) -> None:
    """Whether the set has what the curriculum goes by."""
    if stage.curriculum is None or seen.prompts["train"].rows < stage.problems:
        return
    rows = pa.concat_tables([pq.read_table(file) for file in settings["data"]["train"]])
    try:
        measured = Measured.of(rows, stage.curriculum)
        ProblemSampler(stage.curriculum, measured, size=stage.problems, batches=1, seed=settings["seed"])
    except CurriculumError as error:
        seen.problems.append(str(error))
