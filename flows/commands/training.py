"""`cuvee train`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from curation.inspect.visible import visible
from flows.telling import find, json_option, json_text, mistakes, pairs, terminal, workspace_option

ON = "Run the same command again: it goes on from the last whole checkpoint, or anew where there is none."


@click.command()
@click.argument("recipe", metavar="RECIPE[:STAGE]")
@workspace_option
@click.option("--dataset", metavar="NAME[@VERSION]", help="Train on this dataset; by default the recipe's newest.")
@click.option(
    "--evaluate/--no-evaluate",
    "judge",
    default=None,
    help="Say at the end what the model solves, before and after; by default where the recipe has a section `evaluate`.",
)
@click.option("--dry-run", is_flag=True, help="Look at everything, train nothing.")
@click.option("--out", metavar="DIR", help="The run's folder; by default in the workspace, under runs/.")
@click.option(
    "--accelerate",
    metavar="NAME|FILE",
    help="Launch through accelerate: multi_gpu, fsdp2, zero3, ... (TRL's configurations), or a file of yours. By default "
    "multi_gpu where there are several GPUs.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value: --set train.sft.epochs=1"
)
@click.option(
    "--overlay", "overlays", multiple=True, metavar="NAME", help="Change it by a file, or a shipped one: --overlay tiny"
)
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def train(
    recipe: str,
    workspace: str,
    dataset: str | None,
    judge: bool | None,
    dry_run: bool,
    out: str | None,
    accelerate: str | None,
    overrides: tuple[str, ...],
    overlays: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a stage of RECIPE on the dataset that it published; without STAGE all of them, in order.

    Before a step is paid for you see every setting and where it comes from, rows with what is trained of them, lengths, and
    whether memory and disk will do. A stage that was stopped, by whatever means, goes on from its last checkpoint with the
    same order of rows: run the same command again. One that is done is not trained again.

    \b
    cuvee train demo:sft --dry-run          look, and stop there
    cuvee train demo:sft
    cuvee train my.yaml                     every stage, each on the model of the one before
    cuvee train my.yaml:dpo --set train.dpo.beta=0.2
    cuvee train my.yaml:rl --set train.rl.group=8
    cuvee train my.yaml:sft --accelerate fsdp2
    """
    with mistakes(ON):
        from curation.progress import Progress
        from flows.named import staged
        from flows.preflighted import show as show_preflight
        from flows.recipe import load
        from flows.train import config, looked_at, prepare
        from flows.train import train as start
        from flows.trained import outcome, show_outcome, show_settings
        from train.memory import machine
        from train.run import MODEL

        path, wanted = staged(recipe) or (recipe, None)
        loaded = load(path, pairs("--set", overrides), overlays)
        stages = [*loaded.training.stages]
        if not stages:
            raise click.UsageError(f"{path} has no training stage; give it one: train: {{sft: {{set: sft}}}}")
        if wanted and wanted not in stages:
            raise click.UsageError(f"{path} has no stage {wanted!r}; it has {', '.join(stages)}")
        if out is not None and not wanted and len(stages) > 1:
            raise click.UsageError(f"--out: say which stage: {path}:{stages[0]}")
        if accelerate is not None:
            config(accelerate)  # told before the set is looked at
        published = find(dataset or loaded.recipe.name, workspace)
        progress, console, told = Progress(quiet=quiet), terminal(), dict[str, Any]()
        devices, made = machine(), dict[str, Path]()
        for name in [wanted] if wanted else stages:
            prepared = prepare(loaded, name, published, devices, out, made, stand_in=dry_run)
            seen = looked_at(prepared, progress)
            told[name] = {"settings": [one._asdict() for one in prepared.resolved.settings], "preflight": seen.record()}
            if not as_json:
                show_settings(console, prepared)
                show_preflight(console, seen)
            seen.check()
            if dry_run:
                continue
            run = start(prepared, progress, accelerate)
            made[name] = run.folder / MODEL
            told[name] |= outcome(run)
            if not as_json:
                console.print()
                show_outcome(console, name, run)
        if not dry_run and (judge if judge is not None else loaded.recipe.evaluate is not None):
            told["evaluation"] = _evaluated(loaded, made, published, progress, console, as_json)
        if as_json:
            click.echo(json_text(told))


def _evaluated(
    loaded: Any, made: Mapping[str, Path], published: Any, progress: Any, console: Any, quietly: bool
) -> Any:
    """What the student solves before and after the stages."""
    from flows.evaluated import show
    from flows.evaluating import BASE, evaluate_recipe, folder_for, student, trained
    from train.evaluate import write

    store = published.store
    models = {BASE: student(loaded)}
    for name, folder in made.items():
        if loaded.training.stages[name].ANSWERS:
            models[name] = trained(loaded, folder)
    with store.locked():
        data = evaluate_recipe(loaded, models, store, dataset=published, progress=progress)
    data |= {"unfinished": []}
    data["files"] = [str(file) for file in write(folder_for(data, store.root), data)]
    if not quietly:
        console.print()
        show(console, data)
    for warning in data["warnings"]:
        click.echo(f"warning: {visible(warning)}", err=True)
    return {key: value for key, value in data.items() if key != "samples"}
