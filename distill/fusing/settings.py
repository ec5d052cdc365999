"""What a recipe says of a fusion set: its parts, the ratio of the modes, flags, conversations.

What is published, and by whom, stands at each default; where nothing is, it says ours.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Mode = Literal["think", "no_think"]
"""Whether a turn is answered after thinking."""
MODES: tuple[Mode, Mode] = ("think", "no_think")
NEARLY = 1e-9
"""What a sum of shares may be off by."""

Rate = Annotated[float, Field(ge=0, le=1)]
Turns = Annotated[int, Field(ge=2, le=64)]
PartName = Annotated[str, Field(pattern=r"^[\w.-]+$")]


class Part(BaseModel):
    """Rows of one mode from one place."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mode: Mode
    """think: its rows are trained with their thinking. no_think: with an empty think block and the answer alone."""
    weight: float | None = Field(default=None, gt=0, le=1)
    """Its share of its mode, in what `ratio_of` counts. Parts without one share the rest as they come, in proportion to
    what is there."""


class Ratio(BaseModel):
    """How much of either mode; only their proportion counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    think: float = Field(default=0.8, gt=0, allow_inf_nan=False)
    """SmolLM3: .8 billion tokens with thinking to 1.0 billion without. Qwen3 gives no ratio."""
    no_think: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """See `think`."""


class Flags(BaseModel):
    """Where `/think` and `/no_think` are written. Whatever these say, the last flag of a non-thinking row is `/no_think`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    think_rate: Rate = 0.5
    """Share of thinking turns with `/think` where thinking is on without it: none before, or the last one was `/think`. Qwen3
    leaves it out of "some" of them, as thinking is its default, and gives no share: .5 is ours."""
    no_think_rate: Rate = 0.5
    """Share of non-thinking turns with `/no_think` where the last flag before was `/no_think`; others all have it. Ours:
    without any, a model would not learn that a flag holds until the next."""
    system_rate: Rate = 0.2
    """Share of rows whose flag, if any, stands in the system message. Qwen3 uses user and system messages and gives no share: .2
    is ours. 1 is SmolLM3's way, whose template reads the system message only: then all turns of a conversation have one mode."""


class Fusion(BaseModel):
    """Thinking and non-thinking rows in one set, told apart by flags (Qwen3 technical report, arXiv 2505.09388, section 4.3)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    parts: Mapping[PartName, Part] = Field(min_length=2)
    """Parts by name, at least one of each mode. A trace that two parts of one mode choose counts to the first."""
    ratio: Ratio = Ratio()
    """The side that has more than its share is cut at random; the other is never repeated."""
    ratio_of: Literal["tokens", "rows"] = "tokens"
    """What the ratio and the weights are of: tokens trained on, as SmolLM3 counts them, or rows."""
    flags: Flags = Flags()
    """Where flags are written."""
    multi_turn: Rate = 0.1
    """Share of rows that are conversations of several turns. Qwen3 has them and gives no share: .1 is ours."""
    turns: tuple[Turns, Turns] = (2, 4)
    """Fewest and most turns of those, each number as likely. Ours."""

    @model_validator(mode="after")
    def _together(self) -> "Fusion":
        for mode in MODES:
            parts = [part for part in self.parts.values() if part.mode == mode]
            if not parts:
                raise ValueError(f"parts: none has `mode: {mode}`; a fusion needs a part of each mode")
            weights = [part.weight for part in parts if part.weight is not None]
            total = sum(weights)
            if len(weights) == len(parts) and abs(total - 1) > NEARLY:
                raise ValueError(
                    f"parts: the weights of mode {mode} sum to {total:g}; make them sum to 1, or leave one out for the rest"
                )
            if len(weights) < len(parts) and total > 1 - NEARLY:
                raise ValueError(
                    f"parts: the weights of mode {mode} sum to {total:g}, which leaves nothing for its parts without one"
                )
        if self.turns[0] > self.turns[1]:
            raise ValueError(f"turns: {list(self.turns)} has the most before the fewest; swap them")
        return self
