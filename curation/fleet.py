"""Which server gets the next request, and what becomes of servers that fail.

    member = await fleet.take(avoid=None)     # a slot at the least loaded server; waits while there is none
    async with asyncio.timeout(LONG) as scope:
        fleet.begin(member, scope)            # the fleet may end the scope: then `gave_up` is true
    fleet.end(member, scope)                  # however the request ended

A server is *set aside* when it cannot be reached, hangs, or fails at one request after another: it gets no work until
whoever watches it (watching.py) brings it back. One that was set aside for giving no samples is then *doubted*: it gets
one request at a time until it gives one. It *rests* when it asked to be left alone. What it had in flight is for the
caller to ask again.

Everything here runs in one event loop, so that between two `await`s nothing changes; hence no locks.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from curation.reach import RunningServer

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds between two probes of a server that is set aside, growing from the first to the second."""
FAILURES_IN_A_ROW = 3
"""Different requests that a server fails at before it is set aside: one alone may be the request's fault."""
TOLD_WAIT = 60.0
"""A server's wish for a longer rest than this is worth a line, as are shorter ones that come to this without a sample."""
TOLD_AGAIN = 600.0
"""So many seconds of short rests later it is said again."""


class Member:
    """One server of the fleet."""

    def __init__(self, server: RunningServer, most: int) -> None:
        self.server = server
        self.most = self.limit = most
        """Requests in flight: at most, and at present."""
        self.in_flight = 0
        self.scopes: dict[asyncio.Timeout, float] = {}
        """What ends its requests in flight, and when each was sent; the oldest first."""
        self.sampled = 0.0
        """When it last gave a sample."""
        self.doubted, self.doubts = False, 0
        """Whether it was set aside for giving no samples, and has given none since; and how often it was."""
        self.rested = self.longest_rest = 0.0
        """Since its last sample: seconds that it asked to be left alone, and the most of them at a time."""
        self.told_at = TOLD_WAIT
        """Seconds of rest at which the next line is due."""
        self.aside = not server.reached
        self.trouble = "it did not answer when the run began"
        self.away_since: float | None = None
        """When it failed first of those times that no reply came between."""
        self.unanswered_since: float | None = None
        """When the first probe was sent of those that nothing came back to since."""
        self.back_at = self.heard = self.rests_until = self.halved_at = 0.0
        self.wait = FIRST_WAIT
        self.failed_at: set[str] = set()
        self.successes = 0
        self.changed = asyncio.Event()

    @property
    def usable(self) -> bool:
        return not self.aside and self.rests_until <= time.monotonic()

    @property
    def down_since(self) -> float | None:
        """Since when nothing can be had from it; None when it can, or when it asked for a rest."""
        if self.server.started is not None and self.server.started.starting:
            return None
        if self.aside or self.rests_until > time.monotonic():
            return self.away_since
        return self.unanswered_since

    @property
    def only_rests(self) -> float:
        """Seconds of rest that it got since its last sample; none unless it rests now and has nothing in flight."""
        left = self.rests_until - time.monotonic()
        return self.rested - left if left > 0 and not self.scopes else 0.0

    @property
    def silent_since(self) -> float | None:
        """Since when it has requests in flight and gives no sample, however much else; None when it has none."""
        return max(self.sampled, next(iter(self.scopes.values()))) if self.scopes else None


class Fleet:
    """Servers that give the same, with at most `concurrency` requests in flight to each."""

    def __init__(self, servers: Sequence[RunningServer], concurrency: int, say: Callable[[str], None]) -> None:
        """`say` gets a line when a server asks for a long rest or many, and when one gives no samples."""
        self.members = [Member(server, concurrency) for server in servers]
        self.say = say
        self.longest_reply = 0.0
        """Seconds that the slowest sample so far took, of whichever server."""
        self._waiting: deque[tuple[asyncio.Future[Member | None], Member | None]] = deque()
        self._error: Exception | None = None

    # ---- slots

    async def take(self, avoid: Member | None = None) -> Member:
        """A slot; of `avoid` only when no other server can be used. It is given back by `end`."""
        if self._error is not None:
            raise self._error
        if (member := self._free(avoid)) is not None:
            member.in_flight += 1
            return member
        slot: asyncio.Future[Member | None] = asyncio.get_running_loop().create_future()
        place = (slot, avoid)
        self._waiting.append(place)
        try:
            given = await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled() and (given := slot.result()) is not None:
                self._release(given)
            else:
                with suppress(ValueError):
                    self._waiting.remove(place)
            raise
        if given is None:
            assert self._error is not None
            raise self._error
        return given

    def begin(self, member: Member, scope: asyncio.Timeout) -> None:
        """The request is sent within `scope`, which the fleet ends when it has to go elsewhere."""
        now = time.monotonic()
        if not member.scopes:
            member.heard = max(member.heard, now)
        member.scopes[scope] = now

    def gave_up(self, member: Member, scope: asyncio.Timeout) -> bool:
        """Whether it was the fleet that ended a request, and not its time."""
        return scope not in member.scopes

    def end(self, member: Member, scope: asyncio.Timeout) -> None:
        member.scopes.pop(scope, None)
        self._release(member)

    def _release(self, member: Member) -> None:
        member.in_flight -= 1
        if self._waiting:
            self._hand_out()

    def others(self, member: Member) -> bool:
        """Whether another server than this one could take a request now or soon."""
        return any(other.usable for other in self.members if other is not member)

    def _free(self, avoid: Member | None) -> Member | None:
        """The server with the smallest share of its slots taken, rather not a doubted one; None when none is free."""
        if avoid is not None and not self.others(avoid):
            avoid = None
        best, least = None, (1.0, False)
        for member in self.members:
            load = member.in_flight / member.limit, member.doubted
            if member is not avoid and load < least and member.usable:
                best, least = member, load
        return best

    def _hand_out(self) -> None:
        """Gives free slots to those who wait, in their order."""
        for place in list(self._waiting):
            slot, avoid = place
            if (member := self._free(avoid)) is not None:
                self._waiting.remove(place)
                if not slot.done():
                    member.in_flight += 1
                    slot.set_result(member)
            elif self._free(None) is None:
                return

    # ---- what requests report

    def answered(self, member: Member, sample: bool, seconds: float = 0.0) -> None:
        """A reply came that the server means, be it a refusal. `sample`: it is a finished sample, after `seconds`."""
        member.heard = time.monotonic()
        member.away_since = member.unanswered_since = None
        if not sample:
            return
        member.sampled, member.doubted = member.heard, False
        member.rested, member.longest_rest, member.told_at = 0.0, 0.0, TOLD_WAIT
        self.longest_reply = max(self.longest_reply, seconds)
        member.wait = FIRST_WAIT
        member.failed_at.clear()
        if member.server.started is not None:
            member.server.started.deaths = 0
        if member.limit < member.most:
            member.successes += 1
            if member.successes >= member.limit:
                member.limit, member.successes = member.limit + 1, 0
                self._hand_out()

    def failed(self, member: Member, name: str, said: str) -> None:
        """The server failed at the request `name`."""
        member.heard = time.monotonic()
        member.unanswered_since = None
        member.failed_at.add(name)
        if len(member.failed_at) >= FAILURES_IN_A_ROW and self.others(member):
            self.away(member, said)
        else:
            member.away_since = None

    def away(self, member: Member, said: str) -> None:
        """The server could not be reached, or said that it is not there."""
        now = time.monotonic()
        member.trouble = said
        if member.away_since is None or (not member.aside and now - member.back_at > 2 * LONGEST_WAIT):
            member.away_since = now
        if not member.aside:
            member.aside = True
            member.failed_at.clear()
            member.changed.set()
            self._hand_out()

    def asked_to_wait(self, member: Member, seconds: float | None, began: float, said: str) -> None:
        """The server wants no request for a while, and fewer at once then. `began`: when the request was sent."""
        now = time.monotonic()
        member.heard, member.unanswered_since, member.trouble = now, None, said
        if seconds is None:
            # It does not say for how long, so it may be for ever: that is a matter of patience.
            member.away_since = member.away_since or now
            seconds = jittered(member.wait)
        else:
            member.away_since = None
        if now + seconds <= member.rests_until:
            return
        if began >= member.halved_at:  # requests that were in flight together are one reason to halve
            member.limit, member.successes, member.halved_at = max(1, member.limit // 2), 0, now
            member.wait = min(member.wait * 2, LONGEST_WAIT)
        seconds = max(seconds, FIRST_WAIT)
        if seconds > TOLD_WAIT and member.rests_until <= now:
            self.say(f"{member.server.url} asks for a pause of {seconds:.0f} s ({said})")
        elif member.rested >= member.told_at and member.rests_until <= now:
            self.say(f"{member.server.url} asked for pauses of {member.rested:.0f} s and gave no sample since ({said})")
            member.told_at = member.rested + TOLD_AGAIN
        member.rested += now + seconds - max(now, member.rests_until)
        member.longest_rest = max(member.longest_rest, seconds)
        member.rests_until = now + seconds
        asyncio.get_running_loop().call_later(seconds + 0.001, self._hand_out)

    # ---- what watching finds

    def bring_back(self, member: Member) -> None:
        """It answers again."""
        member.aside, member.back_at, member.unanswered_since = False, time.monotonic(), None
        member.changed.clear()
        self._hand_out()

    def doubt(self, member: Member, said: str) -> None:
        """It gives no samples: what it has goes elsewhere, and it gets one request at a time once it is back."""
        if not member.doubted:
            self.say(f"{member.server.url}: {said}; its requests go to other servers")
        member.doubted, member.limit, member.successes = True, 1, 0
        member.doubts += 1
        self.away(member, said)
        self.give_up_requests(member)

    def give_up_requests(self, member: Member) -> None:
        """Ends what a server has in flight; whoever waits for it asks again."""
        now = asyncio.get_running_loop().time()
        for scope in member.scopes:
            if not scope.expired():
                scope.reschedule(now)
        member.scopes.clear()

    def end_all(self, error: Exception) -> None:
        """Everyone who waits, for a slot or a reply, gets the error."""
        self._error = self._error or error
        while self._waiting:
            slot, _ = self._waiting.popleft()
            if not slot.done():
                slot.set_result(None)
        for member in self.members:
            self.give_up_requests(member)


def jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.5)
