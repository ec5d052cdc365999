"""`cuvee evaluate`."""

from typing import Any

import click

from curation.inspect.visible import visible
from flows.telling import FAILED, end, json_option, json_text, mistakes, pairs, terminal, workspace_option


@click.command()
@click.argument("what", nargs=-1, required=True)
@click.option("--recipe", metavar="RECIPE", help="What is asked, and how, where WHAT is models.")
@click.option(
    "--on", multiple=True, metavar="NAME=FILE|HUB", help="Ask this as well; a shipped benchmark: --on math500"
)
@click.option("-n", "--samples", type=click.IntRange(1, 1024), help="Samples a problem; 4 unless the recipe says.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Length at which an answer is cut off, and wrong.")
@click.option("--temperature", type=click.FloatRange(min=0), help="0 is greedy, with one sample a problem.")
@click.option("--budgets", metavar="0,64,none", help="Compare thinking budgets, in tokens: 0 for no thinking at all.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of the recipe.")
@click.option("--retry-errors", is_flag=True, help="Grade again the samples that a grader failed at.")
@click.option("--out", metavar="DIR", help="Where results and plots go; by default in the workspace.")
@click.option("--quiet", is_flag=True, help="No progress.")
@workspace_option
@json_option
def evaluate(
    what: tuple[str, ...],
    recipe: str | None,
    on: tuple[str, ...],
    samples: int | None,
    max_tokens: int | None,
    temperature: float | None,
    budgets: str | None,
    overrides: tuple[str, ...],
    retry_errors: bool,
    out: str | None,
    quiet: bool,
    workspace: str,
    as_json: bool,
) -> None:
    """Ask models problems that they were not trained on, and say how many they solve, with intervals.

    WHAT is a recipe (its student, as `base`, and every stage that is trained), RECIPE:STAGE, a folder with a model, a Hub
    name, or http://host:8000/v1#NAME. Of several, each is compared with the one before it, problem by problem.

    Asked are the problems that the recipe's dataset holds out, or what its section `evaluate` says. The samples lie in the
    workspace as all others do: with more of them (-n), or a longer limit, only what is missing is drawn.

    \b
    cuvee evaluate my.yaml                               base and every stage, on the held-out problems
    cuvee evaluate my.yaml:sft --on aime24 -n 32
    cuvee evaluate my.yaml --budgets 0,256,1024,none     accuracy against thinking
    cuvee evaluate Qwen/Qwen3-0.6B --on mine=exam.jsonl

    Problems of --on FILE are found in columns with usual names, and graded by `math` where no column `verifier` says otherwise.

    \b
    Exit codes: 0  evaluated
                1  no answer could be graded, or it failed
                2  the command or the recipe is wrong: nothing was asked
    """
    with mistakes("The samples are in the workspace: run the same command again to go on."):
        from pathlib import Path

        from curation.progress import Progress
        from flows.evaluated import show
        from flows.evaluating import evaluate as run
        from flows.evaluating import folder_for
        from train.evaluate import write

        if out is not None and Path(out).is_file():
            raise click.UsageError(f"--out: {out} is a file, not a folder")
        settings: dict[str, Any] = {"n": samples, "max_tokens": max_tokens, "temperature": temperature}
        settings |= {"budgets": None if budgets is None else _budgets(budgets)}
        data = run(
            what,
            workspace,
            recipe=recipe,
            on=on,
            overrides=pairs("--set", overrides),
            settings={name: value for name, value in settings.items() if value is not None},
            retry_errors=retry_errors,
            progress=Progress(quiet=quiet),
        )
        files = write(Path(out) if out is not None else folder_for(data, workspace), data)
        for warning in data["warnings"]:
            click.echo(f"warning: {visible(warning)}", err=True)
        if as_json:
            whole = {key: value for key, value in data.items() if key != "samples"}
            click.echo(json_text(whole | {"files": [str(file) for file in files]}))
        else:
            show(terminal(), data | {"files": [str(file) for file in files]})
        if not any(result["known"] for result in data["results"]):
            end(FAILED, "error: no answer could be graded")


def _budgets(given: str) -> list[int | None]:
    found: list[int | None] = []
    for text in given.split(","):
        if text.strip() == "none":
            found.append(None)
        elif text.strip().isdecimal():
            found.append(int(text))
        else:
            raise click.UsageError(f"--budgets: {text!r} is neither a number of tokens nor none")
    return found
