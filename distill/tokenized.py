"""A tokenizer with a chat template: conversations as text and as tokens, and which of these TRL trains.

TRL renders a row's prompt with the template's generation prompt, and prompt and completion together, and tokenizes both;
what the two have in common at their beginning is not trained, the rest is (`SFTTrainer._prepare_dataset`, TRL 1.16).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from jinja2.exceptions import TemplateError as JinjaError

from distill.chat_template import ChatTemplate

NO_LIMIT = 10**9
"""Tokenizers without a limit of their own say a number above this."""


class Row(NamedTuple):
    """Prompt and completion as tokens."""

    text: str
    ids: list[int]
    asked_ids: list[int]
    """The prompt alone, with what asks for an answer."""
    given: int
    """Leading tokens of `ids` that are not trained."""


class Tokenized:
    """One tokenizer, one template. What the template refuses comes back as its error."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self.tokenizer, self.template = tokenizer, template

    def text(self, conversation: Sequence[Mapping[str, Any]], **arguments: Any) -> str:
        """A conversation as the template writes it; raises jinja2's TemplateError."""
        return self._written([conversation], arguments)[0]

    def texts(self, conversations: Sequence[Sequence[Mapping[str, Any]]], **arguments: Any) -> list[str | JinjaError]:
        """As `text`, of many."""
        try:
            return list(self._written(conversations, arguments))
        except JinjaError:  # one of them: which?
            found: list[str | JinjaError] = []
            for conversation in conversations:
                try:
                    found.append(self.text(conversation, **arguments))
                except JinjaError as error:
                    found.append(error)
            return found

    def _written(self, conversations: Sequence[Sequence[Mapping[str, Any]]], arguments: Mapping[str, Any]) -> list[str]:
        try:
            written: list[str] = self.tokenizer.apply_chat_template(
                list(conversations), chat_template=self.template, tokenize=False, **arguments
            )
        except JinjaError:
            raise
        except Exception as error:  # a template is a program: whatever it raises is its refusal
            raise JinjaError(f"{type(error).__name__}: {error}") from error
        return written

    def rows(self, prompts: Sequence[list[Any]], completions: Sequence[list[Any]]) -> list[Row | JinjaError]:
        """Published rows as TRL makes tokens of them."""
        asked = self.texts(prompts, add_generation_prompt=True)
        whole = self.texts([prompt + completion for prompt, completion in zip(prompts, completions, strict=True)])
        pairs = [
            (shown, text)
            for shown, text in zip(asked, whole, strict=True)
            if isinstance(shown, str) and isinstance(text, str)
        ]
        ids = iter(self.ids([text for pair in pairs for text in pair]))
        rows: list[Row | JinjaError] = []
        for shown, text in zip(asked, whole, strict=True):
            if isinstance(text, JinjaError):
                rows.append(text)
            elif isinstance(shown, JinjaError):
                rows.append(shown)
            else:
                asked_ids, whole_ids = next(ids), next(ids)
                rows.append(Row(text, whole_ids, asked_ids, common_prefix(asked_ids, whole_ids)))
        return rows

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The tokens of texts, special ones where they are written out."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )["input_ids"]
        return ids

    def decoded(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones written out."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def stop(self, end: str) -> int | None:
        """The token by which a server knows the end of a turn that is written as `end`."""
        added = {*self.tokenizer.added_tokens_decoder, *self.tokenizer.all_special_ids}
        return next((token for token in self.ids([end])[0] if token in added), None)

    def marks(self, template: ChatTemplate) -> re.Pattern[str]:
        """Texts that begin or end something wherever they stand: special tokens, and others that the template writes.

        Thinking tags are none of them: a system message may well speak of them.
        """
        written = " ".join(template.between.values())
        added = self.tokenizer.added_tokens_decoder.values()
        marks = {token.content for token in added if token.special or token.content in written}
        marks |= set(self.tokenizer.all_special_tokens)
        kept = sorted((mark for mark in marks - set(template.tags) if mark.strip()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, kept)) or r"(?!)")

    @property
    def limit(self) -> int | None:
        """How many tokens the tokenizer says its model takes; None where it does not say."""
        limit = int(self.tokenizer.model_max_length)
        return limit if limit < NO_LIMIT else None

    @property
    def identity(self) -> dict[str, str]:
        """Digests of the tokenizer (of one that is not a fast one, its vocabulary) and of the template."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        words = backend.to_str() if backend is not None else json.dumps(self.tokenizer.get_vocab(), sort_keys=True)
        return {
            name: hashlib.sha256(text.encode()).hexdigest()
            for name, text in (("tokenizer", words), ("chat_template", self.template))
        }


def common_prefix(ids: Sequence[int], others: Sequence[int]) -> int:
    """How many tokens both begin with."""
    if others[: len(ids)] == ids:
        return len(ids)
    return next((n for n, (a, b) in enumerate(zip(ids, others, strict=False)) if a != b), len(others))


def load_tokenizer(source: str | Path, revision: str | None = None) -> Any:
    """The tokenizer of a folder, or of a Hub name with its revision, as AutoTokenizer gives it.

    A folder that says TokenizersBackend is loaded as just that: AutoTokenizer imports every model's code first (12 CPU
    seconds against 1).
    """
    folder = Path(source).expanduser()
    settings = folder / "tokenizer_config.json"
    if settings.is_file():
        said = json.loads(settings.read_text(encoding="utf-8"))
        if said.get("tokenizer_class") == "TokenizersBackend" and "auto_map" not in said:
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast.from_pretrained(folder)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        folder if folder.is_dir() else str(source), revision=revision, trust_remote_code=False
    )


def positions(source: str | Path, revision: str | None = None) -> int | None:
    """How long a sequence a model's config.json says it reads, in tokens; None where it does not say."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        file = folder / "config.json"
    else:
        from huggingface_hub import hf_hub_download

        file = Path(hf_hub_download(str(source), "config.json", revision=revision))
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known = config.get("max_position_embeddings") or (config.get("text_config") or {}).get("max_position_embeddings")
    return int(known) if known and int(known) > 0 else None


def own_template(tokenizer: Any) -> str | None:
    """The chat template that a tokenizer comes with; of several, the default."""
    given = tokenizer.chat_template
    return given.get("default") if isinstance(given, Mapping) else given


def training_variant(template: str) -> Path | None:
    """The training variant that TRL ships of a template; None when it ships none."""
    found = find_spec("trl")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for file in sorted(Path(folder, "chat_templates").glob("*_training.jinja")):
            plain = file.with_name(file.name.replace("_training", ""))
            if plain.is_file() and plain.read_text(encoding="utf-8").strip() == template.strip():
                return file
    return None
