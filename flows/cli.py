"""The command line. Importing it is quick; each command imports what it needs."""

import contextlib
import errno
import io
import json
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import click

from curation.inspect.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    from curation.publish import Dataset
    from flows.curate import Outcome

FAILED, WRONG = 1, 2
AGAIN = "What was measured is in the workspace: run the same command again to go on."

workspace_option = click.option(
    "--workspace",
    default="cuvee-data",
    show_default=True,
    envvar="CUVEE_WORKSPACE",
    help="Where everything is kept: a folder, or s3://bucket/path.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="cuvee", message="cuvee %(version)s")
def main() -> None:
    """Turn raw problem pools into reasoning training sets.

    \b
    cuvee run demo                          read, measure, decide, publish
    cuvee inspect demo                      what was kept, what was not, and why
    cuvee why demo PROBLEM_ID               everything about one problem
    cuvee sweep demo --rule 'learnable=passes between 1 and 5'
                                            other rules over the same measurements: no model, seconds

    Measuring only ever adds to the workspace, so a run that was stopped, by whatever means, goes on where it was: run the
    same command again.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@main.command()
@click.argument("recipe")
@workspace_option
@click.option("--until", metavar="NAME", help="Stop after this annotator (or `pool`); nothing is published.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value: --set annotate.pass_rate.n=16"
)
@click.option(
    "--measure-all", is_flag=True, help="Measure problems that a rule has dropped already; changes no decision."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def run(
    recipe: str,
    workspace: str,
    until: str | None,
    overrides: tuple[str, ...],
    measure_all: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run RECIPE: a YAML file, or the name of a shipped one (`cuvee recipes`).

    Reads the sources, measures what is not in the workspace yet, applies the rules, publishes a dataset. Samples come from
    the models the recipe names; vLLM is started when a model has no `url`, and ended with the run.

    \b
    cuvee run demo
    cuvee run my.yaml --set annotate.pass_rate.n=16 --workspace s3://bucket/pools
    cuvee run my.yaml --until gold          look at the cheap measurements first
    """
    with _mistakes():
        from curation.inspect.summary import show, show_funnel, summary
        from curation.progress import Progress
        from flows.curate import curate_flow
        from flows.recipe import load
        from flows.server import prefect_api

        loaded = load(recipe, _pairs("--set", overrides))
        keys = ["pool", *(step.key for step in loaded.steps)]
        if until is not None and until not in keys:
            raise click.UsageError(f"--until: {until!r} is no annotator of {recipe}; it has {', '.join(keys)}")
        _models_known(loaded)
        _lock_free(workspace)
        progress = Progress(quiet=quiet)
    with _mistakes(AGAIN):
        with prefect_api(progress.line):
            outcome = curate_flow(loaded, workspace, until=until, measure_all=measure_all, progress=progress)
        for warning in outcome.warnings:
            click.echo(f"warning: {visible(warning)}", err=True)
        told = {"drawn": outcome.drawn, "warnings": outcome.warnings}
        if outcome.dataset is None:
            so_far = dict(outcome.so_far or {})
            if as_json:
                click.echo(_json({"stopped_after": until} | so_far | told))
                return
            show_funnel(_console(), so_far["counts"], so_far["funnel"], so_far["sources"])
            click.echo(f"stopped after {until}, as asked; run the same without --until to go on")
            return
        data = summary(outcome.dataset) | {"new": outcome.new} | told
        if as_json:
            click.echo(_json(data))
            return
        console = _console()
        show(console, data)
        _closing(console, outcome)


def _models_known(loaded: Any) -> None:
    """Says at once what would fail after the pool was read: a key that is not in the environment."""
    from curation.model import api_key

    for model in loaded.recipe.models.values():
        api_key(model)


def _lock_free(workspace: str) -> None:
    """Refuses a workspace in use before anything is started for the run."""
    from curation.store import Store

    with Store(workspace).locked():
        pass


def _closing(console: "Console", outcome: "Outcome") -> None:
    dataset = outcome.dataset
    assert dataset is not None
    console.print()
    if not outcome.drawn and any("n" in entry for entry in dataset.manifest["annotators"]):
        console.print("Nothing was sampled: every rollout was in the workspace already.")
    for key, drawn in outcome.drawn.items():
        continued = f", {drawn['continued']:,} continued" if drawn["continued"] else ""
        console.print(f"{key}: {drawn['drawn']:,} samples drawn{continued}, {drawn['tokens']:,} tokens.")
    if outcome.new:
        _say(console, f"Published {dataset.ref} in {dataset.folder}")
    else:
        _say(console, f"The content is that of {dataset.ref}: nothing new was published.")
    name = dataset.manifest["name"]
    example = _an_id(dataset)
    console.print("\n[bold]Next[/]")
    _say(console, f"  cuvee why {name} {example}")
    for rule in dataset.manifest["rules"]:
        if "passes" in rule["condition"]:
            change = shlex.quote(f"{rule['rule']}={_tighter(rule['condition'])}")
            _say(console, f"  cuvee sweep {name} --rule {change}")
            break
    _say(console, f"  cuvee inspect {name} --rows 5")
    code = f"import datasets; print(datasets.load_dataset({dataset.folder!r}, 'rl'))"
    # What a shell would read inside double quotes.
    code = re.sub(r'([\\"$`])', r"\\\1", code)
    _say(console, f'  python -c "{code}"')


def _an_id(dataset: "Dataset") -> str:
    from curation.inspect.summary import rows

    for rule in reversed(dataset.manifest["rules"]):
        if found := rows(dataset, rule["rule"], 1):
            return str(found[0]["id"])
    found = rows(dataset, None, 1)
    return str(found[0]["id"]) if found else "PROBLEM_ID"


def _tighter(condition: str) -> str:
    """A rule to try next to the one there is: a narrower band."""

    def narrower(found: re.Match[str]) -> str:
        low, high = int(found[1]), int(found[2])
        return f"between {low} and {max(low, high - 2)}"

    return re.sub(r"between (\d+) and (\d+)", narrower, condition, count=1)


@main.command()
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
    with _mistakes():
        from curation.inspect.summary import show_funnel
        from curation.sweep import sweep as decide_again

        wanted = {name: text or None for name, text in _pairs("--rule", changes).items()}
        if save is not None:
            _savable(save, [name for name, text in wanted.items() if text is not None])
        found = _find(dataset, workspace)
        result = decide_again(found, wanted)
        if save is not None:
            _save(found, wanted, save)
    counts = dict(found.manifest["counts"]) | {"kept": result.kept, "dropped": result.dropped}
    if as_json:
        data = {"dataset": found.ref, "counts": counts | {"undecided": result.undecided}, "funnel": result.funnel}
        click.echo(_json(data | {"samples": result.samples, "appeared": result.appeared, "vanished": result.vanished}))
        return
    console = _console()
    show_funnel(console, counts, result.funnel, found.manifest["pool"]["sources"])
    console.print(
        f"{result.kept:,} kept ({found.manifest['counts']['kept']:,} in {found.ref}: {result.appeared:,} more, "
        f"{result.vanished:,} fewer), {result.dropped:,} dropped, {result.undecided:,} undecided"
    )
    if result.undecided:
        console.print(
            f"At most {result.samples:,} samples would decide the undecided rows: run the recipe with these rules."
        )
    if save is not None:
        _say(console, f"Wrote {save}; `cuvee run {shlex.quote(save)}` publishes it.")


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


@main.command()
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
    with _mistakes():
        from curation.inspect import summary as view

        found = _find(dataset, workspace)
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
        click.echo(_json(data if listed is None else data | {"rows": listed}))
        return
    console = _console()
    if listed is None:
        view.show(console, data)
    else:
        view.show_rows(console, listed)


@main.command()
@click.argument("dataset")
@click.argument("problem_id")
@workspace_option
@json_option
def why(dataset: str, problem_id: str, workspace: str, as_json: bool) -> None:
    """Everything about one problem of DATASET: measurements, rules, rollouts.

    PROBLEM_ID may be cut short as long as only one problem begins with it.
    """
    with _mistakes():
        from curation.inspect.why import show
        from curation.inspect.why import why as look

        data = look(_find(dataset, workspace), problem_id)
    if as_json:
        click.echo(_json(data))
    else:
        show(_console(), data)


@main.group(invoke_without_command=True)
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
    with _mistakes():
        from flows.recipe import locate

        click.echo(visible(locate(name).read_text()), nl=False)


# ---- shared by the commands


def _find(ref: str, workspace: str) -> "Dataset":
    from curation.publish import find
    from curation.store import Store

    return find(Store(workspace), ref)


def _pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE options as a mapping."""
    pairs = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"{option}: {text!r} is not of the form NAME=VALUE")
        pairs[key.strip()] = value.strip()
    return pairs


@contextlib.contextmanager
def _mistakes(again: str = "") -> Iterator[None]:
    """Says in a line what went wrong: exit code 2 for what the user can mend in the command or recipe, 1 for the rest.

    again: said when the work may go on where it stopped.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, SystemExit, BrokenPipeError):
        raise
    except BaseException as error:  # noqa: BLE001 - the last place where an error can be told kindly
        chain = list(_chain(error))
        if any(isinstance(e, (KeyboardInterrupt, click.Abort)) for e in chain):
            _end(130, f"\nstopped. {again}" if again else "\nstopped")
        if any(isinstance(e, OSError) and e.errno == errno.ENOSPC for e in chain):
            workspace = click.get_current_context().params.get("workspace", "the workspace")
            _end(FAILED, f"error: no space left on device in {workspace}; free some and run the same command again")
        step = getattr(error, "step", None)
        cause = error.__cause__ if step is not None and error.__cause__ is not None else error
        where = f"step {step}: " if step is not None else ""
        if _is_told(cause):
            wrong = isinstance(cause, ValueError) and type(cause).__name__ not in (
                "WorkspaceLocked",
                "WorkspaceDamaged",
            )
            goes_on = again if step and not wrong else ""
            _end(WRONG if wrong else FAILED, f"error: {where}{_rule_named(cause)}", goes_on)
        trace = "".join(traceback.format_exception(cause))
        with tempfile.NamedTemporaryFile("w", prefix="cuvee-error-", suffix=".txt", delete=False) as file:
            file.write(trace)
        _end(FAILED, f"error: {where}{type(cause).__name__}: {cause}", again, f"The traceback is in {file.name}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [found.__cause__, found.__context__]


def _end(code: int, *lines: str) -> NoReturn:
    """Ends the command with what there is to say."""
    click.echo(visible("\n".join(line for line in lines if line)), err=True)
    sys.exit(code)


def _is_told(error: BaseException) -> bool:
    """Whether an error is ours, and so says itself what was given, what is allowed and what to do."""
    return type(error).__module__.split(".")[0] in ("curation", "flows")


def _rule_named(error: BaseException) -> str:
    rule = getattr(error, "rule", None)
    return str(error) if rule is None else f"rule {rule}: {error}"


def _console() -> "Console":
    from rich.console import Console

    # Tables keep their shape where there is no terminal to ask for its width.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def _say(console: "Console", line: str) -> None:
    """Prints a line with names or paths in it: as they are, and whole, to be copied."""
    console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def _json(value: Any) -> str:
    # ASCII: any terminal and encoding takes it, and no control character is left in it.
    return json.dumps(value, default=str, indent=2).replace("\x7f", "\\u007f")


if __name__ == "__main__":
    main()
