"""One line a step; plain where there is no terminal."""

import io

import pytest

from curation.progress import Progress, clock


def test_a_step_ends_with_what_was_done_and_how_fast() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("pass_rate", total=3, unit="samples") as step:
        for _ in range(3):
            step.advance(1, tokens=7)
    [line] = out.getvalue().splitlines()
    assert line.startswith("pass_rate    3/3 samples")
    assert "tokens/s" in line
    assert "\x1b" not in line


def test_a_step_with_nothing_to_do_is_not_told() -> None:
    out = io.StringIO()
    with Progress(out).step("gold", total=0):
        pass
    assert out.getvalue() == ""


def test_a_step_that_failed_tells_how_far_it_came() -> None:
    out = io.StringIO()

    def fail() -> None:
        with Progress(out).step("gold", total=9) as step:
            step.advance(4)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - any will do
        fail()
    assert "4/9 rows" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (80, "1 min 20 s"), (3600 * 2 + 300, "2 h 5 min")]
)
def test_times_are_read_aloud(seconds: float, text: str) -> None:
    assert clock(seconds) == text
