"""The training process: `python -m train.worker RUN_FOLDER` trains what settings.json says, or goes on where it was.

A process of its own, so that its memory is free again when the stage is done, and several can share one stage under
`accelerate launch`. What went wrong is left in error.json.
"""

import contextlib
import functools
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from curation.durable import sync
from train import preference, sft
from train.run import CHECKPOINTS, ERROR, MODEL, Run, step_of

HELD_OUT = 256
"""Rows whose loss is told before and after: two passes over them are paid for."""
MEMORY = (
    "lower device_batch_size (batch_size, and with it the result, stays), turn gradient_checkpointing on, train adapters "
    "(`lora: {}`), lower max_length, or take more devices"
)


def train(run: Run) -> None:
    """Trains a run to its end; raises what goes wrong."""
    from transformers import set_seed

    from train.watching import Record, begin, watched

    settings = run.settings
    start = settings["start"]
    set_seed(settings["seed"])
    tokenizer = _tokenizer(start)
    model = _model(settings, tokenizer)
    model = model.float()  # the optimizer's weights; with bf16 only what is computed is in it
    checkpoint = begin(run) if _first() else _newest(run)
    arguments = dict(settings["arguments"]) | {"output_dir": str(run.folder / CHECKPOINTS)}
    keep = arguments.pop("save_total_limit", None)  # Record removes old ones, when the new one is whole
    done = step_of(Path(checkpoint)) if checkpoint else 0
    train_rows, test_rows = (_rows(run, settings, split) for split in ("train", "test"))
    given = {
        "model": model,
        "train_dataset": train_rows,
        "eval_dataset": test_rows,
        "processing_class": tokenizer,
        "peft_config": _adapters(settings),
        "callbacks": [Record(run, done, keep, test_rows is not None), *_reports(run, arguments, done)],
    }
    if settings["trainer"] == "sft":
        trainer = sft.trainer(watched, arguments, **given)
    else:
        trainer = preference.trainer(watched, settings["trainer"], arguments, start.get("revision"), **given)
    if test_rows is not None and checkpoint is None:
        trainer.evaluate()
    trainer.train(resume_from_checkpoint=checkpoint)
    _finish(run, trainer, tokenizer)


def _tokenizer(start: dict[str, Any]) -> Any:
    from distill.tokenized import load_tokenizer

    tokenizer = load_tokenizer(start["tokenizer"], start.get("revision"))
    if start.get("chat_template"):
        tokenizer.chat_template = start["chat_template"]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _model(settings: dict[str, Any], tokenizer: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    start = settings["start"]
    from_start = {"revision": start.get("revision"), "trust_remote_code": False, "dtype": "auto"}
    if settings["trainer"] != "reward":
        return AutoModelForCausalLM.from_pretrained(start["model"], **from_start)
    model = AutoModelForSequenceClassification.from_pretrained(start["model"], num_labels=1, **from_start)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model


def _adapters(settings: dict[str, Any]) -> Any:
    if not (lora := settings.get("lora")):
        return None
    from peft import LoraConfig, TaskType

    rewards = settings["trainer"] == "reward"
    return LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=lora["targets"] if isinstance(lora["targets"], str) else list(lora["targets"]),
        task_type=TaskType.SEQ_CLS if rewards else TaskType.CAUSAL_LM,
        modules_to_save=["score"] if rewards else None,
    )


def _reports(run: Run, arguments: dict[str, Any], done: int) -> list[Any]:
    """TensorBoard's events, taken out of `report_to`: those after the step that is gone on from count no more."""
    told = arguments.get("report_to") or []
    if "tensorboard" not in told:
        return []
    arguments["report_to"] = [one for one in told if one != "tensorboard"]
    if not _first():
        return []
    from torch.utils.tensorboard.writer import SummaryWriter
    from transformers.integrations.integration_utils import TensorBoardCallback

    writer = SummaryWriter(run.folder / "tensorboard", purge_step=done + 1 if done else 0)
    return [TensorBoardCallback(writer)]  # type: ignore[no-untyped-call]


def _rows(run: Run, settings: dict[str, Any], split: str) -> Any:
    """The rows of a split; None when it has none."""
    from datasets import Dataset

    if not (files := settings["data"].get(split)):
        return None
    rows = Dataset.from_parquet(files, columns=settings["columns"], cache_dir=str(run.folder / "cache"))
    if split == "test" and len(rows) > HELD_OUT:
        rows = rows.shuffle(seed=settings["seed"]).select(range(HELD_OUT))
    return rows if len(rows) else None


def _finish(run: Run, trainer: Any, tokenizer: Any) -> None:
    """Writes the model: adapters merged, in fp32. What a stage with a small learning rate changes is less than bf16 tells
    apart, and the next stage goes on from here.
    """
    from accelerate.utils import DistributedType

    temporary = run.folder / f"{MODEL}.tmp"
    sharded = trainer.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
    if trainer.is_world_process_zero():
        shutil.rmtree(temporary, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    if sharded:
        trainer.save_model(str(temporary))
        if run.settings.get("lora") and trainer.is_world_process_zero():
            merge_adapters(temporary, _model(run.settings, tokenizer).float())
    elif trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
        model.save_pretrained(temporary)
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(temporary)
        for file in temporary.rglob("*"):
            sync(file)
        temporary.rename(run.folder / MODEL)
        sync(run.folder)
        shutil.rmtree(run.folder / "cache", ignore_errors=True)


def merge_adapters(folder: Path, model: Any) -> None:
    """Makes of a folder with adapters one with the whole model. model: what they were trained on, on the processor."""
    from peft import PeftModel

    merged = PeftModel.from_pretrained(model, folder).merge_and_unload()
    for file in folder.glob("adapter_*"):
        file.unlink()
    merged.save_pretrained(folder)


def _newest(run: Run) -> str | None:
    return str(run.checkpoints[-1]) if run.checkpoints else None


@functools.cache
def _first() -> bool:
    """Whether this is the process, of several, that writes."""
    return os.environ.get("RANK", "0") == "0"


def main(folder: str) -> int:
    """Trains; 0 when done, 1 when error.json says why not."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL tells what is trained, of every training
    run = Run(Path(folder))
    # Only the first of several processes takes the lock: the others are its own.
    with run.locked() if _first() else contextlib.nullcontext():
        if run.model is not None:
            return 0
        if _first():
            (run.folder / ERROR).unlink(missing_ok=True)
        try:
            train(run)
        except Exception as error:  # noqa: BLE001 - the last place where it can be told
            traceback.print_exc()
            run.write(ERROR, _told(error))
            return 1
    return 0


def _told(error: Exception) -> dict[str, str]:
    """A failure as error.json has it."""
    import torch

    from train.watching import Diverged

    text = str(error)
    if isinstance(error, Diverged):
        return {"kind": "diverged", "message": text}
    # torch says MemoryError of a processor's memory in words only.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        return {"kind": "memory", "message": f"out of memory ({text.splitlines()[0] if text else 'no more'}): {MEMORY}"}
    return {"kind": "failed", "message": f"{type(error).__name__}: {text}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
