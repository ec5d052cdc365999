"""Shorter is better, among the completions of one prompt: the length reward of Kimi k1.5.

With the shortest and the longest of the k samples of a prompt (2501.12599, 2.3.3),

    lambda = 0.5 - (length - shortest) / (longest - shortest)      0 when all are of one length
    reward = lambda          of a correct completion
             min(0, lambda)  of a wrong one

so a short wrong answer gains nothing, and a long one loses. From the start it may slow the training down: the paper turns it on
later, at a constant weight. It gives neither number.
"""

from typing import ClassVar

from pydantic import Field

from train.rewards.reward import Batch, Reward


class Length(Reward):
    """From 0.5 for the shortest correct completion of a group to -0.5 for the longest."""

    NAME: ClassVar[str] = "length"
    OF_CORRECT: ClassVar[float] = -0.5
    OF_WRONG: ClassVar[float] = 0.0

    after: float = Field(default=0.5, ge=0)
    """Steps after which it counts: a share of the stage below 1, else their number. It is logged from the start."""

    def rewards(self, batch: Batch) -> list[float | None]:
        lengths = [one.tokens for one in batch.completions]
        rows = zip(lengths, batch.shortest, batch.longest, batch.correct, strict=True)
        return [length_reward(*row) for row in rows]


def length_reward(length: int, shortest: int, longest: int, correct: bool | None) -> float | None:
    """Of one completion; lengths in tokens. None where it is not known whether it is correct, unless all have one length."""
    if longest == shortest:
        return 0.0
    if correct is None:
        return None
    gained = 0.5 - (length - shortest) / (longest - shortest)
    return gained if correct else min(0.0, gained)
