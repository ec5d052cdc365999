"""JSON Lines as columns of text: no row may change the type of another.

Numbers keep the form they were written in (1.10 is not 1.1 as an answer), nested values become JSON text, null is NULL.
A line that is no JSON object costs that line, not the file.
"""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

import pyarrow as pa

BLOCK = 1 << 20
COMPRESSIONS = {"zst": "zstd", "gz": "gzip"}
EXCERPT = 200

Columns = dict[str, str | None]
"""Texts by column."""


class NotAnObject(ValueError):
    """A line that is no JSON object; `excerpt` is its beginning."""

    def __init__(self, reason: str, excerpt: str) -> None:
        super().__init__(reason)
        self.excerpt = excerpt


class _Number(str):
    """A number in the form it was written in."""

    __slots__ = ()


def objects(fs: Any, path: str) -> Iterator[tuple[int, int, Columns | NotAnObject]]:
    """(line number from 0, its bytes, what it holds) for the lines of a file that are not blank.

    Files that end in .zst and .gz are decompressed. Raises OSError for a file that cannot be read to its end.
    """
    compression = COMPRESSIONS.get(path.rsplit(".", 1)[-1])
    with fs.open(path, "rb") as raw, pa.input_stream(raw, compression=compression) as stream:
        for number, line in enumerate(_lines(stream)):
            if line.strip():
                try:
                    yield number, len(line), columns(line)
                except NotAnObject as problem:
                    yield number, len(line), problem


def _lines(stream: Any) -> Iterator[bytes]:
    """Lines of an Arrow stream, which has no readline of its own; a byte order mark is no part of the first."""
    unended: list[bytes] = []
    block = stream.read(BLOCK).removeprefix(b"\xef\xbb\xbf")
    while block:
        first, *others = block.split(b"\n")
        unended.append(first)
        if others:
            yield b"".join(unended)
            yield from others[:-1]
            unended = [others[-1]]
        block = stream.read(BLOCK)
    if any(unended):
        yield b"".join(unended)


def columns(line: bytes) -> Columns:
    """The columns of one line. Raises NotAnObject."""
    try:
        text = line.decode()
        value = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_no_number)
        if not isinstance(value, dict):
            raise NotAnObject("not a JSON object", _excerpt(line))
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
        return {key: _text(item) for key, item in value.items()}
    except UnicodeError as error:
        raise NotAnObject("not valid Unicode", _excerpt(line)) from error
    except json.JSONDecodeError as error:
        raise NotAnObject(f"not JSON: {error}", _excerpt(line)) from error
    except RecursionError as error:
        raise NotAnObject("not JSON: nested too deeply", _excerpt(line)) from error


def _no_number(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no JSON value", name, 0)


def _excerpt(line: bytes) -> str:
    return line[:EXCERPT].decode("utf-8", "replace")


def _text(value: Any) -> str | None:
    """A JSON value as a column's text."""
    if value is None:
        return None
    return str(value) if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    """JSON text of a value whose numbers are kept as written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_json(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
