"""What `diff` gives, as printed."""

from typing import Any

from rich.console import Console
from rich.table import Table

from curation.inspect.visible import one_line, plain
from curation.sql import short

CHANGES = {
    "new": "a new rule",
    "changed": "its condition changed",
    "gone": "the rule is gone",
    "same": "the same rule, over other measurements or rows",
}
SHOWN = 20
"""Groups and settings that are shown of each kind."""


def show(console: Console, data: dict[str, Any]) -> None:
    """Prints a diff: what left and came, by reason, then the settings that differ."""
    kept, problems = data["kept"], data["problems"]
    console.print(f"[bold]{plain(data['before'])}[/] to [bold]{plain(data['after'])}[/]")
    console.print(
        f"{kept['both'] + kept['left']:,} kept of {problems['before']:,}, then {kept['both'] + kept['came']:,} of "
        f"{problems['after']:,}: {kept['both']:,} in both, {kept['left']:,} left, {kept['came']:,} came\n",
        soft_wrap=True,
    )
    _show_ways(console, "left", "dropped by", data["left"], data["after"])
    _show_ways(console, "came", "was dropped by", data["came"], data["before"])
    for column, groups in data["by"].items():
        _show_groups(console, column, groups)
    rules = [rule for rule in data["rules"] if rule["change"] != "same"]
    _show_settings(console, "rules", [{"key": rule["rule"]} | rule for rule in rules])
    _show_moved(console, data["moved"])
    _show_settings(console, "settings", data["settings"])


def _show_ways(console: Console, what: str, by: str, ways: list[dict[str, Any]], other: str) -> None:
    if not ways:
        return
    table = _table(what, by, "because", numbers=("left", "came"))
    for way in ways:
        because = CHANGES.get(way["change"], "")
        by_rule = way["rule"] if way["rule"] is not None else f"not in the pool of {other}"
        table.add_row(f"{way['rows']:,}", plain(by_rule), because)
    console.print(table)
    for example in (example for way in ways for example in way["examples"]):
        line = short(" ".join(example["prompt"].split()), 80)
        console.print(one_line(f"  {example['id']}  {example['source']}: {line}"), soft_wrap=True)
    console.print()


def _show_groups(console: Console, column: str, groups: list[dict[str, Any]]) -> None:
    if len(groups) < 2:
        return
    names = ("before", "after", "left", "came")
    table = _table(column, *names, numbers=names)
    for group in groups[:SHOWN]:
        value = "unknown" if group["value"] is None else group["value"]
        table.add_row(one_line(value), *(f"{group[name]:,}" for name in names))
    console.print(table)
    if (more := len(groups) - SHOWN) > 0:
        console.print(f"… and {more:,} more: --json has them")
    console.print()


def _show_moved(console: Console, moved: list[dict[str, Any]]) -> None:
    if not moved:
        return
    table = _table("rule", "other outcome", "rows that differ in what it reads", numbers=("other outcome",))
    for entry in moved:
        columns = ", ".join(f"{name} ({count:,})" for name, count in entry["columns"].items())
        table.add_row(plain(entry["rule"]), f"{entry['rows']:,}", plain(columns or "none: the rule itself changed"))
    console.print(table)
    console.print()


def _show_settings(console: Console, what: str, changes: list[dict[str, Any]]) -> None:
    if not changes:
        return
    table = _table(what, "before", "after")
    for change in changes[:SHOWN]:
        values = (
            "" if change[name] is None else short(" ".join(str(change[name]).split())) for name in ("before", "after")
        )
        table.add_row(plain(change["key"]), *map(plain, values))
    console.print(table)
    if (more := len(changes) - SHOWN) > 0:
        console.print(f"… and {more:,} more: --json has them")
    console.print()


def _table(*heads: str, numbers: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(plain(head), justify="right" if head in numbers else "left")
    return table
