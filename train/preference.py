"""Pairs of answers: DPO and length-normalised DPO, SimPO, and a reward model, over TRL's trainers.

DPO's reference is the model that the stage starts from: a second copy of it, or with adapters the model without them.
SimPO has none. A reward model is the start with one number for its output layer.
"""

import os
from typing import Any


def trainer(watched: Any, kind: str, arguments: dict[str, Any], **given: Any) -> Any:
    """The trainer of TRL's kind: dpo, cpo, reward. given: model, datasets, tokenizer and adapters, by TRL's names."""
    if kind == "dpo":
        from trl import DPOConfig, DPOTrainer

        return watched(DPOTrainer)(args=DPOConfig(**arguments), **given)
    if kind == "cpo":
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the lock pins its version
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        for split in ("train_dataset", "eval_dataset"):
            if given[split] is not None:
                given[split] = as_text(given[split], given["processing_class"])
        return watched(CPOTrainer)(args=CPOConfig(**arguments), **given)
    from trl import RewardConfig, RewardTrainer

    return watched(RewardTrainer)(args=RewardConfig(**arguments), **given)


def as_text(rows: Any, tokenizer: Any) -> Any:
    """Pairs as texts in the tokenizer's chat template. Of messages TRL's CPOTrainer would make the same, but put the end of a
    sequence behind a template that goes on after the end of the turn (`<|im_end|>` and a line break): it would be trained twice.
    """

    def text(row: dict[str, Any]) -> dict[str, str]:
        prompt = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        answers = {}
        for side in ("chosen", "rejected"):
            whole = tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False)
            prompt = _shared(prompt, whole)  # a template may ask otherwise than it writes
            answers[side] = whole
        ends = {side: whole[len(prompt) :] for side, whole in answers.items()}
        for side, answer in ends.items():
            if answer.rstrip().endswith(tokenizer.eos_token):
                ends[side] = answer.rstrip()
        return {"prompt": prompt, **ends}

    return rows.map(text, remove_columns=rows.column_names)


def _shared(one: str, other: str) -> str:
    """What two texts begin with."""
    return one[
        : next(
            (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
        )
    ]
