"""Servers that answer: where they are, and what they say of themselves."""

import json
import re
import time
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from curation.replies import quoted
from curation.started import Started
from curation.supervisor import ServerError
from curation.weights import ModelError

URL_PATIENCE = 10.0
"""Seconds in which a given URL must answer: a server that someone has just restarted gets a second chance."""
UNKNOWN: dict[str, str | None] = {"engine": None, "version": None, "dtype": None}


@dataclass(frozen=True)
class RunningServer:
    """Where a model answers."""

    url: str
    """Base for requests, such as http://127.0.0.1:41873/v1."""
    name: str
    """What requests give as `model`."""
    max_model_len: int | None
    """Tokens of prompt and answer together; None where the server does not say."""
    engine: dict[str, str | None]
    """`engine`, `version` and `dtype`, for the record beside each row; None where the server does not say."""
    started: Started | None = None
    """The server's processes, when it was started here."""
    reached: bool = True
    """False when it did not answer; it may later."""

    @property
    def started_here(self) -> bool:
        """Whether it ends with the run."""
        return self.started is not None

    @property
    def root(self) -> str:
        """Where what is no part of OpenAI's interface lies, beside /v1."""
        return self.url.removesuffix("/v1")

    def described(self, models: Any, version: Any) -> "RunningServer":
        """This server as its replies to /models and /version describe it (`version` None: it has no such address).

        ModelError when it does not serve the name; ValueError when it does not answer as such a server does.
        """
        try:
            served = {str(entry["id"]): entry for entry in models["data"]}
        except (LookupError, TypeError) as error:
            raise ValueError(f"no list of models: {str(error) or type(error).__name__}") from error
        if self.name not in served:
            names = ", ".join(sorted(served))[:500] or "nothing"
            raise ModelError(f"model: {self.url} does not serve {self.name!r}; it serves {names}")
        entry = served[self.name]
        length, owner = entry.get("max_model_len"), entry.get("owned_by")
        return replace(
            self,
            max_model_len=length if isinstance(length, int) and length > 0 else None,
            engine=self.engine
            | {
                "engine": owner if owner in ("vllm", "sglang") else None,
                "version": str(version["version"]) if isinstance(version, dict) and "version" in version else None,
            },
            reached=True,
        )


def reach(url: str, name: str, key: str | None, key_name: str | None, started: Started | None = None) -> RunningServer:
    """Asks the server at `url` what it serves, for up to `URL_PATIENCE` seconds.

    ModelError: the name or the key that it wants is another. ServerError: it does not answer.
    """
    server = RunningServer(url, name, None, UNKNOWN, started)
    deadline = time.monotonic() + URL_PATIENCE
    while True:
        try:
            server = server.described(_get_json(f"{url}/models", key), _version(server, key))
            break
        except ModelError:
            raise
        except HTTPError as error:
            trouble = f"HTTP {error.code}"
            if error.code in (401, 403):
                held = f"the key in {key_name}" if key else "a request without a key; set `api_key_env`"
                raise ModelError(f"url: {url} refuses {held}: {trouble}") from None
        except (OSError, HTTPException, ValueError) as error:
            trouble = quoted(str(error) or type(error).__name__, key)
        if time.monotonic() > deadline:
            raise ServerError(
                f"{url}/models does not answer as an OpenAI-compatible server does ({trouble}), tried for "
                f"{URL_PATIENCE:g} s. Check that the server runs, that host and port can be reached from here, and "
                "that `url` is its base (it usually ends in /v1)"
            )
        time.sleep(min(1.0, URL_PATIENCE))
    if started is None:
        return server
    # vLLM says its dtype only in its log.
    dtype = re.search(r"\bdtype=torch\.(\w+)", started.output())
    return replace(server, engine=server.engine | {"dtype": dtype[1] if dtype else None})


def _version(server: RunningServer, key: str | None) -> Any:
    try:
        return _get_json(f"{server.root}/version", key)
    except (OSError, HTTPException, ValueError):
        return None  # not every engine says


def _get_json(url: str, key: str | None) -> Any:
    import urllib.request

    request = urllib.request.Request(url)
    if key is not None:
        request.add_unredirected_header("Authorization", f"Bearer {key}")  # never to where a redirect leads
    local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")  # where no proxy leads
    proxies = [urllib.request.ProxyHandler({})] if local else []
    with urllib.request.build_opener(*proxies).open(request, timeout=5) as answer:
        return json.load(answer)
