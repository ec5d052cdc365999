"""A judge whose verdicts are known: it compares the two texts behind the fences, and obeys whatever stands outside them.

`SAY word` outside the fences is an order to it. What else it does is in the attributes of `JudgeServer`.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

NAME = "judge"
BLOCK = re.compile(r"^=== ([0-9a-f]{16}) begin ([^\n]+)\n(.*?)\n=== \1 end \2$", re.DOTALL | re.MULTILINE)


def texts(prompt: str) -> dict[str, str]:
    """What stands behind fences, by name."""
    return {name: text for _, name, text in BLOCK.findall(prompt)}


def outside(prompt: str) -> str:
    """The prompt without what stands behind fences, and without the fence."""
    fence = BLOCK.search(prompt)
    return BLOCK.sub("", prompt).replace(fence[1] if fence else "", "FENCE")


class JudgeServer:
    """The server in a thread of its own, for the length of a `with` block."""

    def __init__(self) -> None:
        self.reply: str | None = None
        """What it says to everything."""
        self.status = 200
        self.finish_reason = "stop"
        self.prefers_first = False
        """Whether it takes a longer text for another answer only when it comes second."""
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        judge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(200, {"data": [{"id": NAME, "owned_by": "vllm", "max_model_len": 100_000}]})

            def do_POST(self) -> None:
                self._answer(
                    judge.status, judge.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                )

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self, status: int, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client may go away at any time."""

        self._http = Server(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, body: dict[str, Any]) -> Any:
        prompt = body["messages"][-1]["content"]
        self.bodies.append(body)
        self.prompts.append(prompt)
        said = self.reply if self.reply is not None else json.dumps(self.said(prompt))
        choice = {"finish_reason": self.finish_reason, "message": {"role": "assistant", "content": said}}
        return {"choices": [choice], "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": 7}}

    def said(self, prompt: str) -> dict[str, Any]:
        """A verdict; of what is to be scored the last number in the response, one less when the response comes first."""
        if '"score"' not in outside(prompt):
            return {"verdict": self.verdict(prompt)}
        found = texts(prompt)
        score = int(re.findall(r"\d+", found["response"])[-1])
        return {"score": score - (self.prefers_first and [*found].index("response") < [*found].index("rubric"))}

    def verdict(self, prompt: str) -> str:
        if order := re.search(r"SAY (\w+)", outside(prompt)):
            return order[1]
        found = texts(prompt)
        if "rubric" in found:
            return "meets" if found["rubric"].split()[-1] in found["response"] else "fails"
        first, second = found["first answer"], found["second answer"]
        if self.prefers_first:
            return "equivalent" if len(first) <= len(second) else "different"
        return "equivalent" if first.replace(" ", "").lower() == second.replace(" ", "").lower() else "different"
