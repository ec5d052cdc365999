"""The rewards of a stage, as a recipe says them: the place where they are named.

    rewards: {accuracy: {}, format: {weight: 0.1}, length: {weight: 0.5, after: 0.3}, language: null}

A recipe without the section, or without `accuracy` in it, rewards accuracy; `accuracy: null` says that it does not.
"""

from typing import Self, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from train.rewards.accuracy import Accuracy
from train.rewards.format import Format
from train.rewards.language import Language
from train.rewards.length import Length
from train.rewards.overlong import Overlong
from train.rewards.repetition import Repetition
from train.rewards.reward import Reward


class Section(BaseModel):
    """What is rewarded, and how much."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    accuracy: Accuracy | None = Accuracy()
    """Whether the answer is right."""
    format: Format | None = None
    """Whether it thinks, closes the thinking, and answers."""
    language: Language | None = None
    """Share of the thinking that is in the language of the problem."""
    length: Length | None = None
    """Whether it is short among the samples of its prompt."""
    repetition: Repetition | None = None
    """Minus the share of it that is in loops."""
    overlong: Overlong | None = None
    """Minus how far it gets into the last tokens before the limit."""

    @model_validator(mode="after")
    def _rewards_something(self) -> Self:
        if not any(one.weight and not one.after for one in self.parts.values()):
            raise ValueError(
                "nothing is rewarded from the first step on; give one of them a weight above 0 and leave its `after` out"
            )
        return self

    @property
    def parts(self) -> dict[str, Reward]:
        """The rewards by name."""
        return {name: one for name in type(self).model_fields if (one := getattr(self, name)) is not None}

    def mistakes(self, max_tokens: int) -> list[str]:
        """What cannot be with completions of at most so many tokens, as `name.key: what and what to do`."""
        return [f"{name}.{mistake}" for name, one in self.parts.items() for mistake in one.mistakes(max_tokens)]

    def doubts(self, opened: bool) -> list[str]:
        """What may be gamed: sentences for before the first step. opened: whether prompts end inside a think block."""
        found = []
        if self.accuracy is not None:
            others = [one for name, one in self.parts.items() if name != Accuracy.NAME]
            least = self.accuracy.weight + sum(one.weight * one.OF_CORRECT for one in others)
            most = sum(one.weight * one.OF_WRONG for one in others)
            if least < most:
                found.append(
                    f"rewards: a wrong completion can get up to {most:g}, and a correct one as little as {least:g}; lower the "
                    "weights beside accuracy until being right always pays"
                )
        else:
            found.append("rewards: accuracy is not rewarded, so nothing pays for being right")
        if opened and self.format is None:
            found.append(
                "rewards: prompts open the thinking, and nothing pays for closing it: a completion that never does is graded "
                "whole; add `format: {weight: 0.1}`"
            )
        return found


KINDS: dict[str, type[Reward]] = {name: get_args(field.annotation)[0] for name, field in Section.model_fields.items()}
"""Every reward by its name."""
