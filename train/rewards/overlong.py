"""The soft punishment of overlong completions (DAPO, 2503.14476, eq. 13).

    0                              up to limit - cache tokens
    (limit - cache - length) / cache    from there to the limit
    -1                             beyond

DAPO: a limit of 20,480 tokens with a cache of 4,096, a fifth of it. Its accuracy is 1 or -1, twice as far apart as ours, so
half its weight is the same mixture.
"""

from typing import ClassVar

from pydantic import Field

from train.rewards.reward import Batch, Reward


class Overlong(Reward):
    """From 0 to -1 over the last tokens before the limit."""

    NAME: ClassVar[str] = "overlong"
    OF_CORRECT: ClassVar[float] = -1.0
    OF_WRONG: ClassVar[float] = 0.0

    weight: float = Field(default=0.5, ge=0)
    """What it is multiplied by in the sum; with 0 it is only logged."""
    limit: int | None = Field(default=None, gt=0)
    """Tokens at which it is -1; by default the length at which completions are cut off."""
    cache: float = Field(default=0.2, gt=0)
    """Tokens before the limit over which it falls: a share of the limit below 1, else their number."""

    def rewards(self, batch: Batch) -> list[float | None]:
        limit, cache = self._bounds(batch.max_tokens)
        return [overlong(one.tokens, limit, cache) for one in batch.completions]

    def mistakes(self, max_tokens: int) -> list[str]:
        limit, cache = self._bounds(max_tokens)
        found = []
        if limit > max_tokens:
            found.append(
                f"limit: {limit:,} tokens are never reached, as completions are cut off at {max_tokens:,}; leave it out, or give "
                "less"
            )
        if cache > limit:
            found.append(f"cache: {cache:,.0f} tokens are more than the limit of {limit:,}; give a share, such as 0.2")
        return found

    def _bounds(self, max_tokens: int) -> tuple[int, float]:
        """Limit and cache in tokens."""
        limit = max_tokens if self.limit is None else self.limit
        return limit, limit * self.cache if self.cache < 1 else self.cache


def overlong(length: int, limit: int, cache: float) -> float:
    """Of a completion of so many tokens."""
    return min(0.0, max(-1.0, (limit - cache - length) / cache))
