"""What a strong model's samples agree on: a sign of a wrong gold answer, and a candidate where there is none.

Samples that agree with each other and not with the gold answer cast doubt on it, as independent errors seldom agree
(self-consistency: Wang et al., arXiv 2203.11171). It is doubt, no proof: weak models agree on mistakes. All n samples are
drawn; they are rollouts like any others, so a pass rate of equal settings shares them.

    gold_suspect       whether at least `agree` of the n samples give one answer that the verifier does not accept for the
                       gold answer; NULL when samples that are missing, or that the grader failed at, could change that,
                       and where there is no gold answer
    consensus_answer   the commonest answer, as the model wrote it
    consensus_votes    samples that give it, in whatever spelling the verifier takes for the same
    consensus_samples  samples that give an answer
    consensus_share    consensus_votes / n; NULL while it could change
    consensus_answers  the commonest answers: {answer, votes, same_as_gold}

A problem without an answer is sampled, too, as long as it names a verifier. Its consensus_answer is a candidate, never its
answer. Who wants it as a label says so: a source over this dataset's decisions.parquet with `answer: consensus_answer` makes
it another problem, and its `where` says how many votes that takes.

Equal is what the verifier calls equal. Those that check rather than compare (code, instructions, reasoning-gym) and a judge
can say nothing of two samples: all of it is NULL, and nothing is drawn.
"""

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curation.annotate import Work, count
from curation.duck import arrow, batches, literal, quoted
from curation.outcomes import ERROR, Outcomes
from curation.sampled import Sampled
from curation.settling import never
from curation.standing import Group
from curation.verify import NO_REFERENCE, VERIFIERS, verifier
from curation.votes import Answer, Votes
from curation.votes import count as count_votes

ANSWERS_KEPT = 5
"""Entries of consensus_answers, at most."""
LONGEST = 200
"""Characters of an answer in consensus_answers."""
BLANKS = " \t\n\r\f\v"
PROBLEMS = 1024
"""Problems whose answers are compared at a time."""

_ANSWERS = pa.list_(pa.struct([("answer", pa.string()), ("votes", pa.int64()), ("same_as_gold", pa.bool_())]))


class Consensus(Sampled):
    """Samples a model n times a problem and asks what the samples agree on."""

    NAME: ClassVar[str] = "consensus"
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [
            ("gold_suspect", pa.bool_()),
            ("consensus_answer", pa.string()),
            ("consensus_votes", pa.int64()),
            ("consensus_samples", pa.int64()),
            ("consensus_share", pa.float64()),
            ("consensus_answers", _ANSWERS),
        ]
    )

    n: int = Field(gt=1, le=1024)
    """Samples a problem."""
    agree: float = Field(default=0.6, gt=0.5, le=1)
    """Share of the n samples that have to give the same answer. Above a half, so that only one answer can."""

    def patterns(self, work: Work) -> str:
        return f"(select id, '{never(self.n)}' as pattern from wanted join problems using (id) where {_compares()})"

    def failed(self, groups: list[Group], outcomes: Outcomes) -> int:
        """Samples of problems without an answer have no verdict, and none is missing."""
        answers = (answer for group in groups for answer in group.problems["answer"].to_pylist())
        has_gold = (answer is not None and answer.strip() != "" for answer in answers)
        return sum(outcomes.code(ERROR, problem, self.n) for problem, has in enumerate(has_gold) if has)

    def view(self, work: Work, groups: list[Group], outcomes: Outcomes) -> pa.Table:
        found = [self.COLUMNS.empty_table()]
        for group in groups:
            for some in _chunks(self._votes(work, group)):
                count_votes(some, self.agree)
                found.append(pa.Table.from_pylist([self._row(votes) for votes in some], schema=self.COLUMNS))
        table = pa.concat_tables(found)
        columns = {name: table[name] for name in self.COLUMNS.names}
        nulls = ", ".join(f"null as {quoted(name)}" for name in self.COLUMNS.names)
        others = f"select id, {nulls} from problems semi join wanted using (id) where not ({_compares()})"
        return self.viewed(groups, columns, arrow(work.con, others))

    def _votes(self, work: Work, group: Group) -> Iterator[Votes]:
        """The answers of every problem of a group, in its order."""
        place = pa.array(np.arange(group.problems.num_rows, dtype=np.int64))
        counts_cut_off = str(self.cut_off == "wrong").lower()
        with work.con.cursor() as cursor:
            cursor.register("numbered", group.problems.append_column("problem", place))
            graded = group.rollouts.graded(self.n, self.max_tokens, "numbered")
            # A cut-off sample has no answer, whatever stands in its middle. What is not let through may be anything.
            query = f"""
                with told as (
                    select problem_id, sample_index, outcome,
                        if(cut_off, null, nullif(trim(extracted, {literal(BLANKS)}), '')) as text
                    from {graded} as graded
                    where if(cut_off, {counts_cut_off}, not short and
                             (outcome in ('correct', 'wrong') or extracted is not null or reason = {literal(NO_REFERENCE)}))
                ), texts as (
                    select problem_id, text, count(*) as votes, min(sample_index) as earliest,
                        case when bool_or(outcome = 'correct') then true when bool_or(outcome = 'wrong') then false end as same
                    from told group by 1, 2
                )
                select id, answer, verifier, verifier_args, text, votes, same
                from numbered left join texts on problem_id = id order by problem, votes desc, earliest"""
            rows = (row for batch in batches(cursor, query, PROBLEMS) for row in batch.to_pylist())
            for _, found in itertools.groupby(rows, key=lambda row: row["id"]):
                texts = list(found)
                first = texts[0]
                known = sum(row["votes"] or 0 for row in texts)
                yield Votes(
                    self.n,
                    {"name": first["verifier"], "args": first["verifier_args"]},
                    [Answer(row["text"], row["votes"], row["same"]) for row in texts if row["text"] is not None],
                    unknown=self.n - known,
                    has_gold=bool(first["answer"] and first["answer"].strip()),
                )

    def _row(self, votes: Votes) -> dict[str, Any]:
        first = votes.first
        common = sorted([*votes.classes, *votes.left], key=lambda one: -one.votes)[:ANSWERS_KEPT]
        return {
            "gold_suspect": votes.suspect(self.agree),
            "consensus_answer": None if first is None else first.text,
            "consensus_votes": 0 if first is None else first.votes,
            "consensus_samples": votes.given,
            "consensus_share": votes.share,
            "consensus_answers": [
                {"answer": one.text[:LONGEST], "votes": one.votes, "same_as_gold": one.same} for one in common
            ],
        }

    def tell(self, work: Work, name: str, table: pa.Table) -> None:
        suspect = table["gold_suspect"].to_pylist()
        doubted, trusted, unknown = (f"{suspect.count(value):,}" for value in (True, False, None))
        work.progress.line(
            f"{name}: {doubted} gold answers are in doubt, {trusted} are not, {unknown} unknown or missing"
        )
        checked = count(
            work.con, f"problems semi join wanted using (id) where verifier is not null and not {_compares()}"
        )
        if checked:
            work.store.warn(
                f"{name}: {checked:,} problems name a verifier that compares no two answers; what samples agree on stays "
                f"unknown for them, and none is drawn. It is known for {', '.join(_comparing())}"
            )


def _comparing() -> list[str]:
    return [name for name in VERIFIERS if verifier(name).NEEDS_ANSWER]


def _compares() -> str:
    """SQL: whether the problem's verifier compares answers."""
    return f"(coalesce(verifier, '') in ({', '.join(literal(name) for name in _comparing())}))"


def _chunks(votes: Iterator[Votes]) -> Iterator[list[Votes]]:
    while some := list(itertools.islice(votes, PROBLEMS)):
        yield some
