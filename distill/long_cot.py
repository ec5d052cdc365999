"""SFT sets: traces to be imitated. Long-CoT of a teacher; RFT, where they are the model's own (DeepSeekMath, 4.1).

A row has

    id, source, license   of the problem; `rollout` and `sample_index` of the trace
    prompt, completion    messages before the trained turn, and that turn: what TRL's SFTTrainer trains on is the completion
    messages              both together, `train` true of the turn that is trained on: for trainers that read conversations
    mode                  think or no_think
    tokens, trained_tokens, length   by the student's tokenizer; `length` is the power of two that holds `tokens`

Rows stand in the order of the pool, traces of a problem by sample index.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from curation.annotate import count
from curation.duck import batches, literal, quoted
from distill import keeping
from distill.building import TEMPLATE, Builder, Built
from distill.select import SELECTED, choose
from distill.selecting.diverse import signatures
from distill.selecting.targets import DIVERSE, Select
from distill.sets import SFTSet
from distill.staging import CHUNK, Staging, refuse_faulty

COLUMNS = "id, rollout, sample_index, source, license, mode, prompt, completion, messages, tokens, trained_tokens, length, split"


def build(builder: Builder, name: str, wanted: SFTSet) -> Built:
    """An SFT set. Raises SetRefused."""
    con = builder.work.con
    builder.want(wanted)
    rules = builder.rules(wanted)
    decided = f"traces_{name}"
    groups = builder.decide(name, wanted, rules, decided)
    kept = f"(from {quoted(decided)} where dropped_by is null)"
    staging = builder.stage(name, groups, kept, wanted.mode)
    refuse_faulty(builder.work, name, staging.faults, wanted.max_faulty)
    selection = select(builder, name, decided, staging, wanted.select)
    rows = f"select {COLUMNS} from {staging.only(con, 'chosen_' + name)}"
    return Built(
        rows=rows,
        record={
            "kind": wanted.KIND,
            "traces": wanted.traces,
            "wanted": count(con, "wanted"),
            "rules": keeping.funnel(con, decided, rules),
            "beyond_enough": count(con, f"{quoted(decided)} where not used"),
            "faults": staging.faults.record(),
            "select": selection,
            **builder.lengths(rows),
        },
        decisions=decisions(decided, f"select rollout, {TOLD} from {staging.rows}", f"chosen_{name}"),
        problems=f"select id from {staging.rows} semi join {quoted('chosen_' + name)} using (rollout)",
    )


TOLD = "tokens, trained_tokens, fault"


def select(builder: Builder, name: str, decided: str, staging: Staging, wanted: Select) -> dict[str, Any]:
    """Makes the tables `why_<name>` (rollout, reason) and `chosen_<name>` of the staged rows; gives the record."""
    con, there = builder.work.con, {column.name for column in builder.traced.columns}
    problem = [
        c for c in sorted(wanted.reads) if c not in there and c not in ("tokens", "trained_tokens", "sample_index")
    ]
    joined = "".join(f", d.{quoted(column)}" for column in problem)
    con.execute(
        f"""create or replace table candidates as
        select t.* exclude (dropped_by, used), s.tokens, s.trained_tokens, s.split{joined}
        from {quoted(decided)} as t join (select rollout, tokens, trained_tokens, split, fault from {staging.rows}) as s
            using (rollout)
        join decisions as d on d.id = t.problem_id where s.fault is null"""
    )
    signed = signatures(_texts(builder, staging)) if wanted.by == DIVERSE else None
    chosen = choose(con, "candidates", wanted, builder.plan.seed, signed)
    if wanted.mix is not None and any(size.rows for size in chosen.before.values()) and not chosen.after:
        builder.work.store.warn(
            f"sets.{name}.select.mix.shares: no trace is of any of its groups ({', '.join(wanted.mix.shares)})"
        )
    for missed in chosen.missed:
        builder.work.store.warn(f"sets.{name}.{missed}")
    con.execute(f"create or replace table {quoted('why_' + name)} as from {SELECTED}")
    con.execute(
        f"create or replace view {quoted('chosen_' + name)} as from {quoted('why_' + name)} where reason is null"
    )
    con.execute("drop table candidates")
    return chosen.record()


def _texts(builder: Builder, staging: Staging) -> Iterator[pa.Table]:
    """What the staged rows train on, in a stream."""
    query = f"select rollout, completion[1].content as text from {staging.rows} where fault is null"
    with builder.work.con.cursor() as cursor:
        for batch in batches(cursor, query, CHUNK):
            yield pa.Table.from_batches([batch])


def decisions(decided: str, staged: str, chosen: str, why: str = "") -> str:
    """SQL for what became of every trace: its columns, the outcome of every rule, and what dropped it. Those beyond what was
    enough are no part of it: whether they are there is up to other sets.

    staged: SQL with rollout and TOLD. chosen: the view of those that stay; beside it lies `why_...` with the reasons.
    """
    reasons = quoted(why or chosen.replace("chosen_", "why_", 1))
    return f"""
        select problem_id as id, t.* exclude (problem_id, "group", filename, used, dropped_by), {TOLD},
            coalesce(dropped_by, case when fault is not null then {literal(TEMPLATE)} end,
                     case when reason is not null then 'select: ' || reason end) as dropped_by,
            dropped_by is null and fault is null and why.rollout is not null and reason is null as kept
        from {quoted(decided)} as t left join ({staged}) as s using (rollout)
            left join {reasons} as why using (rollout)
        where used order by problem_id, sample_index"""
