"""Why a rendered row may not be published: read back from the template's text, it is not the example that was given."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from distill.chat_template import ChatTemplate, Turn
from distill.example import Example, Message

SHOWN = 40
"""Characters of a text that a fault quotes."""
FIRST = {("", "system"), ("system", "user")}


def fault_of(
    template: ChatTemplate, marks: re.Pattern[str], example: Example, prompt: Sequence[Message], text: str
) -> str | None:
    """The first fault of a row, None when it has none.

    marks: texts that no turn may hold. prompt: the turns before, as published. text: the rendered row.
    """
    roles = ["", *(turn["role"] for turn in prompt), "assistant"]
    for before, after in itertools.pairwise(roles):
        if (before, after) not in FIRST and (before, after) not in template.between:
            place = f"follows a turn of {before!r}" if before else "comes first"
            return f"a turn of {after!r} {place}; a system message may come first, then user and assistant by turns"
    thinking, answer = (None if example.thinking is None else example.thinking.strip()), example.answer.strip()
    if not answer:
        return "there is nothing but thinking, no answer" if thinking else "there is no answer"
    for name, said in (("thinking", thinking or ""), ("answer", answer)):
        for tag in template.tags:
            if tag in said:
                return f"the {name} holds {tag!r}, as of a second think block"
    for name, said in [
        *((turn["role"], turn["content"]) for turn in prompt),
        ("thinking", thinking or ""),
        ("answer", answer),
    ]:
        if mark := marks.search(said):
            return f"the text of {name} holds {mark[0]!r}, which is a token that ends or begins something"
    read = template.parse(text)
    if roles[1] == "system" and ("", "system") not in template.between:
        prompt, fault = _folded(prompt, read)
        if fault:
            return fault
    return _difference([*_turns(template, prompt), Turn("assistant", thinking, answer)], read)


def _folded(prompt: Sequence[Message], read: Sequence[Turn] | None) -> tuple[Sequence[Message], str | None]:
    """The prompt of a template that writes the system message into the first question; and what it loses of it."""
    system, question = (message["content"].strip() for message in prompt[:2])
    first = read[0].content if read else ""
    if not first.startswith(system):
        return prompt, "the template drops the system message"
    if not first.endswith(question) or first[len(system) : len(first) - len(question)].strip():
        return prompt, "the first question, behind the system message, comes back as another"
    return [{"role": "user", "content": first}, *prompt[2:]], None


def _turns(template: ChatTemplate, prompt: Iterable[Message]) -> list[Turn]:
    """What has to be read back of a prompt."""
    return [
        Turn("assistant", *template.split(message["content"]))
        if message["role"] == "assistant"
        else Turn(message["role"], None, message["content"].strip())
        for message in prompt
    ]


def _difference(given: Sequence[Turn], read: Sequence[Turn] | None) -> str | None:
    """The first way in which the turns that were read back are not those that were given.

    Of earlier answers some templates write an empty block where there was none: that is how the student sees them.
    """
    if read is None:
        return "it cannot be read back: the template writes these turns in another way"
    if (came := [turn.role for turn in read]) != (went := [turn.role for turn in given]):
        return f"read back it has the turns {', '.join(came)}; given were {', '.join(went)}"
    if given[-1].thinking is None and read[-1].thinking is not None:
        return 'the template writes a think block where there should be none; give it an empty one (thinking "")'
    if given[-1].thinking is not None and read[-1].thinking is None:
        return "the template drops the think block"
    for number, (went_in, came_back) in enumerate(zip(given, read, strict=True), 1):
        if (went_in.thinking or "") != (came_back.thinking or ""):
            return f"the thinking of turn {number} comes back as another: {(came_back.thinking or '')[:SHOWN]!r}"
        if went_in.content != came_back.content:
            return f"the text of turn {number} ({went_in.role}) comes back as another: {came_back.content[:SHOWN]!r}"
    return None
