"""Completions in files that other tools write: which columns hold what, told by their names.

    verl      rollout_data_dir: JSON Lines with input, output, gts, score, step
    trl       GRPOTrainer(log_completions=True): Parquet with step, prompt, completion, advantage, a column a reward
    open-r1   problem, generations, finish_reasons, correctness_math_verify: lists of equal length
    vllm      `vllm run-batch`: custom_id, response.body.choices; RequestOutput: prompt, outputs[text, token_ids, ...]
    plain     prompt | problem | question, completion | response | output | generation | text; or messages
    openthoughts, s1, s1-deepseek, s1-gemini, limo: published sets of traces (published.py)

A row comes to one row for each completion in it, under the names that sample.py looks at.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from curation.imports import published
from curation.imports.sample import (
    BESIDE,
    COLUMNS,
    Asked,
    Bad,
    Kind,
    Row,
    as_list,
    as_object,
    asked,
    column,
    named,
    parsed,
    settings_of,
    turns_of,
)


@dataclass(frozen=True)
class Layout:
    """How rows of one form are taken apart."""

    kind: Kind
    spread: Callable[[Row], Iterator[Row | Bad]]
    """The rows of one completion each, under the names of COLUMNS."""


# ---- the layouts


def _verl(row: Row) -> Iterator[Row | Bad]:
    yield row | {"prompt": row.get("input"), "completion": row.get("output")}


def _trl(row: Row) -> Iterator[Row | Bad]:
    known = {"step", "prompt", "completion", "advantage", *(name for names in COLUMNS.values() for name in names)}
    rewards = [name for name in row if name not in known and "reward" in name]
    right = [name for name in rewards if "accura" in name or "correct" in name] or rewards
    yield row | ({"score": row[right[0]]} if len(right) == 1 and "score" not in row else {})


def _open_r1(row: Row) -> Iterator[Row | Bad]:
    right = row.get("correctness_math_verify") or row.get("correctness_llama")
    generations = as_list("generations", row.get("generations"))
    complete = parsed(row.get("is_reasoning_complete"))
    flags = complete if isinstance(complete, list) and len(complete) == len(generations) else [None] * len(generations)
    found = _many(row | {"prompt": None, "completion": generations, "score": right})
    if not generations:
        yield from found
        return
    for one, flag in zip(found, flags, strict=True):
        yield one if isinstance(one, Bad) else published.with_thinking(one, one["completion"], flag)


def _vllm(row: Row) -> Iterator[Row | Bad]:
    if "outputs" in row:
        outputs = as_list("outputs", row["outputs"])
        rest = {name: value for name, value in row.items() if name != "outputs"}
        if (ids := rest.get("prompt_token_ids")) is not None:
            rest["prompt_tokens"] = len(as_list("prompt_token_ids", ids))
        for output in outputs:
            yield rest | output if isinstance(output, dict) else Bad("outputs holds what is no object")
        return
    response = as_object("response", row.get("response"))
    body = as_object("response.body", response.get("body"))
    if not body.get("choices"):
        why = row.get("error") or body.get("error") or f"status {response.get('status_code')}"
        yield Bad(f"the request failed: {why}")
        return
    usage = as_object("usage", body.get("usage"))
    for choice in as_list("choices", body["choices"]):
        if not isinstance(choice, dict):
            yield Bad("choices holds what is no object")
            continue
        message = as_object("message", choice.get("message")) or {"content": choice.get("text")}
        reasoning = message.get("reasoning") or message.get("reasoning_content")
        content = message.get("content")
        found = {
            "problem_id": row.get("problem_id") or row.get("custom_id"),
            "completion": "" if content is None and reasoning is not None else content,
            "reasoning": reasoning,
            "token_ids": choice.get("token_ids"),
            "tokens": usage.get("completion_tokens") if len(body["choices"]) == 1 else None,
            "prompt_tokens": usage.get("prompt_tokens"),
            "finish_reason": choice.get("finish_reason"),
            "drawn_at": body.get("created"),
            "model": body.get("model"),
        }
        yield {name: value for name, value in row.items() if name not in ("response", "error")} | found


def _plain(row: Row) -> Iterator[Row | Bad]:
    if named(row, "completion") is None and (talk := row.get("messages", row.get("conversations"))) is not None:
        turns = turns_of(talk)
        if turns is None or not turns or turns[-1]["role"] != "assistant":
            yield Bad("messages do not end with the assistant's turn")
            return
        system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
        yield row | {"prompt": system + turns[:-1], "completion": turns[-1:]}
        return
    yield from _many(row)


def _many(row: Row) -> Iterator[Row | Bad]:
    """A row whose completion is a list, as rows of one each; the lists beside it are taken apart alike.

    In JSON Lines, where a list is text, the column has to be called in the plural: a completion may be a list itself.
    """
    name = column(row, "completion")
    value = None if name is None else row[name]
    several = value if isinstance(value, list) else None
    if isinstance(value, str) and name is not None and name.endswith("s"):
        several = _texts(value)
    if several is None or (several and turns_of(several) is not None):
        yield row
        return
    if not several:
        yield Bad("no completion")
    lists = {name for field in BESIDE for name in COLUMNS[field]}
    rest = {name: value for name, value in row.items() if name not in lists}
    for number, text in enumerate(several):
        try:
            found = rest | {"completion": text}
            for field in BESIDE[1:]:
                if (value := named(row, field)) is not None:
                    found[field] = _beside(field, value, number, len(several))
            yield found
        except Bad as bad:
            yield bad


def _texts(value: str) -> list[str] | None:
    """The texts in JSON text that is a list of texts (or of none), else None."""
    if not value.startswith("["):
        return None
    found = parsed(value)
    return found if isinstance(found, list) and all(isinstance(text, str | None) for text in found) else None


def _beside(field: str, value: Any, number: int, count: int) -> Any:
    listed = parsed(value)
    if not isinstance(listed, list):
        return listed
    if len(listed) != count:
        raise Bad(f"{field} has another length than the completions: {len(listed)} and {count}")
    return listed[number]


LAYOUTS: dict[str, Layout] = {
    "verl": Layout("decoded", _verl),
    "trl": Layout("sent", _trl),
    "open-r1": Layout("problem", _open_r1),
    "vllm": Layout("sent", _vllm),
    "openthoughts": Layout("problem", published.openthoughts),
    "s1": Layout("problem", published.s1),
    "s1-deepseek": Layout("problem", published.s1_deepseek),
    "s1-gemini": Layout("problem", published.s1_gemini),
    "limo": Layout("problem", published.limo),
    "plain": Layout("either", _plain),
}


PUBLISHED = {
    "s1": {"question", "thinking_trajectories", "attempt"},
    "s1-deepseek": {"question", "deepseek_thinking_trajectory", "deepseek_attempt"},
    "s1-gemini": {"question", "gemini_thinking_trajectory", "gemini_attempt"},
    "openthoughts": {"problem", "deepseek_reasoning", "deepseek_solution"},
}
"""Columns by which a published set is known."""


def recognised(names: Sequence[str], first: Row) -> str | None:
    """The layout of a file with these columns and this first row; None when it is none of them."""
    have = set(names)
    if {"input", "output", "score"} <= have and have & {"gts", "step"}:
        return "verl"
    if {"prompt", "completion", "advantage"} <= have:
        return "trl"
    if {"problem", "generations"} <= have:
        return "open-r1"
    if {"custom_id", "response"} <= have or is_requests(names):
        return "vllm"
    if "outputs" in have:
        outputs = first.get("outputs")
        if isinstance(outputs, str) and outputs.startswith("[{"):
            return "vllm"
        if isinstance(outputs, list) and outputs and isinstance(outputs[0], dict):
            return "vllm"
    if (name := _published(have)) is not None:
        return name
    asked, said = have & {"problem_id", *COLUMNS["prompt"]}, have & set(COLUMNS["completion"])
    if "conversations" in have and not said:
        return "openthoughts"
    return "plain" if (asked and said) or have & {"messages", "conversations"} else None


def _published(have: set[str]) -> str | None:
    for name, columns in PUBLISHED.items():
        if columns <= have:
            return name
    # Sets of problems have these columns too, and solutions that people wrote: only where there are no others.
    return "limo" if have - {*COLUMNS} == {"question", "solution", "answer"} else None


def is_requests(names: Sequence[str]) -> bool:
    """Whether a file with these columns holds the requests that `vllm run-batch` was given."""
    return {"custom_id", "body"} <= set(names) and "response" not in names


def request(row: Row) -> tuple[str, Asked | None, dict[str, float]]:
    """custom_id, what was asked, and the settings named, of a request to `vllm run-batch`."""
    body = as_object("body", row.get("body"))
    return str(row.get("custom_id")), asked(body.get("messages") or body.get("prompt"), "sent"), settings_of(row)
