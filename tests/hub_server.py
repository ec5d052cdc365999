"""A stand-in for the Hub: its HTTP API as far as sending a dataset and reading it back need it, everything in memory.

    with HubServer() as hub:
        os.environ["HF_ENDPOINT"], os.environ["HF_TOKEN"] = hub.url, WRITER
        ...
        hub.repositories["org/name"].files()

As on the Hub, files that .gitattributes names (here *.parquet) are uploaded by their sha256 before the commit, the others
come with it; a commit is whole or not at all; a tag is made once; whoever may not see a repository is told there is none.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

WRITER, READER = "hf_writer", "hf_reader"
"""Tokens: one that may write, one that may only read. Any other is not known."""

LICENCES = ("apache-2.0", "mit", "cc-by-4.0", "unknown", "other")
"""Some of those that a card may name."""


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.body = {"error": message, "errors": [{"message": message}]}


@dataclass
class Commit:
    oid: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repository:
    private: bool
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, message: str, files: dict[str, bytes]) -> Commit:
        oid = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits.append(Commit(oid, message, files))
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        if revision == "main":
            return self.commits[-1]
        oid = self.tags.get(revision, revision)
        found = next((commit for commit in self.commits if commit.oid == oid), None)
        if found is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.at(revision).files


class HubServer:
    """The server in threads of its own, for the length of a `with` block."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        """What was uploaded by sha256, committed or not."""
        self.uploads: list[str] = []
        """The sha256 of every upload, in order."""
        self.failing: str = ""
        """A part of the path: requests for it get 500."""
        self.holding: str = ""
        """A part of the path: requests for it get no answer until `released`."""
        self.held, self.released = threading.Event(), threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(urlsplit(self.path).path)
                headers: dict[str, str] = {}
                try:
                    hub.disturb(path)
                    may = hub.role(self.headers.get("Authorization", ""))
                    status, data, headers = 200, *hub.answer(self.command, path, body, may)
                except Refused as error:
                    status, data = error.status, json.dumps(error.body).encode()
                    headers = {"X-Error-Code": error.code} if error.code else {}
                if (wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")) and status == 200:
                    first, size = int(wanted[1]), len(data)
                    status, data = 206, data[first : int(wanted[2]) + 1]
                    headers |= {"Content-Range": f"bytes {first}-{first + len(data) - 1}/{size}"}
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(data))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - http.server's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def disturb(self, path: str) -> None:
        if self.holding and self.holding in path:
            self.held.set()
            self.released.wait(60)
        if self.failing and self.failing in path:
            raise Refused(500, "Internal Error - We're working hard to fix this as soon as possible!")

    def role(self, authorization: str) -> str:
        if authorization and authorization not in (f"Bearer {WRITER}", f"Bearer {READER}"):
            raise Refused(401, "Invalid credentials in Authorization header")
        return authorization.removeprefix("Bearer ")

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[bytes, dict[str, str]]:
        """The body and the headers of the answer."""
        for pattern, methods, handler in ROUTES:
            if (found := re.fullmatch(pattern, path)) is not None and method in methods:
                if method in ("POST", "PUT") and token != WRITER and "yaml" not in path and "/objects" not in path:
                    raise Refused(403, "You don't have the rights to write to this repository")
                data, headers = handler(self, token, body, *found.groups())
                return data if isinstance(data, bytes) else json.dumps(data).encode(), headers
        raise Refused(404, f"no such page: {method} {path}")

    def repository(self, name: str, token: str) -> Repository:
        found = self.repositories.get(name)
        if found is None or (found.private and not token):
            raise Refused(404 if token else 401, "Repository not found", "RepoNotFound")
        return found


Answer = tuple[Any, dict[str, str]]


def validate(_hub: HubServer, _token: str, body: bytes) -> Answer:
    licence = re.search('^license: "(.*)"$', json.loads(body)["content"], re.MULTILINE)
    if licence is not None and licence[1] not in LICENCES:
        raise Refused(400, f'"license" must be one of [{", ".join(LICENCES)}]')
    return {}, {}


def create(hub: HubServer, _token: str, body: bytes) -> Answer:
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    if name in hub.repositories:
        raise Refused(409, "You already created this dataset repo")
    made = hub.repositories[name] = Repository(asked["visibility"] == "private")
    made.commit("initial commit", {".gitattributes": b"*.parquet filter=lfs\n"})
    return {"url": f"{hub.url}/datasets/{name}"}, {}


def info(hub: HubServer, token: str, _body: bytes, name: str, revision: str | None) -> Answer:
    repository = hub.repository(name, token)
    commit = repository.at(revision or "main")
    siblings = [{"rfilename": path} for path in commit.files]
    return {"id": name, "sha": commit.oid, "private": repository.private, "siblings": siblings, "tags": []}, {}


def tree(hub: HubServer, token: str, _body: bytes, name: str, revision: str) -> Answer:
    files = hub.repository(name, token).files(revision)
    return [{"type": "file", "path": path, "size": len(data), "oid": ""} for path, data in files.items()], {}


def paths_info(hub: HubServer, token: str, body: bytes, name: str, revision: str) -> Answer:
    files = hub.repository(name, token).files(revision)
    asked = [path for path in parse_qs(body.decode())["paths"] if path in files]
    last = {"id": "0" * 40, "title": "x", "date": "2025-02-03T04:05:06.000Z"}
    return [{"type": "file", "path": p, "size": len(files[p]), "oid": "", "lastCommit": last} for p in asked], {}


def preupload(hub: HubServer, token: str, body: bytes, name: str) -> Answer:
    there = hub.repository(name, token).files()

    def told(path: str) -> dict[str, Any]:
        large = path.endswith(".parquet")
        oid = None
        if (data := there.get(path)) is not None:
            oid = hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)
        mode = "lfs" if large else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid and oid.hexdigest()}

    return {"files": [told(file["path"]) for file in json.loads(body)["files"]]}, {}


def batch(hub: HubServer, token: str, body: bytes, name: str) -> Answer:
    hub.repository(name, token)

    def told(asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in hub.objects:
            return asked
        return asked | {"actions": {"upload": {"href": f"{hub.url}/objects/{asked['oid']}"}}}

    return {"transfer": "basic", "objects": [told(asked) for asked in json.loads(body)["objects"]]}, {}


def upload(hub: HubServer, _token: str, body: bytes, oid: str) -> Answer:
    assert hashlib.sha256(body).hexdigest() == oid
    hub.objects[oid] = body
    hub.uploads.append(oid)
    return {}, {}


def commit(hub: HubServer, token: str, body: bytes, name: str) -> Answer:
    repository = hub.repository(name, token)
    header, *operations = map(json.loads, body.splitlines())
    files = dict(repository.files())
    for operation in operations:
        value = operation["value"]
        match operation["key"]:
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
            case "deletedFile":
                del files[value["path"]]
    made = repository.commit(header["value"]["summary"], files)
    return {"commitUrl": f"{hub.url}/datasets/{name}/commit/{made.oid}", "commitOid": made.oid}, {}


def tag(hub: HubServer, token: str, body: bytes, name: str, revision: str) -> Answer:
    repository = hub.repository(name, token)
    asked = json.loads(body)["tag"]
    if asked in repository.tags:
        raise Refused(409, f"Tag {asked} already exists")
    repository.tags[asked] = repository.at(revision).oid
    return {}, {}


def resolve(hub: HubServer, token: str, _body: bytes, name: str, revision: str, path: str) -> Answer:
    found = hub.repository(name, token).at(revision)
    if path not in found.files:
        raise Refused(404, "Entry not found", "EntryNotFound")
    data = found.files[path]
    return data, {"X-Repo-Commit": found.oid, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}


NAME = r"([\w.-]+/[\w.-]+?)"
ROUTES: list[tuple[str, tuple[str, ...], Callable[..., Answer]]] = [
    (r"/api/repos/create", ("POST",), create),
    (r"/api/validate-yaml", ("POST",), validate),
    (rf"/api/datasets/{NAME}/preupload/main", ("POST",), preupload),
    (rf"/api/datasets/{NAME}/commit/main", ("POST",), commit),
    (rf"/api/datasets/{NAME}/tag/(\w+)", ("POST",), tag),
    (rf"/api/datasets/{NAME}/tree/(\w+)", ("GET",), tree),
    (rf"/api/datasets/{NAME}/paths-info/(\w+)", ("POST",), paths_info),
    (rf"/api/datasets/{NAME}(?:/revision/(.+))?", ("GET",), info),
    (rf"/datasets/{NAME}\.git/info/lfs/objects/batch", ("POST",), batch),
    (r"/objects/(\w+)", ("PUT",), upload),
    (rf"/datasets/{NAME}/resolve/([^/]+)/(.+)", ("GET", "HEAD"), resolve),
]
