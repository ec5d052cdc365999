"""Every row of a set as tokens of the model that is trained: how long the rows are, and which of them come back as others.

A published row is taken apart and written again in the trainee's form (distill/rendering.py), which finds what its template
loses, an end of turn that is not trained, and a beginning that no prompt leads to. Rows are read in batches; no set is held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from curation.progress import Step
from distill.example import Example, Message
from distill.inspect.rendered import rendered
from distill.rendering import BATCH, Rendered, Renderer
from distill.staging import Faults, length_bucket

PAIR = ("chosen", "rejected")
UNREAD = {"messages"}
"""What a set has twice."""
OTHER_FORM = "it is written for a model that holds its thinking in another place of its messages"


@dataclass
class Lengths:
    """What was found of a split, in tokens of whole rows; of pairs both answers count, each with the prompt."""

    rows: int = 0
    tokens: int = 0
    trained: int = 0
    longest: int = 0
    """Of one sequence: of a pair the longer answer with the prompt."""
    cut: int = 0
    """Rows longer than the trainer takes."""
    untrained: int = 0
    """Rows of which it takes no token of an answer."""
    recounted: int = 0
    """Rows that have other lengths than the set says: it was counted with another tokenizer or template."""
    thinking: int = 0
    """Rows that train thinking."""
    buckets: Counter[int] = field(default_factory=Counter)
    """Rows by the power of two that holds their longest sequence."""
    faults: Faults = field(default_factory=Faults)
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Rows spread over the split, as `distill.inspect.rendered.show` takes them."""


def columns_of(files: Sequence[str]) -> list[str]:
    """The columns of a set's shards."""
    return list(pq.read_schema(files[0]).names)


def rows_of(files: Sequence[str]) -> int:
    """Rows in all shards."""
    return sum(pq.read_metadata(file).num_rows for file in files)


def lengths(
    files: Sequence[str], split: str, renderer: Renderer, max_length: int, samples: int, step: Step | None = None
) -> Lengths:
    """Reads the shards of one split. max_length: tokens that the trainer takes of a row. samples: rows to show."""
    found = Lengths()
    total = rows_of(files)
    places = {number * total // samples for number in range(samples)}
    for batch in _batches(files):
        sides = PAIR if PAIR[0] in batch[0] else ("completion",)
        written = [_written(batch, side, renderer) for side in sides]
        for row, answers in zip(batch, zip(*written, strict=True), strict=True):
            fault = next((fault for _, _, fault in answers if fault), None)
            if found.rows in places and fault is None:
                found.samples.append({**row, "split": split, "segments": rendered(row, renderer)})
            _add(found, row, [one for _, one, _ in answers], fault, max_length)
            found.thinking += any(example.thinking for example, _, _ in answers)
        if step is not None:
            step.advance(len(batch))
    return found


def _batches(files: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    for path in files:
        with pq.ParquetFile(path) as file:
            wanted = [name for name in file.schema_arrow.names if name not in UNREAD]
            for number in range(file.num_row_groups):  # one by one: `iter_batches` keeps what it has read ahead
                for batch in file.read_row_group(number, columns=wanted).to_batches(max_chunksize=BATCH):
                    if batch.num_rows:
                        yield batch.to_pylist()


def _written(
    batch: Sequence[dict[str, Any]], side: str, renderer: Renderer
) -> list[tuple[Example, Rendered, str | None]]:
    """One answer of every row: as the example that it was, written again, and what is wrong with it."""
    taken = [_example(renderer, row, side) for row in batch]
    said = "" if side not in PAIR else f"{side}: "
    found = []
    for row, example, one in zip(batch, taken, renderer.render_many(taken), strict=True):
        fault = one.fault
        if fault is None and (one.prompt, one.completion) != (example.prompt, _messages(row[side])):
            fault = OTHER_FORM
        found.append((example, one, fault and said + fault))
    return found


def _example(renderer: Renderer, row: dict[str, Any], side: str) -> Example:
    """A published answer as it was before it was written for a template."""
    prompt, [*_, answer] = _messages(row["prompt"]), _messages(row[side])
    if renderer.template.thinking_in == "reasoning_content":
        return Example(prompt, answer.get("reasoning_content"), answer["content"])
    return Example(prompt, *renderer.template.split(answer["content"]))


def _messages(turns: Sequence[dict[str, Any]]) -> list[Message]:
    """Messages as they are given to a template: Parquet gives every one all fields."""
    return [{key: value for key, value in turn.items() if value is not None} for turn in turns]


def _add(found: Lengths, row: dict[str, Any], written: Sequence[Rendered], fault: str | None, max_length: int) -> None:
    longest = max(one.tokens for one in written)
    found.rows += 1
    found.tokens += sum(one.tokens for one in written)
    found.trained += sum(one.trained_tokens for one in written)
    found.longest = max(found.longest, longest)
    found.cut += longest > max_length
    found.untrained += any(one.tokens - one.trained_tokens >= max_length for one in written)
    found.buckets[length_bucket(longest)] += 1
    found.faults.add(str(row["id"]), fault)
    trained = [row[f"{side}_tokens"] for side in PAIR] if len(written) > 1 else [row["trained_tokens"]]
    found.recounted += [row["tokens"], *trained] != [longest, *(one.trained_tokens for one in written)]
