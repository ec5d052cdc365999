"""Thinking and non-thinking rows in one set: how much of either, which become conversations, where the flags stand.

    ratio          the mode that has more than its share is cut at random, never the other repeated (shares.py)
    conversations  every row that stays is the last turn, the trained one, of exactly one; some get history (conversations.py)
    flags          /think and /no_think, the last of which decides; thinking is the default (flags.py)

It works on a table without texts. The texts are then read in the order of conversations and put together by `example_of`, which
refuses what is not of its mode. All choices are by hash(seed, part, rollout): the order of rows changes nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from curation.duck import arrow, literal
from distill.fusing.conversations import FLAGS, PLACES, Plan, Rows, plan
from distill.fusing.flags import FlagError, TurnText, example_of, fault, last_flag, mode_of
from distill.fusing.settings import Flags, Fusion, Mode, Part, Ratio
from distill.fusing.shares import cut
from distill.selecting.targets import WHICH

__all__ = ["FlagError", "Flags", "Fused", "Fusion", "FusionError", "Mode", "Part", "Ratio", "TurnText", "assign", "example_of",
           "fault", "last_flag", "mode_of"]  # fmt: skip

FUSED = "fused"
"""The table of turns: conversation, turn (from 0), turns, trained, rollout, problem_id, part, mode, split, flag (none, think,
no_think), flag_in (user, system, NULL). A conversation is called by part and rollout of its trained turn, its last."""
LEFT_OUT = "fusion_left_out"
"""The table of rows that do not stay: rollout, part, mode, split, reason (`ratio`, or `repeated`: an earlier part of the mode has
the rollout)."""
_DECIDING = f"""(select any_value(split) as split, any_value(mode) filter (trained) as mode,
    coalesce(arg_max(flag_in, turn) filter (flag_in is not null), 'none') as place from {FUSED} group by conversation)"""
_NEEDED = ("rollout", "problem_id", "part", "mode", "split", "trained_tokens", "tokens")


class FusionError(ValueError):
    """Rows that cannot be fused."""


Counts = dict[str, dict[str, dict[str, dict[str, int]]]]
"""{split: {mode: {part: {rows, trained_tokens}}}}"""


@dataclass(frozen=True)
class Fused:
    """What a fusion came to."""

    settings: dict[str, Any]
    before: Counts
    after: Counts
    ratio: dict[str, float | None]
    """think to no_think of what stays by split, in what `ratio_of` counts; None without any no_think."""
    turns: dict[str, dict[int, int]]
    """Rows by split and number of turns."""
    flags: dict[str, dict[str, dict[str, int]]]
    """Rows by split, mode and where the flag that decides stands: user, system, none. Where a text has flags of its own, one in
    a user message will decide."""
    repeated: int
    """Rows left out as an earlier part has them."""
    missed: list[str]
    """What could not be as asked."""

    def record(self) -> dict[str, Any]:
        """As the manifest has it."""
        return asdict(self)


def assign(
    con: duckdb.DuckDBPyConnection, rows: str, fusion: Fusion, seed: int, max_length: int | None = None
) -> Fused:
    """Makes the tables FUSED and LEFT_OUT. Raises FusionError.

    rows: a table with rollout, problem_id, part, mode, split, trained_tokens (above 0), tokens (of the whole row), one row per
    rollout and part. If there, history_tokens (tokens without thinking; else tokens) and alone (cannot share a conversation:
    its problem has a system message or earlier turns of its own) are read, too, and sample_index, by which a trace is called the
    same in another workspace. max_length: tokens of a conversation.
    """
    _prepare(con, rows, fusion, seed)
    splits = [split for (split,) in con.execute("select distinct split from fusing order by 1").fetchall()]
    con.execute("create or replace temp table fusing_kept (part varchar, rollout varchar)")
    missed = []
    for split in splits:
        missed += [f"{split}: {why}" for why in cut(con, fusion, "fusing", "fusing_kept", split)]
    con.execute(
        f"""create or replace temp table {LEFT_OUT} as
        select rollout, part, mode, split, 'repeated' as reason from fusing_repeated union all
        select rollout, part, mode, split, 'ratio' from fusing anti join fusing_kept using (part, rollout)"""
    )
    con.execute(
        """create or replace temp table fusing_stay as
        select *, row_number() over (partition by split order by borrow, part, rollout) - 1 as place
        from fusing semi join fusing_kept using (part, rollout)"""
    )
    _fused_table(con)
    for split in splits:
        found, wanted = plan(_rows(con, split), fusion, max_length)
        got = int(((found.turns > 1) & (found.turn == 0)).sum())
        if got < wanted:
            missed.append(f"{split}: {wanted:,} conversations of several turns are wanted, {got:,} could be made")
        _insert(con, found, split)
    after = _counts(con, "fusing_stay")
    fused = Fused(
        settings=fusion.model_dump(mode="json"),
        before=_counts(con, "fusing"),
        after=after,
        ratio={split: _ratio(counts, fusion) for split, counts in after.items()},
        turns=_tree(con, f"select split, turns, count(*) from {FUSED} where trained group by all order by all"),
        flags=_tree(con, f"select split, mode, place, count(*) from {_DECIDING} group by all order by all"),
        repeated=con.execute("select count(*) from fusing_repeated").fetchall()[0][0],
        missed=missed,
    )
    for table in ("fusing", "fusing_repeated", "fusing_kept", "fusing_stay"):
        con.execute(f"drop table {table}")
    return fused


def _prepare(con: duckdb.DuckDBPyConnection, rows: str, fusion: Fusion, seed: int) -> None:
    """Makes `fusing`, the rows with their random numbers, and `fusing_repeated`, those that an earlier part has."""
    there = {column[0] for column in con.execute(f"select * from {rows} limit 0").description or ()}
    which = WHICH if "sample_index" in there else "rollout::varchar"
    history = "least(history_tokens, tokens)" if "history_tokens" in there else "tokens"
    alone = "coalesce(alone, false)" if "alone" in there else "false"
    amount = "trained_tokens" if fusion.ratio_of == "tokens" else "1"
    parts = pa.table({"part": list(fusion.parts), "of": [part.mode for part in fusion.parts.values()]})
    con.register("fusion_parts", parts.append_column("listed", pa.array(range(len(parts)))))
    bad = f"""select count(*) from {rows} left join fusion_parts using (part) where of is null or of != mode
        or {" or ".join(f"{name} is null" for name in _NEEDED)} or trained_tokens < 1 or tokens < trained_tokens"""
    if count := con.execute(bad).fetchall()[0][0]:
        raise FusionError(
            f"{count:,} rows are not of a part and its mode, lack a value, train on nothing, or train on more than they have"
        )
    reals = ", ".join(f"{_real(seed, purpose)} as {purpose}" for purpose in ("u_turns", "u_flag", "u_place", "u_first"))
    con.execute(
        f"""create or replace temp table fusing_all as
        select rollout, problem_id::varchar as problem_id, part, mode, split, trained_tokens::bigint as trained_tokens,
            tokens::bigint as tokens, {history}::bigint as history_tokens, {alone} as alone, {amount}::bigint as amount,
            {_hash(seed, "keep")} as keep, {_hash(seed, "borrow")} as borrow, {_bits(seed, "lend")} as lend, {reals},
            row_number() over (partition by rollout, mode order by listed) as copy
        from (select * replace (rollout::varchar as rollout), part || ':' || {which} as key from {rows})
            join fusion_parts using (part)"""
    )
    con.unregister("fusion_parts")
    for table, copies in (("fusing", "= 1"), ("fusing_repeated", "> 1")):
        con.execute(
            f"create or replace temp table {table} as select * exclude (copy) from fusing_all where copy {copies}"
        )
    con.execute("drop table fusing_all")


def _hash(seed: int, purpose: str) -> str:
    """SQL to order rows at random by; each purpose has its own order."""
    return f"md5_number({literal(f'{seed}:fusion:{purpose}:')} || key)"


def _bits(seed: int, purpose: str) -> str:
    """SQL for 64 random bits."""
    return f"md5_number_lower({literal(f'{seed}:fusion:{purpose}:')} || key)"


def _real(seed: int, purpose: str) -> str:
    """SQL for a random number from 0, below 1."""
    return f"(({_bits(seed, purpose)} >> 12) / 4503599627370496.0)"


def _rows(con: duckdb.DuckDBPyConnection, split: str) -> Rows:
    table = arrow(
        con,
        f"""select md5_number_lower(problem_id) as problem, mode = 'think' as thinks, tokens, history_tokens, alone, lend,
            u_turns, u_flag, u_place, u_first from fusing_stay where split = {literal(split)} order by place""",
    )
    return Rows(*(np.asarray(column.to_numpy()) for column in table.columns))


def _fused_table(con: duckdb.DuckDBPyConnection) -> None:
    texts = ", ".join(
        f"{name} varchar" for name in ("rollout", "problem_id", "part", "mode", "split", "flag", "flag_in")
    )
    con.execute(
        f"create or replace temp table {FUSED} (conversation varchar, turn integer, turns integer, trained boolean, {texts})"
    )


def _insert(con: duckdb.DuckDBPyConnection, found: Plan, split: str) -> None:
    named = pa.table({**{name: getattr(found, name) for name in ("conversation", "turn", "turns", "row")},
                      "flag": pa.array(FLAGS).take(pa.array(found.flag)),
                      "flag_in": pa.array(PLACES, pa.string()).take(pa.array(found.place))})  # fmt: skip
    con.register("planned", named)
    con.execute(
        f"""insert into {FUSED}
        select trained.part || ':' || trained.rollout, turn, turns, turn = turns - 1, own.rollout, own.problem_id, own.part,
            own.mode, own.split, flag, flag_in
        from planned join fusing_stay as trained on trained.place = conversation
            join fusing_stay as own on own.place = row
        where trained.split = {literal(split)} and own.split = {literal(split)}"""
    )
    con.unregister("planned")


def _counts(con: duckdb.DuckDBPyConnection, table: str) -> Counts:
    found: Counts = _tree(
        con,
        f"""select split, mode, part, {{'rows': count(*), 'trained_tokens': sum(trained_tokens)::bigint}}
        from {table} group by 1, 2, 3 order by 1, 2 desc, 3""",
    )
    return found


def _tree(con: duckdb.DuckDBPyConnection, query: str) -> Any:
    """The rows of a query as dictionaries in dictionaries, the last column the leaves."""
    found: dict[Any, Any] = {}
    for *keys, last, leaf in con.execute(query).fetchall():
        at = found
        for key in keys:
            at = at.setdefault(key, {})
        at[last] = leaf
    return found


def _ratio(counts: Mapping[str, Mapping[str, Mapping[str, int]]], fusion: Fusion) -> float | None:
    of = "rows" if fusion.ratio_of == "rows" else "trained_tokens"
    think, no_think = (sum(part[of] for part in counts.get(mode, {}).values()) for mode in ("think", "no_think"))
    return think / no_think if no_think else None
