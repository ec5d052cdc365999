"""What a reward is, and what it sees: a batch of completions, in groups of as many for every prompt.

    class Digits(Reward):
        \"\"\"Share of the characters that are digits.\"\"\"

        NAME: ClassVar[str] = "digits"
        OF_CORRECT: ClassVar[float] = 0.0
        OF_WRONG: ClassVar[float] = 1.0

        def rewards(self, batch: Batch) -> list[float | None]:
            return [sum(map(str.isdigit, one.text)) / len(one.text) if one.text else None for one in batch.completions]

One file with such a class and one line in section.py, and a recipe can say `rewards: {digits: {weight: 0.1}}`. None is for what
is not known, or does not apply: it neither raises nor lowers what the completion gets (total.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from distill import thinking
from distill.thinking import Parts


@dataclass(frozen=True)
class Completion:
    """One sample of the policy."""

    problem: Mapping[str, Any]
    """Its row in the set: prompt, answer, verifier, verifier_args; `messages`, the turns before the prompt, may be missing."""
    text: str
    """What follows the prompt, decoded: without special tokens, but with think tags, whatever the tokenizer takes them for."""
    tokens: int
    """Its length in tokens, the end of turn included."""
    cut_off: bool
    """Whether it ended at the longest length, not by itself."""
    opened: bool = False
    """Whether the prompt, as the template writes it, ends inside a think block (`curation.prompt.OPENED` finds it)."""

    @cached_property
    def parts(self) -> Parts:
        """Thinking and answer."""
        return thinking.split(self.text, opened=self.opened)

    @property
    def given(self) -> str:
        """All that the policy was asked: the earlier turns, then the prompt."""
        turns = [turn["content"] or "" for turn in self.problem.get("messages") or []]
        return "\n".join([*turns, self.problem["prompt"]])


@dataclass(frozen=True)
class Batch:
    """What rewards look at. All sequences have an entry a completion."""

    completions: Sequence[Completion]
    correct: Sequence[bool | None]
    """Whether the verifier accepts it; false when it was cut off, None where that is not known."""
    shortest: Sequence[int]
    """Tokens of the shortest completion of its group."""
    longest: Sequence[int]
    """And of the longest."""
    max_tokens: int
    """Length at which a completion is cut off."""


class Reward(BaseModel):
    """Settings of one reward, and what it says of completions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    NAME: ClassVar[str]
    """What a recipe and the metrics call it."""
    DECIDES: ClassVar[bool] = False
    """Whether a completion of which it is unknown trains nothing."""
    OF_CORRECT: ClassVar[float]
    """The least that a correct completion can get of it."""
    OF_WRONG: ClassVar[float]
    """The most that a wrong one can."""

    weight: float = Field(default=1.0, ge=0)
    """What it is multiplied by in the sum; with 0 it is only logged."""
    after: float = Field(default=0.0, ge=0)
    """Steps after which it counts: a share of the stage below 1, else their number. It is logged from the start."""

    def rewards(self, batch: Batch) -> list[float | None]:
        """One a completion; None where it is not known or does not apply."""
        raise NotImplementedError  # every reward has its own

    def mistakes(self, max_tokens: int) -> list[str]:
        """What is wrong with the settings where completions are cut off at this length, as `key: what and what to do`."""
        return []

    def begins(self, steps: int) -> int:
        """The number of steps done when it begins to count. steps: of the whole stage."""
        # 0.07 * 100 is a little more than 7.
        return math.ceil(self.after * steps - 1e-6) if self.after < 1 else math.ceil(self.after)
