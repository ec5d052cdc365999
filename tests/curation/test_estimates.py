"""Rates of problems that stopped early: against every sequence written out, weighed by its chance."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta  # type: ignore[import-untyped]

from curation.estimates import LEVEL, bias, endings, interval, unbiased
from curation.settling import never

BAND = "FTTTTTTFF"  # passes between 1 and 6, of 8
PATTERNS = st.text("TFU", min_size=2, max_size=9).filter(lambda pattern: len(set(pattern)) > 1)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def band(low: int, high: int, n: int) -> str:
    return "".join("T" if low <= k <= high else "F" for k in range(n + 1))


def stops(pattern: str, unknown: float = 0.0) -> dict[tuple[int, int, int], list[tuple[float, int, int]]]:
    """Where every sequence of n samples stops: passes, fails, unknown; with the factor and exponents of its chance."""
    n = len(pattern) - 1
    found = defaultdict(list)
    for sequence in product("PFU" if unknown else "PF", repeat=n):
        at = "".join(sequence)
        factor = unknown ** at.count("U") * (1 - unknown) ** (n - at.count("U"))
        prefix = next(at[:k] for k in range(n + 1) if k == n or settled(pattern, at[:k]))
        state = prefix.count("P"), prefix.count("F"), prefix.count("U")
        found[state].append((factor, at.count("P"), at.count("F")))
    return found


def settled(pattern: str, prefix: str) -> bool:
    return len(set(pattern[prefix.count("P") : len(pattern) - prefix.count("F")])) == 1


def chances(pattern: str, rate: float, unknown: float = 0.0) -> Iterator[tuple[int, int, int, float]]:
    for state, sequences in stops(pattern, unknown).items():
        yield *state, sum(factor * rate**p * (1 - rate) ** f for factor, p, f in sequences)


def test_the_endings_of_a_band() -> None:
    assert [(ending.passes, ending.fails, ending.ways) for ending in endings("FTTFF")] == [
        (0, 4, 1),
        (1, 3, 1),
        (1, 2, 3),
        (2, 2, 3),
        (3, 1, 3),
        (3, 0, 1),
    ]
    assert [(ending.passes, ending.fails, ending.ways) for ending in endings("FTTFF", 2)] == [
        (0, 2, 1),
        (1, 1, 2),
        (2, 0, 1),
    ]
    assert endings("TTT") == ()


@quick
@given(pattern=PATTERNS, rate=st.floats(0, 1))
def test_endings_are_where_sequences_stop_with_their_chance(pattern: str, rate: float) -> None:
    expected = {(p, f): chance for p, f, _, chance in chances(pattern, rate)}
    found = endings(pattern)
    assert {(ending.passes, ending.fails) for ending in found} == set(expected)
    assert [ending.rate for ending in found] == sorted(ending.rate for ending in found)
    for ending in found:
        assert ending.chance(rate) == pytest.approx(expected[ending.passes, ending.fails], abs=1e-12)


@pytest.mark.parametrize("rate", [0.001, 0.3, 0.5, 0.999])
def test_the_endings_of_a_thousand_samples_are_all(rate: float) -> None:
    for pattern in (never(1024), band(1, 700, 1024)):
        assert sum(ending.chance(rate) for ending in endings(pattern)) == pytest.approx(1, abs=1e-9)


# ---- the unbiased rate


def test_the_unbiased_rate_leaves_out_a_last_sample_that_could_not_have_been_another() -> None:
    assert unbiased(BAND, 0, 0) is None
    assert unbiased(BAND, 1, 2) == 1 / 3  # ended by a pass or by a fail
    assert unbiased(BAND, 2, 2) == 2 / 3  # by the second fail
    assert unbiased(BAND, 1, 3) == 0  # by the late pass
    assert unbiased(BAND, 7, 1) == 6 / 7  # by the seventh pass
    assert unbiased(BAND, 7, 0) == 1
    assert unbiased(BAND, 0, 8) == 0
    assert unbiased("FTT", 1, 0) == 1
    assert unbiased("TTF", 0, 1) == 0


def test_without_an_early_end_the_unbiased_rate_is_the_plain_one() -> None:
    assert [unbiased(never(8), passes, 8 - passes) for passes in range(9)] == [passes / 8 for passes in range(9)]
    assert unbiased(BAND, 0, 3) == 0
    assert unbiased(BAND, 3, 1) == 3 / 4  # ran out: the other samples are unknown, or were refused


def test_what_could_not_have_been_sampled_has_no_rate() -> None:
    with pytest.raises(AssertionError, match="beyond where"):
        unbiased(BAND, 2, 3)


@quick
@given(pattern=PATTERNS)
def test_the_unbiased_rate_is_that_of_girshick_mosteller_and_savage(pattern: str) -> None:
    """How often the first sample passed, among all sequences that stop there."""
    first, all_ = defaultdict(int), defaultdict(int)
    for sequence in product("PF", repeat=len(pattern) - 1):
        at = "".join(sequence)
        prefix = next(at[:k] for k in range(len(at) + 1) if k == len(at) or settled(pattern, at[:k]))
        # Each way is met once for every way the undrawn rest could go.
        all_[prefix.count("P"), prefix.count("F")] += 1
        first[prefix.count("P"), prefix.count("F")] += prefix.startswith("P")
    for state, number in all_.items():
        assert unbiased(pattern, *state) == pytest.approx(first[state] / number, abs=1e-12)


@quick
@given(pattern=PATTERNS, rate=st.floats(0, 1))
def test_the_unbiased_rate_is_right_on_average(pattern: str, rate: float) -> None:
    mean = sum(chance * (unbiased(pattern, p, f) or 0) for p, f, _, chance in chances(pattern, rate))
    assert mean == pytest.approx(rate, abs=1e-9)


@settings(quick, max_examples=25)
@given(
    pattern=PATTERNS.filter(lambda pattern: len(pattern) <= 7),
    rate=st.floats(0, 1),
    unknown=st.sampled_from([0.1, 0.5]),
)
def test_the_unbiased_rate_is_right_on_average_when_some_samples_stay_unknown(
    pattern: str, rate: float, unknown: float
) -> None:
    weighed = [(unbiased(pattern, p, f), chance) for p, f, _, chance in chances(pattern, rate, unknown)]
    graded = sum(chance for value, chance in weighed if value is not None)
    assert graded == pytest.approx(1 - unknown ** (len(pattern) - 1))
    assert sum(value * chance for value, chance in weighed if value is not None) == pytest.approx(rate * graded)


# ---- the bias of the plain rate


@quick
@given(pattern=PATTERNS, rate=st.floats(0, 1))
def test_bias_is_that_of_the_plain_rate_over_all_sequences(pattern: str, rate: float) -> None:
    mean = sum(chance * p / (p + f) for p, f, _, chance in chances(pattern, rate))
    assert bias(pattern, rate) == pytest.approx(mean - rate, abs=1e-9)


def test_the_plain_rate_of_a_band_reads_too_high_below_and_too_low_above() -> None:
    rates = [0, 0.1, 0.25, 0.5, 0.66, 0.9, 1]
    assert [round(bias(BAND, rate), 3) for rate in rates] == [0, 0.050, 0.038, -0.042, -0.066, -0.015, 0]
    assert bias(never(8), 0.3) == pytest.approx(0, abs=1e-12)
    assert bias("TTT", 0.3) == 0


# ---- the interval


def clopper_pearson(passes: int, fails: int) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    return (
        beta.ppf(tail, passes, fails + 1) if passes else 0.0,
        beta.ppf(1 - tail, passes + 1, fails) if fails else 1.0,
    )


def test_the_interval_of_a_band_inverts_the_chances_of_its_endings() -> None:
    """Few enough to write down: what a rate at the end of the interval makes just 5 % likely."""
    expected = {
        (0, 8): (0, 1 - 0.05 ** (1 / 8)),  # no lower rate than eight fails
        (1, 7): (
            1 - 0.95 ** (1 / 8),
            1 - 0.05 ** (1 / 7),
        ),  # not all fail; no higher rate than when the first seven fail
        (1, 3): (1 - 0.95 ** (1 / 4), 1 - 0.05 ** (1 / 3)),  # not the first four fail; the first three fail
        (1, 2): (
            1 - 0.95 ** (1 / 3),
            clopper_pearson(1, 2)[1],
        ),  # not the first three fail; at most one of three passes
        (7, 0): (0.05 ** (1 / 7), 1),  # the first seven pass
    }
    assert {state: interval(BAND, *state) for state in expected} == {
        state: pytest.approx(ends, abs=1e-9) for state, ends in expected.items()
    }


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 100, 1024])
def test_where_nothing_settles_the_interval_is_that_of_clopper_and_pearson(n: int) -> None:
    for passes in {0, 1, n // 3, n // 2, n - 1, n}:
        assert interval(never(n), passes, n - passes) == pytest.approx(clopper_pearson(passes, n - passes), abs=1e-9)


def test_samples_that_ran_out_count_as_all_there_were_to_be() -> None:
    assert interval(never(8), 2, 3) == pytest.approx(clopper_pearson(2, 3), abs=1e-9)
    assert interval(BAND, 1, 1) == pytest.approx(clopper_pearson(1, 1), abs=1e-9)


def test_without_graded_samples_there_is_no_interval() -> None:
    assert interval(BAND, 0, 0) == interval("TTT", 0, 0) == (None, None)


@quick
@given(pattern=PATTERNS, data=st.data())
def test_at_the_ends_of_the_interval_its_tail_is_just_five_in_a_hundred(pattern: str, data: st.DataObject) -> None:
    """However many samples there were to be, of as many as were graded or more."""
    n = len(pattern) - 1
    passes, fails, _ = data.draw(st.sampled_from(sorted(stops(pattern, 0.5))).filter(lambda state: state[2] < n))
    low, high = interval(pattern, passes, fails)
    assert low is not None
    assert high is not None
    rate = passes / (passes + fails)
    assert low <= rate <= high
    assert (low == 0) == (passes == 0)
    assert (high == 1) == (fails == 0)
    settles = settled(pattern, "P" * passes + "F" * fails)
    for horizon in range(passes + fails, n + 1 if settles else passes + fails + 1):
        possible = endings(pattern, horizon)
        if passes:
            assert sum(e.chance(low) for e in possible if e.rate >= rate) == pytest.approx(0.05, abs=1e-9)
        if fails:
            assert sum(e.chance(high) for e in possible if e.rate <= rate) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    "pattern",
    [BAND, band(1, 7, 10), band(1, 11, 16), band(3, 12, 16), band(8, 16, 16), "FFTTUUTTFFF", never(10)],
)
def test_the_interval_holds_the_true_rate_at_least_nine_times_in_ten(pattern: str) -> None:
    for step in range(1, 200):
        rate, covered = step / 200, 0.0
        for ending in endings(pattern):
            low, high = interval(pattern, ending.passes, ending.fails)
            assert low is not None
            assert high is not None
            covered += ending.chance(rate) * (low <= rate <= high)
        assert LEVEL <= covered <= 1


@settings(quick, max_examples=25)
@given(
    pattern=PATTERNS.filter(lambda pattern: len(pattern) <= 7),
    rate=st.floats(0, 1),
    unknown=st.sampled_from([0.1, 0.5]),
)
def test_the_interval_holds_the_true_rate_when_some_samples_stay_unknown(
    pattern: str, rate: float, unknown: float
) -> None:
    covered = graded = 0.0
    for passes, fails, _, chance in chances(pattern, rate, unknown):
        low, high = interval(pattern, passes, fails)
        if low is not None and high is not None:
            graded += chance
            covered += chance * (low <= rate <= high)
    assert covered >= LEVEL * graded - 1e-12
