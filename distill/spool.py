"""Rows with long texts, put beside in a file as they come and taken back in another order.

DuckDB sorts texts in files too, but pins more of them than a limit of memory leaves it, and what a join is built on is held
whole. So queries that read texts neither sort nor build on them: the order is made of keys alone, and texts are taken one by
one. Per row 20 bytes stay in memory.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa

from curation.annotate import Work
from curation.store import TEMPORARY

MEMORY = "1GB"
"""What DuckDB may hold of texts on their way."""


class Spool:
    """Rows by their numbers, 0 to `rows` - 1, in a file that has no name: nothing is left of it, however the run ends."""

    def __init__(self, folder: Path, rows: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `with`)
        self._codec = pa.Codec("zstd", compression_level=1)
        self._end = 0
        self._places = np.full(rows, -1, np.int64)
        self._packed = np.zeros(rows, np.int32)
        self._sizes = np.zeros(rows, np.int32)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, number: int, row: dict[str, Any]) -> None:
        """row: values that JSON has."""
        plain = json.dumps(row, ensure_ascii=False).encode()
        packed = self._codec.compress(plain, asbytes=True)
        self._places[number], self._packed[number], self._sizes[number] = self._end, len(packed), len(plain)
        self._file.write(packed)
        self._end += len(packed)

    def take(self, number: int) -> dict[str, Any]:
        """The row put under a number."""
        place = int(self._places[number])
        assert place >= 0, f"row {number} was never put"
        self._file.flush()
        packed = os.pread(self._file.fileno(), int(self._packed[number]), place)
        row: dict[str, Any] = json.loads(self._codec.decompress(packed, int(self._sizes[number]), asbytes=True))
        return row


@contextlib.contextmanager
def reading(work: Work) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to stream texts through: joins are built on their right side, which should hold none."""
    with work.store.connect() as con:
        con.execute(f"set memory_limit = '{MEMORY}'")
        con.execute("set preserve_insertion_order = false")
        con.execute("set disabled_optimizers = 'common_subexpressions,join_order,build_side_probe_side'")
        con.execute("set temp_directory = ?", [str(temporary(work))])
        yield con


def temporary(work: Work) -> Path:
    """A folder for files of the run."""
    folder = work.folder / TEMPORARY
    folder.mkdir(parents=True, exist_ok=True)
    return folder
