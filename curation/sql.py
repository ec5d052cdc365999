"""SQL from a recipe: one expression over the columns of one row, and nothing else.

Rules, column mappings and `where` come from files that people share, so they are untrusted. DuckDB parses the text; what
is not exactly one expression is refused, and so are subqueries (the only way to reach a file or another table from an
expression), aggregates and windows (they would look at other rows), and functions whose value is not a function of the
row (`random()`, `now()`), which would make a decision unrepeatable.
"""

import difflib
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from curation.store import connect, quoted, sql_type


class ExpressionError(ValueError):
    """A text is not an expression over the columns at hand."""


class UnknownColumn(ExpressionError):
    """An expression names a column that is not there (yet)."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


@functools.cache
def _sandbox() -> duckdb.DuckDBPyConnection:
    """A connection that reads no file, to look at expressions with."""
    return connect(enable_external_access=False, lock_configuration=True)


@functools.cache
def _unrepeatable() -> frozenset[str]:
    rows = _sandbox().execute(
        "select distinct function_name from duckdb_functions() "
        "where function_type = 'scalar' and stability <> 'CONSISTENT' and function_name <> 'error'"
    )
    return frozenset(name for (name,) in rows.fetchall())


def parse(expression: str) -> dict[str, Any]:
    """DuckDB's tree of an expression.

    Raises ExpressionError when the text is not one expression, or looks beyond its row.
    """
    if not isinstance(expression, str) or not expression.strip():
        raise ExpressionError("is empty; give a SQL expression over columns, such as `passes between 1 and 7`")
    # The line breaks keep a trailing `-- comment` from swallowing the bracket.
    text = f"select (\n{expression}\n)"
    tree = json.loads(_sandbox().execute("select json_serialize_sql(?)", [text]).fetchone()[0])  # type: ignore[index]
    if tree.get("error"):
        raise ExpressionError(f"is not a SQL expression: {tree['error_message']}")
    node = tree["statements"][0]["node"]
    if len(tree["statements"]) != 1 or node["type"] != "SELECT_NODE" or node["from_table"]["type"] != "EMPTY":
        raise ExpressionError("is not one SQL expression; a rule is what stands after `where`, without `select` or `;`")
    root: dict[str, Any] = node["select_list"][0]
    for part in _walk(root):
        kind = part.get("class")
        if kind == "SUBQUERY":
            raise ExpressionError("has a subquery; an expression speaks of the columns of one row only")
        if kind == "WINDOW":
            raise ExpressionError("has a window function; an expression speaks of the columns of one row only")
        if kind in ("STAR", "PARAMETER"):
            raise ExpressionError("has `*`, COLUMNS or a parameter; name the columns")
        if kind == "FUNCTION" and part.get("function_name") in _unrepeatable():
            raise ExpressionError(f"calls {part['function_name']}(), whose value is not a function of the row")
    return root


def _walk(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _walk(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _walk(value)


def columns_of(expression: str) -> set[str]:
    """Names that an expression refers to, in lower case (SQL's names have none)."""
    return {part["column_names"][0].lower() for part in _walk(parse(expression)) if part.get("class") == "COLUMN_REF"}


def check(expression: str, schema: pa.Schema, boolean: bool = False) -> None:
    """Raises ExpressionError when the expression does not bind over the columns of `schema`.

    UnknownColumn names the nearest column. With `boolean` the value has to be true or false.
    """
    parse(expression)
    fields = ", ".join(f"null::{sql_type(f.type)} as {quoted(f.name)}" for f in schema)
    relation = f"(select {fields})"
    con = _sandbox()
    try:
        con.execute(f"select 1 from {relation} where ((\n{expression}\n) is null)")
        kind = con.execute(f"describe select (\n{expression}\n) as value from {relation}").fetchall()[0][1]
    except duckdb.Error as error:
        message = str(error).split("\n\nLINE")[0].strip()
        missing = re.search(r'Referenced column "([^"]+)" not found', message)
        if missing is None:
            raise ExpressionError(f"does not work: {message}") from error
        name = missing[1]
        near = difflib.get_close_matches(name.lower(), schema.names, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; known are {', '.join(schema.names)}"
        raise UnknownColumn(f"names no known column: {name}{hint}", name) from error
    if boolean and kind != "BOOLEAN":
        raise ExpressionError(
            f"gives {kind}, not true or false; compare it with something, such as `{expression.strip()} > 0`"
        )
