"""What graders said of many completions, counted as it passes: outcomes, reasons, agreement with labels, a few rows."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from curation.verify import Verdict
from curation.verify.agreement import OUTCOMES, Agreement
from flows.answered import Item

MOST_REASONS, TOLD_REASONS = 1000, 20
"""Different reasons that are counted apart, and that are told."""
SHOWN = 5
"""Rows that are kept of each kind of disagreement: the first ones."""
EXCERPT = 300


@dataclass
class Reasons:
    """How often each reason was given, and where first."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    """Row by reason."""

    def add(self, row: int, reason: str) -> None:
        reason = reason[:EXCERPT]
        if reason not in self.first and len(self.first) >= MOST_REASONS:
            reason = "another reason"
        self.counts[reason] += 1
        self.first.setdefault(reason, row)

    def told(self) -> list[dict[str, Any]]:
        common = self.counts.most_common(TOLD_REASONS)
        return [{"reason": reason, "count": count, "first_row": self.first[reason]} for reason, count in common]


class Disagreement(NamedTuple):
    """A verdict that is not as its label says."""

    row: int
    label: str
    outcome: str
    answer: str | None
    extracted: str | None
    reason: str
    completion: str
    """Its end, where an answer stands."""


@dataclass
class Tally:
    """What one grader said of all completions."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """By verifier."""
    errors: Reasons = field(default_factory=Reasons)
    empty: Reasons = field(default_factory=Reasons)
    """Completions without a word that were called wrong, apart from those that say something."""
    agreement: Agreement = field(default_factory=Agreement)
    disagreements: list[Disagreement] = field(default_factory=list)

    def take(self, row: int, verifier: str, item: Item, verdict: Verdict) -> None:
        """Counts the verdict on a completion of a row."""
        self.outcomes.setdefault(verifier, Counter())[verdict.outcome] += 1
        if verdict.outcome == "error":
            self.errors.add(row, verdict.reason)
        elif verdict.outcome == "wrong" and item.job is not None and not item.job.completion.strip():
            self.empty.add(row, "the completion is empty")
        if item.label is None or item.job is None:
            return
        self.agreement.add(item.label, verdict.outcome)
        label = "right" if item.label else "wrong"
        disagrees = verdict.outcome == ("wrong" if item.label else "correct")
        if disagrees and sum(other.label == label for other in self.disagreements) < SHOWN:
            answer, extracted, reason = (_cut(t) for t in (item.job.answer, verdict.extracted, verdict.reason))
            completion = item.job.completion[-EXCERPT:]
            self.disagreements.append(
                Disagreement(row, label, verdict.outcome, answer, extracted, reason or "", completion)
            )

    def told(self) -> dict[str, Any]:
        """All of it as plain JSON; what depends on labels is None without any."""
        labelled, found = self.agreement.labelled > 0, self.agreement
        disagreed = found.false_accepts.count + found.false_rejects.count
        return {
            "verdicts": {name: {o: counts[o] for o in OUTCOMES} for name, counts in sorted(self.outcomes.items())},
            "errors": self.errors.told(),
            "empty": self.empty.told(),
            "agreement": self.agreement.told() if labelled else None,
            "disagreements": [one._asdict() for one in sorted(self.disagreements, key=lambda one: one.row)],
            "disagreements_left_out": disagreed - len(self.disagreements),
        }


def _cut(text: str | None) -> str | None:
    return text if text is None else text[:EXCERPT]
