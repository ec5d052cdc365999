"""The README's recipe, taxonomy and rules run as they stand there; only models and the Hub's benchmarks are replaced."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_server import NAME, FakeServer
from lab import decided
from tagger_server import TaggerServer

from curation.progress import Progress
from curation.publish import find
from curation.store import Store
from curation.sweep import sweep
from curation.taxonomy import taxonomy
from flows.curate import Outcome, curate
from flows.recipe import load

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(name: str) -> str:
    """The README's YAML block that begins with this file's name."""
    found = re.search(rf"```yaml\n# {re.escape(name)}\n(.*?)```", README, re.DOTALL)
    assert found is not None, name
    return found[1]


def says(problem: str, vote: int) -> dict[str, Any]:
    """A tagger that is sure of sums, and never of areas."""
    if "area" in problem:
        return {"domain": ["geometry", "counting", "arithmetic / sums"][vote], "difficulty": 4}
    return {"domain": "arithmetic / sums", "difficulty": 1}


@pytest.fixture
def outcome(tmp_path: Path, fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    questions = [f"What is {a} + {b}?" for a, b in [(20, 11), (41, 12), (65, 13), (80, 25)]]
    questions += ["What is the area of a floor of 3 + 5 tiles?", "long " * 200 + "What is 30 + 14?"]
    rows = [{"question": q, "solution": str(sum(map(int, re.findall(r"\d+", q))))} for q in questions]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("mine.yaml", "topics.yaml"):
        (tmp_path / name).write_text(block(name))
    monkeypatch.chdir(tmp_path)
    with TaggerServer(says) as tagger:
        replaced = {
            "models.policy": f"{{model: {NAME}, url: '{fake_server.url}', prompt: {{style: raw}}}}",
            "models.tagger": f"{{model: tagger, url: '{tagger.url}', revision: '1'}}",
            "annotate.contamination": "null",
            "keep.clean": "null",
            "keep.not_guessed": "null",  # the fake model thinks as little as it guesses
            "annotate.guess": "null",
        }
        return curate(load("mine.yaml", replaced), "w", progress=Progress(quiet=True))


def test_the_recipe_of_one_s_own_is_ten_lines_runs_and_is_swept(outcome: Outcome) -> None:
    dropped = {prompt[:30]: row["dropped_by"] for prompt, row in decided(outcome).items()}
    assert dropped == {
        "What is 20 + 11?": None,
        "What is 41 + 12?": None,
        "What is 65 + 13?": None,
        "What is 80 + 25?": "learnable",  # never solved
        "What is the area of a floor of": "sure",
        "long long long long long long ": "short",
    }
    assert len(block("mine.yaml").splitlines()) <= 11
    tags = {row["domain"] for row in decided(outcome).values() if row["dropped_by"] is None}
    assert tags == {"arithmetic"}
    assert any(
        "floors" not in warning and "size" in warning for warning in outcome.warnings
    )  # 3,000 rows are not there

    again = sweep(find(Store("w"), "mine"), {"short": "prompt_words < 1000"})
    assert (again.kept, again.undecided) == (3, 1)  # without a model: the long one was never sampled


def test_the_taxonomy_is_one(tmp_path: Path) -> None:
    (tmp_path / "topics.yaml").write_text(block("topics.yaml"))
    read = taxonomy(str(tmp_path / "topics.yaml"))
    assert [domain.name for domain in read.domains] == ["arithmetic", "geometry", "counting"]
