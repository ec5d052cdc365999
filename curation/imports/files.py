"""Files to import, as batches of rows: Parquet or JSON Lines, with SQL over their columns when it is given.

Every row has a name that does not change when the file is packed, copied, renamed or grows, as dumps of a training run
do: what was imported is known by it, and never imported twice.

    Parquet     the digest of the file, and the row's number: such files do not grow
    JSON Lines  what the row says, its number, and the file's head: all rows up to this one, of the first HEAD_ROWS

So equal rows of one file are two samples, and so are equal rows of two files whose heads differ: short answers are often
equal, and each was drawn. Only the rows that two files have in common from their first row on count once. A row behind
the head that was rewritten is one new sample. What is no longer known, and is imported again: rows behind one that was
rewritten in the head, rows that moved to another line, to another file or to Parquet, and rows with a column more.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from curation import sql
from curation.duck import arrow, connect, quoted
from curation.imports.sample import Row
from curation.jsonl import BLOCK, COMPRESSIONS, objects
from curation.source import ROW, Source, SourceError
from curation.store import filesystem

BATCH_ROWS = 512
HEAD_ROWS = 64
"""Rows that tell one JSON Lines file from another. More tell files of short answers apart more surely."""
NAME = "__name"
FILES = re.compile(r"\.(jsonl|json|parquet)(\.zst|\.gz)?$")
UNREADABLE = (ValueError, TypeError, OverflowError, pa.ArrowException)
"""What a value raises that Python or Arrow cannot hold."""


class ImportRefused(ValueError):
    """Files cannot be imported as asked; nothing was."""


@dataclass(frozen=True)
class File:
    """One file to import."""

    path: str
    kind: str
    """parquet or jsonl, by its first bytes."""
    sha256: str
    """Of its content, unpacked where it is a packed JSON Lines file."""
    modified: datetime

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def names(self) -> list[str]:
        """The columns of a JSON Lines file's first row."""
        if self.kind == "jsonl":
            with contextlib.suppress(OSError):  # told when it is read
                for _, _, found in objects(*filesystem(self.path)):
                    return [*found] if isinstance(found, dict) else []
        return []

    def rows(self, columns: Mapping[str, str], where: str | None) -> Iterator[tuple[list[Row], list[dict[str, Any]]]]:
        """Batches of (rows with number and name in `__row` and `__name`, rows that cannot be read: row, reason).

        columns: SQL values over the file's columns, by name. where: SQL condition over them. Raises ImportRefused.
        """
        source = Source(parquet=[self.path]) if self.kind == "parquet" else Source(jsonl=[self.path])
        con, query, named = connect(), None, self._names()
        try:
            for table, unreadable in source.tables(BATCH_ROWS):
                if columns or where is not None:
                    query = query or self._query(table.schema, columns, where)
                names = named(table)
                rows, failed = _computed(con, query, table)
                yield [row | {NAME: names[row[ROW]]} for row in rows], [*unreadable, *failed]
        except SourceError as error:
            raise ImportRefused(str(error)) from error

    def _names(self) -> Callable[[pa.Table], dict[int, str]]:
        """Names the rows of the file's batches, given in order, by their numbers."""
        if self.kind == "parquet":
            return lambda batch: {number: f"{self.sha256}:{number}" for number in batch[ROW].to_pylist()}
        head, taken = hashlib.sha256(), 0

        def names(batch: pa.Table) -> dict[int, str]:
            nonlocal taken
            found = {}
            for row in batch.to_pylist():
                number = row.pop(ROW)
                said = json.dumps({key: text for key, text in row.items() if text is not None}, sort_keys=True)
                if taken < HEAD_ROWS:
                    head.update(said.encode() + b"\n")
                    taken += 1
                found[number] = f"{head.hexdigest()}:{number}:{hashlib.sha256(said.encode()).hexdigest()}"
            return found

        return names

    def _query(self, schema: pa.Schema, columns: Mapping[str, str], where: str | None) -> str:
        own = pa.schema([f for f in schema if f.name != ROW])

        def checked(option: str, expression: str, boolean: bool = False) -> str:
            try:
                sql.check(expression, own, boolean=boolean)
            except sql.ExpressionError as error:
                raise ImportRefused(f"{option}: {expression!r} {error} (the columns of {self.name})") from error
            return f"(\n{expression}\n)"

        values = [quoted(f.name) for f in schema if f.name.lower() not in columns]
        values += [f"{checked(f'--column {name}', text)} as {quoted(name)}" for name, text in columns.items()]
        condition = "" if where is None else f" where {checked('--where', where, boolean=True)}"
        return f"select {', '.join(values)} from batch{condition}"


def files_of(patterns: Iterable[str]) -> list[File]:
    """The files that paths and globs name, numbers in their names counted up. Raises ImportRefused."""
    found: list[File] = []
    for pattern in patterns:
        try:
            paths = sorted(Source(jsonl=[pattern]).files(), key=_numbered)
        except SourceError as error:
            why = _folder(pattern) or f"{str(error).removeprefix('jsonl: ')}; give paths or globs"
            raise ImportRefused(f"FILE: {why}") from error
        for path in paths:
            try:
                fs, inside = filesystem(path)
                with fs.open(inside, "rb") as file:
                    kind = "parquet" if file.read(4) == b"PAR1" else "jsonl"
                found.append(File(path, kind, _digest(fs, inside, kind), fs.modified(inside).astimezone(UTC)))
            except (OSError, pa.ArrowException) as error:
                folder = _folder(path)  # a pattern may name one too
                said = f"FILE: {folder}" if folder else f"{path} cannot be read to its end: {error}"
                raise ImportRefused(said) from error
    return found


def _folder(pattern: str) -> str | None:
    """What to give instead of a folder; None when it is none."""
    with contextlib.suppress(OSError, ValueError):
        fs, inside = filesystem(pattern)
        if fs.isdir(inside):
            names = sorted(path.rsplit("/", 1)[-1] for path in fs.find(inside, maxdepth=1))
            ending = next((found[0] for name in names if (found := FILES.search(name))), ".jsonl")
            return f"{pattern!r} is a folder; give the files in it: '{pattern.rstrip('/')}/*{ending}'"
    return None


def _digest(fs: Any, path: str, kind: str) -> str:
    hasher = hashlib.sha256()
    packed = COMPRESSIONS.get(path.rsplit(".", 1)[-1]) if kind == "jsonl" else None
    with fs.open(path, "rb") as raw, pa.input_stream(raw, compression=packed) as stream:
        while block := stream.read(BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def _numbered(path: str) -> list[tuple[int, str]]:
    """Sorts 10.jsonl behind 9.jsonl."""
    parts = re.split(r"(\d+)", path)
    return [(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)]


def _computed(
    con: duckdb.DuckDBPyConnection, query: str | None, batch: pa.Table
) -> tuple[list[Row], list[dict[str, Any]]]:
    """The query over a batch. Rows on which it fails are found by halving, and given back with the reason."""
    try:
        con.register("batch", batch)
        return (batch if query is None else arrow(con, query)).to_pylist(), []
    except (duckdb.Error, *UNREADABLE) as error:
        if batch.num_rows == 1:
            what = "SQL failed" if isinstance(error, duckdb.Error) else "has a value that cannot be read"
            return [], [{"row": batch[ROW][0].as_py(), "reason": f"{what}: {str(error).split(chr(10))[0]}"}]
    half = batch.num_rows // 2
    left, left_failed = _computed(con, query, batch.slice(0, half))
    right, right_failed = _computed(con, query, batch.slice(half))
    return left + right, left_failed + right_failed
