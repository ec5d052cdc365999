"""What selecting came to: sizes before and after, and targets that were missed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from curation.sql import short
from distill.selecting.budgets import Ordered, Quotas
from distill.selecting.targets import Select, Unit


class Size(NamedTuple):
    """How much of a set."""

    problems: int
    rows: int
    tokens: int
    """Trained tokens of the student."""


@dataclass(frozen=True)
class Missed:
    """A target that was not met."""

    target: str
    """What the recipe calls it: `rows`, `mix.general`."""
    wanted: int
    got: int
    of: Unit
    why: str

    def __str__(self) -> str:
        return f"select.{short(self.target)}: {self.wanted:,} {self.of} wanted, {self.got:,} got: {self.why}"


@dataclass(frozen=True)
class Chosen:
    """What selecting came to."""

    settings: dict[str, Any]
    before: dict[str, Size]
    """Candidates by split."""
    after: dict[str, Size]
    """Those that stay."""
    groups: dict[str, dict[str, Size]]
    """Of the train split `before` and `after` by group of the mix; empty without one."""
    dropped: dict[str, int]
    """Traces by the reason they go for."""
    missed: list[Missed]

    def record(self) -> dict[str, Any]:
        """As the manifest has it."""
        sizes = {
            key: {name: size._asdict() for name, size in getattr(self, key).items()} for key in ("before", "after")
        }
        groups = {name: {key: size._asdict() for key, size in both.items()} for name, both in self.groups.items()}
        return asdict(self) | sizes | {"groups": groups}


def missed_of(
    select: Select, ordered: Ordered, quotas: Quotas | None, taken: int, known: Sequence[str]
) -> list[Missed]:
    """Budgets that are not reached as nothing is left, and groups with less than their share.

    taken: traces of train that stay, where there is no mix. known: groups there are, those with shares first.
    """
    there = len(ordered.lengths)
    if quotas is None or select.mix is None:
        if taken < there:
            return []
        why = "the rules keep no more" if select.k is None else f"the rules and k: {select.k} leave no more"
        budgets: list[tuple[Unit, int | None, int]] = [
            ("rows", select.rows, there),
            ("tokens", select.tokens, int(ordered.lengths.sum())),
        ]
        return [Missed(of, want, got, of, why) for of, want, got in budgets if want is not None and got < want]
    got = quotas.taken if quotas.of == "rows" else ordered.tokens_of(quotas.taken)
    all_there = bool(ordered.rows.all())
    missed = []
    for name, wanted, has, stay, rows in zip(
        select.mix.shares, quotas.quotas, got, quotas.taken, ordered.rows, strict=True
    ):
        if rows == 0:
            others = ", ".join(short(other, 40) for other in known if other != name)
            why = f"no trace of train is in this group; groups are {others}"
        elif stay == rows:
            why = "it has no more" + (
                f"; the shares hold up to {quotas.holds:,} {quotas.of} in all" if all_there else ""
            )
        else:
            why = "its first trace is longer than that"
        if has < wanted and stay in (0, rows):
            missed.append(Missed(f"mix.{name}", int(wanted), int(has), quotas.of, why))
    return missed
