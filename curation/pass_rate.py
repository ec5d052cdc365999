"""How often a model solves each problem: up to n samples, graded; and the view over them that rules read.

Sampling of a problem stops once every rule over its counts has a value (`settle: early`), so the columns speak of the
samples that count: those of the shortest settling prefix of sample indexes, whatever order they arrived in.

    drawn           samples in the store, below n
    used            samples that count: those before index `used`
    passes, fails   verdicts correct and wrong among these; a sample that was cut off fails, unless `cut_off: unknown`
    errors          samples whose grader failed: unknown, neither passes nor fails
    truncated       samples cut off at max_tokens
    pass_rate       passes / (passes + fails); NULL when there are none. Leans by up to .06 to what settles soon
                    (estimates.bias), so it is for looking at one problem
    pass_rate_unbiased   right on average over problems, for means and totals; of one problem it may be far off
    pass_rate_low, pass_rate_high   90 % interval of the rate that holds in spite of the early stop (estimates.interval)
    mean_tokens     mean length of the samples that count, in tokens with thinking; NULL when none has a known length

In a rule, `passes`, `fails` and `pass_rate` speak of all n samples (rules.py).
"""

import math
from array import array
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from curation.annotate import Work
from curation.duck import arrow
from curation.estimates import interval, unbiased
from curation.outcomes import CUT_OFF, ERROR, MISSING, Outcomes
from curation.sampled import Sampled
from curation.settling import never
from curation.standing import Group

COUNTS = ("passes", "fails", "errors", "truncated", "drawn", "used")
RATES = ("pass_rate", "pass_rate_unbiased", "pass_rate_low", "pass_rate_high")


class PassRate(Sampled):
    """Samples a model up to n times a problem and counts what the verifier accepts."""

    NAME: ClassVar[str] = "pass_rate"
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [(name, pa.int64()) for name in COUNTS] + [(name, pa.float64()) for name in (*RATES, "mean_tokens")]
    )

    BESIDES: ClassVar[tuple[str, ...]] = ("drawn",)

    settle: Literal["early", "never"] = "early"
    """`early` stops sampling a problem once every rule over its counts has a value, `never` draws all n."""

    def patterns(self, work: Work) -> str:
        if self.settle == "never" or work.patterns is None:
            return f"(select id, '{never(self.n)}' as pattern from wanted)"
        return work.patterns

    def view(self, work: Work, groups: list[Group], outcomes: Outcomes) -> pa.Table:
        """`id` and COLUMNS for every wanted problem; zeros where nothing was drawn."""
        counted = {name: array("q") for name in COUNTS}
        rated = {name: array("d") for name in RATES}
        for problem in range(outcomes.problems):
            used, passes, fails = outcomes.prefix(problem)
            pattern = outcomes.settling(problem).pattern
            counts = (
                passes,
                fails,
                outcomes.code(ERROR, problem, used),
                outcomes.code(CUT_OFF, problem, used),
                outcomes.n - outcomes.code(MISSING, problem, outcomes.n),
                used,
            )
            rate = passes / (passes + fails) if passes + fails else None
            rates = (rate, unbiased(pattern, passes, fails), *interval(pattern, passes, fails))
            for name, count in zip(COUNTS, counts, strict=True):
                counted[name].append(count)
            for name, value in zip(RATES, rates, strict=True):
                rated[name].append(math.nan if value is None else value)
        # NaN is NULL: nothing was graded.
        columns = {name: pa.array(np.frombuffer(column, np.int64)) for name, column in counted.items()}
        columns |= {name: pa.array(np.frombuffer(column), from_pandas=True) for name, column in rated.items()}
        columns["mean_tokens"] = self._mean_tokens(work, groups, columns["used"])
        nulls = "".join(f", null as {name}" for name in (*RATES, "mean_tokens"))
        zeros = ", ".join(f"0 as {name}" for name in COUNTS) + nulls
        others = f"select id, {zeros} from problems semi join wanted using (id) where verifier is null"
        return self.viewed(groups, columns, arrow(work.con, others))

    def _mean_tokens(self, work: Work, groups: list[Group], used: pa.Array) -> pa.ChunkedArray:
        """Mean tokens of the samples that count. used: how many these are, problem by problem."""
        found, first = [], 0
        for group in groups:
            rows = group.problems.num_rows
            numbered = {"id": group.problems["id"], "used": used.slice(first, rows), "problem": pa.array(range(rows))}
            first += rows
            work.con.register("numbered", pa.table(numbered))
            query = f"""select avg(least(tokens, {self.max_tokens})) filter (sample_index < used) as mean_tokens
                from numbered left join {group.rollouts.chosen(self.n, self.max_tokens, "numbered")} on problem_id = id
                group by problem order by problem"""
            found += arrow(work.con, query)["mean_tokens"].chunks
            work.con.unregister("numbered")
        return pa.chunked_array(found, pa.float64())
