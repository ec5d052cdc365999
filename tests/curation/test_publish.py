"""A published dataset: what `load_dataset` gives, what the card says, when a version is new. Recipes run without a model."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import publish
from curation.duck import arrow
from curation.pool import PoolError
from curation.progress import Progress
from curation.publish import DatasetError, card, find
from curation.store import Store
from flows.curate import Outcome, StepFailed, curate
from flows.recipe import resolve

ROWS = [
    {"prompt": "What is 2 + 3?", "answer": "5.0", "license": "MIT"},
    {"prompt": "What is  2 + 3 ?", "answer": "5", "license": "MIT"},
    {"prompt": "Prove that 1 + 1 = 2.", "answer": "done", "license": "MIT"},
    {"prompt": "What is 7 - 4?", "answer": "3", "messages": [{"role": "system", "content": "Use | and <b>."}]},
    {"prompt": ""},
    {"prompt": "What is 4 * 4?", "answer": "16", "license": "MIT"},
]
RECIPE = {
    "name": "sums",
    "annotate": {"form": {}, "duplicates": {}},
    "keep": {"evaluable": "not proof", "unique": "not duplicate", "short": "prompt_words < 100 | 0"},
    "holdout": 0.0,
}


def write(folder: Path, rows: list[Any], name: str = "a") -> dict[str, Any]:
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return {"jsonl": str(path), "verifier": "exact"}


def run(folder: Path, rows: list[Any], workspace: str | None = None, **changes: Any) -> Outcome:
    raw = RECIPE | {"sources": {"a": write(folder, rows)}, "max_rejected": 1.0} | changes
    return curate(resolve(raw, "recipe.yaml"), workspace or str(folder / "workspace"), progress=Progress(quiet=True))


def load(outcome: Outcome, folder: Path, *config: str) -> Any:
    assert outcome.dataset is not None
    return datasets.load_dataset(outcome.dataset.folder, *config, cache_dir=str(folder / "cache"))


# What load_dataset gives


def test_the_set_is_what_was_kept_with_nested_messages(tmp_path: Path) -> None:
    outcome = run(tmp_path, ROWS)
    for config in ([], ["rl"]):
        loaded = load(outcome, tmp_path, *config)
        assert list(loaded) == ["train"]
        assert loaded["train"]["prompt"][:] == ["What is 2 + 3?", "What is 7 - 4?", "What is 4 * 4?"]
        assert loaded["train"][1]["messages"] == [{"role": "system", "content": "Use | and <b>."}]
        assert "rule_unique" not in loaded["train"].column_names
        assert "has_duplicate" in loaded["train"].column_names


def test_held_out_problems_are_the_split_test(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {n} + 1?"} for n in range(40)]
    loaded = load(run(tmp_path, rows, holdout=0.25), tmp_path)
    assert loaded["train"].num_rows + loaded["test"].num_rows == 40
    assert loaded["test"].num_rows > 0


def test_a_set_without_a_row_is_loaded_as_one_and_warned_of(tmp_path: Path) -> None:
    outcome = run(tmp_path, ROWS, keep={"none": "false"})
    assert outcome.dataset is not None
    with pytest.raises(ValueError, match="corresponds to no data"):  # and not the decisions in place of the set
        load(outcome, tmp_path)
    streamed = datasets.load_dataset(outcome.dataset.folder, "rl", streaming=True)
    assert {split: list(rows) for split, rows in streamed.items()} == {"train": []}
    assert "messages" in pq.read_schema(f"{outcome.dataset.folder}/rl/train-00000.parquet").names
    assert outcome.warnings == ["sums: the set `rl` is empty: no problem passed every rule"]


def test_long_rows_can_be_loaded(tmp_path: Path) -> None:
    turn = {"role": "user", "content": "x" * 2_000_000}
    rows = [{"prompt": f"What is {n} + 1?", "messages": [turn]} for n in range(12)]
    assert load(run(tmp_path, rows), tmp_path)["train"].num_rows == 12


def test_large_sets_are_sharded_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "SHARD_BATCHES", 1)
    rows = [{"prompt": f"What is {n} + 1?"} for n in range(5000)]
    outcome = run(tmp_path, rows, annotate={}, keep={})
    assert outcome.dataset is not None
    assert outcome.dataset.manifest["sets"]["rl"]["train"] == {
        "rows": 5000,
        "files": ["rl/train-00000.parquet", "rl/train-00001.parquet"],
    }
    assert load(outcome, tmp_path)["train"]["row"][:] == list(range(5000))


# Versions


def test_the_same_content_publishes_nothing_new(tmp_path: Path) -> None:
    first, second = run(tmp_path, ROWS), run(tmp_path, ROWS)
    assert (first.new, second.new) == (True, False)
    assert first.dataset is not None
    assert second.dataset is not None
    assert second.dataset.ref == first.dataset.ref
    assert first.dataset.manifest["version"].endswith(".1")


AGAIN = """
import json, sys
from curation.progress import Progress
from flows.curate import curate
from flows.recipe import resolve
outcome = curate(resolve(json.loads(sys.argv[1]), "recipe.yaml"), sys.argv[2], progress=Progress(quiet=True))
print(outcome.new, outcome.dataset.manifest["fingerprint"])
"""


def test_another_process_and_another_folder_find_the_same_content(tmp_path: Path) -> None:
    raw = RECIPE | {"sources": {"a": write(tmp_path, ROWS)}, "max_rejected": 1.0}
    first = run(tmp_path, ROWS)
    assert first.dataset is not None
    command = [sys.executable, "-c", AGAIN, json.dumps(raw), str(tmp_path / "other [place]")]
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout == f"True {first.dataset.manifest['fingerprint']}\n"


def test_another_decision_or_order_is_a_new_version(tmp_path: Path) -> None:
    first = run(tmp_path, ROWS)
    stricter = run(tmp_path, ROWS, keep=RECIPE["keep"] | {"short": "prompt_words < 4"})  # type: ignore[operator]
    other = write(tmp_path, [{"prompt": "Another?"}], "b")
    a = {"a": write(tmp_path, ROWS)}
    ab = run(tmp_path, ROWS, sources=a | {"b": other})
    ba = run(tmp_path, ROWS, sources={"b": other} | a)
    numbers = [
        outcome.dataset.manifest["version"].split(".")[1] for outcome in (first, stricter, ab, ba) if outcome.dataset
    ]
    assert numbers == ["1", "2", "3", "4"]


def test_a_version_that_a_killed_run_began_is_left_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "workspace"))
    day = run(tmp_path, ROWS[:1]).dataset.manifest["version"][:-2]  # type: ignore[union-attr]
    left = tmp_path / "workspace" / "datasets" / "sums" / f"{day}.2"
    left.mkdir()
    (left / "train-00007.parquet").write_bytes(b"half")
    outcome = run(tmp_path, ROWS)
    assert outcome.dataset is not None
    assert outcome.dataset.ref == f"sums@{day}.3"
    assert publish.versions(store, "sums") == [f"{day}.1", f"{day}.3"]


def test_versions_are_ordered_by_number_not_by_text(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for version in ("2026-01-02.1", "2026-01-01.10", "2026-01-01.9", "latest", "2026-01-01.x"):
        store.write_json(
            store.path("datasets", "d", version, "manifest.json"), {"name": "d", "version": version, "fingerprint": ""}
        )
    assert publish.versions(store, "d") == ["2026-01-01.9", "2026-01-01.10", "2026-01-02.1"]
    assert find(store, "d").ref == "d@2026-01-02.1"
    assert find(store, "d@2026-01-01.10").ref == "d@2026-01-01.10"


# Finding one


def test_a_dataset_is_found_by_its_folder_too(tmp_path: Path) -> None:
    dataset = run(tmp_path, ROWS, workspace=str(tmp_path / "at@home")).dataset
    assert dataset is not None
    found = find(Store(str(tmp_path / "elsewhere")), dataset.folder + "/")
    assert (found.ref, found.folder, found.store.root) == (dataset.ref, dataset.folder, dataset.store.root)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("summs", r"has no dataset 'summs'; there are sums"),
        ("sums@2020-01-01.1", r"dataset 'sums' has no version '2020-01-01\.1'; there are 20"),
        ("./nowhere", r"\./nowhere is not a published dataset"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(tmp_path: Path, ref: str, message: str) -> None:
    run(tmp_path, ROWS[:1], annotate={}, keep={})
    with pytest.raises(DatasetError, match=message):
        find(Store(str(tmp_path / "workspace")), ref)


def test_a_pool_is_no_dataset(tmp_path: Path) -> None:
    dataset = run(tmp_path, ROWS[:1], annotate={}, keep={}).dataset
    assert dataset is not None
    with pytest.raises(DatasetError, match="is not a published dataset"):
        find(dataset.store, dataset.pool_folder)


# The card and the manifest


def test_the_manifest_says_where_every_row_went(tmp_path: Path) -> None:
    dataset = run(tmp_path, [*ROWS, "broken"]).dataset
    assert dataset is not None
    assert dataset.manifest["counts"] == {"read": 7, "rejected": 2, "problems": 5, "kept": 3, "dropped": 2}
    assert [(r["rule"], r["entered"], r["pass"], r["fail"]) for r in dataset.manifest["rules"]] == [
        ("evaluable", 5, 4, 1),
        ("short", 4, 4, 0),
        ("unique", 4, 3, 1),
    ]
    assert dataset.manifest["licenses"] == [
        {"source": "a", "license": "MIT", "problems": 4, "kept": 2},
        {"source": "a", "license": None, "problems": 1, "kept": 1},
    ]


def test_nothing_in_a_card_is_markup_that_was_not_meant(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "license": "a|b\n<script>[x](http://y)"}]
    outcome = run(
        tmp_path, rows, annotate={}, keep={"odd": "prompt <> '`x`' and length(prompt) < 3 | 4"}, differs=["```"]
    )
    assert outcome.dataset is not None
    text = (Path(outcome.dataset.folder) / "README.md").read_text()
    assert "| odd | `prompt <> ''x'' and length(prompt) < 3 \\| 4` | 1 | 1 | 0 | 0 |" in text
    assert "| a | a\\|b &lt;script&gt;\\[x\\](http://y) | 1 | 1 |" in text
    assert "\n````yaml\nname: sums\n" in text
    assert text.endswith("\n````\n")


def test_a_single_licence_is_that_of_the_card(tmp_path: Path) -> None:
    manifest = run(tmp_path, ROWS[:1], annotate={}, keep={}).dataset.manifest  # type: ignore[union-attr]
    assert 'license: "mit"' in card(manifest, "")
    unknown = manifest["licenses"][0] | {"license": None}
    assert 'license: "other"' in card(manifest | {"licenses": [*manifest["licenses"], unknown]}, "")
    unlisted = manifest["licenses"][0] | {"license": "CC0 1.0 Universal"}  # the Hub refuses names that it does not know
    assert 'license: "other"' in card(manifest | {"licenses": [unlisted]}, "")


# Any small recipe


ROW = st.one_of(
    st.just("broken"),
    st.just({"prompt": ""}),
    st.fixed_dictionaries(
        {
            "prompt": st.sampled_from(
                ["What is 2 + 3?", "what is 2+3", "Prove it.", "Is it true?", "中文 4 + 4", "'\"--"]
            ),
            "answer": st.sampled_from([None, "5", "\\frac{1}{2}", "yes"]),
            "verifier": st.sampled_from([None, "math", "exact", "nope"]),
            "license": st.sampled_from([None, "MIT", "it's"]),
        }
    ),
)
SOURCE = st.fixed_dictionaries(
    {
        "rows": st.lists(ROW, min_size=1, max_size=6),
        "limit": st.none() | st.integers(1, 4),
        "where": st.sampled_from([None, "length(prompt) > 5", "prompt is not null", "answer::int > 0"]),
    }
)
ANNOTATORS = st.lists(st.sampled_from(["form", "gold", "duplicates"]), unique=True)
RULES = {
    "form": ["not proof", "prompt_words < 4", "answer_kind <> 'text'"],
    "gold": ["gold_accepted", "gold_accepted is null"],
    "duplicates": ["not duplicate", "not answer_conflict", "duplicate or cluster_size = 1"],
}
GENERAL = ["license = 'MIT'", "answer::int > 3", "true", "false", "null::boolean", "length(prompt) < 12"]


@st.composite
def recipes(draw: st.DrawFn) -> tuple[dict[str, Any], list[str], list[str]]:
    sources = draw(st.dictionaries(st.sampled_from("abc"), SOURCE, min_size=1))
    annotators = draw(ANNOTATORS)
    rules = draw(
        st.lists(st.sampled_from([*GENERAL, *(rule for key in annotators for rule in RULES[key])]), max_size=4)
    )
    return sources, annotators, rules


@settings(max_examples=14, deadline=None)
@given(recipe=recipes(), holdout=st.sampled_from([0.0, 0.5]))
def test_every_row_read_is_kept_dropped_or_rejected(recipe: Any, holdout: float) -> None:
    given_sources, annotators, rules = recipe
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = {
            key: write(folder, entry["rows"], key)
            | {option: entry[option] for option in ("limit", "where") if entry[option] is not None}
            for key, entry in given_sources.items()
        }
        for key, entry in given_sources.items():  # a column that no row has cannot be named
            entry["rows"].append({"prompt": "Named?", "answer": "1", "license": None, "verifier": None})
            write(folder, entry["rows"], key)
        raw = RECIPE | {
            "sources": sources,
            "annotate": {key: {} for key in annotators},
            "keep": {f"r{n}": rule for n, rule in enumerate(rules)},
            "max_rejected": 1.0,
            "holdout": holdout,
        }
        try:
            outcome = curate(resolve(raw, "recipe.yaml"), str(folder / "ws"), progress=Progress(quiet=True))
        except StepFailed as failure:
            assert isinstance(failure.__cause__, PoolError)  # noqa: PT017 (a pool may be empty)
            return
        assert outcome.dataset is not None
        counts = outcome.dataset.manifest["counts"]
        assert counts["kept"] + counts["dropped"] + counts["rejected"] == counts["read"]
        decisions = pq.read_table(f"{outcome.dataset.folder}/decisions.parquet")
        assert decisions.num_rows == counts["problems"] == len(set(decisions["id"].to_pylist()))
        assert sum(decisions["kept"].to_pylist()) == counts["kept"]
        sets = outcome.dataset.manifest["sets"]["rl"]
        assert sets["train"]["rows"] + sets["test"]["rows"] == counts["kept"]
        for row in decisions.to_pylist():
            passed = all(row[f"rule_r{n}"] == "pass" for n in range(len(rules)))
            assert row["kept"] == passed == (row["dropped_by"] is None)
        for key, entry in given_sources.items():
            read = outcome.dataset.manifest["pool"]["sources"][key]["read"]
            assert read <= len(entry["rows"])
            assert entry["limit"] is None or read <= entry["limit"]


# S3


def test_a_run_on_s3_decides_and_publishes_what_a_local_one_does(tmp_path: Path, s3: str) -> None:
    options: dict[str, Any] = {
        "annotate": {"form": {}, "gold": {}, "duplicates": {}},
        "keep": {"gold": "gold_accepted is not false", **RECIPE["keep"]},  # type: ignore[dict-item]
    }
    local = run(tmp_path, ROWS, **options)
    remote = run(tmp_path, ROWS, workspace=f"{s3}/it's a run/ü", **options)
    again = run(tmp_path, ROWS, workspace=f"{s3}/it's a run/ü", **options)
    assert local.dataset is not None
    assert remote.dataset is not None
    assert (remote.new, again.new) == (True, False)
    assert remote.dataset.manifest["fingerprint"] == local.dataset.manifest["fingerprint"]
    with remote.dataset.store.fs.open(f"{remote.dataset.folder}/decisions.parquet", "rb") as file:
        assert pq.read_table(file).equals(pq.read_table(f"{local.dataset.folder}/decisions.parquet"))
    found = find(Store(str(tmp_path)), f"s3://{remote.dataset.folder}")
    assert found.ref == remote.dataset.ref


def test_two_writers_on_s3_publish_two_versions(tmp_path: Path, s3: str) -> None:
    store = Store(f"{s3}/claims")
    assert publish._claim(store, "d")[-2:] == ".1"
    assert publish._claim(Store(f"{s3}/claims"), "d")[-2:] == ".2"


# What can happen to files


@pytest.mark.parametrize("lost", ["README.md", "decisions.parquet", "rl/train-00000.parquet"])
def test_a_dataset_that_lost_a_file_is_published_again(tmp_path: Path, lost: str) -> None:
    first = run(tmp_path, ROWS).dataset
    assert first is not None
    (Path(first.folder) / lost).unlink()
    again = run(tmp_path, ROWS)
    assert again.dataset is not None
    assert again.new
    assert again.dataset.ref != first.ref
    assert (Path(again.dataset.folder) / lost).exists()
    assert not run(tmp_path, ROWS).new


def test_key_value_in_the_workspace_path_means_nothing(tmp_path: Path) -> None:
    dataset = run(tmp_path, ROWS, workspace=str(tmp_path / "source=evil" / "kept=false")).dataset
    assert dataset is not None
    sources = {row["source"] for row in arrow(dataset.store.connect(), f"from {dataset.decisions()}").to_pylist()}
    assert sources == set(dataset.manifest["pool"]["sources"])
