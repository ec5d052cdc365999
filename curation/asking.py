"""One request: sent to the server that has most room, and asked again as long as there is hope.

Where a server fails, the request goes to another at once; where there is no other, to the same after a wait. Refused: the
server says no, or servers failed at it `TRIES` times. SamplingError: it is no matter of the request (replies.py).
"""

import asyncio
import json
import random
import resource
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from yarl import URL

from curation import fleet, replies
from curation.fleet import Fleet
from curation.reach import RunningServer
from curation.replies import AskedToWait, Away, Failed, Refused, quoted
from curation.watching import Watch

# A reply can be long in coming: thinking of 32k tokens on a busy server.
REQUEST_SECONDS = 3600
CONNECT_SECONDS = 30
PROBE_SECONDS = 10.0
KEPT_SECONDS = 2.0
"""An idle connection is closed after these; servers do so after five, and a request just then would be lost."""
TRIES = 5
"""How often servers may fail at a request before it counts as refused."""
SPARE_FILES = 512
"""Open files that everything but connections needs."""

T = TypeVar("T")


class Requests:
    """Requests to the servers of a fleet, which are watched as long as this is open."""

    def __init__(self, servers: Fleet, key: str | None, patience: float) -> None:
        self.fleet, self._key, self._patience = servers, key, patience
        self._watch = Watch(servers, patience, self._probe)

    async def __aenter__(self) -> Self:
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        self._http = aiohttp.ClientSession(
            # How many requests go where, and how long they take, is the fleet's to say.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            headers=headers,
            skip_auto_headers=("User-Agent", "Accept"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        _allow_connections(sum(member.most for member in self.fleet.members))
        self._watch.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._watch.close()
        await self._http.close()

    async def post(self, path: str, body: str, name: str, read: Callable[[Any, Mapping[str, str | None]], T]) -> T:
        """What `read` makes of a server's reply, tried again as long as there is hope."""
        failures, wait, avoid = 0, fleet.FIRST_WAIT, None
        servers, content = self.fleet, body.encode()
        while True:
            member = await servers.take(avoid)
            began = time.monotonic()
            scope = asyncio.timeout(REQUEST_SECONDS)
            server = member.server
            try:
                async with scope:
                    servers.begin(member, scope)
                    reply = await self._send(server, path, content, name)
                answer = read(reply, server.engine)
                servers.answered(member, read is replies.completion, time.monotonic() - began)
                return answer
            except TimeoutError:
                if servers.gave_up(member, scope):
                    avoid = member
                    continue
                servers.failed(member, name, said := f"no reply in {REQUEST_SECONDS} s")
                failures += 1
            except Failed as failure:
                said = quoted(str(failure), self._key)
                if failure.cut:
                    servers.away(member, said)
                else:
                    servers.failed(member, name, said)
                failures += 1
            except Away as failure:
                servers.away(member, quoted(str(failure), self._key))
                continue
            except AskedToWait as failure:
                servers.asked_to_wait(member, failure.seconds, began, str(failure))
                continue
            except Refused:
                servers.answered(member, False)
                raise
            finally:
                servers.end(member, scope)
            if failures == TRIES:
                raise Refused(f"failed {TRIES} times, last with {said}", failed=True)
            avoid = member
            if not servers.others(member):
                await asyncio.sleep(wait * random.uniform(0.5, 1.5))
                wait = min(wait * 2, fleet.LONGEST_WAIT)

    async def _send(self, server: RunningServer, path: str, content: bytes, name: str) -> Any:
        """The JSON of one reply."""
        url = (server.root if path in ("/tokenize", "/detokenize") else server.url) + path
        try:
            async with self._http.post(_address(url), data=content, headers={"X-Request-Id": name}) as response:
                return replies.json_of(response.status, response.headers, await response.read(), url, self._key)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Away(str(error)) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Failed(f"{type(error).__name__} {error}".strip(), cut=True) from error

    async def _probe(self, server: RunningServer) -> RunningServer:
        """The server as it describes itself now. OSError: it does not answer. ValueError: not as it should."""
        try:
            async with asyncio.timeout(min(PROBE_SECONDS, self._patience)):
                async with self._http.get(f"{server.url}/models") as response:
                    status, said = response.status, await response.read()
                if status != 200:
                    raise ValueError(f"{server.url}/models answers {status}: {quoted(said, self._key)}")
                async with self._http.get(f"{server.root}/version") as response:
                    version = await response.read() if response.status == 200 else b"null"
        except TimeoutError as error:
            raise OSError(f"{server.url}/models does not answer") from error
        except aiohttp.ClientError as error:
            raise OSError(str(error) or type(error).__name__) from error
        try:
            told = json.loads(version)
        except ValueError:
            told = None  # not every engine says
        return server.described(json.loads(said), told)


def _allow_connections(count: int) -> None:
    """Raises the limit of open files as far as it may be; many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_FILES if hard == resource.RLIM_INFINITY else min(count + SPARE_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


_addresses: dict[str, URL] = {}


def _address(url: str) -> URL:
    # Taking an address apart costs a tenth of a request.
    if (known := _addresses.get(url)) is None:
        known = _addresses[url] = URL(url)
    return known
