"""A count rule is unknown when one way the missing samples may go is unknown, whatever the others say."""

import pyarrow as pa
import pytest

from curation import problem
from curation.duck import connect
from curation.rules import Decisions, Measured, place


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (9, "pass"),  # long enough, however the samples go
        (1, "unknown"),  # 1 to 3 passes of 4: either
        (None, "unknown"),  # true with 3 passes, unknown with fewer: not the same for every way
    ],
)
def test_one_unknown_way_makes_the_rule_unknown(words: int | None, outcome: str) -> None:
    con = connect()
    row = {"id": "a", "prompt": "p", "messages": [], "source": "s", "row": 0}
    con.register("problems", pa.Table.from_pylist([row], schema=problem.SCHEMA))
    form = Measured("form", pa.schema([("prompt_words", pa.int64())]))
    counts = pa.schema(
        [("passes", pa.int64()), ("fails", pa.int64()), ("pass_rate", pa.float64()), ("drawn", pa.int64())]
    )
    rate = Measured("pass_rate", counts, samples=4)
    decisions = Decisions(con, "problems", ["s"])
    decisions.add(form, pa.table({"id": ["a"], "prompt_words": pa.array([words], pa.int64())}))
    decisions.add(rate, pa.table({"id": ["a"], "passes": [1], "fails": [1], "pass_rate": [0.5], "drawn": [4]}))
    [rule] = place({"r": "passes >= 3 or prompt_words > 5"}, [form, rate])
    decisions.apply(rule)
    decisions.finish()
    assert con.execute("select rule_r from decisions").fetchall() == [(outcome,)]


def test_a_cast_that_stands_twice_is_unknown_where_the_text_is_no_number() -> None:
    """DuckDB would take what two conditions share out of the try(…) that a rule stands in."""
    with connect() as con:
        rows = [
            dict.fromkeys(problem.SCHEMA.names) | {"id": answer, "answer": answer} for answer in ("1", "5", "seven")
        ]
        con.register("problems", pa.Table.from_pylist(rows, schema=problem.SCHEMA))
        decisions = Decisions(con, "problems", [])
        decisions.apply(*place({"small": "answer::int > 0 and answer::int < 3"}, []))
        decisions.finish()
        found = con.execute("select id, rule_small from decisions order by id").fetchall()
    assert found == [("1", "pass"), ("5", "fail"), ("seven", "unknown")]
