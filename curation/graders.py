"""Who grades: the worker pool, and for problems whose verifier is `judge` the recipe's judge.

A judge's verdicts lie under a name with its hash, `judge-<hash>`: another judge, or one that is asked otherwise, grades
again, and nobody takes them for a rule's.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from curation.budget import Budget
from curation.judging import Cost, Grader
from curation.verify import JUDGE, Verdict, decode_args
from curation.verify.jobs import Job, in_order
from curation.verify.pool import GraderPool

WINDOW = 512
"""Jobs that `grade_many` has under way."""


@dataclass
class Graders:
    """Grades whatever verifier a job names."""

    pool: GraderPool
    judge: Grader | None = None

    def submit(self, job: Job) -> Future[Verdict]:
        """The verdict to come; what is in flight is the caller's to bound."""
        if job.verifier == JUDGE:
            assert self.judge is not None
            return self.judge.submit(job)
        return self.pool.submit(job)

    def grade_many(self, jobs: Iterable[Job]) -> Iterator[Verdict]:
        """The verdicts of the jobs, in their order."""
        return in_order(self.submit, jobs, WINDOW)

    @property
    def cost(self) -> Cost:
        """What the judge took so far; does not grow with it."""
        return Cost() if self.judge is None else replace(self.judge.judging.cost)

    def pay(self, budget: Budget, before: Cost) -> Cost:
        """Counts what the judge took since; gives its cost so far."""
        now = self.cost
        if self.judge is not None and now != before:
            budget.pay(
                self.judge.judging.judge.model.price,
                now.tokens - before.tokens,
                now.prompt_tokens - before.prompt_tokens,
            )
        return now


def job(problem: Mapping[str, Any], text: str) -> Job:
    """The grading of a completion. problem: verifier, answer, verifier_args, and prompt, which a judge is shown."""
    args = problem["verifier_args"]
    if problem["verifier"] == JUDGE:
        with contextlib.suppress(ValueError):  # the judge says what is wrong with them
            args = json.dumps({"question": problem["prompt"], **decode_args(args)})
    return Job(problem["verifier"], problem["answer"], text, args)
