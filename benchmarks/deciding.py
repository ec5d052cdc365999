"""Deciding again: how long `cuvee sweep`, a grid, `cuvee diff` and `cuvee why` take on large datasets, without a model.

The dataset is made up: prompts of about 300 bytes, kinds of question, gold answers, exact and near duplicates, early-stopped
pass rates of 8 samples. It is decided by `Decisions` and published by `publish` as any run's, twice with one threshold
apart. Each figure is a whole process (start, imports and all), the best of three, with the most memory it took.

    floor   DuckDB alone: `select count(*) where` over the columns that the changed rule reads, in this process

    .venv/bin/python benchmarks/deciding.py [--rows 100000] [--folder DIR] [--json]

Goals: 2 s at 100,000 rows, 20 s at 5,000,000, within 8 GB. With --folder what was published stays there and is used again.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.duck import arrow, literal, parquet
from curation.duplicates import Duplicates
from curation.pass_rate import PassRate
from curation.problem import SCHEMA
from curation.publish import publish
from curation.rules import Decisions, Measured, place
from curation.store import Store

CUVEE = str(Path(sys.executable).parent / "cuvee")
N = 8
SOURCES = ("web", "textbook", "contest")
FORM = Measured(
    "form",
    pa.schema(
        [
            *((name, pa.bool_()) for name in ("multiple_choice", "true_false", "proof", "multi_part", "needs_figure")),
            ("language", pa.string()),
            ("prompt_words", pa.int64()),
            ("answer_kind", pa.string()),
        ]
    ),
)
GOLD = Measured("gold", pa.schema([("gold_accepted", pa.bool_()), ("gold_reason", pa.string())]))
TAGS = Measured("tags", pa.schema([("domain", pa.string()), ("subdomain", pa.string())]))
DUPLICATES = Measured("duplicates", Duplicates.COLUMNS, decides_duplicates=True)
RATE = Measured("pass_rate", PassRate.COLUMNS, samples=N)
STEPS = (FORM, GOLD, TAGS, DUPLICATES, RATE)
KEEP = {
    "evaluable": "not (multiple_choice or true_false or proof)",
    "gold": "gold_accepted",
    "unique": "not duplicate",
    "learnable": "passes between 1 and 6",
}


def random(salt: str) -> str:
    """SQL for a number from 0 to 1 that depends on the row `i`."""
    return f"(hash(concat(i, {literal(salt)})) / 18446744073709551616.0)"


# What each annotator says of row i; every 20th asks the same as the row before, every 33rd nearly the same.
TEXT = "case when i % 20 = 1 then i - 1 else i end"
NEAR = "case when i % 33 = 5 then i + 1 when i % 33 = 6 then i - 1 end"
VALUES = {
    "form": f"""{random("choice")} < .05, {random("true")} < .02, {random("proof")} < .1, {random("parts")} < .05,
        {random("figure")} < .03, case when {random("language")} < .9 then 'en' else 'zh' end,
        (40 + 30 * {random("words")})::bigint, case when {random("kind")} < .7 then 'number' else 'expression' end""",
    "gold": f"case when {random('gold')} < .92 then true when {random('gold')} < .99 then false end, ''",
    "tags": f"'domain ' || (12 * pow({random('domain')}, 2))::int, 'part ' || (60 * {random('part')})::int",
    "duplicates": f"""i % 20 < 2 or {NEAR} is not null, false, null::varchar, false, md5(({TEXT})::varchar),
        case when i % 20 < 2 then 2 else 1 end, md5('text' || ({TEXT})::varchar),
        case when {NEAR} is null then [] else [{{id: md5(({NEAR})::varchar), similarity: .85::double, same_answer: true}}] end,
        null::varchar""",
    "pass_rate": """p, f, 0, 0, p + f, p + f, p / (p + f), p / (p + f), greatest(p / (p + f) - .3, 0),
        least(p / (p + f) + .3, 1), 200 + 100 * solved""",
}
RATES = f"""(select *, case when solved >= 7 then 7 when solved = 0 then 0 else 1 + ({random("order")} * (solved - 1))::int end
    as p, case when solved >= 7 then 0 when solved = 0 then {N} else 2 + ({random("late")} * ({N - 2} - solved))::int end as f
    from (select *, ({random("solved")} * {N + 1})::int as solved from made))"""


def build(folder: str, rows: int) -> None:
    """Publishes two datasets, `a` and `b`, with one threshold apart."""
    store = Store(folder)
    sentences = f"{folder}/sentences.parquet"
    con = store.connect()
    os.makedirs(folder, exist_ok=True)
    con.execute(
        f"""copy (select i, 'The ' || md5(i::varchar) || ' of a triangle is ' || i || ' more than its base.' as text
        from range(5000) as r(i)) to {literal(sentences)}"""
    )
    con.execute(f"create table sentences as from {parquet([sentences])}")
    parts = " || ' ' || ".join(f"s{n}.text" for n in range(4))
    joins = " ".join(f"join sentences as s{n} on s{n}.i = hash(r.i, {n}) % 5000" for n in range(4))
    source = f"list_extract({list(SOURCES)}, 1 + (r.i % {len(SOURCES)}))"
    problems = f"{folder}/problems.parquet"
    values = {
        **dict.fromkeys(SCHEMA.names, "null::varchar"),
        "id": "md5(r.i::varchar)",
        "prompt": parts,
        "messages": "[]::struct(role varchar, content varchar)[]",
        "answer": "(hash(r.i) % 10000)::varchar",
        "verifier": "'math'",
        "source": source,
        "license": "'MIT'",
        "row": "r.i",
    }
    listed = ", ".join(f"{value} as {name}" for name, value in values.items())
    con.execute(
        f"copy (select r.i, {listed} from range({rows}) as r(i) {joins}) to {literal(problems)} (compression zstd)"
    )
    con.execute(f"create view made as from {parquet([problems])}")
    con.execute("create view problems as select * exclude (i) from made")
    for name, most in (("a", 6), ("b", 5)):
        keep = KEEP | {"learnable": f"passes between 1 and {most}"}
        decisions = Decisions(con, "problems", SOURCES)
        placed = place(keep, STEPS)
        for number, step in enumerate(STEPS, start=1):
            decisions.wanted()
            columns = (
                f"select id, {VALUES[step.key]} from {RATES if step is RATE else 'made'} semi join wanted using (id)"
            )
            schema = pa.schema([("id", pa.string()), *step.columns])
            decisions.add(step, arrow(con, columns).rename_columns(schema.names).cast(schema))
            for rule in placed:
                if rule.after == number:
                    decisions.apply(rule)
        decisions.finish()
        publish(store, con, {}, f"{decisions.source_order}, row", manifest(name, decisions, rows), "")
    con.close()


def manifest(name: str, decisions: Decisions, rows: int) -> dict[str, Any]:
    """As a run would write it, as far as it is read here."""
    (kept,) = decisions.con.execute("select count(*) filter (kept) from decisions").fetchall()[0]
    kinds = {"pass_rate": {"n": N, "max_tokens": 512, "settles": ["learnable"]}}
    return {
        "name": name,
        "code_version": "0",
        "counts": {"read": rows, "rejected": 0, "problems": rows, "kept": kept, "dropped": rows - kept},
        "rules": decisions.funnel(),
        "licenses": [],
        "annotators": [
            {"key": step.key, "annotator": step.key, "prefix": "", "columns": step.columns.names, "settings": {}}
            | kinds.get(step.key, {})
            for step in STEPS
        ],
        "pool": {"name": name, "version": "0", "sources": {source: {"version": "0"} for source in SOURCES}},
        "recipe": {},
    }


def timed(*command: str) -> tuple[float, float]:
    """Seconds of a whole `cuvee` process and the GB it took at most, the quickest of three."""
    runs = []
    for _ in range(3):
        began = time.monotonic()
        with subprocess.Popen([CUVEE, *command], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            printed = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"cuvee {' '.join(command)} ended with {process.returncode}")
        assert printed, command
        runs.append((time.monotonic() - began, usage.ru_maxrss / 2**20))
    return min(runs)


def measure(folder: str, rows: int, goal: float) -> dict[str, dict[str, Any]]:
    store = Store(folder)
    if not os.path.isdir(f"{folder}/datasets/b"):
        # A process of its own: what it took in memory would be counted as the commands' that are started here.
        builder = multiprocessing.get_context("spawn").Process(target=build, args=(folder, rows))
        builder.start()
        builder.join()
        assert builder.exitcode == 0
    decisions = f"{folder}/datasets/a/{store.listing(f'{folder}/datasets/a')[0]}/decisions.parquet"
    con = store.connect()
    began = time.monotonic()
    con.execute(f"select count(*) from {parquet([decisions])} where passes between 1 and 5 and kept").fetchall()
    floor = time.monotonic() - began
    ids = con.execute(f"select id from {parquet([decisions])} where kept and len(near_texts) > 0 limit 1").fetchall()[0]
    commands = {
        "sweep a threshold": ["sweep", "a", "--rule", "learnable=passes between 1 and 5"],
        "sweep above the duplicates": ["sweep", "a", "--rule", "evaluable=not proof", "--by", "domain"],
        "grid of 64 cells": [
            *("sweep", "a", "--rule", "learnable=passes between {low} and {high}"),
            *("--grid", "low=0..7", "--grid", "high=1..8"),
        ],
        "diff": ["diff", "a", "b"],
        "why": ["why", "a", ids[0]],
    }
    claims = {}
    for name, command in commands.items():
        seconds, memory = timed(*command, "--workspace", folder)
        claims[f"{name}, {rows:,} rows"] = {
            "ours": round(seconds, 2),
            "peer": round(floor, 2),
            "ratio": round(seconds / floor, 1),
            "goal": goal,
            "holds": seconds <= goal and memory <= 8,
            "gigabytes": round(memory, 2),
        }
    return claims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="problems (100000)")
    parser.add_argument("--folder", type=Path, help="where to publish, and look for what is published already")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    goal = 2.0 if options.rows <= 100_000 else 20.0
    with contextlib.ExitStack() as exits:
        folder = options.folder or exits.enter_context(tempfile.TemporaryDirectory(prefix="cuvee-bench-"))
        claims = measure(str(folder), options.rows, goal)
    if options.json:
        print(json.dumps(claims, indent=2))
        return
    print(f"{'':44}{'seconds':>8}{'goal':>6}{'GB':>7}   DuckDB's count over the same rows")
    for name, c in claims.items():
        told = "" if c["holds"] else "   missed"
        print(f"{name:44}{c['ours']:>8.2f}{c['goal']:>6.0f}{c['gigabytes']:>7.2f}{c['peer']:>9.2f}{told}")


if __name__ == "__main__":
    main()
