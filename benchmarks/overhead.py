"""What sampling costs beside the model: CPU of client and graders, and throughput against the bare server.

Two claims, both on problems of the shipped demo recipe with the real small model on a vLLM server started here:
    share   CPU seconds of this process and its graders, of all CPU seconds of the sampling step (server, client, graders):
            at most 5 %. Every sample is verified and committed as in any run.
    speed   tokens per second of the sampling step, as a ratio to the same requests sent straight to the same server with the
            same concurrency, unverified and thrown away: the median over alternating pairs, as single runs vary.

    .venv/bin/python benchmarks/overhead.py [--pairs 10] [--problems 96] [--json]
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from curation import pool
from curation.annotate import Work
from curation.duck import arrow
from curation.pass_rate import PassRate
from curation.progress import Progress
from curation.store import Store
from curation.verify.pool import graders
from flows.recipe import load

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of_tree(root: int) -> float:
    """CPU seconds of a process and all its descendants, those that have ended and were waited for included."""
    parents, used = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = sum(int(ticks) for ticks in fields[11:15]) / TICKS
    total = 0.0
    for process, seconds in used.items():
        ancestor = process
        while ancestor not in (0, 1, root):
            ancestor = parents.get(ancestor, 0)
        total += seconds if ancestor == root else 0.0
    return total


class Bench:
    """The demo's problems, and its model behind one server for the whole benchmark."""

    def __init__(self, folder: str, problems: int) -> None:
        self.folder = folder
        self.loaded = load("demo")
        self.problems = problems
        self.runs = 0
        self.annotator = next(step.annotator for step in self.loaded.steps if isinstance(step.annotator, PassRate))
        self.model = self.loaded.recipe.models[self.annotator.model]

    @contextlib.contextmanager
    def work(self) -> Iterator[Work]:
        """A workspace without any rollout, whose wanted problems are spread over the sources."""
        self.runs += 1
        store = Store(f"{self.folder}/{self.runs}")
        recipe = self.loaded.recipe
        problems = pool.read(store, recipe.name, recipe.sources, 1.0, Progress(quiet=True))
        con = store.connect()
        con.execute(f"create view problems as from {problems.problems(store)}")
        con.execute(
            f"""create table wanted as select id from problems where source <> 'planted'
            order by row_number() over (partition by source order by row), source limit {self.problems}"""
        )
        with contextlib.ExitStack() as exits:
            yield Work(
                store,
                con,
                problems,
                Progress(quiet=True),
                exits,
                models=recipe.models,
                prompts={name: source.prompt for name, source in recipe.sources.items()},
            )

    def ours(self, server: Any) -> tuple[int, float, float]:
        """One sampling step: tokens, seconds, CPU seconds of this process and its graders."""
        with self.work() as work:
            work.running[self.model.model_dump_json()] = (server,)
            cpu, began = self.cpu(), time.monotonic()
            self.annotator.measure(work, "pass_rate")
            seconds = time.monotonic() - began
            return work.drawn["pass_rate"]["tokens"], seconds, self.cpu() - cpu

    @staticmethod
    def cpu() -> float:
        return time.process_time() + graders().cpu_seconds()

    def straight(self, server: Any) -> tuple[int, float]:
        """The same requests sent straight to the server: tokens, seconds."""
        with self.work() as work:
            bodies = []
            for group in self.annotator.groups(work):
                for row in arrow(work.con, "from problems semi join wanted using (id)").to_pylist():
                    if row["id"] not in set(group.problems["id"].to_pylist()):
                        continue
                    prompt = group.rollouts.prompt.render(row["prompt"], row["messages"])
                    body = self.annotator.sampling().sent() | {
                        "model": server.name,
                        "prompt": prompt,
                        "n": 1,
                        "max_tokens": self.annotator.max_tokens,
                        "stop": list(group.rollouts.prompt.stop),
                        "return_token_ids": True,
                    }
                    bodies.append(body)
        requests = [body for _ in range(self.annotator.n) for body in bodies]
        began = time.monotonic()
        tokens = asyncio.run(_send(server.url, requests, self.model.concurrency))
        return tokens, time.monotonic() - began


async def _send(url: str, bodies: list[dict[str, Any]], concurrency: int) -> int:
    left = iter(bodies)
    tokens = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as http:

        async def sender() -> None:
            nonlocal tokens
            for body in left:
                async with http.post(f"{url}/completions", json=body) as response:
                    tokens += (await response.json())["usage"]["completion_tokens"]

        await asyncio.gather(*(sender() for _ in range(concurrency)))
    return tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10, help="alternating pairs of runs (10)")
    parser.add_argument("--problems", type=int, default=96, help="problems a run, eight samples each (96)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cuvee-bench-") as folder:
        result = measure(Bench(folder, options.problems), options.pairs, options.json)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for claim, figures in result.items():
            print(f"{claim}: {figures}")


def measure(bench: Bench, pairs: int, quiet: bool) -> dict[str, dict[str, Any]]:
    with bench.work() as work:
        (server,) = work.servers(bench.model)
        # The first run pays for graders that start and prompts that no cache has.
        bench.ours(server)
        shares, ratios = [], []
        for pair in range(pairs):
            server_cpu = cpu_of_tree(server.started.pid)
            if pair % 2:
                straight = bench.straight(server)
                server_cpu = cpu_of_tree(server.started.pid)
                tokens, seconds, client = bench.ours(server)
                used = cpu_of_tree(server.started.pid) - server_cpu
            else:
                tokens, seconds, client = bench.ours(server)
                used = cpu_of_tree(server.started.pid) - server_cpu
                straight = bench.straight(server)
            shares.append(client / (client + used))
            ratios.append((tokens / seconds) / (straight[0] / straight[1]))
            if not quiet:
                print(
                    f"pair {pair + 1:>2}: client and graders {client:.2f} of {client + used:.1f} CPU-s ({shares[-1]:.1%}); "
                    f"{tokens / seconds:.0f} tok/s against {straight[0] / straight[1]:.0f} ({ratios[-1]:.2f})",
                    flush=True,
                )
    share, ratio = statistics.median(shares), statistics.median(ratios)
    return {
        "share of CPU": {
            "ours": round(share, 4),
            "peer": None,
            "ratio": round(share, 4),
            "goal": 0.05,
            "holds": share <= 0.05,
        },
        "tokens/s against the bare server": {
            "ours": round(ratio, 3),
            "peer": 1.0,
            "ratio": round(ratio, 3),
            "goal": None,
            "holds": None,
            "runs": [round(value, 2) for value in ratios],
        },
    }


if __name__ == "__main__":
    main()
