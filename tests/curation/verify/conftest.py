"""One grader pool for all tests of this folder: its imports take seconds."""

from collections.abc import Iterator

import pytest

from curation.verify.pool import GraderPool


@pytest.fixture(scope="session")
def pool() -> Iterator[GraderPool]:
    with GraderPool(workers=2, cpu_seconds=1, wall_seconds=30, memory_bytes=1 << 29) as pool:
        yield pool
