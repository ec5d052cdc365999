"""How often a model solves each problem: n samples, graded; and the view over them that rules read.

The columns are a view over rollouts and verdicts, never stored: raising n or max_tokens, or a new grader, changes what
is missing, not what is there.

    passes, fails   verdicts correct and wrong among samples 0 .. n-1; a sample cut off at max_tokens counts as a failure
    errors          samples whose grader failed: unknown, neither passes nor fails
    truncated       samples cut off at max_tokens
    drawn, used     samples drawn, and those that count
    pass_rate       passes / (passes + fails) of the samples used; NULL when there are none
    pass_rate_low, pass_rate_high   90 % interval (Clopper and Pearson, Biometrika 26, 1934)

In a rule, `passes`, `fails` and `pass_rate` speak of all n samples (rules.py).
"""

import functools
import math
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curation.annotate import Annotator, HowItRuns, Work, count
from curation.client import Client
from curation.duck import arrow
from curation.model import RunningServer, api_key, identity
from curation.rollouts import Rollouts, Sampling
from curation.sampling import Group, Missing, Sampler, Tally, missing
from curation.verify.pool import graders

LEVEL = 0.9
CUT_OFF_WARNING = 0.1
COUNTS: tuple[str, ...] = ("passes", "fails", "errors", "truncated", "drawn", "used")
NEEDED = ("id", "prompt", "messages", "answer", "verifier", "verifier_args")


class PassRate(Annotator, Sampling):
    """Samples a model n times a problem and counts what the verifier accepts."""

    NAME: ClassVar[str] = "pass_rate"
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [(name, pa.int64()) for name in COUNTS]
        + [(name, pa.float64()) for name in ("pass_rate", "pass_rate_low", "pass_rate_high")]
    )
    UNIT: ClassVar[str] = "samples"

    model: str
    """Which of the recipe's models is sampled."""
    n: int = Field(gt=0, le=1024)
    """Samples a problem."""
    max_tokens: int = Field(gt=0, lt=1 << 31)
    """Length at which a sample is cut off: the one that RL will use."""
    prompt: dict[str, Any] = Field(default={})
    """How prompts differ from the model's `prompt`, key by key."""
    patience: Annotated[float, HowItRuns()] = Field(default=120.0, gt=0)
    """Seconds without any reply after which the server counts as gone."""

    def sampling(self) -> Sampling:
        return Sampling(**{name: getattr(self, name) for name in Sampling.model_fields})

    def rollouts(self, work: Work, sources: list[str]) -> dict[str, Rollouts]:
        """Which rollouts are those of this annotator, by source."""
        model = work.models[self.model]
        known = identity(model)
        if known.get("unpinned"):
            work.store.warn(
                f"model {self.model!r}: what {model.url} serves is not pinned; its samples are kept apart from pinned "
                "ones. Give models." + self.model + ".revision to say which weights it serves"
            )
        prompts = {source: model.prompt.merged(self.prompt | dict(work.prompts.get(source, {}))) for source in sources}
        return {source: Rollouts(work.store, known, prompt, self.sampling()) for source, prompt in prompts.items()}

    def groups(self, work: Work) -> list[Group]:
        """The wanted problems, by the rollouts they belong to: sources with the same prompt share a group."""
        wanted = "problems semi join wanted using (id)"
        table = arrow(work.con, f"select {', '.join(NEEDED)}, source from {wanted} where verifier is not null")
        by_hash: dict[str, tuple[Rollouts, list[str]]] = {}
        for source, rollouts in self.rollouts(work, table["source"].unique().to_pylist()).items():
            by_hash.setdefault(rollouts.hash, (rollouts, []))[1].append(source)
        return [
            Group(rollouts, table.filter(pc.is_in(table["source"], pa.array(sources))).select(NEEDED))
            for rollouts, sources in by_hash.values()
        ]

    def measure(self, work: Work, name: str) -> pa.Table:
        groups = self.groups(work)
        lacking = missing(work.con, groups, self.n, self.max_tokens)
        if lacking.samples or lacking.verdicts:
            _report(work, name, self._draw(work, name, groups, lacking))
            for group in groups:
                work.store.merge(group.rollouts.folder)
                work.store.merge(group.rollouts.verdict_folder)
        else:
            work.progress.line(f"{name}: nothing is missing, nothing is sampled")
        table = self._view(work, groups)
        cut_off, drawn = (pc.sum(table[column]).as_py() or 0 for column in ("truncated", "drawn"))
        if cut_off > CUT_OFF_WARNING * drawn:
            work.store.warn(
                f"{name}: {cut_off / drawn:.0%} of the samples were cut off at max_tokens={self.max_tokens} and count as "
                "failures; raise it if RL will use a larger one (cut-off samples are continued, not drawn again)"
            )
        ungradable = count(work.con, "problems semi join wanted using (id) where verifier is null")
        if ungradable:
            work.store.warn(
                f"{name}: {ungradable} problems name no verifier and are not sampled; their pass rate stays unknown. "
                "Give their source a `verifier`"
            )
        return table

    def _draw(self, work: Work, name: str, groups: list[Group], lacking: Missing) -> Tally:
        model = work.models[self.model]
        server = work.server(model) if lacking.samples else _NO_SERVER
        client = Client(server, api_key(model), model.concurrency, self.patience)
        with work.progress.step(name, lacking.samples + lacking.verdicts, self.UNIT) as step:
            return Sampler(work.con, client, graders(), groups, self.max_tokens, step).run(lacking)

    def _view(self, work: Work, groups: list[Group]) -> pa.Table:
        """`id` and COLUMNS for every wanted problem; zeros where nothing was drawn."""
        counts = [_COUNTS.empty_table()]
        for group in groups:
            work.con.register("asked", group.problems.select(["id", "verifier"]))
            counts.append(
                arrow(
                    work.con,
                    f"""select problem_id as id,
                        count(*) filter (outcome = 'correct' and not cut_off) as passes,
                        count(*) filter (outcome = 'wrong' or cut_off) as fails,
                        count(*) filter (outcome = 'error' and not cut_off) as errors,
                        count(*) filter (cut_off) as truncated,
                        count(*) as drawn,
                        passes + fails as used
                    from {group.rollouts.graded(self.n, self.max_tokens, "asked")} where not short
                    group by problem_id""",
                )
            )
            work.con.unregister("asked")
        counted = pa.concat_tables(counts)
        pairs = counted.group_by(["passes", "used"]).aggregate([]).to_pylist()
        intervals = [dict(zip(_INTERVALS.names, (*pair.values(), *interval(**pair)), strict=True)) for pair in pairs]
        work.con.register("counted", counted)
        work.con.register("intervals", pa.Table.from_pylist(intervals, schema=_INTERVALS))
        table = arrow(
            work.con,
            f"""select id, {", ".join(f"coalesce({name}, 0) as {name}" for name in COUNTS)},
                passes / nullif(used, 0) as pass_rate, pass_rate_low, pass_rate_high
            from wanted left join counted using (id) left join intervals using (passes, used)""",
        )
        work.con.unregister("counted")
        work.con.unregister("intervals")
        return table.cast(self.table_schema())


_COUNTS = pa.schema([("id", pa.string()), *((name, pa.int64()) for name in COUNTS)])
_INTERVALS = pa.schema(
    [
        ("passes", pa.int64()),
        ("used", pa.int64()),
        ("pass_rate_low", pa.float64()),
        ("pass_rate_high", pa.float64()),
    ]
)

_NO_SERVER = RunningServer(url="", name="", max_model_len=None, engine={})
"""For a run that only grades."""


def _report(work: Work, name: str, tally: Tally) -> None:
    work.drawn[name] = {
        "drawn": tally.drawn,
        "continued": tally.continued,
        "tokens": tally.tokens,
        "prompt_tokens": tally.prompt_tokens,
    }
    if tally.refused:
        problem_id, reason = next(iter(tally.refused.items()))
        work.store.warn(
            f"{name}: the server refused {len(tally.refused)} problems, whose pass rate stays unknown; "
            f"the first is {problem_id}: {reason}"
        )


@functools.cache
def interval(passes: int, used: int) -> tuple[float | None, float | None]:
    """The central 90 % interval of a pass rate: the rates that neither one-sided exact test rejects at 5 %.

    (None, None) when nothing was used.
    """
    if not used:
        return None, None
    return _lowest(passes, used), 1 - _lowest(used - passes, used)


def _lowest(passes: int, used: int) -> float:
    """The smallest rate at which so many passes or more are not too many to believe; by halving."""
    if not passes:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if _at_least(passes, used, middle) > (1 - LEVEL) / 2 else (middle, high)
    return (low + high) / 2


def _at_least(passes: int, used: int, rate: float) -> float:
    """The chance of so many passes or more: the upper tail of the binomial distribution, term by term."""
    ways = math.lgamma(used + 1) - math.lgamma(passes + 1) - math.lgamma(used - passes + 1)
    term = math.exp(ways + passes * math.log(rate) + (used - passes) * math.log1p(-rate))
    total = 0.0
    for k in range(passes, used + 1):
        total += term
        term *= (used - k) / (k + 1) * rate / (1 - rate)
    return total
