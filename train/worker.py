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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.durable import sync
from train import preference, sft
from train.prompting import tokenizer_of
from train.rl_stage import RL_STAGES
from train.run import CHECKPOINTS, ERROR, MODEL, Run, step_of

RL = {kind.TRAINER for kind in RL_STAGES.values()}
HELD_OUT = 256
"""Rows whose loss is told before and after: two passes over them are paid for."""
ANSWERED = 64
"""Of RL those that are answered at every measurement: each answer costs as much as one that is trained on."""
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
    tokenizer = tokenizer_of(start)
    model = _model(settings, tokenizer)
    model = model.float()  # the optimizer's weights; with bf16 only what is computed is in it
    checkpoint = begin(run) if _first() else _newest(run)
    arguments = dict(settings["arguments"]) | {"output_dir": str(run.folder / CHECKPOINTS)}
    keep = arguments.pop("save_total_limit", None)  # Record removes old ones, when the new one is whole
    done = step_of(Path(checkpoint)) if checkpoint else 0
    with contextlib.ExitStack() as exits:
        reinforced = settings["trainer"] in RL
        tables = [_rows(run, settings, split) for split in ("train", "test")]
        train_rows, test_rows = [_asked(one, tokenizer, settings) for one in tables] if reinforced else tables
        record = Record(run, done, keep, test_rows is not None, counts_on=reinforced)
        given = {
            "model": model,
            "train_dataset": train_rows,
            "eval_dataset": test_rows,
            "processing_class": tokenizer,
            "peft_config": _adapters(settings),
            "callbacks": [record, *_reports(run, arguments, done)],
        }
        if reinforced:
            trainer = _reinforced(run, arguments, given, record, checkpoint, exits)
        elif settings["trainer"] == "sft":
            trainer = sft.trainer(watched, arguments, **given)
        else:
            trainer = preference.trainer(watched, settings["trainer"], arguments, start.get("revision"), **given)
        if test_rows is not None and checkpoint is None:
            trainer.evaluate()
        trainer.train(resume_from_checkpoint=checkpoint)
        _finish(run, trainer, tokenizer)


def _reinforced(
    run: Run,
    arguments: dict[str, Any],
    given: dict[str, Any],
    record: Any,
    checkpoint: str | None,
    exits: contextlib.ExitStack,
) -> Any:
    """The trainer of a stage of RL. exits: ends the graders."""
    from train import rl
    from train.prompting import Reader
    from train.rl_reward import Reward
    from train.rl_watching import Alarms, BetweenBatches
    from train.watching import watched

    settings, tokenizer = run.settings, given["processing_class"]
    if given["eval_dataset"] is None:
        arguments["eval_strategy"] = "no"
    repeats = arguments["steps_per_generation"] * arguments["num_iterations"]
    between = BetweenBatches(repeats // arguments["gradient_accumulation_steps"])
    given["callbacks"] = [between, record, Alarms(run, record), *given["callbacks"][1:]]
    reader = Reader(tokenizer, rl.ends(tokenizer, given["model"]), settings["stop"])
    reward = Reward(settings, exits.enter_context(_graders(run)), reader, _kept(run, arguments, checkpoint))
    return rl.trainer(watched, settings["trainer"], arguments, settings, reward, checkpoint, **given)


def _kept(run: Run, arguments: dict[str, Any], checkpoint: str | None) -> Any:
    """Where completions are written, taken back to the checkpoint; None where they are not kept."""
    from curation.rollouts import Sampling
    from train import rollout_log

    if not run.settings["keep_rollouts"]:
        return None
    if _first():
        rollout_log.begin(run.folder, step_of(Path(checkpoint)) if checkpoint else 0)
    known = {name: arguments[name] for name in Sampling.model_fields if arguments.get(name)}
    engine = "vllm" if arguments.get("use_vllm") else "transformers"
    rank = int(os.environ.get("RANK", "0"))
    return rollout_log.RolloutLog(run.folder, rank, Sampling(**known), arguments["max_completion_length"], engine)


@contextlib.contextmanager
def _graders(run: Run) -> Iterator[Any]:
    """Who grades in this process: workers that end with it, and the recipe's judge where a server has it."""
    from curation.graders import Graders
    from curation.judge import Judge
    from curation.judging import graders_of
    from curation.model import api_key, serve
    from curation.verify import VERIFIERS
    from curation.verify.pool import GraderPool

    with contextlib.ExitStack() as exits:
        needed = [name for name in run.settings["verifiers"] if name in VERIFIERS]
        pool, asked = exits.enter_context(GraderPool(preload=needed)), None
        if (told := run.settings.get("judge")) is not None:
            judge = Judge.model_validate(told)
            servers = exits.enter_context(serve(judge.model, log=run.folder / "judge.log"))
            asked = exits.enter_context(graders_of(judge, servers, api_key(judge.model)))
        yield Graders(pool, asked)


def _asked(given: Any, tokenizer: Any, settings: dict[str, Any]) -> Any:
    from train import rl

    return None if given is None else rl.rows(given, tokenizer, settings)


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
    most = ANSWERED if settings["trainer"] in RL else HELD_OUT
    if split == "test" and len(rows) > most:
        rows = rows.shuffle(seed=settings["seed"]).select(range(most))
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

    from train.rl_watching import Hopeless
    from train.watching import Diverged

    text = str(error)
    if isinstance(error, Diverged):
        return {"kind": "diverged", "message": text}
    if isinstance(error, Hopeless):
        return {"kind": "hopeless", "message": text}
    # torch says MemoryError of a processor's memory in words only.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        return {"kind": "memory", "message": f"out of memory ({text.splitlines()[0] if text else 'no more'}): {MEMORY}"}
    return {"kind": "failed", "message": f"{type(error).__name__}: {text}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
