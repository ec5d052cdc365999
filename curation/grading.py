"""Verdicts on rollouts that have none: a run was killed between the two, or a grader has a new version. No server."""

import time
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from curation import annotate
from curation.duck import batches
from curation.graders import Graders, job
from curation.progress import Step
from curation.rollouts import ROLLOUTS, VERDICTS, Rollouts
from curation.standing import Group, Standing
from curation.verify import Verdict

BATCH = 1024


def verdict_row(rollouts: Rollouts, rollout: str, problem_id: str, verifier: str, verdict: Verdict) -> dict[str, Any]:
    """A row of VERDICTS."""
    filed, version = rollouts.filed_as(verifier)
    return {
        "rollout": rollout,
        "problem_id": problem_id,
        "verifier": filed,
        "verifier_version": version,
        "outcome": verdict.outcome,
        "extracted": verdict.extracted,
        "reason": verdict.reason,
    }


def grade_stored(
    con: duckdb.DuckDBPyConnection, graders: Graders, groups: Sequence[Group], ungraded: pa.Table, step: Step
) -> None:
    """Grades stored rollouts and commits every few seconds. ungraded: group, problem (its row there), rollout, filename."""
    for number, group in enumerate(groups):
        rows = ungraded.filter(pc.equal(ungraded["group"], number))
        if not rows.num_rows:
            continue
        scan = group.rollouts.store.scan(group.rollouts.folder, ROLLOUTS)
        with con.cursor() as cursor:
            cursor.register("asked", group.problems.append_column("problem", pa.array(range(group.problems.num_rows))))
            cursor.register("ungraded", rows)
            query = f"""select rollout, id, verifier, prompt, answer, text, verifier_args
                from {scan} join ungraded using (rollout, filename) join asked using (problem)"""
            _grade(group, graders, batches(cursor, query, BATCH), step)


def grade_missing(work: annotate.Work, name: str, groups: Sequence[Group], known: Standing) -> bool:
    """Grades what has no verdict yet, and says whether there was any."""
    if known.ungraded.num_rows:
        with work.progress.step(name, known.ungraded.num_rows, "verdicts") as step:
            grade_stored(work.con, work.graders(), groups, known.ungraded, step)
    return bool(known.ungraded.num_rows)


def _grade(group: Group, graders: Graders, rows: pa.RecordBatchReader, step: Step) -> None:
    done: list[dict[str, Any]] = []
    committed = time.monotonic()
    try:
        for batch in rows:
            found = batch.to_pylist()
            jobs = (job(row, row["text"]) for row in found)
            for row, verdict in zip(found, graders.grade_many(jobs), strict=True):
                done.append(verdict_row(group.rollouts, row["rollout"], row["id"], row["verifier"], verdict))
                step.advance(1)
            if time.monotonic() - committed >= annotate.SECONDS_BETWEEN_COMMITS:
                _commit(group, done)
                done, committed = [], time.monotonic()
    finally:
        _commit(group, done)


def _commit(group: Group, rows: list[dict[str, Any]]) -> None:
    if rows:
        group.rollouts.store.append(group.rollouts.verdict_folder, pa.Table.from_pylist(rows, schema=VERDICTS))
