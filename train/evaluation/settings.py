"""How models are evaluated: the section `evaluate` of a recipe.

evaluate:
  n: 8
  max_tokens: 8192
  tasks:
    test: {}                                          the dataset's own problems that were held out
    aime24: {}                                        a benchmark by its shipped name, from the Hub
    mine: {jsonl: exam.jsonl, verifier: math}         any source
  modes:
    think: {template: "{prompt} /think"}
    plain: {template: "{prompt} /no_think"}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from curation.decontamination.benchmarks import SHIPPED
from curation.prompt import EMPTY_THINK, Prompt
from curation.rollouts import Sampling
from curation.source import KINDS, Source

TEST = "test"
GRADED = ("gsm8k", "math500", "aime24", "aime25", "amc", "amc23", "olympiadbench")
"""Shipped benchmarks whose answers a verifier can grade as they are: `math`."""
MATH = "math"


class HeldOut(BaseModel):
    """The dataset's own problems that were set aside (`holdout`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    where: str | None = None
    """SQL condition over the columns of decisions.parquet: which of them are asked."""
    every: bool = False
    """Also those that a rule dropped."""


class Evaluation(Sampling):
    """What is asked of every model, and how often."""

    n: int = Field(default=4, gt=0, le=1024)
    """Samples a problem. The fewer problems a task has the more each needs: papers take 32 to 64 for the 30 of an AIME."""
    max_tokens: int = Field(default=1024, gt=0, lt=1 << 31)
    """Length at which an answer is cut off, and counts as wrong. A larger one later goes on with what was cut off."""
    prompt: dict[str, Any] = Field(default={})
    """How problems are put, where that is not as the recipe's student is asked: keys of a model's `prompt`."""
    tasks: dict[str, HeldOut | Source] = Field(default={TEST: HeldOut()})
    """What is asked, by name: `test: {}` is the dataset's own; a shipped benchmark by its name alone; or any source."""
    modes: dict[str, dict[str, Any]] = Field(default={"": {}})
    """Ways of asking that are told apart, by name: what each changes in the prompt."""
    logprobs: bool = True
    """Ask for the log-probabilities of what is drawn, for calibration; a server that has none may refuse."""
    budgets: tuple[int | None, ...] = ()
    """Thinking budgets that are compared, in tokens: 0 puts an empty think block in the model's mouth, null sets no bound."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return {name: _task(str(name), one) for name, one in given.items()} if isinstance(given, Mapping) else given

    @field_validator("modes", mode="before")
    @classmethod
    def _one_at_least(cls, given: Any) -> Any:
        return given or {"": {}}

    @field_validator("modes")
    @classmethod
    def _are_prompts(cls, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, changes in given.items():
            _check_prompt(changes, f"mode {name}: ")
        return given

    @field_validator("prompt")
    @classmethod
    def _is_prompt(cls, given: dict[str, Any]) -> dict[str, Any]:
        _check_prompt(given, "")
        return given

    @field_validator("budgets")
    @classmethod
    def _each_once(cls, given: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if len(set(given)) < len(given):
            raise ValueError("names a budget twice; each is compared once")
        return given

    @model_validator(mode="after")
    def _fits(self) -> "Evaluation":
        if not self.temperature and self.n > 1:
            raise ValueError(f"n: {self.n} greedy samples are one and the same; give n: 1, or a temperature above 0")
        if self.budgets and self.thinking_budget is not None:
            raise ValueError("give one of thinking_budget and budgets")
        for budget in (*self.budgets, self.thinking_budget):
            if budget is not None and not 0 <= budget < self.max_tokens:
                raise ValueError(
                    f"a thinking budget of {budget} leaves no room for an answer within max_tokens ({self.max_tokens})"
                )
        return self

    @property
    def sampling(self) -> Sampling:
        return Sampling(**{name: getattr(self, name) for name in Sampling.model_fields})

    @property
    def conditions(self) -> "list[Condition]":
        """Every mode, with every budget."""
        given = self.budgets or (self.thinking_budget,)
        return [Condition(mode, {**self.prompt, **changes}, b) for mode, changes in self.modes.items() for b in given]


@dataclass(frozen=True)
class Condition:
    """One way of asking."""

    mode: str
    changes: Mapping[str, Any]
    """What it changes in the prompt of the model."""
    budget: int | None
    """Tokens of thinking; 0 for none."""

    @property
    def prompt(self) -> dict[str, Any]:
        return {**self.changes, **({"prefill": EMPTY_THINK} if self.budget == 0 else {})}


def _check_prompt(changes: Mapping[str, Any], where: str) -> None:
    """Raises ValueError for what is no change of a prompt."""
    try:
        Prompt().merged(changes)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"]))
        unknown = f"is no key of a prompt (those are {', '.join(Prompt.model_fields)})"
        why = unknown if wrong["type"] == "extra_forbidden" else wrong["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}{key}: {why}") from None


def _task(name: str, given: Any) -> Any:
    """What is meant by a task's settings under this name."""
    if given is not None and not isinstance(given, Mapping):
        return given
    settings = dict(given or {})
    if any(settings.get(kind) is not None for kind in KINDS):
        return Source.model_validate(settings)
    if name == TEST:
        return HeldOut.model_validate(settings)
    if name not in GRADED:
        why = f"; the answers of {name} cannot be graded as they are" if name in SHIPPED else ""
        raise ValueError(
            f"{name!r} is no benchmark that is shipped with answers ({', '.join(GRADED)}){why}; say where its problems are, "
            f"with one of {', '.join(KINDS)}"
        )
    benchmark = {"split": "test", "verifier": MATH, **SHIPPED[name]}
    columns = {**benchmark.get("columns", {}), **(settings.get("columns") or {})}
    return Source.model_validate({**benchmark, **settings, "columns": columns})
