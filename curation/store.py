"""The workspace on disk: where pools, annotations, rollouts, verdicts and datasets lie, and how they are committed.

Everything is a Parquet part or a JSON file in a folder, over fsspec: a local path or `s3://bucket/path`.

    <workspace>/pools/<name>/<version>/part-*.parquet, manifest.json
    <workspace>/annotations/<annotator>/<settings hash>/settings.json, part-<uuid>.parquet
    <workspace>/rollouts/<settings hash>/settings.json, part-<uuid>.parquet      verdicts likewise
    <workspace>/datasets/<name>/<version>/README.md, <config>/<split>-*.parquet, decisions.parquet, manifest.json

A file appears whole or not at all: on a local disk it is written under a temporary name, fsynced and renamed (the folder
fsynced too); on an object store it is one PUT. Of pools and datasets the manifest is the commit, written last, and only
files it lists are read. Of the rest a part is its own commit, so a kill loses what was not yet in a part, nothing else.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

MANIFEST = "manifest.json"
SETTINGS = "settings.json"
# Nested columns with row groups over 16 MB cannot be read back by datasets' reader.
ROW_GROUP_ROWS = 4096
# What most columns are; DuckDB imports pandas (a second) to be asked about an Arrow type.
PLAIN_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.timestamp("ms", "UTC"): "TIMESTAMP WITH TIME ZONE",
}
# Larger files go to an object store in pieces; they too appear only when whole.
ONE_PUT_BYTES = 64 << 20


class WorkspaceError(ValueError):
    """The workspace cannot be used as asked."""


class WorkspaceLocked(WorkspaceError):
    """Another run holds the workspace."""


def settings_hash(settings: Mapping[str, Any]) -> str:
    """The first 20 hex digits of the sha256 over the canonical JSON of `settings`."""
    return hashlib.sha256(canonical(settings).encode()).hexdigest()[:20]


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values: sorted keys, no blanks, no NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@dataclass
class Store:
    """One workspace. `url` is a local path (`~` allowed) or anything fsspec knows, such as `s3://bucket/path`."""

    url: str
    warnings: list[str] = field(default_factory=list)
    """What a user should know about the state of the files: a damaged part, for instance. Each is said once."""

    def __post_init__(self) -> None:
        self.url = os.path.expanduser(self.url)
        try:
            fs, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise WorkspaceError(
                f"workspace {self.url!r} cannot be opened: {error}. "
                "Give a folder, or s3://bucket/path (needs the extra `s3`)."
            ) from error
        self.fs, self.root = fs, str(root).rstrip("/")
        self.local = isinstance(fs, LocalFileSystem)
        self._sound: dict[str, int] = {}
        """Size of each part whose footer was read: a part never changes, so it is checked once."""

    # ---- files

    def path(self, *names: str) -> str:
        return "/".join((self.root, *names))

    def write(self, path: str, data: bytes) -> None:
        """Commits one file: it is there whole, or not at all."""
        with self._committing(path) as file:
            file.write(data)

    @contextlib.contextmanager
    def _committing(self, path: str) -> Iterator[BinaryIO]:
        """A file to write; it gets its name when the block ends well, and is gone when it does not."""
        if not self.local:
            with tempfile.TemporaryFile() as file:
                yield file
                size = file.tell()
                file.seek(0)
                if size < ONE_PUT_BYTES:
                    self.fs.pipe_file(path, file.read())
                else:
                    with self.fs.open(path, "wb") as target:
                        shutil.copyfileobj(file, target, 1 << 24)
            return
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write_json(self, path: str, value: Any) -> None:
        self.write(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    def read_json(self, path: str) -> Any:
        """The value in a JSON file; None when there is no such file."""
        try:
            return json.loads(self.fs.cat_file(path))
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise WorkspaceError(
                f"{path} is damaged ({error}); remove its folder, and the next run makes it again"
            ) from error

    def write_table(self, path: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Commits one Parquet file (zstd) from a table, or batch by batch from a reader."""
        chunks = rows.to_batches(ROW_GROUP_ROWS) if isinstance(rows, pa.Table) else rows
        with self._committing(path) as file, pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
            for batch in chunks:
                writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)

    def listing(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty when there is no such folder."""
        try:
            self.fs.invalidate_cache(folder)
            return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in self.fs.ls(folder, detail=False))
        except FileNotFoundError:
            return []

    # ---- parts

    def append(self, folder: str, table: pa.Table | pa.RecordBatchReader) -> str:
        """Commits a part; gives its path."""
        path = f"{folder}/part-{uuid.uuid4().hex}.parquet"
        self.write_table(path, table)
        return path

    def declare(self, folder: str, settings: Mapping[str, Any]) -> None:
        """Writes `settings.json` beside parts that were made under these settings, once."""
        path = f"{folder}/{SETTINGS}"
        if not self.fs.exists(path):
            self.write_json(path, dict(settings))

    def parts(self, folder: str) -> list[str]:
        """Paths of the parts of a folder that can be read, by name. A damaged one is named in `warnings` and left out."""
        try:
            self.fs.invalidate_cache(folder)
            found = self.fs.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        sound = []
        for entry in sorted(found, key=lambda entry: str(entry["name"])):
            path, size = str(entry["name"]), int(entry["size"] or 0)
            name = path.rsplit("/", 1)[-1]
            if not (name.startswith("part-") and name.endswith(".parquet")):
                continue
            if self._sound.get(path) != size:
                if (damage := self._damage(path)) is not None:
                    self.warn(f"{path} is damaged and left out ({damage}); what it held is made again")
                    continue
                self._sound[path] = size
            sound.append(path)
        return sound

    def _damage(self, path: str) -> str | None:
        try:
            with self.fs.open(path, "rb") as file:
                pq.read_metadata(file)
        except (pa.ArrowInvalid, OSError, EOFError) as error:
            return str(error).splitlines()[0]
        return None

    def merge(self, folder: str, at_least: int = 8) -> None:
        """Writes the parts of a folder as one when there are at least so many, then removes them.

        A crash between the two leaves rows twice; readers take one row per key, so it does no harm. Damaged parts
        stay where they are. Only for a workspace that this run holds alone.
        """
        parts = self.parts(folder)
        if len(parts) < at_least:
            return
        with self.connect() as con:
            rows = batches(con, f"from {parquet(self.readable(parts))}", ROW_GROUP_ROWS)
            self.append(folder, rows)
        for path in parts:
            self.fs.rm_file(path)

    def warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    # ---- queries

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection that can read this workspace's files."""
        con = connect()
        if not self.local:
            con.register_filesystem(self.fs)
        return con

    def readable(self, paths: Sequence[str]) -> list[str]:
        """Paths as DuckDB takes them."""
        return list(paths) if self.local else [self.fs.unstrip_protocol(path) for path in paths]

    def scan(self, folder: str, schema: pa.Schema) -> str:
        """SQL for the rows of a folder's parts, with `filename`; an empty relation of `schema` when there are none."""
        parts = self.parts(folder)
        if not parts:
            columns = ", ".join(f"null::{sql_type(f.type)} as {quoted(f.name)}" for f in schema)
            return f"(select {columns}, null::varchar as filename where false)"
        return parquet(self.readable(parts), filename=True)

    # ---- one writer

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds a local workspace for writing. The kernel lets go when the process ends, however it ends.

        Object stores are not locked: parts of two writers do not disturb each other.
        """
        if not self.local:
            yield
            return
        os.makedirs(self.root, exist_ok=True)
        with open(f"{self.root}/.lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "an unnamed process"
                raise WorkspaceLocked(
                    f"workspace {self.root} is in use by {holder}. "
                    "Wait for it, stop it, or give another folder with --workspace."
                ) from None
            file.truncate(0)
            started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {started}: {' '.join(sys.argv)[:200]}\n")
            file.flush()
            yield


def parquet(paths: Sequence[str], filename: bool = False) -> str:
    """SQL for the rows of Parquet files, columns matched by name."""
    listed = ", ".join(literal(path) for path in paths)
    return f"read_parquet([{listed}], union_by_name = true, filename = {str(filename).lower()})"


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@functools.cache
def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type."""
    if (plain := PLAIN_TYPES.get(kind)) is not None:
        return plain
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{quoted(field.name)} {sql_type(field.type)}' for field in kind)})"
    return str(_types().from_arrow(pa.table({"x": pa.array([], kind)})).types[0])


@functools.cache
def _types() -> duckdb.DuckDBPyConnection:
    return connect()


def connect(**config: Any) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection of this process's own.

    Names in SQL never reach Python variables, and no extension is fetched.
    """
    quiet = {"python_enable_replacements": False, "autoinstall_known_extensions": False}
    return duckdb.connect(config=quiet | config)


def local_path(path: str | Path) -> str:
    return os.path.abspath(os.path.expanduser(path))


def arrow(con: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
    """The rows of a query as an Arrow table."""
    return con.sql(query, params=list(parameters) or None).to_arrow_table()


def batches(con: duckdb.DuckDBPyConnection, query: str, rows: int) -> pa.RecordBatchReader:
    """The rows of a query as a stream of Arrow batches of about so many rows; `con` is busy until it is read."""
    return con.sql(query).to_arrow_reader(rows)
