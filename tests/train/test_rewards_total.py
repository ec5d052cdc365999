"""The weighted sum and what is logged of it; completions scored end to end, by the graders that curation has."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_server import NAME, JudgeServer

from curation.graders import Graders
from curation.judge import Judge
from curation.judging import graders_of
from curation.model import Model, RunningServer
from curation.reach import UNKNOWN
from curation.verify import grade
from curation.verify.pool import GraderPool
from train.rewards.reward import Completion
from train.rewards.scoring import RewardError, Rewards, Scored
from train.rewards.section import Section
from train.rewards.total import all_equal, told, total

NAN = float("nan")


def totals(values: Sequence[Sequence[float]], weights: Sequence[float], group: int) -> list[float | None]:
    """The totals where the first reward decides."""
    decides = np.arange(len(weights)) == 0
    found = total(np.array(values, float), np.array(weights, float), decides, group)
    return [None if np.isnan(one) else float(one) for one in found]


# ---- the sum


def test_the_total_is_the_weighted_sum() -> None:
    assert totals([[1, 0, -0.5], [0, 1, 0.25]], [1, 0.1, 0.5], 2) == pytest.approx([0.75, 0.225])


def test_an_answer_that_could_not_be_graded_has_no_total() -> None:
    assert totals([[NAN, 1], [0, 1]], [1, 0.5], 2) == [None, 0.5]


def test_another_unknown_is_neither_above_nor_below_its_group() -> None:
    # Of the second reward the group's known ones have 0.8 on average; so has the third sample. Not 0, which is least.
    assert totals([[1, 0.6], [0, 1.0], [1, NAN]], [1, 0.5], 3) == pytest.approx([1.3, 0.5, 1.4])


def test_the_mean_that_stands_for_it_is_of_those_that_train() -> None:
    assert totals([[NAN, 0.0], [0, 1.0], [1, NAN]], [1, 1], 3) == [None, 1.0, 2.0]


def test_where_a_group_knows_nothing_of_a_reward_it_is_put_at_the_batchs_mean() -> None:
    assert totals([[1, NAN], [0, NAN], [1, 0.2], [1, 0.4]], [1, 1], 2) == pytest.approx([1.3, 0.3, 1.2, 1.4])
    assert totals([[1, NAN], [0, NAN]], [1, 1], 2) == [1.0, 0.0]


def test_a_reward_that_does_not_count_changes_nothing_also_where_it_is_unknown() -> None:
    assert totals([[NAN, 1], [1, 0]], [0, 1], 2) == [1.0, 0.0]
    assert totals([[0, NAN], [1, 5]], [1, 0], 2) == [0.0, 1.0]


def test_of_what_nothing_that_counts_is_known_there_is_no_total() -> None:
    assert totals([[1, NAN], [0, 1]], [0, 1], 2) == [None, 1.0]
    found = total(np.array([[NAN, NAN], [1, NAN]]), np.ones(2), np.zeros(2, bool), 2)
    assert np.isnan(found[0])
    assert found[1] == 1.0


VALUE = st.one_of(st.just(NAN), st.integers(-4, 4).map(lambda number: number / 4))


@given(st.lists(st.tuples(VALUE, VALUE, VALUE), min_size=2, max_size=8).filter(lambda rows: len(rows) % 2 == 0))
def test_the_advantage_of_an_unknown_value_is_that_of_the_rest(rows: list[tuple[float, float, float]]) -> None:
    """By the plain loop: the advantage is the sum of each reward's own, which is 0 where it is unknown."""
    group, weights = len(rows) // 2, (1.0, 0.5, 0.25)
    found = totals(rows, weights, group)
    for first in (0, group):
        members = [at for at in range(first, first + group) if not np.isnan(rows[at][0])]
        assert [at for at in range(first, first + group) if found[at] is not None] == members
        advantage = dict.fromkeys(members, 0.0)
        for reward, weight in enumerate(weights):
            known = [at for at in members if not np.isnan(rows[at][reward])]
            for at in known:
                advantage[at] += weight * (rows[at][reward] - sum(rows[one][reward] for one in known) / len(known))
        mean = sum(found[at] or 0.0 for at in members) / max(len(members), 1)
        for at in members:
            assert (found[at] or 0.0) - mean == pytest.approx(advantage[at])


# ---- the log


def test_what_is_unknown_is_logged_as_a_share_and_is_in_no_mean() -> None:
    log = told(
        {"format": np.array([1, 0, NAN, NAN])}, np.array([2, 4, 6, NAN]), np.array([1, 0, NAN, 0]), np.zeros(4) == 1, 2
    )
    assert log["rewards/format/mean"] == 0.5
    assert log["rewards/format/std"] == pytest.approx(0.5**0.5)  # of a sample
    assert log["rewards/format/unknown"] == 0.5
    assert (log["rewards/total/mean"], log["rewards/total/std"], log["rewards/total/unknown"]) == (4.0, 2.0, 0.25)
    assert (log["completions/correct"], log["completions/unknown"]) == (1 / 3, 0.25)


def test_a_mean_of_nothing_is_not_logged() -> None:
    nothing = np.array([NAN, NAN])
    log = told({"language": nothing}, nothing, nothing, np.array([False, True]), 2)
    assert "rewards/language/mean" not in log
    assert "completions/correct" not in log
    assert "groups/all_wrong" not in log
    assert (log["rewards/language/unknown"], log["completions/cut_off"], log["groups/all_equal"]) == (1.0, 0.5, 1.0)


def test_groups_without_an_advantage_are_counted() -> None:
    groups = [
        [1, 1, 1],
        [1, 0, 1],
        [NAN, 1, 1],
        [NAN, NAN, 0.5],
        [NAN, NAN, NAN],
        [0, 1 / 3, 1 / 3],
        [0.3, 0.1 + 0.2, 0.3],
    ]
    assert all_equal(np.array(groups).ravel(), 3).tolist() == [True, False, True, True, True, False, True]


def test_a_single_sample_is_no_group_without_an_advantage() -> None:
    one = np.array([1.0, 0.0])
    assert "groups/all_equal" not in told({}, one, one, np.zeros(2) == 1, 1)


def test_groups_are_all_correct_or_all_wrong_as_far_as_they_are_known() -> None:
    correct = np.array([1, 1, 0, 0, 1, 0, NAN, 1, NAN, NAN])
    log = told({}, correct, correct, np.zeros(10) == 1, 2)
    assert (log["groups/all_correct"], log["groups/all_wrong"]) == (0.5, 0.25)


# ---- scored, end to end


@pytest.fixture(scope="module")
def graders() -> Iterator[Graders]:
    with GraderPool(workers=1, cpu_seconds=0.3, preload=["exact"]) as pool:
        yield Graders(pool)


def sample(text: str, answer: str | None = "4", verifier: str | None = "exact", **more: Any) -> Completion:
    problem = {"id": f"{answer}", "prompt": "2 + 2?", "answer": answer, "verifier": verifier, "verifier_args": None}
    return Completion(**{"problem": problem, "text": text, "tokens": len(text), "cut_off": False, **more})


def scored(graders: Graders, *completions: Completion, step: int = 0, group: int = 0, **rewards: Any) -> Scored:
    stage = Rewards(Section.model_validate(rewards), graders, group or len(completions), max_tokens=100, steps=100)
    return stage(completions, step)


TEXTS = [
    "<think>2 + 2</think>\\boxed{4}",
    "2 + 2</think>The answer is 4",
    "\\boxed{4}</think>5",  # what is boxed in the thinking is no answer
    "<think>\\boxed{4}",
    "<think>4",
    "<think></think>",
    "</think></think> 4",
    "<think>5</think>5<think>6</think>4",
    "4",
    "",
    "答案是 4",
    "\x00 4",
]


@pytest.mark.parametrize("opened", [False, True])
def test_accuracy_is_the_verdict_that_curation_gives(graders: Graders, opened: bool) -> None:
    found = scored(graders, *(sample(text, opened=opened) for text in TEXTS))
    verdicts = [grade("exact", "4", text) for text in TEXTS]
    assert found.verdicts == verdicts
    assert found.totals == [float(verdict.outcome == "correct") for verdict in verdicts]
    assert found.totals == [1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0]


def test_an_answer_that_was_cut_off_is_wrong_and_not_looked_at(graders: Graders) -> None:
    found = scored(graders, sample("</think>\\boxed{4}", cut_off=True), sample("</think>\\boxed{4}"))
    assert found.totals == [0.0, 1.0]
    assert (found.correct, found.verdicts[0]) == ([False, True], None)


def test_a_grader_that_hangs_or_has_nothing_to_compare_with_is_no_wrong_answer(graders: Graders) -> None:
    hangs = sample("5 " * 8_000_000, "5")  # a second of work for a grader
    found = scored(graders, hangs, sample("5", "5"), sample("6", "5"), format={}, length={"after": 0})
    assert found.verdicts[0] is not None
    assert found.verdicts[0].reason == "killed after 0.3 s of CPU"
    assert (found.totals[0], found.correct) == (None, [None, True, False])
    assert found.parts["length"][0] is None
    assert found.parts["format"] == [0.0, 0.0, 0.0]
    without = scored(graders, sample("4", None), sample("4", None))
    assert without.totals == [None, None]
    assert without.verdicts[0] is not None
    assert without.verdicts[0].reason == "the problem has no answer"
    assert scored(graders, sample("4", verifier=None)).totals == [None]


def test_a_judge_grades_what_rules_cannot(graders: Graders) -> None:
    with JudgeServer() as server:
        judge = Judge(model=Model(model=NAME, url=(server.url,)))
        with graders_of(judge, [RunningServer(server.url, NAME, None, UNKNOWN)], None) as asked:
            both = Graders(graders.pool, asked)
            found = scored(both, *(sample(text, "four", "judge") for text in ("The answer is four", "The answer is 5")))
            server.reply = "I do not know"
            unread = scored(both, sample("The answer is four", "four", "judge"))
    assert found.totals == [1.0, 0.0]
    assert unread.totals == [None]


def test_a_worker_that_dies_costs_its_own_completion_only() -> None:
    with GraderPool(workers=1, memory_bytes=1 << 24, preload=["exact"]) as pool:
        found = scored(Graders(pool), sample("5" * 40_000_000, "5"), sample("5", "5"))
    assert found.totals == [None, 1.0]


def test_a_reward_counts_from_its_step_and_is_logged_before(graders: Graders) -> None:
    group = [sample("\\boxed{4}"), sample("It is \\boxed{4}")]
    before, after = (scored(graders, *group, step=step, length={"weight": 0.5, "after": 0.3}) for step in (29, 30))
    assert before.totals == [1.0, 1.0]
    assert after.totals == [1.25, 0.75]
    assert before.parts == after.parts == {"accuracy": [1.0, 1.0], "length": [0.5, -0.5]}
    assert [one.log["rewards/length/weight"] for one in (before, after)] == [0.0, 0.5]
    assert before.log["groups/all_equal"] == 1.0
    assert after.log["groups/all_equal"] == 0.0


def test_lengths_are_compared_within_a_group_only(graders: Graders) -> None:
    found = scored(
        graders, *(sample("\\boxed{4}", tokens=tokens) for tokens in (1, 3, 30, 50)), group=2, length={"after": 0}
    )
    assert found.parts["length"] == [0.5, -0.5, 0.5, -0.5]


def test_a_group_that_lies_on_two_processes_is_scored_as_on_one(graders: Graders) -> None:
    given: dict[str, Any] = {"length": {"after": 0}, "language": {}, "format": {"weight": 0.5}}
    thought = "<think>We count what is left on the table and add it up</think>"
    texts = ["\\boxed{4}", f"{thought}\\boxed{{4}}", "5", f"{thought} It is 5", "\\boxed{4} ", "6", "7", "\\boxed{4}  "]
    completions = [sample(text) for text in texts]
    alone = scored(graders, *completions, group=4, **given)
    halves = _on_processes([completions[:3], completions[3:]], graders, given)
    assert [one for half in halves for one in half.totals] == alone.totals
    assert halves[0].log == halves[1].log == alone.log
    assert [one for half in halves for one in half.parts["length"]] == alone.parts["length"]


def _on_processes(batches: list[list[Completion]], graders: Graders, given: dict[str, Any]) -> list[Scored]:
    """Every batch in a thread that stands for a process; lists are joined as accelerate's `gather_object` joins them."""
    meeting = threading.Barrier(len(batches))
    lists: dict[int, list[Any]] = {}
    found: dict[int, Scored] = {}

    def process(rank: int) -> None:
        def gather(own: list[Any]) -> list[Any]:
            lists[rank] = own
            meeting.wait(60)
            joined = [one for at in range(len(batches)) for one in lists[at]]
            meeting.wait(60)
            return joined

        stage = Rewards(
            Section.model_validate(given), graders, group=4, max_tokens=100, steps=100, gather=gather, rank=rank
        )
        found[rank] = stage(batches[rank], 0)

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[rank] for rank in range(len(batches))]


def test_settings_that_cannot_be_are_refused_before_the_first_batch(graders: Graders) -> None:
    with pytest.raises(RewardError, match=r"^rewards\.overlong\.limit: 2,000 tokens are never reached"):
        scored(graders, sample("4"), overlong={"limit": 2000})


def test_a_group_of_several_problems_is_a_mistake_of_the_caller(graders: Graders) -> None:
    with pytest.raises(AssertionError, match="the group at 2 is of several problems"):
        scored(graders, sample("4"), sample("4"), sample("4", "5"), sample("4"), group=2)
    with pytest.raises(AssertionError, match="3 completions are no groups of 2"):
        scored(graders, *[sample("4")] * 3, group=2)
