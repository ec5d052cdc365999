"""The workspace on disk: where pools, annotations, rollouts, verdicts and datasets lie, and how they are committed.

Everything is a Parquet part or a JSON file in a folder, over fsspec: a local path or `s3://bucket/path`.

    <workspace>/pools/<name>/<version>/part-*.parquet, manifest.json
    <workspace>/annotations/<annotator>/<settings hash>/settings.json, part-<uuid>.parquet
    <workspace>/rollouts/<settings hash>/settings.json, part-<uuid>.parquet      verdicts likewise
    <workspace>/datasets/<name>/<version>/README.md, <config>/<split>-*.parquet, decisions.parquet, manifest.json

A file appears whole or not at all: on a local disk it is written under a temporary name, fsynced and renamed (the folder
fsynced too, and the one above when it is new); on an object store it is one PUT, or one upload in pieces that is completed
last. Of pools and datasets the manifest is the commit, written last, and only files it lists are read. Of the rest a part
is its own commit, so a kill loses what was not yet in a part, nothing else.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from curation.duck import batches, connect, parquet, quoted, sql_type
from curation.durable import sync

MANIFEST = "manifest.json"
SETTINGS = "settings.json"
CLAIM = ".claim"
"""An empty file by which a dataset's version is taken."""
TEMPORARY = "tmp"
"""Folder of a local workspace for files of the run that holds it."""
WITH_PARTS = ("pools", "annotations", "rollouts", "verdicts")
# Nested columns with row groups over 16 MB cannot be read back by datasets' reader.
ROW_GROUP_ROWS = 4096
ROW_GROUP_BYTES = 8 << 20


class WorkspaceError(ValueError):
    """The workspace cannot be used as asked."""


class WorkspaceDamaged(WorkspaceError):
    """Files of the workspace could not be read, and were set aside: the next run makes again what they held."""


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
    """One workspace. `url` is a local path (`~` allowed) or anything fsspec knows, such as `s3://bucket/path`.

    An object store's keys, region and address come from the environment, as its own tools take them: for S3
    `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_DEFAULT_REGION`, and for another server than Amazon's
    `AWS_ENDPOINT_URL=http://host:port`.
    """

    url: str
    warnings: list[str] = field(default_factory=list)
    """What a user should know about the state of the files: a damaged part, for instance. Each is said once."""

    def __post_init__(self) -> None:
        if "://" not in self.url:
            self.url = local_path(self.url)
        try:
            fs, root = filesystem(self.url)
        except (ImportError, ValueError) as error:
            raise WorkspaceError(
                f"workspace {self.url!r} cannot be opened: {error}. "
                "Give a folder, or s3://bucket/path (needs the extra `s3`)."
            ) from error
        self.fs, self.root = fs, root.rstrip("/")
        self.local = isinstance(fs, LocalFileSystem)
        if self.local and os.path.exists(self.root) and not os.path.isdir(self.root):
            raise WorkspaceError(f"workspace {self.root} is a file; give a folder, or s3://bucket/path")
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
            with tempfile.NamedTemporaryFile(prefix="cuvee-") as upload:
                yield cast(BinaryIO, upload)
                upload.flush()
                # Writing through `fs.open` would commit what is there when the block ends early.
                self.fs.put_file(upload.name, path)
            return
        folder = os.path.dirname(path)
        _make_folder(folder)
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
        sync(folder)

    def claim(self, path: str) -> bool:
        """Makes an empty file; False when it is there already. Of several writers one gets True."""
        try:
            if self.local:
                _make_folder(os.path.dirname(path))
                open(path, "xb").close()
            else:
                self.fs.pipe_file(path, b"", mode="create")
        except FileExistsError:
            return False
        return True

    def write_json(self, path: str, value: Any) -> None:
        self.write(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    def read_json(self, path: str) -> Any:
        """The value in a JSON file; None when there is no such file."""
        try:
            return json.loads(self.fs.cat_file(path))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise WorkspaceError(
                f"{path} is damaged ({error}); remove this file, and the next run of the recipe makes it again"
            ) from error

    def write_table(self, path: str, rows: pa.Table | pa.RecordBatchReader) -> int:
        """Commits one Parquet file (zstd) from a table, or batch by batch from a reader; gives the number of rows."""
        chunks = rows.to_batches(ROW_GROUP_ROWS) if isinstance(rows, pa.Table) else rows
        written = 0
        with self._committing(path) as file, pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
            for batch in chunks:
                if batch.num_rows:
                    fit = ROW_GROUP_BYTES * batch.num_rows // max(1, batch.nbytes)
                    writer.write_batch(batch, row_group_size=min(ROW_GROUP_ROWS, max(1, fit)))
                    written += batch.num_rows
        return written

    def listing(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty when there is no such folder."""
        return [_last(path) for path, _ in self._entries(folder)]

    def _entries(self, folder: str) -> list[tuple[str, int]]:
        """Path and size of what is in a folder, sorted; empty when there is no such folder."""
        try:
            found = self.fs.ls(folder, detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted((str(entry["name"]).rstrip("/"), int(entry["size"] or 0)) for entry in found)

    # ---- parts

    def append(self, folder: str, table: pa.Table | pa.RecordBatchReader) -> str:
        """Commits a part; gives its path."""
        path = new_part(folder)
        self.write_table(path, table)
        return path

    def declare(self, folder: str, settings: Mapping[str, Any]) -> None:
        """Writes `settings.json` beside parts that were made under these settings; again when it is damaged."""
        path = f"{folder}/{SETTINGS}"
        try:
            there = isinstance(self.read_json(path), dict)
        except WorkspaceError:
            there = False
        if not there:
            self.write_json(path, dict(settings))

    def parts(self, folder: str) -> list[str]:
        """Paths of the parts of a folder that can be read, by name. A damaged one is named in `warnings` and left out."""
        parts = [(path, size) for path, size in self._entries(folder) if _PART.fullmatch(_last(path))]
        return [path for path, size in parts if self._is_sound(path, size)]

    def _is_sound(self, path: str, size: int) -> bool:
        if self._sound.get(path) != size:
            if (damage := self._damage(path)) is not None:
                self.warn(f"{path} is damaged and left out ({damage}); what it held is made again")
                return False
            self._sound[path] = size
        return True

    def is_table(self, path: str) -> bool:
        """Whether a Parquet file is there and its footer whole."""
        return self._damage(path) is None

    def _damage(self, path: str) -> str | None:
        try:
            with self.fs.open(path, "rb") as file:
                pq.read_metadata(file)
        except (pa.ArrowInvalid, OSError, EOFError) as error:
            return str(error).splitlines()[0]
        return None

    def set_damaged_aside(self) -> list[str]:
        """Reads every part to its end and renames those that cannot be read; gives their paths.

        For when a query failed: that a part's footer is whole (which `parts` looks at) does not say that its pages are.
        """
        damaged = []
        found = [str(path) for kind in WITH_PARTS for path in self.fs.find(self.path(kind))]
        for path in sorted(path for path in found if _PART.fullmatch(_last(path))):
            try:
                with self.fs.open(path, "rb") as file:
                    for _ in pq.ParquetFile(file).iter_batches():
                        pass
            except (pa.ArrowException, OSError, EOFError):
                self.fs.mv(path, f"{path}.damaged")
                damaged.append(path)
        return damaged

    def merge(self, folder: str, at_least: int = 8) -> None:
        """Writes the parts of a folder as one when there are at least so many, then removes them.

        A crash between the two leaves rows twice; readers take one row per key, so it does no harm. Damaged parts
        stay where they are. Does nothing on an object store: another run may be reading what would be removed.
        """
        parts = self.parts(folder) if self.local else []
        if len(parts) < at_least:
            return
        schema = pa.unify_schemas([pq.read_schema(part) for part in parts])
        columns = ", ".join(quoted(name) for name in schema.names)
        with self.connect() as con:
            rows = batches(con, f"select {columns} from {parquet(parts)}", ROW_GROUP_ROWS)
            self.append(folder, rows.cast(schema))
        for path in parts:
            os.unlink(path)

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
        return [readable(self.fs, path) for path in paths]

    def scan(self, folder: str, schema: pa.Schema) -> str:
        """SQL for the rows of a folder's parts, with `filename`; an empty relation of `schema` when there are none.

        A column of `schema` that no part has, because an older version wrote them, is NULL.
        """
        columns = ", ".join(f"null::{sql_type(f.type)} as {quoted(f.name)}" for f in schema)
        empty = f"select {columns}, null::varchar as filename where false"
        parts = self.parts(folder)
        rows = f"from {parquet(self.readable(parts), filename=True)} union all by name " if parts else ""
        return f"({rows}{empty})"

    # ---- one writer

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds a local workspace for writing. The kernel lets go when the process ends, however it ends.

        Object stores are not locked: parts of two writers do not disturb each other.
        """
        if not self.local:
            yield
            return
        try:
            _make_folder(self.root)
            lock = open(f"{self.root}/.lock", "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise WorkspaceError(
                f"workspace {self.root} cannot be written: {error.strerror}; give another folder with --workspace"
            ) from error
        with lock as file:
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
            # The first words only: what follows may be long, or nobody else's business.
            command = " ".join([_last(sys.argv[0]), *sys.argv[1:3]])
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {started}: {command}\n")
            file.flush()
            self._clear()
            yield

    def _clear(self) -> None:
        """Removes what writers that were killed have left under temporary names; nobody reads it, but disks fill."""
        shutil.rmtree(f"{self.root}/{TEMPORARY}", ignore_errors=True)
        # A version without its manifest was never published; its claim stays, so that its name is not given again.
        for folder in glob.glob(f"{glob.escape(self.root)}/datasets/*/*/"):
            if os.path.exists(f"{folder}{CLAIM}") and not os.path.exists(f"{folder}{MANIFEST}"):
                for entry in os.scandir(folder):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path, ignore_errors=True)
                    elif entry.name != CLAIM:
                        with contextlib.suppress(OSError):
                            os.unlink(entry.path)
        for folder, _, names in os.walk(self.root):
            for name in filter(_TEMPORARY.fullmatch, names):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, name))


_PART = re.compile(r"part-.*\.parquet")
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


def new_part(folder: str) -> str:
    """A path for a part that no other writer takes."""
    return f"{folder}/part-{uuid.uuid4().hex}.parquet"


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _make_folder(folder: str) -> None:
    """Makes a folder and those above it, so that they are there also after a power cut."""
    above = os.path.dirname(folder)
    if not os.path.isdir(folder):
        _make_folder(above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        sync(above)


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it. Listings are never cached: others write too."""
    if "://" not in url:
        return LocalFileSystem(), local_path(url)
    fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return fs, str(path)


def readable(fs: Any, path: str) -> str:
    """A path as DuckDB takes it: one file, whatever its name."""
    if isinstance(fs, LocalFileSystem):
        return path  # a file that is there is not taken for a pattern
    return str(fs.unstrip_protocol(re.sub(r"([*?\[])", r"[\1]", path)))


def local_path(path: str | Path) -> str:
    return os.path.abspath(os.path.expanduser(path))
