"""SFT and fusion sets: TRL's SFTTrainer on `prompt` and `completion`; the loss is on the completion, as the set says."""

from typing import Any


def trainer(watched: Any, arguments: dict[str, Any], **given: Any) -> Any:
    """The trainer. given: model, datasets, tokenizer and adapters, by TRL's names."""
    from trl import SFTConfig, SFTTrainer

    return watched(SFTTrainer)(args=SFTConfig(**arguments, completion_only_loss=True), **given)
