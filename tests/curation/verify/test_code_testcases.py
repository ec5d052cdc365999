"""Kimi's rules for generated test cases: 7 of 10 agree on a case, 9 of 10 pass all that are kept."""

import shutil

import pytest

from curation.verify.testcases import agreed, kept_tests, reference_outputs

DOUBLE, ODD, CRASH = "print(int(input()) * 2)", "x = int(input())\nprint(x * 2 if x < 5 else 0)", "print(1 / 0)"


def rows(*groups: tuple[int, list[str | None]]) -> list[list[str | None]]:
    """So many references that wrote this."""
    return [row for count, row in groups for _ in range(count)]


@pytest.mark.parametrize(
    ("written", "output"),
    [
        (rows((10, ["4\n"])), "4\n"),
        (rows((7, ["4\n"]), (3, ["5\n"])), "4\n"),
        (rows((6, ["4\n"]), (4, ["5\n"])), None),
        (rows((6, ["4\n"]), (1, [" 4 \n\n"]), (3, [None])), "4\n"),
        (rows((10, [None])), None),
    ],
)
def test_a_case_is_kept_when_seven_of_ten_agree(written: list[list[str | None]], output: str | None) -> None:
    assert agreed(written) == [output]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (rows((10, ["4", "6"])), ["2", "3"]),
        (rows((9, ["4", "6"]), (1, ["4", "0"])), ["2", "3"]),
        (rows((8, ["4", "6"]), (2, ["4", "0"])), None),  # both cases are kept, and only eight pass them
        (rows((5, ["4", "6"]), (5, ["4", "0"])), ["2"]),  # they agree on the first only
        (rows((5, ["4", "6"]), (5, ["0", "0"])), None),
    ],
)
def test_a_problem_is_kept_when_nine_of_ten_pass(written: list[list[str | None]], kept: list[str] | None) -> None:
    tests = kept_tests(["2", "3"], written)
    assert (tests and tests["inputs"]) == kept


def test_the_numbers_are_parameters() -> None:
    assert kept_tests(["2"], rows((2, ["4"]), (1, ["5"])), agree=2, passing=2) == {"inputs": ["2"], "outputs": ["4"]}


def test_more_agreement_than_references_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="agree=7 of 3 references"):
        agreed(rows((3, ["4"])))
    with pytest.raises(ValueError, match="every input"):
        agreed([["4"], ["4", "5"]], agree=2)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_references_run_in_the_sandbox_and_what_they_agree_on_is_a_problem() -> None:
    inputs = ["2\n", "7\n"]
    written = reference_outputs([DOUBLE, DOUBLE, ODD, CRASH], inputs)
    assert written == [["4\n", "14\n"], ["4\n", "14\n"], ["4\n", "0\n"], [None, None]]
    assert kept_tests(inputs, written, agree=3, passing=3) == {"inputs": ["2\n"], "outputs": ["4\n"]}
    tests = kept_tests(inputs, written, agree=2, passing=2)
    assert tests == {"inputs": inputs, "outputs": ["4\n", "14\n"]}
