"""Whether the verifier accepts the answer: 1 or 0, and unknown where the grader failed.

It is graded as curation grades its rollouts (curation/graders.py): by the problem's own verifier, which extracts the answer, in
worker processes that are killed at their deadline. So what the pass rates promised is what RL pays. A completion that was cut
off is wrong and not looked at, as in curation at the length of RL.

As there, a completion without any tag is graded whole, also when the prompt had opened the thinking: an answer inside thinking
that is never closed is paid. The reward `format` is what makes that cost something.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from curation.graders import Graders, job
from curation.verify import JUDGE, VERIFIERS, Verdict
from train.rewards.reward import Batch, Completion, Reward

RIGHT = {"correct": True, "wrong": False}


class Accuracy(Reward):
    """1 for a correct answer, 0 for a wrong one (DeepSeek-R1, 2.2.2)."""

    NAME: ClassVar[str] = "accuracy"
    DECIDES: ClassVar[bool] = True
    OF_CORRECT: ClassVar[float] = 1.0
    OF_WRONG: ClassVar[float] = 0.0

    def rewards(self, batch: Batch) -> list[float | None]:
        return [None if right is None else float(right) for right in batch.correct]


def verdicts(completions: Sequence[Completion], graders: Graders) -> list[Verdict | None]:
    """The verdict on every completion; None for those that were cut off, and of problems that name no verifier.

    A grader that hangs or dies is the verdict `error`. Raises GraderPoolError when the workers cannot run at all, and
    SamplingError when no server of the judge answers any more.
    """
    graded = [not one.cut_off and one.problem["verifier"] is not None for one in completions]
    jobs = (job(one.problem, one.text) for one, asked in zip(completions, graded, strict=True) if asked)
    found = graders.grade_many(jobs)
    return [next(found) if asked else None for asked in graded]


def correct(completion: Completion, verdict: Verdict | None) -> bool | None:
    """Whether a completion is right; None where that is not known."""
    if completion.cut_off:
        return False
    return None if verdict is None else RIGHT.get(verdict.outcome)


def ungradable(rows: Iterable[Mapping[str, Any]], judged: bool) -> list[str]:
    """What of a set cannot be graded, to be told before the first step.

    rows: of the set, of which `verifier` is read. judged: whether the recipe's judge answers in the training process.
    """
    named = Counter(row["verifier"] for row in rows)
    found = []
    if without := named.pop(None, 0):
        found.append(
            f"{without:,} of {without + named.total():,} problems name no verifier, so what the policy answers stays unknown and "
            "trains nothing; give their source a `verifier`, or drop them with the rule `verifier is not null`"
        )
    if (asked := named.pop(JUDGE, 0)) and not judged:
        found.append(
            f"{asked:,} problems are graded by a model (`verifier: judge`), and none is there to ask; give the recipe a `judge` "
            f"whose model has a `url`, or leave them out with the rule `verifier <> '{JUDGE}'`"
        )
    if unknown := sorted(set(named) - set(VERIFIERS)):
        found.append(f"there is no verifier {', '.join(unknown)}; known are {', '.join(VERIFIERS)}")
    return found
