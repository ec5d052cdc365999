"""What the annotators that sample a model have in common: which rollouts are theirs, and drawing what is missing.

Their columns are views over rollouts and verdicts, never stored: raising n or max_tokens, another rule, or a new grader
change what is missing, not what is there.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curation.annotate import Annotator, HowItRuns, Work, count
from curation.client import Client
from curation.duck import literal, mapped
from curation.grading import grade_missing
from curation.model import Model, api_key, identity
from curation.outcomes import CUT_OFF, ERROR, MISSING, Outcomes
from curation.prompt import Prompt
from curation.rollouts import Rollouts, Sampling
from curation.sampling import Sampler, Tally
from curation.standing import NEEDED, Group, Standing, ids, standing

CUT_OFF_WARNING = 0.1


class Sampled(Annotator, Sampling):
    """Draws n samples of a problem from a model, or as many as settle it."""

    UNIT: ClassVar[str] = "samples"
    WHEN_CUT_OFF: ClassVar[str] = (
        "raise it if RL will use a larger one (cut-off samples are continued, not drawn again)"
    )
    """What to do when many samples are cut off."""
    SAMPLED: ClassVar[str] = "verifier is not null"
    """SQL for the problems that are sampled."""

    model: str
    """Which of the recipe's models is sampled."""
    n: int = Field(gt=0, le=1024)
    """Samples a problem, at most."""
    max_tokens: int = Field(gt=0, lt=1 << 31)
    """Length at which a sample is cut off."""
    prompt: dict[str, Any] = Field(default={})
    """How prompts differ from the model's `prompt`, key by key."""
    cut_off: Literal["wrong", "unknown"] = "wrong"
    """What a sample cut off at max_tokens counts as: wrong at the length that RL will use, unknown below it."""
    patience: Annotated[float, HowItRuns()] = Field(default=120.0, gt=0)
    """Seconds without any reply after which the servers count as gone."""

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.thinking_budget is not None and self.thinking_budget >= self.max_tokens:
            raise ValueError(
                f"thinking_budget ({self.thinking_budget}) leaves no room for an answer within max_tokens ({self.max_tokens})"
            )
        return self

    def sampling(self) -> Sampling:
        return Sampling(**{name: getattr(self, name) for name in Sampling.model_fields})

    def prompt_of(self, model: Model, changes: Mapping[str, Any]) -> Prompt:
        """The prompt for a source; changes: how it differs there."""
        return model.prompt.merged({**self.prompt, **changes})

    def rollouts(self, work: Work, sources: list[str]) -> dict[str, Rollouts]:
        """Which rollouts are those of this annotator, by source."""
        model = work.models[self.model]
        known = identity(model)
        if known.get("unpinned"):
            work.store.warn(
                f"model {self.model!r}: what {', '.join(model.urls)} serves is not pinned; its samples are kept apart from "
                f"pinned ones. Give models.{self.model}.revision to say which weights it serves"
            )
        prompts = {source: self.prompt_of(model, work.prompts.get(source, {})) for source in sources}
        judge = None if work.judge is None else work.judge.hash
        return {
            source: Rollouts(work.store, known, prompt, self.sampling(), judge=judge)
            for source, prompt in prompts.items()
        }

    def groups(self, work: Work) -> list[Group]:
        """The problems to sample, by the rollouts they belong to: sources with the same prompt share a group."""
        gradable = f"problems join {self.patterns(work)} using (id) where {self.SAMPLED}"
        sources = [source for (source,) in work.con.execute(f"select distinct source from {gradable}").fetchall()]
        by_hash: dict[str, tuple[Rollouts, list[str]]] = {}
        for source, rollouts in self.rollouts(work, sorted(sources)).items():
            by_hash.setdefault(rollouts.hash, (rollouts, []))[1].append(literal(source))
        columns = f"{', '.join(NEEDED)}, pattern, row"
        return [
            Group(
                rollouts,
                mapped(work.con, f"select {columns} from {gradable} and source in ({', '.join(names)})", work.folder),
            )
            for rollouts, names in by_hash.values()
        ]

    def patterns(self, work: Work) -> str:
        """SQL with id and pattern (settling.py) of the wanted problems that are to be sampled."""
        raise NotImplementedError  # every kind has its own

    def view(self, work: Work, groups: list[Group], outcomes: Outcomes) -> pa.Table:
        """`id` and COLUMNS for every wanted problem, whatever is known of its samples."""
        raise NotImplementedError  # every kind has its own

    def viewed(self, groups: list[Group], columns: Mapping[str, pa.Array], others: pa.Table) -> pa.Table:
        """The view. columns: of the problems in `groups`; others: rows of those that are not sampled."""
        table = pa.table({"id": ids(groups), **columns})
        return pa.concat_tables([part.cast(self.table_schema()) for part in (table, others)])

    def tell(self, work: Work, name: str, table: pa.Table) -> None:
        """Says what else is noteworthy of what was measured."""

    def measure(self, work: Work, name: str) -> pa.Table:
        groups = self.groups(work)
        table = self.view(work, groups, self.draw(work, name, groups))
        self.tell(work, name, table)
        return table

    def stored(self, work: Work) -> pa.Table:
        """`id` and COLUMNS of the wanted problems that are settled, or that nothing can grade."""
        groups = self.groups(work)
        outcomes = self.standing(work, groups).outcomes
        is_open = ids(groups).filter(pa.array(np.frombuffer(outcomes.closed, np.uint8) == 0))
        table = self.view(work, groups, outcomes)
        return table.filter(pc.invert(pc.is_in(table["id"], is_open)))

    def standing(self, work: Work, groups: list[Group], retry_errors: bool = False) -> Standing:
        return standing(work.con, groups, self.n, self.max_tokens, self.cut_off == "wrong", retry_errors)

    def failed(self, groups: list[Group], outcomes: Outcomes) -> int:
        """Samples whose grader failed."""
        return outcomes.codes.count(ERROR)

    def draw(self, work: Work, name: str, groups: list[Group]) -> Outcomes:
        """Draws and grades what is missing, and gives what is known then."""
        known = self.standing(work, groups, work.retry_errors)
        if grade_missing(work, name, groups, known):  # first: it may settle all
            known = self.standing(work, groups)
        if known.open:
            self._sample(work, name, groups, known)  # what it learns is in `known` too
        else:
            work.progress.line(f"{name}: nothing is missing, nothing is sampled")
        for group in groups:
            work.store.merge(group.rollouts.folder)
            work.store.merge(group.rollouts.verdict_folder)
        ungradable = count(work.con, f"problems semi join wanted using (id) where not ({self.SAMPLED})")
        if ungradable:
            work.store.warn(
                f"{name}: {ungradable} problems name no verifier and are not sampled; what it measures stays unknown for "
                "them. Give their source a `verifier`"
            )
        self.warn_of_cut_off(work, name, known.outcomes)
        if errors := self.failed(groups, known.outcomes):
            work.store.warn(
                f"{name}: {errors:,} {self.UNIT} are neither right nor wrong, as their grader failed; `cuvee why` gives the "
                "reasons, `cuvee run --retry-errors` grades them again"
            )
        return known.outcomes

    def _sample(self, work: Work, name: str, groups: list[Group], known: Standing) -> None:
        model, missing = work.models[self.model], known.missing
        servers = work.servers(model)
        if work.budget is not None:
            work.budget.hire(model.price, model.serve.tensor_parallel_size * len(servers))
        client = Client(servers, api_key(model), model.concurrency, self.patience, work.progress.line)
        with work.progress.step(name, missing, self.UNIT) as step:
            graders = work.graders()
            before = graders.cost.told()
            sampler = Sampler(work.con, client, graders, groups, known, self.max_tokens, step, work.budget, model.price)
            try:
                sampler.run()
            finally:
                _report(work, name, sampler.tally, missing)
                judged = {key: value - before[key] for key, value in graders.cost.told().items()}
                work.drawn[name] |= {f"judge_{key}": value for key, value in judged.items() if value}

    def warn_of_cut_off(self, work: Work, name: str, outcomes: Outcomes) -> None:
        """Says so when many samples were cut off."""
        cut_off, missing = (outcomes.codes.count(code) for code in (CUT_OFF, MISSING))
        drawn = len(outcomes.codes) - missing
        if cut_off > CUT_OFF_WARNING * drawn:
            counts = "count as failures" if self.cut_off == "wrong" else "stay unknown"
            work.store.warn(
                f"{name}: {cut_off / drawn:.0%} of the {self.UNIT} were cut off at max_tokens={self.max_tokens} and {counts}; "
                f"{self.WHEN_CUT_OFF}"
            )


def _report(work: Work, name: str, tally: Tally, missing: int) -> None:
    work.drawn[name] = {
        "drawn": tally.drawn,
        "continued": tally.continued,
        "aborted": tally.aborted,
        "missing": missing,
        "tokens": tally.tokens,
        "prompt_tokens": tally.prompt_tokens,
    }
    if tally.refused:
        problem_id, reason = next(iter(tally.refused.items()))
        work.store.warn(
            f"{name}: the server refused {len(tally.refused)} problems, which stay unknown; "
            f"the first is {problem_id}: {reason}"
        )
