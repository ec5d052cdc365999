"""An export: a folder with every set that a trainer takes, whole or not there at all.

    OUT/README.md                    what is there, how problems were asked, what was left out, versions
        export.json                  the same for programs, and by which this is known as an export
        <set>/data/train.parquet     (or .jsonl) and test, as the trainer reads them
              launch.sh              what starts the training
              reward.py              of RL sets: the graders that curated the data
              chat_template.jinja    where it is not the tokenizer's own

It is written into a folder beside OUT that takes its name last. one_set.py has what is in the folder of a set.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.durable import sync
from curation.progress import Progress
from curation.publish import Dataset
from train.export.asked import Asked, asked
from train.export.one_set import LAUNCH, REWARD, ExportedSet, ExportError, SetWriter, write_text
from train.export.readme import readme
from train.export.settings import RL
from train.export.target import TEMPLATE, Target

MANIFEST, README = "export.json", "README.md"
TOLERATED = {"__pycache__"}


@dataclass(frozen=True)
class Exported:
    """What an export came to."""

    folder: str
    target: str
    version: str
    dataset: str
    fingerprint: str
    asked: Asked
    sets: Mapping[str, ExportedSet]
    skipped: Mapping[str, str]
    """Sets that are not there, and why."""
    replaced: str | None
    """The dataset whose export was there before."""


def export(
    dataset: Dataset, target: Target, out: str, only: str | None, place: str | None, progress: Progress
) -> Exported:
    """Exports a published dataset to the folder `out`. Raises ExportError, AskedError and SettingsError.

    only: the one set to export; by default all that the target takes. place: how problems are asked (asked.py).
    """
    if not dataset.is_whole():
        raise ExportError(
            f"{dataset.folder} lacks files that its manifest lists; running the recipe publishes it again"
        )
    folder = Path(os.path.abspath(os.path.expanduser(out)))
    there = _there(folder, dataset)
    wanted, skipped = _wanted(dataset, target, only)
    how = asked(dataset.manifest, place)
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.tmp"
    try:
        temporary.mkdir(parents=True)
        sets = {}
        for name, kind in wanted.items():
            exported = SetWriter(dataset, target, target.form[kind], name, kind, how, temporary / name).write(progress)
            if exported.rows.get("train"):
                sets[name] = exported
            else:
                skipped[name] = _nothing(exported)
                shutil.rmtree(temporary / name)
        if not sets:
            raise ExportError(
                f"nothing of {dataset.ref} can be exported to {target.name}: "
                + "; ".join(f"{name}: {why}" for name, why in skipped.items())
            )
        fingerprint = str(dataset.manifest["fingerprint"])
        done = Exported(str(folder), target.name, target.version, dataset.ref, fingerprint, how, sets, skipped, there)
        write_text(temporary / README, readme(done, dataset, target))
        write_text(temporary / MANIFEST, json.dumps(_record(done, temporary), indent=2, ensure_ascii=False) + "\n")
        _rename(temporary, folder, there is not None)
        return done
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def kinds(dataset: Dataset) -> dict[str, str]:
    """The sets of a dataset with their kinds."""
    said = dataset.manifest["recipe"].get("sets") or {RL: {}}
    return {name: str((said.get(name) or {}).get("is", name)) for name in dataset.manifest["sets"]}


def _wanted(dataset: Dataset, target: Target, only: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """The sets to export with their kinds, and why others are not."""
    known = kinds(dataset)
    if only is not None and only not in known:
        raise ExportError(f"--set: {dataset.ref} has no set {only!r}; it has {', '.join(known)}")
    chosen = known if only is None else {only: known[only]}
    skipped = {
        name: target.takes_not.get(kind, f"{target.name} takes no sets of kind {kind}")
        for name, kind in chosen.items()
        if kind not in target.form
    }
    return {name: kind for name, kind in chosen.items() if name not in skipped}, skipped


def _nothing(exported: ExportedSet) -> str:
    if exported.left_out:
        return "; ".join(f"{rows:,} rows: {why}" for why, rows in exported.left_out.most_common())
    return "it has no rows" if not exported.rows.get("test") else "it has no rows to train on, in test only"


def _there(folder: Path, dataset: Dataset) -> str | None:
    """The dataset whose export is to be replaced; None when nothing is there. Raises ExportError for anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    where = f"{folder} is there already"
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        name, files = str(found["dataset"]).partition("@")[0], dict(found["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ExportError(f"{where}, and is no export of Cuvee; give another OUT, or move it away") from None
    if name != dataset.manifest["name"]:
        raise ExportError(f"{where}, and is an export of {found['dataset']}, not of {dataset.ref}; give another OUT")
    for path in sorted(folder.rglob("*")):
        known = path.relative_to(folder).as_posix()
        if path.is_dir() or known == MANIFEST or TOLERATED & set(path.parts):
            continue
        if known not in files:
            raise ExportError(f"{where}, and holds a file that no export wrote: {known}; move it, or give another OUT")
        if files[known] is not None and files[known] != _digest(path):
            raise ExportError(f"{where}, and {known} was changed since; move it, or give another OUT")
    return str(found["dataset"])


def _rename(temporary: Path, folder: Path, replaces: bool) -> None:
    """Gives an export its name; what was there goes when the new one is in its place."""
    if replaces:
        before = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.old"
        folder.rename(before)
        temporary.rename(folder)
        shutil.rmtree(before)
    else:
        temporary.rename(folder)
    sync(folder.parent)


def _record(done: Exported, temporary: Path) -> dict[str, Any]:
    """What export.json says."""
    written = sorted(path for path in temporary.rglob("*") if path.is_file())
    texts = {LAUNCH, REWARD, README, TEMPLATE}  # what a user may have changed; data is known by its dataset
    return {
        "dataset": done.dataset,
        "fingerprint": done.fingerprint,
        "target": done.target,
        "version": done.version,
        "asked": done.asked.place,
        "sets": {name: told(one) for name, one in done.sets.items()},
        "skipped": dict(done.skipped),
        "files": {
            path.relative_to(temporary).as_posix(): _digest(path) if path.name in texts else None for path in written
        },
    }


def told(one: ExportedSet) -> dict[str, Any]:
    """A set as programs are told of it."""
    found = {"kind": one.kind, "stage": one.stage, "rows": one.rows, "left_out": dict(one.left_out)}
    return found | {"first_left_out": one.examples, "verifiers": dict(one.verifiers), "notes": one.notes}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


__all__ = ["ExportError", "Exported", "ExportedSet", "export", "kinds", "told"]
