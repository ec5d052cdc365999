"""However a run ends, no process that it started under a supervisor is left."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.supervisor import ServerError, Supervised, supervised, telling_lines

FAMILY = "sleep 300 & sh -c 'sleep 300 & wait' & setsid sleep 300 & wait"
"""A shell, three sleepers, one of them in a session of its own, and a shell between."""
STUBBORN = "trap '' TERM; setsid sleep 300 & sleep 300; sleep 300"
"""A shell, and sleepers that inherit its deafness to SIGTERM."""


class Mark:
    """An environment variable by which all descendants of a command are found, wherever they have moved."""

    def __init__(self) -> None:
        self.text = uuid.uuid4().hex

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CUVEE_TEST_MARK": self.text}

    def living(self) -> set[int]:
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"CUVEE_TEST_MARK={self.text}".encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:  # gone meanwhile, or another user's
                continue
        return found

    def wait_for(self, count: int, *, seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while len(self.living()) != count:
            assert time.monotonic() < deadline, f"{len(self.living())} processes, not {count}, after {seconds} s"
            time.sleep(0.05)


@pytest.fixture
def mark() -> Iterator[Mark]:
    mark = Mark()
    yield mark
    for pid in mark.living():
        os.kill(pid, signal.SIGKILL)


def start(script: str, mark: Mark, folder: Path) -> Supervised:
    return supervised(["sh", "-c", script], env=mark.environment, log=folder / "log")


def run_that_supervises(script: str, mark: Mark, folder: Path, then: str) -> subprocess.Popen[bytes]:
    """Another Python that starts `script` under a supervisor and goes on with `then`."""
    code = f"""
import os, time
from pathlib import Path
from curation.supervisor import supervised
process = supervised(["sh", "-c", {script!r}], env={{**os.environ, "CUVEE_TEST_MARK": {mark.text!r}}}, log=Path("log"))
{then}
"""
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", code], env=path, cwd=folder)


def test_a_killed_run_leaves_nothing(mark: Mark, tmp_path: Path) -> None:
    run = run_that_supervises(FAMILY, mark, tmp_path, "time.sleep(300)")
    mark.wait_for(6)  # the supervisor too
    run.kill()
    run.wait()
    mark.wait_for(0, seconds=30)


def test_a_killed_run_leaves_nothing_that_ignores_sigterm(mark: Mark, tmp_path: Path) -> None:
    run = run_that_supervises(STUBBORN, mark, tmp_path, "time.sleep(300)")
    mark.wait_for(4)
    run.kill()
    run.wait()
    mark.wait_for(0, seconds=8)


def test_a_worker_that_the_run_has_forked_does_not_keep_the_server_alive(mark: Mark, tmp_path: Path) -> None:
    # The worker inherits the run's end of the pipe and outlives it.
    run = run_that_supervises("exec sleep 300", mark, tmp_path, "os.fork(); time.sleep(60)")
    mark.wait_for(2)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    while len(children.read_text().split()) < 2:
        time.sleep(0.05)
    (worker,) = {int(pid) for pid in children.read_text().split()} - mark.living()
    run.kill()
    run.wait()
    mark.wait_for(0, seconds=30)
    os.kill(worker, signal.SIGKILL)


def test_a_killed_supervisor_takes_the_command_along(mark: Mark, tmp_path: Path) -> None:
    process = start("exec sleep 300", mark, tmp_path)
    mark.wait_for(2)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    mark.wait_for(0, seconds=30)
    assert process.stop() == -signal.SIGKILL


def test_stop_ends_everything_before_it_returns(mark: Mark, tmp_path: Path) -> None:
    process = start(FAMILY, mark, tmp_path)
    mark.wait_for(6)
    time.sleep(0.3)  # setsid has happened
    assert process.poll() is None
    assert process.stop() == 128 + signal.SIGTERM
    assert mark.living() == set()
    assert process.stop() == 128 + signal.SIGTERM


def test_a_command_that_exits_ends_what_it_left_behind(mark: Mark, tmp_path: Path) -> None:
    with start("sleep 300 & setsid sleep 300 & sleep 0.2; exit 7", mark, tmp_path) as process:
        mark.wait_for(0)
        assert process.stop() == 7


def test_an_error_ends_the_block_and_the_processes(mark: Mark, tmp_path: Path) -> None:
    def interrupted() -> None:
        with start(FAMILY, mark, tmp_path):
            mark.wait_for(6)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert mark.living() == set()


def test_an_early_exit_is_noticed_at_once_and_shows_the_log(mark: Mark, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("ValueError: of an earlier start\n")
    with (
        start("echo loading; echo 'ValueError: no such dtype: fp7' >&2; echo bye; exit 3", mark, tmp_path) as process,
        pytest.raises(ServerError) as caught,
    ):
        process.wait_for("http://127.0.0.1:9/health", timeout=60)
    assert str(caught.value) == (
        "sh exited with code 3\n"
        "  command: sh -c 'echo loading; echo '\"'\"'ValueError: no such dtype: fp7'\"'\"' >&2; echo bye; exit 3'\n"
        f"  log: {tmp_path}/log\n"
        "  it says:\n"
        "    ValueError: no such dtype: fp7"
    )


def test_a_server_that_never_answers_is_given_up_after_the_timeout(mark: Mark, tmp_path: Path) -> None:
    with (
        start("echo loading; sleep 300", mark, tmp_path) as process,
        pytest.raises(
            ServerError, match=r"(?s)^http://127.0.0.1:9/health does not answer after 0.5 s\n.*\n    loading$"
        ),
    ):
        process.wait_for("http://127.0.0.1:9/health", timeout=0.5)
    assert mark.living() == set()


def test_a_command_that_does_not_exist_says_so(tmp_path: Path) -> None:
    process = supervised(["no-such-command"], log=tmp_path / "logs" / "log")
    with pytest.raises(ServerError, match=r"(?s)exited with code 127.*cannot start no-such-command: No such file"):
        process.wait_for("http://127.0.0.1:9/health", timeout=10)


def test_without_an_error_message_the_last_lines_tell_most() -> None:
    assert telling_lines("one\n\ntwo\nthree\n", most=2) == ["two", "three"]


def test_messages_of_errors_tell_more_than_what_stands_around_them() -> None:
    log = """\
(APIServer pid=7) WARNING 11-22 15:20:30 [system_utils.py:255] This can cause errors like `OSError: [Errno 24]`.
(EngineCore pid=8) ERROR 11-22 15:20:31 [core.py:1136] Traceback (most recent call last):
(EngineCore pid=8) ERROR 11-22 15:20:31 [core.py:1136]   File "core.py", line 1110, in run_engine_core
(EngineCore pid=8) ERROR 11-22 15:20:31 [core.py:1136] RuntimeError: not enough memory
(EngineCore pid=8) RuntimeError: not enough memory
pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, max_model_len (99999) is greater than 8192
api_server.py: error: argument --dtype: invalid choice: 'fp7'
(APIServer pid=7) INFO 11-22 15:20:32 [launcher.py:304] Shutting down
"""
    assert telling_lines(log) == [
        "RuntimeError: not enough memory",
        "pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "  Value error, max_model_len (99999) is greater than 8192",
        "api_server.py: error: argument --dtype: invalid choice: 'fp7'",
    ]
