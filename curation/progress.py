"""Progress of long work: one line a step, with a bar on a terminal and as plain lines elsewhere.

    with progress.step("pass_rate", total=2400, unit="samples") as step:
        step.advance(1, tokens=12)

Rates and the time left come from what this run did, so that work found in the workspace does not flatter them.
"""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from curation.inspect.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FRAMES = 0.2
SECONDS_BEFORE_ESTIMATE = 5.0
"""What comes first says little of how fast the rest will come: workers start, caches fill."""


class Step:
    """One step: what is done of how much, and how fast."""

    def __init__(self, progress: "Progress", name: str, total: int | None, unit: str) -> None:
        self.progress, self.name, self.total, self.unit = progress, name, total, unit
        self.done, self.about = 0, ""
        self.said = ""
        """What else there is to tell: the loss of a training."""
        self.also: Counter[str] = Counter()
        self.started = self.shown = time.monotonic()
        self._first: tuple[float, int] | None = None
        """When the first work was done, and how much: what the time left is told from."""

    def advance(self, count: int = 1, **also: int) -> None:
        """Counts what was done; `also` counts other things by name, told as rates: advance(1, tokens=12)."""
        self.done += count
        self.also.update(also)
        now = time.monotonic()
        if self._first is None:
            self._first = now, self.done
        if now - self.shown >= self.progress.interval:
            self.shown = now
            self.progress.show(self)

    def expect(self, total: int) -> None:
        """Says anew how much there is to do, where that shows only as it is done."""
        self.total, self.about = total, "~"

    def line(self, end: bool = False) -> str:
        """Done of total, rates, and the time left (or taken, at the end)."""
        now = time.monotonic()
        seconds = max(now - self.started, 1e-9)
        of = f"/{self.about}{self.total:,}" if self.total is not None and not (end and self.about) else ""
        parts = [f"{self.done:,}{of} {self.unit}", f"{_rate(self.done / seconds)} {self.unit}/s"]
        parts += [f"{_rate(count / seconds)} {name}/s" for name, count in self.also.items()]
        if self.said:
            parts.append(self.said)
        if end:
            parts.append(clock(seconds))
        elif self.total is not None and self._first is not None:
            since, before = self._first
            if now - since >= SECONDS_BEFORE_ESTIMATE and self.done > before:
                parts.append(f"{clock((now - since) * (self.total - self.done) / (self.done - before))} left")
        return "  ".join(parts)


class Progress:
    """Where progress is told: standard error unless said otherwise."""

    def __init__(self, out: TextIO | None = None, quiet: bool = False) -> None:
        self.out = out if out is not None else sys.stderr
        self.quiet = quiet
        self.terminal = self.out.isatty() and not quiet
        self.interval = SECONDS_BETWEEN_FRAMES if self.terminal else SECONDS_BETWEEN_LINES
        self._bar: Bar | None = None

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Step]:
        """A step for the length of the block; a step in which nothing was done is not told."""
        step = Step(self, name, total, unit)
        try:
            if self.terminal:
                with self._drawn() as self._bar:
                    self._bar.add_task(name, total=total, told=step.line())
                    yield step
            else:
                yield step
        finally:
            self._bar = None
            if step.done:
                self.line(f"{name:<12} {step.line(end=True)}")

    def show(self, step: Step) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step.done, total=step.total, told=step.line())
        else:
            self.line(f"{step.name:<12} {step.line()}")

    def line(self, text: str) -> None:
        """A few plain words; above the bar when there is one."""
        if self.quiet:
            return
        text = visible(text)  # a server may have had a say in it
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self.out.write(text + "\n")
            self.out.flush()

    def _drawn(self) -> "Bar":
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        name, told = TextColumn("{task.description:<12}"), TextColumn("{task.fields[told]}", markup=False)
        return Bar(name, BarColumn(bar_width=24), told, console=Console(file=self.out), transient=True)


def _rate(rate: float) -> str:
    return f"{rate:.1g}" if 0 < rate < 0.95 else f"{rate:,.0f}"


def clock(seconds: float) -> str:
    """4 s, 1 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
