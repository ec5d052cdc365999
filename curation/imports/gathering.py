"""What files hold of samples drawn elsewhere: each with its problem and the set of rollouts that it belongs to.

Samples are pooled only when model, prompt and sampling parameters are equal. What a file says of them counts, what it
does not say has to be stated, and where the two differ nothing is imported. Rows of one file may have been drawn with
several temperatures: they go to several sets.

What can be used goes to a temporary Parquet file, so that memory stays flat and a refusal, which may come with the last
row, leaves no trace in the workspace.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.imports.files import NAME, UNREADABLE, File, ImportRefused
from curation.imports.layouts import LAYOUTS, is_requests, recognised, request
from curation.imports.matching import Match, Problems
from curation.imports.sample import BESIDE, Asked, Bad, Row, Sample, sample
from curation.imports.stated import Stated
from curation.progress import Step
from curation.rollouts import ROLLOUTS, Rollouts
from curation.source import ROW
from curation.sql import short
from curation.store import Store

EXAMPLES = 3
STAGED = pa.schema(
    [("n", pa.int64()), ("file", pa.string()), ("group", pa.int32()), ("right", pa.bool_()), ("content", pa.binary(16))]
    + [(f.name, f.type) for f in ROLLOUTS if f.name != "sample_index"]
)
"""A sample to import: its number, its file, the set it belongs to, whether the file's score calls it right, a digest of
what the model said (NULL where that is too short to tell copies from draws), and its row."""
TELLING_TOKENS, TELLING_CHARACTERS = 16, 64
FULL = 0.9
"""The share of max_tokens from which on a sample can have been cut off by it. Not 1: tokens may have been recounted."""


@dataclass
class Gathered:
    """What the files hold. Every sample read is staged, unmatched or rejected."""

    path: Path
    groups: list[Rollouts] = field(default_factory=list)
    layouts: dict[str, str] = field(default_factory=dict)
    """By file."""
    rows: int = 0
    samples: int = 0
    staged: int = 0
    ambiguous: int = 0
    unmatched: int = 0
    unmatched_examples: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: dict[str, str] = field(default_factory=dict)
    assumed: dict[str, float] = field(default_factory=dict)
    """Settings that nobody named, at their defaults."""
    ended_unknown: int = 0
    """Samples of which the file says neither how they ended nor how long they are."""
    cut_short: int = 0
    """Samples that were cut off, by their file, well below their max_tokens."""
    first_cut_short: str | None = None
    prompt_unknown: int = 0
    """Samples with the id of a problem, and a prompt that is no problem's."""
    first_prompt_unknown: str | None = None
    prompt_unsaid: int = 0
    """Samples of which the file has the problem, and not what was put to the model around it."""
    steps: set[str] = field(default_factory=set)
    beside: str | None = None
    """Text that a rendered prompt has before the problem and the recipe does not name."""

    def reject(self, where: str, bad: Bad | str) -> None:
        reason = str(bad).encode("utf-8", "replace").decode()
        kind = reason.split(":", maxsplit=1)[0]
        self.samples += 1
        self.rejected[kind] += 1
        self.first_rejected.setdefault(kind, f"{where}: {short(reason, 200)}")


class Gatherer:
    """Reads files as samples of one model."""

    def __init__(
        self,
        store: Store,
        problems: Problems,
        identity: Mapping[str, Any],
        stated: Stated,
        *,
        layout: str | None = None,
        columns: Mapping[str, str] | None = None,
        where: str | None = None,
        likes: Sequence[str] = (),
    ) -> None:
        """likes: the annotators that `--like` can name, to say so."""
        self.store, self.problems, self.identity, self.stated = store, problems, identity, stated
        self.layout, self.columns, self.where, self.likes = layout, dict(columns or {}), where, likes
        self._groups: dict[str, int] = {}
        self._filed: dict[tuple[Any, ...], tuple[int, int]] = {}
        self._requests: dict[str, tuple[Asked | None, dict[str, float]]] = {}
        self._model: tuple[str, str] | None = None

    # ---- reading

    def gather(self, files: Sequence[File], folder: Path, step: Step) -> Gathered:
        """Reads the files and stages what can be used in `folder`. Raises ImportRefused, with nothing imported."""
        out = Gathered(folder / "staged.parquet")
        with pq.ParquetWriter(out.path, STAGED, compression="zstd") as staged:
            requests = [file for file in files if is_requests(file.names())]
            for file in [*requests, *(file for file in files if file not in requests)]:
                how = ({}, None) if file in requests else (self.columns, self.where)
                for rows, unreadable in file.rows(*how):
                    self._take(file, rows, unreadable, out, staged)
                    step.advance(len(rows) + len(unreadable))
        self._refuse(out, files)
        return out

    def _layout(self, file: File, first: Row) -> str:
        names = [name for name in first if name not in (ROW, NAME)]
        name = self.layout or ("plain" if "completion" in self.columns else recognised(names, first))
        if name is None:
            raise ImportRefused(
                f"{file.name}: no layout is recognised by its columns {', '.join(names)}. Say which SQL value over them is "
                "the completion and which the prompt (or problem_id): --column completion=... --column prompt=..."
            )
        return name

    def _take(
        self, file: File, rows: list[Row], unreadable: list[dict[str, Any]], out: Gathered, staged: pq.ParquetWriter
    ) -> None:
        out.rows += len(rows) + len(unreadable)
        for row in unreadable:
            out.reject(f"{file.name} row {row['row']}", row["reason"])
        if not rows:
            return
        if file.path not in out.layouts:
            out.layouts[file.path] = self._layout(file, rows[0])
        layout = LAYOUTS[out.layouts[file.path]]
        taken: list[tuple[str, Row]] = []
        for row in rows:
            where, name = f"{file.name} row {row.pop(ROW)}", row.pop(NAME)
            try:
                if is_requests([*row]):
                    custom_id, asked, settings = request(row)
                    self._requests[custom_id] = asked, settings
                    continue
                for position, found in enumerate(layout.spread(row)):
                    if isinstance(found, Bad):
                        out.reject(where, found)
                        continue
                    # What --column gives comes before what the layout finds.
                    given = found | {name: row[name] for name in self.columns if name not in BESIDE}
                    if (known := self._requests.get(str(row.get("custom_id")))) is not None:
                        given |= _requested(given, *known)
                    try:
                        one = sample(given, layout.kind)
                        if (staging := self._staged(one, where, file, out)) is not None:
                            digest = hashlib.sha256(f"{name}:{position}".encode()).hexdigest()
                            taken.append((where, staging | {"rollout": digest[:32], "file": file.path}))
                    except ImportRefused:
                        raise
                    except UNREADABLE as error:
                        out.reject(where, _reason(error))
            except ImportRefused:
                raise
            except UNREADABLE as error:
                out.reject(where, _reason(error))
        for table in _tables(taken, out):
            staged.write_table(
                table.set_column(0, STAGED.field("n"), pa.array(range(out.staged, out.staged + len(table))))
            )
            out.staged += len(table)

    def _staged(self, one: Sample, where: str, file: File, out: Gathered) -> Row | None:
        """A row to stage; None when there is no such problem."""
        self._one_model(one, where)
        match = self._matched(one)
        if match is None:
            out.samples += 1
            out.unmatched += 1
            if len(out.unmatched_examples) < EXAMPLES:
                shown = one.asked.content if one.asked is not None else one.problem_id
                out.unmatched_examples.append({"at": where, "prompt": short(str(shown), 400)})
            return None
        if match.differs is not None:
            raise ImportRefused(
                f"{where}: its prompt is not the one that the recipe puts to the model: {match.differs}. Samples of another "
                "prompt are kept apart: write the prompt that was used into the recipe (`prompt` of the model, of the "
                "source, or of an annotator that --like names)"
            )
        group, max_tokens = self._file(one, match.place, where, out)
        if one.tokens is not None and one.tokens > max_tokens:
            raise ImportRefused(
                f"{where}: has {one.tokens:,} tokens, more than max_tokens={max_tokens:,} lets through; "
                "say the one that was used with --drawn max_tokens=..."
            )
        out.samples += 1
        out.ambiguous += bool(match.others)
        if not match.known:
            out.prompt_unknown += 1
            assert one.asked is not None
            shown = short(str(one.asked.content), 160)
            out.first_prompt_unknown = out.first_prompt_unknown or f"{where}: {shown!r} for {one.problem_id}"
        if one.finish_reason == "length" and one.tokens is not None and one.tokens < FULL * max_tokens:
            out.cut_short += 1
            out.first_cut_short = out.first_cut_short or f"{where}: {one.tokens:,} tokens of {max_tokens:,}"
        out.beside = out.beside or match.beside
        out.prompt_unsaid += not match.said
        out.ended_unknown += one.finish_reason is None and one.tokens is None
        if one.step is not None and len(out.steps) < 100:
            out.steps.add(one.step)
        cut_off = one.tokens is not None and one.tokens >= max_tokens
        values: Row = {
            "problem_id": self.problems.ids[match.place],
            "text": one.text,
            "reasoning": one.reasoning,
            "token_ids": one.token_ids,
            "tokens": one.tokens,
            "prompt_tokens": one.prompt_tokens,
            "finish_reason": one.finish_reason or ("length" if cut_off else "stop"),
            "max_tokens": max_tokens,
            "engine": one.engine,
            "engine_version": one.engine_version,
            "dtype": one.dtype,
            "drawn_at": one.drawn_at or file.modified,
        }
        return values | {"group": group, "right": one.right, "content": _content(one)}

    def _one_model(self, one: Sample, where: str) -> None:
        if one.model is None:
            return
        self._model = self._model or (one.model, where)
        if one.model != self._model[0]:
            raise ImportRefused(
                f"{where}: its model is {one.model!r}, that of {self._model[1]} is {self._model[0]!r}; samples of two "
                "models are never pooled. Import one at a time, chosen with --where"
            )

    def _matched(self, one: Sample) -> Match | None:
        place = None if one.problem_id is None else self.problems.by_id(one.problem_id)
        if place is not None:
            return Match(place, (), said=False) if one.asked is None else self.problems.check(place, one.asked)
        return None if one.asked is None else self.problems.match(one.asked)

    # ---- settings

    def _file(self, one: Sample, place: int, where: str, out: Gathered) -> tuple[int, int]:
        """The group that a sample belongs to, and its max_tokens."""
        key = (self.problems.sources[place], *sorted(one.settings.items()))
        if key not in self._filed:
            sampling, max_tokens, assumed = self.stated.settle(one.settings, where, self.likes)
            out.assumed |= assumed
            rollouts = Rollouts(self.store, self.identity, self.problems.prompt(place), sampling)
            group = self._groups.setdefault(rollouts.hash, len(self._groups))
            if group == len(out.groups):
                out.groups.append(rollouts)
            self._filed[key] = group, max_tokens
        return self._filed[key]

    def _refuse(self, out: Gathered, files: Sequence[File]) -> None:
        assert out.samples == out.staged + out.unmatched + out.rejected.total(), out
        named = ", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else "")
        if not out.samples:
            raise ImportRefused(f"{named}: holds no completion" + (" that --where lets through" if self.where else ""))
        if 2 * out.rejected.total() > out.samples:
            reasons = "".join(
                f"\n  {count:,} x {out.first_rejected[kind]}" for kind, count in out.rejected.most_common(5)
            )
            raise ImportRefused(
                f"{named}: {out.rejected.total():,} of {out.samples:,} samples cannot be used, so nothing was imported:"
                f"{reasons}\nMend the file, or say with --column which SQL value is which"
            )
        if not out.staged:
            first = out.unmatched_examples[0]
            raise ImportRefused(
                f"{named}: no prompt is one of the recipe's problems, so nothing was imported.\n"
                f"  {first['at']}: {first['prompt']}\n  a problem of the recipe: {short(self.problems.example, 400)}\n"
                "Prompts have to be equal but for blanks, in the recipe's own template or without one: give the right "
                "recipe, write the template that was used into it, or say with --column prompt=SQL where the problem is"
            )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, Bad) else f"has a value that cannot be used: {error}"


def _tables(taken: Sequence[tuple[str, Row]], out: Gathered) -> Iterator[pa.Table]:
    """Rows to stage as Arrow has them; one that it cannot hold is rejected."""
    if not taken:
        return
    try:
        yield pa.Table.from_pylist([row for _, row in taken], schema=STAGED)
    except UNREADABLE as error:
        if len(taken) == 1:
            out.samples -= 1  # it was counted, and so is what is rejected
            out.reject(taken[0][0], _reason(error))
            return
        half = len(taken) // 2
        yield from _tables(taken[:half], out)
        yield from _tables(taken[half:], out)


def _requested(found: Row, asked: Asked | None, settings: Mapping[str, float]) -> Row:
    """What a request adds to its completion."""
    prompt = {"prompt": asked.content} if asked is not None and found.get("prompt") is None else {}
    return prompt | {name: value for name, value in settings.items() if found.get(name) is None}


def _content(one: Sample) -> bytes | None:
    """A digest of the token ids, or where there are none of the thinking and the text."""
    if one.token_ids is not None:
        telling, said = len(one.token_ids) >= TELLING_TOKENS, str(one.token_ids)
    else:
        said = (one.reasoning or "") + one.text
        telling = len(said) >= TELLING_CHARACTERS
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest() if telling else None
