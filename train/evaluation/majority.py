"""What the samples of a problem vote for, and whether it is right; answers are equal when the problem's verifier says so, or
where it only scores them, as text.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from curation.verify import VERIFIERS, verifier
from curation.votes import Answer, Votes
from curation.votes import count as count_votes
from train.evaluation.calibration import Claim
from train.evaluation.drawing import Answered

AGREE = 1 / 1024
"""So low that every answer is sorted, until there are too many: ties count here."""
AS_TEXT = {"reasoning-gym": "exact"}
"""Verifiers that score an answer and cannot compare two, where equal text tells: by the verifier that compares that."""
ROUNDS = 4
"""Times that answers are sorted into more classes: 8 each."""


def majorities(problems: Sequence[Answered]) -> dict[str, Claim]:
    """By problem id: the share of its samples that give the commonest answer, and whether that is right.

    Where k answers tie, each is taken with chance 1/k. A problem is not in it where this is unknown: a sample has no
    verdict, or two answers cannot be compared (code, instructions, a judge). Where no sample gives an
    answer nothing is claimed (0), and that is not right.
    """
    able = {name for name in VERIFIERS if verifier(name).NEEDS_ANSWER} | AS_TEXT.keys()
    votes = {one.id: _votes(one) for one in problems if one.verifier in able and not one.counted.unknown}
    left = [*votes.values()]
    for _ in range(ROUNDS):
        count_votes(left, AGREE)
        left = [one for one in left if _leader(one) is None and one.left]
        if not left:
            break
    found = {id_: _leader(one) for id_, one in votes.items()}
    return {id_: claim for id_, claim in found.items() if claim is not None}


def _votes(one: Answered) -> Votes:
    texts = [sample.extracted for sample in one.samples if sample.extracted]
    same = {sample.extracted: sample.correct for sample in one.samples}
    by_text = AS_TEXT.get(one.verifier)
    return Votes(
        n=len(one.samples),
        verifier={"name": by_text, "args": None} if by_text else {"name": one.verifier, "args": one.verifier_args},
        answers=[Answer(text, number, same[text]) for text, number in Counter(texts).most_common()],
        unknown=0,
    )


def _leader(votes: Votes) -> Claim | None:
    """The commonest answer; None while what was not compared could change it."""
    most = max((one.votes for one in votes.classes), default=0)
    others: Iterable[int] = (one.votes + one.maybe for one in votes.classes if one.votes < most or one.maybe)
    if not votes.given:
        return Claim(0.0, 0.0)
    if not most or votes.undivided >= most or max(others, default=0) > most:
        return None
    first = [one for one in votes.classes if one.votes == most]
    return Claim(most / votes.n, sum(one.same is True for one in first) / len(first))
