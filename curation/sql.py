"""SQL from a recipe: one expression over the columns of one row, and nothing else.

Rules, column mappings and `where` come from files that people share, so they are untrusted. DuckDB parses the text; what
is not exactly one expression is refused, and so are subqueries (the only way to reach a file or another table from an
expression), aggregates and windows (they would look at other rows), and functions whose value is not a function of the
row (`random()`, `now()`, `current_date`), which would make a decision unrepeatable.
"""

import difflib
import functools
import json
import re
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from curation.duck import connect, quoted, sql_type

# Names without brackets that DuckDB reads as functions where no column has the name.
VALUE_FUNCTIONS = frozenset(
    [
        *("current_catalog", "current_role", "current_schema", "current_user", "session_user", "user"),
        *("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
        *("current_localtime", "current_localtimestamp"),
    ]
)
# Listed by DuckDB as functions of their arguments, which they are not: two read the clock, one binds a whole query,
# files and all.
MISLABELLED = frozenset({"current_localtime", "current_localtimestamp", "json_serialize_plan"})
LONGEST = 20_000
"""Characters of an expression."""
SECONDS = 5.0
"""What checking an expression may take: its constants are evaluated."""


class ExpressionError(ValueError):
    """A text is not an expression over the columns at hand."""


class UnknownColumn(ExpressionError):
    """An expression names a column that is not there (yet)."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


def short(text: str, most: int = 120) -> str:
    """A text to quote in a message, its middle left out when it is long."""
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


@functools.cache
def _sandbox() -> duckdb.DuckDBPyConnection:
    """A connection that reads no file, to look at expressions with."""
    return connect(enable_external_access=False, lock_configuration=True, memory_limit="256MB")


def _select_list(text: str) -> list[dict[str, Any]]:
    """DuckDB's trees of what stands after `select`; raises ExpressionError when anything else does."""
    answer = _sandbox().cursor().execute("select json_serialize_sql(?)", [f"select {text}"]).fetchall()[0][0]
    try:
        tree = json.loads(answer)
    except RecursionError as error:
        raise ExpressionError("is nested too deeply; make several of it") from error
    if tree.get("error"):
        raise ExpressionError(f"is not a SQL expression: {short(tree['error_message'])}")
    nodes = [statement["node"] for statement in tree["statements"]]
    if [node["type"] for node in nodes] != ["SELECT_NODE"] or nodes[0]["from_table"]["type"] != "EMPTY":
        raise ExpressionError("is not one SQL expression; give what stands after `where`, without `select` or `;`")
    found: list[dict[str, Any]] = nodes[0]["select_list"]
    return found


@functools.cache
def _forbidden() -> frozenset[str]:
    """Functions whose value depends on more than their arguments, and macros that call one or hold a query."""
    con = _sandbox().cursor()
    scalars = con.execute(
        "select function_name from duckdb_functions() where function_type = 'scalar' and stability <> 'CONSISTENT'"
    ).fetchall()
    names = {name for (name,) in scalars} | MISLABELLED
    macros = con.execute(
        "select function_name, macro_definition from duckdb_functions() where function_type = 'macro'"
    ).fetchall()
    for name, definition in macros:
        parts = list(_walk(_select_list(definition)))
        columns = {part["column_names"][0].lower() for part in parts if part.get("class") == "COLUMN_REF"}
        calls = {part["function_name"] for part in parts if part.get("class") == "FUNCTION"}
        if calls & names or columns & VALUE_FUNCTIONS or any(part.get("class") == "SUBQUERY" for part in parts):
            names.add(name)
    return frozenset(names)


def parse(expression: str) -> dict[str, Any]:
    """DuckDB's tree of an expression.

    Raises ExpressionError when the text is not one expression, or looks beyond its row.
    """
    if not isinstance(expression, str) or not expression.strip():
        raise ExpressionError("is empty; give a SQL expression over columns, such as `passes between 1 and 7`")
    if len(expression) > LONGEST:
        raise ExpressionError(f"has {len(expression):,} characters; at most {LONGEST:,} are allowed")
    # As it will be used, between brackets; the line breaks keep a trailing `-- comment` from swallowing the second. A
    # text that parses without them too cannot close the first and go on after it: `true) or (true`.
    roots = _select_list(f"(\n{expression}\n)")
    if len(roots) != 1 or len(_select_list(f"\n{expression}\n")) != 1:
        raise ExpressionError("is not one SQL expression but several")
    for part in _walk(roots):
        kind = part.get("class")
        if kind == "SUBQUERY":
            raise ExpressionError("has a subquery; an expression speaks of the columns of one row only")
        if kind == "WINDOW":
            raise ExpressionError("has a window function; an expression speaks of the columns of one row only")
        if kind in ("STAR", "PARAMETER"):
            raise ExpressionError("has `*`, COLUMNS or a parameter; name the columns")
        if kind == "POSITIONAL_REFERENCE":
            raise ExpressionError(f"has `#{part['index']}`; name the column")
        if kind == "FUNCTION":
            name = part["function_name"].lower()
            # age(x) is the time from x until now; age(x, y) reads no clock.
            if name in _forbidden() or (name == "age" and len(part["arguments"]) == 1):
                raise ExpressionError(f"calls {part['function_name']}(), whose value is not a function of the row")
    return roots[0]


def _walk(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += reversed(value.values())
        elif isinstance(value, list):
            waiting += reversed(value)


def columns_of(expression: str) -> set[str]:
    """Names that an expression refers to, in lower case (SQL's names have none)."""
    return {part["column_names"][0].lower() for part in _walk(parse(expression)) if part.get("class") == "COLUMN_REF"}


def _answered(*queries: str) -> list[Any]:
    """The last query's rows, asked in the sandbox; ExpressionError when that takes too long.

    Some functions cannot be interrupted (`repeat('a', 4000000000)`), so the thread that waits for them is left behind.
    """
    con = _sandbox().cursor()
    rows: list[Any] = []
    errors: list[duckdb.Error] = []

    def ask() -> None:
        try:
            for query in queries:
                rows[:] = con.execute(query).fetchall()
        except duckdb.Error as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        con.interrupt()
        raise ExpressionError(f"takes more than {SECONDS:g} seconds over one empty row; make its constants smaller")
    if errors:
        raise errors[0]
    return rows


def check(expression: str, schema: pa.Schema, boolean: bool = False) -> str:
    """DuckDB's type of the expression's value over the columns of `schema`.

    Raises ExpressionError when it does not bind; UnknownColumn names the nearest column. With `boolean` the value has
    to be true or false.
    """
    known = {name.lower() for name in schema.names}
    if unrepeatable := sorted(columns_of(expression) & VALUE_FUNCTIONS - known):
        raise ExpressionError(f"calls {unrepeatable[0]}, whose value is not a function of the row")
    fields = ", ".join(f"null::{sql_type(f.type)} as {quoted(f.name)}" for f in schema) or "null as nothing"
    # Under a name that nothing can refer to: that of the table when it is used is another.
    row = f"(select {fields}) as {quoted(uuid.uuid4().hex)}"
    try:
        kind = _answered(
            # A condition cannot hold aggregates; over a row of NULLs it shows constants that cannot be computed.
            f"select 1 from {row} where (\n{expression}\n) is null",
            f"describe select (\n{expression}\n) as value from {row}",
        )[0][1]
    except duckdb.Error as error:
        message = str(error).split("\n\nLINE")[0].strip()
        missing = re.search(r'Referenced (?:column|table) "([^"]+)" not found', message)
        if missing is None:
            raise ExpressionError(f"does not work: {short(message)}") from error
        name = missing[1]
        near = difflib.get_close_matches(name.lower(), schema.names, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; known are {', '.join(schema.names)}"
        raise UnknownColumn(f"names no known column: {short(name)}{hint}", name) from error
    if boolean and kind != "BOOLEAN":
        raise ExpressionError(
            f"gives {kind}, not true or false; compare it with something, such as `{short(expression.strip())} > 0`"
        )
    return str(kind)
