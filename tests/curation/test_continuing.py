"""Samples drawn in parts: thinking that ends at its budget, and answers that the prompt begins."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_server import NAME, FakeServer
from tokenizers import Tokenizer

from curation.client import Client, Completion, NotServed
from curation.continuing import EARLY_STOP
from curation.model import RunningServer
from curation.prompt import EMPTY_THINK, Prompt
from curation.reach import UNKNOWN
from curation.rollouts import Sampling

CHAT = Prompt()
THOUGHT = "hm, " * 10


def asking(server: FakeServer, work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with Client((RunningServer(server.url, NAME, None, UNKNOWN),), None, 4, 30) as client:
            return await work(client)

    return asyncio.run(run())


def drawn(
    server: FakeServer,
    trouble: str,
    max_tokens: int = 300,
    budget: int | None = 20,
    prompt: Prompt = CHAT,
    before: Completion | None = None,
) -> Completion:
    """Sample 3 of a sum, or `before` carried on."""
    question, sampling = prompt.render(f"1 + 1{trouble}"), Sampling(thinking_budget=budget)

    async def draw(client: Client) -> Completion:
        if before is None:
            return await client.complete(question, prompt, sampling, max_tokens, "sum-3")
        return await client.go_on(question, before, prompt, sampling, max_tokens, "sum-3")

    done: Completion = asking(server, draw)
    return done


def said(completion: Completion) -> str:
    return "".join(map(chr, completion["token_ids"]))


@pytest.fixture
def opening(fake_server: FakeServer) -> FakeServer:
    """A server whose template opens the thinking."""
    fake_server.template = "<assistant><think>\n"
    return fake_server


# Thinking budget


def test_thinking_that_is_open_at_its_budget_is_ended_for_an_answer(opening: FakeServer) -> None:
    done = drawn(opening, " (think)")
    assert done["text"] == said(done) == THOUGHT[:20] + EARLY_STOP + "The answer is 3"
    assert (done["budget_hit"], done["finish_reason"], done["reasoning"]) == (True, "stop", None)
    assert done["tokens"] == len(done["text"])
    assert done["prompt_tokens"] == len("<user>1 + 1 (think)<assistant><think>\n")
    assert "thinking_budget" not in opening.bodies["sum-3"]


def test_so_is_thinking_that_the_model_opens_itself(fake_server: FakeServer) -> None:
    done = drawn(fake_server, " (ponder)")
    assert done["text"] == f"<think>{THOUGHT}"[:20] + EARLY_STOP + "The answer is 3"
    assert done["budget_hit"]


def test_so_is_thinking_that_the_server_parses_off(opening: FakeServer) -> None:
    opening.thinks = True
    done = drawn(opening, " (think)")
    assert done["reasoning"] == THOUGHT[:20] + EARLY_STOP.partition("</think>")[0]
    assert (done["text"], done["budget_hit"]) == ("\n\nThe answer is 3", True)
    assert said(done) == done["reasoning"] + "</think>" + done["text"]


def test_what_comes_after_thinking_shorter_than_the_budget_has_none(opening: FakeServer) -> None:
    for budget in (len(THOUGHT + "</think>"), len(THOUGHT + "</think>\n\nThe"), 200):
        done = drawn(opening, " (think)", budget=budget)
        assert (done["text"], done["budget_hit"]) == (THOUGHT + "</think>\n\nThe answer is 3", False)


def test_thinking_that_is_parsed_off_and_closed_just_at_the_budget_is_over(opening: FakeServer) -> None:
    opening.thinks = True
    done = drawn(opening, " (think)", budget=len(THOUGHT + "</think>"))
    assert (done["reasoning"], done["text"], done["budget_hit"]) == (THOUGHT, "\n\nThe answer is 3", False)


def test_a_model_that_does_not_think_gets_no_closing_tag(fake_server: FakeServer) -> None:
    done = drawn(fake_server, "", budget=5)
    assert (done["text"], done["budget_hit"]) == (" hm hm hm The answer is 3", False)
    fake_server.template = f"<assistant>{EMPTY_THINK}"
    assert drawn(fake_server, "", budget=5)["text"] == " hm hm hm The answer is 3"


def test_a_sample_without_a_budget_says_nothing_of_one(fake_server: FakeServer) -> None:
    assert drawn(fake_server, "", budget=None)["budget_hit"] is None
    assert "thinking_budget" not in fake_server.bodies["sum-3"]


def test_a_cut_off_sample_that_goes_on_keeps_the_budget(opening: FakeServer) -> None:
    whole = drawn(opening, " (think)")
    cut = drawn(opening, " (think)", max_tokens=12)
    assert (cut["text"], cut["finish_reason"], cut["budget_hit"]) == (THOUGHT[:12], "length", False)
    for limit in (18, 20, 60, len(whole["text"]) - 5):
        cut = drawn(opening, " (think)", max_tokens=limit, before=cut)
        assert cut["finish_reason"] == "length"
        assert cut["tokens"] <= limit
    done = drawn(opening, " (think)", before=cut)
    assert {**done, "token_ids": said(done)} == {**whole, "token_ids": said(whole)}


def test_where_the_early_stop_leaves_no_room_for_an_answer_the_sample_is_cut_off(opening: FakeServer) -> None:
    cut = drawn(opening, " (think)", max_tokens=20 + len(EARLY_STOP))
    assert (cut["text"], cut["finish_reason"], cut["budget_hit"]) == (THOUGHT[:20], "length", True)


def test_a_stop_string_within_the_early_stop_is_not_the_models(opening: FakeServer) -> None:
    prompt = CHAT.merged({"stop": ["\n", " is 3"]})
    assert drawn(opening, " (think)", prompt=prompt)["text"] == THOUGHT[:20] + EARLY_STOP + "The answer"


def test_a_server_without_token_ids_cannot_keep_a_budget(opening: FakeServer) -> None:
    opening.token_ids = False
    with pytest.raises(NotServed, match="gives no token ids, which a thinking_budget takes"):
        drawn(opening, " (think)")


# Prefill


def shown(server: FakeServer) -> str:
    """The prompt of the last request, as text."""
    asked = server.bodies["sum-3"]["prompt"]
    return asked if isinstance(asked, str) else "".join(map(chr, asked))


def test_a_raw_prompt_ends_in_its_prefill(fake_server: FakeServer) -> None:
    done = drawn(fake_server, " =", budget=None, prompt=Prompt(style="raw", prefill=" hm hm"))
    assert shown(fake_server) == "1 + 1 = hm hm"
    assert done["text"] == " hm The answer is 3"


def test_a_chat_prompt_with_a_prefill_is_sent_as_token_ids(fake_server: FakeServer) -> None:
    done = drawn(fake_server, "", budget=None, prompt=CHAT.merged({"prefill": EMPTY_THINK}))
    assert shown(fake_server) == f"<user>1 + 1<assistant>{EMPTY_THINK}"
    assert done["text"] == " hm hm hm The answer is 3"
    assert done["prompt_tokens"] == len(shown(fake_server))


@pytest.mark.parametrize("opened", ["<think>", "<think>\n", "<think>\n\n"])
def test_a_think_block_is_not_opened_twice(opened: str, fake_server: FakeServer) -> None:
    fake_server.template = f"<assistant>{opened}"
    drawn(fake_server, "", budget=None, prompt=CHAT.merged({"prefill": EMPTY_THINK}))
    assert shown(fake_server) == f"<user>1 + 1<assistant>{EMPTY_THINK}"


def test_thinking_that_the_prefill_begins_has_a_budget_too(fake_server: FakeServer) -> None:
    done = drawn(fake_server, " (think)", prompt=CHAT.merged({"prefill": "<think>\nLet me add."}))
    assert done["text"] == THOUGHT[:20] + EARLY_STOP + "The answer is 3"


def test_a_cut_off_sample_goes_on_behind_its_prefill(fake_server: FakeServer) -> None:
    prompt = CHAT.merged({"prefill": EMPTY_THINK})
    cut = drawn(fake_server, "", max_tokens=5, budget=None, prompt=prompt)
    done = drawn(fake_server, "", budget=None, prompt=prompt, before=cut)
    assert shown(fake_server) == f"<user>1 + 1<assistant>{EMPTY_THINK} hm h"
    assert done["text"] == " hm hm hm The answer is 3"


def test_the_samples_of_a_problem_share_its_tokens(fake_server: FakeServer) -> None:
    prompt, sampling = CHAT.merged({"prefill": "So"}), Sampling()

    async def draw(client: Client) -> None:
        question = prompt.render("1 + 1")
        await client.complete(question, prompt, sampling, 64, "sum-0")
        fake_server.tokenizes = False
        await client.complete(prompt.render("1 + 1"), prompt, sampling, 64, "sum-1")
        with pytest.raises(NotServed, match=r"prompt.prefill for a chat model takes /tokenize and /detokenize"):
            await client.complete(prompt.render("1 + 2"), prompt, sampling, 64, "sum-1")

    asking(fake_server, draw)
    assert len(fake_server.order) == 2


# The real thing


@pytest.mark.model
def test_vllm_ends_thinking_at_its_budget(vllm_server: RunningServer, model_folder: Path) -> None:
    """The small model does not think by itself: a prefill makes it, in Chinese, whose characters are several tokens."""
    tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    prompt = CHAT.merged({"prefill": "<think>\n我们先想一想："})
    sampling = Sampling(thinking_budget=20)
    question = prompt.render("What is 3 + 4?")

    async def draw() -> list[Completion]:
        async with Client((vllm_server,), None, 8, 60) as client:
            asked = await client.tokenize(question, prompt, "sum-0")
            assert tokenizer.decode(asked, skip_special_tokens=False).endswith(f"assistant\n{prompt.prefill}")
            work = (client.complete(question, prompt, sampling, 120, f"sum-{index}") for index in range(8))
            return await asyncio.gather(*work)

    done = asyncio.run(draw())
    hit = [sample for sample in done if sample["budget_hit"]]
    assert hit
    for sample in hit:
        thought, _, answer = sample["text"].partition(EARLY_STOP)
        ids = sample["token_ids"].tolist()
        assert sample["text"] == tokenizer.decode(ids).rstrip("\ufffd")
        assert 20 <= len(tokenizer.encode(EARLY_STOP).ids) + 20 <= len(ids) <= 120
        assert answer or sample["finish_reason"] == "stop"
        assert "</think>" not in thought
