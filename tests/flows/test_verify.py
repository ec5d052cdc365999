"""`cuvee verify`: files of anybody's rollouts, graded; with labels, how far the verdicts agree with them."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from judge_server import NAME, JudgeServer

from curation.judge_record import record
from curation.store import Store
from curation.verify import VERIFIERS
from curation.verify.agreement import Agreement, Rate, wilson
from flows.answered import columns, right
from flows.cli import main
from flows.judged import JudgeAsked

EQUIVALENCE = Path(__file__).parents[3] / "shared" / "data" / "equivalence" / "grader_labelled_pairs.jsonl.zst"
ROWS = [
    {"answer": "4", "completion": "2 + 2, so the answer is 4", "correct": True},
    {"answer": "4", "completion": r"\boxed{5}", "correct": False},
    {"answer": "1/2", "completion": "The answer is 0.5", "correct": False},
    {"answer": "1,000", "completion": "The answer is 100", "correct": True},
]
"""The verifier agrees with two labels; one right answer is labelled wrong, and one wrong answer right."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def jsonl(rows: list[Any], name: str = "rows.jsonl") -> str:
    Path(name).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return name


def parquet(rows: list[dict[str, Any]], name: str = "rows.parquet") -> str:
    pq.write_table(pa.Table.from_pylist(rows), name)
    return name


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", "--quiet", *arguments])


def told(*arguments: str, code: int = 0) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def wrong(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    return result.stderr


# ---- grading and agreement


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_a_file_is_graded_and_compared_with_its_labels(folder: Path, write: Any) -> None:
    data = told(write(ROWS))
    assert data["columns"] == {"answer": "answer", "completion": "completion", "label": "correct"}
    assert data["verdicts"] == {"math": {"correct": 2, "wrong": 2, "error": 0}}
    found = data["agreement"]
    assert found["right"] == {"correct": 1, "wrong": 1, "error": 0}
    assert found["wrong"] == {"correct": 1, "wrong": 1, "error": 0}
    assert (found["agreement"]["count"], found["agreement"]["of"]) == (2, 4)
    assert (found["false_accepts"]["count"], found["false_accepts"]["of"]) == (1, 2)
    assert (found["false_rejects"]["count"], found["false_rejects"]["of"]) == (1, 2)
    assert [(one["row"], one["label"], one["outcome"], one["extracted"]) for one in data["disagreements"]] == [
        (2, "wrong", "correct", "0.5"),
        (3, "right", "wrong", "100"),
    ]


def test_what_is_printed_says_it_all(folder: Path) -> None:
    result = run(jsonl(ROWS))
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    for part in (
        "rows.jsonl: 4 rows, 4 completions (answer in answer, completion in completion, label in correct)",
        "math 4 2 2 0",
        "labelled right 1 1 0",
        "false accepts 50.00% 12.09% to 87.91% 1 of 2 labelled wrong",
        "2 wrong correct 1/2 0.5",
    ):
        assert part in said


def test_without_labels_it_only_grades(folder: Path) -> None:
    rows = [{key: row[key] for key in ("answer", "completion")} for row in ROWS]
    data = told(jsonl(rows))
    assert (data["agreement"], data["disagreements"]) == (None, [])
    assert data["verdicts"]["math"]["correct"] == 2
    assert "with a column of them (--label)" in run(jsonl(rows)).stdout


def test_a_verdict_that_failed_is_no_part_of_a_rate(folder: Path) -> None:
    data = told(jsonl([*ROWS[:2], {"answer": None, "completion": "4", "correct": True}]))
    assert data["verdicts"] == {"math": {"correct": 1, "wrong": 1, "error": 1}}
    assert data["errors"] == [{"reason": "the problem has no answer", "count": 1, "first_row": 2}]
    assert data["agreement"]["right"]["error"] == 1
    assert data["agreement"]["agreement"]["of"] == 2


def test_packed_files_are_read(folder: Path) -> None:
    with gzip.open("rows.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in ROWS))
    assert told("rows.jsonl.gz")["verdicts"]["math"]["correct"] == 2


def test_a_row_may_name_its_verifier(folder: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"answer": "B", "completion": "The answer is (B).", "verifier": "choice", "verifier_args": None},
        {"answer": "Blue", "completion": "blue", "verifier": "exact", "verifier_args": '{"ignore_case": true}'},
        {"answer": "1/2", "completion": "0.5", "verifier": None, "verifier_args": None},
    ]
    counts = {name: {"correct": 1, "wrong": 0, "error": 0} for name in ("choice", "exact", "math")}
    assert told(jsonl(rows))["verdicts"] == counts
    assert told(parquet(rows))["verdicts"] == counts


def test_arguments_may_be_an_object(folder: Path) -> None:
    rows = [{"answer": "Blue", "completion": "blue", "how": {"ignore_case": True}}]
    for file in (jsonl(rows), parquet(rows)):
        assert told(file, "--verifier", "exact", "--args", "how")["verdicts"]["exact"]["correct"] == 1


# ---- lists of completions


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_each_completion_of_a_list_is_graded(folder: Path, write: Any) -> None:
    rows: list[dict[str, Any]] = [
        {"answer": "4", "responses": ["4", "5"], "score": [1, 0]},
        {"answer": "6", "responses": ["7"], "score": [1]},
        {"answer": "8", "responses": [], "score": []},
    ]
    data = told(write(rows), "--out", "out.parquet")
    assert (data["rows"], data["completions"]) == (3, 3)
    assert data["verdicts"] == {"math": {"correct": 1, "wrong": 2, "error": 0}}
    assert (data["agreement"]["agreement"]["count"], data["agreement"]["agreement"]["of"]) == (2, 3)
    assert pq.read_table("out.parquet")["outcome"].to_pylist() == [["correct", "wrong"], ["wrong"], []]


def test_labels_that_do_not_match_the_completions_cost_their_row(folder: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"answer": "4", "responses": ["4", "5"], "score": [1, 0]},
        {"answer": "4", "responses": ["4"], "score": []},
    ]
    data = told(parquet(rows))
    reason = "the labels of 1 completions have to be a list of as many, or be left out (--no-label): []"
    assert data["errors"] == [{"reason": reason, "count": 1, "first_row": 1}]
    assert data["verdicts"]["math"]["correct"] == 1


def test_an_answer_that_looks_like_a_list_is_text(folder: Path) -> None:
    assert told(jsonl([{"answer": "[1, 2]", "completion": "[1, 2]"}]))["verdicts"]["math"]["correct"] == 1


def test_an_answer_that_looks_like_a_list_is_text_among_others(folder: Path) -> None:
    rows = [{"answer": a, "completion": a} for a in ('["a", "b"]', "[1, 2]", "[x", "4")]
    assert told(jsonl(rows), "--verifier", "exact")["verdicts"]["exact"] == {"correct": 4, "wrong": 0, "error": 0}


def test_some_rows_of_json_lines_hold_lists_and_some_text(folder: Path) -> None:
    rows = [
        {"answer": "4", "completion": "4", "correct": True},
        {"answer": "4", "completion": ["4", "5"], "correct": [True, False]},
        {"answer": "4", "completion": [1, 2]},
    ]
    data = told(jsonl(rows), "--out", "out.parquet")
    assert data["agreement"]["agreement"] == {"count": 3, "of": 3} | {
        key: data["agreement"]["agreement"][key] for key in ("rate", "low", "high")
    }
    assert pq.read_table("out.parquet")["outcome"].to_pylist() == [["correct"], ["correct", "wrong"], ["error"]]
    assert data["errors"][0]["reason"] == "the completion is neither text, a list of texts nor chat messages: 1"


# ---- chat messages

ASKED = {"role": "user", "content": "What is 2 + 2? Say \\boxed{4}."}


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_of_messages_the_last_one_of_the_assistant_is_graded(folder: Path, write: Any) -> None:
    rows = [
        {"answer": "4", "completion": [{"role": "assistant", "content": "It is 4"}]},
        {"answer": "4", "completion": [ASKED, {"role": "assistant", "content": "It is 5"}, ASKED]},
        {"answer": "4", "completion": [ASKED]},
    ]
    data = told(write(rows), "--out", "out.parquet")
    assert data["completions"] == 3
    assert pq.read_table("out.parquet")["outcome"].to_pylist() == ["correct", "wrong", "error"]
    assert data["errors"][0]["reason"] == "the completion holds no message of the assistant"


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_each_of_a_list_of_conversations_is_graded(folder: Path, write: Any) -> None:
    said = [[ASKED, {"role": "assistant", "content": text}] for text in ("4", "5")]
    told(write([{"answer": "4", "completions": said}]), "--out", "out.parquet")
    assert pq.read_table("out.parquet")["outcome"].to_pylist() == [["correct", "wrong"]]


def test_messages_in_a_text_column_of_parquet_are_read(folder: Path) -> None:
    rows = [{"answer": "4", "completion": json.dumps([ASKED, {"role": "assistant", "content": "It is 4"}])}]
    assert told(parquet(rows))["disagreements"] == []
    assert told("rows.parquet")["verdicts"]["math"]["correct"] == 1


@pytest.mark.parametrize("completion", [[{"text": "4"}], 4, {"content": "4"}])
def test_what_is_neither_text_nor_messages_is_an_error(folder: Path, completion: Any) -> None:
    data = told(parquet([{"answer": "4", "completion": completion}]), code=1)
    assert "the completion is neither text, a list of texts nor chat messages" in data["errors"][0]["reason"]


# ---- rows that cannot be graded


def test_a_bad_row_is_counted_and_the_others_are_graded(folder: Path) -> None:
    rows = [
        {"answer": "4", "completion": None},
        ROWS[0],
        "no JSON",
        {"answer": "4", "completion": "4", "verifier": "maths"},
        {"answer": "4", "completion": "4", "verifier_args": "[1]"},
        {"answer": "4", "completion": "4", "verifier_args": "{"},
        {"answer": "4", "completion": "4", "verifier_args": "[" * 100_000},
        {"answer": "4", "completion": "4", "correct": "maybe"},
    ]
    data = told(jsonl(rows))
    assert data["rows"] == 8
    assert {(entry["first_row"], entry["reason"].split(":")[0]) for entry in data["errors"]} == {
        (0, "the completion is null"),
        (3, "unknown verifier 'maths'"),
        (4, "verifier_args must be a JSON object, not list"),
        (5, "the verifier's arguments are no JSON"),
        (6, "the verifier's arguments are nested too deeply"),
    }
    assert [(entry["first_row"], entry["reason"].split(":")[0]) for entry in data["unreadable"]] == [(2, "not JSON")]
    assert data["verdicts"] == {"math": {"correct": 2, "wrong": 0, "error": 5}}
    assert [entry["first_row"] for entry in data["labels_not_read"]] == [7]
    assert data["agreement"]["labelled"] == 1


def test_a_file_with_nothing_to_grade_says_so(folder: Path) -> None:
    file = jsonl([{"answer": "4", "completion": None}] * 3)
    data = told(file, "--out", "out.parquet", code=1)
    assert data["errors"] == [{"reason": "the completion is null", "count": 3, "first_row": 0}]
    assert data["verdicts"] == {"math": {"correct": 0, "wrong": 0, "error": 3}}
    assert "error: nothing was graded: all 3 verdicts are errors" in run(file).stderr
    none = run(jsonl([{"answer": "4", "completions": []}]))
    assert (none.exit_code, none.stderr) == (1, "error: nothing was graded: no completion is there\n")
    assert pq.read_table("out.parquet")["outcome"].to_pylist() == ["error"] * 3


def test_many_different_reasons_take_no_memory(folder: Path) -> None:
    data = told(jsonl([{"answer": "4", "completion": "4", "verifier": f"v{n}"} for n in range(1500)]), code=1)
    assert len(data["errors"]) == 20
    assert data["errors"][0] == {"reason": "another reason", "count": 500, "first_row": 1000}


def test_text_of_the_data_cannot_steer_the_terminal(folder: Path) -> None:
    attack = "\x1b[2J[bold]\u202e"
    rows = [{"answer": f"4{attack}", "completion": f"\\boxed{{5{attack}}}", "correct": True}]
    result = run(jsonl(rows), "--verifier", "exact")
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert "[bold]" in result.stdout


# ---- which column is what


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["answer", "completion"], ("answer", "completion", None)),
        (["id", "gold", "pred", "equal"], ("gold", "pred", "equal")),
        (["input", "output", "gts", "score", "step"], ("gts", "output", "score")),
        (["Ground_Truth", "Response"], ("Ground_Truth", "Response", None)),
    ],
)
def test_usual_names_are_found(names: list[str], found: tuple[str, str, str | None]) -> None:
    of = columns(names, {})
    assert (of.answer, of.completion, of.label) == found


def test_a_column_that_is_given_is_not_taken_for_another() -> None:
    of = columns(["answer", "solution", "correct"], {"completion": "solution"})
    assert (of.answer, of.completion) == ("answer", "solution")


def test_columns_that_cannot_be_told_are_named(folder: Path) -> None:
    file = jsonl([{"gold": "4", "output": "4", "response": "4", "correct": 1, "label": "x"}])
    assert "several columns could be the completion: output, response; say which with --completion" in wrong(file)
    said = wrong(file, "--completion", "output")
    assert "several columns could be the label: correct, label; say which with --label" in said
    assert "--answer: there is no column 'gould'; there are gold, output" in wrong(file, "--answer", "gould")
    assert "no column is known to be the answer; say which with --answer (there are a, b)" in wrong(
        jsonl([{"a": 1, "b": 2}])
    )


def test_what_is_wrong_with_the_command_is_said_before_anything_is_graded(folder: Path) -> None:
    file = jsonl(ROWS)
    assert "no file 'nothing.jsonl'" in wrong("nothing.jsonl")
    assert "unknown verifier 'maths'" in wrong(file, "--verifier", "maths")
    assert "rows.jsonl holds no row" in wrong(jsonl([], "rows.jsonl"))
    assert "holds no row that can be read: row 0 is not JSON" in wrong(jsonl(["x"]))
    jsonl(ROWS, "more.jsonl")
    assert "'*.jsonl' names 2 files; give one at a time" in wrong("*.jsonl")


@pytest.mark.parametrize(
    ("label", "means"),
    [
        (True, True),
        (0, False),
        (1.0, True),
        ("-1", False),
        (" Correct ", True),
        ("no", False),
        ("PASS", True),
        ("FAIL", False),
        (None, None),
        (float("nan"), None),
    ],
)
def test_labels_are_read(label: Any, means: bool | None) -> None:
    assert right(label) is means


@pytest.mark.parametrize("label", ["maybe", 0.5, 7, [], ""])
def test_a_label_between_right_and_wrong_is_not_guessed(label: Any) -> None:
    with pytest.raises(ValueError, match="neither right"):
        right(label)


def test_scores_are_no_labels(folder: Path) -> None:
    rows = [{"answer": "4", "completion": "4", "score": score} for score in (1.0, 0.7)]
    for file in (jsonl(rows), parquet(rows)):
        said = wrong(file)
        assert "--label: column 'score' holds scores, such as" in said
        assert "such as '0.7'" in said or "such as 0.7" in said
        assert "--no-label" in said
        assert "label" not in told(file, "--no-label")["columns"]
    assert "contradict" in wrong("rows.jsonl", "--no-label", "--label", "score")


def test_a_score_that_comes_late_takes_the_agreement_with_it(folder: Path) -> None:
    rows = [{"answer": "4", "completion": "4", "score": score} for score in [1] * 600 + [0.5]]
    data = told(jsonl(rows))
    assert (data["agreement"], data["labels_are_scores"]) == (None, "the label of row 600 is a score: '0.5'")
    assert data["verdicts"]["math"]["correct"] == 601
    assert "No agreement is told: the label of row 600 is a score" in run("rows.jsonl").stdout


def test_a_verifier_that_needs_no_answer_asks_for_no_column_of_them(folder: Path) -> None:
    args = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    file = jsonl([{"solution": "no comma", "args": args}])
    data = told(file, "--verifier", "instructions")
    assert data["columns"] == {"completion": "solution", "args": "args"}
    assert data["verdicts"]["instructions"]["correct"] == 1
    rows = [{"completion": "no comma", "verifier": "instructions", "verifier_args": args}]
    assert told(jsonl(rows))["verdicts"]["instructions"]["correct"] == 1


def test_a_judge_is_no_verifier(folder: Path) -> None:
    assert "name it with --judge MODEL" in wrong(jsonl(ROWS), "--verifier", "judge")


def test_help_names_every_verifier_and_exit_code() -> None:
    said = " ".join(run("--help").stdout.split())
    assert f"Verifiers: {', '.join(VERIFIERS)}." in said
    assert "Exit codes: 0 graded 1 there was nothing to grade" in said


# ---- how it is told


def test_disagreements_that_are_not_shown_are_counted(folder: Path) -> None:
    rows = [{"answer": "4", "completion": "Long " * 40 + "I say 5", "correct": True}] * 42
    assert told(jsonl(rows))["disagreements_left_out"] == 37
    said = run("rows.jsonl").stdout
    assert "and 37 more" in said
    assert "I say 5" in said


def test_an_empty_completion_has_a_reason_of_its_own(folder: Path) -> None:
    data = told(jsonl([*ROWS, {"answer": "4", "completion": " \n"}]))
    assert data["empty"] == [{"reason": "the completion is empty", "count": 1, "first_row": 4}]


def test_reasons_are_cut_at_their_end_and_tables_have_no_trailing_blanks(folder: Path) -> None:
    result = run(jsonl([{"completion": "x", "args": {}}]), "--verifier", "code")
    assert result.exit_code == 1
    assert re.search(r" 1  verifier_args needs 'inputs': a code problem has .*…", result.stdout)
    assert [line for line in result.stdout.splitlines() if line != line.rstrip()] == []


# ---- what is written


def test_out_keeps_the_types_of_json_lines_where_they_can_be_told(folder: Path) -> None:
    rows: list[Any] = [
        {"answer": "4", "completion": "4", "ok": True, "id": 2**60, "x": 1, "mixed": 1, "meta": {"a": 1}},
        {"answer": "05", "completion": "5", "ok": None, "id": 7, "x": 1.5, "mixed": "b", "meta": None},
        "no JSON",
    ]
    data = told(jsonl(rows), "--out", "out.parquet")
    assert data["as_text"] == ["mixed", "meta"]
    assert [{key: row[key] for key in rows[0]} for row in pq.read_table("out.parquet").to_pylist()] == [
        {"answer": "4", "completion": "4", "ok": True, "id": 2**60, "x": 1.0, "mixed": "1", "meta": '{"a":1}'},
        {"answer": "05", "completion": "5", "ok": None, "id": 7, "x": 1.5, "mixed": "b", "meta": None},
    ]
    said = run("rows.jsonl", "--out", "more.parquet").stdout
    assert "Wrote more.parquet: the 2 rows that could be read, each with outcome, extracted and reason." in said
    assert "Written as text, having no one type: mixed, meta." in said


def test_out_is_a_parquet_file(folder: Path) -> None:
    assert "give a name that ends in .parquet" in wrong(jsonl(ROWS), "--out", "out.jsonl")


def test_out_holds_the_rows_with_their_verdicts(folder: Path) -> None:
    rows = [{**row, "id": number, "meta": {"x": [number]}} for number, row in enumerate(ROWS)]
    rows[1]["completion"] = None
    told(parquet(rows), "--out", "graded/out.parquet")
    found = pq.read_table("graded/out.parquet").to_pylist()
    assert [{key: row[key] for key in rows[0]} for row in found] == rows
    assert [(row["outcome"], row["extracted"], row["reason"]) for row in found] == [
        ("correct", "4", ""),
        ("error", None, "the completion is null"),
        ("correct", "0.5", ""),
        ("wrong", "100", ""),
    ]


def test_half_a_character_in_json_text_is_written_as_a_question_mark(folder: Path) -> None:
    rows = [{"answer": "4", "completions": '["\\\\boxed{\\ud800}", "4"]'}]
    told(parquet(rows), "--verifier", "exact", "--out", "out.parquet")
    assert pq.read_table("out.parquet")["extracted"].to_pylist() == [["?", "4"]]


def test_out_replaces_nothing(folder: Path) -> None:
    told(jsonl(ROWS), "--out", "out.parquet")
    assert "out.parquet exists already" in wrong(jsonl(ROWS), "--out", "out.parquet")
    assert "has a column 'outcome' already" in wrong("out.parquet", "--out", "other.parquet")


@pytest.mark.parametrize("name", ["half.jsonl.gz", "damaged.parquet"])
def test_a_file_that_cannot_be_read_to_its_end_leaves_no_half_of_an_out(folder: Path, name: str) -> None:
    with gzip.open("whole.jsonl.gz", "wt") as packed:
        packed.writelines(json.dumps(row) + "\n" for row in ROWS * 1000)
    Path("half.jsonl.gz").write_bytes(Path("whole.jsonl.gz").read_bytes()[:-100])
    table = pa.Table.from_pylist([row | {"noise": str(hash(n))} for n, row in enumerate(ROWS * 1000)])
    pq.write_table(table, "damaged.parquet", row_group_size=1000)
    content = bytearray(Path("damaged.parquet").read_bytes())
    content[-20_000:-10_000] = bytes(10_000)
    Path("damaged.parquet").write_bytes(content)
    assert "cannot be read" in wrong(name, "--out", "graded/out.parquet")
    assert [*folder.glob("graded/*"), *folder.glob("graded/.*")] == []


# ---- a judge


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


def test_a_judge_is_measured_beside_the_verifier_and_put_on_record(folder: Path, server: JudgeServer) -> None:
    name = f"{server.url}#{NAME}"
    data = told(jsonl(ROWS), "--judge", name, "--out", "out.parquet")
    judge = data["judge"]
    # It compares letters: 1/2 and 0.5 are different to it, which is what the label says.
    assert judge["verdicts"] == {"judge": {"correct": 1, "wrong": 3, "error": 0}}
    assert judge["agreement"]["false_accepts"]["count"] == 0
    assert (judge["agreement"]["false_rejects"]["count"], judge["agreement"]["false_rejects"]["of"]) == (1, 2)
    assert (judge["with_rule"]["agreement"]["count"], judge["with_rule"]["agreement"]["of"]) == (3, 4)
    assert judge["with_rule"]["correct_by"] == {"judge_only": 0, "rule_only": 1}
    assert (judge["cost"]["calls"], judge["cost"]["tokens"]) == (4, 28)
    assert pq.read_table("out.parquet")["judge_outcome"].to_pylist() == ["correct", "wrong", "wrong", "wrong"]

    found = record(Store("cuvee-data"), JudgeAsked(name).judge())
    assert found is not None
    assert judge["record"].endswith(f"judges/{judge['settings_hash']}.json")
    (entry,) = found["measured"]
    assert entry["labels"]["file"] == "rows.jsonl"
    assert entry["labels"]["sha256"] == data["file"]["sha256"]
    assert entry["judge"] == judge["agreement"]
    assert entry["rule"] == data["agreement"]
    assert record(Store("cuvee-data"), JudgeAsked(name, settings={"twice": "true"}).judge()) is None
    told(jsonl(ROWS), "--judge", name)
    assert len(json.loads(Path(judge["record"]).read_text())["measured"]) == 1


def test_what_is_printed_of_a_judge(folder: Path, server: JudgeServer) -> None:
    result = run(jsonl(ROWS), "--judge", f"{server.url}#{NAME}", "--judging", "twice=true")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    for part in (
        "judge 4 1 3 0",
        "the judge agreement 75.00%",
        "judge, verifier agreement 75.00%",
        "The judge is judge (equivalence, asked twice): 8 calls",
        "is not pinned",
        "are on record in",
    ):
        assert part in said


def test_a_judge_of_a_recipe_is_pinned_and_priced(folder: Path, server: JudgeServer) -> None:
    model = {"model": NAME, "url": server.url, "revision": "v1", "price": {"completion_mtok": 1e6}}
    recipe = {"name": "r", "sources": {"a": {"jsonl": jsonl(ROWS)}}, "models": {"wise": model}}
    Path("r.yaml").write_text(json.dumps(recipe))
    judge = told("rows.jsonl", "--judge", "wise", "--recipe", "r.yaml")["judge"]
    assert (judge["unpinned"], judge["cost"]["dollars"]) == (False, 28.0)
    assert "neither a model of r.yaml (wise)" in wrong("rows.jsonl", "--judge", "unwise", "--recipe", "r.yaml")


def test_a_judge_whose_replies_are_no_verdicts_has_no_rates(folder: Path, server: JudgeServer) -> None:
    server.reply = "equivalent!"
    judge = told(jsonl(ROWS), "--judge", f"{server.url}#{NAME}")["judge"]
    assert judge["verdicts"]["judge"] == {"correct": 0, "wrong": 0, "error": 4}
    assert judge["agreement"]["false_accepts"] == {"count": 0, "of": 0, "rate": None, "low": 0.0, "high": 1.0}


def test_a_judge_needs_labels_and_a_name(folder: Path, server: JudgeServer) -> None:
    file, name = jsonl(ROWS), f"{server.url}#{NAME}"
    plain = jsonl([{"answer": "4", "completion": "4"}], "plain.jsonl")
    assert "shows only beside labels" in wrong(plain, "--judge", name)
    assert f"say what the server calls the model: {server.url}#NAME" in wrong(file, "--judge", server.url)
    assert "neither a model of a --recipe" in wrong(file, "--judge", "judge")
    assert "'twise' is no setting of a judge; there are kind, rubric, accept, twice" in wrong(
        file, "--judge", name, "--judging", "twise=true"
    )
    assert "--judging: kind: " in wrong(file, "--judge", name, "--judging", "kind=taste")
    assert "name it with --judge" in wrong(file, "--judging", "twice=true")
    assert server.prompts == []


# ---- intervals


def test_the_interval_is_wilsons() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(5, 10) == pytest.approx((0.2692718, 0.7307282), abs=1e-6)
    assert wilson(0, 100)[0] == 0.0
    assert wilson(0, 100)[1] == pytest.approx(0.0263431, abs=1e-6)
    assert wilson(1, 20, level=0.95) == pytest.approx((0.0088814, 0.2361312), abs=1e-6)


@given(st.integers(1, 10**6).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_interval_holds_the_rate_and_mirrors(counts: tuple[int, int]) -> None:
    count, of = counts
    low, high = wilson(count, of)
    assert 0 <= low <= count / of <= high <= 1
    assert wilson(of - count, of) == pytest.approx((1 - high, 1 - low))


def test_agreement_counts_the_two_kinds_of_mistakes_apart() -> None:
    table = Agreement()
    for label, outcome, times in ((True, "correct", 6), (True, "wrong", 2), (False, "correct", 1), (False, "wrong", 9)):
        for _ in range(times):
            table.add(label, outcome)  # type: ignore[arg-type]
    table.add(True, "error")
    assert table.agreement == Rate(15, 18)
    assert (table.false_accepts, table.false_rejects) == (Rate(1, 10), Rate(2, 8))


# ---- real rows


def test_real_rows_with_labels_are_graded(folder: Path) -> None:
    if not EQUIVALENCE.exists():
        pytest.skip(f"{EQUIVALENCE} is not there")
    with pa.input_stream(str(EQUIVALENCE), compression="zstd") as stream:
        lines = stream.read().decode().splitlines()
    numbers = [line for line in lines if re.fullmatch(r"-?\d+", json.loads(line)["gold"])][:300]
    data = told(jsonl(numbers))
    assert data["columns"] == {"answer": "gold", "completion": "pred", "label": "equal"}
    assert (data["rows"], data["agreement"]["labelled"]) == (300, 300)
    assert data["agreement"]["agreement"]["rate"] > 0.9
