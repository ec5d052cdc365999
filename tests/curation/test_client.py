"""What is no whole sample fails its own request, before it can spoil a commit."""

from typing import Any

import pytest

from curation import client

WHOLE: dict[str, Any] = {
    "choices": [{"text": " 5", "token_ids": [1, 2], "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}


def reply(choice: dict[str, Any] | None = None, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"choices": [WHOLE["choices"][0] | (choice or {})], "usage": WHOLE["usage"] | (usage or {})}


def test_a_whole_reply_is_read() -> None:
    completion = client._completion(WHOLE)
    assert (completion["text"], completion["tokens"], completion["prompt_tokens"]) == (" 5", 2, 7)
    assert completion["token_ids"].tolist() == [1, 2]


def test_a_server_without_token_ids_counts_its_own() -> None:
    completion = client._completion(reply({"token_ids": None}, {"completion_tokens": 9}))
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
    with pytest.raises(client._Failed):
        client._completion(odd)
