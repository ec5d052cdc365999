"""Every shipped recipe runs, at the size of a laptop: the packaged model in every role, 40 problems, a published set."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.duck import arrow
from curation.model import Model, RunningServer, serve
from curation.progress import Progress
from flows.curate import Outcome, curate
from flows.recipe import load, shipped_names

NEEDS = {"qwen3-rl": ["qwen3-cold-start"]}
"""What a recipe compares with has to be published before it."""
FIRST = ["kimi-k1.5-rl", "qwen3-fusion", "r1", "s1", "dapo"]


@pytest.fixture(scope="module")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all; a recipe under `tiny` would start its own."""
    model = Model.model_validate({"model": str(model_folder), "serve": {"max_model_len": 4096}})
    with serve(model, log=tmp_path_factory.mktemp("vllm") / "vllm.log") as (running,):
        yield running


@pytest.mark.parametrize("name", [*FIRST, *sorted({*shipped_names()} - {*FIRST})])
def test_a_recipe_runs_and_publishes(name: str, server: RunningServer, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "served.yaml").write_text(
        f"models: {{'*': {{model: {server.name}, url: '{server.url}', revision: packaged, prompt: "
        '{style: raw, template: "Question: {prompt}\\nAnswer:", stop: ["\\n"]}}}\n'
        f"student: {{tokenizer: {model_folder}}}\n"
    )

    def run(recipe: str) -> Outcome:
        loaded = load(recipe, overlays=["tiny", str(tmp_path / "served.yaml")])
        return curate(loaded, str(tmp_path / "w"), progress=Progress(quiet=True))

    for before in NEEDS.get(name, []):
        run(before)
    outcome = run(name)

    assert outcome.dataset is not None
    counts = outcome.dataset.manifest["counts"]
    assert counts["read"] == 40 == counts["kept"] + counts["dropped"] + counts["rejected"]
    rows = arrow(outcome.dataset.store.connect(), f"from {outcome.dataset.decisions()}")
    assert len(rows) == 40 - counts["rejected"]
    sets = outcome.dataset.manifest["sets"]
    empty = {config for config, splits in sets.items() if not any(split["rows"] for split in splits.values())}
    assert len(empty) == sum("is empty" in warning for warning in outcome.warnings)
    # Traces of so small a model are all of one length: there may be no pair to learn brevity from.
    assert counts["kept"] == 0 or empty <= {"preference"}
    again = run(name)
    assert not again.new
    assert not any(drawn.get("missing") for drawn in again.drawn.values())
