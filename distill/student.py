"""The model that is trained, and how problems are put to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from curation.prompt import PLACEHOLDER, Prompt
from distill.example import Message

Tag = Annotated[str, Field(min_length=1)]


class Student(BaseModel):
    """Whose chat template and tokenizer the sets are written for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str = Field(min_length=1)
    """The name of one of the recipe's models."""
    tokenizer: str | None = None
    """A folder or Hub name whose tokenizer and template count, where the model is reached by `url` under another name."""
    chat_template: str | None = None
    """A .jinja file used instead of the model's own template; training has to use the same (TRL: `chat_template_path`)."""
    max_length: int | None = Field(default=None, gt=0)
    """Tokens that a row may have, prompt included; as many as the model has positions when none is given."""
    system: str | None = None
    """The system message that problems are put with."""
    template: str = PLACEHOLDER
    """The text of a problem, with `{prompt}` where the problem goes; other braces stand for themselves."""
    thinking_in: Literal["auto", "content", "reasoning_content"] = "auto"
    """Where a message holds its thinking: between tags in `content`, or in a field of its own. `auto` takes the first
    that the template keeps."""
    tags: tuple[Tag, Tag] = ("<think>", "</think>")
    """What opens and what closes the thinking."""

    @field_validator("template")
    @classmethod
    def _has_placeholder(cls, template: str) -> str:
        return Prompt(template=template).template

    @field_validator("tags")
    @classmethod
    def _differ(cls, tags: tuple[str, str]) -> tuple[str, str]:
        if tags[0] in tags[1] or tags[1] in tags[0] or any(tag != tag.strip() for tag in tags):
            raise ValueError(
                f"{tags} cannot be told apart; give two tags without blanks around, neither inside the other"
            )
        return tags

    def asked(self, prompt: str, messages: Sequence[Mapping[str, str]] = ()) -> list[Message]:
        """The messages that put a problem to the student; `messages` are its own system message and earlier turns."""
        rendered = Prompt(system=self.system, template=self.template).render(prompt, messages)
        assert not isinstance(rendered, str)
        return rendered
