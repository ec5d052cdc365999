import pytest

from distill.detect.guesswork import guess

REASONING = "We have 3x + 5 = 20. Subtracting 5 gives 3x = 15. "


@pytest.mark.parametrize(
    "said",
    [
        "I can't finish this, so I'll just guess 12.",
        "My best guess is 12.",
        "I guess the answer is 12.",
        "Since I can't solve it, guess: 12.",
        "I will pick B at random.",
        "No idea, I'll flip a coin and say A.",
        "I'm not able to prove this, so I'd guess 8.",
        "算不出来了，随便猜一个吧。",
        "我不会做，只能蒙一个：C。",
    ],
)
def test_an_answer_that_comes_out_of_a_guess(said):
    assert guess("Find x.", REASONING + said, "12") is not None
    assert guess("Find x.", REASONING, said) is not None


@pytest.mark.parametrize(
    "said",
    [
        "Let me guess x = 2 and check.",
        "My first guess was 12, and substituting it back works.",
        "I guess we can start with the second equation.",
        "I'd rather compute it than guess.",
        "We guess that f is linear.",
        "An educated guess for the bound is n log n; let us prove it.",
        "A card is chosen at random.",
        "We choose one ball at random from the urn.",
        "You might guess 6, but the computation gives 8.",
        "我们猜想数列有界。",
        "不需要猜，直接计算。",
    ],
)
def test_exploring_is_no_guess(said):
    assert guess("Find x.", REASONING + said, "x = 5") is None


def test_a_guess_far_from_the_end_is_not_what_the_answer_comes_from():
    assert guess("Find x.", "I'll just guess 12. " + REASONING * 20, "x = 5") is None


def test_a_problem_about_guessing_is_no_guess():
    assert guess("A player guesses a number. What should she say?", "So I'll just guess 12.", "12") is None


@pytest.mark.parametrize(
    ("thinking", "answer", "found"),
    [
        ("It's 42.", "42", "2 words of thinking"),
        ("2 + 2 = 4.", "4", None),
        ("Easy.", "Since 20 - 5 is 15 and 15 / 3 is 5, the answer is 5.", None),
        ("", "42", None),
        (None, "42", None),
    ],
)
def test_next_to_no_thinking_is_a_guess_where_the_answer_shows_none_either(thinking, answer, found):
    assert guess("Find x.", thinking, answer) == found
