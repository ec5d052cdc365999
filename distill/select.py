"""Which of the traces that the rules keep stay in a set: at most k of a problem, within budgets and a mix.

`by` orders the traces of a problem, of which the first k stay. Where a budget or a mix cuts, breadth comes first: the first
trace of every problem, then the second of any, and so on; among these by `prefer`, then by hash(seed, rollout). So the order
of rows changes nothing, and which of a problem's traces stay by `k` does not depend on other problems.

Budgets and shares are of the train split. Every other split is cut to the share of rows that train keeps, in each group of
the mix, in the same order: what test measures is then what train teaches.

What shares ask for and is not there stays empty, and is told (`Chosen.missed`). The shares of trained tokens and those of
rows are different mixes: see Mix.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from curation.balance import UNKNOWN
from curation.balancing.targets import real
from curation.duck import arrow, literal
from curation.sql import short
from distill.selecting.budgets import Ordered, Quotas
from distill.selecting.diverse import matrix, places
from distill.selecting.targets import DIVERSE, RANDOM, TOKENS, Select, Unit, hashed

SELECTED = "selected"
"""The table that `choose` makes: `rollout` of every candidate, and `reason`, NULL where it stays."""
REASONS = ("k", "mix", "rows", "tokens")
TRAIN = "train"
NONE = -1
"""The code of groups without a share."""
NAMED = 10
"""Groups that a message names."""


class SelectError(ValueError):
    """Traces cannot be chosen as asked."""


class Size(NamedTuple):
    """How much of a set."""

    problems: int
    rows: int
    tokens: int
    """Trained tokens of the student."""


@dataclass(frozen=True)
class Missed:
    """A target that was not met."""

    target: str
    """What the recipe calls it: `rows`, `mix.general`."""
    wanted: int
    got: int
    of: Unit
    why: str

    def __str__(self) -> str:
        return f"select.{short(self.target)}: {self.wanted:,} {self.of} wanted, {self.got:,} got: {self.why}"


@dataclass(frozen=True)
class Chosen:
    """What selecting came to."""

    settings: dict[str, Any]
    before: dict[str, Size]
    """Candidates by split."""
    after: dict[str, Size]
    """Those that stay."""
    groups: dict[str, dict[str, Size]]
    """Of the train split `before` and `after` by group of the mix; empty without one."""
    dropped: dict[str, int]
    """Traces by the reason they go for."""
    missed: list[Missed]

    def record(self) -> dict[str, Any]:
        """As the manifest has it."""
        sizes = {
            key: {name: size._asdict() for name, size in getattr(self, key).items()} for key in ("before", "after")
        }
        groups = {name: {key: size._asdict() for key, size in both.items()} for name, both in self.groups.items()}
        return asdict(self) | sizes | {"groups": groups}


def choose(
    con: duckdb.DuckDBPyConnection, candidates: str, select: Select, seed: int, signatures: pa.Table | None = None
) -> Chosen:
    """Makes the table `selected`: which of the candidates stay, and why the others do not. Raises SelectError.

    candidates: a table or view with `rollout` (no two alike), `problem_id`, `split`, `trained_tokens`, and what the SQL of
    `select` reads. signatures: (rollout, signature) of every candidate, as `diverse.signatures` makes them; for `by: diverse`.
    """
    if select.counts_tokens:
        (unknown,) = con.execute(f"select count(*) from {candidates} where {TOKENS} is null").fetchall()[0]
        if unknown:
            raise SelectError(f"{unknown:,} traces have no {TOKENS}, which `tokens` and shares of tokens count")
    if select.by == DIVERSE:
        _diverse(con, candidates, select, seed, signatures)
    groups = [] if select.mix is None else [*select.mix.shares]
    con.execute(
        f"""create or replace temp table ranked as
        select rollout, problem_id, split, tokens, grp, code, prefer, {_rounds(select, seed)} as round
        from (select rollout, problem_id, split, coalesce({TOKENS}, 0)::bigint as tokens, {_group(select)} as grp,
                  {_code(select, groups)} as code, {_number(select.prefer)} as prefer,
                  {_number(select.expressions.get("by"))} as value
              from {candidates}) {"join diverse using (rollout)" if select.by == DIVERSE else ""}"""
    )
    found = _budgeted(con, select, seed) if select.cuts else None
    if found is None:
        last = f"case when {_beyond(select)} then 'k' end"
        con.execute(f"create or replace table {SELECTED} as select rollout, {last} as reason from ranked")
    chosen = _told(con, select, groups, found)
    con.execute("drop table ranked")
    return chosen


def _beyond(select: Select) -> str:
    return "false" if select.k is None else f"round > {select.k}"


def _number(expression: str | None) -> str:
    return "null::double" if expression is None else real(expression)


def _group(select: Select) -> str:
    """SQL for the group of a trace."""
    return "'all'" if select.mix is None else f"coalesce(try((\n{select.mix.by}\n)::varchar), '{UNKNOWN}')"


def _code(select: Select, groups: Sequence[str]) -> str:
    """SQL for the number of the group among those with shares."""
    if select.mix is None:
        return "0"
    cases = " ".join(f"when {literal(name)} then {number}" for number, name in enumerate(groups))
    return f"case {_group(select)} {cases} else {NONE} end"


def _rounds(select: Select, seed: int) -> str:
    """SQL for the place of a trace among those of its problem, from 1 on."""
    if select.by == DIVERSE:
        return "place"
    first = "" if select.by == RANDOM else "value nulls last, "
    return f"row_number() over (partition by problem_id order by {first}{hashed(seed, 'trace')}, rollout)"


def _diverse(
    con: duckdb.DuckDBPyConnection, candidates: str, select: Select, seed: int, signatures: pa.Table | None
) -> None:
    """Makes the table `diverse` (rollout, place)."""
    if signatures is None:
        raise SelectError("by: diverse needs the signatures of the texts")
    con.register("signed", pa.table({"rollout": signatures["rollout"], "row": np.arange(len(signatures))}))
    traces = arrow(
        con,
        f"""select rollout, dense_rank() over (order by problem_id) as problem, row
        from {candidates} left join signed using (rollout) order by problem, {hashed(seed, "trace")}, rollout""",
    )
    con.unregister("signed")
    if missing := traces["row"].null_count:
        raise SelectError(f"{missing:,} traces have no signature, which by: diverse compares")
    signed = matrix(signatures["signature"])
    place = places(traces["problem"].to_numpy(), traces["row"].to_numpy(), signed, select.k)
    con.register("placed", pa.table({"rollout": traces["rollout"], "place": place}))
    con.execute("create or replace temp table diverse as from placed")
    con.unregister("placed")


_LIMITS = pa.schema([("split", pa.string()), *((k, pa.int64()) for k in ("code", "most", "by_rows", "by_tokens"))])
"""Of the traces of a split and group the first `most` stay; budgets alone hold so many of the split."""


class _Budgeted(NamedTuple):
    """What budgets and mix came to in the train split."""

    ordered: Ordered
    quotas: Quotas | None
    taken: Sequence[int]
    """Traces of every group that stay."""


def _budgeted(con: duckdb.DuckDBPyConnection, select: Select, seed: int) -> _Budgeted:
    """Makes the table `selected` where more than `k` cuts."""
    order = f"round, prefer desc nulls last, {hashed(seed, 'budget')}, rollout"
    in_group = ", row_number() over (partition by split, code order by overall) as place" if select.mix else ""
    drops = f"{_beyond(select)} or code = {NONE}"
    con.execute(
        f"""create or replace temp table placed as
        select *{in_group or ", overall as place"}
        from (select rollout, split, code, tokens, row_number() over (partition by split order by {order}) as overall
              from ranked where not ({drops}))"""
    )
    train = arrow(con, f"select code, tokens from placed where split = '{TRAIN}' order by overall")
    groups = 1 if select.mix is None else len(select.mix.shares)
    ordered = Ordered.of(train["code"].to_numpy(), train["tokens"].to_numpy(), groups)
    by_rows, by_tokens = ordered.budget(select.rows, select.tokens)
    quotas = None
    taken: Sequence[int] = [min(by_rows, by_tokens)]
    if select.mix is not None:
        shares = np.array([*select.mix.shares.values()])
        quotas = Quotas.fit(ordered, shares / shares.sum(), select.mix.of, select.rows, select.tokens)
        taken = quotas.taken.tolist()
    there = ordered.rows.tolist()
    limits = []
    for split, code, rows, all_ in con.execute(
        """select split, code, count(*), sum(count(*)) over (partition by split)::bigint from placed group by split, code"""
    ).fetchall():
        cut = {"by_rows": _alike(by_rows, len(train), all_), "by_tokens": _alike(by_tokens, len(train), all_)}
        most = _alike(taken[code], there[code], rows)
        limits.append({"split": split, "code": code, "most": most} | cut)
    con.register("limits", pa.Table.from_pylist(limits, schema=_LIMITS))
    con.execute(
        f"""create or replace table {SELECTED} as
        select rollout, case when place <= most then null when overall > by_rows then 'rows'
            when overall > by_tokens then 'tokens' else 'mix' end as reason
        from placed join limits on placed.split is not distinct from limits.split and placed.code = limits.code
        union all select rollout, case when {_beyond(select)} then 'k' else 'mix' end from ranked where {drops}"""
    )
    con.unregister("limits")
    con.execute("drop table placed")
    return _Budgeted(ordered, quotas, taken)


def _alike(stay: int, of: int, rows: int) -> int:
    """How many of `rows` stay where `stay` of `of` do; all where there was nothing to cut, and at least one of some."""
    return rows if of == 0 else -(-stay * rows // of)


def _told(con: duckdb.DuckDBPyConnection, select: Select, groups: Sequence[str], found: _Budgeted | None) -> Chosen:
    stay = f"(from ranked semi join (select rollout from {SELECTED} where reason is null) using (rollout))"
    reasons = dict(con.execute(f"select reason, count(*) from {SELECTED} group by 1").fetchall())
    by_group = {}
    if select.mix is not None:
        train = f"(from {{}} where split = '{TRAIN}')"
        before, after = (_sizes(con, train.format(rows), "grp") for rows in ("ranked", stay))
        names = [*groups, *sorted({*before} - {*groups}, key=lambda name: (-before[name].rows, name))[:NAMED]]
        none = Size(0, 0, 0)
        by_group = {name: {"before": before.get(name, none), "after": after.get(name, none)} for name in names}
    return Chosen(
        settings=select.model_dump(mode="json", exclude_unset=True),
        before=_sizes(con, "ranked", "split"),
        after=_sizes(con, stay, "split"),
        groups=by_group,
        dropped={reason: reasons[reason] for reason in REASONS if reason in reasons},
        missed=[] if found is None else _missed(select, groups, found, [*by_group]),
    )


def _sizes(con: duckdb.DuckDBPyConnection, rows: str, by: str) -> dict[str, Size]:
    query = f"""select {by}, count(distinct problem_id), count(*), sum(tokens)::bigint
        from {rows} group by 1 order by 1"""
    return {name: Size(*size) for name, *size in con.execute(query).fetchall()}


def _missed(select: Select, groups: Sequence[str], found: _Budgeted, known: Sequence[str]) -> list[Missed]:
    """Budgets that are not reached as nothing is left, and groups with less than their share."""
    ordered, quotas = found.ordered, found.quotas
    there = len(ordered.lengths)
    if quotas is None:
        if found.taken[0] < there:
            return []
        why = "the rules keep no more" if select.k is None else f"the rules and k: {select.k} leave no more"
        budgets: list[tuple[Unit, int | None, int]] = [
            ("rows", select.rows, there),
            ("tokens", select.tokens, int(ordered.lengths.sum())),
        ]
        return [Missed(of, want, got, of, why) for of, want, got in budgets if want is not None and got < want]
    got = quotas.taken if quotas.of == "rows" else ordered.tokens_of(quotas.taken)
    all_there = bool(ordered.rows.all())
    missed = []
    for name, wanted, has, taken, rows in zip(groups, quotas.quotas, got, quotas.taken, ordered.rows, strict=True):
        if rows == 0:
            others = ", ".join(short(other, 40) for other in known if other != name)
            why = f"no trace of train is in this group; groups are {others}"
        elif taken == rows:
            why = "it has no more" + (
                f"; the shares hold up to {quotas.holds:,} {quotas.of} in all" if all_there else ""
            )
        else:
            why = "its first trace is longer than that"
        if has < wanted and taken in (0, rows):
            missed.append(Missed(f"mix.{name}", int(wanted), int(has), quotas.of, why))
    return missed
