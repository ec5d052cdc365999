"""What is known of every sample, and so which to draw next: one byte a sample, problem by problem, in order of index.

A sample is needed when no way the samples before it may still go settles its problem (settling.py). So per problem only
as many are in flight as surely count, and what is drawn is what the shortest settling prefix holds. Needed samples are
taken breadth first: the first of every problem before the second of any, so that a run that is stopped knows a little
about all problems, and so that the last samples of the hard ones, which nothing settles early, are drawn side by side.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curation.settling import Settling, settling

MISSING, ASKED, PASS, FAIL, CUT_OFF, ERROR = range(6)
"""Of a sample: not drawn; being drawn or graded; the verdict; cut off at max_tokens; no verdict to be had: the grader
failed, or the problem names none."""
WORTH_A_GUESS = 0.5
"""Chance of being needed from which an idle slot draws a sample that may turn out not to be."""


class Prefix(NamedTuple):
    """The samples of a problem that count: those with an index below `used`."""

    used: int
    passes: int
    fails: int


class Outcomes:
    """Outcomes of n samples of each of some problems."""

    def __init__(self, n: int, patterns: pa.ChunkedArray, cut_off_fails: bool) -> None:
        """patterns: when each problem is settled. cut_off_fails: whether a sample that was cut off counts as a failure."""
        self.n, self._cut_off_fails = n, cut_off_fails
        encoded = patterns.combine_chunks().dictionary_encode()
        self._pattern = array("I", encoded.indices.to_numpy().astype(np.uint32).tobytes())
        self._settlings: list[Settling] = [settling(pattern) for pattern in encoded.dictionary.to_pylist()]
        self.problems = len(self._pattern)
        self.codes = bytearray(self.problems * n)
        """The outcome of sample `index` of a problem, at problem * n + index."""
        self.closed = bytearray(self.problems)
        """1 for a problem of which nothing is asked any more: it is settled, or was refused."""
        self._queued = bytearray(self.problems)
        self._wanted = [array("I") for _ in range(n)]
        self._taken = [0] * n
        self._level = 0

    def fill(self, places: np.ndarray, codes: np.ndarray) -> None:
        """Puts in what is known already. places: problem * n + index."""
        np.frombuffer(self.codes, np.uint8)[places] = codes

    def settling(self, problem: int) -> Settling:
        return self._settlings[self._pattern[problem]]

    def code(self, code: int, problem: int, end: int) -> int:
        """How many of the first `end` samples of a problem have this outcome."""
        return self.codes.count(code, problem * self.n, problem * self.n + end)

    def counts(self, problem: int, end: int) -> tuple[int, int]:
        """Passes and failures among the first `end` samples of a problem."""
        first = problem * self.n
        fails = self.codes.count(FAIL, first, first + end)
        if self._cut_off_fails:
            fails += self.codes.count(CUT_OFF, first, first + end)
        return self.codes.count(PASS, first, first + end), fails

    def prefix(self, problem: int) -> Prefix:
        """The shortest run of samples from index 0 that settles the problem; else all before the first unknown one."""
        first, last = problem * self.n, (problem + 1) * self.n
        table = self.settling(problem).fewest_table
        passes = fails = 0
        for place in range(first, last):
            code = self.codes[place]
            if not table[passes][fails] or code <= ASKED:
                return Prefix(place - first, passes, fails)
            passes += code == PASS
            fails += code == FAIL or (code == CUT_OFF and self._cut_off_fails)
        return Prefix(self.n, passes, fails)

    def is_settled(self, problem: int) -> bool:
        """Whether the samples before the first unknown one settle the problem, or are all."""
        first, last = problem * self.n, (problem + 1) * self.n
        known = self.n
        for code in (MISSING, ASKED):
            if (place := self.codes.find(code, first, last)) >= 0:
                known = min(known, place - first)
        passes, fails = self.counts(problem, known)
        return known == self.n or not self.settling(problem).fewest_table[passes][fails]

    def left(self, problem: int) -> float:
        """How many samples of a problem are likely still to come."""
        if self.closed[problem]:
            return 0.0
        passes, fails = self.counts(problem, self.n)
        return self.settling(problem).remaining_table[passes][fails]

    # ---- what to draw

    def close(self, problem: int) -> None:
        """Nothing more is asked of a problem."""
        self.closed[problem] = 1

    def begin(self, order: np.ndarray | None = None) -> None:
        """Queues what is needed, and closes the problems that are settled. order: of the problems, else as they are."""
        for problem in range(self.problems) if order is None else array("q", order.astype(np.int64).tobytes()):
            if self.is_settled(problem):
                self.close(problem)
            else:
                self.queue(problem)

    def queue(self, problem: int) -> None:
        """Queues the next sample of a problem when it is needed."""
        if self.closed[problem] or self._queued[problem]:
            return
        place = self._needed(problem)
        if place is not None:
            level = place - problem * self.n
            self._queued[problem] = 1
            self._wanted[level].append(problem)
            self._level = min(self._level, level)

    def take(self) -> int | None:
        """The place of the next needed sample, which from now on is asked for; None when all are."""
        while self._level < self.n:
            wanted, taken = self._wanted[self._level], self._taken[self._level]
            if taken == len(wanted):
                self._wanted[self._level], self._taken[self._level] = array("I"), 0
                self._level += 1
                continue
            self._taken[self._level] += 1
            problem = wanted[taken]
            self._queued[problem] = 0
            place = None if self.closed[problem] else self._needed(problem)
            if place is not None:
                self.codes[place] = ASKED
                self.queue(problem)
                return place
        return None

    def guess(self, problems: Iterable[int]) -> int | None:
        """The place of a sample that is likely to be needed though not surely, taken for a slot that would be idle."""
        best, found = WORTH_A_GUESS, None
        for problem in problems:
            place = self._missing(problem)
            if place is None or self.closed[problem]:
                continue
            before = place - problem * self.n
            chance = self.settling(problem).chance(*self.counts(problem, before), self.code(ASKED, problem, before))
            if chance >= best:
                best, found = chance, place
        if found is not None:
            self.codes[found] = ASKED
        return found

    def ahead(self, most: int) -> Sequence[int]:
        """Places that are likely to be taken next."""
        found: list[int] = []
        for level in range(self._level, self.n):
            wanted, taken = self._wanted[level], self._taken[level]
            for problem in wanted[taken : taken + most - len(found)]:
                if (place := self._missing(problem)) is not None:
                    found.append(place)
            if len(found) >= most:
                break
        return found

    def _missing(self, problem: int) -> int | None:
        place = self.codes.find(MISSING, problem * self.n, (problem + 1) * self.n)
        return None if place < 0 else place

    def _needed(self, problem: int) -> int | None:
        """The first missing sample, unless those before it may settle the problem."""
        place = self._missing(problem)
        if place is None:
            return None
        before = place - problem * self.n
        passes, fails = self.counts(problem, before)
        asked = self.code(ASKED, problem, before)
        return place if self.settling(problem).fewest_table[passes][fails] > asked else None
