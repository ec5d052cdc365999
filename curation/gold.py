"""Does the verifier accept the problem's own answer?

The answer is written in the form a model would write it and graded like a completion. A verifier that rejects it would
reject every right completion: the problem reads as hopeless and teaches nothing. Checked before a token is sampled.

    gold_accepted  true or false; NULL when the verifier failed or there is no answer or verifier
    gold_reason    what the verifier said
"""

from typing import ClassVar

import pyarrow as pa

from curation.annotate import Annotator
from curation.verify import as_completion
from curation.verify.pool import Job, graders


class Gold(Annotator):
    """Grades every problem's own answer with its own verifier."""

    NAME: ClassVar[str] = "gold"
    COLUMNS: ClassVar[pa.Schema] = pa.schema([("gold_accepted", pa.bool_()), ("gold_reason", pa.string())])

    def annotate(self, problems: pa.Table) -> pa.Table:
        """Arrow table with id, answer, verifier, verifier_args in; id, gold_accepted, gold_reason out."""
        rows = problems.select(["id", "answer", "verifier", "verifier_args"]).to_pylist()
        gradable = [row for row in rows if row["verifier"] is not None and row["answer"] is not None]
        jobs = (
            Job(
                row["verifier"],
                row["answer"],
                as_completion(row["verifier"], row["answer"], row["verifier_args"]),
                row["verifier_args"],
            )
            for row in gradable
        )
        verdicts = dict(zip((row["id"] for row in gradable), graders().grade_many(jobs), strict=True))
        accepted, reasons = [], []
        for row in rows:
            if row["id"] in verdicts:
                verdict = verdicts[row["id"]]
                accepted.append({"correct": True, "wrong": False, "error": None}[verdict.outcome])
                reasons.append(verdict.reason)
            else:
                accepted.append(None)
                reasons.append("the problem has no " + ("verifier" if row["verifier"] is None else "answer"))
        return pa.table(
            {
                "id": problems["id"],
                "gold_accepted": pa.array(accepted, pa.bool_()),
                "gold_reason": pa.array(reasons, pa.string()),
            }
        )
