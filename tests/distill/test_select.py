"""Which traces stay: k of a problem, budgets, mixes, and what is said when they cannot be met."""

import collections
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curation.annotate import Work
from curation.duck import arrow, connect, parquet
from curation.pool import Pool
from curation.progress import Progress
from curation.store import Store
from distill.select import Chosen, SelectError, choose
from distill.selecting.diverse import signatures, signatures_of
from distill.selecting.targets import Select

Row = dict[str, Any]
SCHEMA = pa.schema(
    [
        ("rollout", pa.string()),
        ("problem_id", pa.string()),
        ("sample_index", pa.int32()),
        ("split", pa.string()),
        ("trained_tokens", pa.int64()),
        ("tokens", pa.int32()),
        ("domain", pa.string()),
        ("limo_score", pa.float64()),
        ("note", pa.string()),
    ]
)
CON = connect()
REAL = Path(__file__).parents[3] / "shared" / "data" / "traces" / "long_cot_traces.jsonl.zst"


def traces(problems: Mapping[str, Sequence[int]], split: str = "train", domain: str | None = "math") -> list[Row]:
    """Traces of so many tokens for every problem; the i-th of problem p is `p-i`."""
    return [
        {"rollout": f"{problem}-{i}", "problem_id": problem, "sample_index": i, "split": split, "domain": domain}
        | {"trained_tokens": length, "tokens": length + 10, "limo_score": length / 1000, "note": "x"}
        for problem, lengths in problems.items()
        for i, length in enumerate(lengths)
    ]


def many(count: int, each: Sequence[int], **rest: Any) -> list[Row]:
    """Problems that all have traces of these lengths."""
    return traces({f"{rest.get('domain', 'p')}{number}": each for number in range(count)}, **rest)


def chosen(
    rows: Sequence[Row], wanted: Mapping[str, Any], seed: int = 0, signed: pa.Table | None = None
) -> tuple[dict[str, str | None], Chosen]:
    """The reason of every trace, None where it stays, and the report."""
    CON.register("rows", pa.Table.from_pylist(list(rows), schema=SCHEMA))
    found = choose(CON, "rows", Select.model_validate(wanted), seed, signed)
    pairs = arrow(CON, "select rollout, reason from selected").to_pylist()
    assert len(pairs) == len(rows)
    return {pair["rollout"]: pair["reason"] for pair in pairs}, found


def stay(rows: Sequence[Row], /, **wanted: Any) -> list[str]:
    return sorted(rollout for rollout, reason in chosen(rows, wanted)[0].items() if reason is None)


def missed(rows: Sequence[Row], /, **wanted: Any) -> list[str]:
    return [str(target) for target in chosen(rows, wanted)[1].missed]


def test_four_traces_of_a_problem_stay_unless_said_otherwise():
    reasons, found = chosen(traces({"a": [10] * 6, "b": [10] * 2}), {})
    assert collections.Counter((rollout[0], reason) for rollout, reason in reasons.items()) == {
        ("a", None): 4,
        ("a", "k"): 2,
        ("b", None): 2,
    }
    assert found.record() == {
        "settings": {},
        "before": {"train": {"problems": 2, "rows": 8, "tokens": 80}},
        "after": {"train": {"problems": 2, "rows": 6, "tokens": 60}},
        "groups": {},
        "dropped": {"k": 2},
        "missed": [],
    }


def test_at_random_other_traces_stay_by_another_seed():
    rows = many(50, [10] * 4)
    by_seed = [chosen(rows, {"k": 1}, seed)[0] for seed in (0, 1)]
    assert by_seed[0] != by_seed[1]
    assert {sum(reason is None for reason in reasons.values()) for reasons in by_seed} == {50}


def test_the_shortest_the_longest_and_the_best_score_stay_by_their_sql():
    rows = traces({"a": [300, 100, 200], "b": [40, 50, 60]})
    assert stay(rows, by="tokens", k=1) == ["a-1", "b-0"]
    assert stay(rows, by="-tokens", k=1) == ["a-0", "b-2"]
    assert stay(rows, by="-limo_score", k=2) == ["a-0", "a-2", "b-1", "b-2"]
    assert len(stay(rows, by="tokens", k=None)) == 6


def test_a_trace_whose_number_is_unknown_or_cannot_be_computed_comes_last():
    rows = traces({"a": [3, 2, 1]})
    rows[2]["limo_score"] = None
    assert stay(rows, by="limo_score", k=1) == ["a-1"]
    assert stay(rows, by="limo_score", k=3) == ["a-0", "a-1", "a-2"]
    rows[1]["note"] = "5"
    assert stay(rows, by="note::int", k=1) == ["a-1"]


def test_the_first_trace_of_every_problem_comes_before_the_second_of_any():
    rows = traces({"a": [10] * 4, "b": [10] * 4, "c": [10]})
    assert [sum(name[0] == problem for name in stay(rows, rows=3)) for problem in "abc"] == [1, 1, 1]
    assert [sum(name[0] == problem for name in stay(rows, rows=5)) for problem in "abc"] == [2, 2, 1]
    assert [sum(name[0] == problem for name in stay(rows, rows=8)) for problem in "abc"] in ([4, 3, 1], [3, 4, 1])


def test_a_budget_takes_what_is_preferred():
    rows = traces({"a": [500, 400], "b": [100, 90], "c": [300, 200]})
    assert stay(rows, by="-tokens", k=1, rows=2, prefer="limo_score") == ["a-0", "c-0"]
    assert stay(rows, by="-tokens", k=2, rows=4, prefer="-limo_score") == ["a-0", "b-0", "b-1", "c-0"]


def test_a_budget_in_tokens_stops_before_the_trace_that_would_go_over_it():
    rows = traces({"a": [500], "b": [100], "c": [300]})
    reasons, found = chosen(rows, {"tokens": 850, "prefer": "tokens"})
    assert reasons == {"a-0": None, "c-0": None, "b-0": "tokens"}
    assert found.after["train"] == (2, 2, 800)
    # The trace of 300 would go over, so none after it is looked at: long ones would never stay else.
    assert stay(rows, tokens=650, prefer="tokens") == ["a-0"]
    assert stay(rows, tokens=400, prefer="tokens") == []


def test_of_two_budgets_each_holds_and_the_reason_names_what_cut():
    rows = traces({"a": [5], "b": [5], "c": [5], "d": [5]})
    reasons, _ = chosen(rows, {"rows": 3, "tokens": 10})
    assert collections.Counter(reasons.values()) == {None: 2, "rows": 1, "tokens": 1}


def test_a_budget_that_is_not_reached_is_told():
    rows = traces({"a": [5] * 6, "b": [5]})
    assert missed(rows, rows=5) == []
    assert missed(rows, rows=7) == ["select.rows: 7 rows wanted, 5 got: the rules and k: 4 leave no more"]
    assert missed(rows, k=None, tokens=1000) == ["select.tokens: 1,000 tokens wanted, 35 got: the rules keep no more"]


R1 = {"by": "domain", "shares": {"reasoning": 0.75, "general": 0.25}}
SHORT_AND_LONG = many(100, [1000], domain="reasoning") + many(100, [100], domain="general")


def domains(rows: Sequence[Row], wanted: Mapping[str, Any]) -> dict[str, int]:
    reasons, _ = chosen(rows, wanted)
    return dict(collections.Counter(str(row["domain"]) for row in rows if reasons[row["rollout"]] is None))


def test_a_mix_is_of_rows_or_of_tokens():
    assert domains(SHORT_AND_LONG, {"rows": 40, "mix": R1}) == {"reasoning": 30, "general": 10}
    of_tokens = R1 | {"of": "tokens"}
    assert domains(SHORT_AND_LONG, {"tokens": 40_000, "mix": of_tokens}) == {"reasoning": 30, "general": 100}


def test_a_mix_of_rows_keeps_a_budget_in_tokens_and_the_other_way_round():
    # 3 rows of 1,000 tokens and one of 100 are 3,100 tokens.
    assert domains(SHORT_AND_LONG, {"tokens": 31_000, "mix": R1}) == {"reasoning": 30, "general": 10}
    assert domains(SHORT_AND_LONG, {"rows": 40, "tokens": 15_500, "mix": R1}) == {"reasoning": 15, "general": 5}
    # Of 3,000 tokens and 1,000 the rows are 3 and 10.
    found = domains(SHORT_AND_LONG, {"rows": 39, "mix": R1 | {"of": "tokens"}})
    assert found == {"reasoning": 9, "general": 30}


def test_without_a_budget_a_mix_takes_as_much_as_the_shares_allow():
    assert domains(SHORT_AND_LONG, {"mix": R1}) == {"reasoning": 100, "general": 33}
    assert domains(SHORT_AND_LONG, {"mix": R1 | {"of": "tokens"}}) == {"reasoning": 30, "general": 100}


def test_what_a_group_lacks_is_told_and_not_filled_by_others():
    rows = many(100, [1000], domain="reasoning") + many(10, [100], domain="general")
    reasons, found = chosen(rows, {"rows": 80, "mix": R1})
    assert found.after["train"].rows == 70
    assert {name: both["after"].rows for name, both in found.groups.items()} == {"reasoning": 60, "general": 10}
    assert [str(target) for target in found.missed] == [
        "select.mix.general: 20 rows wanted, 10 got: it has no more; the shares hold up to 40 rows in all"
    ]
    # What the budget leaves out alone is the budget's.
    assert collections.Counter(reasons.values()) == {None: 70, "mix": 11, "rows": 29}


def test_other_groups_leave_by_the_mix_and_a_group_that_is_not_there_is_told():
    rows = many(4, [10], domain="law") + many(4, [10], domain="reasoning") + many(4, [10], domain=None)
    reasons, found = chosen(rows, {"rows": 8, "mix": R1})
    assert collections.Counter(reasons.values()) == {None: 4, "mix": 8}
    assert {name: (both["before"].rows, both["after"].rows) for name, both in found.groups.items()} == {
        "reasoning": (4, 4),
        "general": (0, 0),
        "law": (4, 0),
        "unknown": (4, 0),
    }
    assert [str(target) for target in found.missed] == [
        "select.mix.reasoning: 6 rows wanted, 4 got: it has no more",
        "select.mix.general: 2 rows wanted, 0 got: no trace of train is in this group; groups are reasoning, law, unknown",
    ]


def test_a_group_whose_first_trace_is_longer_than_its_share_is_told():
    rows = many(4, [1000], domain="reasoning") + many(4, [100], domain="general")
    assert missed(rows, tokens=400, mix=R1 | {"of": "tokens"}) == [
        "select.mix.reasoning: 300 tokens wanted, 0 got: its first trace is longer than that"
    ]


def test_the_test_split_is_cut_to_the_share_that_train_keeps():
    rows = many(100, [10], domain="reasoning") + many(20, [10], domain="held_out", split="test")
    _, found = chosen(rows, {"rows": 25})
    assert {split: size.rows for split, size in found.after.items()} == {"train": 25, "test": 5}
    _, found = chosen(rows, {"rows": 1000})
    assert {split: size.rows for split, size in found.after.items()} == {"train": 100, "test": 20}
    # None of few is no test: at least one of each group stays.
    _, found = chosen(rows, {"tokens": 10})
    assert {split: size.rows for split, size in found.after.items()} == {"train": 1, "test": 1}


def test_the_test_split_has_the_mix_of_train():
    rows = SHORT_AND_LONG + traces({f"r{n}": [1000] for n in range(10)}, "test", "reasoning")
    rows += traces({f"g{n}": [100] for n in range(10)}, "test", "general")
    reasons, _ = chosen(rows, {"rows": 40, "mix": R1})
    kept = [row for row in rows if reasons[row["rollout"]] is None and row["split"] == "test"]
    assert collections.Counter(row["domain"] for row in kept) == {"reasoning": 3, "general": 1}


def test_no_traces_are_no_mistake():
    reasons, found = chosen([], {"rows": 5, "mix": R1})
    assert (reasons, found.before, found.after) == ({}, {}, {})


def test_columns_of_traces_and_problems_may_have_any_name():
    columns = {"rollout": ["a", "b"], "problem_id": ["p", "p"], "sample_index": [0, 1], "split": ["train", "train"]}
    columns |= {"trained_tokens": [1, 1], "value": [2, 1], "prefer": [1, 2], "grp": ["x", "x"], "code": [0, 1]}
    CON.register("rows", pa.table(columns | {"place": [1, 2]}))
    wanted = {"by": "value", "k": 1, "rows": 1, "prefer": "prefer + place", "mix": {"by": "grp", "shares": {"x": 1.0}}}
    choose(CON, "rows", Select.model_validate(wanted), 0)
    assert CON.execute("select rollout, reason from selected order by 1").fetchall() == [("a", "k"), ("b", None)]


TEXTS = {
    "a-0": "we try small cases first and see a pattern in the sums",
    "a-1": "we try small cases first and see a pattern in all sums",
    "a-2": "by symmetry both halves agree so the integral vanishes",
    "a-3": "we try small cases first and see a pattern in the sums",
    "a-4": "suppose not; then an infinite descent contradicts minimality",
}


def signed(texts: Mapping[str, str]) -> pa.Table:
    names, words = list(texts), list(texts.values())
    halves = [slice(None, len(names) // 2), slice(len(names) // 2, None)]
    return signatures(pa.table({"rollout": names[half], "text": words[half]}) for half in halves)


def test_diverse_takes_those_that_are_worded_least_alike():
    rows = traces({"a": [10] * 5, "b": [10]})
    alike = {"a-0", "a-1", "a-3"}
    for seed in range(5):
        reasons, _ = chosen(rows, {"by": "diverse", "k": 3}, seed, signed(TEXTS | {"b-0": "x"}))
        kept = {rollout for rollout, reason in reasons.items() if reason is None}
        assert kept >= {"a-2", "a-4", "b-0"}
        assert len(kept & alike) == 1


def test_of_equal_texts_diverse_takes_the_second_last():
    rows = traces({"a": [10] * 4})
    texts = {"a-0": "one two three", "a-1": "one two three", "a-2": "four five six", "a-3": "one two four"}
    reasons, _ = chosen(rows, {"by": "diverse", "k": 3}, 0, signed(texts))
    assert [name for name, reason in reasons.items() if reason == "k"] in (["a-0"], ["a-1"])


def test_diverse_reads_the_thinking_too_and_needs_every_signature():
    thinking = pa.table({"rollout": ["a-0", "a-1"], "text": ["so 4", "so 4"], "reasoning": ["two and two", None]})
    assert len({*signatures([thinking])["signature"].to_pylist()}) == 2
    assert len({*signatures([thinking.drop(["reasoning"])])["signature"].to_pylist()}) == 1
    with pytest.raises(SelectError, match="1 traces have no signature"):
        chosen(traces({"a": [1, 1, 1]}), {"by": "diverse"}, 0, signatures([thinking]))
    with pytest.raises(SelectError, match="needs the signatures"):
        chosen(traces({"a": [1, 1, 1]}), {"by": "diverse"})


def test_of_real_traces_diverse_takes_those_that_share_fewest_words():
    if not REAL.exists():
        pytest.skip(f"{REAL.name} is not there")
    read = map(json.loads, pa.input_stream(REAL, compression="zstd").read().splitlines())
    texts: dict[str, list[str]] = {}
    for row in read:
        texts.setdefault(row["problem"], []).append(f"{row['thinking'] or ''} {row['response']}")
    some = {f"p{n}": own for n, own in enumerate(own for own in texts.values() if len(own) > 2) if n < 40}
    rows = traces({problem: [1] * len(own) for problem, own in some.items()})
    words = {f"{problem}-{n}": {*text.split()} for problem, own in some.items() for n, text in enumerate(own)}

    def shared(wanted: Mapping[str, Any], signed: pa.Table | None = None) -> float:
        """The mean share of words that two chosen traces of a problem have in common."""
        kept = sorted(name for name, reason in chosen(rows, wanted, 0, signed)[0].items() if reason is None)
        pairs = [(words[one], words[other]) for one, other in zip(kept[::2], kept[1::2], strict=True)]
        return sum(len(one & other) / len(one | other) for one, other in pairs) / len(pairs)

    text = [text for own in some.values() for text in own]
    signed = signatures([pa.table({"rollout": list(words), "text": text})])
    assert shared({"by": "diverse", "k": 2}, signed) < 0.8 * shared({"k": 2})


@pytest.mark.parametrize("apart", [False, True])
def test_staged_rows_are_compared_by_their_trained_turn(tmp_path: Path, apart: bool):
    def turn(thinking: str, answer: str) -> Row:
        if apart:
            return {"role": "assistant", "content": answer, "reasoning_content": thinking}
        return {"role": "assistant", "content": f"{thinking}\n{answer}"}

    turns = {
        "a-0": turn("two and two", "so 4"),
        "a-1": turn("three and one", "so 4"),
        "a-2": turn("two and two", "so 4"),
    }
    rows = pa.table({"rollout": list(turns), "completion": [[turn] for turn in turns.values()]})
    pq.write_table(rows, tmp_path / "staged.parquet")
    store = Store(str(tmp_path / "workspace"))
    work = Work(store, store.connect(), Pool("", {"version": "1"}), Progress(quiet=True))
    found = signatures_of(work, parquet([str(tmp_path / "staged.parquet")]))
    said = dict(zip(found["rollout"].to_pylist(), found["signature"].to_pylist(), strict=True))
    assert said["a-0"] == said["a-2"] != said["a-1"]


def test_a_length_that_is_unknown_is_refused_where_it_counts():
    rows = traces({"a": [1, 1]})
    rows[0]["trained_tokens"] = None
    assert len(stay(rows, rows=2)) == 2
    with pytest.raises(SelectError, match="1 traces have no trained_tokens, which `tokens` and shares of tokens count"):
        chosen(rows, {"tokens": 5})


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"by": "lenght"}, "by: 'lenght' names no known column: lenght"),
        ({"by": "diverze"}, r"by: 'diverze' names no known column: .* \(or give random or diverse\)"),
        ({"by": "note"}, "by: 'note' gives VARCHAR, not a number"),
        ({"by": "random()"}, r"by: 'random\(\)' calls random\(\), whose value is not a function of the row"),
        ({"rows": 1, "prefer": "domain"}, "prefer: 'domain' gives VARCHAR, not a number"),
        ({"mix": {"by": "subject", "shares": {"a": 1.0}}}, "mix.by: 'subject' names no known column"),
    ],
)
def test_sql_that_does_not_fit_is_told_by_its_key(wanted: dict[str, Any], said: str):
    (mistake,) = Select.model_validate(wanted).mistakes(SCHEMA)
    assert pc.match_substring_regex(pa.array([mistake]), f"^{said}")[0].as_py(), mistake


def test_what_fits_has_no_mistakes():
    select = Select(by="-Tokens", rows=5, prefer="limo_score", mix={"by": "domain", "shares": {"math": 1.0}})
    assert select.mistakes(SCHEMA) == []
    assert select.reads == {"tokens", "limo_score", "domain"}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"k": 0}, "greater than or equal to 1"),
        ({"tokens": 1.5}, "valid integer"),
        ({"prefer": "tokens"}, "prefer needs `rows`, `tokens` or `mix`"),
        ({"mix": {"by": "domain", "shares": {"math": 0.7}}}, "sum to 0.7; shares have to sum to 1"),
        ({"mix": {"by": "domain", "shares": {}}}, "at least 1 item"),
        ({"n": 4}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wanted: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        Select.model_validate(wanted)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 8),
        st.integers(1, 50),
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["train", "test"]),
    ),
    max_size=40,
).map(
    lambda drawn: [
        # A problem has one domain and one split.
        {"rollout": f"r{n}", "problem_id": f"{problem}{domain}{split}", "split": split, "trained_tokens": length}
        | {"sample_index": n, "tokens": length, "domain": domain, "limo_score": length % 7 / 7, "note": ""}
        for n, (problem, length, domain, split) in enumerate(drawn)
    ]
)
SHARES = st.sampled_from([{"a": 0.5, "b": 0.5}, {"a": 0.9, "c": 0.1}, {"a": 0.2, "b": 0.3, "c": 0.5}, {"b": 1.0}])
SELECTS = st.fixed_dictionaries(
    {"by": st.sampled_from(["random", "tokens", "-limo_score"]), "k": st.sampled_from([1, 2, 4, None])},
    optional={
        "rows": st.integers(1, 30),
        "tokens": st.integers(1, 800),
        "mix": st.fixed_dictionaries(
            {"by": st.just("domain"), "shares": SHARES, "of": st.sampled_from(["rows", "tokens"])}
        ),
    },
)


@settings(max_examples=20)
@given(ROWS, SELECTS, st.randoms(use_true_random=False))
def test_limits_hold_and_the_order_of_rows_changes_nothing(rows: list[Row], wanted: Row, shuffler: random.Random):
    reasons, found = chosen(rows, wanted)
    kept = [row for row in rows if reasons[row["rollout"]] is None]
    train = [row for row in kept if row["split"] == "train"]
    assert max(collections.Counter(row["problem_id"] for row in kept).values(), default=0) <= (wanted["k"] or 1000)
    assert len(train) <= wanted.get("rows", 1000)
    assert sum(row["trained_tokens"] for row in train) <= wanted.get("tokens", 10**6)
    assert len(rows) - len(kept) == sum(found.dropped.values())
    assert sum(size.rows for size in found.after.values()) == len(kept)
    if "mix" in wanted:
        assert {row["domain"] for row in kept} <= {*wanted["mix"]["shares"]}
    shuffler.shuffle(rows)
    again, told = chosen(rows, wanted)
    assert (again, told) == (reasons, found)


@settings(max_examples=8)
@given(ROWS, st.integers(1, 30))
def test_a_larger_budget_keeps_what_a_smaller_one_does(rows: list[Row], budget: int):
    assert {*stay(rows, rows=budget)} <= {*stay(rows, rows=budget + 3)}
    assert {*stay(rows, tokens=budget)} <= {*stay(rows, tokens=budget * 3)}


@settings(max_examples=15)
@given(ROWS)
def test_which_traces_of_a_problem_stay_does_not_depend_on_other_problems(rows: list[Row]):
    few = [row for row in rows if row["problem_id"][0] in "0123"]
    ids = {row["rollout"] for row in few}
    assert [name for name in stay(rows, k=2) if name in ids] == stay(few, k=2)


@settings(max_examples=15)
@given(ROWS, st.sampled_from(["rows", "tokens"]), SHARES)
def test_a_mix_without_a_budget_comes_within_a_row_of_its_shares(rows: list[Row], of: str, shares: dict[str, float]):
    _, found = chosen(rows, {"k": None, "mix": {"by": "domain", "shares": shares, "of": of}})
    sizes = {name: both for name, both in found.groups.items() if name in shares}
    if not all(both["before"].rows for both in sizes.values()):
        return
    largest = 1 if of == "rows" else 50
    got = {name: getattr(both["after"], of) for name, both in sizes.items()}
    full = min(getattr(both["before"], of) / shares[name] for name, both in sizes.items())
    assert all(abs(got[name] - share * full) <= largest + 1 for name, share in shares.items())
