"""A dataset at a glance: the funnel, pass rates, sets, rejected rows; and rows by the rule that dropped them."""

from typing import Any

from rich.console import Console
from rich.table import Table

from curation.balancing.targets import RULE, Balance
from curation.duck import arrow, literal, parquet, quoted
from curation.inspect import balanced, difficulties, overlaps, sets
from curation.inspect.bars import bar
from curation.inspect.visible import plain
from curation.publish import SPLITS, Dataset
from curation.rules import DECIDED
from curation.sql import columns_of

BINS = 10


def summary(dataset: Dataset) -> dict[str, Any]:
    """What `cuvee inspect` shows, as plain data."""
    manifest = dataset.manifest
    return {
        "dataset": dataset.ref,
        "folder": dataset.folder,
        "fingerprint": manifest["fingerprint"],
        "counts": manifest["counts"],
        "funnel": manifest["rules"],
        "pass_rates": {
            e["key"]: histogram(dataset, e) for e in manifest["annotators"] if e["annotator"] == "pass_rate"
        },
        "gold": {e["key"]: golds(dataset, e) for e in manifest["annotators"] if e["annotator"] == "gold"},
        "duplicates": {
            e["key"]: overlaps.duplicates(dataset, e) for e in manifest["annotators"] if e["annotator"] == "duplicates"
        },
        "contamination": {
            e["key"]: overlaps.contamination(dataset, e)
            for e in manifest["annotators"]
            if e["annotator"] == "contamination"
        },
        "guesses": {e["key"]: guesses(dataset, e) for e in manifest["annotators"] if e["annotator"] == "guess"},
        "difficulties": difficulties.agreements(dataset),
        "balance": manifest.get("balance"),
        "sets": {
            config: {split: splits[split]["rows"] for split in SPLITS} for config, splits in manifest["sets"].items()
        },
        "built": {config: sets.facts(dataset, config) for config in manifest["sets"]},
        "sources": manifest["pool"]["sources"],
        "licenses": manifest["licenses"],
        "drawn": manifest["drawn"],
    }


def histogram(dataset: Dataset, annotator: dict[str, Any]) -> list[dict[str, Any]]:
    """Problems and kept problems by pass rate: by passes where all of few samples were drawn, else by tenths."""
    n, prefix = annotator["n"], annotator["prefix"]
    if n <= 16 and not annotator.get("settles"):
        value, labels = quoted(prefix + "passes"), [f"{k}/{n}" for k in range(n + 1)]
    else:
        # 0 and 1 stand apart: what no sample and what every sample solves teaches nothing.
        rate = quoted(prefix + "pass_rate")
        value = f"case when {rate} = 0 then 0 when {rate} = 1 then {BINS + 1} else 1 + floor({BINS} * {rate})::int end"
        labels = ["0", *(f"{b / BINS:g} to {(b + 1) / BINS:g}" for b in range(BINS)), "1"]
    found = arrow(
        dataset.store.connect(),
        f"""select {value} as bin, count(*) as problems, count(*) filter (kept) as kept from {dataset.decisions()}
        where list_contains(measured, {literal(annotator["key"])}) and {quoted(prefix + "pass_rate")} is not null
        group by 1""",
    )
    counts = {row["bin"]: (row["problems"], row["kept"]) for row in found.to_pylist()}
    return [
        dict(zip(("passes", "problems", "kept"), (label, *counts.get(number, (0, 0))), strict=True))
        for number, label in enumerate(labels)
    ]


def golds(dataset: Dataset, annotator: dict[str, Any]) -> list[dict[str, Any]]:
    """Whether verifiers accept the problems' own answers, by source, and the reason they give most often when not."""
    accepted, reason = (quoted(annotator["prefix"] + name) for name in ("gold_accepted", "gold_reason"))
    found = arrow(
        dataset.store.connect(),
        f"""select source, count(*) filter ({accepted}) as accepted, count(*) filter (not {accepted}) as rejected,
            count(*) filter ({accepted} is null) as unknown,
            coalesce(mode({reason}) filter ({reason} <> '' and {accepted} is not true), '') as reason
        from {dataset.decisions()} where list_contains(measured, {literal(annotator["key"])})
        group by source order by rejected + unknown desc, source""",
    )
    return list(found.to_pylist())


def guesses(dataset: Dataset, annotator: dict[str, Any]) -> list[dict[str, Any]]:
    """How many problems were guessed of how many that were tested, by kind of answer where `form` has measured it."""
    prefix = annotator["prefix"]
    kinds = any("answer_kind" in entry["columns"] for entry in dataset.manifest["annotators"])
    found = arrow(
        dataset.store.connect(),
        f"""select {"coalesce(answer_kind, 'unknown')" if kinds else "'all'"} as kind,
            count(*) filter ({quoted(prefix + "guessed")}) as guessed, count(*) as tested
        from {dataset.decisions()} where {quoted(prefix + "guess_asked")} group by 1 order by 1""",
    )
    return list(found.to_pylist())


def rows(dataset: Dataset, rule: str | None, count: int) -> list[dict[str, Any]]:
    """The first problems that `rule` dropped, failed before unknown, or with None the first that were kept.

    With a rule also what it reads, and why that was measured so.
    """
    condition = "kept" if rule is None else f"dropped_by = {literal(rule)}"
    outcome = "'pass'" if rule is None else quoted("rule_" + rule)
    names = ["id", "source", "row", "prompt", "answer"]
    read = "".join(
        f", {quoted(name)}" for name in ([] if rule is None else _read_by(dataset, rule)) if name not in names
    )
    found = arrow(
        dataset.store.connect(),
        f"""select {", ".join(names)}, {outcome} as outcome, split{read} from {dataset.decisions()} where {condition}
        {"" if rule is None else "order by outcome = 'unknown', source, row"} limit {int(count)}""",
    )
    return list(found.to_pylist())


REASONS = {
    "gold_accepted": "gold_reason",
    "contaminated": "contaminated_by",
    "ngram_overlap": "ngram_item",
    "meaning_overlap": "meaning_item",
    "near_in_meaning": "near_in_meaning_id",
    "answer_conflict": "majority_answer",
    "gold_suspect": "consensus_answer",
}
"""Beside a measured column, the one that says why it is so."""


def _read_by(dataset: Dataset, rule: str) -> list[str]:
    """Measured columns that a rule reads, each with what says why it is so."""
    if rule == RULE and (record := dataset.manifest.get("balance")):
        names = Balance.model_validate(record["settings"]).reads
    else:
        names = next(columns_of(entry["condition"]) for entry in dataset.manifest["rules"] if entry["rule"] == rule)
    there = {row[0] for row in dataset.store.connect().execute(f"describe from {dataset.decisions()}").fetchall()}
    found = [name for name in DECIDED.names if names & {*DECIDED.names} and name in there]
    for annotator in dataset.manifest["annotators"]:
        prefix, columns = annotator["prefix"], annotator["columns"]
        if own := [name for name in columns if name.lower() in names]:
            reasons = [
                prefix + REASONS[name.removeprefix(prefix)] for name in own if name.removeprefix(prefix) in REASONS
            ]
            found += own + [name for name in columns if name in reasons and name not in own]
    return found


def counted(dataset: Dataset, rule: str | None) -> int:
    """How many problems `rule` dropped, or with None how many were kept."""
    if rule is None:
        return int(dataset.manifest["counts"]["kept"])
    dropped = {entry["rule"]: entry["entered"] - entry["pass"] for entry in dataset.manifest["rules"]}
    return int(dropped[rule])


def rejected(dataset: Dataset, count: int) -> list[dict[str, Any]]:
    """The first rows that were rejected when the pool was read. Raises FileNotFoundError when the pool is gone."""
    path = f"{dataset.pool_folder}/rejected.parquet"
    if not dataset.store.fs.exists(path):
        raise FileNotFoundError(path)
    found = arrow(dataset.store.connect(), f"from {parquet(dataset.store.readable([path]))} limit {int(count)}")
    return list(found.to_pylist())


def show(console: Console, data: dict[str, Any]) -> None:
    """Prints a summary."""
    counts = data["counts"]
    console.print(f"[bold]{plain(data['dataset'])}[/]  {plain(data['folder'])}")
    console.print(
        f"{counts['read']:,} rows read = {counts['kept']:,} kept + {counts['dropped']:,} dropped + "
        f"{counts['rejected']:,} rejected\n"
    )
    show_funnel(console, counts, data["funnel"], data["sources"])
    for key, sources in data["gold"].items():
        show_gold(console, key, sources)
    for key, counted_ in data["duplicates"].items():
        overlaps.show_duplicates(console, key, counted_)
    for key, benchmarks in data["contamination"].items():
        overlaps.show_contamination(console, key, benchmarks)
    for key, bins in data["pass_rates"].items():
        show_histogram(console, key, bins)
    for key, kinds in data["guesses"].items():
        console.print(f"{plain(key)}: answers hit without thinking")
        table = Table("answer", "guessed", "tested", box=None, header_style="bold", pad_edge=False)
        for row in kinds:
            table.add_row(plain(row["kind"]), f"{row['guessed']:,}", f"{row['tested']:,}")
        console.print(table)
        console.print()
    difficulties.show(console, data["difficulties"])
    if data.get("balance"):
        balanced.show(console, data["balance"])
    sets.show(console, data["sets"], data.get("built", {}))


def show_funnel(
    console: Console, counts: dict[str, int], funnel: list[dict[str, Any]], sources: dict[str, Any]
) -> None:
    table = Table("", "rows", "left", "", "why", box=None, header_style="bold", pad_edge=False)
    for name in ("rows", "left"):
        next(column for column in table.columns if column.header == name).justify = "right"
    read = counts["read"]
    left = read
    table.add_row("read", "", f"{left:,}", bar(left, read), "")
    if counts["rejected"]:
        reasons = [f"{reason} ({count})" for source in sources.values() for reason, count in source["reasons"].items()]
        left -= counts["rejected"]
        table.add_row("rejected", f"-{counts['rejected']:,}", f"{left:,}", bar(left, read), plain(", ".join(reasons)))
    for rule in funnel:
        gone = rule["entered"] - rule["pass"]
        left -= gone
        why = plain(" ".join(rule["condition"].split()))
        why += f"  [yellow]({rule['unknown']:,} unknown)[/]" if rule["unknown"] else ""
        undecided = rule["unmeasured"]
        why += f"  [yellow]({undecided:,} undecided)[/]" if undecided else ""
        table.add_row(plain(rule["rule"]), f"-{gone:,}" if gone else "0", f"{left:,}", bar(left, read), why)
    console.print(table)
    console.print()


def show_gold(console: Console, key: str, sources: list[dict[str, Any]]) -> None:
    """The sources with an answer that is not accepted; the others are counted."""
    table = Table(
        *("source", "accepted", "rejected", "unknown", "commonest reason"),
        box=None,
        header_style="bold",
        pad_edge=False,
        title=f"{plain(key)}: does the verifier accept the problem's own answer?",
        title_justify="left",
        title_style="",
    )
    for column in table.columns[1:4]:
        column.justify = "right"
    whole = [row for row in sources if not row["rejected"] + row["unknown"]]
    for row in sources:
        if row not in whole:
            counts = (f"{row[name]:,}" for name in ("accepted", "rejected", "unknown"))
            table.add_row(plain(row["source"]), *counts, plain(_line(row["reason"])))
    if whole:
        named = plain(whole[0]["source"]) if len(whole) == 1 else f"{len(whole)} sources"
        table.add_row(named, f"{sum(row['accepted'] for row in whole):,}", "0", "0", "")
    console.print(table)
    console.print()


def show_histogram(console: Console, key: str, bins: list[dict[str, Any]]) -> None:
    table = Table(
        "passes" if any("/" in b["passes"] for b in bins) else "pass rate",
        "problems",
        "",
        "kept",
        box=None,
        header_style="bold",
        pad_edge=False,
        title=f"{plain(key)}: how often the model solves a problem",
        title_justify="left",
        title_style="",
    )
    largest = max((b["problems"] for b in bins), default=0)
    for b in bins:
        table.add_row(b["passes"], f"{b['problems']:,}", bar(b["problems"], largest), f"{b['kept']:,}")
    table.columns[1].justify = table.columns[3].justify = "right"
    console.print(table)
    console.print()


def show_rows(console: Console, found: list[dict[str, Any]]) -> None:
    """Prints rows, one line each."""
    table = Table(*(found[0] if found else ["no such row"]), box=None, header_style="bold", pad_edge=False)
    for row in found:
        table.add_row(*(plain(_line(value)) for value in row.values()))
    console.print(table)


def _line(value: Any, width: int = 60) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"
