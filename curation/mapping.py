"""A source's rows as problems: its SQL values put in their columns, `where` and `limit` applied.

A row that is no problem, or for which the SQL cannot be computed, is given back with its reason; none is lost.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from curation import problem, sql
from curation.duck import arrow, connect, literal, quoted
from curation.judge_prompt import check as check_judged
from curation.source import ROW, Source, SourceError
from curation.verify import JUDGE, VERIFIERS, check_args

BATCH_ROWS = 2048
EXCERPT = 200
MAPPED = tuple(name for name in problem.SCHEMA.names if name not in ("id", "source", "row"))
UNNUMBERED = pa.schema([f for f in problem.SCHEMA if f.name != "id"]).append(pa.field("digest", pa.string()))
"""Problems whose identical rows are not told apart yet: `digest` in place of the id."""


def problems_of(key: str, source: Source) -> Iterator[tuple[pa.Table, list[dict[str, Any]]]]:
    """Batches of (problems, rejected rows: source, row, reason, excerpt) of one source.

    Raises SourceError for a mapping that does not bind.
    """
    left = source.limit
    con = connect()
    query: str | None = None
    for table, unreadable in source.tables(BATCH_ROWS):
        if query is None:
            query = _query(source, table.schema)
        mapped, failed = _map(con, query, table)
        bad = [*unreadable, *failed]
        if left is not None:
            # Whatever becomes of them, rows count in the order they stand in.
            numbers = sorted([*mapped["row"].to_pylist(), *(row["row"] for row in bad)])[:left]
            last = numbers[-1] if numbers else -1
            mapped = mapped.filter(pc.less_equal(mapped["row"], last))
            bad = [row for row in bad if row["row"] <= last]
            left -= len(numbers)
        good, refused = _check(key, mapped, table)
        rejected = sorted([*bad, *refused], key=lambda row: int(row["row"]))
        yield good, [{"source": key, **row} for row in rejected]
        if left == 0:
            return


def _query(source: Source, schema: pa.Schema) -> str:
    """SQL that turns rows of `batch` into problems; raises SourceError naming the expression that does not bind."""
    columns = pa.schema([f for f in schema if f.name != ROW])
    own = {name.lower() for name in columns.names}

    def text(expression: str, where: str) -> str:
        """Its value as text: JSON text of anything nested."""
        try:
            kind = sql.check(expression, columns)
        except sql.ExpressionError as error:
            raise SourceError(f"{where}: {expression!r} {error}") from error
        nested = kind.startswith(("STRUCT", "MAP", "UNION")) or kind.endswith("]")
        return f"to_json(\n{expression}\n)::varchar" if nested else f"(\n{expression}\n)::varchar"

    values = []
    for name in MAPPED:
        if name in source.columns:
            value = text(source.columns[name], f"columns.{name}")
        elif name in own:
            value = text(quoted(name), f"columns.{name}")
        elif name == "prompt":
            if not columns.names:
                raise SourceError("has no columns: none of its first rows could be read as it says it is written")
            raise SourceError(
                "columns.prompt: the source has no column `prompt`; say which SQL value it is, "
                f"for example `columns: {{prompt: {columns.names[0] if columns.names else 'question'}}}`. "
                f"Its columns are {', '.join(columns.names)}"
            )
        else:
            value = "null::varchar"
        if name in ("verifier", "license") and (default := getattr(source, name)) is not None:
            value = f"coalesce({value}, {literal(default)})"
        values.append(f"{value} as {quoted(name)}")
    where = "true"
    if source.where is not None:
        try:
            sql.check(source.where, columns, boolean=True)
        except sql.ExpressionError as error:
            raise SourceError(f"where: {source.where!r} {error}") from error
        where = f"(\n{source.where}\n)"
    return f"select {', '.join(values)}, {quoted(ROW)} as row from batch where {where}"


def _map(con: duckdb.DuckDBPyConnection, query: str, batch: pa.Table) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Runs the mapping over a batch. Rows on which it fails are found by halving, and given back with the reason."""
    try:
        con.register("batch", batch)
        return arrow(con, query), []
    except duckdb.Error as error:
        if batch.num_rows == 1:
            row = batch.to_pylist()[0]
            number = row.pop(ROW)
            reason = "SQL failed: " + str(error).split("\n")[0]
            return _MAPPED.empty_table(), [{"row": number, "reason": reason, "excerpt": _excerpt(row)}]
    half = batch.num_rows // 2
    left, left_failed = _map(con, query, batch.slice(0, half))
    right, right_failed = _map(con, query, batch.slice(half))
    return pa.concat_tables([left.cast(_MAPPED), right.cast(_MAPPED)]), left_failed + right_failed


_MAPPED = pa.schema([pa.field(name, pa.string()) for name in MAPPED]).append(pa.field("row", pa.int64()))


def _excerpt(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False, default=str)
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def _check(key: str, mapped: pa.Table, batch: pa.Table) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Parts good rows from those that are no problem, and adds `source` and `digest` to the good ones."""
    good: list[dict[str, Any]] = []
    refused: dict[int, str] = {}
    for row in mapped.to_pylist():
        try:
            row["messages"] = _turns(row["messages"])
            if row["verifier"] == "math" and row["answer"] is not None:
                row["answer"] = _one_answer(row["answer"])
            _refuse(row)
        except _Refused as refusal:
            refused[row["row"]] = str(refusal)
            continue
        row["source"] = key
        row["digest"] = problem.digest(
            row["prompt"], row["messages"], row["answer"], row["verifier"], row["verifier_args"]
        )
        good.append(row)
    bad = []
    for row in batch.filter(pc.is_in(batch[ROW], pa.array(list(refused), pa.int64()))).to_pylist():
        number = row.pop(ROW)
        bad.append({"row": number, "reason": refused[number], "excerpt": _excerpt(row)})
    return pa.Table.from_pylist(good, schema=UNNUMBERED), bad


class _Refused(ValueError):
    """Why a row is no problem: what is wrong, and after a colon what it was."""


def _refuse(row: Mapping[str, Any]) -> None:
    """Raises _Refused for a row that is no problem."""
    if row["prompt"] is None or not row["prompt"].strip():
        raise _Refused("no prompt")
    if row["verifier"] is not None and row["verifier"] not in (known := [*VERIFIERS, JUDGE]):
        raise _Refused(f"unknown verifier: {row['verifier']}; known are {', '.join(known)}")
    args = {} if row["verifier_args"] is None else _json("verifier_args", row["verifier_args"])
    if not isinstance(args, dict):
        raise _Refused("verifier_args is not a JSON object")
    if row["verifier"] is not None:
        try:
            check_judged(args) if row["verifier"] == JUDGE else check_args(row["verifier"], args)
        except ValueError as error:
            raise _Refused(str(error).replace(":", ",")) from error  # all of it says what is wrong


def _turns(text: str | None) -> list[dict[str, str]]:
    """The turns in JSON text. Further keys of a turn are left out."""
    turns = [] if text is None else _json("messages", text)
    try:
        found = [{"role": turn["role"], "content": turn["content"]} for turn in turns or []]
    except (TypeError, KeyError):
        found = [{}]
    if not all(isinstance(turn.get(name), str) for turn in found for name in ("role", "content")):
        raise _Refused("messages is not a list of {role, content}")
    return found


def _one_answer(text: str) -> str:
    """The answer, also of a list of one: as OlympiadBench has them, and nothing that a model would write."""
    if not text.lstrip().startswith('["'):
        return text
    try:
        answers = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not all(isinstance(one, str) for one in answers):
        return text
    if len(answers) != 1:
        raise _Refused(
            f"answer is a list of {len(answers)}, and math compares one (`columns: {{answer: ...}}`): {text}"
        )
    return str(answers[0])


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Refused(f"{name} is not JSON: {error}") from error
