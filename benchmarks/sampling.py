"""What sampling until settled saves, and what it costs.

    .venv/bin/python benchmarks/sampling.py [--only saving,cost,memory,resume,slots] [--json]
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs from a checkout that is not installed

from curation import problem  # noqa: E402
from curation.annotate import Work  # noqa: E402
from curation.model import Model  # noqa: E402
from curation.pass_rate import PassRate  # noqa: E402
from curation.pool import Pool  # noqa: E402
from curation.progress import Progress  # noqa: E402
from curation.store import Store  # noqa: E402
from curation.verify.pool import graders  # noqa: E402

SLOTS = 64
QUESTION = "What is 2 + 2? Add the two numbers, and say the result and nothing else. This is problem number "


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def band(low: int, high: int, n: int) -> str:
    """The pattern of `passes between low and high` of n."""
    return "".join("T" if low <= k <= high else "F" for k in range(n + 1))


@contextlib.contextmanager
def canned(*right: int) -> Iterator[str]:
    """The base URL of a canned server in a process of its own."""
    command = [sys.executable, str(ROOT / "benchmarks/canned_server.py"), ",".join(map(str, right))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        process.stdin.close()


def stats(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/stats") as reply:
        told: dict[str, float] = json.load(reply)
    return told


def made_up(count: int) -> pa.Table:
    """Problems as a pool has them, one answer for all."""
    numbers = np.arange(count)
    columns = {
        "id": pa.array([f"{number:032x}" for number in range(count)]),
        "prompt": pa.array([f"{QUESTION}{number}" for number in range(count)]),
        "messages": pa.array([[]] * count, problem.MESSAGES),
        "answer": pa.array(["4"] * count),
        "verifier": pa.array(["exact"] * count),
        "source": pa.array(["made up"] * count),
        "row": pa.array(numbers),
    }
    empty = {field.name: pa.nulls(count, field.type) for field in problem.SCHEMA if field.name not in columns}
    return pa.table({**columns, **empty}).select(problem.SCHEMA.names).cast(problem.SCHEMA)


@contextlib.contextmanager
def work(folder: str, url: str, problems: pa.Table, pattern: str) -> Iterator[Work]:
    """What a sampling step over these problems needs."""
    store, model = Store(folder), Model.model_validate(MODEL | {"url": url})
    with store.connect() as con, contextlib.ExitStack() as exits:
        con.register("problems", problems)
        con.execute("create table wanted as select id from problems")
        made = Work(store, con, Pool("", {}), Progress(quiet=True), exits, {"policy": model})
        made.patterns = pa.table({"id": problems["id"], "pattern": pa.array([pattern] * problems.num_rows)})
        yield made


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


def cpu() -> float:
    """CPU seconds of this process and its graders."""
    return time.process_time() + graders().cpu_seconds()


# ---- what a sample costs


def cost(problems: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Verified samples per CPU second, beside clients that verify and store nothing."""
    rates: dict[str, list[float]] = {"ours": [], "aiohttp": [], "openai": []}
    with canned(2, 3) as url, tempfile.TemporaryDirectory(prefix="cuvee-bench-") as folder:
        ours(f"{folder}/warm", url, 200)
        for number in range(rounds):
            spent, samples = ours(f"{folder}/{number}", url, problems)
            rates["ours"].append(samples / spent)
            for name, client, requests in (("aiohttp", bare, samples), ("openai", openai, samples // 10)):
                began = time.process_time()
                asyncio.run(client(url, requests))
                rates[name].append(requests / (time.process_time() - began))
            say(f"cost {number + 1}: " + ", ".join(f"{name} {told[-1]:,.0f}" for name, told in rates.items()))
    mine, floor, peer = (statistics.median(rates[name]) for name in rates)
    return {
        "verified samples per CPU second": entry(mine, peer, goal=2000, holds=mine >= 2000, aiohttp=round(floor)),
    }


def ours(folder: str, url: str, problems: int) -> tuple[float, int]:
    """CPU seconds and samples of one sampling step: standing, drawing, grading, commits, the view."""
    with work(folder, url, made_up(problems), band(1, 6, 8)) as made:
        began = cpu()
        PassRate(model="policy", n=8, max_tokens=64).measure(made, "pass_rate")
        return cpu() - began, made.drawn["pass_rate"]["drawn"]


def bodies(count: int) -> Iterator[dict[str, Any]]:
    shots = "\n\n".join(f"Question: What is {a} + {a}?\nAnswer: {2 * a}" for a in (3, 4, 5, 6))
    for number in range(count):
        prompt = f"{shots}\n\nQuestion: {QUESTION}{number}\nAnswer:"
        yield {"model": "canned", "prompt": prompt, "max_tokens": 64, "temperature": 1.0, "stop": ["\n"]}


async def bare(url: str, count: int) -> None:
    """Nothing but aiohttp."""
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


def entry(ours: float, peer: float | None, goal: float | None, holds: bool | None, **more: Any) -> dict[str, Any]:
    ratio = ours if peer is None else ours / peer
    told = {"ours": ours, "peer": peer, "ratio": ratio, "goal": goal, "holds": holds}
    return {name: rounded(value) for name, value in (told | more).items()}


def rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    print(cost(int(sys.argv[1]), int(sys.argv[2])))
