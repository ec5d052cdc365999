"""Preference pairs: of two traces of the same problem the one to prefer, and why.

    correct_wrong   a correct trace against a wrong one
    long2short      the shortest correct trace against wrong ones that are longer, and against correct ones at least
                    `longer` times as long (Kimi k1.5, 2501.12599, section 2.4)

What may be chosen and what rejected is decided by rules of their own. A trace may stand in several pairs; no pair is made
twice. Traces of one problem with the same text count as one, and where the verdicts on that text differ it is in no pair: so
a text is never preferred to itself. Which pairs are made is by hash(seed, problem, sample index), never by the order of rows.

Wrong traces are often the longer ones (they were cut off, or went astray), and a student may learn the length from such
pairs in place of the error (Park et al. 2024, 2403.19159). `lengths: nearest` pairs traces of like length; the record tells
the mean lengths of both sides in any case.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import duckdb
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from distill.selecting.targets import hashed

PAIRS = "pairs"
"""The table that `pairs` makes."""
COLUMNS = ("problem_id", "split", "chosen", "rejected", "kind", "reason", "chosen_tokens", "rejected_tokens")
"""Its columns. chosen, rejected: rollouts; their lengths are in trained tokens of the student."""

Kind = Literal["correct_wrong", "long2short"]


class Pairs(BaseModel):
    """Which preference pairs are made of a problem's traces."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kinds: tuple[Kind, ...] = ("correct_wrong",)
    """correct_wrong: correct against wrong. long2short: the shortest correct against longer ones. A pair that is both is
    made once, as correct_wrong."""
    k: int | None = Field(default=4, ge=1, strict=True)
    """The most pairs of each kind that are made of a problem; null for all."""
    lengths: Literal["any", "nearest"] = "any"
    """Of correct_wrong. any: a problem's traces are used as evenly as can be. nearest: a correct trace is paired with the
    wrong one nearest to it in length, so that length tells less which of two is right."""
    longer: float | None = Field(default=None, gt=1, allow_inf_nan=False)
    """Of long2short: how many times as long as the shortest a correct trace has to be to be rejected; 1.5 unless given."""

    @field_validator("kinds")
    @classmethod
    def _some(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        if not kinds or len({*kinds}) < len(kinds):
            raise ValueError("names no kind, or one twice; give correct_wrong, long2short or both")
        return kinds

    @model_validator(mode="after")
    def _together(self) -> "Pairs":
        if self.longer is not None and "long2short" not in self.kinds:
            raise ValueError("longer is a setting of long2short, which `kinds` does not name")
        if self.lengths != "any" and "correct_wrong" not in self.kinds:
            raise ValueError("lengths is a setting of correct_wrong, which `kinds` does not name")
        return self

    @property
    def times(self) -> float:
        """`longer` as it holds."""
        return 1.5 if self.longer is None else self.longer


@dataclass(frozen=True)
class Paired:
    """What pairing came to."""

    settings: dict[str, Any]
    problems: int
    """Problems with traces."""
    paired: int
    """Of these the ones with a pair."""
    unpaired: dict[str, int]
    """Problems without one, by what they lack."""
    kinds: dict[str, dict[str, float]]
    """By kind `pairs`, `problems`, mean `chosen_tokens` and `rejected_tokens`, and `rejected_longer`: the share of pairs
    whose rejected side is the longer one. At .5 the length says nothing of which is preferred."""
    rejected: dict[str, int]
    """Pairs whose rejected side is `wrong`, and `correct`."""

    def record(self) -> dict[str, Any]:
        """As the manifest has it."""
        return asdict(self)


def pairs(con: duckdb.DuckDBPyConnection, traces: str, settings: Pairs, seed: int) -> Paired:
    """Makes the table `pairs` (COLUMNS) of traces.

    traces: a table or view with `rollout` (no two alike), `problem_id`, `split`, `correct` (NULL: unknown, in no pair),
    `trained_tokens`, `text_digest` (equal for equal texts), and `chosen_ok` and `rejected_ok`: whether the rules let it be
    chosen, or rejected.
    """
    con.execute(
        f"""create or replace temp table pair_sides as
        select problem_id, sample_index, split, rollout, correct, trained_tokens as tokens, {hashed(seed, "pair")} as random,
            correct and coalesce(chosen_ok, false) as chosen_ok, coalesce(rejected_ok, false) as rejected_ok
        from {traces} where correct is not null and trained_tokens is not null
        window same as (partition by problem_id, coalesce(text_digest, rollout))
        qualify bool_and(correct) over same = bool_or(correct) over same and row_number() over (same order by
            coalesce(chosen_ok, false)::int + coalesce(rejected_ok, false)::int desc, random, rollout) = 1"""
    )
    con.execute(
        f"""create or replace table {PAIRS} (problem_id varchar, split varchar, chosen varchar, rejected varchar,
            kind varchar, reason varchar, chosen_tokens bigint, rejected_tokens bigint)"""
    )
    if "correct_wrong" in settings.kinds:
        con.execute(f"insert into {PAIRS} {_nearest(settings) if settings.lengths == 'nearest' else _even(settings)}")
    if "long2short" in settings.kinds:
        con.execute(f"insert into {PAIRS} {_long2short(settings)}")
    paired = _told(con, traces, settings)
    con.execute("drop table pair_sides")
    return paired


_NUMBERED = """
    with correct as (
        select *, row_number() over (partition by problem_id order by random, rollout) - 1 as number,
            count(*) over (partition by problem_id) as count
        from pair_sides where chosen_ok
    ), wrong as (
        select *, row_number() over (partition by problem_id order by random, rollout) - 1 as number,
            count(*) over (partition by problem_id) as count
        from pair_sides where not correct and rejected_ok
    )"""
_ROW = """c.problem_id, c.split, c.rollout as chosen, w.rollout as rejected, 'correct_wrong' as kind, 'wrong' as reason,
        c.tokens as chosen_tokens, w.tokens as rejected_tokens"""


def _even(settings: Pairs) -> str:
    """SQL for pairs in which every correct and every wrong trace of a problem stands as often, give or take one.

    Pair t is of the correct trace t mod c and the wrong one t mod w, moved by one whenever that would come round: after
    the least common multiple of c and w. So all c * w pairs come once.
    """
    most = "c.count * w.count" if settings.k is None else f"least({settings.k}, c.count * w.count)"
    return f"""{_NUMBERED}, drawn as (
        select problem_id, c.count as correct, w.count as wrong, unnest(range({most})) as t
        from (select problem_id, count from correct where number = 0) as c
        join (select problem_id, count from wrong where number = 0) as w using (problem_id)
    )
    select {_ROW}
    from drawn join correct as c on c.problem_id = drawn.problem_id and c.number = t % drawn.correct
    join wrong as w on w.problem_id = drawn.problem_id
        and w.number = (t + t // lcm(drawn.correct, drawn.wrong)) % drawn.wrong"""


def _nearest(settings: Pairs) -> str:
    """SQL for pairs of correct traces with the wrong one nearest in length, then with the second nearest, and so on."""
    few, most = "", ""
    if settings.k is not None:
        # More correct ones than pairs are asked for make no pair; so the join stays small.
        few, most = f"where c.number < {settings.k}", f"where place <= {settings.k}"
    return f"""{_NUMBERED}, beside as (
        select {_ROW}, c.number, row_number() over (partition by c.rollout
            order by abs(c.tokens - w.tokens), w.random, w.rollout) as nearness
        from correct as c join wrong as w using (problem_id) {few}
    )
    select {", ".join(COLUMNS)}
    from (select *, row_number() over (partition by problem_id order by nearness, number) as place from beside) {most}"""


def _long2short(settings: Pairs) -> str:
    """SQL for pairs of the shortest correct trace with longer ones, those left out that `pairs` has."""
    most = "" if settings.k is None else f"where place <= {settings.k}"
    times = "format('{:.1f} times as long', l.tokens / s.tokens)"
    return f"""
    with shortest as (
        select * from pair_sides where chosen_ok and tokens > 0
        qualify row_number() over (partition by problem_id order by tokens, random, rollout) = 1
    ), longer as (
        select s.problem_id, s.split, s.rollout as chosen, l.rollout as rejected, 'long2short' as kind,
            case when l.correct then {times} else 'wrong and longer' end as reason,
            s.tokens as chosen_tokens, l.tokens as rejected_tokens, l.random
        from shortest as s join pair_sides as l on l.problem_id = s.problem_id and l.rejected_ok
            and l.tokens > s.tokens and (not l.correct or l.tokens >= {settings.times!r} * s.tokens)
    )
    select {", ".join(COLUMNS)}
    from (select *, row_number() over (partition by problem_id order by random, rejected) as place
          from longer anti join {PAIRS} using (chosen, rejected)) {most}"""


def _told(con: duckdb.DuckDBPyConnection, traces: str, settings: Pairs) -> Paired:
    only_wrong = settings.kinds == ("correct_wrong",)
    lacks = (
        ("no trace that may be chosen", "not coalesce(bool_or(chosen_ok), false)"),
        (
            f"no {'wrong ' if only_wrong else ''}trace that may be rejected",
            f"not coalesce(bool_or(rejected_ok{' and not correct' if only_wrong else ''}), false)",
        ),
        ("no two that differ as asked", "true"),
    )
    cases = " ".join(f"when {condition} then '{name}'" for name, condition in lacks)
    unpaired = dict(
        con.execute(
            f"""select lack, count(*) from (
                select case {cases} end as lack
                from (select distinct problem_id from {traces}) anti join {PAIRS} using (problem_id)
                left join pair_sides using (problem_id) group by problem_id) group by 1"""
        ).fetchall()
    )
    kinds = con.execute(
        f"""select kind, count(*) as pairs, count(distinct problem_id) as problems,
            round(avg(chosen_tokens), 1), round(avg(rejected_tokens), 1),
            round((count_if(rejected_tokens > chosen_tokens) + count_if(rejected_tokens = chosen_tokens) / 2) / count(*), 4)
        from {PAIRS} group by 1"""
    ).fetchall()
    names = ("pairs", "problems", "chosen_tokens", "rejected_tokens", "rejected_longer")
    by_kind = {kind: dict(zip(names, figures, strict=True)) for kind, *figures in kinds}
    ((problems, paired),) = con.execute(
        f"""select (select count(distinct problem_id) from {traces}), (select count(distinct problem_id) from {PAIRS})"""
    ).fetchall()
    of = dict(
        con.execute(
            f"""select if(correct, 'correct', 'wrong'), count(*)
            from {PAIRS} join pair_sides as side on side.rollout = rejected group by 1"""
        ).fetchall()
    )
    return Paired(
        settings=settings.model_dump(mode="json", exclude_unset=True),
        problems=problems,
        paired=paired,
        unpaired={name: unpaired[name] for name, _ in lacks if name in unpaired},
        kinds={kind: by_kind.get(kind, dict.fromkeys(names, 0)) for kind in settings.kinds},
        rejected={name: of.get(name, 0) for name in ("wrong", "correct")},
    )
