"""Reading sources: rows as they were written, and errors that name the file and the key."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curation.jsonl import NotAnObject, columns, objects
from curation.source import ROW, Source, SourceError
from curation.store import Store, filesystem

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def read(source: Source, batch_rows: int = 1000) -> list[dict[str, Any]]:
    return [row for table, _ in source.tables(batch_rows) for row in table.to_pylist()]


def unreadable(source: Source) -> list[tuple[int, str]]:
    return [(row["row"], row["reason"]) for _, bad in source.tables(1000) for row in bad]


def jsonl(tmp_path: Path, *lines: str | bytes) -> Source:
    content = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    (tmp_path / "a.jsonl").write_bytes(content)
    return Source(jsonl=str(tmp_path / "a.jsonl"))


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


# JSONL


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"answer": "1.10"}', {"answer": "1.10"}),
        ('{"answer": 1.10}', {"answer": "1.10"}),
        ('{"answer": 1E400}', {"answer": "1E400"}),
        ('{"answer": 123456789012345678901234567890}', {"answer": "123456789012345678901234567890"}),
        ('{"answer": true, "other": null}', {"answer": "true", "other": None}),
        ('{"meta": {"a": [1.50, "x", null, {"b": false}]}}', {"meta": '{"a":[1.50,"x",null,{"b":false}]}'}),
        ('{"prompt": "\\u4e2d\\ud83d\\ude00 \\"q\\" \\u0000"}', {"prompt": '中😀 "q" \0'}),
        ('  {"a": "x"}  \r', {"a": "x"}),
        ('{"a": 1, "a": 2}', {"a": "2"}),
        ("{}", {}),
    ],
)
def test_a_row_keeps_the_form_it_was_written_in(line: str, found: dict[str, str | None]) -> None:
    assert columns(line.encode()) == found


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": ', "not JSON: Expecting value"),
        (b"[1, 2]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"a": NaN}', "not JSON: NaN is no JSON value"),
        (b'{"a": "\\ud800"}', "not valid Unicode"),
        (b'{"\\uDfff": 1}', "not valid Unicode"),
        (b'{"a": "\xff"}', "not valid Unicode"),
        (b'{"a": "\xed\xa0\x80"}', "not valid Unicode"),
        (b"[" * 100_000, "not JSON: nested too deeply"),
        (b'{"a": 1} {"b": 2}', "not JSON: Extra data"),
    ],
)
def test_a_line_that_is_no_object_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(NotAnObject, match=f"^{re.escape(reason)}") as error:
        columns(line)
    assert len(error.value.excerpt) <= 200


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, JSON, max_size=4), st.booleans())
def test_every_object_is_read_back_as_it_was(value: dict[str, Any], ascii_only: bool) -> None:
    found = columns(json.dumps(value, ensure_ascii=ascii_only).encode())
    assert found.keys() == value.keys()
    for key, item in value.items():
        text = found[key]
        assert text == item if item is None or isinstance(item, str) else json.loads(text or "") == item


@given(st.lists(st.sampled_from([b'{"a":1}', b"", b"  ", b"bad", b'{"a":"' + b"x" * 70_000 + b'"}']), max_size=40))
def test_lines_keep_their_numbers_and_blank_ones_are_none(tmp_path_factory: Any, lines: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = [(number, length) for number, length, _ in objects(*filesystem(str(path)))]
    assert found == [(number, len(line)) for number, line in enumerate(lines) if line.strip()]


def test_rows_may_differ_in_columns_and_types(tmp_path: Path) -> None:
    source = jsonl(tmp_path, '{"prompt": "p", "answer": 1.10}', "", '{"answer": ["x"], "more": {}}', "no")
    assert read(source) == [
        {"prompt": "p", "answer": "1.10", "more": None, ROW: 0},
        {"prompt": None, "answer": '["x"]', "more": "{}", ROW: 2},
    ]
    [(row, reason)] = unreadable(source)
    assert (row, reason.split(":")[0]) == (3, "not JSON")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    source = jsonl(tmp_path, b'\xef\xbb\xbf{"prompt": "p"}\r', b'{"prompt": "q"}\r', b"\r")
    assert read(source) == [{"prompt": "p", ROW: 0}, {"prompt": "q", ROW: 1}]


def test_a_row_longer_than_a_block_is_read(tmp_path: Path) -> None:
    source = jsonl(tmp_path, json.dumps({"prompt": "x" * 5_000_000}), '{"prompt": "y"}')
    assert [len(row["prompt"]) for row in read(source)] == [5_000_000, 1]


def test_batches_are_small_where_rows_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.source.BATCH_BYTES", 50)
    source = jsonl(tmp_path, *['{"prompt": "' + "x" * 30 + '"}'] * 4)
    assert [table.num_rows for table, _ in source.tables(1000)] == [2, 2]


@pytest.mark.parametrize("suffix", ["zst", "gz"])
def test_compressed_files_are_read_and_cut_off_ones_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl.{suffix}"
    packed = (zstd if suffix == "zst" else gzip.compress)(b'{"prompt": "p"}\n' * 1000)
    path.write_bytes(packed + packed)
    assert len(read(Source(jsonl=str(path)))) == 2000
    path.write_bytes(packed[:-9])
    with pytest.raises(SourceError, match=rf"jsonl: .*a\.jsonl\.{suffix} cannot be read: Truncated compressed stream"):
        read(Source(jsonl=str(path)))


def test_lines_are_numbered_on_over_files(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"x": 1}\n{"x": 2}\n')
    assert [row[ROW] for row in read(Source(jsonl=str(tmp_path / "*.jsonl")))] == [0, 1, 2, 3]


# Which files


def test_a_name_with_glob_characters_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1]*.jsonl").write_text('{"x": 1}')
    (tmp_path / "a1b.jsonl").write_text('{"x": 2}')
    assert read(Source(jsonl=str(tmp_path / "a[1]*.jsonl"))) == [{"x": "1", ROW: 0}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jsonl": "nope.jsonl"}, "jsonl: no file 'nope.jsonl'"),
        ({"parquet": ["nope/*.parquet"]}, r"parquet: no file 'nope/\*\.parquet'"),
        ({"jsonl": "."}, r"jsonl: no file '\.'"),
        ({"jsonl": ""}, "jsonl: names no file"),
        ({"jsonl": []}, "jsonl: names no file"),
        ({"hf": "/nowhere/at/all"}, "hf: '/nowhere/at/all' is neither a folder that exists nor a name on the Hub"),
        ({"hf": "a/b/c"}, "hf: 'a/b/c' is neither"),
    ],
)
def test_what_is_not_there_is_seen_without_reading(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        Source.model_validate(settings).check()


@pytest.mark.parametrize("settings", [{}, {"hf": "a/b", "jsonl": "x"}, {"split": "test"}])
def test_a_source_is_exactly_one_thing(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs exactly one of hf, parquet, jsonl, reasoning_gym"):
        Source.model_validate(settings)


@pytest.mark.parametrize("name", ["answer", "Answer", ROW, ROW.upper()])
def test_columns_that_sql_cannot_tell_apart_are_refused(tmp_path: Path, name: str) -> None:
    source = jsonl(tmp_path, '{"ANSWER": 1}', json.dumps({name: 2}))
    with pytest.raises(
        SourceError, match=f"jsonl: column '{name}' has the name of (column 'ANSWER'|the number of the row)"
    ):
        read(source)
    pq.write_table(pa.table([[1], [2]], names=["ANSWER", name]), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=f"parquet: column '{name}' has the name of"):
        read(Source(parquet=str(tmp_path / "a.parquet")))


def test_files_on_s3_are_read(s3: str) -> None:
    store = Store(f"{s3}/source")
    store.write(store.path("a[1] ü.jsonl"), b'{"x": 1}')
    store.write_table(store.path("b*'c.parquet"), pa.table({"x": [2]}))
    assert read(Source(jsonl=f"{s3}/source/a[1] ü.jsonl")) == [{"x": "1", ROW: 0}]
    assert read(Source(jsonl=f"{s3}/source/*.jsonl")) == [{"x": "1", ROW: 0}]
    assert read(Source(parquet=f"{s3}/source/b*'c.parquet")) == [{"x": 2, ROW: 0}]
    with pytest.raises(SourceError, match=r"jsonl: no file 's3://bucket/source/none\.jsonl'"):
        read(Source(jsonl=f"{s3}/source/none.jsonl"))
    Source(jsonl=f"{s3}/source/none.jsonl").check()  # asks nobody


# Parquet


def test_parquet_is_read_by_name_over_row_groups_and_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": range(5), "b": ["x"] * 5}), tmp_path / "1.parquet", row_group_size=2)
    pq.write_table(pa.table({"b": ["y"], "c": [{"d": 1}]}), tmp_path / "2.parquet")
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "3.parquet")
    rows = read(Source(parquet=str(tmp_path / "*.parquet")))
    assert [row[ROW] for row in rows] == list(range(6))
    assert rows[4] == {"a": 4, "b": "x", "c": None, ROW: 4}
    assert rows[5] == {"a": None, "b": "y", "c": {"d": 1}, ROW: 5}


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "whole.parquet")
    (tmp_path / "zcut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-8])
    with pytest.raises(SourceError, match=r"parquet: .*zcut\.parquet cannot be read"):
        read(Source(parquet=str(tmp_path / "*.parquet")))


def test_parquet_without_rows_gives_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    assert read(Source(parquet=str(tmp_path / "a.parquet"))) == []


# Hugging Face


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a set"
    folder.mkdir()
    pq.write_table(pa.table({"question": ["q0", "q1"]}), folder / "train-00000.parquet")
    pq.write_table(pa.table({"question": ["t0"]}), folder / "test-00000.parquet")
    return folder


def test_a_local_dataset_is_read_split_by_split(dataset: Path) -> None:
    assert [row["question"] for row in read(Source(hf=str(dataset)), batch_rows=1)] == ["q0", "q1"]
    assert read(Source(hf=str(dataset), split="test")) == [{"question": "t0", ROW: 0}]


def test_a_split_that_is_not_there_is_named(dataset: Path) -> None:
    with pytest.raises(SourceError, match=r"hf: dataset .*, split 'dev': .*dev"):
        read(Source(hf=str(dataset), split="dev"))


def test_moving_a_file_inside_a_local_dataset_changes_it(dataset: Path) -> None:
    before = Source(hf=str(dataset)).resolve()
    (dataset / "deep").mkdir()
    (dataset / "test-00000.parquet").rename(dataset / "deep" / "test-00000.parquet")
    assert Source(hf=str(dataset)).resolve() != before


OFFLINE = """
import sys
from curation.source import Source, SourceError
try:
    Source(hf="openai/gsm8k", revision="v1").resolve()
except SourceError as error:
    sys.exit(str(error))
"""


def test_without_a_network_the_hub_gives_one_clear_error() -> None:
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HF_HOME": "/nonexistent"}
    offline = subprocess.run(
        [sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, check=False
    )
    unreachable = environment | {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    refused = subprocess.run(
        [sys.executable, "-c", OFFLINE], env=unreachable, capture_output=True, text=True, check=False
    )
    for run in (offline, refused):
        assert run.stderr.startswith(
            "hf: the Hub has no dataset 'openai/gsm8k' at revision 'v1', or cannot be reached ("
        )
        assert "give a commit as `revision`, or download it and give its folder" in run.stderr


def test_a_commit_needs_no_network() -> None:
    assert Source(hf="openai/gsm8k", revision=COMMIT).resolve() == {"commit": COMMIT}


# reasoning-gym


def test_generated_problems_are_the_same_each_time() -> None:
    source = Source(reasoning_gym="chain_sum", size=3, seed=7, params={"min_terms": 2, "max_terms": 2})
    rows = read(source, batch_rows=2)
    assert rows == read(source)
    assert [row[ROW] for row in rows] == [0, 1, 2]
    assert {row["verifier"] for row in rows} == {"reasoning-gym"}
    assert json.loads(rows[0]["verifier_args"])["params"] == {"min_terms": 2, "max_terms": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reasoning_gym": "chain_sums"}, r"reasoning_gym: 'chain_sums' is no dataset .*; did you mean chain_sum\?"),
        ({"reasoning_gym": "chain_sum", "params": {"min_term": 2}}, r"params\.min_term: .*; did you mean min_terms\?"),
        ({"reasoning_gym": "chain_sum", "params": {"size": 2}}, r"params\.size: is no parameter of chain_sum"),
        ({"reasoning_gym": "chain_sum", "params": {"min_terms": 0}}, r"params: chain_sum refuses \{'min_terms': 0\}"),
        ({"reasoning_gym": "chain_sum", "params": {"min_terms": "x"}}, "params: chain_sum refuses"),
    ],
)
def test_parameters_that_the_generator_refuses_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(Source.model_validate(settings))


# What a pool's version is made of


def test_where_files_lie_is_no_part_of_what_they_are(tmp_path: Path) -> None:
    found = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        source = jsonl(tmp_path / place, '{"x": 1}')
        found.append((source.settings(), source.resolve()))
    assert found[0] == found[1]
    assert found[0] == (
        {"jsonl": "files"},
        {"files": [{"name": "a.jsonl", "bytes": 8, "sha256": found[0][1]["files"][0]["sha256"]}]},
    )


def test_how_prompts_are_put_is_no_part_of_the_pool() -> None:
    plain = Source(reasoning_gym="chain_sum")
    assert plain.settings() == Source(reasoning_gym="chain_sum", prompt={"style": "raw"}).settings()
    assert plain.settings() != Source(reasoning_gym="chain_sum", limit=3).settings()
