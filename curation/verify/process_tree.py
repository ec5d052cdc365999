"""What a process and all its descendants use, read from `/proc` by whoever may see them."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_MEMORY = ("RssAnon:", "RssShmem:")


class Usage(NamedTuple):
    """Of a tree: seconds on a CPU, also of descendants that were waited for; seconds in which living threads wanted a
    CPU and had none; bytes of memory that no file is behind, also when it is shared.
    """

    cpu: float
    waiting: float
    memory: int


def usage(root: int) -> Usage:
    """What the tree under a process id uses, itself included.

    A process that is gone uses nothing. Without the kernel's `schedstat`, waiting is 0; without its `children`, the
    root is all there is.
    """
    ticks = waiting = memory = 0
    pids = [root]
    for pid in pids:  # grows while it is walked
        folder = Path(f"/proc/{pid}")
        ticks += sum(map(int, _words(folder / "stat", after=")")[11:15]))  # of itself and of children it waited for
        status = _words(folder / "status")
        memory += sum(int(status[status.index(kind) + 1]) << 10 for kind in _MEMORY if kind in status)
        for thread in _listed(folder / "task"):
            waiting += int((_words(thread / "schedstat") or "00")[1])
            pids += map(int, _words(thread / "children"))
    return Usage(ticks / _TICKS, waiting / 1e9, memory)


def _words(path: Path, after: str = "") -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return (text.rpartition(after)[2] if after else text).split()


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []
