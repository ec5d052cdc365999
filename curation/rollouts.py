"""Rollouts and verdicts as they lie in the store, and which of them count.

A rollout is one sample of one model on one problem, filed under the hash of everything that shapes it: model identity,
prompt, sampling parameters. Not in the hash: how many are drawn and `max_tokens`, as both can grow without drawing again.
A verdict belongs to one rollout and one version of one verifier; a new grader regrades, it never redraws.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from curation.duck import literal
from curation.prompt import Prompt
from curation.store import SETTINGS, Store, settings_hash
from curation.verify import JUDGE, VERIFIERS, version

# Raised when the same settings would ask a model for something else.
VERSION = 1

ROLLOUTS = pa.schema(
    [
        pa.field("rollout", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("reasoning", pa.string()),
        pa.field("token_ids", pa.list_(pa.int32())),
        pa.field("tokens", pa.int32()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("finish_reason", pa.string(), nullable=False),
        pa.field("max_tokens", pa.int32(), nullable=False),
        pa.field("budget_hit", pa.bool_()),
        pa.field("continues", pa.string()),
        pa.field("engine", pa.string()),
        pa.field("engine_version", pa.string()),
        pa.field("dtype", pa.string()),
        pa.field("drawn_at", pa.timestamp("ms", "UTC"), nullable=False),
        pa.field("logprob", pa.float64()),
    ]
)
"""`text` is what follows the prompt (what the server parsed off as thinking is in `reasoning`), `tokens` its length with
thinking, `finish_reason` is stop or length, `budget_hit` whether the thinking was ended at its budget (NULL without one),
`continues` the cut-off rollout that this one carries on, `logprob` the sum of its tokens' log-probabilities as the server
gives them (vLLM: under the model itself, at temperature 1 and before any cut of the distribution); NULL where they were not
asked for, or tokens are put in its mouth."""

VERDICTS = pa.schema(
    [
        pa.field("rollout", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("verifier", pa.string(), nullable=False),
        pa.field("verifier_version", pa.int32(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("extracted", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


class Sampling(BaseModel):
    """Sampling parameters. They are sent with every request: a server's own defaults never count."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    LOGPROBS: ClassVar[bool] = False
    """Whether the server is asked for log-probabilities."""

    temperature: float = Field(default=1.0, ge=0)
    """0 is greedy; RL samples at 1.0."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of probability sampled from."""
    top_k: int = Field(default=-1, ge=-1)
    """Number of tokens sampled from; -1 is all."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Least probability of a token, relative to the likeliest."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1, tokens seen before become less likely."""
    presence_penalty: float = 0.0
    """Above 0, tokens seen in the answer become less likely."""
    frequency_penalty: float = 0.0
    """Above 0, tokens become less likely each time they are seen in the answer."""
    thinking_budget: int | None = Field(default=None, gt=0)
    """Tokens after which thinking that is still open is ended by a sentence, for the model to answer; by default never."""

    def sent(self) -> dict[str, Any]:
        """What of it a request carries; the budget is kept by whoever asks (continuing.py)."""
        return self.model_dump(exclude={"thinking_budget"})


class Scored(Sampling):
    """The same, and every sample comes with its log-probability. It changes no sample, so it is part of no hash."""

    LOGPROBS: ClassVar[bool] = True


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of one model under one prompt and one set of sampling parameters, as they lie in a workspace."""

    store: Store
    identity: Mapping[str, Any]
    prompt: Prompt
    sampling: Sampling
    version: int = VERSION
    judge: str | None = None
    """Hash of the judge whose verdicts count, for problems that name one."""

    @classmethod
    def filed(cls, store: Store, name: str, judge: str | None = None) -> Self:
        """Those that lie under a hash, by the settings beside them. Raises FileNotFoundError when there are none."""
        settings = store.read_json(store.path("rollouts", name, SETTINGS))
        if settings is None:
            raise FileNotFoundError(store.path("rollouts", name, SETTINGS))
        prompt, sampling = Prompt.model_validate(settings["prompt"]), Sampling.model_validate(settings["sampling"])
        return cls(store, settings["model"], prompt, sampling, settings["version"], judge)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "model": dict(self.identity),
            "prompt": self.prompt.model_dump(mode="json", exclude_defaults=True),
            "sampling": self.sampling.model_dump(mode="json", exclude_defaults=True),
        }

    @property
    def hash(self) -> str:
        return settings_hash(self.settings)

    @property
    def folder(self) -> str:
        return self.store.path("rollouts", self.hash)

    @property
    def verdict_folder(self) -> str:
        return self.store.path("verdicts", self.hash)

    def declare(self) -> None:
        self.store.declare(self.folder, self.settings)
        self.store.declare(self.verdict_folder, self.settings)

    def chosen(self, n: int, max_tokens: int, problems: str) -> str:
        """SQL for one rollout per problem and sample index below n, as if drawn with this `max_tokens`.

        problems: SQL with the ids.

        `cut_off`: it did not end within max_tokens. `short`: it was cut off at a smaller limit and has to go on.

        Of several rollouts of one index the first of: not cut off, the larger max_tokens, the smaller part name. Where a
        cut-off rollout cannot go on (its server gave no token ids), every rollout of that problem drawn under its limit
        is left out, and all are drawn again: redrawing only the cut-off ones would favour short answers.
        """
        rows = self.store.scan(self.folder, ROLLOUTS)
        return f"""(
            with r as (select * from {rows} where sample_index < {n} and problem_id in (select id from {problems})),
            spent as (
                select problem_id, max(max_tokens) as spent_limit from r
                where finish_reason = 'length' and token_ids is null and max_tokens < {max_tokens} group by 1)
            select r.*, tokens > {max_tokens} or (finish_reason = 'length' and max_tokens >= {max_tokens}) as cut_off,
                finish_reason = 'length' and max_tokens < {max_tokens} as short
            from r left join spent using (problem_id)
            where max_tokens > coalesce(spent_limit, -1)
            qualify row_number() over (partition by problem_id, sample_index
                order by finish_reason = 'length', max_tokens desc, filename, rollout) = 1)"""

    def filed_as(self, verifier: str) -> tuple[str, int]:
        """The `verifier` and `verifier_version` of its verdicts. All that shapes those of a judge is in its hash."""
        return (f"{JUDGE}-{self.judge}", 1) if verifier == JUDGE else (verifier, version(verifier))

    def graded(self, n: int, max_tokens: int, problems: str, retry_errors: bool = False) -> str:
        """SQL: `chosen` with the verdict of the problem's verifier in its present version.

        Adds outcome, extracted, reason; NULL where there is no verdict yet. problems: SQL with id and verifier. Of two
        verdicts on one rollout one that is no error counts, then the one in the part with the smaller name.
        retry_errors: whether an error is as good as no verdict.
        """
        names = [*VERIFIERS, *([JUDGE] if self.judge is not None else [])]
        filed = {name: self.filed_as(name) for name in names}
        known = ", ".join(f"({literal(name)}, {literal(under)}, {present})" for name, (under, present) in filed.items())
        return f"""(
            select chosen.*, verdict.outcome, verdict.extracted, verdict.reason
            from {self.chosen(n, max_tokens, problems)} as chosen
            join (select id, verifier from {problems}) as problem on problem.id = chosen.problem_id
            left join (
                select rollout, known.name as verifier, outcome, extracted, reason
                from {self.store.scan(self.verdict_folder, VERDICTS)} as v
                join (values {known}) as known(name, filed, present)
                    on v.verifier = known.filed and v.verifier_version = known.present
                where {not retry_errors} or outcome <> 'error'
                qualify row_number() over (
                    partition by rollout, known.name order by outcome = 'error', filename) = 1
            ) as verdict on verdict.rollout = chosen.rollout and verdict.verifier = problem.verifier)"""
