"""Inputs that break graders: each is answered within its deadline, and none is correct by accident."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pathological import PATHOLOGICAL

from curation.verify.pool import GraderPool, Job


@pytest.mark.parametrize("answer", ["5", r"\frac{x+1}{2}"])
def test_all_are_answered_and_none_is_correct(pool: GraderPool, answer: str) -> None:
    verdicts = pool.grade_many(Job("math", answer, completion) for completion in PATHOLOGICAL.values())
    accepted = [name for name, verdict in zip(PATHOLOGICAL, verdicts, strict=True) if verdict.outcome == "correct"]
    assert accepted == []


def test_a_hostile_reference_is_answered_too(pool: GraderPool) -> None:
    verdicts = pool.grade_many(Job("math", answer, r"\boxed{4}") for answer in PATHOLOGICAL.values())
    accepted = [name for name, verdict in zip(PATHOLOGICAL, verdicts, strict=True) if verdict.outcome == "correct"]
    assert accepted == []
