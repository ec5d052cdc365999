"""A published dataset: shards that `datasets.load_dataset` reads, its card, its decisions, its manifest.

    datasets/<name>/<version>/README.md                     the card
                              <config>/<split>-*.parquet    what is trained on
                              decisions.parquet             every problem: all columns, every rule's outcome, kept or not
                              manifest.json                 written last: the commit

A version is a date and a number, `2026-11-22.1`. Content equal to that of the newest version publishes nothing new.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from curation.store import MANIFEST, ROW_GROUP_ROWS, Store, batches, parquet, quoted

SHARD_ROWS = 100_000
SPLITS = ("train", "test")
_VERSION = re.compile(r"(\d{4}-\d{2}-\d{2})\.(\d+)")


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

    def decisions(self) -> str:
        """SQL for its decisions."""
        return parquet(self.store.readable([f"{self.folder}/decisions.parquet"]))


def find(store: Store, ref: str) -> Dataset:
    """The dataset `name` (its newest version), `name@version`, or the one in a folder. Raises DatasetError."""
    if "@" not in ref and (os.sep in ref or os.path.isfile(f"{ref}/{MANIFEST}")):
        folder = os.path.abspath(os.path.expanduser(ref))
        outside = Store(os.path.dirname(folder))
        manifest = outside.read_json(f"{folder}/{MANIFEST}")
        if manifest is None:
            raise DatasetError(f"{ref} is not a published dataset: it has no {MANIFEST}")
        return Dataset(outside, folder, manifest)
    name, _, wanted = ref.partition("@")
    found = versions(store, name)
    if not found:
        names = [known for known in store.listing(store.path("datasets")) if versions(store, known)]
        there = f"; there are {', '.join(names)}" if names else ", nor any other; `cuvee run` publishes one"
        raise DatasetError(f"workspace {store.root} has no dataset {name!r}{there}")
    if wanted and wanted not in found:
        raise DatasetError(f"dataset {name!r} has no version {wanted!r}; there are {', '.join(found)}")
    folder = store.path("datasets", name, wanted or found[-1])
    return Dataset(store, folder, store.read_json(f"{folder}/{MANIFEST}"))


def versions(store: Store, name: str) -> list[str]:
    """The published versions of a dataset, oldest first."""
    folder = store.path("datasets", name)
    found = [version for version in store.listing(folder) if _VERSION.fullmatch(version)]
    whole = [version for version in found if store.fs.exists(f"{folder}/{version}/{MANIFEST}")]
    return sorted(whole, key=_order)


def _order(version: str) -> tuple[str, int]:
    match = _VERSION.fullmatch(version)
    assert match is not None
    return match[1], int(match[2])


def publish(
    store: Store,
    con: duckdb.DuckDBPyConnection,
    sets: Mapping[str, str],
    order: str,
    manifest: Mapping[str, Any],
    recipe: str,
) -> tuple[Dataset, bool]:
    """Publishes the view `decisions` of `con`, and of its kept rows one config per set.

    sets: SQL over `decisions` by config name, giving `split` and the columns to train on, in order.
    order: SQL for the order of the decisions.
    manifest: what the run wants recorded; needs `name`, `counts`, `rules`, `sources`.
    recipe: the resolved recipe as YAML, for the card.
    Gives the dataset and True, or the newest version and False when its content is the same.
    """
    name = str(manifest["name"])
    fingerprint = _fingerprint(con, sets)
    found = versions(store, name)
    if found:
        newest = find(store, name)
        if newest.manifest["fingerprint"] == fingerprint:
            return newest, False
    version = _next_version(found)
    folder = store.path("datasets", name, version)

    configs: dict[str, dict[str, Any]] = {}
    for config, rows in sets.items():
        configs[config] = {split: _write_split(store, con, folder, config, rows, split) for split in SPLITS}
    columns = [quoted(row[0]) for row in con.execute("describe decisions").fetchall()]
    reader = batches(con, f"select {', '.join(columns)} from decisions order by {order}", ROW_GROUP_ROWS)
    store.write_table(f"{folder}/decisions.parquet", reader)

    whole = dict(manifest) | {
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": fingerprint,
        "sets": configs,
    }
    store.write(f"{folder}/README.md", card(whole, recipe).encode())
    store.write_json(f"{folder}/{MANIFEST}", whole)
    return Dataset(store, folder, whole), True


def _next_version(found: list[str]) -> str:
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    numbers = [_order(version)[1] for version in found if version.startswith(today)]
    return f"{today}.{max(numbers, default=0) + 1}"


def _fingerprint(con: duckdb.DuckDBPyConnection, sets: Mapping[str, str]) -> str:
    """A hash of all content, whatever order rows come in: sums of the rows' hashes."""
    hasher = hashlib.sha256()
    for rows in ("select * from decisions", *sets.values()):
        sums = con.execute(
            f"""select count(*), sum(md5_number_lower(r::varchar)::hugeint), sum(md5_number_upper(r::varchar)::hugeint)
            from ({rows}) as r"""
        ).fetchall()
        hasher.update(f"{sums};".encode())
    hasher.update(json.dumps(list(sets)).encode())
    return hasher.hexdigest()


def _write_split(
    store: Store, con: duckdb.DuckDBPyConnection, folder: str, config: str, rows: str, split: str
) -> dict[str, Any]:
    reader = batches(con, f"select * exclude (split) from ({rows}) where split = '{split}'", SHARD_ROWS)
    files, count = [], 0
    for number, batch in enumerate(reader):
        path = f"{config}/{split}-{number:05d}.parquet"
        store.write_table(f"{folder}/{path}", pa.Table.from_batches([batch]))
        files.append(path)
        count += batch.num_rows
    return {"rows": count, "files": files}


def card(manifest: Mapping[str, Any], recipe: str) -> str:
    """The dataset card: what `load_dataset` needs to know, and what a reader wants to."""
    licences = sorted({row["license"] or "unknown" for row in manifest["licenses"]})
    configs = [
        {
            "config_name": config,
            "data_files": [
                {"split": split, "path": f"{config}/{split}-*.parquet"}
                for split, part in splits.items()
                if part["files"]
            ],
        }
        for config, splits in manifest["sets"].items()
    ]
    counts = manifest["counts"]
    lines = [
        "---",
        # JSON is YAML, and quotes whatever a name may hold.
        f"configs: {json.dumps([config for config in configs if config['data_files']])}",
        f"license: {json.dumps('other' if len(licences) != 1 else licences[0].lower())}",
        'tags: ["reasoning", "cuvee"]',
        "---",
        "",
        f"# {_cell(manifest['name'])}",
        "",
        f"Version {manifest['version']}, made by Cuvee {manifest['code_version']} from {counts['read']:,} rows: "
        f"{counts['kept']:,} kept, {counts['dropped']:,} dropped by rules, {counts['rejected']:,} rejected when read. "
        "`decisions.parquet` has every problem with all measurements and the outcome of every rule.",
        "",
        "## Rules",
        "",
        *_table(
            ["rule", "keeps a problem when", "entered", "pass", "fail", "unknown"],
            [
                [r["rule"], f"`{r['condition']}`", r["entered"], r["pass"], r["fail"], r["unknown"]]
                for r in manifest["rules"]
            ],
        ),
        "",
        "## Sources and licences",
        "",
        *_table(
            ["source", "licence", "problems", "kept"],
            [[r["source"], r["license"] or "unknown", r["problems"], r["kept"]] for r in manifest["licenses"]],
        ),
        "",
        "## Sets",
        "",
        *_table(
            ["config", *SPLITS],
            [[config, *(splits[split]["rows"] for split in SPLITS)] for config, splits in manifest["sets"].items()],
        ),
        "",
        *[f"- {line}" for line in manifest["recipe"].get("differs", [])],
        "",
        "## Recipe",
        "",
        "```yaml",
        # A fence inside a prompt would end the block.
        recipe.rstrip("\n").replace("```", "'''"),
        "```",
        "",
    ]
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[Any]]) -> list[str]:
    ruled = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return ruled + ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]


def _cell(value: Any) -> str:
    """Text for a Markdown cell: names and licences come from data sets, so nothing in them may be markup."""
    text = f"{value:,}" if isinstance(value, int) else str(value)
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("|", "\\|") if text.startswith("`") else re.sub(r"([\\|\[\]*_`!])", r"\\\1", text)
