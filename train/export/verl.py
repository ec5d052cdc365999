"""verl: Parquet for its RLHFDataset and MultiTurnSFTDataset, `compute_score`, jobs on Ray."""

from __future__ import annotations

import pyarrow as pa

from train.export import script
from train.export.rows import MESSAGE, Context, LeftOut, Row, answered_before, dialogue, problem, trace, trace_fields
from train.export.script import HYDRA, SUBMIT, Argument, Flag, Variable
from train.export.target import TEMPLATE, Form, Launched, Place, Target, as_messages

ESTIMATORS = {"grpo": "grpo", "dr_grpo": "grpo", "dapo": "grpo", "rloo": "rloo", "ppo": "gae"}
_CRITIC = (
    Argument('"critic.model.path=$(text "$MODEL")"', "above"),
    Argument("critic.use_dynamic_bsz=True", "Cuvee: as many rows at once as fit"),
    Argument('"critic.ppo_max_token_len_per_gpu=$DEVICE_TOKENS"', "above"),
)
ALGORITHMS = {
    "dr_grpo": (
        Argument("algorithm.norm_adv_by_std_in_grpo=False", "Dr. GRPO (2503.20783): no division by the deviation"),
        Argument("actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm", "Dr. GRPO: no division by lengths"),
    ),
    "grpo": (Argument("actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean", "GRPO (2402.03300), eq. 3"),),
    "dapo": (Argument("actor_rollout_ref.actor.loss_agg_mode=token-mean", "DAPO (2503.14476), eq. 8"),),
}
RL_FLAGS = (
    Flag("temperature", "actor_rollout_ref.rollout.temperature={}"),
    Flag("top_p", "actor_rollout_ref.rollout.top_p={}"),
    Flag("top_k", "actor_rollout_ref.rollout.top_k={}"),
    Flag("max_tokens", "data.max_response_length={}"),
    Flag("generations", "actor_rollout_ref.rollout.n={}"),
    Flag("batch_size", "data.train_batch_size={}"),
    Flag("batch_size", "actor_rollout_ref.actor.ppo_mini_batch_size={}"),
    Flag("learning_rate", "actor_rollout_ref.actor.optim.lr={}"),
    Flag(
        "schedule", "actor_rollout_ref.actor.optim.lr_scheduler_type={}", {"cosine": "cosine", "constant": "constant"}
    ),
    Flag("floor", "actor_rollout_ref.actor.optim.min_lr_ratio={}"),
    Flag("warmup_share", "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio={}"),
    Flag("warmup_steps", "actor_rollout_ref.actor.optim.lr_warmup_steps={}"),
    Flag("weight_decay", "actor_rollout_ref.actor.optim.weight_decay={}"),
    Flag("max_grad_norm", "actor_rollout_ref.actor.optim.clip_grad={}"),
    Flag("beta", "actor_rollout_ref.actor.kl_loss_coef={}"),
    Flag("epsilon", "actor_rollout_ref.actor.clip_ratio={}"),
    Flag("epsilon", "actor_rollout_ref.actor.clip_ratio_low={}"),
    Flag("epsilon_high", "actor_rollout_ref.actor.clip_ratio_high={}"),
    Flag("epochs", "trainer.total_epochs={}"),
    Flag("steps", "trainer.total_training_steps={}"),
    Flag("seed", "data.seed={}"),
)
SFT_FLAGS = (
    Flag("learning_rate", "optim.lr={}"),
    Flag("schedule", "optim.lr_scheduler_type={}", {"cosine": "cosine", "constant": "constant"}),
    Flag("floor", "optim.min_lr_ratio={}"),
    Flag("warmup_share", "optim.lr_warmup_steps_ratio={}"),
    Flag("warmup_steps", "optim.lr_warmup_steps={}"),
    Flag("weight_decay", "optim.weight_decay={}"),
    Flag("max_grad_norm", "optim.clip_grad={}"),
    Flag("batch_size", "data.train_batch_size={}"),
    Flag("epochs", "trainer.total_epochs={}"),
    Flag("steps", "trainer.total_training_steps={}"),
    Flag("max_length", "data.max_length={}"),
    Flag("seed", "trainer.seed={}"),
)


def _rl_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    one = problem(row, context)
    if isinstance(one, LeftOut):
        return one
    return {
        "data_source": row["source"],
        "prompt": as_messages(one.shown),
        "ability": one.reference.verifier,
        "reward_model": {"style": "rule", "ground_truth": one.reference.text()},
        "extra_info": {"split": place.split, "index": place.row, **trace(row, context)},
    }


def _rl_schema(columns: pa.Schema, context: Context) -> pa.Schema:
    information = [("split", pa.string()), ("index", pa.int64()), *trace_fields(columns)]
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(MESSAGE)),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
            ("extra_info", pa.struct(information)),
        ]
    )


def _sft_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    prompt, answer = dialogue(row)
    if answered_before(prompt):
        return LeftOut(
            "it has earlier answers, which are not to be trained, and verl trains every turn of the assistant"
        )
    return {"messages": [*prompt, *answer], **trace(row, context)}


def _sft_schema(columns: pa.Schema, context: Context) -> pa.Schema:
    return pa.schema([("messages", pa.list_(context.message)), *trace_fields(columns)])


def _rl_launch(launched: Launched) -> str:
    settings, algorithm = launched.settings, launched.settings.algorithm
    beta = "beta" in settings and settings["beta"] > 0
    known = script.arguments(settings, RL_FLAGS)
    given = [
        Argument('"data.train_files=$(text "$HERE/data/train.parquet")"', "the set"),
        Argument(f'"data.val_files=$(text "$HERE/data/{"test" if launched.tests else "train"}.parquet")"', "the set"),
        Argument(
            f"data.shuffle={not launched.ordered}", "the set's order is a curriculum" if launched.ordered else "verl"
        ),
        Argument('"data.max_prompt_length=$MAX_PROMPT"', "above"),
        Argument(
            "data.filter_overlong_prompts=True", "Cuvee: verl prints how many are left; without it training stops there"
        ),
        Argument('"reward.custom_reward_function.path=$(text "$HERE/reward.py")"', "the graders that curated the set"),
        Argument("reward.custom_reward_function.name=compute_score", "reward.py"),
        Argument(f"algorithm.adv_estimator={ESTIMATORS.get(algorithm, 'grpo')}", f"algorithm {algorithm}"),
        *ALGORITHMS.get(algorithm, ()),
        Argument(
            f"actor_rollout_ref.actor.use_kl_loss={beta}", "beta of the recipe" if beta else "no beta in the recipe"
        ),
        *known,
        Argument('"actor_rollout_ref.model.path=$(text "$MODEL")"', "above"),
        *(_template("actor_rollout_ref.model") if launched.template else ()),
        *_template_arguments(launched),
        Argument("actor_rollout_ref.rollout.name=vllm", "Cuvee measures with vLLM"),
        Argument('"actor_rollout_ref.rollout.tensor_model_parallel_size=$TP"', "above"),
        Argument("actor_rollout_ref.actor.use_dynamic_bsz=True", "Cuvee: as many rows at once as fit"),
        Argument('"actor_rollout_ref.actor.ppo_max_token_len_per_gpu=$DEVICE_TOKENS"', "above"),
        *(_CRITIC if algorithm == "ppo" else ()),
        Argument('"trainer.nnodes=$NODES"', "above"),
        Argument('"trainer.n_gpus_per_node=$GPUS"', "above"),
        Argument('"trainer.default_local_dir=$(text "$CHECKPOINTS")"', "above"),
        Argument("trainer.logger=[console,tensorboard]", "Cuvee: no account needed"),
    ]
    room = Variable(
        "MAX_PROMPT", launched.prompt_room, f"Tokens for prompts; the longest has {launched.longest:,} bytes."
    )
    whole = launched.prompt_room + settings.get("max_tokens", 0)
    device = Variable(
        "DEVICE_TOKENS", max(16384, whole), "Tokens that a GPU takes at once; at least those of the longest row."
    )
    return script.script(
        launched.about,
        [
            *script.cluster(launched.model),
            Variable("TP", 1, "GPUs that one copy of the model samples on."),
            room,
            device,
        ],
        SUBMIT + HYDRA,
        given,
        'python3 -m verl.trainer.main_ppo "${args[@]}"',
    )


def _sft_launch(launched: Launched) -> str:
    given = [
        Argument('"data.train_files=$(text "$HERE/data/train.parquet")"', "the set"),
        *([Argument('"data.val_files=$(text "$HERE/data/test.parquet")"', "the set")] if launched.tests else []),
        Argument("data.messages_key=messages", "the set"),
        Argument('"data.max_token_len_per_gpu=$DEVICE_TOKENS"', "above"),
        *script.arguments(launched.settings, SFT_FLAGS),
        Argument('"model.path=$(text "$MODEL")"', "above"),
        *(_template("model") if launched.template else ()),
        Argument('"trainer.nnodes=$NODES"', "above"),
        Argument('"trainer.n_gpus_per_node=$GPUS"', "above"),
        Argument('"trainer.default_local_dir=$(text "$CHECKPOINTS")"', "above"),
        Argument("trainer.logger=[console,tensorboard]", "Cuvee: no account needed"),
    ]
    command = 'python3 -m verl.trainer.sft_trainer_ray "${args[@]}"'
    longest = launched.settings.get("max_length", 0)
    device = Variable(
        "DEVICE_TOKENS", max(8192, longest), "Tokens that a GPU takes at once; at least those of the longest row."
    )
    return script.script(launched.about, [*script.cluster(launched.model), device], SUBMIT + HYDRA, given, command)


def _template(where: str) -> list[Argument]:
    text = f'"{where}.custom_chat_template=$(text "$(cat "$HERE/{TEMPLATE}")")"'
    return [Argument(text, "how problems were put to the model")]


def _template_arguments(launched: Launched) -> list[Argument]:
    frame = launched.context.frame
    given = {} if frame is None else frame.template_kwargs
    return [
        Argument(f"+data.apply_chat_template_kwargs.{key}={script.word(value)}", "prompt.chat_template_kwargs")
        for key, value in given.items()
    ]


def _rl_notes(launched: Launched) -> list[str]:
    settings, notes = launched.settings, []
    if settings.algorithm not in ESTIMATORS:
        notes.append(f"verl has no {settings.algorithm} by that name: launch.sh trains GRPO in its place.")
    if any(launched.context.asked.of(source).stop for source in ("", *launched.context.asked.by_source)):
        notes.append(
            "Samples were ended at stop strings, and verl takes none: the model goes on behind them until it ends by itself. "
            "reward.py grades what stands before the first one."
        )
    return notes + script.untold(settings, RL_FLAGS)


def _sft_notes(launched: Launched) -> list[str]:
    return script.untold(launched.settings, SFT_FLAGS)


TARGET = Target(
    "verl",
    "verl 0.9.1",
    {
        "rl": Form(_rl_row, _rl_schema, _rl_launch, "verl.py", _rl_notes),
        "sft": Form(_sft_row, _sft_schema, _sft_launch, None, _sft_notes),
        "fusion": Form(_sft_row, _sft_schema, _sft_launch, None, _sft_notes),
    },
    {
        "preference": "verl has no trainer for preference pairs; --to trl, openrlhf and nemo-rl have",
        "process": "verl has no trainer for steps with labels",
    },
)
