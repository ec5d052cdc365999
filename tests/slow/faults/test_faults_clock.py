"""`cuvee run` while the clock on the wall jumps for all of its processes, libraries included. Three minutes."""

import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest
from disturbed import Command, decisions
from fake_server import NAME, FakeServer
from lab import Lab, sums

from curation.publish import find, versions

DAY = 24 * 3600
SOURCE = Path(__file__).parent / "clock.c"


class Clock:
    """How far the clock of some processes is off."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or pytest.skip("no C compiler here")
        self.library, self.file = folder / "clock.so", folder / "clock"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", self.library, SOURCE, "-ldl"], check=True)
        self.is_off(0)

    def is_off(self, seconds: int) -> None:
        if not self.file.exists():
            self.file.write_bytes(bytes(8))
        with self.file.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", seconds))

    def env(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "CUVEE_TEST_CLOCK": str(self.file)}


def test_a_clock_that_jumps_before_during_and_between_runs_changes_no_decision(
    tmp_path: Path, fake_server: FakeServer
) -> None:
    clock = Clock(tmp_path)
    lab = Lab(tmp_path, {"model": NAME, "url": fake_server.url})
    lab.source("sums", sums(*((a, 2 * a) for a in range(60))))
    expected = lab()
    assert expected.dataset is not None
    fake_server.delay = 0.05
    lab.workspace = tmp_path / "jumps"
    chance = random.Random(0)

    def run(off: int, jumps: tuple[int, ...]) -> None:
        clock.is_off(off)
        command = Command(lab.write(), lab.workspace, 0.05, **clock.env())
        asked = len(fake_server.order)
        try:
            while command.runs() and len(fake_server.order) == asked and jumps:
                time.sleep(0.01)
            for jump in jumps:
                clock.is_off(jump)
                time.sleep(chance.uniform(0.1, 0.6))
            assert command.wait() == 0, command.said
        finally:
            command.end()

    run(365 * DAY, (-DAY, 365 * DAY, 0, 400 * DAY, -DAY))
    newest = find(lab.store, "lab")
    assert decisions(newest.folder) == decisions(expected.dataset.folder)
    assert newest.manifest["fingerprint"] == expected.dataset.manifest["fingerprint"]
    assert len({row["drawn_at"].date() for row in lab.stored("rollouts")}) > 1
    lab.recipe["keep"] = {"learnable": "passes between 1 and 2"}
    run(-2 * DAY, ())
    again = find(lab.store, "lab")
    assert again.ref != newest.ref
    assert versions(lab.store, "lab")[-1] == again.manifest["version"]
    assert sum(row["kept"] for row in decisions(again.folder)) < sum(row["kept"] for row in decisions(newest.folder))
    assert fake_server.asked.total() == 2 * 240
