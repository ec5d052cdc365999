"""What balancing came to: rows before and after, by group and by difficulty, and the targets that were missed."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.balancing.quotas import Missed
from curation.inspect.bars import bar
from curation.inspect.visible import one_line, plain
from curation.sql import short

BAR = 20
SHOWN = 40
"""Groups that are listed."""
HEAD = ("before", "", "after", "", "kept")


def tables(balanced: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """What rows are counted by, and (name, rows before, rows after): by group, and by difficulty where there is one.

    balanced: as the manifest records it. Of many groups the largest are listed, the others together.
    """
    groups = _paired(balanced["before"], balanced["after"])
    if rest := groups[SHOWN:]:
        groups[SHOWN:] = [(f"{len(rest):,} others", sum(row[1] for row in rest), sum(row[2] for row in rest))]
    found = [(balanced["settings"].get("by") or "rows", groups)]
    if difficulty := balanced["difficulty"]:
        found.append((difficulty["of"], _paired(difficulty["before"], difficulty["after"])))
    return found


def _paired(before: Mapping[str, int], after: Mapping[str, int]) -> list[tuple[str, int, int]]:
    return [(name, count, after.get(name, 0)) for name, count in before.items()]


def lines(balanced: Mapping[str, Any]) -> list[str]:
    """The targets that were missed, a line each."""
    return [str(Missed(**missed)) for missed in balanced["missed"]]


def show(console: Console, balanced: Mapping[str, Any]) -> None:
    for of, rows in tables(balanced):
        table = Table(plain(f"balance by {' '.join(of.split())}"), *HEAD, box=None, header_style="bold", pad_edge=False)
        most_before = max((before for _, before, _ in rows), default=0)
        most_after = max((after for _, _, after in rows), default=0)
        for name, before, after in rows:
            kept = f"{after / before:.0%}" if before else ""
            table.add_row(
                one_line(short(name)),
                f"{before:,}",
                bar(before, most_before, BAR),
                f"{after:,}",
                bar(after, most_after, BAR),
                kept,
            )
        for column in (1, 3, 5):
            table.columns[column].justify = "right"
        console.print(table)
        console.print()
    if missed := lines(balanced):
        console.print("\n".join(f"[yellow]{one_line(line)}[/]" for line in missed) + "\n", highlight=False)
