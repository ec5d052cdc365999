"""A stage of RL, from a recipe to a model that solves what it has not seen; killed, it goes on as if it had not been."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from digits_recipe import RIGHT, Digits
from rl_on_digits import taught
from safetensors.torch import load_file, save_file

from flows.cli import main
from train import worker
from train.run import Run


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A model this small is slower on two threads, and two threads may add up otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"], before = "1", os.environ.get("OMP_NUM_THREADS")
    yield
    torch.set_num_threads(threads)
    os.environ.pop("OMP_NUM_THREADS")
    if before is not None:
        os.environ["OMP_NUM_THREADS"] = before


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught(tmp_path_factory.mktemp("start"))


def said(run: Run) -> list[dict[str, Any]]:
    """The metrics without what depends on the clock."""
    timed = ("time", "peak_memory", "step_time")
    return [{name: one for name, one in line.items() if name not in timed} for line in run.metrics()]


def kept(run: Run) -> list[dict[str, Any]]:
    """The rollouts of a run, without when they were drawn."""
    lines = (run.folder / "rollouts" / "0.jsonl").read_text().splitlines()
    return [{name: one for name, one in json.loads(line).items() if name != "drawn_at"} for line in lines]


def weights(run: Run) -> dict[str, torch.Tensor]:
    assert run.model is not None, run.error()
    return dict(load_file(run.model / "model.safetensors"))


def test_a_stage_raises_the_accuracy_on_problems_that_it_has_not_seen(start: Path, tmp_path: Path) -> None:
    digits = Digits(tmp_path, start, device_batch_size=32)
    run = digits.run_of()
    assert worker.main(str(run.folder)) == 0, run.error()

    done = CliRunner().invoke(main, ["train", digits.path, "--workspace", str(digits.workspace), "--json"])

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)["rl"]
    assert told["steps"] == 40
    assert told["held_out"][RIGHT]["after"] > told["held_out"][RIGHT]["before"] + 0.2
    assert told["reward"]["last"] > told["reward"]["first"] + 0.1
    assert (Path(told["model"]) / "config.json").is_file()
    settings = {one["name"]: one["origin"] for one in told["settings"]}
    assert (settings["kl"], settings["passes"]) == ("recipe", "DeepSeekMath (2402.03300, 4.2)")
    assert Path(told["model"]) == run.model
    assert [line["step"] for line in run.metrics() if RIGHT in line] == [0, 20, 40]


def test_a_kill_and_the_same_command_again_are_the_uninterrupted_run(start: Path, tmp_path: Path) -> None:
    """With two updates a batch of rollouts, the reference replaced on the way, and a curriculum that learns what is solved."""
    stage: dict[str, Any] = {
        "is": "r1",
        "kl": 0.05,
        "reference_every": 4,
        "updates": 2,
        "batch_size": 32,
        "steps": 24,
        "save_every": 3,
    }
    stage["keep_rollouts"] = True
    stage["curriculum"] = {"order": "shuffled", "prioritise_after": 0.3}
    digits = Digits(tmp_path, start, **stage)
    whole, killed = (digits.run_of(tmp_path / name) for name in ("whole", "killed"))
    process = subprocess.Popen(
        [sys.executable, "-m", "train.worker", str(killed.folder)],
        env=os.environ | {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and len(killed.checkpoints) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert killed.model is None
    assert killed.checkpoints

    assert worker.main(str(killed.folder)) == 0, killed.error()
    assert worker.main(str(whole.folder)) == 0, whole.error()

    assert [path.name for path in whole.checkpoints] == ["checkpoint-22", "checkpoint-24"]  # where a batch ends
    assert said(killed) == said(whole)
    assert kept(killed) == kept(whole)
    assert len(kept(whole)) == 24 * 32
    first, second = weights(killed), weights(whole)
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_a_stop_string_ends_an_answer_and_is_no_part_of_it(start: Path, tmp_path: Path) -> None:
    """Every digit ends an answer: so none is left, and each answer has one token."""
    digits = Digits(tmp_path, start, steps=2, mask_cut_off=True)
    digits.recipe["models"]["policy"]["prompt"] = {"stop": [str(digit) for digit in range(10)]}
    run = digits.run_of(tmp_path / "run")

    assert worker.main(str(run.folder)) == 0, run.error()

    steps = [line for line in run.metrics() if "loss" in line]
    assert [line["completions/correct"] for line in steps] == [0, 0]
    assert all(line["completions/mean_length"] < 2 for line in steps)
    assert all(line["completions/cut_off"] < 0.1 for line in steps)


def test_what_cannot_be_graded_trains_nothing_and_ends_the_stage(start: Path, tmp_path: Path) -> None:
    digits = Digits(tmp_path, start, steps=40, save_every=5)
    digits.recipe["sources"]["pairs"]["verifier"] = "reasoning-gym"  # whose entries these are not
    run = digits.run_of(tmp_path / "run")

    assert worker.main(str(run.folder)) == 1

    error = run.error()
    assert error is not None
    assert error["kind"] == "hopeless"
    assert "have one reward for all their samples and train nothing" in error["message"]
    assert [line["alarm"] for line in run.metrics() if "alarm" in line] == ["ungraded", "all_equal"]  # told once each
    before, after = load_file(start / "model.safetensors"), load_file(run.checkpoints[-1] / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in after)


def test_a_policy_whose_probabilities_are_no_numbers_ends_the_stage(start: Path, tmp_path: Path) -> None:
    """As after a step that was too large: here the weights are so from the start."""
    spoiled = shutil.copytree(start, tmp_path / "spoiled")
    found = load_file(spoiled / "model.safetensors")
    save_file({name: one * torch.nan for name, one in found.items()}, spoiled / "model.safetensors", {"format": "pt"})
    run = Digits(tmp_path, spoiled).run_of(tmp_path / "run")

    assert worker.main(str(run.folder)) == 1

    error = run.error()
    assert error is not None
    assert error["kind"] == "diverged"
    assert "Lower learning_rate" in error["message"]
