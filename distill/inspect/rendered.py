"""Rows of a set as the student sees them: through its own chat template, with what is trained marked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from curation.duck import arrow, literal
from curation.inspect.visible import visible
from curation.publish import SPLITS, Dataset
from distill.inspect.files import PROBLEM
from distill.rendering import Renderer
from distill.student import Student

TRAINED_STYLE = "#ffffff on #005f00"
"""Both colours are given, so that it reads on a light and a dark terminal."""
MARK, CUT = "▌ ", "┆ "
"""What begins a line that is trained, and one that stands for what is left out, where there are no colours."""
GOES_ON = "↩"
"""What ends a line that is no line of the text: it goes on in the next."""
END = "↵"
"""Stands for a line break at the end of what is trained, where it would not be seen."""
THINKING, OTHER = 600, 2000
"""Characters of thinking, and of any other text, from which the middle is left out."""
TOLD = ("part", "mode", "flag", "turns", "kind", "reason")
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
    source = str(student["model"])
    if source.startswith(("/", "~", ".")) and not Path(source).expanduser().is_dir():
        return None, f"the student's tokenizer cannot be read: {source} is gone"
    try:
        found = Renderer.load(Student.model_validate(student["settings"]), source, student["revision"])
    except (OSError, ValueError) as error:  # TemplateError, and what transformers and the Hub raise
        return None, f"the student's tokenizer cannot be read ({' '.join(str(error).split())[:200]})"
    differ = [key for key, value in found.identity.items() if _plain(value) != _plain(student["identity"].get(key))]
    if differ:
        return None, f"{source} is not as it was when the set was made: its {' and '.join(differ)} changed"
    return found, None


def _plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def rows(dataset: Dataset, name: str, count: int) -> list[dict[str, Any]]:
    """Rows of a set as they are published, spread evenly over it: the first ones may all be of one problem."""
    con, store = dataset.store.connect(), dataset.store
    listed = [(split, file) for split in SPLITS for file in dataset.manifest["sets"][name][split]["files"]]
    paths = store.readable([f"{dataset.folder}/{file}" for _, file in listed])
    sizes = [
        con.execute(f"select num_rows from parquet_file_metadata({literal(path)})").fetchall()[0][0] for path in paths
    ]
    total, found, begin = sum(sizes), [], 0
    wanted = min(count, total)
    places = [number * total // wanted for number in range(wanted)]
    for (split, _), path, size in zip(listed, paths, sizes, strict=True):
        if here := [str(place - begin) for place in places if begin <= place < begin + size]:
            scan = f"read_parquet({literal(path)}, file_row_number = true, hive_partitioning = false)"
            query = f"""select * exclude (file_row_number), {literal(split)} as split
                from {scan} where file_row_number in ({", ".join(here)}) order by file_row_number"""
            found += arrow(con, query).to_pylist()
        begin += size
    return found


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


def heading(row: dict[str, Any]) -> tuple[str, str]:
    """The lines above a row: what it is, and of which rollouts."""
    told = [f"problem {row['id'][:PROBLEM]}", str(row["split"])]
    told += [f"{name} {row[name]}" for name in TOLD if row.get(name) is not None]
    if "chosen_rollout" in row:
        tokens = f"{row['chosen_tokens']:,} trained tokens over {row['rejected_tokens']:,}"
        of = f"chosen rollout {row['chosen_rollout']}, rejected rollout {row['rejected_rollout']}"
    else:
        tokens = f"{row['trained_tokens']:,} trained tokens of {row['tokens']:,}"
        earlier = (row.get("rollouts") or [])[:-1]
        of = f"rollout {row['rollout']} (#{row['sample_index']})" + (f", after {', '.join(earlier)}" if earlier else "")
    return ", ".join([*told, tokens]), of


def show(
    console: Console, found: list[dict[str, Any]], tags: tuple[str, str], whole: bool, why_not: str | None
) -> None:
    """Prints rows. found: with `segments`, as `rendered` gives them. why_not: why these are messages."""
    coloured = console.is_terminal and console.color_system is not None
    if why_not is not None:
        console.print(Text(visible(f"{why_not}. Messages are shown, not what the template makes of them."), "yellow"))
    trained = ("what is trained", TRAINED_STYLE) if coloured else f"{MARK}is before lines that are trained"
    console.print(Text.assemble(trained, f"; {END} is a line break at its end\n"))

    def put(segments: Sequence[Sequence[Any]]) -> None:
        shown = [*pieces(segments, tags, whole)]
        console.print(_coloured(shown) if coloured else Text("\n".join(_marked(shown))), soft_wrap=True)

    for row in found:
        what, of = (visible(" ".join(line.split())) for line in heading(row))
        console.print(Text.assemble((what, "bold"), "\n", (of, "dim")), soft_wrap=True)
        if len(row["segments"]) == 1:
            put(row["segments"][0][1])
        else:
            _show_pair(console, row["segments"], put)
        console.print()


def _show_pair(console: Console, sides: list[list[Any]], put: Callable[[Sequence[Sequence[Any]]], None]) -> None:
    """Both answers to a prompt, which is shown once where it is the same."""
    given = [[segment for segment in segments if not segment[0]] for _, segments in sides]
    alike = given[0] == given[1]
    if alike and given[0]:
        put(given[0])
    for side, segments in sides:
        console.print(Text(f"-- {side}", "cyan"))
        put([segment for segment in segments if segment[0]] if alike else segments)


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
    """The pieces, with line breaks at the end of what is trained as marks; without the one at the end of anything else."""
    for number, piece in enumerate(shown):
        last = number + 1 == len(shown)
        if last and piece.kind == "trained":
            bare = piece.text.rstrip("\n")
            yield Piece(piece.kind, bare + END * (len(piece.text) - len(bare)))
        else:
            yield Piece(piece.kind, piece.text.removesuffix("\n")) if last else piece
