"""`cuvee verify`: grades the completions of a file, and says how far the verdicts agree with its labels.

A file is read, graded, counted and written as one stream, in its order: memory does not grow with its rows.
"""

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import pyarrow as pa

from curation.progress import Progress, Step
from curation.store import Store, filesystem
from curation.verify import JUDGE, Verdict
from curation.verify.agreement import Agreement
from curation.verify.jobs import JobTuple
from curation.verify.pool import GraderPool, Job, graders
from flows.answered import Answered, Item, Row, VerifyRefused
from flows.judged import JudgeAsked, judged
from flows.tallied import Reasons, Tally

WRITTEN = ("outcome", "extracted", "reason")
PREFIXES = ("", "judge_")
"""What the names of these columns begin with: the verifier's, the judge's."""


class Grader(Protocol):
    """What gives verdicts: the pool of verifiers, or a judge."""

    def grade_many(self, jobs: Iterable[Job | JobTuple]) -> Iterator[Verdict]: ...


def verify(
    path: str,
    workspace: str,
    *,
    verifier: str = "math",
    columns: Mapping[str, str | None] | None = None,
    labels: bool = True,
    out: str | None = None,
    workers: int | None = None,
    judge: JudgeAsked | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Grades a file and says what came of it.

    columns: names by what is in them (answer, completion, label, args), where they are not to be found. labels: whether a
    column of them is looked for. out: a Parquet file to write, with the rows and their verdicts. judge: a model that
    grades too, whose agreement with the labels is put down in the workspace. Raises VerifyRefused before anything is
    graded.
    """
    answered = Answered(path, verifier, columns or {}, labels)
    progress = progress if progress is not None else Progress()
    if judge is not None and answered.columns.label is None:
        raise VerifyRefused(
            "--judge: how often a judge is wrong shows only beside labels, and no column is known to hold them; say which "
            f"with --label (there are {', '.join(answered.schema.names)})"
        )
    writing = None if out is None else _writable(out, answered, 1 if judge is None else 2)
    with contextlib.ExitStack() as exits:
        pool = graders() if workers is None else exits.enter_context(GraderPool(workers))
        asked = None if judge is None else exits.enter_context(judged(judge, workspace, progress))
        found: list[Grader] = [pool] if asked is None else [pool, asked.grader]
        with progress.step("verify", answered.total, "completions") as step:
            verification = Verification(answered, step, keeps=out is not None)
            rows = exits.enter_context(contextlib.closing(verification.run(found)))
            if writing is None:
                for _ in rows:
                    pass
            else:
                store, target, schema = writing
                store.write_table(target, pa.RecordBatchReader.from_batches(schema, rows))
        told = verification.told() | {"out": out}
        if writing is not None:
            told["as_text"] = [
                name for name, kinds in answered.kinds.items() if kinds - {"text"} and _type(kinds) is None
            ]
        if asked is not None:
            told["judge"] = verification.of(verification.judge) | {"with_rule": verification.with_rule()}
            told["judge"] |= asked.told(told, answered)
    return told


def _writable(out: str, answered: Answered, opinions: int) -> tuple[Store, str, pa.Schema]:
    """Where the rows go, and with which columns. Raises VerifyRefused.

    opinions: verdicts on each completion.
    """
    kind = pa.list_(pa.string()) if answered.lists else pa.string()
    added = [pa.field(prefix + name, kind) for prefix in PREFIXES[:opinions] for name in WRITTEN]
    there = {name.lower() for name in answered.schema.names}
    if taken := [column.name for column in added if column.name in there]:
        raise VerifyRefused(f"--out: {answered.file.name} has a column {taken[0]!r} already; rename it there first")
    if not out.endswith(".parquet"):
        raise VerifyRefused(f"--out: {out} is written as Parquet; give a name that ends in .parquet")
    fs, path = filesystem(out)
    if fs.exists(path):
        raise VerifyRefused(f"--out: {out} exists already; give another name")
    fields = [column.with_type(_type(answered.kinds.get(column.name, ())) or column.type) for column in answered.schema]
    return Store(os.path.dirname(out) or "."), path, pa.schema([*fields, *added])


def _type(kinds: Iterable[str]) -> pa.DataType | None:
    """The type of a column of JSON Lines by what it holds; None where that is text, or no type holds it."""
    found = set(kinds)
    for type_, whole in ((pa.bool_(), {"bool"}), (pa.int64(), {"int", "long"}), (pa.float64(), {"int", "float"})):
        if found and found <= whole:
            return type_
    return None


@dataclass
class Batch:
    """Rows that wait for their verdicts."""

    table: pa.Table | None
    rows: list[Row]
    wanted: int
    """Completions that can be graded."""
    verdicts: list[tuple[Verdict, ...]] = field(default_factory=list)
    """Of each of these, one of each grader."""


class Verification:
    """The verdicts on a file, counted as they pass."""

    def __init__(self, answered: Answered, step: Step, keeps: bool) -> None:
        """keeps: whether the rows are given back, with their verdicts."""
        self.answered, self.step, self.keeps = answered, step, keeps
        self.rows = self.completions = 0
        self.unreadable, self.not_labelled = Reasons(), Reasons()
        self.rule, self.judge, self.both = Tally(), Tally(), Agreement()
        """`both`: the judge's outcomes beside what the rule says, where that decided."""

    def run(self, found: Sequence[Grader]) -> Generator[pa.RecordBatch, None, None]:
        """Grades all rows, and gives them with their verdicts."""
        waiting: deque[Batch] = deque()

        def jobs() -> Iterator[Job]:
            for table, rows, unreadable in self.answered.batches():
                self._count(rows, unreadable)
                wanted = [item.job for _, items in rows for item in items if item.job is not None]
                waiting.append(Batch(table if self.keeps else None, rows, len(wanted)))
                yield from wanted

        with contextlib.ExitStack() as exits:
            # All read the same jobs; what one has read before another is what it has in flight.
            shared = zip(found, itertools.tee(jobs(), len(found)), strict=True)
            streams = [cast(Generator[Verdict, None, None], one.grade_many(some)) for one, some in shared]
            for stream in streams:
                exits.callback(stream.close)
            for verdicts in zip(*streams, strict=True):
                while len(waiting[0].verdicts) == waiting[0].wanted:
                    yield from self._finish(waiting.popleft(), len(found))
                waiting[0].verdicts.append(verdicts)
                self.step.advance(1)
        for batch in waiting:
            yield from self._finish(batch, len(found))

    def _count(self, rows: Iterable[Row], unreadable: Iterable[Row]) -> None:
        for number, (item,) in unreadable:
            self.rows += 1
            self.unreadable.add(number, item.bad)
            self.step.advance(1)
        for number, items in rows:
            self.rows += 1
            self.completions += len(items)
            for item in items:
                if item.job is None:
                    self.step.advance(1)
                elif item.bad:
                    self.not_labelled.add(number, item.bad)

    def _finish(self, batch: Batch, opinions: int) -> list[pa.RecordBatch]:
        """Counts the verdicts of a batch; gives its rows with them."""
        given = iter(batch.verdicts)
        rows = [
            [(item, next(given) if item.job is not None else _unknown(item, opinions)) for item in items]
            for _, items in batch.rows
        ]
        for (number, _), items in zip(batch.rows, rows, strict=True):
            for item, verdicts in items:
                self._take(
                    number, item, item.job.verifier if item.job is not None else self.answered.verifier, verdicts
                )
        if batch.table is None:
            return []
        table, lists = batch.table, self.answered.lists
        for place, prefix in enumerate(PREFIXES[:opinions]):
            for name in WRITTEN:
                values: list[Any] = [[_text(getattr(verdicts[place], name)) for _, verdicts in items] for items in rows]
                kind = pa.list_(pa.string()) if lists else pa.string()
                column = pa.array(values if lists else [one[0] for one in values], kind)
                table = table.append_column(prefix + name, column)
        for place, column in enumerate(table.schema):
            if (kind := _type(self.answered.kinds.get(column.name, ()))) is not None:
                table = table.set_column(place, column.with_type(kind), table[column.name].cast(kind))
        return list(table.combine_chunks().to_batches())

    def _take(self, row: int, item: Item, verifier: str, verdicts: Sequence[Verdict]) -> None:
        self.rule.take(row, verifier, item, verdicts[0])
        if len(verdicts) > 1:
            self.judge.take(row, JUDGE, item, verdicts[1])
            if verdicts[0].outcome != "error":
                self.both.add(verdicts[0].outcome == "correct", verdicts[1].outcome)

    def with_rule(self) -> dict[str, Any]:
        """How far the judge agrees with the verifier, where that decided."""
        counts = self.both.counts
        alone = {"judge_only": counts[False, "correct"], "rule_only": counts[True, "wrong"]}
        return {"agreement": self.both.agreement.told(), "correct_by": alone}

    def told(self) -> dict[str, Any]:
        file = self.answered.file
        return {
            "file": {"path": file.path, "sha256": file.sha256},
            "columns": self.answered.columns.used,
            "rows": self.rows,
            "completions": self.completions,
            "unreadable": self.unreadable.told(),
            "unreadable_rows": self.unreadable.counts.total(),
            "labels_not_read": self.not_labelled.told(),
            "labels_are_scores": self.answered.scored or None,
            **self.of(self.rule),
        }

    def of(self, tally: Tally) -> dict[str, Any]:
        """Labels of which some are scores say nothing: those that happen to be 0 or 1 are no sample of them."""
        none: dict[str, Any] = {"agreement": None, "disagreements": [], "disagreements_left_out": 0}
        return tally.told() | (none if self.answered.scored else {})


def _unknown(item: Item, opinions: int) -> tuple[Verdict, ...]:
    """The verdicts on a completion that could not be graded."""
    return (Verdict("error", None, item.bad),) * opinions


def _text(text: str | None) -> str | None:
    # Half a surrogate pair, which JSON text within a file may hold, cannot be written.
    return None if text is None else text.encode("utf-8", "replace").decode()
