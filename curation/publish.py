"""A published dataset: shards that `datasets.load_dataset` reads, its card, its decisions, its manifest.

    datasets/<name>/<version>/README.md                     the card
                              <config>/<split>-*.parquet    what is trained on
                              decisions.parquet             every problem: all columns, every rule's outcome, kept or not
                              manifest.json                 written last: the commit

A version is a date and a number, `2026-11-22.1`; the date is never before that of an older version. Content equal to that
of the newest version publishes nothing new; the order of a set's rows is content.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from curation.card import card
from curation.duck import arrow, batches, parquet, pieces, quoted
from curation.store import CLAIM, MANIFEST, ROW_GROUP_BYTES, ROW_GROUP_ROWS, Store, local_path

SHARD_BATCHES = 25
BATCH_ROWS = 256
"""Rows of a set that are read at once: those of traces are long."""
SPLITS = ("train", "test")
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}\.\d{1,9}")


class DatasetError(ValueError):
    """A dataset cannot be found or read."""


@dataclass(frozen=True)
class Dataset:
    """A published dataset."""

    store: Store
    folder: str
    manifest: dict[str, Any]

    @property
    def ref(self) -> str:
        return f"{self.manifest['name']}@{self.manifest['version']}"

    def is_whole(self) -> bool:
        """Whether every file is there and can be read."""
        sets = [
            file for splits in self.manifest["sets"].values() for split in splits.values() for file in split["files"]
        ]
        tables = [f"{self.folder}/{name}" for name in ("decisions.parquet", *self.manifest.get("tables", []), *sets)]
        return self.store.fs.exists(f"{self.folder}/README.md") and all(map(self.store.is_table, tables))

    @property
    def pool_folder(self) -> str:
        """Where its pool lies, beside it in the workspace."""
        return self.store.path("pools", self.manifest["pool"]["name"], self.manifest["pool"]["version"])

    def decisions(self) -> str:
        """SQL for its decisions. Raises DatasetError when they are missing or damaged."""
        if not self.store.is_table(f"{self.folder}/decisions.parquet"):
            raise DatasetError(
                f"{self.folder}/decisions.parquet is missing or damaged; running the recipe again publishes it again"
            )
        return parquet(self.store.readable([f"{self.folder}/decisions.parquet"]))


def find(store: Store, ref: str) -> Dataset:
    """The dataset `name` (its newest version), `name@version`, or the one in a folder. Raises DatasetError."""
    if "/" in ref or os.path.isfile(f"{ref}/{MANIFEST}"):
        url = ref.rstrip("/") if "://" in ref else local_path(ref)
        inside = re.fullmatch("(.*)/datasets/([^/]+)/([^/]+)", url)
        # In a workspace its rollouts are at hand too.
        outside = Store(inside[1]) if inside else Store(url)
        folder = outside.path("datasets", inside[2], inside[3]) if inside else outside.root
        return _dataset(outside, folder, ref)
    name, _, wanted = ref.partition("@")
    found = versions(store, name)
    if not found:
        names = [known for known in store.listing(store.path("datasets")) if versions(store, known)]
        there = f"; there are {', '.join(names)}" if names else ", nor any other; `cuvee run` publishes one"
        raise DatasetError(f"workspace {store.root} has no dataset {name!r}{there}")
    if wanted and wanted not in found:
        raise DatasetError(f"dataset {name!r} has no version {wanted!r}; there are {', '.join(found)}")
    folder = store.path("datasets", name, wanted or found[-1])
    return _dataset(store, folder, ref)


def _dataset(store: Store, folder: str, ref: str) -> Dataset:
    manifest = store.read_json(f"{folder}/{MANIFEST}")
    if not isinstance(manifest, dict) or "fingerprint" not in manifest:
        raise DatasetError(f"{ref} is not a published dataset: it has no {MANIFEST} of one")
    return Dataset(store, folder, manifest)


def versions(store: Store, name: str) -> list[str]:
    """The published versions of a dataset, oldest first."""
    folder = store.path("datasets", name)
    found = [version for version in store.listing(folder) if _VERSION.fullmatch(version)]
    whole = [version for version in found if store.fs.exists(f"{folder}/{version}/{MANIFEST}")]
    return sorted(whole, key=_order)


def _order(version: str) -> tuple[str, int]:
    day, number = version.split(".")
    return day, int(number)


def publish(
    store: Store,
    con: duckdb.DuckDBPyConnection,
    sets: Mapping[str, str],
    order: str,
    manifest: Mapping[str, Any],
    recipe: str,
    besides: Sequence[str] = (),
    tables: Mapping[str, str] | None = None,
) -> tuple[Dataset, bool]:
    """Publishes the view `decisions` of `con`, and of its kept rows one config per set.

    sets: SQL over `decisions` by config name, giving `split` and the columns to train on, in order.
    order: SQL for the order of the decisions.
    manifest: what the run wants recorded; needs `name`, `counts`, `rules`, `sources`.
    recipe: the resolved recipe as YAML, for the card.
    besides: columns that are no content: with other values in them alone nothing new is published.
    tables: further files by their path in the dataset, as SQL.
    Gives the dataset and True, or the newest version and False when its content is the same.
    """
    name = str(manifest["name"])
    tables = tables or {}
    fingerprint = _fingerprint(con, sets, besides, tables)
    found = versions(store, name)
    if found:
        newest = find(store, name)
        if newest.manifest["fingerprint"] == fingerprint:
            if newest.is_whole():
                return newest, False
            store.warn(f"{newest.folder} lacks files that its manifest lists, or they are damaged: published again")
    version = _claim(store, name)
    folder = store.path("datasets", name, version)

    configs: dict[str, dict[str, Any]] = {}
    for config, rows in sets.items():
        configs[config] = {split: _write_split(store, con, folder, config, rows, split) for split in SPLITS}
        if not any(split["rows"] for split in configs[config].values()):
            # A file without rows, or else readers would look for other files and find the decisions.
            path = f"{config}/{SPLITS[0]}-00000.parquet"
            store.write_table(f"{folder}/{path}", arrow(con, f"select * exclude (split) from ({rows}) limit 0"))
            configs[config][SPLITS[0]]["files"].append(path)
            why = "no problem passed every rule"
            if manifest.get("built", {}).get(config):
                why = f"none of its rows is left; `cuvee inspect {name} --set {config}` shows what dropped them"
            store.warn(f"{name}: the set `{config}` is empty: {why}")
    columns = [quoted(row[0]) for row in con.execute("describe decisions").fetchall()]
    reader = batches(con, f"select {', '.join(columns)} from decisions order by {order}", ROW_GROUP_ROWS)
    store.write_table(f"{folder}/decisions.parquet", reader)
    for path, rows in tables.items():
        store.write_table(f"{folder}/{path}", batches(con, rows, ROW_GROUP_ROWS))

    whole = dict(manifest) | {
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": fingerprint,
        "sets": configs,
        "tables": list(tables),
    }
    store.write(f"{folder}/README.md", card(whole, recipe).encode())
    store.write_json(f"{folder}/{MANIFEST}", whole)
    return Dataset(store, folder, whole), True


def _claim(store: Store, name: str) -> str:
    """A version that no other run writes, nor one that was killed has begun to."""
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    begun = [version for version in store.listing(store.path("datasets", name)) if _VERSION.fullmatch(version)]
    # A clock that went back must not make what is published now older than what is there.
    day, number = max(map(_order, begun), default=(today, 0))
    if day < today:
        day, number = today, 0
    number += 1
    while not store.claim(store.path("datasets", name, f"{day}.{number}", CLAIM)):
        number += 1
    return f"{day}.{number}"


def _fingerprint(
    con: duckdb.DuckDBPyConnection, sets: Mapping[str, str], besides: Sequence[str], tables: Mapping[str, str]
) -> str:
    """A hash of all content: the decisions in any order (rows' hashes are summed up), the sets in theirs."""
    own = f"select r::varchar as r from (select {_content(con, 'decisions', besides)} from decisions) as r"
    others = [f"select r::varchar as r from ({rows}) as r" for rows in tables.values()]
    hasher = hashlib.sha256()
    for rows in (own, *others):
        sums = con.execute(
            f"""select count(*), sum(md5_number_lower(r)::hugeint), sum(md5_number_upper(r)::hugeint) from ({rows})"""
        ).fetchall()
        hasher.update(f"{sums};".encode())
    for rows in sets.values():
        # In a stream: numbering rows in SQL would hold all their texts.
        digests = f"select md5(r::varchar) as r from (select {_content(con, rows, besides)} from ({rows})) as r"
        for batch in batches(con, digests, ROW_GROUP_ROWS):
            hasher.update("".join(batch["r"].to_pylist()).encode())
        hasher.update(b";")
    hasher.update(json.dumps(list(sets)).encode())
    return hasher.hexdigest()


def _content(con: duckdb.DuckDBPyConnection, rows: str, besides: Sequence[str]) -> str:
    """SQL for the columns that are content."""
    there = {row[0] for row in con.execute(f"select column_name from (describe {rows})").fetchall()}
    left_out = ", ".join(quoted(name) for name in besides if name in there)
    return f"* exclude ({left_out})" if left_out else "*"


def _write_split(
    store: Store, con: duckdb.DuckDBPyConnection, folder: str, config: str, rows: str, split: str
) -> dict[str, Any]:
    query = f"select * exclude (split) from ({rows}) where split = '{split}'"
    count = 0
    files: list[str] = []
    for piece in pieces(_of_some_size(batches(con, query, BATCH_ROWS)), SHARD_BATCHES):
        files.append(f"{config}/{split}-{len(files):05d}.parquet")
        count += store.write_table(f"{folder}/{files[-1]}", piece)
    return {"rows": count, "files": files}


def _of_some_size(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The same rows in batches of a row group each: of few rows where they are long."""

    def batches_() -> Iterator[pa.RecordBatch]:
        some: list[pa.RecordBatch] = []
        for batch in rows:
            some.append(batch)
            if sum(b.num_rows for b in some) >= ROW_GROUP_ROWS or sum(b.nbytes for b in some) >= ROW_GROUP_BYTES:
                yield pa.concat_batches(some)
                some = []
        if some:
            yield pa.concat_batches(some)

    return pa.RecordBatchReader.from_batches(rows.schema, batches_())
