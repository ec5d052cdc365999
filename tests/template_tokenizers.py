"""SmolLM2's tokenizer as other models have theirs: with their special tokens, and cutting texts as theirs do."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distill.tokenized import load_tokenizer

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Qwen's tokenizers cut a text before they look for tokens; Llama 3's keep up to three digits together."""
SPECIAL = (
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),  # DeepSeek-R1
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),  # Llama 3
    *("<start_of_turn>", "<end_of_turn>"),  # Gemma
)
TEMPLATES = Path((find_spec("trl").submodule_search_locations or [""])[0], "chat_templates")  # type: ignore[union-attr]
"""Chat templates as their models publish them, and TRL's training variants."""


def template(name: str) -> str:
    """The file of a template that TRL ships."""
    return str(TEMPLATES / f"{name}.jinja")


@cache
def own_tokenizer(folder: Path) -> Any:
    """SmolLM2's, as it is; shared, so not to be changed."""
    return load_tokenizer(folder)


@cache
def other_tokenizer(folder: Path) -> Any:
    """One that goes with the templates of Qwen, DeepSeek, Llama and Gemma; shared, so not to be changed."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(QWEN), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer
