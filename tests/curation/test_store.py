"""What a workspace promises: files that are whole or not there, damaged parts left out, one writer.

Every test that takes `store` runs on a local disk and on S3.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.duck import arrow, connect, literal, quoted, sql_type
from curation.store import Store, WorkspaceError, WorkspaceLocked, canonical, settings_hash

NUMBERS = pa.schema([("id", pa.string()), ("n", pa.int64())])


def numbers(*rows: tuple[str, int]) -> pa.Table:
    return pa.Table.from_pylist([{"id": name, "n": n} for name, n in rows], schema=NUMBERS)


def stored(store: Store, folder: str) -> list[tuple[str, int]]:
    with store.connect() as con:
        return sorted(con.execute(f"select id, n from {store.scan(folder, NUMBERS)}").fetchall())


# Parts


def test_an_appended_part_can_be_read(store: Store) -> None:
    folder = store.path("annotations", "form", "abc")
    store.append(folder, numbers(("a", 1), ("b", 2)))
    store.append(folder, numbers(("c", 3)))
    assert stored(store, folder) == [("a", 1), ("b", 2), ("c", 3)]
    assert stored(Store(store.url), folder) == [("a", 1), ("b", 2), ("c", 3)]


def test_a_folder_that_is_not_there_has_no_rows(store: Store) -> None:
    assert stored(store, store.path("annotations", "none")) == []
    assert store.listing(store.path("annotations", "none")) == []
    assert store.parts(store.path("annotations", "none")) == []


def test_parts_are_seen_as_soon_as_another_writer_has_committed_them(store: Store) -> None:
    folder, other = store.path("x"), Store(store.url)
    store.append(folder, numbers(("a", 1)))
    assert len(store.parts(folder)) == 1
    other.append(folder, numbers(("b", 2)))
    assert stored(store, folder) == [("a", 1), ("b", 2)]


def test_a_truncated_part_is_named_and_left_out(store: Store) -> None:
    folder = store.path("x")
    store.append(folder, numbers(("a", 1)))
    cut = store.append(folder, numbers(("b", 2)))
    store.fs.pipe_file(cut, store.fs.cat_file(cut)[:-20])
    assert stored(store, folder) == [("a", 1)]
    assert stored(store, folder) == [("a", 1)]
    [warning] = store.warnings
    assert cut in warning
    assert "is damaged and left out" in warning


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet at all" * 10], ids=["empty", "magic", "garbage"])
def test_what_is_no_parquet_is_left_out(store: Store, content: bytes) -> None:
    folder = store.path("x")
    store.write(store.path("x", "part-0.parquet"), content)
    store.append(folder, numbers(("a", 1)))
    assert stored(store, folder) == [("a", 1)]
    assert len(store.warnings) == 1


def test_files_that_are_no_parts_are_not_read(store: Store) -> None:
    folder = store.path("x")
    for name in ("settings.json", ".9f.tmp", "part-1.parquet.tmp", "notes.parquet"):
        store.write(f"{folder}/{name}", b"anything")
    store.append(folder, numbers(("a", 1)))
    assert stored(store, folder) == [("a", 1)]
    assert store.warnings == []


def test_a_column_that_no_part_has_yet_is_null(store: Store) -> None:
    folder = store.path("x")
    store.append(folder, numbers(("a", 1), ("b", 2)))
    now = pa.schema([*NUMBERS, ("more", pa.list_(pa.int32()))])
    with store.connect() as con:
        rows = con.sql(f"select id, n, more from {store.scan(folder, now)} where n > 1 and filename like '%part-%'")
        assert rows.fetchall() == [("b", 2, None)]
        assert "Filters: n > 1" in rows.explain()  # as the file is read, not after


def test_merging_keeps_every_row_and_type_in_one_part(tmp_path: Path) -> None:
    store, folder = Store(str(tmp_path)), str(tmp_path / "x")
    schema = pa.schema([pa.field("id", pa.string(), nullable=False), ("at", pa.timestamp("ms", "UTC"))])
    for n in range(8):
        store.append(folder, pa.Table.from_pylist([{"id": f"{n}", "at": n}], schema=schema))
    store.merge(folder)
    [part] = store.parts(folder)
    table = pq.read_table(part)
    assert sorted(table["id"].to_pylist()) == [str(n) for n in range(8)]
    assert table.schema.equals(schema)


def test_merging_keeps_columns_that_only_some_parts_have(tmp_path: Path) -> None:
    store, folder = Store(str(tmp_path)), str(tmp_path / "x")
    store.append(folder, pa.table({"id": ["a"]}))
    store.append(folder, pa.table({"id": ["b"], "more": [1]}))
    store.merge(folder, at_least=2)
    assert sorted(pq.read_table(store.parts(folder)[0]).to_pylist(), key=str) == [
        {"id": "a", "more": None},
        {"id": "b", "more": 1},
    ]


def test_merging_leaves_few_parts_and_damaged_ones_alone(tmp_path: Path) -> None:
    store, folder = Store(str(tmp_path)), str(tmp_path / "x")
    for n in range(3):
        store.append(folder, numbers((f"{n}", n)))
    (tmp_path / "x" / "part-bad.parquet").write_bytes(b"PAR1")
    store.merge(folder, at_least=4)
    assert len(store.parts(folder)) == 3
    store.merge(folder, at_least=3)
    assert len(store.parts(folder)) == 1
    assert (tmp_path / "x" / "part-bad.parquet").exists()


def test_on_an_object_store_nothing_is_removed_under_another_reader(s3: str) -> None:
    store = Store(f"{s3}/merge")
    for n in range(9):
        store.append(store.path("x"), numbers((f"{n}", n)))
    store.merge(store.path("x"))
    assert len(store.parts(store.path("x"))) == 9


def test_rows_with_long_texts_go_into_small_row_groups(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_table(str(tmp_path / "long.parquet"), pa.table({"text": ["x" * (1 << 20)] * 20}))
    groups = pq.read_metadata(tmp_path / "long.parquet")
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [7, 7, 6]


# Commits


def test_a_file_appears_only_when_its_block_ends_well(store: Store) -> None:
    path = store.path("x", "part-1.parquet")
    broken = pa.RecordBatchReader.from_batches(NUMBERS, (1 / 0 for _ in range(1)))
    with pytest.raises(ZeroDivisionError):
        store.write_table(path, broken)
    assert store.listing(store.path("x")) == []


def test_a_failed_write_keeps_what_was_there(store: Store) -> None:
    path = store.path("x", "part-1.parquet")
    store.write_table(path, numbers(("a", 1)))
    broken = pa.RecordBatchReader.from_batches(NUMBERS, (1 / 0 for _ in range(1)))
    with pytest.raises(ZeroDivisionError):
        store.write_table(path, broken)
    assert stored(store, store.path("x")) == [("a", 1)]


def test_json_survives_a_round_trip(store: Store) -> None:
    value = {"text": "ünï \n'\"", "n": [1, 2.5, None], "deep": {"x": True}}
    store.write_json(store.path("a", "m.json"), value)
    assert store.read_json(store.path("a", "m.json")) == value
    assert store.read_json(store.path("a", "none.json")) is None


@pytest.mark.parametrize("content", [b"", b'{"a":', b"\xff\xfe"])
def test_damaged_json_is_named_with_what_to_do(store: Store, content: bytes) -> None:
    store.write(store.path("m.json"), content)
    with pytest.raises(WorkspaceError, match=r"m\.json is damaged .*remove this file"):
        store.read_json(store.path("m.json"))


def test_settings_are_declared_once(store: Store) -> None:
    store.declare(store.path("x"), {"a": 1})
    store.declare(store.path("x"), {"a": 2})
    assert store.read_json(store.path("x", "settings.json")) == {"a": 1}


def test_one_of_several_writers_gets_a_claim(store: Store) -> None:
    other = Store(store.url)
    assert store.claim(store.path("v", ".claim"))
    assert not other.claim(store.path("v", ".claim"))


KILLED = """
import os, signal, sys
import pyarrow as pa
from curation.store import Store

store = Store(sys.argv[1])
folder = store.path("datasets", "d", "2026-01-01.1")
store.append(store.path("annotations", "a"), pa.table({"id": ["whole"], "n": [1]}))

def dies():
    yield pa.record_batch({"id": ["half"], "n": [2]})
    os.kill(os.getpid(), signal.SIGKILL)

store.write_table(f"{folder}/rl/train-00000.parquet", pa.table({"id": ["a"]}))
rows = pa.RecordBatchReader.from_batches(pa.schema([("id", pa.string()), ("n", pa.int64())]), dies())
with store.locked():
    store.append(store.path("annotations", "a"), rows)
"""


def test_a_kill_leaves_nothing_that_could_be_taken_for_complete(workspace: str) -> None:
    from curation.publish import versions

    killed = subprocess.run([sys.executable, "-c", KILLED, workspace], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = Store(workspace)
    assert stored(store, store.path("annotations", "a")) == [("whole", 1)]
    assert store.warnings == []
    assert versions(store, "d") == []
    with store.locked():  # the kernel has let go of it
        pass


def test_new_folders_are_synced_with_the_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    Store(str(tmp_path / "ws")).write(str(tmp_path / "ws" / "a" / "b.json"), b"{}")
    file, *folders = [path for path in synced if path.endswith(".tmp")] + [p for p in synced if not p.endswith(".tmp")]
    assert os.path.dirname(file) == str(tmp_path / "ws" / "a")
    assert folders == [str(tmp_path), str(tmp_path / "ws"), str(tmp_path / "ws" / "a")]


# One writer

HOLDER = """
import sys
from curation.store import Store
sys.argv[0:3] = ["/somewhere/bin/cuvee", "run", "demo", "--set", "models.policy.url=http://secret"]
with Store(sys.argv.pop()).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_with_the_holder_named(tmp_path: Path) -> None:
    script = HOLDER.replace("Store(sys.argv.pop())", f"Store({str(tmp_path)!r})")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(WorkspaceLocked) as refusal, Store(str(tmp_path)).locked():
            pass
        holder.stdin.close()
    assert f"is in use by process {holder.pid} on" in str(refusal.value)
    assert "cuvee run demo" in str(refusal.value)
    assert "secret" not in str(refusal.value)
    with Store(str(tmp_path)).locked():
        pass


def test_object_stores_have_several_writers(s3: str) -> None:
    with Store(s3).locked(), Store(s3).locked():
        pass


def test_a_workspace_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("")
    with pytest.raises(WorkspaceError, match="is a file; give a folder"):
        Store(str(tmp_path / "ws"))


def test_a_workspace_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"), Store(str(tmp_path / "file" / "ws")).locked():
        pass


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(WorkspaceError, match=r"cannot be opened.*Give a folder, or s3://bucket/path"):
        Store("nope://bucket")


def test_two_colons_in_a_path_are_part_of_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "a::b"))
    store.append(store.path("x"), numbers(("a", 1)))
    assert (tmp_path / "a::b" / "x").is_dir()
    assert stored(store, store.path("x")) == [("a", 1)]


# Hashes and SQL


def test_settings_hashes_are_those_of_last_year() -> None:
    """Results are filed under these: another hash would measure everything again."""
    assert settings_hash({"annotator": "gold", "version": 1}) == "e1feaee27ee3bc30bba2"
    assert settings_hash({"b": [1, 1.5, None, True], "a": "ü"}) == "ff49d76119a16993dd02"


def test_the_order_of_keys_does_not_change_a_hash() -> None:
    assert settings_hash({"a": 1, "b": 2}) == settings_hash({"b": 2, "a": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_canonical_json_says_the_same(value: object) -> None:
    assert json.loads(canonical(value)) == value


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as con:
        yield con


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_is_a_literal_and_a_name(con: duckdb.DuckDBPyConnection, text: str) -> None:
    assert con.execute(f"select {literal(text)}").fetchall() == [(text,)]
    if text:
        assert arrow(con, f"select 1 as {quoted(text)}").column_names == [text]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pa.string(), "VARCHAR"),
        (pa.int16(), "SMALLINT"),
        (pa.list_(pa.int32()), "INTEGER[]"),
        (pa.struct([("a b", pa.list_(pa.string()))]), 'STRUCT("a b" VARCHAR[])'),
        (pa.timestamp("ms", "UTC"), "TIMESTAMP WITH TIME ZONE"),
    ],
)
def test_arrow_types_have_their_name_in_sql(kind: pa.DataType, name: str) -> None:
    assert sql_type(kind) == name
