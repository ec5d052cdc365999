"""What a recipe says under `select`: which of a problem's traces come first, how many stay, how large the set is, its mix."""

import re
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from curation import sql
from curation.duck import literal

RANDOM = "random"
DIVERSE = "diverse"
TOKENS = "trained_tokens"
"""The column of what a budget in tokens counts: tokens of the student that are trained on."""
MOST_SHARES = 50
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")

Unit = Literal["rows", "tokens"]


class Mix(BaseModel):
    """What the set is to consist of."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    by: str
    """A column, or SQL, whose values are the groups; NULL is the group `unknown`."""
    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1, max_length=MOST_SHARES)
    """Share by group. Traces of other groups are dropped."""
    of: Unit = "rows"
    """What the shares are of. R1's general part is 22 % of the rows and 6 % of the tokens: its traces are short."""

    @field_validator("shares")
    @classmethod
    def _whole(cls, shares: dict[str, float]) -> dict[str, float]:
        if abs(sum(shares.values()) - 1) > 0.002:
            raise ValueError(f"sum to {sum(shares.values()):g}; shares have to sum to 1")
        return shares


class Select(BaseModel):
    """Which of the traces that the rules keep stay in the set."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    by: str = RANDOM
    """Which of a problem's traces come first: `random`; `diverse`, those that are farthest apart in wording; or SQL for a
    number over columns of trace and problem, the smallest first: `tokens` is the shortest (Kimi k1.5's shortest rejection
    sampling), `-tokens` the longest, `-limo_score` the best by LIMO's rules. NULL comes last."""
    k: int | None = Field(default=4, ge=1, strict=True)
    """The most traces that stay of a problem; null for all."""
    rows: int | None = Field(default=None, ge=1, strict=True)
    """The most rows of the train split. Other splits are cut to the same share."""
    tokens: int | None = Field(default=None, ge=1, strict=True)
    """The most trained tokens of the train split, in tokens of the student."""
    mix: Mix | None = None
    """Shares of groups in the set. Without `rows` and `tokens` the set is as large as the shares allow."""
    prefer: str | None = None
    """SQL for a number: where a budget or mix cuts, traces where it is larger stay first. Without it traces stay at random.
    Whatever it says, the first trace of every problem comes before the second of any."""

    @model_validator(mode="after")
    def _together(self) -> "Select":
        if self.prefer is not None and not self.cuts:
            raise ValueError("prefer needs `rows`, `tokens` or `mix`; without them only `k` cuts, and that by `by`")
        return self

    @property
    def cuts(self) -> bool:
        """Whether it may drop traces for what other problems have."""
        return self.rows is not None or self.tokens is not None or self.mix is not None

    @property
    def counts_tokens(self) -> bool:
        """Whether what stays depends on the lengths of traces."""
        return self.tokens is not None or (self.mix is not None and self.mix.of == "tokens")

    @property
    def expressions(self) -> dict[str, str]:
        """Its SQL by key."""
        found = {
            "by": None if self.by in (RANDOM, DIVERSE) else self.by,
            "mix.by": None if self.mix is None else self.mix.by,
            "prefer": self.prefer,
        }
        return {key: expression for key, expression in found.items() if expression is not None}

    @property
    def reads(self) -> set[str]:
        """Columns that its SQL names, in lower case."""
        return {name for expression in self.expressions.values() for name in sql.columns_of(expression)}

    def mistakes(self, columns: pa.Schema) -> list[str]:
        """What is wrong with its SQL over these columns, each as `key: what`."""
        found = []
        for key, expression in self.expressions.items():
            try:
                kind = sql.check(expression, columns)
                if key != "mix.by" and not _NUMBER.fullmatch(kind):
                    found.append(f"{key}: {sql.short(expression)!r} gives {kind}, not a number")
            except sql.ExpressionError as error:
                words = " (or give random or diverse)" if key == "by" and isinstance(error, sql.UnknownColumn) else ""
                found.append(f"{key}: {sql.short(expression)!r} {error}{words}")
        return found


WHICH = "concat_ws(':', problem_id, sample_index)"
"""SQL for what a trace is called in another workspace, too: rollouts have random names."""


def hashed(seed: int, purpose: str) -> str:
    """SQL for 64 bits of hash(seed, problem, sample index), to break ties by.

    Each purpose has its own: what comes first by one would else come first by all.
    """
    return f"md5_number_lower({literal(f'{seed}:{purpose}:')} || {WHICH})"
