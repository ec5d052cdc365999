"""Recipes: one YAML file says what is read, measured, decided and built. All mistakes are found when it is loaded.

    load("demo"), load("my.yaml", overrides={"annotate.pass_rate.n": "8"})

`extends: NAME` inherits key by key; `null` removes a key, lists are replaced. Paths are relative to the recipe's file.
"""

import difflib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from curation import rules
from curation.annotate import Annotator
from curation.duplicates import Duplicates
from curation.form import Form
from curation.gold import Gold
from curation.model import Model, ModelError, check
from curation.pass_rate import PassRate
from curation.rules import Measured, Rule, RuleError
from curation.source import Source, SourceError
from curation.store import literal
from curation.verify import VERIFIERS

SHIPPED = Path(__file__).parent / "recipes"
ANNOTATORS: dict[str, type[Annotator]] = {a.NAME: a for a in (Form, Gold, Duplicates, PassRate)}
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
IDENTIFIER = r"[a-z][a-z0-9_]*"


class RecipeError(ValueError):
    """A recipe that cannot be used: every mistake found, each with its file, key, what was given and what is allowed."""

    def __init__(self, file: str, mistakes: list[str]) -> None:
        super().__init__("\n".join(f"{file}: {mistake}" for mistake in mistakes))


class RLSet(BaseModel):
    """The set that RL trains on: the problems that stay, with their measurements."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sets(BaseModel):
    """The sets to build, each a config of the dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rl: RLSet | None = None
    """Problems and their measurements, for RL."""


class Recipe(BaseModel):
    """A recipe as written; `steps` and `rules` are what it comes to."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=NAME)
    """Name of the recipe, its pool and its dataset."""
    seed: int = 0
    """The only seed: ties are broken by hash(seed, id)."""
    sources: dict[str, Source] = Field(min_length=1)
    """Where problems come from, in order of preference when duplicates meet."""
    max_rejected: float = Field(default=0.2, ge=0, le=1)
    """Share of a source's rows that may be unusable before reading fails."""
    models: dict[str, Model] = {}
    """Models by the name that annotators use."""
    annotate: dict[str, dict[str, Any] | None] = {}
    """Annotators in order: settings by the annotator's name, or by a prefix of one's own with `is: NAME`."""
    keep: dict[str, str] = {}
    """Rules by name: SQL conditions that a problem has to meet to stay."""
    allow_licenses: list[str] | None = None
    """Licences whose problems stay; those of unknown licence do not."""
    holdout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the problems set aside as split `test`, by hash of the cluster."""
    sets: Sets = Sets(rl=RLSet())
    """The sets to build."""
    differs: list[str] = []
    """What the paper does not say, or what is done otherwise here; it goes on the card."""

    @field_validator("sources", "models", "annotate", "keep")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        import re

        for key in value:
            if not re.fullmatch(IDENTIFIER, key):
                raise ValueError(f"{key!r} is no name; use small letters, digits and _, beginning with a letter")
        return value


@dataclass(frozen=True)
class AnnotatorStep:
    """An annotator at its place in the recipe."""

    key: str
    annotator: Annotator
    prefix: str

    @property
    def measured(self) -> Measured:
        columns = self.annotator.COLUMNS
        return Measured(
            key=self.key,
            columns=type(columns)([]) if not columns.names else _prefixed(columns, self.prefix),
            prefix=self.prefix,
            samples=getattr(self.annotator, "n", None),
            decides_duplicates=isinstance(self.annotator, Duplicates),
        )


def _prefixed(columns: Any, prefix: str) -> Any:
    import pyarrow as pa

    return pa.schema([field.with_name(prefix + field.name) for field in columns])


@dataclass(frozen=True)
class Loaded:
    """A recipe that passed every check."""

    recipe: Recipe
    steps: list[AnnotatorStep]
    rules: list[Rule]
    resolved: dict[str, Any]
    """The recipe as plain data, `extends` and overrides applied."""

    @property
    def yaml(self) -> str:
        return dump(self.resolved)


def dump(value: Mapping[str, Any]) -> str:
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 4096
    stream = io.StringIO()
    writer.dump(dict(value), stream)
    return stream.getvalue()


def load(recipe: str, overrides: Mapping[str, str] | None = None) -> Loaded:
    """The recipe in a file, or a shipped one by name. Raises RecipeError naming every mistake."""
    path = locate(recipe)
    raw = _inherited(path, ())
    raw.setdefault("name", path.stem)
    for key, text in (overrides or {}).items():
        _override(str(path), raw, key, text)
    return resolve(raw, str(path))


def locate(recipe: str) -> Path:
    """The file of a recipe given by path or by the name of a shipped one."""
    path = Path(recipe).expanduser()
    if path.is_file():
        return path.resolve()
    shipped = SHIPPED / f"{recipe}.yaml"
    if shipped.is_file():
        return shipped
    names = shipped_names()
    near = difflib.get_close_matches(recipe, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise RecipeError(recipe, [f"is neither a file nor a shipped recipe{hint} Shipped are: {', '.join(names)}"])


def shipped_names() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def _parse(path: Path) -> dict[str, Any]:
    try:
        value = YAML(typ="safe", pure=True).load(path)
    except MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        line = f"line {place.line + 1}: " if place is not None else ""
        raise RecipeError(str(path), [f"{line}is not YAML: {error.problem}"]) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(str(path), [f"is not YAML: {error}"]) from error
    if not isinstance(value, dict):
        raise RecipeError(str(path), ["is no recipe: the file has to hold keys such as name, sources, annotate, keep"])
    return value


def _inherited(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path in seen:
        raise RecipeError(str(path), [f"extends: goes in a circle: {' -> '.join(p.name for p in (*seen, path))}"])
    raw = _absolute(_parse(path), path.parent)
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise RecipeError(str(path), [f"extends: takes the name or path of one recipe, not {parent!r}"])
    beside = path.parent / parent
    try:
        base = _inherited(beside.resolve() if beside.is_file() else locate(parent), (*seen, path))
    except RecipeError as error:
        raise RecipeError(str(path), [f"extends: {error}"]) from error
    base.pop("name", None)
    return _merged(base, raw)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` over `base`, key by key; null removes a key, anything but mappings is replaced."""
    merged = dict(base)
    for key, value in over.items():
        if value is None and key in merged:
            del merged[key]
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _absolute(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths of files and of model folders beside the recipe made absolute, so that `extends` does not move them."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        if not isinstance(value, str) or "://" in value:
            return value
        return os.path.normpath(folder / os.path.expanduser(value))

    for source in _entries(raw, "sources"):
        for kind in ("parquet", "jsonl"):
            if kind in source:
                source[kind] = moved(source[kind])
        if isinstance(source.get("hf"), str) and source["hf"].startswith((".", "/", "~")):
            source["hf"] = moved(source["hf"])
    for model in _entries(raw, "models"):
        if isinstance(model.get("model"), str) and model["model"].startswith((".", "/", "~")):
            model["model"] = moved(model["model"])
    return raw


def _entries(raw: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    entries = raw.get(section)
    return [entry for entry in entries.values() if isinstance(entry, dict)] if isinstance(entries, dict) else []


def _override(file: str, raw: dict[str, Any], key: str, text: str) -> None:
    """Sets one value by its dotted key; the text is YAML, so `8` is a number and `null` removes the key."""
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise RecipeError("--set", [f"{key}: {text!r} is not YAML: {str(error).splitlines()[0]}"]) from error
    *parents, last = key.split(".")
    place = raw
    for number, parent in enumerate(parents):
        inner = place.setdefault(parent, {})
        if inner is None:
            inner = place[parent] = {}
        if not isinstance(inner, dict):
            raise RecipeError("--set", [f"{key}: {'.'.join(parents[: number + 1])} is {inner!r}, which has no keys"])
        place = inner
    if value is None and text.strip() in ("null", "~", ""):
        place.pop(last, None)
    else:
        place[last] = value


def resolve(raw: Mapping[str, Any], file: str) -> Loaded:
    """Checks a whole recipe. Raises RecipeError naming every mistake that can be seen at once."""
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(file, _mistakes(error, Recipe, "")) from error
    mistakes: list[str] = []
    for name, source in recipe.sources.items():
        mistakes += _source_mistakes(name, source)
    for name, model in recipe.models.items():
        try:
            check(model)
        except ModelError as error:
            mistakes.append(f"models.{name}.{error}")
    steps = []
    for key, settings in recipe.annotate.items():
        step, wrong = _step(key, settings or {}, recipe)
        mistakes += wrong
        steps += [step] if step is not None else []
    mistakes += _collisions(steps)
    if mistakes:
        raise RecipeError(file, mistakes)
    keep = dict(recipe.keep)
    if recipe.allow_licenses is not None:
        keep = {"licenses": _licence_rule(recipe.allow_licenses)} | keep
    placed: list[Rule] = []
    try:
        placed = rules.place(keep, [step.measured for step in steps])
    except RuleError as error:
        raise RecipeError(file, [f"keep.{error.rule}: {keep[error.rule]!r} {error}"]) from error
    return Loaded(recipe, steps, placed, dict(raw))


def _licence_rule(allowed: list[str]) -> str:
    return f"license in ({', '.join(literal(name) for name in allowed)})" if allowed else "license is null and false"


def _source_mistakes(name: str, source: Source) -> list[str]:
    mistakes = []
    try:
        source.files()
    except SourceError as error:
        kind = "parquet" if source.parquet is not None else "jsonl"
        mistakes.append(f"sources.{name}.{kind}: {error}; paths are relative to the recipe's folder")
    if source.verifier is not None and source.verifier not in VERIFIERS:
        mistakes.append(
            f"sources.{name}.verifier: {source.verifier!r} is unknown{_nearest(source.verifier, list(VERIFIERS))}"
        )
    return mistakes


def _step(key: str, settings: Mapping[str, Any], recipe: Recipe) -> tuple[AnnotatorStep | None, list[str]]:
    where = f"annotate.{key}"
    rest = dict(settings)
    name = rest.pop("is", key)
    if name not in ANNOTATORS:
        given = f"{where}.is: {name!r}" if "is" in settings else where
        hint = "" if "is" in settings else "; another key needs `is: ANNOTATOR`"
        return None, [f"{given} is no annotator{_nearest(str(name), list(ANNOTATORS))}{hint}"]
    kind = ANNOTATORS[name]
    try:
        annotator = kind.model_validate(rest)
    except ValidationError as error:
        return None, _mistakes(error, kind, where)
    mistakes = []
    model = getattr(annotator, "model", None)
    if model is not None and model not in recipe.models:
        mistakes.append(f"{where}.model: {model!r} is no model of this recipe{_nearest(model, list(recipe.models))}")
    elif isinstance(annotator, PassRate):
        for source, settings_of_source in recipe.sources.items():
            try:
                recipe.models[annotator.model].prompt.merged(annotator.prompt | settings_of_source.prompt)
            except ValidationError as error:
                place = f"{where}.prompt" if not settings_of_source.prompt else f"sources.{source}.prompt"
                mistakes += _mistakes(error, type(recipe.models[annotator.model].prompt), place)
                break
    prefix = f"{key}_" if "is" in settings else ""
    return AnnotatorStep(key, annotator, prefix), mistakes


def _collisions(steps: list[AnnotatorStep]) -> list[str]:
    owner: dict[str, str] = {}
    mistakes = []
    for step in steps:
        for name in step.measured.columns.names:
            if name in owner:
                mistakes.append(f"annotate.{step.key}: its column {name} is already that of annotate.{owner[name]}")
            owner[name] = step.key
    deciders = [step.key for step in steps if isinstance(step.annotator, Duplicates)]
    if len(deciders) > 1 or any(step.prefix for step in steps if isinstance(step.annotator, Duplicates)):
        mistakes.append("annotate: `duplicates` can stand only once, under its own name")
    return mistakes


def _nearest(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    return (f"; did you mean {near[0]}?" if near else "") + f" (known: {', '.join(known) or 'none'})"


def _mistakes(error: ValidationError, schema: type[BaseModel], where: str) -> list[str]:
    """pydantic's findings as `key.path: what was given, what is allowed`."""
    found = []
    for detail in error.errors(include_url=False):
        location = [str(part) for part in detail["loc"]]
        path = ".".join([part for part in (where, *location) if part])
        if detail["type"] == "extra_forbidden":
            known = _fields(schema, location[:-1])
            found.append(f"{path}: unknown key{_nearest(location[-1], known)}")
        elif detail["type"] == "missing":
            found.append(f"{path}: is missing")
        else:
            given = detail["input"]
            shown = f"; given {given!r}" if not isinstance(given, (dict, BaseModel)) else ""
            message = detail["msg"].removeprefix("Value error, ")
            found.append(f"{path}: {message[0].lower() + message[1:]}{shown}")
    return found


def _fields(schema: Any, location: list[str]) -> list[str]:
    """The keys allowed at a place of a settings class."""
    for part in location:
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            schema = schema.model_fields[part].annotation if part in schema.model_fields else None
        else:
            # dict[str, X], list[X], X | None: the next class inside
            inner = [arg for arg in get_args(schema) if isinstance(arg, type) and issubclass(arg, BaseModel)]
            schema = inner[0] if inner else None
        candidates = [arg for arg in get_args(schema) if isinstance(arg, type) and issubclass(arg, BaseModel)]
        if schema is not None and len(candidates) == 1 and not str(schema).startswith(("dict", "list", "tuple")):
            schema = candidates[0]
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return [*schema.model_fields]
    return []
