"""What a recipe says of the order of a stage's problems, under `curriculum`. Nothing here imports more than pydantic."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

PASS_RATE = "pass_rate"


class Curriculum(BaseModel):
    """In which order a stage draws the problems of its set. Shares are of the stage's batches of rollouts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    PAPER: ClassVar[Mapping[str, str]] = {"order": "Kimi k1.5 (2501.12599, 2.3.4)"}
    """Where a default comes from. The paper gives no numbers: those are ours."""

    order: Literal["easy_to_hard", "shuffled"] = "easy_to_hard"
    """The order before problems are drawn by priority; `shuffled` makes passes over the set."""
    prioritise_after: float = Field(default=0.5, ge=0, le=1)
    """Share of the stage after which problems are drawn in proportion to 1 - success rate; 1 is never."""
    rates: str = PASS_RATE
    """The annotator whose pass rates count as measured, by its key in the recipe: that of the model which is trained, or nearest
    to it. One that is drawn to its end (`settle: never`) orders best."""
    difficulty: str | None = None
    """The set's column that says how hard a problem is, more being harder; by default the measured pass rate does."""
    max_unsolved: float = Field(default=0.1, ge=0, le=1)
    """Largest share of batches, on average, for problems that are not solved lately: a group without a right answer has no
    gradient."""
    retest_after: float = Field(default=0.1, ge=0, le=1)
    """Share of the stage for which such a problem rests before it is tried again."""
    half_life: float = Field(default=0.1, gt=0)
    """Share of the stage after which an outcome counts half beside a new one, as the policy has changed."""
