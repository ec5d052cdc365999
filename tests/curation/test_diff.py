"""From one dataset to another: which rows left and came, by which rule, and what was done differently."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from curation.diff import diff
from curation.inspect.differing import show
from curation.publish import Dataset, publish
from curation.store import Store

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "source", "prompt", "domain")),
        ("passes", pa.int64()),
        ("words", pa.int64()),
        *((name, pa.string()) for name in ("rule_short", "rule_learnable", "dropped_by")),
        ("kept", pa.bool_()),
    ]
)
RULES = {"short": "words < 9", "learnable": "passes between 1 and 6"}
Row = tuple[str, str, str, int | None, int]


def published(
    folder: Path,
    rows: Sequence[Row],
    drops: Mapping[str, str],
    rules: Mapping[str, str] = RULES,
    **manifest: Any,
) -> Dataset:
    """A dataset of rows (id, source, domain, passes, words); drops: the rule that drops an id."""
    store = Store(str(folder))
    con = store.connect()
    names = list(rules)
    table = []
    for id_, source, domain, passes, words in rows:
        by = drops.get(id_)
        place = names.index(by) if by is not None else len(names)
        outcomes = {
            f"rule_{name}": "pass" if n < place else "fail" if n == place else "unmeasured"
            for n, name in enumerate(names)
        }
        row = {
            "id": id_,
            "source": source,
            "prompt": f"What is {id_}?",
            "domain": domain,
            "passes": passes,
            "words": words,
        }
        table.append(row | outcomes | {"dropped_by": by, "kept": by is None})
    columns = [field for field in SCHEMA if not field.name.startswith("rule_") or field.name[5:] in rules]
    con.register("decisions", pa.Table.from_pylist(table, schema=pa.schema(columns)))
    recorded = {
        "name": "d",
        "code_version": "0",
        "counts": {"read": len(rows), "problems": len(rows), "kept": 0, "dropped": 0, "rejected": 0},
        "rules": [
            {"rule": name, "condition": condition}
            | dict.fromkeys(("entered", "pass", "fail", "unknown", "unmeasured"), 0)
            for name, condition in rules.items()
        ],
        "licenses": [],
        "annotators": [
            {"key": "tags", "prefix": "", "columns": ["domain"], "settings": {}},
            {"key": "pass_rate", "prefix": "", "columns": ["passes"], "settings": {}, "n": 8},
        ],
        "pool": {"sources": {"web": {"resolved": "1", "read": 5}}},
        "recipe": {"seed": 0},
    }
    return publish(store, con, {}, "id", recorded | manifest, "")[0]


FIRST: list[Row] = [
    ("a", "web", "algebra", 3, 5),
    ("b", "web", "algebra", 6, 5),
    ("c", "web", "number", 4, 5),
    ("d", "book", "number", 7, 5),
    ("e", "book", "number", None, 20),
]


@pytest.fixture
def before(tmp_path: Path) -> Dataset:
    return published(tmp_path / "before", FIRST, {"d": "learnable", "e": "short"})


def counted(ways: list[dict[str, Any]]) -> list[tuple[str | None, str | None, int]]:
    return [(way["rule"], way["change"], way["rows"]) for way in ways]


def test_equal_datasets_differ_in_nothing(before: Dataset) -> None:
    found = diff(before, before)
    assert found["kept"] == {"both": 3, "left": 0, "came": 0}
    assert (found["left"], found["came"], found["moved"], found["settings"]) == ([], [], [], [])
    assert {rule["change"] for rule in found["rules"]} == {"same"}


def test_rows_leave_and_come_by_the_rule_that_drops_them(before: Dataset, tmp_path: Path) -> None:
    rows = [
        *FIRST[:2],
        ("c", "web", "number", 0, 5),
        FIRST[3],
        ("e", "book", "number", 2, 20),
        ("f", "web", "number", 2, 5),
    ]
    after = published(
        tmp_path / "after",
        rows,
        {"b": "learnable", "c": "learnable", "d": "learnable"},
        {"learnable": "passes between 1 and 5"},
    )
    found = diff(before, after, examples=1)
    assert found["kept"] == {"both": 1, "left": 2, "came": 2}
    assert counted(found["left"]) == [("learnable", "changed", 2)]
    assert counted(found["came"]) == [("short", "gone", 1), (None, None, 1)]
    assert found["left"][0]["examples"] == [{"id": "b", "source": "web", "prompt": "What is b?"}]
    assert found["by"]["source"] == [
        {"value": "web", "before": 3, "after": 2, "left": 2, "came": 1},
        {"value": "book", "before": 0, "after": 1, "left": 0, "came": 1},
    ]
    assert found["by"]["domain"] == [
        {"value": "algebra", "before": 2, "after": 1, "left": 1, "came": 0},
        {"value": "number", "before": 1, "after": 2, "left": 1, "came": 2},
    ]
    # Of the rows measured for both, b fell to the rule and c to what was measured.
    assert found["moved"] == [{"rule": "learnable", "rows": 2, "columns": {"passes": 1}}]


def test_rows_that_are_no_longer_read_are_told_apart(before: Dataset, tmp_path: Path) -> None:
    found = diff(before, published(tmp_path / "after", FIRST[1:], {"d": "learnable", "e": "short"}))
    assert counted(found["left"]) == [(None, None, 1)]


def test_what_the_two_were_made_with(before: Dataset, tmp_path: Path) -> None:
    after = published(
        tmp_path / "after",
        FIRST,
        {"d": "learnable", "e": "short"},
        annotators=[
            {"key": "tags", "prefix": "", "columns": ["domain"], "settings": {"taxonomy": "science"}},
            {"key": "pass_rate", "prefix": "", "columns": ["passes"], "settings": {}, "n": 16},
        ],
        pool={"sources": {"web": {"resolved": "2", "read": 6}, "book": {"resolved": "1"}}},
        recipe={"seed": 1, "keep": {}, "name": "d"},
    )
    assert diff(before, after)["settings"] == [
        {"key": "sources.web.resolved", "before": "1", "after": "2"},
        {"key": "annotate.pass_rate.n", "before": 8, "after": 16},
        {"key": "seed", "before": 0, "after": 1},
        {"key": "sources.book.resolved", "before": None, "after": "1"},
        {"key": "annotate.tags.settings.taxonomy", "before": None, "after": "science"},
    ]


def test_what_is_shown_cannot_write_to_the_terminal(before: Dataset, tmp_path: Path) -> None:
    rows: list[Row] = [("a", "web\x1b[2J", "[red]odd", 3, 5), *FIRST[1:]]
    out = io.StringIO()
    show(
        Console(file=out, width=120),
        diff(before, published(tmp_path / "after", rows, {"b": "short", "d": "learnable"}), 3),
    )
    shown = out.getvalue()
    assert "\x1b" not in shown
    assert "[red]odd" in shown
    assert "3 kept of 5, then 3 of 5: 2 in both, 1 left, 1 came" in shown
