"""What a dataset says of one of its sets, and of the traces that were none of it."""

from typing import Any

from curation.duck import arrow, parquet
from curation.publish import Dataset, DatasetError

PROBLEM = 12
"""Characters of an id that are shown: `cuvee why` takes an id cut short."""


def set_of(dataset: Dataset, name: str) -> dict[str, Any]:
    """What the manifest says of a set; `kind` alone of one that is not made of traces. Raises DatasetError."""
    manifest = dataset.manifest
    if name not in manifest["sets"]:
        raise DatasetError(f"{dataset.ref} has no set {name!r}; there are {', '.join(manifest['sets'])}")
    return dict(manifest.get("built", {}).get(name, {"kind": "rl"}))


def decisions_of(dataset: Dataset, name: str) -> str:
    """SQL for what became of every trace of a set. Raises DatasetError when it is not there."""
    path = f"{dataset.folder}/trace_decisions/{name}.parquet"
    if not dataset.store.is_table(path):
        why = "it is not made of traces" if "traces" not in _sources(set_of(dataset, name)) else f"{path} is missing"
        raise DatasetError(f"nothing is known of the traces of {name}: {why}")
    return parquet(dataset.store.readable([path]))


def dropped_counts(dataset: Dataset, name: str) -> dict[str, int]:
    """Traces by what dropped them, most first."""
    rows = decisions_of(dataset, name)
    found = arrow(
        dataset.store.connect(),
        f"select dropped_by, count(*) as traces from {rows} where dropped_by is not null group by 1 order by 2 desc, 1",
    )
    return {row["dropped_by"]: row["traces"] for row in found.to_pylist()}


def _sources(record: dict[str, Any]) -> set[str]:
    return {"traces"} if "parts" in record or "traces" in record else set()
