"""A stage of a recipe on a published set: what it comes to, looked at before a step is paid for, then trained.

A run is filed under the hash of what shapes its result, so the same command again goes on where it was, or finds the stage
done; another setting, set or start is another run.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from curation.duck import arrow, parquet
from curation.model import Model, identity
from curation.progress import Progress
from curation.publish import Dataset
from curation.store import Store, settings_hash
from curation.supervisor import Supervised, supervised
from distill.rendering import Renderer
from flows.recipe import Loaded
from flows.rollouts import groups, rollouts
from train import rl_preflight
from train.arguments import SAMPLING, Arguments, arguments
from train.band import Band
from train.memory import Machine
from train.preflight import Preflight, look
from train.rewards.watch import PROXY
from train.rl_stage import RLStage
from train.run import ALARM, ERROR, LOG, RUNS, SETTINGS, STARTED, Run, RunError, TrainingStopped
from train.stage import POLICY, STUDENT, OnRows, Stage

HOW = (
    "device_batch_size",
    "gradient_checkpointing",
    "save_every",
    "keep_checkpoints",
    "log_every",
    "report_to",
    "evaluate_every",
    "keep_rollouts",
)
"""Settings that change how a stage runs, not what comes of it."""
COLUMNS = {"sft": ("prompt", "completion")}
PAIRS = ("prompt", "chosen", "rejected")
PROBLEM = ("id", "prompt", "messages", "answer", "verifier", "verifier_args", "source")
"""Of an RL set what a problem is asked and graded with."""
TICK = 0.2
KILLED = 137
"""Exit code of what the system has killed."""


@dataclass(frozen=True)
class Prepared:
    """A stage, ready to be trained."""

    name: str
    stage: Stage
    run: Run
    settings: Mapping[str, Any]
    resolved: Arguments
    renderer: Renderer | None
    """How rows are written for the model; None for RL, which has none."""
    machine: Machine
    band: Band | None = None
    """Of RL what the measured pass rates say of its groups; None where nothing was measured."""


def prepare(
    loaded: Loaded,
    name: str,
    dataset: Dataset,
    machine: Machine,
    out: str | None = None,
    made: Mapping[str, Path] = MappingProxyType({}),
    stand_in: bool = False,
) -> Prepared:
    """What a stage comes to on this machine. Raises RunError, and what reading the set or the student raises.

    made: models of stages, by name, that are gone on from; of another stage the one that was finished last. stand_in: to
    look only, the student stands for a stage that is not trained yet.
    """
    stage = loaded.training.stages[name]
    start = _start(loaded, name, dataset, made, stand_in)
    files = {split: _files(dataset, stage, split) for split in ("train", "test")}
    reinforced = isinstance(stage, RLStage)
    longest = _longest(name, stage, dataset, files["train"])
    policy = loaded.training.policy
    measured = None if policy is None else policy.measured
    resolved = arguments(name, stage, machine, longest, loaded.recipe.seed, measured)
    sampled = rollouts(loaded, name, stage, dataset, files) if isinstance(stage, RLStage) else {}
    shapes = {
        "kind": stage.KIND,
        "settings": stage.model_dump(mode="json", exclude_defaults=True, exclude={*HOW, "start"}),
        "fingerprint": dataset.manifest["fingerprint"],
        "start": identity(Model(model=start["model"], revision=start["revision"])),
        "chat_template": start["chat_template"],
        "seed": loaded.recipe.seed,
        "precision": resolved.precision,
    }
    if reinforced:
        drawn = {argument: resolved.trl.get(argument) for _, argument, _ in SAMPLING}
        shapes |= {"prompts": sampled["prompts"], "sampling": drawn}
    hashed = settings_hash(shapes)[:16]
    folder = Path(out).expanduser() if out else Path(dataset.store.root, RUNS, f"{loaded.recipe.name}.{name}", hashed)
    settings = {
        "stage": name,
        "kind": stage.KIND,
        "trainer": stage.TRAINER,
        "arguments": dict(resolved.trl),
        "lora": None if stage.lora is None else stage.lora.model_dump(mode="json"),
        "precision": resolved.precision,
        "data": files,
        "columns": list(PROBLEM if reinforced else COLUMNS.get(stage.TRAINER, PAIRS)),
        "start": start,
        "seed": loaded.recipe.seed,
        "dataset": dataset.ref,
        "dataset_fingerprint": dataset.manifest["fingerprint"],
        "set": stage.set,
        "hash": hashed,
        "shapes": shapes,
        "code_version": version("cuvee"),
        "libraries": {library: version(library) for library in ("trl", "transformers", "torch")},
        "resolved": [list(one) for one in resolved.settings],
        "recipe": loaded.resolved,
    } | sampled
    if folder.is_file():
        raise RunError(f"--out: {folder} is a file, not a folder")
    run = Run(folder.resolve())
    _same(run, settings)
    student = loaded.wanted.student
    written = None
    if not reinforced:
        assert student is not None
        written = Renderer.load(student, start["tokenizer"], start["revision"])
    expected = groups(loaded, stage, dataset, files["train"]) if isinstance(stage, RLStage) else None
    return Prepared(name, stage, run, settings, resolved, written, machine, expected)


def looked_at(prepared: Prepared, progress: Progress) -> Preflight:
    """What is found of a prepared stage before it is trained."""
    settings, stage, folder = dict(prepared.settings), prepared.stage, prepared.run.folder
    if isinstance(stage, RLStage):
        return rl_preflight.look(settings, stage, prepared.machine, folder, prepared.band, progress)
    assert isinstance(stage, OnRows)
    assert prepared.renderer is not None
    return look(settings, stage, prepared.renderer, prepared.machine, folder, progress)


def train(prepared: Prepared, progress: Progress, accelerate: str | None = None) -> Run:
    """Trains a prepared stage to its end, from where it was. Raises TrainingStopped with what to do."""
    run = prepared.run
    if (done := run.model) is not None:
        progress.line(f"{prepared.name} is trained already: {done}")
        return run
    with run.locked():
        pass  # told before anything is started
    run.write(SETTINGS, prepared.settings)
    for stale in (ERROR, STARTED):
        (run.folder / stale).unlink(missing_ok=True)
    environment = {
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        "OMP_WAIT_POLICY": "passive",  # on a busy machine threads that wait in a loop cost ten times the time
        "TOKENIZERS_PARALLELISM": "false",
        **os.environ,
        "PYTHONSAFEPATH": "1",  # a folder called train where the command is given is none of ours
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(
            os.pathsep
        ),
    }
    progress.line(f"{prepared.name}: starting the training process; its log is {run.folder / LOG}")
    process = supervised(_command(run, prepared.machine, accelerate), log=run.folder / LOG, env=environment)
    try:
        _watch(prepared, run, process, progress)
    finally:
        code = process.stop()
    if run.model is None:
        raise TrainingStopped(f"train.{prepared.name}: {_why(run, code)}{_kept(run)}")
    return run


def trained(store: Store, loaded: Loaded, name: str) -> Path | None:
    """The model of a stage that was finished last; None when none was."""
    from train.run import newest

    return newest(store.root, loaded.recipe.name, name) if store.local else None


def _start(loaded: Loaded, name: str, dataset: Dataset, made: Mapping[str, Path], stand_in: bool) -> dict[str, Any]:
    """The weights, tokenizer and template that a stage starts from."""
    wanted, template = loaded.wanted, None
    if wanted.student is not None and wanted.student.chat_template is not None:
        template = Path(wanted.student.chat_template).expanduser().read_text(encoding="utf-8")
    start = loaded.training.starts[name]
    if start not in (STUDENT, POLICY):
        if (before := made.get(start) or trained(dataset.store, loaded, start)) is not None:
            return {"model": str(before), "revision": None, "tokenizer": str(before), "chat_template": template}
        if not stand_in:
            raise RunError(
                f"train.{name} starts from {start}, which is not trained yet: cuvee train {loaded.given}:{start}"
            )
    found = _weights(loaded, name)
    return found | {"chat_template": template} | ({} if start in (STUDENT, POLICY) else {"instead_of": start})


def _weights(loaded: Loaded, name: str) -> dict[str, Any]:
    """The weights and the tokenizer that a recipe begins with: the student's, or the policy's."""
    student, policy = loaded.wanted.student, loaded.training.policy
    if loaded.training.root(name) == POLICY:
        assert policy is not None
        model, tokenizer = loaded.recipe.models[policy.model], None
        whose, called, key = "policy", policy.model, f"models.{policy.model}.model"
    else:
        assert student is not None
        assert loaded.wanted.tokenizer is not None
        model, tokenizer = loaded.wanted.tokenizer, student.tokenizer
        whose, called, key = "student", student.model, "student.model"
    if model.url is not None:
        raise RunError(
            f"train.{name}: the {whose} {called!r} is reached by `url`, and training needs its weights; name a "
            f"model with a folder or a Hub name as `{key}`"
        )
    folder = Path(model.model).expanduser()
    source = str(folder.resolve()) if folder.is_dir() else model.model
    tokenizer = tokenizer or source
    return {
        "model": source,
        "revision": model.revision,
        "tokenizer": str(Path(tokenizer).expanduser()) if Path(tokenizer).expanduser().is_dir() else tokenizer,
    }


def _longest(name: str, stage: Stage, dataset: Dataset, files: list[str]) -> int:
    """Tokens of the longest row, as the set says; 0 for RL, whose rows have none. Raises RunError when there is no row."""
    found = {"longest": 0, "rows": 0}
    if files:
        longest = "0" if isinstance(stage, RLStage) else "max(tokens)"
        with dataset.store.connect() as con:
            rows = f"select {longest} as longest, count(*) as rows from {parquet(files)}"
            found = arrow(con, rows).to_pylist()[0]
    if not found["rows"]:
        why = "its traces" if not isinstance(stage, RLStage) else "its problems"
        raise RunError(
            f"train.{name}.set: {stage.set} of {dataset.ref} has no row to train on; `cuvee inspect {dataset.manifest['name']}"
            f"{'' if isinstance(stage, RLStage) else f' --set {stage.set}'}` shows what became of {why}"
        )
    return int(found["longest"])


def _files(dataset: Dataset, stage: Stage, split: str) -> list[str]:
    """The shards of a set; none where the split is empty."""
    if not dataset.store.local:
        raise RunError(
            f"{dataset.store.root} is not on this machine, and training reads its set from disk: copy the workspace's "
            "`datasets` and `pools` to a folder, and give that as --workspace"
        )
    sets = dataset.manifest["sets"]
    if stage.set not in sets:
        raise RunError(
            f"{dataset.ref} has no set {stage.set!r}; there are {', '.join(sets)}. Run the recipe again: it publishes the sets "
            "that it has now"
        )
    part = sets[stage.set].get(split, {"rows": 0, "files": []})
    return [str(Path(dataset.folder, name).resolve()) for name in part["files"]] if part["rows"] else []


def _same(run: Run, settings: Mapping[str, Any]) -> None:
    """Raises RunError for a folder that holds another run."""
    if not (run.folder / SETTINGS).is_file():
        return
    there = run.settings
    if there.get("hash") == settings["hash"]:
        return
    flat, given = _flat(there.get("shapes", {})), _flat(settings["shapes"])
    other = sorted(key for key in flat.keys() | given.keys() if flat.get(key) != given.get(key))
    raise RunError(
        f"{run.folder} holds another run: {', '.join(f'{key} was {flat.get(key)}, is {given.get(key)}' for key in other[:5])}; "
        "give another --out"
    )


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {key: text for name, one in value.items() for key, text in _flat(one, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): json.dumps(value)[:60]}


def _command(run: Run, machine: Machine, accelerate: str | None) -> list[str]:
    """One process, or as many as there are devices under `accelerate launch` with a configuration that TRL ships, or a file."""
    worker = ["-m", "train.worker", str(run.folder)]
    if machine.devices == 1 and accelerate is None:
        return [sys.executable, *worker]
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(config(accelerate or "multi_gpu")),
    ]
    return [*launch, "--num_processes", str(machine.devices), *worker]


def config(name: str) -> Path:
    """accelerate's configuration by the name that TRL ships it under, or a file. Raises RunError."""
    if (file := Path(name).expanduser()).is_file():
        return file.resolve()
    found = find_spec("trl")
    [folder] = (
        [] if found is None else [Path(place, "accelerate_configs") for place in found.submodule_search_locations or ()]
    )
    if (shipped := folder / f"{name}.yaml").is_file():
        return shipped
    known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise RunError(f"--accelerate: {name!r} is neither a file nor one of {known}")


def _watch(prepared: Prepared, run: Run, process: Supervised, progress: Progress) -> None:
    """Tells of the steps and their loss as they are logged, until the process has ended."""
    while process.poll() is None and not (run.folder / STARTED).is_file():
        time.sleep(TICK)
    if process.poll() is not None:
        return
    started = json.loads((run.folder / STARTED).read_text(encoding="utf-8"))
    if done := started["from_step"]:
        progress.line(f"{prepared.name}: goes on from step {done} of {started['steps']}")
    with progress.step(prepared.name, started["steps"] - done, "steps") as step:
        logged = run.logged()
        while True:
            ended = process.poll() is not None
            for line in next(logged):
                if ALARM in line:
                    progress.line(f"{prepared.name}: step {line['step']}: {line['message']}")
                if line.get("loss") is not None and line["step"] > done:
                    if not isinstance(prepared.stage, RLStage):
                        step.said = f"loss {line['loss']:.3f}"
                    elif line.get(PROXY) is not None:  # of steps that begin a batch of rollouts
                        step.said = f"reward {line[PROXY]:.3f}"
                    step.advance(line["step"] - done)
                    done = line["step"]
            if ended:
                return
            time.sleep(TICK)


def _why(run: Run, code: int) -> str:
    if (error := run.error()) is not None:
        more = f"; the traceback is in {run.folder / LOG}" if error["kind"] == "failed" else ""
        return f"{error['message']}{more}"
    if code == KILLED:
        return (
            "the training process was killed, as the system does when memory is short: lower device_batch_size, train "
            f"adapters (`lora: {{}}`), or lower max_length. Its log is {run.folder / LOG}"
        )
    return f"the training process ended with exit code {code}; its log is {run.folder / LOG}"


def _kept(run: Run) -> str:
    if not (whole := run.checkpoints):
        return ". No checkpoint had been written: the same command starts anew"
    return f". Kept: {whole[-1]}; the same command goes on from there (if it is that which fails, remove it)"
