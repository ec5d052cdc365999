"""`cuvee run` as it is, on a disk that fills. Two minutes."""

import time
from pathlib import Path

import pytest
from disturbed import Command, Disk, decisions, mounted, read_every_part
from fake_server import NAME, FakeServer
from lab import Lab, sums

SAMPLES = 60 * 4


def make(folder: Path, server: FakeServer) -> Lab:
    lab = Lab(folder, {"model": NAME, "url": server.url})
    lab.source("sums", sums(*((a, 2 * a) for a in range(60))))
    return lab


def ran(lab: Lab, fill: Disk | None = None, server: FakeServer | None = None) -> tuple[int, str]:
    """Exit code and output of the command; the disk is full after 60 answers."""
    command = Command(lab.write(), lab.workspace, 0.05)
    try:
        while fill is not None and server is not None and command.runs():
            if len(server.order) >= 60:
                fill.leave(free=0)
                break
            time.sleep(0.002)
        code = command.wait()
        command.assert_gone()
        return code, command.said
    finally:
        command.end()


def test_the_command_says_that_the_disk_is_full_and_goes_on_when_there_is_room(
    tmp_path: Path, fake_server: FakeServer
) -> None:
    undisturbed = make(tmp_path, fake_server)()
    fake_server.forget()
    fake_server.delay = 0.03
    with mounted(tmp_path / "disk") as disk:
        lab = make(tmp_path, fake_server)
        lab.workspace = disk.folder / "workspace"
        code, said = ran(lab, disk, fake_server)
        assert code == 1, said
        assert f"error: no space left on device in {lab.workspace}; free some and run the same command again" in said
        assert "Traceback" not in said
        kept = {f"{row['problem_id']}-{row['sample_index']}" for row in lab.stored("rollouts")}
        assert read_every_part(lab.workspace)["rollouts"] == len(kept) < SAMPLES

        disk.resize(64 << 20)
        fake_server.forget()
        code, said = ran(lab)
        assert code == 0, said
        assert kept.isdisjoint(fake_server.asked)
        assert len(kept) + fake_server.asked.total() == SAMPLES
        (dataset,) = lab.workspace.glob("datasets/lab/*")
        assert undisturbed.dataset is not None
        assert decisions(dataset) == decisions(undisturbed.dataset.folder)


@pytest.fixture(autouse=True)
def _own_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command starts the Prefect server that it would start for a user."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
