"""A set of traces at a glance: where its traces come from, what dropped them, what was chosen, how long its rows are."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.inspect.bars import bar
from curation.inspect.sets import facts
from curation.inspect.visible import one_line
from curation.publish import SPLITS, Dataset, DatasetError
from curation.sql import short
from distill.building import TEMPLATE
from distill.inspect.files import dropped_counts, set_of
from distill.paired import UNPAIRED
from distill.selecting.record import Missed
from distill.selecting.targets import Select

KINDS = {
    "sft": "traces to be imitated",
    "fusion": "thinking and non-thinking rows, told apart by flags",
    "preference": "two answers to a prompt, and which is preferred",
    "process": "solutions by steps, each with its label",
    "rl": "problems, and what was measured of them",
}
BAR = 16
CONDITION = 50
"""Characters of a rule that are shown: a line fits a terminal of 100."""


def overview(dataset: Dataset, name: str) -> dict[str, Any]:
    """What `cuvee inspect --set` shows, as plain data. Raises DatasetError when there is no such set.

    record: what the manifest says of it (long_cot.py, fused.py, paired.py). traces: entries of the manifest's by name.
    dropped: traces by what dropped them; None where the dataset came without them.
    """
    record = set_of(dataset, name)
    taken = [*record.get("parts", {}).values()] or [record]
    names = [part["traces"] for part in taken if "traces" in part]
    try:
        dropped = dropped_counts(dataset, name) if names else None
    except DatasetError:
        dropped = None
    return {
        "dataset": dataset.ref,
        "folder": dataset.folder,
        "set": name,
        "kind": record["kind"],
        "rows": {split: dataset.manifest["sets"][name][split]["rows"] for split in SPLITS},
        "problems": facts(dataset, name)["problems"],
        "record": record,
        "traces": {one: dataset.manifest["traces"][one] for one in dict.fromkeys(names)},
        "dropped": dropped,
        "student": dataset.manifest.get("student") if names else None,
    }


def show(console: Console, data: Mapping[str, Any]) -> None:
    """Prints an overview."""
    record, kind = data["record"], data["kind"]
    console.print(f"[bold]{one_line(data['set'])}[/] of {one_line(data['dataset'])}: {KINDS.get(kind, kind)}")
    console.print(_size(data), highlight=False)
    if (student := data["student"]) is not None:
        console.print(f"written for {one_line(student['model'])}, {_limit(student)}", highlight=False, soft_wrap=True)
        for note in student["notes"]:
            console.print(f"  {one_line(note)}", highlight=False)
    console.print()
    parts = record.get("parts") or ({"": record} if "traces" in record else {})
    for name, part in parts.items():
        _show_part(console, name, part, data, record)
    if "fusion" in record:
        _show_fusion(console, record["fusion"])
    if "pairs" in record:
        _show_pairs(console, record["pairs"])
    if kind in ("fusion", "process"):
        _show_faults(console, record.get("faults", []))
    if "splits" in record:
        _show_lengths(console, record)
    if kind == "rl":
        console.print(
            f"It is made of no traces: `cuvee inspect {one_line(data['dataset'])}` has its funnel", soft_wrap=True
        )


def _size(data: Mapping[str, Any]) -> str:
    splits = data["record"].get("splits", [])
    trained, tokens = (sum(split[key] for split in splits) for key in ("trained_tokens", "tokens"))
    pairs = data["kind"] == "preference"
    size = f"{sum(data['rows'].values()):,} {'pairs' if pairs else 'rows'}"
    size += "" if data["problems"] is None else f" of {data['problems']:,} problems"
    if not splits:
        return size
    return f"{size}, {trained:,} trained tokens" + (" in both answers" if pairs else f" of {tokens:,}")


def _limit(student: Mapping[str, Any]) -> str:
    most = student["identity"].get("max_length")
    return "rows of any length" if most is None else f"rows of at most {most:,} tokens"


def drawn(name: str, entry: Mapping[str, Any]) -> str:
    """Where traces come from, in a line."""
    settings = entry["settings"]
    if "model" not in entry:
        return f"{name}: given with the problems, {short(' '.join(settings['text'].split()), 60)}"
    how = f"temperature {settings['temperature']:g}, at most {entry['max_tokens']:,} tokens"
    return f"{name}: {entry['n']} a problem of {entry['model']}, {how}"


def _show_part(console: Console, name: str, part: Mapping[str, Any], data: Mapping[str, Any], record: Any) -> None:
    heading = f"[bold]{one_line(name)}[/] ({part['mode']})  " if name else ""
    source = one_line(drawn(part["traces"], data["traces"][part["traces"]]))
    console.print(f"{heading}{source}; {part['wanted']:,} problems", highlight=False, soft_wrap=True)
    pairs = record.get("pairs")
    last = None if pairs is None else "may be chosen"
    _show_funnel(console, part, last)
    if pairs is not None:
        console.print("what may be rejected has its own rules", highlight=False)
        _show_funnel(console, {"rules": record["rejected_rules"]}, "may be rejected")
        _show_faults(console, record["faults"])
    if part["beyond_enough"]:
        console.print(
            f"{part['beyond_enough']:,} more traces lie beyond those that were enough: not counted here\n",
            highlight=False,
        )
    groups = part.get("select", {}).get("groups", {})
    if groups:
        _show_groups(console, groups)
    for missed in part.get("select", {}).get("missed", []):
        console.print(f"[yellow]{one_line(Missed(**missed))}[/]\n", highlight=False)


def _show_funnel(console: Console, part: Mapping[str, Any], last: str | None) -> None:
    """The traces that reach each rule, and go on; then template and select, where no pairs are made.

    last: what is said of the traces behind the rules; None where the template and `select` come next.
    """
    rules = part["rules"]
    drawn_ = rules[0]["entered"] if rules else sum(size["rows"] for size in part["select"]["before"].values())
    table = _table("", ">traces", ">left", "", "keeps a trace when")
    table.add_row("drawn", "", f"{drawn_:,}", bar(drawn_, drawn_, BAR), "")
    left = drawn_

    def step(name: str, gone: int, why: str) -> None:
        nonlocal left
        left -= gone
        table.add_row(one_line(name), f"-{gone:,}" if gone else "0", f"{left:,}", bar(left, drawn_, BAR), why)

    for rule in rules:
        why = one_line(short(" ".join(rule["condition"].split()), CONDITION))
        unknown = f"  [yellow]({rule['unknown']:,} unknown)[/]" if rule["unknown"] else ""
        step(rule["rule"], rule["entered"] - rule["pass"], why + unknown)
    if last is None:
        step(TEMPLATE, sum(fault["rows"] for fault in part["faults"]), "the student's template keeps it")
        for reason, count in part["select"]["dropped"].items():
            step(f"select: {reason}", count, one_line(_selected(reason, part["select"]["settings"])))
    else:
        table.add_row(last, "", f"{left:,}", "", "")
    console.print(table)
    console.print()
    if last is None:
        _show_faults(console, part["faults"])


def _selected(reason: str, settings: Mapping[str, Any]) -> str:
    """What `select` keeps a trace for."""
    select = Select.model_validate(settings)
    first = {"random": "at random", "diverse": "farthest apart in wording"}.get(select.by, f"first by {select.by}")
    said = {
        "k": f"it is among {select.k} of a problem, {first}",
        "rows": f"it is within {select.rows or 0:,} rows",
        "tokens": f"it is within {select.tokens or 0:,} trained tokens",
        "mix": "its group has room" if select.mix is None else f"the mix by {select.mix.by} has room",
    }
    return short(said.get(reason, ""), CONDITION)


def _show_groups(console: Console, groups: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
    table = _table("train, by group", ">rows before", ">after", ">trained tokens before", ">after", ">share of both")
    rows, tokens = (sum(both["after"][key] for both in groups.values()) for key in ("rows", "tokens"))
    for name, both in groups.items():
        figures = [f"{both[when][key]:,}" for key in ("rows", "tokens") for when in ("before", "after")]
        shares = (both["after"][key] / (whole or 1) for key, whole in (("rows", rows), ("tokens", tokens)))
        table.add_row(one_line(short(name, 40)), *figures, " / ".join(f"{share:.0%}" for share in shares))
    console.print(table)
    console.print()


def _show_fusion(console: Console, fusion: Mapping[str, Any]) -> None:
    of = fusion["settings"]["ratio_of"]
    table = _table("split", "mode", "part", ">rows before", ">after", ">trained tokens before", ">after")
    for split, mode, part in _leaves(fusion["before"]):
        both = [fusion[when].get(split, {}).get(mode, {}).get(part, {}) for when in ("before", "after")]
        figures = [f"{one.get(key, 0):,}" for key in ("rows", "trained_tokens") for one in both]
        table.add_row(split, mode, one_line(part), *figures)
    console.print(table)
    wanted = fusion["settings"].get("ratio")
    asked = f"{wanted['think'] / wanted['no_think']:.2f} was asked for" if wanted else "none was asked for"
    found = {split: fusion["ratio"][split] for split in _splits(fusion["ratio"])}
    ratios = ", ".join(f"{split} {'all' if r is None else f'{r:.2f}'}" for split, r in found.items())
    console.print(f"\nthink to no_think in {of}: {ratios}; {asked}", highlight=False)
    flags = _table("where the flag stands", *(f">{place}" for place in ("user", "system", "none")))
    for split in _splits(fusion["flags"]):
        for mode, places in fusion["flags"][split].items():
            counts = (f"{places.get(place, 0):,}" for place in ("user", "system", "none"))
            flags.add_row(f"{split}, {mode}", *counts)
    console.print(flags)
    console.print()
    most = max((int(turn) for turns in fusion["turns"].values() for turn in turns), default=0)
    counted = _table("user turns", *(f">{number}" for number in range(1, most + 1)))
    for split in _splits(fusion["turns"]):
        rows = fusion["turns"][split]
        counted.add_row(split, *(f"{rows.get(str(number), 0):,}" for number in range(1, most + 1)))
    console.print(counted)
    for missed in fusion["missed"]:
        console.print(f"[yellow]{one_line(missed)}[/]", highlight=False)
    console.print()


def _leaves(counts: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    return ((split, mode, part) for split in _splits(counts) for mode in counts[split] for part in counts[split][mode])


def _splits(counts: Iterable[str]) -> list[str]:
    return sorted(counts, key=SPLITS.index)


def _show_pairs(console: Console, pairs: Mapping[str, Any]) -> None:
    table = _table(UNPAIRED, ">pairs", ">problems", ">chosen", ">rejected", ">rejected is longer")
    for kind, row in pairs["kinds"].items():
        means = (f"{row[key]:,.0f}" if row["pairs"] else "" for key in ("chosen_tokens", "rejected_tokens"))
        longer = f"{row['rejected_longer']:.0%}" if row["pairs"] else ""
        table.add_row(one_line(kind), f"{row['pairs']:,}", f"{row['problems']:,}", *means, longer)
    console.print(table)
    console.print("[dim]chosen, rejected: trained tokens in the mean[/]")
    told = [f"{pairs['paired']:,} of {pairs['problems']:,} problems have a pair"]
    told += [f"{count:,} have {one_line(lack)}" for lack, count in pairs["unpaired"].items()]
    console.print("; ".join(told) + "\n", highlight=False)


def _show_faults(console: Console, faults: Sequence[Mapping[str, Any]]) -> None:
    """Rows that cannot be published: how many for each reason, and the first of them."""
    for fault in faults:
        first, _, said = str(fault["first"]).partition(": ")
        more = "" if said == fault["reason"] else f": {short(said, 300)}"
        console.print(f"[yellow]{fault['rows']:,} left out[/]: {one_line(fault['reason'])}", highlight=False)
        console.print(f"  [dim]the first is {one_line(first + more)}[/]", highlight=False, soft_wrap=True)
    if faults:
        console.print()


def _show_lengths(console: Console, record: Mapping[str, Any]) -> None:
    longer = "longer side" if "pairs" in record else "tokens"
    table = _table("split", ">rows", f">{longer}", ">trained", ">longest row")
    for split in sorted(record["splits"], key=lambda row: SPLITS.index(row["split"])):
        figures = (f"{split[key] or 0:,}" for key in ("rows", "tokens", "trained_tokens", "longest"))
        table.add_row(split["split"], *figures)
    console.print(table)
    console.print()
    lengths = record["lengths"]
    if lengths:
        table, most = (
            _table(f">tokens of {'the longer side' if 'pairs' in record else 'a row'}", ">rows", ""),
            max(row["rows"] for row in lengths),
        )
        for row in lengths:
            table.add_row(f"up to {row['up_to']:,}", f"{row['rows']:,}", bar(row["rows"], most))
        console.print(table)


def _table(*heads: str) -> Table:
    """heads: columns, those of numbers with a `>` before."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(one_line(head.removeprefix(">")), justify="right" if head.startswith(">") else "left")
    return table
