"""Difficulty as an LLM says it beside difficulty as measured: do they order problems alike?"""

import math
from typing import Any

import duckdb
from rich.console import Console

from curation.duck import quoted
from curation.inspect.visible import plain
from curation.publish import Dataset

SAID, MEASURED = "difficulty", "measured_difficulty"
FEWEST = 10
"""Problems below which a correlation says nothing."""


def agreements(dataset: Dataset) -> list[dict[str, Any]]:
    """For every difficulty that an LLM said with every one that was measured: `said`, `measured`, `problems`, `spearman`.

    Those of which FEWEST problems or more have both.
    """
    columns = {
        own: [
            entry["prefix"] + own
            for entry in dataset.manifest["annotators"]
            if entry["prefix"] + own in entry["columns"]
        ]
        for own in (SAID, MEASURED)
    }
    con, decisions = dataset.store.connect(), dataset.decisions()
    found = []
    for said in columns[SAID]:
        for measured in columns[MEASURED]:
            problems, rho = spearman(con, decisions, said, measured)
            found += [{"said": said, "measured": measured, "problems": problems, "spearman": rho}]
    return [row for row in found if row["problems"] >= FEWEST]


def spearman(con: duckdb.DuckDBPyConnection, rows: str, one: str, other: str) -> tuple[int, float | None]:
    """In how many rows both columns have a value, and the correlation of their ranks; equal values share a mean rank.

    None where a column has one value only. rows: SQL.
    """
    ranks = ", ".join(
        f"rank() over (order by {name}) + (count(*) over (partition by {name}) - 1) / 2 as {name}_rank" for name in "xy"
    )
    count, rho = con.execute(
        f"""with known as (select {quoted(one)} as x, {quoted(other)} as y from {rows} where x is not null and y is not null),
        ranked as (select {ranks} from known) select count(*), corr(x_rank, y_rank) from ranked"""
    ).fetchall()[0]
    return count, None if rho is None or math.isnan(rho) else round(rho, 3)


def show(console: Console, found: list[dict[str, Any]]) -> None:
    for row in found:
        rho = "unknown, as one is the same for all" if row["spearman"] is None else f"{row['spearman']:+.2f}"
        line = f"{row['said']} and {row['measured']}: rank correlation (Spearman) {rho}; {row['problems']:,} problems"
        console.print(plain(line) + "\n")
