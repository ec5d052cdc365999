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
import heapq
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

from curation import duck, pool
from curation.duck import arrow, literal
from curation.model import identity
from curation.outcomes import FAIL, MISSING, PASS, Outcomes
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
PART, BATCH = 2048, 128
SAMPLE = 512
"""Traces that are made rows of in the way of today."""
RENDERED = 0.7
"""Goal: rows rendered, to texts tokenized."""
FILLED = "filled"
"""A file that says that the store is."""
SHOWN = ("traces.long: checks, traces", "sets.sft, traces", "publish")
SLOTS, MIXES = 64, ("GSM8K", "Beta(.7, 1)")
BETWEEN, WITHIN, WRONG_IS_LONGER = 0.6, 0.5, 2.0
"""Of lengths in virtual time: deviation of the logarithm between problems and within one; wrong traces to right ones."""
WASTE = 1.1
"""Goal: tokens drawn to those of the shortest runs of samples that hold k right ones."""
POOL, TRACES = DATA / "pool/pool.parquet", DATA / "traces/long_cot_traces.jsonl.zst"
NEEDED = (POOL, TRACES, Path(STUDENT).expanduser())
MOST_GB, MORE_GB = 2.0, 0.3
"""Goals: memory at its peak, and how much more of it four times the traces may take."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def claim(ours: float, peer: float | None, goal: float | None, holds: bool | None, **more: Any) -> dict[str, Any]:
    told = {"ours": ours, "peer": peer, "ratio": None if not peer else ours / peer, "goal": goal, "holds": holds}
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in (told | more).items()}


# ---- a store full of traces


def recipe(folder: str, name: str, problems: int) -> Loaded:
    """What is run over the first problems: a set of all traces that stay."""
    benchmarks = {name: {"parquet": str(DATA / f"benchmarks/{name}.parquet")} for name in ("gsm8k_test", "math500")}
    columns = {"prompt": "prompt", "answer": "answer"}
    text = {
        "name": name,
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
    path = Path(folder) / f"{name}.yaml"
    path.write_text(json.dumps(text))  # JSON is YAML
    return load(str(path))


def sentences() -> list[str]:
    """Sentences of real traces, with the blank or the empty line that follows."""
    packed = pa.CompressedInputStream(pa.OSFile(str(TRACES)), "zstd")
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
        f"""copy (
            select problem as prompt, any_value(answer) as answer from read_parquet({literal(str(POOL))})
            where answer_type = 'number' and length(problem) > 40 group by 1 order by md5(problem) limit {problems}
        ) to {literal(f"{folder}/problems.parquet")}"""
    )
    loaded = recipe(folder, "whole", problems)
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
    Path(folder, FILLED).touch()


# ---- from the store to a set


def memory_of(kind: str, process: int | str = "self") -> float:
    """GB of a process: `VmRSS` now, `VmHWM` at its peak; 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition(f"{kind}:")[2].split()[0]) / 2**20


def children() -> list[str]:
    """The processes that this one started."""
    own = f"/proc/{os.getpid()}/task"
    with contextlib.suppress(OSError):
        return [child for task in os.listdir(own) for child in Path(own, task, "children").read_text().split()]
    return []


def cpu() -> float:
    """CPU seconds of this process and its graders."""
    return time.process_time() + graders().cpu_seconds()


class Watched(Progress):
    """Notes what every step takes: rows, seconds, CPU seconds, and the most memory meanwhile."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.told: dict[str, dict[str, float]] = {}
        self.graders = 0.0
        self._open: list[dict[str, float]] = []
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            held = memory_of("VmRSS")
            self.graders = max(self.graders, sum(memory_of("VmRSS", child) for child in children()))
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


def _build(folder: str, name: str, problems: int) -> dict[str, Any]:
    """Runs the recipe; gives what every step took, and what came of it."""
    loaded, watched = recipe(folder, name, problems), Watched()

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
        "graders": watched.graders,
        "rows": sum(split["rows"] for split in sft["splits"]),
        "tokens": sum(split["tokens"] for split in sft["splits"]),
    }


def afresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of this file gives in a new process, as JSON has it."""
    command = [sys.executable, __file__, AFRESH, json.dumps([function.__name__, *arguments])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _floor(folder: str, most: int) -> dict[str, float]:
    """Of the first traces of the store, per CPU second: tokenized, and made rows of as is done today."""
    import datasets
    from traces import gopher  # the benchmark beside this one

    from distill.tokenized import load_tokenizer

    store = Store(folder)
    parts = ", ".join(
        literal(path) for path in store.parts(f"{folder}/rollouts/{store.listing(f'{folder}/rollouts')[0]}")
    )
    rows = arrow(store.connect(), f"select text from read_parquet([{parts}]) limit {most}")
    texts, tokenizer = rows["text"].to_pylist(), load_tokenizer(STUDENT)
    began = time.process_time()
    for at in range(0, len(texts), BATCH):
        tokenizer(texts[at : at + BATCH], add_special_tokens=False, return_attention_mask=False, verbose=False)
    tokenized = time.process_time() - began

    datasets.disable_progress_bars()
    asked = {"role": "user", "content": "What is it?"}

    def fluent(row: dict[str, Any]) -> bool:
        return not gopher(row["text"])

    def written(row: dict[str, Any]) -> dict[str, Any]:
        text = tokenizer.apply_chat_template([asked, {"role": "assistant", "content": row["text"]}], tokenize=False)
        return {"shown": text, "tokens": len(tokenizer(text, add_special_tokens=False)["input_ids"])}

    with tempfile.TemporaryDirectory(prefix="cuvee-bench-") as cache:
        found = datasets.Dataset(rows)
        began = time.process_time()
        found = found.filter(fluent, cache_file_name=f"{cache}/filtered.arrow")
        filtered = time.process_time() - began
        kept = len(found)
        began = time.process_time()
        found.map(written, cache_file_name=f"{cache}/mapped.arrow").to_parquet(f"{cache}/rows.parquet")
        mapped = time.process_time() - began
    return {"tokenized": len(texts) / tokenized, "filtered": len(texts) / filtered, "mapped": kept / mapped}


def building(traces: int, folder: str) -> Claims:
    if not os.path.exists(f"{folder}/{FILLED}"):
        os.makedirs(folder, exist_ok=True)
        afresh(fill, folder, traces)
    say(f"building: {traces:,} traces are written")
    part = afresh(_build, folder, "part", max(1, traces // EACH // 4))
    whole = afresh(_build, folder, "whole", max(1, traces // EACH))
    say("building: both sets are published")
    floor = afresh(_floor, folder, min(traces, SAMPLE))
    steps = whole["steps"]
    checks, rendering = steps["traces.long: checks, traces"], steps["sets.sft, traces"]
    spent = steps["sets.sft"]["cpu"] + steps["publish"]["cpu"]
    # The traces of the part are measured already.
    entered = part["steps"]["traces.long: checks, traces"]["rows"] + checks["rows"]
    checked = checks["rows"] / checks["cpu"]
    rendered = rendering["rows"] / rendering["cpu"]
    rest = spent - checks["cpu"] - rendering["cpu"]
    in_all = entered / (entered / checked + rendering["cpu"] + rest)
    today = 1 / (1 / floor["filtered"] + whole["rows"] / entered / floor["mapped"])
    more = {"traces": int(entered), "rows": whole["rows"], "million_tokens": round(whole["tokens"] / 1e6, 1)}
    growth = whole["peak"] - part["peak"]
    return {
        "traces checked per CPU second": claim(checked, floor["filtered"], None, None, peer_is="Gopher's rule alone"),
        "rows rendered per CPU second": claim(
            rendered, floor["tokenized"], None, rendered >= RENDERED * floor["tokenized"], peer_is="tokenizing alone"
        ),
        "traces decided, chosen, published per CPU second": claim(entered / rest, None, None, None),
        "traces to a set per CPU second": claim(in_all, today, None, None, peer_is="datasets: filter, map", **more),
        "GB at most": claim(whole["peak"], None, MOST_GB, whole["peak"] < MOST_GB, graders=whole["graders"]),
        "GB more than for a quarter of them": claim(growth, None, MORE_GB, growth <= MORE_GB),
        **{
            f"GB at most, {name}": claim(
                one["gb"], part["steps"].get(name, {}).get("gb"), None, None, seconds=one["seconds"], cpu=one["cpu"]
            )
            for name, one in steps.items()
            if name in SHOWN
        },
    }


# ---- k accepted of N


def rates_of(mix: str, problems: int, random: np.random.Generator) -> np.ndarray:
    """Pass rates of so many problems."""
    if mix == "Beta(.7, 1)":
        return random.beta(0.7, 1.0, problems)
    path = DATA / "pass_rate_dev" / "gsm8k_test_openai_solutions.parquet"
    rows = arrow(
        duck.connect(),
        f"""select sum(correct::int)::int as right, count(*)::int as drawn from read_parquet({literal(str(path))})
        group by bench_id order by bench_id""",
    )
    right, drawn = rows["right"].to_numpy(), rows["drawn"].to_numpy()
    chosen = random.integers(0, len(right), problems)
    return random.beta(right[chosen] + 0.5, drawn[chosen] - right[chosen] + 0.5)


def overhead(problems: int) -> Claims:
    claims: Claims = {}
    random = np.random.default_rng(SEED)
    for mix in MIXES:
        for n in (8, 16):
            rates = rates_of(mix, problems, random)
            passed = random.random((problems, n)) < rates[:, None]
            lengths = random.lognormal(0.0, BETWEEN, (problems, 1)) * random.lognormal(0.0, WITHIN, passed.shape)
            lengths *= np.where(passed, 1.0, WRONG_IS_LONGER)
            for k in (1, 2, 4):
                claims[f"{mix}, {k} of {n}"] = drawn_for(k, passed, lengths)
        say(f"overhead: {mix} is through")
    return claims


def drawn_for(k: int, passed: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """Tokens drawn to tokens of the traces taken."""
    before = np.cumsum(passed, axis=1) - passed
    taken = passed & (before < k)
    accepted = float(lengths[taken].sum())
    needed = float(lengths[before < k].sum())
    drawn = by_index(k, passed, lengths)
    ended = np.sort(np.where(passed, lengths, np.inf), axis=1)[:, k - 1]
    first = passed & (lengths <= ended[:, None])
    arrived = float(np.minimum(lengths, ended[:, None]).sum())
    all_n = float(lengths.sum()) / accepted
    return claim(
        drawn / accepted,
        all_n,
        WASTE * needed / accepted,
        drawn <= WASTE * needed,
        least=needed / accepted,
        by_arrival=arrived / float(lengths[first].sum()),
        kept_by_index=length_of(taken, passed, lengths),
        kept_by_arrival=length_of(first, passed, lengths),
    )


def length_of(taken: np.ndarray, right: np.ndarray, lengths: np.ndarray) -> float:
    """The mean length of those taken to that of all right ones, problem by problem, of problems that have any to choose."""
    rows = right.sum(axis=1) > taken.sum(axis=1)
    ours, others = ((lengths * mask)[rows].sum(axis=1) / mask[rows].sum(axis=1) for mask in (taken, right))
    return float(np.mean(ours / others)) if rows.any() else 1.0


def by_index(k: int, passed: np.ndarray, lengths: np.ndarray) -> float:
    """Tokens that the scheduler draws as sampling.py uses it, what is aborted at its end among them."""
    problems, n = passed.shape
    pattern = "".join(chr(0x100 + min(right, k)) for right in range(n + 1))
    outcomes = Outcomes(n, pa.chunked_array([pa.array([pattern] * problems)]), cut_off_fails=True)
    outcomes.begin()
    flying: dict[int, float] = {}
    ends: list[tuple[float, int, float]] = []
    now = spent = 0.0
    while True:
        while len(flying) < SLOTS:
            if (taken := outcomes.take()) is None and (taken := outcomes.guess({at // n for at in flying})) is None:
                break
            flying[taken] = now
            heapq.heappush(ends, (now + lengths[taken // n, taken % n], taken, now))
        if not flying:
            return spent
        end, at, began = heapq.heappop(ends)
        if flying.get(at) != began:
            continue  # it was aborted
        spent, now = spent + len(flying) * (end - now), end
        del flying[at]
        number = at // n
        outcomes.codes[at] = PASS if passed[number, at % n] else FAIL
        if outcomes.is_settled(number):
            outcomes.close(number)
            for other in [other for other in flying if other // n == number]:
                del flying[other]
                outcomes.codes[other] = MISSING
        else:
            outcomes.queue(number)


# ---- the same from a server


def served(problems: int) -> Claims:
    """Of 8 samples those with the indexes 1, 3 and 4 are right: 2 accepted take 4."""
    command = [sys.executable, str(Path(__file__).with_name("canned_server.py")), "1,3,4"]
    claims = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        for k, least in ((1, 2), (2, 4), (3, 5)):
            with tempfile.TemporaryDirectory(prefix="cuvee-bench-") as folder:
                drawn, rows = _drawn_by_run(folder, url, problems, k)
            assert rows == k * problems, (rows, k)
            claims[f"served: samples a row, {k} of 8"] = claim(
                drawn / rows, 8 / k, WASTE * least / k, drawn <= WASTE * least * problems, least=least / k
            )
        process.stdin.close()
    return claims


def _drawn_by_run(folder: str, url: str, problems: int, k: int) -> tuple[int, int]:
    """Samples drawn and rows of the set."""
    path = Path(folder) / "problems.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"What is 2 + 2? ({at})", "answer": "4"}) + "\n" for at in range(problems))
    )
    changes = {
        "sources": {"sums": {"jsonl": str(path), "verifier": "exact"}},
        "models": {
            "teacher": {
                "model": "canned",
                "url": url,
                "revision": "1",
                "concurrency": 8,
                "prompt": {"style": "raw", "template": "{prompt}"},
            },
            "student": {"model": STUDENT},
        },
        "traces": {"long": {"model": "teacher", "n": 8, "max_tokens": 64}},
        "sets": {"sft": {"traces": "long", "enough": k, "keep": {"well_formed": None, "fluent": None}}},
    }
    recipe_file = Path(folder) / "recipe.yaml"
    recipe_file.write_text(json.dumps({"name": "bench", "student": {"model": "student"}} | changes))
    outcome = curate(load(str(recipe_file)), f"{folder}/store", progress=Progress(quiet=True))
    assert outcome.dataset is not None
    (drawn,) = outcome.drawn.values()
    return drawn["drawn"], sum(split["rows"] for split in outcome.dataset.manifest["sets"]["sft"].values())


# ---- all of it

AFRESH = "--afresh"
PARTS = ("building", "overhead", "served")


def main() -> int:
    if sys.argv[1:2] == [AFRESH]:
        name, *arguments = json.loads(sys.argv[2])
        print(json.dumps({"fill": fill, "_build": _build, "_floor": _floor}[name](*arguments)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas between ({','.join(PARTS)})")
    parser.add_argument("--traces", type=int, default=20_000, help="building: traces (20000)")
    parser.add_argument("--problems", type=int, default=1000, help="overhead: problems a mix (1000)")
    parser.add_argument(
        "--folder", help="building: where the store is made, or lies already; sets and checks in it are not kept"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    if missing := next((path for path in NEEDED if not path.exists()), None):
        print(f"{missing} is missing, of which this is made", file=sys.stderr)
        return 1
    only = options.only.split(",")
    if unknown := sorted(set(only) - set(PARTS)):
        parser.error(f"--only: no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    claims: Claims = {}
    with contextlib.ExitStack() as exits:
        folder = options.folder or exits.enter_context(tempfile.TemporaryDirectory(prefix="cuvee-bench-"))
        for name in only:
            if name == "building":
                claims |= building(options.traces, folder)
            elif name == "overhead":
                claims |= overhead(options.problems)
            else:
                claims |= served(max(10, options.problems // 5))
    if options.json:
        print(json.dumps(claims, indent=2))
        return 0
    print(f"{'':<50}{'ours':>9}{'peer':>9}{'ratio':>8}{'goal':>8}  holds")
    for name, one in claims.items():
        print(row(name, **one))
    return 0


def row(
    name: str, ours: float, peer: float | None, ratio: float | None, goal: float | None, holds: bool | None, **more: Any
) -> str:
    told = "".join(
        f"{'-' if x is None else format(x, '.4g'):>{w}}" for x, w in ((ours, 9), (peer, 9), (ratio, 8), (goal, 8))
    )
    beside = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in more.items())
    return f"{name:<50}{told}  {'-' if holds is None else 'yes' if holds else 'NO':<5}  {beside}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
