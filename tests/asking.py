"""Asking servers for samples, and fake servers that can be killed."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import fake_server
import pytest
from fake_server import NAME, FakeServer

from curation import fleet, reach, watching
from curation.client import Client, Completion
from curation.model import RunningServer
from curation.prompt import Prompt
from curation.rollouts import Sampling

RAW, SAMPLING = Prompt(style="raw"), Sampling()
FAKE = fake_server.__file__


def be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundredths of a second where it would be seconds."""
    monkeypatch.setattr(fleet, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(fleet, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(watching, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(watching, "HANG_SECONDS", 0.3)
    monkeypatch.setattr(watching, "TICK", 0.02)
    monkeypatch.setattr("curation.asking.PROBE_SECONDS", 0.2)
    monkeypatch.setattr(reach, "URL_PATIENCE", 0.1)


def running(*servers: FakeServer | str) -> tuple[RunningServer, ...]:
    urls = [server if isinstance(server, str) else server.url for server in servers]
    return tuple(RunningServer(url, NAME, None, reach.UNKNOWN) for url in urls)


def asking(
    servers: tuple[RunningServer, ...],
    work: Callable[[Client], Awaitable[Any]],
    concurrency: int = 4,
    patience: float = 30,
    key: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Any:
    """What `work` gives, done with a client of these servers."""

    async def run() -> Any:
        async with Client(servers, key, concurrency, patience, say) as asked:
            return await work(asked)

    return asyncio.run(asyncio.wait_for(run(), 60))


def samples(count: int, trouble: str = "", first: int = 0) -> Callable[[Client], Coroutine[Any, Any, list[Completion]]]:
    """Draws samples of 1 + 1, as many at once as there are slots."""

    async def draw(asked: Client) -> list[Completion]:
        left, done = iter(range(first, first + count)), []

        async def draw_all() -> None:
            for index in left:
                done.append(await asked.complete(f"1 + 1 ={trouble}", RAW, SAMPLING, 64, f"sum-{index}"))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(max(1, asked.slots)):
                tasks.create_task(draw_all())
        return done

    return draw


def first_error(errors: pytest.ExceptionInfo[ExceptionGroup[Exception]]) -> Exception:
    error: Exception = errors.value
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def until(moment: Callable[[], bool]) -> None:
    while not moment():
        await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def process(port: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A fake server in a process of its own, which can be killed and stopped."""
    server = subprocess.Popen([sys.executable, FAKE, str(port), *arguments])
    try:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                break
            time.sleep(0.02)
        yield server
    finally:
        server.kill()
        server.wait()
