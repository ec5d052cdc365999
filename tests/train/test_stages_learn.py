"""Every algorithm lowers its loss and moves what it is for, on a task that a tiny model learns in seconds."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import accuracy, pairs_of_digits, preference_rows, sft_rows, tiny_model, write_rows

from train import worker
from train.run import CHECKPOINTS, COMPLETE, SETTINGS, Run, RunError

PAIRS = pairs_of_digits()
random.Random(0).shuffle(PAIRS)
HELD, SHOWN = PAIRS[:20], PAIRS[20:]
ARGUMENTS: dict[str, Any] = {
    **{"learning_rate": 3e-3, "per_device_train_batch_size": 16, "per_device_eval_batch_size": 20, "max_length": 32},
    **{"gradient_accumulation_steps": 1, "bf16": False, "gradient_checkpointing": False, "use_cpu": True},
    **{
        "disable_tqdm": True,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "seed": 0,
        "data_seed": 0,
    },
    **{"save_strategy": "steps", "save_steps": 0.5, "save_total_limit": 2},
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def made(folder: Path, trainer: str, start: Path, held: bool = True, **arguments: Any) -> Run:
    """A run folder as `cuvee train` writes it."""
    rows = sft_rows if trainer == "sft" else preference_rows
    settings = {
        "trainer": trainer,
        "arguments": ARGUMENTS | arguments,
        "lora": None,
        "data": {"train": [write_rows(folder / "train.parquet", rows(SHOWN))], "test": []},
        "columns": ["prompt", "completion"] if trainer == "sft" else ["prompt", "chosen", "rejected"],
        "start": {"model": str(start), "revision": None, "tokenizer": str(start), "chat_template": None},
        "seed": 0,
    }
    if held:
        settings["data"]["test"] = [write_rows(folder / "test.parquet", rows(HELD))]
    run = Run(folder)
    run.write(SETTINGS, settings)
    return run


def trained(run: Run) -> Path:
    assert worker.main(str(run.folder)) == 0, run.error()
    assert run.model is not None
    return run.model


def held_out(run: Run, name: str) -> tuple[float, float]:
    """A measure of the held-out rows before the first step and after the last."""
    found = [line[f"eval_{name}"] for line in run.metrics() if f"eval_{name}" in line]
    return found[0], found[-1]


@pytest.fixture(scope="module")
def taught(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """SFT that stops before it knows all."""
    run = made(tmp_path_factory.mktemp("sft"), "sft", base, max_steps=30)
    trained(run)
    return run


def test_sft_lowers_the_loss_and_answers_problems_it_has_not_seen(base: Path, taught: Run) -> None:
    before, after = held_out(taught, "loss")

    assert after < before / 2
    assert taught.model is not None
    assert accuracy(taught.model, HELD) > accuracy(base, HELD) + 0.3


@pytest.mark.parametrize(
    ("trainer", "arguments"),
    [
        ("dpo", {"loss_type": ["sigmoid"], "beta": 0.1}),
        ("dpo", {"loss_type": ["sigmoid_norm"], "beta": 5.0}),
        ("cpo", {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0}),
    ],
    ids=["dpo", "dpo_norm", "simpo"],
)
def test_preferences_lower_the_loss_and_part_chosen_from_rejected(
    trainer: str, arguments: dict[str, Any], taught: Run, tmp_path: Path
) -> None:
    assert taught.model is not None
    run = made(tmp_path, trainer, taught.model, max_steps=30, learning_rate=1e-3, **arguments)
    trained(run)
    (loss, lower), (margin, wider) = held_out(run, "loss"), held_out(run, "rewards/margins")

    assert lower < loss
    assert wider > margin


def test_a_reward_model_ranks_pairs_it_has_not_seen(taught: Run, tmp_path: Path) -> None:
    assert taught.model is not None
    run = made(tmp_path, "reward", taught.model, max_steps=40, learning_rate=1e-3)
    model = trained(run)
    (loss, lower), (margin, wider) = held_out(run, "loss"), held_out(run, "margin")

    assert lower < loss
    assert wider > margin
    assert json.loads((model / "config.json").read_text())["architectures"] == ["LlamaForSequenceClassification"]


def test_adapters_are_merged_into_a_model_that_is_served_as_any_other(base: Path, tmp_path: Path) -> None:
    run = made(tmp_path, "sft", base, held=False, max_steps=20, learning_rate=1e-2)
    settings = run.settings | {"lora": {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": "all-linear"}}
    run.write(SETTINGS, settings)
    model = trained(run)

    before, after = load_file(base / "model.safetensors"), load_file(model / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_packed_rows_do_not_see_each_other(base: Path, tmp_path: Path) -> None:
    """The loss of a first step over all rows is the same, packed or apart."""
    apart = made(tmp_path / "apart", "sft", base, held=False, max_steps=1, per_device_train_batch_size=70)
    packed = made(
        tmp_path / "packed", "sft", base, held=False, max_steps=1, per_device_train_batch_size=70, packing=True
    )
    trained(apart)
    trained(packed)

    assert packed.metrics()[0]["loss"] == pytest.approx(apart.metrics()[0]["loss"], abs=1e-4)


def test_a_kill_and_the_same_command_again_are_the_uninterrupted_run(base: Path, tmp_path: Path) -> None:
    steps = 150
    whole = made(tmp_path / "whole", "sft", base, held=False, max_steps=steps, save_steps=10)
    killed = made(tmp_path / "killed", "sft", base, held=False, max_steps=steps, save_steps=10)
    process = subprocess.Popen(
        [sys.executable, "-m", "train.worker", str(killed.folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    while process.poll() is None and len(killed.checkpoints) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert killed.model is None
    # A checkpoint that the kill caught half written has no mark; nothing goes on from it.
    half = killed.folder / CHECKPOINTS / "checkpoint-149"
    shutil.copytree(killed.checkpoints[-1], half)
    (half / COMPLETE).unlink()

    again, never = trained(killed), trained(whole)

    losses = [[(line["step"], line["loss"]) for line in run.metrics()] for run in (killed, whole)]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == list(range(1, steps + 1))
    first, second = load_file(again / "model.safetensors"), load_file(never / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in second)
    assert not half.exists()


def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(base: Path, tmp_path: Path) -> None:
    run = made(
        tmp_path,
        "sft",
        base,
        held=False,
        max_steps=40,
        save_steps=2,
        learning_rate=1e30,
        warmup_steps=30,
        max_grad_norm=1e30,
    )

    assert worker.main(str(run.folder)) == 1

    error = run.error()
    assert error is not None
    assert error["kind"] == "diverged"
    assert "Lower learning_rate" in error["message"]
    assert run.model is None
    for checkpoint in run.checkpoints:
        weights = load_file(checkpoint / "model.safetensors")
        assert all(torch.isfinite(one).all() for one in weights.values())


def test_a_run_is_trained_by_one_process_at_a_time(base: Path, tmp_path: Path) -> None:
    run = made(tmp_path, "sft", base, held=False, max_steps=1)

    with run.locked(), pytest.raises(RunError, match="is being trained by another process"), run.locked():
        pass


def test_what_is_done_is_not_done_again(taught: Run) -> None:
    before = taught.metrics()

    assert worker.main(str(taught.folder)) == 0
    assert taught.metrics() == before
