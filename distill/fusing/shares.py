"""How much stays of every part: the ratio of the modes, the weights of parts, and the rows that make them up.

A pool is a part with a weight, or all parts of a mode without one together. Nothing is repeated: the pool that is shortest of
its share stays whole and sets the size, the others are cut to theirs, in the order of hash(seed, part, rollout). Every split is
cut apart. A row that fits half or more into what is left is taken, so a pool ends within half a row of its share.
"""

from collections.abc import Mapping
from typing import NamedTuple

import duckdb
import pyarrow as pa

from curation.duck import literal
from distill.fusing.settings import MODES, NEARLY, Fusion, Mode

REST = ""
"""The pool of the parts of a mode that have no weight. No part is called so."""


class Pool(NamedTuple):
    """What is cut to one share."""

    mode: Mode
    part: str
    """REST for all without a weight."""


def pool_of(fusion: Fusion) -> dict[str, Pool]:
    """The pool of every part."""
    return {name: Pool(part.mode, REST if part.weight is None else name) for name, part in fusion.parts.items()}


def goals(fusion: Fusion, there: Mapping[Pool, int]) -> tuple[dict[Pool, float], list[str]]:
    """How much is to stay of every pool, and what cannot be as asked.

    there: tokens or rows of every pool, as `ratio_of` says. A pool without any leaves its share to the others of its mode, a
    mode without any leaves the other whole.
    """
    shares: dict[Pool, float] = {}
    missed: list[str] = []
    for mode in MODES:
        weights = {name: part.weight for name, part in fusion.parts.items() if part.mode == mode}
        wanted = {Pool(mode, name): weight for name, weight in weights.items() if weight is not None}
        if None in weights.values():
            wanted[Pool(mode, REST)] = 1 - sum(wanted.values())
        present = {pool: weight for pool, weight in wanted.items() if there.get(pool)}
        if not present:
            missed.append(
                f"there is no row of mode {mode}: the ratio cannot be kept, and the other mode is not cut for it"
            )
            continue
        if empty := [pool.part or "without a weight" for pool in wanted if pool not in present]:
            missed.append(
                f"there is no row of the parts {', '.join(empty)}: the others of mode {mode} share what is theirs"
            )
        of_mode = fusion.ratio.think if mode == "think" else fusion.ratio.no_think
        shares |= {pool: of_mode * weight / sum(present.values()) for pool, weight in present.items()}
    level = min((there[pool] / share for pool, share in shares.items()), default=0.0)
    return {pool: level * share for pool, share in shares.items()}, missed


def cut(con: duckdb.DuckDBPyConnection, fusion: Fusion, rows: str, kept: str, split: str) -> list[str]:
    """Puts the rows of a split that stay into the table `kept`, and says what cannot be as asked.

    rows: a table with part, split, amount (what `ratio_of` counts, above 0), keep (what to order by) and rollout.
    """
    pools = pool_of(fusion)
    parts = pa.table(
        {"part": list(pools), "mode": [p.mode for p in pools.values()], "pool": [p.part for p in pools.values()]}
    )
    con.register("pool_of_part", parts)
    of_split = f"(select * exclude (mode) from {rows} where split = {literal(split)}) join pool_of_part using (part)"
    found = con.execute(f"select mode, pool, sum(amount) from {of_split} group by 1, 2").fetchall()
    wanted, missed = goals(fusion, {Pool(mode, part): int(amount) for mode, part, amount in found})
    con.register(
        "goals",
        pa.table(
            {
                "mode": pa.array([pool.mode for pool in wanted], pa.string()),
                "pool": pa.array([pool.part for pool in wanted], pa.string()),
                "goal": pa.array([goal * (1 + NEARLY) for goal in wanted.values()], pa.float64()),
            }
        ),
    )
    con.execute(
        f"""insert into {kept} select part, rollout from (
            select part, rollout, amount, goal,
                sum(amount) over (partition by mode, pool order by keep, part, rollout rows unbounded preceding) as up_to
            from {of_split} join goals using (mode, pool)
        ) where up_to - amount / 2 <= goal"""
    )
    con.unregister("goals")
    con.unregister("pool_of_part")
    return missed
