"""The commands, as a user types them. One goes through Prefect and a process of its own; the others run in this one."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from fake_server import FakeServer
from lab import Lab, sums

from flows.cli import main
from flows.closing import closing
from flows.curate import Outcome, StepFailed
from flows.recipe import load
from flows.telling import AGAIN, terminal

CUVEE = Path(sys.executable).parent / "cuvee"


def cuvee(lab: Lab, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--workspace", str(lab.workspace)])


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def published(lab: Lab) -> Lab:
    """Nine rows: six sums, a duplicate of one, one without a prompt, one that the form rule drops."""
    rows = [*sums((3, 4), (10, 5), (2, 2), (8, 7), (6, 9), (1, 1)), *sums((3, 4))]
    rows += [{"prompt": " ", "answer": "1"}, {"prompt": "True or false: 2 is even.", "answer": "True"}]
    lab.source("sums", rows)
    lab.recipe["annotate"] = {"form": {}, "gold": {}, "duplicates": {}} | lab.recipe["annotate"]
    lab.recipe["keep"] = {
        "evaluable": "not true_false",
        "gold": "gold_accepted",
        "unique": "not duplicate",
        "learnable": "passes between 1 and 3",
    }
    lab()
    return lab


def test_run_measures_decides_publishes_and_says_what_next(lab: Lab) -> None:
    command = [CUVEE, "run", str(lab.write()), "--workspace", str(lab.workspace)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "6 rows read" in done.stdout
    assert "24 samples drawn" in done.stdout
    assert "cuvee why lab" in done.stdout
    # Prefect ran it and said nothing of its own.
    assert "Traceback" not in done.stderr
    assert "flow run" not in done.stderr.lower().replace("prefect shows this run", "")


def test_inspect_accounts_for_every_row(published: Lab) -> None:
    data = told(cuvee(published, "inspect", "lab", "--json"))
    counts = data["counts"]
    assert counts["read"] == 9
    assert counts["kept"] + counts["dropped"] + counts["rejected"] == 9
    entered = [rule["entered"] for rule in data["funnel"]]
    assert entered[:3] == [8, 7, 7]
    assert sum(bin["problems"] for bin in data["pass_rates"]["pass_rate"]) == 6
    shown = cuvee(published, "inspect", "lab").output
    assert "no prompt (1)" in shown
    assert "not true_false" in shown


def test_inspect_lists_what_a_rule_dropped_and_what_was_rejected(published: Lab) -> None:
    dropped = told(cuvee(published, "inspect", "lab", "--rule", "evaluable", "--json"))["rows"]
    assert [row["prompt"] for row in dropped] == ["True or false: 2 is even."]
    rejected = told(cuvee(published, "inspect", "lab", "--rejected", "--json"))["rows"]
    assert [(row["row"], row["reason"]) for row in rejected] == [(7, "no prompt")]
    wrong = cuvee(published, "inspect", "lab", "--rule", "no such rule")
    assert wrong.exit_code == 2
    assert "evaluable, gold, unique, learnable" in wrong.output


def test_why_shows_every_measurement_rule_and_rollout(published: Lab) -> None:
    kept = told(cuvee(published, "inspect", "lab", "--rows", "1", "--json"))["rows"][0]
    data = told(cuvee(published, "why", "lab", kept["id"], "--json"))
    assert data["kept"]
    assert {rule["rule"]: rule["outcome"] for rule in data["rules"]} == dict.fromkeys(
        ("evaluable", "gold", "unique", "learnable"), "pass"
    )
    assert set(data["measured"]) == {"form", "gold", "duplicates", "pass_rate"}
    rollouts = data["rollouts"]["pass_rate"]
    assert [rollout["sample_index"] for rollout in rollouts] == [0, 1, 2, 3]
    outcomes = [rollout["outcome"] for rollout in rollouts]
    assert outcomes.count("correct") == data["measured"]["pass_rate"]["passes"]
    shown = cuvee(published, "why", "lab", kept["id"]).output
    assert kept["id"] in shown
    assert "passes between 1 and 3" in shown


def test_why_says_that_a_dropped_row_was_not_measured_further(published: Lab) -> None:
    dropped = told(cuvee(published, "inspect", "lab", "--rule", "evaluable", "--json"))["rows"][0]
    data = told(cuvee(published, "why", "lab", dropped["id"], "--json"))
    assert (data["kept"], data["dropped_by"]) == (False, "evaluable")
    assert data["measured"]["pass_rate"] is None
    assert {rule["rule"]: rule["outcome"] for rule in data["rules"]}["learnable"] == "unmeasured"


def test_why_of_an_unknown_problem_says_how_to_find_one(published: Lab) -> None:
    result = cuvee(published, "why", "lab", "feedbeef")
    assert result.exit_code == 2
    assert "cuvee inspect" in result.output


def test_sweep_decides_again_without_a_model(published: Lab, fake_server: FakeServer) -> None:
    asked = fake_server.asked.total()
    data = told(cuvee(published, "sweep", "lab", "--rule", "learnable=passes >= 0", "--json"))
    assert data["counts"]["kept"] == 6
    assert data["counts"]["kept"] + data["counts"]["dropped"] + data["counts"]["undecided"] == 8
    looser = told(cuvee(published, "sweep", "lab", "--rule", "evaluable=", "--rule", "learnable=passes >= 1", "--json"))
    # The row that `evaluable` had dropped was never measured: it is undecided, with what would decide it.
    assert looser["counts"]["undecided"] == 1
    assert looser["samples"] == 4
    assert fake_server.asked.total() == asked


def test_sweep_saves_a_recipe_that_runs(published: Lab, tmp_path: Path) -> None:
    saved = tmp_path / "stricter.yaml"
    before = told(cuvee(published, "sweep", "lab", "--rule", "learnable=passes = 2", "--save", str(saved), "--json"))
    from flows.recipe import load

    loaded = load(str(saved))
    assert {rule.name: rule.expression for rule in loaded.rules}["learnable"] == "passes = 2"
    assert before["counts"]["kept"] <= 6


def test_sweep_with_a_bad_rule_names_the_nearest_column(published: Lab) -> None:
    result = cuvee(published, "sweep", "lab", "--rule", "learnable=pases > 1")
    assert result.exit_code == 2
    assert "passes" in result.output


def test_sweep_saves_nothing_over_a_file_nowhere_and_under_no_bad_name(published: Lab, tmp_path: Path) -> None:
    there, fresh = tmp_path / "there.yaml", tmp_path / "fresh.yaml"
    there.write_text("mine")
    for path, rule, named in [
        (there, "learnable=passes = 2", str(there)),
        (tmp_path / "no" / "x.yaml", "learnable=passes = 2", str(tmp_path / "no")),
        (fresh, "Bad-Name=passes = 2", "'Bad-Name'"),
    ]:
        result = cuvee(published, "sweep", "lab", "--rule", rule, "--save", str(path))
        assert result.exit_code == 2, result.output
        assert named in result.stderr
    assert there.read_text() == "mine"
    assert not fresh.exists()


def test_inspect_prints_what_the_encoding_cannot_and_takes_no_endless_count(published: Lab) -> None:
    command = [CUVEE, "inspect", "lab", "--workspace", str(published.workspace)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "9 rows read" in done.stdout
    assert cuvee(published, "inspect", "lab", "--rows", "9" * 20).exit_code == 2


def ran(lab: Lab, monkeypatch: pytest.MonkeyPatch, result: Outcome | BaseException, *options: str) -> Result:
    """`cuvee run` whose flow comes to this."""

    def flow(*_: Any, **__: Any) -> Outcome:
        if isinstance(result, BaseException):
            raise result
        return result

    monkeypatch.setattr("flows.curate.curate_flow", flow)
    monkeypatch.setattr("flows.server.prefect_api", lambda say: contextlib.nullcontext())
    return cuvee(lab, "run", str(lab.write()), *options)


def test_run_until_prints_json_and_shows_warnings_without_their_escapes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ran(lab, monkeypatch, Outcome(None, False, {}, ["bad \x1b[2J"]), "--json", "--until", "pool")
    assert told(result) == {"stopped_after": "pool", "drawn": {}, "warnings": ["bad \x1b[2J"]}
    assert result.stderr == "warning: bad \\x1b[2J\n"


def test_a_stop_is_told_as_one_however_it_is_wrapped(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = ValueError("PydanticSerializationError")
    wrapped.__context__ = RuntimeError("inner")
    wrapped.__context__.__cause__ = KeyboardInterrupt()
    for stop in (wrapped, KeyboardInterrupt(), click.Abort()):
        result = ran(lab, monkeypatch, stop)
        assert (result.exit_code, result.stderr) == (130, f"\nstopped. {AGAIN}\n")


def test_a_full_disk_is_told_without_a_traceback(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = StepFailed("gold")
    failed.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    result = ran(lab, monkeypatch, failed)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: no space left on device in {lab.workspace}; free some and run the same command again\n"
    )


def test_only_a_run_that_may_have_measured_is_told_to_go_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = ran(lab, monkeypatch, RuntimeError("odd \x1b[2J"))
    assert failed.exit_code == 1
    assert AGAIN in failed.stderr
    assert "RuntimeError: odd \\x1b[2J" in failed.stderr

    def broken(*_: Any) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr("curation.publish.find", broken)
    monkeypatch.setattr("flows.recipe.load", broken)
    for arguments in (["inspect", "lab"], ["why", "lab", "1"], ["sweep", "lab"], ["run", "demo"]):
        result = cuvee(lab, *arguments)
        assert result.exit_code == 1
        assert AGAIN not in result.stderr


def test_paths_are_printed_as_they_are(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.workspace = lab.folder / 'w[/]x "it\'s" $HOME'
    outcome = lab()
    assert outcome.dataset is not None
    closing(terminal(), outcome, load(str(lab.write())))
    shown = capsys.readouterr().out
    assert f"Published {outcome.dataset.ref} in {outcome.dataset.folder}\n" in shown
    line = next(line for line in shown.splitlines() if line.startswith("  python -c"))
    echo = line.replace("python -c", "printf %s", 1)
    code = subprocess.run(["sh", "-c", echo], capture_output=True, text=True, check=True).stdout
    assert code == f"import datasets; print(datasets.load_dataset({outcome.dataset.folder!r}, 'rl'))"


def test_every_command_teaches() -> None:
    runner = CliRunner()
    for command in main.commands:
        result = runner.invoke(main, [command, "--help"])
        assert result.exit_code == 0
        assert len(result.output) > 200


def test_the_shipped_recipes_are_listed_and_shown() -> None:
    runner = CliRunner()
    assert "demo" in runner.invoke(main, ["recipes"]).output
    assert "name: demo" in runner.invoke(main, ["recipes", "show", "demo"]).output


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, flows.cli; print([m for m in ('duckdb', 'pyarrow', 'pydantic', 'prefect', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
