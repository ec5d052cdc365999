"""Files to import, as batches of rows: Parquet or JSON Lines, with SQL over their columns when it is given."""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
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
        """Batches of (rows with their number in `__row`, rows that cannot be read: row, reason).

        columns: SQL values over the file's columns, by name. where: SQL condition over them. Raises ImportRefused.
        """
        source = Source(parquet=[self.path]) if self.kind == "parquet" else Source(jsonl=[self.path])
        con, query = connect(), None
        try:
            for table, unreadable in source.tables(BATCH_ROWS):
                if columns or where is not None:
                    query = query or self._query(table.schema, columns, where)
                    mapped, failed = _computed(con, query, table)
                    yield mapped, [*unreadable, *failed]
                else:
                    yield table.to_pylist(), unreadable
        except SourceError as error:
            raise ImportRefused(str(error)) from error

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
            raise ImportRefused(f"FILE: {str(error).removeprefix('jsonl: ')}; give paths or globs") from error
        for path in paths:
            try:
                fs, inside = filesystem(path)
                with fs.open(inside, "rb") as file:
                    kind = "parquet" if file.read(4) == b"PAR1" else "jsonl"
                found.append(File(path, kind, _digest(fs, inside, kind), fs.modified(inside).astimezone(UTC)))
            except (OSError, pa.ArrowException) as error:
                raise ImportRefused(f"{path} cannot be read to its end: {error}") from error
    return found


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


def _computed(con: duckdb.DuckDBPyConnection, query: str, batch: pa.Table) -> tuple[list[Row], list[dict[str, Any]]]:
    """The query over a batch. Rows on which it fails are found by halving, and given back with the reason."""
    try:
        con.register("batch", batch)
        return arrow(con, query).to_pylist(), []
    except duckdb.Error as error:
        if batch.num_rows == 1:
            return [], [{"row": batch[ROW][0].as_py(), "reason": "SQL failed: " + str(error).split("\n")[0]}]
    half = batch.num_rows // 2
    left, left_failed = _computed(con, query, batch.slice(0, half))
    right, right_failed = _computed(con, query, batch.slice(half))
    return left + right, left_failed + right_failed
