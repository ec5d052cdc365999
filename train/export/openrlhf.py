"""OpenRLHF: Parquet for its prompt, SFT and reward datasets, `reward_func`, RL as a job on Ray."""

from __future__ import annotations

import pyarrow as pa

from train.export import script
from train.export.rows import Context, LeftOut, Row, dialogue, pair, problem, trace, trace_fields
from train.export.script import EVERY_NODE, SUBMIT, Argument, Flag, Variable
from train.export.target import TEMPLATE, Form, Launched, Place, Target

ESTIMATORS = {"grpo": "group_norm", "dapo": "group_norm", "dr_grpo": "dr_grpo", "rloo": "rloo", "ppo": "gae"}
SCHEDULES = {"cosine": "cosine_with_min_lr", "linear": "linear", "constant": "constant_with_warmup"}
RL_FLAGS = (
    Flag("temperature", "--rollout.temperature {}"),
    Flag("top_p", "--rollout.top_p {}"),
    Flag("generations", "--rollout.n_samples_per_prompt {}"),
    Flag("batch_size", "--rollout.batch_size {}"),
    Flag("learning_rate", "--actor.adam.lr {}"),
    Flag("schedule", "--actor.lr_scheduler {}", SCHEDULES),
    Flag("floor", "--actor.min_lr_ratio {}"),
    Flag("warmup_share", "--actor.lr_warmup_ratio {}"),
    Flag("weight_decay", "--actor.adam.weight_decay {}"),
    Flag("max_grad_norm", "--actor.max_norm {}"),
    Flag("beta", "--algo.kl.init_coef {}"),
    Flag("epochs", "--train.num_episodes {}"),
    Flag("seed", "--train.seed {}"),
)
CLIP = ("epsilon", "epsilon_high")
SFT_FLAGS = (
    Flag("learning_rate", "--adam.lr {}"),
    Flag("schedule", "--lr_scheduler {}", SCHEDULES),
    Flag("floor", "--min_lr_ratio {}"),
    Flag("warmup_share", "--lr_warmup_ratio {}"),
    Flag("optimizer", "--optim {}", {"adamw": "adam"}),
    Flag("packing", "--ds.packing_samples", {True: ""}),
    Flag("weight_decay", "--adam.weight_decay {}"),
    Flag("max_grad_norm", "--max_norm {}"),
    Flag("batch_size", "--train.batch_size {}"),
    Flag("epochs", "--train.max_epochs {}"),
    Flag("max_length", "--data.max_len {}"),
    Flag("seed", "--train.seed {}"),
)
DPO_FLAGS = (Flag("beta", "--model.beta {}"), *SFT_FLAGS)


def _rl_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    one = problem(row, context)
    if isinstance(one, LeftOut):
        return one
    label = one.reference.text()
    return {"prompt": one.shown, "label": label, "datasource": row["source"], **trace(row, context)}


def _rl_schema(columns: pa.Schema, context: Context) -> pa.Schema:
    assert context.frame is not None
    prompt = pa.string() if context.frame.style == "raw" else pa.list_(context.message)
    named = [("prompt", prompt), ("label", pa.string()), ("datasource", pa.string())]
    return pa.schema([*named, *trace_fields(columns)])


def sft_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    """Prompt and completion, as messages: earlier answers stand in the prompt, which is not trained."""
    prompt, answer = dialogue(row)
    return {"prompt": prompt, "completion": answer, **trace(row, context)}


def sft_schema(columns: pa.Schema, context: Context) -> pa.Schema:
    turns = pa.list_(context.message)
    return pa.schema([("prompt", turns), ("completion", turns), *trace_fields(columns)])


def pair_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    """Prompt, chosen and rejected, as messages."""
    prompt, chosen, rejected = pair(row)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **trace(row, context)}


def pair_schema(columns: pa.Schema, context: Context) -> pa.Schema:
    turns = pa.list_(context.message)
    return pa.schema([("prompt", turns), ("chosen", turns), ("rejected", turns), *trace_fields(columns)])


def _rl_launch(launched: Launched) -> str:
    settings, algorithm = launched.settings, launched.settings.algorithm
    chat = launched.context.frame is not None and launched.context.frame.style == "chat"
    batch = settings["batch_size"] * settings["generations"]
    given = [
        Argument('--data.prompt_dataset "$HERE/data/train.parquet"', "the set"),
        *(
            [
                Argument('--eval.dataset "$HERE/data/test.parquet"', "the set"),
                Argument('--eval.steps "$EVALUATE"', "above"),
            ]
            if launched.tests
            else []
        ),
        Argument("--data.input_key prompt --data.label_key label", "the set"),
        *([Argument("--data.apply_chat_template", "problems were put as a chat")] if chat else []),
        Argument('--reward.remote_url "$HERE/reward.py"', "the graders that curated the set"),
        Argument(f"--algo.advantage.estimator {ESTIMATORS.get(algorithm, 'group_norm')}", f"algorithm {algorithm}"),
        *script.arguments(settings, RL_FLAGS),
        *_clip(launched),
        Argument(f"--train.batch_size {batch}", "batch_size times generations: one step a batch of samples"),
        *([] if "beta" in settings else [Argument("--algo.kl.init_coef 0", "no beta in the recipe")]),
        *(
            [Argument("--algo.kl.use_loss --algo.kl.estimator k3", "GRPO (2402.03300), eq. 4")]
            if "beta" in settings and settings["beta"] > 0 and algorithm != "ppo"
            else []
        ),
        Argument('--data.max_len "$((MAX_PROMPT + MAX_NEW))" --rollout.max_new_tokens "$MAX_NEW"', "above"),
        Argument('--actor.model_name_or_path "$MODEL"', "above"),
        Argument('--actor.num_nodes "$NODES" --actor.num_gpus_per_node "$GPUS"', "above"),
        Argument('--ref.num_nodes "$NODES" --ref.num_gpus_per_node "$GPUS"', "above"),
        *(
            [Argument('--critic.num_nodes "$NODES" --critic.num_gpus_per_node "$GPUS"', "above")]
            if algorithm == "ppo"
            else []
        ),
        Argument('--vllm.num_engines "$((NODES * GPUS / TP))" --vllm.tensor_parallel_size "$TP"', "above"),
        Argument(
            "--train.colocate_all --vllm.enable_sleep --ds.enable_sleep", "Cuvee: samples and trains on the same GPUs"
        ),
        Argument("--vllm.gpu_memory_utilization 0.6", "Cuvee: room beside the trainer"),
        Argument("--ds.zero_stage 3 --actor.gradient_checkpointing_enable --ds.packing_samples", "Cuvee: memory"),
        Argument('--ckpt.output_dir "$CHECKPOINTS"', "above"),
    ]
    variables = [
        *script.cluster(launched.model),
        Variable("TP", 1, "GPUs that one copy of the model samples on."),
        Variable(
            "MAX_PROMPT", launched.prompt_room, f"Tokens for prompts; the longest has {launched.longest:,} bytes."
        ),
        Variable("MAX_NEW", settings.get("max_tokens", 1024), "Tokens for answers."),
        Variable("EVALUATE", 10, "Steps between evaluations on the split test."),
        # Its decoded samples end in special tokens, which are no part of an answer.
        Variable(
            "CUVEE_TOKENIZER", "", "The tokenizer that reward.py knows special tokens by; by default the model's."
        ),
    ]
    before = "CUVEE_TOKENIZER=${CUVEE_TOKENIZER:-$MODEL}\nexport CUVEE_TOKENIZER\n" + SUBMIT
    return script.script(launched.about, variables, before, given, 'python3 -m openrlhf.cli.train_ppo_ray "${args[@]}"')


def _clip(launched: Launched) -> list[Argument]:
    low, high = (launched.settings.values.get(name) for name in CLIP)
    if low is None or high is None:
        return []
    text = f"--actor.eps_clip_low_high {script.word(low.value)} {script.word(high.value)}"
    return [Argument(text, f"{low.origin}; {high.origin}")]


def _sft_launch(launched: Launched) -> str:
    given = [
        Argument('--data.dataset "$HERE/data/train.parquet"', "the set"),
        *([Argument('--eval.dataset "$HERE/data/test.parquet"', "the set")] if launched.tests else []),
        Argument("--data.input_key prompt --data.output_key completion --data.apply_chat_template", "the set"),
        *script.arguments(launched.settings, SFT_FLAGS),
        *_torchrun(launched),
    ]
    return script.script(launched.about, script.cluster(launched.model), EVERY_NODE, given, _command("train_sft"))


def _pair_launch(launched: Launched) -> str:
    given = [
        Argument('--data.dataset "$HERE/data/train.parquet"', "the set"),
        *([Argument('--eval.dataset "$HERE/data/test.parquet"', "the set")] if launched.tests else []),
        Argument("--data.prompt_key prompt --data.chosen_key chosen --data.rejected_key rejected", "the set"),
        Argument("--data.apply_chat_template", "the set"),
        *script.arguments(launched.settings, DPO_FLAGS),
        *_torchrun(launched),
    ]
    return script.script(launched.about, script.cluster(launched.model), EVERY_NODE, given, _command("train_dpo"))


def _torchrun(launched: Launched) -> list[Argument]:
    template = Argument(f'--data.tokenizer_chat_template "$(cat "$HERE/{TEMPLATE}")"', "the student's template")
    return [
        *([template] if launched.template else []),
        Argument('--model.model_name_or_path "$MODEL"', "above"),
        Argument("--ds.zero_stage 3 --model.gradient_checkpointing_enable", "Cuvee: memory"),
        Argument('--ckpt.output_dir "$CHECKPOINTS"', "above"),
    ]


def _command(module: str) -> str:
    nodes = '--nnodes "$NODES" --node-rank "$NODE_RANK" --master-addr "$MASTER" --master-port "$PORT"'
    return f'torchrun {nodes} --nproc-per-node "$GPUS" -m openrlhf.cli.{module} "${{args[@]}}"'


def _rl_notes(launched: Launched) -> list[str]:
    settings, notes = launched.settings, []
    if settings.algorithm not in ESTIMATORS:
        notes.append(
            f"OpenRLHF has no {settings.algorithm} by that name: launch.sh trains group_norm (GRPO) in its place."
        )
    if launched.template:
        notes.append(
            f"Its RL takes the tokenizer's own chat template, not {TEMPLATE}: put that into the tokenizer of MODEL first "
            "(`tokenizer.chat_template = ...; tokenizer.save_pretrained(...)`)."
        )
    if launched.context.frame is not None and launched.context.frame.template_kwargs:
        given = dict(launched.context.frame.template_kwargs)
        notes.append(f"Prompts were asked with the template arguments {given}, which OpenRLHF does not pass on.")
    if any(launched.context.asked.of(source).stop for source in ("", *launched.context.asked.by_source)):
        notes.append(
            "Samples were ended at stop strings, and OpenRLHF takes none: the model goes on behind them until it ends by "
            "itself. reward.py grades what stands before the first one."
        )
    if launched.ordered:
        notes.append("The set's order is a curriculum, and OpenRLHF shuffles prompts.")
    return notes + script.untold(settings, RL_FLAGS, ("max_tokens", *CLIP))


def _sft_notes(launched: Launched) -> list[str]:
    return script.untold(launched.settings, SFT_FLAGS)


def _pair_notes(launched: Launched) -> list[str]:
    notes = []
    if (algorithm := launched.settings.algorithm) != "dpo":
        notes.append(f"OpenRLHF has no {algorithm} by that name: launch.sh trains DPO in its place.")
    return notes + script.untold(launched.settings, DPO_FLAGS)


TARGET = Target(
    "openrlhf",
    "OpenRLHF 0.11.2",
    {
        "rl": Form(_rl_row, _rl_schema, _rl_launch, "openrlhf.py", _rl_notes),
        "sft": Form(sft_row, sft_schema, _sft_launch, None, _sft_notes),
        "fusion": Form(sft_row, sft_schema, _sft_launch, None, _sft_notes),
        "preference": Form(pair_row, pair_schema, _pair_launch, None, _pair_notes),
    },
    {"process": "OpenRLHF 0.11 has no trainer for steps with labels"},
    template=False,
)
