"""Where problems come from: a Hugging Face dataset, Parquet or JSONL files, or a reasoning-gym generator.

A source gives Arrow tables of its own columns plus the row number; `pool.py` maps them to problems. In JSONL every
column is text, as no row may change the type of another: numbers keep their literal form, nested values are JSON text
(`meta->>'$.answer'` reaches inside).
"""

import functools
import glob
import hashlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Iterator
from typing import Any, Literal, Self

import duckdb
import fsspec
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from curation.store import batches, connect, parquet

ROW = "__row"
KINDS = ("hf", "parquet", "jsonl", "reasoning_gym")
MappedColumn = Literal[
    "prompt", "messages", "tools", "answer", "verifier", "verifier_args", "license", "parent_id", "meta"
]
Unreadable = dict[str, Any]
"""A row that could not be read: row, reason, excerpt."""


class SourceError(ValueError):
    """A source cannot be read."""


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
    """SQL values over the source's columns, by problem column; a column of the same name needs no entry."""
    where: str | None = None
    """SQL condition over the source's columns: which rows are read."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many rows, the first ones."""
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

    def settings(self) -> dict[str, Any]:
        """What changes the problems, for the pool's version."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"prompt"})

    def files(self) -> list[str]:
        """The files named, globs resolved; raises SourceError when one matches nothing."""
        given = self.parquet if self.parquet is not None else self.jsonl
        if given is None:
            return []
        found: list[str] = []
        for pattern in [given] if isinstance(given, str) else given:
            if "://" in pattern:
                fs, path = fsspec.core.url_to_fs(pattern)
                matches = [fs.unstrip_protocol(match) for match in sorted(fs.glob(path))]
            else:
                matches = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
            if not matches:
                raise SourceError(f"no file {pattern!r}")
            found += matches
        return found

    def resolve(self) -> dict[str, Any]:
        """What the source is right now: file digests, the Hub's commit, the generator's version."""
        if self.reasoning_gym is not None:
            return {"reasoning-gym": importlib.metadata.version("reasoning-gym")}
        if self.hf is None:
            return {"files": [_digest(path) for path in self.files()]}
        if os.path.isdir(os.path.expanduser(self.hf)):
            folder = os.path.expanduser(self.hf)
            inside = sorted(p for p in glob.glob(f"{folder}/**", recursive=True) if os.path.isfile(p))
            return {"files": [_digest(path) for path in inside]}
        return {"commit": self._commit}

    @functools.cached_property
    def _commit(self) -> str:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        assert self.hf is not None
        try:
            return str(HfApi().dataset_info(self.hf, revision=self.revision).sha)
        except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
            raise SourceError(
                f"the Hub has no dataset {self.hf!r} at revision {self.revision or 'main'!r}, or cannot be reached: "
                f"{str(error).splitlines()[0]}"
            ) from error

    def tables(self, batch_rows: int) -> Iterator[tuple[pa.Table, list[Unreadable]]]:
        """Batches of (rows with their number in column `__row`, rows that cannot be read)."""
        if self.jsonl is not None:
            yield from _jsonl(self.files(), batch_rows)
            return
        if self.parquet is not None:
            batches = _parquet(self.files(), batch_rows)
        elif self.hf is not None:
            batches = self._hf(batch_rows)
        else:
            batches = self._reasoning_gym(batch_rows)
        row = 0
        for table in batches:
            yield table.append_column(ROW, pa.array(range(row, row + table.num_rows), pa.int64())), []
            row += table.num_rows

    def _hf(self, batch_rows: int) -> Iterator[pa.Table]:
        import datasets

        assert self.hf is not None
        path = os.path.expanduser(self.hf)
        revision = None if os.path.isdir(path) else self._commit
        try:
            stream = datasets.load_dataset(
                path, self.config, split=self.split, revision=revision, streaming=True
            ).with_format("arrow")
            yield from stream.iter(batch_size=batch_rows)
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise SourceError(f"dataset {self.hf!r}, split {self.split!r}: {str(error).splitlines()[0]}") from error

    def _reasoning_gym(self, batch_rows: int) -> Iterator[pa.Table]:
        with warnings.catch_warnings():
            # One of its dependencies compares with `is`; Python says so once for every place.
            warnings.simplefilter("ignore", SyntaxWarning)
            import reasoning_gym

        from curation.verify.reasoning_gym import args_for

        assert self.reasoning_gym is not None
        name = self.reasoning_gym
        try:
            entries = reasoning_gym.create_dataset(name, size=self.size, seed=self.seed, **self.params)
        except (ValueError, TypeError, AssertionError) as error:
            raise SourceError(f"reasoning-gym refuses {name!r} with params {self.params}: {error}") from error
        rows: list[dict[str, Any]] = []
        for number in range(self.size):
            entry = entries[number]
            rows.append(
                {
                    "prompt": entry["question"],
                    "answer": entry["answer"],
                    "verifier": "reasoning-gym",
                    "verifier_args": args_for(name, entry, self.params),
                    "license": "Apache-2.0",
                }
            )
            if len(rows) == batch_rows or number == self.size - 1:
                yield pa.Table.from_pylist(rows)
                rows = []


def _digest(path: str) -> dict[str, Any]:
    hasher = hashlib.sha256()
    size = 0
    with fsspec.open(path, "rb") as file:
        while block := file.read(1 << 22):
            hasher.update(block)
            size += len(block)
    return {"name": path.rsplit("/", 1)[-1], "bytes": size, "sha256": hasher.hexdigest()}


def _parquet(paths: list[str], batch_rows: int) -> Iterator[pa.Table]:
    con = connect()
    for path in paths:
        if "://" in path:
            con.register_filesystem(fsspec.core.url_to_fs(path)[0])
    try:
        for batch in batches(con, f"from {parquet(paths)}", batch_rows):
            yield pa.Table.from_batches([batch])
    except duckdb.Error as error:
        raise SourceError(f"Parquet cannot be read: {str(error).splitlines()[0]}") from error


def _jsonl(paths: list[str], batch_rows: int) -> Iterator[tuple[pa.Table, list[Unreadable]]]:
    """Two passes: the first finds all keys, so that every batch has every column."""
    keys: dict[str, None] = {}
    for _, value in _json_lines(paths):
        if isinstance(value, dict):
            keys.update(dict.fromkeys(value))
    schema = pa.schema([pa.field(key, pa.string()) for key in keys]).append(pa.field(ROW, pa.int64()))
    rows: list[dict[str, Any]] = []
    bad: list[Unreadable] = []
    for number, value in _json_lines(paths):
        if isinstance(value, dict):
            rows.append({key: _text(item) for key, item in value.items()} | {ROW: number})
        else:
            bad.append({"row": number, "reason": value[0], "excerpt": value[1]})
        if len(rows) + len(bad) == batch_rows:
            yield pa.Table.from_pylist(rows, schema=schema), bad
            rows, bad = [], []
    if rows or bad:
        yield pa.Table.from_pylist(rows, schema=schema), bad


def _json_lines(paths: list[str]) -> Iterator[tuple[int, dict[str, Any] | tuple[str, str]]]:
    """(line number from 0 over all files, the object, or (reason, excerpt) when the line is none). Blank lines are none."""
    number = 0
    for path in paths:
        with fsspec.open(path, "rb") as raw:
            compression = {"zst": "zstd", "gz": "gzip"}.get(path.rsplit(".", 1)[-1])
            try:
                with pa.input_stream(raw, compression=compression) as stream:
                    for line in _lines(stream):
                        if line.strip():
                            yield number, _object(line)
                        number += 1
            except OSError as error:
                raise SourceError(f"{path} cannot be read: {error}") from error


def _lines(stream: Any) -> Iterator[bytes]:
    """Lines of an Arrow stream, which has no readline of its own."""
    rest = b""
    while block := stream.read(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _object(line: bytes) -> dict[str, Any] | tuple[str, str]:
    excerpt = line[:200].decode("utf-8", "replace")
    try:
        # Numbers keep the form they were written in: 1.10 is not 1.1 as an answer.
        value = json.loads(line, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        return "not valid Unicode", excerpt
    except json.JSONDecodeError as error:
        return f"not JSON: {error}", excerpt
    except RecursionError:
        return "not JSON: nested too deeply", excerpt
    return value if isinstance(value, dict) else ("not a JSON object", excerpt)


class _Number(str):
    """A number in the form it was written in."""

    __slots__ = ()


def _text(value: Any) -> str | None:
    """A JSON value as a column's text."""
    if value is None:
        return None
    return str(value) if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    """JSON text of a value whose numbers are kept as written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_json(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
