"""Recipes: what a file comes to, and that every mistake in one is named before anything is done."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from curation.duplicates import Duplicates
from curation.form import Form
from curation.gold import Gold
from curation.pass_rate import PassRate
from curation.store import settings_hash
from flows.recipe import RecipeError, dump, load, shipped_names

SOURCES = "sources:\n  a: {jsonl: a.jsonl}\n"
MODEL = SOURCES + "models:\n  policy: {model: base, url: 'http://127.0.0.1:1/v1'}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_text('{"prompt": "p"}\n')
    return tmp_path


def write(folder: Path, text: str, name: str = "r.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


# What a recipe comes to


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_recipe_can_be_loaded_and_written_down(name: str, tmp_path: Path) -> None:
    loaded = load(name)
    again = load(write(tmp_path, loaded.yaml))
    assert again.resolved == loaded.resolved
    assert again.rules == loaded.rules


def test_a_recipe_is_named_like_its_file_unless_it_says_otherwise(folder: Path) -> None:
    assert load(write(folder, SOURCES, "my-pool.yaml")).recipe.name == "my-pool"
    assert load(write(folder, "name: other\n" + SOURCES)).recipe.name == "other"


def test_paths_are_relative_to_the_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    loaded = load(write(folder, SOURCES))
    assert loaded.recipe.sources["a"].jsonl == str(folder / "a.jsonl")


def test_yaml_is_1_2(folder: Path) -> None:
    text = SOURCES + "holdout: 1e-6\nallow_licenses: [no, yes, on]\nseed: 0o17\n"
    recipe = load(write(folder, text)).recipe
    assert (recipe.holdout, recipe.allow_licenses, recipe.seed) == (1e-6, ["no", "yes", "on"], 15)


def test_rules_are_placed_by_what_they_read(folder: Path) -> None:
    text = (
        SOURCES
        + "annotate: {form: , strict: {is: gold}}\nkeep: {g: strict_gold_accepted, f: not proof, l: license = ''}"
    )
    assert [(rule.name, rule.after) for rule in load(write(folder, text)).rules] == [("l", 0), ("f", 1), ("g", 2)]


def test_licences_are_a_rule_and_an_unknown_one_is_not_allowed(folder: Path) -> None:
    [rule] = load(write(folder, SOURCES + "allow_licenses: [MIT, it's]")).rules
    assert (rule.name, rule.expression) == ("licenses", "license in ('MIT', 'it''s')")
    [none] = load(write(folder, SOURCES + "allow_licenses: []")).rules
    assert none.expression == "license is null and false"


# extends and --set

BASE = SOURCES + "annotate: {form: {}, gold: {}}\nkeep: {one: 'true', two: 'true'}\ndiffers: [x, y]\nname: base\n"


def test_a_chain_of_recipes_inherits_key_by_key_and_null_removes(folder: Path) -> None:
    write(folder, BASE, "base.yaml")
    (folder / "deep").mkdir()
    write(
        folder,
        "extends: ../base.yaml\nkeep: {two: null, three: 'false'}\nannotate: {form: {languages: [en]}}",
        "deep/mid.yaml",
    )
    top = load(write(folder, "extends: deep/mid.yaml\ndiffers: [z]\nkeep: {two: 'not proof'}", "top.yaml"))
    assert top.recipe.name == "top"
    assert top.recipe.keep == {"one": "true", "three": "false", "two": "not proof"}
    assert top.recipe.annotate == {"form": {"languages": ["en"]}, "gold": {}}
    assert top.recipe.differs == ["z"]
    assert top.recipe.sources["a"].jsonl == str(folder / "a.jsonl")
    assert "extends" not in top.resolved


def test_a_shipped_recipe_can_be_extended(folder: Path) -> None:
    loaded = load(write(folder, "extends: demo\nsources: {planted: null}"))
    assert "planted" not in loaded.recipe.sources
    assert "gcd" in loaded.recipe.sources


@pytest.mark.parametrize(
    ("key", "text", "place", "value"),
    [
        ("holdout", "1e-3", "holdout", 1e-3),
        ("keep.one", "not proof", "keep", {"one": "not proof", "two": "true"}),
        ("keep.two", "null", "keep", {"one": "true"}),
        ("keep.two", "", "keep", {"one": "true"}),
        ("keep.none", "null", "keep", {"one": "true", "two": "true"}),
        ("allow_licenses", "[MIT]", "allow_licenses", ["MIT"]),
        ("annotate.form.languages", "[en]", "annotate", {"form": {"languages": ["en"]}, "gold": {}}),
        ("annotate.duplicates", "{}", "annotate", {"form": {}, "gold": {}, "duplicates": {}}),
        ("models.policy.model", "org/name", "models", {"policy": {"model": "org/name"}}),
        ("nothing.at.all", "null", "differs", ["x", "y"]),
    ],
)
def test_one_value_can_be_set(folder: Path, key: str, text: str, place: str, value: Any) -> None:
    loaded = load(write(folder, BASE), {key: text})
    assert loaded.resolved[place] == value


def test_two_halves_of_a_character_are_one(folder: Path) -> None:
    loaded = load(write(folder, SOURCES + 'differs: ["\\ud83d\\ude00"]'), {"allow_licenses": '["\\ud83d\\ude00"]'})
    assert (loaded.recipe.differs, loaded.recipe.allow_licenses) == (["\U0001f600"], ["\U0001f600"])


def test_a_set_mapping_replaces_what_was_there(folder: Path) -> None:
    loaded = load(write(folder, BASE), {"keep": "{only: 'true'}"})
    assert loaded.recipe.keep == {"only": "true"}


def test_a_set_path_is_relative_to_where_one_is(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "b.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path / "here")
    loaded = load(write(folder, BASE), {"sources.a.jsonl": "b.jsonl"})
    assert loaded.recipe.sources["a"].jsonl == str(tmp_path / "here" / "b.jsonl")


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("annotate.pass_rat.n", "8", r"annotate\.pass_rat is no annotator; did you mean pass_rate\?"),
        ("anotate.form", "{}", r"anotate: unknown key; did you mean annotate\?"),
        ("holdout", "much", "holdout: input should be a valid number"),
        ("differs", "&a [*a]", "--set differs: comes to more than 100 levels"),
        ("differs", '["\\ud83d"]', r"differs\.0: has half a character"),
        (".".join("a" * 5000), "1", "--set: .*: is no key"),
        ("holdout", "[", "--set holdout: line 1: is not YAML"),
        ("name.first", "x", "--set: name.first: name is a value, which has no keys"),
        ("keep..one", "true", r"--set: keep\.\.one: is no key"),
        ("sources.a.jsonl", "none.jsonl", r"sources\.a\.jsonl: no file"),
    ],
)
def test_a_mistake_in_an_override_is_named(folder: Path, key: str, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(write(folder, BASE), {key: text})


# Mistakes

BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 11))

MISTAKES = [
    # not YAML, not a recipe
    ("a: [", ["line 1: is not YAML"]),
    ("a:\n\t- b", ["line 2: is not YAML"]),
    ("", ["is no recipe: the file has to hold keys such as name, sources"]),
    ("- a", ["is no recipe"]),
    (SOURCES + "sources: {}", ['line 3: is not YAML: found duplicate key "sources"']),
    (SOURCES + "keep:\n  a: 'true'\n  a: 'false'", ['line 5: is not YAML: found duplicate key "a"']),
    ("x: !!python/object/apply:os.system [ls]", ["line 1: is not YAML", "python/object/apply:os.system"]),
    ("[" * 5000, ["is not YAML: nested too deeply"]),
    (SOURCES + "1: 2", ["1: a key has to be text; put it in quotes: '1'"]),
    (SOURCES + "differs: [2026-01-01]", ["differs.0: is read as a date; if it is text, put it in quotes"]),
    ("sources: {a: {reasoning_gym: gcd, params: {x: .nan}}}", ["sources.a.params.x: nan is no number"]),
    (SOURCES + "differs: &a [*a]", ["comes to more than 100 levels or 100,000 values; write out what its anchors"]),
    (BOMB, ["comes to more than 100 levels or 100,000 values; write out what its anchors"]),
    (SOURCES + 'differs: ["\\ud83d"]', ["differs.0: has half a character"]),
    (SOURCES + '"\\ude00": 1', ["\\ude00: has half a character"]),
    # keys
    ("keep: {}", ["sources: is missing"]),
    ("sources: {}", ["sources: dictionary should have at least 1 item"]),
    (SOURCES + "anotate: {}", ["anotate: unknown key; did you mean annotate?"]),
    ("sources: {a: {jsonl: a.jsonl, verfier: math}}", ["sources.a.verfier: unknown key; did you mean verifier?"]),
    (
        "sources: {a: {jsonl: a.jsonl, columns: {promt: x}}}",
        ["sources.a.columns.promt: unknown key; did you mean prompt?"],
    ),
    (
        MODEL + "  m: {model: x/y, serve: {max_modellen: 1}}",
        ["models.m.serve.max_modellen: unknown key; did you mean max_model_len?"],
    ),
    (
        MODEL + "  m: {model: x/y, prompt: {shots: [{promt: a, answer: b}]}}",
        ["models.m.prompt.shots.0.promt: unknown key; did you mean prompt? (known: prompt, answer)"],
    ),
    (SOURCES + "annotate: {form: {langages: [en]}}", ["annotate.form.langages: unknown key; did you mean languages?"]),
    (SOURCES + "sets: {rl: {x: 1}}", ["sets.rl.x: unknown key"]),
    # values
    ("name: 'a b'\n" + SOURCES, ["name: string should match pattern", "given 'a b'"]),
    (SOURCES + "holdout: no", ["holdout: input should be a valid number", "given 'no'"]),
    (SOURCES + "holdout: 1", ["holdout: input should be less than 1; given 1"]),
    (
        "sources: {a: {jsonl: 5}}",
        ["sources.a.jsonl: input should be a valid string or input should be a valid list; given 5"],
    ),
    ("sources: {a: {}}", ["sources.a: needs exactly one of hf, parquet, jsonl, reasoning_gym; has none"]),
    ("sources: {a: {hf: x/y, jsonl: a.jsonl}}", ["sources.a: needs exactly one of", "has hf and jsonl"]),
    (
        "sources: {a: {jsonl: none.jsonl}}",
        ["sources.a.jsonl: no file", "none.jsonl", "relative to the recipe's folder"],
    ),
    ("sources: {a: {parquet: []}}", ["sources.a.parquet: names no file"]),
    ("sources: {a: {hf: ./none}}", ["sources.a.hf:", "is neither a folder that exists nor a name on the Hub"]),
    ("sources: {a: {jsonl: a.jsonl, verifier: mth}}", ["sources.a.verifier: 'mth' is unknown; did you mean math?"]),
    ("sources: {A b: {jsonl: a.jsonl}}", ["sources: 'A b' is no name; use small letters, digits and _"]),
    (SOURCES + "differs: ['" + "x" * 500 + "', 1]", ["differs.1: input should be a valid string; given 1"]),
    # annotators and models
    (
        SOURCES + "annotate: {gld: {}}",
        ["annotate.gld is no annotator; did you mean gold?", "another key needs `is: ANNOTATOR`"],
    ),
    (SOURCES + "annotate: {x: {is: gld}}", ["annotate.x.is: 'gld' is no annotator; did you mean gold?"]),
    (SOURCES + "annotate: {x: {is: [gold]}}", ["annotate.x.is: ['gold'] is no annotator"]),
    (SOURCES + "annotate: {pool: {is: gold}}", ["annotate.pool: the name is taken by a step of the run"]),
    (
        SOURCES + "annotate: {rule: {is: form}}",
        ["annotate.rule: its column rule_multiple_choice is already that of a rule's outcome"],
    ),
    (SOURCES + "annotate: {duplicates: {}, d: {is: duplicates}}", ["`duplicates` can stand only once"]),
    (
        MODEL + "annotate: {pass_rate: {model: polcy, n: 8, max_tokens: 9}}",
        ["annotate.pass_rate.model: 'polcy' is no model of this recipe; did you mean policy?"],
    ),
    (
        MODEL + "annotate: {pass_rate: {model: policy}}",
        ["annotate.pass_rate.n: is missing", "annotate.pass_rate.max_tokens: is missing"],
    ),
    (
        MODEL + "annotate: {pass_rate: {model: policy, n: 8, max_tokens: 9, prompt: {styl: raw}}}",
        ["annotate.pass_rate.prompt.styl: unknown key; did you mean style?"],
    ),
    (
        MODEL.replace("a.jsonl}", "a.jsonl, prompt: {styl: raw}}")
        + "annotate: {pass_rate: {model: policy, n: 8, max_tokens: 9}}",
        ["sources.a.prompt.styl: unknown key; did you mean style?"],
    ),
    (SOURCES + "models: {m: {model: ./none}}", ["models.m.model:", "neither a folder that exists nor a Hub name"]),
    # rules
    (SOURCES + "keep: {r: passes > 1}", ["keep.r: 'passes > 1' names no known column: passes"]),
    (
        SOURCES + "annotate: {form: {}}\nkeep: {r: not prof}",
        ["keep.r: 'not prof' names no known column: prof; did you mean proof"],
    ),
    (SOURCES + "keep: {r: length(prompt)}", ["keep.r: 'length(prompt)' gives BIGINT, not true or false"]),
    (SOURCES + "keep: {r: true}", ["keep.r: input should be a valid string; given True"]),
    (SOURCES + "keep: {r: random() > 0.5}", ["keep.r:", "calls random(), whose value is not a function of the row"]),
    (SOURCES + "keep: {r: 'exists(select 1)'}", ["keep.r:", "has a subquery"]),
    (SOURCES + f"keep: {{r: length(prompt || '{'x' * 5000}')}}", ["keep.r:", "gives BIGINT, not true or false"]),
    (SOURCES + "keep: {R-1: 'true'}", ["keep: 'R-1' is no name"]),
    (
        SOURCES + "allow_licenses: [MIT]\nkeep: {licenses: 'true'}",
        ["keep.licenses: is the name of the rule that allow_licenses is"],
    ),
    # extends
    ("extends: dem", ["extends: dem: is neither a file nor a shipped recipe; did you mean demo?"]),
    ("extends: " + "x" * 300, ["extends: xxx", "is neither a file nor a shipped recipe"]),
    ("extends: ~nosuch/x", ["extends: ~nosuch/x: is neither a file nor a shipped recipe"]),
    ("extends: r.yaml", ["extends: goes in a circle: r.yaml -> r.yaml"]),
    ("extends: [a]", ["extends: takes the name or path of one recipe, not ['a']"]),
]


@pytest.mark.parametrize(("text", "parts"), MISTAKES, ids=[text[-50:] for text, _ in MISTAKES])
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(folder: Path, text: str, parts: list[str]) -> None:
    path = write(folder, text)
    with pytest.raises(RecipeError) as error:
        load(path)
    assert str(error.value).startswith(path)
    for part in parts:
        assert part in str(error.value)
    assert max(map(len, str(error.value).splitlines())) < 500


def test_all_mistakes_are_named_at_once(folder: Path) -> None:
    text = "sources: {a: {jsonl: a.jsonl, limit: 0}}\nholdout: 2\nkep: {}"
    with pytest.raises(RecipeError) as error:
        load(write(folder, text))
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == ["sources.a.limit", "holdout", "kep"]


@pytest.mark.parametrize(
    "text",
    [
        MODEL + "  m: {model: x/y, api_key: sk-12345}",
        MODEL + "  m: {model: x/y, apikey: sk-12345}",
        MODEL + "  m: {model: x/y, api_key_env: sk-12345}",
        MODEL + "  m: {model: x/y, url: 'http://user:sk-12345@host/v1'}",
        MODEL + "  m: {model: x/y, api_key: sk-12345, api_key: sk-12345}",
        MODEL + "  m: {model: {api_key: sk-12345}}",
    ],
)
def test_a_key_is_never_shown(folder: Path, text: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(write(folder, text))
    assert "12345" not in str(error.value)


@pytest.mark.parametrize("name", ["x" * 400, "~nosuch/x"])
def test_a_name_that_no_file_can_have_is_no_recipe(name: str) -> None:
    with pytest.raises(RecipeError, match="is neither a file nor a shipped recipe"):
        load(name)


def test_a_file_that_is_not_there_is_no_recipe() -> None:
    with pytest.raises(RecipeError, match="dem: is neither a file nor a shipped recipe; did you mean demo"):
        load("dem")


def test_a_file_that_is_no_text_is_no_recipe(folder: Path) -> None:
    (folder / "r.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"r\.yaml: is not YAML"):
        load(str(folder / "r.yaml"))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]))
    | st.sampled_from(["no", "yes", "1e-6", "null", "~", "0o7", "2026-01-01", "- a", "a: b", "#x", "", " x ", "it's\nso"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text("abcxyz", min_size=1), PLAIN, max_size=4))
def test_what_is_dumped_is_read_back(value: dict[str, Any]) -> None:
    assert YAML(typ="safe", pure=True).load(dump(value)) == value


# On the command line

HEAVY = ("torch", "prefect", "datasets", "reasoning_gym", "pandas", "transformers", "vllm", "sympy")
COMMAND = """
import json, sys
from flows.cli import main
try:
    main(["run", *sys.argv[1:]])
except SystemExit as end:
    print(json.dumps([end.code, [name for name in %r if name in sys.modules]]))
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SOURCES + "anotate: {}", "error: {path}: anotate: unknown key; did you mean annotate?"),
        (MODEL + "annotate: {{form: {{}}}}\nkeep: {{r: not prof}}", "error: {path}: keep.r: 'not prof' names no known column"),
        ("a: [", "error: {path}: line 1: is not YAML"),
    ],
)  # fmt: skip
def test_a_bad_recipe_ends_with_2_before_anything_heavy_is_imported(folder: Path, text: str, message: str) -> None:
    path = write(folder, text.replace("{{", "{").replace("}}", "}"))
    command = [sys.executable, "-c", COMMAND % (HEAVY,), path, "--workspace", str(folder / "ws")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr.startswith(message.format(path=path))
    assert "Traceback" not in run.stderr
    assert json.loads(run.stdout) == [2, []]
    assert not (folder / "ws").exists()


# Settings hashes


def test_settings_hashes_of_annotators_are_those_of_today() -> None:
    """Annotations are filed under these. A changed default or meaning raises VERSION; then these change, once."""
    annotators = [Form(), Form(languages=("en",)), Gold(), Duplicates(), PassRate(model="policy", n=8, max_tokens=24)]
    assert [settings_hash(annotator.settings()) for annotator in annotators] == [
        "c8a68d4c1f1cf214c5e8",
        "949c5be24de2cdda27f9",
        "8cb268b0bc4eee6e7661",
        "ba473f2b65d156a1d42a",
        "f72ce2387f697ef1841f",
    ]


def test_how_the_work_runs_is_not_hashed() -> None:
    patient, hasty = (PassRate(model="policy", n=8, max_tokens=24, patience=seconds) for seconds in (60, 1))
    assert patient.settings() == hasty.settings()


def test_an_answer_as_long_as_the_model_is_served_is_refused(folder: Path) -> None:
    model = "models: {m: {model: org/name, serve: {max_model_len: 1024}}}\n"
    annotate = "annotate: {pass_rate: {model: m, n: 4, max_tokens: 1024}}\n"
    with pytest.raises(RecipeError, match=r"annotate\.pass_rate\.max_tokens: 1024 leaves no room for a prompt"):
        load(write(folder, SOURCES + model + annotate))
    load(write(folder, SOURCES + model + annotate.replace("1024", "512")))


def test_a_thinking_budget_that_leaves_no_answer_is_refused(folder: Path) -> None:
    annotate = "annotate: {pass_rate: {model: m, n: 4, max_tokens: 64, thinking_budget: 64}}"
    text = SOURCES + "models: {m: {model: org/name}}\n" + annotate
    with pytest.raises(RecipeError, match="leaves no room for an answer within max_tokens"):
        load(write(folder, text))
