"""Rows of answers and completions in a file of anybody's, as jobs for graders.

A row has an answer and a completion, or a list of completions, each graded; it may have a verifier with its arguments,
and a label (a list of them beside a list of completions). What cannot be graded is counted with its row and the reason,
and the rest goes on.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.imports.files import files_of
from curation.source import ROW, Source
from curation.sql import short
from curation.store import filesystem
from curation.verify import VERIFIERS, UnknownVerifierError, decode_args, verifier
from curation.verify.pool import Job

BATCH_ROWS = 512
USUAL = {
    "answer": (
        *("answer", "gold", "ground_truth", "gts", "gt", "reference", "reference_answer", "expected_answer", "target"),
        *("expected", "gold_answer", "solution"),
    ),
    "completion": (
        *("completion", "completions", "response", "responses", "output", "outputs", "generation", "generations"),
        *("pred", "prediction", "predictions", "model_output", "model_outputs", "generated_text", "solution"),
    ),
    "label": ("label", "labels", "correct", "is_correct", "equal", "score", "scores", "reward", "acc", "passed"),
    "args": ("verifier_args",),
    "verifier": ("verifier",),
}
"""Names under which a column is found when none is given."""
RIGHT = ("true", "1", "1.0", "correct", "right", "yes")
WRONG = ("false", "0", "0.0", "-1", "-1.0", "wrong", "incorrect", "no")


class VerifyRefused(ValueError):
    """A file cannot be graded as asked; nothing was."""


@dataclass(frozen=True)
class Columns:
    """The names of the columns; None for one that is not there."""

    completion: str
    answer: str | None = None
    label: str | None = None
    verifier: str | None = None
    args: str | None = None

    @property
    def used(self) -> dict[str, str]:
        named = {what: getattr(self, what) for what in ("answer", "completion", "label", "verifier", "args")}
        return {what: name for what, name in named.items() if name is not None}


@dataclass(frozen=True, slots=True)
class Item:
    """One completion."""

    job: Job | None
    """None when it cannot be graded."""
    label: bool | None
    """Whether it is right, as the file says; None where it does not say."""
    bad: str = ""
    """Why it cannot be graded, or why its label cannot be read."""


Row = tuple[int, list[Item]]
"""The row's number in the file, from 0, and its completions."""


class Answered:
    """The rows of one file."""

    def __init__(self, path: str, verifier_name: str, given: Mapping[str, str | None]) -> None:
        """`given`: names of columns that need not be found: answer, completion, label, args. Raises VerifyRefused."""
        if verifier_name not in VERIFIERS:
            raise UnknownVerifierError(verifier_name)
        files = files_of([path])
        if len(files) > 1:
            raise VerifyRefused(f"FILE: {path!r} names {len(files)} files; give one at a time")
        self.file, self.verifier = files[0], verifier_name
        kind = Source(parquet=[self.file.path]) if self.file.kind == "parquet" else Source(jsonl=[self.file.path])
        batches = kind.tables(BATCH_ROWS)
        if (first := next(batches, None)) is None:
            raise VerifyRefused(f"{self.file.name} holds no row")
        self._batches = chain([first], batches)
        self.schema = first[0].schema.remove(first[0].schema.get_field_index(ROW))
        if not self.schema.names:
            raise VerifyRefused(f"{self.file.name} holds no row that can be read: row 0 is {first[1][0]['reason']}")
        self.columns = columns(self.schema.names, given, needs_answer=verifier(verifier_name).NEEDS_ANSWER)
        self.lists = _holds_lists(first[0][self.columns.completion])

    @property
    def total(self) -> int | None:
        """Completions in the file, where that is known before it is read."""
        if self.file.kind != "parquet" or self.lists:
            return None
        fs, path = filesystem(self.file.path)
        with fs.open(path, "rb") as file:
            return int(pq.read_metadata(file).num_rows)

    def batches(self) -> Iterator[tuple[pa.Table, list[Row], list[Row]]]:
        """Rows as they are in the file, the same as items, and those that are not in the table as they are unreadable.

        Once only.
        """
        for table, unreadable in self._batches:
            unread = [(row["row"], [Item(None, None, str(row["reason"]))]) for row in unreadable]
            used = table.select([*self.columns.used.values(), ROW])
            rows = [(row[ROW], self._items(row)) for row in used.to_pylist()]
            yield table.drop_columns([ROW]), rows, unread

    def _items(self, row: Mapping[str, Any]) -> list[Item]:
        said = {what: row[name] for what, name in self.columns.used.items()}
        if not self.lists:
            return [self._item(said, said["completion"], said.get("label"))]
        completions, labels = _listed(said["completion"]), said.get("label")
        if not isinstance(completions, list):
            return [Item(None, None, f"the completions are no list: {_excerpt(completions)}")]
        labels = [None] * len(completions) if labels is None else _listed(labels)
        if not isinstance(labels, list) or len(labels) != len(completions):
            return [
                Item(None, None, f"a label is needed for each of {len(completions)} completions: {_excerpt(labels)}")
            ]
        return [self._item(said, one, label) for one, label in zip(completions, labels, strict=True)]

    def _item(self, said: Mapping[str, Any], completion: Any, label: Any) -> Item:
        try:
            if completion is None:
                raise ValueError("the completion is null")
            if not isinstance(completion, str):
                raise ValueError(f"the completion is no text: {_excerpt(completion)}")
            if (name := said.get("verifier") or self.verifier) not in VERIFIERS:
                raise UnknownVerifierError(str(name))
            args = said.get("args")
            args = args if args is None or isinstance(args, str) else json.dumps(args)
            decode_args(args)
            job = Job(str(name), _answer(said.get("answer")), completion, args)
        except json.JSONDecodeError as error:
            return Item(None, None, f"the verifier's arguments are no JSON: {error}")
        except RecursionError:
            return Item(None, None, "the verifier's arguments are nested too deeply")
        except (ValueError, TypeError) as error:
            return Item(None, None, str(error))
        try:
            return Item(job, right(label))
        except ValueError as error:
            return Item(job, None, str(error))


def columns(names: Sequence[str], given: Mapping[str, str | None], needs_answer: bool = True) -> Columns:
    """Which column is what. Raises VerifyRefused when that cannot be told."""
    there = ", ".join(names)
    found: dict[str, str] = {}
    for what, name in given.items():
        if name is not None:
            if name not in names:
                raise VerifyRefused(f"--{what}: there is no column {name!r}; there are {there}")
            found[what] = name
    for what, usual in USUAL.items():
        if what in found:
            continue
        taken = [known.lower() for known in found.values()]
        likely = [name for name in names if name.lower() in usual and name.lower() not in taken]
        if len(likely) > 1:
            raise VerifyRefused(
                f"several columns could be the {what}: {', '.join(likely)}; say which with --{what} (there are {there})"
            )
        if likely:
            found[what] = likely[0]
        elif what == "completion" or (what == "answer" and needs_answer):
            raise VerifyRefused(f"no column is known to be the {what}; say which with --{what} (there are {there})")
    return Columns(**found)


def right(label: Any) -> bool | None:
    """What a label says of an answer; None when it says nothing. Raises ValueError for one that cannot be read."""
    if label is None or isinstance(label, bool):
        return label
    text = str(label).strip().lower()
    if text in RIGHT or text in WRONG:
        return text in RIGHT
    raise ValueError(
        f"the label is neither right ({', '.join(RIGHT)}) nor wrong ({', '.join(WRONG)}): {_excerpt(label)}"
    )


def _answer(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    raise ValueError(f"the answer is no text: {_excerpt(value)}")


def _holds_lists(column: pa.ChunkedArray) -> bool:
    """Whether the column has lists of completions: by its type, or where all is text, as in JSON Lines, by its values."""
    if not pa.types.is_string(column.type):
        return bool(pa.types.is_list(column.type) or pa.types.is_large_list(column.type))
    values = [_listed(value) for value in column.to_pylist() if value is not None]
    return bool(values) and all(
        isinstance(value, list) and all(one is None or isinstance(one, str) for one in value) for value in values
    )


def _listed(value: Any) -> Any:
    """A list as it is, or from its JSON text; anything else as it is."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _excerpt(value: Any) -> str:
    return short(repr(value), 80)
