"""Looking after servers: which one hangs, which one is back, when none is left, and starting again what has died.

Each has a task of its own for as long as the watch is open. A server with requests in flight that is silent is probed
(GET /models): one that leaves probes without an answer hangs, and its requests go to others, as far as there are any. One
that is set aside is probed until it answers. When nothing can be had of any for `patience` seconds, everyone who waits gets
the same SamplingError. A server started here that has died is started again, in a thread.

A server may answer probes and still hang: its engine is stuck, or a reply trickles for ever. But long thinking takes long.
So it counts as hanging only when

- with requests in flight it has given no sample, whole, for `patience` seconds, and for three times as long as the slowest
  sample so far took on any server; and
- another server, itself in no doubt, has given a sample in that time, or stands idle and could take the work.

Its requests go elsewhere, and once it answers a probe it gets one at a time until it gives a sample. Each time doubles the
seconds that it gets the next time, so that a sample that just takes long comes in the end. A server that is alone is never
judged so: its requests end after `asking.REQUEST_SECONDS`.

A server that asks for pauses gets them. It counts as lost when, without a sample, those came to the longest that it asked
for at a time, plus an hour or ten times the patience, whichever is more: a quota by the hour (`Retry-After: 3600`) is waited
for, and one `Retry-After: 1` after another ends.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from curation import fleet
from curation.fleet import Fleet, Member, jittered
from curation.reach import RunningServer
from curation.replies import SamplingError
from curation.supervisor import ServerError

QUIET_SECONDS = 10.0
"""Silence after which a server with requests in flight is probed."""
HANG_SECONDS = 20.0
"""So long without an answer to a probe, and its requests go to others."""
SILENCE = 3.0
"""So many times the slowest sample's seconds without a sample, and a server that answers probes is in doubt."""
RESTS_SECONDS, RESTS_PATIENCE = 3600.0, 10.0
"""Pauses that are granted without a sample: seconds, or so many times the patience, on top of the longest pause."""
TICK = 0.5


class Watch:
    """The tasks that look after the servers of a fleet."""

    def __init__(
        self, servers: Fleet, patience: float, probe: Callable[[RunningServer], Awaitable[RunningServer]]
    ) -> None:
        """`probe` describes a server anew. OSError: it does not answer. ValueError: it answers something else."""
        self._fleet, self._patience, self._probe = servers, patience, probe

    def open(self) -> None:
        for member in self._fleet.members:
            if member.aside:
                member.away_since = time.monotonic()
        self._tasks = [asyncio.create_task(self._watch(member)) for member in self._fleet.members]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, member: Member) -> None:
        try:
            while True:
                if member.aside:
                    await self._bring_back(member)
                else:
                    await self._listen(member)
                self._check_patience()
        except Exception as error:  # noqa: BLE001 (callers have to see it, or they would wait for ever)
            self._fleet.end_all(error)

    async def _listen(self, member: Member) -> None:
        """Until the next look at it: whether it hangs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(TICK, self._patience / 4)):
                await member.changed.wait()
        member.changed.clear()
        began = time.monotonic()
        if not member.aside and self._gives_nothing(member, began):
            self._fleet.doubt(member, f"no sample for {began - (member.silent_since or began):.0f} s")
        if member.aside or not member.scopes or began - member.heard < QUIET_SECONDS:
            return
        if not await self._alive(member):
            if not member.aside and member.heard < began:
                member.unanswered_since = member.unanswered_since or began
                hangs = time.monotonic() - member.unanswered_since >= HANG_SECONDS
                if hangs and any(other.usable and other.unanswered_since is None for other in self._fleet.members):
                    self._fleet.away(member, f"no answer for {time.monotonic() - member.unanswered_since:.0f} s")
                    self._fleet.give_up_requests(member)
            return
        member.unanswered_since = None
        member.heard = max(member.heard, time.monotonic())

    def _gives_nothing(self, member: Member, now: float) -> bool:
        """Whether it hangs although it may answer probes."""
        since = member.silent_since
        granted = max(self._patience * 2.0**member.doubts, SILENCE * self._fleet.longest_reply)
        if since is None or now - since < granted:
            return False
        return any(
            other.usable and not other.doubted and not other.failed_at and other.unanswered_since is None
            for other in self._fleet.members
            if other is not member and (other.sampled >= since or not other.scopes)
        )

    async def _bring_back(self, member: Member) -> None:
        """One probe of a server that is set aside, after a wait."""
        if member.server.started is not None and member.server.started.died:
            member.server.started.count_death()
            try:
                await _in_thread(member.server.started.start)
            except ServerError:
                if not member.server.started.died:
                    raise
                return  # one death more
            finally:
                member.away_since = time.monotonic()  # loading a model is no silence
        else:
            await asyncio.sleep(min(jittered(member.wait), self._patience))
            member.wait = min(member.wait * 2, fleet.LONGEST_WAIT)
        if not await self._alive(member):
            return
        self._fleet.bring_back(member)

    async def _alive(self, member: Member) -> bool:
        try:
            member.server = await self._probe(member.server)
        except OSError as error:
            member.trouble = str(error)
        except ValueError as error:
            member.trouble = str(error)
            if not member.aside:
                return True
        else:
            return True
        if member.aside and member.away_since is None:
            member.away_since = time.monotonic()
        return False

    def _check_patience(self) -> None:
        resting = [member for member in self._fleet.members if self._only_rests(member)]
        since = [member.down_since for member in self._fleet.members if member not in resting]
        known = [moment for moment in since if moment is not None]
        if len(known) < len(since) or (known and time.monotonic() - max(known) <= self._patience):
            return
        names = ", ".join(member.server.url for member in self._fleet.members)
        none, has = ("none of ", "has") if len(self._fleet.members) > 1 else ("", "has not")
        if known:
            what, todo = (
                f"answered for {time.monotonic() - max(known):.0f} s",
                "start the server again and rerun to go on",
            )
        else:
            rested = min(member.only_rests for member in resting)
            what, todo = (
                f"given a sample in {rested:.0f} s of pauses asked for",
                "rerun to go on when it has room",
            )
        troubles = "; ".join(dict.fromkeys(member.trouble for member in self._fleet.members))
        self._fleet.end_all(
            SamplingError(f"{none}{names} {has} {what} (last: {troubles}). What was drawn is kept; {todo}.")
        )

    def _only_rests(self, member: Member) -> bool:
        """Whether pauses are all that it gives, and it has been granted enough of them."""
        granted = max(RESTS_PATIENCE * self._patience, RESTS_SECONDS) + member.longest_rest
        return member.only_rests > granted


async def _in_thread(action: Callable[[], None]) -> None:
    """Waits for an action in a thread that does not hold up the end of the run."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def work() -> None:
        failure: BaseException | None = None
        try:
            action()
        except BaseException as error:  # noqa: BLE001 (it is raised in the loop)
            failure = error
        with suppress(RuntimeError):  # the run has ended meanwhile, and its loop with it
            loop.call_soon_threadsafe(finish, failure)

    threading.Thread(target=work, daemon=True).start()
    await done
