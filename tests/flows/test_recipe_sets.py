"""Mistakes in what a recipe says of traces, sets and the student: each named with its key, before anything is done."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.recipe import RecipeError, load


def recipe(folder: Path, **changes: Any) -> str:
    """A recipe with one set of traces, changed at the top."""
    (folder / "a.jsonl").write_text('{"prompt": "p", "answer": "1"}\n')
    model = {"model": "base", "url": "http://127.0.0.1:1/v1", "revision": "1"}
    whole = {
        "sources": {"a": {"jsonl": "a.jsonl"}},
        "models": {"policy": model, "student": {"model": "some/student"}},
        "student": {"model": "student"},
        "traces": {"long": {"model": "policy", "n": 4, "max_tokens": 64}, "theirs": {"text": "answer"}},
        "sets": {"sft": {"traces": "long"}},
        **changes,
    }
    (folder / "r.yaml").write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))
    return str(folder / "r.yaml")


def test_the_recipe_that_the_mistakes_are_made_in_has_none(tmp_path: Path) -> None:
    wanted = load(recipe(tmp_path)).wanted
    assert (list(wanted.sets), list(wanted.traces), wanted.distils) == (["sft"], ["long", "theirs"], True)


THINK, PLAIN = {"mode": "think", "traces": "long"}, {"mode": "no_think", "traces": "theirs"}
LONG = {"model": "policy", "n": 4, "max_tokens": 64}
SETS: list[tuple[dict[str, Any], str]] = [
    (
        {"sft": {"traces": "lang"}},
        "sets.sft.traces: 'lang' is no entry of `traces`.*did you mean long.*known: long, theirs",
    ),
    ({"sft": {}}, "sets.sft.*traces"),
    ({"sfd": {"traces": "long"}}, "sets.sfd.* is no kind of set.*did you mean sft.*process"),
    ({"mine": {"is": "sftt", "traces": "long"}}, "sets.mine.is: 'sftt' is no kind of set.*did you mean sft"),
    ({"mine": {"is": ["sft"], "traces": "long"}}, r"sets.mine.is: \['sft'\] is no kind of set"),
    ({"sft": {"traces": "long", "keeps": {}}}, "sets.sft.keeps"),
    ({"sft": {"traces": "long", "keep": {"short": "wordz < 3"}}}, "sets.sft.keep.short: 'wordz < 3'.*wordz"),
    ({"sft": {"traces": "long", "keep": {"short": "answer_words"}}}, "sets.sft.keep.short: 'answer_words'"),
    ({"sft": {"traces": "long", "where": "passes > 1"}}, "sets.sft.where: 'passes > 1'"),
    ({"sft": {"traces": "long", "enough": 0}}, "sets.sft.enough"),
    ({"sft": {"traces": "theirs", "enough": 2}}, "sets.sft.enough: traces that are given are all there; use select.k"),
    ({"sft": {"traces": "long", "select": {"by": "lenght"}}}, "sets.sft.select.by: 'lenght'.*random or diverse"),
    ({"sft": {"traces": "long", "select": {"by": "extracted"}}}, "sets.sft.select.by: 'extracted' gives VARCHAR"),
    ({"sft": {"traces": "long", "mode": "think"}}, "sets.sft.mode"),
    ({"sft": {"traces": "long", "max_faulty": 2}}, "sets.sft.max_faulty"),
    ({"rl": {"without": ["stf"]}}, "sets.rl.without: 'stf' is no set of this recipe"),
    (
        {"rl": {"without": ["sft"]}, "sft": {"traces": "long", "without": ["rl"]}},
        "without: rl and sft leave each other",
    ),
    ({"sft": {"traces": "long", "without": ["sft"]}}, "sets.sft.without"),
    ({"fusion": {"parts": {"a": THINK, "b": {**PLAIN, "mode": "nothink"}}}}, "sets.fusion.parts.b.mode"),
    ({"fusion": {"parts": {"a": THINK, "b": THINK}}}, "sets.fusion.*none has `mode: no_think`"),
    ({"fusion": {"parts": {"a": THINK, "b": {**PLAIN, "traces": "their"}}}}, "sets.fusion.parts.b.traces: 'their'"),
    ({"fusion": {"parts": {"a": THINK, "b": {**PLAIN, "keep": {"x": "nope"}}}}}, "sets.fusion.parts.b.keep.x: 'nope'"),
    ({"fusion": {"parts": {"a": THINK, "b": {**PLAIN, "where": "nope"}}}}, "sets.fusion.parts.b.where: 'nope'"),
    ({"fusion": {"parts": {"a": THINK, "A": PLAIN}}}, "sets.fusion.*parts: a and A differ only in case"),
    ({"preference": {"traces": "long", "rejected": {"x": "nope"}}}, "sets.preference.rejected.x: 'nope'"),
    ({"preference": {"traces": "long", "pairs": {"kinds": ["long"]}}}, "sets.preference.pairs.kinds"),
    ({"process": {"completions": "nope", "labels": "meta"}}, "sets.process.completions: 'nope'"),
]


@pytest.mark.parametrize(("sets", "message"), SETS)
def test_a_mistake_in_a_set_is_named(tmp_path: Path, sets: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        load(recipe(tmp_path, sets=sets))


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"student": None}, "student: is missing; sets of traces are written in its template"),
    ({"student": {"model": "studnet"}}, "student.model: 'studnet' is no model of this recipe; did you mean student"),
    ({"student": {"modell": "student"}}, "student.modell"),
    ({"student": {"model": "student", "chat_template": "x.jinja"}}, "student.chat_template: '.*x.jinja' is no file"),
    ({"traces": {"long": {**LONG, "model": "polici"}}}, "traces.long.model: 'polici' is no model.*did you mean policy"),
    ({"traces": {"long": {**LONG, "n": 0}}}, "traces.long.n"),
    ({"traces": {"long": {"model": "policy", "n": 4}}}, "traces.long.*max_tokens"),
    ({"traces": {"long": {**LONG, "thinking_budget": 64}}}, "traces.long.*thinking_budget.*leaves no room"),
    ({"traces": {"long": LONG, "b": {"text": "nope"}}}, "traces.b.text: 'nope'"),
    (
        {"traces": {"long": LONG, "b": {"text": "meta->'$.a'"}}},
        r"traces.b.text: gives JSON, no text; write .*::varchar",
    ),
    (
        {"traces": {"long": LONG, "b": {"text": "[answer]", "thinking": "answer"}}},
        r"traces.b.thinking: gives VARCHAR where",
    ),
    ({"traces": {"long": LONG, "b": {"text": "answer", "thoughts": "answer"}}}, "traces.b.thoughts"),
    ({"trace_checks": {"loops": 3}}, "trace_checks.loops"),
    ({"trace_checks": {"language": "xx"}}, "trace_checks.language"),
    (
        {"annotate": {"pass_rate": LONG}, "traces": {"long": LONG, "pass_rate": LONG}},
        "traces.pass_rate: is the name of an annotator that samples; give it another",
    ),
    (
        {"annotate": {"trace": {"is": "contamination", "benchmarks": {"b": {"jsonl": "a.jsonl"}}}}},
        "annotate.trace: its column trace_contaminated is that of a trace",
    ),
]


@pytest.mark.parametrize(("changes", "message"), OTHERS)
def test_a_mistake_in_traces_or_student_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        load(recipe(tmp_path, **changes))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = recipe(
        tmp_path,
        student={"model": "none"},
        sets={"sft": {"traces": "lang"}, "short": {"is": "sft", "traces": "long", "keep": {"x": "nope"}}},
    )
    with pytest.raises(RecipeError) as mistakes:
        load(path)
    told = str(mistakes.value)
    assert all(key in told for key in ("student.model", "sets.sft.traces", "sets.short.keep.x"))


def test_sets_stand_behind_those_they_are_without(tmp_path: Path) -> None:
    sets = {"rl": {"without": ["b"]}, "b": {"is": "sft", "traces": "long", "without": ["a"]}}
    path = recipe(tmp_path, sets={**sets, "a": {"is": "rl"}})
    assert list(load(path).wanted.sets) == ["a", "b", "rl"]


def test_a_recipe_without_sets_of_traces_needs_no_student(tmp_path: Path) -> None:
    assert not load(recipe(tmp_path, student=None, sets={"rl": {}})).wanted.distils
