"""A training stage as printed: what it comes to before it starts, what came of it after."""

from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.inspect.visible import visible
from flows.telling import say
from flows.train import Prepared
from train.rewards.watch import PROXY, RECENT
from train.run import METRICS, Run

BEFORE_AFTER = (
    ("eval_loss", "held-out loss"),
    ("eval_completions/correct", "held-out accuracy"),
    ("eval_rewards/margins", "held-out margin"),
    ("eval_margin", "held-out margin"),
    ("eval_rewards/accuracies", "held-out pairs right"),
    ("eval_accuracy", "held-out pairs right"),
)
"""What is told of the held-out rows, by TRL's names."""


def show_settings(console: Console, prepared: Prepared) -> None:
    """Every setting, where it comes from, and TRL's own default where that is another."""
    start = prepared.settings["start"]
    absent = f" (in place of {start['instead_of']}, which is not trained yet)" if "instead_of" in start else ""
    about = f"{prepared.stage.KIND} on {prepared.stage.set} of {prepared.settings['dataset']}"
    console.print()
    say(console, f"{prepared.name}: {about}, from {start['model']}{absent}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("setting", "value", "from", "TRL's default"):
        table.add_column(name, overflow="fold")
    for one in prepared.resolved.settings:
        value = f"{one.value:g}" if isinstance(one.value, float) else str(one.value)
        table.add_row(one.name, visible(value), visible(one.origin), one.trl)
    console.print(table)


def outcome(run: Run) -> dict[str, Any]:
    """What came of a stage, as plain data."""
    lines = run.metrics()
    losses = [line["loss"] for line in lines if "loss" in line]
    held = [line for line in lines if any(name in line for name, _ in BEFORE_AFTER)]
    rewards = [line[PROXY] for line in lines if line.get(PROXY) is not None]
    some = max(1, min(RECENT, len(rewards) // 2))
    data: dict[str, Any] = {
        "model": str(run.folder / "model"),
        "steps": max((line["step"] for line in lines), default=0),
    }
    data["loss"] = {"first": losses[0], "last": losses[-1]} if losses else None
    data["reward"] = {"first": fmean(rewards[:some]), "last": fmean(rewards[-some:])} if rewards else None
    data["held_out"] = {
        name: {"before": held[0][name], "after": held[-1][name]}
        for name, _ in BEFORE_AFTER
        if len(held) > 1 and name in held[0] and name in held[-1]
    }
    return data


def show_outcome(console: Console, name: str, run: Run) -> None:
    """The loss or the reward (of the first and the last lines), what became of the held-out rows, and where the model is."""
    data = outcome(run)
    kind = "loss" if data["reward"] is None else "reward"  # the loss of RL says nothing
    told = [] if data[kind] is None else [f"{kind} {_number(data[kind]['first'])} to {_number(data[kind]['last'])}"]
    told += [
        f"{label} {_number(data['held_out'][key]['before'])} to {_number(data['held_out'][key]['after'])}"
        for key, label in BEFORE_AFTER
        if key in data["held_out"]
    ]
    say(console, f"{name}: {data['steps']} steps, {', '.join(told)}")
    say(console, f"  model    {run.folder / 'model'}")
    say(console, f"  metrics  {run.folder / METRICS}; tensorboard --logdir {run.folder / 'tensorboard'}")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
