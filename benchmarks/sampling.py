"""What sampling until settled saves, and what it costs.

    .venv/bin/python benchmarks/sampling.py [--only saving,cost,memory,resume,slots] [--problems 200] [--json]

    saving   the small real model (SmolLM2-135M on a vLLM started here, reasoning-gym problems behind four shots) on three
             mixes of problems, for the rules `passes between 1 and 6` of 8 and `1 and 11` of 16. Step 1 samples with
             `settle: early`, step 2 over the same store with `settle: never` draws the rest up to all n: so both speak of
             the same samples. Beside the saving stand the *possible* one (the shortest settling prefix by index, all n
             outcomes known) and the *expected* one (exact, given how many of each problem's n pass).
    cost     verified samples per CPU second of this process and its graders, from the first look at the store to the last
             commit and the view; beside the openai client and bare aiohttp, which verify and store nothing. The server
             (canned_server.py) is a process of its own that answers at once.
    memory   what a process holds at most that samples ever more problems.
    resume   from calling the step over a store of a million rollouts until the first request is out.
    slots    how busy 64 slots are until the end: the scheduler in virtual time, no server. Lengths are lognormal, wrong
             answers three times as long.

CPU seconds and ratios only: wall time says little on a machine that others use.
"""

import argparse
import asyncio
import contextlib
import heapq
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import aiohttp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import pool, problem
from curation.annotate import Work
from curation.model import Model, serve
from curation.outcomes import ASKED, FAIL, MISSING, PASS, Outcomes
from curation.pass_rate import PassRate
from curation.pool import Pool
from curation.progress import Progress, Step
from curation.rollouts import ROLLOUTS, VERDICTS
from curation.rules import Decisions, Measured, place
from curation.settling import settling
from curation.source import Source
from curation.store import Store
from curation.verify import version
from curation.verify.pool import graders
from flows.recipe import load

ROOT = Path(__file__).resolve().parents[1]
Claims = dict[str, dict[str, Any]]
Band = tuple[int, int, int]
"""passes between low and high, of n."""

BANDS: tuple[Band, ...] = ((1, 6, 8), (1, 11, 16))
SLOTS = 64
SEED = 20261122
WRONG_IS_LONGER, SPREAD = 3.0, 0.8
"""Of lengths in virtual time: wrong answers to right ones, and the deviation of the logarithm."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def claim(ours: float, peer: float | None, goal: float | None, holds: bool | None, **more: Any) -> dict[str, Any]:
    told = {"ours": ours, "peer": peer, "ratio": ours if peer is None else ours / peer, "goal": goal, "holds": holds}
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in (told | more).items()}


def pattern_of(band: Band) -> str:
    low, high, n = band
    return "".join("T" if low <= k <= high else "F" for k in range(n + 1))


def cpu() -> float:
    """CPU seconds of this process and its graders."""
    return time.process_time() + graders().cpu_seconds()


# ---- saving: the real model

MIXES: dict[str, dict[str, float]] = {
    "hopeless": {"equations": 0.7, "gcd": 0.15, "bits": 0.15},
    "uniform": {"one word": 0.3, "addition": 0.25, "lcm": 0.25, "isomorphic": 0.2},
    "learnable": {"one word": 0.7, "isomorphic": 0.3},
}
"""Shares of sources: the demo recipe's, and these."""
ALSO = {
    "one word": ("letter_counting", {"min_words": 1, "max_words": 1}),
    "lcm": ("lcm", {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 10}),
    "isomorphic": ("isomorphic_strings", {}),
}


def source(name: str, demo: Mapping[str, Source], size: int) -> Source:
    """A source of so many problems, with four shots of the same kind."""
    if name in demo:
        return demo[name].model_copy(update={"size": size})
    import reasoning_gym

    kind, params = ALSO[name]
    solved = reasoning_gym.create_dataset(kind, size=4, seed=999, **params)
    shots = [{"prompt": shot["question"], "answer": shot["answer"]} for shot in solved]
    return Source(reasoning_gym=kind, size=size, seed=1, params=params, prompt={"shots": shots})


def saving(problems: int, mixes: Sequence[str]) -> Claims:
    demo = load("demo").recipe
    model = demo.models["policy"]
    claims: Claims = {}
    with (
        tempfile.TemporaryDirectory(prefix="cuvee-bench-") as folder,
        serve(model, log=Path(folder) / "vllm.log", progress=say) as servers,
    ):
        for mix in mixes:
            shares = MIXES[mix]
            sources = {name: source(name, demo.sources, round(share * problems)) for name, share in shares.items()}
            for band in BANDS:
                with real(f"{folder}/{mix}-{band[2]}", sources, model, servers) as work:
                    claims |= saved(mix, band, work, list(sources))
    return claims


@contextlib.contextmanager
def real(folder: str, sources: Mapping[str, Source], model: Model, servers: Any) -> Iterator[Work]:
    """A workspace without any rollout, over problems of these sources."""
    store = Store(folder)
    problems = pool.read(store, "bench", sources, 1.0, Progress(quiet=True))
    prompts = {name: source.prompt for name, source in sources.items()}
    with store.connect() as con, contextlib.ExitStack() as exits:
        con.execute(f"create view problems as from {problems.problems(store)}")
        work = Work(store, con, problems, Progress(), exits, models={"policy": model}, prompts=prompts)
        work.running[model.model_dump_json()] = servers
        yield work


def saved(mix: str, band: Band, work: Work, sources: Sequence[str]) -> Claims:
    """One mix under one rule: early, then all n, then what early would have needed with all n at hand."""
    low, high, n = band
    measured = Measured("pass_rate", PassRate.COLUMNS, samples=n)
    rules = place({"learnable": f"passes between {low} and {high}"}, [measured])

    def step(settle: str) -> tuple[list[dict[str, Any]], list[str], Mapping[str, int]]:
        """Columns and the rule's outcome by problem, and what was drawn."""
        decisions = Decisions(work.con, "problems", sources)
        decisions.wanted(everything=True)
        work.patterns = decisions.patterns(measured, rules)
        work.drawn.clear()
        annotator = PassRate.model_validate({"model": "policy", "n": n, "max_tokens": 24, "settle": settle})
        columns = annotator.measure(work, "pass_rate").sort_by("id")
        decisions.add(measured, columns)
        decisions.apply(rules[0])
        decisions.finish()
        outcomes = work.con.execute("select rule_learnable from decisions order by id").fetchall()
        drawn = work.drawn.get("pass_rate", {"drawn": 0, "tokens": 0, "aborted": 0})
        return columns.to_pylist(), [outcome for (outcome,) in outcomes], drawn

    early, decided, first = step("early")
    full, really, rest = step("never")
    again, _, _ = step("early")
    every = first["drawn"] + rest["drawn"]
    assert every == n * len(full), "the server refused some"
    passes = [row["passes"] for row in full]
    possible = 1 - sum(row["used"] for row in again) / every
    of = settling(pattern_of(band))
    beyond = sum(row["drawn"] - row["used"] for row in early) / first["drawn"]
    ours = 1 - first["drawn"] / every
    equal = sum(a == b for a, b in zip(decided, really, strict=True))
    named = f"{mix}, {low} to {high} of {n}"
    return {
        f"samples saved: {named}": claim(
            ours,
            possible,
            0.95,
            ours >= 0.95 * possible,
            expected=1 - fmean(of.expected_given(k) for k in passes) / n,
            tokens_saved=1 - first["tokens"] / (first["tokens"] + rest["tokens"]),
            samples=f"{first['drawn']} of {every}",
            aborted=first["aborted"],
            passes=" ".join(str(passes.count(k)) for k in range(n + 1)),
        ),
        f"same decisions: {named}": claim(equal, len(full), 1.0, equal == len(full)),
        f"drawn beyond need: {named}": claim(beyond, None, 0.03, beyond < 0.03),
    }


def in_theory() -> str:
    """The exact saving when true pass rates are spread evenly over .10 to .75."""
    told = []
    for band in ((1, 6, 8), (1, 7, 10), (1, 11, 16)):
        of = settling(pattern_of(band))
        told.append(f"{1 - fmean(of.expected(percent / 100) for percent in range(10, 76)) / band[2]:.1%} of {band[2]}")
    return ", ".join(told)


# ---- a server that costs nothing, and problems for it

MODEL = {
    "model": "canned",
    "revision": "1",
    "concurrency": SLOTS,
    "prompt": {
        "style": "raw",
        "template": "Question: {prompt}\nAnswer:",
        "stop": ["\n"],
        "shots": [{"prompt": f"What is {a} + {a}?", "answer": str(2 * a)} for a in (3, 4, 5, 6)],
    },
}
QUESTION = "What is 2 + 2? Add the two numbers, and say the result and nothing else. This is problem number "


@contextlib.contextmanager
def canned(*right: int) -> Iterator[str]:
    """The base URL of a server in a process of its own; right: indexes of samples that it answers correctly."""
    command = [sys.executable, str(ROOT / "benchmarks/canned_server.py"), ",".join(map(str, right))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        process.stdin.close()


def first_request(url: str) -> float:
    """When the first sample was asked for, as time.monotonic."""
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/stats") as reply:
        return float(json.load(reply)["first"])


def write_problems(path: str, count: int) -> int:
    """Made up problems, as a pool has them; gives the bytes of those columns that sampling takes."""
    columns = {
        "id": pa.array([f"{number:032x}" for number in range(count)]),
        "prompt": pa.array([f"{QUESTION}{number}" for number in range(count)]),
        "messages": pa.array([[]] * count, problem.MESSAGES),
        "answer": pa.array(["4"] * count),
        "verifier": pa.array(["exact"] * count),
        "source": pa.array(["made up"] * count),
        "row": pa.array(range(count)),
    }
    empty = {field.name: pa.nulls(count, field.type) for field in problem.SCHEMA if field.name not in columns}
    table = pa.table({**columns, **empty}).select(problem.SCHEMA.names).cast(problem.SCHEMA)
    pq.write_table(table, path)
    return int(table.drop_columns(["source", "row"]).nbytes)


@contextlib.contextmanager
def over(problems: str, folder: str, url: str, band: Band) -> Iterator[tuple[Work, PassRate]]:
    """A sampling step over these problems, to be called."""
    store, model = Store(folder), Model.model_validate(MODEL | {"url": url})
    with store.connect() as con, contextlib.ExitStack() as exits:
        con.execute(f"create view problems as from '{problems}'")
        con.execute("create table wanted as select id from problems")
        work = Work(store, con, Pool("", {}), Progress(quiet=True), exits, {"policy": model})
        work.patterns = f"(select id, '{pattern_of(band)}' as pattern from wanted)"
        yield work, PassRate(model="policy", n=band[2], max_tokens=64)


def memory_of(kind: str) -> float:
    """MiB of this process: `RssAnon` that only it holds, `VmHWM` its peak with the pages of files."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{kind}:")[2].split()[0]) / 1024


def afresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of this file gives in a new process, as JSON has it."""
    command = [sys.executable, __file__, AFRESH, json.dumps([function.__name__, *arguments])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


AFRESH = "--afresh"


# ---- cost


def cost(problems: int, rounds: int) -> Claims:
    rates: dict[str, list[float]] = {"ours": [], "aiohttp": [], "openai": []}
    with canned(2, 3) as url, tempfile.TemporaryDirectory(prefix="cuvee-bench-") as folder:
        write_problems(f"{folder}/problems.parquet", problems)
        for number in range(rounds + 1):
            with over(f"{folder}/problems.parquet", f"{folder}/{number}", url, (1, 6, 8)) as (work, annotator):
                began = cpu()
                annotator.measure(work, "pass_rate")
                spent, samples = cpu() - began, work.drawn["pass_rate"]["drawn"]
            if not number:
                continue  # it paid for graders that start, and for imports
            rates["ours"].append(samples / spent)
            for name, client, requests in (("aiohttp", bare, samples), ("openai", openai, samples // 10)):
                began = time.process_time()
                asyncio.run(client(url, requests))
                rates[name].append(requests / (time.process_time() - began))
            last = ", ".join(f"{name} {told[-1]:,.0f}" for name, told in rates.items())
            say(f"cost, round {number} of {rounds}: {last} samples per CPU second")
    ours, floor, peer = (statistics.median(rates[name]) for name in rates)
    return {
        "samples per CPU second": claim(
            ours, peer, 2000.0, ours >= 2000, aiohttp=floor, of_aiohttp=ours / floor, ms_a_sample=1000 / ours
        )
    }


def bodies(count: int) -> Iterator[dict[str, Any]]:
    prompt = Model.model_validate(MODEL | {"url": "http://127.0.0.1"}).prompt
    for number in range(count):
        shown = prompt.render(f"{QUESTION}{number}")
        yield {"model": "canned", "prompt": shown, "max_tokens": 64, "temperature": 1.0, "stop": ["\n"]}


async def bare(url: str, count: int) -> None:
    left = bodies(count)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=SLOTS)) as http:

        async def sender() -> None:
            for body in left:
                async with http.post(f"{url}/completions", json=body) as response:
                    await response.json()

        await asyncio.gather(*(sender() for _ in range(SLOTS)))


async def openai(url: str, count: int) -> None:
    from openai import AsyncOpenAI

    left = bodies(count)
    async with AsyncOpenAI(base_url=url, api_key="-") as client:

        async def sender() -> None:
            for body in left:
                await client.completions.create(**body)

        await asyncio.gather(*(sender() for _ in range(SLOTS)))


# ---- memory

BYTES_A_SAMPLE = 64
BYTES_RETURNED = 10 * 8 + 36
"""Of a problem: the columns that the step returns, and its id."""


class Held(NamedTuple):
    """Peak memory in MiB by phase, and samples per CPU second.

    It is what only this process holds. Pages of files count apart: the system takes them back when it needs room.
    """

    before: float
    """Until the drawing begins: problems and what the store holds are read."""
    drawing: float
    after: float
    """The parts are merged and the view is made."""
    resident: float
    """With the pages of files: libraries, and the table of problems, which lies in one."""
    rate: float


def memory(sizes: Sequence[int]) -> Claims:
    """`passes = 0` of 4, and every problem's second sample passes: two samples a problem."""
    held: dict[int, Held] = {}
    tables: dict[int, float] = {}
    with canned(1) as url:
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="cuvee-bench-") as folder:
                tables[size] = write_problems(f"{folder}/problems.parquet", size) / (1 << 20)
                held[size] = Held(*afresh(_sample_all, f"{folder}/problems.parquet", folder, url))
            say(f"memory, {size} problems of {tables[size]:.1f} MiB: {held[size]}")
    smallest, largest = min(sizes), max(sizes)
    small, large = held[smallest], held[largest]
    curve = {
        f"MiB while drawing, {size:,} problems": claim(
            held[size].drawing,
            tables[size],
            None,
            None,
            before=held[size].before,
            after=held[size].after,
            resident=held[size].resident,
            samples_per_cpu_second=held[size].rate,
        )
        for size in sizes
    }
    to = f"{smallest:,} to {largest:,} problems"
    samples = 2 * (largest - smallest) * BYTES_A_SAMPLE / (1 << 20)
    returned = (largest - smallest) * BYTES_RETURNED / (1 << 20)
    drawing, after = large.drawing - small.drawing, large.after - small.after
    return curve | {
        f"MiB more while drawing, {to}": claim(drawing, samples, 1.0, drawing <= samples),
        f"MiB more at the end, {to}": claim(after, samples + returned, 1.0, after <= samples + returned),
    }


class Watched(Progress):
    """Notes, from its making on, the peak of memory and the CPU seconds before, during and after the one step."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.peaks = [0.0]
        self.spent: list[float] = []
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.peaks[-1] = max(self.peaks[-1], memory_of("RssAnon"))

    def end(self) -> None:
        self._ended.set()
        self._watcher.join()

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Step]:
        self._next()
        with super().step(name, total, unit) as step:
            yield step
        self._next()

    def _next(self) -> None:
        self.peaks.append(0.0)
        self.spent.append(time.process_time())


def _sample_all(problems: str, folder: str, url: str) -> Held:
    with over(problems, f"{folder}/store", url, (0, 0, 4)) as (work, annotator):
        work.progress = watched = Watched()
        began = cpu()
        annotator.measure(work, "pass_rate")
        watched.end()
        rate = work.drawn["pass_rate"]["drawn"] / (cpu() - began)
        return Held(*watched.peaks, memory_of("VmHWM"), rate)


# ---- resume

THOUGHT = "the sum of both numbers is found by adding them one after the other and so it must be"


def resume(rollouts: int, parts: int) -> Claims:
    band = BANDS[1]
    with canned(0, 3) as url, tempfile.TemporaryDirectory(prefix="cuvee-bench-") as folder:
        problems = f"{folder}/problems.parquet"
        write_problems(problems, rollouts // band[2])
        with over(problems, f"{folder}/store", url, band) as (work, annotator):
            written = _fill_store(work, annotator, parts)
        say(f"resume: {written:,} rollouts are written")
        seconds, spent, held, drawn = afresh(_go_on, problems, f"{folder}/store", url)
    more = {"rollouts": written, "parts": parts, "drawn_then": drawn}
    return {
        "CPU seconds until drawing begins": claim(spent, None, 10.0, spent < 10, **more),
        "seconds until the first request": claim(seconds, None, 10.0, seconds < 10),
        "MiB to resume": claim(held, None, None, None),
    }


def _fill_store(work: Work, annotator: PassRate, parts: int) -> int:
    """All n rollouts and verdicts of every problem, in order of index; of every 64th problem the first two only."""
    n, random = annotator.n, np.random.default_rng(SEED)
    (rollouts,) = annotator.rollouts(work, ["made up"]).values()
    rollouts.declare()
    ids = work.con.sql("select id from problems order by row").to_arrow_table()["id"].combine_chunks()
    rates = random.beta(0.7, 1.0, len(ids))
    index, number = (axis.ravel() for axis in np.mgrid[:n, : len(ids)])
    kept = (number % 64 > 0) | (index < 2)
    index, number = index[kept], number[kept]
    words = np.array(THOUGHT.split())
    texts = pa.array([" ".join(random.choice(words, 44)) for _ in range(20_000)])
    for rows in np.array_split(np.arange(len(index)), parts):
        count = len(rows)
        length = random.integers(30, 70, count)
        drawn = {
            "rollout": pa.array([f"{row:032x}" for row in rows]),
            "problem_id": ids.take(pa.array(number[rows])),
            "sample_index": index[rows],
            "text": texts.take(pa.array(random.integers(0, len(texts), count))),
            "token_ids": pa.ListArray.from_arrays(
                np.append(0, length.cumsum()).astype(np.int32),
                random.integers(0, 49152, length.sum()).astype(np.int32),
            ),
            "tokens": length,
            "finish_reason": ["stop"] * count,
            "max_tokens": np.full(count, annotator.max_tokens),
            "drawn_at": np.full(count, 1_795_000_000_000),
        }
        passed = random.random(count) < rates[number[rows]]
        verdicts = {
            "rollout": drawn["rollout"],
            "problem_id": drawn["problem_id"],
            "verifier": ["exact"] * count,
            "verifier_version": np.full(count, version("exact")),
            "outcome": np.where(passed, "correct", "wrong"),
            "extracted": ["4"] * count,
            "reason": ["equal"] * count,
        }
        for folder, columns, schema in (
            (rollouts.folder, drawn, ROLLOUTS),
            (rollouts.verdict_folder, verdicts, VERDICTS),
        ):
            absent = {field.name: pa.nulls(count, field.type) for field in schema if field.name not in columns}
            rollouts.store.append(folder, pa.table({**columns, **absent}).select(schema.names).cast(schema))
    return len(index)


def _go_on(problems: str, folder: str, url: str) -> tuple[float, float, float, int]:
    """Seconds until the first request, CPU seconds until then, peak memory in MiB, and how many samples were drawn."""
    with over(problems, folder, url, BANDS[1]) as (work, annotator):
        work.progress = watched = Watched()
        began, used = time.monotonic(), time.process_time()
        annotator.measure(work, "pass_rate")
        watched.end()
        spent = watched.spent[0] - used
        return first_request(url) - began, spent, memory_of("VmHWM"), work.drawn["pass_rate"]["drawn"]


# ---- slots


TIMES = 5
"""Simulations that a figure is the mean of: a single one is at the mercy of its longest sample."""


class Simulated(NamedTuple):
    """A step in virtual time. Shares are of all slot time until the end, or of it what was spent on samples."""

    busy: float
    busy_all_n: float
    against_all_n: float
    against_lower_bound: float
    beyond: float
    time_not_needed: float


def slots(problems: int) -> Claims:
    claims: Claims = {}
    random = np.random.default_rng(SEED)
    for mix in ("hopeless", "uniform"):
        for band in BANDS:
            low, high, n = band
            runs = []
            for _ in range(TIMES):
                rates = random.beta(0.2, 2.0, problems) if mix == "hopeless" else random.uniform(0.1, 0.75, problems)
                passed = random.random((problems, n)) < rates[:, None]
                lengths = random.lognormal(0.0, SPREAD, passed.shape) * np.where(passed, 1.0, WRONG_IS_LONGER)
                runs.append(simulated(band, passed, lengths))
            mean = Simulated(*map(fmean, zip(*runs, strict=True)))
            least, named = min(run.busy for run in runs), f"{mix}, {low} to {high} of {n}"
            claims |= {
                f"slots busy: {named}": claim(mean.busy, mean.busy_all_n, 0.9, mean.busy >= 0.9, least=least),
                f"time against all n: {named}": claim(
                    mean.against_all_n, None, None, None, of_lower_bound=mean.against_lower_bound
                ),
                f"beyond need in time: {named}": claim(
                    mean.beyond, None, 0.03, mean.beyond < 0.03, of_slot_time=mean.time_not_needed
                ),
            }
            say(f"slots: {named} is through")
    return claims


def simulated(band: Band, passed: np.ndarray, lengths: np.ndarray) -> Simulated:
    """The scheduler as sampling.py uses it, every verdict there at once, until nothing is left to do."""
    problems, n = passed.shape
    outcomes = Outcomes(n, pa.chunked_array([pa.array([pattern_of(band)] * problems)]), cut_off_fails=True)
    outcomes.begin()
    flying: dict[int, float] = {}
    """Since when each place is in flight."""
    ends: list[tuple[float, int, float]] = []
    now = busy = 0.0
    while True:
        while len(flying) < SLOTS:
            if (taken := outcomes.take()) is None and (taken := outcomes.guess({at // n for at in flying})) is None:
                break
            flying[taken] = now
            heapq.heappush(ends, (now + lengths[taken // n, taken % n], taken, now))
        if not flying:
            break
        end, at, began = heapq.heappop(ends)
        if flying.get(at) != began:
            continue  # it was aborted
        busy, now = busy + len(flying) * (end - now), end
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
    used = np.array([outcomes.prefix(number).used for number in range(problems)])
    counts = np.arange(n) < used[:, None]
    got = np.frombuffer(outcomes.codes, np.uint8).reshape(problems, n) > ASKED
    needed = float(lengths[counts].sum())
    beyond = float((got & ~counts).sum() / got.sum())
    fixed = [0.0] * SLOTS
    for length in lengths.T.ravel():
        heapq.heapreplace(fixed, fixed[0] + length)
    return Simulated(
        busy=busy / (SLOTS * now),
        busy_all_n=float(lengths.sum()) / (SLOTS * max(fixed)),
        against_all_n=now / max(fixed),
        against_lower_bound=now / (needed / SLOTS),
        beyond=beyond,
        time_not_needed=max(0.0, 1 - needed / busy),
    )


# ---- all of it

PARTS = ("saving", "cost", "memory", "resume", "slots")


def main() -> None:
    if sys.argv[1:2] == [AFRESH]:
        name, *arguments = json.loads(sys.argv[2])
        print(json.dumps({"_sample_all": _sample_all, "_go_on": _go_on}[name](*arguments)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas between ({','.join(PARTS)})")
    parser.add_argument("--problems", type=int, default=200, help="saving: problems a mix (200)")
    parser.add_argument("--mixes", default=",".join(MIXES), help=f"saving: which ({','.join(MIXES)})")
    parser.add_argument("--cost-problems", type=int, default=6000, help="cost: problems a round, 3 samples each (6000)")
    parser.add_argument("--rounds", type=int, default=3, help="cost: rounds of ours and the peers (3)")
    parser.add_argument("--sizes", default="10000,100000,300000", help="memory: problems (10000,100000,300000)")
    parser.add_argument("--rollouts", type=int, default=1_000_000, help="resume: rollouts in the store (1000000)")
    parser.add_argument("--parts", type=int, default=400, help="resume: files they lie in (400)")
    parser.add_argument("--slot-problems", type=int, default=1000, help="slots: problems (1000)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    parts: dict[str, Callable[[], Claims]] = {
        "saving": lambda: saving(options.problems, options.mixes.split(",")),
        "cost": lambda: cost(options.cost_problems, options.rounds),
        "memory": lambda: memory([int(size) for size in options.sizes.split(",")]),
        "resume": lambda: resume(options.rollouts, options.parts),
        "slots": lambda: slots(options.slot_problems),
    }
    only = options.only.split(",")
    if unknown := sorted(set(only) - set(PARTS)):
        parser.error(f"--only: no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    claims: Claims = {}
    for name in only:
        claims |= parts[name]()
    if options.json:
        print(json.dumps(claims, indent=2))
        return
    print(f"{'':<46}{'ours':>10}{'peer':>10}{'ratio':>8}{'goal':>8}  holds")
    for name, figures in claims.items():
        print(row(name, **figures))
    if "saving" in only:
        print(f"samples saved in theory, true rates even over .10 to .75: {in_theory()}")


def row(
    name: str, ours: float, peer: float | None, ratio: float, goal: float | None, holds: bool | None, **more: Any
) -> str:
    told = "".join(
        f"{'-' if x is None else format(x, '.4g'):>{w}}" for x, w in ((ours, 10), (peer, 10), (ratio, 8), (goal, 8))
    )
    beside = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in more.items())
    return f"{name:<46}{told}  {'-' if holds is None else 'yes' if holds else 'NO':<5}  {beside}".rstrip()


if __name__ == "__main__":
    main()
