"""`cuvee contamination`."""

from typing import Any

import click

from flows.telling import json_option, json_text, mistakes, terminal, workspace_option


@click.command()
@click.argument("dataset")
@click.argument("benchmarks", nargs=-1, required=True, metavar="BENCHMARK...")
@click.option(
    "--column", "columns", multiple=True, metavar="SQL", help="The text of a row of DATASET, if it is a file."
)
@click.option("--ngram", type=click.FloatRange(0, 1, min_open=True), help="Overlap from which an item counts as found.")
@click.option(
    "--reworded", type=click.FloatRange(0, 1, min_open=True), help="Score from which an item counts as reworded."
)
@click.option("--embedding", metavar="MODEL", help="Sentence model for reworded items; `none` does without (quick).")
@click.option("--split", default="train", show_default=True, help="Of DATASET on the Hub.")
@click.option(
    "--benchmark-split", default="test", show_default=True, help="Of a BENCHMARK on the Hub that is not shipped."
)
@click.option(
    "--examples", type=click.IntRange(0, 10), default=3, show_default=True, help="Pairs shown of each benchmark."
)
@click.option("--out", metavar="FILE.parquet", help="Write what was found, a row each.")
@click.option("--quiet", is_flag=True, help="No progress.")
@workspace_option
@json_option
def contamination(
    dataset: str,
    benchmarks: tuple[str, ...],
    columns: tuple[str, ...],
    ngram: float | None,
    reworded: float | None,
    embedding: str | None,
    split: str,
    benchmark_split: str,
    examples: int,
    out: str | None,
    quiet: bool,
    workspace: str,
    as_json: bool,
) -> None:
    """How far DATASET stands on benchmarks: whole items, edited ones, reworded ones.

    DATASET is a published one (name, name@version, folder: its kept problems), or anybody's: a file (.parquet, .jsonl, also
    .zst, .gz), a folder, a name on the Hub. Of a file the question and all turns of a chat are looked at, or --column.

    BENCHMARK is a shipped name (gsm8k, math500, aime24, ...: from the Hub), or a file, folder or Hub name, also NAME=PATH.

    \b
    cuvee contamination demo gsm8k math500
    cuvee contamination somebodys.parquet aime=aime24.parquet --column question --column solution
    cuvee contamination org/set mine=exam.jsonl --embedding none --out found.parquet
    """
    with mistakes():
        from curation.progress import Progress
        from flows.contaminated import check, show

        settings: dict[str, Any] = {"ngram": ngram, "reworded": reworded}
        settings = {name: value for name, value in settings.items() if value is not None}
        if embedding is not None:
            settings["embedding"] = None if embedding in ("none", "null") else embedding
        told = check(
            dataset,
            benchmarks,
            workspace,
            columns=columns,
            settings=settings,
            split=split,
            benchmark_split=benchmark_split,
            out=out,
            progress=Progress(quiet=quiet),
        )
        if as_json:
            click.echo(json_text(told))
        else:
            show(terminal(), told, examples)
