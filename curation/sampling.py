"""Drawing rollouts: the fewest that settle every problem, verified as they arrive, committed every few seconds.

One asyncio loop keeps the servers full; `outcomes.py` says which sample is drawn next. Three kinds of work lead to the
same rows:
    draw      a sample index that the store does not have
    continue  a sample cut off at a smaller max_tokens goes on from its stored token ids
    grade     a rollout without a verdict (a kill between the two, or a new grader)

As soon as a problem is settled, what is still in flight of it is aborted. Nothing that failed is stored as a result: after
a server error the index stays missing and the next run draws it. Of a problem a run holds a byte a sample; texts are in
memory only while they are asked about or wait for the next commit.
"""

import asyncio
import contextlib
import functools
import itertools
import uuid
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from curation import annotate
from curation.budget import Budget, BudgetSpent, Price
from curation.client import Client, Completion, NotServed, Refused, SamplingError
from curation.graders import Graders, job
from curation.grading import verdict_row
from curation.lengths import check_lengths
from curation.outcomes import ASKED, CUT_OFF, ERROR, FAIL, MISSING, PASS
from curation.progress import Step
from curation.rollouts import ROLLOUTS, VERDICTS, Rollouts
from curation.standing import NEEDED, Group, Standing, cut_off_parts
from curation.verify import Verdict

__all__ = ["Sampler", "SamplingError", "Tally"]

# No sample is drawn while so many wait for their verdicts: graders that are slower than the server slow it down.
VERDICTS_IN_FLIGHT = 2048
BATCH = 1024
ROWS_A_COMMIT = 2048
"""A commit comes sooner than it is due when so many rollouts wait for it: texts are long."""
REFUSED_IN_A_ROW = 20
"""So many problems refused without an answer between them are no matter of the problems."""
CODES = {"correct": PASS, "wrong": FAIL, "error": ERROR}


@dataclass
class Tally:
    """What one call of `Sampler.run` did."""

    drawn: int = 0
    continued: int = 0
    aborted: int = 0
    """Requests given up in flight, as their problem was settled."""
    tokens: int = 0
    """New ones: of a continued sample what was added."""
    prompt_tokens: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    """Why the server refused a problem, by its id: nothing more is asked about it in this run."""


class _Graded(NamedTuple):
    """A completion that waits for its verdict."""

    place: int
    group: int
    problem_id: str
    rollout: str
    verifier: str


class Sampler:
    """Draws and grades for some groups of problems with one client."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        client: Client,
        graders: Graders,
        groups: Sequence[Group],
        known: Standing,
        max_tokens: int,
        step: Step,
        budget: Budget | None = None,
        price: Price | None = None,
    ) -> None:
        self.con, self.client, self.graders, self.groups = con, client, graders, groups
        self.known, self.outcomes = known, known.outcomes
        self.max_tokens, self.step, self.budget, self.price = max_tokens, step, budget, price
        self.tally = Tally()
        self._rows: list[list[dict[str, Any]]] = [[] for _ in groups]
        self._verdicts: list[list[dict[str, Any]]] = [[] for _ in groups]
        self._columns = [{name: group.problems[name] for name in NEEDED} for group in groups]
        sizes = [group.problems.num_rows for group in groups]
        self._group = array("H", np.repeat(np.arange(len(sizes), dtype=np.uint16), sizes).tobytes())
        self._first = [0, *itertools.accumulate(sizes)]
        self._flying: dict[int, asyncio.Task[None]] = {}
        """Requests that may be aborted, by place."""
        self._busy = self._grading = 0
        """Slots taken, and completions that wait for their verdict."""
        self._parts: dict[str, dict[str, Any]] = {}
        """Cut-off rollouts that are about to go on."""
        self._fetching = asyncio.Lock()
        self._arrived: deque[tuple[_Graded, Future[Verdict]]] = deque()
        self._called = False
        self._name, self._numbers = uuid.uuid4().hex[:20], itertools.count()
        """What the names of this run's rollouts begin with, and how they go on."""
        self._refused_in_a_row = 0
        self._judged = graders.cost
        self._spent = False
        self._left = sum(map(self.outcomes.left, range(self.outcomes.problems)))
        """Samples that are still to come, as far as can be told."""

    def run(self) -> Tally:
        """Does the work. Raises SamplingError when no server can be reached or none answers any problem, and
        BudgetSpent when there is no room for another sample."""
        self._answers_known = any(group.rollouts.store.parts(group.rollouts.folder) for group in self.groups)
        for group in self.groups:
            group.rollouts.declare()
        try:
            asyncio.run(self._run())
        except BaseExceptionGroup as errors:
            # The first failure cancelled all other work.
            error: BaseException = errors
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            raise error from error.__cause__
        if self.tally.refused and not self._answers_known:
            self._give_up()
        if self._spent and self.known.open:
            raise BudgetSpent(self._what_is_left())
        return self.tally

    async def _run(self) -> None:
        ended = asyncio.Event()
        self._loop, self._idle, self._heard = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._due = asyncio.Event()
        self._room = asyncio.Semaphore(VERDICTS_IN_FLIGHT)
        try:
            async with self.client, asyncio.TaskGroup() as commits:
                commits.create_task(self._commit_regularly(ended))
                async with asyncio.TaskGroup() as self._tasks:
                    watching = [self._tasks.create_task(task) for task in (self._hear(), self._watch_the_clock())]
                    is_open = np.frombuffer(self.outcomes.closed, np.uint8) == 0
                    await check_lengths(self.client, self.groups, is_open, self.max_tokens, self.step)
                    self._fill()
                    await self._idle.wait()
                    for task in watching:
                        task.cancel()
                ended.set()
                self._due.set()
        finally:
            # After an error, or Ctrl-C. Else nothing is left here.
            _write(self._taken())

    # ---- drawing

    def _fill(self) -> None:
        """Puts requests into the slots that are free."""
        while self._busy < self.client.slots and not self._spent:
            if self.budget is not None and not self.budget.room(self._busy, self.price, self.max_tokens):
                self._spent = not self._busy  # else what is in flight may take less than was reserved for it
                break
            place = self.outcomes.take()
            if place is None:
                place = self.outcomes.guess(self._undecided())
            if place is None:
                break
            self._busy += 1
            self._flying[place] = self._tasks.create_task(self._sample(place))
        if not self._busy and not self._grading:
            self._idle.set()

    def _undecided(self) -> Iterator[int]:
        """Problems with requests in flight and no completion that waits for its verdict."""
        flying = Counter(place // self.outcomes.n for place in self._flying)
        return (p for p, count in flying.items() if self.outcomes.code(ASKED, p, self.outcomes.n) == count)

    async def _sample(self, place: int) -> None:
        problem = place // self.outcomes.n
        number, row = self._problem(place)
        drawn = await self._draw(place, number, row)
        del self._flying[place]
        if drawn is None:
            self.outcomes.close(problem)
            self.outcomes.codes[place] = MISSING
        else:
            self._rows[number].append(drawn)
            if len(self._rows[number]) >= ROWS_A_COMMIT:
                self._due.set()
            if drawn["finish_reason"] == "length":
                self._know(place, CUT_OFF)
            elif row["verifier"] is None:
                self._know(place, ERROR)
            else:
                await self._grade(place, number, row, drawn["rollout"], drawn["text"])
            self.step.advance(1, tokens=drawn["tokens"])
        self._busy -= 1
        self._fill()

    def _problem(self, place: int) -> tuple[int, dict[str, Any]]:
        """The group and the problem that a sample belongs to."""
        problem = place // self.outcomes.n
        number = self._group[problem]
        at = problem - self._first[number]
        return number, {name: column[at].as_py() for name, column in self._columns[number].items()}

    def _abort(self, place: int) -> None:
        """Ends a request: its sample is missing again, and its slot free."""
        self._flying.pop(place).cancel()
        self.outcomes.codes[place] = MISSING
        self._busy -= 1
        self.tally.aborted += 1

    def _know(self, place: int, code: int) -> None:
        """Puts down an outcome; when it settles the problem, what is still in flight of it is aborted."""
        outcomes, problem = self.outcomes, place // self.outcomes.n
        was_left = outcomes.left(problem)
        outcomes.codes[place] = code
        if outcomes.is_settled(problem):
            outcomes.close(problem)
            for other in range(problem * outcomes.n, (problem + 1) * outcomes.n):
                if other in self._flying:
                    self._abort(other)
        else:
            outcomes.queue(problem)
        self._left += outcomes.left(problem) - was_left
        self.step.expect(self.step.done + round(self._left))

    async def _draw(self, place: int, number: int, problem: dict[str, Any]) -> dict[str, Any] | None:
        """One rollout row; None when the server refuses this problem."""
        if problem["id"] in self.tally.refused:
            return None
        rollouts, index = self.groups[number].rollouts, place % self.outcomes.n
        prompt, sampling = rollouts.prompt, rollouts.sampling
        rendered = prompt.render(problem["prompt"], problem["messages"])
        name = f"{problem['id']}-{index}"
        part = await self._part(place) if place in self.known.continuing else None
        try:
            if part is None:
                completion = await self.client.complete(rendered, prompt, sampling, self.max_tokens, name)
            else:
                completion = await self.client.go_on(rendered, part, prompt, sampling, self.max_tokens, name)
        except NotServed as error:
            if part is None:
                raise
            raise SamplingError(
                "cut-off samples cannot be continued here, which takes /tokenize, /detokenize and token ids, as "
                f"vLLM has them. Keep max_tokens, or use such a server. {error}"
            ) from error
        except Refused as refusal:
            await self._refuse(problem["id"], refusal)
            return None
        self._answers_known, self._refused_in_a_row = True, 0
        self._count(completion, part)
        return {
            **completion,
            "rollout": f"{self._name}{next(self._numbers):012x}",
            "problem_id": problem["id"],
            "sample_index": index,
            "max_tokens": self.max_tokens,
            "continues": None if part is None else part["rollout"],
            "drawn_at": datetime.now(UTC),
        }

    def _count(self, completion: Completion, part: dict[str, Any] | None) -> None:
        if part is None:
            self.tally.drawn += 1
        else:
            self.tally.continued += 1
        tokens = completion["tokens"] - (0 if part is None else len(part["token_ids"]))
        prompt_tokens = completion["prompt_tokens"] or 0
        self.tally.tokens += tokens
        self.tally.prompt_tokens += prompt_tokens
        if self.budget is not None:
            self.budget.spend(self.price, tokens, prompt_tokens)

    async def _watch_the_clock(self) -> None:
        """Ends what is in flight when the budget's time is over."""
        if self.budget is None:
            return
        while (left := self.budget.seconds_left) is None or left > 0:
            await asyncio.sleep(1.0 if left is None else min(left, 1.0))
        self._spent = True
        for place in list(self._flying):
            self._abort(place)
        self._fill()

    def _what_is_left(self) -> str:
        assert self.budget is not None
        return (
            f"the budget of {self.budget.given} is spent: {self.known.open:,} of {self.outcomes.problems:,} problems are "
            f"not settled; at most {self.known.missing:,} more samples settle them"
        )

    async def _refuse(self, problem_id: str, refusal: Refused) -> None:
        self._refused_in_a_row += problem_id not in self.tally.refused
        self.tally.refused.setdefault(problem_id, str(refusal))
        if self._refused_in_a_row >= REFUSED_IN_A_ROW and (refusal.failed or not self._answers_known):
            # A rerun may have only those left that the server fails at: then it answers a problem that it has answered.
            if not await self._answers():
                self._give_up()
            self._refused_in_a_row = 0

    async def _answers(self) -> bool:
        """Whether the server answers a problem that was answered before."""
        codes = self.outcomes.codes
        place = max(codes.find(code) for code in (PASS, FAIL, CUT_OFF))
        if place < 0:
            return False
        number, problem = self._problem(place)
        prompt, sampling = self.groups[number].rollouts.prompt, self.groups[number].rollouts.sampling
        name = f"{problem['id']}-{place % self.outcomes.n}"
        try:
            await self.client.draw(prompt.render(problem["prompt"], problem["messages"]), prompt, sampling, 1, name)
        except Refused:
            return False
        return True

    def _give_up(self) -> None:
        problem_id, reason = next(reversed(self.tally.refused.items()))
        raise SamplingError(
            f"{self.client.where} answers no problem ({len(self.tally.refused)} refused; {problem_id}: {reason})"
        )

    async def _part(self, place: int) -> dict[str, Any]:
        """The cut-off rollout that a sample goes on from. Those that are next are read with it."""
        rollout = self.known.continuing[place]
        async with self._fetching:
            if rollout not in self._parts:
                asked = [place, *(p for p in self.outcomes.ahead(BATCH) if p in self.known.continuing)]
                names = [self.known.continuing[p] for p in asked]
                self._parts = await asyncio.to_thread(cut_off_parts, self.con, self.groups, names)
            return self._parts[rollout]

    # ---- grading

    async def _grade(self, place: int, number: int, problem: dict[str, Any], rollout: str, text: str) -> None:
        """Hands a completion to the graders once there is room; `_hear` gets the verdict."""
        await self._room.acquire()
        self._grading += 1
        graded = _Graded(place, number, problem["id"], rollout, problem["verifier"])
        self.graders.submit(job(problem, text)).add_done_callback(functools.partial(self._arrive, graded))

    def _arrive(self, graded: "_Graded", verdict: Future[Verdict]) -> None:
        """In the graders' thread: wakes the loop once for all verdicts that come together."""
        self._arrived.append((graded, verdict))
        if not self._called:
            self._called = True
            with contextlib.suppress(RuntimeError):  # the run has ended meanwhile
                self._loop.call_soon_threadsafe(self._heard.set)

    async def _hear(self) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            self._called = False
            while self._arrived:
                graded, future = self._arrived.popleft()
                verdict = future.result()
                self._room.release()
                self._grading -= 1
                rollouts = self.groups[graded.group].rollouts
                row = verdict_row(rollouts, graded.rollout, graded.problem_id, graded.verifier, verdict)
                self._verdicts[graded.group].append(row)
                self._know(graded.place, CODES[verdict.outcome])
            if self.budget is not None:
                self._judged = self.graders.pay(self.budget, self._judged)
            self._fill()

    # ---- commits

    async def _commit_regularly(self, ended: asyncio.Event) -> None:
        """Commits in a thread, so that the server does not wait for the disk."""
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(annotate.SECONDS_BETWEEN_COMMITS):
                    await self._due.wait()
            self._due.clear()
            await asyncio.to_thread(_write, self._taken())

    def _taken(self) -> "list[_Rows]":
        """What waits for a commit, taken away."""
        taken = list(zip([group.rollouts for group in self.groups], self._rows, self._verdicts, strict=True))
        self._rows, self._verdicts = [[] for _ in self.groups], [[] for _ in self.groups]
        return taken


_Rows = tuple[Rollouts, list[dict[str, Any]], list[dict[str, Any]]]


def _write(taken: list[_Rows]) -> None:
    """Commits rollouts before verdicts: a verdict without its rollout would be one of nothing."""
    for rollouts, rows, verdicts in taken:
        if rows:
            rollouts.store.append(rollouts.folder, pa.Table.from_pylist(rows, schema=ROLLOUTS))
        if verdicts:
            rollouts.store.append(rollouts.verdict_folder, pa.Table.from_pylist(verdicts, schema=VERDICTS))
