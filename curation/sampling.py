"""Drawing rollouts: whatever is missing, verified as it arrives, committed every few seconds.

One asyncio loop keeps the server full. Samples are asked for breadth first (the first sample of every problem before the
second of any), so a run that is stopped knows a little about all problems rather than all about a few. Three kinds of
work lead to the same rows:
    draw      a sample index that the store does not have
    continue  a sample cut off at a smaller max_tokens goes on from its stored token ids
    grade     a rollout without a verdict (a kill between the two, or a new grader)

Nothing that failed is stored as a result: after a server error the index stays missing and the next run draws it. What
has to be done is a table of numbers; texts are in memory only while they are asked about or wait for the next commit.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import annotate
from curation.client import Client, Completion, NotServed, Refused, SamplingError
from curation.duck import arrow, batches
from curation.progress import Step
from curation.rollouts import ROLLOUTS, VERDICTS, Rollouts
from curation.verify import version
from curation.verify.pool import GraderPool, Job

__all__ = ["Group", "Missing", "Sampler", "SamplingError", "Tally", "missing"]

# The client never waits for more verdicts than this: graders that are slower than the server slow it down.
VERDICTS_IN_FLIGHT = 2048
BATCH = 1024
REFUSED_IN_A_ROW = 20
"""So many problems refused without an answer between them are no matter of the problems."""


@dataclass(frozen=True)
class Group:
    """Problems that share a prompt, and so a set of rollouts."""

    rollouts: Rollouts
    problems: pa.Table
    """Columns id, prompt, messages, answer, verifier, verifier_args."""


@dataclass
class Tally:
    """What one call of `Sampler.run` did."""

    drawn: int = 0
    continued: int = 0
    graded: int = 0
    tokens: int = 0
    """New ones: of a continued sample what was added."""
    prompt_tokens: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    """Why the server refused a problem, by its id: nothing more is asked about it in this run."""


@dataclass(frozen=True)
class Missing:
    """What the store lacks. `group` counts the groups, `problem` is a row of the group's problems."""

    draws: pa.Table
    """Breadth first: group, problem, sample_index, rollout (the one to continue, else NULL)."""
    ungraded: pa.Table
    """group, problem, rollout, filename."""

    @property
    def samples(self) -> int:
        return int(self.draws.num_rows)

    @property
    def verdicts(self) -> int:
        return int(self.ungraded.num_rows)


def missing(con: duckdb.DuckDBPyConnection, groups: Sequence[Group], n: int, max_tokens: int) -> Missing:
    """What has to be drawn, continued and graded for n samples of every problem."""
    draws, ungraded = [_DRAWS.empty_table()], [_UNGRADED.empty_table()]
    for number, group in enumerate(groups):
        count = np.arange(group.problems.num_rows, dtype=np.int32)
        con.register("numbered", group.problems.select(["id", "verifier"]).append_column("problem", pa.array(count)))
        draws.append(
            arrow(
                con,
                f"""select {number}::int as group, problem, k::int as sample_index, rollout
                from numbered cross join (select unnest(range({n})) as k)
                left join {group.rollouts.chosen(n, max_tokens, "numbered")} as have
                    on have.problem_id = numbered.id and have.sample_index = k
                where rollout is null or short
                order by k, problem""",
            )
        )
        ungraded.append(
            arrow(
                con,
                f"""select {number}::int as group, problem, rollout, filename
                from {group.rollouts.graded(n, max_tokens, "numbered")} as graded
                join numbered on numbered.id = graded.problem_id
                where outcome is null and not cut_off and not short and verifier is not null
                order by sample_index, problem""",
            )
        )
        con.unregister("numbered")
    # Sorting is stable: problems keep their order within a sample index.
    return Missing(pa.concat_tables(draws).sort_by("sample_index"), pa.concat_tables(ungraded))


_DRAWS = pa.schema(
    [("group", pa.int32()), ("problem", pa.int32()), ("sample_index", pa.int32()), ("rollout", pa.string())]
)
_STORED = pa.schema([ROLLOUTS.field(name) for name in ("rollout", "text", "reasoning", "token_ids")])
_UNGRADED = pa.schema(
    [("group", pa.int32()), ("problem", pa.int32()), ("rollout", pa.string()), ("filename", pa.string())]
)


class _Draw(NamedTuple):
    """One sample to draw, or to continue."""

    group: int
    problem: dict[str, Any]
    sample_index: int
    stored: dict[str, Any] | None


class Sampler:
    """Draws and grades for some groups of problems with one server."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        client: Client,
        graders: GraderPool,
        groups: Sequence[Group],
        max_tokens: int,
        step: Step,
    ) -> None:
        self.con, self.client, self.graders, self.groups = con, client, graders, groups
        self.max_tokens, self.step = max_tokens, step
        self.tally = Tally()
        self._rows: list[list[dict[str, Any]]] = [[] for _ in groups]
        self._verdicts: list[list[dict[str, Any]]] = [[] for _ in groups]
        self._room = asyncio.Semaphore(VERDICTS_IN_FLIGHT)
        self._taking = asyncio.Lock()
        self._refused_in_a_row = 0

    def run(self, work: Missing) -> Tally:
        """Does the work. Raises SamplingError when the server cannot be reached or answers no problem at all."""
        self._answers_known = any(group.rollouts.store.parts(group.rollouts.folder) for group in self.groups)
        for group in self.groups:
            group.rollouts.declare()
        try:
            asyncio.run(self._run(work))
        except BaseExceptionGroup as errors:
            # The first failure cancelled all other work.
            error: BaseException = errors
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            raise error from error.__cause__
        if self.tally.refused and not self._answers_known:
            self._give_up()
        return self.tally

    async def _run(self, work: Missing) -> None:
        ended = asyncio.Event()
        try:
            async with self.client, asyncio.TaskGroup() as commits:
                commits.create_task(self._commit_regularly(ended))
                async with asyncio.TaskGroup() as self._tasks:
                    self._tasks.create_task(self._grade_stored(work.ungraded))
                    if work.samples:
                        await self._check_lengths(work.draws)
                    draws = self._draws(work.draws)
                    for _ in range(min(self.client.concurrency, work.samples)):
                        self._tasks.create_task(self._draw_all(draws))
                ended.set()
        finally:
            # After an error, or Ctrl-C. Else nothing is left here.
            _write(self._taken())

    # ---- drawing

    async def _draws(self, draws: pa.Table) -> AsyncIterator[_Draw]:
        for batch in draws.to_batches(BATCH):
            stored = await asyncio.to_thread(self._stored, batch)
            place = {name: row for row, name in enumerate(stored["rollout"].to_pylist())}
            for group, problem, sample_index, rollout in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                part = None if rollout is None else _row(stored, place[rollout])
                yield _Draw(group, _row(self.groups[group].problems, problem), sample_index, part)

    async def _draw_all(self, draws: AsyncIterator[_Draw]) -> None:
        while True:
            async with self._taking:
                draw = await anext(draws, None)
            if draw is None:
                return
            sample = await self._sample(draw)
            if sample is None:
                self.step.advance(1)
                continue
            self._rows[draw.group].append(sample)
            if sample["finish_reason"] != "length" and draw.problem["verifier"] is not None:
                await self._grade(draw.group, draw.problem, sample["rollout"], sample["text"])
            self.step.advance(1, tokens=sample["tokens"])

    async def _sample(self, draw: _Draw) -> dict[str, Any] | None:
        """One rollout row; None when the server refuses this problem."""
        problem, rollouts = draw.problem, self.groups[draw.group].rollouts
        if problem["id"] in self.tally.refused:
            return None
        prompt, sampling = rollouts.prompt, rollouts.sampling
        rendered = prompt.render(problem["prompt"], problem["messages"])
        name = f"{problem['id']}-{draw.sample_index}"
        try:
            if draw.stored is None:
                completion = await self.client.complete(rendered, prompt, sampling, self.max_tokens, name)
            else:
                completion = await self.client.go_on(rendered, draw.stored, prompt, sampling, self.max_tokens, name)
        except NotServed as error:
            if draw.stored is None:
                raise
            raise SamplingError(
                "cut-off samples cannot be continued here, which takes /tokenize, /detokenize and token ids, as "
                f"vLLM has them. Keep max_tokens, or use such a server. {error}"
            ) from error
        except Refused as refusal:
            self._refuse(problem["id"], refusal)
            return None
        self._answers_known, self._refused_in_a_row = True, 0
        self._count(completion, draw.stored)
        return {
            **completion,
            "rollout": uuid.uuid4().hex,
            "problem_id": problem["id"],
            "sample_index": draw.sample_index,
            "max_tokens": self.max_tokens,
            "continues": None if draw.stored is None else draw.stored["rollout"],
            "engine": self.client.server.engine["engine"],
            "engine_version": self.client.server.engine["version"],
            "dtype": self.client.server.engine["dtype"],
            "drawn_at": datetime.now(UTC),
        }

    def _count(self, completion: Completion, stored: dict[str, Any] | None) -> None:
        if stored is None:
            self.tally.drawn += 1
        else:
            self.tally.continued += 1
        self.tally.tokens += completion["tokens"] - (0 if stored is None else len(stored["token_ids"]))
        self.tally.prompt_tokens += completion["prompt_tokens"] or 0

    def _refuse(self, problem_id: str, refusal: Refused) -> None:
        self._refused_in_a_row += problem_id not in self.tally.refused
        self.tally.refused.setdefault(problem_id, str(refusal))
        # A rerun may have only those left that were refused before: then that they are is nothing new.
        if self._refused_in_a_row >= REFUSED_IN_A_ROW and (refusal.failed or not self._answers_known):
            self._give_up()

    def _give_up(self) -> None:
        problem_id, reason = next(reversed(self.tally.refused.items()))
        raise SamplingError(
            f"{self.client.server.url} answers no problem ({len(self.tally.refused)} refused; {problem_id}: {reason})"
        )

    def _stored(self, batch: pa.RecordBatch) -> pa.Table:
        """The cut-off rollouts that a batch of draws continues."""
        found = [_STORED.empty_table()]
        for number, group in enumerate(self.groups):
            rows = batch.filter(pc.equal(batch["group"], number)).select(["rollout"]).drop_null()
            if rows.num_rows:
                with self.con.cursor() as cursor:
                    cursor.register("asked", pa.Table.from_batches([rows]))
                    scan = group.rollouts.store.scan(group.rollouts.folder, ROLLOUTS)
                    query = f"select {', '.join(_STORED.names)} from {scan} semi join asked using (rollout)"
                    found.append(arrow(cursor, query).cast(_STORED))
        return pa.concat_tables(found)

    async def _check_lengths(self, draws: pa.Table) -> None:
        """Says before sampling what the server would refuse. The longest prompt is the one with most characters."""
        limit, server = self.client.server.max_model_len, self.client.server.name
        if limit is None:
            return
        if self.max_tokens >= limit:
            raise SamplingError(
                f"max_tokens={self.max_tokens} leaves no room for a prompt: {server} holds {limit} tokens of prompt and "
                "answer (max_model_len). Lower max_tokens, or raise serve.max_model_len."
            )
        for number, group in enumerate(self.groups):
            asked = group.problems.take(draws.filter(pc.equal(draws["group"], number))["problem"].unique())
            if not asked.num_rows:
                continue
            lengths = pc.utf8_length(asked["prompt"])
            longest = asked.slice(pc.index(lengths, pc.max(lengths)).as_py(), 1).to_pylist()[0]
            prompt = group.rollouts.prompt
            rendered = prompt.render(longest["prompt"], longest["messages"])
            try:
                tokens = str(count := len(await self.client.tokenize(rendered, prompt, longest["id"])))
            except NotServed:
                return  # then the server's refusals have to say it
            except Refused:
                count, tokens = limit, f"more than {limit}"
            if count + self.max_tokens > limit:
                message = (
                    f"the longest prompt has {tokens} tokens; with max_tokens={self.max_tokens} that is more than the "
                    f"{limit} that {server} holds (max_model_len). What does not fit is refused, and its pass rate stays "
                    "unknown: raise serve.max_model_len, or lower max_tokens"
                )
                self.step.progress.line(f"{self.step.name}: {message}")
                group.rollouts.store.warn(message)

    # ---- grading

    async def _grade_stored(self, ungraded: pa.Table) -> None:
        for number, group in enumerate(self.groups):
            rows = ungraded.filter(pc.equal(ungraded["group"], number))
            if not rows.num_rows:
                continue
            scan = group.rollouts.store.scan(group.rollouts.folder, ROLLOUTS)
            cursor = self.con.cursor()
            cursor.register("ungraded", rows)
            query = f"select problem, rollout, text from {scan} join ungraded using (rollout, filename)"
            reader = await asyncio.to_thread(batches, cursor, query, BATCH)
            while (batch := await asyncio.to_thread(next, reader, None)) is not None:
                for problem, rollout, text in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                    await self._grade(number, _row(group.problems, problem), rollout, text)
                    self.step.advance(1)

    async def _grade(self, group: int, problem: dict[str, Any], rollout: str, text: str) -> None:
        """Hands a completion to the graders once there is room; its verdict becomes a row when it comes."""
        await self._room.acquire()
        self._tasks.create_task(self._verdict(group, problem, rollout, text))

    async def _verdict(self, group: int, problem: dict[str, Any], rollout: str, text: str) -> None:
        job = Job(problem["verifier"], problem["answer"], text, problem["verifier_args"])
        verdict = await asyncio.wrap_future(self.graders.submit(job))
        self._room.release()
        self.tally.graded += 1
        self._verdicts[group].append(
            {
                "rollout": rollout,
                "problem_id": problem["id"],
                "verifier": job.verifier,
                "verifier_version": version(job.verifier),
                "outcome": verdict.outcome,
                "extracted": verdict.extracted,
                "reason": verdict.reason,
            }
        )

    # ---- commits

    async def _commit_regularly(self, ended: asyncio.Event) -> None:
        """Commits in a thread, so that the server does not wait for the disk."""
        while not ended.is_set():
            try:
                async with asyncio.timeout(annotate.SECONDS_BETWEEN_COMMITS):
                    await ended.wait()
            except TimeoutError:
                pass
            await asyncio.to_thread(_write, self._taken())

    def _taken(self) -> "list[_Rows]":
        """What waits for a commit, taken away."""
        taken = list(zip([group.rollouts for group in self.groups], self._rows, self._verdicts, strict=True))
        self._rows, self._verdicts = [[] for _ in self.groups], [[] for _ in self.groups]
        return taken


def _row(table: pa.Table, number: int) -> dict[str, Any]:
    return {name: table[name][number].as_py() for name in table.column_names}


_Rows = tuple[Rollouts, list[dict[str, Any]], list[dict[str, Any]]]


def _write(taken: list[_Rows]) -> None:
    """Commits rollouts before verdicts: a verdict without its rollout would be one of nothing."""
    for rollouts, rows, verdicts in taken:
        if rows:
            rollouts.store.append(rollouts.folder, pa.Table.from_pylist(rows, schema=ROLLOUTS))
        if verdicts:
            rollouts.store.append(rollouts.verdict_folder, pa.Table.from_pylist(verdicts, schema=VERDICTS))
