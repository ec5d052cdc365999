"""Which rollouts count, and which verdicts: on literal rows."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curation.duck import arrow
from curation.prompt import Prompt
from curation.rollouts import ROLLOUTS, VERDICTS, Rollouts, Sampling
from curation.store import Store
from curation.verify import exact

MODEL = {"repository": "org/name", "commit": "0" * 40}


@pytest.fixture
def rollouts(tmp_path: Path) -> Rollouts:
    return Rollouts(Store(str(tmp_path)), MODEL, Prompt(style="raw", stop=("\n",)), Sampling(temperature=0.7))


def drew(rollouts: Rollouts, *rows: dict[str, Any]) -> None:
    """One part, as one writer commits it. Samples ended by themselves unless they say otherwise."""
    usual = {"problem_id": "p", "text": "", "finish_reason": "stop", "max_tokens": 16, "token_ids": []}
    at = datetime(2026, 11, 22, tzinfo=UTC)
    filled = [usual | {"drawn_at": at} | row for row in rows]
    rollouts.store.append(rollouts.folder, pa.Table.from_pylist(filled, schema=ROLLOUTS))


def judged(rollouts: Rollouts, *rows: dict[str, Any]) -> None:
    usual = {"problem_id": "p", "verifier": "exact", "verifier_version": exact.VERSION, "reason": ""}
    filled = [usual | row for row in rows]
    rollouts.store.append(rollouts.verdict_folder, pa.Table.from_pylist(filled, schema=VERDICTS))


def chosen(rollouts: Rollouts, n: int = 4, max_tokens: int = 16) -> list[tuple[Any, ...]]:
    """(sample index, rollout, cut off, short), in the order of sample indexes."""
    asked = "(select unnest(['p', 'q']) as id)"
    query = f"select sample_index, rollout, cut_off, short from {rollouts.chosen(n, max_tokens, asked)} order by 1, 2"
    return [tuple(row.values()) for row in arrow(rollouts.store.connect(), query).to_pylist()]


def graded(rollouts: Rollouts) -> dict[str, str | None]:
    """Outcome by rollout, for one problem `p` graded by `exact`."""
    con = rollouts.store.connect()
    con.execute("create table problems as select 'p' as id, 'exact' as verifier")
    rows = arrow(con, f"select rollout, outcome from {rollouts.graded(4, 16, 'problems')}").to_pylist()
    assert len(rows) == len({row["rollout"] for row in rows})
    return {row["rollout"]: row["outcome"] for row in rows}


LENGTH = {"finish_reason": "length"}


def test_the_hash_of_today(rollouts: Rollouts) -> None:
    """Rollouts are filed under it: when it changes by accident, nobody finds theirs again."""
    assert rollouts.hash == "8f6519fc8e440a9d8d6a"


def test_n_and_max_tokens_are_no_part_of_the_hash_but_all_that_shapes_a_sample_is(rollouts: Rollouts) -> None:
    store, prompt, sampling = rollouts.store, rollouts.prompt, rollouts.sampling
    hashes = {
        rollouts.hash,
        Rollouts(store, MODEL | {"commit": "1" * 40}, prompt, sampling).hash,
        Rollouts(store, MODEL, prompt.merged({"stop": []}), sampling).hash,
        Rollouts(store, MODEL, prompt, Sampling(temperature=0.6)).hash,
    }
    assert len(hashes) == 4
    assert {"n", "max_tokens"}.isdisjoint(rollouts.settings["sampling"])


def test_nothing_drawn_is_nothing_chosen(rollouts: Rollouts) -> None:
    assert chosen(rollouts) == []


def test_samples_from_index_n_on_do_not_count(rollouts: Rollouts) -> None:
    drew(rollouts, *({"rollout": f"r{k}", "sample_index": k, "tokens": 5} for k in range(6)))
    assert [index for index, *_ in chosen(rollouts, n=4)] == [0, 1, 2, 3]


def test_of_two_writers_samples_of_one_index_one_counts(rollouts: Rollouts) -> None:
    drew(rollouts, {"rollout": "first", "sample_index": 0, "tokens": 5})
    drew(rollouts, {"rollout": "second", "sample_index": 0, "tokens": 7})
    counted = chosen(rollouts)
    assert len(counted) == 1
    parts = rollouts.store.parts(rollouts.folder)
    smaller_name = arrow(rollouts.store.connect(), f"select rollout from '{parts[0]}'").to_pylist()[0]
    assert counted[0][1] == smaller_name["rollout"]


def test_a_row_that_a_crash_while_merging_left_twice_counts_once(rollouts: Rollouts) -> None:
    for _ in range(2):
        drew(rollouts, {"rollout": "r", "sample_index": 0, "tokens": 5})
        judged(rollouts, {"rollout": "r", "outcome": "correct"})
    assert chosen(rollouts) == [(0, "r", False, False)]
    assert graded(rollouts) == {"r": "correct"}


def test_what_ended_comes_before_what_was_cut_off_then_the_longer(rollouts: Rollouts) -> None:
    drew(
        rollouts,
        {"rollout": "cut", "sample_index": 0, "tokens": 16, **LENGTH},
        {"rollout": "longer", "sample_index": 0, "tokens": 32, "max_tokens": 32, **LENGTH},
        {"rollout": "short", "sample_index": 1, "tokens": 16, **LENGTH},
        {"rollout": "ended", "sample_index": 1, "tokens": 20, "max_tokens": 32},
    )
    assert chosen(rollouts, max_tokens=32) == [(0, "longer", True, False), (1, "ended", False, False)]


def test_under_a_lower_limit_what_is_longer_counts_as_cut_off(rollouts: Rollouts) -> None:
    drew(
        rollouts,
        {"rollout": "fits", "sample_index": 0, "tokens": 8},
        {"rollout": "too long", "sample_index": 1, "tokens": 9},
        {"rollout": "cut", "sample_index": 2, "tokens": 16, **LENGTH},
    )
    assert chosen(rollouts, max_tokens=8) == [
        (0, "fits", False, False),
        (1, "too long", True, False),
        (2, "cut", True, False),
    ]


def test_under_a_higher_limit_what_was_cut_off_is_short_and_what_ended_stands(rollouts: Rollouts) -> None:
    drew(
        rollouts,
        {"rollout": "ended", "sample_index": 0, "tokens": 9},
        {"rollout": "cut", "sample_index": 1, "tokens": 16, **LENGTH},
    )
    assert chosen(rollouts, max_tokens=32) == [(0, "ended", False, False), (1, "cut", False, True)]


def test_where_one_cannot_go_on_all_samples_of_its_problem_are_drawn_again(rollouts: Rollouts) -> None:
    """Drawing only the cut-off ones again would favour short answers."""
    drew(
        rollouts,
        {"rollout": "ended", "sample_index": 0, "tokens": 9},
        {"rollout": "spent", "sample_index": 1, "tokens": 16, "token_ids": None, **LENGTH},
        {"rollout": "other", "problem_id": "q", "sample_index": 0, "tokens": 9},
    )
    assert chosen(rollouts, max_tokens=32) == [(0, "other", False, False)]
    assert [rollout for _, rollout, *_ in chosen(rollouts)] == ["ended", "other", "spent"]
    drew(rollouts, {"rollout": "again", "sample_index": 0, "tokens": 20, "max_tokens": 32})
    assert [rollout for _, rollout, *_ in chosen(rollouts, max_tokens=32)] == ["again", "other"]


def test_a_rollout_without_a_verdict_has_no_outcome(rollouts: Rollouts) -> None:
    drew(rollouts, {"rollout": "r", "sample_index": 0, "tokens": 5})
    assert graded(rollouts) == {"r": None}


def test_only_verdicts_of_the_problems_verifier_in_its_present_version_count(rollouts: Rollouts) -> None:
    drew(rollouts, *({"rollout": f"r{k}", "sample_index": k, "tokens": 5} for k in range(3)))
    judged(
        rollouts,
        {"rollout": "r0", "outcome": "correct"},
        {"rollout": "r1", "outcome": "correct", "verifier_version": exact.VERSION - 1},
        {"rollout": "r2", "outcome": "correct", "verifier": "math"},
        {"rollout": "r2", "outcome": "wrong"},
    )
    assert graded(rollouts) == {"r0": "correct", "r1": None, "r2": "wrong"}


def test_a_verdict_comes_before_an_error_of_the_grader(rollouts: Rollouts) -> None:
    drew(rollouts, {"rollout": "r", "sample_index": 0, "tokens": 5})
    judged(rollouts, {"rollout": "r", "outcome": "error"})
    assert graded(rollouts) == {"r": "error"}
    for _ in range(4):  # whatever their parts are called
        judged(rollouts, {"rollout": "r", "outcome": "error"})
    judged(rollouts, {"rollout": "r", "outcome": "correct"})
    assert graded(rollouts) == {"r": "correct"}
