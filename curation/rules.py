"""Rules: from columns to decisions.

A rule is a named SQL condition over the columns of one row; a problem stays when every rule is true. Deciding is cheap
and measuring is dear, so a rule never measures: it reads what annotators have added, and can be changed and run again
(`cuvee sweep`) without a model.

The outcome of a rule is
    pass        true
    fail        false
    unknown     NULL although everything it reads was measured: a measurement failed. Never lets a row through
    unmeasured  NULL because a rule above dropped the row before it was measured, or, in a sweep (frozen.py), because the
                samples that were drawn settled another rule and not this one

`passes`, `fails` and `pass_rate` (= passes/n) of a pass-rate annotator speak of *all n samples*. A sample that is not
drawn, or that ended in error, could be either: the rule is evaluated for every way the rest could go, and is NULL unless
all of them agree. So a rule never depends on how many samples happened to be drawn.

`duplicate` is decided here, not measured: at the place of the rule that uses it, rows that pass every rule above are
taken in order of preference (gold accepted, order of sources, longer answer, id), and a row is a duplicate when it equals
or is near one that is kept before it, `duplicate_of` (preferred.py). A cluster never vanishes because its favourite fell to
another rule.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from curation import preferred, problem, sql
from curation.duck import arrow, literal, quoted

DECIDED = pa.schema([field for field in preferred.SCHEMA if field.name != "id"])
"""Columns of who stays of duplicates."""
OUTCOME_PREFIX = "rule_"
OWN_COLUMNS = (*DECIDED.names, "measured", "kept", "dropped_by", "split")
"""Columns of the decisions that neither a problem nor an annotator has, with one of each rule's outcome."""
OUTCOMES = ("pass", "fail", "unknown", "unmeasured")


class RuleError(ValueError):
    """A rule cannot be used."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True)
class Measured:
    """What one annotator of the recipe adds, as rules see it."""

    key: str
    """Its key in the recipe."""
    columns: pa.Schema
    """Its columns, by the names they have here."""
    prefix: str = ""
    """What stands before its own names: `full_` makes full_passes of passes."""
    samples: int | None = None
    """n of a pass-rate annotator, whose counts speak of all n samples."""
    decides_duplicates: bool = False
    of: tuple[str, ...] = ()
    """Keys of the annotators whose samples its columns describe: a rule over them reads these, too, and all n samples."""

    def counts(self) -> dict[str, str]:
        """SQL for its count columns when `k` of all n samples pass, by column name."""
        if self.samples is None or f"{self.prefix}passes" not in self.columns.names:
            return {}
        k, n = quoted(f"{self.prefix}__k"), self.samples
        return {
            f"{self.prefix}passes": k,
            f"{self.prefix}fails": f"{n} - {k}",
            f"{self.prefix}pass_rate": f"{k} / {n}::double",
        }


@dataclass(frozen=True)
class Rule:
    """A rule at its place."""

    name: str
    expression: str
    after: int
    """How many annotators have run when it is applied."""
    reads: tuple[str, ...]
    """Keys of the annotators whose columns it reads."""
    uses_duplicate: bool = False


def place(keep: Mapping[str, str], annotators: Sequence[Measured]) -> list[Rule]:
    """Rules in the order they are applied: each after the first annotator with which it binds, else as listed.

    Raises RuleError for a rule that binds with no column at hand, naming the nearest.
    """
    rules = [_placed(name, expression, annotators) for name, expression in keep.items()]
    return sorted(rules, key=lambda rule: rule.after)


def condition(name: str, expression: str, annotators: Sequence[Measured]) -> Rule:
    """A condition of an annotator over what these measure above it. It drops nothing, and is else read as rules are."""
    rule = _placed(name, expression, annotators)
    if rule.uses_duplicate:
        raise RuleError(name, "reads `duplicate`, which only rules decide; cluster_size tells what has duplicates")
    return rule


def _placed(name: str, expression: str, annotators: Sequence[Measured]) -> Rule:
    everything = schema_after(annotators)
    try:
        sql.check(expression, everything, boolean=True)
        names = sql.columns_of(expression)
    except sql.ExpressionError as error:
        raise RuleError(name, str(error)) from error
    after = 0
    reads = []
    for number, annotator in enumerate(annotators, start=1):
        own = {column.lower() for column in annotator.columns.names}
        if annotator.decides_duplicates:
            own |= {*DECIDED.names}
        if own & names:
            after = number
            reads += [annotator.key, *annotator.of]
    return Rule(name, expression, after, tuple(dict.fromkeys(reads)), bool(names & {*DECIDED.names}))


def schema_after(annotators: Iterable[Measured]) -> pa.Schema:
    """Every column a rule may name once these annotators have run."""
    fields = list(problem.SCHEMA)
    for annotator in annotators:
        fields += list(annotator.columns)
        if annotator.decides_duplicates:
            fields += list(DECIDED)
    return pa.schema(fields)


class Decisions:
    """Rows, their columns and the outcome of every rule so far, as tables of one DuckDB connection.

    `frame` is a view: problem columns, measured columns, and `measured`, the keys of the annotators that measured the
    row. `state` is a table: id and state, which is `in` (every rule so far passed), `out` (one failed or is unknown) or
    `undecided` (none failed, one is unmeasured).
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, problems: str, sources: Sequence[str]) -> None:
        """problems: SQL for the problems. sources: names of the sources, the preferred ones first."""
        self.con, self.problems, self.sources = con, problems, list(sources)
        self.measured: list[Measured] = []
        self.rules: list[Rule] = []
        self._duplicates = False
        self._view()
        con.execute("create or replace table state as select id, 'in' as state from frame")

    @property
    def source_order(self) -> str:
        """SQL for the place of a row's source in the recipe."""
        return source_order(self.sources)

    def wanted(self, everything: bool = False) -> None:
        """Makes the table `wanted`: ids that no rule has dropped so far (or all)."""
        self.con.execute(f"create or replace table wanted as select id from state where {everything} or state <> 'out'")

    def add(self, annotator: Measured, columns: pa.Table) -> None:
        """Adds what an annotator measured: `id` and its own columns, which get their names here."""
        self.con.register("columns", columns.rename_columns(["id", *annotator.columns.names]))
        self.con.execute(f"create or replace table m_{len(self.measured)} as from columns")
        self.con.unregister("columns")
        self.measured.append(annotator)
        self._view()

    def apply(self, rule: Rule) -> None:
        """Evaluates one rule over all rows and brings `state` up to date."""
        if rule.uses_duplicate:
            self._decide_duplicates()
        value = self._value(rule)
        table = f"o_{len(self.rules)}"
        self.con.execute(
            f"""create or replace table {table} as
            select id, case when value then 'pass' when not value then 'fail'
                       when {self._was_measured(rule)} then 'unknown' else 'unmeasured' end as outcome
            from frame left join ({value}) using (id)"""
        )
        self.con.execute(
            f"""create or replace table state as
            select id, case when state = 'out' or outcome in ('fail', 'unknown') then 'out'
                            when state = 'undecided' or outcome = 'unmeasured' then 'undecided' else 'in' end as state
            from state join {table} using (id)"""
        )
        self.rules.append(rule)

    def choose(self, name: str, description: str, chosen: str) -> None:
        """Drops rows by a choice among all that every rule keeps, as a rule of this name that comes after all others.

        chosen: a table with the `id` of those that stay.
        """
        table = f"o_{len(self.rules)}"
        self.con.execute(
            f"""create or replace table {table} as
            select id, case when state <> 'in' then 'unmeasured' when c.id is not null then 'pass' else 'fail' end as outcome
            from state left join {chosen} as c using (id)"""
        )
        self.con.execute(
            f"""create or replace table state as
            select id, case when outcome = 'fail' then 'out' else state end as state from state join {table} using (id)"""
        )
        self.rules.append(Rule(name, description, len(self.measured), ()))

    def finish(self, holdout: float = 0.0, seed: int = 0) -> None:
        """Makes the view `decisions`: the frame, `rule_<name>` for every rule, kept, dropped_by, split.

        holdout: the share of rows, 0 to 1, that goes to the split `test`, by hash of the cluster: duplicates never
        stand on both sides, and a row stays on its side while its cluster keeps its name.
        """
        outcomes = [
            f"o_{number}.outcome as {quoted(OUTCOME_PREFIX + rule.name)}" for number, rule in enumerate(self.rules)
        ]
        joins = "".join(f" join o_{number} using (id)" for number in range(len(self.rules)))
        cases = "".join(
            f" when o_{number}.outcome <> 'pass' then {literal(rule.name)}" for number, rule in enumerate(self.rules)
        )
        dropped_by = f"case{cases} end" if cases else "null::varchar"
        cluster = "coalesce(cluster, frame.id)" if "cluster" in self._columns() else "frame.id"
        # Identical rows share their id up to `~k`: they stand together also where no duplicates were looked for.
        part = f"md5_number_lower({literal(str(seed))} || ':' || regexp_replace({cluster}, '~[0-9]+$', ''))"
        split = f"case when {part} / 18446744073709551616.0 < {holdout} then 'test' else 'train' end"
        self.con.execute(
            f"""create or replace view decisions as
            select {", ".join(["frame.*", *outcomes])}, state = 'in' as kept, {dropped_by} as dropped_by, {split} as split
            from frame join state using (id){joins}"""
        )

    def funnel(self) -> list[dict[str, Any]]:
        """One entry a rule, in order: rows that reached it (`entered`), and how many of these pass, fail, are unknown."""
        rows = []
        alive = "true"
        for rule in self.rules:
            column = quoted(OUTCOME_PREFIX + rule.name)
            counts = dict(
                self.con.execute(f"select {column}, count(*) from decisions where {alive} group by 1").fetchall()
            )
            rows.append(
                {"rule": rule.name, "condition": rule.expression, "entered": sum(counts.values())}
                | {outcome: counts.get(outcome, 0) for outcome in OUTCOMES}
            )
            alive += f" and {column} = 'pass'"
        return rows

    def ask(self, condition: Rule | None) -> None:
        """Makes the table `asked`: id, and for the rows in `wanted` whether an annotator's condition holds."""
        value = f"({self._value(condition)})" if condition is not None else "(select id, true as value from wanted)"
        self.con.execute(
            f"create or replace table asked as select id, value as asked from wanted join {value} using (id)"
        )

    def patterns(self, annotator: Measured, rules: Iterable[Rule]) -> str | None:
        """When sampling may stop: SQL with id and pattern of the rows in `wanted`, for an annotator that is measured next.

        A pattern has a character for every number of passes among all n samples, equal ones where every rule over
        these counts has the same value (settling.py). None when all n samples have to be drawn: no rule reads the
        counts, or one that does also reads what is not known yet (a later annotator's columns, `duplicate`) or what
        describes the samples drawn (`truncated`, the interval).
        """
        counts = annotator.counts()
        known = self._columns() | counts.keys()
        over = [rule for rule in rules if annotator.key in rule.reads]
        if (
            not counts
            or not over
            or any(rule.uses_duplicate or not sql.columns_of(rule.expression) <= known for rule in over)
        ):
            return None
        same, columns, joins = [], [], []
        for number, rule in enumerate(over):
            names = sql.columns_of(rule.expression)
            if names <= counts.keys():
                one = self._pattern(annotator, rule, "(select 0 as id)")
                same.append(self.con.execute(one).fetchall()[0][1])
            else:
                rows = f"(from {self._every_way(names)} semi join wanted using (id))"
                joins.append(f" join ({self._pattern(annotator, rule, rows)}) as p{number} using (id)")
                columns.append(f"p{number}.pattern as c{number}")
        if not columns:
            return f"(select id, {literal(_joint(same))} as pattern from wanted)"
        found = arrow(self.con, f"select id, {', '.join(columns)} from wanted{''.join(joins)}")
        together = _together(found.columns[1:], same)
        self.con.register("patterns", pa.table({"id": found["id"], "pattern": together}))
        return "(from patterns semi join wanted using (id))"

    # ---- how

    def _pattern(self, annotator: Measured, rule: Rule, rows: str) -> str:
        """SQL giving id and the rule's values for 0 to n passes: T, F, or N where it has none."""
        k = quoted(f"{annotator.prefix}__k")
        counts = ", ".join(f"{value} as {quoted(name)}" for name, value in annotator.counts().items())
        return f"""select id, string_agg(value, '' order by {k}) as pattern from (
                select id, {k}, case when count(value) < count(*) then 'N' when bool_and(value) then 'T'
                                     when not bool_or(value) then 'F' else 'N' end as value
                from (select id, {k}, {tried(rule.expression)} as value from (
                    select *, {counts} from (select *, unnest(range({annotator.samples} + 1)) as {k} from {rows})))
                group by id, {k}) group by id"""

    def _columns(self) -> set[str]:
        return {column.lower() for column in schema_after(self.measured).names}

    def _view(self) -> None:
        columns = [
            f"m_{number}.{quoted(name)}"
            for number, annotator in enumerate(self.measured)
            for name in annotator.columns.names
        ]
        keys = [
            f"case when m_{number}.id is not null then {literal(annotator.key)} end"
            for number, annotator in enumerate(self.measured)
        ]
        measured = f"list_filter([{', '.join(keys)}]::varchar[], lambda key: key is not null)"
        joins = "".join(f" left join m_{number} on m_{number}.id = p.id" for number in range(len(self.measured)))
        self.con.execute(
            f"""create or replace view base as
            select {", ".join(["p.*", *columns, f"{measured} as measured"])} from {self.problems} as p{joins}"""
        )
        duplicate = f" left join {preferred.TABLE} using (id)" if self._duplicates else ""
        self.con.execute(f"create or replace view frame as from base{duplicate}")

    def _was_measured(self, rule: Rule) -> str:
        """SQL: whether everything the rule reads was measured, so that a NULL says that a measurement failed."""
        conditions = [f"list_contains(measured, {literal(key)})" for key in rule.reads]
        if rule.uses_duplicate:
            # Not decided for a row that a rule above dropped.
            conditions.append("duplicate is not null")
        return " and ".join(conditions) or "true"

    def _value(self, rule: Rule) -> str:
        """SQL giving id and the rule's value."""
        return value(rule.expression, "frame", "id", self.measured)

    def _every_way(self, names: Set[str]) -> str:
        return every_way("frame", self.measured, names)

    def _decide_duplicates(self) -> None:
        order = preference(self.measured, self.sources)
        preferred.decide(self.con, ", ".join(order), near="near_texts" in self._columns())
        self._duplicates = True
        self._view()


def source_order(sources: Iterable[str]) -> str:
    """SQL for the place of a row's source among these."""
    return f"list_position([{', '.join(literal(source) for source in sources)}]::varchar[], source)"


def preference(measured: Sequence[Measured], sources: Iterable[str]) -> list[str]:
    """SQL that orders rows: of duplicates the first stays."""
    accepted = [f"{annotator.prefix}gold_accepted" for annotator in measured]
    known = {name for annotator in measured for name in annotator.columns.names}
    order = [f"{quoted(name)} desc nulls last" for name in accepted if name in known]
    return [*order, source_order(sources), "length(answer) desc nulls last", "id"]


def value(expression: str, relation: str, key: str, measured: Iterable[Measured]) -> str:
    """SQL giving key, value and hopeless over a relation that has the columns of `measured`.

    The value is NULL where it is not the same for every way the missing samples may go. `hopeless`: every way is NULL, so
    that no sample would change it.
    """
    ways = every_way(relation, measured, sql.columns_of(expression))
    if ways == relation:
        return f"select {key}, {tried(expression)} as value, false as hopeless from {relation}"
    return f"""select {key}, case when count(value) < count(*) then null
                           when bool_and(value) then true when not bool_or(value) then false end as value,
                   count(value) = 0 as hopeless
               from (select {key}, {tried(expression)} as value from {ways}) group by {key}"""


def every_way(relation: str, measured: Iterable[Measured], names: Set[str]) -> str:
    """SQL for a relation, where counts are among these names with a row for every way the missing samples may go."""
    for annotator in measured:
        counts = annotator.counts()
        if not counts.keys() & names:
            continue
        k, p, f = (quoted(annotator.prefix + name) for name in ("__k", "passes", "fails"))
        ways = f"range(coalesce({p}, 0)::bigint, {annotator.samples} - coalesce({f}, 0)::bigint + 1)"
        replaced = ", ".join(f"{count} as {quoted(name)}" for name, count in counts.items())
        relation = f"(select * replace ({replaced}) from (select *, unnest({ways}) as {k} from {relation}))"
    return relation


def tried(expression: str) -> str:
    """SQL for a rule's value: what cannot be computed for a row (a cast of odd text) is unknown for it, no reason to stop."""
    return f"try((\n{expression}\n))"


def _joint(patterns: Sequence[str]) -> str:
    """The patterns of several rules as one: characters are equal where those of every rule are."""
    classes: dict[tuple[str, ...], str] = {}
    return "".join(classes.setdefault(values, chr(65 + len(classes))) for values in zip(*patterns, strict=True))


def _together(rules: Sequence[pa.ChunkedArray], same: Sequence[str]) -> pa.Array:
    """The joint pattern row by row, of rules whose patterns differ and of those that have the same for every row."""
    encoded = [rule.combine_chunks().dictionary_encode() for rule in rules]
    different, which = np.unique(np.stack([rule.indices for rule in encoded]), axis=1, return_inverse=True)
    joint = [
        _joint([*same, *(rule.dictionary[int(at)].as_py() for rule, at in zip(encoded, row, strict=True))])
        for row in different.T
    ]
    return pa.array(joint, pa.string()).take(pa.array(which.ravel()))
