"""A recipe's `rewards`: what it may say, and what is told of what it may not."""

import pytest
from pydantic import ValidationError

from train.rewards.accuracy import ungradable
from train.rewards.reward import Reward
from train.rewards.section import KINDS, Section

section = Section.model_validate


def test_a_section_is_read_by_name() -> None:
    read = section({"accuracy": {}, "format": {"weight": 0.1}, "length": {"weight": 0.5, "after": 0.3}})
    assert list(read.parts) == ["accuracy", "format", "length"]
    assert (read.parts["format"].weight, read.parts["length"].after) == (0.1, 0.3)


def test_accuracy_is_rewarded_unless_a_recipe_says_that_it_is_not() -> None:
    assert list(section({}).parts) == ["accuracy"]
    assert list(section({"format": {}}).parts) == ["accuracy", "format"]
    assert list(section({"accuracy": None, "format": {}}).parts) == ["format"]


def test_a_section_comes_back_as_it_was_written() -> None:
    read = section({"overlong": {"limit": 900, "cache": 100}, "language": {"language": "zh"}})
    assert section(read.model_dump(mode="json")) == read


def test_rewards_are_named_as_they_name_themselves() -> None:
    assert {name: kind.NAME for name, kind in KINDS.items()} == {name: name for name in KINDS}
    assert all(issubclass(kind, Reward) for kind in KINDS.values())


@pytest.mark.parametrize(
    ("given", "where", "told"),
    [
        ({"lenght": {}}, "lenght", "Extra inputs are not permitted"),
        ({"length": {"wieght": 1}}, "length.wieght", "Extra inputs are not permitted"),
        ({"format": {"weight": -1}}, "format.weight", "greater than or equal to 0"),
        ({"format": {"weight": "much"}}, "format.weight", "valid number"),
        ({"length": {"after": float("nan")}}, "length.after", "finite number"),
        ({"format": 0.1}, "format", "valid dictionary"),
        (
            {"language": {"language": "tlh"}},
            "language.language",
            "is no language that is told apart; known are en, fr, ",
        ),
        ({"overlong": {"limit": 0}}, "overlong.limit", "greater than 0"),
        ({"accuracy": None}, "", "nothing is rewarded from the first step on; give one of them a weight"),
        ({"accuracy": {"weight": 0}, "length": {}}, "", "nothing is rewarded from the first step on"),
    ],
)
def test_a_mistake_is_found_at_its_key(given: dict[str, object], where: str, told: str) -> None:
    with pytest.raises(ValidationError) as error:
        section(given)
    [found] = error.value.errors()
    assert ".".join(map(str, found["loc"])) == where
    assert told in found["msg"]


def test_a_limit_that_is_never_reached_is_a_mistake() -> None:
    assert section({"overlong": {"limit": 2000}}).mistakes(1024) == [
        "overlong.limit: 2,000 tokens are never reached, as completions are cut off at 1,024; leave it out, or give less"
    ]
    assert section({"overlong": {"limit": 2000}}).mistakes(2000) == []
    (told,) = section({"overlong": {"cache": 4096}}).mistakes(1024)
    assert told == "overlong.cache: 4,096 tokens are more than the limit of 1,024; give a share, such as 0.2"


@pytest.mark.parametrize(
    ("after", "steps", "begins"), [(0, 100, 0), (0.3, 100, 30), (0.07, 100, 7), (0.5, 5, 3), (1, 100, 1), (30, 100, 30)]
)
def test_a_reward_begins_after_a_share_of_the_stage_or_after_so_many_steps(
    after: float, steps: int, begins: int
) -> None:
    assert KINDS["length"](after=after).begins(steps) == begins


# ---- doubts


def test_weights_by_which_a_wrong_answer_pays_more_are_told() -> None:
    assert Section().doubts(opened=False) == []
    assert section({"format": {}}).doubts(opened=False) == []  # as much, not more: DeepSeek-R1's weights
    assert section({"format": {"weight": 0.1}, "length": {}, "overlong": {"weight": 0.2}}).doubts(opened=True) == []
    (told,) = section({"format": {"weight": 0.75}, "language": {"weight": 0.5}}).doubts(opened=False)
    assert told.startswith("rewards: a wrong completion can get up to 1.25, and a correct one as little as 1;")
    (told,) = section({"length": {"weight": 2.5}}).doubts(opened=False)
    assert told.startswith("rewards: a wrong completion can get up to 0, and a correct one as little as -0.25;")


def test_thinking_that_the_prompt_opens_has_to_be_paid_for_to_be_closed() -> None:
    (told,) = Section().doubts(opened=True)
    assert "add `format: {weight: 0.1}`" in told


def test_a_section_without_accuracy_is_doubted() -> None:
    assert section({"accuracy": None, "format": {}}).doubts(opened=False) == [
        "rewards: accuracy is not rewarded, so nothing pays for being right"
    ]


# ---- what cannot be graded


def test_problems_that_nobody_can_grade_are_told_before_the_first_step() -> None:
    rows = [{"verifier": name} for name in ("math", "math", None, "judge", "maths")]
    without, judged, unknown = ungradable(rows, judged=False)
    assert without.startswith("1 of 5 problems name no verifier")
    assert judged.startswith("1 problems are graded by a model (`verifier: judge`), and none is there to ask")
    assert unknown == "there is no verifier maths; known are math, exact, choice, reasoning-gym, code, instructions"
    assert ungradable(rows[:2], judged=False) == []
    assert ungradable([{"verifier": "judge"}], judged=True) == []
