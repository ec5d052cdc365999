"""Rollouts drawn elsewhere as samples of a model: committed to the workspace, each once.

Those that the workspace has not yet get the lowest free sample indexes of their problems, in the order of the files, and
are appended in parts. A rollout's name is a digest of its row's name (files.py) and its place there: what was committed
before a kill, or by the same import another time, is found again, and nothing is doubled.
"""

from collections import Counter

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.duck import arrow, parquet
from curation.imports.gathering import TELLING_CHARACTERS, Gathered
from curation.progress import Step
from curation.rollouts import ROLLOUTS, Rollouts
from curation.store import Store

BATCH_ROWS = 512
COMMIT_BYTES = 64 << 20


def commit(
    store: Store, con: duckdb.DuckDBPyConnection, gathered: Gathered, step: Step, commit_bytes: int = COMMIT_BYTES
) -> tuple[list[int], Counter[str]]:
    """Appends what the workspace has not yet; gives how many, by group, and how many it had, by file.

    A kill loses what was not in a part yet.
    """
    index = np.full(gathered.staged, -1, np.int32)
    for number, rollouts in enumerate(gathered.groups):
        rollouts.declare()
        placed = _placed(store, con, gathered, number, rollouts)
        index[placed["n"].to_numpy()] = placed["sample_index"].to_numpy()
    counts, had = [0 for _ in gathered.groups], Counter[str]()
    waiting: list[list[pa.Table]] = [[] for _ in gathered.groups]
    size = 0
    with pq.ParquetFile(gathered.path) as staged:
        for batch in staged.iter_batches(BATCH_ROWS):
            numbers = index[batch["n"].to_numpy()]
            groups = batch["group"].to_numpy()
            table = pa.Table.from_batches([batch]).append_column("sample_index", pa.array(numbers))
            had.update(table["file"].filter(pa.array(numbers < 0)).to_pylist())
            for group in sorted(set(groups[numbers >= 0].tolist())):
                rows = table.filter(pa.array((numbers >= 0) & (groups == group)))
                counts[group] += rows.num_rows
                waiting[group].append(_as_rollouts(rows))
                size += rows.nbytes
                step.advance(rows.num_rows)
            if size > commit_bytes:
                _append(store, gathered, waiting)
                size = 0
    _append(store, gathered, waiting)
    for rollouts in gathered.groups:
        store.merge(rollouts.folder)
    return counts, had


def _append(store: Store, gathered: Gathered, waiting: list[list[pa.Table]]) -> None:
    for rollouts, tables in zip(gathered.groups, waiting, strict=True):
        if tables:
            store.append(rollouts.folder, pa.concat_tables(tables))
            tables.clear()


def _as_rollouts(rows: pa.Table) -> pa.Table:
    have = set(rows.column_names)
    columns = [rows[f.name] if f.name in have else pa.nulls(rows.num_rows, f.type) for f in ROLLOUTS]
    return pa.table(columns, schema=ROLLOUTS)


def _placed(
    store: Store, con: duckdb.DuckDBPyConnection, gathered: Gathered, number: int, rollouts: Rollouts
) -> pa.Table:
    """n and sample_index of the samples of a group that are not in the workspace."""
    stored = store.scan(rollouts.folder, ROLLOUTS)
    return arrow(
        con,
        f"""with stored as (select rollout, problem_id, sample_index from {stored}),
        fresh as (
            select n, problem_id, row_number() over (partition by problem_id order by n) as k from (
                select n, problem_id from {parquet([str(gathered.path)])} as staged
                anti join stored using (rollout)
                where staged."group" = {number}
                qualify row_number() over (partition by rollout order by n) = 1)),
        used as (select distinct problem_id, sample_index from stored semi join fresh using (problem_id)),
        places as (
            select problem_id, count(*) + any_value(coalesce(taken, 0)) as enough from fresh
            left join (select problem_id, count(*) as taken from used group by 1) using (problem_id) group by 1),
        free as (
            select problem_id, sample_index, row_number() over (partition by problem_id order by sample_index) as k
            from (select problem_id, unnest(range(enough))::int as sample_index from places)
            anti join used using (problem_id, sample_index))
        select n, sample_index from fresh join free using (problem_id, k) order by n""",
    )


def copies(con: duckdb.DuckDBPyConnection, gathered: Gathered) -> float:
    """The share of samples that are equal to another one of their problem, of those long enough to tell."""
    equal, samples = con.execute(
        f"""select coalesce(sum(times) filter (times > 1), 0), coalesce(sum(times), 0) from (
            select count(*) as times from (
                select distinct rollout, problem_id, "group", content
                from {parquet([str(gathered.path)])} where content is not null)
            group by problem_id, "group", content)"""
    ).fetchall()[0]
    return int(equal) / int(samples) if samples else 0.0


def elsewhere(store: Store, con: duckdb.DuckDBPyConnection, gathered: Gathered) -> float:
    """The share of samples whose text the workspace has of their problem from elsewhere too, of those long enough to tell.

    A file that was edited, split or converted since it was imported is one whose rows have other names.
    """
    equal = samples = 0
    everything = parquet([str(gathered.path)])
    # The texts are hashed before anything is joined, and never held.
    whole = "coalesce(reasoning, '') || text"
    said = f"select rollout, problem_id, hash({whole}) as said, length({whole}) >= {TELLING_CHARACTERS} as telling from"
    for number, rollouts in enumerate(gathered.groups):
        found = con.execute(
            f"""with staged as materialized (
                select distinct rollout, problem_id, said from ({said} {everything} where "group" = {number}) where telling),
            stored as materialized (
                select rollout, problem_id, said from ({said} {store.scan(rollouts.folder, ROLLOUTS)}) where telling),
            others as (select problem_id, said from stored anti join staged using (rollout))
            select (select count(*) from staged semi join others using (problem_id, said)), (select count(*) from staged)"""
        ).fetchall()[0]
        equal, samples = equal + int(found[0]), samples + int(found[1])
    return equal / samples if samples else 0.0
