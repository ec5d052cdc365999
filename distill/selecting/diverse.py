"""A problem's traces by how far apart they are in wording: the next is always the one farthest from those before it.

That is the greedy farthest-point order (Gonzalez 1985): its first k are within a factor of two of the k that are spread
widest. The distance is one minus the Jaccard similarity of the sets of words, as MinHash signatures estimate it (standard
error .044 and less). Runs of words tell texts apart too well: any two traces of a problem have nearly all of theirs apart,
and what is left to compare is within that error. Equal texts have distance 0, so that a copy comes last.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curation.annotate import Work
from curation.dedup.ragged import Ints
from curation.dedup.sketches import sketched
from curation.duck import batches

PERMUTATIONS = 128
SIGNATURES = pa.schema([("rollout", pa.string()), ("signature", pa.binary(PERMUTATIONS * 4))])
ROWS = 256
"""Texts that are read together."""
_COMPARED = 1 << 24
"""Entries of signatures that are compared at once."""

Signatures = npt.NDArray[np.uint32]


def signatures(traces: Iterable[pa.Table]) -> pa.Table:
    """The signatures (SIGNATURES) of traces, whose texts are read as a stream.

    traces: tables with `rollout`, `text` and, where thinking was parsed off, `reasoning`. 512 bytes a trace are kept.
    """
    found = [SIGNATURES.empty_table()]
    for names, parts in sketched(_texts(traces), ngram=1, permutations=PERMUTATIONS):
        signed = (
            np.concatenate([part.signatures for part in parts]) if parts else np.empty((0, PERMUTATIONS), np.uint32)
        )
        found.append(pa.table([names.cast(pa.string()), _binary(signed)], schema=SIGNATURES))
    return pa.concat_tables(found)


def signatures_of(work: Work, rows: str) -> pa.Table:
    """The signatures (SIGNATURES) of rows as they are staged.

    rows: SQL with `rollout` and `completion`, one message with `content` and, where the template takes the thinking apart,
    `reasoning_content`.
    """
    with contextlib.closing(work.store.connect()) as con:
        return signatures(_turns(batches(con, f"select rollout, completion from {rows}", ROWS)))


def _turns(rows: pa.RecordBatchReader) -> Iterator[pa.Table]:
    for batch in rows:
        turn = pc.list_element(batch["completion"], 0)
        columns = {"rollout": batch["rollout"], "text": pc.struct_field(turn, "content")}
        if "reasoning_content" in [field.name for field in turn.type]:
            columns["reasoning"] = pc.struct_field(turn, "reasoning_content")
        yield pa.table(columns)


def _texts(traces: Iterable[pa.Table]) -> Iterator[tuple[pa.ChunkedArray, Sequence[str]]]:
    for table in traces:
        text = table["text"]
        if "reasoning" in table.column_names:
            text = pc.binary_join_element_wise(table["reasoning"], text, "\n", null_handling="skip")
        yield table["rollout"], text.to_pylist()


def _binary(signed: Signatures) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(signed))
    return pa.FixedSizeBinaryArray.from_buffers(SIGNATURES.field("signature").type, len(signed), [None, data])


def matrix(column: pa.ChunkedArray) -> Signatures:
    """Signatures as numbers, [N, PERMUTATIONS]."""
    fixed = column.cast(SIGNATURES.field("signature").type)
    chunks = [
        np.frombuffer(chunk.buffers()[1] or b"", np.uint32).reshape(-1, PERMUTATIONS)[chunk.offset :][: len(chunk)]
        for chunk in fixed.chunks
    ]
    return np.concatenate([np.empty((0, PERMUTATIONS), np.uint32), *chunks])


def places(problems: Ints, at: Ints, signed: Signatures, most: int | None) -> Ints:
    """The place of every trace among those of its problem, from 1 on; those after `most` keep their order.

    problems: [N], equal ones side by side; the first of each comes first, of equally far ones the earlier. at: where the
    signature of each is in `signed`.
    """
    starts = np.flatnonzero(np.diff(problems, prepend=-1))
    sizes = np.diff(starts, append=len(problems))
    out = np.empty(len(problems), np.int64)
    for size in np.unique(sizes):
        of_size = starts[sizes == size]
        # Problems with as many traces are worked on together.
        each = max(1, _COMPARED // (int(size) * PERMUTATIONS))
        for begin in range(0, len(of_size), each):
            rows = of_size[begin : begin + each, None] + np.arange(size)
            out[rows] = _farthest_first(signed[at[rows]], int(size) if most is None else most)
    return out


def _farthest_first(signed: Signatures, most: int) -> Ints:
    """The places, [B, m], in the order of B problems with m traces each; signed [B, m, PERMUTATIONS]."""
    problems, size, _ = signed.shape
    every = np.arange(problems)
    placed = np.zeros((problems, size), np.int64)
    alike = np.full((problems, size), -1)
    """Entries that a trace shares with the nearest of those placed."""
    for place in range(1, min(size, most) + 1):
        next_ = np.where(placed > 0, PERMUTATIONS + 1, alike).argmin(axis=1)
        placed[every, next_] = place
        alike = np.maximum(alike, np.count_nonzero(signed == signed[every, next_, None], axis=2))
    left = placed == 0
    return np.where(left, min(size, most) + np.cumsum(left, axis=1), placed)
