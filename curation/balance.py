"""Balance: how many rows stay in all, of every group and of every difficulty, chosen among those that every rule keeps.

Caps always hold, then the size, then floors, then the mix of difficulties, then the shares of groups; what cannot be met is
met as far as it goes, and told (`Balanced.missed`). The groups' shares are proportional to count^temperature (Devlin 2018,
multilingual BERT; Conneau and Lample 2019, XLM, section 3.1). Which rows of a group stay is by `prefer`, then by hash(seed,
id): the order of the rows changes nothing, and a pool with a row less changes what stays by about a row.

`rule: s1` (Muennighoff et al. 2025, section 2.2) draws instead: a group uniformly, then one of its rows with weight 2^-rank by
`prefer`, until there are enough; a group without rows leaves. Ranks are those in the whole group. Rows are not drawn one by
one: those with the smallest rank + log2(e), with e exponential, are such a draw (Efraimidis and Spirakis 2006).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from curation.balancing.quotas import Missed, Quotas
from curation.balancing.targets import RULE, Balance, real, shuffled
from curation.rules import Decisions
from curation.sql import short

CHOSEN = "chosen"
"""The table of ids that stay."""
UNKNOWN = "unknown"
"""The group of rows whose group is NULL."""
NO_BIN = "no bin"
"""The bin of rows whose difficulty is NULL or in no bin."""
MOST_GROUPS = 10_000


class BalanceError(ValueError):
    """Rows cannot be balanced as asked."""


@dataclass(frozen=True)
class Balanced:
    """What balancing came to, in rows."""

    settings: dict[str, Any]
    before: dict[str, int]
    """Rows that every rule keeps, by group, the largest first."""
    after: dict[str, int]
    """Rows that stay."""
    difficulty: dict[str, Any]
    """`of`, and `before` and `after` by bin of `mix`, else of `order_by`; empty without either."""
    missed: list[Missed]

    def record(self) -> dict[str, Any]:
        """As the manifest has it."""
        return asdict(self)


def apply(decisions: Decisions, balance: Balance, seed: int) -> Balanced:
    """Drops what is not chosen of the rows that every rule keeps, as the rule `balance`. Raises BalanceError."""
    kept = "frame semi join (select id from state where state = 'in') as kept using (id)"
    balanced = choose(decisions.con, kept, balance, seed)
    if balance.cuts:
        decisions.choose(RULE, balance.describe(), CHOSEN)
    decisions.con.execute(f"drop table {CHOSEN}")
    return balanced


def choose(con: duckdb.DuckDBPyConnection, kept: str, balance: Balance, seed: int) -> Balanced:
    """Makes the table `chosen`: the ids of those that stay of the rows `kept`. Raises BalanceError.

    kept: SQL for what every rule keeps, with the columns that the balance reads.
    """
    con.execute(
        f"""create or replace temp table candidates as
        select id, {group_of(balance)} as grp, {_real_or_null(balance.prefer)} as prefer,
            {_real_or_null(balance.mix.of if balance.mix is not None else balance.order_by)} as value from {kept}"""
    )
    groups = f"select grp, count(*) from candidates group by 1 order by 2 desc, 1 limit {MOST_GROUPS + 1}"
    before = dict(con.execute(groups).fetchall())
    if len(before) > MOST_GROUPS:
        raise BalanceError(
            f"balance.by: {short(str(balance.by))!r} has more than {MOST_GROUPS:,} values; give what says the kind of a "
            "problem, such as its domain"
        )
    labels, bin_ = _bins(con, balance)
    quotas = _quotas(con, balance, list(before), bin_)
    _take(con, quotas, bin_ if balance.mix is not None else "0", seed)
    stay = f"candidates semi join {CHOSEN} using (id)"
    after = dict.fromkeys(before, 0) | dict(con.execute(f"select grp, count(*) from {stay} group by 1").fetchall())
    difficulty: dict[str, Any] = {}
    if labels:
        difficulty["of"] = balance.mix.of if balance.mix is not None else balance.order_by
        difficulty |= {"before": _by_bin(con, "candidates", labels, bin_), "after": _by_bin(con, stay, labels, bin_)}
    con.execute("drop table candidates")
    missed = quotas.missed(sum(before.values()), after, difficulty.get("after", {}))
    settings = balance.model_dump(mode="json", exclude_unset=True)
    return Balanced(settings, before, after, difficulty, missed)


def group_of(balance: Balance) -> str:
    """SQL for the group of a row."""
    return "'all'" if balance.by is None else f"coalesce(try((\n{balance.by}\n)::varchar), '{UNKNOWN}')"


def _real_or_null(expression: str | None) -> str:
    return "null::double" if expression is None else real(expression)


def _bins(con: duckdb.DuckDBPyConnection, balance: Balance) -> tuple[list[str], str]:
    """The bins that difficulties are counted in, and SQL for the number of the bin of `value`."""
    if balance.mix is not None:
        return list(balance.mix.shares), balance.mix.bin("value")
    low, high = con.execute("select min(value), max(value) from candidates").fetchall()[0]
    if low is None:
        return [], "null"
    if low >= 0 and high <= 1:
        return [f"{b / 10:g} to {(b + 1) / 10:g}" for b in range(10)], _tenth("value * 10")
    if high - low < 20:
        return [str(b) for b in range(round(low), round(high) + 1)], f"round_even(value, 0)::int - {round(low)}"
    step = (high - low) / 10
    if not math.isfinite(step):
        return [], "null"
    for digits in range(4, 18):  # as few as tell them apart
        labels = [f"{low + b * step:,.{digits}g} to {low + (b + 1) * step:,.{digits}g}" for b in range(10)]
        if len({*labels}) == len(labels):
            break
    return labels, _tenth(f"(value - {low}) / {step}")


def _tenth(value: str) -> str:
    """SQL for the whole part of a number from 0 to 10, which itself belongs below. `least` would make 9 of NULL."""
    return f"case when value is not null then least(9, floor({value}))::int end"


def _by_bin(con: duckdb.DuckDBPyConnection, rows_: str, labels: Sequence[str], bin_: str) -> dict[str, int]:
    found = dict(con.execute(f"select {bin_}, count(*) from {rows_} group by 1").fetchall())
    none = {NO_BIN: found[None]} if None in found else {}
    return {label: found.get(b, 0) for b, label in enumerate(labels)} | none


def _quotas(con: duckdb.DuckDBPyConnection, balance: Balance, groups: Sequence[str], bin_: str) -> Quotas:
    there = np.zeros((len(groups), 1 if balance.mix is None else len(balance.mix.shares)), np.int64)
    at = {group: place for place, group in enumerate(groups)}
    column = "0" if balance.mix is None else bin_
    for group, b, count in con.execute(f"select grp, {column}, count(*) from candidates group by all").fetchall():
        if b is not None:
            there[at[group], b] = count
    return Quotas.of(balance, groups, there)


def _take(con: duckdb.DuckDBPyConnection, quotas: Quotas, bin_: str, seed: int) -> None:
    """Makes the table `chosen`: of every group and bin as many rows as its quota says."""
    cells = quotas.cells(seed)
    groups, bins = np.nonzero(cells)
    named = pa.array([quotas.groups[g] for g in groups], pa.string())
    cell = np.arange(len(groups))
    con.register("quotas", pa.table({"grp": named, "bin": bins, "cell": cell, "quota": cells[groups, bins]}))
    prefer = "prefer desc nulls last, " if quotas.balance.prefer is not None else ""
    places = f"""(
        select id, cell, quota, row_number() over (partition by cell order by {prefer}{shuffled(seed, RULE)}) as place
        from (select id, grp, prefer, {bin_} as bin from candidates) join quotas using (grp, bin))"""
    if quotas.balance.rule == "s1":
        # The logarithm lies between -53 and 6: no row more than 59 places below could come among those drawn.
        places = f"""(
            select id, quota, row_number() over (partition by cell order by place + log2({_exponential(seed)}), id) as place
            from {places} where place <= quota + 59)"""
    con.execute(f"create or replace temp table {CHOSEN} as select id from {places} where place <= quota")
    con.unregister("quotas")


def _exponential(seed: int) -> str:
    """SQL for an exponentially distributed number by hash(seed, id), mean 1."""
    return f"(-ln(((md5_number_lower('{seed}:draw:' || id) >> 12) + 0.5) / 4503599627370496.0))"
