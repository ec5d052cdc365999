"""What tests share: a fake server, one real one, and a small recipe to run against either."""

import atexit
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_server import NAME, FakeServer
from hypothesis import settings
from lab import Lab

from curation.model import Model, RunningServer, serve
from flows.server import leave_quietly

MODEL = Path("~/.cache/cuvee/models/SmolLM2-135M-Instruct")


# The same examples every time, and no clock: a busy machine fails no test.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("steady")


def pytest_configure() -> None:
    atexit.register(leave_quietly)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the shared real server come last, so that a test that starts one of its own has the machine to itself."""
    items.sort(key=lambda item: "vllm_server" in getattr(item, "fixturenames", ()))


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="session")
def model_folder() -> Path:
    folder = MODEL.expanduser()
    if not folder.is_dir():
        pytest.skip(f"{MODEL} is not there; scripts/setup.sh unpacks it")
    return folder


@pytest.fixture(scope="session")
def vllm_server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The one real server of the whole test run."""
    model = Model.model_validate({"model": str(model_folder), "serve": {"max_model_len": 512}})
    with serve(model, log=tmp_path_factory.mktemp("vllm") / "vllm.log") as (server,):
        yield server


@pytest.fixture
def lab(tmp_path: Path, fake_server: FakeServer) -> Lab:
    """Six sums, four samples each, from the fake server."""
    return Lab(tmp_path, {"model": NAME, "url": fake_server.url})


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: a tiny model is slower on two, and far slower beside other work."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
