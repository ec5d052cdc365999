"""Drawing rollouts: whatever is missing, verified as it arrives, committed every few seconds.

One asyncio loop keeps the server full. Samples are asked for breadth first (the first sample of every problem before the
second of any), so a run that is stopped knows a little about all problems rather than all about a few. Three kinds of
work lead to the same rows:
    draw      a sample index that the store does not have
    continue  a sample cut off at a smaller max_tokens goes on from its stored token ids
    grade     a rollout without a verdict (a kill between the two, or a new grader)

Nothing that failed is stored as a result: after a server error the index stays missing and the next run draws it. A
server that cannot be reached is tried again for `patience` seconds; then the run ends, and what was drawn is kept.
"""

import asyncio
import contextlib
import functools
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import duckdb
import pyarrow as pa

from curation.annotate import SECONDS_BETWEEN_COMMITS
from curation.model import RunningServer
from curation.progress import Step
from curation.rollouts import ROLLOUTS, VERDICTS, Rollouts, Sampling
from curation.store import arrow, literal
from curation.verify import Verdict, version
from curation.verify.pool import GraderPool, Job

# A reply can be long in coming: thinking of 32k tokens on a busy server.
REQUEST_SECONDS = 3600
# The client never waits for more verdicts than this: graders that are slower than the server slow it down.
VERDICTS_IN_FLIGHT = 2048


class SamplingError(RuntimeError):
    """Sampling had to stop; what was drawn is in the store, and the next run goes on from there."""


@dataclass(frozen=True)
class Group:
    """Problems that share a prompt, and so a set of rollouts."""

    rollouts: Rollouts
    problems: pa.Table
    """Columns id, prompt, messages, answer, verifier, verifier_args."""


@dataclass
class Tally:
    """What one call of `draw` did."""

    drawn: int = 0
    continued: int = 0
    graded: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    """Why the server refused a problem, by its id: nothing more is asked about it in this run."""


@dataclass(frozen=True)
class Missing:
    """What the store lacks."""

    draws: list[pa.Table]
    """Per group: columns problem (its row in the group), sample_index, rollout (the one to continue, else NULL)."""
    ungraded: list[pa.Table]
    """Per group: columns problem, rollout, text."""

    @property
    def samples(self) -> int:
        return sum(table.num_rows for table in self.draws)

    @property
    def verdicts(self) -> int:
        return sum(table.num_rows for table in self.ungraded)


def missing(con: duckdb.DuckDBPyConnection, groups: Sequence[Group], n: int, max_tokens: int) -> Missing:
    """What has to be drawn, continued and graded for n samples of every problem."""
    draws, ungraded = [], []
    for group in groups:
        numbered = pa.table(
            {
                "id": group.problems["id"],
                "verifier": group.problems["verifier"],
                "problem": range(group.problems.num_rows),
            }
        )
        con.register("numbered", numbered)
        draws.append(
            arrow(
                con,
                f"""select problem, k::int as sample_index, rollout
                from numbered cross join (select unnest(range({n})) as k)
                left join {group.rollouts.chosen(n, max_tokens)} as have
                    on have.problem_id = numbered.id and have.sample_index = k
                where rollout is null or short
                order by k, problem""",
            )
        )
        ungraded.append(
            arrow(
                con,
                f"""select problem, rollout, text from {group.rollouts.graded(n, max_tokens, "numbered")} as graded
                join numbered on numbered.id = graded.problem_id
                where outcome is null and not cut_off and not short and verifier is not null
                order by sample_index, problem""",
            )
        )
        con.unregister("numbered")
    return Missing(draws, ungraded)


class Sampler:
    """Draws and grades for some groups of problems with one server."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        server: RunningServer,
        key: str | None,
        graders: GraderPool,
        groups: Sequence[Group],
        sampling: Sampling,
        max_tokens: int,
        step: Step,
        patience: float = 120.0,
    ) -> None:
        self.con, self.server, self.graders, self.groups = con, server, graders, groups
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.sampling, self.max_tokens, self.step, self.patience = sampling, max_tokens, step, patience
        self.tally = Tally()
        self._rows: list[list[dict[str, Any]]] = [[] for _ in groups]
        self._verdicts: list[list[dict[str, Any]]] = [[] for _ in groups]
        self._grading: set[asyncio.Future[Verdict]] = set()
        self._answered = time.monotonic()

    def run(self, work: Missing, concurrency: int) -> Tally:
        """Does the work. Raises SamplingError when the server cannot be reached or refuses everything."""
        for group in self.groups:
            group.rollouts.declare()
        asyncio.run(self._run(work, concurrency))
        return self.tally

    async def _run(self, work: Missing, concurrency: int) -> None:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        connector = aiohttp.TCPConnector(limit=concurrency)
        self._room = asyncio.Semaphore(VERDICTS_IN_FLIGHT)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=self._headers) as self._http:
            committer = asyncio.create_task(self._commit_regularly())
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._grade_stored(work))
                    jobs = self._jobs(work)
                    for _ in range(min(concurrency, work.samples)):
                        tasks.create_task(self._draw_all(jobs))
                while self._grading:
                    await asyncio.wait(self._grading)
            except* SamplingError as errors:
                raise errors.exceptions[0] from None
            finally:
                committer.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await committer
                self._commit()

    def _jobs(self, work: Missing) -> Iterator[tuple[int, int, int, str | None]]:
        """(group, problem, sample index, rollout to continue), the lowest sample indexes of all groups first."""
        columns = [[table[name].to_pylist() for name in ("problem", "sample_index", "rollout")] for table in work.draws]
        merged = (
            (sample_index, group, problem, rollout)
            for group, (problems, indexes, rollouts) in enumerate(columns)
            for problem, sample_index, rollout in zip(problems, indexes, rollouts, strict=True)
        )
        for sample_index, group, problem, rollout in sorted(merged, key=lambda job: job[0]):
            yield group, problem, sample_index, rollout

    async def _draw_all(self, jobs: Iterator[tuple[int, int, int, str | None]]) -> None:
        for group, problem, sample_index, rollout in jobs:
            row = self._problem(group, problem)
            if row["id"] in self.tally.refused:
                self.step.advance(1)
                continue
            sample = await self._sample(group, row, sample_index, rollout)
            if sample is None:
                self.step.advance(1)
                continue
            self._rows[group].append(sample)
            self.tally.tokens += sample["tokens"]
            self.tally.prompt_tokens += sample["prompt_tokens"] or 0
            if sample["finish_reason"] != "length" and row["verifier"] is not None:
                await self._grade(group, row, sample["rollout"], sample["text"])
            self.step.advance(1, tokens=sample["tokens"])

    async def _grade_stored(self, work: Missing) -> None:
        for group, table in enumerate(work.ungraded):
            for batch in table.to_batches(1024):
                for stored in batch.to_pylist():
                    await self._grade(group, self._problem(group, stored["problem"]), stored["rollout"], stored["text"])
                    self.step.advance(1)

    def _problem(self, group: int, number: int) -> dict[str, Any]:
        table = self.groups[group].problems
        return {name: table[name][number].as_py() for name in table.column_names}

    async def _grade(self, group: int, problem: dict[str, Any], rollout: str, text: str) -> None:
        """Hands a completion to the graders; its verdict becomes a row when it comes."""
        await self._room.acquire()
        job = Job(problem["verifier"], problem["answer"], text, problem["verifier_args"])
        future = asyncio.wrap_future(self.graders.submit(job))
        self._grading.add(future)
        future.add_done_callback(functools.partial(self._graded, group, problem["id"], problem["verifier"], rollout))

    def _graded(
        self, group: int, problem_id: str, verifier: str, rollout: str, future: asyncio.Future[Verdict]
    ) -> None:
        self._grading.discard(future)
        self._room.release()
        if future.cancelled():
            return
        verdict = future.result()
        self.tally.graded += 1
        self._verdicts[group].append(
            {
                "rollout": rollout,
                "problem_id": problem_id,
                "verifier": verifier,
                "verifier_version": version(verifier),
                "outcome": verdict.outcome,
                "extracted": verdict.extracted,
                "reason": verdict.reason,
            }
        )

    # ---- commits

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_COMMITS)
            self._commit()

    def _commit(self) -> None:
        """Rollouts before verdicts: a verdict without its rollout would be one of nothing."""
        for group, rows, verdicts in zip(self.groups, self._rows, self._verdicts, strict=True):
            if rows:
                group.rollouts.store.append(group.rollouts.folder, pa.Table.from_pylist(rows, schema=ROLLOUTS))
                rows.clear()
            if verdicts:
                group.rollouts.store.append(
                    group.rollouts.verdict_folder, pa.Table.from_pylist(verdicts, schema=VERDICTS)
                )
                verdicts.clear()

    # ---- requests

    async def _sample(
        self, group: int, problem: dict[str, Any], sample_index: int, rollout: str | None
    ) -> dict[str, Any] | None:
        """One rollout row; None when the server refuses this problem."""
        rollouts = self.groups[group].rollouts
        rendered = rollouts.prompt.render(problem["prompt"], problem["messages"])
        name = f"{problem['id']}-{sample_index}"
        try:
            if rollout is None:
                reply = await self._complete(rendered, rollouts, name)
                self.tally.drawn += 1
            else:
                reply = await self._continue(rendered, rollouts, rollout, name)
                self.tally.continued += 1
        except Refused as refusal:
            self.tally.refused.setdefault(problem["id"], str(refusal))
            return None
        return reply | {
            "rollout": uuid.uuid4().hex,
            "problem_id": problem["id"],
            "sample_index": sample_index,
            "max_tokens": self.max_tokens,
            "continues": rollout,
            "engine": self.server.engine["engine"],
            "engine_version": self.server.engine["version"],
            "dtype": self.server.engine["dtype"],
            "drawn_at": datetime.now(UTC),
        }

    def _body(self, rollouts: Rollouts, name: str, max_tokens: int) -> dict[str, Any]:
        body = self.sampling.model_dump() | {
            "model": self.server.name,
            "n": 1,
            "max_tokens": max_tokens,
            "stop": list(rollouts.prompt.stop),
            "stream": False,
            "return_token_ids": True,
        }
        if not self.server.started_here:
            # A server that was restarted with its default seed would repeat the samples of its first life for the same
            # requests in the same order; the servers started here get a random seed instead, which costs them nothing.
            body["seed"] = random.Random(name).getrandbits(31)
        return body

    async def _complete(self, rendered: str | list[dict[str, str]], rollouts: Rollouts, name: str) -> dict[str, Any]:
        body = self._body(rollouts, name, self.max_tokens)
        if isinstance(rendered, str):
            reply = await self._post("/completions", body | {"prompt": rendered}, name)
            return _parsed(reply)
        arguments = rollouts.prompt.chat_template_kwargs
        body |= {"messages": rendered, "add_generation_prompt": True, "chat_template_kwargs": arguments}
        return _parsed(await self._post("/chat/completions", body, name))

    async def _continue(
        self, rendered: str | list[dict[str, str]], rollouts: Rollouts, rollout: str, name: str
    ) -> dict[str, Any]:
        """Goes on with a cut-off sample: its prompt and its own tokens are the new prompt."""
        stored = self._stored(rollouts, rollout)
        if isinstance(rendered, str):
            question: dict[str, Any] = {"prompt": rendered}
        else:
            arguments = rollouts.prompt.chat_template_kwargs
            question = {"messages": rendered, "add_generation_prompt": True, "chat_template_kwargs": arguments}
        tokenized = await self._post("/tokenize", question | {"model": self.server.name}, name, under_v1=False)
        done = list(stored["token_ids"])
        body = self._body(rollouts, name, self.max_tokens - len(done))
        reply = _parsed(await self._post("/completions", body | {"prompt": tokenized["tokens"] + done}, name))
        text, reasoning = (stored["text"] or "") + reply["text"], stored["reasoning"]
        if reasoning is not None and not stored["text"]:
            # The server had parsed the thinking off; it was still going on.
            thought, closed, answer = reply["text"].partition("</think>")
            reasoning, text = reasoning + thought, answer if closed else ""
        for stop in rollouts.prompt.stop:
            # A stop string that began in the stored part is not seen by the server.
            if stop in text:
                text, reply["finish_reason"] = text.split(stop)[0], "stop"
        token_ids = done + (reply["token_ids"] or [])
        return reply | {
            "text": text,
            "reasoning": reasoning,
            "token_ids": token_ids,
            "tokens": len(token_ids),
            "prompt_tokens": len(tokenized["tokens"]),
        }

    def _stored(self, rollouts: Rollouts, rollout: str) -> dict[str, Any]:
        rows = rollouts.store.scan(rollouts.folder, ROLLOUTS)
        found = arrow(
            self.con,
            f"select text, reasoning, token_ids from {rows} where rollout = {literal(rollout)} limit 1",
        )
        return dict(found.to_pylist()[0])

    async def _post(self, path: str, body: dict[str, Any], name: str, under_v1: bool = True) -> dict[str, Any]:
        """The server's JSON reply. Server errors are tried again; raises Refused for what no retry would change."""
        url = (self.server.url if under_v1 else self.server.url.removesuffix("/v1")) + path
        malformed = 0
        wait = 0.5
        while True:
            try:
                async with self._http.post(url, json=body, headers={"X-Request-Id": name}) as response:
                    if response.status == 200:
                        reply: dict[str, Any] = await response.json(content_type=None)
                        self._answered = time.monotonic()
                        if "tokens" in reply or reply.get("choices"):
                            return reply
                        malformed += 1
                        trouble = f"a reply without choices: {str(reply)[:200]}"
                        if malformed == 3:
                            raise Refused(trouble)
                    else:
                        trouble = f"{response.status}: {(await response.text())[:500]}"
                        if response.status in (401, 403, 404):
                            raise SamplingError(
                                f"{url} refuses with {trouble}. Check the model's `url`, `model` and key."
                            )
                        if response.status < 500 and response.status not in (408, 425, 429):
                            self._answered = time.monotonic()
                            raise Refused(trouble)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                trouble = f"{type(error).__name__}: {error}"
            self.server.ensure_alive()
            silent = time.monotonic() - self._answered
            if silent > self.patience:
                raise SamplingError(
                    f"{url} has not answered for {silent:.0f} s (last: {trouble}). "
                    "What was drawn is kept; start the server again and rerun to go on."
                )
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))
            wait = min(wait * 2, 10.0)


class Refused(ValueError):
    """The server answers, but not this request: too long a prompt, for instance."""


def _parsed(reply: dict[str, Any]) -> dict[str, Any]:
    """The columns of a rollout that the reply gives."""
    choice = reply["choices"][0]
    message = choice.get("message")
    text = choice.get("text") if message is None else message.get("content")
    reasoning = None if message is None else message.get("reasoning") or message.get("reasoning_content")
    token_ids = choice.get("token_ids")
    usage = reply.get("usage") or {}
    # A lone surrogate cannot be stored as UTF-8, and means nothing.
    clean = (text or "").encode("utf-8", "replace").decode()
    return {
        "text": clean,
        "reasoning": None if reasoning is None else reasoning.encode("utf-8", "replace").decode(),
        "token_ids": token_ids,
        "tokens": len(token_ids) if token_ids is not None else int(usage.get("completion_tokens") or 0),
        "prompt_tokens": usage.get("prompt_tokens"),
        "finish_reason": "length" if choice.get("finish_reason") == "length" else "stop",
    }
