"""Pairs of answers: DPO and length-normalised DPO, SimPO, and a reward model, over TRL's trainers.

DPO's reference is the model that the stage starts from: a second copy of it, or with adapters the model without them.
SimPO has none. A reward model is the start with one number for its output layer.
"""

import os
from collections.abc import Mapping
from typing import Any

from distill.tokenized import common_prefix


def trainer(watched: Any, kind: str, arguments: dict[str, Any], revision: str | None, **given: Any) -> Any:
    """The trainer of TRL's kind: dpo, cpo, reward. given: model, datasets, tokenizer and adapters, by TRL's names.

    revision: of the start, where that is on the Hub.
    """
    if kind == "dpo":
        from trl import DPOConfig, DPOTrainer

        # TRL loads the reference by the name in the model's config, and takes the revision from here.
        reference = {"revision": revision} | (arguments.get("model_init_kwargs") or {})
        return watched(DPOTrainer)(args=DPOConfig(**arguments | {"model_init_kwargs": reference}), **given)
    if kind == "cpo":
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the lock pins its version
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        class AsWritten(CPOTrainer):
            """Trains the tokens that the template writes: CPOTrainer's own puts one more end after them."""

            def tokenize_row(self, feature: Mapping[str, str], model: Any = None) -> dict[str, list[int]]:
                return _row(self.processing_class, feature, self.max_length)

        return watched(AsWritten)(args=CPOConfig(**arguments), **given)
    from trl import RewardConfig, RewardTrainer

    return watched(RewardTrainer)(args=RewardConfig(**arguments), **given)


def _row(tokenizer: Any, pair: Mapping[str, str], max_length: int) -> dict[str, list[int]]:
    """The tokens and labels of a pair in text, as DPOTrainer makes them, by CPOTrainer's names."""

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    asked = ids(pair["prompt"])
    whole = {answer: ids(pair["prompt"] + pair[answer]) for answer in ("chosen", "rejected")}
    given = min(common_prefix(asked, one) for one in whole.values())
    row = {"prompt_input_ids": asked[:given], "prompt_attention_mask": [1] * given}
    for answer, one in whole.items():
        kept = one[:max_length]
        row[f"{answer}_input_ids"], row[f"{answer}_attention_mask"] = kept, [1] * len(kept)
        row[f"{answer}_labels"] = ([-100] * given + one[given:])[:max_length]
    return row
