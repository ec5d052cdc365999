"""`cuvee run` and `cuvee plan`."""

from typing import Any

import click

from curation.inspect.visible import visible
from flows.telling import AGAIN, SPENT, end, json_option, json_text, mistakes, pairs, terminal, workspace_option


@click.command()
@click.argument("recipe")
@workspace_option
@click.option("--until", metavar="NAME", help="Stop after this annotator (or `pool`); nothing is published.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value: --set annotate.pass_rate.n=16"
)
@click.option(
    "--overlay", "overlays", multiple=True, metavar="NAME", help="Change it by a file, or a shipped one: --overlay tiny"
)
@click.option(
    "--measure-all", is_flag=True, help="Measure problems that a rule has dropped already; changes no decision."
)
@click.option(
    "--budget",
    metavar="2h|50Mtok|200usd",
    help="Stop there (hours count from now): nothing is published, what was measured is kept, exit code 3. "
    "Dollars need a model's `price`.",
)
@click.option(
    "--retry-errors",
    is_flag=True,
    help="Grade again the samples that a grader failed at, and ask again for votes that could not be read.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def run(
    recipe: str,
    workspace: str,
    until: str | None,
    overrides: tuple[str, ...],
    overlays: tuple[str, ...],
    measure_all: bool,
    budget: str | None,
    retry_errors: bool,
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
    cuvee run dapo --overlay tiny           a recipe of a paper on 40 problems and a small model, to see it work
    cuvee run my.yaml --budget 2h           stop after two hours; the same command goes on
    """
    with mistakes():
        from curation.budget import Budget
        from curation.inspect.summary import show, show_funnel, summary
        from curation.progress import Progress
        from flows.closing import closing, sampled
        from flows.curate import curate_flow
        from flows.recipe import load
        from flows.server import prefect_api

        loaded = load(recipe, pairs("--set", overrides), overlays)
        keys = ["pool", *(step.key for step in loaded.steps)]
        if until is not None and until not in keys:
            raise click.UsageError(f"--until: {until!r} is no annotator of {recipe}; it has {', '.join(keys)}")
        _models_known(loaded)
        _lock_free(workspace)
        progress = Progress(quiet=quiet)
        limit = None if budget is None else Budget.parse(budget)
        if limit is not None:
            for name, model in loaded.recipe.models.items():
                limit.check(name, model.price)
    with mistakes(AGAIN):
        with prefect_api(progress.line):
            outcome = curate_flow(
                loaded,
                workspace,
                until=until,
                measure_all=measure_all,
                budget=limit,
                retry_errors=retry_errors,
                progress=progress,
            )
        for warning in outcome.warnings:
            click.echo(f"warning: {visible(warning)}", err=True)
        told = {"drawn": outcome.drawn, "warnings": outcome.warnings}
        if outcome.dataset is None:
            so_far = dict(outcome.so_far or {})
            if as_json:
                stopped = {"spent": outcome.spent} if outcome.spent else {"stopped_after": until}
                click.echo(json_text(stopped | so_far | told))
            else:
                show_funnel(terminal(), so_far["counts"], so_far["funnel"], so_far["sources"])
                sampled(terminal(), outcome)
            if outcome.spent:
                end(SPENT, f"stopped: {outcome.spent}. {AGAIN}")
            if not as_json:
                click.echo(f"stopped after {until}, as asked; run the same without --until to go on")
            return
        data = summary(outcome.dataset) | {"new": outcome.new} | told
        if as_json:
            click.echo(json_text(data))
            return
        console = terminal()
        show(console, data)
        closing(console, outcome, loaded)


@click.command()
@click.argument("recipe")
@workspace_option
@click.option("--pilot", type=click.IntRange(min=2), help="Sample so many problems, and say what the others will take.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value: --set annotate.pass_rate.n=16"
)
@click.option(
    "--overlay", "overlays", multiple=True, metavar="NAME", help="Change it by a file, or a shipped one: --overlay tiny"
)
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def plan(
    recipe: str,
    workspace: str,
    pilot: int | None,
    overrides: tuple[str, ...],
    overlays: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """What `cuvee run RECIPE` would do: what is in the workspace, what is missing, the prompts, and the bill.

    \b
    cuvee plan my.yaml                      reads the sources and looks; nothing is measured, no model is started
    cuvee plan my.yaml --pilot 50           measures what needs no model, samples 50 problems, and says what the rest
                                            will take: tokens, hours, and dollars when the model has a `price`

    A row that is not measured yet counts as one that goes on, so figures are the most that can come. What a pilot samples
    is kept: the run goes on from there.
    """
    with mistakes():
        from curation.progress import Progress
        from flows.plan import plan as look
        from flows.planned import show
        from flows.recipe import load

        loaded = load(recipe, pairs("--set", overrides), overlays)
        if pilot is not None:
            _models_known(loaded)
        data = look(loaded, workspace, pilot=pilot, progress=Progress(quiet=quiet))
        if as_json:
            click.echo(json_text(data))
            return
        show(terminal(), data)
        for warning in data["warnings"]:
            click.echo(f"warning: {visible(warning)}", err=True)


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
