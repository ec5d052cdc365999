"""Recipes: one YAML file says what is read, measured, decided and built. All mistakes are found when it is loaded.

load("demo"), load("my.yaml", overrides={"annotate.pass_rate.n": "8"})
"""

import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType, UnionType
from typing import Any, get_args

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from curation import problem, rules
from curation.annotate import Annotator
from curation.balance import UNKNOWN
from curation.balancing.targets import RULE, Balance
from curation.consensus import Consensus
from curation.contamination import Contamination
from curation.difficulty import Difficulty
from curation.duck import literal
from curation.duplicates import Duplicates
from curation.form import Form
from curation.gold import Gold
from curation.guess import Guess
from curation.judge import Judge
from curation.model import Model, ModelError, check
from curation.near_in_meaning import NearInMeaning
from curation.pass_rate import PassRate
from curation.prompt import Prompt
from curation.rollouts import Sampling
from curation.rules import Measured, Rule, RuleError
from curation.screen import Screen
from curation.source import Source, SourceError
from curation.sql import short
from curation.tags import Tags
from curation.taxonomy import UNDEFINED
from curation.verify import JUDGE, VERIFIERS
from flows import recipe_sets, recipe_train
from flows.overlay import Known
from flows.recipe_file import SHIPPED, RecipeError, dump, locate, read, shipped_names
from flows.recipe_sets import Wanted
from flows.recipe_train import Policy, Training
from train.arguments import AsMeasured
from train.evaluation.settings import Evaluation
from train.rl_stage import RLStage
from train.stage import POLICY

__all__ = ["ANNOTATORS", "SHIPPED", "AnnotatorStep", "Loaded", "Recipe", "RecipeError"]
__all__ += ["dump", "load", "locate", "resolve", "shipped_names"]

ANNOTATORS: dict[str, type[Annotator]] = {
    a.NAME: a
    for a in (
        Form,
        Gold,
        Duplicates,
        NearInMeaning,
        Contamination,
        Guess,
        PassRate,
        Tags,
        Screen,
        Consensus,
        Difficulty,
    )
}
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
IDENTIFIER = r"[a-z][a-z0-9_]*"
LICENSES = "licenses"
"""Name of the rule that `allow_licenses` is."""
MEASURED = ("temperature", "top_p", "max_tokens", "top_k", "min_p", "repetition_penalty")
"""Settings of a pass rate that RL takes over where it says nothing."""
TAKEN = {"pool", RULE, "publish"}
"""Steps of a run that are no annotator's."""


class Recipe(BaseModel):
    """A recipe as written; `steps` and `rules` are what it comes to."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=NAME, max_length=100)
    """Name of the recipe, its pool and its dataset."""
    seed: int = 0
    """The only seed: ties are broken by hash(seed, id)."""
    sources: dict[str, Source] = Field(min_length=1)
    """Where problems come from, in order of preference when duplicates meet."""
    max_rejected: float = Field(default=0.2, ge=0, le=1)
    """Share of a source's rows that may be unusable before reading fails."""
    models: dict[str, Model] = {}
    """Models by the name that annotators use."""
    judge: dict[str, Any] | None = None
    """What grades problems whose verifier is `judge`: `model`, one of the models, and settings of a judge (kind, rubric, twice,
    reasoning, ...)."""
    annotate: dict[str, dict[str, Any] | None] = {}
    """Annotators in order: settings by the annotator's name, or by a prefix of one's own with `is: NAME`."""
    keep: dict[str, str] = {}
    """Rules by name: SQL conditions that a problem has to meet to stay."""
    allow_licenses: list[str] | None = None
    """Licences whose problems stay; those of unknown licence do not."""
    holdout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the problems set aside as split `test`, by hash of the cluster."""
    balance: Balance | None = None
    """How many of the problems that every rule keeps stay, of every kind and difficulty, and in which order."""
    student: dict[str, Any] | None = None
    """Who learns from the traces: `model`, one of the models, whose chat template and tokenizer the sets are written for."""
    traces: dict[str, dict[str, Any]] = {}
    """Where traces come from, by name: drawn (`model`, `n`, ...) or given with the problems (`text`, `thinking`: SQL)."""
    trace_checks: dict[str, Any] | None = None
    """Settings of what is measured of traces."""
    sets: dict[str, dict[str, Any] | None] = {"rl": {}}
    """The sets to build, each a config of the dataset: rl, sft, fusion, preference, process, or a name of one's own with `is`."""
    train: dict[str, dict[str, Any] | None] = {}
    """The training stages in order: sft, dpo, dpo_norm, simpo, reward, grpo, r1, dr_grpo, dapo, rloo, online_rft, kimi, ppo,
    rl (grpo, unless `is` says another), or a name of one's own with `is`."""
    evaluate: dict[str, Any] | None = None
    """How models are judged, before and after training: `n`, `max_tokens`, `tasks`, `modes`, ..."""
    differs: list[str] = []
    """What the paper does not say, or what is done otherwise here; it goes on the card."""

    @field_validator("sources", "models", "annotate", "keep", "traces", "sets", "train")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
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
    condition: Rule | None = None
    """Which problems it is meant for (`only`)."""

    @property
    def measured(self) -> Measured:
        return Measured(
            key=self.key,
            columns=pa.schema([field.with_name(self.prefix + field.name) for field in self.annotator.COLUMNS]),
            prefix=self.prefix,
            samples=getattr(self.annotator, "n", None),
            decides_duplicates=isinstance(self.annotator, Duplicates),
            of=self.annotator.of if isinstance(self.annotator, Difficulty) else (),
        )


@dataclass(frozen=True)
class Loaded:
    """A recipe that passed every check."""

    recipe: Recipe
    steps: list[AnnotatorStep]
    rules: list[Rule]
    resolved: dict[str, Any]
    """The recipe as plain data, `extends` and overrides applied."""
    unlike_rl: list[str]
    """Where difficulty is measured otherwise than RL will sample."""
    judge: Judge | None = None
    """What grades problems whose verifier is `judge`."""
    wanted: Wanted = field(default_factory=Wanted)
    """The sets, and the traces that they are made of."""
    training: Training = field(default_factory=Training)
    """The stages that train on them."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    """How what they make is judged."""
    given: str = ""
    """What the recipe was called when it was loaded, to be told in commands; its name where it was not loaded."""

    @property
    def over_counts(self) -> list[Rule]:
        """All that may read the counts of samples: rules, and conditions of annotators."""
        return [*self.rules, *(step.condition for step in self.steps if step.condition is not None)]

    @property
    def yaml(self) -> str:
        return dump(self.resolved)


def load(recipe: str, overrides: Mapping[str, str] | None = None, overlays: Iterable[str] = ()) -> Loaded:
    """The recipe in a file, or a shipped one by name, under overlays, which are given likewise.

    Raises RecipeError naming every mistake.
    """
    path, raw = read(recipe, overrides or {}, overlays, Known(Recipe.model_fields, ANNOTATORS))
    return replace(resolve(raw, str(path)), given=recipe)


def resolve(raw: Mapping[str, Any], file: str) -> Loaded:
    """Checks a whole recipe. Raises RecipeError naming every mistake that can be seen at once."""
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(file, _mistakes(error, Recipe, "")) from error
    mistakes: list[str] = []
    for name, source in recipe.sources.items():
        mistakes += _source_mistakes(name, source, judged=recipe.judge is not None)
    judge, wrong = _judge(recipe)
    mistakes += wrong
    for name, model in recipe.models.items():
        try:
            check(model)
        except ModelError as error:
            mistakes.append(f"models.{name}.{error}")
    rl = recipe_train.rl_stage(recipe.train)
    steps = []
    for key, settings in recipe.annotate.items():
        step, wrong = _step(key, settings or {}, recipe, rl)
        mistakes += wrong
        steps += [step] if step is not None else []
    mistakes += _collisions(steps)
    mistakes += _rate_mistakes(steps)
    keep = dict(recipe.keep)
    if recipe.allow_licenses is not None:
        if LICENSES in keep:
            mistakes.append(f"keep.{LICENSES}: is the name of the rule that allow_licenses is; give it another")
        keep = {LICENSES: _licence_rule(recipe.allow_licenses)} | keep
    if recipe.balance is not None and RULE in keep:
        mistakes.append(f"keep.{RULE}: is the name of what `balance` drops by; give the rule another")
    for number, step in enumerate(steps):
        try:
            steps[number] = _with_condition(step, steps[:number])
        except RuleError as error:
            mistakes.append(f"annotate.{step.key}.only: {short(str(step.annotator.only))!r} {error}")  # type: ignore[attr-defined]  # a step with a condition
    if mistakes:
        raise RecipeError(file, mistakes)
    try:
        placed = rules.place(keep, [step.measured for step in steps])
    except RuleError as error:
        raise RecipeError(file, [f"keep.{error.rule}: {short(keep[error.rule])!r} {error}"]) from error
    columns = rules.schema_after(step.measured for step in steps)
    if recipe.balance is not None and (wrong := recipe.balance.mistakes(columns) + _no_domains(recipe.balance, steps)):
        mistakes += [f"balance.{mistake}" for mistake in wrong]
    wanted, wrong = recipe_sets.resolve(
        recipe.sets,
        recipe.traces,
        recipe.student,
        recipe.trace_checks,
        recipe.models,
        steps,
        columns,
        judge is not None,
        _mistakes,
    )
    mistakes += wrong
    policy = _policy(recipe.models, steps)
    training, wrong = recipe_train.resolve(recipe.train, wanted.sets, recipe.student is not None, policy, _mistakes)
    mistakes += wrong
    evaluation, wrong = _evaluation(recipe, judge is not None)
    if mistakes := mistakes + wrong:
        raise RecipeError(file, mistakes)
    return Loaded(recipe, steps, placed, dict(raw), _unlike_rl(rl, steps), judge, wanted, training, evaluation)


def _evaluation(recipe: Recipe, judged: bool) -> tuple[Evaluation, list[str]]:
    try:
        evaluation = Evaluation.model_validate(recipe.evaluate or {})
    except ValidationError as error:
        return Evaluation(), _mistakes(error, Evaluation, "evaluate")
    sources = {name: task for name, task in evaluation.tasks.items() if isinstance(task, Source)}
    found = [mistake for name, task in sources.items() for mistake in _source_mistakes(name, task, judged)]
    return evaluation, [mistake.replace("sources.", "evaluate.tasks.", 1) for mistake in found]


def _with_condition(step: AnnotatorStep, above: list[AnnotatorStep]) -> AnnotatorStep:
    """The step with its annotator's condition, which may read what is measured above it. Raises RuleError."""
    expression = getattr(step.annotator, "only", None)
    if expression is None:
        return step
    return replace(step, condition=rules.condition(step.key, expression, [one.measured for one in above]))


def _as_rl(settings: dict[str, Any], rl: RLStage) -> dict[str, Any]:
    """Settings of a pass-rate annotator: what it leaves open is as RL will sample."""
    settings = _sampled(rl) | settings
    length = settings.get("max_tokens")
    if isinstance(length, int) and rl.max_tokens is not None and length < rl.max_tokens:
        settings = {"cut_off": "unknown"} | settings
    return settings


def _sampled(rl: RLStage) -> dict[str, Any]:
    """What a stage says of how it samples."""
    return rl.model_dump(include={"temperature", "top_p", "max_tokens"}, exclude_none=True)


def _unlike_rl(rl: RLStage | None, steps: list[AnnotatorStep]) -> list[str]:
    if rl is None:
        return []
    rates = [step for step in steps if isinstance(step.annotator, PassRate)]
    found = [
        f"annotate.{step.key}.{name} is {own} and train.rl.{name} {wanted}: difficulty is measured otherwise than RL samples"
        for step in rates
        for name, wanted in _sampled(rl).items()
        if (own := getattr(step.annotator, name)) != wanted
    ]
    nobody = Sampling()
    return found + [
        f"annotate.{step.key}.{name} is {own}, and RL samples without: difficulty is measured otherwise than RL samples"
        for step in rates
        for name in ("presence_penalty", "frequency_penalty", "thinking_budget")
        if (own := getattr(step.annotator, name)) != getattr(nobody, name)
    ]


def _policy(models: Mapping[str, Model], steps: list[AnnotatorStep]) -> Policy | None:
    """The model that RL starts from where there is no student: the one whose pass rates are measured; else the one called
    `policy`, or the only one.
    """
    rates = [step for step in steps if isinstance(step.annotator, PassRate)]
    if not rates:
        names = [name for name in models if name == POLICY] or [*models]
        return Policy(names[0]) if len(names) == 1 else None
    step = next((step for step in rates if step.key == PassRate.NAME), rates[0])
    rate = step.annotator
    assert isinstance(rate, PassRate)
    sampling = {key: getattr(rate, key) for key in MEASURED}
    counts = f"{step.prefix}passes", f"{step.prefix}fails"
    return Policy(rate.model, rate.prompt, AsMeasured(sampling, f"annotate.{step.key}"), counts)


def _licence_rule(allowed: list[str]) -> str:
    return f"license in ({', '.join(literal(name) for name in allowed)})" if allowed else "license is null and false"


def _judge(recipe: Recipe) -> tuple[Judge | None, list[str]]:
    """The judge with its model."""
    if recipe.judge is None:
        return None, []
    rest = dict(recipe.judge)
    name = rest.pop("model", None)
    if not isinstance(name, str) or name not in recipe.models:
        return None, [f"judge.model: {name!r} is no model of this recipe{_nearest(str(name), list(recipe.models))}"]
    try:
        return Judge.model_validate({**rest, "model": recipe.models[name]}), []
    except ValidationError as error:
        return None, _mistakes(error, Judge, "judge")


def _source_mistakes(name: str, source: Source, judged: bool) -> list[str]:
    mistakes = []
    try:
        source.check()
    except SourceError as error:
        mistakes.append(f"sources.{name}.{error}; paths are relative to the recipe's folder")
    if source.verifier == JUDGE:
        if not judged:
            mistakes.append(f"sources.{name}.verifier: the recipe has no judge; add `judge: {{model: ...}}`")
    elif source.verifier is not None and source.verifier not in VERIFIERS:
        mistakes.append(
            f"sources.{name}.verifier: {source.verifier!r} is unknown{_nearest(source.verifier, [*VERIFIERS, JUDGE])}"
        )
    return mistakes


def _step(
    key: str, settings: Mapping[str, Any], recipe: Recipe, rl: RLStage | None
) -> tuple[AnnotatorStep | None, list[str]]:
    where = f"annotate.{key}"
    rest = dict(settings)
    name = rest.pop("is", key)
    if key in TAKEN:
        return None, [f"{where}: the name is taken by a step of the run; give another"]
    if not isinstance(name, str) or name not in ANNOTATORS:
        given = f"{where}.is: {name!r}" if "is" in settings else where
        hint = "" if "is" in settings else "; another key needs `is: ANNOTATOR`"
        return None, [f"{given} is no annotator{_nearest(str(name), list(ANNOTATORS))}{hint}"]
    kind = ANNOTATORS[name]
    if kind is PassRate and rl is not None:
        rest = _as_rl(rest, rl)
    try:
        annotator = kind.model_validate(rest)
    except ValidationError as error:
        return None, _mistakes(error, kind, where)
    mistakes = _benchmark_mistakes(where, annotator, recipe) if isinstance(annotator, Contamination) else []
    model = getattr(annotator, "model", None)
    if model is not None and model not in recipe.models:
        mistakes.append(f"{where}.model: {model!r} is no model of this recipe{_nearest(model, list(recipe.models))}")
    elif model is not None:
        mistakes += _length_mistakes(where, annotator, recipe.models[model])
        own = getattr(annotator, "prompt", {})
        mistakes += _prompt_mistakes(recipe.models[model].prompt, own, f"{where}.prompt")
        if not mistakes:
            for source, entry in recipe.sources.items():
                mistakes += _prompt_mistakes(
                    recipe.models[model].prompt, own | entry.prompt, f"sources.{source}.prompt"
                )
    prefix = f"{key}_" if "is" in settings else ""
    return AnnotatorStep(key, annotator, prefix), mistakes


def _benchmark_mistakes(where: str, annotator: Contamination, recipe: Recipe) -> list[str]:
    mistakes = []
    if (judge := annotator.judge) is not None and judge not in recipe.models:
        mistakes.append(f"{where}.judge: {judge!r} is no model of this recipe{_nearest(judge, list(recipe.models))}")
    for name, benchmark in annotator.benchmarks.items():
        try:
            benchmark.source().check()
        except SourceError as error:
            mistakes.append(f"{where}.benchmarks.{name}.{error}; paths are relative to the recipe's folder")
    return mistakes


def _length_mistakes(where: str, annotator: Annotator, model: Model) -> list[str]:
    length, holds = getattr(annotator, "max_tokens", None), model.serve.max_model_len
    if model.url is not None or length is None or holds is None or length < holds:
        return []
    return [
        f"{where}.max_tokens: {length} leaves no room for a prompt, as the model is served with max_model_len {holds} (prompt "
        "and answer together); lower it, or raise serve.max_model_len"
    ]


def _prompt_mistakes(prompt: Prompt, changes: Mapping[str, Any], where: str) -> list[str]:
    try:
        prompt.merged(changes)
    except ValidationError as error:
        return _mistakes(error, Prompt, where)
    return []


def _collisions(steps: list[AnnotatorStep]) -> list[str]:
    owner = dict.fromkeys([*problem.SCHEMA.names, *rules.OWN_COLUMNS], "every recipe")
    mistakes = []
    for step in steps:
        for name in step.measured.columns.names:
            if name in owner or name.startswith(rules.OUTCOME_PREFIX):
                of = owner.get(name, "a rule's outcome")
                mistakes.append(f"annotate.{step.key}: its column {name} is already that of {of}; give it another key")
                break
            owner[name] = f"annotate.{step.key}"
    deciders = [step.key for step in steps if isinstance(step.annotator, Duplicates)]
    if len(deciders) > 1 or any(step.prefix for step in steps if isinstance(step.annotator, Duplicates)):
        mistakes.append("annotate: `duplicates` can stand only once, under its own name")
    return mistakes


def _rate_mistakes(steps: list[AnnotatorStep]) -> list[str]:
    """What `difficulty` is made of has to be a pass rate that is measured above it."""
    mistakes: list[str] = []
    rates: list[str] = []
    for step in steps:
        for key in step.annotator.of if isinstance(step.annotator, Difficulty) else ():
            if key not in rates:
                hint = _nearest(key, rates)
                mistakes.append(f"annotate.{step.key}.of: {key!r} is no pass_rate annotator above it{hint}")
        if isinstance(step.annotator, PassRate):
            rates.append(step.key)
    return mistakes


def _no_domains(balance: Balance, steps: list[AnnotatorStep]) -> list[str]:
    """Caps and floors of what the taxonomy does not have, where rows are balanced by its domains."""
    mistakes: list[str] = []
    for step in steps:
        if isinstance(step.annotator, Tags) and balance.by == f"{step.prefix}domain":
            allowed = [*(domain.name for domain in step.annotator.among.domains), UNDEFINED, UNKNOWN]
            for key, limits in (("caps", balance.caps), ("floors", balance.floors)):
                names = [name for name in limits if name not in allowed] if isinstance(limits, dict) else []
                mistakes += [
                    f"{key}.{name}: is no domain of {step.annotator.taxonomy}{_nearest(name, allowed)}"
                    for name in names
                ]
    return mistakes


def _nearest(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    return (f"; did you mean {near[0]}?" if near else "") + f" (known: {', '.join(known) or 'none'})"


def _mistakes(error: ValidationError, schema: type[BaseModel], where: str) -> list[str]:
    """pydantic's findings as `key.path: what was given, what is allowed`; those about one key in one line."""
    found: dict[tuple[str, str], list[str]] = {}
    for detail in error.errors(include_url=False):
        location = [str(part) for part in detail["loc"]]
        path = ".".join([part for part in (where, *_keys(schema, location)) if part])
        given = ""
        if detail["type"] == "extra_forbidden":
            message = f"unknown key{_nearest(location[-1], _known(schema, location[:-1]))}"
        elif location[-1:] == ["[key]"]:
            allowed = re.findall("'([^']*)'", detail["msg"])
            message = f"unknown key{_nearest(location[-2], allowed)}"
        elif detail["type"] == "missing":
            message = "is missing"
        else:
            message = detail["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            if not isinstance(detail["input"], (dict, BaseModel)):
                given = f"; given {reprlib.repr(detail['input'])}"
        found.setdefault((path, given), []).append(message)
    return [f"{path}: {' or '.join(messages)}{given}" for (path, given), messages in found.items()]


def _keys(schema: type[BaseModel], location: list[str]) -> list[str]:
    """A place in a recipe without what pydantic adds to it: `[key]`, and which member of a union it tried."""
    if location[-1:] == ["[key]"]:
        return location[:-1]
    return location[:-1] if len(location) > 1 and _at(schema, location[:-1]) is _UNION else location


def _known(schema: type[BaseModel], location: list[str]) -> list[str]:
    """The keys allowed at a place of a settings class."""
    kind = _at(schema, location)
    return [*kind.model_fields] if _is_settings(kind) else []


_UNION = object()


def _at(kind: Any, location: list[str]) -> Any:
    """The type at a place of a settings class; `_UNION` where several are possible."""
    for part in location:
        if _is_settings(kind):
            kind = kind.model_fields[part].annotation if part in kind.model_fields else None
        else:
            inner = get_args(kind)  # of dict[str, X], list[X] and tuple[X, ...]
            kind = None if not inner else inner[1] if len(inner) == 2 and inner[1] is not ... else inner[0]
        if isinstance(kind, UnionType):
            members = [member for member in get_args(kind) if member is not NoneType]
            kind = members[0] if len(members) == 1 else _UNION
    return kind


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
