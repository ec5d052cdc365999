"""Does the verifier accept the problem's own answer?

The answer is written in the form a model would write it and graded like a completion. A verifier that rejects it would
reject every right completion: the problem reads as hopeless and teaches nothing. Checked before a token is sampled.

    gold_accepted  true or false; NULL when the verifier failed or there is no answer or verifier
    gold_reason    what the verifier said
"""

from typing import Any, ClassVar

import pyarrow as pa

from curation.annotate import Annotator, Work
from curation.verify import JUDGE, as_completion, versions
from curation.verify.pool import Job, graders


class Gold(Annotator):
    """Grades every problem's own answer with its own verifier."""

    NAME: ClassVar[str] = "gold"
    COLUMNS: ClassVar[pa.Schema] = pa.schema([("gold_accepted", pa.bool_()), ("gold_reason", pa.string())])

    def settings(self) -> dict[str, Any]:
        """A verifier's new version makes another measurement."""
        return super().settings() | {"verifiers": versions()}

    def measure(self, work: Work, name: str) -> pa.Table:
        work.check_tools()
        return super().measure(work, name)

    def annotate(self, problems: pa.Table) -> pa.Table:
        """Arrow table with id, answer, verifier, verifier_args in; id, gold_accepted, gold_reason out."""
        rows = problems.select(["id", "answer", "verifier", "verifier_args"]).to_pylist()
        jobs = [self._job(row) for row in rows]
        verdicts = graders().grade_many(job for job in jobs if isinstance(job, Job))
        accepted, reasons = [], []
        for job in jobs:
            if isinstance(job, Job):
                verdict = next(verdicts)
                accepted.append({"correct": True, "wrong": False, "error": None}[verdict.outcome])
                reasons.append(verdict.reason)
            else:
                accepted.append(None)
                reasons.append(job)
        return pa.table([problems["id"], pa.array(accepted, pa.bool_()), reasons], schema=self.table_schema())

    @staticmethod
    def _job(row: dict[str, Any]) -> Job | str:
        """The answer as a completion to grade, or why there is none."""
        if row["verifier"] is None:
            return "the problem has no verifier"
        if row["verifier"] == JUDGE:
            return "a judge grades this problem"
        try:
            completion = as_completion(row["verifier"], row["answer"], row["verifier_args"])
        except ValueError as error:
            return str(error)
        return Job(row["verifier"], row["answer"], completion, row["verifier_args"])
