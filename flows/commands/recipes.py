"""`cuvee recipes`."""

import sys

import click

from curation.inspect.visible import visible
from flows.telling import mistakes, pairs


@click.group(invoke_without_command=True)
@click.pass_context
def recipes(context: click.Context) -> None:
    """The shipped recipes; `cuvee recipes show NAME` prints one, to copy and change."""
    if context.invoked_subcommand is None:
        from flows.recipe import SHIPPED, shipped_names
        from flows.recipe_file import OVERLAYS

        for folder, option in ((SHIPPED, ""), (OVERLAYS, "--overlay ")):
            for name in shipped_names(folder):
                first = (folder / f"{name}.yaml").read_text().splitlines()[0]
                click.echo(f"{option + name:<20} {first.lstrip('# ')}")


@recipes.command("show")
@click.argument("name")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value: --set annotate.pass_rate.n=16"
)
@click.option("--overlay", "overlays", multiple=True, metavar="NAME", help="Change it by a file, or a shipped one.")
@click.option("--file", "as_written", is_flag=True, help="The file as it is, with `extends` and its comments.")
def recipes_show(name: str, overrides: tuple[str, ...], overlays: tuple[str, ...], as_written: bool) -> None:
    """Print a recipe: a shipped one by name, or a file.

    What it extends is written out; one that stands alone is printed with its comments.
    """
    with mistakes():
        from flows.recipe import load, locate
        from flows.recipe_file import stands_alone, written

        if as_written and (overrides or overlays):
            raise click.UsageError("--file shows a file as it is; leave out --set and --overlay")
        if as_written:
            text = locate(name).read_text()
        elif overrides or overlays or not stands_alone(name):
            text = load(name, pairs("--set", overrides), overlays).yaml
        else:
            text = written(name)
        # To be copied, byte for byte, but not by a terminal.
        click.echo(visible(text) if sys.stdout.isatty() else text, nl=False)
