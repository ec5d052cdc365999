"""`cuvee tags`."""

from typing import Any

import click

from curation.inspect.visible import visible
from flows.telling import FAILED, end, json_option, json_text, mistakes, terminal, workspace_option


@click.group()
def tags() -> None:
    """Domains and difficulty, as models say them."""


@tags.command("check")
@click.argument("file")
@click.option("--model", required=True, metavar="MODEL", help="A key of --recipe, URL#NAME, a folder, a Hub name.")
@click.option("--recipe", metavar="RECIPE", help="Where --model names a model.")
@click.option("--taxonomy", default="mathematics", show_default=True, help="A shipped one, or a file (.yaml).")
@click.option("--text", metavar="COL", help="The column of problems; found when it has a usual name.")
@click.option("--domain", default="domain", show_default=True, metavar="COL", help="The column of labels.")
@click.option("--difficulty", metavar="COL", help="The column of difficulties, where there is one.")
@click.option(
    "--map", "means", multiple=True, metavar="LABEL=DOMAIN", help='--map "geometry=51 Geometry"; the last = counts.'
)
@click.option("--votes", type=click.IntRange(1, 64), default=1, show_default=True, help="Votes a row.")
@click.option("--rows", type=click.IntRange(1, 10**9), help="Ask about so many rows, drawn by --seed; by default all.")
@click.option("--seed", type=int, default=0, show_default=True, help="What --rows draws by.")
@click.option("--retry-errors", is_flag=True, help="Ask again for votes that could not be read.")
@click.option("--quiet", is_flag=True, help="No progress.")
@workspace_option
@json_option
def check(
    file: str,
    model: str,
    recipe: str | None,
    taxonomy: str,
    text: str | None,
    domain: str,
    difficulty: str | None,
    means: tuple[str, ...],
    votes: int,
    rows: int | None,
    seed: int,
    retry_errors: bool,
    quiet: bool,
    workspace: str,
    as_json: bool,
) -> None:
    """How far a tagger agrees with the labels in FILE (.parquet, .jsonl, also .zst, .gz).

    It is asked as the annotator `tags` asks. The votes are kept in the workspace: run again, nothing is asked.

    \b
    cuvee tags check labelled.parquet --model http://host:8000/v1#qwen3-8b --votes 3
    cuvee tags check rows.jsonl --model tagger --recipe my.yaml --taxonomy mine.yaml --map math=mathematics --rows 500
    """
    with mistakes("The votes are in the workspace: run the same command again to go on."):
        from curation.progress import Progress
        from flows.named import named
        from flows.tagged import show
        from flows.tagging import Labelled
        from flows.tagging import check as measure

        settings: dict[str, Any] = {"taxonomy": taxonomy, "votes": votes}
        told = measure(
            Labelled(file, text, domain, difficulty, _means(means)),
            named("--model", model, recipe),
            workspace,
            settings=settings,
            rows=rows,
            seed=seed,
            retry_errors=retry_errors,
            progress=Progress(quiet=quiet),
        )
        for warning in told["warnings"]:
            click.echo(f"warning: {visible(warning)}", err=True)
        if as_json:
            click.echo(json_text(told))
        else:
            show(terminal(), told)
        if told["unknown"]["count"] == told["rows"]["asked"]:
            end(FAILED, "error: no row was tagged: no vote could be read")


def _means(given: tuple[str, ...]) -> dict[str, str]:
    """Labels as they are, and the domains that they mean."""
    found = {}
    for text in given:
        label, equals, domain = text.rpartition("=")
        if not equals or not label:
            raise click.UsageError(f"--map: {text!r} is not of the form LABEL=DOMAIN")
        found[label] = domain.strip()
    return found
