"""Rewards one by one: against numbers worked out by hand, a second formula, and texts that want to be paid for nothing."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.rewards.format import Format, in_form
from train.rewards.language import Language
from train.rewards.length import Length, length_reward
from train.rewards.overlong import Overlong, overlong
from train.rewards.repetition import Repetition
from train.rewards.reward import Batch, Completion, Reward

PROBLEM = {
    "id": "a",
    "prompt": "How many apples are left on the table?",
    "answer": "4",
    "verifier": "exact",
    "verifier_args": None,
}
THOUGHT = "We take the apples that were given and count what is left on the table"


def of(text: str, **more: Any) -> Completion:
    return Completion(**{"problem": PROBLEM, "text": text, "tokens": len(text), "cut_off": False, **more})


def paid(reward: Reward, *completions: Completion, correct: Sequence[bool | None] | None = None) -> list[float | None]:
    """The reward of completions of one group."""
    tokens, n = [one.tokens for one in completions], len(completions)
    return reward.rewards(
        Batch(completions, correct or [True] * n, [min(tokens)] * n, [max(tokens)] * n, max_tokens=100)
    )


# ---- form


@pytest.mark.parametrize(
    ("text", "well_formed", "when_opened"),
    [
        ("<think>2 + 2 is 4.</think>It is 4.", True, True),
        ("\n <think>\n2 + 2 is 4.\n</think>\n\nIt is 4.", True, True),
        ("<Thinking>2 + 2 is 4.</Thinking>4", True, True),
        ("<|begin_of_thought|>2 + 2<|end_of_thought|><|begin_of_solution|>4<|end_of_solution|>", True, True),
        ("2 + 2 is 4.</think>It is 4.", False, True),  # the template had to open it
        ("It is 4.", False, False),
        ("", False, False),
        ("</think>", False, False),
        ("</think>It is 4.", False, False),  # nothing thought
        ("<think></think>It is 4.", False, False),
        ("<think> \n </think>It is 4.", False, False),
        ("<think>2 + 2 is 4.", False, False),
        ("<think>2 + 2 is 4.</think>", False, False),  # nothing answered
        ("<think>2 + 2 is 4.</think>\n \n", False, False),
        ("<think>2</think>4</think>4", False, False),
        ("<think>2</think>4<think>3</think>4", False, False),
        ("<think>2<think>3</think>4</think>5", False, False),
        ("<think>2 + 2</think>4<think>", False, False),
        ("<think>2 + 2</think>4<think>wait", False, False),
        ("<think>思考：二加二</think>答案是四。", True, True),
    ],
)
def test_form_is_one_block_of_thinking_and_an_answer(text: str, well_formed: bool, when_opened: bool) -> None:
    assert in_form(of(text)) is well_formed
    assert in_form(of(text, opened=True)) is when_opened


def test_nothing_stands_before_the_thinking() -> None:
    assert not in_form(of("It is 4. <think>2 + 2 is 4.</think> It is 4."))
    assert not in_form(of("<|begin_of_thought|> It is 4. <think>2 + 2</think> It is 4."))  # another kind of tag


def test_a_completion_that_was_cut_off_is_not_of_the_form() -> None:
    whole = "<think>2 + 2 is 4.</think>It is 4."
    assert paid(Format(), of(whole), of(whole, cut_off=True)) == [1.0, 0.0]


TAGS = st.sampled_from(["<think>", "</think>", "<thought>", "</thought >", "a", " ", "\n", "\\boxed{4}", "é", "思"])


@given(st.lists(TAGS, max_size=12).map("".join))
def test_whatever_is_of_the_form_has_one_closing_tag_between_two_texts(text: str) -> None:
    if in_form(of(text)):
        opening, closing = text.lower().count("<th"), text.lower().count("</th")
        assert (opening, closing) == (1, 1)
        assert text.lstrip().startswith("<th")
        thought, answer = text.split("</th", 1)
        assert thought.lstrip().partition(">")[2].strip()
        assert answer.partition(">")[2].strip()


# ---- length


def kimi(lengths: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The formula of section 2.3.3, written another way: ranks on a line from -0.5 to 0.5."""
    if np.ptp(lengths) == 0:
        return np.zeros(len(lengths))
    of_correct = (lengths.max() - lengths) / np.ptp(lengths) - 0.5
    return np.where(right, of_correct, -np.maximum(-of_correct, 0))


def test_the_shortest_correct_completion_gets_a_half_and_a_short_wrong_one_nothing() -> None:
    group = [of("", tokens=tokens) for tokens in (10, 20, 30, 10, 30)]
    assert paid(Length(), *group, correct=[True, True, True, False, False]) == [0.5, 0.0, -0.5, 0.0, -0.5]


def test_a_quarter_of_the_way_is_worth_a_quarter() -> None:
    assert length_reward(15, 10, 30, True) == 0.25
    assert length_reward(15, 10, 30, False) == 0.0
    assert length_reward(25, 10, 30, False) == -0.25


def test_where_all_have_one_length_nobody_gets_anything() -> None:
    assert paid(Length(), of("", tokens=7), of("", tokens=7), correct=[True, None]) == [0.0, 0.0]


def test_of_an_answer_that_could_not_be_graded_the_length_reward_is_unknown_and_its_length_counts() -> None:
    group = [of("", tokens=tokens) for tokens in (10, 20, 30)]
    assert paid(Length(), *group, correct=[True, True, None]) == [0.5, 0.0, None]


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=8))
def test_the_length_reward_is_the_papers(samples: list[tuple[int, bool]]) -> None:
    lengths, right = (np.array(column) for column in zip(*samples, strict=True))
    group = [of("", tokens=int(tokens)) for tokens in lengths]
    assert paid(Length(), *group, correct=right.tolist()) == pytest.approx(kimi(lengths, right))


# ---- overlong


def test_the_punishment_grows_over_the_last_tokens_before_the_limit() -> None:
    # DAPO: 16,384 tokens are free, the next 4,096 cost more and more.
    lengths = (100, 16_384, 17_408, 18_432, 20_480, 30_000)
    assert [overlong(length, 20_480, 4_096) for length in lengths] == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]


@pytest.mark.parametrize("settings", [{"limit": 50, "cache": 0.2}, {"limit": 50, "cache": 10}])
def test_its_cache_is_a_share_of_the_limit_or_a_number_of_tokens(settings: dict[str, Any]) -> None:
    group = [of("", tokens=tokens) for tokens in (40, 45, 50, 99)]
    assert paid(Overlong(**settings), *group) == [0.0, -0.5, -1.0, -1.0]


def test_its_limit_is_by_default_where_completions_are_cut_off() -> None:
    assert paid(Overlong(), of("", tokens=90), of("", tokens=100, cut_off=True)) == [-0.5, -1.0]


@given(st.integers(0, 300), st.integers(1, 200), st.floats(0.01, 1))
def test_the_overlong_punishment_is_that_of_dapos_three_cases(length: int, limit: int, share: float) -> None:
    cache = limit * share
    expected = np.select(
        [length <= limit - cache, length <= limit], [0.0, (limit - cache - length) / cache], default=-1.0
    )
    assert overlong(length, limit, cache) == pytest.approx(float(expected))


# ---- language and repetition


def test_language_is_the_share_of_words_of_the_problems_language() -> None:
    chinese = "我们先计算桌子上剩下的苹果数量然后检查"
    found = paid(
        Language(),
        of(f"<think>{THOUGHT}.</think>4"),
        of(f"<think>{chinese}</think>4"),
        of(f"<think>{THOUGHT}. {chinese}.</think>4"),
    )
    assert found[:2] == [1.0, 0.0]
    words, other = len(THOUGHT.split()), len(chinese) / 2  # two Han characters are a word
    assert found[2] == pytest.approx(words / (words + other), abs=1e-4)


def test_what_is_answered_is_not_looked_at_for_its_language() -> None:
    assert paid(Language(), of(f"{THOUGHT}.</think>四个苹果还在桌子上，其他的都被拿走了。", opened=True)) == [1.0]


def test_a_language_can_be_set() -> None:
    assert paid(Language(language="zh"), of(f"<think>{THOUGHT}.</think>4")) == [0.0]


@pytest.mark.parametrize(
    "text", ["", "4", "<think></think>4", "<think>$2 + 2 = 4$</think>4", "<think>\n1 2 3 4\n</think>"]
)
def test_where_no_language_can_be_told_the_reward_is_unknown(text: str) -> None:
    assert paid(Language(), of(text)) == [None]


def test_one_endless_word_does_not_stop_a_training() -> None:
    asked = PROBLEM | {"prompt": "请计算桌子上还剩下多少个苹果并说明理由"}
    thought = "我们先计算桌子上剩下的苹果数量" + "a" * 200_000
    (share,) = paid(Language(), of(f"<think>{thought}</think>4", problem=asked))
    assert share == 1.0  # without care after ten minutes


def test_repetition_takes_off_the_share_of_the_loops() -> None:
    again = "Wait, let me check this step once more. "
    once, twice, loop = paid(Repetition(), of(THOUGHT), of(again * 2), of(again * 40))
    assert (once, twice) == (0.0, 0.0)
    assert loop == -1.0
    (half,) = paid(
        Repetition(),
        of(
            " ".join(f"word{chr(97 + a)}{chr(97 + b)}" for a, b in itertools.product(range(20), range(16))) + again * 40
        ),
    )
    assert half == pytest.approx(-0.5, abs=0.02)


@given(st.text(max_size=300), st.booleans())
def test_no_text_is_paid_more_than_a_reward_can_give(text: str, opened: bool) -> None:
    for reward in (Format(), Language(), Repetition(), Overlong()):
        (found,) = paid(reward, of(text, opened=opened))
        assert found is None or min(reward.OF_CORRECT, reward.OF_WRONG) <= found <= max(
            reward.OF_CORRECT, reward.OF_WRONG
        )
