"""What is kept of a text to find its near-duplicates without reading it again: hashes, its set of shingles, a signature.

Sketches are stored per row (`to_arrow`, `from_arrow`), so that a new pool is matched against an old one from these alone.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.dedup import compiled
from curation.dedup.minhash import PERMUTATIONS, signatures
from curation.dedup.ragged import Hashes, Ragged, joined
from curation.dedup.shingles import FACTOR, OTHER_FACTOR, sequence_hashes, shingles
from curation.dedup.wording import By, pieces, wording

T = TypeVar("T")
THREADS = min(8, os.cpu_count() or 1)
AHEAD = 3 * THREADS
"""Pieces of texts that are worked on before they are asked for."""


@dataclass(frozen=True)
class Sketches:
    """Of some texts, one row each."""

    same: npt.NDArray[np.uint64]
    """(rows, 2): equal for texts that are equal as compared, numbers masked when they are ignored."""
    literal: npt.NDArray[np.uint64]
    """(rows, 2): the same, numbers never masked."""
    numbers: Hashes
    """A hash of the text's numbers in their order; 0 when they are ignored."""
    sets: Ragged
    """The hashes of its shingles."""
    signatures: npt.NDArray[np.uint32]
    """(rows, permutations)."""

    def __len__(self) -> int:
        return len(self.numbers)


def sketch(
    texts: Sequence[str],
    *,
    by: By = "words",
    ngram: int = 5,
    ignore_numbers: bool = False,
    permutations: int = PERMUTATIONS,
) -> Sketches:
    """Sketches of texts."""
    ((_, parts),) = sketched(
        [(None, texts)], by=by, ngram=ngram, ignore_numbers=ignore_numbers, permutations=permutations
    )
    return together(parts, permutations)


def sketched(
    batches: Iterable[tuple[T, Sequence[str]]],
    *,
    by: By = "words",
    ngram: int = 5,
    ignore_numbers: bool = False,
    permutations: int = PERMUTATIONS,
    total: int | None = None,
) -> Iterator[tuple[T, list[Sketches]]]:
    """Sketches of batches of texts in order, each as those of its pieces, with what came beside them.

    Made by several threads, ahead of who reads them: numpy does its work beside the interpreter. total: texts in all, where
    that is known.
    """
    if total is not None:
        compiled.expect(total)
    work = partial(_sketched, by=by, ngram=ngram, ignore_numbers=ignore_numbers, permutations=permutations)
    waiting: deque[tuple[T, list[Future[Sketches]]]] = deque()
    with ThreadPoolExecutor(THREADS) as threads:
        for beside, texts in batches:
            if total is None:
                compiled.expect(len(texts))
            waiting.append((beside, [threads.submit(work, piece) for piece in pieces(texts)]))
            while sum(len(parts) for _, parts in waiting) > AHEAD:
                beside_, parts = waiting.popleft()
                yield beside_, [part.result() for part in parts]
        for beside_, parts in waiting:
            yield beside_, [part.result() for part in parts]


def _sketched(texts: Sequence[str], by: By, ngram: int, ignore_numbers: bool, permutations: int) -> Sketches:
    said = wording(texts, by, ignore_numbers)
    sets = shingles(said.compared, ngram)
    literal = _twice(said.literal)
    same = _twice(said.masked) if ignore_numbers else literal
    return Sketches(same, literal, said.numbers, sets, signatures(sets, permutations))


def _twice(rows: Ragged) -> npt.NDArray[np.uint64]:
    """A hash of 128 bits."""
    return np.column_stack([sequence_hashes(rows, FACTOR), sequence_hashes(rows, OTHER_FACTOR)])


def together(parts: Sequence[Sketches], permutations: int) -> Sketches:
    """Sketches of several batches as one."""
    none = Sketches(
        np.empty((0, 2), np.uint64),
        np.empty((0, 2), np.uint64),
        np.empty(0, np.uint64),
        joined([]),
        np.empty((0, permutations), np.uint32),
    )
    if len(parts) == 1:
        return parts[0]
    every = parts or [none]
    return Sketches(
        np.concatenate([part.same for part in every]),
        np.concatenate([part.literal for part in every]),
        np.concatenate([part.numbers for part in every]),
        joined([part.sets for part in every]),
        np.concatenate([part.signatures for part in every]),
    )


def to_arrow(sketches: Sketches) -> pa.RecordBatch:
    """Columns same, literal, numbers, sets, signatures."""
    sets = sketches.sets
    # An Arrow list has offsets of 32 bits; a text longer than its 2 billion shingles does not fit in memory either.
    listed = pa.LargeListArray.from_arrays(pa.array(sets.starts), pa.array(sets.values))
    return pa.record_batch(
        {
            "same": _binary(sketches.same),
            "literal": _binary(sketches.literal),
            "numbers": pa.array(sketches.numbers),
            "sets": listed.cast(pa.list_(pa.uint64())),
            "signatures": _binary(sketches.signatures),
        }
    )


def from_arrow(stored: pa.RecordBatch | pa.Table) -> Sketches:
    """What `to_arrow` made; other columns do not matter. A batch is read where it lies, a table of several copied."""
    batch = stored.combine_chunks() if isinstance(stored, pa.Table) else stored
    columns = {
        name: (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    sets = columns["sets"]
    starts = sets.offsets.to_numpy().astype(np.int64)
    return Sketches(
        _numbers(columns["same"], np.dtype("<u8")),
        _numbers(columns["literal"], np.dtype("<u8")),
        columns["numbers"].to_numpy(),
        Ragged(sets.flatten().to_numpy(), starts - starts[0]),
        _numbers(columns["signatures"], np.dtype("<u4")),
    )


def _binary(rows: npt.NDArray[np.uint64] | npt.NDArray[np.uint32]) -> pa.Array:
    width = rows.shape[1] * rows.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))]
    )


def _numbers(column: pa.Array, dtype: "np.dtype[np.unsignedinteger]") -> np.ndarray:
    if pa.types.is_binary(column.type):  # as it comes back from a query
        column = column.cast(pa.binary(len(column[0].as_py()) if len(column) else dtype.itemsize))
    width = column.type.byte_width // dtype.itemsize
    data = np.frombuffer(column.buffers()[1] or b"", dtype)
    return data[column.offset * width : (column.offset + len(column)) * width].reshape(-1, width)
