"""Problems as the tokens that the policy is asked with, and its tokens as the text that is graded, as a server would.

    chat    the template with what asks for an answer; its text has whatever begins a sequence, so nothing is put before it
    raw     the text, with the special tokens that the tokenizer puts around one, as vLLM's /completions has it

Both as curation samples (curation/client.py): what the pass rates promised is what RL meets.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from curation.client import Rendered
from curation.prompt import OPENED, Prompt
from distill.thinking import DEFAULT
from distill.tokenized import load_tokenizer


def tokenizer_of(start: Mapping[str, Any]) -> Any:
    """The tokenizer of what a stage starts from (settings.json), with the template that it is trained in."""
    tokenizer = load_tokenizer(start["tokenizer"], start.get("revision"))
    if start.get("chat_template"):
        tokenizer.chat_template = start["chat_template"]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


class Asked(NamedTuple):
    """A problem as it is put to the policy."""

    ids: list[int]
    """Prefill included."""
    sent: Rendered
    """Messages, or text: what curation stores of a prompt."""
    opened: bool
    """Whether it ends inside a think block."""


def ask(tokenizer: Any, prompt: Prompt, problem: Mapping[str, Any]) -> Asked:
    """A problem's row (prompt, messages) by a prompt. Raises what the tokenizer's chat template raises."""
    rendered = prompt.render(problem["prompt"], problem.get("messages") or [])
    if isinstance(rendered, str):
        text = rendered + prompt.prefill_after(rendered)
        return Asked(_ids(tokenizer, text, special=True), rendered, OPENED.search(text) is not None)
    shown: str = tokenizer.apply_chat_template(
        rendered, tokenize=False, add_generation_prompt=True, **prompt.chat_template_kwargs
    )
    prefill = prompt.prefill_after(shown)
    # Apart, as curation's client makes them: a token never spans where one ends and the other begins.
    ids = _ids(tokenizer, shown, special=False) + (_ids(tokenizer, prefill, special=False) if prefill else [])
    return Asked(ids, rendered, OPENED.search(shown + prefill) is not None)


class Answer(NamedTuple):
    """A completion as it is graded."""

    text: str
    """Without special tokens but think tags, and without the stop string and what follows it."""
    ended: bool
    """Whether the policy ended it: by a token that ends, or by a stop string. Else it was cut off."""


class Reader:
    """Reads completions. ends: tokens that end one. stop: strings that do."""

    def __init__(self, tokenizer: Any, ends: Sequence[int], stop: Sequence[str]) -> None:
        self.tokenizer, self.ends, self.stop = tokenizer, frozenset(ends), tuple(stop)
        self.tail = max((len(one.encode()) for one in stop), default=0) + 1
        """Tokens of the end of a completion in which a stop string is found that its last token closes: a token has at least
        one byte of it."""

    def read(self, ids: Sequence[int]) -> Answer:
        """ids: a completion's, without padding."""
        text = self.text(ids)
        at = min((place for one in self.stop if (place := text.find(one)) >= 0), default=None)
        return Answer(text if at is None else text[:at], at is not None or (bool(ids) and ids[-1] in self.ends))

    def stopped(self, ids: Sequence[int]) -> bool:
        """Whether a stop string stands at the end of what was sampled so far."""
        text = self.text(ids[-self.tail :])
        return any(one in text for one in self.stop)

    def text(self, ids: Sequence[int]) -> str:
        """Tokens as text, special ones left out, think tags not, whatever the tokenizer takes them for."""
        kept = [one for one in ids if one not in self._hidden]
        decoded: str = self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return decoded

    @functools.cached_property
    def _hidden(self) -> frozenset[int]:
        special = {*self.tokenizer.all_special_ids, *self.ends}
        tags = re.compile("|".join(re.sub(r"\?P<\w+>", "", re.sub(r"\(\?i\)", "", kind.either)) for kind in DEFAULT))
        return frozenset(one for one in special if not tags.fullmatch(self.tokenizer.convert_ids_to_tokens(one) or ""))


def _ids(tokenizer: Any, text: str, special: bool) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=special)["input_ids"]
    return found
