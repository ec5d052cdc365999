"""Whether near-duplicates are found, all and only those, and how fast beside others.

    pip install --target DIR --no-deps rensa==0.5.0 gaoya==0.2.2
    .venv/bin/python benchmarks/duplicates.py [--short 100000 1000000] [--long 20000] [--peers DIR] [--only ours ...] [--json]

Texts are words drawn from a vocabulary of 60,000 by Zipf's law, 55 (short) or 3,000 (long) each. One in five is a copy of
another with words substituted at random places, as many as leave a Jaccard similarity of .5 to .97. The truth is an exact
join over word 5-grams, made from the numbers of the words. A row is a duplicate when an earlier one is at .8 or more.

    ours          Duplicates().pairs(table)
    rensa16       RMinHash matrices, RMinHashLSH of 16 bands as in its README: candidates, of which it tells that there are some
    rensa         RMinHashDeduplicator(threshold=.8)
    datasketch    MinHash.bulk and MinHashLSH(threshold=.8), 128 permutations: candidates
    gaoya         MinHashStringIndex, 25 bands of 5: its pairs
    datatrove     MinhashDedupSignature, Buckets, Cluster: what it would remove; it removes all but one of a cluster

Each runs in a process of its own on the same texts, which are in memory (as an Arrow table, as lists of Python texts)
before the clock starts. Wall and CPU seconds are those of the step, after imports; memory is the peak of the whole process.
What is not installed is skipped, by name.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.dedup.typesetting import SPELLED

THRESHOLD = 0.8
NGRAM = 5
WORDS = 60_000
SEED = 20261122
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
POOL = Path(__file__).parents[2] / "shared/data/pool/pool.parquet"
SCHEMA = pa.schema([("id", pa.string()), ("prompt", pa.string())])
# A copy with another number is no duplicate by our rule, which no peer has: texts are without.
NUMBERS = set(SPELLED)


# ---- texts, and the truth


def vocabulary(random: np.random.Generator) -> npt.NDArray[np.str_]:
    words: set[str] = set()
    while len(words) < WORDS:
        words.add("".join(map(chr, random.integers(97, 123, random.integers(2, 11)))))
        words.difference_update(NUMBERS)
    return np.array(sorted(words))[random.permutation(WORDS)]


def planted(count: int, length: int) -> npt.NDArray[np.uint16]:
    """(texts, words): the numbers of their words; the last fifth are copies."""
    random = np.random.default_rng([SEED, count, length])
    chances = 1 / (np.arange(WORDS) + 2.7)
    bounds = np.cumsum(chances / chances.sum())
    texts = np.empty((count, length), np.uint16)
    for begin in range(0, count, 20_000):
        part = texts[begin : begin + 20_000]
        part[:] = np.minimum(np.searchsorted(bounds, random.random(part.shape)), WORDS - 1)
    copies = count // 5
    originals = count - copies
    for row in range(originals, count):
        wanted = random.uniform(0.5, 0.97)
        # A shingle survives with probability s, and then j = s / (2 - s).
        edits = max(1, round(length * (1 - (2 * wanted / (1 + wanted)) ** (1 / NGRAM))))
        text = texts[random.integers(originals)].copy()
        places = random.choice(length, edits, replace=False)
        words = np.searchsorted(bounds, random.random(edits))
        text[places] = (words + (words == text[places])) % WORDS  # another word than there was
        texts[row] = text
    return texts


def truth(
    texts: npt.NDArray[np.uint16],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Every pair (one < other) that shares a 5-gram, and its Jaccard similarity."""
    count, length = texts.shape
    random = np.random.default_rng(SEED)
    names = random.integers(0, 1 << 63, (NGRAM, WORDS), dtype=np.uint64)
    sizes = np.empty(count, np.int64)
    parts = []
    for begin in range(0, count, 50_000):
        part = texts[begin : begin + 50_000]
        hashed = np.zeros((len(part), length - NGRAM + 1), np.uint64)
        for place in range(NGRAM):
            hashed += names[place][part[:, place : length - NGRAM + 1 + place]]
        hashed.sort(axis=1)
        different = np.ones(hashed.shape, np.bool_)
        different[:, 1:] = hashed[:, 1:] != hashed[:, :-1]
        sizes[begin : begin + len(part)] = different.sum(1)
        rows = np.repeat(np.arange(begin, begin + len(part), dtype=np.uint32), different.sum(1))
        parts.append((hashed[different], rows))
    shingles, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(shingles, kind="stable")
    shingles, rows = shingles[order], rows[order]
    found = []
    away = 1
    while True:  # the shingle's other texts, one, two ... places further on
        equal = np.flatnonzero(shingles[away:] == shingles[:-away])
        if not len(equal):
            break
        found.append(rows[equal].astype(np.uint64) << np.uint64(32) | rows[equal + away])
        away += 1
    pairs, shared = np.unique(np.concatenate(found), return_counts=True)
    one, other = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return one, other, shared / (sizes[one] + sizes[other] - shared)


# ---- contenders: texts in; what they tell of them out


def read(source: Path) -> pa.Table:
    """The texts, read in pieces: what reading takes beside them is no contender's."""
    return pa.Table.from_batches(pq.ParquetFile(source).iter_batches(1 << 15))


def grams(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[at : at + NGRAM]) for at in range(len(words) - NGRAM + 1)]


Told = dict[str, Any]
"""`pairs`: (n, 2); `later`: rows that an earlier one is like; `any`: rows that another is like."""


def ours(source: Path) -> Told:
    # Imports do not count here: numba comes with the first many texts, pandas with pyarrow's first array.
    import numba  # noqa: F401
    import pandas  # noqa: F401

    from curation.duplicates import Duplicates

    annotator, texts = Duplicates(), read(source)

    def step() -> Told:
        found = annotator.pairs(texts)
        return {"pairs": np.column_stack([found[name].to_numpy().astype(np.int64) for name in ("id", "other")])}

    return {"step": step}


def rensa16(texts: list[str]) -> Told:
    from rensa import RMinHash, RMinHashLSH

    def step() -> Told:
        matrix = RMinHash.digest_matrix_from_token_sets((grams(text) for text in texts), 128, 42)
        index = RMinHashLSH(THRESHOLD, 128, 16)
        index.insert_matrix(matrix)
        return {"any": np.array(index.query_duplicate_flags_matrix(matrix), np.bool_)}

    return {"step": step}


def rensa(texts: list[str]) -> Told:
    from rensa import RMinHashDeduplicator

    def step() -> Told:
        index = RMinHashDeduplicator(threshold=THRESHOLD, num_perm=128, use_lsh=True)
        return {
            "later": ~np.array(index.add_pairs((str(row), grams(text)) for row, text in enumerate(texts)), np.bool_)
        }

    return {"step": step}


def datasketch(texts: list[str]) -> Told:
    from datasketch import MinHash, MinHashLSH

    def step() -> Told:
        index = MinHashLSH(threshold=THRESHOLD, num_perm=128)
        pairs = []
        for begin in range(0, len(texts), 10_000):
            sets = [[gram.encode() for gram in grams(text)] for text in texts[begin : begin + 10_000]]
            for row, signed in enumerate(MinHash.bulk(sets, num_perm=128), begin):
                pairs += [(earlier, row) for earlier in index.query(signed)]
                index.insert(row, signed, check_duplication=False)
        return {"pairs": np.array(pairs, np.int64).reshape(-1, 2)}

    return {"step": step}


def gaoya(texts: list[str]) -> Told:
    from gaoya.minhash import MinHashStringIndex

    def step() -> Told:
        index = MinHashStringIndex(32, THRESHOLD, 25, 5, None, "word", False, (NGRAM, NGRAM))
        index.par_bulk_insert_docs(list(range(len(texts))), texts)
        pairs = []
        for begin in range(0, len(texts), 10_000):
            for row, found in enumerate(index.par_bulk_query(texts[begin : begin + 10_000]), begin):
                pairs += [(row, other) for other in found if row < other]
        return {"pairs": np.array(pairs, np.int64).reshape(-1, 2)}

    return {"step": step}


def datatrove(texts: list[str]) -> Told:
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )

    def step() -> Told:
        with tempfile.TemporaryDirectory() as name:
            config = MinhashConfig(n_grams=NGRAM)
            folders = [f"{name}/{part}" for part in ("signatures", "buckets", "removed")]
            documents = (Document(text=text, id=str(row)) for row, text in enumerate(texts))
            MinhashDedupSignature(folders[0], config).run(documents, 0, 1)
            for bucket in range(config.num_buckets):
                MinhashDedupBuckets(folders[0], folders[1], config=config).run(None, bucket, config.num_buckets)
            MinhashDedupCluster(folders[1], folders[2], config=config).run(None, 0, 1)
            kept = MinhashDedupFilter(folders[2]).run(
                (Document(text="", id=str(row)) for row in range(len(texts))), 0, 1
            )
            later = np.ones(len(texts), np.bool_)
            later[[int(document.id) for document in kept]] = False
            return {"later": later}

    return {"step": step}


CONTENDERS: dict[str, Callable[[Any], Told]] = {
    made.__name__: made for made in (ours, rensa16, rensa, datasketch, gaoya, datatrove)
}


def contend(name: str, source: Path, out: Path) -> None:
    """One contender in this process: what it cost as JSON, what it told as arrays."""
    texts: Any = source if name == "ours" else read(source)["prompt"].to_pylist()
    step = CONTENDERS[name](texts)["step"]
    cpu, wall = time.process_time(), time.perf_counter()
    told = step()
    cost = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    np.savez(out.with_suffix(".npz"), **told)
    # Not ru_maxrss: that begins with what the parent had when it forked.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    cost["memory"] = int(peak.split()[1]) / 1e6
    out.write_text(json.dumps(cost))


# ---- figures


def run(name: str, source: Path, folder: Path, peers: Path | None) -> dict[str, Any] | str:
    """What a contender cost and told; or why it is skipped."""
    out = folder / f"{name}.json"
    command = [sys.executable, __file__, "--contender", name, str(source), str(out)]
    done = subprocess.run(
        [*command, *(["--peers", str(peers)] if peers else [])], check=False, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    return json.loads(out.read_text()) | dict(np.load(out.with_suffix(".npz")))


def score(told: dict[str, Any], count: int, exact: tuple[Any, Any, Any]) -> dict[str, Any]:
    """Recall and precision of rows at the threshold, the share told by level below, and of pairs where they are told."""
    one, other, similarity = exact
    nearest = np.zeros(count)
    np.maximum.at(nearest, other, similarity)
    figures: dict[str, Any] = {}
    if "pairs" in told:
        pairs = np.sort(told["pairs"], axis=1)
        keys = np.unique(pairs[:, 0] << 32 | pairs[:, 1])
        true = (one << 32 | other)[similarity >= THRESHOLD]
        right = np.isin(keys, true, assume_unique=True).sum()
        figures |= {"pair recall": right / len(true), "pair precision": right / max(1, len(keys))}
        flags = np.zeros(count, np.bool_)
        flags[pairs[:, 1]] = True
    elif "any" in told:
        np.maximum.at(nearest, one, similarity)
        flags = told["any"]
    else:
        flags = told["later"]
    near = nearest >= THRESHOLD
    figures |= {"recall": (flags & near).sum() / near.sum(), "precision": (flags & near).sum() / max(1, flags.sum())}
    for low, high in zip(LEVELS, [*LEVELS[1:], 1.01], strict=True):
        level = (nearest >= low) & (nearest < high)
        figures[f"{low:.2f}"] = float(flags[level].mean()) if level.any() else None
    return figures


def measure(
    texts: npt.NDArray[np.uint16], wanted: list[str], peers: Path | None, show: bool
) -> dict[str, dict[str, Any]]:
    count = len(texts)
    exact = truth(texts)
    if show:
        levels = "  ".join(f"{level:.2f}+" for level in LEVELS)
        print(f"\n{count:,} texts of {texts.shape[1]:,} words; the share told of rows whose nearest is at")
        print(f"{'':<11}  docs/wall s  docs/CPU s     GB  recall  precision   {levels}", flush=True)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "texts.parquet"
        words = vocabulary(np.random.default_rng(SEED))
        with pq.ParquetWriter(source, SCHEMA) as writer:
            for begin in range(0, count, 10_000):
                rows = [" ".join(row) for row in words[texts[begin : begin + 10_000]].tolist()]
                ids = [str(row) for row in range(begin, begin + len(rows))]
                writer.write_table(pa.table([ids, rows], schema=SCHEMA))
        for contender in wanted:
            if contender != "ours" and importlib.util.find_spec(contender.removesuffix("16")) is None:
                told: dict[str, Any] | str = "not installed"
            else:
                told = run(contender, source, Path(name), peers)
            if isinstance(told, str):
                results[contender] = {"skipped": told}
                if show:
                    print(f"{contender:<11}  skipped: {told}", flush=True)
                continue
            figures = score(told, count, exact) | {"GB": told["memory"]}
            figures |= {"docs/wall s": count / told["wall"], "docs/CPU s": count / told["cpu"]}
            results[contender] = figures
            if show:
                levels = "  ".join(f"{figures[f'{level:.2f}']:5.3f}" for level in LEVELS)
                print(
                    f"{contender:<11}  {figures['docs/wall s']:11,.0f}  {figures['docs/CPU s']:10,.0f}  {figures['GB']:5.2f}"
                    f"  {figures['recall']:6.4f}  {figures['precision']:9.4f}   {levels}",
                    flush=True,
                )
    return results


def claims(name: str, goal: float | None, results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    mine = results["ours"]
    peers = {peer: of["docs/wall s"] for peer, of in results.items() if peer != "ours" and "skipped" not in of}
    best = max(peers, key=peers.__getitem__) if peers else None
    ratio = mine["docs/wall s"] / peers[best] if best else None
    skipped = {peer: of["skipped"] for peer, of in results.items() if "skipped" in of}
    found = {
        f"{name}: docs a second": {
            "ours": round(mine["docs/wall s"]),
            "peer": round(peers[best]) if best else None,
            "ratio": round(ratio, 2) if ratio else None,
            "goal": goal,
            "holds": None if ratio is None or goal is None else ratio >= goal,
            "best peer": best,
            "skipped": skipped,
        }
    }
    for measured, least in (("recall", 0.995), ("precision", 1.0)):
        value, theirs = mine[f"pair {measured}"], results[best][measured] if best else None
        found[f"{name}: {measured}"] = {
            "ours": round(float(value), 5),
            "peer": round(float(theirs), 5) if theirs is not None else None,
            "ratio": round(float(value / theirs), 3) if theirs else None,
            "goal": least,
            "holds": bool(value >= least),
        }
    found[f"{name}: memory, GB"] = {
        "ours": round(mine["GB"], 2),
        "peer": round(results[best]["GB"], 2) if best else None,
        "ratio": round(mine["GB"] / results[best]["GB"], 2) if best else None,
        "goal": 2 if goal else None,
        "holds": mine["GB"] < 2 if goal else None,
    }
    return found


def pool() -> dict[str, dict[str, Any]]:
    """The time for the shared pool, when it is here."""
    if not POOL.exists():
        return {}
    from curation.duplicates import Duplicates

    problems = pq.read_table(POOL)["problem"].combine_chunks()
    empty = pa.nulls(len(problems), pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))
    table = pa.table({"id": [str(row) for row in range(len(problems))], "prompt": problems, "messages": empty})
    began = time.perf_counter()
    found = Duplicates().pairs(table)
    took = time.perf_counter() - began
    figures = {"ours": round(took, 2), "peer": None, "ratio": None, "goal": 60, "holds": took < 60}
    return {"shared pool, seconds": figures | {"rows": len(table), "pairs": len(found)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", type=int, nargs="*", default=[100_000, 1_000_000], help="how many texts of 55 words")
    parser.add_argument("--long", type=int, nargs="*", default=[20_000], help="how many texts of 3,000 words")
    parser.add_argument("--peers", type=Path, help="a folder with the peers' packages")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="contenders to run")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the tables")
    parser.add_argument("--contender", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peers:
        sys.path.append(str(options.peers))
    if options.contender:
        name, source, out = options.contender
        contend(name, Path(source), Path(out))
        return
    result: dict[str, dict[str, Any]] = {}
    for count, length in [*((n, 55) for n in options.short), *((n, 3000) for n in options.long)]:
        results = measure(planted(count, length), options.only, options.peers, not options.json)
        if "ours" in options.only:
            goal = None if length > 55 else 3.0 if count >= 1_000_000 else 1.5
            result |= claims(f"{count:,} {'long' if length > 55 else 'short'}", goal, results)
    result |= pool()
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print()
    for claim, figures in result.items():
        print(f"{claim}: {figures}")


if __name__ == "__main__":
    main()
