"""One set of an export, written into its folder: data, launch command, reward, template.

Rows are read and written in a stream; what is left out is counted with its reason.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.progress import Progress, Step
from curation.prompt import Message
from curation.publish import SPLITS, Dataset
from curation.store import ROW_GROUP_BYTES
from train.export.asked import STUDENT, Asked, Frame, front, most
from train.export.rows import Context, LeftOut, Row, read, schema, thinks_apart
from train.export.settings import RL, settings
from train.export.target import JSONL, NO_FRONT, RAW_TEMPLATE, TEMPLATE, Form, Launched, Place, Target

LAUNCH, REWARD = "launch.sh", "reward.py"
SHIPPED = Path(__file__).parent / "files"
CURRICULA = ("easy_to_hard", "hard_to_easy")
"""Orders of a set that mean something."""


class ExportError(ValueError):
    """Nothing is exported."""


@dataclass
class ExportedSet:
    """One set, as it was exported."""

    kind: str
    rows: dict[str, int] = field(default_factory=dict)
    """By split."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Rows by why they are not there."""
    examples: dict[str, str] = field(default_factory=dict)
    """The id of the first row of each reason."""
    verifiers: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    stage: str | None = None
    longest: int = 0
    """Bytes of the longest prompt of an RL set."""
    tokens: int = 0
    """Of the longest row of another set."""
    first: str | list[Message] | None = None
    """The first prompt of an RL set."""


class SetWriter:
    """One set on its way into a folder."""

    def __init__(
        self, dataset: Dataset, target: Target, form: Form, name: str, kind: str, how: Asked, folder: Path
    ) -> None:
        self.dataset, self.target, self.form, self.name, self.kind = dataset, target, form, name, kind
        self.folder, self.exported = folder, ExportedSet(kind)
        self.splits = {split: dataset.manifest["sets"][name][split] for split in SPLITS}
        self.files = [file for one in self.splits.values() for file in one["files"]]
        self.columns = schema(dataset, self.files)
        frame = None if target.any_frame or kind != RL else self._frame(how)
        raw = target.bare and frame is not None and frame.style == "raw"
        self.context = Context(dataset.ref, how, frame, front(how.model) if raw else "", thinks_apart(self.columns))

    def write(self, progress: Progress) -> ExportedSet:
        (self.folder / "data").mkdir(parents=True)
        with progress.step(
            f"{self.target.name}.{self.name}", sum(s["rows"] for s in self.splits.values()), "rows"
        ) as step:
            for split, one in self.splits.items():
                if one["rows"]:
                    self.exported.rows[split] = self._split(split, one["files"], step)
        self._beside()
        return self.exported

    def _frame(self, how: Asked) -> Frame | None:
        sources: Counter[str] = Counter()
        for batch in read(self.dataset, self.files, ["source"]):
            sources.update(row["source"] for row in batch)
        return most(how, sources) if sources else None

    def _split(self, split: str, files: Sequence[str], step: Step) -> int:
        path = self.folder / "data" / f"{split}.{self.target.suffix}"
        batches = self._rows(split, files, step)
        written = _jsonl(path, batches) if self.target.suffix == JSONL else self._parquet(path, batches)
        if not written:
            path.unlink()
        return written

    def _rows(self, split: str, files: Sequence[str], step: Step) -> Iterator[list[Row]]:
        """The exported rows of a split, batch by batch; the others are counted."""
        index = 0
        for batch in read(self.dataset, list(files)):
            made = []
            for row in batch:
                one = self.form.row(row, self.context, Place(split, index))
                if isinstance(one, LeftOut):
                    self.exported.left_out[one.reason] += 1
                    self.exported.examples.setdefault(one.reason, str(row["id"]))
                    continue
                index += 1
                made.append(one)
                self._look(row, one)
            step.advance(len(batch))
            if made:
                yield made

    def _look(self, row: Row, made: Row) -> None:
        """Notes what commands and README say of the rows."""
        if self.kind == RL:
            shown = self.context.asked.render(row)
            texts = [shown] if isinstance(shown, str) else [turn["content"] for turn in shown]
            self.exported.longest = max(self.exported.longest, sum(len(text.encode()) for text in texts))
            self.exported.verifiers[str(row["verifier"])] += 1
            if self.exported.first is None:
                self.exported.first = shown
        else:
            self.exported.tokens = max(self.exported.tokens, int(row.get("tokens") or 0))

    def _parquet(self, path: Path, batches: Iterator[list[Row]]) -> int:
        assert self.form.schema is not None
        kind, written = self.form.schema(self.columns, self.context), 0
        with pq.ParquetWriter(path, kind, compression="zstd") as writer:
            for rows in batches:
                table = pa.Table.from_pylist(rows, schema=kind)
                writer.write_table(table, row_group_size=max(1, ROW_GROUP_BYTES * len(rows) // max(1, table.nbytes)))
                written += len(rows)
        return written

    def _beside(self) -> None:
        """The files beside the data."""
        rows = self.exported.rows
        template = self._template()
        if template is not None:
            write_text(self.folder / TEMPLATE, template)
        if self.form.reward is not None:
            shutil.copyfile(SHIPPED / self.form.reward, self.folder / REWARD)
        if self.form.launch is None:
            return
        manifest = self.dataset.manifest
        known = settings(manifest, self.name, self.kind, rows.get("train", 0), self.exported.tokens, self.context.asked)
        about = f"{known.algorithm} on the set {self.name} of {self.dataset.ref}, by {self.target.version}"
        model = self.context.asked.model if self.kind == RL else (manifest.get("student") or {}).get("model")
        order = (manifest["recipe"].get("balance") or {}).get("order")
        ordered = self.kind == RL and order in CURRICULA
        launched = Launched(
            about, known, self.context, rows, self.exported.longest, model, template is not None, ordered
        )
        unknown = [NO_FRONT] if self.context.front is None else []
        self.exported.stage, self.exported.notes = known.stage, [*unknown, *self.form.notes(launched)]
        launch = self.folder / LAUNCH
        write_text(launch, self.form.launch(launched))
        launch.chmod(0o755)

    def _template(self) -> str | None:
        """The chat template that goes with the data, where it is not the tokenizer's own."""
        frame = self.context.frame
        if frame is not None and frame.style == "raw":
            return RAW_TEMPLATE if self.target.template else None
        if (self.kind == RL and self.context.asked.place != STUDENT) or self.form.launch is None:
            return None
        student = self.dataset.manifest["recipe"].get("student") or {}
        if (given := student.get("chat_template")) is None:
            return None
        path = Path(given).expanduser()
        known = (self.dataset.manifest.get("student") or {}).get("identity", {}).get("chat_template")
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ExportError(
                f"student.chat_template: {given}, which the sets are written for, cannot be read ({error.strerror}); export "
                "where it is"
            ) from error
        if known is not None and known != hashlib.sha256(text.encode()).hexdigest():
            raise ExportError(
                f"student.chat_template: {given} was changed since {self.dataset.ref} was written for it; run the recipe again, "
                "or put the old one back"
            )
        return text


def _jsonl(path: Path, batches: Iterator[list[Row]]) -> int:
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for rows in batches:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            written += len(rows)
    return written


def write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
