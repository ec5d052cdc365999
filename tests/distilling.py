"""Recipes with sets made of traces, and what came of them as literal rows."""

from pathlib import Path
from typing import Any

from lab import Lab, sums

from curation.duck import arrow, parquet
from flows.curate import Outcome

STEPS = " (steps)"
SUMS = ((3, 4), (10, 5), (2, 2), (8, 7), (6, 2), (1, 0))
"""Right are, of samples 0 to 7 (fake_server.py): 0 1 4 5, none, all, none, 0 1 2 4 5 6, and 0 4."""


def distilling(lab: Lab, student: Path, *pairs: tuple[int, int], **teacher: Any) -> Lab:
    """A lab whose model is a teacher that thinks in steps, `traces: long`, for a student; no rules, no sets yet."""
    lab.policy["prompt"] = {"style": "raw", "template": "{prompt}\nAnswer:"}
    lab.recipe["models"]["student"] = {"model": str(student)}
    lab.recipe |= {"annotate": {}, "keep": {}, "student": {"model": "student"}, "sets": {}}
    lab.recipe["traces"] = {"long": {"model": "policy", "n": 8, "max_tokens": 400, **teacher}}
    lab.source("sums", sums(*(pairs or SUMS), trouble=STEPS))
    return lab


def rows(outcome: Outcome, config: str, split: str = "*") -> list[dict[str, Any]]:
    """Rows of a set as they lie in its files."""
    assert outcome.dataset is not None
    there = outcome.dataset.manifest["sets"][config]
    files = [f for name, one in there.items() if split in ("*", name) for f in one["files"]]
    paths = [f"{outcome.dataset.folder}/{file}" for file in files]
    found: list[dict[str, Any]] = (
        arrow(outcome.dataset.store.connect(), f"from {parquet(paths)}").to_pylist() if paths else []
    )
    return found


def traces(outcome: Outcome, config: str) -> list[dict[str, Any]]:
    """What became of every trace of a set."""
    assert outcome.dataset is not None
    path = f"{outcome.dataset.folder}/trace_decisions/{config}.parquet"
    found: list[dict[str, Any]] = arrow(outcome.dataset.store.connect(), f"from {parquet([path])}").to_pylist()
    return found


def asked(row: dict[str, Any]) -> str:
    """The problem of a row, as a user asks it."""
    return str(row["prompt"][-1]["content"]).removesuffix(STEPS)


def indexes(outcome: Outcome, config: str) -> dict[str, list[int]]:
    """By problem, the indexes of the samples that stand in a set."""
    found: dict[str, list[int]] = {}
    for row in rows(outcome, config):
        found.setdefault(asked(row), []).append(row["sample_index"])
    return found
