"""What verifying a teacher's traces is worth to the student: accuracy on held-out problems after SFT.

    .venv/bin/python benchmarks/train_sft.py [--seeds 3] [--recipe RECIPE] [--model NAME] [--folder DIR] [--json]

    base         the student as it is, asked as a chat
    verified     after SFT on the first trace of each problem that passes the rules of a set (distill/keeping.py)
    unfiltered   after SFT on the first trace of the *same* problems, whatever it says

Both arms have the same teacher, samples, problems, number of rows and steps, and settings; only which of a problem's traces
is learnt from differs. First is by sample index, so the unfiltered one is an honest sample. Two things make it better than it
would be by itself: problems that the teacher never solves are in neither arm, and a trace that does not survive the student's
template (thinking that is not closed) cannot be trained on in either. `right` says how many of the arm's traces are.

A seed is the recipe's: with it change which problems are held out and the order of rows. Arms are compared
within a seed. Intervals are Student's t, 90 %, over the seeds: what training again on another part would give.

By default the packaged model learns from itself: with four solved examples it thinks before it answers, asked as a chat it
rambles. The problems are sums, differences and products of one digit, each once. A training takes
about 90 s of two quiet cores, everything about half an hour. With a GPU: `--recipe` names one with a student and `traces`
(`--traces` which of them, where there are several), `--model` another model for the student; `--train` has the stages'
settings, as JSON. What a folder (`--folder`) holds is not made again.
"""

import argparse
import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from curation.duck import literal, parquet
from curation.progress import Progress
from curation.publish import Dataset
from distill.keeping import DEFAULT
from flows import evaluating
from flows.curate import curate
from flows.recipe import Loaded, load
from flows.train import prepare, train
from train.memory import machine

Claims = dict[str, dict[str, Any]]
ARMS = ("verified", "unfiltered")
CONFIDENCE = 0.9
STAGE: dict[str, Any] = {
    **{"learning_rate": 5e-5, "epochs": 1, "batch_size": 4, "device_batch_size": 4, "warmup": 2},
    "save_every": 1000,
}
"""Settings of both stages: for the packaged model, a minute or two on two cores. No checkpoint: one is 1.6 GB."""

ONE_DIGIT = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
SHOTS = {
    "State the final answer to the following arithmetic problem: 3 - 7 =": ("3 - 7", -4),
    "Solve the following multiplication: 3 * 3. Give only the result as your final answer.": ("3 * 3", 9),
    "State the final answer to the following arithmetic problem: 9 + 6 =": ("9 + 6", 15),
    "Solve the following multiplication: 8 * 7. Give only the result as your final answer.": ("8 * 7", 56),
}
"""Solved examples for the teacher; none of them is a problem."""
NOT_SHOWN = f"prompt not in ({', '.join(map(literal, SHOTS))})"
ARITHMETIC: dict[str, Any] = {
    "name": "arithmetic",
    "sources": {
        "addition": {"reasoning_gym": "chain_sum", "size": 400, "params": ONE_DIGIT, "where": NOT_SHOWN},
        "products": {"reasoning_gym": "products", "size": 250, "params": ONE_DIGIT, "where": NOT_SHOWN},
    },
    "models": {
        "small": {
            "model": "~/.cache/cuvee/models/SmolLM2-135M-Instruct",
            "serve": {"max_model_len": 2048},
            "prompt": {"style": "raw", "template": "Question: {prompt}\nAnswer:", "stop": ["\n"]},
        }
    },
    "annotate": {"gold": {}, "duplicates": {}},
    "keep": {"gold": "gold_accepted", "unique": "not duplicate"},
    "holdout": 0.4,
    "student": {"model": "small"},
    "traces": {
        "thought": {
            "model": "small",
            "n": 4,
            "max_tokens": 64,
            "temperature": 1.0,
            "prompt": {
                "prefill": " <think>",
                "shots": [
                    {
                        "prompt": asked,
                        "answer": f"<think>The problem asks for {sum}, and {sum} = {is_}.</think> {is_}",
                    }
                    for asked, (sum, is_) in SHOTS.items()
                ],
            },
        }
    },
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- the recipe, and the two sets of it


def written(folder: Path, options: argparse.Namespace, seed: int, problems: Sequence[str] = ()) -> Path:
    """The recipe with a set and a stage for each arm, as a file. problems: those that the unfiltered arm is made of."""
    text: dict[str, Any] = {"extends": options.recipe} if options.recipe else dict(ARITHMETIC)
    traces = options.traces or next(iter(text.get("traces") or load(options.recipe).wanted.traces))
    first = {"is": "sft", "traces": traces, "select": {"by": "sample_index", "k": 1}}
    of_them = f"id in ({', '.join(map(literal, problems))})"
    whatever = {"where": of_them, "keep": dict.fromkeys(DEFAULT), "max_faulty": 1.0}
    text |= {"seed": seed, "sets": {"verified": first} | ({"unfiltered": first | whatever} if problems else {})}
    if problems:
        stage = STAGE | json.loads(options.train)
        text["train"] = {arm: {"is": "sft", "set": arm, "start": "student"} | stage for arm in ARMS}
        text["evaluate"] = {"n": options.n, "max_tokens": options.max_tokens, "temperature": options.temperature}
    if options.model:
        student = load(options.recipe).wanted.student if options.recipe else None
        text.setdefault("models", {}).setdefault(student.model if student else "small", {})["model"] = options.model
    path = folder / f"seed-{seed}{'' if problems else '-verified'}.yaml"
    path.write_text(json.dumps(text, indent=1))  # JSON is YAML
    return path


def published(path: Path, workspace: Path) -> tuple[Loaded, Dataset]:
    loaded = load(str(path))
    outcome = curate(loaded, str(workspace), progress=Progress())
    assert outcome.dataset is not None
    return loaded, outcome.dataset


@dataclass(frozen=True)
class Seed:
    """Both sets, of one split of the problems."""

    seed: int
    loaded: Loaded
    dataset: Dataset
    rows: int
    right: Mapping[str, float]
    """Share of an arm's traces that are right."""


def made(folder: Path, options: argparse.Namespace, seed: int) -> Seed:
    """Publishes the verified set, then both: the second is of the problems of the first."""
    _, dataset = published(written(folder, options, seed), folder)
    with contextlib.closing(dataset.store.connect()) as con:
        found = con.execute(f"select id from {rows_of(dataset, 'verified', '*')} order by id").fetchall()
        loaded, dataset = published(written(folder, options, seed, [id for (id,) in found]), folder)
        counts, right = {}, {}
        for arm in ARMS:
            verdicts = parquet([f"{dataset.folder}/trace_decisions/{arm}.parquet"])
            (counts[arm], right[arm]) = con.execute(
                f"select count(*), avg(correct::int) from {rows_of(dataset, arm)} join {verdicts} using (rollout)"
            ).fetchall()[0]
    assert counts["verified"] == counts["unfiltered"], f"the arms have {counts} rows"
    return Seed(seed, loaded, dataset, counts["verified"], right)


def rows_of(dataset: Dataset, arm: str, split: str = "train") -> str:
    return f"read_parquet({literal(f'{dataset.folder}/{arm}/{split}-*.parquet')})"


# ---- training and asking


def trained(one: Seed, arm: str) -> Path:
    """The model that `cuvee train` makes of an arm."""
    model = train(prepare(one.loaded, arm, one.dataset, machine()), Progress()).model
    assert model is not None
    return model


def evaluated(one: Seed) -> dict[str, dict[str, Any]]:
    """What `cuvee evaluate` says of every model on the held-out problems, by the model's name."""
    models = {"base": evaluating.student(one.loaded)}
    models |= {arm: evaluating.trained(one.loaded, trained(one, arm)) for arm in ARMS}
    with one.dataset.store.locked():
        data = evaluating.evaluate_recipe(one.loaded, models, one.dataset.store, dataset=one.dataset)
    return {result["model"]: result for result in data["results"]}


# ---- what came out


def over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and its interval."""
    from scipy.stats import t  # type: ignore[import-untyped]  # it ships no types

    mean = fmean(values)
    reach = t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return mean, mean - reach, mean + reach


def compared(name: str, ours: Sequence[float], peers: Sequence[float], **more: Any) -> Claims:
    """How much more of the same problems one arm solves than another; both by seed."""
    by_seed = [one - other for one, other in zip(ours, peers, strict=True)]
    mean, low, high = over_seeds(by_seed)
    told = {
        "ours": fmean(ours),
        "peer": fmean(peers),
        "ratio": fmean(ours) / fmean(peers) if any(peers) else None,
        "goal": 0.0,
        "holds": low > 0,
        "more": mean,
        "low": low,
        "high": high,
    }
    shown = {key: round(value, 4) if isinstance(value, float) else value for key, value in told.items()}
    return {name: shown | {"by_seed": [round(value, 4) for value in by_seed], **more}}


def run(folder: Path, options: argparse.Namespace) -> Claims:
    names = ("base", *ARMS)
    rates: dict[str, list[float]] = {name: [] for name in names}
    cut_off: dict[str, list[float]] = {name: [] for name in names}
    held_out, seeds = [], []
    for seed in range(options.seeds):
        seeds.append(one := made(folder, options, seed))
        results = evaluated(one)
        for name in names:
            rates[name].append(results[name]["accuracy"]["rate"])
            cut_off[name].append(results[name]["cut_off"])
        held_out.append(results["base"]["problems"])
        say(f"seed {seed}, {held_out[-1]} held-out problems: {', '.join(f'{n} {rates[n][-1]:.3f}' for n in names)}")
    more: dict[str, Any] = {
        "held_out": held_out,
        "rows": [one.rows for one in seeds],
        "right": {arm: [round(one.right[arm], 3) for one in seeds] for arm in ARMS},
        "cut_off": {name: [round(share, 3) for share in shares] for name, shares in cut_off.items()},
    }
    return (
        compared("verified to base", rates["verified"], rates["base"], **more)
        | compared("unfiltered to base", rates["unfiltered"], rates["base"])
        | compared("verified to unfiltered", rates["verified"], rates["unfiltered"])
    )


@contextlib.contextmanager
def folder_of(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="cuvee-bench-") as made_here:
        yield Path(made_here)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each arm, at least 2 (3)")
    parser.add_argument("--recipe", help="a recipe with a student and traces (arithmetic of one digit)")
    parser.add_argument("--traces", help="which of its `traces` (the first)")
    parser.add_argument("--model", help="a folder or Hub name instead of its student")
    parser.add_argument("--train", default="{}", help=f"settings of the stages, over {json.dumps(STAGE)}")
    parser.add_argument("--n", type=int, default=4, help="samples a held-out problem (4)")
    parser.add_argument("--max-tokens", type=int, default=160, help="of an answer; longer ones are wrong (160)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the answers (1.0)")
    parser.add_argument("--folder", type=Path, help="the workspace, kept; by default one that is removed")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error(f"--seeds: {options.seeds} trainings have no interval; give 2 or more")
    if options.traces and not options.recipe:
        parser.error("--traces: names some of a recipe's; give --recipe too")
    with folder_of(options.folder) as folder:
        claims = run(folder, options)
    if options.json:
        print(json.dumps(claims, indent=2))
        return
    print(f"{'held-out accuracy':<26}{'ours':>8}{'peer':>8}{'more':>8}   {CONFIDENCE:.0%} interval  by seed")
    for name, told in claims.items():
        interval = f"[{told['low']:+.3f}, {told['high']:+.3f}]"
        by_seed = " ".join(format(value, "+.3f") for value in told["by_seed"])
        print(f"{name:<26}{told['ours']:>8.3f}{told['peer']:>8.3f}{told['more']:>+8.3f}   {interval:<13}  {by_seed}")
    first = claims["verified to base"]
    print(f"by seed: {first['rows']} rows trained on, {first['held_out']} problems held out")
    for what, said in (("right", "traces that are right"), ("cut_off", "answers cut off")):
        print(f"{said}: {', '.join(f'{arm} {fmean(shares):.2f}' for arm, shares in first[what].items())}")


if __name__ == "__main__":
    main()
