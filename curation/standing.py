"""What the store holds of the samples that are wanted: their outcomes, what has to go on, what has no verdict yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.duck import arrow
from curation.outcomes import ASKED, CUT_OFF, ERROR, FAIL, MISSING, PASS, Outcomes
from curation.rollouts import ROLLOUTS, Rollouts

NEEDED = ("id", "prompt", "messages", "answer", "verifier", "verifier_args")
"""What of a problem is needed to ask and to grade."""
_UNGRADED = pa.schema(
    [("group", pa.int32()), ("problem", pa.int64()), ("rollout", pa.string()), ("filename", pa.string())]
)


@dataclass(frozen=True)
class Group:
    """Problems that share a prompt, and so a set of rollouts."""

    rollouts: Rollouts
    problems: pa.Table
    """Columns NEEDED, `pattern`: when each is settled, and `row`: its place in its source."""


def ids(groups: Sequence[Group]) -> pa.ChunkedArray:
    """Ids of the problems, through all groups."""
    return pa.chunked_array([chunk for group in groups for chunk in group.problems["id"].chunks], pa.string())


@dataclass(frozen=True)
class Standing:
    """What is in the store of n samples of every problem; problems are counted through all groups."""

    outcomes: Outcomes
    continuing: dict[int, str]
    """The rollout that a missing sample goes on from, by its place in `outcomes`."""
    ungraded: pa.Table
    """Rollouts without a verdict: group, problem (its row there), rollout, filename."""

    @property
    def missing(self) -> int:
        """Samples that would have to be drawn for all n of every problem that is not settled."""
        o = self.outcomes
        return sum(o.code(MISSING, problem, o.n) for problem in range(o.problems) if not o.closed[problem])

    @property
    def open(self) -> int:
        """Problems that are not settled."""
        return self.outcomes.problems - sum(self.outcomes.closed)


def standing(
    con: duckdb.DuckDBPyConnection,
    groups: Sequence[Group],
    n: int,
    max_tokens: int,
    cut_off_fails: bool,
    retry_errors: bool = False,
) -> Standing:
    """What the store holds of the first n samples of every problem, as if all were drawn with this `max_tokens`.

    retry_errors: whether a rollout whose grader failed is one without a verdict.
    """
    patterns = pa.chunked_array([chunk for group in groups for chunk in group.problems["pattern"].chunks], pa.string())
    outcomes = Outcomes(n, patterns, cut_off_fails)
    continuing: dict[int, str] = {}
    ungraded = [_UNGRADED.empty_table()]
    first = 0
    for number, group in enumerate(groups):
        count = np.arange(group.problems.num_rows, dtype=np.int64)
        con.register("numbered", group.problems.select(["id", "verifier"]).append_column("problem", pa.array(count)))
        found = arrow(
            con,
            f"""select {number}::int as "group", problem, ({first} + problem) * {n} + sample_index as place,
                case when short then {MISSING} when cut_off then {CUT_OFF} when outcome = 'correct' then {PASS}
                     when outcome = 'wrong' then {FAIL} when outcome = 'error' or numbered.verifier is null then {ERROR}
                     else {ASKED} end::utinyint as code,
                case when code in ({MISSING}, {ASKED}) then rollout end as rollout,
                case when code = {ASKED} then filename end as filename
            from {group.rollouts.graded(n, max_tokens, "numbered", retry_errors)} as graded
            join numbered on numbered.id = graded.problem_id""",
        )
        con.unregister("numbered")
        first += group.problems.num_rows
        outcomes.fill(found["place"].to_numpy(), found["code"].to_numpy())
        short = found.filter(pc.equal(found["code"], MISSING))
        continuing |= zip(short["place"].to_pylist(), short["rollout"].to_pylist(), strict=True)
        ungraded.append(found.filter(pc.equal(found["code"], ASKED)).select(_UNGRADED.names).cast(_UNGRADED))
    rows = np.concatenate([group.problems["row"].to_numpy() for group in groups]) if groups else np.array([], np.int64)
    outcomes.begin(np.argsort(rows, kind="stable"))
    return Standing(outcomes, continuing, pa.concat_tables(ungraded))


def cut_off_parts(
    con: duckdb.DuckDBPyConnection, groups: Sequence[Group], rollouts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Rollouts that are to go on, by their names: rollout, text, reasoning, token_ids, logprob."""
    found: dict[str, dict[str, Any]] = {}
    for group in groups:
        with con.cursor() as cursor:
            cursor.register("asked", pa.table({"rollout": list(rollouts)}))
            scan = group.rollouts.store.scan(group.rollouts.folder, ROLLOUTS)
            query = f"select rollout, text, reasoning, token_ids, logprob from {scan} semi join asked using (rollout)"
            found |= {row["rollout"]: row for row in arrow(cursor, query).to_pylist()}
    return found
