"""Rows of answers and completions in a file of anybody's, as jobs for graders.

A row has an answer and a completion, or a list of completions, each graded; it may have a verifier with its arguments,
and a label (a list of them beside a list of completions). A completion is text, or chat messages whose last one of the
assistant it is. What cannot be graded is counted with its row and the reason, and the rest goes on.
"""

import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.imports.files import files_of
from curation.imports.sample import turns_of
from curation.jsonl import COMPRESSIONS
from curation.source import ROW, Source
from curation.store import filesystem
from curation.verify import JUDGE, VERIFIERS, UnknownVerifierError, decode_args, verifier
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
    "args": ("verifier_args", "args"),
    "verifier": ("verifier",),
}
"""Names under which a column is found when none is given."""
RIGHT = ("true", "1", "1.0", "correct", "right", "yes", "pass", "passed")
WRONG = ("false", "0", "0.0", "-1", "-1.0", "wrong", "incorrect", "no", "fail", "failed")


class VerifyRefused(ValueError):
    """A file cannot be graded as asked; nothing was."""


class ScoreLabel(ValueError):
    """A label is a number between right and wrong, or beyond them."""


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

    def __init__(self, path: str, verifier_name: str, given: Mapping[str, str | None], labels: bool = True) -> None:
        """Raises VerifyRefused.

        given: names of columns that need not be found: answer, completion, label, args. labels: whether one is looked for.
        """
        if verifier_name == JUDGE:
            raise VerifyRefused(
                "--verifier: a judge is a model; name it with --judge MODEL. It grades beside a verifier, one of "
                + ", ".join(VERIFIERS)
            )
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
        needed = verifier(verifier_name).NEEDS_ANSWER
        self.columns = columns(self.schema.names, given, needs_answer=needed, labels=labels)
        self.kinds = kinds_of(self.file.path) if self.file.kind == "jsonl" else {}
        """Of a JSON Lines file, whose columns come as text."""
        self._look(first[0])
        self.scored = ""
        """Why no agreement can be told: a label that is a score, where the first rows had none."""

    def _look(self, first: pa.Table) -> None:
        """Sees in the first rows how completions are held. Raises VerifyRefused for labels that are scores."""
        name, label = self.columns.completion, self.columns.label
        kind = first.schema.field(name).type
        values = [value for value in first[name].to_pylist() if value is not None]
        listed = [isinstance(_listed(value), list) and _readable(value) for value in values]
        self.reads = (
            not pa.types.is_string(kind) or "list" in self.kinds.get(name, ()) or (bool(values) and all(listed))
        )
        """Whether text that is a JSON list is read as one: where all is, or where a JSON Lines file has lists."""
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            self.lists = not pa.types.is_struct(kind.value_type)
        else:
            found = [_completions(value) for value, good in zip(values, listed, strict=True) if good and self.reads]
            self.lists = any(isinstance(one, list) and one for one in found) or (bool(found) and not any(found))
        for value in [] if label is None else first[label].to_pylist():
            several = _listed(value)
            for one in several if isinstance(several, list) else [several]:
                try:
                    right(one)
                except ScoreLabel:
                    raise VerifyRefused(
                        f"--label: column {label!r} holds scores, such as {_excerpt(one)}, and which of them are right is "
                        "not known. Name a column of true and false (or 1 and 0) with --label, or grade without labels: "
                        "--no-label"
                    ) from None
                except ValueError:
                    pass  # told with its row

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
        said = {what: row[name] for what, name in self.columns.used.items()} | {ROW: row[ROW]}
        try:
            completions = _completions(said["completion"]) if self.reads else said["completion"]
        except ValueError as error:
            return [Item(None, None, str(error))]
        label = said.get("label")
        if not isinstance(completions, list):
            return [self._item(said, completions, label)]
        if not self.lists:
            return [Item(None, None, "a list of completions, where the first rows hold one each")]
        labels = [None] * len(completions) if label is None else _listed(label)
        if not isinstance(labels, list) or len(labels) != len(completions):
            return [
                Item(
                    None,
                    None,
                    f"the labels of {len(completions)} completions have to be a list of as many, or be left out "
                    f"(--no-label): {_excerpt(labels)}",
                )
            ]
        return [self._item(said, one, label) for one, label in zip(completions, labels, strict=True)]

    def _item(self, said: Mapping[str, Any], completion: Any, label: Any) -> Item:
        try:
            if completion is None:
                raise ValueError("the completion is null")
            if not isinstance(completion, str):
                raise ValueError(f"the completion is no text: {_excerpt(completion)}")
            if said.get("verifier") == JUDGE:
                raise ValueError("a model judges this row (verifier: judge), and no rule does")
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
            if isinstance(error, ScoreLabel):
                self.scored = self.scored or f"the label of row {said[ROW]:,} is a score: {_excerpt(label)}"
            return Item(job, None, str(error))


def columns(
    names: Sequence[str], given: Mapping[str, str | None], needs_answer: bool = True, labels: bool = True
) -> Columns:
    """Which column is what. Raises VerifyRefused when that cannot be told.

    needs_answer: of the verifier of rows that name none. labels: whether a column of them is looked for.
    """
    there = ", ".join(names)
    found: dict[str, str] = {}
    for what, name in given.items():
        if name is not None:
            if name not in names:
                raise VerifyRefused(f"--{what}: there is no column {name!r}; there are {there}")
            found[what] = name
    needs_answer = needs_answer and "verifier" not in [name.lower() for name in names]
    # An answer that is not needed does not take the column of the completions.
    first = USUAL if needs_answer else {"completion": USUAL["completion"], **USUAL}
    for what, usual in first.items():
        if what in found or (what == "label" and not labels):
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
    if isinstance(label, float) and math.isnan(label):
        return None
    text = str(label).strip().lower()
    if text in RIGHT or text in WRONG:
        return text in RIGHT
    try:
        kind: type[ValueError] = ScoreLabel if math.isfinite(float(text)) else ValueError
    except ValueError:
        kind = ValueError
    raise kind(f"the label is neither right ({', '.join(RIGHT)}) nor wrong ({', '.join(WRONG)}): {_excerpt(label)}")


def _answer(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    raise ValueError(f"the answer is no text: {_excerpt(value)}")


def kinds_of(path: str) -> dict[str, set[str]]:
    """What the columns of a JSON Lines file hold: bool, int, long (past 2^53), float, text, list, dict, by name."""
    kinds: dict[str, set[str]] = defaultdict(set)
    fs, inside = filesystem(path)
    packed = COMPRESSIONS.get(inside.rsplit(".", 1)[-1])
    with fs.open(inside, "rb") as raw, pa.input_stream(raw, compression=packed) as stream:
        for line in io.BufferedReader(stream):
            try:
                found = json.loads(line.decode("utf-8-sig"), parse_int=_int)
            except (ValueError, RecursionError):
                continue  # a row that is counted as unreadable
            for name, value in found.items() if isinstance(found, dict) else ():
                if value is not None:
                    kinds[name].add(_kind(value))
    return kinds


def _int(digits: str) -> int | str:
    """An integer that Arrow holds; another one stays text."""
    return found if len(digits) <= 20 and -(2**63) <= (found := int(digits)) < 2**63 else digits


def _kind(value: Any) -> str:
    if isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)):
        return "text"
    return "long" if isinstance(value, int) and abs(value) > 2**53 else type(value).__name__


def _completions(value: Any) -> Any:
    """A completion, or a list of them, out of a cell. Raises ValueError when it is neither."""
    found = _listed(value)
    if not isinstance(found, list) or (found and turns_of(found)):
        return _completion(found)
    return [_completion(one) for one in found]


def _completion(value: Any) -> str | None:
    """Text as it is; of chat messages, what the assistant said last. Raises ValueError for anything else."""
    if value is None or isinstance(value, str):
        return value
    if not (turns := turns_of(value)):
        raise ValueError(f"the completion is neither text, a list of texts nor chat messages: {_excerpt(value)}")
    said = [turn["content"] for turn in turns if turn["role"] == "assistant"]
    if not said:
        raise ValueError("the completion holds no message of the assistant")
    return str(said[-1])


def _readable(value: Any) -> bool:
    try:
        _completions(value)
    except ValueError:
        return False
    return True


def _listed(value: Any) -> Any:
    """A list as it is, or from its JSON text; anything else as it is."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
