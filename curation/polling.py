"""Asking a model for votes: many requests in flight, what came in committed every few seconds.

What can go wrong with a vote is one of three things:
    unknown   the server says no to it, or what it replies cannot be read: the vote is given with the reason
    failed    the server failed at it again and again: there is no vote, and the next run asks anew
    the run   no server can be reached, or the server says no to everything (SamplingError): nothing is put down for that
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from curation import annotate
from curation.budget import Budget, BudgetSpent, Price
from curation.client import Client, Completion, Refused, Rendered, SamplingError
from curation.progress import Step
from curation.prompt import Prompt
from curation.rollouts import Sampling
from curation.sql import short

REFUSED_IN_A_ROW = 20
"""So many refusals without a reply between them may be no matter of the problems."""

ABOUT = ("tokens", "prompt_tokens", "engine", "engine_version", "dtype")
"""What is put down of a reply beside what it says."""


class Unreadable(ValueError):
    """A reply that is no vote."""


class Vote(NamedTuple):
    """One vote to ask for."""

    id: str
    """The problem's."""
    number: int
    rendered: Rendered
    """What is asked."""


@dataclass(frozen=True)
class Ballot:
    """What is the same for every vote."""

    prompt: Prompt
    sampling: Sampling
    max_tokens: int
    read: Callable[[str], dict[str, Any]]
    """What a reply says; raises Unreadable."""
    probe: Rendered
    """A harmless question, to see whether the server answers anything."""


@dataclass
class Tally:
    """What one call of `Poll.run` did."""

    votes: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Why the server failed at a vote, by the problem's id."""


class Poll:
    """Asks for votes with one client."""

    def __init__(
        self,
        client: Client,
        ballot: Ballot,
        commit: Callable[[list[dict[str, Any]]], None],
        step: Step,
        budget: Budget | None = None,
        price: Price | None = None,
    ) -> None:
        """commit: puts votes down; called in a thread."""
        self.client, self.ballot, self.commit = client, ballot, commit
        self.step, self.budget, self.price = step, budget, price
        self.tally = Tally()
        self._rows: list[dict[str, Any]] = []
        self._refused_in_a_row = REFUSED_IN_A_ROW  # the first refusal is looked into when nothing was replied yet
        self._probing = asyncio.Lock()

    def run(self, votes: Iterator[Vote]) -> Tally:
        """Asks for all of them. Raises SamplingError, and BudgetSpent when there is no room for another."""
        asyncio.run(self._run(votes))
        return self.tally

    async def _run(self, votes: Iterator[Vote]) -> None:
        asked: set[asyncio.Task[dict[str, Any] | None]] = set()
        spent, committed = False, time.monotonic()
        async with self.client:
            try:
                following = next(votes, None)
                while True:
                    while following is not None and not spent and len(asked) < self.client.slots:
                        if self.budget and not self.budget.room(len(asked), self.price, self.ballot.max_tokens):
                            spent = not asked  # else what is in flight may take less than was reserved for it
                            break
                        asked.add(asyncio.create_task(self._vote(following)))
                        following = next(votes, None)
                    if not asked:
                        break
                    done, asked = await asyncio.wait(asked, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                    errors = [error for task in done if (error := task.exception()) is not None]
                    for task in done:
                        if task.exception() is None:
                            self._take(task.result())
                    if errors:
                        raise errors[0]
                    if self.budget is not None and self.budget.seconds_left == 0:
                        spent = True
                        break
                    if time.monotonic() - committed >= annotate.SECONDS_BETWEEN_COMMITS:
                        await asyncio.to_thread(self._commit)
                        committed = time.monotonic()
            finally:
                # After an error, Ctrl-C, or when the time is over. Else nothing is left in flight.
                for task in asked:
                    task.cancel()
                await asyncio.gather(*asked, return_exceptions=True)
                self._commit()
        if spent and (asked or following is not None):
            assert self.budget is not None
            assert self.step.total is not None
            left = self.step.total - self.tally.votes
            raise BudgetSpent(f"the budget of {self.budget.given} is spent: {left:,} votes are missing")

    async def _vote(self, vote: Vote) -> dict[str, Any] | None:
        """The row of a vote; None when the server failed at it."""
        try:
            reply = await self._reply(vote.rendered, f"{vote.id}-{vote.number}")
        except Refused as refusal:
            await self._look_into(refusal)
            if refusal.failed:
                self.tally.failed[vote.id] = str(refusal)
                return None
            return self._row(vote, {}, f"the server refused it: {refusal}", None)
        if reply["finish_reason"] == "length":
            most = self.ballot.max_tokens
            reason = f"the reply was cut off at {most:,} tokens: {short(reply['text'])}"
            return self._row(vote, {}, reason, reply)
        try:
            return self._row(vote, self.ballot.read(reply["text"]), None, reply)
        except Unreadable as trouble:
            return self._row(vote, {}, f"{trouble}: {short(reply['text'])}", reply)

    async def _reply(self, rendered: Rendered, name: str) -> Completion:
        reply = await self.client.complete(
            rendered, self.ballot.prompt, self.ballot.sampling, self.ballot.max_tokens, name
        )
        self._refused_in_a_row = 0
        return reply

    async def _look_into(self, refusal: Refused) -> None:
        """Raises SamplingError when the server answers nothing at all."""
        self._refused_in_a_row += 1
        async with self._probing:
            if self._refused_in_a_row < REFUSED_IN_A_ROW:
                return
            try:
                await self._reply(self.ballot.probe, "probe-0")
            except Refused:
                raise SamplingError(f"{self.client.where} refuses every question; the first: {refusal}") from refusal

    def _row(self, vote: Vote, said: dict[str, Any], reason: str | None, reply: Completion | None) -> dict[str, Any]:
        about = {name: reply[name] for name in ABOUT} if reply is not None else dict.fromkeys(ABOUT)  # type: ignore[literal-required]  # ABOUT names its keys
        return {"id": vote.id, "vote": vote.number, **said, "reason": reason, **about, "asked_at": datetime.now(UTC)}

    def _take(self, row: dict[str, Any] | None) -> None:
        if row is None:
            return
        tokens, prompt_tokens = row["tokens"] or 0, row["prompt_tokens"] or 0
        self._rows.append(row)
        self.tally.votes += 1
        self.tally.tokens += tokens
        self.tally.prompt_tokens += prompt_tokens
        if self.budget is not None:
            self.budget.spend(self.price, tokens, prompt_tokens)
        self.step.advance(1, tokens=tokens)

    def _commit(self) -> None:
        if rows := self._rows:
            self._rows = []
            self.commit(rows)
