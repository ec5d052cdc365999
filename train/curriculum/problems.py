"""Which problems RL trains on next: easy to hard, then those that are not solved yet (Kimi k1.5, 2501.12599, 2.3.4).

Every batch is decided from three things: its number, the seed, and the outcomes of the batches before it, by number and
never by arrival. A batch may be asked for before the outcomes of the one before are there (a data loader reads ahead), so
batch k rests on those of batches 0 to k - 1 - lag, however early it is asked for. That makes the sequence the same in every
process, and the same after a restart.

A batch holds different problems, and of them

    some are not solved lately: as many as would be drawn of them, on average no more than `max_unsolved`, those first that
        were not tried for longest, and none within `retest_after`
    the rest are drawn as the phase of the stage says:
        shuffled      those that were drawn least, at random among them: passes over the set
        easy_to_hard  a window over the set by difficulty, which slides from its easy to its hard end
        by priority   at random, with probabilities proportional to 1 - success rate, one after the other

The success rate, and what is not solved lately, are in success.py. Where the rest does not fill a batch, unsolved problems do.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.curriculum.measured import CurriculumError, Measured, Outcome
from train.curriculum.settings import Curriculum
from train.curriculum.success import PRIOR, Success, counts

FORMAT = 1
SEEDS = 1 << 64
"""numpy takes no negative ones."""


class ProblemSampler:
    """Decides the batches of a stage, and keeps what it needs to go on."""

    def __init__(
        self, settings: Curriculum, measured: Measured, *, size: int, batches: int, seed: int, lag: int = 0
    ) -> None:
        """size: problems in a batch. batches: of the whole stage. lag: batches decided before the outcomes of one are there.

        Raises CurriculumError when the set is smaller than a batch, has a problem twice, or an order that nothing says.
        """
        (often, times), *_ = Counter(measured.ids).most_common(1) or [("", 0)]
        if times > 1:
            raise CurriculumError(f"set: problem {often} is in it {times} times, and outcomes are counted by problem")
        if size > len(measured.ids):
            raise CurriculumError(
                f"set: has {len(measured.ids):,} problems and a batch of rollouts takes {size:,}; lower batch_size, or ask "
                "for more rollouts of each problem"
            )
        if settings.order == "easy_to_hard" and settings.prioritise_after and not measured.known():
            raise CurriculumError(
                "curriculum.order: easy_to_hard, and nothing says which problem of the set is easy: measure `pass_rate` in the "
                "recipe, name a column (`difficulty`), or give order: shuffled"
            )
        self.settings, self.measured = settings, measured
        self.size, self.batches, self.seed, self.lag = size, batches, seed, lag
        self.success = Success(measured.passes, measured.fails, settings.half_life * batches)
        self._hardness = _hardness(measured, seed)
        self._drawn = np.zeros(len(measured.ids), dtype=np.int64)
        self._last = np.zeros(len(measured.ids), dtype=np.int64)
        self._pending: dict[int, list[int]] = {}
        self._outcomes: dict[int, list[Outcome]] = {}
        self._next = 0

    # ---- the sequence

    @property
    def decided(self) -> int:
        """Batches that were decided."""
        return self._next

    def batch(self, number: int) -> list[int]:
        """The places in the set of a batch's problems. Batches are decided in order; those not counted yet can be asked again.

        Raises CurriculumError when the outcomes that it rests on were not reported.
        """
        if number in self._pending:
            return self._pending[number]
        if number != self._next:
            raise CurriculumError(f"batch {number} was asked for, and batch {self._next} is the next to be decided")
        for before in sorted(one for one in self._pending if one < number - self.lag):
            self._count(before)
        chosen = self._decide(number)
        self._drawn[chosen] += 1
        self._last[chosen] = number
        self._pending[number] = chosen
        self._next += 1
        return chosen

    def report(self, outcomes: Mapping[str, Outcome]) -> None:
        """What came of the oldest batch that has no outcomes yet, by problem.

        Raises CurriculumError when they are of other problems: the trainer and the sampler do not speak of the same batch.
        """
        number = next((one for one in sorted(self._pending) if one not in self._outcomes), None)
        expected = [] if number is None else [self.measured.ids[place] for place in self._pending[number]]
        if number is None or {*expected} != {*outcomes}:
            odd = sorted({*expected} ^ {*outcomes})
            raise CurriculumError(
                f"outcomes of {', '.join(odd[:3])}{', ...' if len(odd) > 3 else ''} do not belong to "
                + ("any batch that was decided" if number is None else f"batch {number}, the oldest without outcomes")
            )
        self._outcomes[number] = [Outcome(*outcomes[one]) for one in expected]

    def metrics(self) -> dict[str, float]:
        """Of the whole set: how often it is solved by what is known, and the shares that are unsolved and were drawn."""
        return {
            "curriculum/success": float(self.success.rates().mean()),
            "curriculum/unsolved": float(self.success.unsolved().mean()),
            "curriculum/drawn": float((self._drawn > 0).mean()),
        }

    def _count(self, number: int) -> None:
        if number not in self._outcomes:
            raise CurriculumError(
                f"batch {number} has no outcomes yet, and batch {self._next} rests on them: it was asked for more than "
                f"{self.lag} batches ahead"
            )
        for place, (right, known) in zip(self._pending.pop(number), self._outcomes.pop(number), strict=True):
            self.success.observe(place, right, known, number)

    def _decide(self, number: int) -> list[int]:
        dice = np.random.default_rng((self.seed % SEEDS, number)).random(len(self._drawn) + 1)
        random, rounding = dice[:-1], float(dice[-1])
        unsolved = self.success.unsolved()
        solved = np.flatnonzero(~unsolved)
        waiting = np.flatnonzero(unsolved)
        waiting = waiting[np.lexsort((random[waiting], self._last[waiting]))]
        rested = waiting[number - self._last[waiting] >= self.settings.retest_after * self.batches]
        share = min(self._share(number, rested, solved), self.settings.max_unsolved)
        tested = rested[: math.floor(share * self.size + rounding)]
        wanted = self.size - len(tested)
        taken = solved[np.argsort(self._rank(number, solved, wanted, random), kind="stable")[:wanted]]
        spare = waiting[~np.isin(waiting, tested)][: wanted - len(taken)]
        return [int(place) for place in (*taken, *tested, *spare)]

    def _share(self, number: int, unsolved: NDArray[np.int64], solved: NDArray[np.int64]) -> float:
        """The share of a batch that unsolved problems would have if nothing limited it, as the phase draws."""
        if not len(unsolved):
            return 0.0
        if self._by_priority(number):
            weights = 1 - self.success.rates()
            return float(weights[unsolved].sum() / (weights[unsolved].sum() + weights[solved].sum()))
        # They are the hardest: the window comes to them at its end.
        near = self._gone(number) if self.settings.order == "easy_to_hard" else 1.0
        return near * len(unsolved) / (len(unsolved) + len(solved))

    def _rank(
        self, number: int, places: NDArray[np.int64], wanted: int, random: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """A number for each of some problems; the lowest are taken."""
        if self._by_priority(number):
            # The first of exponential clocks that run at the rates of the weights (Efraimidis and Spirakis 2006).
            with np.errstate(divide="ignore"):
                clocks: NDArray[np.float64] = -np.log(random[places]) / (1 - self.success.rates()[places])
            return clocks
        if self.settings.order == "shuffled":
            drawn: NDArray[np.float64] = self._drawn[places] + random[places]
            return drawn
        middle = self._gone(number) * (len(places) - wanted) + (wanted - 1) / 2
        window: NDArray[np.float64] = np.abs(np.argsort(np.argsort(self._hardness[places])) - middle)
        return window

    @property
    def _ordered(self) -> int:
        """Batches before priority."""
        return round(self.settings.prioritise_after * self.batches)

    def _by_priority(self, number: int) -> bool:
        return number >= self._ordered and self.settings.prioritise_after < 1

    def _gone(self, number: int) -> float:
        """How far the window is, from 0 to 1."""
        return min(number / max(self._ordered - 1, 1), 1.0)

    # ---- kept, and gone on from

    def _fits(self) -> dict[str, Any]:
        """What a state has to be of."""
        return {
            "set": self.measured.fingerprint(),
            "settings": self.settings.model_dump(),
            **{name: getattr(self, name) for name in ("size", "batches", "seed", "lag")},
        }

    def state(self) -> dict[str, Any]:
        """All that the next batches depend on, as plain data for JSON."""
        touched = np.flatnonzero(self._drawn).tolist()
        return {
            "format": FORMAT,
            "of": self._fits(),
            "next": self._next,
            "pending": [[number, places, self._outcomes.get(number)] for number, places in self._pending.items()],
            "problems": touched,
            "drawn": self._drawn[touched].tolist(),
            "last": self._last[touched].tolist(),
            **self.success.state(touched),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state: the batches that follow are those that followed it.

        Raises CurriculumError when it is of another set, or of another stage.
        """
        if state.get("format") != FORMAT:
            raise CurriculumError(f"the curriculum's state has format {state.get('format')!r}, and {FORMAT} is read")
        ours, theirs = self._fits(), state["of"]
        if differs := [name for name in ours if ours[name] != theirs.get(name)]:
            raise CurriculumError(
                "the curriculum's state does not fit: "
                + "; ".join(f"{name} was {theirs.get(name)} and is {ours[name]}" for name in differs)
                + ". Go on with the dataset and the settings that the stage began with, or begin it again"
            )
        touched = state["problems"]
        self._drawn[touched], self._last[touched] = state["drawn"], state["last"]
        self.success.restore(touched, dict(state))
        self._next = state["next"]
        self._pending = {number: list(places) for number, places, _ in state["pending"]}
        self._outcomes = {
            number: [Outcome(*one) for one in found] for number, _, found in state["pending"] if found is not None
        }


def _hardness(measured: Measured, seed: int) -> NDArray[np.int64]:
    """The place of each problem when they are put from easy to hard. Unknown ones stand in the middle; ties by hash(seed, id)."""
    if measured.difficulty is None:
        passes, fails = counts(measured.passes), counts(measured.fails)
        hard = (fails + PRIOR) / (passes + fails + 2 * PRIOR)
    else:
        known = [one for one in measured.difficulty if one is not None]
        middle = float(np.median(known)) if known else 0.0
        hard = np.array([middle if one is None else one for one in measured.difficulty], dtype=np.float64)
    ties = [hashlib.blake2b(f"{seed}:{one}".encode(), digest_size=8).digest() for one in measured.ids]
    order = sorted(range(len(ties)), key=lambda place: (hard[place], ties[place]))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places
