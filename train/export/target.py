"""What a trainer takes: which kinds of set, rows in which form, what starts it. A trainer is one file with a `Target`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from curation.prompt import Message
from train.export.rows import Context, LeftOut, Row
from train.export.settings import Settings

PARQUET, JSONL = "parquet", "jsonl"
TEMPLATE = "chat_template.jinja"
RAW_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
"""The chat template that shows a text as it is: for base models, in trainers that always use one."""


class Place(NamedTuple):
    """Where a row stands."""

    split: str
    row: int


@dataclass(frozen=True)
class Launched:
    """What a launch command is written of."""

    about: str
    """What is trained on what, in a line."""
    settings: Settings
    context: Context
    rows: Mapping[str, int]
    """Exported rows by split."""
    longest: int
    """Bytes of the longest prompt."""
    model: str | None
    """Folder or Hub name of the model that the set is for."""
    template: bool
    """Whether a chat template lies beside the script."""
    ordered: bool
    """Whether the order of rows means something: a curriculum."""

    @property
    def tests(self) -> bool:
        return self.rows.get("test", 0) > 0

    @property
    def prompt_room(self) -> int:
        """Tokens for prompts: half the bytes of the longest, as a power of two; most texts have a token in three or four."""
        return max(512, 1 << (self.longest // 2).bit_length())


class Form(NamedTuple):
    """One kind of set in a trainer's form."""

    row: Callable[[Row, Context, Place], Row | LeftOut]
    schema: Callable[[pa.Schema, Context], pa.Schema] | None = None
    """Of a Parquet file, from the columns of the set; None for JSON Lines."""
    launch: Callable[[Launched], str] | None = None
    reward: str | None = None
    """The file of files/ that grades for it."""
    notes: Callable[[Launched], list[str]] = lambda launched: []
    """What its user has to know, as sentences."""


@dataclass(frozen=True)
class Target:
    """A trainer."""

    name: str
    version: str
    """What the export was written for."""
    form: Mapping[str, Form]
    """By kind of set."""
    takes_not: Mapping[str, str] = field(default_factory=dict)
    """Why it takes no set of a kind."""
    any_frame: bool = False
    """Whether one set may hold prompts of several styles."""
    template: bool = True
    """Whether prompts in raw style need RAW_TEMPLATE."""
    bare: bool = True
    """Whether prompts in raw style are tokens as they stand: nothing is put in front of them."""

    @property
    def suffix(self) -> str:
        return JSONL if next(iter(self.form.values())).schema is None else PARQUET


NO_FRONT = (
    "Prompts are raw, and the model's tokenizer is not at hand to see what it puts in front of them (Llama's does, Qwen's does "
    "not). Export where MODEL is a folder, or see to it that prompts begin with it."
)
"""The note of a set in raw style whose front is not known."""


def as_messages(shown: str | list[Message]) -> list[Message]:
    """A prompt as messages: a text is one user's message, which RAW_TEMPLATE shows as it is."""
    return [{"role": "user", "content": shown}] if isinstance(shown, str) else shown
