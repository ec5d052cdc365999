"""Preference sets: for DPO and its relatives, two answers to one prompt, and why the one is preferred (preference.py).

A row has

    id, source, license        of the problem
    prompt, chosen, rejected   messages: what is asked, and the two answers to it, as TRL's DPOTrainer takes them
    kind, reason               correct_wrong or long2short; in words
    chosen_rollout, rejected_rollout, chosen_tokens, rejected_tokens    in trained tokens of the student
    tokens                     of the longer of the two with the prompt; `length` is the power of two that holds it
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.annotate import count
from curation.duck import arrow, batches, literal, parquet, quoted
from distill import keeping
from distill.building import TEMPLATE, Builder, Built
from distill.long_cot import TOLD
from distill.preference import PAIRS, pairs
from distill.sets import PreferenceSet
from distill.spool import Spool, reading, temporary
from distill.staging import CHUNK, Staging, refuse_faulty, write_batch

REJECTED = {"judged": "correct is not null", "whole": "not cut_off", "answered": "answer_words > 0"}
"""What may be rejected, unless a set says otherwise."""
UNPAIRED = "pairs"
"""What drops a trace that is in no pair."""


def build(builder: Builder, name: str, wanted: PreferenceSet) -> Built:
    """A preference set. Raises SetRefused."""
    con = builder.work.con
    builder.want(wanted)
    rules = builder.rules(wanted)
    chosen, rejected = f"traces_{name}", f"rejected_{name}"
    groups = builder.decide(name, wanted, rules, chosen)
    against = keeping.rules_of(wanted.rejected, None, REJECTED)
    keeping.decide(con, against, builder.traced.columns, None, rejected)
    # Behind those that are enough lies what other sets happened to draw.
    con.execute(
        f"delete from {quoted(rejected)} where rollout in (select rollout from {quoted(chosen)} where not used)"
    )
    con.execute(
        f"""create or replace table sides_{name} as
        select c.rollout, c.filename, c."group", c.problem_id, c.sample_index, c.correct,
            c.dropped_by is null as chosen_ok, r.dropped_by is null as rejected_ok
        from {quoted(chosen)} as c join {quoted(rejected)} as r using (rollout) where c.used and (chosen_ok or rejected_ok)"""
    )
    staging = builder.stage(name, groups, f"sides_{name}")
    refuse_faulty(builder.work, name, staging.faults, wanted.max_faulty)
    con.execute(
        f"""create or replace table candidates as
        select sides_{name}.*, s.split, s.trained_tokens, s.text_digest from sides_{name} join (
            select rollout, split, trained_tokens, md5(completion::varchar) as text_digest from {staging.rows}
            where fault is null) as s using (rollout)"""
    )
    paired = pairs(con, "candidates", wanted.pairs, builder.plan.seed)
    path = _write(builder, name, staging)
    rows = f"select * from {parquet([str(path)])}"
    stood = f"(select chosen as rollout from {PAIRS} union select rejected from {PAIRS})"
    con.execute(f"create or replace table {quoted('paired_' + name)} as from {stood}")
    return Built(
        rows=rows,
        record={
            "kind": wanted.KIND,
            "traces": wanted.traces,
            "wanted": count(con, "wanted"),
            "rules": keeping.funnel(con, chosen, rules),
            "rejected_rules": keeping.funnel(con, rejected, against),
            "beyond_enough": count(con, f"{quoted(chosen)} where not used"),
            "faults": staging.faults.record(),
            "pairs": paired.record(),
            **builder.lengths(
                f"select split, tokens, chosen_tokens + rejected_tokens as trained_tokens, length from ({rows})"
            ),
        },
        decisions=f"""
            select problem_id as id, t.* exclude (problem_id, "group", filename, used, dropped_by), {TOLD},
                chosen_ok, rejected_ok,
                case when p.rollout is not null then null
                     when not coalesce(rejected_ok, false) and dropped_by is not null then dropped_by
                     when fault is not null then {literal(TEMPLATE)} else {literal(UNPAIRED)} end as dropped_by,
                p.rollout is not null as kept
            from {quoted(chosen)} as t left join (select rollout, chosen_ok, rejected_ok from sides_{name}) using (rollout)
                left join (select rollout, {TOLD} from {staging.rows}) using (rollout)
                left join {quoted("paired_" + name)} as p using (rollout)
            where used order by problem_id, sample_index""",
        problems=f"select id from ({rows})",
    )


def _write(builder: Builder, name: str, staging: Staging) -> Path:
    """Puts both sides of every pair together, in the order of the pool; gives the file."""
    work, path = builder.work, builder.folder / f"{name}-pairs.parquet"
    keys = arrow(
        work.con,
        f"""select {PAIRS}.*, place, row_number() over (order by place, kind, c.sample_index, r.sample_index) as n
        from {PAIRS} join placed on placed.id = {PAIRS}.problem_id
            join candidates as c on c.rollout = chosen join candidates as r on r.rollout = rejected""",
    )
    both = f"select chosen as rollout from {PAIRS} union select rejected from {PAIRS}"
    texts = arrow(work.con, f"select rollout, row_number() over () - 1 as text from ({both})")
    of = staging.schema.field
    schema = pa.schema(
        [
            *((key, pa.string()) for key in ("id", "source", "license")),
            ("prompt", of("prompt").type),
            ("chosen", of("completion").type),
            ("rejected", of("completion").type),
            *((key, pa.string()) for key in ("kind", "reason", "chosen_rollout", "rejected_rollout")),
            *((key, pa.int64()) for key in ("chosen_tokens", "rejected_tokens", "tokens", "length")),
            ("split", pa.string()),
        ]
    )
    with (
        Spool(temporary(work), texts.num_rows) as spool,
        work.progress.step(f"sets.{name}: pairs", keys.num_rows, "pairs") as step,
        pq.ParquetWriter(path, schema, compression="zstd") as writer,
    ):
        with reading(work) as con:
            con.register("texts", texts)
            columns = "id, source, license, prompt, completion, tokens, length"
            for batch in batches(con, f"select {columns}, text from {staging.rows} join texts using (rollout)", CHUNK):
                for row in batch.to_pylist():
                    spool.put(row.pop("text"), row)
            con.register("keys", keys)
            ordered = arrow(
                con,
                """select keys.*, c.text as chosen_text, r.text as rejected_text from keys
                join texts as c on c.rollout = keys.chosen join texts as r on r.rollout = keys.rejected order by n""",
            )
        for some in ordered.to_batches(CHUNK):
            rows = [
                _row(pair, spool.take(pair["chosen_text"]), spool.take(pair["rejected_text"]))
                for pair in some.to_pylist()
            ]
            write_batch(writer, pa.Table.from_pylist(rows, schema=schema))
            step.advance(len(rows))
    return path


def _row(pair: dict[str, Any], chosen: dict[str, Any], rejected: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: chosen[key] for key in ("id", "source", "license", "prompt")},
        **{key: pair[key] for key in ("kind", "reason", "chosen_tokens", "rejected_tokens", "split")},
        "chosen": chosen["completion"],
        "rejected": rejected["completion"],
        "chosen_rollout": pair["chosen"],
        "rejected_rollout": pair["rejected"],
        **{key: max(chosen[key], rejected[key]) for key in ("tokens", "length")},
    }
