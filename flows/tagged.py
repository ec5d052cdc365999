"""How well a tagger does, as printed. Labels and reasons are anybody's text: cut short, and shown as they are."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.inspect.visible import plain
from curation.sql import short
from flows.telling import say

MOST = 12
"""Domains, and cells of the confusion, that are shown at most."""


def show(console: Console, told: Mapping[str, Any]) -> None:
    rows = told["rows"]
    votes = "one vote" if told["votes"] == 1 else f"{told['votes']} votes"
    say(console, f"{told['model']} on {rows['asked']:,} of {rows['read']:,} rows of {told['file']}")
    say(console, f"taxonomy {told['taxonomy']}, {votes} a row\n")
    _rates(console, told)
    _domains(console, told)
    if told["confusion"]:
        table = _table("labelled", "tagged", "rows", numbers=1)
        for cell in told["confusion"][:MOST]:
            table.add_row(plain(_label(cell["label"])), plain(_label(cell["tag"])), f"{cell['rows']:,}")
        _print(console, table, len(told["confusion"]) - MOST)
    for entry in told["unknown_because"]:
        say(
            console,
            f"unknown, {entry['rows']:,} rows: {' '.join((entry['reason'] or 'the server failed; run it again').split())}",
        )
    if left := told["labels_not_in_taxonomy"]:
        named = ", ".join(f"{_label(entry['label'])} ({entry['rows']:,})" for entry in left[:MOST])
        more = f" and {len(left) - MOST} more" if len(left) > MOST else ""
        say(
            console,
            f"No domain of the taxonomy, and not asked about: {named}{more}. --map LABEL=DOMAIN says what is meant.",
        )
    asked = told["asked_now"]
    if asked:
        say(
            console,
            f"Asked for {asked['drawn']:,} votes: {asked['prompt_tokens']:,} tokens read, {asked['tokens']:,} written.",
        )
    else:
        say(console, "Nothing was asked: every vote was in the workspace already.")


def _label(text: str) -> str:
    return short(" ".join(text.split()), 40)


def _rates(console: Console, told: Mapping[str, Any]) -> None:
    table = _table("", "rate", "90 % interval", "rows", numbers=3)
    table.add_row("accuracy", *_rate(told["accuracy"]))
    if (common := told["commonest_label"]) is not None:
        table.add_row(plain(f"always {_label(common['label'])!r}"), *_rate(common))
    if told["votes"] > 1:
        for entry in told["by_agreement"]:
            table.add_row(f"  where {entry['agreement']:.2f} of the votes agree", *_rate(entry))
    table.add_row("undefined", *_rate(told["undefined"]))
    table.add_row("unknown", *_rate(told["unknown"]))
    hard = told["difficulty"]
    if hard["rows"]:
        rho = "-" if hard["spearman"] is None else f"{hard['spearman']:.2f}"
        table.add_row("difficulty, Spearman", rho, "", f"{hard['rows']:,}")
    _print(console, table)


def _domains(console: Console, told: Mapping[str, Any]) -> None:
    table = _table("domain", "labelled", "recall", "tagged", "precision", numbers=4)
    for entry in told["by_domain"][:MOST]:
        recall, precision = entry["recall"], entry["precision"]
        table.add_row(
            plain(_label(entry["domain"])),
            f"{recall['of']:,}",
            _share(recall),
            f"{precision['of']:,}",
            _share(precision),
        )
    _print(console, table, len(told["by_domain"]) - MOST)


def _table(*headers: str, numbers: int) -> Table:
    """The last columns are numbers."""
    table = Table(*headers, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[-numbers:]:
        column.justify = "right"
    return table


def _print(console: Console, table: Table, left: int = 0) -> None:
    console.print(table)
    console.print(f"and {left:,} more; --json has all\n" if left > 0 else "")


def _rate(rate: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        _share(rate),
        f"{rate['low']:.2f} to {rate['high']:.2f}" if rate["of"] else "",
        f"{rate['count']:,} of {rate['of']:,}",
    )


def _share(rate: Mapping[str, Any]) -> str:
    return "-" if rate["rate"] is None else f"{rate['rate']:.2f}"
