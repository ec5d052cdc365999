"""What is found of a stage before a step is paid for."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_model import tiny_model, write_rows

from distill.example import Example
from distill.rendering import Renderer
from distill.student import Student
from flows.preflighted import show
from train.memory import Machine
from train.preflight import Preflight, StageRefused, look
from train.stage import DPO, SFT, Stage

MACHINE = Machine("cpu", "2 processors", 1, memory=1 << 34, free=1 << 34, bf16=False)
ARGUMENTS = {
    **{"max_length": 64, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 3.0},
    **{"gradient_checkpointing": False, "optim": "adamw_torch", "save_total_limit": 2, "learning_rate": 1e-5},
}
ASKED = [{"role": "user", "content": "2 7"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def renderer(model: Path) -> Renderer:
    return Renderer.load(Student(model="tiny"), model)


def sft_row(renderer: Renderer, number: int, thinking: str | None = "seven") -> dict[str, Any]:
    """A row as it is published."""
    one = renderer.render(Example(ASKED, thinking, "7"))
    assert one.fault is None
    counts = {"tokens": one.tokens, "trained_tokens": one.trained_tokens}
    return {
        **{"id": f"{number:04}", "rollout": f"r{number}", "sample_index": 0, **counts},
        **{"prompt": one.prompt, "completion": one.completion, "mode": "think"},
    }


def pair(renderer: Renderer) -> dict[str, Any]:
    good, bad = (renderer.render(Example(ASKED, None, answer)) for answer in ("7", "two"))
    return {
        **{"id": "0000", "chosen_rollout": "a", "rejected_rollout": "b", "prompt": good.prompt, "tokens": bad.tokens},
        **{"chosen": good.completion, "rejected": bad.completion},
        **{"chosen_tokens": good.trained_tokens, "rejected_tokens": bad.trained_tokens},
    }


class Looked:
    """Looks at rows with a stage's settings, some of them other ones."""

    def __init__(self, model: Path, renderer: Renderer, folder: Path) -> None:
        self.model, self.renderer, self.folder = model, renderer, folder

    def __call__(
        self,
        train: list[dict[str, Any]],
        test: list[dict[str, Any]] | None = None,
        stage: Stage | None = None,
        machine: Machine = MACHINE,
        **arguments: Any,
    ) -> Preflight:
        stage = stage or SFT(set="answers", batch_size=1)
        files = {"train": train, "test": train[:1] if test is None else test}
        settings = {
            **{"stage": "first", "kind": stage.KIND, "trainer": stage.TRAINER, "arguments": ARGUMENTS | arguments},
            **{"lora": None, "precision": "fp32", "set": "answers", "dataset": "small@2026-11-23.1"},
            "columns": ["prompt", "completion"] if stage.TRAINER == "sft" else ["prompt", "chosen", "rejected"],
            "data": {
                split: [write_rows(self.folder / f"{split}.parquet", rows)] if rows else []
                for split, rows in files.items()
            },
            "start": {"model": str(self.model), "revision": None, "tokenizer": str(self.model), "chat_template": None},
        }
        return look(settings, stage, self.renderer, machine, self.folder / "run")


@pytest.fixture
def looked(model: Path, renderer: Renderer, tmp_path: Path) -> Looked:
    return Looked(model, renderer, tmp_path)


def printed(seen: Preflight) -> str:
    out = io.StringIO()
    show(Console(file=out, width=140), seen)
    return out.getvalue()


def test_rows_that_train_what_they_should_are_counted(looked: Looked, renderer: Renderer) -> None:
    rows = [sft_row(renderer, 0), sft_row(renderer, 1, thinking=None)]
    seen = looked(rows)

    seen.check()
    train = seen.splits["train"]
    assert (train.rows, train.thinking, train.recounted) == (2, 1, 0)
    assert train.tokens == rows[0]["tokens"] + rows[1]["tokens"]
    assert train.trained == rows[0]["trained_tokens"] + rows[1]["trained_tokens"]
    assert train.longest == rows[0]["tokens"]
    assert seen.warnings == []


def test_rows_are_shown_with_what_is_trained_marked(looked: Looked, renderer: Renderer) -> None:
    text = printed(looked([sft_row(renderer, 0)]))

    assert "  <|user|>2 7<|end|><|assistant|>" in text
    assert "▌ <think>\n▌ seven\n▌ </think>\n▌ \n▌ 7<|end|>" in text


def test_both_answers_of_a_pair_are_read(looked: Looked, renderer: Renderer) -> None:
    row = pair(renderer)
    seen = looked([row], stage=DPO(set="answers", warmup=0.1))

    seen.check()
    train = seen.splits["train"]
    assert (train.rows, train.longest, train.recounted) == (1, row["tokens"], 0)
    assert train.trained == row["chosen_tokens"] + row["rejected_tokens"]


def test_an_empty_set_is_refused(looked: Looked) -> None:
    with pytest.raises(StageRefused, match=r"train.first cannot be trained:\n  set: answers of small@.* has no row"):
        looked([]).check()


def test_missing_columns_are_refused_by_name(looked: Looked, renderer: Renderer) -> None:
    row = sft_row(renderer, 0)
    del row["completion"], row["tokens"]

    with pytest.raises(
        StageRefused, match="set: answers has no completion, tokens, and sft trains on sft or fusion sets"
    ):
        looked([row]).check()


def test_rows_that_would_be_cut_are_refused(looked: Looked, renderer: Renderer) -> None:
    row = sft_row(renderer, 0)
    longest = row["tokens"]

    with pytest.raises(StageRefused, match=rf"2 of 2 rows are longer than 10 tokens .* Give max_length: {longest}"):
        looked([row], max_length=10).check()


def test_rows_that_the_user_has_cut_are_told(looked: Looked, renderer: Renderer) -> None:
    row = sft_row(renderer, 0)
    limit = row["tokens"] - 1
    seen = looked([row], stage=SFT(set="answers", batch_size=1, max_length=limit), max_length=limit)

    seen.check()
    assert f"2 of 2 rows are longer than {limit} tokens and would be cut" in seen.warnings[0]


def test_rows_that_are_cut_before_their_answers_are_refused(looked: Looked, renderer: Renderer) -> None:
    row = sft_row(renderer, 0)
    limit = row["tokens"] - row["trained_tokens"]

    with pytest.raises(StageRefused, match=f"max_length: {limit} tokens are filled by every row's prompt"):
        looked([row], stage=SFT(set="answers", batch_size=1, max_length=limit), max_length=limit).check()


def test_a_text_that_ends_a_turn_is_refused(looked: Looked, renderer: Renderer) -> None:
    row = sft_row(renderer, 0)
    row["completion"] = [{"role": "assistant", "content": "7<|end|>8"}]

    with pytest.raises(
        StageRefused, match="1 of 2 are not what would be trained; the first is of problem 0000: the text"
    ):
        looked([row], test=[sft_row(renderer, 1)]).check()


def test_thinking_in_a_field_that_the_template_does_not_read_is_refused(looked: Looked, renderer: Renderer) -> None:
    row = sft_row(renderer, 0)
    row["completion"] = [{"role": "assistant", "content": "7", "reasoning_content": "seven"}]

    with pytest.raises(StageRefused, match="holds its thinking in another place of its messages"):
        looked([row]).check()


def test_a_set_that_was_counted_with_another_tokenizer_is_told(looked: Looked, renderer: Renderer) -> None:
    seen = looked([sft_row(renderer, 0) | {"tokens": 5}], test=[sft_row(renderer, 1)])

    seen.check()
    assert "1 of 2 rows have other lengths than small@2026-11-23.1 says" in seen.warnings[0]


def test_no_row_held_out_is_told(looked: Looked, renderer: Renderer) -> None:
    seen = looked([sft_row(renderer, 0)], test=[])

    seen.check()
    assert "no row is held out" in seen.warnings[0]


@pytest.mark.parametrize(
    ("rows", "arguments", "an_epoch", "in_all"),
    [(8, {}, 2, 6), (9, {}, 3, 9), (9, {"max_steps": 4}, 3, 4), (9, {"num_train_epochs": 0.5}, 3, 2)],
)
def test_steps_are_counted_as_the_trainer_does(
    looked: Looked, renderer: Renderer, rows: int, arguments: dict[str, Any], an_epoch: int, in_all: int
) -> None:
    steps = looked([sft_row(renderer, number) for number in range(rows)], **arguments).steps

    assert steps is not None
    assert (steps.an_epoch, steps.in_all) == (an_epoch, in_all)


def test_a_warmup_longer_than_the_stage_is_told(looked: Looked, renderer: Renderer) -> None:
    seen = looked([sft_row(renderer, 0)], warmup_steps=150)

    assert "the learning rate rises for 150 steps and there are 3" in seen.warnings[0]


def test_weights_that_do_not_fit_are_refused(looked: Looked, renderer: Renderer) -> None:
    small = replace(MACHINE, memory=1 << 20, free=1 << 20)

    with pytest.raises(
        StageRefused, match=r"memory: weights, gradients and optimizer alone take 1.\d MB, and 2 processors"
    ):
        looked([sft_row(renderer, 0)], machine=small).check()


def test_a_batch_of_more_rows_than_there_are_is_told(looked: Looked, renderer: Renderer) -> None:
    seen = looked([sft_row(renderer, 0)], stage=SFT(set="answers", batch_size=16))

    seen.check()
    assert "batch_size: 16 rows are more than the 1 that there are" in seen.warnings[0]


def test_too_little_free_memory_is_told(looked: Looked, renderer: Renderer) -> None:
    seen = looked([sft_row(renderer, 0)], machine=replace(MACHINE, free=1 << 28))

    seen.check()
    assert "so it may well end out of memory; lower device_batch_size (2;" in seen.warnings[0]


def test_too_little_disk_is_refused(looked: Looked, renderer: Renderer) -> None:
    with pytest.raises(
        StageRefused, match=r"disk: checkpoints and the model need .* keep fewer than 1000000000 checkpoints"
    ):
        looked([sft_row(renderer, 0)], save_total_limit=10**9).check()


def test_the_record_is_plain_data(looked: Looked, renderer: Renderer) -> None:
    record = looked([sft_row(renderer, 0)]).record()

    assert record["splits"]["train"]["rows"] == 1
    assert record["memory"]["total"] > record["memory"]["weights"]
    assert record["problems"] == []
