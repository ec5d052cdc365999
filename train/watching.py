"""What goes on beside a training: metrics written as they come, checkpoints marked when whole, divergence stopped.

`watched(SFTTrainer)` is TRL's trainer with it. A loss or gradient that is no number ends the training before it reaches the
weights, so that what is saved is sound.
"""

import functools
import json
import math
import shutil
from typing import Any, TextIO

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.run import CHECKPOINTS, COMPLETE, METRICS, STARTED, Run, step_of, sync

SUMMARY = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss")
"""What transformers logs at the end about the whole."""


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
    """Writes metrics.jsonl and started.json, and marks checkpoints that are whole."""

    def __init__(self, run: Run, resumed: int) -> None:
        self.run, self.resumed = run, resumed
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
        if self._out is None:
            self._out = (self.run.folder / METRICS).open("a", encoding="utf-8")
        # NaN is no JSON: what is not a number is unknown.
        known = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in logs.items()
            if name not in SUMMARY
        }
        self._out.write(json.dumps({"step": state.global_step} | known) + "\n")
        self._out.flush()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = self.run.folder / CHECKPOINTS / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            for file in folder.rglob("*"):
                sync(file)
            (folder / COMPLETE).touch()
            sync(folder / COMPLETE)
            sync(folder)
