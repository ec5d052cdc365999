"""Preference pairs: which two traces of a problem, why, and how long they are."""

import collections
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curation.duck import arrow, connect
from distill.preference import COLUMNS, Paired, Pairs, pairs

Row = dict[str, Any]
SCHEMA = pa.schema(
    [
        ("rollout", pa.string()),
        ("problem_id", pa.string()),
        ("sample_index", pa.int32()),
        ("split", pa.string()),
        ("correct", pa.bool_()),
        ("trained_tokens", pa.int64()),
        ("text_digest", pa.string()),
        ("chosen_ok", pa.bool_()),
        ("rejected_ok", pa.bool_()),
    ]
)
CON = connect()


def traces(problem: str = "p", **given: int | None) -> list[Row]:
    """Traces by name and length: those with names in r are right, in w wrong, in u of unknown correctness."""
    right: Mapping[str, bool | None] = {"r": True, "w": False, "u": None}
    return [
        {"rollout": f"{problem}.{name}", "problem_id": problem, "sample_index": number, "split": "train"}
        | {"correct": right[name[0]], "trained_tokens": length, "text_digest": f"text {name}"}
        | {"chosen_ok": True, "rejected_ok": True}
        for number, (name, length) in enumerate(given.items())
    ]


def paired(rows: Sequence[Row], wanted: Mapping[str, Any], seed: int = 0) -> tuple[list[Row], Paired]:
    """The pairs and the report."""
    CON.register("rows", pa.Table.from_pylist(list(rows), schema=SCHEMA))
    found = pairs(CON, "rows", Pairs.model_validate(wanted), seed)
    return arrow(CON, "from pairs order by problem_id, kind, chosen, rejected").to_pylist(), found


def names(rows: Sequence[Row], /, **wanted: Any) -> list[str]:
    found, _ = paired(rows, wanted)
    return [f"{pair['chosen'].split('.')[1]} {pair['rejected'].split('.')[1]}" for pair in found]


def test_a_correct_trace_is_preferred_to_a_wrong_one():
    found, told = paired(traces(r0=100, w0=80), {})
    assert found == [
        {
            "problem_id": "p",
            "split": "train",
            "chosen": "p.r0",
            "rejected": "p.w0",
            "kind": "correct_wrong",
            "reason": "wrong",
            "chosen_tokens": 100,
            "rejected_tokens": 80,
        }
    ]
    assert told.record() == {
        "settings": {},
        "problems": 1,
        "paired": 1,
        "unpaired": {},
        "kinds": {
            "correct_wrong": {
                "pairs": 1,
                "problems": 1,
                "chosen_tokens": 100.0,
                "rejected_tokens": 80.0,
                "rejected_longer": 0.0,
            }
        },
        "rejected": {"wrong": 1, "correct": 0},
    }
    assert list(found[0]) == list(COLUMNS)


def test_every_correct_and_every_wrong_trace_stands_as_often_give_or_take_one():
    rows = traces(r0=1, r1=1, r2=1, r3=1, w0=1, w1=1)
    found = names(rows, k=4)
    assert collections.Counter(pair[:2] for pair in found) == {"r0": 1, "r1": 1, "r2": 1, "r3": 1}
    assert collections.Counter(pair[3:] for pair in found) == {"w0": 2, "w1": 2}
    assert len({*names(rows, k=None)}) == 8


def test_at_most_k_pairs_are_made_of_a_problem():
    rows = traces("a", r0=1, r1=2, w0=3, w1=4) + traces("b", r0=1, w0=1)
    found, _ = paired(rows, {"k": 3})
    assert collections.Counter(pair["problem_id"] for pair in found) == {"a": 3, "b": 1}
    assert len({(pair["chosen"], pair["rejected"]) for pair in found}) == 4


def test_other_pairs_are_made_by_another_seed():
    rows = [row for n in range(30) for row in traces(f"p{n}", r0=1, r1=1, w0=1, w1=1)]
    assert paired(rows, {"k": 1}, 0)[0] != paired(rows, {"k": 1}, 1)[0]


def test_the_wrong_trace_nearest_in_length_is_taken_when_lengths_are_to_tell_nothing():
    rows = traces(r0=100, r1=1000, w0=90, w1=400, w2=990, w3=5000)
    assert names(rows, lengths="nearest", k=2) == ["r0 w0", "r1 w2"]
    # Each correct one's second nearest comes after every nearest.
    assert names(rows, lengths="nearest", k=4) == ["r0 w0", "r0 w1", "r1 w1", "r1 w2"]
    assert len(names(rows, lengths="nearest", k=None)) == 8


def test_long2short_prefers_the_shortest_correct_trace_to_longer_ones():
    rows = traces(r0=100, r1=140, r2=150, r3=172, w0=90, w1=101, w2=500)
    found, told = paired(rows, {"kinds": ["long2short"], "k": None})
    assert [(pair["chosen"], pair["rejected"], pair["reason"], pair["rejected_tokens"]) for pair in found] == [
        ("p.r0", "p.r2", "1.5 times as long", 150),
        ("p.r0", "p.r3", "1.7 times as long", 172),
        ("p.r0", "p.w1", "wrong and longer", 101),
        ("p.r0", "p.w2", "wrong and longer", 500),
    ]
    assert told.kinds["long2short"]["rejected_longer"] == 1
    assert told.rejected == {"wrong": 2, "correct": 2}
    assert names(rows, kinds=["long2short"], longer=1.4, k=None) == ["r0 r1", "r0 r2", "r0 r3", "r0 w1", "r0 w2"]
    assert len(names(rows, kinds=["long2short"], k=2)) == 2


def test_a_pair_of_both_kinds_is_made_once():
    rows = traces(r0=100, r1=200, w0=300)
    found, _ = paired(rows, {"kinds": ["long2short", "correct_wrong"]})
    assert [(pair["kind"], pair["chosen"], pair["rejected"]) for pair in found] == [
        ("correct_wrong", "p.r0", "p.w0"),
        ("correct_wrong", "p.r1", "p.w0"),
        ("long2short", "p.r0", "p.r1"),
    ]


def test_the_rules_say_what_may_be_chosen_and_what_rejected():
    rows = traces(r0=10, r1=20, w0=30, w1=40)
    rows[0]["chosen_ok"] = False
    rows[2]["rejected_ok"] = None
    assert names(rows) == ["r1 w1"]
    # The shortest is that of those that may be chosen; what may not may still be rejected.
    rows[0]["trained_tokens"] = 50
    assert names(rows, kinds=["long2short"]) == ["r1 r0", "r1 w1"]
    wrong = traces(w0=10, w1=40)
    assert names(wrong) == names(wrong, kinds=["long2short"]) == []


def test_unknown_correctness_or_length_is_in_no_pair():
    assert names(traces(r0=10, u0=30), kinds=["correct_wrong", "long2short"]) == []
    assert names(traces(r0=10, w0=None)) == []


def test_a_text_is_in_a_pair_as_one_trace_and_in_none_when_its_verdicts_differ():
    rows = traces(r0=10, r1=10, w0=10, w1=10)
    rows[1]["text_digest"] = rows[0]["text_digest"]
    assert len(names(rows, k=None)) == 2
    rows[2]["text_digest"] = rows[0]["text_digest"]
    assert names(rows, k=None) == []
    same = traces("a", r0=10) + traces("b", w0=10, r1=5)
    assert len(names(same)) == 1  # the same digest in two problems is two traces


def test_problems_without_a_pair_are_counted_by_what_they_lack():
    rows = traces("a", r0=1) + traces("b", w0=1) + traces("c", u0=1) + traces("d", r0=1, w0=1)
    _, told = paired(rows, {})
    assert (told.problems, told.paired) == (4, 1)
    assert told.unpaired == {"no trace that may be chosen": 2, "no wrong trace that may be rejected": 1}
    _, told = paired(traces(r0=10, r1=11), {"kinds": ["long2short"]})
    assert told.unpaired == {"no two that differ as asked": 1}
    assert told.kinds["long2short"]["pairs"] == 0


def test_no_traces_are_no_mistake():
    found, told = paired([], {"kinds": ["correct_wrong", "long2short"]})
    assert (found, told.problems, told.unpaired) == ([], 0, {})


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"kinds": []}, "names no kind, or one twice; give correct_wrong, long2short or both"),
        ({"kinds": ["long2short"], "longer": 1}, "greater than 1"),
        ({"longer": 2}, "longer is a setting of long2short, which `kinds` does not name"),
        ({"kinds": ["long2short"], "lengths": "nearest"}, "lengths is a setting of correct_wrong"),
        ({"k": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wanted: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        Pairs.model_validate(wanted)


TRACES = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from([True, False, None]), st.integers(0, 40), st.integers(0, 12), st.booleans()
    ),
    max_size=30,
).map(
    lambda drawn: [
        {"rollout": f"t{n}", "problem_id": f"p{problem}", "sample_index": n, "split": "train", "correct": correct}
        | {"trained_tokens": length, "text_digest": f"{digest}", "chosen_ok": ok, "rejected_ok": True}
        for n, (problem, correct, length, digest, ok) in enumerate(drawn)
    ]
)
KINDS = st.sampled_from([["correct_wrong"], ["long2short"], ["correct_wrong", "long2short"]])


@settings(max_examples=20)
@given(TRACES, KINDS, st.sampled_from([1, 2, 5, None]), st.booleans(), st.randoms(use_true_random=False))
def test_pairs_are_what_they_say_whatever_the_order_of_rows(
    rows: list[Row], kinds: list[str], k: int | None, nearest: bool, shuffler: random.Random
):
    wanted: Row = {"kinds": kinds, "k": k}
    if nearest and "correct_wrong" in kinds:
        wanted["lengths"] = "nearest"
    found, told = paired(rows, wanted)
    by_name = {row["rollout"]: row for row in rows}
    assert len({(pair["chosen"], pair["rejected"]) for pair in found}) == len(found)
    assert max(collections.Counter((p["problem_id"], p["kind"]) for p in found).values(), default=0) <= (k or 1000)
    for pair in found:
        chosen, rejected = by_name[pair["chosen"]], by_name[pair["rejected"]]
        assert chosen["problem_id"] == rejected["problem_id"] == pair["problem_id"]
        assert (chosen["correct"], chosen["chosen_ok"]) == (True, True)
        assert chosen["text_digest"] != rejected["text_digest"]
        if pair["kind"] == "correct_wrong":
            assert rejected["correct"] is False
        else:
            assert rejected["trained_tokens"] > chosen["trained_tokens"]
            assert not rejected["correct"] or rejected["trained_tokens"] >= 1.5 * chosen["trained_tokens"]
    assert sum(kind["pairs"] for kind in told.kinds.values()) == len(found) == sum(told.rejected.values())
    assert told.problems == told.paired + sum(told.unpaired.values())
    shuffler.shuffle(rows)
    assert paired(rows, wanted) == (found, told)


@settings(max_examples=15)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 40))
def test_all_pairs_come_once_and_use_traces_evenly(right: int, wrong: int, k: int):
    rows = traces(**{f"r{n}": 1 for n in range(right)}, **{f"w{n}": 1 for n in range(wrong)})
    found = names(rows, k=k)
    assert len(found) == len({*found}) == min(k, right * wrong)
    for side, count in ((0, right), (1, wrong)):
        uses = collections.Counter(pair.split()[side] for pair in found)
        assert max(uses.values()) - (min(uses.values()) if len(uses) == count else 0) <= 1
