"""Flags in text: writing `/think` and `/no_think` as users of Qwen3 do, and reading back which mode a text asks for.

The last flag of all system and user messages decides; without any it is thinking (Qwen3 technical report, table 9, where a flag
follows the query after a blank). What an assistant says is no flag.

Read is whatever looks like one, even within a path or a tag: a model may take it for a flag, too. So a turn whose own text
holds one gets the flag of its mode behind it, and no reader, strict or not, can take the mode for the other.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from distill.example import Example, Message
from distill.fusing.settings import Mode

Flag = Literal["none", "think", "no_think"]
FlagIn = Literal["user", "system"]

_FLAG = re.compile(r"/(no_think|think)")
_MODE: dict[str, Mode] = {"think": "think", "no_think": "no_think"}
_PLACES: dict[str, FlagIn] = {"user": "user", "system": "system"}


class FlagError(ValueError):
    """Turns that make no row of their mode."""


class TurnText(NamedTuple):
    """One turn of a conversation, with its texts."""

    prompt: Sequence[Message]
    """What the student is asked: a system message if there is one, the problem's own earlier turns, a user message last."""
    thinking: str | None
    """Of a turn without thinking it is not read."""
    answer: str
    """What follows the thinking."""
    mode: Mode
    flag: Flag
    """The flag to write; where the prompt holds one of its own, that of the mode is written in any case."""
    flag_in: FlagIn | None
    """system only in the first turn."""


class Written(NamedTuple):
    """The last flag of a conversation."""

    mode: Mode
    place: FlagIn


def last_flag(messages: Sequence[Message]) -> Written | None:
    """The flag that decides; None where there is none."""
    for message in reversed(messages):
        place = _PLACES.get(message["role"])
        if place is not None and (found := _FLAG.findall(message["content"])):
            return Written(_MODE[found[-1]], place)
    return None


def mode_of(messages: Sequence[Message]) -> Mode:
    """The mode that messages ask for."""
    found = last_flag(messages)
    return "think" if found is None else found.mode


def example_of(turns: Sequence[TurnText]) -> Example:
    """The training example of a conversation: its last turn is trained on, the others are history.

    Of history stays what follows the thinking, as chat templates leave it. Raises FlagError for turns that cannot stand in one
    conversation, and where the outcome is not of the last turn's mode.
    """
    if not turns:
        raise FlagError("a conversation needs a turn")
    system = _system(turns[0])
    messages: list[Message] = []
    for place, turn in enumerate(turns):
        if place and _system(turn) not in (None, system):
            raise FlagError("turns with different system messages cannot stand in one conversation")
        messages += _asked(turn, first=place == 0)
        if (asked := mode_of(messages)) != turn.mode:
            raise FlagError(f"it asks for the other mode: turn {place} is of {turn.mode}, its text asks for {asked}")
        if place < len(turns) - 1:
            messages.append({"role": "assistant", "content": turn.answer})
    last = turns[-1]
    thinking = "" if last.mode == "no_think" else last.thinking
    if (why := fault(messages, thinking, last.mode)) is not None:
        raise FlagError(why)
    return Example(messages, thinking, last.answer)


def fault(prompt: Sequence[Message], thinking: str | None, mode: Mode) -> str | None:
    """Why a row is not what its mode says; None where it is. prompt, thinking: as they are to be published."""
    if not prompt or prompt[-1]["role"] != "user":
        return "the trained turn answers no user message"
    if (asked := mode_of(prompt)) != mode:
        return f"it asks for the other mode: it is of {mode}, its text asks for {asked}"
    if mode == "think" and not (thinking or "").strip():
        return "a thinking row has no thinking"
    if mode == "no_think" and thinking is None:
        return "a row without thinking has no empty think block"
    if mode == "no_think" and (thinking or "").strip():
        return "a row without thinking has some"
    return None


def _asked(turn: TurnText, first: bool) -> list[Message]:
    """The messages that a turn adds to those before it, with its flag."""
    asked = [dict(message) for message in turn.prompt if first or message["role"] != "system"]
    if not asked or asked[-1]["role"] != "user":
        raise FlagError("the prompt of a turn has to end with a user message")
    holds_one = last_flag(asked) is not None
    flag: Flag = turn.mode if holds_one else turn.flag
    if flag == "none":
        return asked
    if turn.flag_in == "system" and not holds_one:
        if not first:
            raise FlagError("only the flag of the first turn can stand in the system message")
        if asked[0]["role"] != "system":
            asked.insert(0, {"role": "system", "content": ""})
        asked[0]["content"] = _with_flag(asked[0]["content"], flag)
    else:
        asked[-1]["content"] = _with_flag(asked[-1]["content"], flag)
    return asked


def _with_flag(text: str, flag: Flag) -> str:
    return f"{text} /{flag}" if text else f"/{flag}"


def _system(turn: TurnText) -> str | None:
    """The system message of a turn's own prompt."""
    return next((message["content"] for message in turn.prompt if message["role"] == "system"), None)
