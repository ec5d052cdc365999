"""The program in a completion, when outputs are the same, and values on their way between two sandboxes."""

import contextlib
from collections import Counter, OrderedDict
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.verify.code_asserts import plain_calls
from curation.verify.code_literals import Opaque, decode, encode
from curation.verify.code_text import program_in, readings, same_output, same_result


@pytest.mark.parametrize(
    ("text", "names", "program"),
    [
        ("print(1)", [], "print(1)"),
        ("So:\n```python\nprint(1)\n```\nDone.", [], "print(1)\n"),
        ("```\nprint(1)\n```", [], "print(1)\n"),
        ("```py\n1\n```\nbetter:\n```Python3\n2\n```", [], "2\n"),
        ("```python\n1\n```\nIt prints:\n```text\n1\n```", [], "1\n"),
        ("```python\ndef f(): 1\n```\nUse it:\n```python\nprint(f())\n```", ["f", "len"], "def f(): 1\n"),
        (
            "```python\nclass Solution:\n  def f(self): 1\n```\nso\n```python\n0\n```",
            ["f"],
            "class Solution:\n  def f(self): 1\n",
        ),
        ("```python\ndef f(): 1\n```\nUsage:\n```\n1\n```", ["f"], "def f(): 1\n"),
        ("```python\nprint(1)\n```\nExample output:\n```\n1\n```", [], "print(1)\n"),
        ("```\nprint(1)\n```\nExample output:\n```\n1\n```", [], "1\n"),
        ("```python\nprint(1)\n", [], "print(1)\n"),
        ("  ```python\n  x\n  ```", [], "x\n"),
        ("~~~python\n```\n~~~", [], "```\n"),
    ],
)
def test_the_program_is_the_last_block_that_defines_it(text: str, names: list[str], program: str) -> None:
    assert program_in(text, names) == program


@pytest.mark.parametrize("opening", ["```python\n", "```", "~~~\n", "\n```x\n`"])
def test_text_that_only_opens_fences_takes_linear_time(opening: str) -> None:
    program_in(opening * 20_000, ["f"])  # a quadratic pass would take minutes


def test_a_prefix_is_continued_or_repeated() -> None:
    assert readings("return 1", "") == ["return 1"]
    assert readings("return 1", "def f():") == ["def f():\nreturn 1", "def f():\n    return 1", "return 1"]


@pytest.mark.parametrize(
    ("output", "expected", "tolerance", "same"),
    [
        ("1 2\n", "1 2", 0, True),
        (" 1  2 \n\n", "1 2", 0, True),
        ("1\n2", "1 2", 0, False),
        ("1.0", "1", 0, False),
        ("1.0", "1", 1e-9, True),
        ("0.99", "1", 1e-3, False),
        ("yes", "YES", 0, False),
        ("nan", "1", 0.5, False),
        ("", "0", 0.5, False),
    ],
)
def test_outputs_are_the_same_by_lines_and_tokens(output: str, expected: str, tolerance: float, same: bool) -> None:
    assert same_output(output, expected, tolerance) is same


@pytest.mark.parametrize(
    ("result", "expected", "same"),
    [
        ((1, 2), [1, 2], True),
        ({1: "a"}, {"1": "a"}, True),
        (1.0, 1, True),
        (True, 1, False),
        (1, True, False),
        ("1", 1, False),
        (None, None, True),
        ([1], [1, 2], False),
        (10**400, 1.5, False),
        (Opaque("Node"), None, False),
    ],
)
def test_results_are_the_same_as_json(result: Any, expected: Any, same: bool) -> None:
    assert same_result(result, expected) is same
    assert same_result(result, expected, 1e-9) is same


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.fractions()
)
literals = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.sets(scalars)
        | st.frozensets(scalars)
        | st.dictionaries(scalars, inner)
    ),
    max_leaves=12,
)


@given(literals)
def test_literals_cross_as_they_are(value: Any) -> None:
    there = decode(encode(value))
    assert there == value
    assert type(there) is type(value)


@given(st.text() | literals.map(encode).map(lambda text: text[:-1]))
def test_no_text_does_more_than_raise_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        decode(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"value":["fractions","Fraction",["1e30000000"]]}',
        '{"value":["fractions","Fraction",[1,{"int":"0x' + "f" * 10_000 + '"}]]}',
        '{"value":["decimal","Decimal",["1e999999999"]]}',
        '{"value":["datetime","timedelta",[1e9]]}',
        '{"tuple":{"range":[0,100000000000,1]}}',
        '{"set":[' + ",".join(str(at * (2**61 - 1)) for at in range(60_000)) + "]}",
        '{"dict":[' + ",".join(f"[{at * (2**61 - 1)},0]" for at in range(60_000)) + "]}",
        "[" + "[]," * 1_000_001 + "0]",
        '{"int":5}',
        '{"opaque":5}',
        '{"value":["os","system",["true"]]}',
        '{"opaque":"x","set":[]}',
        '{"set":[[1]]}',
        '{"range":[1,2,0]}',
        "1 2",
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)


def test_whole_numbers_cross_at_any_length() -> None:
    for value in (10**5000, -(10**5000), [10**4000, 1 - 10**4000], {10**5000: 1}):
        assert decode(encode(value)) == value


def test_sets_that_are_large_or_collide_a_little_cross() -> None:
    for value in ({*range(-20_000, 20_000)}, {(a, b) for a in range(-50, 50) for b in range(-50, 50)}):
        assert decode(encode(value)) == value


class Any7(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    ("value", "there"),
    [(Any7(7), 7), (Counter("aa"), {"a": 2}), (OrderedDict(a=1), {"a": 1}), (Fraction(1, 2), Fraction(1, 2))],
)
def test_subclasses_cross_as_what_they_extend(value: Any, there: Any) -> None:
    assert decode(encode(value)) == there
    assert decode(encode(value)) != 8


def test_what_cannot_cross_equals_nothing() -> None:
    there = decode(encode([object()]))[0]
    assert there != there  # noqa: PLR0124
    assert there not in ([], None)


@pytest.mark.parametrize(
    ("tests", "name", "calls"),
    [
        (["assert f(1, b=[2]) == (3,)"], None, [("f", [1], {"b": [2]})]),
        (["def check(candidate):\n    assert True\n    assert not candidate(1), 'no'\ncheck(f)"], "f", [("f", [1], {})]),
        (["METADATA = {'author': 'x'}", "assert f(-1)"], "f", [("f", [-1], {})]),
        (["assert f(x) == 1"], None, None),
        (["assert f(1) == 1 + g(1)"], None, None),
        (["assert sum(1, 2) == 3", "assert sum(2, 2) == 4"], None, [("sum", [1, 2], {}), ("sum", [2, 2], {})]),
        (["assert f(1) == 1", "assert sum([1]) == 1"], None, None),
        (["assert sum([1]) == 1"], "sum", [("sum", [[1]], {})]),
        (["for x in (1, 2): assert f(x)"], None, None),
        (["assert f(*[1])"], None, None),
        (["x = 1"], None, None),
        (["assert ("], None, None),
    ],
)  # fmt: skip
def test_plain_asserts_are_read_and_others_are_run(tests: list[str], name: str | None, calls: Any) -> None:
    plain = plain_calls(tests, name)
    assert (plain and [(call.name, call.arguments, call.keywords) for call in plain]) == calls
