"""Overlays: one file that changes any recipe, for another place or size."""

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli import main
from flows.recipe import RecipeError, load, shipped_names
from flows.recipe_file import read

RECIPE = """
sources:
  a: {jsonl: a.jsonl}
  b: {jsonl: a.jsonl}
models:
  policy: {model: base, url: "http://127.0.0.1:1/v1", concurrency: 3}
  judge: {model: large, url: "http://127.0.0.1:2/v1"}
annotate:
  form: {}
  small: {is: pass_rate, model: policy, n: 8, max_tokens: 100}
  pass_rate: {model: judge, n: 4, max_tokens: 50}
keep: {one: "true", two: not proof}
holdout: 0.1
"""


@pytest.fixture
def changed(tmp_path: Path) -> Any:
    (tmp_path / "a.jsonl").write_text('{"prompt": "p"}\n')
    (tmp_path / "r.yaml").write_text(RECIPE)

    def under(overlay: str, **overrides: str) -> dict[str, Any]:
        (tmp_path / "o.yaml").write_text(overlay)
        return read(str(tmp_path / "r.yaml"), overrides, [str(tmp_path / "o.yaml")])[1]

    return under


def test_what_is_there_is_changed_and_nothing_is_added(changed: Any) -> None:
    raw = changed("keep: {two: 'true', three: 'false'}\nholdout: 0.5\nbalance: {size: 3}\nannotate: {gold: {}}")
    assert raw["keep"] == {"one": "true", "two": "true"}
    assert raw["holdout"] == 0.5
    assert "balance" not in raw
    assert list(raw["annotate"]) == ["form", "small", "pass_rate"]


def test_sources_may_be_added_and_a_star_takes_away_what_is_there(changed: Any, tmp_path: Path) -> None:
    raw = changed("sources: {'*': null, sums: {reasoning_gym: chain_sum}, mine: {jsonl: a.jsonl}}")
    assert raw["sources"] == {"sums": {"reasoning_gym": "chain_sum"}, "mine": {"jsonl": str(tmp_path / "a.jsonl")}}
    assert list(changed("sources: {c: {jsonl: a.jsonl}}")["sources"]) == ["a", "b", "c"]


def test_a_star_puts_one_thing_in_the_place_of_all(changed: Any) -> None:
    raw = changed("models: {'*': {model: tiny}, judge: {concurrency: 1}}")
    assert raw["models"] == {"policy": {"model": "tiny"}, "judge": {"model": "tiny", "concurrency": 1}}


def test_under_annotate_a_key_is_an_annotator_whatever_its_entries_are_called(changed: Any) -> None:
    raw = changed("annotate: {pass_rate: {n: 2, max_tokens: null}}")
    assert raw["annotate"]["small"] == {"is": "pass_rate", "model": "policy", "n": 2}
    assert raw["annotate"]["pass_rate"] == {"model": "judge", "n": 2}


def test_an_override_has_the_last_word(changed: Any) -> None:
    assert changed("holdout: 0.5", holdout="0.3")["holdout"] == 0.3


def test_an_overlay_that_is_not_there_is_named_with_those_that_are(changed: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="neither a file nor a shipped overlay; did you mean tiny"):
        read(str(tmp_path / "r.yaml"), {}, ["tinny"])


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_recipe_loads_at_the_size_of_a_laptop(name: str) -> None:
    recipe = load(name, overlays=["tiny"]).recipe
    assert sum(source.size for source in recipe.sources.values()) == 40
    assert len({model.model_dump_json() for model in recipe.models.values()}) <= 1  # one server for every role


@pytest.mark.parametrize("name", sorted({*shipped_names()} - {"demo"}))
def test_a_recipe_of_a_paper_says_where_it_differs(name: str) -> None:
    assert load(name).recipe.differs


def test_recipes_are_listed_and_shown_as_they_come_out() -> None:
    listed = CliRunner().invoke(main, ["recipes"]).output.splitlines()
    assert [line.split()[0] for line in listed] == [*shipped_names(), "--overlay"]
    shown = CliRunner().invoke(main, ["recipes", "show", "kimi-k1.5-sft"]).output
    assert "extends" not in shown
    assert "solved: passes >= 1" in shown
    assert "not_guessed" not in shown
    alone = CliRunner().invoke(main, ["recipes", "show", "dapo"]).output
    assert alone.startswith("# DAPO")  # with its comments
    tiny = CliRunner().invoke(main, ["recipes", "show", "dapo", "--overlay", "tiny", "--set", "seed=7"]).output
    assert "chain_sum" in tiny
    assert "seed: 7" in tiny


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ("anotate: {form: {}}", "anotate: is nothing that a recipe has; did you mean annotate"),
        ("annotate: {passrate: {n: 2}}", "annotate.passrate: is nothing that a recipe has; did you mean pass_rate"),
        ("holdout: [1]", "holdout"),
        ("keep: x", "keep: input should be a valid dictionary"),
        ("models: {policy: {concurency: 2}}", "models.policy.concurency: unknown key"),
    ],
)
def test_a_mistake_in_an_overlay_is_told(tmp_path: Path, overlay: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "p"}\n')
    (tmp_path / "r.yaml").write_text(RECIPE)
    (tmp_path / "o.yaml").write_text(overlay)
    with pytest.raises(RecipeError, match=re.escape(said)):
        load(str(tmp_path / "r.yaml"), overlays=[str(tmp_path / "o.yaml")])


def test_lists_are_replaced_and_null_takes_away(changed: Any) -> None:
    raw = changed("keep: null\nannotate: {pass_rate: null}\nholdout: null")
    assert raw["annotate"] == {"form": {}}
    assert "keep" not in raw
    assert "holdout" not in raw


def test_a_shipped_recipe_can_be_copied_anywhere(tmp_path: Path) -> None:
    (tmp_path / "copy.yaml").write_text(CliRunner().invoke(main, ["recipes", "show", "demo"]).output)
    assert load(str(tmp_path / "copy.yaml")).resolved == load("demo").resolved
