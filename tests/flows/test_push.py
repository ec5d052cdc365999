"""`cuvee push`: what arrives on the Hub, what is refused, and a push that was stopped. The Hub is tests/hub_server.py."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from click.testing import CliRunner, Result
from hub_server import READER, WRITER, HubServer
from huggingface_hub import constants, snapshot_download

from curation.progress import Progress
from curation.store import Store
from flows.cli import main
from flows.curate import curate
from flows.pushing import SECRETS
from flows.recipe import resolve

CUVEE = Path(sys.executable).parent / "cuvee"
SETS = ["README.md", "manifest.json", "rl/test-00000.parquet", "rl/train-00000.parquet"]


def publish(workspace: Path, problems: int, name: str = "sums", holdout: float = 0.3) -> None:
    rows = [{"prompt": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(problems)]
    (workspace.parent / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = {"jsonl": str(workspace.parent / "a.jsonl"), "verifier": "exact"}
    recipe = {"name": name, "sources": {"a": source}, "keep": {"long": "prompt != ''"}, "holdout": holdout}
    curate(resolve(recipe, "recipe.yaml"), str(workspace), progress=Progress(quiet=True))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sums` in two versions: the second without a split `test`."""
    workspace = tmp_path_factory.mktemp("push") / "workspace"
    publish(workspace, 20)
    publish(workspace, 9, holdout=0.0)
    return workspace


@pytest.fixture(scope="module")
def versions(workspace: Path) -> list[str]:
    return [path.name for path in sorted((workspace / "datasets" / "sums").iterdir())]


@pytest.fixture
def own(workspace: Path, tmp_path: Path) -> Path:
    """The newest version of `sums`, in a copy of the workspace that a test may spoil."""
    copy = shutil.copytree(workspace, tmp_path / "own")
    return max((copy / "datasets" / "sums").iterdir())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    # The stand-in has no Xet storage, and the client reads these once, at its import.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield server


def cuvee(workspace: Path | str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["push", *arguments, "--quiet", "--workspace", str(workspace)])


def sent(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result: Result, code: int = 2) -> str:
    assert result.exit_code == code, result.output
    assert len(result.stderr.splitlines()) == 1
    assert WRITER not in result.output
    return result.stderr


def local(workspace: Path, version: str, names: list[str]) -> dict[str, bytes]:
    return {name: (workspace / "datasets" / "sums" / version / name).read_bytes() for name in names}


# What arrives


def test_a_new_repository_is_private_and_has_sets_card_and_manifest_byte_by_byte(
    hub: HubServer, workspace: Path, versions: list[str], tmp_path: Path
) -> None:
    first = versions[0]
    told = sent(cuvee(workspace, f"sums@{first}", "org/sums"))
    assert told.splitlines() == [
        f"4 files, private: {hub.url}/datasets/org/sums/tree/{first}",
        f'datasets.load_dataset("org/sums", revision="{first}")',
    ]
    repository = hub.repositories["org/sums"]
    assert repository.private
    assert repository.tags == {first: repository.commits[-1].oid}
    files = dict(repository.files(first))
    assert files.pop(".gitattributes")
    assert files == local(workspace, first, SETS)
    fingerprint = json.loads(files["manifest.json"])["fingerprint"]
    assert repository.commits[-1].message == f"sums@{first}, content {fingerprint}"

    folder = snapshot_download(
        "org/sums", repo_type="dataset", revision=first, endpoint=hub.url, token=WRITER, local_dir=tmp_path / "got"
    )
    loaded = datasets.load_dataset(folder, cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows + loaded["test"].num_rows == 20


def test_decisions_go_only_when_asked_for(hub: HubServer, workspace: Path, versions: list[str]) -> None:
    sent(cuvee(workspace, "sums", "org/all", "--decisions", "--public"))
    repository = hub.repositories["org/all"]
    assert not repository.private
    kept = local(workspace, versions[-1], ["decisions.parquet"])
    assert {name: repository.files()[name] for name in kept} == kept


def test_what_an_older_version_had_and_this_one_lacks_is_gone_from_main_and_stays_under_its_tag(
    hub: HubServer, workspace: Path, versions: list[str]
) -> None:
    sent(cuvee(workspace, f"sums@{versions[0]}", "org/sums", "--decisions"))
    sent(cuvee(workspace, f"sums@{versions[1]}", "org/sums"))
    repository = hub.repositories["org/sums"]
    assert "rl/test-00000.parquet" not in repository.files("main")
    assert "decisions.parquet" not in repository.files("main")
    assert {"rl/test-00000.parquet", "decisions.parquet"} <= repository.files(versions[0]).keys()


def test_a_dataset_on_an_object_store_is_sent_without_leaving_files_behind(
    hub: HubServer, workspace: Path, versions: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store("memory://push")
    store.fs.put(str(workspace / "datasets"), f"{store.root}/datasets", recursive=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sent(cuvee("memory://push", f"sums@{versions[0]}", "org/sums"))
    files = hub.repositories["org/sums"].files()
    assert {name: files[name] for name in SETS} == local(workspace, versions[0], SETS)
    assert list(tmp_path.iterdir()) == []


# Again


def test_the_same_again_sends_nothing(hub: HubServer, workspace: Path, versions: list[str]) -> None:
    sent(cuvee(workspace, "sums", "org/sums"))
    commits, uploads = len(hub.repositories["org/sums"].commits), len(hub.uploads)
    assert sent(cuvee(workspace, "sums", "org/sums")).startswith("all of it is there: ")
    assert (len(hub.repositories["org/sums"].commits), len(hub.uploads)) == (commits, uploads)
    told = json.loads(sent(cuvee(workspace, "sums", "org/sums", "--json")))
    assert told == {
        "url": f"{hub.url}/datasets/org/sums/tree/{versions[-1]}",
        "version": versions[-1],
        "private": True,
        "files": 3,
        "sent": False,
    }


def test_a_push_that_was_killed_leaves_no_tag_and_the_next_one_sends_only_what_is_missing(
    hub: HubServer, workspace: Path, versions: list[str]
) -> None:
    hub.holding = "/tag/"
    command = [CUVEE, "push", "sums", "org/sums", "--workspace", workspace]
    with subprocess.Popen(command, env=os.environ | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}) as killed:
        assert hub.held.wait(60)
        killed.send_signal(signal.SIGKILL)
    repository = hub.repositories["org/sums"]
    assert repository.tags == {}
    assert len(repository.commits) == 2
    hub.holding = ""

    sent(cuvee(workspace, "sums", "org/sums"))
    assert repository.tags == {versions[-1]: repository.commits[-1].oid}
    assert len(repository.commits) == 2
    assert len(hub.uploads) == 1


def test_a_hub_that_fails_at_the_commit_has_the_files_when_it_is_back(hub: HubServer, workspace: Path) -> None:
    hub.failing = "/commit/"
    assert "the Hub answered 500 (Internal Error" in refused(cuvee(workspace, "sums", "org/sums"), 1)
    assert hub.repositories["org/sums"].tags == {}
    hub.failing = ""
    sent(cuvee(workspace, "sums", "org/sums"))
    assert len(hub.uploads) == 1


# What is refused


def test_a_tag_with_other_content_is_not_moved(hub: HubServer, workspace: Path, versions: list[str]) -> None:
    newest = versions[-1]
    sent(cuvee(workspace, "sums", "org/sums"))
    assert f"has the version {newest} already, without decisions.parquet: delete the tag" in refused(
        cuvee(workspace, "sums", "org/sums", "--decisions")
    )
    files = hub.repositories["org/sums"].files(newest)
    manifest = json.loads(files["manifest.json"])
    files["manifest.json"] = json.dumps(manifest | {"fingerprint": "another"}).encode()
    assert f"org/sums has a version {newest} already, with other content: delete the tag" in refused(
        cuvee(workspace, "sums", "org/sums")
    )


def test_what_is_public_is_pushed_to_only_when_that_is_said(hub: HubServer, workspace: Path) -> None:
    sent(cuvee(workspace, "sums", "org/open", "--public"))
    assert "org/open is there and public: say --public" in refused(cuvee(workspace, "sums", "org/open"))
    sent(cuvee(workspace, "sums", "org/closed"))
    assert "org/closed is there and private: leave out --public" in refused(
        cuvee(workspace, "sums", "org/closed", "--public")
    )


def test_a_repository_with_something_else_in_it_is_left_alone(hub: HubServer, workspace: Path, tmp_path: Path) -> None:
    sent(cuvee(workspace, "sums", "org/sums"))
    publish(tmp_path / "other", 3, name="others")
    assert "holds the dataset 'sums', not 'others'" in refused(cuvee(tmp_path / "other", "others", "org/sums"))
    hub.repositories["org/sums"].commit("by hand", {"README.md": b"mine", "data.csv": b"1,2"})
    assert "holds something else (data.csv), and a push would write over it" in refused(
        cuvee(workspace, "sums", "org/sums")
    )


@pytest.mark.parametrize("name", ["sums", "org/a/b", "org/", "org/a--b", "org/-a", "https://huggingface.co/org/a"])
def test_a_name_that_is_not_org_and_name(hub: HubServer, workspace: Path, name: str) -> None:
    assert "is no repository's name; give ORG/NAME" in refused(cuvee(workspace, "sums", name))
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (READER, "error: the token may not write to org/sums (You don't have the rights"),
        (
            "hf_unknown",
            "error: the Hub does not know the token (Invalid credentials in Authorization header): `hf auth",
        ),
    ],
)
def test_a_token_that_may_not(
    hub: HubServer, workspace: Path, monkeypatch: pytest.MonkeyPatch, token: str, message: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    error = refused(cuvee(workspace, "sums", "org/sums"), 1)
    assert error.startswith(message)
    assert token not in error


def test_no_token(hub: HubServer, workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert "no token for the Hub: `hf auth login`, or set HF_TOKEN" in refused(cuvee(workspace, "sums", "org/sums"), 1)


def test_a_card_that_the_hub_refuses(hub: HubServer, own: Path) -> None:
    card = own / "README.md"
    card.write_text(card.read_text().replace('license: "other"', 'license: "my own"'))
    error = refused(cuvee(own, str(own), "org/sums"), 1)
    assert (
        'the Hub refuses what is sent: Invalid metadata in README.md. - "license" must be one of [apache-2.0' in error
    )
    assert hub.repositories["org/sums"].tags == {}


def test_a_hub_that_is_not_there(hub: HubServer, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = refused(cuvee(workspace, "sums", "org/sums"), 1)
    assert error.startswith("error: the Hub did not answer (ConnectError: ")
    assert error.endswith("the same command again goes on\n")


def test_a_secret_in_the_recipe_stays_here_and_is_not_shown(hub: HubServer, own: Path) -> None:
    manifest = own / "manifest.json"
    manifest.write_text(manifest.read_text().replace("a.jsonl", "https://me:hunter2@host/a.jsonl"))
    error = refused(cuvee(own, str(own), "org/sums"))
    assert "has what looks like a password, a key or a signed address under sources.a.jsonl (not shown)" in error
    assert "hunter2" not in error
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://me:pass@host/x.parquet", True),
        ("https://b.s3.amazonaws.com/x?X-Amz-Signature=0123456789abcdef", True),
        ("https://host/x.parquet?token=abcdefgh12", True),
        ("Bearer hf_" + "a" * 34, True),
        ("https://ghp_0123456789@host/x.parquet", True),
        ("--hf-token=mytoken456", True),
        ("--chat-api-key supersecretkey123", True),
        ("data/en-sk-parallel-mathematics-problems.jsonl", False),
        ("http://host:8000/v1", False),
        ("https://host/x.parquet?key=id", False),
        ("regexp_extract(answer, '#### (.*)', 1)", False),
        ("mail me@host.org: see https://host/@me", False),
    ],
)
def test_what_looks_like_a_secret(text: str, secret: bool) -> None:
    assert bool(SECRETS.search(text)) == secret


def test_a_damaged_dataset_is_not_sent(hub: HubServer, own: Path) -> None:
    (own / "rl" / "train-00000.parquet").write_bytes(b"PAR1")
    assert "lacks files that its manifest lists; running the recipe publishes it again" in refused(
        cuvee(own, str(own), "org/sums")
    )
