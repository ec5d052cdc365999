"""What goes on beside a training: metrics written as they come, checkpoints marked when whole, divergence stopped.

`watched(SFTTrainer)` is TRL's trainer with it. A loss or gradient that is no number ends the training before it reaches the
weights, so that what is saved is sound. A run that was interrupted and went on has the metrics of one that was not: every
step once, and no average over steps on both sides of a checkpoint.
"""

import functools
import json
import math
import shutil
import time
from typing import Any, TextIO

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.memory import peak_memory
from train.run import CHECKPOINTS, COMPLETE, METRICS, STARTED, Run, mark_whole, step_of

TOKENS = "num_tokens"
"""Tokens trained so far, as TRL counts them: from 0 in every process."""


class Diverged(ArithmeticError):
    """A loss or a gradient is no number."""


@functools.cache
def watched(trainer: type[Any]) -> type[Any]:
    """The trainer, which raises Diverged before a step that would spoil the weights."""

    class Watched(trainer):  # type: ignore[misc]  # TRL has no types
        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*args, **kwargs)
            self._check("the loss", loss)
            return loss

        def _clip_grad_norm(self, model: Any) -> Any:
            norm = super()._clip_grad_norm(model)
            self._check("the gradient", norm)
            return norm

        def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
            # From a checkpoint of the last step transformers would go on for one more.
            if self.state.global_step < self.state.max_steps:
                super()._run_epoch(*args, **kwargs)

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            """None: TRL would write one among the checkpoints."""

        def _check(self, what: str, value: Any) -> None:
            number = float(value)
            if not math.isfinite(number):
                rate = self.lr_scheduler.get_last_lr()[0] if self.lr_scheduler is not None else math.nan
                raise Diverged(
                    f"{what} is {number} at step {self.state.global_step + 1} (learning rate {rate:g}); the weights are as they "
                    "were before it. Lower learning_rate, raise warmup, or lower max_grad_norm"
                )

    Watched.__name__ = trainer.__name__
    return Watched


def begin(run: Run) -> str | None:
    """Makes a run ready to go on: the newest whole checkpoint (None: from the start), nothing behind it.

    A checkpoint that was being written when the process died is removed, and so are the metrics of steps that are done again.
    """
    whole = run.checkpoints
    for folder in (run.folder / CHECKPOINTS).glob("checkpoint-*"):
        if folder not in whole:
            shutil.rmtree(folder)
    last = whole[-1] if whole else None
    done = step_of(last) if last is not None else -1
    kept = [line for line in run.metrics() if line["step"] <= done]
    run.folder.mkdir(parents=True, exist_ok=True)
    temporary = run.folder / f".{METRICS}"
    temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    temporary.replace(run.folder / METRICS)
    return str(last) if last is not None else None


class Record(TrainerCallback):
    """Writes metrics.jsonl and started.json, marks checkpoints that are whole, and keeps as many of them as are wanted."""

    def __init__(self, run: Run, resumed: int, keep: int | None, held_out: bool, counts_on: bool = False) -> None:
        """counts_on: whether the trainer's count of tokens goes on from a checkpoint, as those of RL do."""
        self.run, self.resumed, self.keep, self.held_out = run, resumed, keep, held_out
        self._tokens = 0 if counts_on else max((line.get(TOKENS, 0) for line in run.metrics()), default=0)
        self._out: TextIO | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            model = kwargs["model"]
            sizes = [(one.numel(), one.requires_grad) for one in model.parameters()]
            trained = sum(size for size, learns in sizes if learns)
            about = {"steps": state.max_steps, "from_step": self.resumed, "parameters": sum(size for size, _ in sizes)}
            self.run.write(STARTED, about | {"trained_parameters": trained})

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # What is logged is an average since the line before: with one at every checkpoint none is cut in two. The held-out
        # rows are measured before the last checkpoint, so that what goes on from it does not measure them again.
        control.should_log |= control.should_save
        control.should_evaluate |= self.held_out and state.global_step >= state.max_steps

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        # NaN is no JSON: what is not a number is unknown.
        known: dict[str, Any] = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in logs.items()
        }
        known |= {"time": round(time.time(), 3), "peak_memory": peak_memory()}
        counted = {name: known[name] + self._tokens for name in (TOKENS, f"eval_{TOKENS}") if name in known}
        self.write({"step": state.global_step} | known | counted)

    def write(self, line: dict[str, Any]) -> None:
        """A line of metrics.jsonl."""
        if self._out is None:
            self._out = (self.run.folder / METRICS).open("a", encoding="utf-8")
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        PartialState().wait_for_everyone()  # every process writes the state of its random numbers
        if not state.is_world_process_zero:
            return
        folder = self.run.folder / CHECKPOINTS / f"checkpoint-{state.global_step}"
        mark_whole(folder)
        # Not left to transformers, which removes the old ones before this one has its mark.
        for old in self.run.checkpoints[: -self.keep] if self.keep else []:
            (old / COMPLETE).unlink()
            shutil.rmtree(old)
