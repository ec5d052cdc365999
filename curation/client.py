"""Asking a server for completions, with patience.

    async with Client(server, key, concurrency=64, patience=120) as client:
        completion = await client.complete("2 + 2 =", prompt, sampling, max_tokens=8, name="sum-0")

What can go wrong is one of two things:
    Refused        of one request: the server says no (400: too long a prompt), or fails at it again and again
    SamplingError  of the server: it cannot be reached for `patience` seconds, or wants another key or model name
"""

import asyncio
import json
import random
import time
import zlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar

import aiohttp
import numpy as np

from curation.model import RunningServer
from curation.prompt import Message, Prompt
from curation.rollouts import Sampling

# A reply can be long in coming: thinking of 32k tokens on a busy server.
REQUEST_SECONDS = 3600
CONNECT_SECONDS = 30
TRIES = 5
"""How often the server may fail at a request before it counts as refused."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
AWAY = (408, 425, 429, 502, 503, 504)
"""Answers that speak of the server, or of what stands before it, and not of the request: busy, starting, gone."""
ENDED = {"stop": "stop", "tool_calls": "stop", "length": "length"}
"""What a finish reason means. Any other (`abort` of a server that is being stopped) is that of no whole sample."""
HALF = "\ufffd"
"""What the bytes of a character that is not whole are decoded to."""
LONGEST_CHARACTER = 4
"""Tokens of one character at most: bytes in UTF-8."""

T = TypeVar("T")
Rendered = str | list[Message]


class SamplingError(RuntimeError):
    """Sampling had to stop; what was drawn is in the store, and the next run goes on from there."""


class Refused(ValueError):
    """This request will not be answered; others may."""

    def __init__(self, message: str, failed: bool = False) -> None:
        super().__init__(message)
        self.failed = failed
        """Whether the server failed at it, rather than said no."""


class NotServed(SamplingError):
    """The server has no such address."""


class _Failed(Exception):
    """The server failed at a request."""


class _Away(Exception):
    """The server cannot be reached, or asks to come back later."""


class Completion(TypedDict):
    """What a server answered: `text` follows the prompt, `reasoning` is what the server parsed off as thinking."""

    text: str
    reasoning: str | None
    token_ids: Any
    """An int32 array; None where the server gives none."""
    tokens: int
    """Length of text and reasoning in tokens."""
    prompt_tokens: int | None
    finish_reason: str
    """`stop`, or `length` when it was cut off at max_tokens."""


class Client:
    """Requests to one server, at most `concurrency` at once."""

    def __init__(self, server: RunningServer, key: str | None, concurrency: int, patience: float) -> None:
        self.server, self.concurrency, self.patience = server, concurrency, patience
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._away_since: float | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        connector = aiohttp.TCPConnector(limit=self.concurrency)
        self._http = aiohttp.ClientSession(timeout=timeout, connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def complete(
        self, rendered: Rendered, prompt: Prompt, sampling: Sampling, max_tokens: int, name: str
    ) -> Completion:
        """One sample. `name` tells requests apart: in the server's log, and as the source of the seed."""
        body = self._body(prompt, sampling, max_tokens, name)
        if isinstance(rendered, str):
            return await self._post("/completions", body | {"prompt": rendered}, name, _completion)
        return await self._post("/chat/completions", body | _turns(rendered, prompt), name, _completion)

    async def go_on(
        self,
        rendered: Rendered,
        stored: Mapping[str, Any],
        prompt: Prompt,
        sampling: Sampling,
        max_tokens: int,
        name: str,
    ) -> Completion:
        """The whole of a sample that was cut off: its prompt and its own tokens are the new prompt.

        stored: text, reasoning and token_ids of the cut-off part. max_tokens: limit of the whole.
        """
        asked, done = await self.tokenize(rendered, prompt, name), list(stored["token_ids"])
        told = seen = await self._detokenize(done, name)
        for back in range(1, min(LONGEST_CHARACTER, len(done))):
            if told.endswith(HALF):  # a token that has a half in it is held back whole
                told = await self._detokenize(done[:-back], name)
        finish_reason = "length"

        async def more(limit: int, stops: Prompt) -> str:
            nonlocal finish_reason
            body = self._body(stops, sampling, limit, f"{name}-{len(done)}")
            reply = await self._post("/completions", body | {"prompt": asked + done}, name, _completion)
            if reply["token_ids"] is None:
                raise NotServed(f"{self.server.url} gives no token ids.")
            done.extend(reply["token_ids"].tolist())
            finish_reason = reply["finish_reason"]
            return reply["text"]

        # A prompt that ends within a character is decoded wrongly by vLLM: the answer begins with the prompt, and stop
        # strings are found in it. So such a character is finished first, token by token.
        while seen.endswith(HALF) and finish_reason == "length" and len(done) < max_tokens:
            await more(1, prompt.merged({"stop": None}))
            seen = await self._detokenize(done, name) if finish_reason == "length" else seen
        added = seen.rstrip(HALF)[len(told.rstrip(HALF)) :]
        if finish_reason == "length" and len(done) < max_tokens:
            added += await more(max_tokens - len(done), prompt)
        text, reasoning = stored["text"] + added, stored["reasoning"]
        if reasoning is not None and not stored["text"]:
            # The server had parsed the thinking off; it was still going on.
            thought, closed, answer = added.partition("</think>")
            reasoning, text = reasoning + thought, answer if closed else ""
        for stop in prompt.stop:
            # A stop string that began in the stored part is not seen by the server.
            if stop in text:
                text, finish_reason = text.split(stop)[0], "stop"
        return Completion(
            text=text,
            reasoning=reasoning,
            token_ids=np.array(done, np.int32),
            tokens=len(done),
            prompt_tokens=len(asked),
            finish_reason=finish_reason,
        )

    async def tokenize(self, rendered: Rendered, prompt: Prompt, name: str) -> list[int]:
        """The token ids of a prompt, as the server sees it. NotServed where the server does not tell."""
        question = {"prompt": rendered} if isinstance(rendered, str) else _turns(rendered, prompt)
        return await self._post("/tokenize", question | {"model": self.server.name}, name, _tokens)

    async def _detokenize(self, tokens: list[int], name: str) -> str:
        return await self._post("/detokenize", {"model": self.server.name, "tokens": tokens}, name, _text)

    def _body(self, prompt: Prompt, sampling: Sampling, max_tokens: int, name: str) -> dict[str, Any]:
        body = sampling.model_dump() | {
            "model": self.server.name,
            "n": 1,
            "max_tokens": max_tokens,
            "stop": list(prompt.stop),
            "stream": False,
            "return_token_ids": True,
        }
        if not self.server.started_here:
            # A server that was restarted with its default seed would repeat the samples of its first life for the same
            # requests in the same order; the servers started here get a random seed instead, which costs them nothing.
            body["seed"] = zlib.crc32(name.encode()) >> 1
        return body

    async def _post(self, path: str, body: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> T:
        """What `read` makes of the server's reply, tried again as long as there is hope."""
        # What is no part of OpenAI's interface lies beside /v1.
        url = (self.server.url.removesuffix("/v1") if path in ("/tokenize", "/detokenize") else self.server.url) + path
        failures, wait = 0, FIRST_WAIT
        while True:
            try:
                answer = read(await self._try(url, body, name))
                self._away_since = None
                return answer
            except _Failed as failure:
                self._away_since = None
                failures += 1
                if failures == TRIES:
                    raise Refused(f"failed {TRIES} times, last with {failure}", failed=True) from failure
            except _Away as failure:
                now = time.monotonic()
                self._away_since = self._away_since or now
                if now - self._away_since > self.patience:
                    raise SamplingError(
                        f"{url} has not answered for {now - self._away_since:.0f} s (last: {failure}). "
                        "What was drawn is kept; start the server again and rerun to go on."
                    ) from failure
            self.server.ensure_alive()
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))
            wait = min(wait * 2, LONGEST_WAIT)

    async def _try(self, url: str, body: Mapping[str, Any], name: str) -> Any:
        """The JSON of one reply."""
        try:
            async with self._http.post(url, json=body, headers={"X-Request-Id": name}) as response:
                status, content = response.status, await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _Away(str(error)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _Failed(f"{type(error).__name__} {error}".strip()) from error
        if status == 200:
            try:
                return json.loads(content)
            except (ValueError, RecursionError) as error:
                raise _Failed(f"a reply that is no JSON: {_start(content)}") from error
        said = f"{status}: {_start(content)}"
        if status in (404, 405, 501):
            raise NotServed(f"{url} answers {said}. Check the model's `url` and `model`.")
        if status in (401, 403):
            raise SamplingError(f"{url} refuses the key with {said}. Check the model's `api_key_env`.")
        if status in AWAY:
            raise _Away(said)
        if status >= 500:
            raise _Failed(said)
        self._away_since = None
        raise Refused(said)


def _turns(rendered: list[Message], prompt: Prompt) -> dict[str, Any]:
    return {
        "messages": rendered,
        "add_generation_prompt": True,
        "chat_template_kwargs": prompt.chat_template_kwargs,
    }


def _tokens(reply: Any) -> list[int]:
    try:
        return list(reply["tokens"])
    except (LookupError, TypeError) as error:
        raise _Failed(f"a reply without tokens: {str(reply)[:300]}") from error


def _text(reply: Any) -> str:
    try:
        return str(reply["prompt"])
    except (LookupError, TypeError) as error:
        raise _Failed(f"a reply without text: {str(reply)[:300]}") from error


def _completion(reply: Any) -> Completion:
    try:
        choice, usage = reply["choices"][0], reply.get("usage") or {}
        message = choice.get("message")
        text = choice["text"] if message is None else message.get("content")
        reasoning = None if message is None else message.get("reasoning") or message.get("reasoning_content")
        token_ids = None if choice.get("token_ids") is None else _ids(choice["token_ids"])
        return Completion(
            text=_clean(text or ""),
            reasoning=None if reasoning is None else _clean(reasoning),
            token_ids=token_ids,
            tokens=_count(usage["completion_tokens"]) if token_ids is None else len(token_ids),
            prompt_tokens=None if usage.get("prompt_tokens") is None else _count(usage["prompt_tokens"]),
            finish_reason=ENDED[choice["finish_reason"]],
        )
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise _Failed(f"a reply that holds no whole sample: {str(reply)[:300]}") from error


def _count(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError(f"{value!r} is no number of tokens")
    return value


def _ids(value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(token, int) for token in value):
        raise ValueError("token_ids is no list of numbers")
    return np.array(value, np.int32)


def _clean(text: str) -> str:
    # A lone surrogate cannot be stored as UTF-8, and means nothing.
    return text.encode("utf-8", "replace").decode()


def _start(content: bytes) -> str:
    return content[:500].decode("utf-8", "replace")
