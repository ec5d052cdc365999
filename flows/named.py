"""Models, recipes and stages as a command names them."""

from collections.abc import Mapping
from pathlib import Path

from curation.model import HUB_NAME, Model
from flows.recipe import load, shipped_names


class ModelNotNamed(ValueError):
    """What was given is no model."""


def named(option: str, given: str, recipe: str | None) -> Model:
    """The model that is a key under `models` of a recipe, http://host:port/v1#name, a folder, or a Hub name.

    option: the command's, for the error. Raises ModelNotNamed, and what a recipe raises.
    """
    keys: Mapping[str, Model] = load(recipe).recipe.models if recipe is not None else {}
    if given in keys:
        return keys[given]
    if given.startswith(("http://", "https://")):
        url, _, name = given.partition("#")
        if not name:
            raise ModelNotNamed(f"{option}: say what the server calls the model: {url}#NAME")
        return Model(model=name, url=(url,))
    if Path(given).expanduser().is_dir() or HUB_NAME.fullmatch(given):
        return Model(model=given)
    of = f"a model of {recipe} ({', '.join(keys) or 'it has none'})" if recipe else "a model of a --recipe"
    raise ModelNotNamed(f"{option}: {given!r} is neither {of}, nor http://host:port/v1#name, a folder or a Hub name")


def staged(given: str) -> tuple[str, str | None] | None:
    """The recipe and the stage that RECIPE[:STAGE] names; None where it names no recipe that is there."""
    for recipe, stage in ((given, None), given.rpartition(":")[::2]):
        if recipe and (recipe in shipped_names() or Path(recipe).expanduser().is_file()):
            return recipe, stage
    return None
