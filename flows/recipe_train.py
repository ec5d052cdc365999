"""What a recipe says of training: its stages, checked against the sets that they train on."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.sets import AnySet
from train.stage import STAGES, STUDENT, Stage

RL = "rl"
Mistakes = Callable[[ValidationError, type[BaseModel], str], list[str]]


class RLStage(BaseModel):
    """How RL samples its model: what difficulty is measured with, unless an annotator says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    temperature: float | None = Field(default=None, ge=0)
    """0 is greedy."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Share of probability sampled from."""
    max_tokens: int | None = Field(default=None, gt=0, lt=1 << 31)
    """Length of an answer. A sample cut off at a smaller length is unknown, not wrong."""


@dataclass(frozen=True)
class Training:
    """The stages of a recipe, in order."""

    stages: Mapping[str, Stage] = field(default_factory=dict)
    starts: Mapping[str, str] = field(default_factory=dict)
    """What every stage starts from: a stage, or `student`."""

    def line(self, name: str) -> list[str]:
        """The stages that lead to one, itself last."""
        start = self.starts[name]
        return [*([] if start == STUDENT else self.line(start)), name]


def rl_stage(given: Mapping[str, Any], told: Mistakes) -> tuple[RLStage | None, list[str]]:
    """RL's own settings, which say how difficulty is measured."""
    if (settings := given.get(RL)) is None:
        return None, []
    try:
        return RLStage.model_validate(settings), []
    except ValidationError as error:
        return None, told(error, RLStage, f"train.{RL}")


def resolve(
    given: Mapping[str, Mapping[str, Any] | None], sets: Mapping[str, AnySet], has_student: bool, told: Mistakes
) -> tuple[Training, list[str]]:
    """The stages, and every mistake in them. told: pydantic's findings as mistakes of a recipe."""
    stages: dict[str, Stage] = {}
    starts: dict[str, str] = {}
    mistakes: list[str] = []
    for name, settings in given.items():
        if name == RL:
            continue
        where, rest = f"train.{name}", dict(settings or {})
        algorithm = rest.pop("is", name)
        kind = STAGES.get(algorithm) if isinstance(algorithm, str) else None
        if kind is None:
            hint = "" if "is" in (settings or {}) else "; another name needs `is: ALGORITHM`"
            mistakes.append(f"{where}: {algorithm!r} is no algorithm{_nearest(str(algorithm), STAGES)}{hint}")
            continue
        try:
            stage = kind.model_validate(rest)
        except ValidationError as error:
            mistakes += told(error, kind, where)
            continue
        if not has_student:
            mistakes.append(f"{where}: whom does it train? Add `student: {{model: NAME}}`, one of the recipe's models")
        mistakes += _of_set(where, stage, sets)
        able = [earlier for earlier, one in stages.items() if one.ANSWERS]
        start = stage.start or (able[-1] if able else STUDENT)
        if start not in (STUDENT, *able):
            allowed = [STUDENT, *able]
            mistakes.append(
                f"{where}.start: {start!r} is no stage before it whose model answers{_nearest(start, allowed)}"
            )
        stages[name], starts[name] = stage, start
    return Training(stages, starts), mistakes


def _of_set(where: str, stage: Stage, sets: Mapping[str, AnySet]) -> list[str]:
    if stage.set not in sets:
        return [f"{where}.set: {stage.set!r} is no set of this recipe{_nearest(stage.set, sets)}"]
    if (kind := sets[stage.set].KIND) not in stage.SETS:
        able = ", ".join(name for name, one in STAGES.items() if kind in one.SETS) or "none"
        return [
            f"{where}.set: {stage.set!r} is a set of kind {kind}, and {stage.KIND} trains on {' or '.join(stage.SETS)}; "
            f"on {kind} trains: {able}"
        ]
    return []


def _nearest(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, list(known), n=1)
    return (f"; did you mean {near[0]}?" if near else "") + f" (known: {', '.join(known) or 'none'})"
