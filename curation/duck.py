"""DuckDB as it is used here: connections that reach nothing else, names and literals, rows as Arrow."""

import functools
import itertools
import mmap
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

# What most columns are; DuckDB imports pandas (a second) to be asked about an Arrow type.
PLAIN_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.timestamp("ms", "UTC"): "TIMESTAMP WITH TIME ZONE",
}


def parquet(paths: Sequence[str], filename: bool = False) -> str:
    """SQL for the rows of Parquet files, columns matched by name; `key=value` in a path means nothing."""
    listed = ", ".join(literal(path) for path in paths)
    options = f"union_by_name = true, hive_partitioning = false, filename = {str(filename).lower()}"
    return f"read_parquet([{listed}], {options})"


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@functools.cache
def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type."""
    if (plain := PLAIN_TYPES.get(kind)) is not None:
        return plain
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{quoted(field.name)} {sql_type(field.type)}' for field in kind)})"
    return str(_types().from_arrow(pa.table({"x": pa.array([], kind)})).types[0])


@functools.cache
def _types() -> duckdb.DuckDBPyConnection:
    return connect()


def connect(**config: Any) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection of this process's own.

    Names in SQL never reach Python variables, no extension is fetched, and times read the same on every machine.
    """
    usual: dict[str, Any] = {
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "TimeZone": "UTC",
        "allocator_background_threads": True,  # memory that a query took goes back
        # It takes a cast that stands twice out of the try(…) around it: text that is no number ended the run.
        "disabled_optimizers": "common_subexpressions",
    }
    return duckdb.connect(config=usual | config)


def arrow(con: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
    """The rows of a query as an Arrow table."""
    return con.sql(query, params=list(parameters) or None).to_arrow_table()


def batches(con: duckdb.DuckDBPyConnection, query: str, rows: int) -> pa.RecordBatchReader:
    """The rows of a query as a stream of Arrow batches of about so many rows; `con` is busy until it is read."""
    return con.sql(query).to_arrow_reader(rows)


def mapped(con: duckdb.DuckDBPyConnection, query: str, folder: Path, rows: int = 16384) -> pa.Table:
    """The rows of a query as a table that lies in a file of `folder`: only what is being read of it takes memory.

    The file has no name, so that nothing is left of it when the process ends, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        found = batches(con, query, rows)
        with pa.ipc.new_file(file, found.schema) as writer:
            for batch in found:
                writer.write_batch(batch)
        file.flush()
        return pa.ipc.open_file(pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))).read_all()


def pieces(rows: pa.RecordBatchReader, batches_each: int) -> Iterator[pa.RecordBatchReader]:
    """A stream cut into streams of at most so many batches, none empty; each has to be read before the next."""
    for first in rows:
        some = itertools.chain([first], itertools.islice(rows, batches_each - 1))
        yield pa.RecordBatchReader.from_batches(rows.schema, some)
