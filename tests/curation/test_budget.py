"""Budgets: what can be written, when there is room, and a run that stops there."""

import pytest
from fake_server import FakeServer
from lab import Lab, decided

from curation.budget import Budget, BudgetError, Price
from flows.curate import curate
from flows.recipe import load


@pytest.mark.parametrize(
    ("text", "kind", "limit"),
    [
        ("2h", "seconds", 7200),
        ("90min", "seconds", 5400),
        ("1.5d", "seconds", 129600),
        ("50Mtok", "tokens", 50e6),
        ("800 ktok", "tokens", 800e3),
        ("500tokens", "tokens", 500),
        ("200usd", "usd", 200),
        ("12.50$", "usd", 12.5),
    ],
)
def test_budgets_are_hours_tokens_or_dollars(text: str, kind: str, limit: float) -> None:
    budget = Budget.parse(text)
    assert (budget.kind, budget.limit) == (kind, limit)


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "0h", "2 hours of work", "50Mb", "1e9tok", "two hours"])
def test_what_is_no_budget_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BudgetError, match="such as 2h, 90min, 50Mtok, 200usd"):
        Budget.parse(text)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_hours_are_spent_by_the_clock() -> None:
    clock = Clock()
    budget = Budget(3600, "seconds", "1h", clock)
    clock.now += 3599
    assert (budget.room(4, None, 64), budget.seconds_left) == (True, 1)
    clock.now += 2
    assert (budget.room(4, None, 64), budget.seconds_left) == (False, 0)


def test_tokens_in_flight_are_reserved_at_the_mean_of_those_that_ended() -> None:
    budget = Budget.parse("1000tok")
    for _ in range(8):
        budget.spend(None, 100, 50)
    assert budget.room(1, None, 500)  # 800 spent, two more of 100
    assert not budget.room(2, None, 500)
    assert budget.seconds_left is None


def test_until_many_samples_have_ended_each_may_take_all_it_is_allowed() -> None:
    budget = Budget.parse("1000tok")
    assert budget.room(0, None, 4096)  # one is always tried
    assert budget.room(3, None, 250)
    assert not budget.room(4, None, 250)
    budget.spend(None, 1, 50)  # short ones end first
    assert not budget.room(4, None, 250)


def test_dollars_by_the_hour_begin_when_servers_are_hired() -> None:
    clock = Clock()
    budget = Budget(10, "usd", "10usd", clock)
    clock.now += 1000
    budget.hire(Price(gpu_hour=2.5), gpus=4)
    clock.now += 1800
    assert budget.spent == pytest.approx(5)
    assert budget.seconds_left == pytest.approx(1800)


def test_dollars_by_the_token_count_prompts_and_answers() -> None:
    budget = Budget.parse("1usd")
    price = Price(prompt_mtok=1, completion_mtok=10)
    budget.hire(price, gpus=1)
    budget.spend(price, 50_000, 100_000)
    assert budget.spent == pytest.approx(0.6)


def test_dollars_need_a_price(lab: Lab) -> None:
    with pytest.raises(BudgetError, match=r"models\.policy costs is not known.*gpu_hour"):
        Budget.parse("5usd").check("policy", None)
    lab.policy["price"] = {"gpu_hour": 1, "completion_mtok": 2}
    with pytest.raises(ValueError, match="takes gpu_hour"):
        lab()


def test_a_run_stops_at_its_budget_publishes_nothing_and_the_next_one_goes_on(
    lab: Lab, fake_server: FakeServer
) -> None:
    lab.policy["concurrency"] = 2
    loaded = load(str(lab.write()))
    spent = curate(loaded, str(lab.workspace), budget=Budget.parse("200tok"))
    assert spent.dataset is None
    assert spent.spent is not None
    assert "the budget of 200tok is spent: 6 of 6 problems are not settled; at most" in spent.spent
    kept = lab.stored("rollouts")
    assert sum(row["tokens"] for row in kept) <= 200 + 25
    assert len(kept) == spent.drawn["pass_rate"]["drawn"] == len(fake_server.order)
    rest = curate(loaded, str(lab.workspace))
    assert rest.drawn["pass_rate"]["drawn"] == 24 - len(kept)
    assert {row["drawn"] for row in decided(rest).values()} == {4}


def test_a_run_ends_at_its_minute_and_what_was_in_flight_is_drawn_again(lab: Lab, fake_server: FakeServer) -> None:
    fake_server.delay = 30
    loaded = load(str(lab.write()))
    spent = curate(loaded, str(lab.workspace), budget=Budget.parse("1s"))
    assert spent.spent is not None
    assert lab.stored("rollouts") == []
    fake_server.delay = 0
    assert curate(loaded, str(lab.workspace)).drawn["pass_rate"]["drawn"] == 24


def test_a_budget_that_is_spent_by_the_last_sample_is_enough(lab: Lab) -> None:
    total = sum(row["tokens"] for row in lab.stored("rollouts")) if lab().dataset else 0
    lab.workspace = lab.folder / "another"
    assert curate(load(str(lab.write())), str(lab.workspace), budget=Budget.parse(f"{total + 30}tok")).spent is None


def test_a_budget_that_is_enough_changes_nothing(lab: Lab) -> None:
    assert curate(load(str(lab.write())), str(lab.workspace), budget=Budget.parse("1Mtok")).dataset is not None
