"""A batch of completions scored: graded, looked at by every reward, summed.

    given = Section.model_validate({"accuracy": {}, "length": {"after": 0.3}})
    rewards = Rewards(given, Graders(graders()), group=8, max_tokens=4096, steps=500)
    scored = rewards(completions, step)     # the samples of a prompt stand together, `group` of each
    scored.totals                           # one a completion; None: unknown, trains nothing

TRL's trainers take None for a completion that has no advantage. One group may lie on several processes: what is needed of the
others (lengths, values) is gathered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation.graders import Graders
from curation.verify import Verdict
from train.rewards.accuracy import correct, verdicts
from train.rewards.reward import Batch, Completion
from train.rewards.section import Section
from train.rewards.total import Floats, told, total


class RewardError(ValueError):
    """Rewards that cannot be with completions of this length: a line for everything that is wrong."""


@dataclass(frozen=True)
class Scored:
    """What a batch got. Lists have an entry for every completion of this process."""

    totals: list[float | None]
    """None: unknown, trains nothing."""
    parts: dict[str, list[float | None]]
    """By reward, without its weight."""
    correct: list[bool | None]
    """Whether it is right; a completion that was cut off is not."""
    verdicts: list[Verdict | None]
    """What the verifier said, with what it extracted and why; None where it was not asked."""
    log: dict[str, float]
    """Of the batches of all processes together (total.py), and the weights that counted; what is unknown is not in it."""


class Rewards:
    """The rewards of a stage.

    section: what a recipe says of them.
    graders: who grades.
    group: completions of a prompt.
    max_tokens: length at which they are cut off.
    steps: of the whole stage.
    gather: the lists of all processes joined in the order of their ranks, as `accelerate.utils.gather_object` joins them; by
        default there is one process.
    rank: of this one.

    Raises RewardError for settings that cannot be with this length.
    """

    def __init__(
        self,
        section: Section,
        graders: Graders,
        group: int,
        max_tokens: int,
        steps: int,
        gather: Callable[[list[Any]], list[Any]] = list,
        rank: int = 0,
    ) -> None:
        if wrong := section.mistakes(max_tokens):
            raise RewardError("\n".join(f"rewards.{mistake}" for mistake in wrong))
        self.parts, self.graders, self.group, self.max_tokens = section.parts, graders, group, max_tokens
        self._gather, self._rank = gather, rank
        self._begins = np.array([one.begins(steps) for one in self.parts.values()])
        self._weights = np.array([one.weight for one in self.parts.values()])
        self._decides = np.array([one.DECIDES for one in self.parts.values()])

    def weights(self, step: int) -> Floats:
        """What every reward is multiplied by after so many steps; 0 where it does not count yet."""
        counting: Floats = np.where(step >= self._begins, self._weights, 0.0)
        return counting

    def __call__(self, completions: Sequence[Completion], step: int) -> Scored:
        """Scores a batch. step: optimizer steps done so far. Raises what grading raises (accuracy.py)."""
        found = verdicts(completions, self.graders)
        right = [correct(one, verdict) for one, verdict in zip(completions, found, strict=True)]
        shortest, longest = self._lengths(completions)
        batch = Batch(completions, right, shortest, longest, self.max_tokens)
        parts = {name: one.rewards(batch) for name, one in self.parts.items()}
        cut_off = [one.cut_off for one in completions]
        rows, mine = self._everyone(list(zip(right, cut_off, *parts.values(), strict=True)))
        table = np.array(rows, np.float64)  # None is NaN
        values, weights = table[:, 2:], self.weights(step)
        totals = total(values, weights, self._decides, self.group)
        columns = dict(zip(parts, values.T, strict=True))
        log = told(columns, totals, table[:, 0], table[:, 1] == 1, self.group)
        log |= {f"rewards/{name}/weight": float(weight) for name, weight in zip(parts, weights, strict=True)}
        own = [None if np.isnan(one) else float(one) for one in totals[mine]]
        return Scored(own, parts, right, found, log)

    def _lengths(self, completions: Sequence[Completion]) -> tuple[list[int], list[int]]:
        """Of every completion the tokens of the shortest and of the longest of its group."""
        everyone, mine = self._everyone([(one.problem["id"], one.tokens) for one in completions])
        ids, tokens = zip(*everyone, strict=True)
        assert len(ids) % self.group == 0, f"{len(ids)} completions are no groups of {self.group}"
        for first in range(0, len(ids), self.group):
            assert len(set(ids[first : first + self.group])) == 1, f"the group at {first} is of several problems"
        grouped = np.array(tokens).reshape(-1, self.group)
        ends = (np.repeat(of(grouped, axis=1), self.group)[mine].tolist() for of in (np.min, np.max))
        return next(ends), next(ends)

    def _everyone(self, rows: list[Any]) -> tuple[list[Any], slice]:
        """The rows of all processes, and which of them are this one's."""
        by_rank = self._gather([rows])
        before = sum(map(len, by_rank[: self._rank]))
        return [row for some in by_rank for row in some], slice(before, before + len(rows))
