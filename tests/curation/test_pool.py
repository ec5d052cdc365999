"""Sources become problems: rows mapped, chosen, numbered, and none lost."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.duck import arrow
from curation.pool import Pool, PoolError, read, version_of
from curation.problem import SCHEMA, digest
from curation.progress import Progress
from curation.source import Source, SourceError
from curation.store import Store


class Reader:
    """Reads sources of literal rows into a workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(str(folder / "workspace"))

    def source(self, name: str, rows: list[Any], **settings: Any) -> Source:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (self.folder / f"{name}.jsonl").write_text("\n".join(lines))
        return Source(jsonl=str(self.folder / f"{name}.jsonl"), **settings)

    def read(self, max_rejected: float = 1.0, **sources: Source) -> Pool:
        return read(self.store, "pool", sources, max_rejected, Progress(quiet=True))

    def problems(self, pool: Pool) -> list[dict[str, Any]]:
        with self.store.connect() as con:
            rows: list[dict[str, Any]] = arrow(con, f"from {pool.problems(self.store)}").to_pylist()
        return rows

    def rejected(self, pool: Pool) -> list[tuple[str, int, str]]:
        with self.store.connect() as con:
            rows = con.execute(f"select source, row, reason from {pool.rejected(self.store)}").fetchall()
        return [(source, row, reason.split(":")[0]) for source, row, reason in rows]

    def mapped(self, rows: list[Any], **settings: Any) -> list[dict[str, Any]]:
        return self.problems(self.read(a=self.source("a", rows, **settings)))


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


# Mapping


def test_a_row_becomes_a_problem(reader: Reader) -> None:
    row = {"question": "1 + 1?", "solution": "So #### 2", "tag": "easy", "meta": {"level": 1.0}}
    columns = {"prompt": "question", "answer": "regexp_extract(solution, '#### (.*)', 1)", "license": "'MIT'"}
    [problem] = reader.mapped([row], columns=columns, verifier="math")
    assert problem == {
        "id": digest("1 + 1?", [], "2", "math"),
        "prompt": "1 + 1?",
        "messages": [],
        "tools": None,
        "answer": "2",
        "verifier": "math",
        "verifier_args": None,
        "source": "a",
        "license": "MIT",
        "parent_id": None,
        "meta": '{"level":1.0}',
        "row": 0,
    }


def test_what_rows_say_goes_before_what_the_source_says(reader: Reader) -> None:
    rows = [{"prompt": "p", "verifier": "exact", "license": "MIT"}, {"prompt": "q"}]
    found = reader.mapped(rows, verifier="math", license="CC0-1.0")
    assert [(row["verifier"], row["license"]) for row in found] == [("exact", "MIT"), ("math", "CC0-1.0")]


def test_a_mapping_goes_before_a_column_of_the_same_name(reader: Reader) -> None:
    [row] = reader.mapped([{"prompt": "p", "answer": "wrong", "right": "42"}], columns={"answer": '"right"'})
    assert row["answer"] == "42"


def test_case_of_column_names_does_not_matter_to_sql(reader: Reader) -> None:
    [row] = reader.mapped([{"Prompt": "p", "ANSWER": "1.10"}])
    assert (row["prompt"], row["answer"]) == ("p", "1.10")


def test_columns_named_like_our_own_views_are_columns(reader: Reader) -> None:
    [row] = reader.mapped([{"batch": "x", "row": "y", "excerpt": "z"}], columns={"prompt": "batch || row || excerpt"})
    assert row["prompt"] == "xyz"


def test_nested_values_become_json_text(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    table = pa.table(
        {
            "prompt": ["p"],
            "verifier_args": [{"dataset": "gcd", "n": 1}],
            "meta": pa.array([["a", "b"]], pa.list_(pa.string(), 2)),
            "answer": [1.5],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    [row] = reader.problems(reader.read(a=Source(parquet=str(tmp_path / "a.parquet"))))
    assert (row["verifier_args"], row["meta"], row["answer"]) == ('{"dataset":"gcd","n":1}', '["a","b"]', "1.5")


def test_a_struct_made_in_the_recipe_is_arguments_of_the_verifier(reader: Reader) -> None:
    [row] = reader.mapped([{"prompt": "p", "n": 3}], columns={"verifier_args": "{'digits': n::int}"})
    assert row["verifier_args"] == '{"digits":3}'


@pytest.mark.parametrize(
    ("answer", "verifier", "is_"),
    [
        (["1"], "math", "1"),
        ('["x \\in y"', "math", '["x \\in y"'),
        ([1, 2], "math", "[1,2]"),
        (["1"], "exact", '["1"]'),
    ],
)
def test_an_answer_in_a_list_of_one_is_that_answer(reader: Reader, answer: Any, verifier: str, is_: str) -> None:
    [row] = reader.mapped([{"prompt": "p", "answer": answer, "verifier": verifier}])
    assert row["answer"] == is_


TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi ü"}]


def test_messages_are_read_from_json_and_from_nested_columns(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    pq.write_table(pa.table({"prompt": ["p", "q"], "messages": [TURNS, None]}), tmp_path / "b.parquet")
    pool = reader.read(
        a=reader.source("a", [{"prompt": "p", "messages": [{**TURNS[0], "name": "x"}, TURNS[1]]}, {"prompt": "q"}]),
        b=Source(parquet=str(tmp_path / "b.parquet")),
    )
    assert [row["messages"] for row in reader.problems(pool)] == [TURNS, [], TURNS, []]


# Rows that are no problem


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{broken", "not JSON"),
        ("[]", "not a JSON object"),
        ({"answer": "1"}, "no prompt"),
        ({"prompt": " \n"}, "no prompt"),
        ({"prompt": "p", "verifier": "mathh"}, "unknown verifier"),
        (
            {"prompt": "p", "verifier": "math", "answer": ["1", "2"]},
            "answer is a list of 2, and math compares one (`columns",
        ),
        ({"prompt": "p", "verifier_args": "{"}, "verifier_args is not JSON"),
        ({"prompt": "p", "verifier_args": [1]}, "verifier_args is not a JSON object"),
        (
            {"prompt": "p", "verifier": "math", "verifier_args": {"tolerence": 1}},
            "unknown verifier_args of math, tolerence; known are tolerance, units, ordered",
        ),
        (
            {"prompt": "p", "verifier": "code", "verifier_args": {"inputs": ["1"]}},
            "verifier_args needs 'outputs', a code problem has {inputs, outputs} or {fn_name, inputs, outputs} or {test}",
        ),
        (
            {"prompt": "p", "verifier": "instructions"},
            "verifier_args need `instruction_id_list`, a list of names, and `kwargs`, an object for each of them",
        ),
        ({"prompt": "p", "messages": "hello"}, "messages is not JSON"),
        ({"prompt": "p", "messages": ["hello"]}, "messages is not a list of {role, content}"),
        ({"prompt": "p", "messages": [{"role": "user"}]}, "messages is not a list of {role, content}"),
        (
            {"prompt": "p", "messages": [{"role": "user", "content": ["x"]}]},
            "messages is not a list of {role, content}",
        ),
        ({"prompt": "p", "n": "x"}, "SQL failed"),
    ],
)
def test_a_row_that_is_no_problem_is_kept_apart_with_its_reason(reader: Reader, row: Any, reason: str) -> None:
    rows = [{"prompt": "p", "n": "1"}, row, {"prompt": "q"}]
    pool = reader.read(a=reader.source("a", rows, columns={"meta": "n::int"}))
    assert [problem["row"] for problem in reader.problems(pool)] == [0, 2]
    assert reader.rejected(pool) == [("a", 1, reason)]
    assert pool.manifest["sources"]["a"]["reasons"] == {reason: 1}
    assert (pool.manifest["read"], pool.manifest["problems"], pool.manifest["rejected"]) == (3, 2, 1)


def test_an_excerpt_shows_what_the_row_said(reader: Reader) -> None:
    pool = reader.read(a=reader.source("a", [{"prompt": "", "note": "x" * 500}, {"prompt": "p"}]))
    [row] = arrow(reader.store.connect(), f"from {pool.rejected(reader.store)}").to_pylist()
    assert row["excerpt"].startswith('{"prompt": "", "note": "xxx')
    assert len(row["excerpt"]) == 200


def test_too_many_rejected_rows_end_the_reading_with_examples(reader: Reader) -> None:
    source = reader.source("a", [{"prompt": "p"}, "oops", {"prompt": ""}])
    with pytest.raises(
        PoolError, match=r"sources\.a: 2 of 3 rows cannot be used, more than max_rejected: 0\.5"
    ) as error:
        reader.read(0.5, a=source)
    assert "row 1: not JSON: Expecting value" in str(error.value)
    assert "oops" in str(error.value)


def test_a_pool_without_a_problem_is_an_error(reader: Reader) -> None:
    with pytest.raises(PoolError, match="no source gave a single problem"):
        reader.read(a=reader.source("a", [{"prompt": "p"}], where="prompt = 'other'"))


# Which rows


def test_where_and_limit_choose_rows_in_their_order(reader: Reader) -> None:
    rows = [{"prompt": f"{n}"} for n in range(10)]
    found = reader.mapped(rows, where="prompt::int % 2 = 1", limit=3)
    assert [(row["prompt"], row["row"]) for row in found] == [("1", 1), ("3", 3), ("5", 5)]


def test_where_speaks_of_the_columns_of_the_source(reader: Reader) -> None:
    [row] = reader.mapped([{"prompt": "old"}, {"prompt": "new"}], where="prompt = 'new'", columns={"prompt": "'old'"})
    assert (row["prompt"], row["row"]) == ("old", 1)


def test_rejected_rows_count_towards_the_limit_and_those_behind_it_are_not_read(reader: Reader) -> None:
    rows = [{"prompt": "p"}, "broken", {"prompt": ""}, {"prompt": "q"}, "broken", {"prompt": "r"}]
    pool = reader.read(a=reader.source("a", rows, limit=4))
    assert [row["row"] for row in reader.problems(pool)] == [0, 3]
    assert [row for _, row, _ in reader.rejected(pool)] == [1, 2]
    assert pool.manifest["read"] == 4


def test_a_row_for_which_where_fails_is_rejected_not_skipped(reader: Reader) -> None:
    pool = reader.read(a=reader.source("a", [{"prompt": "1"}, {"prompt": "x"}], where="prompt::int > 0"))
    assert reader.rejected(pool) == [("a", 1, "SQL failed")]


def test_limits_hold_over_batches(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.mapping.BATCH_ROWS", 2)
    rows = [{"prompt": f"{n}"} if n % 3 else "broken" for n in range(12)]
    pool = reader.read(a=reader.source("a", rows, limit=7))
    assert [row["row"] for row in reader.problems(pool)] == [1, 2, 4, 5]
    assert [row for _, row, _ in reader.rejected(pool)] == [0, 3, 6]


# Ids and order


def test_identical_rows_are_told_apart_by_number(reader: Reader) -> None:
    pool = reader.read(
        a=reader.source("a", [{"prompt": "p"}, {"prompt": "q"}, {"prompt": "p"}]),
        b=reader.source("b", [{"prompt": "p"}]),
    )
    p, q = digest("p"), digest("q")
    assert [(row["id"], row["source"], row["row"]) for row in reader.problems(pool)] == [
        (p, "a", 0),
        (q, "a", 1),
        (f"{p}~2", "a", 2),
        (f"{p}~3", "b", 0),
    ]


def test_large_pools_are_written_as_several_parts_in_order(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.pool.PART_BATCHES", 1)
    rows = [{"prompt": f"{n % 5000}"} for n in range(9000)]
    pool = reader.read(a=reader.source("a", rows))
    assert [file["rows"] for file in pool.manifest["files"]] == [4096, 4096, 808]
    found = reader.problems(pool)
    assert [row["row"] for row in found] == list(range(9000))
    assert len({row["id"] for row in found}) == 9000
    assert found[0].keys() == set(SCHEMA.names)


# Mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"prompt": "questionn"}}, r"sources\.a\.columns\.prompt: .*did you mean question\?"),
        ({}, r"sources\.a\.columns\.prompt: the source has no column `prompt`; .*columns are question, n"),
        ({"columns": {"prompt": "question || random()"}}, r"sources\.a\.columns\.prompt: .*calls random\(\)"),
        (
            {"columns": {"prompt": "'a'), (select content from read_text('/etc/passwd')"}},
            r"sources\.a\.columns\.prompt: .*not one SQL expression",
        ),
        ({"columns": {"prompt": "question"}, "where": "n"}, r"sources\.a\.where: 'n' gives VARCHAR, not true or false"),
    ],
)
def test_a_mapping_that_does_not_bind_is_named(reader: Reader, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        reader.read(a=reader.source("a", [{"question": "p", "n": 1}], **settings))


def test_a_source_that_cannot_be_read_is_named(reader: Reader) -> None:
    with pytest.raises(SourceError, match=r"sources\.b\.jsonl: no file"):
        reader.read(a=reader.source("a", [{"prompt": "p"}]), b=Source(jsonl="nope.jsonl"))


# Versions


def test_an_unchanged_pool_is_not_read_again(reader: Reader) -> None:
    source = reader.source("a", [{"prompt": "p"}])
    assert reader.read(a=source) == reader.read(a=source)
    assert len(reader.store.listing(reader.store.path("pools", "pool"))) == 1
    assert len(reader.store.parts(reader.read(a=source).folder)) == 1


def test_another_content_spec_or_order_is_another_version(reader: Reader) -> None:
    a, b = reader.source("a", [{"prompt": "p"}]), reader.source("b", [{"prompt": "q"}])
    versions = {reader.read(a=a, b=b).version, reader.read(b=b, a=a).version, reader.read(a=a).version}
    versions.add(reader.read(a=a.model_copy(update={"limit": 1})).version)
    versions.add(reader.read(a=reader.source("a", [{"prompt": "p2"}])).version)
    assert len(versions) == 5


def test_a_missing_or_damaged_file_is_named_and_the_pool_read_again(reader: Reader) -> None:
    source = reader.source("a", [{"prompt": "p"}, "bad"])
    pool = reader.read(a=source)
    part = Path(pool.folder) / pool.manifest["files"][0]["name"]
    part.write_bytes(part.read_bytes()[:-10])
    store = reader.store = Store(reader.store.url)
    again = reader.read(a=source)
    assert any("is missing or damaged; the pool is read again" in warning for warning in store.warnings)
    assert again.version == pool.version
    assert [row["prompt"] for row in reader.problems(again)] == ["p"]
    (Path(pool.folder) / "rejected.parquet").unlink()
    assert reader.rejected(reader.read(a=source)) == [("a", 1, "not JSON")]


def test_versions_are_those_of_last_year() -> None:
    """Whole-pool annotations are filed under these."""
    inputs = {
        "mine": {
            "spec": {"jsonl": "files", "limit": 3},
            "resolved": {"files": [{"name": "a", "bytes": 1, "sha256": "0"}]},
        },
        "sums": {"spec": {"reasoning_gym": "chain_sum", "size": 5}, "resolved": {"reasoning-gym": "0.1.25"}},
    }
    assert version_of(inputs) == "405f0cbf470f0821a84f"
    assert version_of(dict(reversed(inputs.items()))) != version_of(inputs)
