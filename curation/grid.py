"""A grid: a sweep for every value of a placeholder in the rules, or for every pair of values of two.

A placeholder is a name in braces, `passes between {low} and {high}`. What does not depend on it is read once (frozen.py), so
a cell costs little beside the first.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np

from curation.again import IN, OUT, UNDECIDED
from curation.frozen import Frozen
from curation.publish import Dataset
from curation.sweep import Cost, Lacking, SweepError, changed

Number = int | float

MOST_CELLS = 400
_PLACEHOLDER = re.compile(r"(?<!\\p)(?<!\\P)\{([A-Za-z_]\w*)\}")  # not the \p{Greek} of a pattern
_RANGE = re.compile(r"\s*(.+?)\s*\.\.\s*(.+?)\s*(?:\.\.\s*(.+?)\s*)?")


class GridError(SweepError):
    """A grid cannot be made of what was given."""


@dataclass(frozen=True)
class Cell:
    """What the rules would decide with these values."""

    values: dict[str, Number]
    kept: int
    dropped: int
    undecided: int
    cost: Cost


@dataclass(frozen=True)
class Grid:
    """A sweep for every combination of values."""

    values: dict[str, list[Number]]
    cells: list[Cell]
    """In the order of the values, those of the last placeholder running fastest."""
    undecided: int
    """Rows that are undecided in some cell."""
    cost: Cost
    """What would decide all of these."""
    unbalanced: bool


def grid(dataset: Dataset, changes: Mapping[str, str | None], values: Mapping[str, Sequence[Number]]) -> Grid:
    """A sweep for every combination of the values of placeholders, written `{name}` in the rules.

    Raises what `sweep` raises, and GridError for placeholders and values that do not fit.
    """
    _check(changes, values)
    frozen = Frozen(dataset)
    lacking = Lacking(frozen)
    cells = []
    ever = np.zeros(frozen.rows, bool)
    for chosen in itertools.product(*values.values()):
        at = dict(zip(values, chosen, strict=True))
        decided = frozen.decide(changed(frozen, {name: _filled(rule, at) for name, rule in changes.items()}))
        undecided = decided.state == UNDECIDED
        ever |= undecided
        cost = lacking.cost(undecided, decided)
        cells.append(Cell(at, decided.count(IN), decided.count(OUT), decided.count(UNDECIDED), cost))
    return Grid(
        values={name: list(of) for name, of in values.items()},
        cells=cells,
        undecided=int(np.count_nonzero(ever)),
        cost=lacking.cost(ever, decided),
        unbalanced=frozen.balance is not None and frozen.balance.cuts,
    )


def unfilled(changes: Mapping[str, str | None]) -> None:
    """Raises GridError when a rule has a placeholder although there is no grid."""
    for name, rule in changes.items():
        if rule is not None and (found := _PLACEHOLDER.search(rule)):
            raise GridError(f"rule {name} has a placeholder {found[0]} without values; give --grid {found[1]}=1..5")


def numbers(text: str) -> list[Number]:
    """The values in `1,2,5..8,0.1..0.5..0.1`: numbers and ranges, both ends included, with a step where it is not 1."""
    found: list[Number] = []
    for part in text.split(","):
        ends = _RANGE.fullmatch(part)
        try:
            if ends is None:
                found.append(_number(Decimal(part.strip())))
                continue
            first, last, step = (Decimal(end if end is not None else "1") for end in ends.groups())
        except InvalidOperation:
            raise GridError(f"{part.strip()!r} is no number or range; give such as 1,2,5..8 or 0.1..0.5..0.1") from None
        if not (first.is_finite() and last.is_finite() and step.is_finite() and step > 0 and first <= last):
            raise GridError(f"the range {part.strip()!r} has to go up, by a step above 0: 0..8 or 0..1..0.25")
        count = int((last - first) // step) + 1
        if count > MOST_CELLS:
            raise GridError(f"the range {part.strip()!r} has {count:,} values; a grid has at most {MOST_CELLS} cells")
        found += [_number(first + number * step) for number in range(count)]
    return list(dict.fromkeys(found))


# ---- how


def _number(value: Decimal) -> Number:
    if not value.is_finite():
        raise InvalidOperation
    return int(value) if value == value.to_integral_value() else float(value)


def _filled(rule: str | None, values: Mapping[str, Number]) -> str | None:
    """A rule with numbers in place of placeholders; a negative one in brackets, or else `-{x}` began a comment."""
    if rule is None:
        return None
    texts = {name: f"({value})" if value < 0 else str(value) for name, value in values.items()}
    return _PLACEHOLDER.sub(lambda found: texts[found[1]], rule)


def _check(changes: Mapping[str, str | None], values: Mapping[str, Sequence[Number]]) -> None:
    asked = dict.fromkeys(name for rule in changes.values() for name in _PLACEHOLDER.findall(rule or ""))
    if missing := [name for name in asked if name not in values]:
        raise GridError(f"{{{missing[0]}}} has no values; give --grid {missing[0]}=1..5")
    if unused := [name for name in values if name not in asked]:
        raise GridError(
            f"no rule has {{{unused[0]}}}; write it where the value belongs, such as --rule 'learnable=passes >= {{{unused[0]}}}'"
        )
    if len(values) > 2:
        raise GridError(f"{len(values)} placeholders are too many for a table: {', '.join(values)}; give one or two")
    cells = math.prod(len(of) for of in values.values())
    if cells > MOST_CELLS:
        raise GridError(f"{cells:,} combinations of values are too many; a grid has at most {MOST_CELLS} cells")
