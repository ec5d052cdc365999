"""`cuvee verify`."""

import click

from flows.telling import FAILED, end, json_option, json_text, mistakes, pairs, terminal, workspace_option


@click.command()
@click.argument("file")
@click.option(
    "--verifier", default="math", show_default=True, metavar="NAME", help="Of rows that name none themselves (below)."
)
@click.option("--answer", metavar="COL", help="The column of reference answers.")
@click.option("--completion", metavar="COL", help="The column of completions: text, chat messages, or a list.")
@click.option("--label", metavar="COL", help="The column that says which are right: true or false, 1 or 0.")
@click.option("--no-label", is_flag=True, help="No column holds labels.")
@click.option("--args", "args_", metavar="COL", help="The column of the verifier's arguments (JSON objects).")
@click.option("--out", metavar="FILE.parquet", help="Write the rows with outcome, extracted and reason.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that grade; by default one a CPU.")
@click.option(
    "--judge", metavar="MODEL", help="A model that grades too: a key of --recipe, URL#NAME, a folder, a Hub name."
)
@click.option("--recipe", metavar="RECIPE", help="Where --judge names a model.")
@click.option("--judging", multiple=True, metavar="NAME=VALUE", help="How it judges: --judging twice=true")
@click.option("--quiet", is_flag=True, help="No progress.")
@workspace_option
@json_option
def verify(
    file: str,
    verifier: str,
    answer: str | None,
    completion: str | None,
    label: str | None,
    no_label: bool,
    args_: str | None,
    out: str | None,
    workers: int | None,
    judge: str | None,
    recipe: str | None,
    judging: tuple[str, ...],
    quiet: bool,
    workspace: str,
    as_json: bool,
) -> None:
    """Grade the completions in FILE, and say how far the verdicts agree with its labels.

    FILE is JSON Lines (also .zst, .gz) or Parquet with a row an answer and its completion, or a list of completions. Columns
    with usual names are found. A label column, when there is one, says which completions are right.

    Verifiers: math, exact, choice, reasoning-gym, code, instructions. The last three need no answer column.

    Of chat messages, the completion is the assistant's last one.

    \b
    cuvee verify rollouts.jsonl
    cuvee verify old.parquet --answer gold --completion text --label score --out graded.parquet
    cuvee verify labelled.jsonl --judge http://host:8000/v1#qwen3-8b --judging twice=true
    cuvee verify labelled.jsonl --judge judge --recipe my.yaml --judging kind=quality --judging "rubric=It is polite."

    A judge is a model that decides what rules cannot. Its false accepts and false rejects are told beside the verifier's,
    and put on record in the workspace: a dataset that it has graded can then say how far it is to be trusted.

    A judge's settings: kind (equivalence, quality or score), rubric, accept (the least score that is correct), twice,
    reasoning, max_tokens, max_characters.

    \b
    Exit codes: 0  graded
                1  there was nothing to grade, every verdict is an error, or it failed
                2  the command or the file is wrong: nothing was graded
    """
    with mistakes():
        from curation.progress import Progress
        from flows.judged import JudgeAsked
        from flows.verified import show
        from flows.verifying import verify as grade

        if no_label and label is not None:
            raise click.UsageError("--label and --no-label contradict each other; give one")
        if judge is None and (recipe is not None or judging):
            raise click.UsageError("--recipe and --judging are about a judge; name it with --judge")
        asked = None if judge is None else JudgeAsked(judge, recipe, pairs("--judging", judging))
        told = grade(
            file,
            workspace,
            verifier=verifier,
            columns={"answer": answer, "completion": completion, "label": label, "args": args_},
            labels=not no_label,
            out=out,
            workers=workers,
            judge=asked,
            progress=Progress(quiet=quiet),
        )
        if as_json:
            click.echo(json_text(told))
        else:
            show(terminal(), told)
        graders = (told, told.get("judge", {"verdicts": {}}))
        if not any(of["correct"] + of["wrong"] for grader in graders for of in grader["verdicts"].values()):
            there = (
                f"all {told['completions']:,} verdicts are errors" if told["completions"] else "no completion is there"
            )
            end(FAILED, f"error: nothing was graded: {there}")
