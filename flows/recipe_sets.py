"""What a recipe says of traces, sets and the student: checked, and resolved to what distill/building.py takes."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from curation import sql
from curation.contamination import Contamination
from curation.model import HUB_NAME, Model
from curation.sampled import Sampled
from distill import keeping
from distill.given import Given
from distill.paired import REJECTED
from distill.sets import (
    KINDS,
    AnySet,
    FromTraces,
    FusionSet,
    PreferenceSet,
    Problems,
    ProcessSet,
    SFTSet,
    in_order,
    sources_of,
)
from distill.student import Student
from distill.teacher import Teacher
from distill.traced import TRACE
from distill.traces import TraceChecks

RULE_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
TAKEN = ("enough", "same_text", "template", "pairs", "ratio", "repeated", "select")
"""What drops a trace beside rules."""
LONGEST_NAME = 60
Mistakes = Callable[[ValidationError, type[BaseModel], str], list[str]]


@dataclass(frozen=True)
class Wanted:
    """The sets of a recipe, and what they are made of."""

    sets: Mapping[str, AnySet] = field(default_factory=dict)
    """Each behind those it is `without`."""
    traces: Mapping[str, Teacher | Given] = field(default_factory=dict)
    used: Mapping[str, str] = field(default_factory=dict)
    """Of annotators that stop early the column with the number of samples that count, by their key."""
    student: Student | None = None
    tokenizer: Model | None = None
    """The student's model: whose tokenizer and template count."""
    checks: TraceChecks = field(default_factory=TraceChecks)
    contamination: Contamination | None = None
    clean: str | None = None
    """Prefix of its columns; None where no benchmark is looked for."""
    columns: pa.Schema = field(default_factory=lambda: pa.schema([]))
    """What a rule may say of a problem."""

    @property
    def distils(self) -> bool:
        """Whether any set is made of traces."""
        return any(sources_of(one) for one in self.sets.values())


def resolve(
    given: Mapping[str, Mapping[str, Any] | None],
    traces: Mapping[str, Mapping[str, Any] | None],
    student: Mapping[str, Any] | None,
    checks: Mapping[str, Any] | None,
    models: Mapping[str, Model],
    steps: Iterable[Any],
    columns: pa.Schema,
    judged: bool,
    told: Mistakes,
) -> tuple[Wanted, list[str]]:
    """The sets, and every mistake in them.

    steps: the annotators (AnnotatorStep). columns: of a problem, with all that is measured. judged: whether
    there is a judge. told: pydantic's findings as
    mistakes of a recipe.
    """
    steps = list(steps)
    mistakes: list[str] = []

    def validated(kind: type[Any], settings: Mapping[str, Any], where: str) -> Any:
        try:
            return kind.model_validate(dict(settings))
        except ValidationError as error:
            mistakes.extend(told(error, kind, where))
            return None

    measured = validated(TraceChecks, checks or {}, "trace_checks") or TraceChecks()
    if measured.judge and not judged:
        mistakes.append("trace_checks.judge: the recipe has no judge; add `judge: {model: ...}`")
    own = [*TRACE.names, *measured.COLUMNS.names]
    drawn: dict[str, Teacher | Given] = {}
    for name, settings in traces.items():
        kind = Given if "text" in (settings or {}) else Teacher
        if kind is Teacher and not {"n", "max_tokens"} & {*(settings or {})}:
            mistakes.append(
                f"traces.{name}: gives neither `text` (SQL: traces that came with the problems) nor `n` and `max_tokens` "
                "(traces to be drawn)"
            )
            continue
        # Qwen3, 4.3, and RFT: the student's own, unless it says whose.
        whose = {} if kind is Given or not student else {"model": student.get("model")}
        if (one := validated(kind, whose | dict(settings or {}), f"traces.{name}")) is None:
            continue
        drawn[name] = one
        if isinstance(one, Given):
            mistakes += [f"traces.{name}.{mistake}" for mistake in one.mistakes()]
        elif one.model not in models:
            mistakes.append(
                f"traces.{name}.model: {one.model!r} is no model of this recipe{_nearest(one.model, models)}"
            )
    for step in steps:
        if isinstance(step.annotator, Sampled):
            if step.key in drawn:
                mistakes.append(f"traces.{step.key}: is the name of an annotator that samples; give it another")
            drawn.setdefault(step.key, as_drawn(step.annotator))
    sets: dict[str, AnySet] = {}
    for name in (*given, *traces):
        if len(name) > LONGEST_NAME:
            mistakes.append(f"{sql.short(name)!r}: is too long for a name; at most {LONGEST_NAME} characters")
    for name, settings in given.items():
        if name in ("decisions", "trace_decisions"):
            mistakes.append(f"sets.{name}: is the name of other files of a dataset; give the set another")
        rest = dict(settings or {})
        kind_name = rest.pop("is", name)
        if not isinstance(kind_name, str) or kind_name not in KINDS:
            where = f"sets.{name}.is: {kind_name!r}" if "is" in (settings or {}) else f"sets.{name}"
            hint = "" if "is" in (settings or {}) else "; another name needs `is: KIND`"
            mistakes.append(f"{where} is no kind of set{_nearest(str(kind_name), KINDS)}{hint}")
        elif (one := validated(KINDS[kind_name], rest, f"sets.{name}")) is not None:
            sets[name] = one
    try:
        ordered = {name: sets[name] for name in in_order(sets)}
    except ValueError as error:
        mistakes.append(f"sets.{error}")
        ordered = sets
    found = next((step for step in steps if isinstance(step.annotator, Contamination)), None)
    clean = None if found is None else found.prefix
    if any(sources_of(one) for one in sets.values()):
        mistakes += [
            f"annotate.{step.key}: its column {name} is that of a trace, which the sets' rules read; give it another key"
            for step in steps
            for name in step.measured.columns.names
            if name in own
        ][:1]
    both = pa.schema([*columns, *(f for f in (*TRACE, *measured.COLUMNS) if f.name not in columns.names)])
    for name, one in sets.items():
        mistakes += _of_set(name, one, drawn, columns, both, clean, {*traces} - {*drawn})
    learner, tokenizer = None, None
    if any(sources_of(one) for one in sets.values()):
        if student is None:
            mistakes.append("student: is missing; sets of traces are written in its template: `student: {model: NAME}`")
        else:
            learner = validated(Student, student, "student")
    elif student is not None:
        learner = validated(Student, student, "student")
    if learner is not None:
        tokenizer = models.get(learner.model)
        if tokenizer is None:
            mistakes.append(
                f"student.model: {learner.model!r} is no model of this recipe{_nearest(learner.model, models)}"
            )
        elif learner.tokenizer is None and tokenizer.url is not None and not HUB_NAME.fullmatch(tokenizer.model):
            mistakes.append(
                f"student.tokenizer: is missing; {tokenizer.model!r} is how its server calls the model. Give the folder or Hub "
                "name that its tokenizer and template are in"
            )
        if learner.chat_template is not None and not Path(learner.chat_template).expanduser().is_file():
            mistakes.append(
                f"student.chat_template: {learner.chat_template!r} is no file; paths are relative to the recipe's folder"
            )
    contamination = None if found is None else found.annotator
    used = {step.key: f"{step.prefix}used" for step in steps if "used" in step.annotator.COLUMNS.names}
    return Wanted(ordered, drawn, used, learner, tokenizer, measured, contamination, clean, columns), mistakes


def as_drawn(annotator: Sampled) -> Teacher:
    """The samples of an annotator as traces: what it drew, and no more."""
    names = [name for name in Teacher.model_fields if name in type(annotator).model_fields]
    return Teacher.model_validate({name: getattr(annotator, name) for name in names} | {"elsewhere": True})


def _of_set(
    name: str,
    one: AnySet,
    drawn: Mapping[str, Any],
    columns: pa.Schema,
    both: pa.Schema,
    clean: str | None,
    unread: Iterable[str],
) -> list[str]:
    """What is wrong with one set. unread: entries of `traces` that are wrong themselves."""
    mistakes = _condition(f"sets.{name}", one, columns)
    if isinstance(one, FusionSet):
        for part, taken in one.parts.items():
            where = f"sets.{name}.parts.{part}"
            mistakes += _condition(where, taken, columns) + _taken(where, taken, drawn, both, clean, unread)
            mistakes += [f"{where}.select.{m}" for m in taken.select.mistakes(_selectable(both))]
    elif isinstance(one, FromTraces):
        mistakes += _taken(f"sets.{name}", one, drawn, both, clean, unread)
    if isinstance(one, SFTSet):
        mistakes += [f"sets.{name}.select.{m}" for m in one.select.mistakes(_selectable(both))]
    if isinstance(one, PreferenceSet):
        mistakes += _named(f"sets.{name}.rejected", one.rejected, REJECTED, both, None)
    if isinstance(one, ProcessSet):
        mistakes += [f"sets.{name}.{m}" for m in one.mistakes(columns)]
    return mistakes


def _selectable(both: pa.Schema) -> pa.Schema:
    return pa.schema([*both, ("tokens", pa.int64()), ("trained_tokens", pa.int64())])


def _condition(where: str, one: Problems | FromTraces, columns: pa.Schema) -> list[str]:
    expression = getattr(one, "where", None)
    if expression is None:
        return []
    try:
        sql.check(expression, columns, boolean=True)
    except sql.ExpressionError as error:
        return [f"{where}.where: {sql.short(expression)!r} {error}"]
    return []


def _taken(
    where: str,
    taken: FromTraces,
    drawn: Mapping[str, Any],
    both: pa.Schema,
    clean: str | None,
    unread: Iterable[str],
) -> list[str]:
    mistakes = []
    if taken.traces in unread:
        return []
    if taken.traces not in drawn:
        near = _nearest(taken.traces, drawn)
        mistakes.append(
            f"{where}.traces: {taken.traces!r} is no entry of `traces`, nor an annotator that samples{near}"
        )
    elif taken.enough is not None and isinstance(drawn[taken.traces], Given):
        mistakes.append(f"{where}.enough: traces that are given are all there; use select.k")
    return mistakes + _named(f"{where}.keep", taken.keep, keeping.rules_of({}, clean), both, clean)


def _named(
    where: str, changes: Mapping[str, str | None], default: Mapping[str, str], both: pa.Schema, clean: str | None
) -> list[str]:
    """What is wrong with a set's own rules. default: those that hold without them."""
    mistakes = []
    for name, rule in changes.items():
        if not RULE_NAME.fullmatch(name):
            mistakes.append(
                f"{where}: {sql.short(name)!r} is no name of a rule; use small letters, digits and _, at most 60"
            )
        elif name in TAKEN:
            mistakes.append(f"{where}.{name}: is the name of what else drops a trace; give the rule another")
        elif rule is None and name not in default:
            mistakes.append(
                f"{where}.{name}: null switches off a default rule, and this is none{_nearest(name, default)}"
            )
    if mistakes:
        return mistakes
    try:
        keeping.check({**default, **{name: rule for name, rule in changes.items() if rule is not None}}, both)
    except keeping.RuleMistake as error:
        return [f"{where}.{error.rule}: {error}"]
    return []


def _nearest(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, list(known), n=1)
    return (f"; did you mean {near[0]}?" if near else "") + f" (known: {', '.join(known) or 'none'})"
