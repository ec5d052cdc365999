"""A published dataset, sent to the Hub: its sets, card and manifest as one commit, its version as a tag.

    ORG/NAME @ 2026-11-22.1     README.md, manifest.json, <config>/<split>-*.parquet, decisions.parquet when asked for

The tag is made last and means that all of the version is there. A push that was stopped leaves none: the same command
again completes it, and what has arrived is not sent again. `main` is the version pushed last.

Decisions hold every problem with its text, those of other licences and on benchmarks too, so they go only when asked
for. A new repository is private unless told otherwise; one that is there keeps what it is, and what is public is pushed
to only when that is said. The token is the Hub's own (HF_TOKEN, or `hf auth login`); HF_ENDPOINT names another Hub.
"""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curation.progress import Progress
from curation.publish import Dataset
from curation.store import MANIFEST
from flows.hub import HubFailed, quieten, told

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo

CARD, DECISIONS = "README.md", "decisions.parquet"
OF_A_NEW_REPOSITORY = {".gitattributes", CARD}
SECRETS = re.compile(
    r"""://[^/\s"'@\[\]()]{6,}@"""
    r"""|://[^\s"']*[?&](?:[\w-]*signature|[\w-]*token|[\w-]*key|[\w-]*secret|password|sig|sas)=[^&\s"']{8}"""
    r"""|--?[\w-]*(?:api[-_]?key|token|password|secret)["',\s=:-]+[^\s"',=:-][^\s"',]{5}"""
    r"""|\bBearer [\w.-]{12}"""
    r"""|(?<![\w-])(?:hf_\w{30}|sk-[\w-]{20}|gsk_\w{20}|gh[pousr]_\w{30}|github_pat_\w{20}|AIza[\w-]{30}|A[KS]IA[A-Z0-9]{16})""",
    re.IGNORECASE,
)
"""What names a user in a URL, a signed address, a key after its option, a key of a usual form."""


class PushRefused(ValueError):
    """What is asked for should not, or cannot, be done so."""


@dataclass(frozen=True)
class Pushed:
    """What is on the Hub."""

    url: str
    """The version's page."""
    version: str
    private: bool
    files: int
    sent: bool
    """False when it was all there."""


def push(dataset: Dataset, name: str, public: bool, decisions: bool, progress: Progress) -> Pushed:
    """Sends a dataset to the repository `name` (ORG/NAME). Raises PushRefused, HubFailed."""
    refuse_name(name)
    paths = files(dataset, decisions)
    refuse_secrets(dataset)
    with tempfile.TemporaryDirectory(prefix="cuvee-push-") as folder:
        return _Push(dataset, name, public, folder).run(paths, progress)


def refuse_name(name: str) -> None:
    """Raises PushRefused for what cannot be a repository's name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # loaded when asked for

    try:
        validate_repo_id(name)
        of_two = name.count("/") == 1
    except HFValidationError:
        of_two = False
    if not of_two:
        raise PushRefused(
            f"{name!r} is no repository's name; give ORG/NAME or USER/NAME, each of letters, digits, `-`, `_` and `.`, "
            "without `--` or `..`, and beginning and ending with a letter or digit"
        )


def files(dataset: Dataset, decisions: bool) -> list[str]:
    """The paths to send, relative to the dataset's folder. Raises PushRefused when one is missing or damaged."""
    if not dataset.is_whole():
        raise PushRefused(
            f"{dataset.folder} lacks files that its manifest lists; running the recipe publishes it again"
        )
    asked_for = [DECISIONS, *dataset.manifest.get("tables", [])] if decisions else []
    return [CARD, *_tables(dataset.manifest), *asked_for, MANIFEST]


def refuse_secrets(dataset: Dataset) -> None:
    """Raises PushRefused when the recipe, which card and manifest hold, holds what looks like a secret; never shows it."""
    for key, value in _texts(dataset.manifest["recipe"], ""):
        if SECRETS.search(value):
            raise PushRefused(
                f"the recipe of {dataset.ref} has what looks like a password, a key or a signed address under {key} (not "
                "shown). Take it out (models name a variable in `api_key_env`), run the recipe again, and push the new version"
            )


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """The texts of a recipe by dotted key; a list of words as one text."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        yield key, " ".join(map(str, value))
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str) and not key.startswith("keep."):
        yield key, value


class _Push:
    """One dataset on its way to one repository."""

    def __init__(self, dataset: Dataset, name: str, public: bool, folder: str) -> None:
        from huggingface_hub import HfApi, get_token

        quieten()
        if get_token() is None:
            raise HubFailed("no token for the Hub: `hf auth login`, or set HF_TOKEN to one that may write")
        self.api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="cuvee")
        self.dataset, self.name, self.public, self.folder = dataset, name, public, folder
        self.version = str(dataset.manifest["version"])
        self.fingerprint = str(dataset.manifest["fingerprint"])

    def run(self, paths: list[str], progress: Progress) -> Pushed:
        with told(self.name, PushRefused):
            main = self.info(None)
            if main is not None:
                self.check(main)
                if (tagged := self.info(self.version)) is not None:
                    self.check_same(tagged, paths)
                    return self.pushed(bool(main.private), paths, sent=False)
            else:
                self.api.create_repo(self.name, repo_type="dataset", private=not self.public)
            commit = self.send(paths, self.stale(main, paths), progress)
            self.api.create_tag(
                self.name, repo_type="dataset", tag=self.version, revision=commit, tag_message=self.fingerprint
            )
        return self.pushed(not self.public, paths, sent=True)

    def info(self, revision: str | None) -> "DatasetInfo | None":
        """What is on the Hub; None when there is no such repository, or no such tag in it."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        try:
            return self.api.dataset_info(self.name, revision=revision)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None

    def check(self, main: "DatasetInfo") -> None:
        """Refuses a repository that others can see when that was not said, or that holds something else."""
        if main.private == self.public:
            known, say = ("private", "leave out --public") if main.private else ("public", "say --public")
            raise PushRefused(
                f"{self.name} is there and {known}: {say}, or change its visibility in the settings on the Hub"
            )
        there = self.manifest(main)
        foreign = sorted(_names(main) - OF_A_NEW_REPOSITORY)
        if there is None and foreign:
            raise PushRefused(
                f"{self.name} holds something else ({', '.join(foreign[:3])}), and a push would write over it; "
                "give another name"
            )
        ours = self.dataset.manifest["name"]
        if there is not None and there["name"] != ours:
            raise PushRefused(f"{self.name} holds the dataset {there['name']!r}, not {ours!r}; give another name")

    def check_same(self, tagged: "DatasetInfo", paths: list[str]) -> None:
        """Refuses to change what a tag stands for."""
        there = self.manifest(tagged)
        free = (
            f"delete the tag {self.version} on the Hub when nobody uses it, or publish a new version "
            "(a changed recipe run again), and push that"
        )
        if there is None or there["fingerprint"] != self.fingerprint:
            raise PushRefused(f"{self.name} has a version {self.version} already, with other content: {free}")
        if missing := sorted(set(paths) - _names(tagged)):
            raise PushRefused(f"{self.name} has the version {self.version} already, without {missing[0]}: {free}")

    def manifest(self, info: "DatasetInfo") -> dict[str, Any] | None:
        """The manifest of a published dataset at this commit of the repository; None when there is none."""
        if MANIFEST not in _names(info):
            return None
        path = self.api.hf_hub_download(
            self.name, MANIFEST, repo_type="dataset", revision=info.sha, local_dir=f"{self.folder}/{info.sha}"
        )
        with open(path, encoding="utf-8") as file, contextlib.suppress(ValueError):
            found = json.load(file)
            if isinstance(found, dict) and {"name", "version", "fingerprint", "sets"} <= found.keys():
                return found
        return None

    def stale(self, main: "DatasetInfo | None", paths: list[str]) -> list[str]:
        """Files of the version that `main` has, which this one lacks: readers would take them for part of it."""
        there = self.manifest(main) if main is not None else None
        if main is None or there is None:
            return []
        return sorted((set(_tables(there)) | {DECISIONS}) & _names(main) - set(paths))

    def send(self, paths: list[str], stale: list[str], progress: Progress) -> str:
        """Uploads file by file what the Hub lacks, then makes it one commit; gives the commit."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        added = []
        with progress.step("push", len(paths), "files") as step:
            for path in paths:
                source = self.local(path)
                addition = CommitOperationAdd(path, source)
                self.api.preupload_lfs_files(self.name, [addition], repo_type="dataset", num_threads=1)
                # What has arrived is not read again; what goes with the commit is.
                if addition.path_or_fileobj == b"" and source.startswith(self.folder):
                    os.unlink(source)
                added.append(addition)
                step.advance()
        commit = self.api.create_commit(
            self.name,
            [*added, *(CommitOperationDelete(path) for path in stale)],
            commit_message=f"{self.dataset.ref}, content {self.fingerprint}",
            repo_type="dataset",
        )
        return str(commit.oid)

    def local(self, path: str) -> str:
        """Where a file of the dataset lies on this machine; from an object store it is fetched."""
        whole = f"{self.dataset.folder}/{path}"
        if self.dataset.store.local:
            return whole
        copy = f"{self.folder}/sent/{path}"
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        self.dataset.store.fs.get_file(whole, copy)
        return copy

    def pushed(self, private: bool, paths: list[str], sent: bool) -> Pushed:
        url = f"{self.api.endpoint}/datasets/{self.name}/tree/{self.version}"
        return Pushed(url, self.version, private, len(paths), sent)


def _tables(manifest: dict[str, Any]) -> list[str]:
    return [file for splits in manifest["sets"].values() for split in splits.values() for file in split["files"]]


def _names(info: "DatasetInfo") -> set[str]:
    return {file.rfilename for file in info.siblings or []}
