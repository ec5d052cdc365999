"""NeMo-RL: JSON Lines for its response and preference datasets, an environment of our graders, its own examples on Ray."""

from __future__ import annotations

from train.export import script
from train.export.asked import stops
from train.export.rows import Context, LeftOut, Row, answered_before, dialogue, pair, problem, trace
from train.export.script import HYDRA, SUBMIT, Argument, Flag, Variable
from train.export.target import TEMPLATE, Form, Launched, Place, Target, as_messages

ALGORITHMS = {
    "grpo": "grpo.normalize_rewards=true grpo.use_leave_one_out_baseline=false",
    "dapo": "grpo.normalize_rewards=true grpo.use_leave_one_out_baseline=false loss_fn.token_level_loss=true",
    "dr_grpo": "grpo.normalize_rewards=false grpo.use_leave_one_out_baseline=false",
    "rloo": "grpo.normalize_rewards=false grpo.use_leave_one_out_baseline=true",
}
COMMON = (
    Flag("learning_rate", "policy.optimizer.kwargs.lr={}"),
    Flag("weight_decay", "policy.optimizer.kwargs.weight_decay={}"),
    Flag("max_grad_norm", "policy.max_grad_norm={}"),
)
RL_FLAGS = (
    Flag("temperature", "policy.generation.temperature={}"),
    Flag("top_p", "policy.generation.top_p={}"),
    Flag("top_k", "policy.generation.top_k={}"),
    Flag("generations", "grpo.num_generations_per_prompt={}"),
    Flag("batch_size", "grpo.num_prompts_per_step={}"),
    Flag("beta", "loss_fn.reference_policy_kl_penalty={}"),
    Flag("epsilon", "loss_fn.ratio_clip_min={}"),
    Flag("epsilon_high", "loss_fn.ratio_clip_max={}"),
    Flag("epochs", "grpo.max_num_epochs={}"),
    Flag("steps", "grpo.max_num_steps={}"),
    Flag("seed", "grpo.seed={}"),
    *COMMON,
)


def _flags(section: str) -> tuple[Flag, ...]:
    """Of SFT and DPO, which call the same things the same, each in its own section."""
    return (
        Flag("batch_size", "policy.train_global_batch_size={}"),
        Flag("max_length", "policy.max_total_sequence_length={}"),
        Flag("epochs", f"{section}.max_num_epochs={{}}"),
        Flag("steps", f"{section}.max_num_steps={{}}"),
        Flag("seed", f"{section}.seed={{}}"),
        *COMMON,
    )


SFT_FLAGS = _flags("sft")
DPO_FLAGS = (Flag("beta", "dpo.reference_policy_kl_penalty={}"), *_flags("dpo"))


def _traced(row: Row, context: Context) -> Row:
    # A column that begins with nulls is read as one of nothing else.
    return {key: value if value is not None else "" for key, value in trace(row, context).items()}


def _rl_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    one = problem(row, context)
    if isinstance(one, LeftOut):
        return one
    return {"messages": as_messages(one.shown), "reference": one.reference.text(), **_traced(row, context)}


def _sft_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    prompt, answer = dialogue(row)
    if answered_before(prompt):
        return LeftOut(
            "it has earlier answers, which are not to be trained, and NeMo-RL trains every turn of the assistant"
        )
    return {"messages": [*prompt, *answer], **_traced(row, context)}


def _pair_row(row: Row, context: Context, place: Place) -> Row | LeftOut:
    prompt, chosen, rejected = pair(row)
    completions = [{"rank": rank, "completion": answer} for rank, answer in enumerate((chosen, rejected))]
    return {"context": prompt, "completions": completions, **_traced(row, context)}


def _rl_launch(launched: Launched) -> str:
    settings = launched.settings
    batch = settings["batch_size"] * settings["generations"]
    ended = stops(launched.context.asked, ["", *launched.context.asked.by_source])
    room = Variable(
        "MAX_PROMPT", launched.prompt_room, f"Tokens for prompts; the longest has {launched.longest:,} bytes."
    )
    answers = Variable("MAX_NEW", settings.get("max_tokens", 1024), "Tokens for answers.")
    given = [
        *_data(launched, "ResponseDataset", "processor:cuvee,env_name:cuvee"),
        Argument("++env.cuvee={}", "the graders that curated the set, in reward.py"),
        Argument(f"data.shuffle={str(not launched.ordered).lower()}", "the set's order"),
        Argument(ALGORITHMS.get(settings.algorithm, ALGORITHMS["grpo"]), f"algorithm {settings.algorithm}"),
        *script.arguments(settings, RL_FLAGS),
        *([] if "beta" in settings else [Argument("loss_fn.reference_policy_kl_penalty=0", "no beta in the recipe")]),
        Argument(
            f"policy.train_global_batch_size={batch}", "batch_size times generations: one step a batch of samples"
        ),
        Argument('"policy.max_total_sequence_length=$((MAX_PROMPT + MAX_NEW))"', "above"),
        Argument('"policy.generation.max_new_tokens=$MAX_NEW"', "above"),
        *([Argument(_strings("policy.generation.stop_strings", ended), "prompt.stop")] if ended else []),
        *_usual(launched),
    ]
    command = (
        'cd "$NEMO_RL"\npython3 "$HERE/reward.py" --config "$NEMO_RL/examples/configs/grpo_math_1B.yaml" "${args[@]}"'
    )
    return script.script(launched.about, [*_cluster(launched), room, answers], SUBMIT + HYDRA, given, command)


def _sft_launch(launched: Launched) -> str:
    given = [
        *_data(launched, "ResponseDataset", "processor:sft_processor"),
        *script.arguments(launched.settings, SFT_FLAGS),
        *_usual(launched),
    ]
    return script.script(launched.about, _cluster(launched), SUBMIT + HYDRA, given, _example("sft"))


def _pair_launch(launched: Launched) -> str:
    given = [
        *_data(launched, "PreferenceDataset", ""),
        *script.arguments(launched.settings, DPO_FLAGS),
        *_usual(launched),
    ]
    return script.script(launched.about, _cluster(launched), SUBMIT + HYDRA, given, _example("dpo"))


def _example(name: str) -> str:
    config = f'--config "$NEMO_RL/examples/configs/{name}.yaml"'
    return f'cd "$NEMO_RL"\npython3 "$NEMO_RL/examples/run_{name}.py" {config} "${{args[@]}}"'


def _data(launched: Launched, reader: str, default: str) -> list[Argument]:
    def of(split: str) -> str:
        return f'{{dataset_name:{reader},data_path:$(text "$HERE/data/{split}.jsonl")}}'

    shared = ",".join(filter(None, ["prompt_file:null,system_prompt_file:null", default]))
    return [
        Argument(f'"data.train={of("train")}"', "the set"),
        Argument(f'"data.validation={of("test") if launched.tests else "null"}"', "the set"),
        Argument(f'"++data.default={{{shared}}}"', "prompts are whole as they are"),
    ]


def _usual(launched: Launched) -> list[Argument]:
    frame = launched.context.frame
    template = f'"++policy.tokenizer.chat_template=$(text "$HERE/{TEMPLATE}")"'
    arguments = {} if frame is None else frame.template_kwargs
    return [
        Argument('"policy.model_name=$(text "$MODEL")"', "above"),
        *([Argument(template, "how problems were put to the model")] if launched.template else []),
        *(
            Argument(
                f"++policy.tokenizer.chat_template_kwargs.{key}={script.word(value)}", "prompt.chat_template_kwargs"
            )
            for key, value in arguments.items()
        ),
        Argument('"checkpointing.checkpoint_dir=$(text "$CHECKPOINTS")"', "above"),
        Argument('"cluster.num_nodes=$NODES"', "above"),
        Argument('"cluster.gpus_per_node=$GPUS"', "above"),
    ]


def _strings(key: str, values: list[str]) -> str:
    """A list of texts as Hydra reads it."""
    return f'"{key}=[{",".join(f"$(text {script.word(value)})" for value in values)}]"'


def _cluster(launched: Launched) -> list[Variable]:
    return [
        *script.cluster(launched.model),
        Variable("NEMO_RL", "/opt/nemo-rl", "NeMo-RL's checkout, on every node."),
    ]


def _rl_notes(launched: Launched) -> list[str]:
    settings, notes = launched.settings, []
    if settings.algorithm not in ALGORITHMS:
        notes.append(f"NeMo-RL has no {settings.algorithm} by that name: launch.sh trains GRPO in its place.")
    return notes + script.untold(settings, RL_FLAGS, ("max_tokens",))


def _sft_notes(launched: Launched) -> list[str]:
    return script.untold(launched.settings, SFT_FLAGS)


def _pair_notes(launched: Launched) -> list[str]:
    notes = []
    if (algorithm := launched.settings.algorithm) != "dpo":
        notes.append(f"NeMo-RL has no {algorithm} by that name: launch.sh trains DPO in its place.")
    return notes + script.untold(launched.settings, DPO_FLAGS)


TARGET = Target(
    "nemo-rl",
    "NeMo-RL as on GitHub (datasets under data.train and data.default); what PyPI has by that name is empty",
    {
        "rl": Form(_rl_row, None, _rl_launch, "nemo_rl.py", _rl_notes),
        "sft": Form(_sft_row, None, _sft_launch, None, _sft_notes),
        "fusion": Form(_sft_row, None, _sft_launch, None, _sft_notes),
        "preference": Form(_pair_row, None, _pair_launch, None, _pair_notes),
    },
    {"process": "NeMo-RL has no trainer for steps with labels"},
)
