"""What a model is sent for a problem, in full."""

import pytest
from pydantic import ValidationError

from curation.prompt import EMPTY_THINK, Prompt

ADD = {"prompt": "2 + 3 =", "answer": "5"}
FEW_SHOT = Prompt.model_validate({"style": "raw", "template": "Question: {prompt}\nAnswer:", "shots": [ADD]})


def test_raw_shows_solved_examples_then_the_problem() -> None:
    assert FEW_SHOT.render("7 - 4 =") == "Question: 2 + 3 =\nAnswer: 5\n\nQuestion: 7 - 4 =\nAnswer:"


def test_raw_puts_no_second_blank_before_an_answer() -> None:
    own_line = FEW_SHOT.merged({"template": "{prompt}\n"})
    assert own_line.render("7 - 4 =") == "2 + 3 =\n5\n\n7 - 4 =\n"


def test_raw_joins_by_the_separator_given() -> None:
    lines = FEW_SHOT.merged({"template": None, "separator": "\n", "system": "Sums."})
    assert lines.render("7 - 4 =") == "Sums.\n2 + 3 = 5\n7 - 4 ="


def test_raw_shows_the_text_of_earlier_turns() -> None:
    earlier = [{"role": "user", "content": "Let x = 3."}, {"role": "assistant", "content": "Noted."}]
    assert Prompt(style="raw").render("2x =", earlier) == "Let x = 3.\n\nNoted.\n\n2x ="


def test_chat_is_the_problem_as_one_user_turn_by_default() -> None:
    assert Prompt().render("7 - 4 =") == [{"role": "user", "content": "7 - 4 ="}]


def test_chat_shows_shots_as_turns_before_the_conversation() -> None:
    prompt = Prompt.model_validate({"system": "Be brief.", "template": "Compute {prompt}", "shots": [ADD]})
    earlier = [
        {"role": "system", "content": "Use integers."},
        {"role": "user", "content": "Ready?"},
        {"role": "assistant", "content": "Yes."},
    ]
    assert prompt.render("7 - 4 =", earlier) == [
        {"role": "system", "content": "Be brief.\n\nUse integers."},
        {"role": "user", "content": "Compute 2 + 3 ="},
        {"role": "assistant", "content": "5"},
        {"role": "user", "content": "Ready?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Compute 7 - 4 ="},
    ]


def test_braces_of_problems_and_templates_stand_for_themselves() -> None:
    prompt = Prompt(style="raw", template="{prompt} Answer in \\boxed{}.")
    assert prompt.render("What is {1, 2} \\cap {prompt}?") == "What is {1, 2} \\cap {prompt}? Answer in \\boxed{}."


def test_a_template_without_the_problem_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"has no \{prompt\}, so every problem would be the same"):
        Prompt(template="Solve it: {question}")


@pytest.mark.parametrize(
    ("shown", "put"),
    [
        ("<user>7 - 4<assistant>", "<think>\n\n</think>\n\n"),
        ("<user>7 - 4<assistant><think>", "\n\n</think>\n\n"),
        ("<user>7 - 4<assistant><think>\n", "\n</think>\n\n"),
        ("<user>What does <think> mean?<assistant>", "<think>\n\n</think>\n\n"),
    ],
)
def test_a_prefill_opens_no_think_block_twice(shown: str, put: str) -> None:
    assert Prompt(prefill=EMPTY_THINK).prefill_after(shown) == put
    assert Prompt(prefill="The answer is").prefill_after(shown) == "The answer is"


def test_merged_replaces_single_keys_and_resets_with_none() -> None:
    prompt = FEW_SHOT.merged({"stop": ["\n"], "shots": None})
    assert prompt == Prompt(style="raw", template="Question: {prompt}\nAnswer:", stop=("\n",))


def test_merged_refuses_an_unknown_key() -> None:
    with pytest.raises(ValidationError, match="sytem"):
        FEW_SHOT.merged({"sytem": "Be brief."})
