"""Verdicts of a judge: it is asked, and what it says is read; what went wrong is `error`, never `wrong`.

    async with Client(servers, key, concurrency, patience) as client:
        verdict = await Judging(judge, client).grade(Job("math", "1/2", r"\\boxed{0.5}"))

    with graders_of(judge, servers, key) as grader:       # without an event loop of one's own
        for verdict in grader.grade_many(jobs):           # in order, memory flat
            ...

A job's `args` may hold `question`, the problem's text, which is shown too, `rubric` (quality, score), and `kind`, where the
problem is of another kind than the judge's. A score is the verdict's `extracted`, as text ("8"; "7.5", the mean of two): a rule
reads it with `try_cast(extracted as double)`. A verdict that is an error has none.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from curation.client import Client
from curation.judge import Constrained, Judge, Unreadable
from curation.judge_prompt import Kind, Text, check
from curation.reach import RunningServer
from curation.replies import Refused
from curation.sql import short
from curation.verify import Verdict, decode_args
from curation.verify.agreement import Outcome
from curation.verify.extract import NO_ANSWER, NOT_CLOSED, final_text, last_boxed, stated_answer
from curation.verify.jobs import Job, JobTuple, in_order

PATIENCE = 120.0
"""Seconds that servers may be away before the work is given up."""
_AHEAD = 4
"""Jobs that `grade_many` has under way for each request that may be in flight."""


@dataclass
class Cost:
    """What the judge was asked so far."""

    calls: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    """Of its replies, thinking included."""

    def told(self) -> dict[str, int]:
        return asdict(self)


@dataclass
class Judging:
    """A judge with the servers that it answers from."""

    judge: Judge
    client: Client
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        # Once: the client knows a prompt and its sampling parameters by identity.
        self._prompt = self.judge.prompt
        self._kinds: dict[Kind, tuple[Judge, Constrained]] = {}
        self._numbers = itertools.count()

    async def grade(self, job: Job | JobTuple) -> Verdict:
        """The judge's verdict on one completion; its `reason` begins with the model's name.

        Nothing is asked where there is nothing to judge: a completion without a final answer is wrong, as for every
        verifier. Raises SamplingError when no server can be reached or one wants another key.
        """
        shown = self._shown(Job(*job))
        if isinstance(shown, Verdict):
            return shown
        judge, about, reference, graded = shown
        # A score stands where what was judged stands otherwise: no rule may take the one for the other.
        compared = None if judge.kind == "score" else graded.text
        number, words, reasons = next(self._numbers), [], []
        try:
            for order, texts in enumerate([(reference, graded), (graded, reference)][: 1 + self.judge.twice]):
                word, reason = await self._opinion(judge, about, *texts, f"judge-{number}-{order}")
                words.append(word)
                reasons.append(reason)
        except Refused as refusal:
            return self._verdict("error", compared, f"the judge gave no answer: {refusal}")
        except Unreadable as trouble:
            return self._verdict("error", compared, str(trouble))
        outcome, score, said = judge.settled(words, reasons[0])
        return self._verdict(outcome, score or compared, said)

    def _of(self, kind: Kind) -> tuple[Judge, Constrained]:
        """The judge as it is asked about problems of a kind, and how its replies are drawn."""
        if kind not in self._kinds:
            judge = self.judge.of(kind)
            self._kinds[kind] = judge, judge.sampling
        return self._kinds[kind]

    def _shown(self, job: Job) -> tuple[Judge, str | None, Text, Text] | Verdict:
        """Who is asked, the problem, where it is known, and the two texts; a verdict where there is nothing to ask."""
        try:
            args = decode_args(job.args)
            check(args)
        except (ValueError, RecursionError) as error:
            return self._verdict("error", None, str(error))
        judge, _ = self._of(args.get("kind") or self.judge.kind)
        text = final_text(job.completion)
        if text is None:
            return Verdict("wrong", None, NOT_CLOSED)
        if judge.kind != "equivalence":
            reference = Text("rubric", str(args.get("rubric") or self.judge.rubric or ""))
            graded = Text("response", text)
            missing = "there is no rubric"
        else:
            answer = job.answer or ""
            stated = stated_answer(text, lines=answer.strip().count("\n") + 1)
            boxed = last_boxed(answer)
            reference = Text("first answer", answer if boxed is None else boxed)
            graded = Text("second answer", stated.text if stated else "")
            missing = "the problem has no answer"
        if not reference.text.strip():
            return self._verdict("error", None, missing)
        if not graded.text.strip():
            return Verdict("wrong", None, NO_ANSWER)
        about = str(args["question"]) if args.get("question") else None
        for name, shown in ((reference.name, reference.text), (graded.name, graded.text), ("problem", about or "")):
            if len(shown) > (most := self.judge.max_characters):
                said = f"the {name} has {len(shown):,} characters, and the judge is shown at most {most:,}"
                return self._verdict("error", None if judge.kind == "score" else short(graded.text), said)
        return judge, about, reference, graded

    async def _opinion(self, judge: Judge, about: str | None, one: Text, other: Text, name: str) -> tuple[str, str]:
        """What the judge says of two texts in this order. Raises Refused and Unreadable."""
        if judge.kind == "equivalence":
            one, other = one._replace(name="first answer"), other._replace(name="second answer")
        rendered = self._prompt.render(judge.question(about, one, other))
        _, sampling = self._of(judge.kind)
        self.cost.calls += 1
        reply = await self.client.complete(rendered, self._prompt, sampling, judge.reply_tokens, name)
        self.cost.tokens += reply["tokens"]
        self.cost.prompt_tokens += reply["prompt_tokens"] or 0
        if reply["finish_reason"] == "length":
            raise Unreadable(f"the judge's reply was cut off at {judge.reply_tokens:,} tokens")
        return judge.read(reply["text"])

    def _verdict(self, outcome: Outcome, extracted: str | None, reason: str) -> Verdict:
        return Verdict(outcome, extracted, f"{self.client.name}: {reason}"[:500])


class Grader:
    """A judge for callers without an event loop, with the methods of `GraderPool` that they use."""

    def __init__(self, judging: Judging, loop: asyncio.AbstractEventLoop) -> None:
        self.judging, self._loop = judging, loop

    def submit(self, job: Job | JobTuple) -> Future[Verdict]:
        """The verdict to come. What is in flight is the caller's to bound; cancelling it ends the request."""
        return asyncio.run_coroutine_threadsafe(self.judging.grade(job), self._loop)

    def grade_many(self, jobs: Iterable[Job | JobTuple]) -> Iterator[Verdict]:
        """The verdicts of the jobs, in their order; jobs are read only a bounded number ahead of the verdicts taken."""
        return in_order(self.submit, jobs, self.judging.client.slots * _AHEAD)


@contextmanager
def graders_of(
    judge: Judge, servers: Sequence[RunningServer], key: str | None, say: Callable[[str], None] | None = None
) -> Iterator[Grader]:
    """A grader for the length of a `with` block; its requests are made in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="judge", daemon=True)
    thread.start()
    client = Client(servers, key, judge.model.concurrency, PATIENCE, say)
    try:
        asyncio.run_coroutine_threadsafe(client.__aenter__(), loop).result()
        try:
            yield Grader(Judging(judge, client), loop)
        finally:
            asyncio.run_coroutine_threadsafe(_end(client), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(client: Client) -> None:
    """Ends what is still asked, after an error or Ctrl-C, and closes the client."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await client.__aexit__(None, None, None)
