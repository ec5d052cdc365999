"""Decisions again, under other rules: no model, no measurement, in the time DuckDB takes.

Reads only a dataset's `decisions.parquet`, which has all columns of its run. A row that was not measured because a rule
above dropped it may now be *undecided*: it is counted as neither kept nor dropped, with the samples that would decide it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation import rules
from curation.duck import literal, quoted
from curation.publish import Dataset
from curation.rules import Decisions, Measured


@dataclass(frozen=True)
class Sweep:
    """What other rules would decide."""

    funnel: list[dict[str, Any]]
    kept: int
    dropped: int
    undecided: int
    samples: int
    """Samples that would decide the undecided rows, at most."""
    appeared: int
    """Rows kept now that the published dataset had dropped."""
    vanished: int
    """Rows the published dataset had kept that are dropped now."""


def measured(dataset: Dataset, schema: pa.Schema) -> list[Measured]:
    """What the annotators of a dataset's run added, from its manifest and the types in its decisions."""
    return [
        Measured(
            key=entry["key"],
            columns=pa.schema([schema.field(name) for name in entry["columns"]]),
            prefix=entry["prefix"],
            samples=entry.get("n"),
            decides_duplicates=entry["annotator"] == "duplicates",
        )
        for entry in dataset.manifest["annotators"]
    ]


def sweep(dataset: Dataset, changes: Mapping[str, str | None]) -> Sweep:
    """The dataset's rules with some replaced, added (at the end) or removed (None), over its decisions.

    Raises rules.RuleError for a rule that does not bind, or a removed one that is not there.
    """
    keep = {entry["rule"]: entry["condition"] for entry in dataset.manifest["rules"]}
    for name, expression in changes.items():
        if expression is not None:
            keep[name] = expression
        elif keep.pop(name, None) is None:
            raise rules.RuleError(name, f"is no rule of {dataset.ref}; its rules are {', '.join(keep)}")
    with dataset.store.fs.open(f"{dataset.folder}/decisions.parquet", "rb") as file:
        schema = pq.read_schema(file)
    annotators = measured(dataset, schema)
    placed = rules.place(keep, annotators)

    con = dataset.store.connect()
    measured_columns = [
        name
        for name in schema.names
        if name == "measured" or not (name in rules.OWN_COLUMNS or name.startswith(rules.OUTCOME_PREFIX))
    ]
    columns = ", ".join(quoted(name) for name in measured_columns)
    con.execute(f"create table frozen as select {columns}, {_unknown(dataset, keep)} from {dataset.decisions()}")
    decisions = Decisions(con, "frozen", list(dataset.manifest["pool"]["sources"]), frozen=True)
    for annotator in annotators:
        decisions.add(annotator, None)
    for rule in placed:
        decisions.apply(rule)
    decisions.finish()

    states = dict(con.execute("select state, count(*) from state group by 1").fetchall())
    appeared, vanished = con.execute(
        f"""select count(*) filter (now.state = 'in' and not was.kept), count(*) filter (now.state = 'out' and was.kept)
        from state as now join {dataset.decisions()} as was using (id)"""
    ).fetchall()[0]
    return Sweep(
        funnel=decisions.funnel(),
        kept=states.get("in", 0),
        dropped=states.get("out", 0),
        undecided=states.get("undecided", 0),
        samples=_samples(decisions),
        appeared=appeared,
        vanished=vanished,
    )


def _unknown(dataset: Dataset, keep: Mapping[str, str]) -> str:
    """SQL for the column of frozen decisions that says which rules were unknown in the run and are the same now."""
    same = [r["rule"] for r in dataset.manifest["rules"] if keep.get(r["rule"]) == r["condition"]]
    names = [f"case when {quoted(rules.OUTCOME_PREFIX + name)} = 'unknown' then {literal(name)} end" for name in same]
    return f"list_filter([{', '.join(names)}]::varchar[], lambda name: name is not null) as {rules.UNKNOWN}"


def _samples(decisions: Decisions) -> int:
    """Samples that undecided rows lack, over all pass-rate annotators that a rule reads."""
    read = {key for rule in decisions.rules for key in rule.reads}
    total = 0
    for annotator in decisions.measured:
        if not annotator.counts() or annotator.key not in read:
            continue
        drawn = quoted(annotator.prefix + "drawn")
        total += decisions.con.execute(
            f"""select coalesce(sum({annotator.samples} - coalesce({drawn}, 0)), 0)::bigint
            from frame join state using (id) where state = 'undecided'"""
        ).fetchall()[0][0]
    return total
