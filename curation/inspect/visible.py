"""Text from data and servers, made safe to print on a terminal."""

import re

from rich.markup import escape

# Control characters but newline (ESC, NUL, C1 among them), and what reorders the text around it.
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""`text` with control characters and bidi formatting as escapes, as `\x1b`."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain(value: object) -> str:
    """A value as markup that shows it as it is."""
    return escape(visible(str(value)))


def one_line(value: object) -> str:
    """`plain`, on one line: what data says cannot look like a line of ours."""
    return plain(" ".join(str(value).split()))
