"""`cuvee export`: what it says, and how it ends."""

import json
from pathlib import Path

from click.testing import CliRunner, Result
from exporting import SETS, problem, published

from flows.cli import main
from flows.commands.export import NAMES
from train.export.targets import TARGETS


def cuvee(workspace: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments, "--quiet", "--workspace", str(workspace)])


def test_it_says_what_is_there_what_is_left_out_and_where_to_read_on(tmp_path: Path) -> None:
    rows = [*SETS["rl"]["train"], problem("x", "Why?", None, verifier=None)]
    published(tmp_path / "ws", {"rl": {"train": rows, "test": []}, "process": SETS["process"]})
    out = tmp_path / "out"
    result = cuvee(tmp_path / "ws", "sums", "--to", "verl", str(out))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "rl: 4 in train; 1 left out",
        "  1 left out: no verifier: nothing can reward it; the first is x",
        "  Samples were ended at stop strings, and verl takes none: the model goes on behind them until it ends by itself. "
        "reward.py grades what stands before the first one.",
        "process is not exported: verl has no trainer for steps with labels",
        "problems are asked as pass_rate asks them",
        f"sums@2026-11-22.1 for verl 0.9.1: {out}/README.md",
    ]
    again = cuvee(tmp_path / "ws", "sums@2026-11-22.1", "--to", "trl", str(out))
    assert again.stdout.splitlines()[0] == "replaced the export of sums@2026-11-22.1 that was there"


def test_programs_are_told_in_json(tmp_path: Path) -> None:
    published(tmp_path / "ws")
    result = cuvee(tmp_path / "ws", "sums", "--to", "trl", str(tmp_path / "out"), "--set", "rl", "--json")
    found = json.loads(result.stdout)
    assert found["sets"]["rl"]["rows"] == {"train": 4, "test": 2}
    assert (found["target"], found["asked"], found["replaced"]) == ("trl", "pass_rate", None)


def test_mistakes_are_told_in_a_line_with_exit_code_2(tmp_path: Path) -> None:
    published(tmp_path / "ws")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    for arguments, said in (
        (["sums", "--to", "verl", str(tmp_path / "full")], "is no export of Cuvee"),
        (["sums", "--to", "verl", str(tmp_path / "o"), "--set", "x"], "has no set 'x'"),
        (["sums", "--to", "verl", str(tmp_path / "o"), "--asked", "x"], "puts no problem to a model"),
        (["smus", "--to", "verl", str(tmp_path / "o")], "has no dataset 'smus'"),
    ):
        result = cuvee(tmp_path / "ws", *arguments)
        assert result.exit_code == 2, result.output
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert "'verl', 'openrlhf', 'nemo-rl', 'trl', 'jsonl'" in cuvee(tmp_path / "ws", "sums", "--to", "x", "o").stderr


def test_every_trainer_there_is_can_be_named() -> None:
    assert [*NAMES] == [*TARGETS]
