"""The average of several models' weights, tensor by tensor: long2short by merging a long-CoT and a short-CoT model
(Kimi k1.5, 2501.12599, 2.4).

Config, tokenizer, template, shards and number format are the first model's. A shard is written in its own layout: header
first, then every tensor where the first model has it, so one tensor of each model is in memory at a time. Sums are fp32.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curation.durable import sync
from curation.progress import Progress
from curation.weights import TOKENIZER_FILES, folder_identity
from train.memory import told

RECORD = "merge.json"
AVERAGED = {"F64", "F32", "F16", "BF16"}
"""Number formats, as safetensors names them; what is in another, such as a table of positions, has to be equal."""
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
"""One tensor under two names in models that tie them: files have the second or not."""
INDEX = "model.safetensors.index.json"
COPIED = ("config.json", "generation_config.json", INDEX, *TOKENIZER_FILES)
UNSAID = {"architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path", "use_cache"}
"""What of a config does not change what the weights compute, or is looked at by itself."""
SHOWN = 3
"""Differences that are named."""


class MergeError(ValueError):
    """Models that cannot be merged as asked."""


@dataclass(frozen=True)
class Merged:
    """What was written."""

    folder: Path
    tensors: int
    notes: list[str]
    """Settings in which the others differ from the first, whose are kept."""


class Source:
    """A model's weights in safetensors files, of which no tensor is read before it is asked for."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        """folder: of a Hugging Face model. opened: closes the files. Raises MergeError."""
        from safetensors import safe_open

        self.folder = folder
        for needed in ("config.json", "tokenizer_config.json"):
            if not (folder / needed).is_file():
                more = (
                    "; adapters are merged into their model first" if (folder / "adapter_config.json").is_file() else ""
                )
                raise MergeError(f"{folder} has no {needed}, so it is no folder of a whole model{more}")
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.files = sorted(folder.glob("*.safetensors"))
        index = folder / INDEX
        if index.is_file():
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            self.files = sorted(folder / name for name in named)
            if gone := [file.name for file in self.files if not file.is_file()]:
                raise MergeError(f"{folder} lacks {', '.join(gone[:SHOWN])}, which its index names; download it again")
        if not self.files:
            raise MergeError(f"{folder} has no .safetensors file; save the model as safetensors (save_pretrained does)")
        self.headers = {file: _header(file) for file in self.files}
        self.shapes = {name: entry for _, header in self.headers.values() for name, entry in header.items()}
        self._open: dict[str, Any] = {}
        for file, (_, header) in self.headers.items():
            reader = opened.enter_context(safe_open(str(file), framework="pt"))
            self._open |= dict.fromkeys(header, reader)

    @cached_property
    def ties(self) -> bool:
        """Whether words have one vector for input and output."""
        return bool(self.config.get("tie_word_embeddings")) and EMBEDDING in self.shapes

    @property
    def names(self) -> set[str]:
        """The names of the tensors, those tied to another left out."""
        return set(self.shapes) - ({HEAD} if self.ties else set())

    def tensor(self, name: str) -> Any:
        """One tensor, on the CPU, as it is stored."""
        return self._open[self._known(name)].get_tensor(self._known(name))

    def shape(self, name: str) -> list[int]:
        shape: list[int] = self.shapes[self._known(name)]["shape"]
        return shape

    def _known(self, name: str) -> str:
        return EMBEDDING if name == HEAD and self.ties else name


def merge(
    folders: Sequence[Path], shares: Sequence[float], out: Path, progress: Progress, named: Sequence[str] = ()
) -> Merged:
    """Writes the weighted average of models to a new folder. Raises MergeError; nothing is left of what was not finished.

    shares: one a model, divided by their sum. named: what the models were called, for merge.json.
    """
    if len(folders) < 2:
        raise MergeError("one model is no merge; give two or more")
    if len(shares) != len(folders) or not all(math.isfinite(share) and share > 0 for share in shares):
        raise MergeError(
            f"weights {', '.join(f'{one:g}' for one in shares)}: give each of {len(folders)} models one above 0"
        )
    weights = [share / math.fsum(shares) for share in shares]
    if out.exists():
        raise MergeError(f"{out} is there already; give another --out, or remove it")
    if (above := next(place for place in out.absolute().parents if place.exists())).is_file():
        raise MergeError(f"{out}: {above} is a file, not a folder; give another --out")
    temporary = out.with_name(f"{out.name}.tmp")
    with ExitStack() as opened:
        first, *others = sources = [Source(folder, opened) for folder in folders]
        notes = [note for other in others for note in _compared(first, other)]
        _check_disk(first, out)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            with progress.step("merge", len(first.shapes), "tensors") as step:
                for file, (size, header) in first.headers.items():
                    with (temporary / file.name).open("wb") as shard:
                        shard.write(_head_of(file, size))
                        for name in sorted(header, key=lambda name: header[name]["data_offsets"]):
                            shard.write(_bytes(_average(sources, weights, name)))
                            step.advance()
            _complete(temporary, folders, weights, named or [str(folder) for folder in folders])
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    sync(out.parent)
    return Merged(out, len(first.shapes), notes)


def _average(sources: Sequence[Source], weights: Sequence[float], name: str) -> Any:
    """One tensor of the result, in the first model's format."""
    import torch

    first = sources[0].tensor(name)
    if sources[0].shapes[name]["dtype"] not in AVERAGED:
        for other in sources[1:]:
            if not torch.equal(first, other.tensor(name)):
                raise MergeError(
                    f"{name} is of {first.dtype} and another in {other.folder}: only floating-point weights are averaged; "
                    "give models that are not quantized"
                )
        return first
    total = torch.zeros(first.shape, dtype=torch.promote_types(first.dtype, torch.float32))
    for source, weight in zip(sources, weights, strict=True):
        total += weight * source.tensor(name).to(total.dtype)
    return total.to(first.dtype)


def _bytes(tensor: Any) -> memoryview:
    import torch

    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def _header(file: Path) -> tuple[int, dict[str, Any]]:
    """The length of a safetensors header, with the eight bytes that say it, and its entries by tensor."""
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            there = file.stat().st_size
            header = json.loads(opened.read(size)) if size <= there else {}
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        whole = 8 + size + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise MergeError(f"{file} cannot be read ({type(error).__name__}: {error}); download it again") from error
    if not entries or whole > there:
        raise MergeError(f"{file} is no whole safetensors file ({there:,} bytes are there); download it again")
    return 8 + size, entries


def _head_of(file: Path, size: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(size)


def _compared(first: Source, other: Source) -> Iterator[str]:
    """The settings in which two models differ. Raises MergeError where their weights do not go together."""
    from distill.tokenized import load_tokenizer

    pair = f"{first.folder} and {other.folder} cannot be merged"
    built = [source.config.get("architectures") for source in (first, other)]
    if built[0] != built[1]:
        raise MergeError(f"{pair}: their architectures are {built[0]} and {built[1]}")
    for one, two in ((first, other), (other, first)):
        if lacking := sorted(one.names - two.names):
            raise MergeError(f"{pair}: {two.folder} has no {_few(lacking)}, which {one.folder} has")
    sizes = {name: (first.shape(name), other.shape(name)) for name in sorted(first.names)}
    if differ := [f"{name} is {a} and {b}" for name, (a, b) in sizes.items() if a != b]:
        raise MergeError(f"{pair}: {_few(differ)}")
    words, others = (load_tokenizer(source.folder).get_vocab() for source in (first, other))
    if words != others:
        either = sorted(token for token in words.keys() | others.keys() if words.get(token) != others.get(token))
        differ = [f"{token!r} is {_id(words, token)} and {_id(others, token)}" for token in either[:SHOWN]]
        raise MergeError(
            f"{pair}: their tokenizers are of other words, {_few(differ)}; a token has to mean the same in both"
        )
    for key in sorted((first.config.keys() | other.config.keys()) - UNSAID):
        mine, theirs = first.config.get(key), other.config.get(key)
        if mine != theirs:
            yield f"{key} is {json.dumps(mine)} and in {other.folder} {json.dumps(theirs)}: the first is kept"


def _id(words: Mapping[str, int], token: str) -> str:
    return f"token {words[token]}" if token in words else "none"


def _few(listed: Sequence[str]) -> str:
    more = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _check_disk(first: Source, out: Path) -> None:
    needed = sum(file.stat().st_size for file in first.files)
    place = next(folder for folder in out.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise MergeError(f"{out}: the model takes {told(needed)} and {told(free)} are free; give --out on another disk")


def _complete(folder: Path, models: Sequence[Path], weights: Sequence[float], named: Sequence[str]) -> None:
    """Adds to the weights what makes a model of them, and what they were made of; all of it on disk."""
    for pattern in COPIED:
        for file in models[0].glob(pattern):
            copy = folder / file.relative_to(models[0])
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)
    record = {
        "models": [
            {"model": name, "weight": weight, "identity": folder_identity(model)}
            for name, weight, model in zip(named, weights, models, strict=True)
        ],
        "code_version": version("cuvee"),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for file in folder.rglob("*"):
        sync(file)
