"""What goes wrong around a run, and that it changes no decision: servers, disks, replies, clocks."""

import contextlib
import datetime
import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import be_quick, free_port
from click.testing import CliRunner, Result
from disturbed import Requests, decisions, in_pieces, logged_server, mounted, read_every_part
from fake_server import HUGE, NAME, FakeServer
from lab import Lab, decided, sums

from curation import annotate, client, publish, watching
from curation.budget import Budget
from curation.publish import find, versions
from curation.store import Store
from flows.cli import main
from flows.curate import Outcome, curate

PROBLEMS = sums(*((a, 2 * a) for a in range(30)))
SAMPLES = 30 * 4
CONCURRENCY = 8


def make(folder: Path, *urls: str, workspace: Path | None = None) -> Lab:
    lab = Lab(folder, {"model": NAME, "url": list(urls), "concurrency": CONCURRENCY})
    lab.source("sums", PROBLEMS)
    lab.workspace = workspace or lab.workspace
    return lab


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    with FakeServer() as server:
        return make(tmp_path_factory.mktemp("undisturbed"), server.url)()


def content(outcome: Outcome) -> tuple[str, list[dict[str, Any]]]:
    """Fingerprint and decisions."""
    assert outcome.dataset is not None
    return outcome.dataset.manifest["fingerprint"], decisions(outcome.dataset.folder)


def samples_once(lab: Lab) -> set[tuple[str, int]]:
    """Which samples are stored, each in one row and with one verdict."""
    rollouts, verdicts = lab.stored("rollouts"), lab.stored("verdicts", "rollout")
    places = [(row["problem_id"], row["sample_index"]) for row in rollouts]
    assert len(set(places)) == len(places)
    assert sorted(row["rollout"] for row in rollouts) == [row["rollout"] for row in verdicts]
    return set(places)


@contextlib.contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Does something in a thread while the block runs."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 (it is raised below)
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


def wait_for(moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not moment():
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.002)


# Servers


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)


@pytest.mark.usefixtures("_quick")
def test_of_a_server_that_is_killed_and_started_again_only_what_was_in_flight_is_drawn_again(
    tmp_path: Path, undisturbed: Outcome
) -> None:
    port, requests = free_port(), Requests(tmp_path / "requests")
    lab = make(tmp_path, f"http://127.0.0.1:{port}/v1")
    kills = 3
    with contextlib.ExitStack() as servers:
        servers.enter_context(logged_server(port, requests.path))

        def kill_and_start_again() -> None:
            for kill in range(kills):
                wait_for(lambda kill=kill: len(requests) >= 20 + 30 * kill)  # type: ignore[misc]
                servers.close()  # kill -9
                servers.enter_context(logged_server(port, requests.path))

        with meanwhile(kill_and_start_again):
            outcome = lab()
    asked = Counter(requests.all())
    assert len(asked) == len(samples_once(lab)) == SAMPLES
    assert SAMPLES < asked.total() <= SAMPLES + kills * CONCURRENCY
    assert content(outcome) == content(undisturbed)


@pytest.mark.usefixtures("_quick")
def test_a_server_that_stands_still_for_a_while_loses_and_doubles_nothing(tmp_path: Path, undisturbed: Outcome) -> None:
    port, requests = free_port(), Requests(tmp_path / "requests")
    lab = make(tmp_path, f"http://127.0.0.1:{port}/v1")
    with logged_server(port, requests.path) as server:

        def stop_and_continue() -> None:
            wait_for(lambda: len(requests) >= 20)
            server.send_signal(signal.SIGSTOP)
            time.sleep(4 * watching.HANG_SECONDS)
            server.send_signal(signal.SIGCONT)

        with meanwhile(stop_and_continue):
            outcome = lab()
    assert Counter(requests.all()).total() == len(samples_once(lab)) == SAMPLES
    assert content(outcome) == content(undisturbed)


@pytest.mark.usefixtures("_quick")
def test_the_work_of_one_of_two_servers_that_stands_still_goes_to_the_other(
    tmp_path: Path, undisturbed: Outcome
) -> None:
    ports, logs = [free_port(), free_port()], [Requests(tmp_path / name) for name in ("one", "two")]
    lab = make(tmp_path, *(f"http://127.0.0.1:{port}/v1" for port in ports))
    with logged_server(ports[0], logs[0].path) as server, logged_server(ports[1], logs[1].path):

        def stop() -> None:
            wait_for(lambda: len(logs[0]) >= 20)
            server.send_signal(signal.SIGSTOP)

        with meanwhile(stop):
            outcome = lab()
    asked = Counter(logs[0].all() + logs[1].all())
    assert len(asked) == len(samples_once(lab)) == SAMPLES
    assert asked.total() <= SAMPLES + CONCURRENCY
    assert len(logs[1]) > SAMPLES / 2
    assert content(outcome) == content(undisturbed)


# Disks


def cuvee_run(lab: Lab, *options: str) -> Result:
    return CliRunner().invoke(main, ["run", str(lab.write()), "--workspace", str(lab.workspace), *options])


@pytest.fixture
def _without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting Prefect takes longer than all else; tests/slow has the command as it is."""
    monkeypatch.setattr("flows.curate.curate_flow", curate)
    monkeypatch.setattr("flows.server.prefect_api", lambda say: contextlib.nullcontext())


def assert_told(failed: Result, lab: Lab) -> None:
    assert failed.exit_code == 1, failed.output
    assert failed.stderr.splitlines()[-1] == (
        f"error: no space left on device in {lab.workspace}; free some and run the same command again"
    )
    assert "Traceback" not in failed.output


@pytest.mark.usefixtures("_without_prefect")
@pytest.mark.parametrize("answers", [0, 40, 100])
def test_a_disk_that_fills_while_samples_are_drawn_is_said_and_with_more_room_the_run_goes_on(
    answers: int, tmp_path: Path, fake_server: FakeServer, undisturbed: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotate, "SECONDS_BETWEEN_COMMITS", 0.02)
    fake_server.delay = 0.02
    with mounted(tmp_path / "disk") as disk:
        lab = make(tmp_path, fake_server.url, workspace=disk.folder / "workspace")

        def fill() -> None:
            wait_for(lambda: len(fake_server.order) >= answers)
            disk.leave(free=0)

        with meanwhile(fill):
            assert_told(cuvee_run(lab), lab)
        kept = {(row["problem_id"], row["sample_index"]) for row in lab.stored("rollouts")}
        assert read_every_part(lab.workspace).get("rollouts", 0) == len(kept) < SAMPLES
        assert not list(lab.workspace.rglob("*.tmp"))
        assert_told(cuvee_run(lab), lab)  # nothing has changed

        disk.resize(64 << 20)
        fake_server.forget()
        assert cuvee_run(lab).exit_code == 0
        drawn = {(name[:-2], int(name[-1])) for name in fake_server.asked}
        assert not kept & drawn
        assert len(samples_once(lab)) == SAMPLES
        assert content(lab()) == content(undisturbed)


@pytest.mark.usefixtures("_without_prefect")
def test_a_disk_that_fills_while_parts_are_merged_keeps_them_all(
    tmp_path: Path, fake_server: FakeServer, undisturbed: Outcome
) -> None:
    with mounted(tmp_path / "disk") as disk:
        lab = make(tmp_path, fake_server.url, workspace=disk.folder / "workspace")
        lab()
        (part,) = lab.workspace.glob("rollouts/*/part-*")
        in_pieces(part, 10)
        disk.leave(free=4096)
        assert_told(cuvee_run(lab), lab)
        assert len(list(lab.workspace.glob("rollouts/*/*.parquet"))) == 10
        assert not list(lab.workspace.rglob("*.tmp"))
        assert read_every_part(lab.workspace)["rollouts"] == SAMPLES

        disk.resize(64 << 20)
        fake_server.forget()
        assert cuvee_run(lab).exit_code == 0
        assert len(list(lab.workspace.glob("rollouts/*/part-*"))) == 1
        assert not fake_server.asked
        assert content(lab()) == content(undisturbed)


@pytest.mark.usefixtures("_without_prefect")
@pytest.mark.parametrize("free", [0, 4096, 16384])
def test_a_disk_that_fills_while_publishing_publishes_nothing_by_halves(
    free: int, tmp_path: Path, fake_server: FakeServer, undisturbed: Outcome
) -> None:
    with mounted(tmp_path / "disk") as disk:
        lab = make(tmp_path, fake_server.url, workspace=disk.folder / "workspace")
        assert cuvee_run(lab, "--until", "pass_rate").exit_code == 0
        disk.leave(free)
        assert_told(cuvee_run(lab), lab)
        assert versions(lab.store, "lab") == []
        assert read_every_part(lab.workspace)["rollouts"] == SAMPLES

        disk.resize(64 << 20)
        assert cuvee_run(lab).exit_code == 0
        assert len(versions(lab.store, "lab")) == 1
        assert content(lab()) == content(undisturbed)


def test_what_a_killed_run_was_writing_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "rollouts" / "settings"
    folder.mkdir(parents=True)
    cut, others = folder / f".{'0a' * 16}.tmp", [folder / "mine.tmp", tmp_path / ".notes.tmp"]
    for file in (cut, *others):
        file.write_bytes(b"PAR1")
    with Store(str(tmp_path)).locked():
        assert not cut.exists()
    assert all(file.exists() for file in others)


# Replies


@pytest.fixture
def early(lab: Lab, fake_server: FakeServer) -> Lab:
    """Of two samples both have to pass: the first failure settles a problem."""
    fake_server.max_model_len, fake_server.token_ids = 100_000_000, False
    lab.recipe["annotate"]["pass_rate"] |= {"settle": "early", "n": 2, "max_tokens": 20_000_000}
    lab.recipe["keep"] = {"solved": "passes = 2"}
    return lab


@pytest.mark.parametrize(
    ("trouble", "text"),
    [("(empty)", ""), ("(null)", ""), ("(surrogate)", "The answer is ?"), ("(huge)", HUGE)],
)
def test_odd_texts_are_wrong_answers_that_settle_a_problem(trouble: str, text: str, early: Lab) -> None:
    early.source("odd", sums((1, 2), trouble=f" {trouble}"))
    row = decided(early())[f"What is 1 + 2? {trouble}"]
    assert (row["used"], row["passes"], row["fails"], row["rule_solved"]) == (1, 0, 1, "fail")
    assert {sample["text"] for sample in early.stored("rollouts") if sample["problem_id"] == row["id"]} == {text}


@pytest.mark.parametrize("trouble", ["(nothing)", "(textless)", "(negative)", "(latin)", "(abort)", "(fail)"])
def test_of_replies_that_are_no_samples_nothing_is_stored_and_the_others_are_settled(
    trouble: str, early: Lab, fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_quick(monkeypatch)
    before = decided(early())
    early.source("odd", sums((1, 2), trouble=f" {trouble}"))
    rows = decided(early())
    odd = rows.pop(f"What is 1 + 2? {trouble}")
    assert (odd["drawn"], odd["pass_rate"], odd["rule_solved"], odd["kept"]) == (0, None, "unknown", False)
    assert fake_server.asked[f"{odd['id']}-0"] in (0, client.TRIES)  # bytes that are no UTF-8 are not counted there
    columns = ("used", "passes", "fails", "rule_solved")
    assert {p: [row[c] for c in columns] for p, row in rows.items()} == {
        p: [row[c] for c in columns] for p, row in before.items()
    }


def test_a_chat_reply_without_content_is_an_empty_text(early: Lab) -> None:
    early.policy["prompt"] = {"style": "chat", "system": "Add."}
    early.source("sums", sums((3, 4)))
    early.source("odd", sums((1, 2), trouble=" (null)"))
    rows = decided(early())
    assert rows["What is 1 + 2? (null)"]["fails"] == 1
    assert {sample["text"] for sample in early.stored("rollouts")} >= {"", " The answer is 7"}


# Clocks

DAY = 24 * 3600


class Clock:
    """The clock on the wall, as our code reads it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead: Callable[[], float] = lambda: 0.0
        true, clock = time.time, self

        class Now(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> "Now":
                return cls.fromtimestamp(true() + clock.ahead(), tz)

        monkeypatch.setattr(time, "time", lambda: true() + clock.ahead())
        for module in ("annotate", "sampling", "store", "publish"):
            monkeypatch.setattr(f"curation.{module}.datetime", Now)

    def is_off(self, seconds: float) -> None:
        self.ahead = lambda: seconds

    def jumps(self) -> None:
        """Another time whenever it is looked at: a day ago, in a year, now."""
        times = itertools.cycle([-DAY, 365 * DAY, 0.0])
        self.ahead = lambda: next(times)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("settle", ["never", "early"])
def test_a_clock_that_jumps_during_a_run_changes_nothing_but_what_it_dates(
    settle: str, tmp_path: Path, fake_server: FakeServer, clock: Clock
) -> None:
    fake_server.limited, fake_server.limit_headers = 2, {"Retry-After": "0.01"}
    right, wrong = make(tmp_path, fake_server.url), make(tmp_path, fake_server.url, workspace=tmp_path / "jumps")
    right.policy["concurrency"] = wrong.policy["concurrency"] = 1  # so that both draw the same samples
    expected = right(settle=settle)
    clock.jumps()
    fake_server.limited = 2
    budget = Budget.parse("1h")
    outcome = curate_with(wrong, budget, settle=settle, patience=30)
    assert outcome.spent is None
    assert content(outcome) == content(expected)
    years = {row["drawn_at"].year for row in wrong.stored("rollouts")}
    assert len(years) > 1
    for jump in (-DAY, 365 * DAY, 0):
        clock.is_off(jump)
        again = wrong(settle=settle)
        assert (again.new, again.drawn) == (False, {})


def curate_with(lab: Lab, budget: Budget, **pass_rate: Any) -> Outcome:
    from curation.progress import Progress
    from flows.recipe import load

    overrides = {f"annotate.pass_rate.{key}": str(value) for key, value in pass_rate.items()}
    return curate(load(str(lab.write()), overrides), str(lab.workspace), budget=budget, progress=Progress(quiet=True))


def test_what_is_published_after_the_clock_went_back_is_the_newest(lab: Lab, clock: Clock) -> None:
    refs = []
    for days, most in ((0, 1), (365, 2), (-1, 4), (0, 2), (366, 4)):
        clock.is_off(days * DAY)
        lab.recipe["keep"] = {"learnable": f"passes between 1 and {most}"}
        outcome = lab()
        assert outcome.dataset is not None
        assert outcome.new
        assert find(lab.store, "lab").ref == outcome.dataset.ref
        assert not lab().new
        refs.append(outcome.dataset.ref.partition("@")[2])
    assert versions(lab.store, "lab") == refs
    assert [version.partition(".")[2] for version in refs] == ["1", "1", "2", "3", "1"]
    assert len({version.partition(".")[0] for version in refs}) == 3


def test_a_version_begun_before_the_clock_went_back_is_not_taken_again(lab: Lab, clock: Clock) -> None:
    clock.is_off(365 * DAY)
    begun = publish._claim(lab.store, "lab")  # and killed
    clock.is_off(0)
    outcome = lab()
    assert outcome.dataset is not None
    assert outcome.dataset.manifest["version"] == begun.replace(".1", ".2")
