"""Reading a pool: sources in, an immutable, versioned set of problems out.

Every source is read as Arrow tables; the recipe's SQL values turn its columns into the problem's, `where` and `limit`
choose rows. A row that cannot be read or lacks a prompt is not lost: it goes to `rejected.parquet` with its reason, and

    rows read = problems + rejected

A pool's version hashes the source specs and what the sources are right now (file digests, Hub commits, package
versions), so an unchanged pool is not read again.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curation import problem, sql
from curation.progress import Progress
from curation.source import ROW, Source, SourceError
from curation.store import MANIFEST, Store, arrow, batches, connect, literal, parquet, quoted, settings_hash
from curation.verify import VERIFIERS

# Raised when the same sources would give other problems.
VERSION = 1
BATCH_ROWS = 2048
PART_ROWS = 65536
MAPPED = tuple(name for name in problem.SCHEMA.names if name not in ("id", "source", "row"))
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
        return parquet(store.readable([f"{self.folder}/rejected.parquet"]))


def read(store: Store, name: str, sources: Mapping[str, Source], max_rejected: float, progress: Progress) -> Pool:
    """The pool of these sources, from the workspace when it is there already.

    max_rejected: the share of rows, 0 to 1, above which reading fails.
    Raises SourceError for a source that cannot be read at all, PoolError when too many rows are rejected.
    """
    resolved = {key: source.resolve() for key, source in sources.items()}
    inputs = {key: {"spec": source.settings(), "resolved": resolved[key]} for key, source in sources.items()}
    # A list: the order of the sources is the order of the rows, and of preference when duplicates meet.
    version = settings_hash({"version": VERSION, "sources": list(inputs.items())})
    folder = store.path("pools", name, version)
    if (manifest := _complete(store, folder)) is not None:
        return Pool(folder, manifest)

    with tempfile.TemporaryDirectory(prefix="cuvee-pool-") as staging:
        counts, rejected = _stage(sources, Path(staging), max_rejected, progress)
        files = _write(store, folder, staging)
    store.write_table(f"{folder}/rejected.parquet", pa.Table.from_pylist(rejected, schema=REJECTED))
    manifest = {
        "name": name,
        "version": version,
        "read": sum(count["read"] for count in counts.values()),
        "problems": sum(file["rows"] for file in files),
        "rejected": len(rejected),
        "sources": {key: inputs[key] | counts[key] for key in sources},
        "files": files,
    }
    assert manifest["read"] == manifest["problems"] + manifest["rejected"]
    store.write_json(f"{folder}/{MANIFEST}", manifest)
    return Pool(folder, manifest)


def _complete(store: Store, folder: str) -> dict[str, Any] | None:
    """The manifest of a pool that is whole; None when it has to be read (again)."""
    manifest: dict[str, Any] | None = store.read_json(f"{folder}/{MANIFEST}")
    if manifest is None:
        return None
    sound = set(store.parts(folder))
    for file in manifest["files"]:
        if f"{folder}/{file['name']}" not in sound:
            store.warn(f"{folder}/{file['name']} is missing or damaged; the pool is read again")
            return None
    return manifest


def _stage(
    sources: Mapping[str, Source], staging: Path, max_rejected: float, progress: Progress
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Writes the good rows of all sources, in order, as Parquet files in `staging`; gives counts and the rejected rows."""
    counts: dict[str, dict[str, Any]] = {}
    rejected: list[dict[str, Any]] = []
    files = 0
    with progress.step("read", unit="rows") as step:
        for key, source in sources.items():
            read = 0
            reasons: Counter[str] = Counter()
            for good, bad in _rows(key, source):
                read += good.num_rows + len(bad)
                reasons.update(row["reason"].split(":")[0] for row in bad)
                rejected += bad
                step.advance(good.num_rows + len(bad))
                if good.num_rows:
                    pq.write_table(good, staging / f"{files:08d}.parquet")
                    files += 1
            counts[key] = {"read": read, "rejected": reasons.total(), "reasons": dict(reasons.most_common())}
            if reasons.total() > max_rejected * read:
                raise PoolError(_too_many(key, counts[key], rejected, max_rejected))
    if not files:
        raise PoolError("no source gave a single problem; look at `where`, `limit` and the files the sources name")
    return counts, rejected


def _too_many(key: str, count: dict[str, Any], rejected: list[dict[str, Any]], limit: float) -> str:
    first = [row for row in rejected if row["source"] == key][:3]
    shown = "".join(f"\n  row {row['row']}: {row['reason']}: {row['excerpt']}" for row in first)
    return (
        f"sources.{key}: {count['rejected']} of {count['read']} rows cannot be used, more than max_rejected: {limit} allows. "
        f"The first:{shown}\nMend the source or its `columns`, leave rows out with `where`, or raise max_rejected."
    )


def _rows(key: str, source: Source) -> Iterator[tuple[pa.Table, list[dict[str, Any]]]]:
    """Batches of (problems without id but with `digest`, rejected rows) of one source, `where` and `limit` applied."""
    left = source.limit if source.limit is not None else float("inf")
    con = connect()
    query: str | None = None
    for table, unreadable in source.tables(BATCH_ROWS):
        bad = [{"source": key, **row} for row in unreadable]
        if query is None:
            query = _query(key, source, table.schema)
        mapped, failed = _map(con, query, table)
        bad += [{"source": key, **row} for row in failed]
        if mapped.num_rows > left:
            mapped = mapped.slice(0, int(left))
        left -= mapped.num_rows
        good, refused = _check(key, mapped)
        yield good, bad + refused
        if left <= 0:
            return


def _query(key: str, source: Source, schema: pa.Schema) -> str:
    """SQL that turns rows of `batch` into problems; raises SourceError naming the expression that does not bind."""
    columns = pa.schema([f for f in schema if f.name != ROW])

    def bound(where: str, expression: str, boolean: bool = False) -> str:
        try:
            sql.check(expression, columns, boolean)
        except sql.ExpressionError as error:
            raise SourceError(f"sources.{key}.{where}: {expression!r} {error}") from error
        return f"(\n{expression}\n)"

    values = []
    for name in MAPPED:
        if name in source.columns:
            value = bound(f"columns.{name}", source.columns[name])
        elif name in ("verifier", "license") and getattr(source, name) is not None:
            value = literal(getattr(source, name))
        elif name in columns.names:
            value = quoted(name)
        elif name == "prompt":
            raise SourceError(
                f"sources.{key}.columns.prompt: the source has no column `prompt`; say which SQL value it is, "
                f"for example `columns: {{prompt: {columns.names[0] if columns.names else 'question'}}}`. "
                f"Its columns are {', '.join(columns.names)}"
            )
        else:
            value = "null"
        values.append(f"{_as_text(name, value)} as {quoted(name)}")
    where = bound("where", source.where, boolean=True) if source.where else "true"
    return f"select {', '.join(values)}, {quoted(ROW)} as row, to_json(batch) as excerpt from batch where {where}"


def _as_text(name: str, value: str) -> str:
    """SQL for a problem column: text as it is, anything nested as JSON text; `messages` as a list of turns."""
    if name == "messages":
        turns = '[{"role": "VARCHAR", "content": "VARCHAR"}]'
        return f"coalesce(from_json(to_json({value}), {literal(turns)}), [])"
    # to_json of a text is a quoted text; of a list or struct it is what we want.
    nested = f"typeof({value}) like 'STRUCT%' or typeof({value}) like '%[]' or typeof({value}) like 'MAP%'"
    return f"case when {nested} then to_json({value})::varchar else ({value})::varchar end"


def _map(con: duckdb.DuckDBPyConnection, query: str, batch: pa.Table) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Runs the mapping over a batch. Rows on which it fails are found by halving, and given back with the reason."""
    try:
        con.register("batch", batch)
        return arrow(con, query), []
    except duckdb.Error as error:
        if batch.num_rows == 1:
            row = batch.to_pylist()[0]
            number = row.pop(ROW)
            reason = "SQL failed: " + str(error).split("\n")[0]
            return batch.slice(0, 0).select([]), [{"row": number, "reason": reason, "excerpt": _excerpt(row)}]
    half = batch.num_rows // 2
    left, left_failed = _map(con, query, batch.slice(0, half))
    right, right_failed = _map(con, query, batch.slice(half))
    tables = [table for table in (left, right) if table.num_columns]
    return (pa.concat_tables(tables) if tables else left), left_failed + right_failed


def _excerpt(row: Any) -> str:
    text = row if isinstance(row, str) else json.dumps(row, ensure_ascii=False, default=str)
    return text if len(text) <= 200 else text[:199] + "…"


def _check(key: str, mapped: pa.Table) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Parts good rows from those that are no problem, and adds `source` and `digest` to the good ones."""
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for row in mapped.to_pylist():
        excerpt = row.pop("excerpt")
        reason = _refusal(row)
        if reason is not None:
            bad.append({"source": key, "row": row["row"], "reason": reason, "excerpt": _excerpt(excerpt)})
            continue
        row["source"] = key
        row["digest"] = problem.digest(
            row["prompt"], row["messages"], row["answer"], row["verifier"], row["verifier_args"]
        )
        good.append(row)
    return pa.Table.from_pylist(good, schema=_STAGED), bad


_STAGED = pa.schema([f for f in problem.SCHEMA if f.name != "id"]).append(pa.field("digest", pa.string()))


def _refusal(row: dict[str, Any]) -> str | None:
    """Why a row is no problem; None when it is one."""
    if row["prompt"] is None or not row["prompt"].strip():
        return "no prompt"
    if row["verifier"] is not None and row["verifier"] not in VERIFIERS:
        return f"unknown verifier: {row['verifier']}; known are {', '.join(VERIFIERS)}"
    if row["verifier_args"] is not None:
        try:
            arguments = json.loads(row["verifier_args"])
        except json.JSONDecodeError as error:
            return f"verifier_args is not JSON: {error}"
        if not isinstance(arguments, dict):
            return "verifier_args is not a JSON object"
    if any(turn["role"] is None or turn["content"] is None for turn in row["messages"]):
        return "messages is not a list of {role, content}"
    return None


def _write(store: Store, folder: str, staging: str) -> list[dict[str, Any]]:
    """Gives ids (the k-th identical row carries ~k) and writes the parts; what the manifest lists of them."""
    con = connect()
    con.execute(f"create view staged as select *, row_number() over () as n from {parquet([f'{staging}/*.parquet'])}")
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
        PART_ROWS,
    )
    files = []
    for batch in reader:
        table = pa.Table.from_batches([batch]).cast(problem.SCHEMA)
        path = store.append(folder, table)
        files.append({"name": path.rsplit("/", 1)[-1], "rows": table.num_rows})
    return files
