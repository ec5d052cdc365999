"""Where problems come from: a Hugging Face dataset, Parquet or JSONL files, or a reasoning-gym generator.

A source gives Arrow tables of its own columns plus the row number; `pool.py` maps them to problems. In JSONL every
column is text (jsonl.py): `meta->>'$.answer'` reaches inside nested values.
"""

import contextlib
import dataclasses
import difflib
import functools
import glob
import hashlib
import importlib.metadata
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, model_validator

from curation.duck import batches, connect, parquet
from curation.jsonl import Columns, NotAnObject, objects
from curation.store import filesystem, readable

ROW = "__row"
KINDS = ("hf", "parquet", "jsonl", "reasoning_gym")
# Of JSONL, whose rows may be long; the other kinds give what their files hold as row groups.
BATCH_BYTES = 64 << 20
HUB_SECONDS = 10
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
MappedColumn = Literal[
    "prompt", "messages", "tools", "answer", "verifier", "verifier_args", "license", "parent_id", "meta"
]
Unreadable = dict[str, Any]
"""A row that could not be read: row, reason, excerpt."""


class SourceError(ValueError):
    """A source cannot be read. The message begins with the key of the source's settings that it is about."""


class Source(BaseModel):
    """One entry under `sources:`; exactly one of hf, parquet, jsonl, reasoning_gym says what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    hf: str | None = None
    """A dataset on the Hub (org/name), or a local folder that `datasets.load_dataset` reads."""
    config: str | None = None
    """Configuration of the Hugging Face dataset."""
    split: str = "train"
    """Split of the Hugging Face dataset."""
    revision: str | None = None
    """Commit, tag or branch of the Hugging Face dataset; the commit it stands for is recorded."""
    parquet: str | list[str] | None = None
    """Parquet files: paths or globs, relative to the recipe; s3:// works too."""
    jsonl: str | list[str] | None = None
    """JSON Lines files, also .jsonl.zst and .jsonl.gz: paths or globs, relative to the recipe."""
    reasoning_gym: str | None = None
    """Name of a reasoning-gym dataset; its own scorer becomes the verifier."""
    size: int = Field(default=500, gt=0)
    """Problems to generate (reasoning-gym)."""
    seed: int = 0
    """Seed of the generator (reasoning-gym)."""
    params: dict[str, Any] = {}
    """Parameters of the generator (reasoning-gym)."""
    columns: dict[MappedColumn, str] = {}
    """SQL values over the source's columns, by problem column; nested ones become JSON text. A column of the same name
    needs no entry."""
    where: str | None = None
    """SQL condition over the source's columns: which rows are read. A row it cannot be computed for is rejected."""
    limit: int | None = Field(default=None, gt=0)
    """Rows to read at most, the first ones that `where` lets through; rejected ones count."""
    verifier: str | None = None
    """What grades completions of these problems, when the rows do not say."""
    license: str | None = None
    """Licence of these problems, when the rows do not say (SPDX name)."""
    prompt: dict[str, Any] = {}
    """How prompts of these problems differ from the model's `prompt`; not part of the pool."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(KINDS)}; has {' and '.join(given) or 'none'}")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def folder(self) -> str | None:
        """The local folder of a Hugging Face dataset; None for one on the Hub."""
        folder = os.path.expanduser(self.hf or "")
        return folder if os.path.isdir(folder) else None

    def settings(self) -> dict[str, Any]:
        """What changes the problems, for the pool's version. Not where files lie: their digests stand for them."""
        settings = self.model_dump(mode="json", exclude_defaults=True, exclude={"prompt"})
        if self.kind in ("parquet", "jsonl") or self.folder is not None:
            settings[self.kind] = "files"
        return settings

    def check(self) -> None:
        """Raises SourceError for what can be seen without reading or asking anyone: local files, the form of a name."""
        if self.hf is not None and self.folder is None and not HUB_NAME.fullmatch(self.hf):
            raise SourceError(f"hf: {self.hf!r} is neither a folder that exists nor a name on the Hub (org/name)")
        self.files(remote=False)

    def files(self, remote: bool = True) -> list[str]:
        """The files named, globs resolved; raises SourceError when one matches nothing.

        remote: also those at a URL.
        """
        given = self.parquet if self.parquet is not None else self.jsonl
        if given is None:
            return []
        if not given:
            raise SourceError(f"{self.kind}: names no file")
        found: list[str] = []
        for pattern in [given] if isinstance(given, str) else given:
            if "://" in pattern:
                if not remote:
                    continue
                with _trouble(self.kind, pattern):
                    fs, path = filesystem(pattern)
                    exact = [path] if fs.isfile(path) else sorted(fs.glob(path))
                matches = [fs.unstrip_protocol(match) for match in exact]
            else:
                path = os.path.expanduser(pattern)
                matches = [path] if os.path.isfile(path) else sorted(glob.glob(path, recursive=True))
                matches = [match for match in matches if os.path.isfile(match)]
            if not matches:
                raise SourceError(f"{self.kind}: no file {pattern!r}")
            found += matches
        return found

    def resolve(self) -> dict[str, Any]:
        """What the source is right now: file digests, the Hub's commit, the generator's version."""
        if self.reasoning_gym is not None:
            return {"reasoning-gym": importlib.metadata.version("reasoning-gym")}
        if self.folder is not None:
            walked = ((folder, name) for folder, _, names in os.walk(self.folder) for name in names)
            paths = sorted(os.path.join(folder, name) for folder, name in walked)
            return {"files": [self._digest(path, os.path.relpath(path, self.folder)) for path in paths]}
        if self.hf is not None:
            return {"commit": self._commit}
        return {"files": [self._digest(path, path.rsplit("/", 1)[-1]) for path in self.files()]}

    def _digest(self, path: str, name: str) -> dict[str, Any]:
        hasher = hashlib.sha256()
        size = 0
        fs, inside = filesystem(path)
        with _trouble(self.kind, path), fs.open(inside, "rb") as file:
            while block := file.read(1 << 22):
                hasher.update(block)
                size += len(block)
        return {"name": name, "bytes": size, "sha256": hasher.hexdigest()}

    @functools.cached_property
    def _commit(self) -> str:
        assert self.hf is not None
        if self.revision is not None and COMMIT.fullmatch(self.revision):
            return self.revision
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]

        try:
            return str(HfApi().dataset_info(self.hf, revision=self.revision, timeout=HUB_SECONDS).sha)
        except (OSError, HTTPError, HFValidationError) as error:
            raise SourceError(
                f"hf: the Hub has no dataset {self.hf!r} at revision {self.revision or 'main'!r}, or cannot be reached "
                f"({_first_line(error)}). Check the name, give a commit as `revision`, or download it and give its folder"
            ) from error

    def tables(self, batch_rows: int) -> Iterator[tuple[pa.Table, list[Unreadable]]]:
        """Batches of (rows with their number in column `__row`, rows that cannot be read)."""
        if self.jsonl is not None:
            yield from self._jsonl(batch_rows)
            return
        if self.parquet is not None:
            tables = self._parquet(batch_rows)
        elif self.hf is not None:
            tables = self._hf(batch_rows)
        else:
            tables = self._reasoning_gym(batch_rows)
        row = 0
        for table in tables:
            self._told_apart(table.column_names)
            yield table.append_column(ROW, pa.array(range(row, row + table.num_rows), pa.int64())), []
            row += table.num_rows

    def _told_apart(self, names: Iterable[str]) -> None:
        """SQL does not tell upper from lower case, and would take one column for the other."""
        seen = {ROW: "the number of the row"}
        for name in names:
            if name.lower() in seen:
                raise SourceError(
                    f"{self.kind}: column {name!r} has the name of {seen[name.lower()]} (SQL knows no upper and lower "
                    "case); rename or remove it in the data"
                )
            seen[name.lower()] = f"column {name!r}"

    def _jsonl(self, batch_rows: int) -> Iterator[tuple[pa.Table, list[Unreadable]]]:
        """Two passes: the first finds all keys, so that every batch has every column."""
        paths = self.files()
        keys: dict[str, None] = {}
        for _, _, found in self._objects(paths):
            if isinstance(found, dict):
                keys.update(dict.fromkeys(found))
        self._told_apart(keys)
        schema = pa.schema([pa.field(key, pa.string()) for key in keys]).append(pa.field(ROW, pa.int64()))
        rows: list[dict[str, Any]] = []
        bad: list[Unreadable] = []
        size = 0
        for number, length, found in self._objects(paths):
            if isinstance(found, dict):
                rows.append(found | {ROW: number})
            else:
                bad.append({"row": number, "reason": str(found), "excerpt": found.excerpt})
            size += length
            if len(rows) + len(bad) == batch_rows or size > BATCH_BYTES:
                yield pa.Table.from_pylist(rows, schema=schema), bad
                rows, bad, size = [], [], 0
        if rows or bad:
            yield pa.Table.from_pylist(rows, schema=schema), bad

    def _objects(self, paths: list[str]) -> Iterator[tuple[int, int, Columns | NotAnObject]]:
        """`objects` of all files, lines numbered on from file to file."""
        before = 0
        for path in paths:
            number = -1
            with _trouble("jsonl", path):
                for number, length, found in objects(*filesystem(path)):
                    yield before + number, length, found
            before += number + 1

    def _parquet(self, batch_rows: int) -> Iterator[pa.Table]:
        con = connect()
        paths = []
        for url in self.files():
            fs, path = filesystem(url)
            with _trouble("parquet", url), fs.open(path, "rb") as file:
                self._told_apart(pq.read_schema(file).names)
            if "://" in url:
                con.register_filesystem(fs)
            paths.append(readable(fs, path))
        with _trouble("parquet", ", ".join(paths)):
            for batch in batches(con, f"from {parquet(paths)}", batch_rows):
                yield pa.Table.from_batches([batch])

    def _hf(self, batch_rows: int) -> Iterator[pa.Table]:
        import datasets

        path, revision = (self.folder, None) if self.folder else (self.hf, self._commit)
        try:
            stream = datasets.load_dataset(
                path, self.config, split=self.split, revision=revision, streaming=True
            ).with_format("arrow")
            yield from stream.iter(batch_size=batch_rows)
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise SourceError(f"hf: dataset {self.hf!r}, split {self.split!r}: {_first_line(error)}") from error

    def _reasoning_gym(self, batch_rows: int) -> Iterator[pa.Table]:
        with warnings.catch_warnings():
            # One of its dependencies compares with `is`; Python says so once for every place.
            warnings.simplefilter("ignore", SyntaxWarning)
            from reasoning_gym.factory import DATASETS, create_dataset

        from curation.verify.reasoning_gym import args_for

        name = self.reasoning_gym
        assert name is not None
        if name not in DATASETS:
            raise SourceError(f"reasoning_gym: {name!r} is no dataset of reasoning-gym{_nearest(name, DATASETS)}")
        known = {field.name for field in dataclasses.fields(DATASETS[name][1])} - {"size", "seed"}
        for key in self.params:
            if key not in known:
                raise SourceError(f"params.{key}: is no parameter of {name}{_nearest(key, known)}")
        rows: list[dict[str, Any]] = []
        try:
            entries = create_dataset(name, size=self.size, seed=self.seed, **self.params)
            for number in range(self.size):
                entry = entries[number]
                rows.append(
                    {
                        "prompt": entry["question"],
                        "answer": None if entry["answer"] is None else str(entry["answer"]),
                        "verifier": "reasoning-gym",
                        "verifier_args": args_for(name, entry, self.params),
                        "license": "Apache-2.0",
                    }
                )
                if len(rows) == batch_rows or number == self.size - 1:
                    yield pa.Table.from_pylist(rows, schema=_GENERATED)
                    rows = []
        except (ValueError, TypeError, LookupError, ArithmeticError, AssertionError) as error:
            raise SourceError(f"params: {name} refuses {self.params}: {_first_line(error)}") from error


_GENERATED = pa.schema([(name, pa.string()) for name in ("prompt", "answer", "verifier", "verifier_args", "license")])


@contextlib.contextmanager
def _trouble(kind: str, path: str) -> Iterator[None]:
    """Names the file in what goes wrong when it is read."""
    try:
        yield
    except (OSError, ImportError, pa.ArrowInvalid, duckdb.Error) as error:
        raise SourceError(f"{kind}: {path} cannot be read: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _nearest(given: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(names) or 'none'}"
