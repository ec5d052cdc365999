"""As many traces as it takes to have k accepted, by sample index, whatever else is stored and whenever they arrive."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import duckdb
import pyarrow as pa
import pytest
from distilling import distilling, indexes, right, rows, traces
from fake_server import NAME, FakeServer
from hypothesis import example, given
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


@given(st.data())
@example(None)
def test_exactly_the_shortest_prefix_with_enough_accepted_is_drawn(data: st.DataObject | None) -> None:
    if data is None:
        return
    n, enough = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    only_right = data.draw(st.booleans())
    sample = RIGHT_ONLY if only_right else ANY
    comes = {id_: data.draw(st.lists(sample, min_size=n, max_size=n)) for id_ in "abc"}
    before = {id_: data.draw(st.sets(st.integers(0, n - 1))) for id_ in "abc"}
    desk = drawn(comes, before, n, enough, only_right)
    for id_, found in comes.items():
        assert desk.stored[id_] == before[id_] | {*range(shortest(found, enough))}
