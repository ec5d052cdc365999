"""A set's problems as a curriculum sees them: what was measured before training, and what comes of a group in it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from train.curriculum.settings import PASS_RATE, Curriculum

RIGHT = 0.5
"""A reward above it is a right answer, as in imports."""


class CurriculumError(ValueError):
    """A curriculum cannot be followed, or gone on with, as asked: says what does not fit."""


@dataclass(frozen=True)
class Measured:
    """The problems of a set, by place; None is what was not measured."""

    ids: Sequence[str]
    passes: Sequence[int | None]
    fails: Sequence[int | None]
    difficulty: Sequence[float | None] | None = None
    """How hard each is, more being harder; by default their pass rates say it."""

    @classmethod
    def of(cls, rows: pa.Table, settings: Curriculum) -> Measured:
        """The problems of an RL set, in its order. Raises CurriculumError where the settings name what it does not have."""
        before = "" if settings.rates == PASS_RATE else f"{settings.rates}_"
        counts = [f"{before}{name}" for name in ("passes", "fails")]
        if settings.rates != PASS_RATE and not {*counts} <= {*rows.column_names}:
            raise CurriculumError(
                f"curriculum.rates: {settings.rates!r} has no pass rates in the set, which would be {' and '.join(counts)}; "
                "give the key of an annotator that is `pass_rate`"
            )
        nothing = [None] * rows.num_rows
        passes, fails = (rows[name].to_pylist() if name in rows.column_names else nothing for name in counts)
        hard = None if settings.difficulty is None else _numbers(rows, settings.difficulty)
        return cls(rows["id"].to_pylist(), passes, fails, hard)

    def known(self) -> bool:
        """Whether anything says of any problem how hard it is."""
        rated = any((passes or 0) + (fails or 0) for passes, fails in zip(self.passes, self.fails, strict=True))
        return rated if self.difficulty is None else any(one is not None for one in self.difficulty)

    def fingerprint(self) -> str:
        """Of all of it, in its order."""
        hard = None if self.difficulty is None else [*self.difficulty]
        said = json.dumps([[*self.ids], [*self.passes], [*self.fails], hard])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


class Outcome(NamedTuple):
    """What came of a problem's group."""

    right: int
    known: int
    """Answers that could be graded."""


def outcomes(ids: Sequence[str], rewards: Sequence[float | None]) -> dict[str, Outcome]:
    """Rewards for being right, by problem. ids, rewards: of every answer, in any order; None and NaN are unknown."""
    right: dict[str, int] = dict.fromkeys(ids, 0)
    known: dict[str, int] = dict.fromkeys(ids, 0)
    for problem, reward in zip(ids, rewards, strict=True):
        if reward is not None and not math.isnan(reward):
            right[problem] += reward > RIGHT
            known[problem] += 1
    return {problem: Outcome(right[problem], known[problem]) for problem in right}


def _numbers(rows: pa.Table, column: str) -> list[float | None]:
    if column not in rows.column_names:
        raise CurriculumError(
            f"curriculum.difficulty: {column!r} is no column of the set; it has {', '.join(rows.column_names)}"
        )
    kind = rows.schema.field(column).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise CurriculumError(
            f"curriculum.difficulty: {column} holds {kind}, and a number is needed, more being harder"
        )
    return [None if one is None or math.isnan(one) else float(one) for one in rows[column].to_pylist()]
