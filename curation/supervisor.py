"""A server's processes end with the run that started them, however the run ends.

    run ──pipe──▶ supervisor (own session) ──▶ command (own process group) ──▶ whatever it forks

The supervisor holds the reading end of a pipe to the run. It ends the command and everything that the command started
(SIGTERM, after a grace SIGKILL) when the run closes the pipe, when the run dies (`kill -9` too), when a signal asks for
it, or when the command itself exits. vLLM needs this: after a `kill -9` its engine lives on and holds the memory.

Three Linux features make "everything" true; elsewhere the pipe and the process group have to do:
- the supervisor is a *child subreaper* (prctl(2)): a process that left the group or lost its parent becomes the
  supervisor's child, so that "no children" means that nothing is left;
- it watches its parent's id beside the pipe, because a worker that the run forked may hold the pipe open;
- the command itself gets SIGTERM when the supervisor is killed (PR_SET_PDEATHSIG), which reaches that one process only.

This file is run by its path and imports the standard library only, so that it starts in a few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

TICK = 0.1
PREFIX = re.compile(r"\(\w+ pid=\d+\) (?:[A-Z]+ [\d-]+ [\d:]+ \[[^]]*\] ?)?")  # vLLM's, of which process and when
ERROR = re.compile(r"(?:[\w.]*(?:Error|Exception)|(?:\S+: )?error): \S")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class ServerError(RuntimeError):
    """A server did not start, stopped or does not answer; the message says which, and what to look at."""


class Supervised:
    """A command under a supervisor; `stop()` or the end of the `with` block ends all of its processes."""

    def __init__(self, process: subprocess.Popen[bytes], command: Sequence[str], log: Path, log_start: int) -> None:
        self._process = process
        self._log_start = log_start
        self.command = tuple(command)
        self.log = log

    @property
    def pid(self) -> int:
        """Process id of the supervisor, which is also the id of the session."""
        return self._process.pid

    def poll(self) -> int | None:
        """None while it runs; once all is gone, its exit code (128 + the number of the signal that killed it)."""
        return self._process.poll()

    def stop(self) -> int:
        """Ends everything and returns the exit code when nothing is left, at most about `GRACE` seconds later."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        # Not by the pipe alone: a worker that the run has forked may hold another end of it.
        self._process.terminate()
        try:
            return self._process.wait(2 * GRACE)
        except subprocess.TimeoutExpired:  # what SIGKILL does not end hangs in a driver: nobody can wait for it
            self._process.kill()
            return self._process.wait()

    def output(self) -> str:
        """What this command has written to its log so far."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def ensure_alive(self) -> None:
        """ServerError with the end of the log when the command has exited."""
        code = self.poll()
        if code is not None:
            raise ServerError(f"{self.command[0]} exited with code {code}{self._account()}")

    def wait_for(self, url: str, *, timeout: float) -> None:
        """Returns when `url`, on this machine, answers with success.

        ServerError with the end of the log: at once when the command exits, or after `timeout` seconds.
        """
        import urllib.request
        from http.client import HTTPException

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not lead to this machine
        deadline = time.monotonic() + timeout
        while True:
            self.ensure_alive()
            with contextlib.suppress(OSError, HTTPException), opener.open(url, timeout=5):
                return
            if time.monotonic() > deadline:
                raise ServerError(f"{url} does not answer after {timeout:g} s{self._account()}")
            time.sleep(TICK)

    def _account(self) -> str:
        lines = "\n".join(f"    {line}" for line in telling_lines(self.output())) or "    (nothing)"
        return f"\n  command: {shlex.join(self.command)}\n  log: {self.log}\n  it says:\n{lines}"

    def __enter__(self) -> Supervised:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def telling_lines(log: str, most: int = 8) -> list[str]:
    """The lines of a log that say why something ended: the messages of its errors; without any, its last lines."""
    lines = [PREFIX.sub("", line).rstrip()[:500] for line in log.splitlines() if line.strip()]
    telling: dict[str, None] = {}  # a dict, because chained errors repeat their messages
    for index, line in enumerate(lines):
        if ERROR.match(line):
            telling[line] = None
            # Messages of several lines indent what follows.
            telling |= dict.fromkeys(
                itertools.takewhile(lambda more: more.startswith("  "), lines[index + 1 : index + 3])
            )
    return list(telling)[:most] or lines[-most:]


def supervised(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Supervised:
    """Starts `command` under a supervisor and returns at once.

    `env` is the whole environment of the command (None: this process's). Standard output and error are appended to
    `log`, whose folder is made. A command that cannot be started ends with code 127 and says so in the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        log_start = output.tell()
        process = subprocess.Popen(
            # Isolated: run by its path, its folder would stand first in sys.path and hide the standard `inspect`.
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), "--", *command],
            env=None if env is None else dict(env),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return Supervised(process, command, log, log_start)


def main(arguments: Sequence[str]) -> int:
    """`PARENT_PID -- COMMAND...`: runs the command until it exits or the parent is gone; returns its exit code."""
    parent, dashes, *command = arguments
    assert dashes == "--"
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=_end_with_supervisor,  # noqa: PLW1509 (this process has one thread)
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    family = Family(child.pid)
    while not asked and os.getppid() == int(parent) and family.status is None:
        readable, _, _ = select.select([0], [], [], TICK)
        if readable and not os.read(0, 1024):
            break
        family.reap()
    family.end()
    assert family.status is not None
    code = os.waitstatus_to_exitcode(family.status)
    return code if code >= 0 else 128 - code


class Family:
    """The command and every process that comes from it, seen from their supervisor."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.status: int | None = None

    def reap(self) -> bool:
        """Collects what has exited; False when no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.first:
                self.status = status

    def end(self) -> None:
        """SIGTERM once to every process, `GRACE` seconds for an orderly end, then SIGKILL until nothing is left."""
        deadline = time.monotonic() + GRACE
        told: set[int] = set()
        self._signal_group(signal.SIGTERM)
        while self.reap():
            over = time.monotonic() > deadline
            if over:
                self._signal_group(signal.SIGKILL)
            # Children that are not of the group come one by one, whenever the process between them and this one dies.
            for child in _children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if over:
                        os.kill(child, signal.SIGKILL)
                    elif child not in told and os.getpgid(child) != self.first:
                        told.add(child)
                        os.kill(child, signal.SIGTERM)
            time.sleep(TICK / 2)
        # Without a subreaper, some of the group may have outlived the command unseen.
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.first, number)


def _children() -> list[int]:
    """Ids of this process's children, from /proc; none where there is no /proc."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def _end_with_supervisor() -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def prctl(option: int, value: int) -> None:
    """prctl(2), and nothing where there is none (not Linux)."""
    if sys.platform != "linux":
        return
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
