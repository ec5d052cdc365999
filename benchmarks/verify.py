"""How often the math verifier is right, how fast it is, and what it takes, beside math-verify in the same run.

    .venv/bin/python benchmarks/verify.py [--differences] [--data DIR] [--json]

Agreement is with labels: of the peers' own unit tests (`peer_cases`), of the Qwen2.5-Math grader on real predictions
(`grader_labelled_pairs`: machine labels), of OpenAI's solutions to the GSM8K test and of SkyThought's to MATH-500 and
OlympiadBench. An `error` of ours agrees with no label. Rows that their sources mark as conflicting count apart. Some
machine labels are false by arithmetic (3.83e35 against 3.83\\times10^{35}): those on which a verifier and its label
differ were read one by one, and benchmarks/verify_labels.jsonl has what was found, with the reason; agreement with the
labels as they are, and as read, are two claims.

math-verify is called as its README says, `verify(parse(gold), parse(answer))` in the main thread with its own time
limits; formulas without delimiters get `$…$` for it, and for us. Speed is verdicts per CPU second of this process.
Hard negatives are the MATH-500 answers with one digit or sign changed: a correct verdict there is a false one.

Pathological inputs go through `GraderPool`; so do 2,000 rows on a quiet machine and again beside busy processes.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curation.verify import grade, verifier
from curation.verify.pool import GraderPool, Job

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
LABELS = Path(__file__).with_name("verify_labels.jsonl")
GOAL_SPEED = 3.0
PATHOLOGICAL_CPU_SECONDS = 2.0
LOADED_ROWS = 2_000
SPEED_ROWS = 1_000


class Row(NamedTuple):
    """One labelled answer; `kind` groups rows of a file."""

    file: str
    kind: str
    gold: str
    completion: str
    equal: bool
    conflict: bool = False
    read: bool | None = None
    """The label as read again, where it was."""
    why: str = ""


class Measured(NamedTuple):
    """What both say of the same rows, and the CPU seconds that took."""

    ours: list[str]
    peer: list[bool]
    seconds: tuple[float, float]


def json_lines(path: Path) -> list[dict[str, Any]]:
    with pa.input_stream(str(path), compression="detect") as stream:
        return [json.loads(line) for line in stream.read().decode().splitlines() if line.strip()]


def delimited(text: str) -> str:
    """A bare formula between dollar signs; a text with delimiters, or of words, as it is."""
    prose = re.search(r"[A-Za-z]{3,}", re.sub(r"\\[A-Za-z]+", "", text)) and "\\" not in text
    foreign = re.search(r"[\u0600-\u06ff\u4e00-\u9fff]", text)
    return text if prose or foreign or re.search(r"\$|\\\(|\\\[|boxed", text) else f"${text}$"


def equivalence(data: Path) -> list[Row]:
    read = {(row["gold"], row["pred"]): row for row in json_lines(LABELS)}
    rows = []
    for name in ("peer_cases", "grader_labelled_pairs"):
        for pair in json_lines(data / "equivalence" / f"{name}.jsonl.zst"):
            again = read.get((pair["gold"], pair["pred"])) if name == "grader_labelled_pairs" else None
            kind = pair["kind"] if name == "peer_cases" else pair["source"].rpartition("/")[2]
            rows.append(
                Row(
                    *(name, kind, pair["gold"], delimited(pair["pred"]), pair["equal"], bool(pair["conflict"])),
                    *(again["equal"] if again else None, again["why"] if again else pair["note"] or ""),
                )
            )
    return rows


def solutions(data: Path) -> list[Row]:
    answers = {
        row["id"]: row["answer"] for row in pq.read_table(data / "benchmarks" / "gsm8k_test.parquet").to_pylist()
    }
    table = pq.read_table(data / "pass_rate_dev" / "gsm8k_test_openai_solutions.parquet")
    rows = [
        Row("gsm8k_solutions", row["model"], answers[row["bench_id"]], row["solution"], row["correct"])
        for row in table.to_pylist()
    ]
    for row in json_lines(data / "traces" / "long_cot_traces.jsonl.zst"):
        if row["source"] == "skythought_history" and row["gold"] and row["response"]:  # others were never closed
            rows.append(
                Row("skythought_solutions", row["on_benchmark"] or "none", row["gold"], row["response"], row["correct"])
            )
    return rows


def hard_negatives(data: Path) -> list[Row]:
    """Answers of MATH-500 with one digit or sign changed."""
    rows, draw = [], random.Random(4)
    for answer in pq.read_table(data / "benchmarks" / "math500.parquet")["answer"].to_pylist():
        for pattern, change in ((r"\d", lambda digit: str((int(digit) + 1) % 10)), (r"[+-]", {"+": "-", "-": "+"}.get)):
            if places := list(re.finditer(pattern, answer)):
                at = draw.choice(places).start()
                rows.append(
                    Row(
                        "hard_negatives",
                        pattern,
                        answer,
                        f"${answer[:at]}{change(answer[at])}{answer[at + 1 :]}$",
                        False,
                    )
                )
    return rows


def measured(rows: list[Row]) -> Measured:
    start = time.process_time()
    ours = [grade("math", row.gold, row.completion).outcome for row in rows]
    between = time.process_time()
    peer = [by_math_verify(row) for row in rows]
    return Measured(list(ours), peer, (between - start, time.process_time() - between))


def by_math_verify(row: Row) -> bool:
    from math_verify import parse, verify

    return bool(verify(parse(delimited(row.gold)), parse(row.completion)))


def agreement(rows: list[Row], found: Measured, label: Callable[[Row], bool]) -> tuple[int, int]:
    """Rows on which we, and the peer, say what the label says."""
    ours = sum(said == ("correct" if label(row) else "wrong") for row, said in zip(rows, found.ours, strict=True))
    return ours, sum(said == label(row) for row, said in zip(rows, found.peer, strict=True))


def as_labelled(row: Row) -> bool:
    return row.equal


def as_read(row: Row) -> bool:
    return row.equal if row.read is None else row.read


def claim(ours: float, peer: float | None, goal: float | None, holds: bool | None) -> dict[str, Any]:
    ratio = round(ours / peer, 3) if peer else None
    return {"ours": ours, "peer": peer, "ratio": ratio, "goal": goal, "holds": holds}


def agreement_claims(rows: list[Row], found: Measured) -> dict[str, dict[str, Any]]:
    files, total = defaultdict(list), [0, 0, 0]
    for at, row in enumerate(rows):
        files[row.file + (" (conflicting)" if row.conflict else "")].append(at)
    claims: dict[str, dict[str, Any]] = {}
    for file, places in files.items():
        some = [rows[at] for at in places]
        part = Measured([found.ours[at] for at in places], [found.peer[at] for at in places], found.seconds)
        for suffix, label in (("", as_labelled), (", labels as read", as_read)):
            if suffix and not any(row.read is not None for row in some):
                continue
            ours, peer = agreement(some, part, label)
            ours_share, peer_share = round(ours / len(some), 4), round(peer / len(some), 4)
            conflicting = "conflicting" in file
            holds = None if conflicting else ours >= peer
            claims[f"agreement {file}{suffix}"] = claim(
                ours_share, peer_share, None if conflicting else peer_share, holds
            )
            if not suffix and not conflicting:
                total = [total[0] + ours, total[1] + peer, total[2] + len(some)]
    share = [round(count / total[2], 4) for count in total[:2]]
    claims["agreement in total"] = claim(share[0], share[1], share[1], total[0] > total[1])
    return claims


def speed_claims(data: Path, rows: list[Row]) -> dict[str, dict[str, Any]]:
    draw = random.Random(7)
    real = [row for row in rows if row.file != "peer_cases"]
    claims = {}
    for name, some in (
        ("real predictions", draw.sample(real, SPEED_ROWS)),
        ("labelled pairs alone", draw.sample([row for row in real if row.file == "grader_labelled_pairs"], 300)),
        ("hard negatives", draw.sample(hard_negatives(data), 400)),
    ):
        found = measured(some)
        ours, peer = (round(len(some) / seconds) for seconds in found.seconds)
        goal = GOAL_SPEED * peer if name == "real predictions" else None
        claims[f"verdicts per CPU second, {name}"] = claim(ours, peer, goal, None if goal is None else ours >= goal)
        if name == "hard negatives":
            false = (found.ours.count("correct"), sum(found.peer))
            claims["hard negatives accepted"] = claim(false[0], false[1], 0, None)
            claims["hard negatives undecided"] = claim(found.ours.count("error"), None, None, None)
    return claims


def pathological_claims() -> dict[str, dict[str, Any]]:
    """Every input answered, in a pool whose workers have two CPU seconds; the slowest in CPU seconds."""
    sys.path.insert(0, str(ROOT / "tests" / "curation" / "verify"))
    from pathological import PATHOLOGICAL

    answered = false = errors = 0
    slowest = 0.0
    with GraderPool(workers=1, cpu_seconds=PATHOLOGICAL_CPU_SECONDS, preload=["math"]) as pool:
        pool.submit(Job("math", "5", "5")).result()
        for text in PATHOLOGICAL.values():
            before = pool.cpu_seconds()
            verdict = pool.submit(Job("math", "5", text)).result(timeout=60)
            answered += 1
            false += verdict.outcome == "correct"
            errors += verdict.outcome == "error"
            slowest = max(slowest, pool.cpu_seconds() - before)
    count = len(PATHOLOGICAL)
    return {
        "pathological inputs answered": claim(answered, None, count, answered == count),
        "pathological inputs accepted": claim(false, None, 0, false == 0),
        "pathological inputs undecided": claim(errors, None, None, None),
        "slowest pathological input, CPU seconds": claim(
            round(slowest, 2), None, PATHOLOGICAL_CPU_SECONDS, slowest <= PATHOLOGICAL_CPU_SECONDS * 1.2
        ),
    }


def load_claims(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """The same rows, quiet and beside twice as many busy processes as there are CPUs."""
    some = random.Random(9).sample([row for row in rows if row.file != "peer_cases"], LOADED_ROWS)
    jobs = [Job("math", row.gold, row.completion) for row in some]
    with GraderPool(preload=["math"]) as pool:
        quiet = [verdict.outcome for verdict in pool.grade_many(jobs)]
    with busy(2 * len(os.sched_getaffinity(0))), GraderPool(preload=["math"]) as pool:
        loaded = [verdict.outcome for verdict in pool.grade_many(jobs)]
    changed = [(a, b) for a, b in zip(quiet, loaded, strict=True) if a != b]
    wrong = sum("error" not in pair for pair in changed)
    return {
        "verdicts changed by load": claim(wrong, None, 0, wrong == 0),
        "verdicts that load made an error, or kept from one": claim(len(changed) - wrong, None, None, None),
    }


def spin() -> None:
    while True:
        pass


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    started = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(processes)]
    for process in started:
        process.start()
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.join()


def print_agreement(rows: list[Row], found: Measured) -> None:
    kinds: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row, ours, peer in zip(rows, found.ours, found.peer, strict=True):
        counts = kinds[row.file, "conflicting" if row.conflict else row.kind]
        counts[0] += 1
        counts[1] += ours == ("correct" if row.equal else "wrong")
        counts[2] += peer == row.equal
        counts[3] += ours == "error"
    print(f"{'file':22} {'kind':44} {'rows':>5} {'ours':>7} {'math-verify':>12} {'undecided':>10}")
    for (file, kind), (count, ours_right, peer_right, errors) in sorted(kinds.items()):
        print(f"{file:22} {kind:44} {count:5} {ours_right / count:7.3f} {peer_right / count:12.3f} {errors:10}")


def print_differences(rows: list[Row], found: Measured) -> None:
    """Every row on which our verdict is not the label's, with what math-verify says and why the label is doubted."""
    tally: Counter[tuple[str, str]] = Counter()
    for row, ours, peer in zip(rows, found.ours, found.peer, strict=True):
        if ours != ("correct" if row.equal else "wrong"):
            print(
                f"{row.file} {row.kind}: label {'equal' if row.equal else 'different'}, ours {ours}, "
                f"math-verify {'equal' if peer else 'different'}: {row.gold[-80:]!r} against {row.completion[-80:]!r} {row.why}"
            )
            tally[row.file, "read again: label false" if row.read not in (None, row.equal) else ours] += 1
    for (file, what), count in sorted(tally.items()):
        print(f"{count:5} {file}: {what}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--differences", action="store_true", help="print every row that differs from its label, and stop"
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder with equivalence/, pass_rate_dev/, traces/, benchmarks/"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    if not (options.data / "equivalence").exists():
        print(
            f"The labelled answers are not here: {options.data} has no equivalence/. Give --data DIR.", file=sys.stderr
        )
        return 1
    verifier("math").warm()
    rows = equivalence(options.data) + solutions(options.data)
    if options.differences:
        print_differences(rows, measured(rows))
        return 0
    speed = speed_claims(options.data, rows)  # first, so that nothing was read before
    found = measured(rows)
    claims = agreement_claims(rows, found) | speed | pathological_claims() | load_claims(rows)
    if options.json:
        print(json.dumps(claims))
        return 0
    print_agreement(rows, found)
    print(f"\n{'claim':56} {'ours':>9} {'peer':>9} {'ratio':>7} {'goal':>9}  holds")
    for name, values in claims.items():
        cells = [
            f"{'' if values[key] is None else values[key]:>{width}}"
            for key, width in (("ours", 9), ("peer", 9), ("ratio", 7), ("goal", 9))
        ]
        print(f"{name:56} {' '.join(cells)}  {'' if values['holds'] is None else 'yes' if values['holds'] else 'NO'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
