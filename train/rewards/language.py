"""Thinking in the language of the problem: the share of its words that are.

DeepSeek-R1 (2.3.2): "the proportion of target language words in the CoT", added to the accuracy. What words are, and which are of
another language, is told as for traces (distill/detect/mixed.py). Unknown where no language can be told: no thinking, or none but
formulas.
"""

import re
from typing import ClassVar

from pydantic import field_validator

from curation.language import LANGUAGES
from distill.detect.mixed import mixed
from train.rewards.reward import Batch, Reward

_ENDLESS = re.compile(r"([A-Za-z'’]{64})[A-Za-z'’]+")
"""A word that no language has. A policy may write one of many thousand letters, which takes `mixed` minutes."""


class Language(Reward):
    """Share of the words of the thinking that are of its language, 0 to 1."""

    NAME: ClassVar[str] = "language"
    OF_CORRECT: ClassVar[float] = 0.0
    OF_WRONG: ClassVar[float] = 1.0

    language: str | None = None
    """The language it should think in, as an ISO 639-1 code; by default that of the problem."""

    @field_validator("language")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in LANGUAGES:
            raise ValueError(f"is no language that is told apart; known are {', '.join(LANGUAGES)}")
        return value

    def rewards(self, batch: Batch) -> list[float | None]:
        asked = [one.given for one in batch.completions]
        thought = [one.parts.thinking for one in batch.completions]
        thought = [None if one is None else _ENDLESS.sub(r"\1", one) for one in thought]
        return [found.share for found in mixed(asked, thought, self.language)]
