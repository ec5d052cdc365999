"""A run that is killed with the engine it started: no process lives on, and the next run draws what is missing."""

from pathlib import Path

import pytest
from killing import Run, parts
from lab import Lab


@pytest.mark.model
def test_vllm_is_killed_with_its_run_and_the_next_run_draws_what_is_missing(tmp_path: Path, model_folder: Path) -> None:
    lab = Lab(tmp_path, {"model": str(model_folder), "revision": None, "serve": {"max_model_len": 512}})
    lab.recipe["sources"] = {"sums": {"reasoning_gym": "chain_sum", "size": 8, "seed": 1}}
    lab.policy["prompt"]["stop"] = []
    lab.recipe["annotate"]["pass_rate"] |= {"n": 8, "max_tokens": 48}
    run = Run(lab)
    try:
        run.kill_when(lambda: parts(lab, "rollouts") >= 1, within=240)
        run.assert_gone(within=10)
    finally:
        run.end()
    kept = len(lab.stored("rollouts"))
    assert 0 < kept < 64
    outcome = lab()
    assert outcome.drawn["pass_rate"]["drawn"] == 64 - kept
    rollouts = lab.stored("rollouts")
    assert len({(row["problem_id"], row["sample_index"]) for row in rollouts}) == len(rollouts) == 64
