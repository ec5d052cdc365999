"""The guess test: the answer asked for at once; the first hit settles a problem."""

from typing import Any

import pytest
from fake_server import FakeServer
from lab import Lab, decided, sums

from curation.guess import AT_ONCE, Guess
from curation.model import Model
from curation.prompt import EMPTY_THINK
from flows.recipe import RecipeError


@pytest.fixture
def guessing(lab: Lab) -> Lab:
    """Three sums, of which the fake model hits none, some and all of four."""
    lab.source("sums", sums((1, 4), (3, 4), (2, 2)))
    lab.recipe["annotate"] = {"form": {}, "guess": {"model": "policy", "n": 4}}
    lab.recipe["keep"] = {"not_guessed": "not guessed or not guess_asked"}
    lab.policy["concurrency"] = 1
    return lab


def guesses(lab: Lab) -> dict[str, tuple[Any, ...]]:
    columns = ("guessed", "guess_asked", "guess_drawn", "kept")
    return {prompt: tuple(row[name] for name in columns) for prompt, row in decided(lab()).items()}


def test_a_hit_ends_the_tries_and_only_n_failures_say_that_there_is_none(guessing: Lab) -> None:
    assert guesses(guessing) == {
        "What is 1 + 4?": (False, True, 4, True),
        "What is 3 + 4?": (True, True, 1, False),
        "What is 2 + 2?": (True, True, 1, False),
    }


def test_only_what_the_condition_says_is_tested(guessing: Lab) -> None:
    guessing.recipe["annotate"]["guess"]["only"] = "prompt_words > 4 and not prompt like '%3 + 4%'"
    assert guesses(guessing)["What is 3 + 4?"] == (None, False, 0, True)


def test_a_condition_that_is_unknown_leaves_the_problem_unknown(guessing: Lab) -> None:
    guessing.recipe["annotate"]["guess"]["only"] = "prompt_words > nullif(5, prompt_words)"
    assert guesses(guessing)["What is 3 + 4?"] == (None, None, 0, False)


@pytest.mark.parametrize("settle", ["early", "never"])
def test_a_condition_over_counts_speaks_of_all_samples(guessing: Lab, settle: str) -> None:
    """Settled at P P F, a problem with two passes of four could yet have three: the condition takes all samples.

    The prompt is the same, so these are the tries, too.
    """
    rate = {"model": "policy", "n": 4, "max_tokens": 64, "settle": settle}
    guessing.recipe["annotate"] = {"pass_rate": rate, "guess": {"model": "policy", "n": 4, "only": "passes < 3"}}
    guessing.recipe["keep"] = {"some": "passes >= 1", "not_guessed": "not guessed or not guess_asked"}
    assert guesses(guessing) == {
        "What is 1 + 4?": (None, None, None, False),
        "What is 3 + 4?": (True, True, 4, False),
        "What is 2 + 2?": (None, False, 0, True),
    }


@pytest.mark.parametrize(
    "condition", ["answer_sort = 'x'", "passes > 1", "duplicate", "random() < 0.5", "prompt_words"]
)
def test_a_condition_may_read_what_is_measured_above_only(guessing: Lab, condition: str) -> None:
    guessing.recipe["annotate"]["guess"]["only"] = condition
    with pytest.raises(RecipeError, match=r"annotate\.guess\.only"):
        guessing()


def test_when_the_grader_fails_a_problem_is_neither_guessed_nor_not(guessing: Lab) -> None:
    guessing.source("sums", [{"prompt": "What is 2 + 2?", "answer": " "}])
    assert guesses(guessing) == {"What is 2 + 2?": (None, True, 4, False)}


def test_tries_are_rollouts_with_a_prompt_of_their_own(guessing: Lab, fake_server: FakeServer) -> None:
    guessing.policy["prompt"] = {"style": "chat", "system": "Think step by step.", "template": "{prompt} Reason well."}
    guesses(guessing)
    body = next(iter(fake_server.bodies.values()))
    assert body["messages"] == [{"role": "user", "content": AT_ONCE.replace("{prompt}", "What is 1 + 4?")}]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["max_tokens"] == 32
    guessing.recipe["annotate"]["pass_rate"] = {"model": "policy", "n": 4, "max_tokens": 64}
    guessing()
    assert len(list((guessing.workspace / "rollouts").iterdir())) == 2


def test_a_raw_prompt_stays_as_it_is_and_any_may_be_changed() -> None:
    base = Model.model_validate({"model": "m", "prompt": {"style": "raw", "template": "Q: {prompt}\nA:"}})
    assert Guess(model="policy").prompt_of(base, {}).render("1 + 1") == "Q: 1 + 1\nA:"
    chat = Model(model="m")
    changed = Guess(model="policy", prompt={"template": "{prompt} Answer!"}).prompt_of(chat, {"system": "Add."})
    assert changed.render("1 + 1") == [{"role": "user", "content": "1 + 1 Answer!"}]


def test_a_model_that_always_thinks_gets_an_empty_think_block_in_its_mouth() -> None:
    assert Guess(model="policy").prompt_of(Model(model="m", always_thinks=True), {}).prefill == EMPTY_THINK
    assert Guess(model="policy").prompt_of(Model(model="m"), {}).prefill == ""


def test_tries_that_are_mostly_cut_off_are_warned_of(guessing: Lab) -> None:
    guessing.recipe["annotate"]["guess"]["max_tokens"] = 10  # every answer has 16 characters or more
    assert any("100% of the tries were cut off at max_tokens=10" in warning for warning in guessing().warnings)
