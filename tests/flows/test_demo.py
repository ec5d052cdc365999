"""The demo plants a problem of every kind of trouble, and each falls to the rule that is about it."""

import json
from pathlib import Path

from curation.duck import arrow
from curation.progress import Progress
from flows.curate import curate
from flows.recipe import load

FALLS_TO = [
    ("has an exact duplicate", None),
    ("an exact duplicate", "unique"),
    ("a duplicate in other spelling", "unique"),
    ("its duplicate has another answer", "consistent"),
    ("a duplicate with another answer", "consistent"),
    ("has a near-duplicate", None),
    ("a near-duplicate", "unique"),
    ("the same with other numbers: another problem", None),
    ("contains an item of the demo's benchmark", "clean"),
    ("an item with another name and other numbers", "clean"),
    ("an item in other words", "clean"),
    ("multiple choice", "evaluable"),
    ("true or false", "evaluable"),
    ("a proof", "evaluable"),
    ("a wrong gold answer: it gives 13", "gold"),
    ("no licence", "licenses"),
    ("nothing wrong", None),
    ("nothing wrong", None),
]


def test_what_the_demo_plants_is_found(tmp_path: Path) -> None:
    """All but what takes a model: its rule and its generated problems are left out."""
    others = dict.fromkeys(source for source in load("demo").recipe.sources if source != "planted")
    recipe = {"extends": "demo", "name": "planted", "sources": others, "annotate": {"pass_rate": None}}
    recipe |= {"keep": {"learnable": None}, "sets": {"sft": None, "fusion": None, "preference": None}, "train": None}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    dataset = curate(load(str(tmp_path / "r.yaml")), str(tmp_path / "w"), progress=Progress(quiet=True)).dataset
    assert dataset is not None
    assert (dataset.manifest["counts"]["read"], dataset.manifest["counts"]["rejected"]) == (19, 1)  # the empty prompt
    rows = arrow(dataset.store.connect(), f"from {dataset.decisions()} order by row").to_pylist()
    assert [(json.loads(row["meta"])["planted"], row["dropped_by"]) for row in rows] == FALLS_TO
    kinds = [row["contamination_kind"] for row in rows if row["dropped_by"] == "clean"]
    assert kinds == ["verbatim", "ngram", "reworded"]
