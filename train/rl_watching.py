"""What goes on beside RL: alarms of train/rewards/watch.py told once each, and checkpoints where a batch of rollouts ends."""

import logging
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.rewards.watch import alarms
from train.run import ALARM, Run
from train.watching import Record

HELD_OUT_PREFIX = "eval_"
RIGHT = f"{HELD_OUT_PREFIX}completions/correct"
"""The held-out accuracy, as metrics.jsonl has it."""
logger = logging.getLogger(__name__)


class Hopeless(RuntimeError):
    """Going on trains nothing."""


class Alarms(TrainerCallback):
    """Tells what is wrong, as a warning in the log and as a line of the metrics; ends the stage where it is hopeless.

    It stands behind Record among the callbacks, whose lines it reads.
    """

    def __init__(self, run: Run, record: Record) -> None:
        self.record = record
        lines = run.metrics()
        self._lines = [line for line in lines if ALARM not in line]
        self._told = {line[ALARM] for line in lines if ALARM in line}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "train_runtime" in logs:
            return
        self._lines.append({"step": state.global_step} | logs)
        for alarm in alarms(self._lines, held_out=RIGHT):
            if alarm.kind not in self._told:
                self._told.add(alarm.kind)
                logger.warning("step %d: %s", state.global_step, alarm.message)
                if state.is_world_process_zero:
                    self.record.write({"step": state.global_step, ALARM: alarm.kind, "message": alarm.message})
            if alarm.hopeless:
                raise Hopeless(f"step {state.global_step}: {alarm.message}")


class BetweenBatches(TrainerCallback):
    """Puts a checkpoint off to the end of a batch of rollouts: a process that goes on has lost those that it trained on.

    It stands before Record among the callbacks.
    """

    def __init__(self, updates: int) -> None:
        """updates: optimizer steps on a batch of rollouts."""
        self.updates = updates
        self._owed = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        between = state.global_step % self.updates == 0 or state.global_step >= state.max_steps
        self._owed |= control.should_save
        control.should_save = self._owed and between
        self._owed &= not between
