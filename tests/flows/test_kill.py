"""kill -9 at any moment: the next run ends as an undisturbed one would, draws what is missing, and nothing lives on."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from disturbed import marked
from fake_server import NAME, FakeServer
from lab import Lab, sums

from flows.curate import Outcome

RUN = """
import sys
from curation import annotate
annotate.SECONDS_BETWEEN_COMMITS = 0.1
from flows.curate import curate
from flows.recipe import load
curate(load(sys.argv[1]), sys.argv[2])
"""
SAMPLES = 60 * 4


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


def published(outcome: Outcome) -> tuple[pa.Table, pa.Table]:
    """Decisions and the rows of the set."""
    assert outcome.dataset is not None
    folder = Path(outcome.dataset.folder)
    rows = pa.concat_tables(pq.read_table(file) for file in sorted((folder / "rl").glob("*.parquet")))
    return pq.read_table(folder / "decisions.parquet"), rows


def parts(lab: Lab, kind: str) -> int:
    return len(list(lab.workspace.glob(f"{kind}/*/part-*.parquet")))


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with FakeServer(delay=0.03) as server:
        yield server


def make(folder: Path, server: FakeServer) -> Lab:
    lab = Lab(folder, {"model": NAME, "url": server.url})
    lab.source("sums", sums(*((a, 2 * a) for a in range(60))))
    return lab


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, server: FakeServer) -> tuple[pa.Table, pa.Table]:
    return published(make(tmp_path_factory.mktemp("undisturbed"), server)())


MOMENTS: dict[str, Callable[[Lab], bool]] = {
    "when the first samples are committed": lambda lab: parts(lab, "rollouts") >= 1,
    "between rollouts and their verdicts": lambda lab: (
        parts(lab, "verdicts") >= 1 and parts(lab, "rollouts") > parts(lab, "verdicts")
    ),
    "while publishing": lambda lab: any(lab.workspace.glob("datasets/lab/*")),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_is_killed_goes_on_as_if_nothing_had_happened(
    moment: str, tmp_path: Path, server: FakeServer, undisturbed: tuple[pa.Table, pa.Table]
) -> None:
    lab = make(tmp_path, server)
    server.forget()
    run = Run(lab)
    try:
        run.kill_when(lambda: MOMENTS[moment](lab))
        run.assert_gone(within=30)
    finally:
        run.end()
    answered, kept = server.asked.total(), len(lab.stored("rollouts"))
    assert 0 < kept <= answered

    server.forget()
    outcome = lab()
    assert server.asked.total() == SAMPLES - kept
    rollouts, verdicts = lab.stored("rollouts"), lab.stored("verdicts", "rollout")
    assert len({(row["problem_id"], row["sample_index"]) for row in rollouts}) == len(rollouts) == SAMPLES
    assert sorted(row["rollout"] for row in rollouts) == [row["rollout"] for row in verdicts]
    decisions, rows = published(outcome)
    assert decisions.equals(undisturbed[0])
    assert rows.equals(undisturbed[1])
    assert 0 < rows.num_rows < decisions.num_rows


@pytest.mark.model
def test_vllm_is_killed_with_its_run_and_the_next_run_draws_what_is_missing(tmp_path: Path, model_folder: Path) -> None:
    lab = Lab(tmp_path, {"model": str(model_folder), "revision": None, "serve": {"max_model_len": 512}})
    lab.recipe["sources"] = {"sums": {"reasoning_gym": "chain_sum", "size": 8, "seed": 1}}
    lab.policy["prompt"]["stop"] = []
    lab.recipe["annotate"]["pass_rate"] |= {"n": 8, "max_tokens": 48}
    run = Run(lab)
    try:
        run.kill_when(lambda: parts(lab, "rollouts") >= 1, within=240)
        run.assert_gone(within=10)
    finally:
        run.end()
    kept = len(lab.stored("rollouts"))
    assert 0 < kept < 64
    outcome = lab()
    assert outcome.drawn["pass_rate"]["drawn"] == 64 - kept
    rollouts = lab.stored("rollouts")
    assert len({(row["problem_id"], row["sample_index"]) for row in rollouts}) == len(rollouts) == 64
