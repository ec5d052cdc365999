"""How many rows of every group and bin: shares in whole rows, under limits."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.balancing.allocation import Counts, drawn, mixed, spread


def whole(*numbers: int) -> Counts:
    return np.array(numbers, np.int64)


MUCH = 1000


def shared(
    total: int, weights: list[float], least: list[int] | None = None, most: list[int] | None = None
) -> list[int]:
    none, much = [0] * len(weights), [MUCH] * len(weights)
    return spread(total, np.array(weights), whole(*(least or none)), whole(*(most or much))).tolist()


def test_shares_are_in_proportion_and_the_largest_remainders_are_rounded_up() -> None:
    assert shared(10, [1, 1, 3]) == [2, 2, 6]
    assert shared(10, [55, 26, 19]) == [5, 3, 2]  # 5.5, 2.6, 1.9


def test_of_equal_remainders_the_first_is_rounded_up() -> None:
    assert shared(11, [1, 1, 1]) == [4, 4, 3]


def test_what_a_full_group_cannot_take_goes_to_the_others_in_proportion() -> None:
    assert shared(100, [6, 3, 1], most=[30, MUCH, MUCH]) == [30, 53, 17]  # 52.5 and 17.5


def test_a_floor_takes_from_the_others_in_proportion() -> None:
    assert shared(100, [6, 3, 1], least=[0, 0, 40]) == [40, 20, 40]


def test_floors_above_the_total_share_it_in_proportion_to_themselves() -> None:
    assert shared(10, [1, 1, 1], least=[20, 10, 10]) == [5, 3, 2]


def test_the_total_is_what_there_is_when_that_is_less() -> None:
    assert shared(10, [1, 1], most=[3, 2]) == [3, 2]


def cells(total: int, there: list[list[int]], shares: list[float], **limits: list[int]) -> list[list[int]]:
    rows = np.array(there, np.int64)
    has = rows.sum(axis=1)
    least, most = whole(*limits.get("least", [0] * len(has))), whole(*limits.get("most", has))
    return mixed(total, rows, spread(total, has, least, most), least, most, np.array(shares)).tolist()


def test_every_group_has_the_mix_where_it_has_the_rows() -> None:
    assert cells(20, [[90, 90], [90, 90]], [0.3, 0.7]) == [[3, 7], [3, 7]]


def test_what_a_group_lacks_of_a_bin_the_others_give_and_it_gives_of_another() -> None:
    assert cells(40, [[90, 90], [90, 90], [90, 90], [270, 0]], [0.5, 0.5]) == [[2, 7], [2, 7], [3, 6], [13, 0]]


def test_the_mix_comes_before_the_shares_of_groups_and_after_their_limits() -> None:
    only_easy, only_hard = [900, 0], [0, 100]
    assert cells(100, [only_easy, only_hard], [0.5, 0.5]) == [[50, 0], [0, 50]]
    assert cells(100, [only_easy, only_hard], [0.5, 0.5], most=[900, 30]) == [[70, 0], [0, 30]]
    assert cells(100, [only_easy, only_hard], [0.5, 0.5], least=[80, 0]) == [[80, 0], [0, 20]]


def test_what_no_row_is_left_for_in_a_bin_goes_to_the_others_by_their_shares() -> None:
    assert cells(100, [[500, 500, 10]], [0.2, 0.3, 0.5]) == [[36, 54, 10]]


numbers = st.integers(0, 12)


@settings(max_examples=50)
@given(data=st.data(), groups=st.integers(1, 5), bins=st.integers(1, 4), total=st.integers(1, 60))
def test_limits_hold_and_the_mix_is_met_whenever_they_allow_it(data: Any, groups: int, bins: int, total: int) -> None:
    there = np.array(
        data.draw(st.lists(st.lists(numbers, min_size=bins, max_size=bins), min_size=groups, max_size=groups))
    )
    has = there.sum(axis=1)
    most = np.minimum(data.draw(st.lists(st.integers(1, 30), min_size=groups, max_size=groups)), has)
    least = np.minimum(data.draw(st.lists(numbers, min_size=groups, max_size=groups)), most)
    if least.sum() > total:
        least = spread(total, least, np.zeros_like(least), least)
    parts = np.array(data.draw(st.lists(st.integers(1, 9), min_size=bins, max_size=bins)))
    taken = mixed(total, there, spread(total, has, least, most), least, most, parts / parts.sum())
    assert (taken >= 0).all()
    assert (taken <= there).all()
    assert taken.sum() == min(total, most.sum())
    assert (taken.sum(axis=1) <= most).all()
    assert (taken.sum(axis=1) >= least).all()
    wanted = spread(int(taken.sum()), parts, np.zeros_like(parts), there.sum(axis=0))
    assert (taken.sum(axis=0) == wanted).all() == can_be(there, least, most, wanted)


def can_be(there: Counts, least: Counts, most: Counts, wanted: Counts) -> bool:
    """Whether rows of these sums exist at all, by linear programming."""
    from scipy.optimize import linprog

    groups, bins = there.shape
    of_group, of_bin = np.kron(np.eye(groups), np.ones(bins)), np.kron(np.ones(groups), np.eye(bins))
    found = linprog(
        np.zeros(there.size),
        A_ub=np.vstack([of_group, -of_group]),
        b_ub=np.concatenate([most, -least]),
        A_eq=of_bin,
        b_eq=wanted,
        bounds=[(0, count) for count in there.ravel()],
    )
    return bool(found.status == 0)


def test_groups_drawn_uniformly_come_about_equally_often_until_one_is_exhausted() -> None:
    none = whole(0, 0, 0)
    counts = drawn(3000, ["a", "b", "c"], none, whole(5000, 5000, 5000), seed=0)
    assert counts.sum() == 3000
    assert (abs(counts - 1000) < 120).all()  # four standard deviations
    counts = drawn(3000, ["a", "b", "c"], none, whole(5000, 5000, 10), seed=0)
    assert counts[2] == 10
    assert abs(counts[0] - counts[1]) < 220


def test_every_seed_draws_otherwise_and_floors_come_first() -> None:
    much = whole(500, 500)
    assert {tuple(drawn(100, ["a", "b"], whole(0, 0), much, seed)) for seed in range(5)} != {(50, 50)}
    assert drawn(100, ["a", "b"], whole(0, 100), much, 0).tolist() == [0, 100]
