"""Screening: whether an answer can be checked, and whether several things are asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tagger_server import TaggerServer, work_over

from curation.polling import Unreadable
from curation.screen import Screen
from curation.tags import Tags


@pytest.fixture
def server() -> Iterator[TaggerServer]:
    with TaggerServer(lambda problem, vote: {"several_questions": False, "verifiable": True}) as running:
        yield running


def test_a_reply_is_read_strictly() -> None:
    read = Screen(model="tagger").read
    assert read('{"verifiable": true, "several_questions": false}') == {"several_questions": False, "verifiable": True}
    for reply in ('{"verifiable": 1, "several_questions": 0}', '{"verifiable": null, "several_questions": false}'):
        with pytest.raises(Unreadable, match="is neither true nor false"):
            read(reply)


@pytest.mark.parametrize(
    # Votes as letters: v verifiable, s several questions, - neither, ? unreadable.
    ("said", "verifiable", "several", "agreement"),
    [
        ("v", True, False, 1.0),
        ("s", False, True, 1.0),
        ("vv-", True, False, 2 / 3),
        ("v-", None, False, None),
        ("v?-v", True, False, 2 / 3),
        ("?", None, None, None),
        # Each by its own majority: no vote says both.
        ("vsbb", True, True, 0.5),
        ("v-s", False, False, 1 / 3),
    ],
)
def test_more_than_half_of_the_votes_decide(
    server: TaggerServer,
    tmp_path: Path,
    said: str,
    verifiable: bool | None,
    several: bool | None,
    agreement: float | None,
) -> None:
    def says(_: str, vote: int) -> Any:
        one = said[vote]
        return "?" if one == "?" else {"verifiable": one in "vb", "several_questions": one in "sb"}

    server.says = says
    work = work_over(tmp_path / "w", server, "What is 2 + 2?")
    [row] = Screen(model="tagger", votes=len(said)).measure(work, "screen").to_pylist()
    assert (row["verifiable"], row["several_questions"]) == (verifiable, several)
    assert row["screen_agreement"] == (None if agreement is None else pytest.approx(agreement))
    assert row["screen_votes"] == len(said.replace("?", ""))


def test_a_query_is_shown_behind_fences_and_asked_about_once(server: TaggerServer, tmp_path: Path) -> None:
    work = work_over(tmp_path / "w", server, "What is 2 + 2?", "Write a poem.")
    Screen(model="tagger").measure(work, "screen")
    assert sorted(server.asked) == [("What is 2 + 2?", 0), ("Write a poem.", 0)]
    Screen(model="tagger").measure(work, "screen")
    assert len(server.asked) == 2


def test_todays_hashes(server: TaggerServer, tmp_path: Path) -> None:
    """What was asked under them is asked again when one changes: that has to be meant."""
    work = work_over(tmp_path / "w", server, "What is 2 + 2?")
    found = {one.NAME: one.folder(work).rsplit("/", 1)[1] for one in (Tags(model="tagger"), Screen(model="tagger"))}
    assert found == {"tags": "bd59fba57d0104a88f93", "screen": "470dee146de81daa0837"}
