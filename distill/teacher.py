"""Traces drawn from a model: N candidates a problem, or as many as it takes to have k that are accepted.

A teacher is a model like any other, and a trace a rollout: it is drawn, graded, continued, budgeted and resumed by the same
code, and shared by whatever draws with equal settings. The student itself may be the teacher (Qwen3, 4.3), and problems
without a verifier are drawn, too: what rules cannot verify is unknown, and a set's own rules say whether that will do.

*By index, never by arrival.* Short traces arrive first and are more often right, so "the first k accepted" are those with the
smallest sample indexes: a problem is finished at the shortest run of indexes from 0 that holds k of them. What was drawn
beyond it, by another set, or before a rule changed, does not count for a set that stops there.

A trace is accepted when a set's rules keep it, which is known only once it is drawn and measured, so drawing goes in
rounds: first until k are right (where the rules let nothing wrong pass), then as many more as others of these fell to
another rule. No round can go beyond the index where k are accepted, as what is accepted is right.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from curation.annotate import Work
from curation.grading import grade_missing
from curation.model import Model
from curation.outcomes import ERROR, Outcomes
from curation.prompt import Prompt
from curation.sampled import Sampled
from curation.settling import never
from curation.standing import Group

AIMS = "aims"
"""Table: id and pattern, when the problem's drawing stops (settling.py)."""


class Progressed(NamedTuple):
    """How far a problem is."""

    used: int
    """Samples before the first that is not drawn, or up to the one with which enough were accepted."""
    right: int
    """Those of them that are correct."""
    accepted: int
    """Those of them that the set's rules keep."""


class Teacher(Sampled):
    """Draws up to n traces of a problem from a model."""

    NAME: ClassVar[str] = "traces"
    COLUMNS: ClassVar[pa.Schema] = pa.schema([])
    UNIT: ClassVar[str] = "traces"
    SAMPLED: ClassVar[str] = "true"
    WHEN_CUT_OFF: ClassVar[str] = "raise it (cut-off traces are continued, not drawn again), or set a thinking_budget"

    elsewhere: bool = False
    """Its traces were drawn elsewhere and brought by `cuvee import`: what is there is graded, nothing is drawn."""

    def prompt_of(self, model: Model, changes: Mapping[str, Any]) -> Prompt:
        """What these traces say of their prompt comes before what a source says: it is how they are to be written."""
        return model.prompt.merged({**changes, **self.prompt})

    def patterns(self, work: Work) -> str:
        return f"(from {AIMS} semi join wanted using (id))"

    def aim_at_all(self, work: Work) -> None:
        """Has all n traces of the problems in `wanted` count as missing."""
        _aim(work, dict.fromkeys(_wanted(work), never(self.n)))

    def failed(self, groups: list[Group], outcomes: Outcomes) -> int:
        """Traces of problems without a verifier have no verdict, and none is missing."""
        verifiers = (verifier for group in groups for verifier in group.problems["verifier"].to_pylist())
        return sum(outcomes.code(ERROR, at, self.n) for at, verifier in enumerate(verifiers) if verifier is not None)

    def collect(
        self,
        work: Work,
        name: str,
        enough: int | None,
        only_right: bool,
        progressed: Callable[[list[Group]], Mapping[str, Progressed]],
    ) -> list[Group]:
        """Draws what is missing for the problems in `wanted`; gives these by the rollouts they belong to.

        enough: accepted traces after which no more are drawn; None draws all n.
        only_right: whether the set's rules keep nothing that is wrong, or not known to be right.
        progressed: measures what is there and decides; by problem id.
        """
        everything = _wanted(work)
        self.aim_at_all(work)
        if self.elsewhere:
            groups = self.groups(work)
            grade_missing(work, name, groups, self.standing(work, groups, work.retry_errors))
            return groups
        if enough is None or enough >= self.n:
            self._round(work, name, self.n)
        elif only_right:
            self._until_right(work, name, everything, enough, progressed)
        else:
            self._until_drawn(work, name, everything, enough, progressed)
        _want(work, everything)
        _aim(work, dict.fromkeys(everything, never(self.n)))
        return self.groups(work)

    def _until_right(
        self,
        work: Work,
        name: str,
        everything: list[str],
        enough: int,
        progressed: Callable[[list[Group]], Mapping[str, Progressed]],
    ) -> None:
        aims = dict.fromkeys(everything, enough)
        while aims:
            _want(work, [*aims])
            _aim(work, {id_: self._right(aim) for id_, aim in aims.items()})
            self._round(work, name, self.n)
            _aim(work, dict.fromkeys(aims, never(self.n)))
            found = progressed(self.groups(work))
            more = {}
            for id_, aim in aims.items():
                state = found.get(id_)
                if state is None or state.accepted >= enough:
                    continue
                wanted = enough + state.right - state.accepted
                # What a server refused, or a grader failed at, brings no round further.
                if state.used < self.n and wanted > aim:
                    more[id_] = wanted
            aims = more

    def _until_drawn(
        self,
        work: Work,
        name: str,
        everything: list[str],
        enough: int,
        progressed: Callable[[list[Group]], Mapping[str, Progressed]],
    ) -> None:
        lengths = dict.fromkeys(everything, enough)
        while lengths:
            for length in sorted({*lengths.values()}):
                some = [id_ for id_, wanted in lengths.items() if wanted == length]
                _want(work, some)
                _aim(work, dict.fromkeys(some, never(length)))
                self._round(work, name, length)
            _want(work, [*lengths])
            _aim(work, dict.fromkeys(lengths, never(self.n)))
            found = progressed(self.groups(work))
            more = {}
            for id_, length in lengths.items():
                state = found.get(id_)
                # Other sets may have drawn more already; where less is there, the server refused.
                if state is not None and state.accepted < enough and length <= state.used < self.n:
                    more[id_] = min(self.n, state.used + enough - state.accepted)
            lengths = more

    def _right(self, aim: int) -> str:
        """The pattern that `aim` correct samples settle, and else all n: fewer than that are never given up on."""
        return "".join(chr(0x100 + min(k, aim)) for k in range(self.n + 1))

    def _round(self, work: Work, name: str, n: int) -> None:
        """Draws the first n samples of the wanted problems, as far as their aims need them."""
        before = work.drawn.pop(name, {})
        once = self if n == self.n else self.model_copy(update={"n": n})
        try:
            once.draw(work, name, once.groups(work))
        finally:
            now = work.drawn.get(name, {})
            if before or now:
                both = {key: before.get(key, 0) + now.get(key, 0) for key in {**before, **now}}
                # What a round lacks the one before lacked, too.
                most = max(before.get("missing", 0), now.get("missing", 0), both.get("drawn", 0))
                work.drawn[name] = both | {"missing": most}


def _wanted(work: Work) -> list[str]:
    return [id_ for (id_,) in work.con.execute("select id from wanted").fetchall()]


def _want(work: Work, ids: list[str]) -> None:
    work.con.register("ids", pa.table({"id": pa.array(ids, pa.string())}))
    work.con.execute("create or replace table wanted as from ids")
    work.con.unregister("ids")


def _aim(work: Work, patterns: Mapping[str, str]) -> None:
    rows = pa.table({"id": pa.array(patterns, pa.string()), "pattern": pa.array(patterns.values(), pa.string())})
    work.con.register("rows", rows)
    work.con.execute(f"create or replace table {AIMS} as from rows")
    work.con.unregister("rows")
