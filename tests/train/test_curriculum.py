"""Which problems come next: by the phases of a stage, by what came of them, and the same again after a restart."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from train.curriculum.measured import CurriculumError, Measured, Outcome, outcomes
from train.curriculum.problems import ProblemSampler
from train.curriculum.settings import Curriculum
from train.curriculum.success import Success

GROUP = 8
SHUFFLED = {"order": "shuffled", "prioritise_after": 1}


def measured(*rates: tuple[int, int] | None) -> Measured:
    """Problems p0, p1, ... with their passes and fails; None was not measured."""
    ids = [f"p{place}" for place in range(len(rates))]
    return Measured(ids, [one and one[0] for one in rates], [one and one[1] for one in rates])


def sampler(
    of: Measured, size: int = 4, batches: int = 40, lag: int = 0, seed: int = 0, **settings: Any
) -> ProblemSampler:
    return ProblemSampler(Curriculum(**settings), of, size=size, batches=batches, seed=seed, lag=lag)


def drawn(one: ProblemSampler, batches: int, right: Any = lambda number, place: None) -> list[list[int]]:
    """Follows a sampler to a batch; right(number, place) answers of a group are right, None when it was not graded."""
    found = []
    for number in range(one.decided, batches):
        found.append(one.batch(number))
        one.report(graded(one, number, found[-1], right))
    return found


def graded(one: ProblemSampler, number: int, places: Sequence[int], right: Any) -> dict[str, Outcome]:
    given = {one.measured.ids[place]: right(number, place) for place in places}
    return {name: Outcome(0, 0) if count is None else Outcome(count, GROUP) for name, count in given.items()}


# ---- the sequence


@st.composite
def stages(draw: st.DrawFn) -> dict[str, Any]:
    rates = draw(st.lists(st.none() | st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
    return {
        "of": measured((1, 3), *rates),
        "size": draw(st.integers(1, 1 + len(rates))),
        "batches": draw(st.integers(1, 30)),
        "lag": draw(st.integers(0, 3)),
        "seed": draw(st.integers(-3, 3)),
        "order": draw(st.sampled_from(["easy_to_hard", "shuffled"])),
        "prioritise_after": draw(st.sampled_from([0, 0.3, 1])),
        "max_unsolved": draw(st.sampled_from([0, 0.1, 0.5, 1])),
        "retest_after": draw(st.sampled_from([0, 0.1, 0.5])),
    }


def luck(number: int, place: int) -> int | None:
    """What came of a group, as no policy would have it."""
    value = (7 * number + 13 * place + number * place) % 11
    return None if value > GROUP else value


def ahead(one: ProblemSampler, batches: int) -> Iterator[list[int]]:
    """Follows a sampler as a loader does that reads `lag` batches ahead; what is read ahead is asked for again."""
    for number in range(batches):
        for further in range(one.lag + 1):
            one.batch(number + further)
        places = one.batch(number)
        one.report(graded(one, number, places, luck))
        yield places


@given(stages(), st.integers(0, 12))
def test_a_restored_state_goes_on_as_if_nothing_had_been(stage: dict[str, Any], stop: int) -> None:
    whole = sampler(**stage)
    following = ahead(whole, 20)
    states = [json.dumps(whole.state()) for _ in zip(range(stop), following, strict=False)]
    after = [*following]
    restored = sampler(**stage)
    if states:
        restored.restore(json.loads(states[-1]))
        assert json.dumps(restored.state()) == states[-1]

    again = []
    for number in range(stop, 20):
        for further in range(whole.lag + 1):
            restored.batch(number + further)
        again.append(restored.batch(number))
        restored.report(graded(restored, number, again[-1], luck))

    assert again == after
    assert json.dumps(restored.state()) == json.dumps(whole.state())


@given(stages())
def test_how_early_a_batch_is_asked_for_changes_nothing(stage: dict[str, Any]) -> None:
    assert [*ahead(sampler(**stage), 20)] == drawn(sampler(**stage), 20, luck)


@given(stages())
def test_a_batch_holds_as_many_problems_as_asked_for_and_none_twice(stage: dict[str, Any]) -> None:
    for places in drawn(sampler(**stage), 20, luck):
        assert len(places) == len({*places}) == stage["size"]
        assert {*places} <= {*range(len(stage["of"].ids))}


def test_another_seed_is_another_sequence() -> None:
    of = measured(*[None] * 20)
    assert drawn(sampler(of, **SHUFFLED), 5) == drawn(sampler(of, **SHUFFLED), 5)
    assert drawn(sampler(of, **SHUFFLED), 5) != drawn(sampler(of, seed=1, **SHUFFLED), 5)


# ---- the phases


def test_shuffled_makes_passes_over_the_set() -> None:
    found = drawn(sampler(measured(*[None] * 10), size=4, **SHUFFLED), 25)
    counts = Counter(place for places in found for place in places)
    assert {*counts.values()} == {10}
    for one, other in pairwise(found[:5:2]):  # two and a half batches are a pass
        assert one != other


def test_easy_to_hard_begins_with_the_easiest_and_ends_with_the_hardest() -> None:
    easy_first = measured(*[(20 - place, place + 1) for place in (7, 3, 15, 0, 11, 19, 5, 9, 13, 17, 1, 18)])
    hard = {place: (easy_first.fails[place] or 0) for place in range(12)}
    found = drawn(sampler(easy_first, size=3, batches=20, prioritise_after=0.5), 10)
    assert {hard[place] for place in found[0]} == {1, 2, 4}
    assert {hard[place] for place in found[-1]} == {18, 19, 20}
    means = [np.mean([hard[place] for place in places]) for places in found]
    assert means == sorted(means)
    assert {place for places in found for place in places} == {*range(12)}


def test_a_column_says_how_hard_problems_are_and_what_it_does_not_know_stands_in_the_middle() -> None:
    of = Measured([*"abcde"], [None] * 5, [None] * 5, difficulty=[9, None, 1, 2, 8])
    found = drawn(sampler(of, size=1, batches=5, prioritise_after=1), 5)
    assert [of.ids[places[0]] for places in found] == ["c", "d", "b", "e", "a"]


def test_problems_as_hard_are_in_an_order_that_the_seed_and_their_ids_give() -> None:
    of = measured(*[(2, 2)] * 8)
    turned = Measured([*reversed(of.ids)], of.passes, of.fails)

    def names(one: Measured, seed: int) -> list[str]:
        return [one.ids[places[0]] for places in drawn(sampler(one, 1, 8, seed=seed, prioritise_after=1), 8)]

    assert names(of, 0) == names(turned, 0) != names(of, 1)


def test_priority_draws_in_proportion_to_one_minus_the_success_rate() -> None:
    of = measured((19, 1), (15, 5), (10, 10), (5, 15))
    found = Counter(places[0] for places in drawn(sampler(of, size=1, prioritise_after=0, batches=4000), 4000))
    failing = np.array([1.5, 5.5, 10.5, 15.5])
    assert np.abs([found[place] / 4000 for place in range(4)] - failing / failing.sum()).max() < 0.015


def test_priority_begins_after_the_share_of_the_stage_that_is_said() -> None:
    of = measured((999, 1), (999, 1), (1, 999), (999, 1))
    for first in ({"order": "shuffled"}, {"order": "easy_to_hard"}):
        places = [one for (one,) in drawn(sampler(of, size=1, batches=16, prioritise_after=0.25, **first), 16)]
        assert {*places[:4]} == {0, 1, 2, 3}
        assert {*places[4:]} == {2}


def test_priority_follows_what_training_sees() -> None:
    one = sampler(measured(*[(4, 4)] * 10), size=2, batches=400, prioritise_after=0, half_life=0.02)
    drawn(one, 100, lambda number, place: GROUP if place < 5 else 2)
    later = Counter(
        place for places in drawn(one, 400, lambda number, place: GROUP if place < 5 else 2) for place in places
    )
    assert sum(later[place] for place in range(5, 10)) > 5 * sum(later[place] for place in range(5))


# ---- never solved


def never(number: int, place: int) -> int:
    """The first half of twenty is never solved, the second half now and then."""
    return 0 if place < 10 else 2


HALF = [(0, 8)] * 10 + [(2, 6)] * 10


@pytest.mark.parametrize("first", [{"prioritise_after": 0}, {"prioritise_after": 1}, SHUFFLED])
def test_problems_that_are_never_solved_have_no_more_than_their_share_and_all_are_tried_again(first: Any) -> None:
    found = drawn(sampler(measured(*HALF), batches=200, max_unsolved=0.2, retest_after=0.05, **first), 200, never)
    tried = Counter(place for places in found for place in places if place < 10)
    assert {*tried} == {*range(10)}
    assert max(tried.values()) - min(tried.values()) <= 1
    assert sum(tried.values()) <= 0.2 * 4 * 200 + 4
    assert max(sum(place < 10 for place in places) for places in found) <= 1


def test_without_a_limit_they_are_drawn_by_their_weights_like_others() -> None:
    free = {"prioritise_after": 0, "max_unsolved": 1, "retest_after": 0}
    found = drawn(sampler(measured(*HALF), batches=400, **free), 400, never)
    share = np.mean([place < 10 for places in found for place in places])
    assert 0.5 < share < 0.65  # weights of 1 - 1/18 and more, beside about 3/4


def test_one_that_was_tried_in_vain_rests() -> None:
    found = drawn(
        sampler(measured((0, 8), *[(4, 4)] * 9), batches=100, prioritise_after=0, retest_after=0.15), 100, luck
    )
    when = [number for number, places in enumerate(found) if 0 in places]
    # It was tried when it was measured. From its first right answer on it is drawn as others are.
    assert when[0] >= 15
    solved = next(number for number in when if luck(number, 0))
    waits = [later - sooner for sooner, later in pairwise([0, *(number for number in when if number <= solved)])]
    assert min(waits) >= 15


def test_one_that_is_solved_at_last_is_drawn_as_others_are() -> None:
    one = sampler(measured((0, 8), *[(4, 4)] * 9), batches=400, prioritise_after=0, max_unsolved=0.05)
    found = drawn(one, 400, lambda number, place: 4 if place or number > 200 else 0)
    before, after = (sum(0 in places for places in part) for part in (found[:200], found[220:]))
    assert before <= 5
    assert after > 40


def test_where_nothing_else_is_left_a_batch_is_filled_with_them() -> None:
    found = drawn(
        sampler(measured(*[(0, 8)] * 5, (3, 5)), size=4, batches=60, retest_after=0), 60, lambda number, place: 0
    )
    assert all(len({*places}) == 4 for places in found)
    assert {place for places in found for place in places} == {*range(6)}


def test_one_nobody_tried_is_not_one_that_is_never_solved() -> None:
    one = sampler(measured(None, (0, 8), (1, 7)), size=2, **SHUFFLED)
    assert one.success.unsolved().tolist() == [False, True, False]
    drawn(one, 1, lambda number, place: None)
    assert one.success.unsolved().tolist() == [False, True, False]


# ---- how often a problem is solved


def test_older_outcomes_count_less_beside_new_ones_and_are_kept_without() -> None:
    found = Success([6, 6, None], [2, 2, None], half_life=10)
    assert found.rates().tolist() == [6.5 / 9, 6.5 / 9, 0.5]
    found.observe(0, right=0, known=8, batch=10)
    assert (found.right[0], found.wrong[0]) == (3, 9)  # half of 6 and 2, and eight wrong ones
    assert found.rates().tolist() == [3.5 / 13, 6.5 / 9, 0.5]
    found.observe(0, right=8, known=8, batch=10)
    assert (found.right[0], found.wrong[0]) == (11, 9)


def test_what_was_not_graded_is_neither_right_nor_wrong() -> None:
    found = Success([1], [1], half_life=10)
    found.observe(0, right=0, known=0, batch=5)
    assert (found.right[0], found.wrong[0], found.seen[0]) == (1, 1, 0)
    found.observe(0, right=1, known=3, batch=0)
    assert (found.right[0], found.wrong[0]) == (2, 3)


def test_a_problem_once_solved_and_no_more_counts_as_unsolved() -> None:
    found = Success([1], [7], half_life=10)
    found.observe(0, right=0, known=8, batch=10)
    assert not found.unsolved()[0]  # half an answer is left of the one
    found.observe(0, right=0, known=8, batch=11)
    assert found.unsolved()[0]


def test_rewards_are_counted_by_problem_and_unknown_ones_are_not() -> None:
    ids = ["a", "a", "b", "b", "a", "c"]
    assert outcomes(ids, [1.0, 0.0, None, 1.0, float("nan"), None]) == {"a": (1, 2), "b": (1, 1), "c": (0, 0)}


# ---- a set


def rows(**columns: Any) -> pa.Table:
    return pa.table({"id": ["a", "b", "c"], "passes": [1, None, 3], "fails": [7, None, 5], **columns})


def test_a_sets_columns_are_read_by_the_annotators_key() -> None:
    assert Measured.of(rows(), Curriculum()) == Measured([*"abc"], [1, None, 3], [7, None, 5])
    of = Measured.of(rows(full_passes=[1, 2, 3], full_fails=[3, 2, 1]), Curriculum(rates="full"))
    assert (of.passes, of.fails) == ([1, 2, 3], [3, 2, 1])
    of = Measured.of(rows(level=[5, float("nan"), None]), Curriculum(difficulty="level"))
    assert of.difficulty == [5, None, None]
    assert Measured.of(rows().select(["id"]), Curriculum()).passes == [None] * 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"rates": "full"},
            "curriculum.rates: 'full' has no pass rates in the set, which would be full_passes and full_fails",
        ),
        ({"difficulty": "levle"}, "curriculum.difficulty: 'levle' is no column of the set; it has id, passes, fails"),
        ({"difficulty": "id"}, "curriculum.difficulty: id holds string, and a number is needed"),
    ],
)
def test_a_column_that_is_not_there_or_no_number_is_named(settings: dict[str, str], said: str) -> None:
    with pytest.raises(CurriculumError) as raised:
        Measured.of(rows(), Curriculum.model_validate(settings))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("of", "settings", "said"),
    [
        (measured(*[(1, 1)] * 3), {}, "set: has 3 problems and a batch of rollouts takes 4"),
        (Measured([*"abcab"], [1] * 5, [1] * 5), {}, "set: problem a is in it 2 times"),
        (
            measured(*[None] * 5),
            {},
            "curriculum.order: easy_to_hard, and nothing says which problem of the set is easy",
        ),
    ],
)
def test_a_set_that_cannot_be_ordered_so_is_refused(of: Measured, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(CurriculumError) as raised:
        sampler(of, **settings)
    assert said in str(raised.value)


def test_settings_out_of_range_and_unknown_ones_are_refused() -> None:
    for wrong in (
        {"prioritise_after": 1.5},
        {"max_unsolved": -0.1},
        {"half_life": 0},
        {"order": "hard_to_easy"},
        {"cap": 1},
    ):
        with pytest.raises(ValidationError):
            Curriculum.model_validate(wrong)


# ---- what does not fit


def test_a_state_of_another_set_or_stage_is_refused_with_what_differs() -> None:
    state = sampler(measured((1, 7), (2, 6), (3, 5), (4, 4), (5, 3))).state()
    changed = measured((1, 7), (2, 6), (3, 5), (4, 4), (5, 2))
    for other, said in [
        (sampler(changed), "set was "),
        (sampler(measured((1, 7), (2, 6), (3, 5), (4, 4), (5, 3)), batches=50), "batches was 40 and is 50"),
        (sampler(measured((1, 7), (2, 6), (3, 5), (4, 4), (5, 3)), lag=1), "lag was 0 and is 1"),
        (sampler(measured((1, 7), (2, 6), (3, 5), (4, 4), (5, 3)), half_life=0.5), "settings was {"),
    ]:
        with pytest.raises(CurriculumError, match="the curriculum's state does not fit: ") as raised:
            other.restore(json.loads(json.dumps(state)))
        assert said in str(raised.value)
        assert "begin it again" in str(raised.value)


def test_a_state_of_another_format_is_refused() -> None:
    one = sampler(measured(*[(1, 1)] * 5))
    with pytest.raises(CurriculumError, match="has format 0, and 1 is read"):
        one.restore(one.state() | {"format": 0})


def test_a_batch_that_rests_on_outcomes_nobody_reported_is_refused() -> None:
    one = sampler(measured(*[(1, 1)] * 5), lag=1)
    one.batch(0)
    one.batch(1)
    with pytest.raises(CurriculumError, match="batch 0 has no outcomes yet, and batch 2 rests on them"):
        one.batch(2)


def test_batches_are_decided_in_order() -> None:
    one = sampler(measured(*[(1, 1)] * 5))
    with pytest.raises(CurriculumError, match="batch 1 was asked for, and batch 0 is the next"):
        one.batch(1)


def test_outcomes_of_other_problems_are_refused() -> None:
    one = sampler(measured(*[(1, 1)] * 5), size=2)
    asked = {one.measured.ids[place] for place in one.batch(0)}
    stranger = next(name for name in one.measured.ids if name not in asked)
    with pytest.raises(CurriculumError, match=r"do not belong to batch 0, the oldest without outcomes"):
        one.report({stranger: Outcome(1, 8)} | dict.fromkeys(sorted(asked)[:1], Outcome(1, 8)))
    one.report(dict.fromkeys(asked, Outcome(1, 8)))
    with pytest.raises(CurriculumError, match="do not belong to any batch that was decided"):
        one.report(dict.fromkeys(asked, Outcome(1, 8)))


def test_metrics_are_of_the_whole_set() -> None:
    one = sampler(measured((0, 7), (7, 0), None, None), size=1, **SHUFFLED)
    assert one.metrics() == {"curriculum/success": 0.5, "curriculum/unsolved": 0.25, "curriculum/drawn": 0.0}
    drawn(one, 2)
    assert one.metrics()["curriculum/drawn"] == 0.5
