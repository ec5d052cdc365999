"""The command line. Importing it is quick; each command imports what it needs."""

import io
import sys

import click

from flows.commands.contamination import contamination
from flows.commands.deciding import diff, sweep
from flows.commands.evaluating import evaluate
from flows.commands.export import export
from flows.commands.importing import import_
from flows.commands.looking import inspect, why
from flows.commands.merging import merge
from flows.commands.push import push
from flows.commands.recipes import recipes
from flows.commands.running import plan, run
from flows.commands.tags import tags
from flows.commands.training import train
from flows.commands.verifying import verify


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


for command in (
    run,
    plan,
    sweep,
    diff,
    inspect,
    why,
    import_,
    verify,
    train,
    merge,
    evaluate,
    contamination,
    tags,
    export,
    push,
    recipes,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
