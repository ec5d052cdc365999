"""`cuvee sweep` and `cuvee diff`: decisions again, and beside others."""

import os
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from curation.inspect.visible import visible
from flows.telling import find, json_option, json_text, mistakes, pairs, say, terminal, workspace_option

if TYPE_CHECKING:
    from curation.publish import Dataset


@click.command()
@click.argument("dataset")
@click.option(
    "--rule", "changes", multiple=True, metavar="NAME=SQL", help="Replace or add a rule; `NAME=` alone removes it."
)
@click.option(
    "--grid",
    "grids",
    multiple=True,
    metavar="NAME=VALUES",
    help="Values of {NAME} in the rules: numbers and ranges, such as 1,2,5..8 or 0.1..0.9..0.2. At most two names.",
)
@click.option("--by", multiple=True, metavar="COLUMN", help="Count by this column too: source, domain, or any other.")
@click.option("--save", metavar="NEW.yaml", type=click.Path(dir_okay=False), help="Write a recipe with these rules.")
@workspace_option
@json_option
def sweep(
    dataset: str,
    changes: tuple[str, ...],
    grids: tuple[str, ...],
    by: tuple[str, ...],
    save: str | None,
    workspace: str,
    as_json: bool,
) -> None:
    """Decide again under other rules, over what was measured for DATASET. No model is started.

    \b
    cuvee sweep demo --rule 'learnable=passes between 1 and 5' --by domain
    cuvee sweep demo --rule 'short=prompt_words < 100' --rule 'unique=' --save stricter.yaml
    cuvee sweep demo --rule 'learnable=passes between {low} and {high}' --grid low=0..3 --grid high=5,6,7

    A row that was never measured, because a rule above had dropped it, or that was settled for another band, is
    undecided: it is counted as neither kept nor dropped, and what would decide it is told.
    """
    with mistakes():
        wanted = {name: text or None for name, text in pairs("--rule", changes).items()}
        if grids and (save is not None or by):
            raise click.UsageError(
                f"--grid: a grid has several sets of rules; {'--save' if save else '--by'} takes one"
            )
        if save is not None:
            _savable(save, [name for name, text in wanted.items() if text is not None])
        found = find(dataset, workspace)
        if grids:
            _grid(found, wanted, grids, as_json)
            return

        from curation.grid import unfilled
        from curation.sweep import sweep as decide_again

        unfilled(wanted)
        result = decide_again(found, wanted, by)
        if save is not None:
            _save(found, wanted, save)
    if as_json:
        counts = dict(found.manifest["counts"]) | {"kept": result.kept, "dropped": result.dropped}
        data = {"dataset": found.ref, "counts": counts | {"undecided": result.undecided}, "funnel": result.funnel}
        told = {"samples": result.cost.samples, "tokens": result.cost.tokens}
        told |= {name: getattr(result, name) for name in ("appeared", "vanished", "unbalanced")}
        click.echo(json_text(data | told | {"by": result.groups}))
        return
    from curation.inspect.swept import show

    console = terminal()
    show(console, found, result)
    if save is not None:
        say(console, f"Wrote {save}; `cuvee run {shlex.quote(save)}` publishes it.")


def _grid(found: "Dataset", changes: dict[str, str | None], grids: tuple[str, ...], as_json: bool) -> None:
    from dataclasses import asdict

    from curation.grid import grid, numbers
    from curation.inspect.swept import show_grid

    values = {name: numbers(text) for name, text in pairs("--grid", grids).items()}
    result = grid(found, changes, values)
    if as_json:
        click.echo(json_text({"dataset": found.ref} | asdict(result)))
    else:
        show_grid(terminal(), result)


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--rows", "count", type=click.IntRange(0, 100_000), default=0, help="List so many rows of each change.")
@workspace_option
@json_option
def diff(before: str, after: str, count: int, workspace: str, as_json: bool) -> None:
    """What changed from dataset BEFORE to dataset AFTER: rows in, rows out, by reason, and the settings behind it.

    Both are a name (its newest version), name@version, or a folder. The same problem has the same id in every version.

    \b
    cuvee diff demo@2026-11-22.1 demo
    cuvee diff demo stricter --rows 5        with examples of each change
    """
    with mistakes():
        from curation.diff import diff as compare

        data = compare(find(before, workspace), find(after, workspace), count)
    if as_json:
        click.echo(json_text(data))
        return
    from curation.inspect.differing import show

    show(terminal(), data)


def _savable(path: str, names: Iterable[str]) -> None:
    """Refuses what would overwrite a file, cannot be written, or would not load."""
    from flows.recipe import IDENTIFIER

    folder = os.path.dirname(path) or "."
    if os.path.lexists(path):
        raise click.UsageError(f"--save: {visible(path)} exists already; give another name")
    if not os.path.isdir(folder):
        raise click.UsageError(f"--save: there is no folder {visible(folder)}; make it first")
    for name in names:
        if not re.fullmatch(IDENTIFIER, name):
            raise click.UsageError(
                f"--rule: {name!r} is no name that a recipe can have; "
                "use small letters, digits and _, beginning with a letter"
            )


def _save(dataset: "Dataset", changes: dict[str, str | None], path: str) -> None:
    """A recipe that is the dataset's own with other rules."""
    from flows.recipe import LICENSES, dump

    recipe = dict(dataset.manifest["recipe"])
    keep = dict(recipe.get("keep", {}))
    for name, expression in changes.items():
        if name == LICENSES:
            # It stands for `allow_licenses`, which would bring it back.
            recipe.pop("allow_licenses", None)
        if expression is None:
            keep.pop(name, None)
        else:
            keep[name] = expression
    recipe["keep"] = keep
    with open(path, "x", encoding="utf-8") as file:
        file.write(f"# The recipe of {dataset.ref} with other rules, written by `cuvee sweep --save`.\n" + dump(recipe))
