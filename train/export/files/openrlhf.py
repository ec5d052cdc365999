"""OpenRLHF's reward: the graders that curated the data. Copied by `cuvee export`; needs Cuvee on every node.

OpenRLHF takes a number for every answer. One that could not be graded (a grader that ran out of time, say) gets 0, like a
wrong one, for want of anything else, and `unknown` 1, whose mean stands beside the reward in the logs.

A query is the prompt and the answer, decoded with special tokens. Those at its end are no part of the answer; they are the
tokenizer's that CUVEE_TOKENIZER names (launch.sh sets it).
"""

import functools
import logging
import os
from typing import Any

import torch

from curation.verify.reference import verdicts

_LOG = logging.getLogger("cuvee.reward")

if not os.environ.get("CUVEE_TOKENIZER"):
    raise RuntimeError(
        "CUVEE_TOKENIZER is not set: the folder or Hub name of the tokenizer of the model that is trained"
    )


def reward_func(queries: list[str], prompts: list[str], labels: list[str], **_: Any) -> dict[str, Any]:
    """Called by OpenRLHF in a thread. Returns by the graders' deadline."""
    answers = [answer(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    known = [(label, text) for label, text in zip(labels, answers, strict=True) if text is not None]
    found = iter(verdicts(known))
    outcomes = ["error" if text is None else next(found).outcome for text in answers]
    correct = torch.tensor([float(outcome == "correct") for outcome in outcomes])
    unknown = torch.tensor([float(outcome == "error") for outcome in outcomes])
    return {"rewards": correct, "scores": correct, "extra_logs": {"unknown": unknown}}


def answer(query: str, prompt: str) -> str | None:
    """What follows the prompt, without the special tokens at its end; None where that cannot be told."""
    if not query.startswith(prompt):
        _LOG.warning(
            "a query does not begin with its prompt, so its answer is unknown: either the prompt is longer than data.max_len "
            "leaves room for, or this tokenizer does not decode what it has encoded"
        )
        return None
    rest = query[len(prompt) :]
    while end := next((token for token in special_tokens() if rest.endswith(token)), None):
        rest = rest.removesuffix(end)
    return rest


@functools.cache
def special_tokens() -> tuple[str, ...]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(os.environ["CUVEE_TOKENIZER"])
    return tuple(token for token in tokenizer.all_special_tokens if token)
