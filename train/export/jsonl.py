"""JSON Lines, for whatever reads them: rows whole, as published, and of an RL set how its problems are asked."""

from __future__ import annotations

from typing import Any

from train.export.rows import Context, LeftOut, Row
from train.export.target import Form, Place, Target


def _row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    return {**row, "dataset": context.dataset}


def _rl_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    prompt = context.asked.of(row["source"])
    asked: dict[str, Any] = {"asked": context.asked.render(row), "stop": [*prompt.stop]}
    if prompt.style == "chat":
        asked |= {"prefill": prompt.prefill, "chat_template_kwargs": prompt.chat_template_kwargs}
    return {**row, **asked, "dataset": context.dataset}


TARGET = Target(
    "jsonl",
    "no trainer in particular",
    {"rl": Form(_rl_row), **dict.fromkeys(("sft", "fusion", "preference", "process"), Form(_row))},
    any_frame=True,
    template=False,
    bare=False,
)
