"""A model that tags or screens, whose votes are known: a function of the problem's text and the number of the vote.

The number is the end of the `X-Request-Id` that the client sends.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from judge_server import texts

from curation import problem
from curation.annotate import Work
from curation.model import Model, RunningServer
from curation.pool import Pool
from curation.progress import Progress
from curation.store import Store

NAME = "tagger"
Says = Callable[[str, int], Any]
"""(problem, vote): the reply as text, or a value that is sent as JSON; a number from 400 to 599 is an HTTP status."""


class TaggerServer:
    """The server in a thread of its own, for the length of a `with` block."""

    def __init__(self, says: Says) -> None:
        self.says = says
        self.finish_reason = "stop"
        self.asked: list[tuple[str, int]] = []
        """Problem and vote of every question but the client's own, in order."""
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def forget(self) -> None:
        """Counts from here."""
        for seen in (self.asked, self.prompts, self.bodies):
            seen.clear()

    def __enter__(self) -> Self:
        tagger = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(200, {"data": [{"id": NAME, "owned_by": "vllm", "max_model_len": 100_000}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(*tagger.answer(body, self.headers["X-Request-Id"]))

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

    def answer(self, body: dict[str, Any], name: str) -> tuple[int, Any]:
        prompt = body["messages"][-1]["content"]
        problem, vote = texts(prompt)["problem"], int(name.rsplit("-", 1)[1])
        if not name.startswith("probe-"):
            self.asked.append((problem, vote))
            self.prompts.append(prompt)
            self.bodies.append(body)
        said = self.says(problem, vote)
        if isinstance(said, int) and 400 <= said < 600:
            return said, {"error": "no"}
        said = said if isinstance(said, str) else json.dumps(said)
        choice = {"finish_reason": self.finish_reason, "message": {"role": "assistant", "content": said}}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": 7}}


def work_over(workspace: Path, server: TaggerServer | RunningServer, *prompts: str, **model: Any) -> Work:
    """Problems a, b, ... with these prompts, all wanted, and the model `tagger`; models are asked one thing at a time."""
    store = Store(str(workspace))
    con = store.connect()
    rows = [
        {"id": chr(ord("a") + row), "prompt": prompt, "messages": [], "source": "s", "row": row}
        for row, prompt in enumerate(prompts)
    ]
    con.register("rows", pa.Table.from_pylist(rows, schema=problem.SCHEMA))
    con.execute("create table problems as from rows; create table wanted as select id from problems")
    settings = {"model": NAME, "url": server.url, "revision": "1", "concurrency": 1, **model}
    models = {"tagger": Model.model_validate(settings)}
    return Work(store, con, Pool("", {"version": "1"}), Progress(quiet=True), models=models)
