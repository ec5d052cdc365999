"""`cuvee inspect` and `cuvee why`."""

import click

from curation.inspect.visible import visible
from flows.telling import find, json_option, json_text, mistakes, terminal, workspace_option


@click.command()
@click.argument("dataset")
@click.option("--rule", metavar="NAME", help="Show problems that this rule dropped.")
@click.option(
    "--rejected", "show_rejected", is_flag=True, help="Show rows that were rejected when the sources were read."
)
@click.option(
    "--rows", "count", type=click.IntRange(0, 100_000), default=0, help="Show so many rows (kept ones unless --rule)."
)
@workspace_option
@json_option
def inspect(dataset: str, rule: str | None, show_rejected: bool, count: int, workspace: str, as_json: bool) -> None:
    """Look at DATASET: the funnel, pass rates, rows.

    DATASET is a name (its newest version), name@version, or a folder.

    \b
    cuvee inspect demo
    cuvee inspect demo --rule unique         problems that the rule `unique` dropped
    cuvee inspect demo --rejected            rows that were no problem
    """
    with mistakes():
        from curation.inspect import summary as view

        found = find(dataset, workspace)
        names = [entry["rule"] for entry in found.manifest["rules"]]
        if rule is not None and rule not in names:
            raise click.UsageError(f"--rule: {rule!r} is no rule of {found.ref}; it has {', '.join(names)}")
        data = view.summary(found)
        listed = None
        try:
            if show_rejected:
                listed = view.rejected(found, count or 20)
            elif rule is not None or count:
                listed = view.rows(found, rule, count or 20)
        except FileNotFoundError as error:
            raise click.UsageError(f"--rejected: the pool of {found.ref} is gone ({visible(str(error))})") from error
    if as_json:
        click.echo(json_text(data if listed is None else data | {"rows": listed}))
        return
    console = terminal()
    if listed is None:
        view.show(console, data)
    else:
        view.show_rows(console, listed)
        if not show_rejected and len(listed) < (of := view.counted(found, rule)):
            console.print(f"\n{len(listed)} of {of:,}: --rows shows more")


@click.command()
@click.argument("dataset")
@click.argument("problem_id")
@workspace_option
@json_option
def why(dataset: str, problem_id: str, workspace: str, as_json: bool) -> None:
    """Everything about one problem of DATASET: measurements, rules, rollouts.

    PROBLEM_ID may be cut short as long as only one problem begins with it.
    """
    with mistakes():
        from curation.inspect.why import show
        from curation.inspect.why import why as look

        data = look(find(dataset, workspace), problem_id)
    if as_json:
        click.echo(json_text(data))
    else:
        show(terminal(), data)
