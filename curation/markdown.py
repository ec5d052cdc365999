"""Data in Markdown, none of it markup."""

import re
from typing import Any

from curation.inspect.visible import visible


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    ruled = ["| " + " | ".join(cell(name) for name in head) + " |", "|" + " --- |" * len(head)]
    return ruled + ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]


class Code(str):
    """Text for a Markdown cell that is shown as it is."""

    __slots__ = ()


def cell(value: Any) -> str:
    """Text for a Markdown cell: names and licences come from data sets, so nothing in them may be markup."""
    text = visible(" ".join((f"{value:,}" if isinstance(value, int) else str(value)).split()))
    if isinstance(value, Code):
        return "`" + text.replace("`", "'").replace("|", "\\|") + "`"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|\[\]*_`!])", r"\\\1", text)


def fenced(text: str, language: str) -> list[str]:
    """A block of code, whatever is in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{fence}{language}", text.rstrip("\n"), fence]
