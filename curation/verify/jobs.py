"""What goes into the grader pool and what it reports: jobs, limits, counts, its error."""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple


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


class GraderPoolError(RuntimeError):
    """A job got no verdict: the pool was closed, or its fork server cannot run."""
