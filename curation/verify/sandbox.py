"""A program in a sandbox: a Python interpreter in bubblewrap, under limits, with a pipe in and a pipe out.

What it can see is told in `bubblewrap.py`, how it begins in `sandbox_entry.py`. All its processes end with it, and it
ends with the thread that started it.

Limits: by the kernel, for each process, CPU seconds, address space, open files, the size of a file; for each sandbox,
processes and threads. By this process, which looks ten times a second while it waits to read or to write, for all
processes together: memory, CPU seconds (a process may switch its own timers off), and sleep. Sleep is wall time in
which they neither ran nor wanted a CPU, so that no program is taken for a sleeper because the machine is busy.
"""

import contextlib
import functools
import importlib.util
import itertools
import marshal
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Self

from curation.verify.bubblewrap import INSTALL, command
from curation.verify.process_tree import usage
from curation.verify.sandbox_entry import BOOT, READY
from curation.verify.syscalls import seccomp_filter

_FIRST_UID = 1_000_000_000
_ENTRY = "curation.verify.sandbox_entry"
_TICK_MILLISECONDS = 100
_LAST_SECONDS = 2
_PIPE_BYTES = select.PIPE_BUF
"""What a pipe takes without blocking once it is writable."""
_CPU_SLACK = 0.5
"""CPU seconds to start in, and for limits inside to tell first."""
_MAX_LINE = 32 << 20
_SIGNALLED = 128
"""Exit codes above it are signals."""
_LATE = ("SIGXCPU", "SIGPROF")
_NO_CPU_TIME = "it ran out of CPU time"
_starts = itertools.count()


class SandboxError(RuntimeError):
    """A sandbox could not be built, or nobody can say what the program in it would have done."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What the programs in one sandbox may use."""

    cpu_seconds: int = 20
    """Of one process, and of all together."""
    line_cpu_seconds: float = math.inf
    """Of all processes together, from one line that they write to the next."""
    sleep_seconds: float = 5
    """Before one line, without a need for a CPU."""
    all_sleep_seconds: float = 15
    """Before all lines together."""
    wall_seconds: float = 50
    """In all: below the deadline of the grader pool, and long, since a busy machine is nobody's fault."""
    memory_bytes: int = 1 << 30
    """Of address space, for each process."""
    processes: int = 32
    """Threads included."""
    file_bytes: int = 8 << 20
    """Of one file; `/tmp` holds eight of them."""

    @property
    def tree_bytes(self) -> int:
        """Memory of all processes together: a little more, so that one alone is told by its own limit."""
        return self.memory_bytes + self.memory_bytes // 4


class Sandbox:
    """One program inside bubblewrap: `main(requests, replies, settings)` of the last of `modules`.

    modules: our modules that are loaded inside, after those that they import.
    settings: what `marshal` can write.
    pass_fds: file descriptors that stay open inside.
    host: further folders of the host to show inside, read-only; with any, the address space is not limited
        further than it is for this process.

    Raises `SandboxError` when bubblewrap is not there.
    """

    def __init__(
        self,
        modules: Sequence[str],
        settings: Any,
        limits: SandboxLimits,
        *,
        pass_fds: Sequence[int] = (),
        host: tuple[str, ...] = (),
    ) -> None:
        self.limits = limits
        self.ended_for: str | None = None
        """Why it was ended from outside; None while it was not."""
        self._began = time.monotonic()
        self._received = bytearray()
        self._next_look = self._began + _TICK_MILLISECONDS / 1000
        # A time, the CPU seconds used until then, and those used or wanted.
        self._line_from: tuple[float, float, float] | None = None
        self._is_ready = False  # while it is built, nobody sleeps but the kernel
        self._slept = self._slept_before = 0.0  # for this line and the earlier ones
        root = os.geteuid() == 0
        if (words := command(root, 8 * limits.file_bytes, host)) is None:
            raise SandboxError(INSTALL)
        bwrap, *rest = words
        with _filter() as filters:
            options = [word for fd in filters for word in ("--seccomp", str(fd))]
            self._process = subprocess.Popen(
                [bwrap, *options, *rest, "-c", BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[*pass_fds, *filters],
                bufsize=0,
            )
        assert self._process.stdin
        assert self._process.stdout
        self.stdin, self.stdout = self._process.stdin, self._process.stdout
        # One id for each sandbox that may be alive on this machine at the same time.
        uid = _FIRST_UID + os.getpid() * 64 + next(_starts) % 64 if root else None
        code = [(name, _compiled(name)) for name in (_ENTRY, *modules)]
        payload = memoryview(marshal.dumps((code, (modules[-1], uid, _rlimits(limits, bool(host)), settings))))
        try:
            self._write(payload)
        except BaseException:
            self.close()
            raise

    def write_line(self, line: bytes) -> None:
        """Send a line, given without its newline."""
        self._write(memoryview(line + b"\n"))

    def _write(self, data: memoryview) -> None:
        poll = select.poll()
        poll.register(self.stdin, select.POLLOUT)
        self._begin_line()
        with contextlib.suppress(BrokenPipeError):  # that it is gone is seen when it is read
            while data:
                self._look(None)
                if poll.poll(_TICK_MILLISECONDS):
                    data = data[os.write(self.stdin.fileno(), data[:_PIPE_BYTES]) :]
                elif self._process.poll() is not None:
                    return

    def hand_over(self) -> None:
        """Forget the pipes, once another process has them: only then does it see their end."""
        self.stdin.close()
        self.stdout.close()

    def expect_ready(self) -> None:
        """Wait until the program runs. Raises `SandboxError`, with what bubblewrap says, when it does not."""
        if self.read_line() != READY.strip():
            raise SandboxError(f"the sandbox did not start: {self.complaint()}")
        self._is_ready = True

    def complaint(self) -> str:
        """What bubblewrap, or the interpreter before the program ran, wrote to standard error."""
        assert self._process.stderr
        os.set_blocking(self._process.stderr.fileno(), False)
        return (self._process.stderr.read() or b"").decode(errors="replace").strip()[-300:]

    def read_line(self, partner: "Sandbox | None" = None) -> bytes | None:
        """The next line that it writes, without the newline; None when it has ended, of itself or for exceeding a
        limit.

        partner: the sandbox that it speaks with. When neither does anything, the partner is ended first: this one may
        only be waiting for it. Raises `SandboxError` at the wall deadline.
        """
        poll = select.poll()
        poll.register(self.stdout, select.POLLIN)
        searched = 0
        self._begin_line()
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            self._look(partner)  # by the clock: one that writes without end, or slowly, is looked at as well
            if not poll.poll(_TICK_MILLISECONDS):
                # Killed while it was being built, it may leave a process that holds the pipe.
                if self._process.poll() is not None and not poll.poll(0):
                    return None
            elif data := os.read(self.stdout.fileno(), 1 << 20):
                self._received += data
                if len(self._received) > _MAX_LINE:
                    self.end(f"it wrote more than {_MAX_LINE >> 20} MiB")
            else:
                return None
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def _begin_line(self) -> None:
        self._line_from = None
        self._slept_before += self._slept
        self._slept = 0.0

    def _look(self, partner: "Sandbox | None") -> None:
        """Enforce the limits, when it is time to."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _TICK_MILLISECONDS / 1000
        pair = [self] if partner is None else [partner, self]
        cpu = busy = 0.0
        for box in pair:
            used = usage(box._process.pid)
            cpu += used.cpu
            busy += used.cpu + used.waiting
            if used.memory > box.limits.tree_bytes:
                box.end(f"it used more than {box.limits.tree_bytes >> 20} MiB of memory")
            if used.cpu > box.limits.cpu_seconds + _CPU_SLACK:
                box.end(_NO_CPU_TIME)
        if self._line_from is None:
            self._line_from = now, cpu, busy
        since, cpu_before, busy_before = self._line_from
        if cpu - cpu_before > self.limits.line_cpu_seconds + _CPU_SLACK:
            self.end(_NO_CPU_TIME)
        if self._is_ready:
            self._slept = max(0.0, (now - since) - (busy - busy_before))
        for slept, limit in (
            (self._slept, self.limits.sleep_seconds),
            (self._slept_before + self._slept, self.limits.all_sleep_seconds),
        ):
            if slept > limit:
                next(box for box in pair if box is self or not box.ended_for).end(f"it slept {limit:g} s")
                self._line_from, self._slept = None, 0.0
                break
        if now - self._began > self.limits.wall_seconds:
            raise SandboxError(f"no end after {self.limits.wall_seconds:g} s on a busy machine")

    def end(self, reason: str) -> None:
        """Kill it and all its processes."""
        self.ended_for = self.ended_for or reason
        self._process.kill()

    def how_it_ended(self) -> str:
        """Why it is over, in words; for a sandbox whose pipe has ended. It is killed when it is not over after all."""
        try:
            code = self._process.wait(timeout=_LAST_SECONDS)
        except subprocess.TimeoutExpired:
            self.end("it closed its pipes")
        if self.ended_for:
            return self.ended_for
        if code <= _SIGNALLED:
            return f"it exited with code {code}"
        name = {int(number): number.name for number in signal.Signals}.get(code - _SIGNALLED, f"signal {code}")
        return _NO_CPU_TIME if name in _LATE else f"it was ended by {name}"

    def close(self) -> None:
        """End it, with all its processes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self.stdin, self.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def _filter() -> Iterator[list[int]]:
    """A file descriptor to read the seccomp filter from; none where there is no filter."""
    program = seccomp_filter()
    if program is None:
        yield []
        return
    reading, writing = os.pipe()
    os.write(writing, program)  # smaller than any pipe
    os.close(writing)
    try:
        yield [reading]
    finally:
        os.close(reading)


def _rlimits(limits: SandboxLimits, other_interpreter: bool) -> dict[str, int]:
    """Limits of a process inside, by the end of their RLIMIT name."""
    return {
        "CPU": limits.cpu_seconds,
        "NPROC": limits.processes,
        "NOFILE": 64,
        "FSIZE": limits.file_bytes,
        "CORE": 0,
        "DATA": limits.memory_bytes,
        # Other interpreters reserve far more addresses than they use.
        **({} if other_interpreter else {"AS": limits.memory_bytes}),
    }


@functools.cache
def _compiled(module: str) -> CodeType:
    spec = importlib.util.find_spec(module)
    assert spec
    assert spec.origin
    return compile(Path(spec.origin).read_bytes(), spec.name, "exec", dont_inherit=True, optimize=2)
