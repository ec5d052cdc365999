"""What a recipe says under `sets`: what each is made of, which traces it keeps, how many of them.

    sets:
      rl: {without: [sft]}
      sft: {traces: long, enough: 4, keep: {short: drawn_tokens < 8000}, select: {by: random, k: 4}}
      short: {is: sft, traces: long, select: {by: tokens, k: 1}}
      fusion: {parts: {thinking: {mode: think, traces: own}, plain: {mode: no_think, traces: written}}}
      preference: {traces: long, pairs: {kinds: [long2short]}}

A key is the name of a config of the dataset; `is` names its kind where the key is not one.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from distill.fusing.settings import Fusion, Part, PartName
from distill.preference import Pairs
from distill.process import Steps
from distill.selecting.targets import Select


class Problems(BaseModel):
    """Which problems a set is made of, among those that the rules keep."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    where: str | None = None
    """SQL condition over what was measured of a problem; by default all that the rules keep."""
    without: tuple[str, ...] = ()
    """Sets whose problems this one leaves out: RL on problems that the cold start has not shown, for instance (Qwen3, 4.2)."""


class FromTraces(BaseModel):
    """Which traces are taken, and which of them stay."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    traces: str
    """Where they come from: an entry of `traces`, or an annotator that samples, whose samples are then taken as they are."""
    enough: int | None = Field(default=None, ge=1, strict=True)
    """Kept traces of a problem after which no more are drawn of it, by sample index; by default all n are."""
    keep: Mapping[str, str | None] = {}
    """Rules over the columns of traces and problems, on top of the default ones (keeping.py), null for none of that name."""


class RLSet(Problems):
    """Problems and what was measured of them, for RL."""

    KIND: ClassVar[str] = "rl"


class SFTSet(Problems, FromTraces):
    """Traces to be imitated: long-CoT SFT, and RFT where the model's own samples are the traces."""

    KIND: ClassVar[str] = "sft"

    select: Select = Select()
    """Which of the traces that the rules keep stay."""
    mode: Literal["as_drawn", "no_think"] = "as_drawn"
    """`no_think` leaves the thinking out; by default rows are as they were drawn."""
    max_faulty: float = Field(default=0.05, ge=0, le=1)
    """Share of rows that may not survive the student's template before the whole set is refused."""


class FusionPart(Part, FromTraces):
    """Rows of one mode, and where they come from."""

    where: str | None = None
    """SQL condition over what was measured of a problem."""
    select: Select = Select(k=1)
    """Which of the traces that the rules keep stay."""


class FusionSet(Problems, Fusion):
    """Thinking and non-thinking rows in one set, told apart by flags."""

    KIND: ClassVar[str] = "fusion"

    parts: Mapping[PartName, FusionPart] = Field(min_length=2)
    """Parts by name, at least one of each mode. A trace that two parts of one mode choose counts to the first."""
    max_faulty: float = Field(default=0.05, ge=0, le=1)
    """Share of rows that may not survive the student's template before the whole set is refused."""

    @field_validator("parts")
    @classmethod
    def _apart(cls, parts: Mapping[str, FusionPart]) -> Mapping[str, FusionPart]:
        known: dict[str, str] = {}
        for name in parts:
            if (other := known.setdefault(name.lower(), name)) != name:
                raise ValueError(f"{other} and {name} differ only in case; give one of them another name")
        return parts


class PreferenceSet(Problems, FromTraces):
    """A chosen and a rejected answer to the same prompt, for DPO and its relatives."""

    KIND: ClassVar[str] = "preference"

    rejected: Mapping[str, str | None] = {}
    """Rules for what may be rejected, on top of paired.REJECTED: judged, whole (not cut_off), answered."""
    pairs: Pairs = Pairs()
    """Which pairs are made."""
    max_faulty: float = Field(default=0.05, ge=0, le=1)
    """Share of rows that may not survive the student's template before the whole set is refused."""


class ProcessSet(Problems, Steps):
    """Solutions by steps with a label each, where the source brings them."""

    KIND: ClassVar[str] = "process"


AnySet = RLSet | SFTSet | FusionSet | PreferenceSet | ProcessSet
KINDS: dict[str, type[AnySet]] = {kind.KIND: kind for kind in (RLSet, SFTSet, FusionSet, PreferenceSet, ProcessSet)}
"""Kinds of sets by name: a new one is a class here and its builder in building.py."""


def sources_of(wanted: AnySet) -> list[FromTraces]:
    """What of a set takes traces."""
    if isinstance(wanted, FusionSet):
        return [*wanted.parts.values()]
    return [wanted] if isinstance(wanted, FromTraces) else []


def in_order(sets: Mapping[str, AnySet]) -> list[str]:
    """Their names, each behind those it is `without`. Raises ValueError naming a circle, or a set that is not there."""
    done: list[str] = []
    waiting = dict(sets)
    while waiting:
        ready = [name for name, one in waiting.items() if all(other in done for other in one.without)]
        if not ready:
            for name, one in waiting.items():
                if missing := [other for other in one.without if other not in sets]:
                    raise ValueError(
                        f"{name}.without: {missing[0]!r} is no set of this recipe (there are {', '.join(sets)})"
                    )
            raise ValueError(
                f"{next(iter(waiting))}.without: {' and '.join(waiting)} leave each other out; let one of them go first"
            )
        done += ready
        waiting = {name: one for name, one in waiting.items() if name not in ready}
    return [*done]
