"""SQL of recipes is untrusted: one expression over one row, and nothing that looks or reaches beyond it."""

from pathlib import Path

import pyarrow as pa
import pytest

from curation import sql
from curation.sql import ExpressionError, UnknownColumn

COLUMNS = pa.schema(
    [
        ("passes", pa.int64()),
        ("prompt", pa.string()),
        ("messages", pa.list_(pa.struct([("role", pa.string())]))),
        ("Weird name", pa.bool_()),
    ]
)


@pytest.mark.parametrize(
    "expression",
    [
        "passes between 1 and 7",
        "PASSES > 1",
        '"Weird name"',
        "not (prompt ilike '%prove%') -- a comment",
        "passes > 1 /* another */",
        "prompt::int > 3",
        "try(prompt::int > 3)",
        "regexp_matches(prompt, '^[0-9]+$')",
        "len(list_filter(messages, lambda turn: turn.role = 'user')) > 0",
        "len([turn for turn in messages if turn.role = 'user']) > 0",
        "messages[1].role = 'user'",
        "case when passes > 1 then true else null end",
        "split_part(prompt, ' ', 1) = 'What'",
        "(passes > 1) or (passes < 0)",
        "';' <> prompt",
    ],
)
def test_a_condition_over_columns_is_accepted(expression: str) -> None:
    assert sql.check(expression, COLUMNS, boolean=True) == "BOOLEAN"


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "is empty"),
        ("-- nothing", "is not a SQL expression"),
        ("passes >", "is not a SQL expression: syntax error"),
        ("select true", "is not a SQL expression"),
        ("true; drop table problems", "is not a SQL expression"),
        ("true) or (true", "is not a SQL expression"),
        ("true), (true", "not one SQL expression but several"),
        ("'a'), (select content from read_text('/etc/passwd')", "not one SQL expression but several"),
        ("true, true", "not one SQL expression but several"),
        ("true as x", "is not a SQL expression"),
        ("true from range(3)", "is not a SQL expression"),
        ("true where true", "is not a SQL expression"),
        ("true union select true", "is not a SQL expression"),
        ("true limit 1", "is not a SQL expression"),
        ("true order by 1", "is not a SQL expression"),
        ("true /* open", "is not a SQL expression: unterminated"),
        ("passes in (select 1)", "has a subquery"),
        ("exists(from read_text('/etc/passwd'))", "has a subquery"),
        ("len([x for x in (from range(3))]) > 1", "has a subquery"),
        ("row_number() over () = 1", "has a window function"),
        ("count(*) > 1", "aggregate"),
        ("sum(passes) > 1", "aggregate"),
        ("unnest([1]) = 1", "UNNEST not supported"),
        ("columns(*) is null", "name the columns"),
        ("passes > ?", "name the columns"),
        ("random() > 0.5", r"calls random\(\), whose value is not a function of the row"),
        ("main.RANDOM() > 0.5", r"calls random\(\)"),
        ("len(list_transform([1], lambda x: random())) > 0", r"calls random\(\)"),
        ("now() > '2020-01-01'", r"calls now\(\)"),
        ("current_date > '2020-01-01'", "calls current_date"),
        ("current_timestamp is null", "calls current_timestamp"),
        ("current_localtimestamp() is null", r"calls current_localtimestamp\(\)"),
        ("ago(interval 1 day) is null", r"calls ago\(\)"),
        ("age(timestamp '2020-01-01') > interval 1 day", r"calls age\(\)"),
        ("error('x') is null", r"calls error\(\)"),
        ("#2 is not null", "has `#2`; name the column"),
        ("unnamed_subquery.passes > 3", "names no known column: unnamed_subquery"),
        ("main.problems.passes > 3", "names no known column|does not work"),
        ("+".join(["1"] * 900), "nested too deeply"),
        ("case when true then " * 600 + "1" + " end" * 600, "nested too deeply"),
        ("+".join(["1"] * 5000), "depth limit|nested too deeply"),
        ("passes > 1" + " " * 20_000, "has 20,010 characters; at most 20,000 are allowed"),
        ("pg_sleep(60) is null", r"calls pg_sleep\(\)"),
        ("current_setting('threads') = '1'", r"calls current_setting\(\)"),
        ("nextval('ids') = 1", r"calls nextval\(\)"),
        ("write_log('x') is null", r"calls write_log\(\)"),
        ("json_serialize_plan('from read_csv(''/etc/passwd'')') is null", r"calls json_serialize_plan\(\)"),
        ("format_type(25, 0) = 'text'", r"calls format_type\(\)"),
        ("getenv('HOME') = '/'", "does not exist"),
        ("passes", "gives BIGINT, not true or false; .* such as `passes > 0`"),
        ("'x'::int > 3", "Could not convert string 'x'"),
        ("prompt.role = 'x'", "Cannot extract field"),
    ],
)
def test_anything_else_is_refused_with_the_reason(expression: str, why: str) -> None:
    with pytest.raises(ExpressionError, match=why):
        sql.check(expression, COLUMNS, boolean=True)


@pytest.mark.parametrize(
    "expression",
    [
        "len(list_transform(range(100000000), lambda x: x * x)) > 0",
        "length(repeat('a', 400000000)) > 0",  # cannot be interrupted
    ],
)
def test_an_expression_that_takes_long_is_given_up(expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "SECONDS", 0.5)
    with pytest.raises(ExpressionError, match=r"takes more than 0\.5 seconds"):
        sql.check(expression, COLUMNS)


def test_the_time_between_two_columns_is_no_clock() -> None:
    times = pa.schema([("a", pa.timestamp("ms")), ("b", pa.timestamp("ms"))])
    assert sql.check("age(a, b) > interval 1 day", times, boolean=True) == "BOOLEAN"


def test_a_long_expression_is_quoted_in_part() -> None:
    with pytest.raises(ExpressionError) as error:
        sql.check("length('" + "x" * 10_000 + "')", COLUMNS, boolean=True)
    assert len(str(error.value)) < 500


def test_an_unknown_column_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownColumn, match=r"names no known column: passs; did you mean passes\?") as error:
        sql.check("passs > 1", COLUMNS)
    assert error.value.column == "passs"


def test_without_a_near_one_all_columns_are_listed() -> None:
    with pytest.raises(UnknownColumn, match="known are passes, prompt, messages, Weird name"):
        sql.check("zzz > 1", COLUMNS)


def test_a_column_named_like_a_function_is_the_column() -> None:
    assert sql.check("user = 'x'", pa.schema([("user", pa.string())]), boolean=True) == "BOOLEAN"


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("passes", "BIGINT"),
        ("messages", "STRUCT(role VARCHAR)[]"),
        ("{'tolerance': passes}", "STRUCT(tolerance BIGINT)"),
        ("prompt[1:3]", "VARCHAR"),
    ],
)
def test_the_type_of_a_value_is_told(expression: str, kind: str) -> None:
    assert sql.check(expression, COLUMNS).replace('"', "") == kind


def test_names_are_found_whatever_their_case_and_place() -> None:
    expression = "Passes > 1 and (case when \"PROMPT\" = 'fails' then messages[1].role end) is null"
    assert sql.columns_of(expression) == {"passes", "prompt", "messages"}


def test_looking_at_an_expression_reads_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for expression in (f"'{tmp_path}/secret.csv'", f"read_text('{tmp_path}/secret.csv')"):
        with pytest.raises(ExpressionError):
            sql.check(f"passes in {expression}", COLUMNS)
