"""`cuvee merge`."""

from pathlib import Path

import click

from flows.telling import json_option, json_text, mistakes, say, terminal, workspace_option


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL ...")
@click.option("--out", required=True, metavar="DIR", help="A new folder for the result.")
@click.option(
    "--weight",
    "weights",
    multiple=True,
    type=float,
    metavar="SHARE",
    help="Of two models the share of the first; else one a model, in their order. Equal shares by default.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
@workspace_option
@json_option
def merge(
    models: tuple[str, ...], out: str, weights: tuple[float, ...], quiet: bool, workspace: str, as_json: bool
) -> None:
    """Average the weights of models, as Kimi k1.5 does with a long-CoT and a short-CoT model.

    MODEL is a folder, a Hub name, or RECIPE:STAGE, the model that the stage has trained. All have to be of one architecture
    and one tokenizer; config, tokenizer and chat template are the first's.

    \b
    cuvee merge my.yaml:long my.yaml:short --out merged
    cuvee merge long short --out merged --weight 0.7        0.7 of long, 0.3 of short
    """
    with mistakes():
        from curation.progress import Progress
        from train.merge import MergeError
        from train.merge import merge as average

        if len(weights) == 1 and len(models) == 2:
            if not 0 < weights[0] < 1:
                raise MergeError(
                    f"--weight: {weights[0]:g} is no share of the first of two models; give one between 0 and 1"
                )
            weights = (weights[0], 1 - weights[0])
        folders = [_folder(name, workspace) for name in models]
        shares = weights or (1.0,) * len(models)
        merged = average(folders, shares, Path(out).expanduser(), Progress(quiet=quiet), models)
    if as_json:
        click.echo(json_text({"model": str(merged.folder), "tensors": merged.tensors, "notes": merged.notes}))
        return
    console = terminal()
    for note in merged.notes:
        say(console, f"warning: {note}")
    say(console, f"{merged.tensors} tensors of {len(models)} models: {merged.folder}")


def _folder(name: str, workspace: str) -> Path:
    """Where a model lies; a Hub model is downloaded. Raises MergeError, and what a recipe and the Hub raise."""
    from curation.model import HUB_NAME
    from flows.named import staged
    from train.merge import MergeError

    if (folder := Path(name).expanduser()).is_dir():
        return folder
    if (found := staged(name)) is not None:
        from curation.store import Store
        from flows.recipe import load
        from flows.train import trained

        recipe, stage = found
        loaded = load(recipe)
        there = ", ".join(loaded.training.stages) or "none"
        if stage is None:
            raise MergeError(f"{recipe} is a recipe; say which of its stages: {recipe}:STAGE (it has {there})")
        if stage not in loaded.training.stages:
            raise MergeError(f"{recipe} has no stage {stage!r}; it has {there}")
        if (model := trained(Store(workspace), loaded, stage)) is None:
            raise MergeError(f"{name} is not trained yet in {workspace}: cuvee train {name}")
        return model
    if not HUB_NAME.fullmatch(name):
        raise MergeError(f"{name!r} is neither a folder here, nor a Hub name (ORG/NAME), nor RECIPE:STAGE")
    from flows.hub import quieten, told

    quieten()
    with told(name, MergeError):
        from huggingface_hub import snapshot_download

        from train.merge import COPIED

        return Path(snapshot_download(name, allow_patterns=[*COPIED, "*.safetensors"]))
