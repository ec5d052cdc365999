"""When samples settle a problem: against the definition and against every sequence written out."""

import math
from collections.abc import Iterable
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.settling import Settling, never, settling

BAND = "FTTTTTTFF"  # passes between 1 and 6, of 8
PATTERNS = st.text("TFU", min_size=2, max_size=9)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def band(low: int, high: int, n: int) -> str:
    return "".join("T" if low <= k <= high else "F" for k in range(n + 1))


def is_settled(pattern: str, passes: int, fails: int) -> bool:
    """The definition: every way the rest could go has the same outcome."""
    return len(set(pattern[passes : len(pattern) - fails])) == 1


def states(pattern: str) -> Iterable[tuple[int, int]]:
    n = len(pattern) - 1
    return ((passes, fails) for passes in range(n + 1) for fails in range(n + 1 - passes))


def drawn(pattern: str, sequence: Iterable[bool]) -> int:
    """How many samples of a sequence are drawn."""
    passes = fails = 0
    for passed in sequence:
        if is_settled(pattern, passes, fails):
            break
        passes, fails = passes + passed, fails + (not passed)
    return passes + fails


def test_a_band_is_settled_by_a_pass_and_two_fails_or_by_seven_passes_or_by_no_pass_at_all() -> None:
    of = settling(BAND)
    assert [state for state in states(BAND) if of.settled(*state) and not any(before(of, *state))] == [
        (0, 8),
        (1, 2),
        (7, 0),
    ]
    assert [of.fewest(0, fails) for fails in range(9)] == [3, 2, 1, 1, 1, 1, 1, 1, 0]
    assert [of.fewest(passes, 0) for passes in range(9)] == [3, 2, 2, 2, 2, 2, 1, 0, 0]
    assert [of.fewest(passes, 1) for passes in range(8)] == [2, 1, 1, 1, 1, 1, 1, 0]


def before(of: Settling, passes: int, fails: int) -> Iterable[bool]:
    if passes:
        yield of.settled(passes - 1, fails)
    if fails:
        yield of.settled(passes, fails - 1)


def test_rules_that_leave_no_question_need_no_sample() -> None:
    of = settling("TTTTT")
    assert of.settled(0, 0)
    assert (of.fewest(0, 0), of.chance(0, 0, 0), of.expected(0.3), of.expected_given(2)) == (0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("n", [1, 8, 64, 1024])
def test_never_takes_all_samples(n: int) -> None:
    pattern = never(n)
    assert len(set(pattern)) == len(pattern) == n + 1
    of = settling(pattern)
    assert of.fewest(0, 0) == n
    assert of.fewest(n // 3, n // 2) == n - n // 3 - n // 2
    assert not of.settled(0, n - 1)
    assert of.settled(n - 1, 1)
    assert of.expected(0.3) == pytest.approx(n)
    assert of.expected_given(n // 2) == pytest.approx(n)
    assert of.chance(0, 0, n - 1) == 1
    assert of.chance(0, 0, n) == 0


def test_a_pattern_has_one_set_of_tables() -> None:
    assert settling(BAND) is settling(str(BAND))


@quick
@given(pattern=PATTERNS)
def test_settled_is_that_nothing_left_could_change_the_outcome_and_stays(pattern: str) -> None:
    of = settling(pattern)
    for passes, fails in states(pattern):
        assert of.settled(passes, fails) == is_settled(pattern, passes, fails)
        assert of.settled(passes, fails) or not any(before(of, passes, fails))


@quick
@given(pattern=PATTERNS)
def test_fewest_is_the_nearest_settled_state(pattern: str) -> None:
    of = settling(pattern)
    for passes, fails in states(pattern):
        ahead = [
            (p - passes) + (f - fails)
            for p, f in states(pattern)
            if p >= passes and f >= fails and is_settled(pattern, p, f)
        ]
        assert of.fewest(passes, fails) == of.fewest_table[passes][fails] == min(ahead)


@quick
@given(pattern=PATTERNS, data=st.data())
def test_chance_is_that_of_every_continuation_under_the_rule_of_succession(pattern: str, data: st.DataObject) -> None:
    passes, fails = data.draw(st.sampled_from(sorted(states(pattern))))
    left = len(pattern) - 1 - passes - fails
    for ahead in range(left + 3):
        expected = 0.0
        for continuation in product([True, False], repeat=ahead):
            p, f, chance = passes, fails, 1.0
            for passed in continuation:
                chance *= (1 + (p if passed else f)) / (2 + p + f)
                p, f = p + passed, f + (not passed)
            if ahead < left and not is_settled(pattern, p, f):
                expected += chance
        assert settling(pattern).chance(passes, fails, ahead) == pytest.approx(expected, abs=1e-12)


@quick
@given(pattern=PATTERNS)
def test_what_remains_is_the_sum_of_the_chances_that_yet_another_is_needed(pattern: str) -> None:
    of = settling(pattern)
    for passes, fails in states(pattern):
        needed = [of.chance(passes, fails, ahead) for ahead in range(len(pattern))]
        assert of.remaining_table[passes][fails] == pytest.approx(sum(needed), abs=1e-9)


@quick
@given(pattern=PATTERNS, rate=st.floats(0, 1))
def test_expected_is_the_mean_over_all_sequences(pattern: str, rate: float) -> None:
    n = len(pattern) - 1
    mean = sum(
        rate ** sum(sequence) * (1 - rate) ** (n - sum(sequence)) * drawn(pattern, sequence)
        for sequence in product([True, False], repeat=n)
    )
    assert settling(pattern).expected(rate) == pytest.approx(mean, abs=1e-9)


@quick
@given(pattern=PATTERNS)
def test_expected_given_is_the_mean_over_all_orders(pattern: str) -> None:
    n = len(pattern) - 1
    for passes in range(n + 1):
        orders = [
            drawn(pattern, [k in places for k in range(n)]) for places in map(set, combinations(range(n), passes))
        ]
        assert settling(pattern).expected_given(passes) == pytest.approx(sum(orders) / len(orders), abs=1e-9)


@pytest.mark.parametrize("n", [8, 64, 512])
def test_expected_is_expected_given_over_the_counts_of_a_rate(n: int) -> None:
    of, rate = settling(band(1, 3 * n // 4, n)), 0.6
    log_chance = [math.log(math.comb(n, k)) + k * math.log(rate) + (n - k) * math.log(1 - rate) for k in range(n + 1)]
    mixed = sum(math.exp(log) * of.expected_given(k) for k, log in enumerate(log_chance))
    assert of.expected(rate) == pytest.approx(mixed)


def test_samples_that_one_to_six_of_eight_takes_by_rate() -> None:
    rates = [0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1]
    assert [round(settling(BAND).expected(rate), 1) for rate in rates] == [8, 6.9, 6, 4.9, 4.3, 4.4, 5.7, 7.1, 7]


@pytest.mark.parametrize(("low", "high", "n", "saving"), [(1, 6, 8, 0.397), (1, 7, 10, 0.367), (1, 11, 16, 0.387)])
def test_what_bands_save_over_rates_from_a_tenth_to_three_quarters(low: int, high: int, n: int, saving: float) -> None:
    drawn_of = [settling(band(low, high, n)).expected(percent / 100) for percent in range(10, 76)]
    assert 1 - sum(drawn_of) / len(drawn_of) / n == pytest.approx(saving, abs=0.0005)
