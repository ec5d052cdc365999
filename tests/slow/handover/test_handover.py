"""Exports read by the trainers they are for: verl 0.9.1 and OpenRLHF 0.11.2, their own classes. Some minutes.

Their readers run in the environment that scripts/handover.sh makes; without it these tests are skipped.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from exporting import PROBLEMS, SETS, launched, published
from tiny_model import CHARACTERS, SPECIAL, tiny_model

from curation.progress import Progress
from curation.verify.reference import Reference
from train.export.targets import TARGETS
from train.export.write import export

ROOT = Path(__file__).resolve().parents[3]
ENDLESS = r"\boxed{\sum_{k=1}^{10^{12}} \frac{1}{k^{3}}}"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "cuvee", "handover")
PYTHON = Path(os.environ.get("CUVEE_HANDOVER", CACHE)).expanduser() / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason=f"{PYTHON} is not there; scripts/handover.sh makes it")


def prompts(style: str, model: str) -> dict[str, Any]:
    """A recipe's models, one prompt style of which measured difficulty."""
    chat = {"system": "be brief.", "template": "{prompt}\nthink first."}
    raw = {"style": "raw", "template": "q: {prompt}\na:", "stop": ["\n"]}
    return {"policy": {"model": model, "prompt": chat if style == "chat" else raw}}


def seen(text: str) -> str:
    """A text as the tiny tokenizer gives it back: a character that it does not have is a question mark."""
    parts = re.split(f"({'|'.join(map(re.escape, SPECIAL))})", text)
    return "".join(part if part in SPECIAL else re.sub(f"[^{re.escape(CHARACTERS)}]", "?", part) for part in parts)


class Handed:
    """An export, and what a trainer's own code makes of it."""

    def __init__(self, folder: Path, target: str, style: str) -> None:
        self.model = str(tiny_model(folder / "tiny"))
        dataset = published(folder / "ws", SETS, models=prompts(style, self.model), train={"sft": {"set": "sft"}})
        self.out = Path(export(dataset, TARGETS[target], str(folder / "out"), None, None, Progress(quiet=True)).folder)

    def command(self, name: str) -> list[str]:
        return launched(self.out / name, "run", MODEL=self.model, NODES="2")

    def read(self, part: str, arguments: list[str], **environment: str) -> dict[str, Any]:
        ran = subprocess.run(
            [
                str(PYTHON),
                str(Path(__file__).with_name("readers.py")),
                part,
                str(self.out),
                self.model,
                json.dumps(arguments),
            ],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "CUDA_VISIBLE_DEVICES": "",
                "HF_HUB_OFFLINE": "1",
                **environment,
            },
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-4000:]
        found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        return found


@pytest.mark.parametrize("style", ["chat", "raw"])
def test_verl_reads_the_problems_and_shows_them_as_they_were_sampled(tmp_path: Path, style: str) -> None:
    handed = Handed(tmp_path, "verl", style)
    found = handed.read("verl_rl", handed.command("rl")[3:])
    stop = ("\n",) if style == "raw" else ()
    kept = SETS["rl"]["train"]
    assert found["ids"] == [row["id"] for row in kept]
    assert found["index"] == [0, 1, 2, 3]
    assert found["ground_truth"] == [Reference("math", row["answer"], None, stop).text() for row in kept]
    chat = "<|system|>be brief.<|end|><|user|>{}\nthink first.<|end|><|assistant|>"
    shown = chat if style == "chat" else "q: {}\na:"
    assert found["shown"] == [shown.replace("{}", row["prompt"]) for row in kept]
    assert found["nodes"] == 2


def test_verls_reward_manager_grades_with_our_graders(tmp_path: Path) -> None:
    handed = Handed(tmp_path, "verl", "chat")
    assert PROBLEMS[0]["answer"] == "1"
    answers = ["so it is 1.", "so it is 2.", "1 or 2", "", "9**9**9**9**9", "it is 1.0"]
    found = handed.read("verl_reward", handed.command("rl")[3:], ANSWERS=json.dumps(answers))
    assert found["manager"] == "NaiveRewardManager"
    assert [one["reward_score"] for one in found["found"]] == [1, 0, 0, 0, 0, 1]
    assert all({*one["reward_extra_info"]} == {"score", "acc", "unknown", "pred"} for one in found["found"])


def test_an_endless_answer_ends_in_a_ray_worker_as_unknown(tmp_path: Path) -> None:
    handed = Handed(tmp_path, "verl", "chat")
    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # its sockets have to fit into 107 characters
        found = handed.read(
            "ray_reward",
            [],
            ANSWERS=json.dumps(["it is 5.", "it is 6.", ENDLESS]),
            REFERENCE=Reference("math", "5").text(),
            RAY_FOLDER=short,
            RAY_AUTH_MODE="disabled",
        )["found"]
    assert [(one["score"], one["unknown"]) for one in found] == [(1, 0), (0, 0), (0, 1)]


@pytest.mark.parametrize("name", ["sft", "fusion"])
def test_verl_trains_the_answers_and_nothing_else(tmp_path: Path, name: str) -> None:
    handed = Handed(tmp_path, "verl", "chat")
    found = handed.read("verl_sft", handed.command(name)[3:])
    kept = [row for row in SETS[name]["train"] if len(row["prompt"]) == 1]
    answers = [seen(f"{row['completion'][0]['content']}<|end|>") for row in kept]
    assert found["trained"] == answers
    asked = [row["prompt"][0]["content"] for row in kept]
    pairs = zip(asked, answers, strict=True)
    assert found["whole"] == [seen(f"<|user|>{prompt}<|end|><|assistant|>{answer}") for prompt, answer in pairs]


@pytest.mark.parametrize("style", ["chat", "raw"])
def test_openrlhf_reads_the_problems_and_shows_them_as_they_were_sampled(tmp_path: Path, style: str) -> None:
    handed = Handed(tmp_path, "openrlhf", style)
    found = handed.read("openrlhf_rl", handed.command("rl"))
    chat = "<|system|>be brief.<|end|><|user|>{}\nthink first.<|end|><|assistant|>"
    shown = chat if style == "chat" else "q: {}\na:"
    kept = SETS["rl"]["train"]
    assert found["shown"] == [shown.replace("{}", row["prompt"]) for row in kept]
    stop = ("\n",) if style == "raw" else ()
    assert found["labels"] == [Reference("math", row["answer"], None, stop).text() for row in kept]


def test_openrlhf_trains_the_last_answers_and_nothing_else(tmp_path: Path) -> None:
    handed = Handed(tmp_path, "openrlhf", "chat")
    for name in ("sft", "fusion"):
        found = handed.read("openrlhf_sft", handed.command(name))
        assert found["trained"] == [seen(f"{row['completion'][0]['content']}<|end|>") for row in SETS[name]["train"]]
    found = handed.read("openrlhf_pairs", handed.command("preference"))
    assert found == {
        "prompts": ["<|user|>What is 0 + 1?<|end|><|assistant|>"],
        "chosen": ["1<|end|>"],
        "rejected": ["2<|end|>"],
    }


@pytest.mark.parametrize(
    ("name", "module"),
    [("rl", "train_ppo_ray"), ("sft", "train_sft"), ("preference", "train_dpo")],
)
def test_openrlhf_knows_every_flag(tmp_path: Path, name: str, module: str) -> None:
    handed = Handed(tmp_path, "openrlhf", "chat")
    command = handed.command(name)
    at = command.index(f"openrlhf.cli.{module}")
    assert handed.read("openrlhf_flags", command[at:]) == {"unknown": []}
