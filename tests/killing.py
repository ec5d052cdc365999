"""A run in a process that is killed."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable

from disturbed import marked
from lab import Lab

RUN = """
import sys
from curation import annotate
annotate.SECONDS_BETWEEN_COMMITS = 0.1
from flows.curate import curate
from flows.recipe import load
curate(load(sys.argv[1]), sys.argv[2])
"""


class Run:
    """A run in a process of its own. Everything that comes from it carries a mark in its environment."""

    def __init__(self, lab: Lab) -> None:
        self.mark = f"CUVEE_TEST_RUN={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        arguments = [sys.executable, "-c", RUN, str(lab.write()), str(lab.workspace)]
        path = os.pathsep.join(sys.path)
        self.process = subprocess.Popen(
            arguments, env={**os.environ, "PYTHONPATH": path, name: value}, stderr=subprocess.PIPE
        )

    def kill_when(self, moment: Callable[[], bool], within: float = 120) -> None:
        deadline = time.monotonic() + within
        while not moment():
            assert self.process.poll() is None, self.process.communicate()[1].decode()
            assert time.monotonic() < deadline, "the moment did not come"
            time.sleep(0.0005)
        self.process.kill()
        assert self.process.wait(10) == -signal.SIGKILL
        assert self.process.stderr is not None
        self.process.stderr.close()

    def family(self) -> list[str]:
        """Command lines of the processes that are left of it."""
        return marked(self.mark)

    def assert_gone(self, within: float) -> None:
        deadline = time.monotonic() + within
        while left := self.family():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    def end(self) -> None:
        """Leaves nothing behind when a test has failed."""
        self.process.kill()
        self.process.wait(10)


def parts(lab: Lab, kind: str) -> int:
    return len(list(lab.workspace.glob(f"{kind}/*/part-*.parquet")))
