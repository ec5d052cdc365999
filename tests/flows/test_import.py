"""`cuvee import`: from files of another tool to decisions, without a sample drawn."""

import io
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from fake_server import FakeServer
from lab import Lab, decided

from flows.cli import main

CUVEE = Path(sys.executable).parent / "cuvee"
DATA = Path(__file__).parents[3] / "shared" / "data"
SUMS = ((3, 4), (10, 5), (2, 2), (8, 7), (6, 9), (1, 1))


def bring(lab: Lab, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["import", str(lab.write()), *arguments, "--workspace", str(lab.workspace)])


def told(lab: Lab, *arguments: str) -> Any:
    result = bring(lab, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def wrong(lab: Lab, *arguments: str) -> str:
    result = bring(lab, *arguments)
    assert result.exit_code == 2, result.output
    assert lab.stored("rollouts") == []
    return result.stderr


def verl(lab: Lab, name: str = "1.jsonl", n: int = 4, right: int = 2, step: int = 1) -> str:
    """A dump of n samples a problem, the first ones right, as a raw prompt leaves it."""
    rows = [
        {
            "input": f"What is {a} + {b}?\nAnswer:",
            "output": f" {a + b if k < right else a + b + 1}",
            "gts": str(a + b),
            "score": float(k < right),
            "step": step,
        }
        for a, b in SUMS
        for k in range(n)
    ]
    return write(lab, name, rows)


def write(lab: Lab, name: str, rows: list[dict[str, Any]]) -> str:
    path = lab.folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_difficulty_is_decided_from_an_rl_runs_own_samples_without_drawing(lab: Lab, fake_server: FakeServer) -> None:
    data = told(lab, verl(lab), "--as", "policy", "--like", "pass_rate")
    assert (data["rows"], data["imported"], data["already_there"], data["problems"]) == (24, 24, 0, 6)
    assert data["sets"][0]["counted_by"] == [
        {"annotator": "pass_rate", "n": 4, "max_tokens": 64, "complete": 6, "temperature": 1.0}
    ]
    outcome = lab()
    assert {row["passes"] for row in decided(outcome).values()} == {2}
    assert outcome.drawn == {}
    assert fake_server.asked.total() == 0
    lab(n=6)  # what is missing is drawn, nothing else
    assert {int(name.rsplit("-", 1)[1]) for name in fake_server.asked} <= {4, 5}


def test_published_traces_are_graded_by_their_answers_and_not_by_their_thinking(lab: Lab) -> None:
    rows = [
        {
            "question": f"What is {a} + {b}?",
            "thinking_trajectories": [f"{a}, {b}, {a + b}"],
            "attempt": str(a + b + miss),
        }
        for a, b in SUMS
        for miss in (0, 0, 0, 1)
    ]
    path = str(lab.folder / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert "neither the file nor the command says" in wrong(lab, path, "--as", "policy")
    drawn = ("--drawn", "temperature=1.0", "--drawn", "max_tokens=64")
    data = told(lab, path, "--as", "policy", *drawn)
    assert (data["imported"], data["files"][0]["layout"], data["rejected"]) == (24, "s1", [])
    assert {row["passes"] for row in decided(lab()).values()} == {3}
    stored = {(row["text"], row["reasoning"]) for row in lab.stored("rollouts")}
    assert {("7", "3, 4, 7"), ("8", "3, 4, 7")} <= stored


def test_the_order_of_files_changes_no_counts(tmp_path: Path, fake_server: FakeServer) -> None:
    counts = []
    for number, order in enumerate(itertools.permutations((1, 2, 3))):
        folder = tmp_path / str(number)
        folder.mkdir()
        lab = Lab(folder, {"model": "fake", "url": fake_server.url})
        files = [verl(lab, f"{k}.jsonl", n=2, right=k - 1, step=k) for k in order]
        told(lab, *files, "--as", "policy", "--like", "pass_rate")
        rows = decided(lab(n=6)).values()
        counts.append([(row["passes"], row["fails"]) for row in rows])
    assert counts == [[(3, 3)] * 6] * 6
    assert fake_server.asked.total() == 0


def test_what_is_printed_says_what_it_means(lab: Lab) -> None:
    shown = bring(lab, verl(lab), "--as", "policy", "--like", "pass_rate")
    assert "24 rows read, 24 samples in them: 24 imported, 0 already there" in shown.stdout
    assert "counts them for pass_rate (n=4, temperature=1, max_tokens=64), which has all 4" in shown.stdout
    assert "agrees with the files' scores on 24 of 24" in shown.stdout
    assert "neither a finish reason nor a length" in shown.stderr
    again = bring(lab, verl(lab), "--as", "policy", "--like", "pass_rate")
    assert "0 imported, 24 already there" in again.stdout


def test_settings_that_no_annotator_has_are_told_with_the_difference(lab: Lab) -> None:
    lab.recipe["models"]["other"] = {**lab.policy, "revision": "2"}
    data = told(lab, verl(lab), "--as", "other", "--drawn", "temperature=0.7", "--drawn", "max_tokens=64")
    (one,) = data["sets"]
    assert one["counted_by"] == []
    assert one["not_counted_by"] == [
        {
            "annotator": "pass_rate",
            "differs": {
                "model": ["served_name fake, revision 2", "served_name fake, revision 1"],
                "temperature": [0.7, 1.0],
            },
        }
    ]
    assert data["assumed"]["top_p"] == 1.0
    shown = bring(lab, verl(lab), "--as", "other", "--drawn", "temperature=0.7", "--drawn", "max_tokens=64").stdout
    assert "temperature is 0.7 here and 1.0 there" in shown


def test_a_score_that_the_verifier_does_not_share_is_told(lab: Lab) -> None:
    rows = [
        {"prompt": "What is 3 + 4?", "completion": text, "correct": right, "finish_reason": "stop"}
        for text, right in (("7", True), ("8", True), ("9", False), ("7", False))
    ]
    path = write(lab, "scored.jsonl", rows)
    agreement = told(lab, path, "--as", "policy", "--like", "pass_rate")["agreement"]
    assert {name: agreement[name] for name in ("checked", "agree", "file_only", "verifier_only", "errors")} == {
        "checked": 4,
        "agree": 2,
        "file_only": 1,
        "verifier_only": 1,
        "errors": 0,
    }
    assert lab.stored("verdicts") == []
    assert told(lab, path, "--as", "policy", "--like", "pass_rate", "--check", "0")["agreement"] is None


def test_traps_are_warned_of(lab: Lab) -> None:
    rows = [{"prompt": "What is 3 + 4?", "completion": "7", "token_ids": [*range(40)], "step": k} for k in (1, 2)]
    warnings = " ".join(
        told(lab, write(lab, "x.jsonl", rows), "--as", "policy", "--like", "pass_rate", "--drawn", "temperature=0")[
            "warnings"
        ]
    )
    for trap in ("temperature is 0", "100% of the samples are equal", "several training steps (1 to 2)"):
        assert trap in warnings


def test_what_is_odd_in_rows_that_were_taken_is_warned_of(lab: Lab) -> None:
    ids = {row["prompt"]: row["id"] for row in decided(lab()).values()}
    good = {"prompt": "What is 3 + 4?", "completion": "7"}
    rows = [
        good | {"tokens": 10, "finish_reason": "length"},
        good | {"problem_id": ids["What is 3 + 4?"], "prompt": "Three and four?"},
        good | {"problem_id": ids["What is 2 + 2?"]},
    ]
    data = told(lab, write(lab, "odd.jsonl", rows), "--as", "policy", "--like", "pass_rate")
    warnings = " ".join(data["warnings"])
    assert "1 samples were cut off (finish_reason: length) well below their max_tokens" in warnings
    assert "odd.jsonl row 0: 10 tokens of 64" in warnings
    assert "1 samples have the id of a problem and a prompt that is no problem's" in warnings
    (rejected,) = data["rejected"]
    assert rejected["first"].startswith("odd.jsonl row 2: problem_id and prompt are of two problems")
    assert (data["cut_short"], data["prompt_unknown"], data["imported"]) == (1, 1, 2)


def test_a_grown_file_and_an_edited_one(lab: Lab) -> None:
    rows = [{"prompt": "What is 3 + 4?", "completion": f"{k} it is, {'so it is, ' * 8}"} for k in range(5)]
    like = ("--as", "policy", "--like", "pass_rate")
    told(lab, write(lab, "grown.jsonl", rows[:4]), *like)
    data = told(lab, write(lab, "grown.jsonl", rows), write(lab, "new.jsonl", rows[4:]), *like)
    assert [file["already_there"] for file in data["files"]] == [4, 0]
    assert data["imported"] == 2
    data = told(lab, write(lab, "grown.jsonl", rows[1:]), *like)
    assert "100% of the samples are word for word ones" in " ".join(data["warnings"])
    shown = bring(lab, write(lab, "grown.jsonl", rows), write(lab, "new.jsonl", rows[4:]), *like).stdout
    assert "  5 already there: " in shown
    assert "  1 already there: " in shown


def test_mistakes_in_the_command_name_what_is_known(lab: Lab) -> None:
    path = verl(lab)
    like = ("--like", "pass_rate")
    for arguments, named in [
        ((path, "--as", "polcy", *like), "did you mean policy?"),
        ((path, "--as", "policy", "--like", "pass_rte"), "did you mean pass_rate?"),
        ((path, "--as", "policy", *like, "--drawn", "temprature=1"), "did you mean temperature?"),
        ((path, "--as", "policy", *like, "--drawn", "temperature=hot"), "'hot' is no number"),
        ((path, "--as", "policy", *like, "--drawn", "temperature=-1"), "temperature=-1"),
        ((path, "--as", "policy", *like, "--drawn", "max_tokens=1.5"), "max_tokens=1.5"),
        ((path, "--as", "policy", *like, "--layout", "vrel"), "did you mean verl?"),
        ((path, "--as", "policy", *like, "--column", "complettion=x"), "did you mean completion?"),
        ((path, "--as", "policy", *like, "--where", "scroe > 0"), "did you mean score?"),
        ((path, "--as", "policy"), "--like pass_rate"),
        ((str(lab.folder / "none.jsonl"), "--as", "policy", *like), "no file"),
        ((str(lab.folder), "--as", "policy", *like), f"is a folder; give the files in it: '{lab.folder}/*.jsonl'"),
    ]:
        assert named in wrong(lab, *arguments)


def test_a_workspace_in_use_is_left_alone(lab: Lab) -> None:
    with lab.store.locked():
        result = bring(lab, verl(lab), "--as", "policy", "--like", "pass_rate")
    assert result.exit_code == 1
    assert "is in use by" in result.output


def test_killed_at_any_moment_the_same_import_ends_as_an_undisturbed_one(lab: Lab) -> None:
    rows = [
        {"prompt": f"What is {a} + {b}?", "completion": f"{k}", "finish_reason": "stop", "pad": "x" * 2000}
        for k in range(200)
        for a, b in SUMS
    ]
    path = write(lab, "many.jsonl", rows)
    arguments = [path, "--as", "policy", "--like", "pass_rate", "--workspace", str(lab.workspace)]
    code = "import sys, curation.imports.imported as i; i.commit.__defaults__ = (1,)\n"
    code += "from flows.cli import main; main(sys.argv[1:])"
    for parts in (0, 1):
        run = subprocess.Popen(
            [sys.executable, "-c", code, "import", str(lab.write()), *arguments], stderr=subprocess.DEVNULL
        )
        while run.poll() is None and len([*lab.workspace.glob("rollouts/*/part-*")]) <= parts:
            time.sleep(0.001)
        run.kill()
        run.wait()
    assert told(lab, path, "--as", "policy", "--like", "pass_rate")["samples"] == len(rows)
    stored = lab.stored("rollouts")
    by_problem = itertools.groupby(stored, key=lambda row: row["problem_id"])
    for _, found in by_problem:
        # A kill between the merging of parts and the removal of those merged leaves rows twice; readers take one.
        samples = sorted({(row["sample_index"], row["text"], row["rollout"]) for row in found})
        assert [(index, text) for index, text, _ in samples] == [(k, str(k)) for k in range(200)]


# ---- real files


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_real_traces_of_one_teacher(lab: Lab) -> None:
    lines = unpacked("traces/long_cot_traces.jsonl.zst")
    rows = [json.loads(line) for line in lines]
    asked = {row["problem"]: row for row in rows if row["teacher"] == "qwen3:8b" and row["gold"]}
    lab.source("sums", [{"prompt": row["problem"], "answer": row["gold"]} for row in asked.values()], verifier="math")
    path = str(DATA / "traces" / "long_cot_traces.jsonl.zst")
    several = wrong(lab, path, "--as", "policy", "--like", "pass_rate", "--drawn", "max_tokens=32768")
    assert "samples of two models are never pooled" in several
    one = ("--where", "teacher = 'qwen3:8b' and mode = 'think'", "--drawn", "max_tokens=32768")
    data = told(lab, path, "--as", "policy", "--like", "pass_rate", *one)
    # 40 have no reference answer, and are no problems of the recipe.
    assert (data["rows"], data["imported"], data["unmatched"], data["rejected"]) == (200, 160, 40, [])
    thought = {
        (row["response"], row["thinking"]) for row in rows if (row["teacher"], row["mode"]) == ("qwen3:8b", "think")
    }
    assert {(row["text"], row["reasoning"]) for row in lab.stored("rollouts")} <= thought


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_real_solutions_with_upstream_scores(lab: Lab) -> None:
    solutions = pq.read_table(DATA / "pass_rate_dev" / "gsm8k_test_openai_solutions.parquet")
    problems = pq.read_table(DATA / "benchmarks" / "gsm8k_test.parquet").select(["id", "problem", "answer"])
    joined = solutions.join(problems, "bench_id", "id").sort_by([("bench_id", "ascending"), ("model", "ascending")])
    path = str(lab.folder / "solutions.parquet")
    pq.write_table(joined, path)
    lab.source("sums", [{"prompt": r["problem"], "answer": r["answer"]} for r in problems.to_pylist()], verifier="math")
    of_one = (
        "--as",
        "policy",
        "--like",
        "pass_rate",
        "--drawn",
        "max_tokens=400",
        "--where",
        "model = 'openai_6b_finetuning'",
    )
    # Answers with another digit before them: the file's scores and the verifier disagree on every right one.
    data = told(lab, path, *of_one, "--column", "completion=replace(solution, 'A: ', 'A: 7')")
    assert (data["rows"], data["imported"], data["problems"]) == (1319, 1319, 1319)
    assert data["agreement"]["file_only"] > 20
    assert data["agreement"]["verifier_only"] == 0
    assert any("disagree" in warning for warning in data["warnings"])
    data = told(lab, path, *of_one, "--column", "completion=solution")
    assert (data["imported"], data["already_there"]) == (0, 1319)
    assert data["agreement"]["agree"] >= 0.99 * data["agreement"]["checked"]


def unpacked(name: str) -> list[str]:
    with pa.input_stream(str(DATA / name), compression="zstd") as stream:
        return io.TextIOWrapper(stream, encoding="utf-8").read().splitlines()
