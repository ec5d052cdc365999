"""Rows of a set as the student sees them: through its own chat template, with what is trained marked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from curation.duck import arrow
from curation.inspect.visible import visible
from curation.publish import Dataset
from distill.inspect.files import PROBLEM, rows_of
from distill.rendering import Renderer
from distill.student import Student

TRAINED_STYLE = "#e8ffe8 on #17491f"
"""Both colours are given, so that it reads on a light and a dark terminal."""
MARK, CUT = "▌ ", "┆ "
"""What begins a line that is trained, and one that stands for what is left out, where there are no colours."""
GOES_ON = "↩"
"""What ends a line that is no line of the text: it goes on in the next."""
END = "↵"
"""Stands for a line break at the end of what is trained, where it would not be seen."""
THINKING, OTHER = 600, 2000
"""Characters of thinking, and of any other text, from which the middle is left out."""
TOLD = ("part", "mode", "flag", "turns", "kind")
"""Columns that the line above a row names."""

Kind = Literal["given", "trained", "left_out"]


@dataclass(frozen=True)
class Piece:
    """A stretch of a row."""

    kind: Kind
    text: str


def renderer(dataset: Dataset) -> tuple[Renderer | None, str | None]:
    """What writes rows as they were written; or why there is none, or none that can be trusted."""
    student = dataset.manifest["student"]
    try:
        found = Renderer.load(Student.model_validate(student["settings"]), student["model"], student["revision"])
    except (OSError, ValueError) as error:  # TemplateError, and what transformers and the Hub raise
        return None, f"the student's tokenizer cannot be read ({' '.join(str(error).split())[:200]})"
    differ = [key for key, value in found.identity.items() if _plain(value) != _plain(student["identity"].get(key))]
    if differ:
        return None, f"{student['model']} is not as it was when the set was made: its {' and '.join(differ)} changed"
    return found, None


def _plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def rows(dataset: Dataset, name: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a set, as they are published."""
    found = rows_of(dataset, name)
    if found is None:
        return []
    return list(arrow(dataset.store.connect(), f"from {found} limit {int(count)}").to_pylist())


def rendered(row: dict[str, Any], written: Renderer | None) -> list[list[Any]]:
    """A published row as [[what it is, its pieces]]: one entry, or `chosen` and `rejected`. Pieces are [trained, text].

    written: what renders it; without it the messages stand for themselves.
    """
    sides = [side for side in ("completion", "chosen", "rejected") if side in row]
    return [
        [side, [[trained, text] for text, trained in _segments(row["prompt"], row[side], written)]] for side in sides
    ]


def _segments(prompt: list[Any], completion: list[Any], written: Renderer | None) -> list[tuple[str, bool]]:
    if written is not None:
        return written.segments([_message(turn) for turn in prompt], [_message(turn) for turn in completion])
    found = []
    for turns, trained in ((prompt, False), (completion, True)):
        for turn in turns:
            thinking = f"\n{turn['reasoning_content']}\n" if turn.get("reasoning_content") else ""
            found += [(f"[{turn['role']}]{thinking}\n", False), (f"{turn['content']}\n", trained)]
    return found


def _message(turn: dict[str, Any]) -> dict[str, Any]:
    """A message without the fields that it does not have: a column has them for all rows."""
    return {key: value for key, value in turn.items() if value is not None}


def pieces(segments: Sequence[Sequence[Any]], tags: tuple[str, str], whole: bool) -> Iterator[Piece]:
    """What is shown of a row: long thinking, and what else is very long, without its middle.

    tags: what opens and closes thinking.
    """
    before = ""
    for trained, text in segments:
        kind: Kind = "trained" if trained else "given"
        thinking, rest = _thinking(text, before, tags) if trained else ("", text)
        shown = ""  # of the same kind, up to what is left out
        for part, most in ((thinking, THINKING), (rest, OTHER)):
            if whole or len(part) <= most:
                shown += part
                continue
            half = most // 2
            yield Piece(kind, shown + part[:half])
            yield Piece("left_out", f"{len(part) - 2 * half:,} characters")
            shown = part[-half:]
        if shown:
            yield Piece(kind, shown)
        before = text


def _thinking(text: str, before: str, tags: tuple[str, str]) -> tuple[str, str]:
    """The thinking at the beginning of a trained turn, its tags included, and what follows."""
    begins = text.lstrip().startswith(tags[0]) or before.rstrip().endswith(tags[0])
    end = text.find(tags[1]) + len(tags[1])
    return (text[:end], text[end:]) if begins and end >= len(tags[1]) else ("", text)


def heading(row: dict[str, Any]) -> str:
    """The line above a row: whose it is, and how long."""
    told = [f"problem {row['id'][:PROBLEM]}", f"split {row['split']}"]
    if "chosen_rollout" in row:
        told += [f"chosen {row['chosen_rollout']} ({row['chosen_tokens']:,} tokens)"]
        told += [f"rejected {row['rejected_rollout']} ({row['rejected_tokens']:,} tokens)"]
    else:
        earlier = (row.get("rollouts") or [])[:-1]
        told += [f"rollout {row['rollout']} (#{row['sample_index']})"]
        told += [f"after {', '.join(earlier)}"] if earlier else []
        told += [f"{row['trained_tokens']:,} trained tokens of {row['tokens']:,}"]
    return "  ".join([*told, *(f"{name} {row[name]}" for name in TOLD if row.get(name) is not None)])


def show(
    console: Console, found: list[dict[str, Any]], tags: tuple[str, str], whole: bool, why_not: str | None
) -> None:
    """Prints rows. found: with `segments`, as `rendered` gives them. why_not: why these are messages."""
    coloured = console.is_terminal and console.color_system is not None
    if why_not is not None:
        console.print(Text(visible(f"{why_not}. Messages are shown, not what the template makes of them."), "yellow"))
    legend = Text("trained", TRAINED_STYLE) if coloured else Text(f"A line that begins with {MARK.strip()} is trained")
    console.print(legend + Text(f"; {END} is a line break that is, too\n", "" if not coloured else "dim"))
    for row in found:
        console.print(Text(visible(" ".join(heading(row).split("\n"))), "bold"), soft_wrap=True)
        for number, (side, segments) in enumerate(row["segments"]):
            shown = [*pieces(segments, tags, whole)]
            if len(row["segments"]) > 1:
                # Both answers follow the same prompt: it is shown once.
                shown = shown if number == 0 else [piece for piece in shown if piece.kind != "given"]
                console.print(Text(f"-- {side}", "dim"))
            console.print(_coloured(shown) if coloured else Text("\n".join(_marked(shown))), soft_wrap=True)
        console.print()


def _coloured(shown: Sequence[Piece]) -> Text:
    out = Text()
    for piece in _ended(shown):
        if piece.kind == "left_out":
            out.append(f" … {piece.text} left out, --whole shows them … ", "yellow")
        else:
            out.append(visible(piece.text), TRAINED_STYLE if piece.kind == "trained" else "dim")
    return out


def _marked(shown: Sequence[Piece]) -> Iterator[str]:
    """Lines, each with a mark before it: nothing that a text says can look like one."""
    listed = [*_ended(shown)]
    for number, piece in enumerate(listed):
        if piece.kind == "left_out":
            yield f"{CUT}… {piece.text} left out, --whole shows them"
            continue
        text, goes_on = piece.text, number + 1 < len(listed) and not piece.text.endswith("\n")
        lines = visible(text.removesuffix("\n") if number + 1 < len(listed) else text).split("\n")
        lines[-1] += GOES_ON if goes_on else ""
        yield from ((MARK if piece.kind == "trained" else "  ") + line for line in lines)


def _ended(shown: Sequence[Piece]) -> Iterator[Piece]:
    """The pieces, with line breaks at the end of what is trained as marks."""
    for number, piece in enumerate(shown):
        last = number + 1 == len(shown) and piece.kind == "trained"
        bare = piece.text.rstrip("\n") if last else piece.text
        yield Piece(piece.kind, bare + END * (len(piece.text) - len(bare)))
