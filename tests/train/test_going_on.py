"""A run that went on is the run that was never interrupted, also where the interruption came late."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from template_tokenizers import own_tokenizer
from tiny_model import pairs_of_digits, preference_rows, sft_rows, tiny_model, write_rows

from distill.rendering import Renderer
from distill.student import Student
from train import preference, worker
from train.run import CHECKPOINTS, METRICS, MODEL, SETTINGS, Run
from train.watching import watched

PAIRS = pairs_of_digits()
STEPS = 7
QUIET: dict[str, Any] = {"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "disable_tqdm": True}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Seven steps of five an epoch, a checkpoint every third and at the end, a line of metrics every second."""
    start = str(tiny_model(tmp_path / "start"))
    arguments = {
        **{"max_steps": STEPS, "save_strategy": "steps", "save_steps": 3, "save_total_limit": 2, "logging_steps": 2},
        **{"learning_rate": 1e-3, "lr_scheduler_type": "constant", "per_device_train_batch_size": 16, "max_length": 32},
        **{"report_to": [], "seed": 0, "data_seed": 0},
    }
    settings = {
        **{"trainer": "sft", "arguments": QUIET | arguments, "lora": None, "seed": 0},
        "data": {
            "train": [write_rows(tmp_path / "train.parquet", sft_rows(PAIRS[:70]))],
            "test": [write_rows(tmp_path / "test.parquet", sft_rows(PAIRS[70:]))],
        },
        "columns": ["prompt", "completion"],
        "start": {"model": start, "revision": None, "tokenizer": start, "chat_template": None},
    }
    made = Run(tmp_path / "run")
    made.write(SETTINGS, settings)
    return made


def weights(run: Run) -> bytes:
    assert run.model is not None
    return (run.model / "model.safetensors").read_bytes()


def said(run: Run) -> list[dict[str, Any]]:
    """The metrics without what depends on the clock, and on what the process had done before."""
    timed = ("runtime", "per_second", "time", "peak_memory")
    return [{name: one for name, one in line.items() if not name.endswith(timed)} for line in run.metrics()]


@pytest.mark.parametrize("lost", [[], [STEPS]], ids=["before the model was written", "before the last checkpoint"])
def test_an_interruption_is_seen_neither_in_the_weights_nor_in_the_metrics(run: Run, lost: list[int]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert worker.main(str(run.folder)) == 0
    before, lines = weights(run), said(run)
    shutil.rmtree(run.folder / MODEL)
    for step in lost:
        shutil.rmtree(run.folder / CHECKPOINTS / f"checkpoint-{step}")

    assert worker.main(str(run.folder)) == 0

    torch.set_num_threads(threads)
    assert weights(run) == before
    assert said(run) == lines
    assert [line["step"] for line in lines if "loss" in line] == [2, 3, 4, 6, STEPS]
    assert [line["step"] for line in lines if "eval_loss" in line] == [0, STEPS]


@pytest.mark.parametrize("damage", ["cut off", "gone"])
def test_a_checkpoint_with_a_damaged_file_is_not_gone_on_from(run: Run, damage: str) -> None:
    assert worker.main(str(run.folder)) == 0
    lines, last = said(run), run.checkpoints[-1]
    shutil.rmtree(run.folder / MODEL)
    file = last / "optimizer.pt"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    assert last not in run.checkpoints

    assert worker.main(str(run.folder)) == 0
    assert said(run) == lines


def test_a_line_that_was_cut_off_and_steps_after_the_checkpoint_are_written_again(run: Run) -> None:
    assert worker.main(str(run.folder)) == 0
    lines = said(run)
    shutil.rmtree(run.folder / MODEL)
    shutil.rmtree(run.folder / CHECKPOINTS / f"checkpoint-{STEPS}")
    with (run.folder / METRICS).open("a") as file:
        file.write('{"step": 7, "lo')

    assert worker.main(str(run.folder)) == 0
    assert said(run) == lines


def test_logged_steps_are_told_once_and_when_their_line_is_whole(tmp_path: Path) -> None:
    logged = Run(tmp_path).logged()
    assert next(logged) == []
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"st')
    assert next(logged) == [{"step": 1}]
    assert next(logged) == []
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    assert next(logged) == [{"step": 2}, {"step": 3}]


def test_no_more_checkpoints_are_kept_than_are_wanted(run: Run) -> None:
    settings = run.settings
    settings["arguments"]["save_total_limit"] = 1
    run.write(SETTINGS, settings)

    assert worker.main(str(run.folder)) == 0
    assert [one.name for one in run.checkpoints] == ["checkpoint-7"]
    assert [one.name for one in (run.folder / CHECKPOINTS).iterdir()] == ["checkpoint-7"]


def test_simpo_trains_the_tokens_that_the_template_writes(model_folder: Path, tmp_path: Path) -> None:
    """A template that ends an answer with more than its end token: TRL's own SimPO puts one more end after it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = own_tokenizer(model_folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    [row] = preference_rows([(2, 3)])
    trainer = preference.trainer(
        watched,
        "cpo",
        QUIET
        | {"output_dir": str(tmp_path), "report_to": [], "loss_type": "simpo", "cpo_alpha": 0.0, "max_length": 64},
        None,
        model=LlamaForCausalLM(LlamaConfig(vocab_size=49_160, **sizes)),
        train_dataset=Dataset.from_list([row]),
        processing_class=tokenizer,
    )
    [made] = trainer.train_dataset
    renderer = Renderer(Student(model="student"), tokenizer)

    for answer in ("chosen", "rejected"):
        expected = renderer.labels(row["prompt"], row[answer])
        assert (made[f"{answer}_input_ids"], made[f"{answer}_labels"]) == expected
    assert tokenizer.decode([token for token in made["chosen_labels"] if token != -100]) == "3<|im_end|>\n"


def test_adapters_of_a_sharded_training_are_merged(tmp_path: Path) -> None:
    """As they come from a training whose weights lie on several devices: written by themselves."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    tiny = tiny_model(tmp_path / "tiny")
    given = torch.tensor([[1, 2, 3]])
    torch.manual_seed(0)
    adapted: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny), LoraConfig(target_modules="all-linear", init_lora_weights=False)
    )
    wanted = adapted(given).logits
    adapted.save_pretrained(tmp_path / "run")

    worker.merge_adapters(tmp_path / "run", AutoModelForCausalLM.from_pretrained(tiny))

    assert not [*(tmp_path / "run").glob("adapter_*")]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    torch.testing.assert_close(merged(given).logits, wanted, atol=1e-4, rtol=1e-4)
