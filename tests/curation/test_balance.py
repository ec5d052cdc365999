"""Which rows stay: sizes, shares, limits, difficulties, and what is said when they cannot be met."""

import collections
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curation.balance import Balanced, BalanceError, choose
from curation.balancing.targets import Balance
from curation.duck import arrow, connect

Row = dict[str, Any]
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("domain", pa.string()),
        ("difficulty", pa.float64()),
        ("trace", pa.int64()),
        ("note", pa.string()),
    ]
)
CON = connect()


def pool(**domains: int) -> list[Row]:
    """So many rows of every domain: difficulties 1 to 10 by turns, each trace longer than the one before."""
    return [
        {"id": f"{domain}-{n}", "domain": domain, "difficulty": n % 10 + 1.0, "trace": n, "note": str(n)}
        for domain, count in domains.items()
        for n in range(count)
    ]


def balanced(rows: Sequence[Row], wanted: Mapping[str, Any], seed: int = 0) -> tuple[list[Row], Balanced]:
    """The rows that stay, as given, and the report."""
    CON.register("rows", pa.Table.from_pylist(list(rows), schema=SCHEMA))
    found = choose(CON, "rows", Balance.model_validate(wanted), seed)
    ids = set(arrow(CON, "from chosen")["id"].to_pylist())
    return [row for row in rows if row["id"] in ids], found


def counts(rows: Sequence[Row], **wanted: Any) -> dict[str, int]:
    stay, found = balanced(rows, wanted)
    by_domain = collections.Counter(row["domain"] for row in stay)
    assert found.missed == []
    assert {name: count for name, count in found.after.items() if count} == by_domain
    return dict(by_domain)


def missed(rows: Sequence[Row], **wanted: Any) -> list[str]:
    return [str(target) for target in balanced(rows, wanted)[1].missed]


MATHS = pool(algebra=600, geometry=300, numbers=100)


# ---- how many


def test_groups_keep_their_shares_unless_asked() -> None:
    assert counts(MATHS, by="domain", size=100) == {"algebra": 60, "geometry": 30, "numbers": 10}


def test_a_temperature_evens_them_out() -> None:
    assert counts(MATHS, by="domain", size=100, temperature=0.5) == {"algebra": 47, "geometry": 34, "numbers": 19}
    assert counts(MATHS, by="domain", size=99, temperature=0) == {"algebra": 33, "geometry": 33, "numbers": 33}


def test_caps_and_floors_are_rows_or_shares_of_the_size() -> None:
    assert counts(MATHS, by="domain", size=100, caps={"algebra": 20}) == {"algebra": 20, "geometry": 60, "numbers": 20}
    assert counts(MATHS, by="domain", size=100, caps=0.5) == {"algebra": 50, "geometry": 38, "numbers": 12}
    assert counts(MATHS, by="domain", size=100, floors={"numbers": 0.4}) == {
        "algebra": 40,
        "geometry": 20,
        "numbers": 40,
    }
    assert counts(MATHS, by="domain", size=100, floors=30) == {"algebra": 40, "geometry": 30, "numbers": 30}


def test_without_a_size_only_caps_cut() -> None:
    assert counts(MATHS, by="domain", caps={"algebra": 50}) == {"algebra": 50, "geometry": 300, "numbers": 100}


def test_without_a_size_a_share_is_of_what_stays() -> None:
    think = pool(think=500, no_think=100)
    assert counts(think, by="domain", caps={"think": 0.44, "no_think": 0.56}) == {"think": 77, "no_think": 98}
    assert counts(think, by="domain", caps={"think": 0.5}) == {"think": 100, "no_think": 100}


def test_groups_are_values_of_sql_and_null_is_the_group_unknown() -> None:
    rows = MATHS + [row | {"id": f"{n}", "domain": None} for n, row in enumerate(pool(none=100))]
    _, found = balanced(rows, {"by": "domain", "size": 110, "caps": {"unknown": 3}})
    assert found.before == {"algebra": 600, "geometry": 300, "numbers": 100, "unknown": 100}
    assert found.after["unknown"] == 3
    _, found = balanced(MATHS, {"by": "difficulty > 5", "size": 10, "temperature": 0})
    assert found.after == {"false": 5, "true": 5}
    _, found = balanced(MATHS, {"by": "case when note::int % 2 = 0 then 'even' end", "size": 10})
    assert found.after == {"even": 5, "unknown": 5}


def test_a_group_that_cannot_be_computed_for_a_row_is_unknown() -> None:
    rows = [row | {"note": "x"} if row["trace"] == 0 else row for row in pool(algebra=4)]
    assert balanced(rows, {"by": "note::int", "size": 4})[1].before == {"1": 1, "2": 1, "3": 1, "unknown": 1}


# ---- difficulties


MIX = {"of": "difficulty", "shares": {"1..3": 0.2, "4..7": 0.6, "8..10": 0.2}}


def difficulties(rows: Sequence[Row]) -> dict[str, int]:
    bins = collections.Counter(
        "hard" if r["difficulty"] >= 8 else "easy" if r["difficulty"] <= 3 else "middle" for r in rows
    )
    return dict(sorted(bins.items()))


def test_difficulties_are_mixed_in_the_whole_and_in_every_group() -> None:
    stay, found = balanced(MATHS, {"by": "domain", "size": 200, "mix": MIX})
    assert found.after == {"algebra": 120, "geometry": 60, "numbers": 20}
    assert found.difficulty["before"] == {"1..3": 300, "4..7": 400, "8..10": 300}
    assert found.difficulty["after"] == {"1..3": 40, "4..7": 120, "8..10": 40}
    assert difficulties([row for row in stay if row["domain"] == "geometry"]) == {"easy": 12, "hard": 12, "middle": 36}


def test_other_groups_give_what_one_lacks_and_every_group_keeps_its_size() -> None:
    easy_numbers = [row for row in MATHS if row["domain"] != "numbers" or row["difficulty"] <= 3]
    _, found = balanced(
        easy_numbers, {"by": "domain", "size": 300, "temperature": 0, "caps": {"numbers": 20}, "mix": MIX}
    )
    assert found.after == {"algebra": 140, "geometry": 140, "numbers": 20}
    assert found.difficulty["after"] == {"1..3": 60, "4..7": 180, "8..10": 60}
    assert found.missed == []


def test_a_bin_without_enough_rows_is_told_and_the_others_fill_up() -> None:
    few_hard = [row for row in MATHS if row["difficulty"] < 10 or row["domain"] == "numbers"]
    wanted = {"size": 500, "mix": {"of": "difficulty", "shares": {"1..9": 0.5, "10..10": 0.5}}}
    stay, found = balanced(few_hard, wanted)
    assert len(stay) == 500
    assert found.difficulty["after"] == {"1..9": 490, "10..10": 10}
    assert [str(target) for target in found.missed] == [
        "balance.mix.10..10: 250 rows wanted, 10 got: no more rows lie in it"
    ]


def test_rows_of_unknown_difficulty_or_in_no_bin_do_not_stay() -> None:
    rows = [row | {"difficulty": [None, 2.0, 2.5, 3.0][row["trace"]]} for row in pool(algebra=4)]
    stay, found = balanced(rows, {"size": 4, "mix": {"of": "difficulty", "shares": {"1..2": 0.5, "3..4": 0.5}}})
    assert [row["difficulty"] for row in stay] == [2.0, 3.0]
    assert found.difficulty["before"] == {"1..2": 1, "3..4": 1, "no bin": 2}
    assert str(found.missed[0]) == "balance.size: 4 rows wanted, 2 got: no more lie in a bin of the mix"


def test_where_a_bin_begins_another_ends() -> None:
    rows = [row | {"difficulty": row["trace"] / 4} for row in pool(algebra=5)]
    _, found = balanced(rows, {"size": 5, "mix": {"of": "difficulty", "shares": {"0..0.5": 0.4, "0.5..1": 0.6}}})
    assert found.difficulty["before"] == {"0..0.5": 2, "0.5..1": 3}


@pytest.mark.parametrize(
    ("values", "bins"),
    [
        ([1, 2, 2, 4], {"1": 1, "2": 2, "3": 0, "4": 1}),
        ([0.05, 0.5, 1.0], {"0 to 0.1": 1, "0.5 to 0.6": 1, "0.9 to 1": 1}),
        ([0, 1000, None], {"0 to 100": 1, "900 to 1,000": 1, "no bin": 1}),
    ],
)
def test_without_a_mix_difficulty_is_counted_by_what_the_rows_are_ordered_by(
    values: list[float | None], bins: dict[str, int]
) -> None:
    rows = [row | {"difficulty": value} for row, value in zip(pool(a=len(values)), values, strict=True)]
    _, found = balanced(rows, {"order": "easy_to_hard", "order_by": "difficulty"})
    assert {name: count for name, count in found.difficulty["after"].items() if count or name in bins} == bins


# ---- which rows


def test_larger_values_stay_first_and_unknown_ones_last() -> None:
    rows = [row | {"difficulty": [1.0, None, 3.0, float("nan"), 2.0][row["trace"]]} for row in pool(algebra=5)]
    assert [row["difficulty"] for row in balanced(rows, {"size": 3, "prefer": "difficulty"})[0]] == [1.0, 3.0, 2.0]


def test_else_they_stay_at_random_by_seed() -> None:
    wanted = {"by": "domain", "size": 100}
    once, again, other = (balanced(MATHS, wanted, seed)[0] for seed in (0, 0, 1))
    assert once == again
    assert len([row for row in once if row in other]) < 30


def test_a_row_less_changes_one_row_of_what_stays() -> None:
    before, _ = balanced(MATHS, {"by": "domain", "size": 100, "mix": MIX})
    after, _ = balanced([row for row in MATHS if row != before[50]], {"by": "domain", "size": 100, "mix": MIX})
    assert len([row for row in after if row not in before]) == 1


def test_s1_draws_groups_uniformly_and_longer_traces_more_often() -> None:
    stay, found = balanced(
        pool(algebra=900, geometry=100), {"by": "domain", "size": 100, "rule": "s1", "prefer": "trace"}
    )
    assert sum(found.after.values()) == 100
    assert 35 < found.after["geometry"] < 65  # three standard deviations
    longest = [row["trace"] for row in stay if row["domain"] == "algebra"]
    count = len(longest)
    assert min(longest) > 900 - count - 60
    assert count // 2 < len([trace for trace in longest if trace >= 900 - count]) < count


def test_of_two_rows_s1_takes_the_longer_twice_as_often() -> None:
    rows = pool(algebra=2)
    wanted = {"by": "domain", "size": 1, "rule": "s1", "prefer": "trace"}
    longer = sum(balanced(rows, wanted, seed)[0][0]["trace"] for seed in range(60))
    assert 29 < longer < 51  # three standard deviations around 40


def test_an_exhausted_group_leaves_and_s1_draws_from_the_others() -> None:
    _, found = balanced(pool(algebra=900, geometry=5), {"by": "domain", "size": 100, "rule": "s1", "prefer": "trace"})
    assert found.after == {"algebra": 95, "geometry": 5}
    assert found.missed == []
    limits = {"caps": {"algebra": 30}, "floors": {"geometry": 5}}
    _, found = balanced(
        pool(algebra=900, geometry=5, numbers=900),
        {"by": "domain", "size": 100, "rule": "s1", "prefer": "trace", **limits},
    )
    assert found.after == {"algebra": 30, "numbers": 65, "geometry": 5}


# ---- what cannot be met


def test_a_size_above_the_rows_is_told_once() -> None:
    assert missed(MATHS, by="domain", size=2000, temperature=0) == [
        "balance.size: 2,000 rows wanted, 1,000 got: the rules keep no more"
    ]


def test_caps_that_leave_less_than_the_size_are_told() -> None:
    assert missed(MATHS, by="domain", size=500, caps=100) == [
        "balance.size: 500 rows wanted, 300 got: caps leave no more"
    ]


def test_a_group_without_rows_for_its_share_or_its_floor_is_told() -> None:
    assert missed(MATHS, by="domain", size=600, temperature=0) == [
        "balance.by.numbers: 200 rows wanted, 100 got: it has no more"
    ]
    assert missed(MATHS, by="domain", size=600, floors={"numbers": 150}) == [
        "balance.floors.numbers: 150 rows wanted, 100 got: it has no more"
    ]


def test_floors_that_together_exceed_the_size_are_told() -> None:
    assert missed(MATHS, by="domain", size=90, floors=50) == [
        "balance.floors.algebra: 50 rows wanted, 30 got: all floors together are above size, 90",
        "balance.floors.geometry: 50 rows wanted, 30 got: all floors together are above size, 90",
        "balance.floors.numbers: 50 rows wanted, 30 got: all floors together are above size, 90",
    ]


def test_a_name_of_no_group_is_told() -> None:
    assert missed(MATHS, by="domain", size=100, caps={"geometri": 20}) == [
        "balance.caps.geometri: 20 rows wanted, 0 got: no row is in this group; groups are algebra, geometry, numbers"
    ]


def test_a_mix_that_the_caps_do_not_allow_is_told_and_so_is_the_group_that_pays_for_it() -> None:
    rows = [row | {"difficulty": 9.0 if row["domain"] == "numbers" else 1.0} for row in MATHS]
    half = {"of": "difficulty", "shares": {"1..5": 0.5, "6..10": 0.5}}
    assert missed(rows, by="domain", size=100, mix=half, caps={"numbers": 30}) == [
        "balance.by.algebra: 60 rows wanted, 47 got: the mix takes no more of it",
        "balance.by.geometry: 30 rows wanted, 23 got: the mix takes no more of it",
        "balance.mix.6..10: 50 rows wanted, 30 got: size, caps and floors of the groups leave no more",
    ]


def test_shares_of_all_groups_below_one_leave_nothing_to_be_shares_of() -> None:
    assert missed(MATHS, by="domain", caps=0.3) == [
        "balance.caps: 1,000 rows wanted, 0 got: without `size` caps are shares of what stays, and those of all groups "
        "have to sum to 1 at least"
    ]


def test_no_rows_are_no_mistake() -> None:
    stay, found = balanced([], {"by": "domain", "caps": 3, "order": "easy_to_hard", "order_by": "difficulty"})
    assert (stay, found.before, found.missed) == ([], {}, [])


def test_what_has_a_value_of_its_own_for_every_row_is_refused() -> None:
    many = "(select i::varchar as id from range(10001) as t(i))"
    with pytest.raises(BalanceError, match="'id' has more than 10,000 values"):
        choose(CON, many, Balance(by="id", size=10), 0)


# ---- all of it


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.integers(1, 40))
    floor, cap = sorted(draw(st.lists(st.integers(1, 15), min_size=2, max_size=2)))
    wanted: dict[str, Any] = {"by": "domain", "size": size}
    wanted |= draw(
        st.sampled_from([{}, {"floors": floor}, {"caps": cap}, {"floors": floor, "caps": cap}, {"caps": {"b": cap}}])
    )
    if draw(st.booleans()):
        return wanted | {"rule": "s1", "prefer": "trace"}
    wanted["temperature"] = draw(st.sampled_from([0.0, 0.5, 1.0]))
    return wanted | draw(st.sampled_from([{}, {"mix": MIX}, {"prefer": "difficulty"}]))


rows_of_three = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([None, 1.0, 2.0, 5.0, 9.0]), st.integers(0, 5)),
    max_size=40,
)


@settings(max_examples=40)
@given(tuples=rows_of_three, wanted=wishes(), seed=st.integers(0, 3))
def test_limits_hold_the_size_is_met_and_the_order_of_rows_changes_nothing(
    tuples: list[tuple[str | None, float | None, int]], wanted: dict[str, Any], seed: int
) -> None:
    rows = [
        {"id": str(n), "domain": domain, "difficulty": difficulty, "trace": trace, "note": ""}
        for n, (domain, difficulty, trace) in enumerate(tuples)
    ]
    stay, found = balanced(rows, wanted, seed)
    usable = [row for row in rows if "mix" not in wanted or row["difficulty"] is not None]
    there = collections.Counter(row["domain"] or "unknown" for row in usable)
    caps, floor = wanted.get("caps", {}), wanted.get("floors", 0)
    most = {name: min(count, caps.get(name, 99) if isinstance(caps, dict) else caps) for name, count in there.items()}
    least = {name: min(floor, count) for name, count in most.items()}
    assert len(stay) == min(wanted["size"], sum(most.values()))
    assert all(found.after[name] <= count for name, count in most.items())
    if sum(least.values()) <= wanted["size"]:
        assert all(found.after[name] >= count for name, count in least.items())
    mixed = rows[:]
    random.Random(seed).shuffle(mixed)
    again, same = balanced(mixed, wanted, seed)
    assert {row["id"] for row in again} == {row["id"] for row in stay}
    assert same == found


# ---- what a recipe may say


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"by": "domain", "temperature": 0.5}, "temperature needs `size`"),
        ({"size": 10, "temperature": 0.5}, "temperature needs `by`"),
        ({"by": "domain", "size": 10, "caps": {"a": 0}}, "0 of a is neither rows, a whole number from 1, nor a share"),
        ({"by": "domain", "size": 10, "caps": {"a": 1.5}}, "1.5 of a is neither rows"),
        ({"by": "domain", "size": 10, "caps": 2, "floors": {"a": 3}}, "floors: 3 rows of a are above its cap, 2"),
        ({"by": "domain", "size": 10, "caps": 0.2, "floors": 3}, "floors: 3 rows of every group are above its cap, 2"),
        ({"by": "domain", "size": 10, "floors": {"a": 6, "b": 5}}, "floors: ask for 11 rows in all, and size is 10"),
        ({"size": 9, "mix": {"of": "d", "shares": {"1..3": 0.5, "4..7": 0.4}}}, "sum to 0.9; shares have to sum to 1"),
        ({"size": 9, "mix": {"of": "d", "shares": {"1..5": 0.5, "4..7": 0.5}}}, "the bins 1..5 and 4..7 overlap"),
        ({"size": 9, "mix": {"of": "d", "shares": {"hard": 1}}}, "'hard' is no bin; give LOW..HIGH, such as 4..7"),
        ({"by": "domain", "size": 9, "rule": "s1"}, "rule: s1 needs `prefer`"),
        ({"by": "d", "size": 9, "rule": "s1", "prefer": "t", "temperature": 0.0}, "s1 takes the place of temperature"),
        ({"prefer": "trace"}, "prefer needs `size` or `caps`"),
        ({"order": "easy_to_hard"}, "need `order_by`"),
        ({"order_by": "difficulty"}, "need `order_by`"),
    ],
)
def test_targets_that_can_never_be_met_are_refused(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told.replace(".", r"\.")):
        Balance.model_validate(wanted)


def test_sql_that_does_not_bind_or_gives_no_number_is_refused() -> None:
    wanted = Balance(by="doman", size=5, prefer="note", order="easy_to_hard", order_by="difficulty + trace")
    assert wanted.mistakes(SCHEMA) == [
        "by: 'doman' names no known column: doman; did you mean domain?",
        "prefer: 'note' gives VARCHAR, not a number",
    ]


def test_a_share_without_a_size_holds_of_the_whole_rows_that_stay() -> None:
    wanted = {"by": "domain", "caps": {"a": 0.5, "b": 0.19, "d": 0.19}}
    stay, _ = balanced(pool(a=10, b=10, c=1, d=10), wanted)
    kept = collections.Counter(row["domain"] for row in stay)
    assert all(kept[name] <= share * kept.total() for name, share in wanted["caps"].items())  # type: ignore[attr-defined]


def test_a_cap_of_less_than_a_row_is_told() -> None:
    assert missed(MATHS, by="domain", size=10, caps={"numbers": 0.05}) == [
        "balance.caps.numbers: 1 rows wanted, 0 got: its share is less than a row, so all of it goes"
    ]


def test_every_bin_has_a_name_of_its_own() -> None:
    rows = [row | {"difficulty": 1.7e9 + 3 * n} for n, row in enumerate(pool(algebra=40))]
    _, found = balanced(rows, {"order": "easy_to_hard", "order_by": "difficulty"})
    assert sum(found.difficulty["before"].values()) == 40
    far = [row | {"difficulty": (-1) ** n * 1.7e308} for n, row in enumerate(pool(algebra=4))]
    assert balanced(far, {"order": "easy_to_hard", "order_by": "difficulty"})[1].difficulty == {}
