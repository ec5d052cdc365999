"""What a sweep or a grid gives, as printed."""

from typing import Any

from rich.console import Console
from rich.table import Table

from curation.grid import Grid
from curation.inspect.summary import show_funnel
from curation.inspect.visible import one_line, plain
from curation.publish import Dataset
from curation.sweep import Cost, Sweep


def show(console: Console, dataset: Dataset, result: Sweep) -> None:
    """Prints a sweep: the funnel, what is kept beside the published dataset, what would decide the rest."""
    counts = dict(dataset.manifest["counts"]) | {"kept": result.kept, "dropped": result.dropped}
    show_funnel(console, counts, result.funnel, dataset.manifest["pool"]["sources"])
    for column, groups in result.groups.items():
        _show_groups(console, column, groups)
    before = " before `balance`" if result.unbalanced else ""
    console.print(
        f"{result.kept:,} kept{before} ({result.was:,} in {plain(dataset.ref)}: "
        f"{result.appeared:,} more, {result.vanished:,} fewer), {result.dropped:,} dropped, {result.undecided:,} undecided",
        soft_wrap=True,
    )
    if result.undecided:
        console.print(
            f"Running the recipe with these rules measures what would decide the undecided rows{_cost(result.cost)}.",
            soft_wrap=True,
        )
    _balance(console, result.unbalanced)


def show_grid(console: Console, grid: Grid) -> None:
    """Prints a grid: a row a value, or with two placeholders a matrix of what is kept."""
    if len(grid.values) == 1:
        _show_line(console, grid)
    else:
        _show_matrix(console, grid)
    if grid.undecided:
        console.print(
            f"{grid.undecided:,} rows are undecided somewhere: not counted as kept{_cost(grid.cost)} for all of them.",
            soft_wrap=True,
        )
    _balance(console, grid.unbalanced)


def _show_line(console: Console, grid: Grid) -> None:
    [name] = grid.values
    tokens = any(cell.cost.tokens for cell in grid.cells)
    heads = [name, "kept", "dropped", "undecided", "samples, at most", *(["tokens, about"] if tokens else [])]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(plain(head), justify="right")
    for cell in grid.cells:
        row = [cell.values[name], cell.kept, cell.dropped, cell.undecided, cell.cost.samples]
        shown = [str(row[0]), *(f"{count:,}" for count in row[1:])]
        table.add_row(*shown, *([_tokens(cell.cost.tokens)] if tokens else []))
    console.print(table)
    console.print()


def _show_matrix(console: Console, grid: Grid) -> None:
    down, across = grid.values
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(plain(f"{down} \\ {across}"), justify="right", style="bold")
    for value in grid.values[across]:
        table.add_column(str(value), justify="right", no_wrap=True)
    cells = iter(grid.cells)
    for value in grid.values[down]:
        row = [next(cells) for _ in grid.values[across]]
        table.add_row(str(value), *(f"{c.kept:,}{f' +{c.undecided:,}?' if c.undecided else ''}" for c in row))
    console.print("Rows kept; +N?: undecided beside them")
    console.print(table)
    console.print()


def _show_groups(console: Console, column: str, groups: list[dict[str, Any]]) -> None:
    table = Table(
        plain(column), "problems", "were kept", "kept", "undecided", box=None, header_style="bold", pad_edge=False
    )
    for head in table.columns[1:]:
        head.justify = "right"
    for group in groups:
        counts = (f"{group[name]:,}" for name in ("problems", "was", "kept", "undecided"))
        table.add_row(one_line("unknown" if group["value"] is None else group["value"]), *counts)
    console.print(table)
    console.print()


def _cost(cost: Cost) -> str:
    if not cost.samples:
        return ""
    tokens = f", about {_tokens(cost.tokens)} tokens" if cost.tokens is not None else ""
    return f"; it takes at most {cost.samples:,} samples{tokens}"


def _tokens(count: int | None) -> str:
    """A number of tokens, to three digits: it is an estimate."""
    if count is None:
        return "unknown"
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def _balance(console: Console, unbalanced: bool) -> None:
    if unbalanced:
        console.print(
            "`balance` is not applied: it chooses among what is kept, once that is known, by what a run would measure."
        )
