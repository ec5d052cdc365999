"""The curriculum under TRL: the sampler that GRPOTrainer's `_get_train_sampler` gives, and what keeps it with checkpoints.

TRL asks for a batch of rollouts (`size` problems, `generations` answers each) and trains on it for `repeats` batches of the data
loader, which all have to name the same rows: `repeats` is steps_per_generation * num_iterations, as in TRL's RepeatSampler.
Three things move under it:

    reading ahead   transformers takes all batches of an optimizer step at once, accelerate one more, and loader processes
                    more still. `lag` says how many batches of rollouts are decided before the outcomes of one are there.
    going on        transformers winds the loader forward: of an epoch that was begun the batches that were trained are asked
                    for again and thrown away. They are not decided again: any row stands for them.
    processes       each has a sampler of its own, takes its share of every batch, and must decide the same: so each reports
                    the outcomes of all processes (`gather_object` of ids, and TRL gathers rewards itself).

TRL counts the batches of the loader from 0 when it goes on, and has lost the rollouts it was training on. A checkpoint in the
middle of a batch of rollouts would have the counts apart for good, so saving waits for the batch's end.

    sampler = follow(stage.curriculum, Measured.of(rows, stage.curriculum), config, seed)
    restore(sampler.problems, checkpoint)                       # when there is one
    trainer = Trainer(callbacks=[KeepsCurriculum(sampler), Record(...)], ...)
    sampler.problems.report(outcomes(ids, rewards))             # by the trainer, of every batch of rollouts
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.curriculum.measured import CurriculumError, Measured
from train.curriculum.problems import ProblemSampler
from train.curriculum.settings import Curriculum

FILE = "curriculum.json"
"""In a checkpoint's folder."""
THROWN_AWAY = 0
"""The row that stands for those of batches that are wound past."""
PREFETCH = 2
"""Batches that a loader process has ready, where nothing else is asked for (torch)."""


class CurriculumSampler(Sampler[int]):
    """The rows of the training loader, an epoch at a time: as many batches as TRL's own sampler gives."""

    def __init__(self, problems: ProblemSampler, generations: int, repeats: int) -> None:
        """generations: answers a problem. repeats: batches of the loader that one batch of rollouts is trained for."""
        self.problems, self.generations, self.repeats = problems, generations, repeats
        self.epoch_batches = len(problems.measured.ids) // problems.size
        self.epoch = 0
        self.done = 0
        """Batches that were trained before this process began."""

    def __len__(self) -> int:
        return self.epoch_batches * self.problems.size * self.generations * self.repeats

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.epoch_batches
        for number in range(first, first + self.epoch_batches):
            wound = number < self.done
            places = [THROWN_AWAY] * self.problems.size if wound else self.problems.batch(number)
            for _ in range(self.repeats):
                for place in places:
                    yield from [place] * self.generations


def follow(settings: Curriculum, measured: Measured, arguments: Any, seed: int) -> CurriculumSampler:
    """The sampler of a stage. arguments: GRPOConfig, or one that has its fields. Raises CurriculumError."""
    repeats = arguments.steps_per_generation * arguments.num_iterations
    size = arguments.generation_batch_size // arguments.num_generations
    accumulation, epoch = arguments.gradient_accumulation_steps, len(measured.ids) // size
    steps = arguments.max_steps
    if steps <= 0:  # as transformers counts them
        steps = math.ceil(arguments.num_train_epochs * -(-epoch * repeats // accumulation))
    whole, beyond = trained(steps, epoch, repeats, accumulation)
    problems = ProblemSampler(
        settings, measured, size=size, batches=whole + (beyond > 0), seed=seed, lag=lag(arguments, repeats)
    )
    return CurriculumSampler(problems, arguments.num_generations, repeats)


def lag(arguments: TrainingArguments, repeats: int) -> int:
    """Batches of rollouts that are decided before the outcomes of one are there.

    When the loader is asked for its batch j, those from j - gradient_accumulation_steps on may not be trained, and as many fewer
    as its processes hold ready; rollouts are drawn at the first of every `repeats`.
    """
    ready = arguments.dataloader_num_workers * (arguments.dataloader_prefetch_factor or PREFETCH)
    return (arguments.gradient_accumulation_steps + ready) // repeats


def trained(step: int, epoch: int, repeats: int, accumulation: int) -> tuple[int, int]:
    """Batches of rollouts that are trained after an optimizer step, and batches of the loader beyond them.

    epoch: batches of rollouts in one. accumulation: batches of the loader a step; an epoch's last step may have fewer.
    """
    loaded = epoch * repeats
    epochs, steps = divmod(step, max(-(-loaded // accumulation), 1))
    return divmod(epochs * loaded + min(steps * accumulation, loaded), repeats)


class KeepsCurriculum(TrainerCallback):
    """Tells the sampler where training is, and writes its state into every checkpoint.

    It stands before what marks a checkpoint as whole (watching.Record) among the callbacks.
    """

    def __init__(self, sampler: CurriculumSampler) -> None:
        self.sampler = sampler
        self._owed = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.ignore_data_skip:
            raise CurriculumError(
                "trl.ignore_data_skip: true trains on rows again that stand for trained ones; leave it out"
            )
        done, decided = self._trained(args, state)[0], self.sampler.problems.decided
        if done > decided or (decided and not done):
            raise CurriculumError(
                f"training goes on from step {state.global_step}, and the curriculum from batch {decided}: restore it from the "
                "checkpoint that is gone on from"
            )
        self.sampler.done = done

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.sampler.epoch = self._trained(args, state)[0] // self.sampler.epoch_batches

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        between = not self._trained(args, state)[1] or state.global_step >= state.max_steps
        self._owed |= control.should_save
        control.should_save = self._owed and between
        self._owed &= not between

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            file = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}" / FILE
            file.write_text(json.dumps(self.sampler.problems.state()), encoding="utf-8")

    def _trained(self, args: TrainingArguments, state: TrainerState) -> tuple[int, int]:
        of = self.sampler
        return trained(state.global_step, of.epoch_batches, of.repeats, args.gradient_accumulation_steps)


def restore(problems: ProblemSampler, checkpoint: str | Path) -> None:
    """Goes on from the state in a checkpoint's folder. Raises CurriculumError when there is none, or it does not fit."""
    file = Path(checkpoint) / FILE
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CurriculumError(
            f"{file}: cannot be read ({error}); the stage was begun without a curriculum, or the file is damaged: go on "
            "without `curriculum`, or begin the stage again"
        ) from error
    problems.restore(state)
