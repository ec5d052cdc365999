"""The sets of a dataset, a line each."""

from typing import Any

from rich.console import Console
from rich.table import Table

from curation.duck import arrow, parquet
from curation.inspect.visible import one_line
from curation.publish import SPLITS, Dataset


def facts(dataset: Dataset, config: str) -> dict[str, Any]:
    """Of a set: its `kind`, how many `problems` it has (None where a file is gone), and its `trained_tokens` (None where it
    is made of no traces)."""
    record = dataset.manifest.get("built", {}).get(config, {})
    files = [file for split in dataset.manifest["sets"][config].values() for file in split["files"]]
    paths, problems = [f"{dataset.folder}/{file}" for file in files], None
    if all(map(dataset.store.is_table, paths)):
        query = f"select count(distinct id) as problems from {parquet(dataset.store.readable(paths))}"
        problems = arrow(dataset.store.connect(), query)["problems"][0].as_py()
    splits = record.get("splits")
    trained = None if splits is None else sum(split["trained_tokens"] for split in splits)
    return {"kind": record.get("kind", "rl"), "problems": problems, "trained_tokens": trained}


def show(console: Console, rows: dict[str, dict[str, int]], known: dict[str, dict[str, Any]]) -> None:
    """rows: by set and split. known: `facts` by set."""
    table = Table("set", *SPLITS, "problems", "trained tokens", "kind", box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:-1]:
        column.justify = "right"
    for config, splits in rows.items():
        fact = known[config]
        problems = "unknown" if fact["problems"] is None else f"{fact['problems']:,}"
        trained = "" if fact["trained_tokens"] is None else f"{fact['trained_tokens']:,}"
        table.add_row(
            one_line(config), *(f"{splits[split]:,}" for split in SPLITS), problems, trained, one_line(fact["kind"])
        )
    console.print(table)
