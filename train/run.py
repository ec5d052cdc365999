"""A run folder: one stage, trained once on one set from one start.

settings.json       what is trained: written before anything starts; what shapes the result is in the folder's name
metrics.jsonl       a line a logged step
tensorboard/        the same, as event files
checkpoints/        transformers' checkpoints, each with a file `complete` written last, which has the sizes of the others
model/              the result: renamed to its name when all of it is there, so its being there says that the stage is done
error.json          why the training process ended, when it could tell
train.log           its output
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.durable import sync

SETTINGS, METRICS, ERROR, STARTED, LOG = "settings.json", "metrics.jsonl", "error.json", "started.json", "train.log"
MODEL, CHECKPOINTS, COMPLETE, LOCK = "model", "checkpoints", "complete", "lock"
RUNS = "runs"
ALARM = "alarm"
"""Key of a line of the metrics that says what goes wrong: the kind of it; `message` has the rest."""


class RunError(ValueError):
    """A run folder cannot be used as asked."""


class TrainingStopped(RuntimeError):
    """A stage was not trained to its end: says why, and what to do."""


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

    @property
    def settings(self) -> dict[str, Any]:
        """What is trained. Raises RunError where the file is missing or damaged."""
        file = self.folder / SETTINGS
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{file}: cannot be read ({error}); `cuvee train` writes it") from error
        return found

    @property
    def model(self) -> Path | None:
        """The folder of the trained model; None while the stage is not done."""
        folder = self.folder / MODEL
        return folder if (folder / "config.json").is_file() else None

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints that are whole, oldest first: those whose files are all there, as long as they were written."""
        folders = (self.folder / CHECKPOINTS).glob("checkpoint-*")
        return sorted((one for one in folders if _is_whole(one)), key=step_of)

    def metrics(self) -> list[dict[str, Any]]:
        """The logged steps; a line that a kill cut off is left out."""
        file = self.folder / METRICS
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def logged(self) -> Iterator[list[dict[str, Any]]]:
        """Each time the steps that were logged since the last; for a file that only grows."""
        file, at = self.folder / METRICS, 0
        while True:
            grown = b""
            if file.is_file():
                with file.open("rb") as lines:
                    lines.seek(at)
                    grown = lines.read()
            whole = grown[: grown.rfind(b"\n") + 1]
            at += len(whole)
            yield [json.loads(line) for line in whole.splitlines()]

    def error(self) -> dict[str, str] | None:
        """What the training process said when it failed."""
        file = self.folder / ERROR
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """A file of the folder, all of it or nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{name}.{os.getpid()}"
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        sync(temporary)
        temporary.replace(self.folder / name)
        sync(self.folder)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time trains a run. Raises RunError for the second."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{self.folder} is being trained by another process; wait for it, or end it") from None
            yield


def mark_whole(checkpoint: Path) -> None:
    """Says of a checkpoint that all of it is there, and how long its files are; all of it is on the disk then."""
    files = [file for file in checkpoint.rglob("*") if file.is_file()]
    for file in files:
        sync(file)
    mark = checkpoint / COMPLETE
    mark.write_text(json.dumps({str(file.relative_to(checkpoint)): file.stat().st_size for file in files}))
    sync(mark)
    sync(checkpoint)


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / COMPLETE).read_text())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def step_of(checkpoint: Path) -> int:
    """The optimizer step of a checkpoint's folder."""
    return int(checkpoint.name.rpartition("-")[2])


def newest(workspace: str | Path, recipe: str, stage: str) -> Path | None:
    """The model of a recipe's stage that was finished last; None when none was."""
    found = Path(workspace, RUNS, f"{recipe}.{stage}").glob(f"*/{MODEL}/config.json")
    return max((file.parent for file in found), key=lambda folder: folder.stat().st_mtime, default=None)
