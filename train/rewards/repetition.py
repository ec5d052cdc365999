"""Loops: the share of a completion's words that it says over and over, taken off.

Kimi k1.5 ends samples that repeat themselves, Qwen3 drops them; neither has a number. What a loop is, is told as for traces
(distill/detect/repetition.py); thinking and answer are looked at together.
"""

from typing import ClassVar

from distill.detect.repetition import loops
from distill.detect.words import tokens
from train.rewards.reward import Batch, Reward


class Repetition(Reward):
    """Minus the share of the words that are in loops: 0 to -1."""

    NAME: ClassVar[str] = "repetition"
    OF_CORRECT: ClassVar[float] = -1.0
    OF_WRONG: ClassVar[float] = 0.0

    def rewards(self, batch: Batch) -> list[float | None]:
        return [0.0 - loops(one.text, tokens(one.text)).share for one in batch.completions]
