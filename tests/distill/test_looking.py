"""What is shown of a row, and what is left out of it."""

import pytest

from distill.inspect.rendered import Piece, _marked, pieces

TAGS = ("<think>", "</think>")


def test_long_thinking_is_shortened_in_the_middle_and_the_answer_is_whole() -> None:
    trained = f"<think>\n{'a' * 1000}\n</think>\n\nThe answer is 5."
    given = [False, "What is 2 + 3?\n"]
    assert [*pieces([given, [True, trained]], TAGS, whole=False)] == [
        Piece("given", "What is 2 + 3?\n"),
        Piece("trained", f"<think>\n{'a' * 292}"),
        Piece("left_out", "417 characters"),
        Piece("trained", f"{'a' * 291}\n</think>\n\nThe answer is 5."),
    ]
    assert [*pieces([given, [True, trained]], TAGS, whole=True)] == [
        Piece("given", given[1]),
        Piece("trained", trained),
    ]


@pytest.mark.parametrize(
    ("asked", "trained", "shortened"),
    [
        ("<think>\n", f"{'a' * 700}</think>5", True),  # the prompt opens the thinking
        ("", f"{'a' * 700}</think>5", False),  # a tag in an answer ends no thinking
        ("", f"<think>{'a' * 700}", False),  # it is never closed
    ],
)
def test_thinking_is_what_stands_between_the_tags_wherever_they_open(asked: str, trained: str, shortened: bool) -> None:
    shown = [*pieces([[False, f"Q\n{asked}"], [True, trained]], TAGS, whole=False)]
    assert any(piece.kind == "left_out" for piece in shown) is shortened


def test_a_text_cannot_look_like_a_line_that_is_trained() -> None:
    shown = [Piece("given", "▌ mine\n┆ 9 characters"), Piece("trained", "yes\n\n")]
    assert [*_marked(shown)] == ["  ▌ mine", "  ┆ 9 characters↩", "▌ yes↵↵"]
    assert [*_marked([Piece("trained", "a\x1b[2J\u202eb")])] == ["▌ a\\x1b[2J\\u202eb"]
