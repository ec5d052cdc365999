"""A hundred thousand random and mutated answers through extraction and comparison, in the pool. Ten minutes.

Each is graded both ways. Nothing is lost, no worker dies, no answer is an error other than by its deadline or because it
cannot be read, and what is equal one way is equal the other, decimals and commas apart.
"""

import re
import sys
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "curation" / "verify"))
from strange import answers, mutated, texts

from curation.verify.pool import GraderPool, Job

BATCH = 100
BATCHES = 500  # times two ways
ASYMMETRIC = re.compile(r"\d[.,]\d|[A-Za-z]{2}|[,;=%$&]|\\text|½|approx|[.][0-9]")


def test_a_hundred_thousand_answers() -> None:
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with GraderPool(cpu_seconds=5, preload=["math"]) as pool:

        @seed(4)
        @settings(max_examples=BATCHES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.tuples(mutated() | answers, texts | mutated() | answers), min_size=BATCH, max_size=BATCH))
        def both_ways(pairs: list[tuple[str, str]]) -> None:
            there = list(pool.grade_many(Job("math", a, f"\\boxed{{{b}}}") for a, b in pairs))
            back = list(pool.grade_many(Job("math", b, f"\\boxed{{{a}}}") for a, b in pairs))
            for (a, b), one, other in zip(pairs, there, back, strict=True):
                outcomes.update([one.outcome, other.outcome])
                reasons.update(verdict.reason[:40] for verdict in (one, other) if verdict.outcome == "error")
                if "correct" in (one.outcome, other.outcome) and not ASYMMETRIC.search(a + b):
                    assert one.outcome == other.outcome, (a, b, one, other)

        both_ways()
        assert pool.counts.died == 0
    print(dict(outcomes), reasons.most_common(20), sep="\n")
    assert outcomes.total() >= 2 * BATCH * BATCHES
    broken = {reason for reason in reasons if reason.split(":")[0].endswith("Error")}
    assert broken <= {"RecursionError: maximum recursion depth ex"}, broken
