"""Building the sets of a run: problems that stay and the traces of them, decided on, rendered, chosen.

    wanted problems -> traces drawn or taken over (teacher.py, given.py) -> measured (traced.py) -> the set's rules
    (keeping.py) -> written in the student's form and checked (staging.py) -> chosen (select.py) -> rows of the dataset

Sets are built one after the other, each behind those it is `without`; what was drawn and measured for one is there for the
next. Nothing is published here: a set comes to SQL over a file beside the run, its decisions to a table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from curation.annotate import Work, count
from curation.contamination import Contamination
from curation.duck import arrow, quoted
from curation.rules import tried
from curation.standing import Group
from distill import keeping
from distill.example import Example
from distill.given import Given
from distill.keeping import DEFAULT
from distill.rendering import Renderer
from distill.sets import AnySet, FromTraces, Problems
from distill.staging import Staging, opened_by, texts
from distill.student import Student
from distill.teacher import Progressed, Teacher
from distill.thinking import Parts
from distill.traced import Traced
from distill.traces import TraceChecks

Mode = Literal["as_drawn", "think", "no_think", "empty"]
TEMPLATE = "template"
"""What drops a trace that does not survive the student's template, or is too long for it."""


@dataclass(frozen=True)
class Plan:
    """What a recipe asks for, resolved."""

    traces: Mapping[str, Teacher | Given]
    """Where traces come from, by name; annotators that sample among them."""
    used: Mapping[str, str]
    """Of annotators that stop early the column with the number of samples that count, by their key."""
    sets: Mapping[str, AnySet]
    """Sets by name, each behind those it is `without`."""
    student: Student | None
    """Who learns from them; None where no set has traces."""
    renderer: Renderer | None
    checks: TraceChecks
    contamination: Contamination | None
    """What is looked for in traces; None where the recipe looks for no benchmark."""
    clean: str | None
    """Prefix of the columns that say so of a problem."""
    seed: int


@dataclass
class Built:
    """One set, before it is published."""

    rows: str
    """SQL for its rows, in order, with `split`."""
    record: dict[str, Any] = field(default_factory=dict)
    """What the manifest says of it."""
    decisions: str | None = None
    """SQL for what became of every trace."""
    problems: str = ""
    """SQL for the ids of its problems."""


class Builder:
    """Builds sets in the workspace of a run; needs the view `decisions` of its connection."""

    def __init__(self, work: Work, plan: Plan, source_order: str, folder: Path) -> None:
        """source_order: SQL for the place of a row's source. folder: for files of this run."""
        self.work, self.plan, self.folder = work, plan, folder
        self.traced = Traced(work, plan.checks, plan.contamination)
        self.built: dict[str, Built] = {}
        work.con.execute(
            f"""create or replace table placed as
            select id, split, row_number() over (order by {source_order}, row) as place from decisions where kept"""
        )

    # ---- problems

    def want(self, wanted: Problems, where: str | None = None) -> int:
        """Makes the table `wanted`: the problems that a set may use; gives how many. where: of a part of it."""
        conditions = [tried(condition) for condition in (wanted.where, where) if condition is not None]
        left_out = "".join(f" and id not in ({self.built[other].problems})" for other in wanted.without)
        self.work.con.execute(
            f"""create or replace table wanted as
            select id from decisions where kept{"".join(f" and {c} is true" for c in conditions)}{left_out}"""
        )
        return count(self.work.con, "wanted")

    # ---- traces

    def decide(self, name: str, taken: FromTraces, rules: Mapping[str, str], into: str) -> list[Group]:
        """Draws and measures the traces of the problems in `wanted`, and makes the table `into` of what the rules say."""
        con, drawn = self.work.con, self.plan.traces[taken.traces]
        columns, step = self.traced.columns, f"traces.{taken.traces}"
        only_right = keeping.only_right(con, rules, columns)
        if only_right:
            self._leave_out_ungraded(name)

        def look(groups: list[Group]) -> Mapping[str, Progressed]:
            self.traced.table(groups, drawn, step)
            if (used := self.plan.used.get(taken.traces)) is not None:
                # What lies beyond is there by chance, and decided nothing.
                ends = f"select id, {quoted(used)} as ends from decisions"
                con.execute(f"delete from traced using ({ends}) as d where d.id = problem_id and sample_index >= ends")
            keeping.decide(con, rules, columns, taken.enough, into)
            return self._progress(into)

        if isinstance(drawn, Given):
            groups = drawn.collect(self.work, step)
        else:
            groups = drawn.collect(self.work, step, taken.enough, only_right, look)
        look(groups)
        if not count(con, quoted(into)):
            self.work.store.warn(f"{step}: has no trace of the {count(con, 'wanted'):,} problems of sets.{name}")
        return groups

    def _leave_out_ungraded(self, name: str) -> None:
        """Takes the problems out of `wanted` whose traces nothing can find right, as the rules would keep none of them."""
        ungraded = "select id from decisions where verifier is null"
        if left_out := count(self.work.con, f"wanted where id in ({ungraded})"):
            self.work.con.execute(f"delete from wanted where id in ({ungraded})")
            self.work.store.warn(
                f"sets.{name}: {left_out:,} problems name no verifier, and its rules keep only what is right: nothing is drawn "
                "of them. Give their source a `verifier`, or switch the rule off (keep: {right: null})"
            )

    def _progress(self, table: str) -> dict[str, Progressed]:
        """By problem, what the samples before its first missing one came to, as far as they count."""
        rows = self.work.con.execute(
            f"""with placed as (
                select problem_id, correct, dropped_by, used, sample_index,
                    row_number() over (partition by problem_id order by sample_index) - 1 as place from {quoted(table)})
            select problem_id, count(*), count(*) filter (correct), count(*) filter (dropped_by is null)
            from placed where place = sample_index and used group by 1"""
        ).fetchall()
        return {id_: Progressed(*counts) for id_, *counts in rows}

    def rules(self, taken: FromTraces, default: Mapping[str, str] = DEFAULT) -> dict[str, str]:
        """The rules of a set or part, the default ones among them."""
        return keeping.rules_of(taken.keep, self.plan.clean, default)

    # ---- rows

    def stage(
        self, name: str, groups: list[Group], candidates: str, mode: Mode = "as_drawn", parts: bool = False
    ) -> Staging:
        """Renders traces as examples of one turn; gives the file.

        candidates: SQL with rollout, filename, "group", problem_id, sample_index. parts: whether thinking and answer are kept
        beside it. Makes the view `staged_<name>`.
        """
        assert self.plan.renderer is not None
        assert self.plan.student is not None
        student, blocks = self.plan.student, self.plan.renderer.template.always_thinks
        extra = pa.schema([*ROW, *PARTS]) if parts else ROW
        staging = Staging(self.folder / f"{name}.parquet", self.plan.renderer, extra)
        keys = arrow(
            self.work.con,
            f"""select rollout, filename, "group", sample_index, place, split
            from {candidates} as c join placed on placed.id = c.problem_id""",
        )
        opened, checks = opened_by(groups), self.plan.checks

        def chunks() -> Any:
            for rows in texts(self.work, groups, keys, "place, sample_index"):
                parts = (checks.parts(row["text"], row["reasoning"], opened[row["group"]]) for row in rows)
                yield [_example(row, each, student, mode, blocks) for row, each in zip(rows, parts, strict=True)]

        with self.work.progress.step(f"sets.{name}", keys.num_rows, "traces") as progress:
            staging.write(chunks(), progress)
        self.work.con.execute(f"create or replace view {quoted('staged_' + name)} as from {staging.rows}")
        return staging

    def lengths(self, rows: str) -> dict[str, Any]:
        """Rows and tokens by split, and by length."""
        con = self.work.con
        totals = arrow(
            con,
            f"""select split, count(*) as rows, coalesce(sum(tokens), 0)::bigint as tokens,
                coalesce(sum(trained_tokens), 0)::bigint as trained_tokens, max(tokens)::bigint as longest
            from ({rows}) group by 1 order by 1""",
        )
        lengths = con.execute(f"select length, count(*) from ({rows}) group by 1 order by 1").fetchall()
        return {
            "splits": totals.to_pylist(),
            "lengths": [{"up_to": length, "rows": rows_} for length, rows_ in lengths],
        }


ROW = pa.schema(
    [
        ("rollout", pa.string()),
        ("id", pa.string()),
        ("sample_index", pa.int64()),
        ("source", pa.string()),
        ("license", pa.string()),
        ("split", pa.string()),
        ("mode", pa.string()),
    ]
)
"""Columns of a staged row beside its rendering: `id` is the problem's, `mode` think or no_think."""
PARTS = pa.schema([("thinking", pa.string()), ("answer", pa.string())])


def _example(
    row: dict[str, Any], parts: Parts, student: Student, mode: Mode, blocks: bool
) -> tuple[dict[str, Any], Example]:
    """A staged row's own columns, and the example it is. blocks: whether the template gives every answer a think block."""
    answer = parts.answer or ""
    # An empty block tells the modes of a fusion apart; a set of one mode has none.
    thinking = parts.thinking if mode in ("as_drawn", "think") else "" if mode == "empty" else None
    thinking = "" if thinking is None and blocks else thinking
    own = {key: row[key] for key in ("rollout", "sample_index", "source", "license", "split")}
    own |= {
        "id": row["problem_id"],
        "mode": "think" if thinking else "no_think",
        "thinking": thinking,
        "answer": answer,
    }
    if any(turn["role"] == "system" for turn in (row["turns"] or [])[1:]):
        own["fault"] = "a system message stands in the midst of the problem's turns"
    return own, Example(student.asked(row["question"], row["turns"] or []), thinking, answer)
