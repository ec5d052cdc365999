"""Plans: what is there, what is missing, what it will take; nothing is measured without a pilot."""

import json

import pytest
from click.testing import CliRunner
from fake_server import FakeServer
from lab import Lab, decided, sums

from curation.budget import Budget
from curation.progress import Progress
from flows.cli import main
from flows.curate import curate
from flows.plan import plan
from flows.recipe import load

QUIET = Progress(quiet=True)


@pytest.fixture
def planned(lab: Lab) -> Lab:
    """Forty sums, settled early, after two cheap annotators."""
    lab.source("sums", sums(*((a, b) for a in range(8) for b in range(5))))
    lab.recipe["annotate"] = {"form": {}, "duplicates": {}, "pass_rate": lab.recipe["annotate"]["pass_rate"]}
    lab.recipe["annotate"]["pass_rate"]["settle"] = "early"
    lab.recipe["keep"] = {"question": "not proof", "learnable": "passes between 1 and 3"}
    return lab


def entry(data: dict[str, object], key: str) -> dict[str, object]:
    return next(e for e in data["annotators"] if e["key"] == key)  # type: ignore[attr-defined, no-any-return]


def test_a_plan_measures_nothing_and_asks_for_no_sample(planned: Lab, fake_server: FakeServer) -> None:
    data = plan(load(str(planned.write())), str(planned.workspace), progress=QUIET)
    assert [(e["key"], e["problems"], e["missing"]) for e in data["annotators"]] == [
        ("form", 40, 40),
        ("duplicates", 40, 40),
        ("pass_rate", 40, 40),
    ]
    sampled = entry(data, "pass_rate")
    assert (sampled["samples_at_most"], sampled["samples_about"]) == (160, 127)  # 3.17 each, all rates being as likely
    assert sampled["prompts"] == [{"id": sampled["prompts"][0]["id"], "text": "What is 0 + 0?\nAnswer:"}]  # type: ignore[index]
    assert not fake_server.asked
    assert not (planned.workspace / "annotations").exists()
    assert not (planned.workspace / "rollouts").exists()


def test_after_a_run_nothing_is_missing(planned: Lab) -> None:
    planned()
    data = plan(load(str(planned.write())), str(planned.workspace), progress=QUIET)
    assert [e["missing"] for e in data["annotators"]] == [0, 0, 0]


def test_what_a_rule_dropped_is_not_planned_for(planned: Lab) -> None:
    planned.source("sums", [*sums((1, 2)), {"prompt": "Prove that 1 + 1 = 2.", "answer": "2"}])
    curate(load(str(planned.write())), str(planned.workspace), until="duplicates", progress=QUIET)
    data = plan(load(str(planned.write())), str(planned.workspace), progress=QUIET)
    assert entry(data, "pass_rate")["problems"] == 1


def test_a_pilot_samples_some_problems_and_says_what_the_others_take(planned: Lab, fake_server: FakeServer) -> None:
    planned.policy["price"] = {"prompt_mtok": 1.0, "completion_mtok": 10.0}
    planned.policy["concurrency"] = 1
    data = plan(load(str(planned.write())), str(planned.workspace), pilot=10, progress=QUIET)
    sampled = entry(data, "pass_rate")
    pilot = sampled["pilot"]
    assert (pilot["problems"], pilot["dropped"], pilot["others"]) == (10, 0, 30)  # type: ignore[index]
    drawn = sum(fake_server.asked.values())
    low, middle, high = pilot["samples"]  # type: ignore[index]
    assert middle == 3 * drawn  # thirty others
    assert low < middle < high
    assert len({row["problem_id"] for row in planned.stored("rollouts")}) == 10
    run = planned()
    rest = sum(fake_server.asked.values()) - drawn
    assert run.drawn["pass_rate"]["drawn"] == rest  # the pilot's samples are kept
    assert low <= rest <= high
    assert pilot["usd"][1] == pytest.approx(  # type: ignore[index]
        (10 * pilot["tokens"][1] + pilot["prompt_tokens"][1]) / 1e6,  # type: ignore[index]
        abs=0.01,
    )


def test_what_a_pilot_says_of_the_rest_counts_only_what_is_missing(planned: Lab, fake_server: FakeServer) -> None:
    """Part of the work is done: a budget stopped a run."""
    loaded = load(str(planned.write()))
    curate(loaded, str(planned.workspace), budget=Budget.parse("1200tok"), progress=QUIET)
    sampled = entry(plan(loaded, str(planned.workspace), pilot=8, progress=QUIET), "pass_rate")
    done = sum(fake_server.asked.values())
    planned()
    rest = sum(fake_server.asked.values()) - done
    low, _, high = sampled["pilot"]["samples"]  # type: ignore[index]
    assert low <= rest <= high <= sampled["samples_at_most"]  # type: ignore[operator]


def test_problems_that_an_earlier_annotator_may_drop_are_counted_as_often_as_the_pilots_come(
    planned: Lab, fake_server: FakeServer
) -> None:
    planned.recipe["annotate"] = {
        "guess": {"model": "policy", "n": 1, "prompt": {"template": "{prompt} At once:"}},
        "full": {"is": "pass_rate", "model": "policy", "n": 4, "max_tokens": 64, "settle": "never"},
    }
    planned.recipe["keep"] = {"not_guessed": "not guessed"}  # one in five sums has no right first answer
    data = plan(load(str(planned.write())), str(planned.workspace), pilot=20, progress=QUIET)
    pilot = entry(data, "full")["pilot"]
    assert pilot["problems"] + pilot["dropped"] == 20  # type: ignore[index]
    assert pilot["others"] == 20  # type: ignore[index]
    run = planned()
    low, middle, high = pilot["samples"]  # type: ignore[index]
    assert middle == 4 * pilot["problems"]  # type: ignore[index]
    assert low <= run.drawn["full"]["drawn"] <= high
    assert low < high


def test_a_pilot_of_samples_that_lack_their_verdicts_only_draws_nothing(planned: Lab, fake_server: FakeServer) -> None:
    planned()
    for part in planned.workspace.glob("verdicts/*/part-*"):
        part.unlink()
    fake_server.forget()
    data = plan(load(str(planned.write())), str(planned.workspace), pilot=5, progress=QUIET)
    pilot = entry(data, "pass_rate")["pilot"]
    assert (pilot["samples"], pilot["hours"]) == ([0, 0, 0], None)  # type: ignore[index]
    assert not fake_server.asked


def test_a_pilot_changes_no_decision(planned: Lab, fake_server: FakeServer) -> None:
    plan(load(str(planned.write())), str(planned.workspace), pilot=10, progress=QUIET)
    after = decided(planned())
    planned.workspace = planned.folder / "another"
    assert {p: row["kept"] for p, row in after.items()} == {p: row["kept"] for p, row in decided(planned()).items()}


def test_chat_prompts_are_shown_as_the_server_puts_them(planned: Lab, fake_server: FakeServer) -> None:
    planned.policy["prompt"] = {"style": "chat", "system": "Add."}
    data = plan(load(str(planned.write())), str(planned.workspace), progress=QUIET)
    assert entry(data, "pass_rate")["prompts"][0]["text"] == "<system>Add.<user>What is 0 + 0?<assistant>"  # type: ignore[index]
    fake_server.tokenizes = False
    data = plan(load(str(planned.write())), str(planned.workspace), progress=QUIET)
    assert entry(data, "pass_rate")["prompts"][0]["text"] == "[system] Add.\n[user] What is 0 + 0?\n[assistant]"  # type: ignore[index]
    assert "404" in entry(data, "pass_rate")["prompts"][0]["trouble"]  # type: ignore[index]


def test_sampling_otherwise_than_rl_is_warned_of(planned: Lab) -> None:
    planned.recipe["train"] = {"rl": {"temperature": 0.6, "max_tokens": 64}}
    planned.recipe["annotate"]["pass_rate"]["temperature"] = 1.0
    data = plan(load(str(planned.write())), str(planned.workspace), progress=QUIET)
    assert any("annotate.pass_rate.temperature is 1.0 and train.rl.temperature 0.6" in w for w in data["warnings"])
    assert any("train.rl.temperature" in warning for warning in planned().warnings)


def test_the_command_prints_it_all(planned: Lab) -> None:
    arguments = ["plan", str(planned.write()), "--workspace", str(planned.workspace), "--quiet"]
    told = CliRunner().invoke(main, [*arguments, "--pilot", "10"], catch_exceptions=False)
    assert told.exit_code == 0
    assert "pass_rate: by the pilot's 10 problems, the other 30 take (90 % interval)" in told.output
    assert "has no `price`" in told.output
    assert "│ What is 0 + 0?" in told.output
    data = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)
    assert entry(data, "pass_rate")["missing"] == 30
