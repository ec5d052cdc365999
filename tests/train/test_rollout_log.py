"""Training's rollouts decide difficulty again: what is written is what the importer reads."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_server import FakeServer
from lab import Lab, decided

from curation.rollouts import Sampling
from flows.cli import main
from train.rollout_log import Answer, RolloutLog, begin, file_of

SUMS = ((3, 4), (10, 5), (2, 2), (8, 7), (6, 9), (1, 1))


def log(run: Path, process: int = 0, **sampling: Any) -> RolloutLog:
    return RolloutLog(run, process, Sampling(**sampling), max_tokens=64, engine="transformers")


def answers(ids: dict[str, str], a: int, b: int, right: int, group: int = 4, sent: Any = None) -> list[Answer]:
    """A group, the first answers of it right, the last one cut off."""
    asked = f"What is {a} + {b}?"
    return [
        Answer(
            problem_id=ids[asked],
            prompt=sent or f"{asked}\nAnswer:",
            text=f" {a + b if k < right else a + b + 1}",
            token_ids=[k] * (64 if k == group - 1 else 3),
            ended=k < group - 1,
            right=k < right,
        )
        for k in range(group)
    ]


def bring(lab: Lab, *arguments: str) -> Any:
    files = str(lab.folder / "run" / "rollouts" / "*.jsonl")
    told = CliRunner().invoke(
        main,
        ["import", str(lab.write()), files, "--as", "trained", "--workspace", str(lab.workspace), "--json", *arguments],
    )
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


@pytest.fixture
def trained(lab: Lab) -> dict[str, str]:
    """A recipe with the trained model in it, whose ids are known."""
    ids = {prompt: row["id"] for prompt, row in decided(lab()).items()}
    lab.recipe["models"]["trained"] = {**lab.policy, "revision": "2"}
    lab.recipe["annotate"]["pass_rate"]["model"] = "trained"
    return ids


def test_what_training_drew_decides_difficulty_again_and_nothing_is_drawn(
    lab: Lab, trained: dict[str, str], fake_server: FakeServer
) -> None:
    fake_server.asked.clear()
    for process in (0, 1):
        one = log(lab.folder / "run", process)
        for number, (a, b) in enumerate(SUMS[process::2]):
            one.append(7, answers(trained, a, b, right=number))
    told = bring(lab)
    assert (told["imported"], told["problems"], told["rejected"], told["unmatched"]) == (24, 6, [], 0)
    assert told["sets"][0]["counted_by"][0]["complete"] == 6
    assert told["sets"][0]["cut_off"] == 6
    assert (told["assumed"], told["prompt_unsaid"], told["prompt_unknown"], told["cut_short"]) == ({}, 0, 0, 0)
    assert told["agreement"] == {"checked": 18, "agree": 18, "file_only": 0, "verifier_only": 0, "errors": 0}
    rows = decided(lab())
    assert {f"{a} + {b}": rows[f"What is {a} + {b}?"]["passes"] for a, b in SUMS} == {
        "3 + 4": 0, "10 + 5": 0, "2 + 2": 1, "8 + 7": 1, "6 + 9": 2, "1 + 1": 2,
    }  # fmt: skip
    assert fake_server.asked.total() == 0
    (stored,) = {
        (row["engine"], row["max_tokens"]) for row in lab.stored("rollouts") if row["engine"] == "transformers"
    }
    assert stored == ("transformers", 64)


def test_one_step_can_be_taken_out_of_many(lab: Lab, trained: dict[str, str]) -> None:
    one = log(lab.folder / "run")
    for step in (9, 10, 11):
        one.append(step, answers(trained, 3, 4, right=2))
    assert any("several training steps (9 to 11)" in warning for warning in bring(lab)["warnings"])
    told = bring(lab, "--where", "step::int >= 11")
    assert (told["samples"], told["already_there"]) == (4, 4)
    assert not any("several training steps" in warning for warning in told["warnings"])


def test_turns_are_read_as_they_were_sent(lab: Lab, trained: dict[str, str]) -> None:
    lab.recipe["models"]["trained"]["prompt"] = {"style": "chat", "system": "Add."}
    turns = [{"role": "system", "content": "Add."}, {"role": "user", "content": "What is 3 + 4?"}]
    log(lab.folder / "run").append(0, answers(trained, 3, 4, right=2, sent=turns))
    told = bring(lab)
    assert (told["imported"], told["prompt_unsaid"], told["prompt_unknown"]) == (4, 0, 0)


def test_settings_go_with_the_samples(lab: Lab, trained: dict[str, str]) -> None:
    log(lab.folder / "run", temperature=0.6, top_k=20).append(0, answers(trained, 3, 4, right=2))
    (found,) = bring(lab)["sets"]
    assert found["sampling"] | {"temperature": 0.6, "top_k": 20} == found["sampling"]
    assert found["counted_by"] == []


def test_an_answer_no_grader_could_judge_has_no_score(lab: Lab, trained: dict[str, str]) -> None:
    unknown = [
        Answer(one.problem_id, one.prompt, one.text, one.token_ids, one.ended, None)
        for one in answers(trained, 3, 4, 2)
    ]
    log(lab.folder / "run").append(0, unknown)
    told = bring(lab)
    assert (told["imported"], told["agreement"]) == (4, None)


def test_going_on_takes_the_files_back_to_the_checkpoint(tmp_path: Path) -> None:
    ids = {"What is 3 + 4?": "p"}
    for process in (0, 1):
        one = log(tmp_path, process)
        for step in range(4):
            one.append(step, answers(ids, 3, 4, right=step))
    whole = file_of(tmp_path, 0).read_bytes()
    lines = whole.splitlines(keepends=True)
    with file_of(tmp_path, 1).open("ab") as torn:
        torn.write(lines[0][:-30])

    begin(tmp_path, 2)

    for process in (0, 1):
        assert file_of(tmp_path, process).read_bytes().count(b"\n") == 8
        assert {json.loads(line)["step"] for line in file_of(tmp_path, process).read_text().splitlines()} == {0, 1}
    assert whole.startswith(file_of(tmp_path, 0).read_bytes())
    begin(tmp_path, 0)
    assert file_of(tmp_path, 0).read_bytes() == b""


def test_a_line_that_a_kill_cut_off_goes_and_the_next_is_whole(tmp_path: Path) -> None:
    ids = {"What is 3 + 4?": "p"}
    log(tmp_path).append(0, answers(ids, 3, 4, right=1))
    with file_of(tmp_path, 0).open("ab") as torn:
        torn.write(b'{"st')
    begin(tmp_path, 5)
    log(tmp_path).append(5, answers(ids, 3, 4, right=1))
    assert [json.loads(line)["step"] for line in file_of(tmp_path, 0).read_text().splitlines()] == [0] * 4 + [5] * 4


def test_a_run_without_rollouts_has_nothing_to_take_back(tmp_path: Path) -> None:
    begin(tmp_path, 3)
    assert not [*tmp_path.iterdir()]
