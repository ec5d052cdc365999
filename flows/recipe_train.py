"""What a recipe says of training: its stages, checked against the sets that they train on."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from distill.sets import AnySet
from train.arguments import AsMeasured
from train.rl_stage import DEFAULT, RL_STAGES, RLStage
from train.stage import POLICY, STAGES, STUDENT, Stage

RL = "rl"
"""The stage that says how difficulty is measured, where the annotator does not."""
ALGORITHMS: Mapping[str, type[Stage]] = {**STAGES, **RL_STAGES}
Mistakes = Callable[[ValidationError, type[BaseModel], str], list[str]]


@dataclass(frozen=True)
class Policy:
    """The model whose samples say how difficult problems are: what RL starts from where there is no student."""

    model: str
    """One of the recipe's models."""
    prompt: Mapping[str, Any] = field(default_factory=dict)
    """How it is asked for that otherwise than by its own prompt."""
    measured: AsMeasured | None = None
    """How it is sampled for that; None where difficulty is not measured."""
    counts: tuple[str, str] | None = None
    """The columns with what it solved and what it did not."""


@dataclass(frozen=True)
class Training:
    """The stages of a recipe, in order."""

    stages: Mapping[str, Stage] = field(default_factory=dict)
    starts: Mapping[str, str] = field(default_factory=dict)
    """What every stage starts from: a stage, `student`, or `policy`."""
    policy: Policy | None = None

    def line(self, name: str) -> list[str]:
        """The stages that lead to one, itself last."""
        start = self.starts[name]
        return [*(self.line(start) if start in self.stages else []), name]

    def root(self, name: str) -> str:
        """What the first of them starts from: `student`, or `policy`."""
        return self.starts[self.line(name)[0]]


def rl_stage(given: Mapping[str, Any]) -> RLStage | None:
    """The stage that says how difficulty is measured; None where there is none, or none that is sound."""
    if RL not in given:
        return None
    rest = dict(given[RL] or {})
    kind = RL_STAGES.get(str(rest.pop("is", DEFAULT)))
    try:
        return None if kind is None else kind.model_validate(rest)
    except ValidationError:  # told with the other stages
        return None


def resolve(
    given: Mapping[str, Mapping[str, Any] | None],
    sets: Mapping[str, AnySet],
    has_student: bool,
    policy: Policy | None,
    told: Mistakes,
) -> tuple[Training, list[str]]:
    """The stages, and every mistake in them. told: pydantic's findings as mistakes of a recipe."""
    stages: dict[str, Stage] = {}
    starts: dict[str, str] = {}
    mistakes: list[str] = []
    for name, settings in given.items():
        where, rest = f"train.{name}", dict(settings or {})
        algorithm = rest.pop("is", DEFAULT if name == RL else name)
        kind = ALGORITHMS.get(algorithm) if isinstance(algorithm, str) else None
        if kind is None:
            hint = "" if "is" in (settings or {}) else "; another name needs `is: ALGORITHM`"
            mistakes.append(f"{where}: {algorithm!r} is no algorithm{_nearest(str(algorithm), ALGORITHMS)}{hint}")
            continue
        try:
            stage = kind.model_validate(rest)
        except ValidationError as error:
            mistakes += told(error, kind, where)
            continue
        reinforced = isinstance(stage, RLStage) and policy is not None
        if not has_student and not reinforced:
            mistakes.append(f"{where}: whom does it train? Add `student: {{model: NAME}}`, one of the recipe's models")
        mistakes += _of_set(where, stage, sets)
        if isinstance(stage, RLStage):
            mistakes += _unsampled(where, stage, policy)
        able = [earlier for earlier, one in stages.items() if one.ANSWERS]
        allowed = [*([STUDENT] if has_student or not reinforced else []), *([POLICY] if reinforced else []), *able]
        start = stage.start or (able[-1] if able else allowed[0])
        if start not in allowed:
            mistakes.append(
                f"{where}.start: {start!r} is no stage before it whose model answers{_nearest(start, allowed)}"
            )
        stages[name], starts[name] = stage, start
    return Training(stages, starts, policy), mistakes


def _unsampled(where: str, stage: RLStage, policy: Policy | None) -> list[str]:
    """What is missing to sample, or cannot be."""
    measured = {} if policy is None or policy.measured is None else policy.measured.sampling
    length = stage.max_tokens or measured.get("max_tokens")
    if length is None:
        return [
            f"{where}.max_tokens: is missing, and no `pass_rate` says at which length difficulty was measured; give it, such as "
            "max_tokens: 8192"
        ]
    found = [f"{where}.rewards.{mistake}" for mistake in stage.rewards.mistakes(length)]
    if stage.temperature is None and measured.get("temperature") == 0:
        found.append(
            f"{where}.temperature: is missing, and difficulty was measured at 0, where all completions of a problem are the "
            "same; give it, such as temperature: 1"
        )
    return found


def _of_set(where: str, stage: Stage, sets: Mapping[str, AnySet]) -> list[str]:
    if stage.set not in sets:
        return [f"{where}.set: {stage.set!r} is no set of this recipe{_nearest(stage.set, sets)}"]
    if (kind := sets[stage.set].KIND) not in stage.SETS:
        able = ", ".join(name for name, one in ALGORITHMS.items() if kind in one.SETS) or "none"
        return [
            f"{where}.set: {stage.set!r} is a set of kind {kind}, and {stage.KIND} trains on {' or '.join(stage.SETS)}; "
            f"on {kind} trains: {able}"
        ]
    return []


def _nearest(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, list(known), n=1)
    return (f"; did you mean {near[0]}?" if near else "") + f" (known: {', '.join(known) or 'none'})"
