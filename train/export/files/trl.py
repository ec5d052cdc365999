"""TRL's reward: the graders that curated the data. Copied by `cuvee export`; needs Cuvee where it trains.

An answer that could not be graded (a grader that ran out of time, say) gets None: GRPOTrainer leaves it out of its group's
mean and deviation and gives it no advantage. `unknown` in the logs is the share of them.
"""

from collections.abc import Callable
from typing import Any

from curation.verify.reference import verdicts


def accuracy(
    completions: list[Any], reference: list[str], log_metric: Callable[[str, float], None] | None = None, **_: Any
) -> list[float | None]:
    """Called by GRPOTrainer, a batch at a time. Returns by the graders' deadline."""
    texts = [one if isinstance(one, str) else "".join(turn["content"] for turn in one) for one in completions]
    outcomes = [found.outcome for found in verdicts(zip(reference, texts, strict=True))]
    if log_metric is not None and outcomes:
        log_metric("unknown", sum(outcome == "error" for outcome in outcomes) / len(outcomes))
    return [None if outcome == "error" else float(outcome == "correct") for outcome in outcomes]
