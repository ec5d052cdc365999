"""`cuvee recipes`."""

import click

from curation.inspect.visible import visible
from flows.telling import mistakes


@click.group(invoke_without_command=True)
@click.pass_context
def recipes(context: click.Context) -> None:
    """The shipped recipes; `cuvee recipes show NAME` prints one, to copy and change."""
    if context.invoked_subcommand is None:
        from flows.recipe import SHIPPED, shipped_names

        for name in shipped_names():
            first = (SHIPPED / f"{name}.yaml").read_text().splitlines()[0]
            click.echo(f"{name:<20} {first.lstrip('# ')}")


@recipes.command("show")
@click.argument("name")
def recipes_show(name: str) -> None:
    """Print a shipped recipe."""
    with mistakes():
        from flows.recipe import locate

        click.echo(visible(locate(name).read_text()), nl=False)
