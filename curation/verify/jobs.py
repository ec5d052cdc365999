"""What goes into a grader and what it reports: jobs, their order, limits, counts, errors."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from curation.verify import Verdict

T = TypeVar("T")


class Job(NamedTuple):
    """One completion to grade: the problem's verifier, answer and `verifier_args` (JSON text), and the completion."""

    verifier: str
    answer: str | None
    completion: str
    args: str | None = None


JobTuple = tuple[str, str | None, str, str | None]
"""A `Job`, or the same four as a plain tuple."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a `GraderPool` was given; see there. Raises ValueError when one is not positive."""

    workers: int
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    recycle_after: int

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")


@dataclass(frozen=True, slots=True)
class Counts:
    """Verdicts delivered; workers killed at a deadline; workers that ended unasked."""

    graded: int
    killed: int
    died: int


def in_order(submit: Callable[[T], Future[Verdict]], jobs: Iterable[T], window: int) -> Iterator[Verdict]:
    """The verdicts of the jobs, in their order; at most `window` jobs are read ahead of the verdicts taken."""
    ahead: deque[Future[Verdict]] = deque()
    try:
        for job in jobs:
            ahead.append(submit(job))
            if len(ahead) >= window:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:  # the caller stopped early
            future.cancel()


class GraderPoolError(RuntimeError):
    """A job got no verdict: the pool was closed, or its fork server cannot run."""
