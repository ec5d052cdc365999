"""Servers started here: restarted when they die, and gone with the run."""

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import FAKE, asking, be_quick, first_error, listens, samples, until
from fake_server import NAME

import curation.model
from curation.client import Client
from curation.model import Model, ServerError, serve


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)


class Starts:
    """Stands for vLLM's command line: fake servers, each with its own end."""

    def __init__(self, *arguments: list[str]) -> None:
        self.left, self.ports = list(arguments), []

    def __call__(self, *_: object, name: str, port: int, **__: object) -> list[str]:
        self.ports.append(port)
        arguments = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return [sys.executable, FAKE, str(port), "--name", name, *arguments]


@pytest.fixture
def folder(tmp_path: Path) -> Model:
    """A model that would be started here."""
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return Model(model=str(folder))


def test_a_server_started_here_that_dies_is_restarted_and_what_it_had_is_drawn_again(
    folder: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(["--die-after", "9"], ["--die-after", "7"], [])
    monkeypatch.setattr(curation.model, "vllm_command", starts)
    said: list[str] = []
    with serve(folder, log=tmp_path / "log", progress=said.append) as servers:
        done = asking(servers, samples(30))
        pid = servers[0].started.pid if servers[0].started else 0
    assert len(done) == 30
    assert len(set(starts.ports)) == 1 < len(starts.ports) == 3
    assert [line.split(" (its log")[0] for line in said if "restart" in line] == ["fake has died; restarting it"] * 2
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_dies_again_and_again_without_a_sample_ends_the_run(
    folder: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(["--die-after", "0"])
    monkeypatch.setattr(curation.model, "vllm_command", starts)
    with serve(folder, log=tmp_path / "log") as servers, pytest.raises(ExceptionGroup) as errors:
        asking(servers, samples(4))
    error = first_error(errors)
    assert isinstance(error, ServerError)
    assert "exited with code 137" in str(error)
    assert str(tmp_path / "log") in str(error)
    assert len(starts.ports) == 3


def test_a_run_that_ends_while_a_server_is_restarted_leaves_nothing(
    folder: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(["--die-after", "0"], ["--delay", "0"])
    monkeypatch.setattr(curation.model, "vllm_command", starts)
    seen: list[str] = []
    monkeypatch.setattr("curation.supervisor.Supervised.wait_for", _waits_once(seen))

    async def leave(asked: Client) -> int:
        drawing = asyncio.create_task(samples(1)(asked))
        await until(lambda: len(seen) == 2)
        drawing.cancel()
        assert servers[0].started is not None
        return servers[0].started.pid

    with serve(folder, log=tmp_path / "log") as servers:
        pid = asking(servers, leave)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


RESTARTED = """
import asyncio, sys, time
import curation.model
from curation.client import Client
from curation.prompt import Prompt
from curation.rollouts import Sampling
from pathlib import Path
fake, folder, log = sys.argv[1:]
ends = iter(["1", "100000"])
curation.model.vllm_command = lambda *_, name, port, **__: [
    sys.executable, fake, str(port), "--name", name, "--die-after", next(ends)]

async def draw(servers):
    async with Client(servers, None, 1, 30) as client:
        for index in range(5):
            await client.complete("1 + 1 =", Prompt(style="raw"), Sampling(), 64, f"sum-{index}")

with curation.model.serve(curation.model.Model(model=folder), log=Path(log)) as servers:
    asyncio.run(draw(servers))
    print(servers[0].url, flush=True)
    time.sleep(60)
"""


def test_a_restarted_server_ends_with_its_run_however_that_ends(folder: Model, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", RESTARTED, FAKE, folder.model, str(tmp_path / "log")]
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        root = run.stdout.readline().decode().strip().removesuffix("/v1")
        with urllib.request.urlopen(f"{root}/asked") as answer:
            assert answer.read().count(b"sum-") >= 3  # it is the second one
        run.kill()
    deadline = time.monotonic() + 20
    while listens(int(root.rsplit(":", 1)[1])):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _waits_once(seen: list[str]) -> Callable[..., None]:
    """`wait_for`, which at the second start waits for an address that never answers."""
    original = curation.supervisor.Supervised.wait_for

    def wait_for(self: Any, url: str, *, timeout: float) -> None:
        seen.append(url)
        original(self, url if len(seen) == 1 else url.replace("/health", "/never"), timeout=timeout)

    return wait_for
