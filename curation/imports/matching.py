"""Which problem a prompt in a file is about, and whether it was put to the model as the recipe puts it.

A prompt is looked up as a whole: its blanks made even, then by digest, among

    whole   everything the recipe sends for a problem: all turns, or the raw string
    turn    the last user turn: the problem in its template
    bare    the problem's text

and the same for the last user turn of a chat that was rendered as text, with special tokens or without. Nothing is
compared by likeness. Two problems of one text (another answer, a repeated row) are told apart by nothing: the first in
the order of the sources is taken, and it is said that there were more.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.imports.sample import Asked, Bad, Turns
from curation.prompt import PLACEHOLDER, Prompt
from curation.sql import short

BEGINS = re.compile(
    r"<\|im_start\|>user|<\|start_header_id\|>user<\|end_header_id\|>|<start_of_turn>user|<\|turn>user|<\|user\|>"
    r"|<｜User｜>|\[INST\]|user(?=\n)|\b(?:User|Human)\s*:"
)
ENDS = re.compile(
    r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<turn\|>|<\|end\|>|<\|assistant\|>|<｜Assistant｜>|\[/INST\]"
    r"|assistant(?=\n|$)|model(?=\n|$)|\bAssistant\s*:|</s>"
)
MARKS = re.compile(
    r"<[|｜][^<>]*[|｜]>|</?s>|<(?:start|end)_of_turn>|<bos>|\[/?INST\]|\b(?:system|user|assistant|model)\b"
)
MOST = 6
"""Beginnings, and ends for each, that are tried: a problem may hold the words of a chat template."""


@dataclass(frozen=True)
class Match:
    """A problem, and what its prompt in the file says beside."""

    place: int
    others: Collection[int]
    """All problems with this text, where there are several."""
    differs: str | None = None
    """In what the prompt in the file is not the recipe's."""
    said: bool = True
    """Whether the file has all that was put to the model, not the problem alone."""
    beside: str | None = None
    """Text before the problem that the recipe does not name: a chat template may have put it there."""
    known: bool = True
    """Whether the prompt is one of the recipe's. The problem may be known by its id alone."""


class Problems:
    """The problems of a pool, to be found by what was asked. Texts are kept as digests."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], prompts: Mapping[str, Prompt]) -> None:
        """rows: id, prompt, messages, source, in the order of the sources. prompts: by source."""
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.example = ""
        self._prompts = prompts
        self._places: dict[str, int] = {}
        self._messages: dict[int, Turns] = {}
        self._whole: dict[bytes, int] = {}
        self._turn: dict[bytes, int] = {}
        self._bare: dict[bytes, int] = {}
        self._twice: dict[bytes, set[int]] = {}
        for place, row in enumerate(rows):
            prompt = prompts[row["source"]]
            self.example = self.example or row["prompt"]
            self.ids.append(row["id"])
            self.sources.append(row["source"])
            self._places[row["id"]] = place
            if row["messages"]:
                self._messages[place] = row["messages"]
            whole = prompt.render(row["prompt"], row["messages"])
            self._add(self._whole, whole + prompt.prefill_after(whole) if isinstance(whole, str) else whole, place)
            self._add(self._turn, prompt.template.replace(PLACEHOLDER, row["prompt"]), place)
            self._add(self._bare, row["prompt"], place)

    def _add(self, table: dict[bytes, int], content: str | Turns, place: int) -> None:
        key = _digest(content)
        if (first := table.setdefault(key, place)) != place:
            self._twice.setdefault(key, {first}).add(place)

    def _others(self, key: bytes) -> Collection[int]:
        return self._twice.get(key, ())

    def prompt(self, place: int) -> Prompt:
        return self._prompts[self.sources[place]]

    def by_id(self, problem_id: str) -> int | None:
        """The place of a problem by its id, or by `id-index`, as requests are often called."""
        if (place := self._places.get(problem_id)) is not None:
            return place
        return self._places.get(re.sub(r"-\d+$", "", problem_id))

    def match(self, asked: Asked) -> Match | None:
        """The problem that was asked; None when there is none."""
        if (place := self._whole.get(key := _digest(asked.content))) is not None:
            return Match(place, self._others(key), said=asked.kind != "problem" or self.prompt(place).style == "raw")
        if isinstance(asked.content, list):
            return self._chat(asked.content)
        return self._text(asked, asked.content)

    def check(self, place: int, asked: Asked) -> Match:
        """What a prompt says beside about a problem that is known by its id. Raises Bad when it is another problem's."""
        found = self.match(asked)
        if found is not None and (found.place == place or place in found.others):
            return Match(place, (), found.differs, found.said, found.beside)
        if found is not None:
            ids = f"{self.ids[place]}, the prompt is that of {self.ids[found.place]}"
            raise Bad(f"problem_id and prompt are of two problems: the id is {ids}")
        if asked.kind in ("problem", "either"):
            return Match(place, (), said=False, known=False)
        return Match(place, (), f"it is {_shown(asked.content)}, and the problem of that id is another")

    def _chat(self, turns: Turns) -> Match | None:
        last = next((turn["content"] for turn in reversed(turns) if turn["role"] == "user"), None)
        if last is None:
            return None
        for table in (self._turn, self._bare):
            if (place := table.get(key := _digest(last))) is not None:
                return Match(place, self._others(key), f"it is {_shown(turns)}, the recipe's is {self._ours(place)}")
        return None

    def _text(self, asked: Asked, text: str) -> Match | None:
        for before, turn in [("", text), *_user_turns(text)]:
            if (place := self._turn.get(key := _digest(turn))) is not None:
                rendered = turn is not text
                differs, beside = self._around(place, before, asked, rendered)
                return Match(place, self._others(key), differs, rendered or asked.kind in ("sent", "decoded"), beside)
            if (place := self._bare.get(key := _digest(turn))) is not None:
                says = asked.kind in ("sent", "decoded") or turn is not text
                differs = f"it is {_shown(text)}, the recipe's is {self._ours(place)}" if says else None
                return Match(place, self._others(key), differs, says)
        return None

    def _around(self, place: int, before: str, asked: Asked, rendered: bool) -> tuple[str | None, str | None]:
        """In what a prompt with the right last turn differs, and what stands before it that is not the recipe's."""
        prompt = self.prompt(place)
        if not rendered and asked.kind in ("problem", "either"):
            return None, None
        if prompt.style == "raw":
            return f"it is {_shown(asked.content)}, the recipe's is {self._ours(place)}", None
        if not rendered and asked.kind == "sent":
            return "it was sent as plain text, and the recipe's prompt is `style: chat`", None
        expected = prompt.render("", self._messages.get(place, ()))
        assert isinstance(expected, list)
        left = _even(before)
        for turn in expected[:-1]:
            if (text := _even(turn["content"])) not in left:
                return f"it has no {turn['role']} turn {short(turn['content'], 80)!r}, which the recipe's has", None
            left = left.replace(text, " ", 1)
        left = _even(MARKS.sub(" ", left))
        return None, left or None

    def _ours(self, place: int) -> str:
        rendered = self.prompt(place).render(PLACEHOLDER, self._messages.get(place, ()))
        return _shown(rendered)


def _user_turns(text: str) -> Iterator[tuple[str, str]]:
    """(what stands before, the turn) for what may be the last user turn of a chat rendered as text."""
    for begin in list(BEGINS.finditer(text))[: -MOST - 1 : -1]:
        for end in list(ENDS.finditer(text, begin.end()))[:MOST]:
            yield text[: begin.start()], text[begin.end() : end.start()]


def _even(text: str) -> str:
    return " ".join(text.split())


def _digest(content: str | Sequence[Mapping[str, str]]) -> bytes:
    if isinstance(content, str):
        parts = ["", _even(content)]
    else:
        parts = [part for turn in content for part in (turn["role"], _even(turn["content"]))]
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(b"%d:" % len(data) + data)
    return hasher.digest()


def _shown(content: str | Sequence[Mapping[str, str]]) -> str:
    if isinstance(content, str):
        return repr(short(content, 200))
    return " + ".join(f"{turn['role']} {short(turn['content'], 120)!r}" for turn in content)
