"""What changed from one published dataset to another: rows in, rows out, by reason, and the settings behind it.

The same problem has the same id wherever it is read, so rows are joined by it. A row that left names the rule of the later
dataset that drops it; one that came, the rule of the earlier one that had dropped it. Only columns that are compared are
read, and no text.

    rules       what became of each rule: `new`, `gone`, `changed` (its condition), `same`
    moved       rows whose outcome of a rule differs although what it reads was measured for both: by the rule, and how many
                of them differ in each column that it reads; the rest is due to the rule itself
    settings    what the two recipes, their sources and models differ in, by key
"""

from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pyarrow.parquet as pq

from curation import sql
from curation.duck import arrow, literal, quoted
from curation.publish import Dataset
from curation.rules import OUTCOME_PREFIX

COUNTED = ("read", "problems", "rejected", "reasons", "examples")
"""What a source's record says of its rows; the rest says what it is."""
MOST_GROUPS = 200
"""Domains that are told of, the largest first."""
_BOTH = "from a full join b on a.id = b.id"


def diff(before: Dataset, after: Dataset, examples: int = 0) -> dict[str, Any]:
    """What `cuvee diff` shows, as plain data.

    examples: so many ids and prompts are listed of every way that rows left and came. Raises DatasetError when the
    decisions of one are missing.
    """
    con = before.store.connect()
    if not after.store.local:
        con.register_filesystem(after.store.fs)
    con.execute("set parquet_metadata_cache = true")
    domain = _domain(before, after)
    names = ["id", "kept", "dropped_by", "source", *([quoted(domain)] if domain else [])]
    for name, dataset in (("a", before), ("b", after)):
        con.execute(f"create view {name}_rows as from {dataset.decisions()}")
        con.execute(f"create view {name} as select {', '.join(names)} from {name}_rows")
    rules = _rules(before, after)
    ways = _ways(con, examples)
    return {
        "before": before.ref,
        "after": after.ref,
        "problems": {"before": before.manifest["counts"]["problems"], "after": after.manifest["counts"]["problems"]},
        "kept": {
            "both": sum(way["rows"] for way in ways if way["was"] and way["is"]),
            "left": sum(way["rows"] for way in ways if way["was"] and not way["is"]),
            "came": sum(way["rows"] for way in ways if way["is"] and not way["was"]),
        },
        "left": [_told(way, way["after_by"], rules) for way in ways if way["was"] and not way["is"]],
        "came": [_told(way, way["before_by"], rules) for way in ways if way["is"] and not way["was"]],
        "by": {name: _by(con, name) for name in ("source", *([domain] if domain else []))},
        "rules": rules,
        "moved": _moved(con, before, after, rules),
        "settings": _settings(before, after),
    }


def _rules(before: Dataset, after: Dataset) -> list[dict[str, Any]]:
    """Every rule of the two, with its condition in both and what became of it."""
    old, new = ({entry["rule"]: entry["condition"] for entry in d.manifest["rules"]} for d in (before, after))
    found = []
    for name in {**old, **new}:
        was, now = old.get(name), new.get(name)
        change = "new" if was is None else "gone" if now is None else "same" if was == now else "changed"
        found.append({"rule": name, "change": change, "before": was, "after": now})
    return found


def _ways(con: duckdb.DuckDBPyConnection, examples: int) -> list[dict[str, Any]]:
    """Rows by whether they were and are kept and which rule drops them, the most first, with some of their ids."""
    some = f", min(coalesce(a.id, b.id), {examples}) as ids" if examples else ""
    ways: list[dict[str, Any]] = arrow(
        con,
        f"""select coalesce(a.kept, false) as was, coalesce(b.kept, false) as "is",
            case when a.id is null then null else coalesce(a.dropped_by, '') end as before_by,
            case when b.id is null then null else coalesce(b.dropped_by, '') end as after_by, count(*) as rows{some}
        {_BOTH} where a.kept or b.kept group by 1, 2, 3, 4 order by rows desc, before_by, after_by""",
    ).to_pylist()
    wanted = [id_ for way in ways if way["was"] != way["is"] for id_ in way.get("ids", [])]
    listed = ", ".join(map(literal, wanted))
    texts: dict[str, tuple[str, ...]] = {}
    for view in ("b_rows", "a_rows") if wanted else ():
        texts |= {
            row[0]: row
            for row in con.execute(f"select id, source, prompt from {view} where id in ({listed})").fetchall()
        }
    for way in ways:
        rows = [texts[id_] for id_ in way.pop("ids", []) if id_ in texts]
        way["examples"] = [dict(zip(("id", "source", "prompt"), row, strict=True)) for row in rows]
    return ways


def _told(way: Mapping[str, Any], rule: str | None, rules: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows that left or came by one rule; None: they are not in the other's pool."""
    change = next((entry["change"] for entry in rules if entry["rule"] == rule), None)
    return {"rule": rule, "change": change, "rows": way["rows"], "examples": way["examples"]}


def _domain(before: Dataset, after: Dataset) -> str | None:
    """The column with a problem's domain that both have."""
    found = [
        [
            entry["prefix"] + "domain"
            for entry in d.manifest["annotators"]
            if entry["prefix"] + "domain" in entry["columns"]
        ]
        for d in (before, after)
    ]
    return next((name for name in found[1] if name in found[0]), None)


def _by(con: duckdb.DuckDBPyConnection, column: str) -> list[dict[str, Any]]:
    """Kept rows by the value of a column, as it is in the later dataset where the row is there."""
    name = quoted(column)
    rows: list[dict[str, Any]] = arrow(
        con,
        f"""select case when b.id is null then a.{name} else b.{name} end::varchar as value,
            count(*) filter (a.kept) as before, count(*) filter (b.kept) as after,
            count(*) filter (a.kept and b.kept is not true) as "left", count(*) filter (b.kept and a.kept is not true) as came
        {_BOTH} where a.kept or b.kept group by 1 order by greatest(before, after) desc, 1 limit {MOST_GROUPS}""",
    ).to_pylist()
    return rows


def _moved(
    con: duckdb.DuckDBPyConnection, before: Dataset, after: Dataset, rules: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """For every rule that both have: rows whose outcome differs, and in which columns these do."""
    there = [{name.lower(): name for name in _columns(dataset)} for dataset in (before, after)]
    read: dict[str, list[str]] = {}
    for rule in rules:
        outcome = OUTCOME_PREFIX + rule["rule"]
        if rule["change"] in ("same", "changed") and all(outcome.lower() in columns for columns in there):
            try:
                names = sql.columns_of(rule["before"]) | sql.columns_of(rule["after"])
            except sql.ExpressionError:
                continue  # the balance: words, not a condition
            read[rule["rule"]] = [there[1][name] for name in sorted(names & there[0].keys() & there[1].keys())]
    if not read:
        return []
    values = []
    for number, (rule_, columns) in enumerate(read.items()):
        a, b = (f"{view}.{quoted(OUTCOME_PREFIX + rule_)}" for view in ("x", "y"))
        differs = f"{a} <> {b} and {a} <> 'unmeasured' and {b} <> 'unmeasured'"
        values.append(f"count(*) filter ({differs}) as r{number}")
        values += [
            f"count(*) filter ({differs} and x.{quoted(c)} is distinct from y.{quoted(c)}) as r{number}_{at}"
            for at, c in enumerate(columns)
        ]
    needed = ", ".join(
        quoted(name)
        for name in dict.fromkeys(
            ["id", *(OUTCOME_PREFIX + rule_ for rule_ in read), *(c for cs in read.values() for c in cs)]
        )
    )
    (counts,) = arrow(
        con,
        f"""select {", ".join(values)} from (select {needed} from a_rows) as x
        join (select {needed} from b_rows) as y on x.id = y.id""",
    ).to_pylist()
    found = []
    for number, (rule_, columns) in enumerate(read.items()):
        if counts[f"r{number}"]:
            by = {column: counts[f"r{number}_{at}"] for at, column in enumerate(columns)}
            found.append({"rule": rule_, "rows": counts[f"r{number}"], "columns": {c: n for c, n in by.items() if n}})
    return found


def _columns(dataset: Dataset) -> list[str]:
    with dataset.store.fs.open(f"{dataset.folder}/decisions.parquet", "rb") as file:
        return list(pq.read_schema(file).names)


def _settings(before: Dataset, after: Dataset) -> list[dict[str, Any]]:
    """What the two were made with and differ in; rules apart."""
    old, new = (dict(_flat(_made_with(dataset.manifest))) for dataset in (before, after))
    return [
        {"key": key, "before": old.get(key), "after": new.get(key)}
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]


def _made_with(manifest: Mapping[str, Any]) -> dict[str, Any]:
    sources = {
        name: {key: value for key, value in record.items() if key not in COUNTED}
        for name, record in manifest["pool"]["sources"].items()
    }
    recipe = {
        key: value
        for key, value in manifest["recipe"].items()
        if key not in ("name", "keep", "annotate", "sources", "differs")
    }
    annotators = {
        entry["key"]: {key: entry.get(key) for key in ("settings", "n", "max_tokens", "rollouts")}
        for entry in manifest["annotators"]
    }
    return {"sources": sources, "annotate": annotators, **recipe}


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif value not in (None, {}):
        yield key, value
