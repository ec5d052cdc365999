"""Code verdicts: how many a second inside bubblewrap, and whether they are the right ones.

    .venv/bin/python benchmarks/code.py [--json] [--problems 100] [--repeat 3]

Reads ../shared/data/benchmarks (HumanEval, MBPP sanitized). The same canonical solutions with the same tests are graded
by `GraderPool` and run bare, `python -I` and `python -I -S` in one process each on as many threads: the floor, which has
no protection whatever and is for trusted programs only. CPU seconds are those of a cgroup, where this process may make
one (root on a v1 or v2 hierarchy); a busy machine changes verdicts a second, and CPU seconds far less.

Claims:
    verdicts a second       of the canonical HumanEval solutions, at least 40 on two cores; and a CPU second: 20
    canonical accepted      of HumanEval, all; and of MBPP
    mutants rejected        of those that fail when program and tests share one sandboxed interpreter, all
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from curation.verify import as_completion
from curation.verify.code import outputs
from curation.verify.pool import GraderPool, Job

DATA = Path(__file__).parents[2] / "shared" / "data" / "benchmarks"
WORKERS = len(os.sched_getaffinity(0))
GROUPS = (
    (Path("/sys/fs/cgroup/cpuacct"), "tasks", "cpuacct.usage", 1e9),
    (Path("/sys/fs/cgroup"), "cgroup.procs", "cpu.stat", 1e6),
)


class Row(NamedTuple):
    solution: str
    """The program, whole."""
    job: Job
    script: str
    """Program and tests in one file, for one interpreter."""


class Timed(NamedTuple):
    wall: float
    cpu: float | None


def humaneval() -> list[Row]:
    rows = []
    for row in pq.read_table(DATA / "humaneval.parquet").to_pylist():
        extra = json.loads(row["extra"])
        args = {"test": extra["test"], "entry_point": extra["entry_point"], "prefix": row["problem"]}
        program = f"{row['problem']}\n    {row['answer']}\n"
        script = f"{program}\n{extra['test']}\ncheck({extra['entry_point']})\n"
        job = Job("code", None, as_completion("code", row["answer"], "{}"), json.dumps(args))
        rows.append(Row(program, job, script))
    return rows


def mbpp() -> list[Row]:
    rows = []
    for row in pq.read_table(DATA / "mbpp_sanitized.parquet").to_pylist():
        tests = json.loads(row["extra"])["tests"]
        job = Job("code", None, as_completion("code", row["answer"], "{}"), json.dumps({"test": tests}))
        rows.append(Row(row["answer"], job, "\n".join(["import math, sys", row["answer"], *tests])))
    return rows


class Mutation(ast.NodeTransformer):
    """Turns the `at`-th comparison around, or makes the `at`-th whole number one larger."""

    def __init__(self, at: int) -> None:
        self.left = at

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.left -= 1
        return ast.UnaryOp(ast.Not(), node) if self.left == -1 else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is not int:
            return node
        self.left -= 1
        return ast.Constant(node.value + 1) if self.left == -1 else node


def mutants(rows: list[Row], each: int = 2) -> Iterator[Row]:
    for row in rows:
        for at in range(each):
            tree = ast.parse(row.solution)
            tree.body[-1] = Mutation(at).visit(tree.body[-1])  # helpers before it may be the problem's own
            program = ast.unparse(ast.fix_missing_locations(tree))
            if program != ast.unparse(ast.parse(row.solution)):
                job = row.job._replace(completion=f"```python\n{program}\n```")
                yield Row(program, job, row.script.replace(row.solution, program + "\n"))


@contextmanager
def group() -> Iterator[Callable[[], float | None]]:
    """CPU seconds of this process and all that it starts from here on; None where cgroups cannot be made."""
    for root, members, figures, unit in GROUPS:
        folder = root / f"cuvee-benchmark-{os.getpid()}"
        try:
            folder.mkdir()
            (folder / members).write_text(str(os.getpid()))
        except OSError:
            continue

        def seconds(file: Path = folder / figures, unit: float = unit) -> float:
            words = file.read_text().split()
            return int(words[1] if words[0] == "usage_usec" else words[0]) / unit

        yield seconds
        (root / members).write_text(str(os.getpid()))
        time.sleep(0.5)  # until what was killed in it is gone
        folder.rmdir()
        return
    yield lambda: None


def timed(work: Callable[[], object], cpu: Callable[[], float | None]) -> Timed:
    began, used = time.perf_counter(), cpu()
    work()
    wall, after = time.perf_counter() - began, cpu()
    return Timed(wall, None if used is None or after is None else after - used)


def bare(rows: list[Row], options: list[str]) -> None:
    """Run trusted scripts without protection."""

    def run(row: Row) -> None:
        subprocess.run([sys.executable, *options, "-"], input=row.script.encode(), check=True, capture_output=True)

    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(run, rows))


def rates(rows: list[Row], repeat: int, cpu: Callable[[], float | None]) -> dict[str, dict[str, float | None]]:
    """Verdicts per second and per CPU second: the best of the repetitions, which take turns."""
    with GraderPool(WORKERS, preload=["code"]) as pool:
        list(pool.grade_many([row.job for row in rows[:4]]))
        ways: dict[str, Callable[[], object]] = {
            "GraderPool": lambda: list(pool.grade_many([row.job for row in rows])),
            "bare python -I": lambda: bare(rows, ["-I"]),
            "bare python -I -S": lambda: bare(rows, ["-I", "-S"]),
        }
        runs: dict[str, list[Timed]] = {name: [] for name in ways}
        for _ in range(repeat):
            for name, way in ways.items():
                runs[name].append(timed(way, cpu))
    return {
        name: {
            "a second": round(len(rows) / min(run.wall for run in times), 1),
            "a CPU second": None if times[0].cpu is None else round(len(rows) / min(run.cpu or 0 for run in times), 1),
        }
        for name, times in runs.items()
    }


def claim(ours: float, peer: float | None, goal: float, **more: Any) -> dict[str, Any]:
    ratio = round(ours / peer, 3) if peer else None
    return {"ours": ours, "peer": peer, "ratio": ratio, "goal": goal, "holds": ours >= goal, **more}


def accepted(rows: list[Row]) -> tuple[float, list[str]]:
    with GraderPool(WORKERS, preload=["code"]) as pool:
        verdicts = list(pool.grade_many([row.job for row in rows]))
    others = [f"{verdict.outcome}: {verdict.reason}" for verdict in verdicts if verdict.outcome != "correct"]
    return 1 - len(others) / len(rows), others


def rejected(rows: list[Row]) -> tuple[float, dict[str, Any]]:
    with GraderPool(WORKERS, preload=["code"]) as pool:
        verdicts = [verdict.outcome for verdict in pool.grade_many([row.job for row in rows])]
    with ThreadPoolExecutor(WORKERS) as threads:
        fails = list(threads.map(lambda row: outputs(row.script, [""]) == [None], rows))
    of_failing = [verdict for verdict, failed in zip(verdicts, fails, strict=True) if failed]
    of_passing = [verdict for verdict, failed in zip(verdicts, fails, strict=True) if not failed]
    counts = {outcome: of_failing.count(outcome) for outcome in ("wrong", "correct", "error")}
    passing = {outcome: of_passing.count(outcome) for outcome in ("wrong", "correct", "error")}
    return 1 - counts["correct"] / len(of_failing), {"failing alone": counts, "passing alone": passing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=100, help="HumanEval problems that are timed (100)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions, of which the best counts (3)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    human, basic = humaneval(), mbpp()
    with group() as cpu:
        speed = rates(human[: options.problems], options.repeat, cpu)
    ours, floor = speed["GraderPool"], speed["bare python -I -S"]
    (all_human, left_human), (all_basic, left_basic) = accepted(human), accepted(basic)
    share, counts = rejected([*mutants(human), *mutants(basic, 1)])
    result = {
        "verdicts a second": claim(ours["a second"] or 0, floor["a second"], 40, load=round(os.getloadavg()[0], 1)),
        "verdicts a CPU second": claim(ours["a CPU second"] or 0, floor["a CPU second"], 20, ways=speed),
        "canonical accepted, HumanEval": claim(all_human, None, 1, of=len(human), others=left_human),
        "canonical accepted, MBPP": claim(all_basic, None, 1, of=len(basic), others=left_basic),
        "mutants rejected": claim(share, None, 1, **counts),
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{'':20} {'a second':>10} {'a CPU second':>14}   ({WORKERS} workers)")
    for name, rate in speed.items():
        print(f"{name:20} {rate['a second']:>10} {rate['a CPU second'] or '-':>14}")
    print()
    for name, figures in result.items():
        print(f"{name}: {figures}")


if __name__ == "__main__":
    main()
