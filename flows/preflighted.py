"""What was looked at before a stage is trained, as printed."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation.inspect.bars import bar
from curation.inspect.visible import visible
from distill.inspect import rendered
from flows.telling import say
from train.memory import Estimate, told
from train.preflight import Preflight
from train.rl_preflight import RLPreflight
from train.rows import Lengths

PARTS = ("weights", "gradients", "optimizer", "activations", "head", "process")


def show(console: Console, seen: Preflight) -> None:
    """Prints rows, lengths, steps, memory and disk; then what is in the way."""
    train = seen.splits.get("train")
    if train is not None and train.rows:
        console.print()
        rendered.show(console, train.samples, seen.tags, whole=False, why_not=None)
        _show_lengths(console, seen.splits)
        for note in seen.notes:
            say(console, f"template: {note}")
    if isinstance(seen, RLPreflight):
        _show_problems(console, seen)
    if seen.steps is not None:
        least = "at least " if seen.steps.packed else ""
        say(
            console,
            f"steps: {least}{seen.steps.an_epoch:,} an epoch, {least}{seen.steps.in_all:,} in all",
        )
    if seen.memory is not None:
        _show_memory(console, seen, seen.memory)
    if seen.disk is not None:
        say(
            console,
            f"disk: at most {told(seen.disk.needed)} for checkpoints and the model, {told(seen.disk.free)} free",
        )
    for style, lines in (("yellow", seen.warnings), ("red", seen.problems)):
        for line in lines:
            console.print(Text(visible(line), style), soft_wrap=True)


def _show_problems(console: Console, seen: RLPreflight) -> None:
    """What the policy is asked, and what it would be paid."""
    console.print()
    for text in seen.shown:
        for line in text.splitlines() or [""]:
            console.print(Text(f"│ {visible(line)}"), soft_wrap=True)
        console.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("split", "problems", "tokens", "longest", "open a think block"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split, found in seen.prompts.items():
        table.add_row(split, *(f"{count:,}" for count in (found.rows, found.tokens, found.longest, found.opened)))
    console.print(table)
    if seen.tried:
        console.print()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("a completion that gives", "right", "wrong", "unknown", "reward"):
            table.add_column(name, justify="left" if name.startswith("a ") else "right")
        for one in seen.tried:
            mean = "unknown" if one.mean is None else f"{one.mean:.3g}"
            table.add_row(one.kind, *(f"{count:,}" for count in (one.right, one.wrong, one.unknown)), mean)
        console.print(table)
    console.print()
    if seen.band is not None:
        say(console, str(seen.band))


def _show_lengths(console: Console, splits: dict[str, Lengths]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("split", "rows", "tokens", "trained", "think", "longest row"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split, found in splits.items():
        counts = (found.rows, found.tokens, found.trained, found.thinking, found.longest)
        table.add_row(split, *(f"{count:,}" for count in counts))
    console.print(table)
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tokens of a row", justify="right")
    table.add_column("rows", justify="right")
    table.add_column("")
    buckets = splits["train"].buckets
    for tokens, rows in sorted(buckets.items()):
        table.add_row(f"up to {tokens:,}", f"{rows:,}", bar(rows, max(buckets.values())))
    console.print(table)
    console.print()


def _show_memory(console: Console, seen: Preflight, needed: Estimate) -> None:
    machine = seen.machine
    several = f"each of {machine.devices} devices" if machine.devices > 1 else machine.name
    parts = ", ".join(f"{name} {told(getattr(needed, name))}" for name in PARTS)
    say(console, f"parameters: {needed.trained:,} trained of {needed.parameters:,}")
    say(
        console,
        f"memory: about {told(needed.total)} on {several}, which has {told(machine.memory)}, {told(machine.free)} free",
    )
    say(console, f"  {parts}")
