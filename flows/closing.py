"""What a run says at its end: what was sampled, what was published, and what to do next."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from curation.balancing.targets import RULE
from curation.inspect.summary import rows
from curation.publish import SPLITS, Dataset
from flows.curate import Outcome
from flows.recipe import Loaded
from flows.telling import say


def closing(console: Console, outcome: Outcome, loaded: Loaded) -> None:
    dataset = outcome.dataset
    assert dataset is not None
    console.print()
    if not outcome.drawn and any("n" in entry for entry in dataset.manifest["annotators"]):
        console.print("Nothing was sampled: every rollout was in the workspace already.")
    sampled(console, outcome)
    if outcome.new:
        say(console, f"Published {dataset.ref} in {dataset.folder}")
    else:
        say(console, f"The content is that of {dataset.ref}: nothing new was published.")
    for line in of_traces(dataset.manifest):
        say(console, line)
    name = dataset.manifest["name"]
    example = _an_id(dataset)
    console.print("\n[bold]Next[/]")
    say(console, f"  cuvee why {name} {example}")
    for rule in dataset.manifest["rules"]:
        if "passes" in rule["condition"] and rule["rule"] != RULE:
            change = shlex.quote(f"{rule['rule']}={_tighter(rule['condition'])}")
            say(console, f"  cuvee sweep {name} --rule {change}")
            break
    say(console, f"  cuvee inspect {name} --rows 5")
    if (shown := _with_rows(dataset.manifest)) is not None:
        say(console, f"  cuvee inspect {name} --set {shown} --rows 2")
    if loaded.training.stages:
        say(console, f"  cuvee train {shlex.quote(loaded.given or name)} --dry-run")
    if not any(dataset.manifest["sets"].get("rl", {}).get(split, {}).get("rows") for split in SPLITS):
        return
    code = f"import datasets; print(datasets.load_dataset({dataset.folder!r}, 'rl'))"
    # What a shell would read inside double quotes.
    code = re.sub(r'([\\"$`])', r"\\\1", code)
    say(console, f'  python -c "{code}"')


def of_traces(manifest: Mapping[str, Any]) -> list[str]:
    """A line about every set that is made of traces."""
    told = []
    for name, record in manifest.get("built", {}).items():
        rows = {split: part["rows"] for split, part in manifest["sets"][name].items() if part["rows"]}
        unit = "pairs" if record["kind"] == "preference" else "rows"
        counted = " and ".join(f"{count:,} in {split}" for split, count in rows.items())
        trained = sum(split["trained_tokens"] for split in record.get("splits", []))
        tokens = f", {trained:,} trained tokens" if "splits" in record else ""
        told.append(f"  {name}: {sum(rows.values()):,} {unit}{f' ({counted})' if counted else ''}{tokens}")
    return told


def _with_rows(manifest: Mapping[str, Any]) -> str | None:
    """The first set of traces that has any row."""
    built = manifest.get("built", {})
    return next((name for name in built if any(part["rows"] for part in manifest["sets"][name].values())), None)


def sampled(console: Console, outcome: Outcome) -> None:
    """What was sampled, beside what all n samples of every problem would have been."""
    for key, drawn in outcome.drawn.items():
        continued = f", {drawn['continued']:,} continued" if drawn["continued"] else ""
        of, done = drawn["missing"], drawn["drawn"] + drawn["continued"]
        instead = f" instead of {of:,} ({1 - done / of:.0%} fewer)" if done < of and not outcome.spent else ""
        unit = "votes asked for" if "votes" in drawn else "samples drawn"
        console.print(f"{key}: {drawn['drawn']:,} {unit}{continued}{instead}, {drawn['tokens']:,} tokens.")
        if calls := drawn.get("judge_calls"):
            console.print(
                f"{key}: the judge was asked {calls:,} times, {drawn['judge_prompt_tokens']:,} tokens read and "
                f"{drawn['judge_tokens']:,} written."
            )


def _an_id(dataset: Dataset) -> str:
    for rule in reversed(dataset.manifest["rules"]):
        if found := rows(dataset, rule["rule"], 1):
            return str(found[0]["id"])
    found = rows(dataset, None, 1)
    return str(found[0]["id"]) if found else "PROBLEM_ID"


def _tighter(condition: str) -> str:
    """A rule to try next to the one there is: a narrower band."""

    def narrower(found: re.Match[str]) -> str:
        low, high = int(found[1]), int(found[2])
        return f"between {low} and {max(low, high - 2)}"

    return re.sub(r"between (\d+) and (\d+)", narrower, condition, count=1)
