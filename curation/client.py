"""Asking servers for completions, with patience.

    async with Client(servers, key, concurrency=64, patience=120) as client:
        completion = await client.complete("2 + 2 =", prompt, sampling, max_tokens=8, name="sum-0")

A request goes to the server that has most room, and to another where that one fails (asking.py). What can go wrong in
the end is one of two things: Refused, which is a matter of this request, or SamplingError, which is one of the run.
Cancelling the task that waits for a completion closes the connection, at which the server stops, and frees the slot.
"""

import json
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from curation import replies
from curation.asking import TRIES, Requests
from curation.continuing import carry_on, scored, within_budget
from curation.fleet import Fleet
from curation.prompt import Message, Prompt
from curation.reach import RunningServer
from curation.replies import Completion, NotServed, Refused, SamplingError
from curation.rollouts import Sampling

__all__ = ["TRIES", "Client", "Completion", "NotServed", "Refused", "Rendered", "SamplingError"]

KEPT_PROMPTS = 4096
SHOWN = 16
"""Tokens at the end of a prompt that are looked at for an opened `<think>`."""

Rendered = str | list[Message]


class Asked(NamedTuple):
    """A prompt as the server sees it, prefill included."""

    ids: list[int]
    end: str
    """How it ends, as text; of a chat only known where that was asked for."""


class Client:
    """Requests to servers that give the same, at most `concurrency` at once to each."""

    def __init__(
        self,
        servers: Sequence[RunningServer],
        key: str | None,
        concurrency: int,
        patience: float,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """No servers: for a run that only grades. `say` gets a line when a server asks for a long pause."""
        self._servers, self._concurrency = tuple(servers), concurrency
        self._requests = Requests(Fleet(self._servers, concurrency, say or (lambda _: None)), key, patience)
        # A server that was restarted with its default seed would repeat the samples of its first life for the same
        # requests in the same order; the servers started here get a random seed instead, which costs them nothing.
        self._seeded = any(not server.started_here for server in servers)
        self._heads: dict[Any, tuple[Prompt, Sampling, str]] = {}
        self._asked: OrderedDict[tuple[int, str], tuple[Prompt, array[int], str]] = OrderedDict()
        self._pieces: dict[str, list[int]] = {}

    @property
    def slots(self) -> int:
        """Requests in flight at most."""
        return self._concurrency * len(self._servers)

    @property
    def name(self) -> str:
        """What requests give as `model`."""
        return self._servers[0].name if self._servers else ""

    @property
    def where(self) -> str:
        """The servers' addresses, for messages."""
        return ", ".join(server.url for server in self._servers)

    @property
    def max_model_len(self) -> int | None:
        """Tokens of prompt and answer together that every server holds, as far as they say."""
        said = (member.server.max_model_len for member in self._requests.fleet.members)
        return min((length for length in said if length is not None), default=None)

    async def __aenter__(self) -> Self:
        await self._requests.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._requests.__aexit__(kind, error, trace)

    # ---- samples

    async def complete(
        self, rendered: Rendered, prompt: Prompt, sampling: Sampling, max_tokens: int, name: str
    ) -> Completion:
        """One sample. `name` tells requests apart: in the server's log, and as the source of the seed."""
        if sampling.thinking_budget is not None:
            return await within_budget(self, rendered, prompt, sampling, max_tokens, name)
        return await self.draw(rendered, prompt, sampling, max_tokens, name)

    async def go_on(
        self,
        rendered: Rendered,
        stored: Mapping[str, Any],
        prompt: Prompt,
        sampling: Sampling,
        max_tokens: int,
        name: str,
    ) -> Completion:
        """The whole of a sample that was cut off.

        stored: text, reasoning and token_ids of the cut-off part. max_tokens: limit of the whole.
        """
        return await carry_on(self, rendered, stored, prompt, sampling, max_tokens, name)

    async def draw(
        self, rendered: Rendered, prompt: Prompt, sampling: Sampling, max_tokens: int, name: str
    ) -> Completion:
        """One sample in one request, whatever the thinking budget says."""
        head = self._head(prompt, sampling, max_tokens, isinstance(rendered, list) and not prompt.prefill)
        read = scored if sampling.LOGPROBS else replies.completion
        if isinstance(rendered, str):
            shown = json.dumps(rendered + prompt.prefill_after(rendered))
        elif prompt.prefill:
            # As token ids: templates strip `<think>` from a message that a prefill would be.
            try:
                shown = json.dumps((await self.asked(rendered, prompt, name)).ids)
            except NotServed as error:
                raise NotServed(
                    "prompt.prefill for a chat model takes /tokenize and /detokenize, as vLLM has them. Leave it out, "
                    f"use such a server, or style: raw. {error}"
                ) from error
        else:
            body = f'{head}{self._seed(name)},"messages":{json.dumps(rendered)}}}'
            return await self._requests.post("/chat/completions", body, name, read)
        body = f'{head}{self._seed(name)},"prompt":{shown}}}'
        return await self._requests.post("/completions", body, name, read)

    async def draw_after(
        self, ids: list[int], prompt: Prompt, sampling: Sampling, max_tokens: int, name: str
    ) -> Completion:
        """What follows a prompt of token ids. NotServed where the server gives none for the answer."""
        head, seed = self._head(prompt, sampling, max_tokens, False), self._seed(f"{name}-{len(ids)}")
        body = f'{head}{seed},"prompt":{json.dumps(ids)}}}'
        read = scored if sampling.LOGPROBS else replies.completion
        reply = await self._requests.post("/completions", body, name, read)
        if reply["token_ids"] is None:
            raise NotServed(f"{self.where} gives no token ids.")
        return reply

    # ---- tokens

    async def tokenize(self, rendered: Rendered, prompt: Prompt, name: str) -> list[int]:
        """The token ids of a prompt with its prefill. NotServed where the server does not tell."""
        return (await self.asked(rendered, prompt, name)).ids

    async def asked(self, rendered: Rendered, prompt: Prompt, name: str, wants_end: bool = False) -> Asked:
        """The prompt with its prefill. Kept for a while: all samples of a problem share it."""
        place = id(prompt), rendered if isinstance(rendered, str) else json.dumps(rendered)
        if (known := self._asked.get(place)) is not None and (known[2] or not wants_end):
            self._asked.move_to_end(place)
            return Asked(known[1].tolist(), known[2])
        if isinstance(rendered, str):
            end = rendered + prompt.prefill_after(rendered)
            ids = await self._tokens({"prompt": end}, name)
        else:
            ids = await self._tokens({"messages": rendered, **_turns(prompt)}, name)
            end = await self.detokenize(ids[-SHOWN:], name) if prompt.prefill or wants_end else ""
            prefill = prompt.prefill_after(end)
            ids, end = ids + await self.piece(prefill, name), end + prefill
        self._asked[place] = prompt, array("i", ids), end
        if len(self._asked) > KEPT_PROMPTS:
            self._asked.popitem(last=False)
        return Asked(ids, end)

    async def piece(self, text: str, name: str) -> list[int]:
        """The token ids of some text within a sequence."""
        if text and text not in self._pieces:
            self._pieces[text] = await self._tokens({"prompt": text, "add_special_tokens": False}, name)
        return self._pieces.get(text, [])

    async def detokenize(self, ids: list[int], name: str) -> str:
        body = json.dumps({"model": self.name, "tokens": ids})
        return await self._requests.post("/detokenize", body, name, replies.text)

    async def _tokens(self, question: Mapping[str, Any], name: str) -> list[int]:
        return await self._requests.post(
            "/tokenize", json.dumps({**question, "model": self.name}), name, replies.tokens
        )

    # ---- bodies

    def _head(self, prompt: Prompt, sampling: Sampling, max_tokens: int, chat: bool) -> str:
        """What the bodies of many requests begin with, as JSON; made once, as that takes longer than all the rest."""
        place = (id(prompt), id(sampling), max_tokens, chat)
        if (known := self._heads.get(place)) is not None:
            return known[2]
        body = sampling.sent() | {
            "model": self.name,
            "n": 1,
            "max_tokens": max_tokens,
            "stop": list(prompt.stop),
            "stream": False,
            "return_token_ids": True,
        }
        if sampling.LOGPROBS:  # of the tokens that were sampled, and no others
            body |= {"logprobs": True, "top_logprobs": 0} if chat else {"logprobs": 0}
        head = json.dumps(body | (_turns(prompt) if chat else {}))[:-1]
        if len(self._heads) >= 256:
            self._heads.clear()
        # Both are kept with it, or another object might get the id of one that is gone.
        self._heads[place] = prompt, sampling, head
        return head

    def _seed(self, name: str) -> str:
        return f',"seed":{zlib.crc32(name.encode()) >> 1}' if self._seeded else ""


def _turns(prompt: Prompt) -> dict[str, Any]:
    return {"add_generation_prompt": True, "chat_template_kwargs": prompt.chat_template_kwargs}
