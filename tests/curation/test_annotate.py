"""The one loop: find what is missing, compute it, commit it."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from curation import problem
from curation.annotate import Annotator, HowItRuns, Work
from curation.pool import Pool
from curation.progress import Progress
from curation.store import Store

ASKED: list[list[str]] = []


class Length(Annotator):
    """How long a prompt is, times a factor; remembers which ids it was asked about."""

    NAME: ClassVar[str] = "length"
    COLUMNS: ClassVar[pa.Schema] = pa.schema([("characters", pa.int64())])

    factor: int = 1
    """Changes the values."""
    batch: Annotated[int, HowItRuns()] = 7
    """Changes how it runs."""

    def annotate(self, problems: pa.Table) -> pa.Table:
        ASKED.append(problems["id"].to_pylist())
        lengths = pc.multiply(pc.cast(pc.utf8_length(problems["prompt"]), pa.int64()), self.factor)
        return pa.table([problems["id"], lengths], schema=self.table_schema())


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Three problems a, b, c with prompts of one, two and three letters; all are wanted."""
    ASKED.clear()
    store = Store(str(tmp_path / "workspace"))
    con = store.connect()
    rows = [
        {"id": id_, "prompt": prompt, "messages": [], "source": "s", "row": row}
        for row, (id_, prompt) in enumerate([("a", "x"), ("b", "xx"), ("c", "xxx")])
    ]
    con.register("rows", pa.Table.from_pylist(rows, schema=problem.SCHEMA))
    con.execute("create table problems as from rows")
    want(con, "a", "b", "c")
    return Work(store, con, Pool("", {"version": "1"}), Progress(quiet=True))


def want(con: Any, *ids: str) -> None:
    con.execute("create or replace table wanted as select unnest(?::varchar[]) as id", [list(ids)])


def measured(annotator: Annotator, work: Work) -> dict[str, Any]:
    return {row["id"]: row["characters"] for row in annotator.measure(work, "length").to_pylist()}


def test_only_what_is_missing_is_computed(work: Work) -> None:
    want(work.con, "a")
    assert measured(Length(), work) == {"a": 1}
    want(work.con, "a", "b", "c")
    assert measured(Length(), work) == {"a": 1, "b": 2, "c": 3}
    assert measured(Length(), work) == {"a": 1, "b": 2, "c": 3}
    assert ASKED == [["a"], ["b", "c"]]


def test_only_wanted_problems_are_given_back(work: Work) -> None:
    measured(Length(), work)
    want(work.con, "b")
    assert measured(Length(), work) == {"b": 2}


def test_another_setting_is_another_measurement(work: Work) -> None:
    assert measured(Length(), work)["c"] == 3
    assert measured(Length(factor=2), work)["c"] == 6
    assert len(ASKED) == 2


def test_a_setting_that_only_says_how_it_runs_is_not(work: Work) -> None:
    measured(Length(batch=1), work)
    measured(Length(batch=2), work)
    assert len(ASKED) == 1
    assert Length(batch=2).settings() == {"annotator": "length", "version": 1}


def test_a_setting_at_its_default_is_left_out() -> None:
    assert Length(factor=1).settings() == Length().settings()
    assert Length(factor=2).settings() == {"annotator": "length", "version": 1, "factor": 2}


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="fcator"):
        Length.model_validate({"fcator": 2})


def test_what_was_computed_before_a_failure_is_kept(work: Work) -> None:
    class Breaks(Length):
        def annotate(self, problems: pa.Table) -> pa.Table:
            if "c" in problems["id"].to_pylist():
                raise RuntimeError("at c")
            return super().annotate(problems)

    want(work.con, "a", "b")
    measured(Breaks(), work)
    want(work.con, "a", "b", "c")
    with pytest.raises(RuntimeError, match="at c"):
        measured(Breaks(), work)
    want(work.con, "a", "b")
    assert measured(Breaks(), work) == {"a": 1, "b": 2}
    assert ASKED == [["a", "b"]]


def test_an_annotator_that_loses_a_row_is_a_bug(work: Work) -> None:
    class Loses(Length):
        def annotate(self, problems: pa.Table) -> pa.Table:
            return super().annotate(problems).slice(1)

    with pytest.raises(AssertionError, match="changed the ids"):
        measured(Loses(), work)


def test_a_damaged_part_is_named_and_what_it_held_is_computed_again(work: Work, tmp_path: Path) -> None:
    measured(Length(), work)
    [part] = (tmp_path / "workspace").glob("annotations/length/*/part-*.parquet")
    part.write_bytes(part.read_bytes()[:-10])
    fresh = Work(Store(str(tmp_path / "workspace")), work.con, work.pool, work.progress)
    assert measured(Length(), fresh) == {"a": 1, "b": 2, "c": 3}
    assert len(ASKED) == 2
    assert [part.name in warning for warning in fresh.store.warnings] == [True]
