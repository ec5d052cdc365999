"""What a changed rule says of the rows of a published dataset, and who stays of duplicates under other rules.

A row's outcome is a number at its place in the file (frozen.py). A rule over counts is evaluated once for every combination
of the values that it reads, with every way the missing samples may go: combinations are few, rows are millions.
"""

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curation import preferred, rules, sql
from curation.duck import arrow, literal, quoted
from curation.rules import Measured, Rule

Codes = NDArray[np.uint8]
"""A small number a row, in the order of the file."""

PASS, UNMEASURED, FAIL, UNKNOWN = range(4)
"""A rule's outcome."""
CODES = {"pass": PASS, "unmeasured": UNMEASURED, "fail": FAIL, "unknown": UNKNOWN}
IN, UNDECIDED, OUT = range(3)
"""What is known of a row: the largest of its outcomes, an unknown one being as good as failed."""
AT = "__at"
"""A row's place in the file."""


def column(con: duckdb.DuckDBPyConnection, value: str) -> pa.ChunkedArray:
    """SQL for a value, of every row in the order of the file, which DuckDB keeps (preserve_insertion_order)."""
    return arrow(con, f"select ({value}) as value from rows")["value"]


def codes(con: duckdb.DuckDBPyConnection, value: str) -> Codes:
    """SQL for a small number, of every row in the order of the file."""
    found = column(con, f"({value})::utinyint")
    assert not found.null_count, f"{value} is NULL"
    return np.asarray(found.to_numpy())


class Again:
    """Evaluates rules over `rows`, a view of decisions with the place of each."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, schema: pa.Schema, measured: Sequence[Measured], sources: Sequence[str]
    ) -> None:
        self.con, self.schema, self.measured, self.sources = con, schema, measured, sources
        self._ways: dict[tuple[str, ...], _Ways] = {}
        self._tables = 0

    def outcomes(self, rule: Rule, same: bool, relation: str = "rows") -> Codes:
        """The outcomes of a rule over a relation that has the rows in any order.

        same: whether the run had it too.
        """
        names = sql.columns_of(rule.expression)
        measured = [f"list_contains(measured, {literal(key)})" for key in rule.reads]
        if rule.uses_duplicate:
            # Open where it waits for one that may yet stay.
            measured.append("duplicate is not null")
        sampled = [a for a in self.measured if a.key in rule.reads and a.counts()]
        # Where all samples are there, or nothing can grade one, no sample would change that a rule has no value.
        final = [f"({quoted(a.prefix + 'used')} >= {a.samples} or verifier is null)" for a in sampled]
        flags = {"__measured": " and ".join(measured) or "true", "__final": " and ".join(final) or "true"}
        if same:
            # What the run could not find out it is not asked again: its server refused the problem, for instance.
            flags["__unknown"] = f"{quoted(rules.OUTCOME_PREFIX + rule.name)} = 'unknown'"
            code = _code(may_be_unknown=True)
        else:
            # What tells of the samples drawn (`truncated`) speaks for a run under this rule when all are: it draws them all.
            described = [a for a in self.measured if a.of] + sampled
            drawn = {name.lower() for a in described for name in {*a.columns.names} - a.counts().keys()}
            code = _code(of_all=bool(names & drawn))
        counts = {name for annotator in self.measured for name in annotator.counts()}
        if not names & counts:
            flagged = ", ".join(f"{flag} as {name}" for name, flag in flags.items())
            inner = rules.tried(rule.expression)
            found = arrow(
                self.con,
                f"""select {AT}, {code} as outcome
                from (select {AT}, {inner} as value, false as hopeless, {flagged} from {relation})""",
            )
            outcome = np.empty(found.num_rows, np.uint8)
            outcome[found[AT].to_numpy()] = found["outcome"].to_numpy()
            return outcome
        known = {*map(str.lower, self.schema.names), *rules.DECIDED.names}
        values = {quoted(name): quoted(name) for name in sorted(names & known)} | flags
        for annotator in self.measured:
            if annotator.counts().keys() & names:
                # What was counted says how the rest could go; the rate of what was drawn says nothing of all n.
                values |= {quoted(name): "null::double" for name in annotator.counts()}
                values |= {name: name for name in (quoted(annotator.prefix + count) for count in ("passes", "fails"))}
        read = (relation, *(f"{value} as {name}" for name, value in values.items()))
        if rule.uses_duplicate or read not in self._ways:
            self._tables += 1
            self._ways[read] = _Ways(self.con, f"ways_{self._tables}", relation, values)
        return self._ways[read].outcomes(rule, self.measured, code)

    def duplicates(self, state: Codes, after: int) -> str:
        """SQL for the rows with what is decided of duplicates here, in place of what the run decided.

        state: what is known of each row at this place, when `after` annotators have run. The greedy pass looks at rows
        whose text is another's too, or near another's; the rest stay.
        """
        near = "near_texts" in self.schema.names
        texts = column(self.con, "hash(same_text)")
        has_text = np.asarray(codes(self.con, "(same_text is not null)::int"), bool)
        there = has_text & (state != OUT)
        hashes = texts.to_numpy()
        repeated = pc.value_counts(pa.array(hashes[there]))
        several = repeated.filter(pc.greater(repeated.field("counts"), 1)).field("values").to_numpy()
        if near:
            linked = arrow(
                self.con,
                """with links as (select same_text, unnest(near_texts).id as other from rows where len(near_texts) > 0)
                select hash(same_text) as text from links
                union select hash(same_text) from rows semi join links on id = other""",
            )["text"].to_numpy()
            several = np.union1d(several, linked)
        places = np.flatnonzero(has_text & np.isin(hashes, several))
        self.con.register("chosen", pa.table({AT: places, "code": state[places]}))
        wanted = {"id", "same_text", "source", "answer"} | ({"near_texts"} if near else set())
        wanted |= {f"{a.prefix}gold_accepted" for a in self.measured} & {*self.schema.names}
        names = ", ".join(map(quoted, sorted(wanted)))
        self.con.execute(
            f"""create or replace table base as select {AT}, code, {names} from rows join chosen using ({AT});
            create or replace table state as
            select id, case code when {IN} then 'in' when {OUT} then 'out' else 'undecided' end as state from base"""
        )
        self.con.unregister("chosen")
        order = rules.preference(self.measured[:after], self.sources)
        preferred.decide(self.con, ", ".join(order), near)
        found = arrow(self.con, f"select {AT}, duplicate, duplicate_of from base join {preferred.TABLE} using (id)")
        alone = there.copy()
        alone[places] = False
        self.con.register("alone", pa.table({AT: np.flatnonzero(alone)}))
        self.con.register("several", found)
        self.con.execute(
            f"""create or replace table duplicates as
            from (select {AT}, false as duplicate, null::varchar as duplicate_of from alone union all from several)
            right join (select {AT} from rows) using ({AT})"""
        )
        self.con.unregister("alone")
        self.con.unregister("several")
        decided = ", ".join(name for name in rules.DECIDED.names if name in self.schema.names)
        return f"(from (select *{f' exclude ({decided})' if decided else ''} from rows) join duplicates using ({AT}))"


class _Ways:
    """The combinations of some values that rows have, and which one each row has."""

    def __init__(self, con: duckdb.DuckDBPyConnection, table: str, relation: str, values: Mapping[str, str]) -> None:
        """table: what the combinations are to be called. values: SQL by name, over the relation."""
        self.con, self.table = con, table
        named = f"(select {AT}, {', '.join(f'{value} as {name}' for name, value in values.items())} from {relation})"
        con.execute(
            f"""create or replace table {self.table} as select row_number() over () - 1 as way, *
            from (select distinct {", ".join(values)} from {named})"""
        )
        same = " and ".join(f"r.{name} is not distinct from w.{name}" for name in values)
        found = arrow(con, f"select {AT}, way from {named} as r join {self.table} as w on {same}")
        self.of = np.empty(found.num_rows, np.int32)
        """The combination of each row."""
        self.of[found[AT].to_numpy()] = found["way"].to_numpy()

    def outcomes(self, rule: Rule, measured: Sequence[Measured], code: str) -> Codes:
        """The outcomes of a rule. code: SQL for one."""
        value = rules.value(rule.expression, self.table, "way", measured)
        found = arrow(
            self.con,
            f"select {code} as outcome from {self.table} join ({value}) using (way) order by way",
        )
        outcomes: Codes = found["outcome"].to_numpy()
        return outcomes[self.of]


def _code(may_be_unknown: bool = False, of_all: bool = False) -> str:
    """SQL for a rule's outcome from its value and what is known of the row.

    of_all: whether it has one only where all samples are there.
    """
    unknown = "coalesce(__measured and (__final or hopeless), false)"
    unknown += " or coalesce(__unknown, false)" if may_be_unknown else ""
    open_ = f"when __final is not true then {UNMEASURED}" if of_all else ""
    return f"""(case {open_} when value then {PASS} when not value then {FAIL}
                     when {unknown} then {UNKNOWN} else {UNMEASURED} end)::utinyint"""
