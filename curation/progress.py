"""Progress of long work: a bar a step on a terminal, plain lines elsewhere.

    with progress.step("sample", total=2400, unit="samples") as step:
        step.advance(1, tokens=12)

Rates and the time left come from what was done in this run, so work found in the store does not flatter them.
"""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import TextIO

SECONDS_BETWEEN_LINES = 10.0


class Step:
    """One step's count, and how it is shown."""

    def __init__(self, out: TextIO, name: str, total: int | None, unit: str, quiet: bool) -> None:
        self.out, self.name, self.total, self.unit, self.quiet = out, name, total, unit, quiet
        self.done = 0
        self.also: Counter[str] = Counter()
        self.started = self.shown = time.monotonic()
        self.terminal = out.isatty() and not quiet

    def advance(self, count: int = 1, **also: int) -> None:
        """Counts work done. `also` counts other things by name, shown as rates: advance(1, tokens=12)."""
        self.done += count
        self.also.update(also)
        now = time.monotonic()
        if now - self.shown >= (0.2 if self.terminal else SECONDS_BETWEEN_LINES):
            self.shown = now
            self._show(end=False)

    def note(self, text: str) -> None:
        """A few plain words about what is going on."""
        if not self.quiet:
            self._print(f"{self.name}: {text}")

    def finish(self) -> None:
        if self.done:
            self._show(end=True)

    def _show(self, end: bool) -> None:
        if self.quiet:
            return
        seconds = max(time.monotonic() - self.started, 1e-9)
        rates = [f"{self.done / seconds:,.0f} {self.unit}/s"]
        rates += [f"{count / seconds:,.0f} {name}/s" for name, count in self.also.items()]
        of = f"/{self.total:,}" if self.total is not None else ""
        line = f"{self.name:<12} {self.done:,}{of} {self.unit}  {'  '.join(rates)}"
        if end:
            line += f"  {clock(seconds)}"
        elif self.total is not None and self.done:
            line += f"  {clock(seconds * (self.total - self.done) / self.done)} left"
        if not self.terminal:
            self._print(line)
            return
        bar = ""
        if self.total:
            filled = round(20 * min(1, self.done / self.total))
            bar = f"{'━' * filled}{'╺' * (20 - filled)} "
        self.out.write(f"\r\x1b[2K{bar if not end else ''}{line}{chr(10) if end else ''}")
        self.out.flush()

    def _print(self, line: str) -> None:
        self.out.write(("\r\x1b[2K" if self.terminal else "") + line + "\n")
        self.out.flush()


class Progress:
    """Where steps are shown: standard error unless said otherwise."""

    def __init__(self, out: TextIO | None = None, quiet: bool = False) -> None:
        self.out = out if out is not None else sys.stderr
        self.quiet = quiet

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Step]:
        step = Step(self.out, name, total, unit, self.quiet)
        try:
            yield step
        finally:
            step.finish()

    def line(self, text: str) -> None:
        if not self.quiet:
            self.out.write(text + "\n")
            self.out.flush()


def clock(seconds: float) -> str:
    """4 s, 1 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
