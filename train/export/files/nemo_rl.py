"""NeMo-RL's reward: an environment whose graders are those that curated the data, and a start of GRPO with it.

    python3 reward.py --config CONFIG key=value ...    what NeMo-RL's examples/run_grpo.py takes

Copied by `cuvee export`; needs Cuvee in NeMo-RL's environment on every node, and NEMO_RL, the folder of its checkout.

NeMo-RL takes a number for every answer. One that could not be graded (a grader that ran out of time, say) gets 0, like a
wrong one, for want of anything else; the metric `unknown` is the share of them.
"""

import os
import runpy
from typing import Any

import ray
import torch
from nemo_rl.environments.interfaces import EnvironmentInterface, EnvironmentReturn

from curation.verify.reference import verdicts

ENVIRONMENT = "reward.CuveeEnvironment"


@ray.remote(max_restarts=-1, max_task_retries=-1)
class CuveeEnvironment(EnvironmentInterface):  # type: ignore[misc]  # a class of NeMo-RL, which is on the cluster only
    """One turn: the answer, then its grade."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        self.graded = self.unknown = 0

    def step(self, message_log_batch: list[list[dict[str, Any]]], metadata: list[dict[str, Any]]) -> EnvironmentReturn:
        """Returns by the graders' deadline."""
        answers = [
            "".join(str(turn["content"]) for turn in log if turn["role"] == "assistant") for log in message_log_batch
        ]
        found = verdicts(zip((one["reference"] for one in metadata), answers, strict=True))
        self.graded += len(found)
        self.unknown += sum(one.outcome == "error" for one in found)
        rewards = torch.tensor([float(one.outcome == "correct") for one in found])
        return EnvironmentReturn(
            observations=[{"role": "environment", "content": one.outcome} for one in found],
            metadata=metadata,
            next_stop_strings=[None] * len(found),
            rewards=rewards,
            terminateds=torch.ones_like(rewards),
            answers=[one.extracted for one in found],
        )

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        share = self.unknown / self.graded if self.graded else 0.0
        self.graded = self.unknown = 0
        return batch, {"accuracy": batch["rewards"].float().mean().item(), "unknown": share}

    def shutdown(self) -> None:
        """Nothing to end: the graders end with this process."""


def processor(datum_dict: dict[str, Any], task_data_spec: Any, tokenizer: Any, max_seq_length: int, idx: int) -> Any:
    """A row of the set as tokens: the whole prompt is one message, as the chat template writes it."""
    text = tokenizer.apply_chat_template(
        datum_dict["messages"], tokenize=False, add_generation_prompt=True, add_special_tokens=False
    )
    tokens = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"][0]
    fits = len(tokens) <= max_seq_length
    kept = tokens if fits else tokens[:4]  # too long a prompt stays in the batch, and no loss comes of it
    return {
        "message_log": [{"role": "user", "content": text, "token_ids": kept}],
        "length": len(kept),
        "extra_env_info": {"reference": datum_dict["reference"]},
        "loss_multiplier": float(fits),
        "idx": idx,
        "task_name": datum_dict["task_name"],
    }


def main() -> None:
    from nemo_rl.data.processors import register_processor
    from nemo_rl.distributed.ray_actor_environment_registry import ACTOR_ENVIRONMENT_REGISTRY
    from nemo_rl.distributed.virtual_cluster import PY_EXECUTABLES
    from nemo_rl.environments.utils import register_env

    ACTOR_ENVIRONMENT_REGISTRY[ENVIRONMENT] = PY_EXECUTABLES.SYSTEM
    register_env("cuvee", ENVIRONMENT)
    register_processor("cuvee", processor)
    runpy.run_path(os.path.join(os.environ["NEMO_RL"], "examples", "run_grpo.py"), run_name="__main__")


if __name__ == "__main__":
    main()
