"""Whole runs with sets of every kind, from drawing to what `datasets` reads."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from distilling import STEPS, distilling, indexes, rows, traces
from fake_server import NAME, FakeServer
from lab import Lab, sums

from curation.budget import Budget
from curation.progress import Progress
from distill.staging import SetRefused
from flows.curate import Outcome, StepFailed, curate
from flows.recipe import load

MANY = [(a, b) for a in (3, 4, 6) for b in (1, 3, 4, 5)]
UNMARKED = "prompt not like '%(mark)'"
PARTS = {
    "thinking": {"mode": "think", "traces": "long"},
    "written.out-1": {"mode": "no_think", "traces": "written", "where": "verifier is not null"},
}
SETS: dict[str, dict[str, Any]] = {
    "rl": {"without": ["short"]},
    "short": {
        "is": "sft",
        "traces": "pass_rate",
        "select": {"by": "tokens", "k": 1},
        "where": f"passes = 3 and {UNMARKED}",
    },
    "sft": {"traces": "long", "max_faulty": 0.2},
    "unverified": {"is": "sft", "traces": "long", "where": "verifier is null", "keep": {"right": None}},
    "fusion": {
        "where": UNMARKED,
        "parts": PARTS,
        "multi_turn": 0.3,
        "ratio_of": "rows",
        "ratio": {"think": 1, "no_think": 1},
    },
    "fusion_thinking": {"is": "sft", "traces": "long", "where": "answer = '7'"},
    "preference": {
        "where": UNMARKED,
        "traces": "long",
        "pairs": {"kinds": ["correct_wrong", "long2short"], "longer": 1.05},
    },
    "process": {"completions": "meta->'$.steps'", "labels": "meta->'$.labels'"},
    "nothing": {"is": "sft", "traces": "long", "keep": {"none": "drawn_tokens < 0"}},
}


@dataclass(frozen=True)
class World:
    lab: Lab
    outcome: Outcome
    asked: list[str]
    ids: dict[str, str]
    """Of problems by their prompt."""

    @property
    def manifest(self) -> dict[str, Any]:
        assert self.outcome.dataset is not None
        return self.outcome.dataset.manifest


@pytest.fixture(scope="module")
def world(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with FakeServer() as server:
        lab = distilling(Lab(tmp_path_factory.mktemp("world"), {"model": NAME, "url": server.url}), model_folder, *MANY)
        lab.source("unverified", sums((9, 8), trouble=STEPS), verifier=None)
        lab.source("ungradable", [{"prompt": f"What is 2 + 9?{STEPS}", "answer": ""}], verifier="math")
        lab.source("marked", sums((2, 1), trouble=" (mark)"))
        steps = {"steps": ["First 1.", "Then 2."], "labels": [True, False]}
        lab.source("labelled", [{**sums((5, 2), trouble=STEPS)[0], "meta": steps}])
        lab.recipe["annotate"] = {"pass_rate": {"model": "policy", "n": 4, "max_tokens": 400, "settle": "never"}}
        lab.recipe["traces"]["written"] = {"text": "'The answer is ' || answer"}
        lab.recipe |= {"sets": SETS, "holdout": 0.4}
        outcome = lab()
        assert outcome.dataset is not None
        con = outcome.dataset.store.connect()
        ids = dict(con.execute(f"select prompt, id from {outcome.dataset.decisions()}").fetchall())
        yield World(lab, outcome, server.order[:], ids)


# ---- what is drawn


def test_every_sample_is_drawn_once_whoever_uses_it(world: World) -> None:
    assert len(world.asked) == len(set(world.asked)) == 8 * len(world.ids)


def test_the_samples_of_an_annotator_are_traces_as_they_are(world: World) -> None:
    assert "traces.pass_rate" not in world.outcome.drawn
    assert {trace["sample_index"] for trace in traces(world.outcome, "short")} == {0, 1, 2, 3}
    assert len(rows(world.outcome, "short")) == len({row["id"] for row in rows(world.outcome, "short")}) == 2


# ---- what is known of them


def test_a_problem_without_a_verifier_is_drawn_only_where_rules_may_keep_it(world: World) -> None:
    id_ = world.ids[f"What is 9 + 8?{STEPS}"]
    assert [trace for trace in traces(world.outcome, "sft") if trace["id"] == id_] == []
    assert {t["correct"] for t in traces(world.outcome, "unverified") if t["id"] == id_} == {None}
    assert any("sets.sft: 1 problems name no verifier" in warning for warning in world.outcome.warnings)
    assert {row["id"] for row in rows(world.outcome, "unverified")} == {id_}


def test_what_a_grader_fails_at_is_neither_right_nor_wrong(world: World) -> None:
    id_ = world.ids[f"What is 2 + 9?{STEPS}"]
    known = [trace for trace in traces(world.outcome, "sft") if trace["id"] == id_]
    assert [(t["correct"], t["dropped_by"]) for t in known] == [(None, "right")] * 8
    assert all(trace["verdict_reason"] for trace in known)
    assert id_ not in {row["id"] for row in rows(world.outcome, "preference")}


# ---- what is published


def test_a_trace_that_the_template_does_not_keep_is_dropped_and_the_others_stay(world: World) -> None:
    id_ = world.ids["What is 2 + 1? (mark)"]
    marked = [t for t in traces(world.outcome, "sft") if t["id"] == id_ and t["correct"]]
    assert {(t["dropped_by"], t["kept"]) for t in marked} == {("template", False), ("same_text", False)}
    marked = [t for t in marked if t["dropped_by"] == "template"]
    assert all("<|im_end|>" in t["fault"] for t in marked)
    assert [fault["rows"] for fault in world.manifest["built"]["sft"]["faults"]] == [len(marked)]
    assert rows(world.outcome, "sft")
    assert id_ not in {row["id"] for row in rows(world.outcome, "sft")}


def test_rows_are_in_the_split_of_their_problem(world: World) -> None:
    for config in ("sft", "fusion", "preference"):
        train, test = ({row["id"] for row in rows(world.outcome, config, split)} for split in ("train", "test"))
        assert train
        assert test
        assert not train & test
    splits = [{row["id"] for row in rows(world.outcome, config, "test")} for config in ("rl", "sft")]
    assert splits[1] - splits[0] <= {row["id"] for row in rows(world.outcome, "short", "test")}


def test_a_set_has_none_of_the_problems_of_a_set_that_it_is_without(world: World) -> None:
    short = {row["id"] for row in rows(world.outcome, "short")}
    assert {row["id"] for row in rows(world.outcome, "rl")} == {*world.ids.values()} - short


def test_every_kept_trace_is_a_row_and_every_dropped_one_has_a_reason(world: World) -> None:
    for config in ("sft", "short", "unverified", "fusion_thinking"):
        told = traces(world.outcome, config)
        assert {t["rollout"] for t in told if t["kept"]} == {row["rollout"] for row in rows(world.outcome, config)}
        assert all((t["dropped_by"] is None) is t["kept"] for t in told)


def test_the_manifest_counts_what_lies_in_the_files(world: World) -> None:
    for config, splits in world.manifest["sets"].items():
        assert {s: one["rows"] for s, one in splits.items()} == {s: len(rows(world.outcome, config, s)) for s in splits}
    assert world.manifest["built"]["sft"]["traces"] == "long"
    assert {*world.manifest["traces"]} == {"long", "pass_rate", "written"}


def test_a_fusion_has_both_modes_told_apart_by_the_last_flag(world: World) -> None:
    fused = rows(world.outcome, "fusion")
    assert {(row["part"], row["mode"]) for row in fused} == {("thinking", "think"), ("written.out-1", "no_think")}
    for row in fused:
        said = row["completion"][0]["content"]
        assert said.startswith("<think>\n\n</think>") is (row["mode"] == "no_think")
        assert row["flag"] in (("think", "none") if row["mode"] == "think" else ("no_think",))
        assert len(row["rollouts"]) == row["turns"]
        assert row["rollouts"][-1] == row["rollout"]
        assert [turn["train"] for turn in row["messages"]].count(True) == 1
        assert row["messages"][-1]["train"]
    assert any(row["turns"] > 1 for row in fused)
    for split in ("train", "test"):
        modes = [row["mode"] for row in rows(world.outcome, "fusion", split)]
        assert abs(modes.count("think") - modes.count("no_think")) <= 2


def test_what_became_of_the_traces_of_a_fusion_is_told_by_part(world: World) -> None:
    told = traces(world.outcome, "fusion")
    assert {trace["part"] for trace in told} == {*PARTS}
    trained = {(t["part"], t["rollout"]) for t in told if t["kept"]}
    assert trained == {(row["part"], row["rollout"]) for row in rows(world.outcome, "fusion")}
    assert all(t["dropped_by"] for t in told if not t["kept"] and t["correct"] is not True)


def test_a_set_and_a_part_of_like_names_are_kept_apart(world: World) -> None:
    seven = {
        world.ids[prompt] for prompt in (f"What is 3 + 4?{STEPS}", f"What is 4 + 3?{STEPS}", f"What is 6 + 1?{STEPS}")
    }
    assert {t["id"] for t in traces(world.outcome, "fusion_thinking")} - seven == {world.ids[f"What is 5 + 2?{STEPS}"]}
    assert len({t["id"] for t in traces(world.outcome, "fusion") if t["part"] == "thinking"}) == len(world.ids) - 2


def test_a_pair_is_of_one_problem_and_prefers_what_is_right(world: World) -> None:
    of = {t["rollout"]: t for t in traces(world.outcome, "preference")}
    pairs = rows(world.outcome, "preference")
    assert {row["kind"] for row in pairs} == {"correct_wrong", "long2short"}
    for row in pairs:
        chosen, rejected = of[row["chosen_rollout"]], of[row["rejected_rollout"]]
        assert row["id"] == chosen["id"] == rejected["id"]
        assert chosen["correct"]
        assert chosen["kept"]
        assert rejected["kept"]
        assert row["kind"] == "long2short" or rejected["correct"] is False
        assert row["chosen"] != row["rejected"]


def test_process_labels_are_rows_where_the_source_has_them(world: World) -> None:
    [row] = rows(world.outcome, "process")
    assert (row["completions"], row["labels"]) == (["First 1.", "Then 2."], [True, False])


def test_datasets_reads_every_config_also_where_a_split_is_empty(world: World, tmp_path: Path) -> None:
    from datasets import load_dataset

    assert world.outcome.dataset is not None
    for config, splits in world.manifest["sets"].items():
        if config != "nothing":
            read = load_dataset(world.outcome.dataset.folder, config, cache_dir=str(tmp_path))
            assert {s: len(part) for s, part in read.items()} == {
                s: one["rows"] for s, one in splits.items() if one["files"]
            }
    # datasets reads nothing without a row; there is a file of it all the same.
    assert world.manifest["sets"]["nothing"]["train"] == {"rows": 0, "files": ["nothing/train-00000.parquet"]}
    assert rows(world.outcome, "nothing") == []
    assert any("`nothing` is empty" in warning for warning in world.outcome.warnings)


# ---- when not all goes well


def run(lab: Lab, budget: str | None = None) -> Outcome:
    spending = None if budget is None else Budget.parse(budget)
    return curate(load(str(lab.write())), str(lab.workspace), budget=spending, progress=Progress(quiet=True))


def test_a_set_that_the_template_breaks_is_refused_and_what_was_drawn_is_kept(
    lab: Lab, fake_server: FakeServer, model_folder: Path
) -> None:
    distilling(lab, model_folder, (3, 4), n=4)
    lab.source("marked", sums((2, 1), trouble=" (mark)"))
    lab.recipe["sets"] = {"rl": {}, "sft": {"traces": "long"}}
    with pytest.raises(StepFailed, match=re.escape("sets.sft")) as failed:
        run(lab)
    assert isinstance(failed.value.__cause__, SetRefused)
    [rollout] = [r for r in lab.stored("rollouts") if "mark" not in r and r["sample_index"] == 0 and "<|" in r["text"]]
    told = str(failed.value.__cause__)
    assert "sets.sft: 3 of 5 rows do not survive the student's chat template" in told
    assert f"3 x {rollout['rollout']}: the text of thinking holds '<|im_end|>'" in told
    assert "max_faulty: 0.05" in told
    assert not [*lab.workspace.glob("datasets/*/*/manifest.json")]
    assert len(lab.stored("rollouts")) == 8
    fake_server.forget()
    lab.recipe["sets"]["sft"]["max_faulty"] = 0.6
    outcome = run(lab)
    assert (outcome.drawn, len(fake_server.order), len(rows(outcome, "sft"))) == ({}, 0, 2)


def test_a_budget_that_is_spent_ends_the_run_and_the_next_one_goes_on(
    lab: Lab, fake_server: FakeServer, model_folder: Path
) -> None:
    distilling(lab, model_folder, (3, 4), (2, 2), (4, 5), max_tokens=120)
    lab.policy["concurrency"] = 2
    lab.recipe["student"]["max_length"] = 80
    lab.recipe["sets"] = {"rl": {}, "sft": {"traces": "long", "select": {"k": None}}}
    stopped = run(lab, "1ktok")
    assert stopped.dataset is None
    assert stopped.spent is not None
    assert stopped.spent.startswith("sets.sft: the budget of 1ktok is spent")
    assert 4 < len(fake_server.order) < 20
    assert stopped.drawn["traces.long"]["drawn"] == len(fake_server.order)
    outcome = run(lab)
    assert len(fake_server.order) == len({*fake_server.order}) == 24
    # Samples 2 and 5 of every problem are cut off, 1, 4 and 7 have more tokens than the student takes.
    told = {
        (t["sample_index"] % 3, t["cut_off"], t["correct"], t["dropped_by"], t["fault"]) for t in traces(outcome, "sft")
    }
    assert told == {
        (0, False, True, None, None),
        (0, False, False, "right", None),
        (1, False, True, "template", "it has 84 tokens, more than 80"),
        (0, False, True, "same_text", None),
        (1, False, True, "same_text", None),
        (1, False, False, "right", None),
        (2, True, False, "right", None),
    }


def test_samples_of_an_annotator_that_stopped_early_are_those_that_counted(lab: Lab, model_folder: Path) -> None:
    """Whatever else of them is in the workspace."""
    distilling(lab, model_folder)
    lab.recipe["annotate"] = {"pass_rate": {"model": "policy", "n": 8, "max_tokens": 400}}
    lab.recipe["keep"] = {"solved": "passes >= 1"}
    lab.recipe["sets"] = {"rft": {"is": "sft", "traces": "pass_rate", "select": {"k": None}}}
    first = lab()
    counted = indexes(first, "rft")
    lab.recipe["sets"] = {"sft": {"traces": "long"}, **lab.recipe["sets"]}
    second = lab()
    assert indexes(second, "rft") == counted
    assert sum(map(len, indexes(second, "sft").values())) > sum(map(len, counted.values()))
