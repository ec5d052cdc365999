"""kill -9 at any moment: the next run ends as an undisturbed one would, draws what is missing, and nothing lives on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_server import NAME, FakeServer
from killing import Run, parts
from lab import Lab, sums

from flows.curate import Outcome

SAMPLES = 60 * 4


def published(outcome: Outcome) -> tuple[pa.Table, pa.Table]:
    """Decisions and the rows of the set."""
    assert outcome.dataset is not None
    folder = Path(outcome.dataset.folder)
    rows = pa.concat_tables(pq.read_table(file) for file in sorted((folder / "rl").glob("*.parquet")))
    return pq.read_table(folder / "decisions.parquet"), rows


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
