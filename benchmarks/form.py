"""How often `form` is right about a problem's form, and how many problems it reads a second.

    .venv/bin/python benchmarks/form.py [--half dev] [--misses] [--data DIR] [--json]

The labels (tests/fixtures/form_labels.jsonl, 539 rows of the pool) were made by reading each text, before any rule was
written. Drawn were, per label, rows that a loose word search takes for candidates (so positives are not too few, and near
misses are many) and 150 random rows; `why` says which. The half ("dev" or "held") follows from a hash of the id. The rules
were developed on "dev" and on unlabelled rows; what counts is "held".

Precision and recall are thus over rows rich in near misses: precision over a whole pool is rather higher. Behind each
stands its Wilson 95 % interval. `needs_figure` has no goal: its labels say whether the problem can be solved without the
picture, which rules over words cannot know.

The peers are the one-line rules that filters of this kind use: the answer is a single letter; the word "prove".
"""

import argparse
import json
import math
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.annotate import CHUNK_ROWS
from curation.form import Form

ROOT = Path(__file__).resolve().parents[1]
LABELS = ROOT / "tests" / "fixtures" / "form_labels.jsonl"
DATA = ROOT.parent / "shared" / "data"
GOALS = {  # precision, recall on the held half
    "multiple_choice": (0.95, 0.90),
    "true_false": (0.95, 0.90),
    "proof": (0.90, 0.85),
    "multi_part": (0.90, 0.85),
    "needs_figure": None,
}
GOAL_ROWS_PER_SECOND = 20_000


@dataclass(frozen=True)
class Score:
    """Counts of one label: right and wrong hits, misses; and the ids of what went wrong."""

    right: int
    wrong: tuple[str, ...]
    missed: tuple[str, ...]

    @property
    def precision(self) -> float:
        hits = self.right + len(self.wrong)
        return self.right / hits if hits else math.nan

    @property
    def recall(self) -> float:
        positives = self.right + len(self.missed)
        return self.right / positives if positives else math.nan


def pool(path: Path) -> pa.Table:
    table = pq.read_table(path, columns=["id", "problem", "answer"])
    return table.rename_columns(["id", "prompt", "answer"])


def labelled(path: Path, half: str) -> tuple[list[dict[str, Any]], pa.Table]:
    """The labels of a half, and their problems in the same order."""
    with LABELS.open() as file:
        labels = [row for row in map(json.loads, file) if row["half"] == half]
    problems = pool(path)
    rows = pc.index_in(pa.array([label["id"] for label in labels]), value_set=problems["id"].combine_chunks())
    if rows.null_count:
        raise ValueError(
            f"{path} lacks {rows.null_count} of {len(labels)} labelled problems: another pool than was labelled?"
        )
    return labels, problems.take(rows)


def score(labels: list[dict[str, Any]], label: str, said: list[bool | None]) -> Score:
    pairs = [(row["id"], row[label], bool(value)) for row, value in zip(labels, said, strict=True)]
    return Score(
        right=sum(true and hit for _, true, hit in pairs),
        wrong=tuple(id_ for id_, true, hit in pairs if hit and not true),
        missed=tuple(id_ for id_, true, hit in pairs if true and not hit),
    )


def scores(half: tuple[list[dict[str, Any]], pa.Table]) -> dict[str, Score]:
    labels, problems = half
    forms = Form().annotate(problems)
    return {label: score(labels, label, forms[label].to_pylist()) for label in GOALS}


def peers(half: tuple[list[dict[str, Any]], pa.Table]) -> dict[str, Score]:
    """What the one-line rules say of the same rows."""
    labels, problems = half
    letter = [bool(re.fullmatch(r"\W*[A-J]\W*", answer or "")) for answer in problems["answer"].to_pylist()]
    prove = [bool(re.search(r"\bprove\b", prompt, re.I)) for prompt in problems["prompt"].to_pylist()]
    return {"multiple_choice": score(labels, "multiple_choice", letter), "proof": score(labels, "proof", prove)}


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The Wilson 95 % interval of a proportion (Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def rows_per_cpu_second(problems: pa.Table) -> float:
    """Over the whole pool, in the chunks that a run uses; CPU time of all threads, the best of three passes."""
    seconds = []
    for _ in range(3):  # what else runs on the machine slows a pass by up to a third
        start = time.process_time()
        for batch in problems.to_batches(max_chunksize=CHUNK_ROWS):
            Form().annotate(pa.Table.from_batches([batch]))
        seconds.append(time.process_time() - start)
    return problems.num_rows / min(seconds)


def claims(ours: dict[str, Score], naive: dict[str, Score], speed: float) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for label, goals in GOALS.items():
        for n, measure in enumerate(("precision", "recall")):
            value = getattr(ours[label], measure)
            peer = getattr(naive[label], measure) if label in naive else None
            goal = goals[n] if goals else None
            out[f"form_{label}_{measure}"] = {
                "ours": round(value, 4),
                "peer": None if peer is None or math.isnan(peer) else round(peer, 4),
                "ratio": None if not peer or math.isnan(peer) else round(value / peer, 3),
                "goal": goal,
                "holds": None if goal is None else value >= goal,
            }
    out["form_rows_per_cpu_second"] = {
        "ours": round(speed),
        "peer": None,
        "ratio": None,
        "goal": GOAL_ROWS_PER_SECOND,
        "holds": speed >= GOAL_ROWS_PER_SECOND,
    }
    return out


def line(label: str, who: str, result: Score) -> str:
    hits, positives = result.right + len(result.wrong), result.right + len(result.missed)
    cells = [f"{label:16} {who:26} {positives:4d}"]
    for value, of in ((result.precision, hits), (result.recall, positives)):
        low, high = wilson(result.right, of)
        cells.append(f"{value:6.3f} [{low:.3f}, {high:.3f}]")
    return "   ".join(cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--half", choices=["held", "dev"], default="held", help="which half of the labels")
    parser.add_argument("--misses", action="store_true", help="print the ids of wrong hits and of misses")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with pool/pool.parquet")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    path = options.data / "pool" / "pool.parquet"
    if not path.exists():
        print(f"The labelled texts are not here: {path} is missing. Give its folder with --data DIR.", file=sys.stderr)
        return 1

    half = labelled(path, options.half)
    ours, naive = scores(half), peers(half)
    speed = rows_per_cpu_second(pool(path))
    if options.json:
        print(json.dumps(claims(ours, naive, speed)))
        return 0

    print(f"half {options.half!r}, {len(half[0])} rows; [Wilson 95 %]")
    print(f"{'label':16} {'rule':26} {'pos.':>4}   {'precision':23}   {'recall':23}")
    for label, result in ours.items():
        print(line(label, "form", result))
        if label in naive:
            print(
                line(
                    label,
                    "peer: " + {"multiple_choice": "answer is a letter", "proof": 'the word "prove"'}[label],
                    naive[label],
                )
            )
    if options.misses:
        for label, result in ours.items():
            for kind, ids in (("wrong", result.wrong), ("missed", result.missed)):
                print(*[f"{label} {kind}: {id_}" for id_ in ids], sep="\n", end="\n" if ids else "")
    print(f"{speed:,.0f} rows per CPU second over the pool (goal {GOAL_ROWS_PER_SECOND:,})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
