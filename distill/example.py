"""One training example before it is written in the student's form."""

from typing import NamedTuple

Message = dict[str, str]
"""`{role, content}`."""


class Example(NamedTuple):
    """A conversation whose last turn, the assistant's, is trained on."""

    prompt: list[Message]
    """All turns before the trained one."""
    thinking: str | None
    """What the trained turn thinks: None for no think block at all, "" for an empty one."""
    answer: str
    """What follows the thinking."""
