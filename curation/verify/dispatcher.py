"""The parent side of the grader pool: one thread that owns the fork server, the workers and the jobs between them.

Only `submit`, `close` and the read-only figures are called from other threads; everything else happens in the thread,
so there are no locks around it. A worker holds one job when there are few, and up to `WINDOW` when many wait; while
many wait the thread also naps a millisecond before it collects answers. Together that keeps a trivial verdict at tens
of microseconds.

A job is answered exactly once: it is in the queue, or in one worker's `tasks`, or answered. When a worker ends, the
answers it wrote are taken first; the job after them is the one it had, the rest goes back to the front of the queue.
"""

import contextlib
import itertools
import json
import os
import pickle
import selectors
import signal
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from curation.verify import Verdict
from curation.verify.jobs import Counts, GraderPoolError, JobTuple, Limits
from curation.verify.server import Ended, Forked, ForkServer
from curation.verify.worker import DEADLINE_SIGNAL, LENGTH

WINDOW = 64
"""Jobs that one worker holds at most."""

_NAP_SECONDS = 0.001
_TICK_SECONDS = 0.5
_STARTS = 3


class _Task(NamedTuple):
    job: JobTuple
    future: Future[Verdict]


@dataclass(slots=True, eq=False)
class _Worker:
    socket: socket.socket
    pid: int = 0  # 0 until the fork server has answered
    out: bytearray = field(default_factory=bytearray)
    received: bytes = b""
    tasks: deque[_Task] = field(default_factory=deque)
    since: float = 0.0  # on the dispatcher's clock, when the first of `tasks` began
    graded: int = 0
    cpu: float = 0.0
    condemned: _Task | None = None  # the task it is being killed for


class Dispatcher:
    """The thread and its state; see `GraderPool` for what is promised."""

    def __init__(self, limits: Limits, preload: list[str]) -> None:
        self._limits, self._preload = limits, preload
        self._queue: deque[_Task] = deque()  # from `submit`
        self._again: deque[_Task] = deque()  # taken back from workers that ended; their futures are running already
        self._workers: list[_Worker] = []
        self._forking: deque[_Worker] = deque()
        self._ending: dict[int, _Worker] = {}
        self._clock = 0.0
        self._graded = self._killed = self._died = self._failed_starts = 0
        self._cpu_ended = 0.0
        self._lock = threading.Lock()  # for starting and closing only
        self._thread: threading.Thread | None = None
        self._problem: Exception | None = None
        self._closed = False
        self._asleep = False

    def submit(self, job: JobTuple) -> Future[Verdict]:
        """Queue a job; starts the thread with the first one."""
        future: Future[Verdict] = Future()
        if self._thread is None:
            self._start()
        self._queue.append(_Task(job, future))
        if self._closed:  # checked after queueing: `close` empties the queue after it sets this
            raise self._failure()
        if self._asleep:
            self._asleep = False  # waking it once is enough
            os.eventfd_write(self._wake, 1)
        return future

    def counts(self) -> Counts:
        return Counts(self._graded, self._killed, self._died)

    def pids(self) -> tuple[int, ...]:
        return tuple(worker.pid for worker in list(self._workers) if worker.pid)

    def cpu_seconds(self) -> float:
        return self._cpu_ended + sum(worker.cpu for worker in [*self._workers, *self._ending.values()])

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._thread is None:
                return
            os.eventfd_write(self._wake, 1)  # never closed: a late `submit` must not write to what took its number
        self._thread.join()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed:
                self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._selector = selectors.DefaultSelector()
                self._selector.register(self._wake, selectors.EVENT_READ)
                self._start_server()
                self._thread = threading.Thread(target=self._run, name="grader-pool", daemon=True)
                self._thread.start()

    def _start_server(self) -> None:
        self._server = ForkServer(self._limits, self._preload)
        self._selector.register(self._server.socket, selectors.EVENT_READ)

    def _run(self) -> None:
        try:
            while not self._closed:
                self._fork_workers()
                self._send_jobs()
                self._wait()
                self._enforce_wall()
        except Exception as problem:  # noqa: BLE001 - handed to every caller that waits; a thread has nobody to raise to
            self._problem = problem
        self._closed = True
        self._server.close()
        for worker in self._workers:
            worker.socket.close()
        self._selector.close()
        held = [task for worker in [*self._workers, *self._ending.values()] for task in worker.tasks]
        self._workers = []
        for task in itertools.chain(held, self._again, iter(self._pop_queue, None)):
            if task.future.running() or task.future.set_running_or_notify_cancel():
                task.future.set_exception(self._failure())

    def _failure(self) -> GraderPoolError:
        failure = GraderPoolError(str(self._problem or "the grader pool is closed"))
        failure.__cause__ = self._problem
        return failure

    def _pop_queue(self) -> _Task | None:
        return self._queue.popleft() if self._queue else None

    def _wanted(self) -> int:
        """As many workers as there are jobs, up to the limit."""
        busy = sum(1 for worker in self._workers if worker.tasks)
        return min(self._limits.workers, len(self._queue) + len(self._again) + busy)

    def _fork_workers(self) -> None:
        while len(self._workers) < self._wanted():
            worker = _Worker(self._server.fork())
            self._workers.append(worker)
            self._forking.append(worker)
            self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def _send_jobs(self) -> None:
        """One job for each idle worker; when many wait, a share of them."""
        waiting = len(self._queue) + len(self._again)
        share = max(1, min(WINDOW, waiting // (2 * self._limits.workers)))
        for worker in sorted((w for w in self._workers if w.pid and not w.condemned), key=lambda w: len(w.tasks)):
            room = min(share - len(worker.tasks), self._limits.recycle_after - worker.graded - len(worker.tasks))
            if room <= 0 or len(worker.tasks) > share // 2:
                continue
            tasks: list[_Task] = []
            while len(tasks) < room and (task := self._next_task()):
                tasks.append(task)
            if not tasks:
                return
            if not worker.tasks:
                worker.since = self._clock
            worker.tasks.extend(tasks)
            frame = pickle.dumps([task.job for task in tasks], protocol=5)
            worker.out += LENGTH.pack(len(frame)) + frame
            self._flush(worker)

    def _next_task(self) -> _Task | None:
        if self._again:
            return self._again.popleft()
        while self._queue:
            task = self._queue.popleft()
            if task.future.set_running_or_notify_cancel():
                return task
        return None

    def _flush(self, worker: _Worker) -> None:
        # That it is gone is noticed when it is read.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while worker.out:
                del worker.out[: worker.socket.send(worker.out)]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.out else 0)
        if self._selector.get_key(worker.socket).events != events:
            self._selector.modify(worker.socket, events, worker)

    def _wait(self) -> None:
        """Sleep until something happens, then handle all of it."""
        began = time.monotonic()
        self._asleep = True
        # A job that was queued before `_asleep` was set did not wake this thread; nor does one that has to wait for a
        # worker.
        can_act = len(self._workers) < self._wanted() or any(w.pid and not w.tasks for w in self._workers)
        self._selector.select(0 if self._closed or (self._queue and can_act) else _TICK_SECONDS)
        self._asleep = False
        if sum(len(worker.tasks) for worker in self._workers) > 4 * self._limits.workers:
            time.sleep(_NAP_SECONDS)
        # Bounded, so that a stopped or starved process does not find that all its graders were late.
        self._clock += min(time.monotonic() - began, 2 * _TICK_SECONDS)
        ready = self._selector.select(0)
        for key, events in ready:
            if key.data is not None:
                if events & selectors.EVENT_WRITE:
                    self._flush(key.data)
                if events & selectors.EVENT_READ:
                    self._read_answers(key.data)
            elif key.fileobj == self._wake:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
        # After the answers: the server may say that a worker, or all of them, are gone.
        if any(key.fileobj is self._server.socket for key, _ in ready):
            self._hear_server()

    def _read_answers(self, worker: _Worker) -> None:
        if not worker.pid:  # it ended before the server's word of its beginning was read; this is seen again
            return
        try:
            data = worker.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._end(worker)
            return
        *lines, worker.received = (worker.received + data).split(b"\n")
        for line in lines:
            try:
                outcome, extracted, reason, cpu = json.loads(line)
            except ValueError:
                outcome = None
            if outcome not in ("correct", "wrong", "error") or not worker.tasks:
                self._end(worker)  # no answer to a job: the grader is not itself any more
                return
            worker.cpu = cpu
            worker.graded += 1
            self._answer(worker, Verdict(outcome, extracted, reason))
        worker.since = self._clock
        self._failed_starts = 0
        if worker.graded >= self._limits.recycle_after and not worker.tasks:
            self._end(worker)

    def _answer(self, worker: _Worker, verdict: Verdict) -> None:
        self._graded += 1
        worker.tasks.popleft().future.set_result(verdict)

    def _end(self, worker: _Worker) -> None:
        """Have a worker that is dead or done reaped; its jobs are dealt with when the server says how it ended."""
        self._selector.unregister(worker.socket)
        worker.socket.close()
        self._workers.remove(worker)
        self._ending[worker.pid] = worker
        self._server.end(worker.pid)

    def _hear_server(self) -> None:
        match self._server.hear():
            case Forked(pid):
                self._forking.popleft().pid = pid
            case Ended(pid, code, cpu):
                self._bury(self._ending.pop(pid), code, cpu)
            case None:
                self._restart_server()

    def _bury(self, worker: _Worker, code: int, cpu: float) -> None:
        """Answer the job that a worker ended with, when the job or an outsider ended it, and take the others back."""
        self._cpu_ended += cpu
        asked = worker.condemned is not None or (not worker.tasks and worker.graded >= self._limits.recycle_after)
        late = worker.condemned is not None and worker.tasks and worker.tasks[0] is worker.condemned
        if late or code == -DEADLINE_SIGNAL:
            self._killed += 1
            spent = f"{self._limits.cpu_seconds:g} s of CPU" if not late else f"{self._limits.wall_seconds:g} s"
            if worker.tasks:
                self._answer(worker, Verdict("error", None, f"killed after {spent}"))
        elif code != 0 and not asked:
            self._died += 1
            known = {int(number): number.name for number in signal.Signals}
            how = known.get(-code, f"signal {-code}") if code < 0 else f"exit code {code}"
            if worker.tasks:
                self._answer(worker, Verdict("error", None, f"the grader died ({how})"))
        self._again.extendleft(reversed(worker.tasks))

    def _restart_server(self) -> None:
        """The fork server is gone, and with it all workers: take every job back, blame none, start another."""
        self._selector.unregister(self._server.socket)
        code = self._server.close()
        for worker in [*self._ending.values(), *self._workers]:
            self._again.extend(worker.tasks)
            self._cpu_ended += worker.cpu
        for worker in self._workers:
            self._selector.unregister(worker.socket)
            worker.socket.close()
        self._workers, self._ending = [], {}
        self._forking.clear()
        self._failed_starts += 1
        if self._failed_starts >= _STARTS:
            raise GraderPoolError(
                f"the graders' fork server ended {_STARTS} times without a verdict (exit code {code}); see stderr"
            )
        self._start_server()

    def _enforce_wall(self) -> None:
        """Have workers killed that sleep past the deadline. One that runs or waits for a CPU is left to its CPU
        deadline.
        """
        for worker in self._workers:
            if worker.tasks and not worker.condemned and self._clock - worker.since > self._limits.wall_seconds:
                if _runnable(worker.pid):
                    continue
                worker.condemned = worker.tasks[0]
                with contextlib.suppress(ProcessLookupError):  # not reaped before `_end`, so the id is still its own
                    os.kill(worker.pid, signal.SIGKILL)


def _runnable(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "R"
    except FileNotFoundError:
        return False
