"""Training's own rollouts as files that `cuvee import` reads, so that they can decide difficulty again.

    <run>/rollouts/<process>.jsonl    a line an answer, appended as they are graded; each process writes its own

A line has what the importer's layout `plain` looks for (curation/imports/sample.py): the problem's id and what was sent for it,
the answer with its tokens, how it ended, whether it was right, the settings it was drawn with, and the step whose weights
drew it, as samples of several steps are samples of several models:

    cuvee import RECIPE RUN/rollouts/*.jsonl --as trained --where 'step::int >= 400'

`begin` takes a run back to the step of the checkpoint that it goes on from, as its metrics are: the line that a kill cut off
goes, and so do the rollouts of steps that are done again. A batch is one write, so that lines are whole but for that one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curation.rollouts import Sampling

FOLDER = "rollouts"
HEAD = '{"step": '
"""How every line begins: `begin` reads no more of it."""


@dataclass(frozen=True)
class Answer:
    """One answer of a group."""

    problem_id: str
    prompt: str | Sequence[Mapping[str, str]]
    """What was sent: turns, or the text before a chat template, if any."""
    text: str
    """What follows the prompt, thinking included, without the tokens that end it."""
    token_ids: Sequence[int]
    """Its tokens with the one that ends it, and no padding."""
    ended: bool
    """False when it was cut off."""
    right: bool | None
    """None when no grader could tell."""


class RolloutLog:
    """Appends the answers of one process."""

    def __init__(self, run: Path, process: int, sampling: Sampling, max_tokens: int, engine: str) -> None:
        """sampling, max_tokens: what answers are drawn with, as the trainer has it. engine: what draws them."""
        self.file = file_of(run, process)
        self._about: dict[str, Any] = {
            "sampling": sampling.model_dump(exclude_none=True) | {"max_tokens": max_tokens},
            "engine": engine,
        }

    def append(self, step: int, answers: Sequence[Answer]) -> None:
        """Writes the answers that the weights after `step` optimizer steps gave."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = [json.dumps({"step": step} | _row(one) | self._about | {"drawn_at": now}) for one in answers]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as out:
            out.write("".join(line + "\n" for line in lines).encode())


def file_of(run: Path, process: int) -> Path:
    """Where a process writes."""
    return run / FOLDER / f"{process}.jsonl"


def begin(run: Path, done: int) -> None:
    """Takes all files of a run back to those rollouts that led to the weights after `done` steps."""
    for file in sorted((run / FOLDER).glob("*.jsonl")):
        kept = 0
        with file.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n") or _step(line) >= done:
                    break
                kept += len(line)
        os.truncate(file, kept)


def _row(one: Answer) -> dict[str, Any]:
    return {
        "problem_id": one.problem_id,
        "prompt": one.prompt,
        "completion": one.text,
        "token_ids": [*one.token_ids],
        "tokens": len(one.token_ids),
        "finish_reason": "stop" if one.ended else "length",
        "score": one.right,
    }


def _step(line: bytes) -> int:
    return int(line[len(HEAD) : line.index(b",")])
