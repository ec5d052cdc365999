"""Process labels: whether each step of a solution is right, where a data set says so.

    prompt, completions, labels     a problem, the steps of one solution to it, and of each step whether it is right

is TRL's stepwise supervision. Such labels come with problems, as lists in one of their columns (PRM800K's and Math-Shepherd's
in `meta`), and the recipe says where in SQL. A problem without both is no row of the set; a problem whose lists make no
sense is one that is refused, with the reason.

A label is true or false, or 1 or 0. Data sets that rate steps otherwise are read by SQL that decides what counts as right:
`list_transform((meta->'$.ratings')::int[], lambda rating: rating >= 0)` for PRM800K's -1, 0 and 1.
"""

from collections.abc import Iterator

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curation import sql
from curation.duck import batches

STEPS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("completions", pa.list_(pa.string())),
        pa.field("labels", pa.list_(pa.bool_())),
        pa.field("fault", pa.string()),
    ]
)
"""`fault`: why the row cannot be published; NULL when it can, and only then are there labels."""
TRUE, FALSE = ("true", "1", "1.0"), ("false", "0", "0.0")
ROWS = 512
"""Rows that are read together."""
_LIST_OR_TEXT = ("[]", "JSON", "VARCHAR")


class Steps(BaseModel):
    """Where the steps of a solution and their labels are."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    completions: str
    """SQL over problem columns for the list of steps, or its JSON text: `meta->'$.steps'`."""
    labels: str
    """SQL for the list of their labels, or its JSON text."""
    prompt: str = "prompt"
    """SQL for what is solved."""

    def mistakes(self, columns: pa.Schema) -> list[str]:
        """What is wrong with its SQL over these columns, each as `key: what`."""
        found = []
        for key, expression in self._expressions.items():
            try:
                kind = sql.check(expression, columns)
                if key == "prompt" and kind != "VARCHAR":
                    found.append(f"{key}: {sql.short(expression)!r} gives {kind}, not text")
                elif not kind.endswith(_LIST_OR_TEXT):
                    found.append(f"{key}: {sql.short(expression)!r} gives {kind}, neither a list nor its JSON text")
            except sql.ExpressionError as error:
                found.append(f"{key}: {sql.short(expression)!r} {error}")
        return found

    @property
    def reads(self) -> set[str]:
        """Columns that its SQL names, in lower case."""
        return {name for expression in self._expressions.values() for name in sql.columns_of(expression)}

    @property
    def _expressions(self) -> dict[str, str]:
        return {key: getattr(self, key) for key in Steps.model_fields}


def steps_of(con: duckdb.DuckDBPyConnection, problems: str, steps: Steps, rows: int = ROWS) -> Iterator[pa.Table]:
    """Tables (STEPS) of the problems that have steps and labels, in their order; `con` is busy until all are read.

    problems: a table, view or query in brackets with `id`, `split` and what the SQL reads.
    """
    schema = con.sql(f"select * from {problems} limit 0").to_arrow_table().schema
    query = f"""
        with given as (
            select id, split, try((\n{steps.prompt}\n)::varchar) as prompt,
                {_given(steps.completions)} as given_steps, {_list(steps.completions, schema)} as completions,
                {_given(steps.labels)} as given_labels, {_list(steps.labels, schema)} as said
            from {problems}
        ), read as (
            select *, list_transform(said, lambda label: case when lower(label) in {TRUE} then true
                                                              when lower(label) in {FALSE} then false end) as labels
            from given where given_steps or given_labels
        ), judged as (select *, {_FAULT} as fault from read)
        select id, split, prompt, completions, case when fault is null then labels end as labels, fault from judged"""
    for batch in batches(con, query, rows):
        yield pa.Table.from_batches([batch]).cast(STEPS)


_FAULT = """case
    when coalesce(trim(prompt), '') = '' then 'there is no prompt'
    when not given_labels then 'there are steps without labels'
    when not given_steps then 'there are labels without steps'
    when completions is null then 'the steps are no list'
    when said is null then 'the labels are no list'
    when len(completions) = 0 then 'there are no steps'
    when len(completions) <> len(said) then format('{} steps, {} labels', len(completions), len(said))
    when len(list_filter(completions, lambda step: coalesce(trim(step), '') = '')) > 0
        then format('step {} is empty', list_position(
            list_transform(completions, lambda step: coalesce(trim(step), '') = ''), true))
    when list_position(list_transform(labels, lambda label: label is null), true) is not null
        then format('label {} is neither true nor false: {}',
            list_position(list_transform(labels, lambda label: label is null), true),
            coalesce(said[list_position(list_transform(labels, lambda label: label is null), true)], 'null'))
    end"""


def _given(expression: str) -> str:
    """SQL: whether a value is there. JSON's null is none."""
    return f"coalesce(try((\n{expression}\n)::varchar) <> 'null', false)"


def _list(expression: str, schema: pa.Schema) -> str:
    """SQL for a list of texts, NULL where the value is no list."""
    through = "" if sql.check(expression, schema).endswith("[]") else "::json"
    return f"try((\n{expression}\n){through}::varchar[])"
