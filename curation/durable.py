"""What is on the disk survives a loss of power."""

import os
from pathlib import Path


def sync(path: str | Path) -> None:
    """Puts a file, or a folder's list of names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
