"""What samples agree on: their answers in classes of equal ones, as the problem's verifier sees it.

Answers that the verifier accepted are the gold answer's class. The others are compared with the commonest of each class, as
long as what is left could still outvote the largest one; what the verifier cannot compare could be the same or not.
Agreement is a share of *all n samples*, and more than half, so at most one class has it. A sample that is not drawn yet, or
that its grader failed at, could have any answer: what depends on it is unknown.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.dedup.conflicts import compared

MOST_CLASSES = 8
"""Of samples with more different answers the rest is not told apart."""


@dataclass
class Answer:
    """An answer as some samples wrote it; with those that are equal to it, a class."""

    text: str
    votes: int
    same: bool | None
    """Whether the verifier accepted it for the gold answer; None where it could not tell, or there is none."""
    maybe: int = 0
    """Votes of answers that could not be compared with it."""


@dataclass
class Votes:
    """The answers of n samples of one problem."""

    n: int
    verifier: dict[str, Any]
    """Its name, and args."""
    answers: Sequence[Answer]
    """Each text once, the commonest first."""
    unknown: int
    """Samples that may have any answer."""
    has_gold: bool = True
    classes: list[Answer] = field(default_factory=list)
    """Classes, after `count`."""
    left: list[Answer] = field(default_factory=list)
    """Answers that are in none, as they cannot win any more."""

    given: int = 0
    """Samples that give an answer."""

    def __post_init__(self) -> None:
        self.given = sum(answer.votes for answer in self.answers)
        accepted = [answer for answer in self.answers if answer.same]
        if accepted:
            self.classes = [Answer(accepted[0].text, sum(answer.votes for answer in accepted), True)]
        self.left = [answer for answer in self.answers if not answer.same]

    @property
    def undivided(self) -> int:
        return sum(answer.votes for answer in self.left)

    @property
    def first(self) -> Answer | None:
        """The largest class; of equal ones the gold answer's, then the first."""
        return max([*self.classes, *self.left], key=lambda one: one.votes, default=None)

    @property
    def share(self) -> float | None:
        """Share of the n samples that give the commonest answer; None while that could change."""
        first = self.first
        most = 0 if first is None else first.votes
        others = (one.votes + one.maybe for one in self.classes if one is not first)
        if self.unknown or (first is not None and first.maybe) or max(self.undivided, *others, 0) > most:
            return None
        return most / self.n

    def suspect(self, agree: float) -> bool | None:
        """Whether samples agree on an answer that is not the gold answer; None when that is unknown."""
        need = _need(agree, self.n)
        if not self.has_gold:
            return None
        others = [one for one in self.classes if not one.same]
        if any(one.same is False and one.votes >= need for one in others):
            return True
        most = max([self.undivided, *(one.votes + one.maybe for one in others)])
        return False if most + self.unknown < need else None

    def is_open(self, need: int) -> bool:
        """Whether what is left could be the commonest answer, or one that the samples agree on."""
        most = max((one.votes for one in self.classes), default=0)
        return bool(self.left) and (self.undivided > most or self.undivided + self.unknown >= need)


def count(problems: Collection[Votes], agree: float) -> None:
    """Sorts the answers of some problems into classes, by their verifiers in the worker pool.

    agree: share of the n samples from which they agree, above 1/2.
    """
    _place([problem for problem in problems if problem.classes])
    for _ in range(MOST_CLASSES):
        open_ones = [problem for problem in problems if problem.is_open(_need(agree, problem.n))]
        for problem in open_ones:
            problem.classes.append(problem.left.pop(0))
        _place(open_ones)


def _need(agree: float, n: int) -> int:
    return math.ceil(agree * n - 1e-9)


def _place(problems: Collection[Votes]) -> None:
    """Adds what is left to the last class, where it is equal to it."""
    asked = [
        (problem, answer)
        for problem in problems
        for answer in problem.left
        if not (problem.classes[-1].same and answer.same is False)  # the verifier has told these apart
    ]
    sames = compared((_side(problem, problem.classes[-1]), _side(problem, answer)) for problem, answer in asked)
    for (problem, answer), same in zip(asked, sames, strict=True):
        into = problem.classes[-1]
        if same:
            problem.left.remove(answer)
            into.votes += answer.votes
            into.same = answer.same if into.same is None else into.same
        elif same is None:
            into.maybe += answer.votes


def _side(problem: Votes, answer: Answer) -> dict[str, Any]:
    return {"answer": answer.text, "verifier": problem.verifier}
