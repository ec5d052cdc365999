"""A character-level Llama of 0.1M parameters, and a task that it learns in seconds: which of two digits is larger."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<think>", "</think>"]
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz +-*/=.,?'\n"


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """Writes model and tokenizer."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", additional_special_tokens=SPECIAL[2:]
    )
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def pairs_of_digits() -> list[tuple[int, int]]:
    return [(a, b) for a in range(10) for b in range(10) if a != b]


def asked(a: int, b: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{a} {b}"}]


def answered(digit: int) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": str(digit)}]


def write_rows(file: Path, rows: list[dict[str, Any]]) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
    return str(file)


def sft_rows(pairs: list[tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"prompt": asked(a, b), "completion": answered(max(a, b))} for a, b in pairs]


def preference_rows(pairs: list[tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"prompt": asked(a, b), "chosen": answered(max(a, b)), "rejected": answered(min(a, b))} for a, b in pairs]


def accuracy(folder: Path, pairs: list[tuple[int, int]]) -> float:
    """Share of the pairs whose larger digit the model answers with, greedily."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [tokenizer.apply_chat_template(asked(a, b), tokenize=False, add_generation_prompt=True) for a, b in pairs]
    ids = torch.tensor([tokenizer(text)["input_ids"] for text in texts])
    with torch.no_grad():
        best = model(ids).logits[:, -1].argmax(-1)
    right = [tokenizer.decode([token]) == str(max(pair)) for token, pair in zip(best.tolist(), pairs, strict=True)]
    return sum(right) / len(right)
