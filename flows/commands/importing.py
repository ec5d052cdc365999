"""`cuvee import`."""

import click

from curation.inspect.visible import visible
from flows.telling import AGAIN, json_option, json_text, mistakes, pairs, say, terminal, workspace_option


@click.command("import")
@click.argument("recipe")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--as", "model", required=True, metavar="MODEL", help="Which of the recipe's models drew them.")
@click.option("--like", metavar="KEY", help="They were drawn as this annotator of the recipe draws: settings, prompt.")
@click.option(
    "--drawn", multiple=True, metavar="NAME=VALUE", help="A setting they were drawn with: --drawn temperature=1.0"
)
@click.option(
    "--layout",
    metavar="NAME",
    help="verl, trl, open-r1, vllm, openthoughts, s1, s1-deepseek, s1-gemini, limo or plain; told by the columns unless given.",
)
@click.option(
    "--column", "columns", multiple=True, metavar="FIELD=SQL", help="Where a field is: SQL over the file's columns."
)
@click.option("--where", metavar="SQL", help="Which rows are read: a condition over the file's columns.")
@click.option(
    "--check",
    type=click.IntRange(0, 1_000_000),
    help="Compare so many of the file's scores with the recipe's verifier; 200 when there are scores.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of the recipe, as for `run`."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@workspace_option
@json_option
def import_(
    recipe: str,
    files: tuple[str, ...],
    model: str,
    like: str | None,
    drawn: tuple[str, ...],
    layout: str | None,
    columns: tuple[str, ...],
    where: str | None,
    check: int | None,
    overrides: tuple[str, ...],
    quiet: bool,
    workspace: str,
    as_json: bool,
) -> None:
    """Take rollouts that were drawn elsewhere as samples of a model of RECIPE.

    FILE is JSON Lines or Parquet (also .zst, .gz, globs) of verl, TRL, open-r1, vLLM, or anything with a prompt and a
    completion; or of OpenThoughts, s1K or LIMO, of which the thinking is told from the answer. It may lie elsewhere: s3://, or
    hf://datasets/ORG/NAME/PATH on the Hub (it is read several times: download what is large). A checkpoint is a model of its
    own: give it a name under `models`.

    \b
    cuvee import my.yaml 'rollouts/*.jsonl' --as step_200 --like pass_rate
    cuvee import my.yaml completions_00010.parquet --as policy --drawn temperature=1.0 --drawn max_tokens=4096
    cuvee import my.yaml traces.parquet --as teacher --like pass_rate --where "model = 'r1'" \\
        --column completion=solution --column "prompt=meta->>'question'"
    cuvee import my.yaml requests.jsonl results.jsonl --as policy         what `vllm run-batch` read and wrote
    cuvee import my.yaml 'hf://datasets/simplescaling/s1K-1.1/data/*.parquet' --as r1 --drawn temperature=0.6 \\
        --drawn max_tokens=32768

    Samples are pooled only with those of equal model, prompt and sampling parameters. What the files say of these counts;
    what they do not say, --like or --drawn has to. Importing a file again adds nothing. Scores are not imported: the
    recipe's verifier grades when the recipe runs.

    \b
    Fields: problem_id, prompt, completion, reasoning, token_ids, tokens, prompt_tokens, finish_reason,
            score, model, step, engine, engine_version, dtype, drawn_at, and the names that --drawn takes:
            temperature, top_p, top_k, min_p, repetition_penalty, presence_penalty, frequency_penalty,
            thinking_budget, max_tokens
    """
    with mistakes(AGAIN):
        from curation.progress import Progress
        from flows.imported import show
        from flows.importing import import_rollouts
        from flows.recipe import load

        told = import_rollouts(
            load(recipe, pairs("--set", overrides)),
            workspace,
            files,
            model,
            like=like,
            drawn=pairs("--drawn", drawn),
            layout=layout,
            columns=pairs("--column", columns),
            where=where,
            check=check,
            progress=Progress(quiet=quiet),
        )
        for warning in told["warnings"]:
            click.echo(f"warning: {visible(warning)}", err=True)
        if as_json:
            click.echo(json_text(told))
            return
        console = terminal()
        for line in show(told, recipe):
            say(console, line)
