"""Which of the traces that the rules keep stay in a set: at most k of a problem, within budgets and a mix.

`by` orders the traces of a problem, of which the first k stay. Where a budget or a mix cuts, breadth comes first: the first
trace of every problem, then the second of any, and so on; among these by `prefer`, then by hash(seed, problem, sample
index). So the order of rows changes nothing, and which of a problem's traces stay by `k` does not depend on other problems.

Budgets and shares are of the train split. Every other split is cut to the share of rows that train keeps, in each group of
the mix, in the same order: what test measures is then what train teaches.

What shares ask for and is not there stays empty, and is told (`Chosen.missed`). The shares of trained tokens and those of
rows are different mixes: see Mix.
"""

from collections.abc import Sequence
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from curation.balance import UNKNOWN
from curation.balancing.targets import real
from curation.duck import arrow, literal
from distill.selecting.budgets import Ordered, Quotas
from distill.selecting.diverse import matrix, places
from distill.selecting.record import Chosen, Size, missed_of
from distill.selecting.targets import DIVERSE, RANDOM, TOKENS, Select, hashed

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
        f"""create or replace temp table select_ranked as
        select rollout, problem_id, sample_index, split, tokens, grp, code, prefer, {_rounds(select, seed)} as round
        from (select rollout, problem_id, sample_index, split, coalesce({TOKENS}, 0)::bigint as tokens, {_group(select)} as grp,
                  {_code(select, groups)} as code, {_number(select.prefer)} as prefer,
                  {_number(select.expressions.get("by"))} as value
              from {candidates}) {"join select_diverse using (rollout)" if select.by == DIVERSE else ""}"""
    )
    found = _budgeted(con, select, seed) if select.cuts else None
    if found is None:
        last = f"case when {_beyond(select)} then 'k' end"
        con.execute(f"create or replace table {SELECTED} as select rollout, {last} as reason from select_ranked")
    chosen = _told(con, select, groups, found)
    con.execute("drop table select_ranked")
    con.execute("drop table if exists select_diverse")
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
    return f"row_number() over (partition by problem_id order by {first}{hashed(seed, 'trace')}, sample_index, rollout)"


def _diverse(
    con: duckdb.DuckDBPyConnection, candidates: str, select: Select, seed: int, signatures: pa.Table | None
) -> None:
    """Makes the table `select_diverse` (rollout, place)."""
    if signatures is None:
        raise SelectError("by: diverse needs the signatures of the texts")
    con.register("select_signed", pa.table({"rollout": signatures["rollout"], "row": np.arange(len(signatures))}))
    traces = arrow(
        con,
        f"""select rollout, dense_rank() over (order by problem_id) as problem, row
        from {candidates} left join select_signed using (rollout)
        order by problem, {hashed(seed, "trace")}, sample_index, rollout""",
    )
    con.unregister("select_signed")
    if missing := traces["row"].null_count:
        raise SelectError(f"{missing:,} traces have no signature, which by: diverse compares")
    signed = matrix(signatures["signature"])
    place = places(traces["problem"].to_numpy(), traces["row"].to_numpy(), signed, select.k)
    con.register("select_order", pa.table({"rollout": traces["rollout"], "place": place}))
    con.execute("create or replace temp table select_diverse as from select_order")
    con.unregister("select_order")


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
    order = f"round, prefer desc nulls last, {hashed(seed, 'budget')}, problem_id, sample_index, rollout"
    in_group = ", row_number() over (partition by split, code order by overall) as place" if select.mix else ""
    drops = f"{_beyond(select)} or code = {NONE}"
    con.execute(
        f"""create or replace temp table select_placed as
        select *{in_group or ", overall as place"}
        from (select rollout, split, code, tokens, row_number() over (partition by split order by {order}) as overall
              from select_ranked where not ({drops}))"""
    )
    train = arrow(con, f"select code, tokens from select_placed where split = '{TRAIN}' order by overall")
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
        """select split, code, count(*), sum(count(*)) over (partition by split)::bigint
        from select_placed group by split, code"""
    ).fetchall():
        cut = {"by_rows": _alike(by_rows, len(train), all_), "by_tokens": _alike(by_tokens, len(train), all_)}
        most = _alike(taken[code], there[code], rows)
        limits.append({"split": split, "code": code, "most": most} | cut)
    con.register("select_limits", pa.Table.from_pylist(limits, schema=_LIMITS))
    con.execute(
        f"""create or replace table {SELECTED} as
        select rollout, case when place <= most then null when overall > by_rows then 'rows'
            when overall > by_tokens then 'tokens' else 'mix' end as reason
        from select_placed as p join select_limits as l on p.split is not distinct from l.split and p.code = l.code
        union all select rollout, case when {_beyond(select)} then 'k' else 'mix' end from select_ranked where {drops}"""
    )
    con.unregister("select_limits")
    con.execute("drop table select_placed")
    return _Budgeted(ordered, quotas, taken)


def _alike(stay: int, of: int, rows: int) -> int:
    """How many of `rows` stay where `stay` of `of` do; all where there was nothing to cut, and at least one of some."""
    return rows if of == 0 else -(-stay * rows // of)


def _told(con: duckdb.DuckDBPyConnection, select: Select, groups: Sequence[str], found: _Budgeted | None) -> Chosen:
    stay = f"(from select_ranked semi join (select rollout from {SELECTED} where reason is null) using (rollout))"
    reasons = dict(con.execute(f"select reason, count(*) from {SELECTED} group by 1").fetchall())
    by_group = {}
    if select.mix is not None:
        train = f"(from {{}} where split = '{TRAIN}')"
        before, after = (_sizes(con, train.format(rows), "grp") for rows in ("select_ranked", stay))
        names = [*groups, *sorted({*before} - {*groups}, key=lambda name: (-before[name].rows, name))[:NAMED]]
        none = Size(0, 0, 0)
        by_group = {name: {"before": before.get(name, none), "after": after.get(name, none)} for name in names}
    return Chosen(
        settings=select.model_dump(mode="json", exclude_unset=True),
        before=_sizes(con, "select_ranked", "split"),
        after=_sizes(con, stay, "split"),
        groups=by_group,
        dropped={reason: reasons[reason] for reason in REASONS if reason in reasons},
        missed=[] if found is None else missed_of(select, found.ordered, found.quotas, found.taken[0], [*by_group]),
    )


def _sizes(con: duckdb.DuckDBPyConnection, rows: str, by: str) -> dict[str, Size]:
    query = f"""select {by}, count(distinct problem_id), count(*), sum(tokens)::bigint
        from {rows} group by 1 order by 1"""
    return {name: Size(*size) for name, *size in con.execute(query).fetchall()}
