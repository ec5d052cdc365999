"""Staged rows keep their order, also over many row groups, and texts come back by number."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from curation.progress import Progress
from distill import staging
from distill.building import ROW
from distill.example import Example
from distill.rendering import Renderer
from distill.spool import Spool
from distill.student import Student


def test_rows_are_taken_back_in_any_order(tmp_path: Path) -> None:
    rows = [{"text": "思" * size, "none": None, "turns": [{"role": "user"}]} for size in (0, 3, 70_000)]
    with Spool(tmp_path, 3) as spool:
        for number in (2, 0, 1):
            spool.put(number, rows[number])
        assert [spool.take(number) for number in (0, 1, 2, 1)] == [*rows, rows[1]]
    assert list(tmp_path.iterdir()) == []


def test_chosen_rows_keep_their_order_over_row_groups(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROW_GROUP_BYTES", 3000)
    staged = staging.Staging(tmp_path / "s.parquet", Renderer.load(Student(model="m"), model_folder), ROW)
    names = [f"{(7 * number) % 40:02d}" for number in range(40)]
    own = {"id": "p", "sample_index": 0, "source": "s", "license": None, "split": "train", "mode": "no_think"}
    rows = [({**own, "rollout": name}, Example([{"role": "user", "content": "?"}], None, name)) for name in names]
    with Progress(quiet=True).step("rows", len(rows)) as step:
        staged.write(iter([rows[:20], rows[20:]]), step)
    con = duckdb.connect()
    con.execute("create view chosen as select unnest(range(0, 40, 3)) as n, format('{:02d}', n) as rollout")
    chosen = staged.only(con, "chosen")
    assert pq.ParquetFile(tmp_path / "s-chosen.parquet").num_row_groups > 2
    kept = [name for name in names if int(name) % 3 == 0]
    assert [row[0] for row in con.execute(f"select rollout from {chosen}").fetchall()] == kept


def test_lengths_are_put_into_powers_of_two() -> None:
    assert [staging.length_bucket(tokens) for tokens in (1, 256, 257, 4096, 4097)] == [256, 256, 512, 4096, 8192]
