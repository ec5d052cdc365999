"""Reading a pool: sources in, an immutable, versioned set of problems out.

Every source is read as Arrow tables (source.py), whose rows become problems (mapping.py). A row that cannot be read or
lacks a prompt is not lost: it goes to `rejected.parquet` with its reason, and

    rows read = problems + rejected

A pool's version hashes the source specs and what the sources are right now (file digests, Hub commits, package
versions), so an unchanged pool is not read again.
"""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curation import problem
from curation.duck import batches, parquet, pieces, quoted
from curation.mapping import BATCH_ROWS, UNNUMBERED, problems_of
from curation.progress import Progress
from curation.source import Source, SourceError
from curation.store import MANIFEST, ROW_GROUP_ROWS, Store, new_part, settings_hash

# Raised when the same sources would give other problems.
VERSION = 1
PART_BATCHES = 16
STAGED, REJECTS = "staged.parquet", "rejected.parquet"
REJECTED = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("excerpt", pa.string(), nullable=False),
    ]
)


class PoolError(ValueError):
    """A pool cannot be read."""


@dataclass(frozen=True)
class Pool:
    """A pool as it lies in a workspace."""

    folder: str
    manifest: dict[str, Any]

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    def problems(self, store: Store) -> str:
        """SQL for its problems."""
        return parquet(store.readable([f"{self.folder}/{file['name']}" for file in self.manifest["files"]]))

    def rejected(self, store: Store) -> str:
        """SQL for its rejected rows."""
        return parquet(store.readable([f"{self.folder}/{REJECTS}"]))


def read(store: Store, name: str, sources: Mapping[str, Source], max_rejected: float, progress: Progress) -> Pool:
    """The pool of these sources, from the workspace when it is there already.

    max_rejected: the share of rows, 0 to 1, above which reading fails.
    Raises SourceError for a source that cannot be read at all, PoolError when too many rows are rejected.
    """
    inputs = {}
    for key, source in sources.items():
        with _of(key):
            inputs[key] = {"spec": source.settings(), "resolved": source.resolve()}
    version = version_of(inputs)
    folder = store.path("pools", name, version)
    cached = _complete(store, folder)
    # One that now has too many rejected rows is read again, to show them.
    if cached is not None and all(c["rejected"] <= max_rejected * c["read"] for c in cached["sources"].values()):
        return Pool(folder, cached)

    with tempfile.TemporaryDirectory(prefix="cuvee-pool-") as temporary, store.connect() as con:
        staging = Path(temporary)
        counts = _stage(sources, staging, max_rejected, progress)
        files = _write(store, con, folder, staging / STAGED)
        rejected = batches(con, f"from {parquet([str(staging / REJECTS)])}", BATCH_ROWS).cast(REJECTED)
        store.write_table(f"{folder}/{REJECTS}", rejected)
    manifest = {
        "name": name,
        "version": version,
        "read": sum(count["read"] for count in counts.values()),
        "problems": sum(file["rows"] for file in files),
        "rejected": sum(count["rejected"] for count in counts.values()),
        "sources": {key: inputs[key] | counts[key] for key in sources},
        "files": files,
    }
    assert manifest["read"] == manifest["problems"] + manifest["rejected"]
    store.write_json(f"{folder}/{MANIFEST}", manifest)
    return Pool(folder, manifest)


def version_of(inputs: Mapping[str, Any]) -> str:
    """The version of a pool: a hash of what its sources are, by name.

    A list: the order of the sources is the order of the rows, and of preference when duplicates meet.
    """
    return settings_hash({"version": VERSION, "sources": [[key, value] for key, value in inputs.items()]})


@contextlib.contextmanager
def _of(key: str) -> Iterator[None]:
    """Names the source in what is wrong with it."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"sources.{key}.{error}") from error


def _complete(store: Store, folder: str) -> dict[str, Any] | None:
    """The manifest of a pool that is whole; None when it has to be read (again)."""
    manifest: Any = store.read_json(f"{folder}/{MANIFEST}")
    if manifest is None:
        return None
    if not isinstance(manifest, dict) or not manifest.keys() >= {"files", "sources", "problems", "rejected"}:
        store.warn(f"{folder}/{MANIFEST} is no manifest of a pool; the pool is read again")
        return None
    store.parts(folder)  # names what is damaged
    for name in [*(file["name"] for file in manifest["files"]), REJECTS]:
        if not store.is_table(f"{folder}/{name}"):
            store.warn(f"{folder}/{name} is missing or damaged; the pool is read again")
            return None
    return dict(manifest)


@dataclass
class _Count:
    """Rows of one source."""

    read: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    """The first rejected rows."""

    def add(self, good: int, bad: list[dict[str, Any]]) -> None:
        self.read += good + len(bad)
        self.reasons.update(row["reason"].split(":")[0] for row in bad)
        self.examples += bad[: 3 - len(self.examples)]

    @property
    def rejected(self) -> int:
        return self.reasons.total()


def _stage(
    sources: Mapping[str, Source], staging: Path, max_rejected: float, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Writes the good rows of all sources, in order, and the rejected ones, as two Parquet files; gives the counts."""
    counts = {key: _Count() for key in sources}
    with (
        progress.step("read", unit="rows") as step,
        pq.ParquetWriter(staging / STAGED, UNNUMBERED) as problems,
        pq.ParquetWriter(staging / REJECTS, REJECTED) as rejects,
    ):
        for key, source in sources.items():
            with _of(key):
                for good, bad in problems_of(key, source):
                    counts[key].add(good.num_rows, bad)
                    step.advance(good.num_rows + len(bad))
                    if good.num_rows:
                        problems.write_table(good)
                    if bad:
                        rejects.write_table(pa.Table.from_pylist(bad, schema=REJECTED))
            if counts[key].rejected > max_rejected * counts[key].read:
                raise PoolError(_too_many(key, counts[key], max_rejected))
    if all(count.read == count.rejected for count in counts.values()):
        raise PoolError("no source gave a single problem; look at `where`, `limit` and the files the sources name")
    return {
        key: {"read": count.read, "rejected": count.rejected, "reasons": dict(count.reasons.most_common())}
        for key, count in counts.items()
    }


def _too_many(key: str, count: _Count, limit: float) -> str:
    shown = "".join(f"\n  row {row['row']}: {row['reason']}: {row['excerpt']}" for row in count.examples)
    return (
        f"sources.{key}: {count.rejected} of {count.read} rows cannot be used, more than max_rejected: {limit} allows. "
        f"The first:{shown}\nMend the source or its `columns`, leave rows out with `where`, or raise max_rejected."
    )


def _write(store: Store, con: duckdb.DuckDBPyConnection, folder: str, staged: Path) -> list[dict[str, Any]]:
    """Gives ids (the k-th identical row carries ~k) and writes the parts; what the manifest lists of them."""
    con.execute(f"create view staged as select *, row_number() over () as n from {parquet([str(staged)])}")
    con.execute(
        """create table repeats as
        select n, row_number() over (partition by digest order by n) as k from staged
        where digest in (select digest from staged group by digest having count(*) > 1)"""
    )
    columns = ", ".join(quoted(name) for name in problem.SCHEMA.names if name != "id")
    reader = batches(
        con,
        f"""select digest || case when k > 1 then '~' || k else '' end as id, {columns}
        from staged left join repeats using (n) order by n""",
        ROW_GROUP_ROWS,
    ).cast(problem.SCHEMA)
    files = []
    for piece in pieces(reader, PART_BATCHES):
        path = new_part(folder)
        files.append({"rows": store.write_table(path, piece), "name": path.rsplit("/", 1)[-1]})
    return files
