"""Which weights and texts a model is: what makes it answer as it does, wherever it lies.

A folder is known by digests of its files, a Hub model by its commit. Heavy imports wait until a Hub name is resolved.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

MIB = 1 << 20
COMMIT = re.compile(r"[0-9a-f]{40}")
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "tekken.json", "*.tiktoken"),
    *("chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja"),
)


class ModelError(ValueError):
    """A model that cannot be used as given: says what was given, what is allowed and what to do."""


def folder_identity(folder: Path) -> dict[str, object]:
    """Digests of config, tokenizer and chat template, the end tokens, and (name, size, digest) per weight file."""
    texts = [folder / "config.json", *(file for pattern in TOKENIZER_FILES for file in folder.glob(pattern))]
    return {
        "files": {
            file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(texts)
        },
        # Only this of generation_config.json reaches the samples: every sampling parameter is sent with the request.
        "eos_token_id": _json_of(folder / "generation_config.json").get("eos_token_id"),
        "weights": [[file.name, file.stat().st_size, _digest_of_samples(file)] for file in weight_files(folder)],
    }


def weight_files(folder: Path) -> list[Path]:
    """The files that vLLM loads: safetensors, or else the older format."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def _digest_of_samples(file: Path, samples: int = 256, sample: int = 4096) -> str:
    """sha256 of the first and the last MiB and of 4 KiB at 256 places between: 3 MiB read.

    The ends alone would miss an adapter that is merged into some layers only: they hold embeddings and norms.
    """
    size = file.stat().st_size
    digest = hashlib.sha256()
    with file.open("rb") as weights:
        digest.update(weights.read(MIB))
        for place in range(samples):
            weights.seek(size * place // samples)
            digest.update(weights.read(sample))
        weights.seek(max(0, size - MIB))
        digest.update(weights.read(MIB))
    return digest.hexdigest()


def _json_of(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return content


def hub_commit(repository: str, revision: str | None) -> str:
    """The commit of a Hub model: the one given, the one in the local cache, or the one that the Hub names."""
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]

    reference = revision or "main"
    cached = Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "refs", reference)
    if cached.is_file():
        return cached.read_text().strip()
    try:
        commit = HfApi().model_info(repository, revision=reference, timeout=10).sha
    except (OSError, HTTPError, HFValidationError) as error:  # offline, unreachable, unknown, gated
        raise ModelError(
            f"model: no commit of {repository!r} ({reference}) is known: it is neither a folder here nor in the cache "
            f"{constants.HF_HUB_CACHE}, and the Hub does not say ({type(error).__name__}). Check the name, give the "
            "commit as `revision`, or download the model and give its folder"
        ) from error
    assert commit is not None
    return commit
