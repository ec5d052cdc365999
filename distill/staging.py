"""Traces written as the student will see them, in a file beside the run: what sets are selected from and cut out of.

Every candidate is rendered through the student's template once, in the order of its problem and sample index, so that its
length is known before a budget is spent and a row that does not survive the template is found before it is chosen. The file
is read by column: choosing reads no text.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.annotate import Work
from curation.duck import arrow, batches, parquet, quoted
from curation.progress import Step
from curation.rollouts import ROLLOUTS
from curation.standing import Group
from curation.store import ROW_GROUP_BYTES
from distill.example import Example
from distill.rendering import Rendered, Renderer
from distill.spool import Spool, reading, temporary
from distill.traced import opens

CHUNK = 128
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
TOO_LONG = "too long"
_TOO_LONG = re.compile(r"it has \d+ tokens, more than \d+")
FAULTS = 3
"""Faults shown by example."""


class SetRefused(ValueError):
    """A set cannot be published: the student's template does not keep its rows."""


@dataclass
class Faults:
    """Rows that cannot be published, by reason."""

    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """The first rollout of each reason."""

    def add(self, rollout: str, fault: str | None) -> None:
        self.rows += 1
        if fault is not None:
            kind = TOO_LONG if _TOO_LONG.fullmatch(fault) else fault.split(":")[0]
            self.reasons[kind] += 1
            self.examples.setdefault(kind, f"{rollout}: {fault}")

    def record(self) -> list[dict[str, Any]]:
        return [
            {"reason": reason, "rows": count, "first": self.examples[reason]}
            for reason, count in self.reasons.most_common()
        ]


def length_bucket(tokens: int) -> int:
    """The smallest power of two that holds so many tokens, from 256 on."""
    return max(256, 1 << max(0, tokens - 1).bit_length())


def texts(work: Work, groups: Sequence[Group], keys: pa.Table, order: str) -> Iterator[list[dict[str, Any]]]:
    """The traces of `keys` with their texts and problems, in chunks of rows, ordered by SQL over the keys.

    keys: rollout, filename, group (its number in `groups`), and what `order` reads. No two of one rollout.
    """
    if not keys.num_rows:
        return
    columns = "problem_id, rollout, filename, text, reasoning"
    with Spool(temporary(work), keys.num_rows) as spool:
        with reading(work) as con:
            con.register("keys", keys)
            con.execute(
                f"create temp table placed as select *, row_number() over (order by {order}) - 1 as n from keys"
            )
            for number, group in enumerate(groups):
                query = f"""
                    select r.problem_id, r.rollout, r.filename, r.text, r.reasoning, k.* exclude (rollout, filename),
                        p.prompt as question, p.messages as turns, p.source, p.license
                    from (select {columns} from {group.rollouts.store.scan(group.rollouts.folder, ROLLOUTS)}) as r
                        join (from placed where "group" = {number}) as k
                            on k.rollout = r.rollout and k.filename = r.filename
                        join {work.pool.problems(work.store)} as p on p.id = r.problem_id"""
                for batch in batches(con, query, CHUNK):
                    for row in batch.to_pylist():
                        spool.put(row.pop("n"), row)
        for first in range(0, keys.num_rows, CHUNK):
            yield [spool.take(number) for number in range(first, min(first + CHUNK, keys.num_rows))]


def opened_by(groups: Sequence[Group]) -> list[bool]:
    """By group: whether its prompts leave a think block open."""
    return [opens(group.rollouts.prompt) for group in groups]


class Staging:
    """Writes rendered rows to a Parquet file."""

    def __init__(self, path: Path, renderer: Renderer, extra: pa.Schema) -> None:
        """extra: columns of a row beside those of the rendering."""
        self.path, self.renderer, self.faults = path, renderer, Faults()
        apart = renderer.template.thinking_in == "reasoning_content"
        message = pa.struct([*MESSAGE, *([("reasoning_content", pa.string())] if apart else [])])
        marked = pa.struct([*message, ("train", pa.bool_())])
        self.schema = pa.schema(
            [
                *extra,
                ("prompt", pa.list_(message)),
                ("completion", pa.list_(message)),
                ("messages", pa.list_(marked)),
                ("tokens", pa.int64()),
                ("trained_tokens", pa.int64()),
                ("length", pa.int64()),
                ("fault", pa.string()),
            ]
        )

    def write(self, chunks: Iterator[list[tuple[dict[str, Any], Example]]], step: Step) -> None:
        """chunks: rows, each with the columns of `extra`, a `fault` where something is wrong already, and the example it is."""
        with pq.ParquetWriter(self.path, self.schema, compression="zstd") as writer:
            for chunk in chunks:
                rendered = self.renderer.render_many([example for _, example in chunk])
                rows = [
                    {**row, **_columns(one, row.get("fault"))} for (row, _), one in zip(chunk, rendered, strict=True)
                ]
                for row in rows:
                    self.faults.add(str(row["rollout"]), row["fault"])
                batch = pa.Table.from_pylist(rows, schema=self.schema)  # what the schema has not is left out
                write_batch(writer, batch)
                step.advance(len(rows))

    @property
    def rows(self) -> str:
        """SQL for what was written."""
        return parquet([str(self.path)])

    def only(self, con: duckdb.DuckDBPyConnection, chosen: str) -> str:
        """SQL for the rows whose rollouts a view has, in their order. A join would change it, or hold their texts to sort."""
        wanted = arrow(con, f"select rollout from {quoted(chosen)}")["rollout"]
        path = self.path.with_stem(f"{self.path.stem}-chosen")
        stays = pc.is_in(pq.read_table(self.path, columns=["rollout"])["rollout"], wanted).combine_chunks()
        at = 0
        with pq.ParquetFile(self.path) as file, pq.ParquetWriter(path, self.schema, compression="zstd") as writer:
            for number in range(file.num_row_groups):  # one by one: `iter_batches` keeps what it has read ahead
                rows = file.read_row_group(number)
                stay = rows.filter(stays.slice(at, rows.num_rows))
                at += rows.num_rows
                if stay.num_rows:
                    write_batch(writer, stay)
        return parquet([str(path)])


def write_batch(writer: pq.ParquetWriter, batch: pa.Table) -> None:
    """Row groups are small: nested columns of larger ones cannot be read back by datasets' reader."""
    fit = ROW_GROUP_BYTES * batch.num_rows // max(1, batch.nbytes)
    writer.write_table(batch, row_group_size=max(1, fit))


def _columns(rendered: Rendered, fault: str | None) -> dict[str, Any]:
    turns = [{**turn, "train": False} for turn in rendered.prompt]
    return {
        "prompt": rendered.prompt,
        "completion": rendered.completion,
        "messages": [*turns, *({**turn, "train": True} for turn in rendered.completion)],
        "tokens": rendered.tokens,
        "trained_tokens": rendered.trained_tokens,
        "length": length_bucket(rendered.tokens),
        "fault": fault or rendered.fault,
    }


def refuse_faulty(work: Work, name: str, faults: Faults, most: float) -> None:
    """Raises SetRefused where so many rows fail that it cannot be the rows' fault; says how many are too long.

    most: the share of rows, 0 to 1, up to which single rows are dropped with their reason.
    """
    if too_long := faults.reasons[TOO_LONG]:
        work.store.warn(
            f"sets.{name}: {too_long:,} of {faults.rows:,} rows are longer than the student reads (student.max_length), and "
            "left out"
        )
    systematic = {reason: count for reason, count in faults.reasons.items() if reason != TOO_LONG}
    failed = sum(systematic.values())
    if failed > most * faults.rows:
        shown = "".join(
            f"\n  {count:,} x {faults.examples[reason]}" for reason, count in [*systematic.items()][:FAULTS]
        )
        raise SetRefused(
            f"sets.{name}: {failed:,} of {faults.rows:,} rows do not survive the student's chat template, more than "
            f"max_faulty: {most} allows. The first of each kind:{shown}\nGive a template that keeps them "
            "(student.chat_template: FILE), drop such traces by a rule, or raise max_faulty"
        )
