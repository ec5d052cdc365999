"""The id of a problem: what it is made of, and that it never changes."""

from hypothesis import given
from hypothesis import strategies as st

from curation.problem import SCHEMA, digest

TEXT = st.text(max_size=6)
TURNS = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=3)
PROBLEM = st.tuples(TEXT, TURNS, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT)


def test_ids_are_those_of_last_year() -> None:
    """Annotations and rollouts are filed under ids: another id would measure everything again."""
    assert digest("What is 2 + 3?", [], "5", "math") == "35d6c920fd53eee9331a6ac6cde6cf76"
    turn = {"role": "system", "content": "Answer in 中文."}
    assert digest("2 + 3 = \ud800", [turn], None, None, '{"a":1}') == "4d3f8b301786f4a8a69a9f1e31bc5612"


def test_no_answer_is_not_the_empty_answer() -> None:
    assert digest("p", [], None) != digest("p", [], "")


def test_text_moved_between_fields_is_another_problem() -> None:
    assert digest("ab", [], "c") != digest("a", [], "bc")
    assert digest("p", [{"role": "user", "content": "x"}]) != digest("p", [{"role": "userx", "content": ""}])
    assert digest("p", [], "x", "math") != digest("p", [], "math", "x")


@given(PROBLEM, PROBLEM)
def test_two_problems_share_an_id_only_when_they_are_equal(one, other) -> None:  # type: ignore[no-untyped-def]
    assert (digest(*one) == digest(*other)) == (one == other)


def test_these_columns_are_never_null() -> None:
    assert [f.name for f in SCHEMA if not f.nullable] == ["id", "prompt", "messages", "source", "row"]
