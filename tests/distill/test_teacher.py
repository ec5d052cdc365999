"""As many traces as it takes to have k accepted, by sample index, whatever else is stored and whenever they arrive."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import duckdb
import pyarrow as pa
import pytest
from distilling import distilling, indexes, rows, traces
from fake_server import NAME, FakeServer
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import Lab, sums

from curation.annotate import Work
from curation.duck import arrow
from curation.outcomes import CUT_OFF, ERROR, FAIL, PASS, Outcomes
from curation.rollouts import Rollouts
from curation.standing import Group
from distill.teacher import AIMS, Progressed, Teacher
from flows.curate import Outcome

# ---- which samples are drawn: any outcomes, no server


@dataclass
class Desk:
    """As much of a run as the rounds need, and what every sample will come to: its outcome, and whether rules keep it."""

    con: duckdb.DuckDBPyConnection
    comes: dict[str, list[tuple[int, bool]]]
    stored: dict[str, set[int]]
    drawn: dict[str, Any]

    def used(self, id_: str, enough: int | None) -> list[int]:
        """The samples before the first that is not there, up to the one with which enough are accepted."""
        found: list[int] = []
        accepted = 0
        for index, (_, kept) in enumerate(self.comes[id_]):
            if index not in self.stored[id_] or accepted == enough:
                break
            found.append(index)
            accepted += kept
        return found

    def progressed(self, enough: int) -> dict[str, Progressed]:
        found = {}
        for id_ in [row[0] for row in self.con.execute("select id from wanted").fetchall()]:
            if self.stored[id_]:
                states = [self.comes[id_][index] for index in self.used(id_, enough)]
                found[id_] = Progressed(
                    len(states), sum(code == PASS for code, _ in states), sum(kept for _, kept in states)
                )
        return found


class AtOnce(Teacher):
    """A teacher whose samples are there as soon as they are asked for, one after the other."""

    desk: ClassVar[Desk]

    def groups(self, work: Work) -> list[Group]:
        problems = arrow(self.desk.con, f"select id, pattern, 0 as row from wanted join {AIMS} using (id) order by id")
        return [Group(cast(Rollouts, None), problems)]

    def draw(self, work: Work, name: str, groups: list[Group]) -> Outcomes:
        ids = groups[0].problems["id"].to_pylist()
        outcomes = Outcomes(self.n, groups[0].problems["pattern"], cut_off_fails=True)
        for number, id_ in enumerate(ids):
            for index in self.desk.stored[id_] & {*range(self.n)}:
                outcomes.codes[number * self.n + index] = self.desk.comes[id_][index][0]
        outcomes.begin()
        while (place := outcomes.take()) is not None:
            number, index = divmod(place, self.n)
            self.desk.stored[ids[number]].add(index)
            outcomes.codes[place] = self.desk.comes[ids[number]][index][0]
            if outcomes.is_settled(number):
                outcomes.close(number)
            else:
                outcomes.queue(number)
        return outcomes


def drawn(
    comes: dict[str, list[tuple[int, bool]]], before: dict[str, set[int]], n: int, enough: int, only_right: bool
) -> Desk:
    """What lies there after a teacher has collected."""
    with duckdb.connect() as con:
        con.register("ids", pa.table({"id": [*comes]}))
        con.execute("create table wanted as from ids")
        desk = Desk(con, comes, {id_: set(before.get(id_, ())) for id_ in comes}, {})
        AtOnce.desk = desk
        teacher = AtOnce(model="policy", n=n, max_tokens=10)
        teacher.collect(cast(Work, desk), "traces.t", enough, only_right, lambda _: desk.progressed(enough))
        return desk


def shortest(comes: list[tuple[int, bool]], enough: int) -> int:
    """Samples in the shortest run of indexes from 0 that holds so many kept ones; all where there are fewer."""
    kept = [index for index, (_, kept) in enumerate(comes) if kept]
    return kept[enough - 1] + 1 if len(kept) >= enough else len(comes)


CODES = st.sampled_from([PASS, FAIL, CUT_OFF, ERROR])
RIGHT_ONLY = st.tuples(CODES, st.booleans()).map(lambda one: (one[0], one[1] and one[0] == PASS))
ANY = st.tuples(CODES, st.booleans())


@settings(max_examples=15)
@given(st.data())
def test_exactly_the_shortest_prefix_with_enough_accepted_is_drawn(data: st.DataObject) -> None:
    n, enough = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    only_right = data.draw(st.booleans())
    sample = RIGHT_ONLY if only_right else ANY
    comes = {id_: data.draw(st.lists(sample, min_size=n, max_size=n)) for id_ in "abcdef"}
    before = {id_: data.draw(st.sets(st.integers(0, n - 1))) for id_ in "abcdef"}
    desk = drawn(comes, before, n, enough, only_right)
    for id_, found in comes.items():
        assert desk.stored[id_] == before[id_] | {*range(shortest(found, enough))}


def test_what_was_drawn_for_others_already_does_not_end_the_drawing() -> None:
    wrong, kept = (FAIL, False), (FAIL, True)
    desk = drawn({"a": [wrong, wrong, wrong, wrong, kept]}, {"a": {0, 1, 2}}, n=5, enough=1, only_right=False)
    assert desk.stored == {"a": {0, 1, 2, 3, 4}}


# ---- whole runs


@dataclass(frozen=True)
class Runs:
    """A workspace that sees one run after the other, and what the server was asked for in each."""

    outcomes: Mapping[str, Outcome]
    asked: Mapping[str, list[str]]

    def __getitem__(self, name: str) -> Outcome:
        return self.outcomes[name]


ENOUGH = {"traces": "long", "enough": 2, "select": {"k": None}}
SETS: dict[str, dict[str, Any]] = {
    "sft": ENOUGH,
    "later": {"is": "sft", **ENOUGH, "keep": {"not_the_first": "sample_index > 0"}},
    "anything": {"is": "sft", **ENOUGH, "keep": {"right": None}},
}
ALL = {"is": "sft", "traces": "long", "select": {"k": None}}
PAIRS = {"is": "preference", "traces": "long", "enough": 2, "rejected": {"wrong": "not correct"}, "pairs": {"k": None}}


@pytest.fixture(scope="module")
def runs(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    outcomes: dict[str, Outcome] = {}
    asked: dict[str, list[str]] = {}
    with FakeServer(delay=0.002) as server:
        server.first_last = True
        lab = distilling(Lab(tmp_path_factory.mktemp("runs"), {"model": NAME, "url": server.url}), model_folder)

        def run(name: str) -> None:
            server.forget()
            outcomes[name] = lab()
            asked[name] = server.order[:]

        lab.recipe["sets"] = SETS
        run("first")
        run("again")
        lab.recipe["sets"] = {"all": ALL, **SETS, "pairs": PAIRS}
        run("beside a set that draws all")
        later = {**SETS["later"], "keep": {"not_the_first": "sample_index > 1"}}
        lab.recipe["sets"] = {"later": later, "short": {"is": "sft", **ENOUGH, "select": {"by": "tokens", "k": 1}}}
        run("other rules")
        lab.recipe["sets"] = {"sft": SETS["sft"], "later": SETS["later"]}
        lab.recipe["traces"]["long"]["n"] = 10
        lab.source("more", sums((5, 6), (2, 1), trouble=" (steps)"))
        run("more of all")
        yield Runs(outcomes, asked)


def test_a_set_has_the_accepted_of_the_shortest_prefix_whenever_they_arrive(runs: Runs) -> None:
    assert indexes(runs["first"], "sft") == {
        "What is 3 + 4?": [0, 1],
        "What is 2 + 2?": [0, 1],
        "What is 6 + 2?": [0, 1],
        "What is 1 + 0?": [0, 4],
    }


def test_when_right_ones_fall_to_another_rule_drawing_goes_on(runs: Runs) -> None:
    # Sample 4 of the first says what sample 1 does.
    assert indexes(runs["first"], "later") == {
        "What is 3 + 4?": [1, 5],
        "What is 2 + 2?": [1, 2],
        "What is 6 + 2?": [1, 2],
        "What is 1 + 0?": [4],
    }


def test_where_nothing_has_to_be_right_the_first_ones_do(runs: Runs) -> None:
    assert [*indexes(runs["first"], "anything").values()] == [[0, 1]] * 6


def test_a_problem_that_never_gets_enough_is_drawn_to_the_end(runs: Runs) -> None:
    by_problem: dict[str, list[int]] = {}
    for row in traces(runs["first"], "sft"):
        by_problem.setdefault(row["id"], []).append(row["sample_index"])
    assert sorted(map(len, by_problem.values())) == [2, 2, 2, 5, 8, 8]


def test_a_rerun_draws_nothing_and_publishes_nothing_new(runs: Runs) -> None:
    assert (runs["again"].drawn, runs["again"].new, runs.asked["again"]) == ({}, False, [])


def test_what_another_set_draws_changes_neither_rows_nor_decisions(runs: Runs) -> None:
    beside = runs["beside a set that draws all"]
    assert len(traces(beside, "all")) == 48
    for name in SETS:
        assert rows(beside, name) == rows(runs["first"], name)
        assert traces(beside, name) == traces(runs["first"], name)


def test_behind_those_that_are_enough_nothing_is_chosen_nor_rejected(runs: Runs) -> None:
    # The wrong ones of 3 + 4 and 6 + 2 come after two that are right; those of 1 + 0 between.
    beside = runs["beside a set that draws all"]
    assert {row["prompt"][0]["content"] for row in rows(beside, "pairs")} == {"What is 1 + 0? (steps)"}
    assert len(rows(beside, "pairs")) == 6


def test_another_rule_or_select_draws_nothing(runs: Runs) -> None:
    other = runs["other rules"]
    assert (other.drawn, other.new, runs.asked["other rules"]) == ({}, True, [])
    assert indexes(other, "later")["What is 3 + 4?"] == [4, 5]
    assert indexes(other, "short")["What is 1 + 0?"] == [0]


def test_a_larger_n_and_new_problems_draw_what_is_missing(runs: Runs) -> None:
    asked = runs.asked["more of all"]
    old = {row["id"] for row in traces(runs["first"], "sft")}
    more = [int(name.rsplit("-", 1)[1]) for name in asked if name.rsplit("-", 1)[0] in old]
    assert sorted(more) == [8, 8, 8, 9, 9, 9]  # of the two that are never right, and of 1 + 0, which `later` has one of
    assert indexes(runs["more of all"], "sft")["What is 2 + 1?"] == [0, 1]
