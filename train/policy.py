"""The mathematics of policy optimisation that TRL does not have, as functions of tensors.

    B  completions        T  tokens of the longest one        G  completions of one prompt, next to each other

    mask      (B, T)  1 for a token of the policy; 0 for padding, and for what a tool wrote
    log_p     (B, T)  log-probability of the sampled token under the policy that is trained
    log_old   (B, T)  under the policy that sampled it: a constant
    log_ref   (B, T)  under the frozen reference: a constant

Advantages of GRPO, Dr. GRPO, DAPO and RLOO, and their losses, are TRL's; the tests hold those to the same oracle as these.
What is unknown is NaN: it counts in no mean and no deviation, and moves nothing.
"""

from collections.abc import Callable

import torch
from torch import Tensor

EPSILON = 1e-4
"""Beside a standard deviation, as TRL has it."""


def k3(log_p: Tensor, log_q: Tensor) -> Tensor:
    """An estimate of KL(p, q) from tokens drawn from p, of the shape that is given: q/p - log(q/p) - 1.

    Never negative, and its expectation over p is the divergence (Schulman 2020, "Approximating KL divergence"; DeepSeekMath,
    2402.03300, eq. 4). Where q depends on parameters and p does not, its gradient's expectation is the divergence's too.
    """
    log_ratio = log_q - log_p
    return torch.expm1(log_ratio) - log_ratio


def token_rewards(task: Tensor, kl: Tensor, mask: Tensor, beta: float, clamped: bool) -> Tensor:
    """(B, T): the KL's price on every token, and the task's reward on the last one (Ziegler 2019, 1909.08593, eq. 2).

    task: (B,), known. kl: (B, T), log_old - log_ref, an estimate that may be negative; clamped makes those 0, so that no token
    is paid for being less likely than under the reference.
    """
    price = beta * (kl.clamp(min=0) if clamped else kl)
    tokens = mask.cumsum(1)
    last = mask.bool() & (tokens == tokens[:, -1:])
    return torch.where(last, task.unsqueeze(1), 0.0) - price * mask


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns, (B, T) each, 0 outside the mask (generalised advantage estimation, 1506.02438, eq. 16).

        delta_t = r_t + gamma V_{t+1} - V_t        A_t = delta_t + gamma lambda A_{t+1}        R_t = A_t + V_t

    rewards, values: (B, T); V_t is of the state before token t. After the last token is nothing: V = A = 0, also where a
    completion was cut off. Tokens outside the mask are no steps: t + 1 is the next token of the policy.
    """
    inside = mask.bool()
    advantages = torch.zeros_like(values)
    next_value = next_advantage = torch.zeros_like(values[:, 0])
    for t in range(values.size(1) - 1, -1, -1):
        advantage = rewards[:, t] + gamma * next_value - values[:, t] + gamma * lam * next_advantage
        next_advantage = torch.where(inside[:, t], advantage, next_advantage)
        next_value = torch.where(inside[:, t], values[:, t], next_value)
        advantages[:, t] = torch.where(inside[:, t], advantage, 0.0)
    return advantages, (advantages + values) * mask


def whiten(advantages: Tensor, mask: Tensor, total: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> Tensor:
    """Advantages with mean 0 and deviation 1 over the tokens of the mask, (B, T), 0 outside it.

    total: adds a tensor up over all processes, each of which has some of the completions.
    """
    count = total(mask.sum()).clamp(min=1)
    mean = total((advantages * mask).sum()) / count
    variance = total(((advantages - mean) ** 2 * mask).sum()) / count
    return (advantages - mean) * mask / (variance.sqrt() + EPSILON)


def clipped_policy_loss(log_p: Tensor, log_old: Tensor, advantages: Tensor, epsilon: float) -> Tensor:
    """(B, T): -min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon) A) with ratio = p/old (PPO, 1707.06347, eq. 7)."""
    ratio = torch.exp(log_p - log_old)
    return -torch.min(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon) * advantages)


def penalised_policy_loss(log_p: Tensor, log_old: Tensor, advantages: Tensor, penalty: float) -> Tensor:
    """(B, T): -(ratio A - penalty KL(old, p)) (PPO, eq. 8), what TRPO (1502.05477) constrains made a price.

    The divergence is estimated by k3 from the sampled tokens, which are the old policy's.
    """
    return -torch.exp(log_p - log_old) * advantages + penalty * k3(log_old, log_p)


def clipped_value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """(B, T): half the squared error, the worse of the value's and of the value's kept within clip of the old one.

    As in the PPO of OpenAI's baselines (ppo2) and of Ziegler 2019; the paper of PPO has no clip here.
    """
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.max((values - returns) ** 2, (near - returns) ** 2)


def mirror_descent_loss(log_p: Tensor, log_old: Tensor, advantages: Tensor, mask: Tensor, tau: float) -> Tensor:
    """(B,): the surrogate of Kimi k1.5's online mirror descent, whose gradient is the negative of 2501.12599's eq. 3:

        (r - mean r) grad log pi(y) - tau/2 grad (log pi(y)/pi_ref(y))^2

    with log pi(y) the sum over the completion's tokens, not their mean. advantages: (B,), r - mean r of the group. The
    reference is the policy that the iteration began with, and sampled from: log_old. In the place of a clip, the square
    pulls a sequence back that has moved, whether its reward is good, bad or unknown (advantage 0).
    """
    log_ratio = ((log_p - log_old) * mask).sum(1)
    return -(advantages * log_ratio - 0.5 * tau * log_ratio**2)


def accepted(rewards: Tensor) -> Tensor:
    """(B,): 1 for a correct completion, 0 for a wrong and for an unknown one: online RFT (DeepSeekMath, 2402.03300, app. A.1).

    rewards: (B,), 1, 0 or unknown. Raises ValueError for any other.
    """
    known = rewards[~rewards.isnan()]
    if (other := known[(known != 0) & (known != 1)]).numel():
        raise ValueError(
            f"online RFT trains on what is correct, and needs a reward of 1 or 0: one is {other[0].item():g}; give it "
            "`accuracy` alone, with the weight 1"
        )
    return rewards.nan_to_num(nan=0.0)


def process_advantages(steps: Tensor, group: int) -> Tensor:
    """(B, T): of every token the sum of the normalised rewards of the steps that end at it or later.

    steps: (B, T), the reward of a step at its last token, NaN elsewhere and where it is unknown. They are normalised by mean
    and deviation over all steps of the group's completions (DeepSeekMath, 2402.03300, section 4.1.3), with Bessel's
    correction and the epsilon of TRL's. A group with fewer than two known steps says nothing: 0.
    """
    rows = steps.reshape(-1, group * steps.size(1))
    known = ~rows.isnan()
    count = known.sum(1, keepdim=True)
    far = rows - rows.nanmean(1, keepdim=True)
    deviation = ((far**2).nansum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    normalised = torch.where(known, far / (deviation + EPSILON), 0.0).view_as(steps)
    return normalised.flip(1).cumsum(1).flip(1)


def proportional(beta: float, kl: float, target: float) -> float:
    """The KL's price in the reward for the next batch: up by at most 2 % where the batch had more KL than wanted, else down.

    kl, target: nats a completion, against the reference. Ziegler 2019 (1909.08593, section 2.2), whose K is 0.1.
    """
    return beta * (1 + 0.1 * max(-0.2, min(0.2, kl / target - 1)))


def doubled_or_halved(penalty: float, kl: float, target: float) -> float:
    """The price of leaving the policy that sampled, for the next batch (PPO, 1707.06347, section 4).

    kl, target: nats a token, of the last pass over the batch. It doubles above 1.5 times the target, and halves below the
    target / 1.5.
    """
    if kl > 1.5 * target:
        return penalty * 2
    return penalty / 2 if kl < target / 1.5 else penalty
