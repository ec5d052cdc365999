"""Answers as votes: classes of equal ones, and what is unknown of them."""

import pytest

from curation.votes import Answer, Votes, count


def counted(
    answers: list[tuple[str, int, bool | None]],
    *,
    n: int = 8,
    unknown: int = 0,
    has_gold: bool = True,
    name: str = "math",
) -> Votes:
    votes = Votes(n, {"name": name, "args": None}, [Answer(*answer) for answer in answers], unknown, has_gold)
    count([votes], agree=0.6)
    return votes


def classes(votes: Votes) -> list[tuple[str, int, bool | None]]:
    return [(one.text, one.votes, one.same) for one in votes.classes]


def test_spellings_of_one_value_are_one_answer() -> None:
    votes = counted([("1/2", 3, False), ("0.5", 2, False), (r"\frac12", 1, False), ("2", 2, False)])
    assert classes(votes) == [("1/2", 6, False)]
    assert (votes.suspect(0.6), votes.share) == (True, 0.75)


def test_accepted_answers_are_one_class_and_not_compared_again() -> None:
    """Its verifier does not exist: whoever asked it would fail."""
    votes = counted([("1/2", 4, True), ("0.5", 2, True), ("3", 2, False)], name="nobody")
    assert classes(votes) == [("1/2", 6, True)]
    assert (votes.suspect(0.6), votes.share) == (False, 0.75)


@pytest.mark.parametrize(
    ("other", "unknown", "suspect"),
    [
        (5, 0, True),  # 5 of 8 are 60 %
        (4, 0, False),
        (5, 3, True),  # whatever they are
        (4, 1, None),  # the fifth could be among them
        (3, 1, False),
        (0, 5, None),
        (0, 4, False),
    ],
)
def test_what_a_grader_failed_at_is_unknown_as_far_as_it_matters(
    other: int, unknown: int, suspect: bool | None
) -> None:
    right = 8 - other - unknown
    answers = [(text, votes, same) for text, votes, same in (("7", other, False), ("6", right, True)) if votes]
    assert counted(answers, unknown=unknown).suspect(0.6) is suspect


def test_an_answer_that_could_not_be_told_from_gold_is_no_sign_against_it() -> None:
    assert counted([("6", 8, None)]).suspect(0.6) is None
    assert counted([("6", 6, None), ("6.0", 2, True)]).suspect(0.6) is False  # it is equal to one that is accepted
    assert counted([("6", 6, None), ("6.0", 2, False)]).suspect(0.6) is True


def test_answers_that_cannot_be_compared_could_be_one() -> None:
    votes = counted([("n/a", 4, False), ("unknown", 4, False)])  # neither can be read as a reference
    assert (votes.suspect(0.6), votes.share) == (None, None)


def test_without_a_gold_answer_there_is_none_to_doubt() -> None:
    votes = counted([("0.5", 3, None), ("1/2", 3, None), ("2", 2, None)], has_gold=False)
    assert (votes.suspect(0.6), votes.share) == (None, 0.75)
    assert votes.first is not None
    assert votes.first.text == "0.5"


def test_without_any_answer_nothing_is_agreed_on() -> None:
    assert (counted([]).suspect(0.6), counted([]).first, counted([]).share) == (False, None, 0.0)


def test_samples_that_answered_are_counted_once_however_many_are_equal() -> None:
    assert counted([("1/2", 1, False), ("0.5", 1, False), (r"\frac12", 1, False), ("3", 1, True)], n=4).given == 4


def test_a_share_is_open_while_another_answer_could_have_more() -> None:
    votes = Votes(7, {"name": "math", "args": None}, [], unknown=0)
    votes.classes = [Answer("3", 3, True), Answer("x", 2, False, maybe=2)]
    assert votes.share is None
