"""Every algorithm, as a recipe names it, raises the accuracy on problems that it has not seen: seconds of CPU each."""

from pathlib import Path
from typing import Any

import pytest
from digits_recipe import RIGHT, Digits
from rl_on_digits import taught

from train import worker

OFTEN = {"updates": 4, "batch_size": 16, "steps": 120}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": {"kl": 0.01},
    "r1": {"kl": 0.001, "reference_every": 10},
    "dr_grpo": {},
    "dapo": OFTEN | {"warmup": 0},
    "rloo": {"kl": 0.01},
    "online_rft": {},
    "kimi": OFTEN,
    "ppo": {"kl": 0.01, "value_learning_rate": 1e-2, "steps": 80},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "grpo with adapters": {"kl": 0.01, "lora": {"rank": 16, "alpha": 16}, "learning_rate": 4e-3, "steps": 160},
    "grpo with every reward": {
        "rewards": {
            "overlong": {},
            "repetition": {},
            "length": {"weight": 0.1, "after": 0.5},
            "language": {"weight": 0},
        }
    },
    "grpo easy to hard": {"curriculum": {"order": "shuffled", "prioritise_after": 0.5}},
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught(tmp_path_factory.mktemp("start"))


@pytest.mark.parametrize("name", [*ALGORITHMS, *VARIANTS])
def test_the_accuracy_on_held_out_problems_rises(name: str, start: Path, tmp_path: Path) -> None:
    stage = (ALGORITHMS | VARIANTS)[name]
    digits = Digits(tmp_path, start, **{"is": name.split(maxsplit=1)[0], "steps": 60} | stage)
    run = digits.run_of(tmp_path / "run")

    assert worker.main(str(run.folder)) == 0, run.error()

    rise = 0.1 if "lora" in stage else 0.2  # adapters on a model of two layers can do less
    found = [line[RIGHT] for line in run.metrics() if RIGHT in line]
    assert sum(found[-3:]) / 3 > found[0] + rise
