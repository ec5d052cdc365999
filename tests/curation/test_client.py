"""What is no whole sample fails its own request, before it can spoil a commit."""

from typing import Any

import pytest

from curation import replies
from curation.replies import Failed

WHOLE: dict[str, Any] = {
    "choices": [{"text": " 5", "token_ids": [1, 2], "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}


ENGINE = {"engine": "vllm", "version": "0.32.0", "dtype": "bfloat16"}


def reply(choice: dict[str, Any] | None = None, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"choices": [WHOLE["choices"][0] | (choice or {})], "usage": WHOLE["usage"] | (usage or {})}


def test_a_whole_reply_is_read() -> None:
    completion = replies.completion(WHOLE, ENGINE)
    assert (completion["text"], completion["tokens"], completion["prompt_tokens"]) == (" 5", 2, 7)
    assert completion["token_ids"].tolist() == [1, 2]
    assert (completion["engine"], completion["engine_version"], completion["dtype"]) == ("vllm", "0.32.0", "bfloat16")
    assert completion["budget_hit"] is None


def test_an_empty_answer_has_no_token_ids_but_is_one() -> None:
    completion = replies.completion(reply({"text": "", "token_ids": []}), ENGINE)
    assert (completion["text"], completion["tokens"], completion["token_ids"].dtype.name) == ("", 0, "int32")


def test_a_server_without_token_ids_counts_its_own() -> None:
    completion = replies.completion(reply({"token_ids": None}, {"completion_tokens": 9}), ENGINE)
    assert (completion["tokens"], completion["token_ids"]) == (9, None)


@pytest.mark.parametrize(
    "odd",
    [
        reply(usage={"prompt_tokens": 1 << 40}),
        reply(usage={"prompt_tokens": []}),
        reply(usage={"prompt_tokens": "x"}),
        reply(usage={"prompt_tokens": 1.5}),
        reply({"token_ids": [[1, 2], [3, 4]]}),
        reply({"token_ids": [1 << 40]}),
        reply({"token_ids": [1 << 80]}),
        reply({"token_ids": [1.5]}),
        reply({"token_ids": [[1], 2]}),
        reply({"token_ids": ["1"]}),
        reply({"token_ids": {"a": 1}}),
        reply({"token_ids": None}, {"completion_tokens": 1 << 40}),
        reply({"token_ids": None}, {"completion_tokens": -5}),
        reply({"token_ids": None}, {"completion_tokens": float("inf")}),
        reply({"finish_reason": "abort"}),
        reply({"finish_reason": None}),
        {"choices": []},
        {"choices": None},
        [],
        None,
    ],
)
def test_an_odd_reply_is_a_failure_of_that_request(odd: Any) -> None:
    with pytest.raises(Failed):
        replies.completion(odd, ENGINE)
