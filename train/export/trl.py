"""TRL: Parquet for its GRPO, SFT, DPO and reward trainers, a reward function, accelerate on every node."""

from __future__ import annotations

import pyarrow as pa

from train.export import script
from train.export.asked import stops
from train.export.openrlhf import pair_row, pair_schema, sft_row, sft_schema
from train.export.rows import Context, LeftOut, Row, problem, trace, trace_fields
from train.export.script import EVERY_NODE, Argument, Flag, Variable
from train.export.target import TEMPLATE, Form, Launched, Place, Target

LOSSES = {
    "grpo": "--loss_type grpo --scale_rewards group",
    "dr_grpo": "--loss_type dr_grpo --scale_rewards none",
    "dapo": "--loss_type dapo --scale_rewards group",
}
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
OPTIMIZERS = {"adamw": "adamw_torch_fused", "rmsprop": "rmsprop", "adafactor": "adafactor"}
COMMON = (
    Flag("learning_rate", "--learning_rate {}"),
    Flag("weight_decay", "--weight_decay {}"),
    Flag("max_grad_norm", "--max_grad_norm {}"),
    Flag("epochs", "--num_train_epochs {}"),
    Flag("steps", "--max_steps {}"),
    Flag("schedule", "--lr_scheduler_type {}", SCHEDULES),
    Flag("warmup_share", "--warmup_steps {}"),
    Flag("warmup_steps", "--warmup_steps {}"),
    Flag("optimizer", "--optim {}", OPTIMIZERS),
    Flag("seed", "--seed {}"),
)
RL_FLAGS = (
    Flag("temperature", "--temperature {}"),
    Flag("top_p", "--top_p {}"),
    Flag("top_k", "--top_k {}"),
    Flag("min_p", "--min_p {}"),
    Flag("repetition_penalty", "--repetition_penalty {}"),
    Flag("max_tokens", "--max_completion_length {}"),
    Flag("generations", "--num_generations {}"),
    Flag("beta", "--beta {}"),
    Flag("epsilon", "--epsilon {}"),
    Flag("epsilon_high", "--epsilon_high {}"),
    *COMMON,
)
SFT_FLAGS = (Flag("max_length", "--max_length {}"), Flag("packing", "--packing", {True: ""}), *COMMON)
DPO_FLAGS = (Flag("beta", "--beta {}"), Flag("max_length", "--max_length {}"), *COMMON)
DPO_LOSSES = {"dpo": "sigmoid", "dpo_norm": "sigmoid_norm"}


def _rl_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    one = problem(row, context)
    if isinstance(one, LeftOut):
        return one
    return {"prompt": one.shown, "reference": one.reference.text(), **trace(row, context)}


def _rl_schema(columns: pa.Schema, context: Context) -> pa.Schema:
    assert context.frame is not None
    prompt = pa.string() if context.frame.style == "raw" else pa.list_(context.message)
    return pa.schema([("prompt", prompt), ("reference", pa.string()), *trace_fields(columns)])


def _rl_launch(launched: Launched) -> str:
    settings, frame = launched.settings, launched.context.frame
    ended = stops(launched.context.asked, ["", *launched.context.asked.by_source])
    arguments = {} if frame is None else dict(frame.template_kwargs)
    given = [
        Argument("--reward_funcs reward.accuracy", "the graders that curated the set"),
        *([Argument("--num_generations_eval 1", "Cuvee: divides any batch")] if launched.tests else []),
        Argument(LOSSES.get(settings.algorithm, LOSSES["grpo"]), f"algorithm {settings.algorithm}"),
        *script.arguments(settings, RL_FLAGS),
        *([] if "beta" in settings else [Argument("--beta 0", "no beta in the recipe")]),
        *([Argument("--shuffle_dataset false", "the set's order is a curriculum")] if launched.ordered else []),
        *([Argument(f"--generation_kwargs {script.word({'stop': ended})}", "prompt.stop")] if ended else []),
        *(
            [Argument(f"--chat_template_kwargs {script.word(arguments)}", "prompt.chat_template_kwargs")]
            if arguments
            else []
        ),
        Argument('--gradient_accumulation_steps "$((BATCH * GENERATIONS / (NODES * GPUS * PER_DEVICE)))"', "above"),
        Argument("--use_vllm true --vllm_mode colocate", "Cuvee measures with vLLM"),
        *_usual(launched),
    ]
    generations = Variable("GENERATIONS", settings["generations"], "Samples of a prompt; as --num_generations below.")
    return script.script(
        launched.about,
        [*_machines(launched), generations],
        EVERY_NODE + '\ncd "$HERE"  # reward.py is imported from here',
        given,
        _command("grpo"),
    )


def _sft_launch(launched: Launched) -> str:
    given = [
        *script.arguments(launched.settings, SFT_FLAGS),
        *_alone(launched),
    ]
    return script.script(launched.about, _machines(launched), EVERY_NODE, given, _command("sft"))


def _pair_launch(launched: Launched) -> str:
    algorithm = launched.settings.algorithm
    if algorithm == "reward":
        given = [*script.arguments(launched.settings, COMMON), *_alone(launched)]
        return script.script(launched.about, _machines(launched), EVERY_NODE, given, _command("reward"))
    given = [
        Argument(f"--loss_type {DPO_LOSSES.get(algorithm, 'sigmoid')}", f"algorithm {algorithm}"),
        *script.arguments(launched.settings, DPO_FLAGS),
        *_alone(launched),
    ]
    return script.script(launched.about, _machines(launched), EVERY_NODE, given, _command("dpo"))


def _alone(launched: Launched) -> list[Argument]:
    template = Argument(f'--chat_template_path "$HERE/{TEMPLATE}"', "the student's template")
    return [
        Argument('--gradient_accumulation_steps "$((BATCH / (NODES * GPUS * PER_DEVICE)))"', "above"),
        *([template] if launched.template else []),
        *_usual(launched),
    ]


def _usual(launched: Launched) -> list[Argument]:
    return [
        Argument('--dataset_name "$HERE/data"', "the set"),
        Argument(
            f"--eval_strategy {'steps' if launched.tests else 'no'}",
            "the set has a split test" if launched.tests else "no split test",
        ),
        Argument('--per_device_train_batch_size "$PER_DEVICE"', "above"),
        Argument('--model_name_or_path "$MODEL"', "above"),
        Argument('--output_dir "$CHECKPOINTS"', "above"),
        Argument("--report_to tensorboard", "Cuvee: no account needed"),
    ]


def _machines(launched: Launched) -> list[Variable]:
    batch = launched.settings["batch_size"]
    return [
        *script.cluster(launched.model),
        Variable("BATCH", batch, f"Rows a step, over all devices ({launched.settings.values['batch_size'].origin})."),
        Variable(
            "PER_DEVICE", 1, "Rows that a device takes at once; NODES x GPUS x PER_DEVICE has to divide the batch."
        ),
    ]


def _command(name: str) -> str:
    nodes = (
        '--num_machines "$NODES" --machine_rank "$NODE_RANK" --main_process_ip "$MASTER" --main_process_port "$PORT"'
    )
    return f'accelerate launch {nodes} --num_processes "$((NODES * GPUS))" -m trl.scripts.{name} "${{args[@]}}"'


def _rl_notes(launched: Launched) -> list[str]:
    settings, notes = launched.settings, []
    if settings.algorithm not in LOSSES:
        notes.append(f"TRL's GRPO has no {settings.algorithm}: launch.sh trains GRPO; `cuvee train` has the others.")
    return notes + script.untold(settings, RL_FLAGS, ("batch_size",))


def _pair_notes(launched: Launched) -> list[str]:
    notes = []
    if (algorithm := launched.settings.algorithm) not in (*DPO_LOSSES, "reward"):
        notes.append(f"TRL's command for pairs has no {algorithm}: launch.sh trains DPO; `cuvee train` has it.")
    return notes + script.untold(launched.settings, DPO_FLAGS, ("batch_size",))


def _sft_notes(launched: Launched) -> list[str]:
    return script.untold(launched.settings, SFT_FLAGS, ("batch_size",))


TARGET = Target(
    "trl",
    "TRL 1.16",
    {
        "rl": Form(_rl_row, _rl_schema, _rl_launch, "trl.py", _rl_notes),
        "sft": Form(sft_row, sft_schema, _sft_launch, None, _sft_notes),
        "fusion": Form(sft_row, sft_schema, _sft_launch, None, _sft_notes),
        "preference": Form(pair_row, pair_schema, _pair_launch, None, _pair_notes),
    },
    {"process": "TRL 1.16 has no trainer for steps with labels"},
    template=False,
    bare=False,
)
