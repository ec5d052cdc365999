"""Grading in worker processes that can be killed.

    with GraderPool() as pool:
        verdict = pool.submit(Job("math", "1/2", r"\\boxed{0.5}")).result()
        for verdict in pool.grade_many(jobs):  # in order, memory flat
            ...

Every verdict has a CPU deadline, which the kernel keeps, and a wall deadline for graders that sleep, which the pool
keeps. Past either, past the memory limit, or when its worker dies, a job gets the verdict `error`; the jobs behind it
go to a fresh worker. Each job is answered exactly once.

Behind it are `dispatcher.py` (a thread of this process), `server.py` (its handle on the fork server) and `worker.py`
(what runs in the children).
"""

import atexit
import functools
import os
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from curation.verify import VERIFIERS, UnknownVerifierError, Verdict
from curation.verify.dispatcher import Dispatcher
from curation.verify.jobs import Counts, GraderPoolError, Job, JobTuple, Limits, in_order

__all__ = ["Counts", "GraderPool", "GraderPoolError", "Job", "graders"]

_AHEAD = 256
"""Jobs that `grade_many` has in the pool for each worker."""


class GraderPool:
    """Worker processes that grade; nothing is started before the first job.

    workers: how many (default: the CPUs this process may use).
    cpu_seconds: user and system time for one verdict.
    wall_seconds: time for one verdict that is not spent running or waiting for a CPU; generous, since it is for
        graders that sleep. Time in which the pool's own process is stopped does not count.
    memory_bytes: address space for one worker above what it starts with.
    recycle_after: verdicts after which a worker is replaced, since sympy's caches grow.
    preload: verifiers to import before forking (default: all). Others are imported in the worker at their first job,
        outside its CPU deadline.

    Raises ValueError for limits that are not positive and for an unknown name in `preload`.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        cpu_seconds: float = 5,
        wall_seconds: float = 60,
        memory_bytes: int = 1 << 30,
        recycle_after: int = 20_000,
        preload: Collection[str] | None = None,
    ) -> None:
        names = list(VERIFIERS if preload is None else preload)
        for name in names:
            _known(name)
        count = len(os.sched_getaffinity(0)) if workers is None else workers
        limits = Limits(count, cpu_seconds, wall_seconds, memory_bytes, recycle_after)
        self._dispatcher = Dispatcher(limits, names)
        self._window = count * _AHEAD

    def submit(self, job: Job | JobTuple) -> Future[Verdict]:
        """Queue one job, `(verifier, answer, completion, args)`; from any thread, and from asyncio through
        `asyncio.wrap_future`.

        The queue is unbounded: the caller bounds what is in flight. The future raises `GraderPoolError` when the pool
        was closed before the verdict or its server cannot start. Raises `UnknownVerifierError`, and `GraderPoolError`
        after `close`.
        """
        _known(job[0])
        return self._dispatcher.submit(job)

    def grade_many(self, jobs: Iterable[Job | JobTuple]) -> Iterator[Verdict]:
        """The verdicts of the jobs, in their order; jobs are read only a bounded number ahead of the verdicts taken."""
        return in_order(self.submit, jobs, self._window)

    @property
    def counts(self) -> Counts:
        """Verdicts delivered, workers killed at a deadline, workers that died of themselves or were killed from
        outside.
        """
        return self._dispatcher.counts()

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers that are alive now."""
        return self._dispatcher.pids()

    def cpu_seconds(self) -> float:
        """CPU seconds that all workers have used so far, dead ones included; without the fork server's imports."""
        return self._dispatcher.cpu_seconds()

    def close(self) -> None:
        """End all processes at once. Jobs without a verdict get `GraderPoolError`: wait for the futures first."""
        self._dispatcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _known(name: str) -> None:
    if name not in VERIFIERS:
        raise UnknownVerifierError(name)


@functools.cache
def graders() -> GraderPool:
    """The pool that the whole process shares; it starts with its first job and ends with the process."""
    pool = GraderPool()
    atexit.register(pool.close)
    return pool
