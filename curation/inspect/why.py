"""Why a problem is in or out: every measurement, every rule, every rollout."""

from collections import Counter
from typing import Any

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from curation import problem
from curation.balance import group_of
from curation.balancing.targets import RULE, Balance
from curation.duck import arrow
from curation.inspect import beside, traces
from curation.inspect.visible import one_line, plain, visible
from curation.publish import Dataset, DatasetError
from curation.rollouts import Rollouts
from curation.rules import OUTCOME_PREFIX
from curation.sql import short

SHOWN = 300
LISTED = 3
"""Entries of a list that are shown."""
EVIDENCE = "_evidence"
"""How columns end that are shown otherwise: two texts side by side."""


def why(dataset: Dataset, problem_id: str) -> dict[str, Any]:
    """All that is known of one problem. An id may be cut short as long as one problem only begins with it."""
    con = dataset.store.connect()
    query = f"select * from {dataset.decisions()} where starts_with(id, ?) order by id limit 3"
    found_rows = arrow(con, query, [problem_id])
    found = found_rows.to_pylist()
    exact = [row for row in found if row["id"] == problem_id]
    if not found:
        raise DatasetError(
            f"{dataset.ref} has no problem {problem_id!r}; `cuvee inspect {dataset.ref} --rows 10` lists some"
        )
    copies = {row["id"].partition("~")[0] for row in found}
    if len(copies) > 1 and not exact:
        raise DatasetError(f"several problems begin with {problem_id!r}: {', '.join(row['id'] for row in found)}, …")
    row = (exact or found)[0]
    manifest = dataset.manifest
    texts = [f.name for f in found_rows.schema if pa.types.is_string(f.type) or f.name.endswith("contamination_score")]
    measured = {}
    for entry in manifest["annotators"]:
        done = entry["key"] in row["measured"]
        measured[entry["key"]] = {name: row[name] for name in entry["columns"]} if done else None
    rules = [
        {"rule": rule["rule"], "condition": rule["condition"], "outcome": row[f"rule_{rule['rule']}"]}
        for rule in manifest["rules"]
    ]
    return {
        "dataset": dataset.ref,
        "kept": row["kept"],
        "dropped_by": row["dropped_by"],
        "split": row["split"],
        "problem": {name: row[name] for name in problem.SCHEMA.names},
        "duplicate": row.get("duplicate"),
        "text_columns": texts,
        "partners": beside.partners(con, dataset.decisions(), row, manifest["annotators"]),
        "measured": measured,
        "rules": rules,
        "balance": _balance(con, dataset, row),
        "rollouts": {e["key"]: _rollouts(dataset, e, row) for e in manifest["annotators"] if e.get("rollouts")},
        "traces": traces.of_problem(dataset, row),
    }


def _balance(con: duckdb.DuckDBPyConnection, dataset: Dataset, row: dict[str, Any]) -> dict[str, Any] | None:
    """The group of a row that the balance looked at, and how many of it there were and stay."""
    record = dataset.manifest.get("balance")
    if record is None or row.get(f"{OUTCOME_PREFIX}{RULE}") not in ("pass", "fail"):
        return None
    balance = Balance.model_validate(record["settings"])
    [(group,)] = con.execute(
        f"select {group_of(balance)} from {dataset.decisions()} where id = ?", [row["id"]]
    ).fetchall()
    return {"group": group, "before": record["before"].get(group, 0), "after": record["after"].get(group, 0)}


def _rollouts(dataset: Dataset, annotator: dict[str, Any], row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rollouts of a problem that counted, with their verdicts, by sample index; None when they are not there."""
    try:
        rollouts = Rollouts.filed(dataset.store, annotator["rollouts"][row["source"]], _judge(dataset))
    except FileNotFoundError:
        return None
    con = dataset.store.connect()
    con.execute("create table asked as select ? as id, ? as verifier", [row["id"], row["verifier"]])
    graded = rollouts.graded(annotator["n"], annotator["max_tokens"], "asked")
    found = arrow(
        con,
        f"""select sample_index, case when cut_off then 'cut off' else outcome end as outcome, extracted, reason, tokens,
            finish_reason, budget_hit, text, reasoning from {graded} order by sample_index""",
    )
    used = row.get(f"{annotator['prefix']}used")
    return [r | {"extra": used is not None and r["sample_index"] >= used} for r in found.to_pylist()]


def _judge(dataset: Dataset) -> str | None:
    """The hash of the judge whose verdicts counted."""
    judge = dataset.manifest.get("judge")
    return None if judge is None else str(judge["hash"])


def show(console: Console, data: dict[str, Any]) -> None:
    """Prints what `why` gives."""
    asked = data["problem"]
    verdict = "[green]kept[/]" if data["kept"] else f"[red]dropped[/] by [bold]{plain(data['dropped_by'])}[/]"
    where = f"row {asked['row']} of source {asked['source']}"
    console.print(f"[bold]{plain(asked['id'])}[/]  {verdict}  {plain(where)}, split {data['split']}\n")
    console.print(visible(_shown(asked["prompt"])), markup=False, highlight=False)
    facts = [f"verifier: {asked['verifier']}", f"license: {asked['license']}"]
    if (answer := str(asked["answer"]).strip()) and "\n" in answer:
        console.print(visible(f"\nanswer:\n{_shown(answer)}\n"), markup=False, highlight=False)
    else:
        facts.insert(0, f"answer: {answer}")
    console.print(visible("   ".join(facts)), markup=False)
    if asked["verifier_args"]:
        console.print(visible(f"verifier_args: {_shown(asked['verifier_args'])}"), markup=False, highlight=False)
    console.print()

    table = Table("rule", "outcome", "keeps a problem when", box=None, header_style="bold", pad_edge=False)
    colours = {"pass": "green", "fail": "red", "unknown": "yellow", "unmeasured": "dim"}
    for rule in data["rules"]:
        colour = colours[rule["outcome"]]
        table.add_row(
            plain(rule["rule"]), f"[{colour}]{rule['outcome']}[/]", plain(" ".join(rule["condition"].split()))
        )
    console.print(table)
    if (balance := data["balance"]) is not None:
        console.print(
            f"balance: of {balance['before']:,} rows of {one_line(short(balance['group']))} {balance['after']:,} stay",
            highlight=False,
        )
    console.print()

    texts = data["text_columns"]
    table = Table("measured", "column", "value", box=None, header_style="bold", pad_edge=False)
    for key, columns in data["measured"].items():
        if columns is None:
            table.add_row(plain(key), "", "[dim]not measured: a rule above had dropped it[/]")
            continue
        shown = {name: value for name, value in columns.items() if not name.endswith(EVIDENCE)}
        for number, (name, value) in enumerate(shown.items()):
            table.add_row(plain(key) if number == 0 else "", plain(name), plain(_shown(_value(name, value, texts))))
    if data["duplicate"] is not None:
        table.add_row("decided", "duplicate", str(data["duplicate"]))
    console.print(table)
    for entry in data["partners"]:
        console.print()
        beside.show(console, asked["prompt"], entry)

    shown_as: dict[tuple[tuple[int, str], ...], str] = {}
    for key, rollouts in data["rollouts"].items():
        if rollouts is None:
            console.print(
                f"\n[bold]{plain(key)}[/]: the rollouts are not beside this dataset; look in the workspace it came from"
            )
        if not rollouts:
            continue
        if (of := shown_as.setdefault(tuple((r["sample_index"], r["text"]) for r in rollouts), key)) != key:
            console.print(f"\n[bold]{plain(key)}[/]: the same {len(rollouts)} rollouts as those of {plain(of)}")
            continue
        counts = Counter((r["extracted"], r["outcome"]) for r in rollouts)
        extra = sum(r["extra"] for r in rollouts)
        beyond = f", {extra} of them beyond where the rules were settled: they do not count" if extra else ""
        console.print(f"\n[bold]{plain(key)}[/]: {len(rollouts)} rollouts{beyond}")
        for (extracted, outcome), count in counts.most_common():
            console.print(f"  {count} x {outcome or 'not graded'}: {(extracted and _shown(extracted))!r}", markup=False)
        for r in rollouts:
            console.print(
                f"  #{r['sample_index']} {r['outcome'] or 'not graded'}{', extra' if r['extra'] else ''}"
                f"{', thinking budget hit' if r['budget_hit'] else ''}, {r['tokens']} tokens: {_shown(r['text'])!r}",
                markup=False,
                highlight=False,
            )
    traces.show(console, data.get("traces", {}))


def _value(name: str, value: Any, texts: list[str]) -> str:
    """A measured value: a text that is NULL is none, anything else that is NULL failed."""
    if value is None:
        return "none" if name in texts else "unknown"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        more = [f"… {len(value):,} in all"] if len(value) > LISTED else []
        return "\n".join([*(_entry(entry) for entry in value[:LISTED]), *more]) or "none"
    return str(value)


def _entry(entry: Any) -> str:
    """One of the near texts: its id first, then what else is known."""
    if not isinstance(entry, dict):
        return str(entry)
    first, *rest = (_value(name, value, []) for name, value in entry.items())
    return f"{first} ({', '.join(f'{name} {value}' for name, value in zip([*entry][1:], rest, strict=True))})"


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"
