"""Rows of a published set in a trainer's form, read in a stream; a row that it cannot hold is left out with the reason.

problem(row, context)    of an RL set: what the model is shown, and what its answers are graded against
dialogue(row)            of an SFT set: what comes before the trained turn, and that turn
pair(row)                of a preference set
trace(row, context)      what every exported row keeps, so that it can be found again
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curation.prompt import Message
from curation.publish import Dataset
from curation.verify import JUDGE, VERIFIERS, verifier
from curation.verify.reference import Reference
from train.export.asked import Asked, Frame

Row = dict[str, Any]
BATCH = 256
TRACED = ("id", "source", "license", "rollout", "chosen_rollout", "rejected_rollout")
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
THINKING_MESSAGE = pa.struct([*MESSAGE, ("reasoning_content", pa.string())])


class LeftOut(NamedTuple):
    """Why a row is not exported."""

    reason: str


@dataclass(frozen=True)
class Context:
    """What the rows of one set have in common."""

    dataset: str
    """name@version."""
    asked: Asked
    frame: Frame | None
    """How prompts have to be, where a trainer takes one kind; None where it takes any."""
    front: str | None
    """What a tokenizer would put in front of a raw prompt, where a trainer's does not; None when that is not known."""
    thinks_apart: bool
    """Whether messages of the set hold thinking in a field of its own."""

    @property
    def message(self) -> pa.DataType:
        return THINKING_MESSAGE if self.thinks_apart else MESSAGE


class Problem(NamedTuple):
    """A row of an RL set."""

    shown: str | list[Message]
    reference: Reference


def read(dataset: Dataset, files: list[str], columns: list[str] | None = None) -> Iterator[list[Row]]:
    """Rows of a split, in order, a few at a time."""
    for name in files:
        with dataset.store.fs.open(f"{dataset.folder}/{name}", "rb") as file, pq.ParquetFile(file) as table:
            for number in range(table.num_row_groups):  # one by one: `iter_batches` keeps what it has read ahead
                for batch in table.read_row_group(number, columns=columns).to_batches(max_chunksize=BATCH):
                    if batch.num_rows:
                        yield batch.to_pylist()


def schema(dataset: Dataset, files: list[str]) -> pa.Schema:
    """The columns of a split."""
    with dataset.store.fs.open(f"{dataset.folder}/{files[0]}", "rb") as file:
        return pq.read_schema(file)


def thinks_apart(columns: pa.Schema) -> bool:
    """Whether messages have a field for thinking."""
    for name in ("completion", "chosen"):
        if name in columns.names and pa.types.is_list(kind := columns.field(name).type):
            return bool(kind.value_type.get_field_index("reasoning_content") >= 0)
    return False


def trace(row: Mapping[str, Any], context: Context) -> Row:
    """What leads from an exported row back to where it is from."""
    return {"dataset": context.dataset} | {key: row[key] for key in TRACED if key in row}


def trace_fields(columns: pa.Schema) -> list[tuple[str, pa.DataType]]:
    """The same as columns: all text."""
    return [("dataset", pa.string()), *((name, pa.string()) for name in TRACED if name in columns.names)]


def problem(row: Mapping[str, Any], context: Context) -> Problem | LeftOut:
    """What RL needs of a row."""
    name, prompt = row["verifier"], context.asked.of(row["source"])
    if name is None:
        return LeftOut("no verifier: nothing can reward it")
    if name == JUDGE:
        return LeftOut("a model judges it (verifier: judge), and reward files hold rules only")
    if name not in VERIFIERS:
        return LeftOut(f"its verifier {name!r} is none of this version")
    if verifier(name).NEEDS_ANSWER and not (row["answer"] or "").strip():
        return LeftOut("no answer to compare with")
    if row["tools"]:
        return LeftOut("it offers tools, which need an environment that runs them")
    if context.frame is not None and (frame := Frame.of(prompt)) != context.frame:
        return LeftOut(_unlike(frame, context.frame))
    if context.frame is not None and context.frame.prefill:
        return LeftOut(
            f"its answer is begun for the model ({prompt.prefill!r}), and prompts end before the answer here"
        )
    shown = context.asked.render(row)
    if isinstance(shown, str):
        shown = (context.front or "") + shown
    return Problem(shown, Reference(name, row["answer"], row["verifier_args"], prompt.stop))


def _unlike(one: Frame, most: Frame) -> str:
    if one.style != most.style:
        return f"its prompt is {one.style}, those of most rows are {most.style}, and one training takes one of them"
    return "its prompt goes through the chat template with other arguments than those of most rows"


def dialogue(row: Mapping[str, Any]) -> tuple[list[Message], list[Message]]:
    """The turns before the trained one, and the trained one."""
    return messages(row["prompt"]), messages(row["completion"])


def pair(row: Mapping[str, Any]) -> tuple[list[Message], list[Message], list[Message]]:
    """What is asked, the chosen answer and the rejected one."""
    return messages(row["prompt"]), messages(row["chosen"]), messages(row["rejected"])


def messages(turns: list[dict[str, Any]]) -> list[Message]:
    """Messages without the fields that Parquet gives all of them."""
    return [{key: value for key, value in turn.items() if value is not None} for turn in turns]


def answered_before(prompt: list[Message]) -> bool:
    """Whether the assistant has turns that are not trained."""
    return any(turn["role"] == "assistant" for turn in prompt)
