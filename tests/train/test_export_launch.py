"""The launch commands: run by a real shell, with a stand-in for what they start that says what it was given."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from exporting import PROBLEMS, RECIPE, SETS, launched, published

from curation.progress import Progress
from train.export.targets import TARGETS
from train.export.write import Exported, export

RL = {
    **{"is": "grpo", "temperature": 0.9, "max_tokens": 512, "group": 16, "batch_size": 512, "kl": 0.04},
    **{"learning_rate": 3e-6, "clip": 0.2, "clip_high": 0.28, "steps": 100},
}
HOSTILE = 'it\'s "$(touch pwned)" `touch pwned` ${HOME}; touch pwned #\n\\'


def exported(tmp_path: Path, target: str, sets: Any = None, **recipe: Any) -> Exported:
    dataset = published(tmp_path / "ws", sets or SETS, **recipe)
    return export(dataset, TARGETS[target], str(tmp_path / "out"), None, None, Progress(quiet=True))


def of(given: list[str], key: str) -> str:
    """The value of one argument, `key=value` or `key value`."""
    [value] = [one.removeprefix(f"{key}=") for one in given if one.startswith(f"{key}=")] or [
        given[given.index(key) + 1]
    ]
    return value


@pytest.mark.parametrize("target", ["verl", "openrlhf", "nemo-rl", "trl"])
def test_every_script_is_bash(tmp_path: Path, target: str) -> None:
    done = exported(tmp_path, target, train={"rl": RL, "sft": {"set": "sft"}, "dpo": {"set": "preference"}})
    for name in done.sets:
        script = tmp_path / "out" / name / "launch.sh"
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", str(script)], check=True)
        launched(tmp_path / "out" / name, "run")


def test_verl_gets_the_recipes_settings(tmp_path: Path) -> None:
    exported(tmp_path, "verl", train={"rl": RL})
    folder = tmp_path / "out" / "rl"
    given = launched(folder, "run", NODES="4", MODEL="/models/start")
    assert given[:3] == ["python3", "-m", "verl.trainer.main_ppo"]
    assert {key: of(given, key) for key in WANTED} == WANTED | {
        "data.train_files": f"'{folder}/data/train.parquet'",
        "reward.custom_reward_function.path": f"'{folder}/reward.py'",
    }


WANTED = {
    "data.train_files": "",
    "data.max_response_length": "512",
    "data.train_batch_size": "32",
    "data.shuffle": "True",
    "data.seed": "7",
    "reward.custom_reward_function.path": "",
    "algorithm.adv_estimator": "grpo",
    "actor_rollout_ref.rollout.temperature": "0.9",
    "actor_rollout_ref.rollout.top_p": "0.95",
    "actor_rollout_ref.rollout.n": "16",
    "actor_rollout_ref.actor.optim.lr": "3e-06",
    "actor_rollout_ref.actor.use_kl_loss": "True",
    "actor_rollout_ref.actor.kl_loss_coef": "0.04",
    "actor_rollout_ref.actor.clip_ratio_low": "0.2",
    "actor_rollout_ref.actor.clip_ratio_high": "0.28",
    "actor_rollout_ref.model.path": "'/models/start'",
    "trainer.total_training_steps": "100",
    "trainer.nnodes": "4",
    "trainer.n_gpus_per_node": "8",
}


def test_every_argument_says_where_its_value_is_from(tmp_path: Path) -> None:
    exported(tmp_path, "verl", train={"rl": RL, "sft": {"set": "sft", "epochs": 2}})
    rl = (tmp_path / "out/rl/launch.sh").read_text()
    assert "  # recipe: train.rl.temperature\n  actor_rollout_ref.rollout.temperature=0.9\n" in rl
    assert "  # as difficulty was measured, annotate.pass_rate\n  actor_rollout_ref.rollout.top_p=0.95\n" in rl
    sft = (tmp_path / "out/sft/launch.sh").read_text()
    assert "  # recipe: train.sft.epochs\n  trainer.total_epochs=2\n" in sft
    assert "  # s1 (2501.19393, app. D)\n  optim.lr=1e-05\n" in sft
    assert "  # the set's longest row\n  data.max_length=90\n" in sft


def test_without_a_stage_rl_samples_as_difficulty_was_measured(tmp_path: Path) -> None:
    exported(tmp_path, "verl")
    given = launched(tmp_path / "out/rl", "run")
    keys = ("actor_rollout_ref.rollout.temperature", "actor_rollout_ref.rollout.n", "data.max_response_length")
    assert [of(given, key) for key in keys] == ["0.6", "4", "300"]
    assert of(given, "data.train_batch_size") == "4"  # verl would drop the four rows, with its batch of 1,024
    assert of(given, "actor_rollout_ref.actor.use_kl_loss") == "False"


def test_launching_submits_itself_to_ray_with_its_variables(tmp_path: Path) -> None:
    exported(tmp_path, "verl")
    folder = tmp_path / "out" / "rl"
    given = launched(folder, MODEL=HOSTILE, NODES="2", RAY_ADDRESS="http://head:8265")
    assert given[:5] == ["ray", "job", "submit", "--address", "http://head:8265"]
    assert given[-4:] == ["--", "bash", f"{folder}/launch.sh", "run"]
    variables = json.loads(given[given.index("--runtime-env-json") + 1])["env_vars"]
    assert (variables["MODEL"], variables["NODES"], variables["GPUS"]) == (HOSTILE, "2", "8")
    assert variables["PYTHONPATH"] == str(folder)


def test_nothing_that_a_recipe_says_is_run(tmp_path: Path) -> None:
    models = {"policy": {"model": HOSTILE, "prompt": {"stop": [HOSTILE], "chat_template_kwargs": {"a": HOSTILE}}}}
    for target in ("verl", "openrlhf", "nemo-rl", "trl"):
        folder = tmp_path / target
        exported(
            folder, target, {"rl": SETS["rl"]}, models=models, train={HOSTILE: {"is": "grpo", "trl": {HOSTILE: 1}}}
        )
        given = launched(folder / "out/rl", "run")
        assert not list(tmp_path.rglob("pwned"))
        if target in ("openrlhf", "trl"):
            key = "--actor.model_name_or_path" if target == "openrlhf" else "--model_name_or_path"
            assert of(given, key) == HOSTILE
    assert json.loads(of(given, "--generation_kwargs")) == {"stop": [HOSTILE]}


def test_a_model_that_nobody_names_is_asked_for(tmp_path: Path) -> None:
    exported(tmp_path, "verl", {"rl": SETS["rl"]}, models={}, annotate={}, student=None)
    ran = subprocess.run(["bash", str(tmp_path / "out/rl/launch.sh")], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "MODEL: is not set: MODEL=FOLDER bash launch.sh" in ran.stderr


def test_an_ordered_set_stays_in_its_order(tmp_path: Path) -> None:
    recipe = {"balance": {"size": 4, "order": "easy_to_hard", "order_by": "pass_rate"}}
    for target, key, value in (("verl", "data.shuffle", "False"), ("trl", "--shuffle_dataset", "false")):
        exported(tmp_path / target, target, {"rl": SETS["rl"]}, **recipe)
        assert of(launched(tmp_path / target / "out/rl", "run"), key) == value
    [note] = [
        n for n in exported(tmp_path / "o", "openrlhf", {"rl": SETS["rl"]}, **recipe).sets["rl"].notes if "order" in n
    ]
    assert note == "The set's order is a curriculum, and OpenRLHF shuffles prompts."


def test_what_a_trainer_cannot_be_told_is_noted(tmp_path: Path) -> None:
    pass_rate = RECIPE["annotate"]["pass_rate"] | {"min_p": 0.1, "top_k": -1}
    done = exported(
        tmp_path,
        "verl",
        {"rl": SETS["rl"], "sft": SETS["sft"]},
        annotate={"pass_rate": pass_rate},
        train={
            "rl": {"is": "kimi", "rewards": {"accuracy": {}}},
            "sft": {"set": "sft", "optimizer": "adafactor"},
        },
    )
    assert done.sets["rl"].notes == [
        "verl has no kimi by that name: launch.sh trains GRPO in its place.",
        "Samples were ended at stop strings, and verl takes none: the model goes on behind them until it ends by itself. "
        "reward.py grades what stands before the first one.",
        'rewards {"accuracy": {}} (recipe: train.rl.rewards) is not in launch.sh: set it by hand where it matters.',
        "min_p 0.1 (as difficulty was measured, annotate.pass_rate) is not in launch.sh: set it by hand where it matters.",
    ]
    assert done.sets["sft"].notes == [
        'optimizer "adafactor" (recipe: train.sft.optimizer) is not in launch.sh: set it by hand where it matters.'
    ]


def test_a_stage_of_rl_is_told_with_its_algorithms_values(tmp_path: Path) -> None:
    rl = {"is": "r1", "batch_size": 256, "updates": 2, "kl": 0.002, "mask_cut_off": False, "rewards": {"format": {}}}
    done = exported(tmp_path, "verl", {"rl": SETS["rl"]}, train={"rl": rl})
    given = launched(tmp_path / "out/rl", "run")
    assert of(given, "data.train_batch_size") == "32"  # 256 * 2 completions, 16 a problem
    assert of(given, "actor_rollout_ref.rollout.n") == "16"
    assert of(given, "actor_rollout_ref.actor.optim.lr") == "3e-06"
    assert of(given, "actor_rollout_ref.actor.kl_loss_coef") == "0.002"
    assert of(given, "actor_rollout_ref.actor.clip_ratio_high") == "10"
    notes = "\n".join(done.sets["rl"].notes)
    assert "verl has no r1 by that name" in notes
    for told in ("updates 2", "mask_cut_off false", 'rewards {"format": {}}'):
        assert f"{told} (recipe: train.rl" in notes


def test_one_clip_holds_both_ways(tmp_path: Path) -> None:
    exported(tmp_path, "verl", {"rl": SETS["rl"]}, train={"rl": {"clip": 10}})
    given = launched(tmp_path / "out/rl", "run")
    assert [of(given, f"actor_rollout_ref.actor.clip_ratio_{side}") for side in ("low", "high")] == ["10", "10"]


def test_openrlhf_gets_the_recipes_settings(tmp_path: Path) -> None:
    exported(tmp_path, "openrlhf", train={"rl": RL, "mine": {"is": "dpo", "set": "preference", "beta": 0.3}})
    folder = tmp_path / "out" / "rl"
    given = launched(folder, "run", MODEL="/models/start", GPUS="4", NODES="2")
    assert given[:3] == ["python3", "-m", "openrlhf.cli.train_ppo_ray"]
    wanted = {
        **{"--rollout.temperature": "0.9", "--rollout.n_samples_per_prompt": "16", "--rollout.batch_size": "32"},
        **{"--train.batch_size": "512", "--actor.adam.lr": "3e-06", "--algo.kl.init_coef": "0.04"},
        **{"--rollout.max_new_tokens": "512", "--data.max_len": "1024", "--vllm.num_engines": "8"},
        **{"--reward.remote_url": f"{folder}/reward.py", "--algo.advantage.estimator": "group_norm"},
    }
    assert {key: of(given, key) for key in wanted} == wanted
    assert given[given.index("--actor.eps_clip_low_high") + 1 :][:2] == ["0.2", "0.28"]
    assert "--data.apply_chat_template" in given
    submitted = launched(folder, MODEL="/models/start")
    variables = json.loads(submitted[submitted.index("--runtime-env-json") + 1])["env_vars"]
    assert variables["CUVEE_TOKENIZER"] == "/models/start"
    pairs = launched(tmp_path / "out/preference", NODE_RANK="1", NODES="2")
    assert pairs[:5] == ["torchrun", "--nnodes", "2", "--node-rank", "1"]
    assert of(pairs, "--model.beta") == "0.3"


def test_nemo_rl_gets_the_recipes_settings(tmp_path: Path) -> None:
    exported(tmp_path, "nemo-rl", {"rl": SETS["rl"]}, train={"rl": RL})
    folder = tmp_path / "out" / "rl"
    (tmp_path / "nemo").mkdir()
    given = launched(folder, "run", NEMO_RL=str(tmp_path / "nemo"))
    assert given[:4] == [
        "python3",
        f"{folder}/reward.py",
        "--config",
        f"{tmp_path}/nemo/examples/configs/grpo_math_1B.yaml",
    ]
    wanted = {
        **{"grpo.num_prompts_per_step": "32", "grpo.num_generations_per_prompt": "16", "grpo.max_num_steps": "100"},
        **{"policy.train_global_batch_size": "512", "policy.optimizer.kwargs.lr": "3e-06"},
        **{"loss_fn.reference_policy_kl_penalty": "0.04", "loss_fn.ratio_clip_max": "0.28"},
        "data.train": f"{{dataset_name:ResponseDataset,data_path:'{folder}/data/train.jsonl'}}",
        "policy.generation.stop_strings": "['\nQ:']",
    }
    assert {key: of(given, key) for key in wanted} == wanted


def test_trl_takes_every_argument(tmp_path: Path) -> None:
    from trl import DPOConfig, GRPOConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser
    from trl.scripts.grpo import GRPOScriptArguments

    exported(tmp_path, "trl", train={"rl": RL, "sft": {"set": "sft", "packing": True}, "dpo": {"set": "preference"}})
    kinds = {
        "rl": (GRPOScriptArguments, GRPOConfig, ModelConfig),
        "sft": (ScriptArguments, SFTConfig, ModelConfig),
        "preference": (ScriptArguments, DPOConfig, ModelConfig),
    }
    read = {}
    for name, classes in kinds.items():
        # Rank 0 of one: what a GPU would compute in is not asked for here.
        given = launched(tmp_path / "out" / name, GPUS="1", MODEL="/models/start")
        assert given[0] == "accelerate"
        mine = [*given[given.index("-m") + 2 :], "--bf16", "false", "--use_cpu", "true"]
        read[name] = TrlParser(classes).parse_args_and_config(args=mine)
    script, grpo, model = read["rl"]
    assert script.reward_funcs == ["reward.accuracy"]
    assert script.dataset_name == f"{tmp_path}/out/rl/data"
    assert model.model_name_or_path == "/models/start"
    assert (grpo.temperature, grpo.num_generations, grpo.beta, grpo.epsilon, grpo.epsilon_high) == (
        0.9,
        16,
        0.04,
        0.2,
        0.28,
    )
    assert (grpo.loss_type, grpo.scale_rewards, grpo.max_steps, grpo.gradient_accumulation_steps) == (
        "grpo",
        "group",
        100,
        512,
    )
    assert grpo.generation_kwargs == {"stop": ["\nQ:"]}
    _, sft, _ = read["sft"]
    assert (sft.learning_rate, sft.num_train_epochs, sft.packing, sft.max_length, sft.warmup_steps) == (
        1e-5,
        5,
        True,
        90,
        0.05,
    )
    _, dpo, _ = read["preference"]
    assert (dpo.beta, dpo.loss_type, dpo.optim, dpo.warmup_steps) == (0.1, ["sigmoid"], "rmsprop", 150)


def test_prompts_get_room_by_their_bytes(tmp_path: Path) -> None:
    long = PROBLEMS[0] | {"id": "long", "prompt": "数" * 2000}
    exported(tmp_path, "verl", {"rl": {"train": [long], "test": []}})
    assert of(launched(tmp_path / "out/rl", "run"), "data.max_prompt_length") == "4096"


def test_words_survive_the_shell() -> None:
    from train.export.script import word

    for value in (HOSTILE, "", "a b", {"stop": [HOSTILE]}, 3e-6, 12, True, None):
        [back] = shlex.split(word(value))
        assert back == (
            value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)
        )
