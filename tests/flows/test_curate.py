"""A whole run, called directly."""

from pathlib import Path

import pytest
from lab import Lab, decided

from curation.store import WorkspaceDamaged


def overwritten_inside(part: Path) -> None:
    """The footer stays whole, the pages do not."""
    data = bytearray(part.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[4:footer] = b"\xff" * (footer - 4)
    part.write_bytes(data)


@pytest.mark.parametrize("kind", ["pools", "annotations", "rollouts", "verdicts"])
def test_a_part_damaged_inside_is_set_aside_and_named_and_made_again(lab: Lab, kind: str) -> None:
    lab.recipe["annotate"] = {"form": {}} | lab.recipe["annotate"]
    before = decided(lab())
    part = next(lab.workspace.glob(f"{kind}/**/part-*.parquet"))
    overwritten_inside(part)
    with pytest.raises(WorkspaceDamaged, match=part.name):
        lab()
    assert decided(lab()).keys() == before.keys()
    assert part.with_name(f"{part.name}.damaged").exists()


def test_measuring_everything_changes_no_decision(lab: Lab, tmp_path: Path) -> None:
    lab.recipe["annotate"] = {"form": {}, "gold": {}} | lab.recipe["annotate"]
    lab.recipe["keep"] = {"short": "prompt_words < 5", "odd": "answer <> '7'"} | lab.recipe["keep"]
    gated = decided(lab())
    from flows.curate import curate
    from flows.recipe import load

    everything = decided(curate(load(str(lab.write())), str(tmp_path / "other"), measure_all=True))
    assert {p: row["kept"] for p, row in gated.items()} == {p: row["kept"] for p, row in everything.items()}
    assert {p: row["dropped_by"] for p, row in gated.items()} == {p: row["dropped_by"] for p, row in everything.items()}
    assert all(row["drawn"] == 4 for row in everything.values())
