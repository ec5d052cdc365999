"""`cuvee inspect` and `cuvee why`."""

from typing import TYPE_CHECKING, Any

import click

from curation.inspect.visible import visible
from flows.telling import find, json_option, json_text, mistakes, terminal, workspace_option

if TYPE_CHECKING:
    from curation.publish import Dataset


@click.command()
@click.argument("dataset")
@click.option("--rule", metavar="NAME", help="Show problems that this rule dropped.")
@click.option(
    "--rejected", "show_rejected", is_flag=True, help="Show rows that were rejected when the sources were read."
)
@click.option(
    "--rows",
    "count",
    type=click.IntRange(0, 100_000),
    default=0,
    help="Show so many rows: of problems (kept ones unless --rule), or of a set as the student sees them.",
)
@click.option("--set", "set_name", metavar="NAME", help="Look at one set: its traces, rules, lengths.")
@click.option(
    "--dropped",
    metavar="RULE",
    help="With --set: show traces that a rule dropped, or `template`, `select: k`, `pairs`.",
)
@click.option("--whole", is_flag=True, help="With --set and --rows: leave nothing out of long texts.")
@workspace_option
@json_option
def inspect(
    dataset: str,
    rule: str | None,
    show_rejected: bool,
    count: int,
    set_name: str | None,
    dropped: str | None,
    whole: bool,
    workspace: str,
    as_json: bool,
) -> None:
    """Look at DATASET: the funnel, pass rates, rows, and its sets.

    DATASET is a name (its newest version), name@version, or a folder.

    \b
    cuvee inspect demo
    cuvee inspect demo --rule unique         problems that the rule `unique` dropped
    cuvee inspect demo --rejected            rows that were no problem
    cuvee inspect demo --set sft             one set: where its traces come from, what dropped them
    cuvee inspect demo --set sft --rows 3    rows as the student sees them, what is trained marked
    cuvee inspect demo --set sft --dropped fluent
    """
    if set_name is not None and (rule is not None or show_rejected):
        raise click.UsageError("--rule and --rejected are about problems; for the traces of a set give --dropped RULE")
    if set_name is None and (dropped is not None or whole):
        raise click.UsageError("--dropped and --whole are about the traces of a set; give --set NAME")
    if dropped is not None and whole:
        raise click.UsageError("--whole is about rows of the set; leave --dropped or --whole out")
    if set_name is not None:
        with mistakes():
            _inspect_set(find(dataset, workspace), set_name, dropped, count, whole, as_json)
        return
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


def _inspect_set(found: "Dataset", name: str, by: str | None, count: int, whole: bool, as_json: bool) -> None:
    """One set: at a glance, its rows, or traces that were dropped."""
    from distill.inspect import dropped, overview, rendered

    data = overview.overview(found, name)
    if by is not None:
        rows = dropped.dropped(found, name, by, count or 20)
        if as_json:
            click.echo(json_text(data | {"by": by, "traces_dropped": rows}))
        else:
            dropped.show(terminal(), by, rows, dropped.reasons(found, name)[by])
    elif count:
        rows = rendered.rows(found, name, count)
        if data["student"] is None:
            _show_plain(data, rows, as_json)
            return
        written, why_not = rendered.renderer(found)
        rows = [row | {"segments": rendered.rendered(row, written)} for row in rows]
        if as_json:
            click.echo(json_text(data | {"messages_only": why_not, "examples": rows}))
        else:
            tags = tuple(data["student"]["identity"]["tags"])
            rendered.show(terminal(), rows, (tags[0], tags[1]), whole, why_not)
            if len(rows) < (of := sum(data["rows"].values())):
                terminal().print(f"{len(rows):,} of {of:,}: --rows shows more")
    elif as_json:
        click.echo(json_text(data))
    else:
        overview.show(terminal(), data)


def _show_plain(data: dict[str, Any], rows: list[dict[str, Any]], as_json: bool) -> None:
    """Rows of a set that is not made of traces: the student's template has no say in them."""
    from curation.inspect import summary as view

    if as_json:
        click.echo(json_text(data | {"examples": rows}))
        return
    names = ("id", "split", "source", "prompt", "answer", "completions", "labels")
    view.show_rows(terminal(), [{name: row[name] for name in names if name in row} for row in rows])


@click.command()
@click.argument("dataset")
@click.argument("problem_id")
@workspace_option
@json_option
def why(dataset: str, problem_id: str, workspace: str, as_json: bool) -> None:
    """Everything about one problem of DATASET: measurements, rules, rollouts, its traces in every set.

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
