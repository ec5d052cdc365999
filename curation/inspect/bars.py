"""Bars of a histogram on a terminal."""

WIDTH = 30


def bar(count: int, largest: int, width: int = WIDTH) -> str:
    """A bar for `count`, `width` characters long for `largest`, to an eighth of a character."""
    eighths = round(8 * width * count / largest) if largest else 0
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")
