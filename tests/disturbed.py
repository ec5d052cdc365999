"""A run that is disturbed: its command in a process that can be killed, a server that outlives a kill, a disk that fills.

python tests/disturbed.py PORT LOG [--delay MS]      a fake server; every request it gets becomes a line of LOG
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from fake_server import FakeServer

RUN = """
import sys
from curation import annotate
annotate.SECONDS_BETWEEN_COMMITS = float(sys.argv.pop(1))
from flows.cli import main
main(prog_name="cuvee")
"""


def marked(mark: str) -> list[str]:
    """Command lines of the processes with this in their environment."""
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                left.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200])
        except OSError:  # it ended meanwhile, or is not ours
            continue
    return left


class Command:
    """`cuvee run` in a process of its own. Everything that comes from it carries a mark in its environment."""

    def __init__(self, recipe: Path, workspace: Path, commit_seconds: float = 5.0, **env: str) -> None:
        self._mark = f"CUVEE_TEST_RUN={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        arguments = [sys.executable, "-c", RUN, str(commit_seconds), "run", str(recipe), "--workspace", str(workspace)]
        self.output = workspace.parent / f"{workspace.name}.said"
        with self.output.open("wb") as said:
            self.process = subprocess.Popen(
                arguments,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), name: value, **env},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def runs(self) -> bool:
        return self.process.poll() is None

    def wait(self) -> int:
        return self.process.wait(600)

    def killed_at(self, moment: Callable[[], bool]) -> bool:
        """Kills it at a moment; False when it ended before that came."""
        while self.runs():
            if moment():
                self.process.kill()
                break
            time.sleep(0.0005)
        return self.wait() == -signal.SIGKILL

    def family(self) -> list[str]:
        """Command lines of the processes that are left of it."""
        return marked(self._mark)

    def assert_gone(self, within: float = 60) -> None:
        deadline = time.monotonic() + within
        while left := self.family():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    def end(self) -> None:
        """Leaves nothing behind when a test has failed."""
        self.process.kill()
        self.process.wait(10)


class Requests:
    """What servers were asked, in a file that outlives them: a line a request, X-Request-Id and the prompt's last word."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def all(self, start: int = 0) -> list[str]:
        return self.path.read_text().splitlines()[start:]

    def __len__(self) -> int:
        return self.path.read_bytes().count(b"\n")


class LoggedServer(FakeServer):
    """A fake server that writes down every request as it comes."""

    def __init__(self, port: int, delay: float, log: Path) -> None:
        super().__init__(port, delay)
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def _complete(self, request: web.Request) -> web.Response:
        text = self._text(await request.json())
        os.write(self._log, f"{request.headers['X-Request-Id']} {text.split()[-1]}\n".encode())
        return await super()._complete(request)


@contextlib.contextmanager
def logged_server(port: int, log: Path, delay: float = 0.02) -> Iterator[subprocess.Popen[bytes]]:
    """A `LoggedServer` in a process of its own, which can be killed and stopped."""
    server = subprocess.Popen([sys.executable, __file__, str(port), str(log), str(delay)])
    try:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                break
            assert server.poll() is None
            time.sleep(0.02)
        yield server
    finally:
        server.kill()
        server.wait()


class Disk:
    """A small disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)

    def leave(self, free: int) -> None:
        """Makes it so small that at most so many bytes more fit; to the page."""
        while True:
            disk = os.statvfs(self.folder)
            used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
            with contextlib.suppress(subprocess.CalledProcessError):  # it has grown meanwhile
                return self.resize(max(used + free, disk.f_frsize))  # 0 would be no limit


@contextlib.contextmanager
def mounted(folder: Path, size: int = 64 << 20) -> Iterator[Disk]:
    """A disk of some bytes at a new folder; the test is skipped where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "cuvee-test", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"no disk can be made here: {error}")
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def decisions(folder: str | Path, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The decisions of a published dataset, without some columns."""
    table = pq.read_table(Path(folder) / "decisions.parquet")
    rows: list[dict[str, Any]] = table.drop_columns(list(without)).to_pylist()
    return rows


def read_every_part(workspace: Path) -> dict[str, int]:
    """Reads every file that counts to its end; rows by kind."""
    rows: dict[str, int] = {}
    for path in workspace.glob("*/**/*.parquet"):
        kind = path.relative_to(workspace).parts[0]
        if kind in ("pools", "datasets") and not (path.parent / "manifest.json").exists():
            continue  # what was begun and never committed
        rows[kind] = rows.get(kind, 0) + sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches())
    return rows


def in_pieces(part: Path, count: int) -> None:
    """Puts several parts in the place of one, as if commits had come more often."""
    table = pq.read_table(part)
    size = -(-table.num_rows // count)
    for first in range(0, table.num_rows, size):
        _write(part.parent / f"part-{uuid.uuid4().hex}.parquet", table.slice(first, size))
    part.unlink()


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd")


if __name__ == "__main__":
    import asyncio

    async def forever() -> None:
        await LoggedServer(int(sys.argv[1]), float(sys.argv[3]), Path(sys.argv[2])).start()
        await asyncio.Event().wait()

    asyncio.run(forever())
