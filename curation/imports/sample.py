"""One completion of a file, its values read: what is wrong with them is the reason why a row is not imported.

Values come as the files' readers give them: anything in Parquet, text in JSON Lines (jsonl.py). Which columns are looked
at is in COLUMNS; how a row that holds several completions is taken apart, in layouts.py.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from curation.rollouts import Sampling

Row = dict[str, Any]
Turns = list[dict[str, str]]
Kind = Literal["problem", "sent", "decoded", "either"]
"""What a prompt in a file is: the problem's text; all that the model got; the same read back from its tokens, special
ones perhaps gone; or one of these."""

SETTINGS = (*Sampling.model_fields, "max_tokens")
NESTED = ("sampling_params", "sampling", "generation_config", "body")
"""Columns whose members may name settings."""
COLUMNS: dict[str, tuple[str, ...]] = {
    "problem_id": ("problem_id",),
    "prompt": ("prompt", "problem", "question"),
    "completion": (
        *("completion", "response", "output", "generation", "text"),
        *("completions", "responses", "outputs", "generations"),
    ),
    "reasoning": ("reasoning", "reasoning_content", "thinking"),
    "token_ids": ("token_ids", "completion_ids", "completion_token_ids", "output_token_ids", "response_ids"),
    "tokens": (
        *("tokens", "completion_tokens", "output_tokens", "num_tokens"),
        *("generated_token_count", "completion_length", "response_length"),
    ),
    "prompt_tokens": ("prompt_tokens",),
    "finish_reason": ("finish_reason", "finish_reasons"),
    "score": ("score", "reward", "correctness", "correct", "is_correct", "acc", "scores", "rewards"),
    **{name: (name,) for name in Sampling.model_fields},
    "max_tokens": (
        *("max_tokens", "max_completion_tokens", "max_new_tokens"),
        *("max_completion_length", "max_response_length"),
    ),
    "engine": ("engine",),
    "engine_version": ("engine_version",),
    "dtype": ("dtype",),
    "drawn_at": ("drawn_at", "created_at", "created", "timestamp"),
    "model": ("model", "model_name", "teacher"),
    "step": ("step", "global_step"),
}
"""The columns that are looked at, by what they give; the first that is there counts."""

BESIDE = ("completion", "reasoning", "token_ids", "tokens", "finish_reason", "score")
"""What is a list where the completion is one."""

MILLISECONDS = 1e11
"""A number above it is no count of seconds: the year 5138."""

ENDS = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length"), "length"),
}


class Bad(ValueError):
    """Why something in a row is no sample: what is wrong, and after a colon what it was."""


@dataclass(frozen=True)
class Asked:
    """What the model was asked, as the file has it."""

    content: str | Turns
    kind: Kind


@dataclass(frozen=True)
class Sample:
    """One completion; None is what the file does not say."""

    problem_id: str | None
    asked: Asked | None
    text: str
    reasoning: str | None
    token_ids: list[int] | None
    tokens: int | None
    prompt_tokens: int | None
    finish_reason: str | None
    right: bool | None
    settings: dict[str, float]
    """Of SETTINGS, those that the file names."""
    engine: str | None
    engine_version: str | None
    dtype: str | None
    drawn_at: datetime | None
    model: str | None
    step: str | None


# ---- values


def sample(row: Row, kind: Kind) -> Sample:
    """The sample in a row that `spread` gave. Raises Bad."""
    problem_id = _text("problem_id", named(row, "problem_id"))
    name = column(row, "prompt")
    # A column called problem or question never holds what else was sent.
    question = asked(None if name is None else row[name], "problem" if name in ("problem", "question") else kind)
    if question is None and problem_id is None:
        raise Bad("no prompt")
    text, reasoning = _said(named(row, "completion"))
    ids = named(row, "token_ids")
    token_ids = None if ids is None else [_whole("token_ids", item) for item in as_list("token_ids", ids)]
    if token_ids is not None and None in token_ids:
        raise Bad("token_ids holds what is no number: null")
    tokens = _whole("tokens", named(row, "tokens"))
    ended = _text("finish_reason", named(row, "finish_reason"))
    if ended is not None and ended not in ENDS:
        raise Bad(f"finish_reason is neither stop nor length: {ended}")
    return Sample(
        problem_id=problem_id,
        asked=question,
        text=text,
        reasoning=_text("reasoning", named(row, "reasoning")) or reasoning,
        token_ids=None if token_ids is None else [item for item in token_ids if item is not None],
        tokens=len(token_ids) if tokens is None and token_ids is not None else tokens,
        prompt_tokens=_whole("prompt_tokens", named(row, "prompt_tokens")),
        finish_reason=None if ended is None else ENDS[ended],
        right=_right(named(row, "score")),
        settings=settings_of(row),
        engine=_text("engine", named(row, "engine")),
        engine_version=_text("engine_version", named(row, "engine_version")),
        dtype=_text("dtype", named(row, "dtype")),
        drawn_at=_time(row),
        model=_text("model", named(row, "model")),
        step=_text("step", named(row, "step")),
    )


def asked(value: Any, kind: Kind) -> Asked | None:
    """A prompt as text or turns; None when there is none. Raises Bad."""
    turns = turns_of(value)
    if turns is not None:
        return Asked(turns, "sent") if turns else None
    text = _text("prompt", value)
    return None if text is None or not text.strip() else Asked(text, kind)


def _said(value: Any) -> tuple[str, str | None]:
    """Text and thinking of a completion: a text, or the assistant's one turn."""
    if (turns := turns_of(value)) is not None:
        if [turn["role"] for turn in turns] != ["assistant"]:
            raise Bad(f"completion is not one turn of the assistant: {len(turns)} turns")
        return turns[0]["content"], _text("reasoning_content", turns[0].get("reasoning_content"))
    text = _text("completion", value)
    if text is None:
        raise Bad("no completion")
    return text, None


def column(row: Mapping[str, Any], field: str) -> str | None:
    """The column that gives a field: of those that are there the first that is not NULL."""
    return next((name for name in COLUMNS[field] if row.get(name) is not None), None)


def named(row: Mapping[str, Any], field: str) -> Any:
    name = column(row, field)
    return None if name is None else row[name]


def settings_of(row: Row) -> dict[str, float]:
    places = [row, *(as_object(name, row[name]) for name in NESTED if row.get(name) not in (None, ""))]
    found: dict[str, float] = {}
    for name in SETTINGS:
        for place in places:
            if (value := _number(name, named(place, name))) is not None:
                found.setdefault(name, canonical(name, value))
    return found


def canonical(name: str, value: float) -> float:
    """A setting as it is filed: whole numbers as such, and top_k 0, which means all in some engines, as -1."""
    if name == "top_k" and value == 0:
        return -1
    return int(value) if name in ("top_k", "max_tokens", "thinking_budget") and value == int(value) else float(value)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(name: str, value: Any) -> str | None:
    if _missing(value):
        return None
    if isinstance(value, (list, dict, bytes)):
        raise Bad(f"{name} is no text: {json.dumps(value, default=str)[:80]}")
    return str(value)


def _number(name: str, value: Any) -> float | None:
    if _missing(value):
        return None
    try:
        if isinstance(value, (bool, list, dict)) or not math.isfinite(number := float(value)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise Bad(f"{name} is no number: {str(value)[:80]}") from None
    return number


def _whole(name: str, value: Any) -> int | None:
    number = _number(name, value)
    if number is not None and (number != int(number) or not 0 <= number < 1 << 31):
        raise Bad(f"{name} is no whole number: {value}")
    return None if number is None else int(number)


def _right(value: Any) -> bool | None:
    """A score above one half, or true, is right; what is no score says nothing."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, bool):
        return value
    try:
        number = _number("score", value)
    except Bad:
        return None
    return None if number is None else number > 0.5


def _time(row: Row) -> datetime | None:
    """When it was drawn: a time, ISO text, or seconds or milliseconds since 1970. What is no time says nothing, but for
    `drawn_at` itself.
    """
    value = named(row, "drawn_at")
    if _missing(value):
        return None
    try:
        if isinstance(value, datetime):
            found = value
        elif isinstance(value, (int, float)) or str(value).replace(".", "", 1).isdigit():
            seconds = float(value)
            found = datetime.fromtimestamp(seconds / 1000 if seconds > MILLISECONDS else seconds, UTC)
        else:
            found = datetime.fromisoformat(str(value))
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        if column(row, "drawn_at") != "drawn_at":
            return None
        raise Bad(f"drawn_at is no time: {str(value)[:80]}") from None


def as_list(name: str, value: Any) -> list[Any]:
    found = parsed(value)
    if not isinstance(found, list):
        raise Bad(f"{name} is no list: {str(value)[:80]}")
    return found


def as_object(name: str, value: Any) -> dict[str, Any]:
    found = parsed(value)
    if found is not None and not isinstance(found, dict):
        raise Bad(f"{name} is no object: {str(value)[:80]}")
    return found or {}


def parsed(value: Any) -> Any:
    """A value out of JSON text, itself when it is none. Half a character, which JSON can name, becomes a question mark."""
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
        if "\\ud" in value.lower():
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
        return found
    except (ValueError, RecursionError):
        return value


def turns_of(value: Any) -> Turns | None:
    """A conversation as `{role, content}` turns, None when the value is none: text, or another list."""
    found = parsed(value) if isinstance(value, str) and value.lstrip().startswith("[{") else value
    if not isinstance(found, list) or not all(isinstance(turn, dict) for turn in found):
        return None
    turns: Turns = []
    for turn in found:
        role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        if isinstance(content, list):  # parts, as multimodal chat has them
            content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
        if not isinstance(role, str) or not isinstance(content, str):
            return None
        role = {"human": "user", "gpt": "assistant"}.get(role, role)
        thought = turn.get("reasoning_content")
        turns.append({"role": role, "content": content} | ({"reasoning_content": thought} if thought else {}))
    return turns
