"""A model as a server: its settings, its identity, and OpenAI-compatible addresses, given or started here.

    with serve(Model(model="~/models/SmolLM2-135M-Instruct"), log=Path("vllm.log")) as (server,):
        server.url, server.name     # http://127.0.0.1:41873/v1, SmolLM2-135M-Instruct

Every LLM of a recipe (policy, tagger, judge, teacher) is a `Model`. `check` finds mistakes when the recipe is loaded,
`identity` says which weights and texts its answers come from, `serve` gives its addresses while the block runs.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from curation.budget import Price
from curation.engine import HOST, Serve, vllm_command, vllm_environment
from curation.prompt import Prompt
from curation.reach import UNKNOWN, RunningServer, reach
from curation.started import Started
from curation.supervisor import ServerError
from curation.weights import ModelError, folder_identity, hub_commit, weight_files

__all__ = ["Model", "ModelError", "Prompt", "RunningServer", "Serve", "ServerError"]
__all__ += ["api_key", "check", "identity", "serve", "served_name"]

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
PORTS = range(16_384, 32_768)
"""Below those that Linux gives to whoever takes any (net.ipv4.ip_local_port_range)."""
Addresses = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
    PlainSerializer(lambda urls: urls[0] if len(urls) == 1 else urls),
]
"""One or several, written as a string or a list: a union of both would find two mistakes in each."""


class Model(BaseModel):
    """A name and how it is reached: started here from `model`, or running at `url`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    model: str = Field(min_length=1)
    """A folder, a Hub name (org/name), or, with `url`, the name under which that server serves it."""
    url: Addresses | None = None
    """Base of an OpenAI-compatible server, such as http://host:8000/v1, or of several; with it nothing is started."""
    revision: str | None = None
    """Commit, branch or tag of a Hub model; for a `url`, whatever pins what is served there."""
    serve: Serve = Serve()
    """Settings of the server started here; unused with `url`."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the server's key (capitals); the key itself is never written down."""
    prompt: Prompt = Prompt()
    """How problems are put to the model."""
    concurrency: int = Field(default=64, gt=0)
    """Requests in flight at each server; how it runs, so no part of what rollouts are filed under."""
    always_thinks: bool = False
    """It thinks whatever it is told; where it must not, an empty think block is put in its mouth."""

    price: Price | None = None
    """What it costs, for estimates and `--budget 200usd`; how it runs."""

    @property
    def urls(self) -> tuple[str, ...]:
        """Bases of the servers that are given; none when one is started here."""
        return tuple(url.rstrip("/") for url in self.url or ())

    @model_validator(mode="before")
    @classmethod
    def _hide_key(cls, given: Any) -> Any:
        # pydantic quotes the input in its errors: what is, or may be, a key must be gone before they are written.
        if not isinstance(given, dict):
            return given
        name = given.get("api_key_env")
        if "api_key" in given or (name is not None and not VARIABLE.fullmatch(str(name))):
            return {k: v for k, v in given.items() if k != "api_key"} | {"api_key_env": "(not shown)"}
        return given

    @field_validator("api_key_env")
    @classmethod
    def _names_variable(cls, name: str | None) -> str | None:
        if name is not None and not VARIABLE.fullmatch(name):
            raise ValueError("is the name of an environment variable (A-Z, 0-9, _); a key does not belong in a recipe")
        return name


def check(model: Model) -> None:
    """Raises ModelError when `model` cannot be right; looks at names of files only, so a recipe loads at once.

    A relative path that does not exist but looks like org/name passes as a Hub name.
    """
    if model.url is not None:
        if not model.urls:
            raise ModelError("url: is an empty list; give one server or several, or leave it out to start one here")
        for url in model.url:
            _check_url(url)
        if repeated := next((url for url in model.urls if model.urls.count(url) > 1), None):
            raise ModelError(f"url: {repeated!r} is given twice; raise `concurrency` to ask more of one server")
        return
    folder = Path(model.model).expanduser()
    if not folder.is_dir():
        if folder.exists():
            raise ModelError(
                f"model: {model.model!r} is a file; give the folder that holds config.json and the weights"
            )
        if not HUB_NAME.fullmatch(model.model):
            raise ModelError(
                f"model: {model.model!r} is neither a folder that exists nor a Hub name. Allowed are a folder with "
                "config.json and weights, a Hub name such as Qwen/Qwen3-8B, or any name together with `url`"
            )
        return
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    missing += [] if weight_files(folder) else ["weight files (*.safetensors or *.bin)"]
    if missing:
        raise ModelError(
            f"model: the folder {model.model!r} has no {' and no '.join(missing)}; give the folder that "
            "save_pretrained or a download has written"
        )
    if model.revision is not None:
        raise ModelError(
            f"revision: {model.revision!r} has no meaning for the folder {model.model!r}, whose files identify it; "
            "remove it, or give a Hub name"
        )


def _check_url(url: str) -> None:
    hint = "give the base of an OpenAI-compatible server, such as http://host:8000/v1"
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number, a bracket left open
        well_formed = False
    if "@" in url:
        raise ModelError(
            f"url: holds a user name or a password (not shown); name its variable in api_key_env and {hint}"
        )
    if not well_formed or parts.query or parts.fragment:
        raise ModelError(f"url: {url!r} is not of the form http(s)://host[:port]/path; {hint}")


def identity(model: Model) -> dict[str, object]:
    """What makes the model answer as it does, as plain JSON: part of the hash that its rollouts are filed under.

    Folder: digests of config, tokenizer and chat template, the end tokens of the generation config, and per weight file
    its name, size and a digest of samples; the same wherever the folder lies. Hub: repository and commit.
    URL: served name and revision, or `unpinned: True`. ModelError when a Hub name cannot be resolved to a commit.
    """
    check(model)
    if model.url is not None:
        pin: dict[str, object] = {"unpinned": True} if model.revision is None else {"revision": model.revision}
        return {"served_name": model.model} | pin
    folder = Path(model.model).expanduser()
    if not folder.is_dir():
        return {"repository": model.model, "commit": hub_commit(model.model, model.revision)}
    return folder_identity(folder)


@contextmanager
def serve(
    model: Model, *, log: Path, progress: Callable[[str], None] | None = None
) -> Iterator[tuple[RunningServer, ...]]:
    """The model's servers for the length of a `with` block; one started here has left no process when the block ends.

    One for a model that is started here, else one for each URL. Those that do not answer are marked as such, as long as
    one does. `log` takes the output of a server started here. `progress` gets a few words when one starts and when it is
    ready, when it is restarted, and when a given one does not answer.
    ModelError: the settings, or the name or key that a given server wants. ServerError: none starts or answers.
    """
    check(model)
    say = progress or (lambda _: None)
    if model.urls:
        yield _given(model, say)
        return
    port = _free_port()
    root, name = f"http://{HOST}:{port}", served_name(model)
    # The commit of the identity is the one that is loaded, also when the branch moves on.
    commit = None if Path(model.model).expanduser().is_dir() else hub_commit(model.model, model.revision)
    source = model.model if commit else str(Path(model.model).expanduser())
    key = api_key(model)
    started = Started(
        name,
        lambda: vllm_command(model.serve, model=source, commit=commit, name=name, port=port),
        env=vllm_environment(key),
        log=log,
        health=f"{root}/health",
        timeout=model.serve.start_timeout,
        say=say,
    )
    say(f"starting {name}")
    began = time.monotonic()
    try:
        started.start()
        server = reach(f"{root}/v1", name, key, model.api_key_env, started)
        say(f"ready after {time.monotonic() - began:.0f} s")
        yield (server,)
    finally:
        started.stop()


def _given(model: Model, say: Callable[[str], None]) -> tuple[RunningServer, ...]:
    """The servers at the model's URLs, asked at the same time."""
    key, name = api_key(model), served_name(model)

    def ask(url: str) -> RunningServer | ServerError:
        try:
            return reach(url, name, key, model.api_key_env)
        except ServerError as error:
            return error

    with ThreadPoolExecutor(min(len(model.urls), 32)) as pool:
        answers = dict(zip(model.urls, pool.map(ask, model.urls), strict=True))
    silent = {url: answer for url, answer in answers.items() if isinstance(answer, ServerError)}
    if len(silent) == len(answers):
        raise next(iter(silent.values()))
    for url, error in silent.items():
        say(f"{error}; going on with the others until it does")
        answers[url] = RunningServer(url, name, None, UNKNOWN, reached=False)
    return tuple(answer for answer in answers.values() if isinstance(answer, RunningServer))


def served_name(model: Model) -> str:
    """The name in requests: of a folder its last part, of a Hub model org/name, of a URL the name given."""
    folder = Path(model.model).expanduser()
    return folder.resolve().name if model.url is None and folder.is_dir() else model.model


def api_key(model: Model) -> str | None:
    """The server's key from the environment, None when the model names no variable; ModelError when that has no key."""
    if model.api_key_env is None:
        return None
    key = os.environ.get(model.api_key_env, "").strip()
    if not key:
        raise ModelError(f"api_key_env: the environment variable {model.api_key_env} is not set; export it with a key")
    if not (key.isascii() and key.isprintable()):  # HTTP libraries would refuse it, and quote it in their errors
        raise ModelError(f"api_key_env: what {model.api_key_env} holds is no key: it has line breaks or odd characters")
    return key


def _free_port() -> int:
    """A port that nobody has now, and that the system does not give to those who take any: the server listens there only
    when its model is loaded.
    """
    while True:
        port = secrets.choice(PORTS)
        with suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return int(port)
