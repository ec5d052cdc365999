r"""Times of day: "8:00", "8:05:30", "8 PM", r"3:45 \text{ p.m.}".

Two digits behind a colon are minutes where they begin with 0 or where seconds, AM or PM follow; else "12:30" may be a ratio,
unless it is compared with a time. Nothing is converted: 20:00 is not 8:00 PM. Texts are those that `latex.plain` gives.
"""

import re
from typing import NamedTuple

_LONGEST = 30
_TIME = re.compile(
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d\d))?(?::(?P<second>\d\d))?\s?(?:\\text\s?\{)?\s?"
    r"(?:(?P<half>[ap])\.?\s?m\.?)?\s?\}?",
    re.IGNORECASE,
)


class Time(NamedTuple):
    """A time of day as written; the half of the day is "a", "p" or, where it is not said, ""."""

    hour: int
    minute: int
    second: int
    half: str


def clock(text: str, alone: bool = True) -> Time | None:
    """The time that a text is; None of another text. `alone`: only of one that can be nothing else, neither the ratio
    12:30 nor 8 pm.
    """
    if len(text) > _LONGEST or not (time := _TIME.fullmatch(text)):
        return None
    sure = time["minute"] and (time["half"] or time["second"] or time["minute"][0] == "0")
    if not sure and (alone or not (time["half"] or time["minute"])):
        return None
    return Time(int(time["hour"]), int(time["minute"] or 0), int(time["second"] or 0), (time["half"] or "").lower())


def same_time(gold: Time, stated: Time | None, match_halves: bool) -> bool:
    """Whether two times are written alike. match_halves: whether AM or PM on one side only is a difference."""
    if stated is None or gold[:3] != stated[:3]:
        return False
    return gold.half == stated.half or (not match_halves and not (gold.half and stated.half))
