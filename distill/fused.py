"""Fusion sets: thinking and non-thinking rows in one, told apart by `/think` and `/no_think` (fusion.py).

A row has what an SFT row has (long_cot.py), and

    part        the part of the recipe that its trained turn is of
    turns       how many user turns: the last is answered by what is trained, the others are history
    rollouts    the traces of all turns, `rollout` that of the trained one
    flag        what the last flag says: think, no_think, or none, and then it thinks
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from curation.annotate import count
from curation.duck import arrow, batches, literal, quoted
from distill import keeping
from distill.building import PARTS, ROW, TEMPLATE, Builder, Built
from distill.example import Example
from distill.fusion import FUSED, LEFT_OUT, FlagError, TurnText, assign, example_of, last_flag
from distill.long_cot import TOLD, select
from distill.sets import FusionSet
from distill.spool import Spool, reading, temporary
from distill.staging import CHUNK, Staging, refuse_faulty

EXTRA = pa.schema(
    [*ROW, ("part", pa.string()), ("turns", pa.int64()), ("rollouts", pa.list_(pa.string())), ("flag", pa.string())]
)
COLUMNS = (
    "id, rollout, rollouts, sample_index, source, license, part, mode, flag, turns, prompt, completion, messages, tokens, "
    "trained_tokens, length, split"
)


def build(builder: Builder, name: str, wanted: FusionSet) -> Built:
    """A fusion set. Raises SetRefused and FusionError."""
    work, con = builder.work, builder.work.con
    parts: dict[str, dict[str, Any]] = {}
    staged: dict[str, Staging] = {}
    told: list[str] = []
    assert builder.plan.student is not None
    system = "null" if (own_system := builder.plan.student.system) is None else literal(own_system)
    con.execute(
        """create or replace table fusing_rows (rollout varchar, problem_id varchar, sample_index bigint, part varchar,
        mode varchar, split varchar,
        trained_tokens bigint, tokens bigint, history_tokens bigint, alone boolean)"""
    )
    for key, part in wanted.parts.items():
        own = f"{name}.{key}"  # no other set has a dot in its name
        problems = builder.want(wanted, part.where)
        rules = builder.rules(part, _default(part.mode))
        groups = builder.decide(own, part, rules, f"traces_{own}")
        kept = f"(from {quoted('traces_' + own)} where dropped_by is null)"
        staging = staged[key] = builder.stage(
            own, groups, kept, "think" if part.mode == "think" else "empty", parts=True
        )
        refuse_faulty(builder.work, f"{name}.parts.{key}", staging.faults, wanted.max_faulty)
        selection = select(builder, own, f"traces_{own}", staging, part.select)
        con.execute(
            f"""insert into fusing_rows
            select rollout, id, sample_index, {literal(key)}, {literal(part.mode)}, split, trained_tokens, tokens,
                tokens - trained_tokens + (trained_tokens * len(answer) / greatest(1, len(concat(thinking, answer))))::bigint,
                len(list_filter(prompt, lambda turn: turn.role <> 'system' or turn.content is distinct from {system})) > 1
            from {staging.rows} semi join {quoted("chosen_" + own)} using (rollout)"""
        )
        parts[key] = {
            "mode": part.mode,
            "traces": part.traces,
            "wanted": problems,
            "rules": keeping.funnel(con, f"traces_{own}", rules),
            "beyond_enough": count(con, f"{quoted('traces_' + own)} where not used"),
            "faults": staging.faults.record(),
            "select": selection,
        }
        told.append(_decisions(own, key, staging))
    assert builder.plan.renderer is not None
    fused = assign(con, "fusing_rows", wanted, builder.plan.seed, builder.plan.renderer.max_length)
    for missed in fused.missed:
        work.store.warn(f"sets.{name}: {missed}")
    whole = _write(builder, name, staged)
    refuse_faulty(builder.work, name, whole.faults, wanted.max_faulty)
    con.execute(
        f"""create or replace table {quoted("fused_" + name)} as
        select f.rollout, f.part, w.fault as lost
        from (from {FUSED} where trained) as f join {whole.rows} as w using (rollout, part)"""
    )
    con.execute(f"create or replace table {quoted('left_' + name)} as from {LEFT_OUT}")
    rows = f"select {COLUMNS} from {whole.rows} where fault is null"
    return Built(
        rows=rows,
        record={
            "kind": wanted.KIND,
            "parts": parts,
            "faults": whole.faults.record(),
            "fusion": json.loads(json.dumps(fused.record())),
            **builder.lengths(rows),
        },
        decisions=" union all by name ".join(f"({one})" for one in told),
        problems=f"select id from ({rows})",
    )


def _default(mode: str) -> dict[str, str]:
    """The default rules of a part: what is left out of a non-thinking row has no fault of form."""
    thinking = {"well_formed", "reasoned", "consistent"} if mode == "no_think" else set()
    return {rule: condition for rule, condition in keeping.DEFAULT.items() if rule not in thinking}


def _write(builder: Builder, name: str, staged: dict[str, Staging]) -> Staging:
    """Puts conversations together, with their flags, and renders them."""
    work = builder.work
    assert builder.plan.renderer is not None
    keys = arrow(
        work.con,
        f"""select f.*, dense_rank() over (order by t.place, f.conversation) as n
        from {FUSED} as f join (
            select conversation, place from {FUSED} join placed on placed.id = problem_id where trained
        ) as t using (conversation)""",
    )
    staging = Staging(builder.folder / f"{name}-fused.parquet", builder.plan.renderer, EXTRA)

    texts = arrow(
        work.con,
        f"select part, rollout, row_number() over () - 1 as text from (select distinct part, rollout from {FUSED})",
    )

    def conversations(spool: Spool) -> Iterator[tuple[dict[str, Any], Example]]:
        columns = f"rollout, id, sample_index, source, license, prompt, {', '.join(PARTS.names)}"
        with reading(work) as con:
            con.register("texts", texts)
            for key, one in staged.items():
                wanted = f"(from texts where part = {literal(key)})"
                query = f"select {columns}, text from {one.rows} join {wanted} as t using (rollout)"
                for batch in batches(con, query, CHUNK):
                    for row in batch.to_pylist():
                        spool.put(row.pop("text"), row)
            con.register("keys", keys)
            ordered = arrow(con, "select keys.*, text from keys join texts using (part, rollout) order by n, turn")
        rows = (row for some in ordered.to_batches(CHUNK) for row in some.to_pylist())
        for _, turns in itertools.groupby(rows, key=lambda row: row["n"]):
            yield _row([turn | spool.take(turn["text"]) for turn in turns])

    def chunks() -> Iterator[list[tuple[dict[str, Any], Example]]]:
        with Spool(temporary(work), texts.num_rows) as spool:
            rows = conversations(spool)
            while chunk := list(itertools.islice(rows, CHUNK)):
                yield chunk

    total = len(keys["n"].unique())
    with work.progress.step(f"sets.{name}", total, "rows") as step:
        staging.write(chunks(), step)
    return staging


def _row(turns: list[dict[str, Any]]) -> tuple[dict[str, Any], Example]:
    last = turns[-1]
    own = {key: last[key] for key in ("rollout", "id", "sample_index", "source", "license", "split", "mode", "part")}
    own |= {"turns": len(turns), "rollouts": [turn["rollout"] for turn in turns]}
    try:
        example = example_of([_turn(turn) for turn in turns])
    except FlagError as error:
        return own | {"fault": str(error)}, Example([{"role": "user", "content": ""}], None, last["answer"])
    decides = last_flag(example.prompt)
    return own | {"flag": "none" if decides is None else decides.mode}, example


def _turn(row: dict[str, Any]) -> TurnText:
    prompt = [{"role": message["role"], "content": message["content"]} for message in row["prompt"]]
    return TurnText(prompt, row["thinking"], row["answer"], row["mode"], row["flag"], row["flag_in"])


def _decisions(own: str, part: str, staging: Staging) -> str:
    """SQL for what became of the traces of a part."""
    name = own.removesuffix(f".{part}")
    return f"""
        select problem_id as id, {literal(part)} as part, t.* exclude (problem_id, "group", filename, used, dropped_by), {TOLD},
            coalesce(dropped_by, case when fault is not null then {literal(TEMPLATE)} end,
                     case when why.reason is not null then 'select: ' || why.reason end, left_out.reason,
                     case when fused.lost is not null then {literal(TEMPLATE)} end) as dropped_by,
            fused.rollout is not null and fused.lost is null as kept
        from {quoted("traces_" + own)} as t left join (select rollout, {TOLD} from {staging.rows}) using (rollout)
            left join {quoted("why_" + own)} as why using (rollout)
            left join (from {quoted("left_" + name)} where part = {literal(part)}) as left_out using (rollout)
            left join (from {quoted("fused_" + name)} where part = {literal(part)}) as fused using (rollout)
        where used order by problem_id, sample_index"""
