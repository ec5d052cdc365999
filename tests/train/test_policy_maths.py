"""The tensors of train/policy.py against a few lines of float64 NumPy, and what they promise for any input."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.policy import (
    accepted,
    clipped_policy_loss,
    clipped_value_loss,
    doubled_or_halved,
    gae,
    k3,
    mirror_descent_loss,
    penalised_policy_loss,
    process_advantages,
    proportional,
    token_rewards,
    whiten,
)

Floats = npt.NDArray[np.float64]
NAN = float("nan")
seeds = st.integers(0, 2**32 - 1)


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64)


def batch(seed: int, rows: int = 5, tokens: int = 7) -> tuple[np.random.Generator, Floats]:
    """Random numbers, and a mask with completions of every length and with holes where a tool wrote."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, tokens + 1, rows)
    mask = (np.arange(tokens) < lengths[:, None]) * (rng.random((rows, tokens)) < 0.8)
    mask[np.arange(rows), lengths - 1] = 1
    return rng, mask.astype(np.float64)


def distributions(seed: int, size: int = 6) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(size)), rng.dirichlet(np.ones(size))


@given(seeds)
def test_k3_is_never_negative_and_its_expectation_is_the_divergence(seed: int) -> None:
    p, q = distributions(seed)
    estimates = k3(tensor(np.log(p)), tensor(np.log(q))).numpy()

    assert (estimates >= 0).all()
    assert (p * estimates).sum() == pytest.approx((p * np.log(p / q)).sum(), rel=1e-9, abs=1e-12)


@given(seeds)
def test_the_gradient_of_k3_is_that_of_the_divergence_from_the_policy_that_sampled(seed: int) -> None:
    p, q = distributions(seed)
    logits = tensor(np.log(q)).requires_grad_()

    (tensor(p) * k3(tensor(np.log(p)), logits.log_softmax(0))).sum().backward()

    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), q - p, atol=1e-9)  # of KL(p, softmax)


def slow_gae(rewards: Floats, values: Floats, mask: Floats, gamma: float, lam: float) -> Floats:
    """The sum over k of (gamma lambda)^k delta_{t+k}, over the tokens of the policy."""
    found = np.zeros_like(rewards)
    for row in range(len(rewards)):
        places = np.flatnonzero(mask[row])
        r, v = rewards[row, places], np.append(values[row, places], 0.0)
        deltas = r + gamma * v[1:] - v[:-1]
        for t, place in enumerate(places):
            found[row, place] = sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[t:]))
    return found


@given(seeds, st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.sampled_from([0.0, 0.9, 1.0]))
def test_gae_is_the_discounted_sum_of_temporal_differences(seed: int, gamma: float, lam: float) -> None:
    rng, mask = batch(seed)
    rewards, values = rng.normal(size=mask.shape) * mask, rng.normal(size=mask.shape)

    advantages, returns = gae(tensor(rewards), tensor(values), tensor(mask), gamma, lam)

    np.testing.assert_allclose(advantages.numpy(), slow_gae(rewards, values, mask, gamma, lam), atol=1e-12)
    np.testing.assert_allclose(returns.numpy(), (advantages.numpy() + values) * mask, atol=1e-12)


@given(seeds)
def test_gae_with_gamma_and_lambda_1_is_the_return_minus_the_value(seed: int) -> None:
    rng, mask = batch(seed)
    task, values = rng.normal(size=len(mask)), rng.normal(size=mask.shape)
    rewards = token_rewards(tensor(task), torch.zeros(mask.shape), tensor(mask), beta=0.1, clamped=False)

    advantages, returns = gae(rewards, tensor(values), tensor(mask), 1.0, 1.0)

    np.testing.assert_allclose(advantages.numpy(), (task[:, None] - values) * mask, atol=1e-12)
    np.testing.assert_allclose(returns.numpy(), task[:, None] * mask, atol=1e-12)


def test_the_task_pays_at_the_last_token_and_the_divergence_at_every_one() -> None:
    mask = tensor([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    kl = tensor([[0.5, -0.5, 9, 1, 9], [2, 9, 9, 9, 9], [9, 9, 9, 9, 9]])
    task = tensor([1.0, 0.5, 7.0])

    found = token_rewards(task, kl, mask, beta=0.1, clamped=False)
    clamped = token_rewards(task, kl, mask, beta=0.1, clamped=True)

    np.testing.assert_allclose(found, [[-0.05, 0.05, 0, 0.9, 0], [0.3, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_allclose(clamped, [[-0.05, 0, 0, 0.9, 0], [0.3, 0, 0, 0, 0], [0, 0, 0, 0, 0]])


@given(seeds, st.floats(0.5, 100), st.floats(-10, 10))
def test_whitened_advantages_have_mean_0_and_deviation_1_whatever_their_scale(
    seed: int, scale: float, by: float
) -> None:
    rng, mask = batch(seed, rows=8)
    advantages = rng.normal(size=mask.shape) * scale + by
    inside = mask.astype(bool)

    found = whiten(tensor(advantages), tensor(mask)).numpy()

    kept = advantages[inside]
    np.testing.assert_allclose(found[inside], (kept - kept.mean()) / (kept.std() + 1e-4), atol=1e-9)
    assert (found[~inside] == 0).all()


def test_processes_whiten_by_the_numbers_of_all_of_them() -> None:
    rng, mask = batch(3, rows=8)
    advantages = rng.normal(size=mask.shape)
    whole = whiten(tensor(advantages), tensor(mask)).numpy()
    halves = [(tensor(advantages[part]), tensor(mask[part])) for part in (slice(0, 4), slice(4, 8))]
    inside = mask.astype(bool)
    count, mean = mask.sum(), advantages[inside].mean()
    sums = [count, advantages[inside].sum(), ((advantages[inside] - mean) ** 2).sum()]

    for part, (rows, kept) in zip((slice(0, 4), slice(4, 8)), halves, strict=True):
        left = iter(sums)
        np.testing.assert_allclose(whiten(rows, kept, lambda _, left=left: tensor(next(left))), whole[part], atol=1e-9)


@given(seeds)
def test_the_clipped_loss_is_the_papers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_p, log_old, advantages = rng.normal(scale=0.3, size=(3, 4, 5))
    ratio = np.exp(log_p - log_old)
    wanted = -np.minimum(ratio * advantages, np.clip(ratio, 0.8, 1.2) * advantages)

    found = clipped_policy_loss(tensor(log_p), tensor(log_old), tensor(advantages), 0.2)

    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.3, 1, False), (1.3, -1, True), (0.7, 1, True), (0.7, -1, False), (1.1, 1, True)],
)
def test_the_clip_stops_what_has_gone_far_enough_and_lets_it_come_back(
    ratio: float, advantage: float, moves: bool
) -> None:
    log_p = tensor([[np.log(ratio)]]).requires_grad_()

    clipped_policy_loss(log_p, tensor([[0.0]]), tensor([[advantage]]), 0.2).sum().backward()

    assert log_p.grad is not None
    assert bool(log_p.grad.item()) == moves


@given(seeds)
def test_the_penalised_loss_has_the_expectation_of_the_papers(seed: int) -> None:
    """Over a categorical policy: -(E_p[A] - penalty KL(old, p)), and so has its gradient."""
    old, p = distributions(seed)
    advantages = np.random.default_rng(seed + 1).normal(size=len(p))
    logits = tensor(np.log(p)).requires_grad_()

    loss = (
        tensor(old) * penalised_policy_loss(logits.log_softmax(0), tensor(np.log(old)), tensor(advantages), 0.7)
    ).sum()
    loss.backward()

    assert loss.item() == pytest.approx(-(p @ advantages) + 0.7 * (old @ np.log(old / p)))
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), -p * (advantages - p @ advantages) + 0.7 * (p - old), atol=1e-9)


def test_a_value_is_not_rewarded_for_going_further_than_the_clip() -> None:
    values = tensor([[0.0, 0.5, 2.0, -2.0]]).requires_grad_()

    loss = clipped_value_loss(values, tensor([[0.0] * 4]), tensor([[1.0] * 4]), clip=0.2)
    loss.sum().backward()

    np.testing.assert_allclose(loss.detach().numpy(), [[0.5, 0.32, 0.5, 4.5]])
    assert values.grad is not None
    np.testing.assert_allclose(values.grad.numpy(), [[-1, 0, 1, -3]])


def papers_gradient(
    logits: Floats, log_old: Floats, tokens: npt.NDArray[np.int64], r: Floats, mask: Floats, tau: float
) -> Floats:
    """Kimi k1.5's eq. 3 for a policy that has its own logits at every token of every sample, by the gradient of a softmax."""
    p = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    chosen = np.eye(logits.shape[-1])[tokens]
    log_p = np.log((p * chosen).sum(-1))
    grad_of_log_p = (chosen - p) * mask[..., None]  # of the sequence's log-probability
    log_ratio = ((log_p - log_old) * mask).sum(1)
    # The gradient of the squared log-ratio is 2 log-ratio grad log pi.
    weight = (r - r.mean()) - tau / 2 * 2 * log_ratio
    return weight[:, None, None] * grad_of_log_p / len(r)


@given(seeds, st.sampled_from([0.01, 0.1, 1.0]))
def test_mirror_descent_has_the_policy_gradient_of_kimis_paper(seed: int, tau: float) -> None:
    rng, mask = batch(seed, rows=4)
    logits = rng.normal(size=(*mask.shape, 3))
    log_old = rng.normal(size=mask.shape) - 1
    tokens = rng.integers(0, 3, mask.shape)
    r = rng.integers(0, 2, len(mask)).astype(float)
    parameters = tensor(logits).requires_grad_()
    log_p = parameters.log_softmax(-1).gather(-1, torch.tensor(tokens).unsqueeze(-1)).squeeze(-1)

    mirror_descent_loss(log_p, tensor(log_old), tensor(r - r.mean()), tensor(mask), tau).mean().backward()

    assert parameters.grad is not None
    np.testing.assert_allclose(
        -parameters.grad.numpy(), papers_gradient(logits, log_old, tokens, r, mask, tau), atol=1e-12
    )


def test_mirror_descent_settles_where_the_log_ratio_is_the_advantage_over_tau() -> None:
    """The minimum of the paper's squared loss, with the mean reward for tau log Z."""
    log_p = tensor([[-1.0, -2.0], [-1.0, -2.0]]).requires_grad_()
    log_old, mask = tensor([[-1.4, -2.6], [-1.0, -1.0]]), torch.ones(2, 2)

    mirror_descent_loss(log_p, log_old, tensor([0.5, -0.5]), mask, tau=0.5).sum().backward()

    assert log_p.grad is not None
    np.testing.assert_allclose(log_p.grad.numpy(), 0, atol=1e-12)  # log-ratios of 1 and -1


def test_only_correct_samples_are_trained_on_in_online_rft() -> None:
    assert accepted(tensor([1, 0, NAN, 1])).tolist() == [1, 0, 0, 1]
    with pytest.raises(ValueError, match=r"needs a reward of 1 or 0: one is 1\.5; give it `accuracy` alone"):
        accepted(tensor([1, 1.5]))


def slow_process(steps: Floats, group: int) -> Floats:
    found = np.zeros_like(steps)
    for first in range(0, len(steps), group):
        rows = steps[first : first + group]
        known = rows[~np.isnan(rows)]
        for row in range(group):
            for t in range(steps.shape[1]):
                later = [one for one in rows[row, t:] if not np.isnan(one)]
                if len(known) > 1:
                    found[first + row, t] = sum((one - known.mean()) / (known.std(ddof=1) + 1e-4) for one in later)
    return found


@given(seeds, st.floats(0, 1))
def test_a_token_has_the_normalised_rewards_of_the_steps_that_end_at_it_or_later(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random((6, 5)) < share, rng.normal(size=(6, 5)), NAN)

    np.testing.assert_allclose(process_advantages(tensor(steps), group=3).numpy(), slow_process(steps, 3), atol=1e-9)


def test_process_advantages_by_hand() -> None:
    """Two completions of one prompt: right step then wrong step; one right step. Mean 2/3, deviation sqrt(1/3)."""
    up, down = (1 / 3) / (3**-0.5 + 1e-4), (-2 / 3) / (3**-0.5 + 1e-4)
    steps = tensor([[NAN, 1, NAN, 0, NAN], [NAN, NAN, 1, NAN, NAN]])

    found = process_advantages(steps, group=2)

    np.testing.assert_allclose(found, [[up + down, up + down, down, down, 0], [up, up, up, 0, 0]], atol=1e-12)


def test_an_unknown_step_changes_no_mean_and_a_group_that_is_all_equal_says_nothing() -> None:
    with_unknown = tensor([[1, NAN, NAN], [0, NAN, NAN], [NAN, NAN, NAN], [1, NAN, NAN]])

    found = process_advantages(with_unknown, group=4)

    np.testing.assert_allclose(found[[0, 1, 3]], process_advantages(with_unknown[[0, 1, 3]], group=3))
    assert (found[2] == 0).all()
    assert (process_advantages(tensor([[1, 1], [1, NAN], [NAN, NAN], [NAN, 1]]), group=2) == 0).all()


def test_the_price_of_divergence_follows_its_target_by_at_most_two_per_cent() -> None:
    assert proportional(0.2, kl=6.0, target=6.0) == 0.2
    assert proportional(0.2, kl=6.6, target=6.0) == pytest.approx(0.202)
    assert proportional(0.2, kl=60.0, target=6.0) == pytest.approx(0.204)
    assert proportional(0.2, kl=-1.0, target=6.0) == pytest.approx(0.196)


def test_the_penalty_doubles_and_halves_outside_of_a_band_around_its_target() -> None:
    found = [doubled_or_halved(1.0, kl, target=0.01) for kl in (0.0, 0.0066, 0.0067, 0.01, 0.015, 0.0151)]

    assert found == [0.5, 0.5, 1.0, 1.0, 1.0, 2.0]
