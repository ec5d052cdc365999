"""Decisions again, under other rules: no model, no measurement.

A row that was not measured because a rule above dropped it, or that was settled for another band, may now be *undecided*:
it is counted as neither kept nor dropped, with the samples that would decide it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curation import rules, sql
from curation.again import AT, IN, OUT, UNDECIDED, Codes
from curation.balancing.targets import RULE
from curation.duck import arrow, quoted
from curation.frozen import Decided, Frozen
from curation.publish import Dataset
from curation.rules import Measured

MOST_GROUPS = 200
"""Values of a column that rows are counted by, at most."""


class SweepError(ValueError):
    """What was asked of a sweep cannot be done."""


@dataclass(frozen=True)
class Cost:
    """What would decide undecided rows, at most: early stopping draws fewer, and another measurement may drop them."""

    samples: int
    tokens: int | None
    """At the mean length of this dataset's samples; None where it is not known."""


@dataclass(frozen=True)
class Sweep:
    """What other rules would decide."""

    funnel: list[dict[str, Any]]
    kept: int
    dropped: int
    undecided: int
    cost: Cost
    """What would decide the undecided rows."""
    was: int
    """Rows that the published dataset kept: before its `balance`, where that is not applied here."""
    appeared: int
    """Rows kept now that the published dataset had dropped."""
    vanished: int
    """Rows the published dataset had kept that are dropped now."""
    unbalanced: bool
    """Whether the recipe's `balance`, which may drop some of `kept`, is not applied (`Frozen.balanced`)."""
    groups: dict[str, list[dict[str, Any]]]
    """By column and value: `problems`, `was` (kept in the published dataset), `kept`, `undecided`."""


def sweep(dataset: Dataset, changes: Mapping[str, str | None], by: Iterable[str] = ()) -> Sweep:
    """The dataset's rules with some replaced, added (at the end) or removed (None), over its decisions.

    by: columns to count by. Raises rules.RuleError for a rule that does not bind, or a removed one that is not there,
    and SweepError for a column that cannot be counted by.
    """
    frozen = Frozen(dataset)
    columns = [_column(frozen, name) for name in by]
    unbalanced = frozen.decide(changed(frozen, changes))
    balanced = frozen.balanced(unbalanced)
    decided = balanced if balanced is not None else unbalanced
    chosen = f" or dropped_by is not distinct from '{RULE}'" if balanced is None else ""
    was = frozen.codes(f"(kept{chosen})::int").astype(bool)
    return Sweep(
        funnel=decided.funnel,
        kept=decided.count(IN),
        dropped=decided.count(OUT),
        undecided=decided.count(UNDECIDED),
        cost=Lacking(frozen).cost(decided.state == UNDECIDED, decided),
        was=int(np.count_nonzero(was)),
        appeared=int(np.count_nonzero((decided.state == IN) & ~was)),
        vanished=int(np.count_nonzero((decided.state == OUT) & was)),
        unbalanced=balanced is None,
        groups={name: _counted(frozen, name, decided.state, was) for name in columns},
    )


def changed(frozen: Frozen, changes: Mapping[str, str | None]) -> dict[str, str]:
    """The dataset's rules with some replaced, added or removed."""
    keep = dict(frozen.keep)
    for name, expression in changes.items():
        if name == RULE:
            raise rules.RuleError(name, "is what chooses among rows that every rule keeps; change it in the recipe")
        if expression is not None:
            keep[name] = expression
        elif keep.pop(name, None) is None:
            raise rules.RuleError(name, f"is no rule of {frozen.dataset.ref}; its rules are {', '.join(keep)}")
    return keep


# ---- how


class Lacking:
    """Samples that rows lack, by annotator."""

    def __init__(self, frozen: Frozen) -> None:
        self.frozen = frozen
        self.by_key: dict[str, NDArray[np.int64]] = {}
        self.tokens: dict[str, float | None] = {}

    def cost(self, rows: NDArray[np.bool_], decided: Decided) -> Cost:
        """What all samplers that a rule reads would have to draw for these rows."""
        read = {key for rule in decided.rules for key in rule.reads}
        samples, tokens = 0, 0.0
        known = True
        if rows.any():
            for annotator in self.frozen.measured:
                if annotator.key in read and annotator.samples is not None:
                    lacking = int(np.sum(self._of(annotator), where=rows))
                    mean = self._mean_tokens(annotator)
                    samples += lacking
                    tokens += lacking * (mean or 0)
                    known = known and (mean is not None or lacking == 0)
        return Cost(samples, round(tokens) if known else None)

    def _of(self, annotator: Measured) -> NDArray[np.int64]:
        if annotator.key not in self.by_key:
            n = annotator.samples
            assert n is not None
            if annotator.counts():
                drawn = f"coalesce({quoted(annotator.prefix + 'drawn')}, 0)"
                lacking = self.frozen.column(f"greatest({n} - {drawn}, 0)::bigint").to_numpy()
            else:
                # What samples without counting (a guess test) is done with a row that it has looked at.
                lacking = np.where(self.frozen.was_measured(annotator.key), 0, n)
            self.by_key[annotator.key] = lacking
        return self.by_key[annotator.key]

    def _mean_tokens(self, annotator: Measured) -> float | None:
        name = f"{annotator.prefix}mean_tokens"
        if annotator.key not in self.tokens:
            mean = None
            if name in annotator.columns.names:
                used = quoted(f"{annotator.prefix}used")
                (mean,) = self.frozen.con.execute(
                    f"select sum({quoted(name)} * {used}) / nullif(sum({used}), 0) from rows where {quoted(name)} is not null"
                ).fetchall()[0]
            self.tokens[annotator.key] = mean
        return self.tokens[annotator.key]


def _column(frozen: Frozen, name: str) -> str:
    """SQL for what rows are counted by: a column of the decisions, or an expression over them."""
    there = {known.lower(): known for known in frozen.schema.names}
    if name.lower() in there:
        return str(there[name.lower()])
    try:
        sql.check(name, frozen.schema)
    except sql.ExpressionError as error:
        raise SweepError(f"--by: {sql.short(name)!r} {error}") from error
    return name


def _counted(frozen: Frozen, name: str, state: Codes, was: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Rows by the values of a column, the commonest first."""
    frozen.con.register("now", pa.table({AT: np.arange(frozen.rows), "state": state, "was": was}))
    found = arrow(
        frozen.con,
        f"""select value, count(*) as problems, count(*) filter (was) as was,
            count(*) filter (state = {IN}) as kept, count(*) filter (state = {UNDECIDED}) as undecided
        from (select {AT}, try(({name})::varchar) as value from rows) join now using ({AT})
        group by 1 order by 2 desc, 1 limit {MOST_GROUPS + 1}""",
    )
    frozen.con.unregister("now")
    if found.num_rows > MOST_GROUPS:
        raise SweepError(f"--by: {name} has more than {MOST_GROUPS} values; choose a column with fewer")
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows
