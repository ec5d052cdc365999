"""A recipe whose RL learns which of two digits is larger, and its published set: nothing of it is sampled by a server."""

import json
from pathlib import Path
from typing import Any

from rl_on_digits import taught
from tiny_model import pairs_of_digits

from curation.progress import Progress
from flows.curate import curate
from flows.recipe import load
from flows.train import prepare
from train.memory import Machine
from train.run import SETTINGS, Run

RIGHT = "eval_completions/correct"
CPU = Machine("cpu", "a test", 1, 1 << 34, 1 << 34, False)
STAGE: dict[str, Any] = {
    **{"group": 8, "batch_size": 64, "device_batch_size": 64, "steps": 40, "learning_rate": 1e-3, "max_tokens": 4},
    **{"report_to": [], "evaluate_every": 20},
}


class Digits:
    """The recipe in a folder, with a model that is right in half of the cases."""

    def __init__(self, folder: Path, start: Path | None = None, **stage: Any) -> None:
        self.folder, self.workspace = folder, folder / "workspace"
        folder.mkdir(parents=True, exist_ok=True)
        model = start or taught(folder / "taught")
        self.recipe: dict[str, Any] = {
            "name": "digits",
            "sources": {"pairs": {"jsonl": "pairs.jsonl", "verifier": "exact"}},
            "models": {"policy": {"model": str(model)}},
            "holdout": 0.25,
            "train": {"rl": STAGE | ({} if "is" in stage else {"kl": 0}) | stage},
        }
        rows = [{"prompt": f"{a} {b}", "answer": str(max(a, b))} for a, b in pairs_of_digits()]
        (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    @property
    def path(self) -> str:
        path = self.folder / "recipe.yaml"
        path.write_text(json.dumps(self.recipe))
        return str(path)

    def published(self) -> Any:
        dataset = curate(load(self.path), str(self.workspace), progress=Progress(quiet=True)).dataset
        assert dataset is not None
        return dataset

    def run_of(self, out: Path | None = None) -> Run:
        """The run folder of the stage, as `cuvee train` writes it; by default where it does."""
        prepared = prepare(load(self.path), "rl", self.published(), CPU, None if out is None else str(out))
        prepared.run.write(SETTINGS, prepared.settings)
        return prepared.run
