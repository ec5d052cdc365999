"""The rewards of a stage, tried before a step is paid for, on completions of its own set of which it is known what they deserve.

    its own answer       as the problem's verifier writes one, behind some thinking
    another problem's    written in the same way
    nothing

A reward that does not tell them apart trains nothing, and a verifier that refuses the first, or takes the others, teaches what is
wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.graders import Graders
from curation.verify import JUDGE, VERIFIERS, Verdict, as_completion
from curation.verify.pool import GraderPool
from train.prompting import Asked
from train.rewards.reward import Completion
from train.rewards.scoring import Rewards
from train.rewards.section import Section
from train.rewards.total import SAME

KINDS = GOOD, OTHER, EMPTY = "its own answer", "another problem's", "nothing"
THOUGHT = "The answer is known."
MANY = 0.5
"""Share of problems for which another one's answer may be right: some sets have few different answers."""


@dataclass
class Tried:
    """What came of completions of one kind."""

    kind: str
    right: int = 0
    wrong: int = 0
    unknown: int = 0
    rewards: list[float] = field(default_factory=list)
    """Totals that are known."""

    @property
    def mean(self) -> float | None:
        """Of the totals; None where none is known."""
        return sum(self.rewards) / len(self.rewards) if self.rewards else None


@dataclass
class Trial:
    """What came of all of them."""

    kinds: list[Tried] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def tried(
    settings: Mapping[str, Any],
    rewards: Section,
    steps: int,
    tokenizer: Any,
    chosen: Sequence[tuple[Mapping[str, Any], Asked]],
) -> Trial:
    """Tries the rewards on some problems. settings: of the run. steps: of the whole stage, at whose end all of them count."""
    found = Trial(warnings=rewards.doubts(any(one.opened for _, one in chosen)))
    completions: list[Completion] = []
    for place, (row, asked) in enumerate(chosen):
        good, other = _written(row), _other(row, [one for one, _ in [*chosen[place + 1 :], *chosen[:place]]])
        if good is None or other is None:
            continue
        before = f"{'' if asked.opened else '<think>'}{THOUGHT}</think>\n\n"
        for text in (before + good, before + other, ""):
            tokens = len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
            completions.append(Completion(row, text, tokens, False, asked.opened))
    if not completions:
        found.warnings.append(
            "rewards: not tried, as no verifier of the set can write an answer, or all answers are the same"
        )
        return found
    with GraderPool(preload={one.problem["verifier"] for one in completions}) as pool:
        score = Rewards(rewards, Graders(pool), len(KINDS), settings["arguments"]["max_completion_length"], steps)
        scored = score(completions, steps)
    for number, kind in enumerate(KINDS):
        right, totals = scored.correct[number :: len(KINDS)], scored.totals[number :: len(KINDS)]
        known = [one for one in totals if one is not None]
        found.kinds.append(Tried(kind, right.count(True), right.count(False), right.count(None), known))
    good_ones = slice(None, None, len(KINDS))
    _judge(found, scored.correct[good_ones], completions[good_ones], scored.verdicts[good_ones])
    return found


def _judge(
    found: Trial, right: Sequence[bool | None], good: Sequence[Completion], verdicts: Sequence[Verdict | None]
) -> None:
    """Says what is wrong with the rewards. right, good, verdicts: of the completions with the own answer."""
    own, other, empty = found.kinds
    if own.right < len(right):
        place = next(place for place, one in enumerate(right) if not one)
        verdict = verdicts[place]
        reason = "" if verdict is None else verdict.reason or verdict.outcome
        said = (
            f"rewards: of {len(right)} problems the verifier accepts the own answer of {own.right}; the first of the others is "
            f"{good[place].problem['id']}: {reason}. The rule `gold: gold_accepted` leaves such problems out"
        )
        (found.warnings if own.right else found.problems).append(said)
    if empty.right:
        found.problems.append(
            f"rewards: an empty completion is right for {empty.right} of {len(right)} problems; look at their verifier"
        )
    if other.right > MANY * len(right):
        found.problems.append(
            f"rewards: another problem's answer is right for {other.right} of {len(right)} problems: the verifier accepts "
            "whatever it is given"
        )
    totals = [*own.rewards, *other.rewards, *empty.rewards]
    if totals and max(totals) - min(totals) <= SAME:
        found.problems.append(
            f"rewards: {totals[0]:g} for right, wrong and empty completions alike, so nothing would be trained; reward accuracy"
        )


def _written(row: Mapping[str, Any]) -> str | None:
    """A problem's own answer as a completion; None where it has none that can be written."""
    if row["verifier"] == JUDGE or row["verifier"] not in VERIFIERS:
        return None
    try:
        return as_completion(row["verifier"], row["answer"], row["verifier_args"])
    except ValueError:
        return None


def _other(row: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str | None:
    """The answer of another problem with the same verifier, which is another answer."""
    for one in others:
        if one["verifier"] == row["verifier"] and one["answer"] != row["answer"]:
            return _written(one)
    return None
