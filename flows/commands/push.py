"""`cuvee push`."""

import click

from flows.telling import find, json_option, json_text, mistakes, say, terminal, workspace_option


@click.command()
@click.argument("dataset")
@click.argument("repository", metavar="ORG/NAME")
@click.option("--public", is_flag=True, help="Anybody may read it. A new repository is private otherwise.")
@click.option("--decisions", is_flag=True, help="Send decisions.parquet too: every problem, also those not kept.")
@click.option("--quiet", is_flag=True, help="No progress.")
@workspace_option
@json_option
def push(
    dataset: str, repository: str, public: bool, decisions: bool, quiet: bool, workspace: str, as_json: bool
) -> None:
    """Send DATASET to the repository ORG/NAME on the Hub, its version as a tag.

    DATASET is a name (its newest version), name@version, or a folder. Sets, card and manifest are sent. Pushing what is
    there changes nothing; a push that was stopped goes on with the same command. Needs a token that may write: `hf auth
    login`, or HF_TOKEN.

    \b
    cuvee push demo my-org/demo
    cuvee push demo@2026-11-22.1 my-org/demo --public
    """
    with mistakes("What has arrived is not sent again: run the same command again to go on."):
        from dataclasses import asdict

        from curation.progress import Progress
        from flows.pushing import push as send

        pushed = send(find(dataset, workspace), repository, public, decisions, Progress(quiet=quiet))
    if as_json:
        click.echo(json_text(asdict(pushed)))
        return
    console = terminal()
    who = "private" if pushed.private else "public"
    say(console, f"{pushed.files} files, {who}: {pushed.url}" if pushed.sent else f"all of it is there: {pushed.url}")
    say(console, f'datasets.load_dataset("{repository}", revision="{pushed.version}")')
