"""A small recipe to run against a server, and a look at what came of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curation.duck import arrow
from curation.progress import Progress
from curation.store import Store
from flows.curate import Outcome, curate
from flows.recipe import load


def sums(*pairs: tuple[int, int], trouble: str = "") -> list[dict[str, str]]:
    """Problems as rows of a JSONL source: What is 3 + 4?"""
    return [{"prompt": f"What is {a} + {b}?{trouble}", "answer": str(a + b)} for a, b in pairs]


class Lab:
    """A recipe, a workspace, and what is in it. Calling it runs the recipe."""

    def __init__(self, folder: Path, model: Mapping[str, Any]) -> None:
        self.folder, self.workspace = folder, folder / "workspace"
        self.recipe: dict[str, Any] = {
            "name": "lab",
            "sources": {},
            "models": {"policy": {"revision": "1", "concurrency": 8, **model}},
            "annotate": {"pass_rate": {"model": "policy", "n": 4, "max_tokens": 64, "settle": "never"}},
            "keep": {"learnable": "passes between 1 and 3"},
        }
        self.policy["prompt"] = {"style": "raw", "template": "{prompt}\nAnswer:", "stop": ["\n"]}
        self.source("sums", sums((3, 4), (10, 5), (2, 2), (8, 7), (6, 9), (1, 1)))

    @property
    def policy(self) -> dict[str, Any]:
        policy: dict[str, Any] = self.recipe["models"]["policy"]
        return policy

    def source(self, name: str, rows: list[dict[str, Any]], **settings: Any) -> None:
        """Adds a source, or puts other rows into it."""
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.recipe["sources"][name] = {"jsonl": path.name, "verifier": "exact", "license": "MIT", **settings}

    def write(self) -> Path:
        path = self.folder / "recipe.yaml"
        path.write_text(json.dumps(self.recipe))  # JSON is YAML
        return path

    def __call__(self, **pass_rate: Any) -> Outcome:
        """Runs it; pass_rate(n=8) overrides settings of its annotator."""
        overrides = {f"annotate.pass_rate.{key}": json.dumps(value) for key, value in pass_rate.items()}
        return curate(load(str(self.write()), overrides), str(self.workspace), progress=Progress(quiet=True))

    @property
    def store(self) -> Store:
        return Store(str(self.workspace))

    def stored(self, kind: str, order: str = "problem_id, sample_index, max_tokens") -> list[dict[str, Any]]:
        """All rows of `rollouts` or `verdicts`, of every folder."""
        parts = str(self.workspace / kind / "*" / "part-*.parquet")
        if not list(self.workspace.glob(f"{kind}/*/part-*.parquet")):
            return []
        rows: list[dict[str, Any]] = arrow(
            self.store.connect(), f"select * from read_parquet('{parts}') order by {order}"
        ).to_pylist()
        return rows


def decided(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """The decisions of a run, by prompt."""
    assert outcome.dataset is not None
    con = outcome.dataset.store.connect()
    rows = arrow(con, f"from {outcome.dataset.decisions()}").to_pylist()
    return {row["prompt"]: row for row in rows}
