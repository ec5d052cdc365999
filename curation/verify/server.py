"""The pool's handle on its fork server: start it, ask it for workers and for their end, hear how they ended.

What it sends and hears is described in `worker.py`. Sending never raises when the server is gone: that is noticed
when its socket is read.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from curation.verify.jobs import Limits


class Forked(NamedTuple):
    """A worker was forked, for the oldest request that was not answered yet."""

    pid: int


class Ended(NamedTuple):
    """A worker is gone: its exit code (negative: the signal), and the CPU seconds it used in all."""

    pid: int
    code: int
    cpu: float


class ForkServer:
    """A fresh interpreter that has imported the verifiers and forks workers; `socket` is readable when `hear` has
    something.
    """

    def __init__(self, limits: Limits, preload: list[str]) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            call = (theirs.fileno(), preload, limits.cpu_seconds, limits.memory_bytes)
            program = (
                f"import sys; sys.path[:] = {sys.path!r}; from curation.verify.worker import serve; serve(*{call!r})"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", program],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # A session of its own: a signal to the process group of the terminal or of a batch job must not look
                # like graders that failed.
                start_new_session=True,
                # BLAS threads would not survive the fork.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )

    def fork(self) -> socket.socket:
        """Ask for a worker; returns the pool's end of its socket, not blocking."""
        ours, theirs = socket.socketpair()
        with theirs, _gone_is_noticed_later():
            ours.setblocking(False)
            socket.send_fds(self.socket, [b"fork"], [theirs.fileno()])
        return ours

    def end(self, pid: int) -> None:
        """Ask for the end of a worker, dead or alive; it is reported as `Ended`."""
        with _gone_is_noticed_later():
            self.socket.send(b"end %d" % pid)

    def hear(self) -> Forked | Ended | None:
        """The next report; None when the server is gone. Blocks when there is none."""
        message = b""
        with _gone_is_noticed_later():
            message = self.socket.recv(1 << 12)
        if not message:
            return None
        reply = json.loads(message)
        if "forked" in reply:
            return Forked(reply["forked"])
        return Ended(reply["ended"], os.waitstatus_to_exitcode(reply["status"]), reply["cpu"])

    def close(self) -> int:
        """End the server and all its workers; returns its exit code."""
        self.socket.close()
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # it is still importing, and has no workers
            self._process.kill()
            return self._process.wait()


@contextlib.contextmanager
def _gone_is_noticed_later() -> Iterator[None]:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        yield
