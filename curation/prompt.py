"""How a problem is put to a model: a string for a base model, a list of messages for a chat model.

    raw     the system text, the shots with their answers, earlier turns, the problem; joined by `separator`
    chat    the system message, the shots as user and assistant turns, earlier turns, the problem

Shots and the problem go through one `template`.

Everything here changes what a model answers, so all of it belongs to the settings that rollouts are filed under.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

PLACEHOLDER = "{prompt}"
Message = dict[str, str]
EMPTY_THINK = "<think>\n\n</think>\n\n"
"""What a template puts before an answer without thinking; as a `prefill` it keeps any model from it."""
OPENED = re.compile(r"<think>\s*\Z")
"""The end of a prompt whose template opens the thinking."""


class Shot(BaseModel):
    """A solved example."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prompt: str
    """The example's problem; it goes through the same template as the problems do."""
    answer: str
    """What the model should have answered."""


class Prompt(BaseModel):
    """The prompt of a model; `merged` changes it for one source or annotator."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    style: Literal["raw", "chat"] = "chat"
    """`chat` sends messages, for the model's chat template; `raw` sends one string, as a base model needs."""
    system: str | None = None
    """The system message; in raw style, text that comes first."""
    template: str = PLACEHOLDER
    """The text of a problem, with `{prompt}` where the problem goes; other braces stand for themselves."""
    shots: tuple[Shot, ...] = ()
    """Solved examples shown before the problem."""
    separator: str = "\n\n"
    """What stands between examples, and between them and the problem, in raw style."""
    stop: tuple[str, ...] = ()
    """Strings that end an answer; they are not part of it."""
    chat_template_kwargs: dict[str, Any] = {}
    """Arguments of the model's chat template, such as `enable_thinking: false`."""
    prefill: str = ""
    """The beginning of the answer, put in the model's mouth; it is no part of what is stored as its answer."""

    @field_validator("template")
    @classmethod
    def _has_placeholder(cls, template: str) -> str:
        if PLACEHOLDER not in template:
            raise ValueError(
                f"has no {PLACEHOLDER}, so every problem would be the same; write {PLACEHOLDER} where it goes"
            )
        return template

    def merged(self, override: Mapping[str, Any]) -> Prompt:
        """This prompt with some keys replaced; None puts a key back to its default, an unknown key is refused."""
        keys = self.model_dump(exclude_unset=True) | dict(override)
        return Prompt.model_validate({key: value for key, value in keys.items() if value is not None})

    def render(self, prompt: str, messages: Sequence[Mapping[str, str]] = ()) -> str | list[Message]:
        """What is sent for a problem: a string in raw style, a list of `{role, content}` in chat style.

        `messages` are the problem's own system message and earlier turns. Chat templates accept one system message, at
        the start: the problem's own is joined to `system` by a blank line. Raw style has no roles: only the text of
        earlier turns is shown.
        """
        earlier = [{"role": message["role"], "content": message["content"]} for message in messages]
        systems = [*([self.system] if self.system else []), *(m["content"] for m in earlier if m["role"] == "system")]
        turns = [message for message in earlier if message["role"] != "system"]
        if self.style == "raw":
            shots = [_answered(self._fill(shot.prompt), shot.answer) for shot in self.shots]
            return self.separator.join([*systems, *shots, *(turn["content"] for turn in turns), self._fill(prompt)])
        chat = [{"role": "system", "content": "\n\n".join(systems)}] if systems else []
        for shot in self.shots:
            chat.append({"role": "user", "content": self._fill(shot.prompt)})
            chat.append({"role": "assistant", "content": shot.answer})
        return [*chat, *turns, {"role": "user", "content": self._fill(prompt)}]

    def prefill_after(self, shown: str) -> str:
        """What of the prefill is put behind a prompt that ends in `shown`: a think block is not opened twice."""
        opened = OPENED.search(shown)
        if opened is None or not self.prefill.startswith("<think>"):
            return self.prefill
        shared = takewhile(lambda pair: pair[0] == pair[1], zip(opened[0], self.prefill, strict=False))
        return self.prefill[sum(1 for _ in shared) :]

    def _fill(self, prompt: str) -> str:
        # Not str.format: problems and templates are full of braces.
        return self.template.replace(PLACEHOLDER, prompt)


def _answered(question: str, answer: str) -> str:
    """A question and its answer, with one space between unless either brings its own blank."""
    blank = "" if question[-1:].isspace() or answer[:1].isspace() else " "
    return f"{question}{blank}{answer}"
