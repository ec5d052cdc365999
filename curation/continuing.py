"""Samples that are drawn in parts: what was cut off goes on, and thinking ends at its budget.

A part goes on from its token ids: the prompt and its own tokens are the new prompt. So the whole is one sample of the
model under the same parameters, as if drawn at once.

A thinking budget (Qwen3 technical report, 2025, section 4.3) takes two parts on any engine that gives token ids: the
sample is drawn up to the budget; when its thinking is still open there, a sentence and `</think>` are put behind it, and
the model goes on from them with what is left of max_tokens. vLLM 0.32 has a budget of its own (`--reasoning-config`,
`thinking_token_budget`), which is not used: its runner takes only the whole sentence for the end of the thinking, so a model
that closes its thinking by itself, or has an empty block in its prompt, gets the sentence in the midst of its answer.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.prompt import OPENED, Prompt
from curation.replies import Completion, NotServed, completion
from curation.rollouts import Sampling

if TYPE_CHECKING:
    from curation.client import Asked, Client, Rendered

EARLY_STOP = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
    "\n</think>\n\n"
)
OPEN, CLOSE = "<think>", "</think>"
HALF = "\ufffd"
"""What the bytes of a character that is not whole are decoded to."""
LONGEST_CHARACTER = 4
"""Tokens of one character at most: bytes in UTF-8."""


class Sample(Completion, total=False):
    """A completion of a model that was asked for log-probabilities."""

    logprob: float | None
    """Their sum over its tokens; None where the server gives none."""


def scored(reply: Any, engine: Mapping[str, str | None]) -> Sample:
    """A reply that holds log-probabilities, as a sample."""
    found = completion(reply, engine)
    try:
        told = reply["choices"][0]["logprobs"]
        by_token = told["token_logprobs"] if "token_logprobs" in told else [one["logprob"] for one in told["content"]]
        total = math.fsum(by_token)
        whole = len(by_token) == found["tokens"] and math.isfinite(total)
    except (LookupError, TypeError, ValueError):
        whole, total = False, 0.0
    return Sample(**found, logprob=total if whole else None)


async def within_budget(
    client: "Client", rendered: "Rendered", prompt: Prompt, sampling: Sampling, max_tokens: int, name: str
) -> Completion:
    """One sample whose thinking ends at the budget of `sampling`, within a character."""
    assert sampling.thinking_budget is not None
    first_limit = min(sampling.thinking_budget, max_tokens)
    first = await client.draw(rendered, prompt, sampling, first_limit, name)
    first["budget_hit"] = False
    if first["finish_reason"] != "length" or first_limit == max_tokens:
        return first
    if first["token_ids"] is None:
        raise NotServed(
            f"{client.where} gives no token ids, which a thinking_budget takes. Leave it out, or use a server that has "
            "`return_token_ids`, such as vLLM."
        )
    return await carry_on(client, rendered, first, prompt, sampling, max_tokens, name)


async def carry_on(
    client: "Client",
    rendered: "Rendered",
    stored: Mapping[str, Any],
    prompt: Prompt,
    sampling: Sampling,
    max_tokens: int,
    name: str,
) -> Completion:
    """The whole of a sample that was cut off. stored: text, reasoning and token_ids of the part that is there."""
    budget = sampling.thinking_budget
    asked = await client.asked(rendered, prompt, name, wants_end=budget is not None)
    sample = _Sample(client, asked, stored, prompt, sampling, max_tokens, name)
    await sample.finish_character()
    if budget is not None:
        if len(sample.ids) < min(budget, max_tokens):
            await sample.draw(min(budget, max_tokens))
            await sample.finish_character()
        if sample.over_budget:
            await sample.stop_thinking()
    if not sample.over_budget:  # it is where the early stop left no room for an answer
        await sample.draw(max_tokens)
    return sample.completion()


class _Sample:
    """A sample so far: what it says, and as token ids."""

    def __init__(
        self,
        client: "Client",
        asked: "Asked",
        stored: Mapping[str, Any],
        prompt: Prompt,
        sampling: Sampling,
        max_tokens: int,
        name: str,
    ) -> None:
        self.client, self.asked, self.prompt, self.sampling = client, asked, prompt, sampling
        self.max_tokens, self.name = max_tokens, name
        self.ids: list[int] = [int(token) for token in stored["token_ids"]]
        self.text, self.reasoning = stored["text"], stored["reasoning"]
        self.logprob: float | None = stored.get("logprob")
        self.finish_reason = "length"
        self.closed = False
        """Whether the thinking has ended; where a server parses it off, only the tokens tell."""
        self._last: Mapping[str, Any] = stored

    @property
    def over_budget(self) -> bool:
        """Whether it is cut off in its thinking, at its budget or beyond."""
        budget = self.sampling.thinking_budget
        return budget is not None and self.finish_reason == "length" and len(self.ids) >= budget and self._thinks

    @property
    def _thinks(self) -> bool:
        """Whether it thinks where it ends. One that never began to think has no thinking to be ended."""
        if self.closed:
            return False
        if self.text.lstrip().startswith(OPEN) or OPENED.search(self.asked.end):
            return True
        put = self.prompt.prefill
        if put.rfind(OPEN) > put.rfind(CLOSE):
            return True
        # Parsers take everything for thinking until it is closed, also where the prompt says that there is none.
        return self.reasoning is not None and not self.text and not self.asked.end.rstrip().endswith(CLOSE)

    async def draw(self, up_to: int) -> None:
        """Goes on until the sample has so many tokens, or ends."""
        if self.finish_reason == "length" and len(self.ids) < up_to:
            self._say(await self._more(up_to - len(self.ids), self.prompt))

    async def stop_thinking(self) -> None:
        """Puts the early stop behind it; where that leaves no room for an answer, it stays cut off."""
        ids = await self.client.piece(EARLY_STOP, self.name)
        if len(self.ids) + len(ids) < self.max_tokens:
            self.ids += ids
            self.logprob = None  # these are not the model's own words
            self._say(EARLY_STOP)

    async def finish_character(self) -> None:
        """Draws token by token until the last character is whole.

        A prompt that ends within a character is decoded wrongly by vLLM: the answer begins with the prompt, and stop
        strings are found in it.
        """
        if self.finish_reason != "length" or len(self.ids) >= self.max_tokens:
            return
        told = seen = await self.client.detokenize(self.ids, self.name)
        self.closed = self.closed or CLOSE in seen
        for back in range(1, min(LONGEST_CHARACTER, len(self.ids))):
            if told.endswith(HALF):  # a token that has a half in it is held back whole
                told = await self.client.detokenize(self.ids[:-back], self.name)
        bare = self.prompt.model_copy(update={"stop": ()})
        while seen.endswith(HALF) and self.finish_reason == "length" and len(self.ids) < self.max_tokens:
            await self._more(1, bare)
            if self.finish_reason == "length":
                seen = await self.client.detokenize(self.ids, self.name)
        self._say(seen.rstrip(HALF)[len(told.rstrip(HALF)) :])

    async def _more(self, limit: int, prompt: Prompt) -> str:
        reply = await self.client.draw_after(self.asked.ids + self.ids, prompt, self.sampling, limit, self.name)
        self.ids += reply["token_ids"].tolist()
        added: float | None = reply.get("logprob")  # type: ignore[assignment]  # `scored` has put it there
        self.logprob = None if self.logprob is None or added is None else self.logprob + added
        self.finish_reason, self._last = reply["finish_reason"], reply
        return reply["text"]

    def _say(self, added: str) -> None:
        if self.reasoning is not None and not self.text and not self.closed:
            # The server had parsed the thinking off; it was still going on.
            thought, closed, answer = added.partition(CLOSE)
            self.reasoning, self.text = self.reasoning + thought, answer if closed else ""
        else:
            self.text += added
        self.closed = self.closed or CLOSE in added

    def completion(self) -> Completion:
        stopped = EARLY_STOP.partition(CLOSE)[0] in (self.reasoning or "") + self.text
        # What the model was made to say is no stop of its own.
        own = self.text.rfind(EARLY_STOP) + len(EARLY_STOP) if EARLY_STOP in self.text else 0
        for stop in self.prompt.stop:
            # A stop string that began in the stored part is not seen by the server.
            if (found := self.text.find(stop, own)) >= 0:
                self.text, self.finish_reason = self.text[:found], "stop"
        return Sample(
            text=self.text,
            reasoning=self.reasoning,
            token_ids=np.array(self.ids, np.int32),
            tokens=len(self.ids),
            prompt_tokens=len(self.asked.ids),
            finish_reason=self.finish_reason,
            budget_hit=None if self.sampling.thinking_budget is None else stopped or self.over_budget,
            engine=self._last.get("engine"),
            engine_version=self._last.get("engine_version"),
            dtype=self._last.get("dtype"),
            logprob=self.logprob,
        )
