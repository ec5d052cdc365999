"""What became of the traces of a problem in every set that is made of traces."""

from typing import Any

from rich.console import Console

from curation.duck import arrow, parquet
from curation.inspect.visible import one_line, visible
from curation.publish import Dataset
from curation.rollouts import ROLLOUTS
from curation.rules import OUTCOME_PREFIX
from curation.sql import short

SHOWN = 200
UNPAIRED = "pairs"
"""What drops a trace of a preference set that is in no pair."""


def of_problem(dataset: Dataset, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By set its `kind`, its `traces` of this problem by sample index, and where it pairs them its `pairs`.

    row: the problem's decision. A trace has rollout, sample_index, part (of a fusion set, else None), correct, kept,
    dropped_by, outcomes (by rule), tokens, and text and reasoning, None where its rollouts are not beside the dataset.
    Sets whose trace decisions are not there are left out.
    """
    found = {}
    for name, record in dataset.manifest.get("built", {}).items():
        path = f"{dataset.folder}/trace_decisions/{name}.parquet"
        if dataset.store.is_table(path):
            decided = _decided(dataset, path, row["id"])
            texts = _texts(dataset, record, row, [trace["rollout"] for trace in decided])
            nothing = {"text": None, "reasoning": None}
            traces = [trace | texts.get(trace["rollout"], nothing) for trace in decided]
            found[name] = {"kind": record["kind"], "traces": traces}
            if "pairs" in record:
                found[name]["pairs"] = _pairs(dataset, name, row["id"])
    return found


def _decided(dataset: Dataset, path: str, id_: str) -> list[dict[str, Any]]:
    query = f"from {parquet(dataset.store.readable([path]))} where id = ?"
    rows = arrow(dataset.store.connect(), query, [id_]).to_pylist()
    rows.sort(key=lambda row: (row.get("part") or "", row["sample_index"]))
    names = ("rollout", "sample_index", "correct", "kept", "dropped_by", "fault", "tokens")
    return [
        {name: row[name] for name in names}
        | {"part": row.get("part")}
        | {
            "outcomes": {
                k.removeprefix(OUTCOME_PREFIX): v for k, v in row.items() if v and k.startswith(OUTCOME_PREFIX)
            }
        }
        for row in rows
    ]


def _texts(
    dataset: Dataset, record: dict[str, Any], row: dict[str, Any], rollouts: list[str]
) -> dict[str, dict[str, Any]]:
    """Text and reasoning by rollout, as far as the workspace has them."""
    taken = {part["traces"] for part in (record.get("parts") or {"": record}).values()}
    store, found = dataset.store, {}
    for name in sorted(taken):
        if (filed := dataset.manifest["traces"][name]["rollouts"].get(row["source"])) is None:
            continue
        scan = store.scan(store.path("rollouts", filed), ROLLOUTS)
        query = f"select rollout, text, reasoning from {scan} where problem_id = ? and list_contains(?, rollout)"
        for one in arrow(store.connect(), query, [row["id"], rollouts]).to_pylist():
            found[one.pop("rollout")] = one
    return found


def _pairs(dataset: Dataset, name: str, id_: str) -> list[dict[str, Any]]:
    files = [file for split in dataset.manifest["sets"][name].values() for file in split["files"]]
    scan = parquet(dataset.store.readable([f"{dataset.folder}/{file}" for file in files]))
    columns = "kind, reason, chosen_rollout, rejected_rollout, chosen_tokens, rejected_tokens"
    return list(arrow(dataset.store.connect(), f"select {columns} from {scan} where id = ?", [id_]).to_pylist())


def show(console: Console, sets: dict[str, dict[str, Any]]) -> None:
    """Prints what `of_problem` gives; the text of a trace once, where it comes first."""
    told: dict[str, str] = {}
    for name, found in sets.items():
        traces = found["traces"]
        kept = sum(trace["kept"] for trace in traces)
        head = f"\n[bold]{one_line(name)}[/] ({one_line(found['kind'])})"
        console.print(
            f"{head}: {kept} of {len(traces)} traces kept" if traces else f"{head}: no trace", highlight=False
        )
        for trace in traces:
            part = f"{one_line(trace['part'])} " if trace["part"] is not None else ""
            tokens = f", {trace['tokens']:,} tokens" if trace["tokens"] is not None else ""
            console.print(f"  {part}#{trace['sample_index']}{tokens}: {_outcomes(trace)}", highlight=False)
            if (text := trace["text"]) is not None:
                first = told.setdefault(trace["rollout"], name)
                if first == name:
                    whole = f"<think>{trace['reasoning']}</think>{text}" if trace["reasoning"] else text
                    console.print(visible(f"     {_shown(whole)!r}"), markup=False, highlight=False, soft_wrap=True)
        for pair in found.get("pairs", []):
            of = {trace["rollout"]: f"#{trace['sample_index']}" for trace in traces}
            sides = (
                f"{of.get(pair[f'{side}_rollout'], 'a trace')} ({pair[f'{side}_tokens']:,} tokens)"
                for side in ("chosen", "rejected")
            )
            reason = one_line(f"{pair['kind']}, {pair['reason']}")
            console.print(f"  pair: {' over '.join(sides)}: {reason}", highlight=False)


def _outcomes(trace: dict[str, Any]) -> str:
    """What became of a trace, and the rules besides that do not pass."""
    gone = "in no pair" if trace["dropped_by"] == UNPAIRED else f"[red]dropped[/] by {one_line(trace['dropped_by'])}"
    told = "[green]kept[/]" if trace["kept"] else gone
    if trace["fault"] is not None:
        told += f" ({one_line(short(trace['fault'], 100))})"
    for outcome, verb in (("fail", "fails"), ("unknown", "unknown:")):
        names = [name for name, value in trace["outcomes"].items() if value == outcome and name != trace["dropped_by"]]
        told += f"; {verb} {one_line(', '.join(names))}" if names else ""
    if trace["outcomes"].get(trace["dropped_by"]) == "unknown":
        told += ", which is unknown"
    return told


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"
