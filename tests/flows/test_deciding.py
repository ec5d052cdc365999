"""`cuvee sweep --grid` and `cuvee diff`, as a user types them."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from lab import Lab

from flows.cli import main


@pytest.fixture
def published(lab: Lab) -> Lab:
    """Six sums of four samples each, all drawn."""
    lab()
    return lab


def cuvee(lab: Lab, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--workspace", str(lab.workspace)])


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


BAND = ("sweep", "lab", "--rule", "learnable=passes between {low} and {high}")


def test_a_grid_is_told_cell_by_cell(published: Lab) -> None:
    data = told(cuvee(published, *BAND, "--grid", "low=0,1", "--grid", "high=3..4", "--json"))
    assert data["values"] == {"low": [0, 1], "high": [3, 4]}
    kept = {(cell["values"]["low"], cell["values"]["high"]): cell["kept"] for cell in data["cells"]}
    assert kept[0, 4] == 6
    for (low, high), count in kept.items():
        alone = told(cuvee(published, "sweep", "lab", "--rule", f"learnable=passes between {low} and {high}", "--json"))
        assert alone["counts"]["kept"] == count


def test_a_grid_is_shown_as_a_table(published: Lab) -> None:
    shown = cuvee(published, *BAND, "--grid", "low=0,1", "--grid", "high=3..4").stdout.splitlines()
    assert shown[1].split() == ["low", "\\", "high", "3", "4"]
    assert [line.split()[0] for line in shown[2:4]] == ["0", "1"]
    line = cuvee(published, "sweep", "lab", "--rule", "learnable=passes >= {low}", "--grid", "low=0..4").stdout
    assert line.splitlines()[1].split()[:4] == ["0", "6", "0", "0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grid", "low=0..2"], "{high} has no values; give --grid high=1..5"),
        (["--grid", "low=0..2", "--by", "source"], "--by"),
        ([], "rule learnable has a placeholder {low} without values"),
        (["--grid", "low"], "--grid: 'low' is not of the form NAME=VALUE"),
        (["--grid", "low=x", "--grid", "high=1"], "'x' is no number or range"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(published: Lab, options: list[str], message: str) -> None:
    result = cuvee(published, *BAND, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_sweep_counts_by_source(published: Lab) -> None:
    data = told(cuvee(published, "sweep", "lab", "--rule", "learnable=passes >= 0", "--by", "source", "--json"))
    assert data["by"]["source"][0] | {"was": None} == {
        "value": "sums", "problems": 6, "was": None, "kept": 6, "undecided": 0,
    }  # fmt: skip
    assert "were kept" in cuvee(published, "sweep", "lab", "--by", "source").stdout


def test_diff_says_what_left_by_which_rule_and_which_setting_changed(published: Lab) -> None:
    published.recipe["keep"]["learnable"] = "passes = 1"
    published(n=3)
    first, second = (f"lab@{version.name}" for version in sorted((published.workspace / "datasets" / "lab").iterdir()))
    data = told(cuvee(published, "diff", first, second, "--json"))
    assert data["problems"] == {"before": 6, "after": 6}
    assert {way["rule"] for way in data["left"]} == {"learnable"}
    assert {"key": "annotate.pass_rate.n", "before": 4, "after": 3} in data["settings"]
    shown = cuvee(published, "diff", first, second, "--rows", "1").stdout
    assert "its condition changed" in shown
    assert "What is" in shown
