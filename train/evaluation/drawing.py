"""A model's samples of some problems: drawn through the workspace like any rollouts, graded, and as rows.

So an evaluation resumes, more samples a problem draw only what is missing, and a longer limit goes on with what was cut off.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curation.annotate import Work, count
from curation.duck import arrow, literal
from curation.outcomes import Outcomes
from curation.rollouts import Rollouts, Sampling, Scored
from curation.sampled import Sampled
from curation.settling import never
from distill.thinking import split
from train.evaluation.estimates import Counted
from train.evaluation.settings import Condition, Evaluation

BLANKS = " \t\n\r\f\v"


class TaskError(ValueError):
    """A task cannot be asked as it is; the message begins with its name."""


@dataclass(frozen=True)
class Problems:
    """What a task asks."""

    rows: str
    """SQL: the columns of a problem, `source` and `row` among them, and those that results are told apart by."""
    by: tuple[str, ...] = ("source",)
    """Columns that results are told apart by."""
    prompt: Mapping[str, Any] = field(default_factory=dict)
    """How its prompts differ."""


@dataclass(frozen=True)
class Sample:
    """One answer of a model."""

    index: int
    outcome: str | None
    """correct, wrong, or error; None where it has no verdict."""
    extracted: str | None
    reason: str | None
    cut_off: bool
    tokens: int
    thinking: float
    """Share of its characters that is thinking."""
    budget_hit: bool | None
    logprob: float | None
    """Log-probability of the whole answer under the model; None where it is not known."""
    text: str
    reasoning: str | None

    @property
    def correct(self) -> bool | None:
        """Whether it is right: a sample that was cut off is not; None where that is not known."""
        if self.cut_off:
            return False
        return {"correct": True, "wrong": False}.get(self.outcome or "")


@dataclass
class Answered:
    """A problem and a model's answers to it."""

    id: str
    prompt: str
    answer: str | None
    verifier: str
    verifier_args: str | None
    by: dict[str, str | None]
    """What it is told apart by."""
    samples: list[Sample]
    asked: int
    """Samples that were to be drawn."""

    @property
    def counted(self) -> Counted:
        right = [sample.correct for sample in self.samples]
        return Counted(right.count(True), right.count(False), self.asked - right.count(True) - right.count(False))


class Answers(Sampled):
    """Draws all n samples of every problem."""

    NAME: ClassVar[str] = "evaluation"
    COLUMNS: ClassVar[pa.Schema] = pa.schema([])

    template: str | None = None
    """Text of the chat template that the model is served with in place of its own."""

    def patterns(self, work: Work) -> str:
        return f"(select id, '{never(self.n)}' as pattern from wanted)"

    logprobs: bool = True
    """Whether samples that are drawn now come with their log-probability."""

    def warn_of_cut_off(self, work: Work, name: str, outcomes: Outcomes) -> None:
        """Told once, of all models and tasks together (evaluate.py)."""

    def sampling(self) -> Sampling:
        plain = super().sampling()
        return Scored(**plain.model_dump()) if self.logprobs else plain

    def rollouts(self, work: Work, sources: list[str]) -> dict[str, Rollouts]:
        found = super().rollouts(work, sources)
        if self.template is None:
            return found
        return {
            source: replace(one, identity={**one.identity, "chat_template": self.template})
            for source, one in found.items()
        }

    def collect(self, work: Work, name: str, by: tuple[str, ...]) -> list[Answered]:
        """What is missing is drawn and graded; gives the problems in `wanted` with their samples, by id."""
        groups = self.groups(work)
        self.draw(work, name, groups)
        found: list[Answered] = []
        for group in groups:
            with work.con.cursor() as cursor:
                cursor.register("asked", group.problems)
                columns = ", ".join(f'"{column}"::varchar as "by {column}"' for column in by)
                query = f"""
                    select id, prompt, answer, verifier, verifier_args, {columns} from problems
                    semi join asked using (id) order by id"""
                problems = arrow(cursor, query).to_pylist()
                graded = group.rollouts.graded(self.n, self.max_tokens, "asked")
                query = f"""
                    select problem_id, sample_index, outcome, extracted, reason, cut_off, tokens, budget_hit,
                        text, reasoning, logprob
                    from {graded} where not short order by problem_id, sample_index"""
                samples: dict[str, list[Sample]] = {}
                for row in arrow(cursor, query).to_pylist():
                    samples.setdefault(row["problem_id"], []).append(_sample(row, self.max_tokens))
            for row in problems:
                told = {column: row.pop(f"by {column}") for column in by}
                found.append(Answered(**row, by=told, samples=samples.get(row["id"], []), asked=self.n))
        return sorted(found, key=lambda one: one.id)


def _sample(row: Mapping[str, Any], limit: int) -> Sample:
    text, reasoning = row["text"], row["reasoning"]
    thinking = split(text, reasoning).thinking or ""
    whole = len(text) + len(reasoning or "")
    return Sample(
        index=row["sample_index"],
        outcome=None if row["cut_off"] else row["outcome"],
        extracted=None if row["cut_off"] else ((row["extracted"] or "").strip(BLANKS) or None),
        reason=row["reason"],
        cut_off=row["cut_off"],
        tokens=min(row["tokens"], limit),
        thinking=len(thinking) / whole if whole else 0.0,
        budget_hit=row["budget_hit"],
        logprob=row["logprob"] if row["tokens"] <= limit else None,
        text=text,
        reasoning=reasoning,
    )


def answers(
    work: Work,
    name: str,
    problems: Problems,
    settings: Evaluation,
    condition: Condition,
    label: str,
    template: str | None,
) -> list[Answered]:
    """A model's answers to the task that `work` is about. name: the model's in `work`; template: the file of its chat template,
    where that is not its own.
    """
    sampling = settings.sampling.model_dump() | {"thinking_budget": condition.budget or None}
    text = None if template is None else Path(template).read_text(encoding="utf-8")
    asked = Answers(
        model=name,
        n=settings.n,
        max_tokens=settings.max_tokens,
        prompt=condition.prompt,
        template=text,
        logprobs=settings.logprobs,
        **sampling,
    )
    return asked.collect(work, label, problems.by)


def pose(work: Work, task: str, problems: Problems) -> int:
    """Has `work` be about a task's problems; gives how many there are. Raises TaskError."""
    work.con.execute(f"create or replace table problems as from ({problems.rows})")
    work.con.execute("create or replace table wanted as select id from problems")
    work.prompts = dict.fromkeys(
        [source for (source,) in work.con.execute("select distinct source from problems").fetchall()], problems.prompt
    )
    if not (there := count(work.con, "problems")):
        raise TaskError(f"{task}: has no problems")
    if without := count(work.con, "problems where verifier is null"):
        raise TaskError(
            f"{task}: {without:,} of {there:,} problems name no verifier, so nobody can grade their answers; give the task "
            "a `verifier` (math, exact, choice, ...), or leave them out with `where`"
        )
    unanswered = f"verifier in ({', '.join(map(literal, _comparing()))}) and coalesce(trim(answer), '') = ''"
    if without := count(work.con, f"problems where {unanswered}"):
        raise TaskError(
            f"{task}: {without:,} of {there:,} problems have no answer to compare with; say which column has it "
            "(`columns: {answer: ...}`), or leave them out with `where`"
        )
    return there


def _comparing() -> Iterator[str]:
    from curation.verify import VERIFIERS, verifier

    return (name for name in VERIFIERS if verifier(name).NEEDS_ANSWER)
