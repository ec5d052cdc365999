"""Problems as tokens, and tokens as answers, are what a server would make of them."""

from pathlib import Path
from typing import Any

import pytest
from tiny_model import tiny_model

from curation.prompt import Prompt
from train.prompting import Reader, ask, tokenizer_of

PROBLEM = {"prompt": "2 7", "messages": [{"role": "system", "content": "be brief"}]}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = str(tiny_model(tmp_path_factory.mktemp("tiny")))
    return tokenizer_of({"tokenizer": folder, "revision": None, "chat_template": None})


def shown(tokenizer: Any, prompt: Prompt) -> str:
    text: str = tokenizer.decode(ask(tokenizer, prompt, PROBLEM).ids, skip_special_tokens=False)
    return text


def test_a_chat_ends_where_the_answer_begins(tokenizer: Any) -> None:
    asked = ask(tokenizer, Prompt(system="add"), PROBLEM)

    assert tokenizer.decode(asked.ids) == "<|system|>add\n\nbe brief<|end|><|user|>2 7<|end|><|assistant|>"
    assert asked.sent == [{"role": "system", "content": "add\n\nbe brief"}, {"role": "user", "content": "2 7"}]
    assert not asked.opened


def test_a_raw_prompt_is_the_text_alone(tokenizer: Any) -> None:
    prompt = Prompt.model_validate(
        {"style": "raw", "template": "{prompt} =", "shots": [{"prompt": "1 3", "answer": "3"}], "separator": "\n"}
    )
    assert shown(tokenizer, prompt) == "be brief\n1 3 = 3\n2 7 ="


def test_a_raw_prompt_has_the_special_tokens_that_a_tokenizer_adds_and_a_chat_has_them_once(tmp_path: Path) -> None:
    """Llama's tokenizer begins every text with one, and its template writes it."""
    from tokenizers.processors import TemplateProcessing

    folder = str(tiny_model(tmp_path / "tiny"))
    tokenizer = tokenizer_of({"tokenizer": folder, "chat_template": "<|system|>{{ messages[0].content }}"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<|system|> $A", special_tokens=[("<|system|>", 2)])
    problem = {"prompt": "2 7", "messages": None}

    raw, chat = (ask(tokenizer, Prompt.model_validate({"style": style}), problem).ids for style in ("raw", "chat"))
    assert tokenizer.decode(raw) == tokenizer.decode(chat) == "<|system|>2 7"


@pytest.mark.parametrize("prefill", ["<think>", "<think>so"])
def test_a_prefill_follows_the_prompt_and_may_open_the_thinking(tokenizer: Any, prefill: str) -> None:
    asked = ask(tokenizer, Prompt(prefill=prefill), PROBLEM)

    assert tokenizer.decode(asked.ids).endswith(f"<|assistant|>{prefill}")
    assert asked.opened == (prefill == "<think>")


@pytest.mark.parametrize(
    ("written", "text", "ended"),
    [
        ("7<|end|>", "7", True),
        ("7", "7", False),
        ("<think>2 or 7</think>7<|end|>", "<think>2 or 7</think>7", True),
        ("7\nand more", "7", True),
        ("7 stop", "7 ", True),
        ("", "", False),
    ],
    ids=["ends", "cut off", "thinks", "stop string", "longer stop string", "nothing"],
)
def test_an_answer_is_read_without_what_ends_it(tokenizer: Any, written: str, text: str, ended: bool) -> None:
    reader = Reader(tokenizer, [tokenizer.eos_token_id], ["\n", "stop"])

    assert reader.read(tokenizer(written)["input_ids"]) == (text, ended)


def test_a_stop_string_is_found_when_its_last_token_comes(tokenizer: Any) -> None:
    reader = Reader(tokenizer, [], ["stop"])
    ids = tokenizer("so it stops")["input_ids"]

    found = [reader.stopped(ids[:length]) for length in range(1, len(ids) + 1)]
    assert found.index(True) == len("so it stop") - 1
