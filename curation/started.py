"""A server started here: it is started again when it has died, until the run ends it."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from curation.supervisor import ServerError, Supervised, supervised

DEATHS = 3
"""So many in a row, without a sample between them, are no accident."""


class Started:
    """A server's processes, whichever they are at the moment. Its address stays the same."""

    def __init__(
        self,
        name: str,
        command: Callable[[], list[str]],
        *,
        env: Mapping[str, str],
        log: Path,
        health: str,
        timeout: float,
        say: Callable[[str], None],
    ) -> None:
        self._name, self._command, self._env, self._log, self._say = name, command, env, log, say
        self._health, self._timeout = health, timeout
        self._process: Supervised | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self.starting = False
        self.deaths = 0
        """Since it last gave a sample."""

    @property
    def pid(self) -> int:
        """Process id of the supervisor of what runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def died(self) -> bool:
        return not self.starting and self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Returns when it answers; ServerError when it ends before that, or after the time that a start may take."""
        with self._lock:  # or `stop` could miss what is started at that moment
            if self._stopped:
                raise ServerError(f"{self._name} was stopped")
            self.starting = True
            # The command is made anew: every start has its own seed.
            self._process = supervised(self._command(), env=self._env, log=self._log)
        try:
            self._process.wait_for(self._health, timeout=self._timeout)
        finally:
            self.starting = False

    def count_death(self) -> None:
        """Says that it is started again; ServerError, with the end of the log, when it died too often."""
        assert self._process is not None
        self.deaths += 1
        if self.deaths >= DEATHS:
            self._process.ensure_alive()
        self._say(f"{self._name} has died; restarting it (its log: {self._log})")

    def output(self) -> str:
        """What it has written to its log since it was started last."""
        assert self._process is not None
        return self._process.output()

    def stop(self) -> None:
        """Ends it for good; another thread that is starting it fails."""
        with self._lock:
            self._stopped = True
        if self._process is not None:
            self._process.stop()
