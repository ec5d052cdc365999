"""A model's settings and mistakes in them, its identity, and servers that are given by URL."""

import json
import math
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from lab import Lab
from pydantic import ValidationError

import curation.reach
from curation.engine import Serve, vllm_command, vllm_environment
from curation.model import Model, ModelError, ServerError, api_key, check, identity, serve
from flows.recipe import RecipeError, load

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a model, with five MiB of weights."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 0.6}')
    (folder / "model.safetensors").write_bytes(bytes(5 << 20))
    return folder


def change_byte(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


# Identity


def test_the_identity_of_a_folder_is_that_of_its_copy(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(folder, copy)
    assert identity(Model(model=str(folder))) == identity(Model(model=str(copy)))
    assert str(tmp_path) not in json.dumps(identity(Model(model=str(folder))))


@pytest.mark.parametrize("place", [0, (5 << 20) // 256 * 100, (5 << 20) - 1], ids=["first", "between", "last"])
def test_a_byte_of_the_weights_is_another_identity(folder: Path, place: int) -> None:
    before = identity(Model(model=str(folder)))
    change_byte(folder / "model.safetensors", place)
    assert identity(Model(model=str(folder))) != before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_byte_of_config_tokenizer_or_template_is_another_identity(folder: Path, name: str) -> None:
    before = identity(Model(model=str(folder)))
    change_byte(folder / name, 3)
    assert identity(Model(model=str(folder))) != before


def test_of_the_generation_config_only_the_end_tokens_count(folder: Path) -> None:
    before = identity(Model(model=str(folder)))
    (folder / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 1.0}')
    assert identity(Model(model=str(folder))) == before
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    assert identity(Model(model=str(folder))) != before


def test_how_a_model_runs_and_is_prompted_is_no_part_of_its_identity(folder: Path) -> None:
    tuned = Model.model_validate(
        {"model": str(folder), "concurrency": 8, "serve": {"max_model_len": 512}, "prompt": {"style": "raw"}}
    )
    assert identity(tuned) == identity(Model(model=str(folder)))


def test_a_hub_model_is_its_repository_and_commit() -> None:
    assert identity(Model(model="org/name", revision=COMMIT)) == {"repository": "org/name", "commit": COMMIT}


def test_a_branch_of_a_hub_model_is_resolved_in_the_local_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    reference = tmp_path / "models--org--name" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text(COMMIT)
    assert identity(Model(model="org/name")) == {"repository": "org/name", "commit": COMMIT}


def test_a_hub_model_of_unknown_commit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"no commit of 'org/name' \(main\) is known.*give the commit as `revision`"):
        identity(Model(model="org/name"))


def test_what_a_url_serves_is_unpinned_without_a_revision() -> None:
    here, there = "http://one:8000/v1", "https://two/v1"
    assert identity(Model(model="m", url=here)) == {"served_name": "m", "unpinned": True}
    assert identity(Model(model="m", url=there, revision="v2")) == {"served_name": "m", "revision": "v2"}


# Mistakes, found when a recipe is loaded


def test_what_is_right_passes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    for model in (
        Model(model=str(folder)),
        Model(model="~/tiny"),
        Model(model="Qwen/Qwen3-8B"),
        Model(model="any name", url="http://host:8000/v1"),
    ):
        check(model)


@pytest.mark.parametrize("name", ["/no/such/folder", "./models/tiny", "~/tiny", "SmolLM2", "a/b/c"])
def test_a_name_that_is_neither_folder_nor_hub_name_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(ModelError) as caught:
        check(Model(model=name))
    assert str(caught.value) == (
        f"model: {name!r} is neither a folder that exists nor a Hub name. Allowed are a folder with config.json and "
        "weights, a Hub name such as Qwen/Qwen3-8B, or any name together with `url`"
    )


@pytest.mark.parametrize(
    ("removed", "missing"),
    [
        (["config.json"], "no config.json;"),
        (["model.safetensors"], "no weight files (*.safetensors or *.bin);"),
        (["config.json", "model.safetensors"], "no config.json and no weight files (*.safetensors or *.bin);"),
    ],
)
def test_a_folder_without_a_model_is_refused(folder: Path, removed: list[str], missing: str) -> None:
    for name in removed:
        (folder / name).unlink()
    with pytest.raises(ModelError) as caught:
        check(Model(model=str(folder)))
    assert str(caught.value) == (
        f"model: the folder '{folder}' has {missing} give the folder that save_pretrained or a download has written"
    )


def test_a_file_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"is a file; give the folder that holds config.json"):
        check(Model(model=str(folder / "config.json")))


def test_a_folder_with_a_revision_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"revision: 'main' has no meaning for the folder"):
        check(Model(model=str(folder), revision="main"))


@pytest.mark.parametrize(
    "url", ["host:8000/v1", "ftp://host/v1", "http://", "http://host:port/v1", "http://host/v1?a=b"]
)
def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(ModelError) as caught:
        check(Model(model="m", url=url))
    assert str(caught.value) == (
        f"url: '{url}' is not of the form http(s)://host[:port]/path; give the base of an OpenAI-compatible server, "
        "such as http://host:8000/v1"
    )


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ModelError, match="api_key_env") as caught:
        check(Model(model="m", url="http://me:secret@host/v1"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "dumped"),
    [(None, None), ("http://a/v1", "http://a/v1"), (["http://a/v1"], "http://a/v1"), (["http://a", "http://b"],) * 2],
)
def test_one_server_is_written_as_a_string_and_several_as_a_list(url: object, dumped: object) -> None:
    given = Model.model_validate({"model": "m", "url": url})
    assert given.url is None or isinstance(given.url, tuple)
    assert given.model_dump(mode="json")["url"] == dumped
    assert ("url" in given.model_dump(exclude_defaults=True)) == (url is not None)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("url", "5", "models.policy.url: input should be a valid tuple; given 5"),
        ("url", "[http://a/v1, 3]", "models.policy.url.1: input should be a valid string; given 3"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line_with_its_key(key: str, value: str, said: str, tmp_path: Path) -> None:
    lab = Lab(tmp_path, {"model": "m", "url": "http://a/v1"})
    with pytest.raises(RecipeError) as caught:
        load(str(lab.write()), {f"models.policy.{key}": value})
    (line,) = str(caught.value).splitlines()
    assert f": {said}" in line


@pytest.mark.parametrize("number", [math.inf, math.nan])
@pytest.mark.parametrize("key", ["price.gpu_hour", "price.completion_mtok", "serve.start_timeout", "concurrency"])
def test_numbers_are_finite(key: str, number: float) -> None:
    outer, _, inner = key.partition(".")
    with pytest.raises(
        ValidationError, match=rf"^1 validation error for Model\n{key}\n  Input should be a finite number"
    ):
        Model.model_validate({"model": "m", outer: {inner: number} if inner else number})


@pytest.mark.parametrize("field", ["api_key", "api_key_env"])
def test_a_key_in_the_settings_is_refused_and_not_repeated(field: str) -> None:
    with pytest.raises(ValidationError, match="is the name of an environment variable") as caught:
        Model.model_validate({"model": "m", field: "sk-secret"})
    assert "secret" not in str(caught.value)


def test_a_key_that_is_not_set_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(ModelError, match="the environment variable TEACHER_KEY is not set"):
        api_key(Model(model="m", url="http://host/v1", api_key_env="TEACHER_KEY"))


def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Model(model="m", url="http://host/v1", api_key_env="TEACHER_KEY")
    monkeypatch.setenv("TEACHER_KEY", "secret\nsecond line")
    with pytest.raises(ModelError, match="TEACHER_KEY holds is no key") as caught:
        api_key(given)
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("TEACHER_KEY", "right\n")
    assert api_key(given) == "right"


# The command line of a server started here


def test_extra_arguments_come_last() -> None:
    given = Serve(max_model_len=512, extra_args=("--no-enforce-eager", "--swap-space=1"))
    command = vllm_command(given, model="org/name", commit=COMMIT, name="org/name", port=8000)
    text = " ".join(command)
    assert command[:3] == [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    assert f"--model org/name --revision {COMMIT} --served-model-name org/name --host 127.0.0.1 --port 8000" in text
    assert "--max-model-len 512" in text
    assert "--gpu-memory-utilization" not in text
    assert command[-2:] == ["--no-enforce-eager", "--swap-space=1"]


def test_every_start_has_another_seed() -> None:
    starts = [vllm_command(Serve(), model="m", commit=None, name="m", port=1) for _ in range(2)]
    assert len({command[command.index("--seed") + 1] for command in starts}) == 2


def test_the_environment_of_the_user_wins_but_a_key_of_vllm_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "0")
    monkeypatch.setenv("VLLM_API_KEY", "other")
    assert vllm_environment(None)["VLLM_NO_USAGE_STATS"] == "0"
    assert "VLLM_API_KEY" not in vllm_environment(None)
    assert vllm_environment("ours")["VLLM_API_KEY"] == "ours"


def test_bytecode_is_kept_apart_when_the_environment_wants_none_beside_the_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = vllm_environment(None)
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["PYTHONPYCACHEPREFIX"] == f"{tmp_path}/.cache/cuvee/bytecode"
    (tmp_path / "vllm" / "__pycache__").mkdir()  # compiled when it was installed
    assert vllm_environment(None)["PYTHONDONTWRITEBYTECODE"] == "1"


# Servers given by URL


class Answers(BaseHTTPRequestHandler):
    """Answers as vLLM does to /v1/models and /version, to requests with the key "right"."""

    def do_GET(self) -> None:
        entry = {"id": "small", "owned_by": "vllm", "max_model_len": 8192}
        content = {"/v1/models": {"data": [entry]}, "/version": {"version": "0.32.0"}}.get(self.path)
        allowed = self.headers.get("Authorization") == "Bearer right"
        self.send_response(401 if not allowed else 404 if content is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output stays clean."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("SMALL_KEY", "right")
    monkeypatch.setattr(curation.reach, "URL_PATIENCE", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_a_server_given_by_url_says_what_it_is(url: str, tmp_path: Path) -> None:
    said: list[str] = []
    given = Model(model="small", url=url + "/", api_key_env="SMALL_KEY")
    with serve(given, log=tmp_path / "log", progress=said.append) as (server,):
        assert (server.url, server.name, server.max_model_len, server.started_here) == (url, "small", 8192, False)
        assert server.engine == {"engine": "vllm", "version": "0.32.0", "dtype": None}
        assert server.reached
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_server_does_not_serve_is_refused_with_those_it_does(url: str, tmp_path: Path) -> None:
    given = Model(model="large", url=url, api_key_env="SMALL_KEY")
    with (
        pytest.raises(ModelError, match=rf"{url} does not serve 'large'; it serves small$"),
        serve(given, log=tmp_path),
    ):
        pass


def test_a_wrong_key_is_said_and_not_shown(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALL_KEY", "wrong")
    given = Model(model="small", url=url, api_key_env="SMALL_KEY")
    with (
        pytest.raises(ModelError, match="refuses the key in SMALL_KEY: HTTP 401") as caught,
        serve(given, log=tmp_path),
    ):
        pass
    assert "wrong" not in str(caught.value)
    with (
        pytest.raises(ModelError, match="refuses a request without a key"),
        serve(Model(model="small", url=url), log=tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("path", "trouble"),
    [("http://127.0.0.1:9/v1", "Connection refused"), ("{root}/v2", "HTTP 404")],
    ids=["down", "path"],
)
def test_a_url_that_does_not_answer_is_named(url: str, path: str, trouble: str, tmp_path: Path) -> None:
    wrong = path.format(root=url.removesuffix("/v1"))
    given = Model(model="small", url=wrong, api_key_env="SMALL_KEY")
    with (
        pytest.raises(ServerError, match=rf"^{wrong}/models does not answer.*{trouble}.*usually ends in /v1") as caught,
        serve(given, log=tmp_path),
    ):
        pass
    assert "right" not in str(caught.value)
