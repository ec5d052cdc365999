"""`cuvee run`, killed fifty times at random moments. Half an hour on two busy cores; `-s` shows every kill.

CUVEE_TEST_SEED repeats a sequence of moments, CUVEE_TEST_KILLS changes how many.
"""

import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prefect.settings
import pyarrow.parquet as pq
import pytest
from asking import free_port
from disturbed import Command, Requests, decisions, logged_server, read_every_part
from fake_server import NAME
from lab import Lab, sums

from curation.store import Store
from flows.server import prefect_api

KILLS = int(os.environ.get("CUVEE_TEST_KILLS", "50"))
KILLS_OF_ONE = 8
"""So often one job is killed at most before it may end."""
COMMIT_SECONDS = 0.05
DRAWN = ("drawn", "guess_drawn")
"""What depends on when answers come: samples drawn on a guess that they will be needed."""


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """One Prefect server for all runs: starting it takes longer than a run."""
    with prefect_api(print):
        url = prefect.settings.get_current_settings().api.url
        assert url is not None
        yield url


@dataclass
class Job:
    """A recipe with a workspace, its runs, and what they asked for."""

    lab: Lab
    requests: Requests
    api: str

    @property
    def workspace(self) -> Path:
        return self.lab.workspace

    def start(self) -> Command:
        scratch = self.lab.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return Command(self.lab.write(), self.workspace, COMMIT_SECONDS, PREFECT_API_URL=self.api, TMPDIR=str(scratch))

    def stored(self) -> Counter[str]:
        """Samples in the store, named as requests are, each as often as it was drawn.

        A kill between merging and removing what was merged leaves rows twice; it is the same sample then, and counts once.
        """
        found = set()
        for settings in self.workspace.glob("rollouts/*/settings.json"):
            last_word = json.loads(settings.read_text())["prompt"]["template"].split()[-1]
            for path in Store(str(self.workspace)).parts(str(settings.parent)):
                for row in pq.read_table(path, columns=["rollout", "problem_id", "sample_index"]).to_pylist():
                    found.add((row["rollout"], f"{row['problem_id']}-{row['sample_index']} {last_word}"))
        return Counter(name for _, name in found)

    def dataset(self) -> Path:
        (folder,) = [path.parent for path in self.workspace.glob("datasets/lab/*/manifest.json")]
        return folder


def make(folder: Path, url: str, requests: Requests, api: str) -> Job:
    folder.mkdir()
    lab = Lab(folder, {"model": NAME, "url": url})
    lab.source("sums", sums(*((a, 2 * a + a % 3) for a in range(80))))
    lab.recipe["annotate"] = {
        "form": {},
        "guess": {"model": "policy", "n": 4, "prompt": {"template": "{prompt}\nAt once:"}},
        "pass_rate": {"model": "policy", "n": 8, "max_tokens": 64, "settle": "early"},
    }
    lab.recipe["keep"] = {"guessable": "guessed", "learnable": "passes between 1 and 5"}
    return Job(lab, requests, api)


def outcome(dataset: Path) -> list[dict[str, Any]]:
    """All that a run decides and measures, but for what depends on when answers come."""
    return decisions(dataset, without=DRAWN)


def fingerprint(dataset: Path) -> str:
    return str(json.loads((dataset / "manifest.json").read_text())["fingerprint"])


def moments(job: Job, chance: random.Random) -> tuple[str, Callable[[], bool]]:
    """When the next kill comes."""
    began, asked = time.monotonic(), len(job.requests)

    def answers(count: int) -> bool:
        return len(job.requests) - asked >= count

    def later(first: Callable[[], bool], seconds: float) -> Callable[[], bool]:
        seen: list[float] = []

        def moment() -> bool:
            if not seen and first():
                seen.append(time.monotonic())
            return bool(seen) and time.monotonic() - seen[0] >= seconds

        return moment

    most: dict[Path, int] = {}

    def parts(of: str) -> int:
        """The most parts that a folder has; -1 when one has fewer than before."""
        for folder in job.workspace.glob(of):
            count = len(list(folder.glob("part-*")))
            if count < most.get(folder, 0):
                return -1
            most[folder] = count
        return max(most.values(), default=0)

    left = set(job.workspace.glob("rollouts/*/.*.tmp"))  # by the kill before

    def writes() -> bool:
        return bool(set(job.workspace.glob("rollouts/*/.*.tmp")) - left)

    count, wait = chance.randrange(150), chance.uniform(0, 0.02)
    begun = set(job.workspace.glob("datasets/lab/*"))
    return chance.choice(
        [
            (f"after {count} requests", lambda: answers(count)),
            (f"after {count} requests", lambda: answers(count)),
            (f"{wait * 100:.2f} s after the first request", later(lambda: answers(1), wait * 100)),
            (f"{wait * 600:.2f} s after its start", lambda: time.monotonic() - began >= wait * 600),
            ("while a part is written", later(lambda: answers(20) and writes(), wait / 20)),
            ("while parts are merged", later(lambda: parts("rollouts/*") >= 8 and writes(), wait / 10)),
            ("while merged parts are removed", lambda: parts("rollouts/*") < 0),
            ("while publishing", later(lambda: bool(set(job.workspace.glob("datasets/lab/*")) - begun), wait)),
        ]
    )


def test_fifty_kills_lose_nothing_double_nothing_and_change_no_decision(tmp_path: Path, api: str) -> None:
    seed = int(os.environ.get("CUVEE_TEST_SEED", random.randrange(1 << 32)))
    print(f"\nCUVEE_TEST_SEED={seed}")
    chance = random.Random(seed)
    port, requests = free_port(), Requests(tmp_path / "requests")
    url = f"http://127.0.0.1:{port}/v1"
    with logged_server(port, requests.path):
        quiet = make(tmp_path / "undisturbed", url, requests, api)
        command = quiet.start()
        assert command.wait() == 0, command.said
        expected = outcome(quiet.dataset())
        assert 0 < sum(row["kept"] for row in expected) < len(expected)
        samples_of_one = len(requests)
        kills, number, lost = 0, 0, 0
        where: Counter[str] = Counter()
        while kills < KILLS:
            number += 1
            job = make(tmp_path / f"job-{number}", url, requests, api)
            first = len(requests)
            of_this = 0
            while True:
                before, asked = job.stored(), len(requests)
                name, moment = moments(job, chance)
                if of_this == KILLS_OF_ONE or kills == KILLS:
                    name, moment = "never", lambda: False
                command = job.start()
                try:
                    killed = command.killed_at(moment)
                    command.assert_gone()
                finally:
                    command.end()
                drawn, after = requests.all(asked), job.stored()
                assert set(before) <= set(after), "what was committed is lost"
                assert not set(before) & set(drawn), "what was committed is drawn again"
                assert set(Counter(drawn).values()) <= {1}, "a sample is drawn twice by one run"
                assert set(after) <= set(before) | set(drawn)
                if not killed:
                    assert command.wait() == 0, command.said
                    break
                kills, of_this = kills + 1, of_this + 1
                where[name if name.startswith("while") else "after requests" if "requests" in name else "time"] += 1
                lost += len(set(drawn) - set(after))
                print(f"{kills:3} {name}: {len(drawn)} asked for, {len(set(drawn) - set(after))} of them not committed")
            # Every problem and index once; drawn again was only what no run before had committed.
            assert set(job.stored().values()) == {1}
            assert len(requests.all(first)) >= len(job.stored())
            assert outcome(job.dataset()) == expected
            assert fingerprint(job.dataset()) == fingerprint(quiet.dataset())
            assert read_every_part(job.workspace)["rollouts"] >= job.stored().total()
            assert not list(job.workspace.rglob("*.tmp"))
            print(f"    job {number} ended like the undisturbed one")
            shutil.rmtree(job.lab.folder)
    print(f"{kills} kills of {number} jobs of {samples_of_one} samples: {lost} asked for again; {dict(where)}")
