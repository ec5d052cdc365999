"""What a band is worth: groups that will be all equal, as expected from counts, beside what comes of known rates."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.band import JEFFREYS, Band, Beta, band, fitted


def of(passes: list[int | None], fails: list[int | None], group: int) -> Band:
    found = band(passes, fails, group)
    assert found is not None
    return found


def test_one_problem_by_hand() -> None:
    # One right and one wrong answer: Beta(3/2, 3/2), E[p^2] = 3/2 * 5/2 / (3 * 4).
    found = of([1], [1], 2)
    assert (found.all_right, found.all_wrong) == (pytest.approx(0.3125), pytest.approx(0.3125))
    assert found.all_equal == pytest.approx(0.625)


@given(st.integers(0, 16), st.integers(0, 16), st.integers(2, 32))
def test_the_expectation_is_the_integral_over_the_posterior(right: int, wrong: int, group: int) -> None:
    if not right + wrong:
        return
    found = of([right], [wrong], group)
    # Under the prior's weight, 1/sqrt(x (1 - x)), the mean over these nodes is the integral of any polynomial (Chebyshev).
    nodes = (1 + np.cos((2 * np.arange(64) + 1) * math.pi / 128)) / 2
    posterior = nodes**right * (1 - nodes) ** wrong
    assert found.all_right == pytest.approx(float((posterior * nodes**group).sum() / posterior.sum()))
    assert found.all_wrong == pytest.approx(float((posterior * (1 - nodes) ** group).sum() / posterior.sum()))


def test_what_was_not_measured_is_counted_and_nothing_is_said_of_it() -> None:
    found = of([1, None, 0, 4], [3, None, 0, 0], 8)
    assert (found.problems, found.unknown, found.never, found.always, found.samples) == (2, 2, 0, 1, 4)
    assert found.all_equal == pytest.approx((of([1], [3], 8).all_equal + of([4], [0], 8).all_equal) / 2)
    assert band([None, 0], [None, 0], 8) is None
    assert band([], [], 8) is None


def test_it_is_told_in_a_sentence() -> None:
    assert str(of([0] * 10 + [4] * 29 + [8, None], [8] * 10 + [4] * 29 + [0, None], 8)) == (
        "groups of 8: about 23% would be all equal and train nothing (3% all right, 19% all wrong), by the pass rates of 40 "
        "problems, 8.0 samples each, 10 never solved and 1 always; 1 more have none"
    )


POOLS = {"mostly too easy or too hard": (0.3, 0.3), "even": (1, 1), "hard": (0.3, 1), "all in between": (2, 2)}


@pytest.mark.parametrize("shape", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize(("least", "most"), [(1, 7), (0, 10)])
def test_with_the_pool_at_hand_the_share_of_a_band_comes_out(shape: tuple[float, float], least: int, most: int) -> None:
    random = np.random.default_rng(0)
    rates = random.beta(*shape, 20000)
    passes = random.binomial(10, rates)
    kept = (passes >= least) & (passes <= most)
    truth = float((rates[kept] ** 16 + (1 - rates[kept]) ** 16).mean())

    pool = (passes.tolist(), (10 - passes).tolist())
    found = band(passes[kept].tolist(), (10 - passes[kept]).tolist(), 16, pool)

    assert found is not None
    assert found.fitted
    assert found.all_equal == pytest.approx(truth, abs=0.01)
    assert found.prior == pytest.approx(Beta(*shape), rel=0.1)


def test_counts_that_settled_early_are_as_good() -> None:
    random = np.random.default_rng(1)
    rates = random.beta(0.5, 1.5, 20000)
    answers = random.random((20000, 10)) < rates[:, None]
    # Sampling ends with the third answer that is right, or the fourth that is wrong.
    right, wrong = answers.cumsum(axis=1), (~answers).cumsum(axis=1)
    ends = ((right == 3) | (wrong == 4)).argmax(axis=1)
    passes, fails = (counts[np.arange(20000), ends].tolist() for counts in (right, wrong))
    assert fitted(passes, fails) == pytest.approx(Beta(0.5, 1.5), rel=0.1)
    found = band(passes, fails, 8, (passes, fails))
    assert found is not None
    assert found.all_equal == pytest.approx(float((rates**8 + (1 - rates) ** 8).mean()), abs=0.01)


def test_without_the_pool_the_prior_is_jeffreys() -> None:
    found = of([1], [3], 8)
    assert (found.prior, found.fitted) == (JEFFREYS, False)
    assert fitted([], []) == JEFFREYS


def test_a_pool_that_is_never_solved_has_next_to_no_group_that_teaches() -> None:
    found = band([0] * 50, [8] * 50, 16, ([0] * 50, [8] * 50))
    assert found is not None
    assert 0.9 < found.all_wrong < 1
