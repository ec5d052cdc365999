"""What was measured of a judge, kept in the workspace: a verdict is worth what its judge was seen to get wrong.

    <workspace>/judges/<hash of the judge's settings>.json

One file a judge, with one entry for each set of labels that it was measured on. A judge that has none is named as such by
whoever uses its verdicts: `record(store, judge) is None`.
"""

from typing import Any

from curation.judge import Judge
from curation.store import Store

FOLDER = "judges"


def record(store: Store, judge: Judge) -> dict[str, Any] | None:
    """The settings of a judge and its measurements, the newest last; None when it was never measured here.

    Raises WorkspaceError for a damaged file, ModelError where the model cannot be identified.
    """
    found: dict[str, Any] | None = store.read_json(_path(store, judge))
    return found


def add_record(store: Store, judge: Judge, measured: dict[str, Any]) -> str:
    """Puts a measurement beside the others of its judge, whole or not at all; gives the path of the file.

    A measurement with the same `labels` (the file's digest, and which columns) was of the same rows: it is replaced.
    The caller holds the workspace's lock.
    """
    before = record(store, judge) or {"judge": judge.settings(), "measured": []}
    others = [entry for entry in before["measured"] if entry["labels"] != measured["labels"]]
    store.write_json(_path(store, judge), {"judge": before["judge"], "measured": [*others, measured]})
    return _path(store, judge)


def _path(store: Store, judge: Judge) -> str:
    return store.path(FOLDER, f"{judge.hash}.json")
