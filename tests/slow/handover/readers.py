"""What verl and OpenRLHF make of an export. Run by the environment of scripts/handover.sh, which has them and not pytest's.

python readers.py PART EXPORT TOKENIZER ARGUMENTS     prints a JSON object
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def verl_rl(folder: Path, tokenizer: Any, arguments: list[str]) -> dict[str, Any]:
    """The set through RLHFDataset, as the launch command configures it, and prompts as the rollout tokenises them."""
    config = verl_config("ppo_trainer", [*arguments, f"+data.cache_dir={folder}/cache"])
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    if (template := config.actor_rollout_ref.model.custom_chat_template) is not None:
        tokenizer.chat_template = template
    rows = RLHFDataset([config.data.train_files], tokenizer, config.data)
    batch = collate_fn([rows[at] for at in range(len(rows))])
    shown = [
        tokenizer.apply_chat_template(row, add_generation_prompt=True, tokenize=False) for row in batch["raw_prompt"]
    ]
    return {
        "ids": [one["id"] for one in batch["extra_info"]],
        "index": [int(one) for one in batch["index"]],
        "ground_truth": [one["ground_truth"] for one in batch["reward_model"]],
        "shown": shown,
        "nodes": config.trainer.nnodes,
    }


def verl_reward(folder: Path, tokenizer: Any, arguments: list[str]) -> dict[str, Any]:
    """Answers through verl's own reward manager, each a tokenised response; all of them at once."""
    import numpy as np
    import torch
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.utils.dataset.rl_dataset import RLHFDataset

    answers = json.loads(os.environ["ANSWERS"])
    config = verl_config("ppo_trainer", [*arguments, f"+data.cache_dir={folder}/cache"])
    row = RLHFDataset([config.data.train_files], tokenizer, config.data)[0]
    manager = load_reward_manager(config, tokenizer)

    def one(answer: str) -> Any:
        response = torch.tensor([[*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]])
        tensors = {
            "prompts": torch.tensor([[1, 2]]),
            "responses": response,
            "attention_mask": torch.ones(1, 2 + response.shape[1], dtype=torch.long),
        }
        kept = ("data_source", "reward_model", "extra_info")
        others = {key: np.array([row[key]], dtype=object) for key in kept}
        return manager.run_single(DataProto.from_dict(tensors=tensors, non_tensors=others))

    async def everything() -> list[Any]:
        return list(await asyncio.gather(*map(one, answers)))

    return {"manager": type(manager).__name__, "found": manager.loop.run_until_complete(everything())}


def ray_reward(folder: Path, tokenizer: Any, arguments: list[str]) -> dict[str, Any]:
    """Answers through the reward file in a Ray worker that takes four at a time."""
    import ray
    from verl.utils.import_utils import load_extern_object

    @ray.remote
    class Worker:
        def score(self, answer: str) -> Any:
            path, reference = str(folder / "rl" / "reward.py"), os.environ["REFERENCE"]
            return load_extern_object(path, "compute_score")("sums", answer, reference)

    ray.init(num_cpus=1, include_dashboard=False, _temp_dir=os.environ["RAY_FOLDER"])
    worker = Worker.options(max_concurrency=4).remote()
    try:
        return {"found": ray.get([worker.score.remote(answer) for answer in json.loads(os.environ["ANSWERS"])])}
    finally:
        ray.shutdown()


def verl_sft(folder: Path, tokenizer: Any, arguments: list[str]) -> dict[str, Any]:
    """The set through MultiTurnSFTDataset: whole rows, and what of them is trained."""
    config = verl_config("sft_trainer_engine", arguments)
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

    rows = MultiTurnSFTDataset([config.data.train_files], tokenizer, config.data)
    made = [rows[at] for at in range(len(rows))]
    return {
        "whole": [tokenizer.decode(row["input_ids"]) for row in made],
        "trained": [tokenizer.decode(row["input_ids"][row["loss_mask"].bool()]) for row in made],
    }


def verl_config(name: str, arguments: list[str]) -> Any:
    """verl's configuration with the arguments of a launch command; one that it does not know is an error."""
    import verl
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        return compose(name, overrides=arguments)


def openrlhf_rl(folder: Path, tokenizer: Any, arguments: list[str]) -> dict[str, Any]:
    """The set through PromptDataset, as the launch command's keys say."""
    from openrlhf.datasets import PromptDataset

    strategy = strategy_of(arguments)
    rows = PromptDataset(read(arguments, "--data.prompt_dataset", strategy), tokenizer, strategy)
    made = [rows[at] for at in range(len(rows))]
    return {"shown": [prompt for _, prompt, _, _ in made], "labels": [label for _, _, label, _ in made]}


def openrlhf_sft(folder: Path, tokenizer: Any, arguments: list[str]) -> dict[str, Any]:
    """The set through SFTDataset; the mask is of the token that is predicted."""
    from openrlhf.datasets import SFTDataset

    strategy = strategy_of(arguments)
    rows = SFTDataset(read(arguments, "--data.dataset", strategy), tokenizer, 512, strategy, num_processors=1)
    trained = []
    for at in range(len(rows)):
        ids, _, mask = rows[at]
        kept = [token for token, on in zip(ids[0].tolist()[1:], mask[0].tolist(), strict=False) if on]
        trained.append(tokenizer.decode(kept))
    return {"trained": trained}


def openrlhf_pairs(folder: Path, tokenizer: Any, arguments: list[str]) -> dict[str, Any]:
    """The set through RewardDataset, as DPO reads it."""
    from openrlhf.datasets import RewardDataset

    strategy = strategy_of(arguments)
    data = read(arguments, "--data.dataset", strategy)
    rows = RewardDataset(data, tokenizer, 512, strategy, is_dpo=True, num_processors=1)
    return {"prompts": list(rows.prompts), "chosen": list(rows.chosens), "rejected": list(rows.rejects)}


def openrlhf_flags(folder: Path, tokenizer: Any, arguments: list[str]) -> dict[str, Any]:
    """The flags of the launch command that OpenRLHF's parser does not have: its parsers are built where they are used."""
    from importlib.util import find_spec

    spec = find_spec(arguments[0])
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    for prefix in ("actor", "critic"):
        source += source.replace("{prefix}", prefix)
    return {"unknown": [flag for flag in arguments[1:] if flag.startswith("--") and f'"{flag}"' not in source]}


def strategy_of(arguments: list[str]) -> Any:
    """What OpenRLHF's readers look at: the arguments by section, and rank 0."""
    data = {
        key: arguments[arguments.index(f"--data.{key}") + 1]
        for key in ("input_key", "output_key", "label_key", "prompt_key", "chosen_key", "rejected_key")
        if f"--data.{key}" in arguments
    }
    data["apply_chat_template"] = "--data.apply_chat_template" in arguments
    args = SimpleNamespace(data=SimpleNamespace(**data), use_ms=False)
    return SimpleNamespace(args=args, is_rank_0=lambda: False, print=lambda *_: None)


def read(arguments: list[str], flag: str, strategy: Any) -> Any:
    from openrlhf.datasets.utils import blending_datasets

    return blending_datasets(arguments[arguments.index(flag) + 1], strategy=strategy)


PARTS = {
    part.__name__: part
    for part in (verl_rl, verl_reward, ray_reward, verl_sft, openrlhf_rl, openrlhf_sft, openrlhf_pairs, openrlhf_flags)
}


def main() -> None:
    from transformers import AutoTokenizer

    part, folder, tokenizer, arguments = sys.argv[1:]
    found = PARTS[part](Path(folder), AutoTokenizer.from_pretrained(tokenizer), json.loads(arguments))
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
