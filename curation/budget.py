"""What a run may spend: hours, tokens or dollars, and what a model costs.

    Budget.parse("2h")  Budget.parse("50Mtok")  Budget.parse("200usd")

Sampling asks before every sample whether there is room for it. Tokens and dollars a token are counted as samples end, those
in flight at the mean of what came so far, so that the whole stays near what was given; hours, and dollars an hour, end at
their minute, and what is in flight then is drawn again by the next run.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
ENOUGH = 4
"""So many times as many samples as are in flight have to have ended for their mean to stand for these."""
FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(?:(s|m|min|h|d)|([kMGB]?)tok(?:ens)?|usd|\$)")


class BudgetError(ValueError):
    """A budget that cannot be read, or cannot be kept for want of a price."""


class BudgetSpent(RuntimeError):
    """The budget is spent: what was drawn is in the store, and the next run goes on from there."""


class Price(BaseModel):
    """What a model costs, in dollars."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    gpu_hour: float | None = Field(default=None, ge=0)
    """An hour of one GPU."""
    gpus: int | None = Field(default=None, gt=0)
    """GPUs that serve the model; by default one for each of its servers, or `tensor_parallel_size`."""
    prompt_mtok: float = Field(default=0.0, ge=0)
    """A million prompt tokens, where tokens are paid for."""
    completion_mtok: float | None = Field(default=None, ge=0)
    """A million tokens of answers, where tokens are paid for."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.gpu_hour is None) == (self.completion_mtok is None):
            raise ValueError(
                "takes gpu_hour (dollars an hour of one GPU) or completion_mtok (dollars a million tokens)"
            )
        return self

    def of(self, seconds: float, gpus: int, tokens: float, prompt_tokens: float) -> float:
        """Dollars for servers on `gpus` GPUs (unless the price says how many) for so long, or for so many tokens."""
        if self.gpu_hour is not None:
            return self.gpu_hour * (self.gpus or gpus) * seconds / 3600
        assert self.completion_mtok is not None
        return (self.completion_mtok * tokens + self.prompt_mtok * prompt_tokens) / 1e6


@dataclass
class Budget:
    """A limit, and what is spent of it."""

    limit: float
    kind: Literal["seconds", "tokens", "usd"]
    given: str
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)
    _spent: float = 0.0
    _samples: int = 0
    _hourly: list[tuple[float, float]] = field(default_factory=list)
    """Since when so many dollars a second are paid."""

    def __post_init__(self) -> None:
        self._started = self.clock()

    @classmethod
    def parse(cls, text: str) -> Self:
        found = FORM.fullmatch(text.strip())
        if found is None or not float(found[1]):
            raise BudgetError(
                f"{text!r} is no budget; give hours, tokens or dollars, such as 2h, 90min, 50Mtok, 200usd"
            )
        number, unit, size = found.groups()
        if unit is not None:
            return cls(float(number) * UNITS[unit], "seconds", text.strip())
        if size is not None:
            return cls(float(number) * SIZES[size], "tokens", text.strip())
        return cls(float(number), "usd", text.strip())

    def check(self, name: str, price: Price | None) -> None:
        """Raises BudgetError when what this model costs is not known and has to be."""
        if self.kind == "usd" and price is None:
            raise BudgetError(
                f"--budget {self.given}: what models.{name} costs is not known; give it a price, such as "
                "`price: {gpu_hour: 2.5}` or `price: {prompt_mtok: 0.5, completion_mtok: 1.5}`"
            )

    def hire(self, price: Price | None, gpus: int) -> None:
        """From now on, to the end of the run, servers are paid by the hour."""
        if price is not None and price.gpu_hour is not None:
            self._hourly.append((self.clock(), price.of(1.0, gpus, 0, 0)))

    def pay(self, price: Price | None, tokens: int, prompt_tokens: int) -> None:
        """Counts what is no sample: what a judge took."""
        self._spent += self._cost(price, tokens, prompt_tokens)

    def spend(self, price: Price | None, tokens: int, prompt_tokens: int) -> None:
        """Counts a sample."""
        self._samples += 1
        self.pay(price, tokens, prompt_tokens)

    def _cost(self, price: Price | None, tokens: int, prompt_tokens: int) -> float:
        """What samples spend, beside the time they take."""
        if self.kind == "tokens":
            return tokens
        if self.kind == "usd" and price is not None and price.gpu_hour is None:
            return price.of(0.0, 0, tokens, prompt_tokens)
        return 0.0

    @property
    def spent(self) -> float:
        now = self.clock()
        if self.kind == "seconds":
            return now - self._started
        return self._spent + sum((now - since) * rate for since, rate in self._hourly if self.kind == "usd")

    def room(self, in_flight: int, price: Price | None, max_tokens: int) -> bool:
        """Whether another sample may be drawn while so many are on their way; when none is, whether anything is left.

        Those that end first are the short ones, so until many have ended each may take max_tokens.
        """
        if not in_flight:
            return self.spent < self.limit
        many = self._samples >= ENOUGH * in_flight
        each = self._spent / self._samples if many else self._cost(price, max_tokens, 0)
        return self.spent + each * (in_flight + 1) <= self.limit

    @property
    def seconds_left(self) -> float | None:
        """When time alone ends it: the seconds until then. None when only samples spend it."""
        if self.kind == "seconds":
            return max(0.0, self.limit - self.spent)
        rate = sum(rate for _, rate in self._hourly) if self.kind == "usd" else 0.0
        return max(0.0, self.limit - self.spent) / rate if rate else None
