"""What a recipe says under `balance`: size, shares, caps, floors, difficulties, order. Conflicts are found when it is read."""

import itertools
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from curation import sql
from curation.duck import literal

RULE = "balance"
"""The rule that what is not chosen is dropped by."""
MOST_BINS = 50
MOST = 10**12
"""Rows that can be asked for."""
_BIN = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*\.\.\s*(-?\d+(?:\.\d+)?)\s*")
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")


def _limits(given: Any) -> Any:
    for name, limit in (given if isinstance(given, dict) else {"every group": given}).items():
        whole = type(limit) is int and 1 <= limit <= MOST
        if not whole and not (type(limit) is float and 0 < limit <= 1):
            raise ValueError(
                f"{limit!r} of {name} is neither rows, a whole number from 1, nor a share of the size, above 0 and up to 1.0"
            )
    return given


Limit = int | float
"""Rows, or a share of the size: 1 is one row, 1.0 all of them."""
Limits = Annotated[Limit | dict[str, Limit], BeforeValidator(_limits)]
"""One for every group, or by the name of the group."""


def limit_of(limits: Limits, group: str | None) -> int | float | None:
    """The limit of a group; None where it has none, as the group None has no own one."""
    if isinstance(limits, dict):
        return None if group is None else limits.get(group)
    return limits


def rows(limits: Limits, group: str | None, size: int) -> int | None:
    """`limit_of` in rows; a share is of `size`."""
    limit = limit_of(limits, group)
    return math.floor(limit * size + 1e-9) if isinstance(limit, float) else limit


class Mix(BaseModel):
    """How difficulties are to be mixed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    of: str
    """SQL for a number: the difficulty."""
    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1, max_length=MOST_BINS)
    """Share by bin, such as "4..7": from 4 to 7, and 7 itself unless another bin begins there. Rows in no bin are dropped."""

    @field_validator("shares")
    @classmethod
    def _bins(cls, shares: dict[str, float]) -> dict[str, float]:
        for label in shares:
            if not (found := _BIN.fullmatch(label)) or float(found[1]) > float(found[2]):
                raise ValueError(f"{label!r} is no bin; give LOW..HIGH, such as 4..7")
        bounds = sorted((*_bounds(label), label) for label in shares)
        for (low, high, one), (above, _, other) in itertools.pairwise(bounds):
            if above < high or above == low:
                raise ValueError(f"the bins {one} and {other} overlap; one may begin where the other ends")
        if abs(sum(shares.values()) - 1) > 0.002:
            raise ValueError(f"sum to {sum(shares.values()):g}; shares have to sum to 1")
        return shares

    def bin(self, value: str) -> str:
        """SQL for the number of the bin a value lies in, counted from 0 as listed; NULL for none."""
        begins = {_bounds(label)[0] for label in self.shares}
        cases = []
        for number, label in enumerate(self.shares):
            low, high = _bounds(label)
            below = "<" if high in begins and high > low else "<="
            cases.append(f"when {value} >= {low} and {value} {below} {high} then {number}")
        return f"case {' '.join(cases)} end"


def _bounds(label: str) -> tuple[float, float]:
    found = _BIN.fullmatch(label)
    assert found
    return float(found[1]), float(found[2])


class Balance(BaseModel):
    """Which of the rows that every rule keeps are to stay, and in which order they are published."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    by: str | None = None
    """A column, or SQL, whose values are the groups; NULL is the group `unknown`. Without it all rows are one group."""
    size: int | None = Field(default=None, ge=1, le=MOST, strict=True)
    """Rows to keep in all. Without it only caps cut; those that are shares are shares of what stays."""
    temperature: float = Field(default=1.0, ge=0, le=1, strict=True)
    """Groups get shares proportional to count^temperature: 1 as they are, 0 equal ones."""
    caps: Limits = {}
    """The most that stay of a group, by its name, or of every group: rows, or a share of the size."""
    floors: Limits = {}
    """The least that stay of a group, as far as it has rows: rows, or a share of the size."""
    mix: Mix | None = None
    """Shares of difficulties in the whole; every group comes as near to them as it can."""
    prefer: str | None = None
    """SQL for a number: of a group, rows where it is larger stay first. Without it rows stay at random."""
    rule: Literal["s1"] | None = None
    """A paper's way to choose, in place of shares. s1: a group uniformly, then one of its rows, the likelier the larger
    `prefer`."""
    order: Literal["as_read", "easy_to_hard", "hard_to_easy", "random"] = "as_read"
    """The order of the published rows."""
    order_by: str | None = None
    """SQL for a number, larger for harder, to order them by."""

    @model_validator(mode="after")
    def _together(self) -> "Balance":
        given = {key for key in self.model_fields_set if getattr(self, key) not in (None, {})}
        for key in ("temperature", "floors", "mix", "rule"):
            if key in given and self.size is None:
                raise ValueError(f"{key} needs `size`, the rows to keep in all; without it only caps cut")
        for key in ("temperature", "caps", "floors", "rule"):
            if key in given and self.by is None:
                raise ValueError(f"{key} needs `by`, a column or SQL whose values are the groups")
        if self.prefer is not None and not self.cuts:
            raise ValueError("prefer needs `size` or `caps`; without them every row stays")
        if (self.order in ("easy_to_hard", "hard_to_easy")) != (self.order_by is not None):
            raise ValueError("the orders easy_to_hard and hard_to_easy need `order_by`, a number that is larger for harder "
                             "problems, and only they use it")  # fmt: skip
        if self.rule is not None and self.prefer is None:
            raise ValueError("rule: s1 needs `prefer`, SQL for a number such as the length of the trace")
        if self.rule is not None and (there := sorted(given & {"temperature", "mix"})):
            raise ValueError(f"rule: s1 takes the place of {' and '.join(there)}; leave one out")
        for group in (None, *_named(self.floors), *_named(self.caps)):
            floor, cap = (rows(limits, group, self.size or 0) for limits in (self.floors, self.caps))
            if floor is not None and cap is not None and floor > cap:
                of = "every group" if group is None else group
                raise ValueError(
                    f"floors: {floor:,} rows of {of} are above its cap, {cap:,}; lower one, or raise the other"
                )
        floors = sum(rows(self.floors, group, self.size or 0) or 0 for group in _named(self.floors))
        if self.size is not None and floors > self.size:
            raise ValueError(
                f"floors: ask for {floors:,} rows in all, and size is {self.size:,}; lower them, or raise it"
            )
        return self

    @property
    def cuts(self) -> bool:
        """Whether it may drop rows; else it only orders and counts them."""
        return self.size is not None or self.caps != {}

    @property
    def expressions(self) -> dict[str, str]:
        """Its SQL by key."""
        of = None if self.mix is None else self.mix.of
        found = {"by": self.by, "prefer": self.prefer, "mix.of": of, "order_by": self.order_by}
        return {key: expression for key, expression in found.items() if expression is not None}

    @property
    def reads(self) -> set[str]:
        """Columns that its SQL names, in lower case."""
        return {name for expression in self.expressions.values() for name in sql.columns_of(expression)}

    def mistakes(self, schema: pa.Schema) -> list[str]:
        """What is wrong with its SQL over these columns, each as `key: what`."""
        found = []
        for key, expression in self.expressions.items():
            try:
                kind = sql.check(expression, schema)
                if key != "by" and not _NUMBER.fullmatch(kind):
                    found.append(f"{key}: {sql.short(expression)!r} gives {kind}, not a number")
            except sql.ExpressionError as error:
                found.append(f"{key}: {sql.short(expression)!r} {error}")
        return found

    def ordering(self, seed: int) -> str | None:
        """SQL to order the published rows by; None for as they were read."""
        if self.order_by is None:
            return shuffled(seed, "order") if self.order == "random" else None
        direction = "asc" if self.order == "easy_to_hard" else "desc"
        return f"{real(self.order_by)} {direction} nulls last, {shuffled(seed, 'order')}"

    def describe(self) -> str:
        """What holds of a row that stays, in words."""
        words = [f"it is among {self.size:,} rows" if self.size is not None else "it is among the rows within caps"]
        words += [f"balanced by {_line(self.by)}"] if self.by is not None else []
        words += [f"temperature {self.temperature:g}"] if "temperature" in self.model_fields_set else []
        words += [f"with {key}" for key in ("caps", "floors") if getattr(self, key) != {}]
        words += [f"mixed by {_line(self.mix.of)}"] if self.mix is not None else []
        words += [f"drawn as in {self.rule}"] if self.rule is not None else []
        words += [f"larger {_line(self.prefer)} first"] if self.prefer is not None else []
        return ", ".join(words)


def _named(limits: Limits) -> Mapping[str, Limit]:
    return limits if isinstance(limits, dict) else {}


def _line(expression: str) -> str:
    return sql.short(" ".join(expression.split()), 60)


def real(expression: str) -> str:
    """SQL for an expression as a number; NULL where it cannot be computed or is not finite."""
    value = f"try((\n{expression}\n)::double)"
    return f"case when isfinite({value}) then {value} end"


def shuffled(seed: int, purpose: str) -> str:
    """SQL to order rows at random by, 128 bits of hash(seed, id).

    Each purpose has its own: rows chosen by a hash would all come first where another order, or the split, uses the same.
    """
    return f"md5_number({literal(f'{seed}:{purpose}:')} || id)"
