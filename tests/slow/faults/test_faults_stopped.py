"""A server that stands still for half a minute, with all waits as they are. Two minutes."""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from asking import free_port
from disturbed import Requests, decisions, logged_server
from fake_server import NAME, FakeServer
from lab import Lab, sums

SAMPLES, CONCURRENCY, SECONDS = 60 * 4, 8, 30


def make(folder: Path, *urls: str) -> Lab:
    folder.mkdir()
    lab = Lab(folder, {"model": NAME, "url": list(urls), "concurrency": CONCURRENCY})
    lab.source("sums", sums(*((a, 2 * a) for a in range(60))))
    return lab


def ends_as_undisturbed(lab: Lab) -> bool:
    with FakeServer() as server:
        undisturbed = make(lab.folder / "undisturbed", server.url)()
    outcome = lab()
    assert undisturbed.dataset is not None
    assert outcome.dataset is not None
    places = [(row["problem_id"], row["sample_index"]) for row in lab.stored("rollouts")]
    assert len(set(places)) == len(places) == SAMPLES
    return decisions(outcome.dataset.folder) == decisions(undisturbed.dataset.folder)


@contextlib.contextmanager
def stopping(pid: int, requests: Requests, goes_on: bool) -> Iterator[None]:
    """Stops a process after 40 requests, for 30 seconds or for good."""
    stop = threading.Event()

    def work() -> None:
        while len(requests) < 40 and not stop.is_set():
            time.sleep(0.002)
        signal.pidfd_send_signal(process, signal.SIGSTOP)
        if goes_on:
            time.sleep(SECONDS)
            signal.pidfd_send_signal(process, signal.SIGCONT)

    process = os.pidfd_open(pid)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        os.close(process)


def test_the_only_server_stands_still_for_half_a_minute_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    port, requests = free_port(), Requests(tmp_path / "requests")
    lab = make(tmp_path / "lab", f"http://127.0.0.1:{port}/v1")
    with logged_server(port, requests.path) as server, stopping(server.pid, requests, goes_on=True):
        assert ends_as_undisturbed(lab)
    assert Counter(requests.all()).total() == SAMPLES


def test_what_one_of_two_servers_has_when_it_stands_still_is_all_that_is_asked_again(tmp_path: Path) -> None:
    ports, logs = (free_port(), free_port()), (Requests(tmp_path / "one"), Requests(tmp_path / "two"))
    lab = make(tmp_path / "lab", *(f"http://127.0.0.1:{port}/v1" for port in ports))
    with (
        logged_server(ports[0], logs[0].path) as server,
        logged_server(ports[1], logs[1].path),
        stopping(server.pid, logs[0], goes_on=False),
    ):
        assert ends_as_undisturbed(lab)
    asked = Counter(logs[0].all() + logs[1].all())
    assert len(asked) == SAMPLES
    assert asked.total() <= SAMPLES + CONCURRENCY
    assert len(logs[0]) <= 40 + 2 * CONCURRENCY
