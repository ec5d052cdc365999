"""How fast a teacher's traces become a set, in how much memory; and what "k accepted of N" draws for it.

    .venv/bin/python benchmarks/distillation.py [--only building,overhead,served] [--traces 20000] [--folder DIR] [--json]

    building   problems of ../shared/data/pool with 4 traces of about 20,000 characters each (sentences of real traces, no two
               traces alike, with token ids, verdicts stored) become an SFT set: `flows.curate` in a process of its own, once
               over a quarter of the traces and once over all. Traces per second of CPU time, graders included, of

                   checks      everything of traces.py, benchmark items among it
                   rendering   through the student's template and back, counted, written
                   the rest    deciding, choosing, publishing

               beside what tokenizing the same texts takes (the floor of rendering), and what is done today: `datasets.map` and
               `filter` with Gopher's repetition rule and `apply_chat_template`, on a sample. Memory is the peak of resident
               pages of the process that runs it (VmHWM: its graders, which hold no trace for long, stand beside).
    overhead   tokens drawn to tokens that go into the set, for k right traces of at most N a problem: by index, as teacher.py
               draws, against all N, against the first k to arrive. The scheduler (outcomes.py) in virtual time, 64 slots. Rates
               are as those of GSM8K's published solutions, or Beta(.7, 1); lengths lognormal within and between problems,
               wrong traces twice as long: then who comes first is short, and `kept` (the mean length of the traces kept to that
               of all right ones of their problems) says by how much a set of them is.
    served     the same numbers of samples from a server, end to end.

CPU seconds and ratios: wall time says little on a machine that others use.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa

from curation import pool
from curation.duck import arrow, literal
from curation.model import identity
from curation.progress import Progress, Step
from curation.rollouts import ROLLOUTS, VERDICTS, Rollouts
from curation.store import Store
from curation.verify import version
from curation.verify.pool import graders
from flows.curate import curate, directly
from flows.recipe import Loaded, load

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
STUDENT = "~/.cache/cuvee/models/SmolLM2-135M-Instruct"
P = ParamSpec("P")
T = TypeVar("T")
Claims = dict[str, dict[str, Any]]
SEED = 20261122
EACH = 4
"""Traces of a problem."""
LONG = 20_000
"""Characters of a trace, about."""
RIGHT = 0.7
PART = 2048
MOST_GB, MORE_GB = 2.0, 0.3
"""Goals: memory at its peak, and how much more of it four times the traces may take."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def claim(ours: float, peer: float | None, goal: float | None, holds: bool | None, **more: Any) -> dict[str, Any]:
    told = {"ours": ours, "peer": peer, "ratio": None if not peer else ours / peer, "goal": goal, "holds": holds}
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in (told | more).items()}


# ---- a store full of traces


def recipe(folder: str, problems: int) -> Loaded:
    """What is run: a set of all traces that stay."""
    benchmarks = {name: {"parquet": str(DATA / f"benchmarks/{name}.parquet")} for name in ("gsm8k_test", "math500")}
    columns = {"prompt": "prompt", "answer": "answer"}
    text = {
        "name": "bench",
        "sources": {
            "made": {
                "parquet": f"{folder}/problems.parquet",
                "columns": columns,
                "limit": problems,
                "verifier": "math",
                "license": "MIT",
            }
        },
        "models": {
            "teacher": {"model": "teacher", "url": "http://127.0.0.1:9/v1", "revision": "1"},
            "student": {"model": STUDENT},
        },
        "student": {"model": "student", "max_length": 32768},
        "annotate": {
            "contamination": {
                "benchmarks": {name: {**spec, "columns": {"prompt": "problem"}} for name, spec in benchmarks.items()},
                "embedding": None,
            }
        },
        "keep": {"clean": "not contaminated"},
        "traces": {"long": {"model": "teacher", "n": EACH, "max_tokens": 32768, "elsewhere": True}},
        "sets": {"sft": {"traces": "long"}},
    }
    path = Path(folder) / f"recipe-{problems}.yaml"
    path.write_text(json.dumps(text))  # JSON is YAML
    return load(str(path))


def sentences() -> list[str]:
    """Sentences of real traces, with the blank or the empty line that follows."""
    packed = pa.CompressedInputStream(pa.OSFile(str(DATA / "traces" / "long_cot_traces.jsonl.zst")), "zstd")
    found: dict[str, None] = {}
    for trace in map(json.loads, packed.read().decode().splitlines()):
        # What stands in a benchmark, or is in Chinese, would be dropped, and the rest be quicker than it is.
        if trace["on_benchmark"] or re.search("[\u4e00-\u9fff]|</?think", trace["thinking"]):
            continue
        for part in re.split(r"(?<=[.!?])\s+|\n+", trace["thinking"]):
            if len(part.split()) >= 4:
                found[part] = None
    return [text + ("\n\n" if number % 5 == 0 else " ") for number, text in enumerate(found)]


def fill(folder: str, traces: int) -> None:
    """Writes problems, traces and verdicts of `traces // EACH` problems."""
    problems = max(1, traces // EACH)
    store = Store(folder)
    con = store.connect()
    con.execute(
        f"""copy (select problem as prompt, any_value(answer) as answer from read_parquet({literal(str(DATA / "pool/pool.parquet"))})
            where answer_type = 'number' and length(problem) > 40 and source not in ('aime_1983_2023') group by 1
            order by md5(problem) limit {problems}) to {literal(f"{folder}/problems.parquet")}"""
    )
    loaded = recipe(folder, problems)
    made = pool.read(store, "bench", loaded.recipe.sources, 1.0, Progress(quiet=True))
    asked = arrow(con, f"select id, answer from {made.problems(store)} order by row")
    drawn, teacher = loaded.wanted.traces["long"], loaded.recipe.models["teacher"]
    assert drawn.model is not None
    rollouts = Rollouts(store, identity(teacher), drawn.prompt_of(teacher, {}), drawn.sampling())
    rollouts.declare()
    texts, random = np.array(sentences(), object), np.random.default_rng(SEED)
    mean = float(np.mean([len(text) for text in texts]))
    ids, answers = asked["id"].to_pylist(), asked["answer"].to_pylist()
    for first in range(0, len(ids), PART // EACH):
        number = np.repeat(np.arange(first, min(first + PART // EACH, len(ids))), EACH)
        count = len(number)
        length = np.clip(random.lognormal(-0.06, 0.35, count), 0.1, 4.0) * LONG
        passed = random.random(count) < RIGHT
        said = [answers[at] if right else f"{answers[at]}7" for at, right in zip(number, passed, strict=True)]
        text = [
            f"<think>\n{''.join(texts[random.integers(0, len(texts), int(each / mean))])}So the answer is {answer}.\n</think>\n\n"
            f"The answer is \\boxed{{{answer}}}."
            for each, answer in zip(length, said, strict=True)
        ]
        tokens = np.array([len(each) // 4 for each in text])
        names = [f"{first * EACH + at:032x}" for at in range(count)]
        columns = {
            "rollout": names,
            "problem_id": [ids[at] for at in number],
            "sample_index": np.tile(np.arange(EACH), count // EACH),
            "text": text,
            "token_ids": pa.ListArray.from_arrays(
                np.append(0, tokens.cumsum()).astype(np.int32),
                (random.random(tokens.sum()) ** 4 * 49152).astype(np.int32),
            ),
            "tokens": tokens,
            "finish_reason": ["stop"] * count,
            "max_tokens": np.full(count, drawn.max_tokens),
            "drawn_at": np.full(count, 1_795_000_000_000),
        }
        verdicts = {
            "rollout": names,
            "problem_id": columns["problem_id"],
            "verifier": ["math"] * count,
            "verifier_version": np.full(count, version("math")),
            "outcome": np.where(passed, "correct", "wrong"),
            "extracted": said,
            "reason": ["equal"] * count,
        }
        for part, values, schema in (
            (rollouts.folder, columns, ROLLOUTS),
            (rollouts.verdict_folder, verdicts, VERDICTS),
        ):
            absent = {field.name: pa.nulls(count, field.type) for field in schema if field.name not in values}
            store.append(part, pa.table({**values, **absent}).select(schema.names).cast(schema))


# ---- from the store to a set


def memory_of(kind: str, process: int | str = "self") -> float:
    """GB of a process: `VmRSS` now, `VmHWM` at its peak; 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition(f"{kind}:")[2].split()[0]) / 2**20


def cpu() -> float:
    """CPU seconds of this process and its graders."""
    return time.process_time() + graders().cpu_seconds()


class Watched(Progress):
    """Notes what every step takes: rows, seconds, CPU seconds, and the most memory meanwhile."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.told: dict[str, dict[str, float]] = {}
        self._open: list[dict[str, float]] = []
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            held = memory_of("VmRSS")
            for one in self._open:
                one["gb"] = max(one["gb"], held)

    def end(self) -> None:
        self._ended.set()
        self._watcher.join()

    @contextlib.contextmanager
    def noted(self, name: str) -> Iterator[dict[str, float]]:
        one = {"rows": 0.0, "seconds": -time.monotonic(), "cpu": -cpu(), "gb": memory_of("VmRSS")}
        self._open.append(one)
        try:
            yield one
        finally:
            self._open.remove(one)
            one["seconds"] += time.monotonic()
            one["cpu"] += cpu()
            self.told[name] = one

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Step]:
        with self.noted(f"{name}, {unit}") as one, super().step(name, total, unit) as step:
            yield step
            one["rows"] = step.done


def _build(folder: str, problems: int) -> dict[str, Any]:
    """Runs the recipe; gives what every step took, and what came of it."""
    loaded, watched = recipe(folder, problems), Watched()

    def call(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with watched.noted(name):
            return directly(name, function, *args, **kwargs)

    with watched.noted("whole"):
        outcome = curate(loaded, folder, progress=watched, call=call)
    watched.end()
    assert outcome.dataset is not None
    sft = outcome.dataset.manifest["built"]["sft"]
    return {
        "steps": watched.told,
        "peak": memory_of("VmHWM"),
        "rows": sum(split["rows"] for split in sft["splits"]),
        "tokens": sum(split["tokens"] for split in sft["splits"]),
        "rules": sft["rules"],
        "faults": sft["faults"],
        "warnings": outcome.warnings,
    }


def afresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of this file gives in a new process, as JSON has it."""
    command = [sys.executable, __file__, AFRESH, json.dumps([function.__name__, *arguments])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


AFRESH = "--afresh"
if __name__ == "__main__":
    if sys.argv[1:2] == [AFRESH]:
        name, *arguments = json.loads(sys.argv[2])
        print(json.dumps({"_build": _build, "fill": fill}[name](*arguments)))
    else:
        folder, n = sys.argv[1], int(sys.argv[2])
        if not os.path.exists(folder + "/problems.parquet"):
            os.makedirs(folder)
            t = time.time(); afresh(fill, folder, n); say(f"filled {time.time() - t}")
        out = afresh(_build, folder, n // EACH)
        for k, v in out["steps"].items():
            print(f"{k:30} {v['rows']:8.0f} {v['seconds']:8.2f} s {v['cpu']:8.2f} cpu {v['gb']:6.2f} GB")
        del out["steps"]
        print(json.dumps(out, indent=1)[:3000])
