"""`cuvee evaluate`: which models are meant, what they are asked, and where the results go.

a recipe           its student, as `base`, and the newest model of every stage that is finished
RECIPE:STAGE       that stage's
a folder, a Hub name, http://host:8000/v1#NAME
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curation.model import HUB_NAME, Model, identity
from curation.progress import Progress
from curation.prompt import Prompt
from curation.publish import Dataset, find
from curation.source import KINDS, Source
from curation.store import Store, settings_hash
from distill.student import Student
from flows.named import named, staged
from flows.recipe import Loaded, load, shipped_names
from train.evaluate import asked_as
from train.evaluate import evaluate as measure
from train.evaluation.settings import GRADED, MATH, Evaluation
from train.evaluation.tasks import tasks
from train.run import newest

BASE = "base"
SECTION = "evaluate"
"""Of a recipe: settings of its evaluation."""


class EvaluationRefused(ValueError):
    """Models cannot be evaluated as asked; nothing was asked of them."""


@dataclass
class Asked:
    """What a command comes to."""

    models: dict[str, Model] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    """Chat templates that models are served with, by their name here."""
    loaded: Loaded | None = None
    """The recipe that says what is asked."""
    unfinished: list[str] = field(default_factory=list)
    """Stages of recipes that were named, and that have no model yet."""


def evaluate(
    what: Sequence[str],
    workspace: str,
    *,
    recipe: str | None = None,
    on: Sequence[str] = (),
    overrides: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    retry_errors: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluates models, as plain data.

    what: as above. recipe: says what is asked, where that is not one of `what`. on: further tasks, NAME=FILE, NAME=HUB, or the
    name of a shipped benchmark. overrides: of the recipe. settings: of the evaluation, over the recipe's.
    Raises EvaluationRefused, and what a recipe, a dataset, a task or a model raises.
    """
    store = Store(workspace)
    asked = resolve(what, store, recipe, overrides or {})
    chosen = settings_of(asked.loaded, {**(settings or {}), **_with_tasks(asked.loaded, on)})
    for model in asked.models.values():
        identity(model)  # one that cannot be identified is told before any is asked
    progress = progress if progress is not None else Progress()
    with store.locked():
        data = _evaluate(asked.loaded, asked.models, asked.templates, chosen, store, None, retry_errors, progress)
    return data | {"unfinished": asked.unfinished}


def evaluate_recipe(
    loaded: Loaded,
    models: Mapping[str, Model],
    store: Store,
    *,
    dataset: Dataset | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluates models as a recipe says, for a command that has its workspace locked: {"base": ..., "sft": ...}.

    Models are asked as the recipe's student is. `student(loaded)` gives that, and `trained(loaded, folder)` one that was
    trained from it. dataset: whose held-out problems are asked; by default the recipe's newest.
    """
    templates = {name: template for name in models if name == BASE and (template := _template(loaded)) is not None}
    progress = progress if progress is not None else Progress()
    return _evaluate(loaded, models, templates, settings_of(loaded, settings or {}), store, dataset, False, progress)


def _evaluate(
    loaded: Loaded | None,
    models: Mapping[str, Model],
    templates: Mapping[str, str],
    settings: Evaluation,
    store: Store,
    dataset: Dataset | None,
    retry_errors: bool,
    progress: Progress,
) -> dict[str, Any]:
    held_out = any(not isinstance(task, Source) for task in settings.tasks.values())
    if dataset is None and loaded is not None and held_out:
        dataset = find(store, loaded.recipe.name)
    data = measure(
        models,
        tasks(settings, dataset, store, progress),
        settings,
        store,
        chat_template=templates,
        judge=None if loaded is None else loaded.judge,
        retry_errors=retry_errors,
        progress=progress,
    )
    return data | {
        "recipe": None if loaded is None else loaded.recipe.name,
        "dataset": None if dataset is None or not held_out else dataset.ref,
    }


# ---- models


def student(loaded: Loaded) -> Model:
    """The recipe's student, asked as the sets put problems to it; without one the policy of its RL. Raises EvaluationRefused."""
    policy = loaded.training.policy
    if loaded.wanted.student is None and loaded.training.stages and policy is not None:
        model = loaded.recipe.models[policy.model]
        return asked_as(model, model.prompt.merged(policy.prompt))
    name = _student(loaded).model
    return asked_as(loaded.recipe.models[name], _prompt(loaded))


def trained(loaded: Loaded, folder: Path) -> Model:
    """What the student became, in a folder; served as the student is."""
    return student(loaded).model_copy(update={"model": str(folder), "url": None, "revision": None})


def resolve(what: Sequence[str], store: Store, recipe: str | None, overrides: Mapping[str, str]) -> Asked:
    """The models that are meant. Raises EvaluationRefused."""
    places = [(given, *_recipe(given)) for given in what]
    names = [*([] if recipe is None else [recipe]), *(name for _, name, _ in places if name is not None)]
    recipes = {name: load(name, overrides) for name in dict.fromkeys(names)}
    asked = Asked(loaded=recipes[names[0]] if names else None)
    for given, name, stage in places:
        if name is None:
            model = _by_address(named("WHAT", given, recipe), given, store)
            if asked.loaded is not None and asked.loaded.wanted.student is not None:
                model = asked_as(model, _prompt(asked.loaded))
            _add(asked, given if (called := _called(given)) in asked.models else called, model)
            continue
        loaded = recipes[name]
        before = "" if loaded is asked.loaded else f"{loaded.recipe.name}:"
        if stage in (None, BASE):
            _add(asked, before + BASE, student(loaded))
            if (template := _template(loaded)) is not None:
                asked.templates[before + BASE] = template
        _add_stages(asked, loaded, stage, store, before)
    return asked


def _add_stages(asked: Asked, loaded: Loaded, stage: str | None, store: Store, before: str) -> None:
    """The finished stages of a recipe: all of them, or the one that is named."""
    stages = {name: one for name, one in loaded.training.stages.items() if one.ANSWERS}
    name = loaded.recipe.name
    if stage not in (None, BASE, *stages):
        silent = " (a reward model answers no problems)" if stage in loaded.training.stages else ""
        raise EvaluationRefused(
            f"{name}:{stage}: is no stage of {name} that can be evaluated{silent}; there are {', '.join((BASE, *stages))}"
        )
    for one in stages if stage is None else [stage] if stage in stages else []:
        assert one is not None
        folder = newest(store.root, name, one)
        if folder is not None:
            _add(asked, before + one, trained(loaded, folder))
        elif stage is None:
            asked.unfinished.append(f"{loaded.given}:{one}")
        else:
            raise EvaluationRefused(
                f"{loaded.given}:{one}: the stage is not finished here; `cuvee train {loaded.given}:{one}` trains it"
            )


def _by_address(model: Model, given: str, store: Store) -> Model:
    """A model that is named by its server's address has that for its revision: others serve others by the same name."""
    if model.url is None or not given.startswith(("http://", "https://")):
        return model
    store.warn(
        f"{given}: nobody says which weights it serves; its samples are filed under this address, and asked again they are "
        "the same. Name it in a recipe (`models`, with a `revision`) where that changes"
    )
    return model.model_copy(update={"revision": given.partition("#")[0]})


def _add(asked: Asked, name: str, model: Model) -> None:
    if name in asked.models:
        raise EvaluationRefused(f"{name}: is named twice; every model is evaluated once")
    asked.models[name] = model


def _recipe(given: str) -> tuple[str | None, str | None]:
    """The recipe and the stage that are meant; no recipe where it is a model."""
    if (found := staged(given)) is not None:
        return found
    if given.startswith(("http://", "https://")) or Path(given).expanduser().is_dir() or HUB_NAME.fullmatch(given):
        return None, None
    raise EvaluationRefused(
        f"{given!r} is none of these: a recipe (a .yaml file, or one of {', '.join(shipped_names())}), RECIPE:STAGE, a "
        "folder with a model, a Hub name (org/name), http://host:port/v1#NAME"
    )


def _called(given: str) -> str:
    """A short name of a model that is named by a folder, a Hub name or a URL."""
    if given.startswith(("http://", "https://")):
        return given.partition("#")[2] or given
    folder = Path(given).expanduser()
    if not folder.is_dir():
        return given
    folder = folder.resolve()
    # A run's model lies in a folder `model`, which says nothing.
    return f"{folder.parts[-3]}/{folder.parts[-2]}" if folder.name == "model" and len(folder.parts) > 3 else folder.name


def _student(loaded: Loaded) -> Student:
    if loaded.wanted.student is None:
        raise EvaluationRefused(
            f"{loaded.recipe.name}: has no student; add `student: {{model: NAME}}`, or name the model to evaluate"
        )
    return loaded.wanted.student


def _prompt(loaded: Loaded) -> Prompt:
    """How the sets put problems to the student."""
    found = _student(loaded)
    return Prompt(system=found.system, template=found.template)


def _template(loaded: Loaded) -> str | None:
    return None if loaded.wanted.student is None else loaded.wanted.student.chat_template


# ---- settings


def settings_of(loaded: Loaded | None, changes: Mapping[str, Any]) -> Evaluation:
    """The recipe's settings, changed. Raises EvaluationRefused."""
    given = {} if loaded is None else dict(loaded.resolved.get(SECTION) or {})
    try:
        return Evaluation.model_validate({**given, **changes})
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"])
        said = wrong["msg"].removeprefix("Value error, ")
        raise EvaluationRefused(f"{SECTION}{'.' if where else ''}{where}: {said}") from error


def _with_tasks(loaded: Loaded | None, on: Sequence[str]) -> dict[str, Any]:
    """The tasks of a recipe, and further ones."""
    if not on:
        return {}
    section = {} if loaded is None else dict(loaded.resolved.get(SECTION) or {})
    given = dict(section.get("tasks") or ({"test": {}} if loaded is not None else {}))
    for text in on:
        name, equals, where = text.partition("=")
        if not equals and text not in GRADED:
            raise EvaluationRefused(
                f"--on: {text!r} is not of the form NAME=FILE or NAME=org/name, nor one of {', '.join(GRADED)}"
            )
        given[name] = {} if not equals else _source(name, where)
    return {"tasks": given}


def _source(name: str, where: str) -> dict[str, Any]:
    if where.endswith(".parquet"):
        return {"parquet": where, "verifier": MATH}
    if where.endswith((".jsonl", ".jsonl.zst", ".jsonl.gz")):
        return {"jsonl": where, "verifier": MATH}
    if HUB_NAME.fullmatch(where) or Path(where).expanduser().is_dir():
        return {"hf": where, "split": "test", "verifier": MATH}
    raise EvaluationRefused(
        f"--on: {name}={where}: is no file (.parquet, .jsonl, .jsonl.zst, .jsonl.gz), folder or Hub name; a recipe's "
        f"`{SECTION}.tasks` takes any source ({', '.join(KINDS)})"
    )


def folder_for(data: Mapping[str, Any], workspace: str) -> Path:
    """Where results go that nobody gave a place: <workspace>/evaluations/<recipe or model>/<hash of what was asked>."""
    store = Store(workspace)
    name = str(data["recipe"] or next(iter(data["models"]))).replace("/", "-")
    asked = {key: data[key] for key in ("settings", "models", "tasks", "dataset")}
    root = Path(store.root) if store.local else Path()
    return root / "evaluations" / name / settings_hash(asked)
