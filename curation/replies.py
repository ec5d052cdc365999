"""What a server answers, and what that means: a sample, a refusal, a failure, or that it is away.

    Refused        of one request: the server says no (400: too long a prompt), or fails at it again and again
    SamplingError  of the run: no server can be reached, or one wants another key or model name

Below these two, which callers see, are three that the client deals with: Failed, Away and AskedToWait.
"""

import email.utils
import json
import re
from array import array
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

AWAY = (408, 425, 502, 503, 504)
"""Answers that speak of the server, or of what stands before it, and not of the request: starting, gone."""
ENDED = {"stop": "stop", "tool_calls": "stop", "length": "length"}
"""What a finish reason means. Any other (`abort` of a server that is being stopped) is that of no whole sample."""
LONGEST_REST = 3600.0
"""Seconds after which a server that asked for more is asked again."""
BEARER = re.compile(r"(bearer\s+)[^\s\"',;]+", re.IGNORECASE)


class SamplingError(RuntimeError):
    """Sampling had to stop; what was drawn is in the store, and the next run goes on from there."""


class Refused(ValueError):
    """This request will not be answered; others may."""

    def __init__(self, message: str, failed: bool = False) -> None:
        super().__init__(message)
        self.failed = failed
        """Whether the server failed at it, rather than said no."""


class NotServed(SamplingError):
    """The server has no such address, or does not give what is needed."""


class Failed(Exception):
    """The server failed at a request."""

    def __init__(self, message: str, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut
        """Whether the connection broke: the server may have died of it."""


class Away(Exception):
    """The server cannot be reached."""


class AskedToWait(Exception):
    """The server has too much to do. `seconds`: how long it wants to be left alone; None where it does not say."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


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
    budget_hit: bool | None
    """Whether the thinking was ended at its budget; None without one."""
    engine: str | None
    engine_version: str | None
    dtype: str | None
    """Of the server that answered."""


def json_of(status: int, headers: Mapping[str, str], content: bytes, url: str, key: str | None) -> Any:
    """The JSON of a reply; whatever else it is, is raised."""
    if status == 200:
        try:
            return json.loads(content.decode())
        except UnicodeDecodeError as error:
            raise Failed(f"a reply that is no UTF-8 ({error.reason} at byte {error.start})") from error
        except (ValueError, RecursionError) as error:
            raise Failed(f"a reply that is no JSON: {quoted(content, key)}") from error
    said = f"{status}: {quoted(content, key)}"
    if status in (404, 405, 501):
        raise NotServed(f"{url} answers {said}. Check the model's `url` and `model`.")
    if status in (401, 403):
        raise SamplingError(f"{url} refuses the key with {said}. Check the model's `api_key_env`.")
    if status == 429 and b"insufficient_quota" in content:
        raise SamplingError(f"{url} has no quota left for this key (insufficient_quota); it answers {said}")
    if status == 429 or (status == 503 and "Retry-After" in headers):
        raise AskedToWait(said, retry_after(headers))
    if status in AWAY:
        raise Away(said)
    if status >= 500:
        raise Failed(said)
    raise Refused(said)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, given as such or as a date; None when it says nothing that can be used.

    A date is compared with the server's own, never with this machine's clock: clocks disagree, and jump.
    """
    said = headers.get("Retry-After", "").strip()
    try:
        seconds = float(said)
    except ValueError:
        until, there = _moment(said), _moment(headers.get("Date", ""))
        if until is None or there is None:
            return None
        seconds = max(0.0, until - there)
    return min(seconds, LONGEST_REST) if seconds >= 0 else None  # also of NaN


def _moment(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def completion(reply: Any, engine: Mapping[str, str | None]) -> Completion:
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
            budget_hit=None,
            engine=engine.get("engine"),
            engine_version=engine.get("version"),
            dtype=engine.get("dtype"),
        )
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise Failed(f"a reply that holds no whole sample: {reply}") from error


def tokens(reply: Any, _: Mapping[str, str | None]) -> list[int]:
    try:
        return [int(token) for token in _ids(reply["tokens"])]
    except (LookupError, TypeError, ValueError) as error:
        raise Failed(f"a reply without tokens: {reply}") from error


def text(reply: Any, _: Mapping[str, str | None]) -> str:
    try:
        return str(reply["prompt"])
    except (LookupError, TypeError) as error:
        raise Failed(f"a reply without text: {reply}") from error


def _count(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError(f"{value!r} is no number of tokens")
    return value


def _ids(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("token_ids is no list of numbers")
    return np.frombuffer(array("i", value), np.int32)  # which takes whole numbers of 32 bits, and nothing else


def _clean(text: str) -> str:
    # A lone surrogate cannot be stored as UTF-8, and means nothing.
    return text.encode("utf-8", "replace").decode()


def quoted(said: bytes | str, key: str | None) -> str:
    """The beginning of what a server said, for an error. A server may echo what it was sent: the key is left out."""
    whole = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    if key:
        for form in (key, json.dumps(key)[1:-1], repr(key)[1:-1]):  # as it is, and as it may be escaped
            whole = whole.replace(form, "(key)")
    return BEARER.sub(r"\1(not shown)", whole)[:500]
