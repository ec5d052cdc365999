"""`cuvee sweep`: decisions again."""

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
@click.option("--save", metavar="NEW.yaml", type=click.Path(dir_okay=False), help="Write a recipe with these rules.")
@workspace_option
@json_option
def sweep(dataset: str, changes: tuple[str, ...], save: str | None, workspace: str, as_json: bool) -> None:
    """Decide again under other rules, over what was measured for DATASET. No model is started.

    \b
    cuvee sweep demo --rule 'learnable=passes between 1 and 5'
    cuvee sweep demo --rule 'short=prompt_words < 100' --rule 'unique=' --save stricter.yaml

    A row that was never measured, because a rule above had dropped it, is undecided: it is counted as neither kept nor
    dropped, and the samples that would decide it are told.
    """
    with mistakes():
        from curation.inspect.summary import show_funnel
        from curation.sweep import sweep as decide_again

        wanted = {name: text or None for name, text in pairs("--rule", changes).items()}
        if save is not None:
            _savable(save, [name for name, text in wanted.items() if text is not None])
        found = find(dataset, workspace)
        result = decide_again(found, wanted)
        if save is not None:
            _save(found, wanted, save)
    counts = dict(found.manifest["counts"]) | {"kept": result.kept, "dropped": result.dropped}
    if as_json:
        data = {"dataset": found.ref, "counts": counts | {"undecided": result.undecided}, "funnel": result.funnel}
        click.echo(
            json_text(data | {"samples": result.samples, "appeared": result.appeared, "vanished": result.vanished})
        )
        return
    console = terminal()
    show_funnel(console, counts, result.funnel, found.manifest["pool"]["sources"])
    console.print(
        f"{result.kept:,} kept ({found.manifest['counts']['kept']:,} in {found.ref}: {result.appeared:,} more, "
        f"{result.vanished:,} fewer), {result.dropped:,} dropped, {result.undecided:,} undecided"
    )
    if result.undecided:
        samples = f"; it takes at most {result.samples:,} samples" if result.samples else ""
        console.print(f"Running the recipe with these rules measures what would decide the undecided rows{samples}.")
    if save is not None:
        say(console, f"Wrote {save}; `cuvee run {shlex.quote(save)}` publishes it.")


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
