"""An S3 server that speaks HTTP, and workspaces on both kinds of storage."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.store import Store


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of an empty bucket; the environment says where its server is, as a user's would."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.get_host_and_port()[1]}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        Store("s3://bucket").fs.mkdir("bucket")
        yield "s3://bucket"
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        server.stop()


ODD_NAME = "it's a [ws] of *? ünï"


@pytest.fixture(params=["local", "s3"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A workspace that does not exist yet, with a name that SQL, URLs and globs could trip over."""
    if request.param == "local":
        return str(tmp_path / ODD_NAME)
    bucket: str = request.getfixturevalue("s3")
    return f"{bucket}/{uuid.uuid4().hex}/{ODD_NAME}".replace("?", "")


@pytest.fixture
def store(workspace: str) -> Store:
    return Store(workspace)
