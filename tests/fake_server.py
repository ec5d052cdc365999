"""An OpenAI-compatible server whose answers are known: a pure function of the prompt and the index of the sample.

    python tests/fake_server.py PORT [--delay MS] [--name NAME] [--die-after ANSWERS]

It solves the last `a + b` of the prompt in (a + b) % 5 of 4 samples. A token is a character. The index of a sample is the
end of the `X-Request-Id` that the client sends. Words in a prompt ask for trouble:
    (refuse) 400    (fail) 500    (nothing) no choices    (abort) cut off by a dying server
    (empty) an empty text    (surrogate) half a character    (huge) 10 MB of text    (latin) bytes that are no UTF-8
    (null) a text that is null    (negative) fewer than no tokens    (textless) no text at all
    (echo) 400 with what was sent, key included    (think) thinks for 40 characters    (ponder) the same, opened by <think>
    (steps) thinks in steps, in a think block, before it answers    (mark) the same, with a token of chat templates in it
What is wrong with the server as a whole is in the attributes of `FakeServer`. `GET /asked` gives what was asked for.
"""

import argparse
import asyncio
import json
import math
import os
import re
import signal
import threading
from collections import Counter
from typing import Any, Self

from aiohttp import web

NAME = "fake"
HUGE = "many words " * 1_000_000


def answer(prompt: str, index: int) -> str:
    """What the fake model says as sample `index`.

    Of the samples 0 to 3, 4 to 7, ... the first (a + b) % 5 are right. Sample 0 has 16 characters when the sum has one
    digit; each further one has 3 more, until it begins again with sample 8.
    """
    if "(empty)" in prompt:
        return ""
    if "(surrogate)" in prompt:
        return "The answer is \ud800"
    if "(huge)" in prompt:
        return HUGE
    if "(think)" in prompt:
        return f"{'hm, ' * 10}</think>\n\nThe answer is {index}"
    if "(ponder)" in prompt:
        return f"<think>{'hm, ' * 10}</think>\n\nThe answer is {index}"
    left, right = re.findall(r"(\d+) \+ (\d+)", prompt)[-1]
    total = int(left) + int(right)
    right_one = index % 4 < total % 5
    if "(steps)" in prompt or "(mark)" in prompt:
        said, mark = total if right_one else total + 1, "<|im_end|>" if "(mark)" in prompt else ""
        again = ", and check it again" * (index % 3)
        steps = f"To {left} I add {right} by counting on from the first number{again}, so it is {said}{mark}."
        return f"<think>\n{steps}\n</think>\n\nThe answer is {said}"
    return " hm" * (index % 8) + f" The answer is {total if right_one else total + 1}"


class FakeServer:
    """The server in a thread of its own, for the length of a `with` block."""

    def __init__(self, port: int = 0, delay: float = 0.0, name: str = NAME) -> None:
        self.port, self.delay, self.name = port, delay, name
        """`delay`: seconds that every answer takes. `name`: what it serves."""
        self.first_last = False
        """Of a problem's samples those with a smaller index come later: of every eight the first takes `delay` eight times."""
        self.away = 0
        """So many requests get 503, then it is back."""
        self.down = False
        """Every request gets 503."""
        self.broken = False
        """Every request gets 500."""
        self.hangs = False
        """No request is answered as long as this is so, not even for the list of models."""
        self.trickles = False
        """Answers begin, and then go on with a byte now and then; the list of models is given as ever."""
        self.limited = 0
        """So many requests get 429, then it has time again."""
        self.limit_status = 429
        """What it is instead of 429."""
        self.limit_headers: dict[str, str] = {}
        """What goes with a 429, such as Retry-After."""
        self.limit_body = "slow down"
        self.dies_after: int | None = None
        """Answers after which its process is gone, as after kill -9."""
        self.key: str | None = None
        self.token_ids = True
        self.tokenizes = True
        self.thinks = False
        """Chat answers have their thinking parsed off."""
        self.template = "<assistant>"
        """What the chat template puts before an answer."""
        self.max_model_len = 1_000_000
        self.asked: Counter[str] = Counter()
        """Answers given, by X-Request-Id."""
        self.order: list[str] = []
        """The same, as they came."""
        self.bodies: dict[str, dict[str, Any]] = {}
        """The last request by X-Request-Id."""
        self.in_flight = self.most_in_flight = self.given_up = 0
        """Requests being answered, at most so many at once, and those whose connection was closed meanwhile."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def forget(self) -> None:
        """Counts from here."""
        self.asked.clear()
        self.order.clear()
        self.bodies.clear()
        self.most_in_flight = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.start(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def start(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=1 << 30)
        app.router.add_get("/health", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/asked", self._asked)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/detokenize", self._detokenize)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/chat/completions", self._complete)
        # A request whose connection is closed is aborted, as vLLM does.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        while self.hangs:
            await asyncio.sleep(0.005)
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "wrong key"}, status=401)
        if request.method == "POST" and (self.down or self.away > 0):
            self.away -= 1
            return web.json_response({"error": "busy"}, status=503)
        if request.method == "POST" and self.limited > 0:
            self.limited -= 1
            return web.json_response({"error": self.limit_body}, status=self.limit_status, headers=self.limit_headers)
        if request.method == "POST" and self.trickles:
            return await self._trickle(request)
        if request.method == "POST" and self.broken:
            return web.json_response({"error": "broken"}, status=500)
        reply: web.StreamResponse = await handler(request)
        return reply

    async def _trickle(self, request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        while self.trickles:
            await reply.write(b" ")
            await asyncio.sleep(0.01)
        return reply

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "1.0"})

    async def _asked(self, _: web.Request) -> web.Response:
        return web.json_response(self.asked)

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": self.name, "owned_by": "vllm", "max_model_len": self.max_model_len}
        return web.json_response({"object": "list", "data": [model]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        if not self.tokenizes:
            raise web.HTTPNotFound
        body = await request.json()
        text = self._text(body) if "messages" in body else body["prompt"]
        return web.json_response({"count": len(text), "tokens": _ids(text), "max_model_len": self.max_model_len})

    async def _detokenize(self, request: web.Request) -> web.Response:
        return web.json_response({"prompt": "".join(map(chr, (await request.json())["tokens"]))})

    async def _complete(self, request: web.Request) -> web.Response:
        body, name = await request.json(), request.headers["X-Request-Id"]
        text = self._text(body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.delay:
                await asyncio.sleep(self.delay * (8 - _index(name) % 8 if self.first_last else 1))
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.in_flight -= 1
        self.asked[name] += 1
        self.order.append(name)
        self.bodies[name] = body
        if "(refuse)" in text or len(text) + body["max_tokens"] > self.max_model_len:
            return web.json_response({"error": {"message": "the prompt is too long"}}, status=400)
        if self.dies_after is not None and len(self.order) > self.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if "(echo)" in text:
            return web.json_response({"error": f"not with {dict(request.headers)}"}, status=400)
        if "(latin)" in text:
            return web.Response(body=b'{"choices": "\xe9"}', content_type="application/json")
        if "(fail)" in text:
            return web.json_response({"error": "broken"}, status=500)
        if "(nothing)" in text:
            return web.json_response({"object": "text_completion", "choices": []})
        whole = _rest(text, _index(name))
        said = whole[: body["max_tokens"]]
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if len(said) < len(whole) else "stop"}
        for stop in body["stop"]:
            if stop in said:
                said, choice["finish_reason"] = said.split(stop)[0], "stop"
        if "(abort)" in text:
            choice["finish_reason"] = "abort"
        if "messages" not in body:
            choice["text"] = said
        elif self.thinks:
            thought, closed, content = said.partition("</think>")
            choice["message"] = {"role": "assistant", "reasoning": thought, "content": content if closed else None}
        else:
            choice["message"] = {"role": "assistant", "content": said}
        if "(null)" in text:
            choice.get("message", choice)["content" if "messages" in body else "text"] = None
        if "(textless)" in text:
            choice.pop("message", None)
            choice.pop("text", None)
        if self.token_ids and body.get("return_token_ids"):
            choice["token_ids"] = _ids(said)
        if body.get("logprobs") not in (None, False):  # every token has probability 1/2
            halves = [math.log(0.5)] * len(said)
            chat = {"content": [{"token": token, "logprob": half} for token, half in zip(said, halves, strict=True)]}
            choice["logprobs"] = chat if "messages" in body else {"token_logprobs": halves}
        sign = -1 if "(negative)" in text else 1
        usage = {"prompt_tokens": sign * len(text), "completion_tokens": sign * len(said)}
        reply = {"object": "text_completion", "model": self.name, "choices": [choice], "usage": usage}
        # Half a character has no UTF-8; JSON escapes it.
        return web.Response(body=json.dumps(reply).encode(), content_type="application/json")

    def _text(self, body: dict[str, Any]) -> str:
        """What a request puts to the model, as text."""
        if "messages" in body:
            return "".join(f"<{turn['role']}>{turn['content']}" for turn in body["messages"]) + self.template
        prompt = body["prompt"]
        return prompt if isinstance(prompt, str) else "".join(map(chr, prompt))


def _index(name: str) -> int:
    """The index of the sample that a request is for."""
    return int(name.rsplit("-", 1)[1])


def _ids(text: str) -> list[int]:
    return [ord(character) for character in text]


def _rest(text: str, index: int) -> str:
    """The answer, or what is left of it when the text ends in a part of it or in thinking that was ended."""
    for length in range(min(len(text), 64), 0, -1):
        prompt, part = text[:-length], text[-length:]
        if re.search(r"\d+ \+ \d+", prompt) and answer(prompt, index).startswith(part):
            return answer(prompt, index)[length:]
    prompt, closed, part = text.rpartition("</think>")
    whole = answer(text, index)
    said = whole.partition("</think>")[2]
    return said[len(part) :] if closed and said and said.startswith(part) else whole


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("port", type=int)
    arguments.add_argument("--delay", type=float, default=0.0, help="milliseconds that every answer takes")
    arguments.add_argument("--name", default=NAME, help="what it serves")
    arguments.add_argument("--die-after", type=int, help="answers after which it is gone")
    given = arguments.parse_args()

    async def forever() -> None:
        server = FakeServer(given.port, given.delay / 1000, given.name)
        server.dies_after = given.die_after
        await server.start()
        await asyncio.Event().wait()

    asyncio.run(forever())
