"""Steps of a completion and the tokens that they end at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.steps import step_ends


@pytest.mark.parametrize(
    ("tokens", "steps"),
    [
        (["2", "+2", "=4", "\n\n", "4", "-1", "=3"], [(3, "2+2=4"), (6, "4-1=3")]),
        (["a", "\n", "\n", "b"], [(2, "a"), (3, "b")]),  # the separator in two tokens
        (["a.\n\nSo", " b"], [(0, "a."), (1, "So b")]),  # and in one with the beginning of the next step
        (["a\n\nb\n\n", "c"], [(0, "a\n\nb"), (1, "c")]),  # two steps in one token have one reward
        (["\n\n", "a", "\n\n", "\n\n", "b", "\n\n"], [(2, "a"), (5, "b")]),  # what is blank is no step
        (["", "a", "", "\n\n", "", "b", ""], [(3, "a"), (5, "b")]),  # tokens without text
        (["one line"], [(0, "one line")]),
        (["\n\n", " "], []),
        ([], []),
    ],
)
def test_steps_end_at_the_last_token_of_their_separator(tokens: list[str], steps: list[tuple[int, str]]) -> None:
    assert step_ends(tokens) == steps


@given(st.lists(st.text("ab\n ", max_size=4), max_size=12))
def test_every_step_is_in_the_text_up_to_its_token_and_each_token_ends_one_at_most(tokens: list[str]) -> None:
    found = step_ends(tokens)
    places = [place for place, _ in found]

    assert places == sorted(set(places))
    begin = 0
    for place, text in found:
        assert text[0] in "".join(tokens[begin : place + 1])
        assert "".join(text.split()) in "".join("".join(tokens[: place + 1]).split())
        begin = place
    assert "".join("".join(text.split()) for _, text in found) == "".join("".join(tokens).split())
