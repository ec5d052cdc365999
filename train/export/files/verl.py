"""verl's reward: the graders that curated the data. Copied by `cuvee export`; needs Cuvee on every node.

verl takes a number for every answer. One that could not be graded (a grader that ran out of time, say) gets 0, like a wrong
one, for want of anything else, and `unknown` 1: verl averages it in its validation metrics and writes it beside every sample
it dumps (trainer.rollout_data_dir); in training the log of the reward workers counts it.
"""

from typing import Any

from curation.verify.reference import verdict


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **_: Any
) -> dict[str, float | str]:
    """Called by verl in a thread, an answer at a time. Returns by the graders' deadline."""
    found = verdict(ground_truth, solution_str)
    correct = float(found.outcome == "correct")
    # verl wants the same keys of every answer; `pred` is what its majority votes count.
    return {
        "score": correct,
        "acc": correct,
        "unknown": float(found.outcome == "error"),
        "pred": found.extracted or "",
    }
