"""RL on "which of two digits is larger" with a character model that was taught a little, and a third of it wrong."""

import random
from pathlib import Path
from typing import Any

import torch
from tiny_model import answered, asked, pairs_of_digits, tiny_model

PAIRS = pairs_of_digits()
random.Random(0).shuffle(PAIRS)
HELD, SHOWN = PAIRS[:20], PAIRS[20:]
ARGUMENTS: dict[str, Any] = {
    **{"learning_rate": 1e-3, "lr_scheduler_type": "constant", "per_device_train_batch_size": 64, "num_generations": 8},
    **{"max_completion_length": 4, "bf16": False, "gradient_checkpointing": False, "use_cpu": True, "seed": 0},
    **{"disable_tqdm": True, "report_to": [], "logging_steps": 1, "save_strategy": "no", "max_steps": 40},
}


def taught(folder: Path) -> Path:
    """A model that answers with a digit and ends: the right one in about half of the cases."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model(folder))
    model = AutoModelForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = random.Random(0)
    for _ in range(60):
        rows = [(pair, rng.choice((max(pair), max(pair), min(pair)))) for pair in rng.sample(SHOWN, 32)]
        ids = [
            tokenizer.apply_chat_template([*asked(*pair), *answered(digit)], return_dict=True)["input_ids"]
            for pair, digit in rows
        ]
        given = torch.tensor(ids)
        labels = given.clone()
        labels[:, :-2] = -100  # the digit and the end are learned
        model(given, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def right(prompts: Any, completions: Any, **_: Any) -> list[float | None]:
    """1 for the larger digit, else 0."""
    wanted = [max(prompt[-1]["content"].split()) for prompt in prompts]
    return [float(given[0]["content"] == digit) for given, digit in zip(completions, wanted, strict=True)]


def chance(model: Any, tokenizer: Any) -> float:
    """The probability of the right digit, mean over the held-out pairs: the expectation of the sampled reward."""
    ids = [
        tokenizer.apply_chat_template(asked(*pair), add_generation_prompt=True, return_dict=True)["input_ids"]
        for pair in HELD
    ]
    digits = [tokenizer.convert_tokens_to_ids(str(max(pair))) for pair in HELD]
    with torch.no_grad():
        found = model(torch.tensor(ids)).logits[:, -1].softmax(-1)
    return float(found[range(len(HELD)), digits].mean())


def trainer(
    kind: Any, config: Any, start: Path, out: Path, reward: Any = right, more: Any = None, **arguments: Any
) -> Any:
    """A trainer of the kind, on the pairs that are shown. more: what its constructor takes beside TRL's."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return kind(
        model=AutoModelForCausalLM.from_pretrained(start),
        reward_funcs=reward,
        args=config(output_dir=str(out), **ARGUMENTS | arguments),
        train_dataset=Dataset.from_list([{"prompt": asked(*pair)} for pair in SHOWN]),
        processing_class=AutoTokenizer.from_pretrained(start),
        **(more or {}),
    )
