"""What a completion is graded against, as one text: the form in which a problem travels to another trainer.

    {"verifier": "math", "answer": "1/2", "args": null, "stop": ["\\nQuestion:"]}

Trainers hand a reward function one string of a problem (verl's `ground_truth`, OpenRLHF's label), so all that grading needs
is in it. `verdict` grades with the extraction and the graders that curated the data, in worker processes that are killed at
their deadline, so it may be called from any thread of any process, a Ray worker's too.

`stop` are the strings at which samples were ended when the data was measured. A trainer that knows none goes on behind them;
what it wrote there is not graded, as it was not then.
"""

import atexit
import functools
import json
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import asdict, dataclass

from curation.verify import JUDGE, VERIFIERS, UnknownVerifierError, Verdict, decode_args
from curation.verify.pool import GraderPool, Job

_LOG = logging.getLogger("cuvee.reward")
_STARTING = threading.Lock()


class ReferenceTextError(ValueError):
    """A text is no reference."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A problem, as far as grading goes."""

    verifier: str
    answer: str | None
    args: str | None = None
    """The problem's `verifier_args`: JSON text."""
    stop: tuple[str, ...] = ()

    def text(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> "Reference":
        """The reference in a text. Raises ReferenceTextError when it is none that can be graded by."""
        try:
            given = json.loads(text)
            one = cls(given["verifier"], given["answer"], given["args"], tuple(given["stop"]))
            decode_args(one.args)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ReferenceTextError(
                f"{str(text)[:80]!r} is no reference of Cuvee ({type(error).__name__}: {error}): give the reward function the "
                "text that `cuvee export` wrote, unchanged"
            ) from error
        if one.verifier not in VERIFIERS:
            raise ReferenceTextError(
                "a model judges this problem, and no rule does"
                if one.verifier == JUDGE
                else str(UnknownVerifierError(str(one.verifier)))
            )
        return one

    def job(self, completion: str) -> Job:
        """The grading of a completion, as far as it would have been sampled."""
        ends = [at for stop in self.stop if stop and (at := completion.find(stop)) >= 0]
        return Job(self.verifier, self.answer, completion[: min(ends, default=len(completion))], self.args)


def submit(text: str, completion: str) -> Future[Verdict]:
    """The verdict to come. Raises ReferenceTextError; the future raises GraderPoolError when no worker can be started."""
    reference = Reference.read(text)
    with _STARTING:  # two threads must not start two pools
        pool = _pool(reference.verifier)
    return pool.submit(reference.job(completion))


def verdict(text: str, completion: str) -> Verdict:
    """The verdict on one completion; returns by the graders' deadline, whatever the completion is."""
    return _told(submit(text, completion).result())


def verdicts(pairs: Iterable[tuple[str, str]]) -> list[Verdict]:
    """The verdicts on (reference, completion) pairs, in their order, graded side by side."""
    waiting = [submit(text, completion) for text, completion in pairs]
    return [_told(one.result()) for one in waiting]


@functools.cache
def _pool(verifier: str) -> GraderPool:
    """One pool a verifier: what others import is not loaded, nor need be installed. It ends with the process."""
    pool = GraderPool(preload=[verifier])
    atexit.register(pool.close)
    return pool


_graded = 0
_unknown = 0


def _told(found: Verdict) -> Verdict:
    """Warns of the 1st, 2nd, 4th, 8th ... verdict that is unknown: seen in every log, and flooding none."""
    global _graded, _unknown  # noqa: PLW0603 (counts of this process, for its log)
    _graded += 1
    if found.outcome == "error":
        _unknown += 1
        if _unknown & (_unknown - 1) == 0:
            _LOG.warning(
                "%d of %d answers could not be graded and are neither right nor wrong; the last: %s",
                _unknown,
                _graded,
                found.reason,
            )
    return found
