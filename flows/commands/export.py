"""`cuvee export`."""

from typing import TYPE_CHECKING

import click

from flows.telling import find, json_option, json_text, mistakes, say, terminal, workspace_option

if TYPE_CHECKING:
    from rich.console import Console

    from train.export.write import Exported

NAMES = ("verl", "openrlhf", "nemo-rl", "trl", "jsonl")


@click.command()
@click.argument("dataset")
@click.option("--to", "target", required=True, type=click.Choice(NAMES), help="Who trains on it.")
@click.argument("out", metavar="OUT", type=click.Path())
@click.option("--set", "only", metavar="NAME", help="Only this set; by default all that the trainer takes.")
@click.option(
    "--asked",
    metavar="PLACE",
    help="How RL problems are put to the model: as an annotator that samples puts them (by default the first pass_rate), or "
    "`student`, as the SFT sets do.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
@workspace_option
@json_option
def export(
    dataset: str,
    target: str,
    out: str,
    only: str | None,
    asked: str | None,
    quiet: bool,
    workspace: str,
    as_json: bool,
) -> None:
    """Write DATASET to the folder OUT as another trainer takes it: data, reward, and what starts the training.

    DATASET is a name (its newest version), name@version, or a folder. Every set gets a folder: data/train and data/test in the
    trainer's form, launch.sh with the recipe's settings as the trainer calls them, and for RL reward.py, which grades with the
    graders that curated the data. Rows that the trainer cannot hold are left out, and you see how many and why.

    OUT appears whole or not at all. An export of the same dataset is replaced, anything else is never touched.

    \b
    cuvee export demo --to verl /shared/demo-verl
    bash /shared/demo-verl/rl/launch.sh                      NODES=4 GPUS=8 MODEL=... in front of it
    cuvee export demo --to trl out --set sft
    cuvee export demo --to verl out --asked student          RL that goes on from SFT
    """
    with mistakes():
        from curation.progress import Progress
        from train.export.targets import TARGETS
        from train.export.write import export as write
        from train.export.write import told

        done = write(find(dataset, workspace), TARGETS[target], out, only, asked, Progress(quiet=quiet))
        if as_json:
            sets = {name: told(one) for name, one in done.sets.items()}
            found = {"folder": done.folder, "target": done.target, "dataset": done.dataset, "asked": done.asked.place}
            click.echo(json_text(found | {"sets": sets, "skipped": done.skipped, "replaced": done.replaced}))
            return
        _show(terminal(), done)


def _show(console: "Console", done: "Exported") -> None:
    if done.replaced is not None:
        say(console, f"replaced the export of {done.replaced} that was there")
    for name, one in done.sets.items():
        rows = ", ".join(f"{rows:,} in {split}" for split, rows in one.rows.items())
        left_out = f"; {one.left_out.total():,} left out" if one.left_out else ""
        say(console, f"{name}: {rows}{left_out}")
        for why, count in one.left_out.most_common():
            say(console, f"  {count:,} left out: {why}; the first is {one.examples[why]}")
        for note in one.notes:
            say(console, f"  {note}")
    for name, why in done.skipped.items():
        say(console, f"{name} is not exported: {why}")
    if done.asked.place and any(one.verifiers for one in done.sets.values()):
        say(console, f"problems are asked as {done.asked.place} asks them")
    say(console, f"{done.dataset} for {done.version}: {done.folder}/README.md")
