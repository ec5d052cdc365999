"""An OpenAI-compatible server that costs next to nothing: of two ready-made replies, right or wrong by the sample's index.

    python benchmarks/canned_server.py INDEX,INDEX,...     indexes that are answered right; prints its port when it listens

The index is the end of `X-Request-Id`. Without aiohttp and without reading bodies, so that a benchmark on two cores measures
its client. `GET /stats` gives how many samples were asked for, and when the first was (time.monotonic, which is the same in
all processes of a machine). It ends when its standard input closes.
"""

import asyncio
import json
import sys
import time

NAME, RIGHT = "canned", "4"
THOUGHT = " First the two numbers are written down, then they are added one after the other."
STATS = {"asked": 0, "first": 0.0}


def ready_made(said: str) -> bytes:
    text = f"{THOUGHT} The answer is {said}"
    choice = {"index": 0, "text": text, "finish_reason": "stop", "token_ids": list(range(100, 122))}
    usage = {"prompt_tokens": 40, "completion_tokens": 22}
    return framed(
        {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": NAME, "choices": [choice], "usage": usage}
    )


def framed(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Canned(asyncio.Protocol):
    """One connection. Requests of one connection come one after the other."""

    def __init__(self, right: set[int]) -> None:
        self.right, self.received = right, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, blank, body = self.received.partition(b"\r\n\r\n")
        if not blank or len(body) < int(field(head, b"content-length") or 0):
            return
        self.received = b""
        if head.startswith(b"POST /v1/completions"):
            STATS["asked"] += 1
            STATS["first"] = STATS["first"] or time.monotonic()
            name = field(head, b"x-request-id")
            self.transport.write(REPLIES[int(name.rpartition(b"-")[2] or 0) in self.right])
        elif head.startswith(b"POST /tokenize"):
            self.transport.write(framed({"count": 40, "tokens": list(range(40)), "max_model_len": 1 << 20}))
        elif head.startswith(b"GET /v1/models"):
            self.transport.write(framed({"data": [{"id": NAME, "owned_by": "vllm", "max_model_len": 1 << 20}]}))
        elif head.startswith(b"GET /version"):
            self.transport.write(framed({"version": "1.0"}))
        else:
            self.transport.write(framed(STATS))


REPLIES = ready_made("5"), ready_made(RIGHT)


def field(head: bytes, name: bytes) -> bytes:
    """The value of a header; empty when there is none."""
    at = head.lower().find(b"\r\n" + name + b":")
    return b"" if at < 0 else head[at + len(name) + 3 :].partition(b"\r\n")[0].strip()


async def serve(right: set[int]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Canned(right), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve({int(index) for index in sys.argv[1].split(",")}))
