"""A set's own rules: which traces it keeps, and which rule drops each of the others.

A rule is a SQL condition over the columns of a trace and of its problem (traced.py), as a recipe's `keep` is over those of a
problem: a trace stays when all are true, unknown is not true, and none is ever measured again for another threshold. Rules
that a set names come over the DEFAULT ones, by name; `null` switches one off.
"""

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from curation import sql
from curation.duck import literal, quoted
from curation.rules import OUTCOME_PREFIX, tried

DEFAULT = {
    "right": "correct",
    "whole": "not cut_off",
    "well_formed": "well_formed",
    "fluent": "not repetitive",
    "reasoned": "not guesswork",
    "consistent": "contradictory is not true",
    "one_language": "mixed_language is not true",
    "answers": "not (refusal or identity)",
}
"""What Qwen3's response filter and R1's cold start drop (papers.md), by name. What cannot be told of most traces (the thinking
names no answer, there is no word to tell a language by) does not drop one."""
CLEAN = "not {prefix}contaminated and not trace_contaminated"
"""The rule `clean`, where benchmarks are looked for: neither the problem nor the trace holds an item."""
SAME = "same_text"
"""The name of what drops a trace that says what one before it, of the same problem, says word for word."""
SAYS = "no trace before it says the same"
ENOUGH = "enough"
"""The name of what drops a trace beyond those that were enough."""
MOST_SHOWN = 5


class RuleMistake(ValueError):
    """A rule that cannot be evaluated."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


def rules_of(
    changes: Mapping[str, str | None], prefix: str | None, default: Mapping[str, str] = DEFAULT
) -> dict[str, str]:
    """The rules of a set: the default ones with its own changes.

    prefix: of the columns that say whether a problem is contaminated; None where no benchmark is looked for.
    """
    clean = {} if prefix is None else {"clean": CLEAN.format(prefix=prefix)}
    rules = dict(default) | clean | dict(changes)
    return {name: rule for name, rule in rules.items() if rule is not None}


def check(rules: Mapping[str, str], columns: pa.Schema) -> None:
    """Raises RuleMistake for one that is no condition over these columns."""
    for name, rule in rules.items():
        try:
            sql.check(rule, columns, boolean=True)
        except sql.ExpressionError as error:
            raise RuleMistake(name, f"{sql.short(rule)!r} {error}") from error


def only_right(con: duckdb.DuckDBPyConnection, rules: Mapping[str, str], columns: pa.Schema) -> bool:
    """Whether no trace is kept that is wrong, or not known to be right: whether some rule says so, whatever else holds."""
    names = sql.columns_of
    for rule in rules.values():
        if names(rule) == {"correct"}:
            values = con.execute(
                f"select list({tried(rule)} is true) from (values (false), (null::boolean)) as t(correct)"
            ).fetchall()[0][0]
            if not any(values):
                return True
    return False


def decide(
    con: duckdb.DuckDBPyConnection, rules: Mapping[str, str], columns: pa.Schema, enough: int | None, into: str
) -> None:
    """Makes the table `into` of the table `traced`: its columns, `rule_<name>` of every rule, `dropped_by`, `used`.

    Of traces of a problem with the same text the first that the rules keep stays.

    enough: accepted traces of a problem, by sample index, behind which the others do not count (`used` false).
    """
    wanted = {name for rule in rules.values() for name in sql.columns_of(rule)}
    own = {field.name for field in columns}
    there = [row[0] for row in con.execute("select column_name from (describe decisions)").fetchall()]
    joined = "".join(f", d.{quoted(name)}" for name in there if name.lower() in wanted and name not in own)
    values = "".join(f", {tried(rule)} as {quoted(OUTCOME_PREFIX + name)}" for name, rule in rules.items())
    outcomes = "".join(
        f", case when {column} then 'pass' when not {column} then 'fail' else 'unknown' end as {column}"
        for column in (quoted(OUTCOME_PREFIX + name) for name in rules)
    )
    cases = "".join(f" when {quoted(OUTCOME_PREFIX + name)} <> 'pass' then {literal(name)}" for name in rules)
    first = f"case{cases} end" if cases else "null::varchar"
    before = "rows between unbounded preceding and 1 preceding"
    reached = (
        "true"
        if enough is None
        else f"coalesce(sum((dropped is null)::int) over (partition by problem_id order by sample_index {before}), 0) < {enough}"
    )
    con.execute(
        f"""create or replace table {quoted(into)} as
        with valued as (
            select rollout{values} from (select traced.*{joined} from traced join decisions as d on d.id = traced.problem_id)
        ), said as (select rollout{outcomes} from valued
        ), judged as (select traced.*, said.* exclude (rollout), {first} as fallen from traced join said using (rollout)
        ), compared as (
            select * exclude (fallen), fallen is null and text_digest is not null and row_number() over (
                partition by problem_id, text_digest, fallen is null order by sample_index) > 1 as again,
                coalesce(fallen, case when again then {literal(SAME)} end) as dropped from judged
        ), counted as (select *, {reached} as used from compared)
        select * exclude (dropped, again),
            case when dropped is null then 'pass' when again then 'fail' end as {quoted(OUTCOME_PREFIX + SAME)},
            case when not used then {literal(ENOUGH)} else dropped end as dropped_by from counted"""
    )


def funnel(con: duckdb.DuckDBPyConnection, table: str, rules: Mapping[str, str]) -> list[dict[str, Any]]:
    """One entry a rule, in order: traces that reached it, and how many pass, fail and are unknown."""
    found = []
    alive = "used"
    for name, rule in {**rules, SAME: SAYS}.items():
        column = quoted(OUTCOME_PREFIX + name)
        counts = dict(
            con.execute(f"select {column}, count(*) from {quoted(table)} where {alive} group by 1").fetchall()
        )
        found.append(
            {"rule": name, "condition": rule, "entered": sum(counts.values())}
            | {outcome: counts.get(outcome, 0) for outcome in ("pass", "fail", "unknown")}
        )
        alive += f" and {column} = 'pass'"
    return found
