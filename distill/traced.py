"""The traces of some problems as a table, with all that was measured of each: what a set's rules read.

    traced   one row a trace, no texts: problem_id, rollout, TRACE, and the columns of `traces.py`

Verdicts come from the rollouts' own table; what `traces.py` measures is stored per rollout under the hash of its settings and
of the benchmark items it looks for, so that only new traces are measured.
"""

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from curation.annotate import CHUNK_ROWS, Work, commit_chunks, count
from curation.contamination import Contamination
from curation.decontamination.benchmarks import digest
from curation.duck import arrow, batches, literal, quoted
from curation.prompt import OPENED, Prompt
from curation.rollouts import ROLLOUTS
from curation.standing import NEEDED, Group
from curation.store import settings_hash
from curation.verify import JUDGE
from curation.verify.pool import graders
from distill.detect.benchmarks import Benchmarks
from distill.given import Given
from distill.spool import reading
from distill.teacher import Teacher
from distill.traces import TraceChecks

TRACE = pa.schema(
    [
        ("sample_index", pa.int32()),
        ("correct", pa.bool_()),
        ("extracted", pa.string()),
        ("verdict_reason", pa.string()),
        ("judge_score", pa.float64()),
        ("cut_off", pa.bool_()),
        ("drawn_tokens", pa.int32()),
        ("budget_hit", pa.bool_()),
    ]
)
"""Columns of a trace that its drawing and its verdict give: `correct` is NULL where there is no verdict, `judge_score` what a
judge that gives scores said, `drawn_tokens` its length in the teacher's tokens (NULL where nobody counted them)."""
CHUNK = CHUNK_ROWS // 4
"""Traces measured at a time: they are long."""


class Traced:
    """Measures traces for the sets of one run."""

    def __init__(self, work: Work, checks: TraceChecks, contamination: Contamination | None) -> None:
        self.work, self.checks, self.contamination = work, checks, contamination

    @property
    def columns(self) -> pa.Schema:
        return pa.schema([*TRACE, *self.checks.COLUMNS])

    def table(self, groups: Sequence[Group], drawn: Teacher | Given, name: str) -> None:
        """Makes the table `traced` of the traces of these problems that are there; measures those that are new."""
        con = self.work.con
        _list(con, groups, drawn, None if self.work.judge is None else self.work.judge.kind)
        missing = f"listed anti join {self._stored()} using (rollout)"
        total = count(con, missing)
        if total:
            self._measure(groups, name, total)
        own = ", ".join(f"m.{quoted(column)}" for column in self.checks.COLUMNS.names)
        con.execute(
            f"""create or replace table traced as select listed.*, {own} from listed join (
                from {self._stored()} qualify row_number() over (partition by rollout order by filename) = 1
            ) as m using (rollout)"""
        )

    @property
    def _folder(self) -> str:
        return self.work.store.path("annotations", self.checks.NAME, settings_hash(self._settings()))

    def _settings(self) -> dict[str, Any]:
        items = {} if self.contamination is None else {"items": digest(self.contamination.items)}
        judge = {"judged_by": self.work.judge.hash} if self.checks.judge and self.work.judge is not None else {}
        return self.checks.settings() | items | judge

    def _stored(self) -> str:
        return self.work.store.scan(self._folder, pa.schema([("rollout", pa.string()), *self.checks.COLUMNS]))

    def _measure(self, groups: Sequence[Group], name: str, total: int) -> None:
        store = self.work.store
        store.declare(self._folder, self._settings())
        benchmarks = None if (of := self.contamination) is None else Benchmarks(of.items, of.lexical)
        grade = (self.work.graders() if self.checks.judge else graders()).grade_many
        with self.work.progress.step(f"{name}: checks", total, "traces") as step:
            for number, group in enumerate(groups):
                new = arrow(
                    self.work.con,
                    f"""select rollout, filename from listed anti join {self._stored()} using (rollout)
                    where "group" = {number}""",
                )
                query = f"""
                    select r.rollout, asked.prompt, asked.messages, asked.answer, asked.verifier, asked.verifier_args,
                        r.text, r.reasoning, {str(opens(group.rollouts.prompt)).lower()} as opened, r.finish_reason
                    from {group.rollouts.store.scan(group.rollouts.folder, ROLLOUTS)} as r
                    join new on new.rollout = r.rollout and new.filename = r.filename
                    join asked on asked.id = r.problem_id"""
                with reading(self.work) as con:
                    con.register("new", new)
                    con.register("asked", group.problems.select([*NEEDED]))
                    chunks = (pa.Table.from_batches([batch]) for batch in batches(con, query, CHUNK))
                    commit_chunks(
                        store,
                        self._folder,
                        chunks,
                        lambda chunk: self.checks.measure(chunk, grade, benchmarks),
                        step,
                    )
        store.merge(self._folder)


def opens(prompt: Prompt) -> bool:
    """Whether a prompt as it is sent leaves a think block open, so that what the model says begins inside."""
    shown = prompt.render("")
    return OPENED.search((shown if isinstance(shown, str) else "") + prompt.prefill) is not None


def _list(con: duckdb.DuckDBPyConnection, groups: Sequence[Group], drawn: Teacher | Given, kind: str | None) -> None:
    """Makes the table `listed`: the traces, their group, where their text lies, and TRACE. kind: of the judge."""
    asked = f"coalesce(try_cast(verifier_args as json)->>'$.kind', {literal(kind or '')})"
    scored = f"verifier = {literal(JUDGE)} and {asked} = 'score'"
    con.execute(
        """create or replace table listed ("group" int, rollout varchar, filename varchar, problem_id varchar,
        sample_index int, correct boolean, extracted varchar, verdict_reason varchar, judge_score double, cut_off boolean,
        drawn_tokens int, budget_hit boolean)"""
    )
    wrong = "false" if drawn.cut_off == "wrong" else "null"
    for number, group in enumerate(groups):
        con.register("asked", group.problems.select(["id", "verifier", "verifier_args"]))
        con.execute(
            f"""insert into listed
            select {number}, rollout, filename, problem_id, sample_index,
                case when cut_off then {wrong} when outcome = 'correct' then true when outcome = 'wrong' then false end,
                extracted, reason,
                case when {scored} then try_cast(extracted as double) end,
                coalesce(cut_off, false), tokens, budget_hit
            from {group.rollouts.graded(drawn.n, drawn.max_tokens, "asked")} as graded
            join asked on asked.id = problem_id where not short"""
        )
        con.unregister("asked")
