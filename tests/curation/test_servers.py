"""Several servers for one model, and what becomes of the work when one of them fails."""

import asyncio
import random
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import RAW, SAMPLING, asking, be_quick, first_error, free_port, process, running, samples, until
from fake_server import NAME, FakeServer

import curation.model
from curation import client, fleet, watching
from curation.annotate import Work
from curation.client import Client, Completion, Refused, SamplingError
from curation.fleet import Fleet
from curation.model import Model, ModelError, RunningServer, ServerError, serve
from curation.progress import Progress
from curation.replies import retry_after
from curation.store import Store


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    be_quick(monkeypatch)


@pytest.fixture
def other() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


# Who gets the work


def test_work_is_spread_and_no_server_gets_more_at_once_than_the_model_allows(
    fake_server: FakeServer, other: FakeServer
) -> None:
    fake_server.delay = other.delay = 0.01
    done = asking(running(fake_server, other), samples(40), concurrency=3)
    assert len(done) == 40
    assert (fake_server.most_in_flight, other.most_in_flight) == (3, 3)
    assert fake_server.asked + other.asked == {f"sum-{index}": 1 for index in range(40)}


def test_a_slow_server_gets_less(fake_server: FakeServer, other: FakeServer) -> None:
    fake_server.delay, other.delay = 0.1, 0.002
    asking(running(fake_server, other), samples(60), concurrency=2)
    assert len(fake_server.order) < len(other.order)


def test_slots_and_length_are_those_of_all_servers() -> None:
    one, two = RunningServer("a", NAME, 100, {}), RunningServer("b", NAME, 80, {})
    asked = Client((one, two), None, 8, 1)
    assert (asked.slots, asked.max_model_len, asked.where, asked.name) == (16, 80, "a, b", NAME)
    assert Client((), None, 8, 1).slots == 0


def test_a_sample_says_which_engine_gave_it(fake_server: FakeServer) -> None:
    (server,) = running(fake_server)
    known = RunningServer(server.url, NAME, None, {"engine": "vllm", "version": "1.0", "dtype": "bfloat16"})
    (done,) = asking((known,), samples(1))
    assert (done["engine"], done["engine_version"], done["dtype"]) == ("vllm", "1.0", "bfloat16")


def test_cancelling_closes_the_connection_and_frees_the_slot(fake_server: FakeServer) -> None:
    async def cancel(asked: Client) -> list[Completion]:
        fake_server.delay = 60
        long = asyncio.create_task(samples(1)(asked))
        waiting = asyncio.create_task(samples(1, first=1)(asked))
        await until(lambda: fake_server.in_flight == 1)
        await asyncio.sleep(0)
        waiting.cancel()
        long.cancel()
        await until(lambda: fake_server.given_up == 1)
        fake_server.delay = 0
        return await samples(3, first=2)(asked)

    done: list[Completion] = asking(running(fake_server), cancel, concurrency=1)
    assert len(done) == 3


def test_whatever_happens_no_slot_is_lost(fake_server: FakeServer, other: FakeServer) -> None:
    chance = random.Random(0)

    async def storm(asked: Client) -> list[Completion]:
        drawing: list[asyncio.Task[list[Completion]]] = []
        for first in range(120):
            drawing.append(asyncio.create_task(samples(1, first=first)(asked)))
            server = chance.choice([fake_server, other])
            trouble = chance.choice(["hangs", "broken", "down", "away", "limited", "delay"])
            setattr(server, trouble, 0.005 if trouble == "delay" else chance.choice([0, 1]))
            await asyncio.sleep(0.002)
            if chance.random() < 0.3:
                chance.choice(drawing).cancel()
        for server in (fake_server, other):
            server.hangs = server.broken = server.down = False
            server.away = server.limited = 0
        await asyncio.gather(*drawing, return_exceptions=True)
        done = await samples(200, first=200)(asked)  # limits that 429s halved have grown again
        for server in (fake_server, other):
            server.forget()
            server.delay = 0.1
        return done + await samples(20, first=400)(asked)

    assert len(asking(running(fake_server, other), storm, concurrency=5)) == 220
    assert (fake_server.most_in_flight, other.most_in_flight) == (5, 5)


# Servers that fail


def test_a_server_that_cannot_be_reached_gets_no_work_and_nothing_is_lost(fake_server: FakeServer) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    done = asking(running(nowhere, fake_server), samples(30))
    assert len(done) == 30
    assert set(fake_server.asked.values()) == {1}


def test_what_a_killed_server_had_is_drawn_elsewhere_and_it_is_taken_back(fake_server: FakeServer) -> None:
    port = free_port()
    there = f"http://127.0.0.1:{port}/v1"

    async def kill_and_restart(asked: Client) -> int:
        with process(port, "--die-after", "5"):
            done = await samples(40)(asked)
        fake_server.delay = 0.05
        with process(port):
            for first in range(40, 4000, 8):
                done += await samples(8, first=first)(asked)
                if any(sample["engine_version"] for sample in done):  # a server that is taken back is asked what it is
                    return len(done) - first - 8
        return -1

    assert asking(running(there, fake_server), kill_and_restart) == 0


def test_a_server_that_fails_at_everything_is_set_aside(fake_server: FakeServer, other: FakeServer) -> None:
    fake_server.broken = True
    done = asking(running(fake_server, other), samples(60))
    assert len(done) == 60
    assert set(other.asked.values()) == {1}


def test_a_request_that_no_server_can_answer_is_refused_and_both_go_on(
    fake_server: FakeServer, other: FakeServer
) -> None:
    async def both(asked: Client) -> int:
        with pytest.raises(Refused, match="failed 5 times, last with 500"):
            await asked.complete("1 + 1 = (fail)", RAW, SAMPLING, 64, "bad-0")
        return len(await samples(20)(asked))

    assert asking(running(fake_server, other), both) == 20
    assert fake_server.asked["bad-0"] + other.asked["bad-0"] == client.TRIES
    assert fake_server.asked["bad-0"] in (2, 3)


def test_bytes_that_are_no_utf8_are_a_failure(fake_server: FakeServer) -> None:
    with pytest.raises(ExceptionGroup) as errors:
        asking(running(fake_server), samples(1, trouble="(latin)"))
    assert "a reply that is no UTF-8 (invalid continuation byte at byte 13)" in str(first_error(errors))


def test_what_a_hanging_server_had_goes_elsewhere_and_it_is_taken_back(
    fake_server: FakeServer, other: FakeServer
) -> None:
    fake_server.hangs = True

    async def hang(asked: Client) -> list[Completion]:
        done = await samples(20)(asked)
        assert not fake_server.order
        fake_server.hangs, other.delay = False, 0.02
        for first in range(20, 4000, 8):
            done += await samples(8, first=first)(asked)
            if fake_server.order:
                break
        return done

    done = asking(running(fake_server, other), hang)
    assert len(done) == len({**fake_server.asked, **other.asked})
    assert fake_server.order


def test_the_only_server_may_hang_for_a_while_and_its_answers_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()

    async def stop_and_continue(asked: Client) -> list[Completion]:
        with process(port, "--delay", "100") as server:
            drawing = asyncio.create_task(samples(8)(asked))
            await asyncio.sleep(0.05)
            server.send_signal(signal.SIGSTOP)
            await asyncio.sleep(3 * watching.HANG_SECONDS)
            server.send_signal(signal.SIGCONT)
            done = await drawing
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked") as answer:
                assert answer.read().count(b": 1") == 8
            return done

    assert len(asking(running(f"http://127.0.0.1:{port}/v1"), stop_and_continue)) == 8


@pytest.fixture
def unprobed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe is sent while requests are in flight: only what comes of these counts."""
    monkeypatch.setattr(watching, "QUIET_SECONDS", 60)


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("trouble", ["delay", "trickles"])
def test_what_a_server_had_that_answers_probes_but_gives_no_sample_goes_elsewhere_and_it_is_taken_back(
    trouble: str, fake_server: FakeServer, other: FakeServer
) -> None:
    setattr(fake_server, trouble, 60)
    said: list[str] = []

    async def wedge(asked: Client) -> list[Completion]:
        done = await samples(20)(asked)
        assert not fake_server.order
        fake_server.forget()
        setattr(fake_server, trouble, 0)
        other.delay = 0.02
        for first in range(20, 4000, 8):
            done += await samples(8, first=first)(asked)
            if fake_server.order:
                break
        return done

    done = asking(running(fake_server, other), wedge, patience=0.2, say=said.append)
    assert len(done) == len({**fake_server.asked, **other.asked})
    assert fake_server.order
    (line,) = said
    assert line == f"{fake_server.url}: no sample for 0 s; its requests go to other servers"


@pytest.mark.usefixtures("unprobed")
def test_a_server_in_doubt_gets_one_request_at_a_time_until_it_gives_a_sample(
    fake_server: FakeServer, other: FakeServer
) -> None:
    fake_server.delay, other.delay = 60, 0.02

    async def doubted(asked: Client) -> list[Completion]:
        done, first = await samples(8)(asked), 8
        assert fake_server.given_up == 4
        fake_server.most_in_flight = 0
        while fake_server.given_up == 4:
            done += await samples(8, first=first)(asked)
            first += 8
        assert len(done) == first
        return done

    asking(running(fake_server, other), doubted, patience=0.2)
    assert fake_server.most_in_flight == 1


@pytest.mark.usefixtures("unprobed")
def test_samples_that_take_longer_than_the_patience_are_no_silence(fake_server: FakeServer, other: FakeServer) -> None:
    fake_server.delay, other.delay = 0.6, 0.45
    assert len(asking(running(fake_server, other), samples(12), patience=0.3)) == 12
    assert (fake_server.given_up, other.given_up) == (0, 0)
    assert len(asking(running(fake_server), samples(4, first=16), patience=0.3)) == 4
    assert fake_server.given_up == 0


@pytest.mark.usefixtures("unprobed")
def test_a_sample_that_takes_longer_than_all_others_comes_in_the_end(
    fake_server: FakeServer, other: FakeServer
) -> None:
    fake_server.delay = other.delay = 0.8
    assert len(asking(running(fake_server, other), samples(1), concurrency=1, patience=0.3)) == 1
    assert fake_server.given_up + other.given_up == 1


@pytest.mark.parametrize("trouble", ["hangs", "down"])
def test_when_no_server_is_left_the_run_ends_after_its_patience(
    trouble: str, fake_server: FakeServer, other: FakeServer
) -> None:
    setattr(fake_server, trouble, True)
    setattr(other, trouble, True)
    with pytest.raises(ExceptionGroup) as errors:
        asking(running(fake_server, other), samples(4), patience=0.3)
    error = first_error(errors)
    assert isinstance(error, SamplingError)
    assert str(error).startswith(f"none of {fake_server.url}, {other.url} has answered for ")
    assert "rerun to go on" in str(error)


# Servers that have too much to do


def test_a_server_that_asks_for_a_pause_gets_one_which_is_no_matter_of_patience(fake_server: FakeServer) -> None:
    fake_server.limited, fake_server.limit_headers = 1, {"Retry-After": "0.5"}
    began = time.monotonic()
    assert len(asking(running(fake_server), samples(4), concurrency=1, patience=0.2)) == 4
    assert time.monotonic() - began >= 0.5


def test_without_a_time_a_pause_is_a_matter_of_patience(fake_server: FakeServer) -> None:
    fake_server.limited = 1_000_000
    with pytest.raises(ExceptionGroup) as errors:
        asking(running(fake_server), samples(4), patience=0.3)
    assert "has not answered for 0 s (last: 429" in str(first_error(errors))


@pytest.mark.parametrize(("status", "seconds"), [(429, "0.02"), (503, "0")])
def test_pauses_without_end_are_said_and_end_the_run(
    status: int, seconds: str, fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RESTS_SECONDS", 0.6)
    monkeypatch.setattr(watching, "RESTS_PATIENCE", 1)
    monkeypatch.setattr(fleet, "TOLD_WAIT", 0.1)
    monkeypatch.setattr(fleet, "TOLD_AGAIN", 0.4)
    fake_server.limited, fake_server.limit_status = 1_000_000, status
    fake_server.limit_headers = {"Retry-After": seconds}
    said: list[str] = []
    with pytest.raises(ExceptionGroup) as errors:
        asking(running(fake_server), samples(4), patience=0.3, say=said.append)
    error = first_error(errors)
    assert isinstance(error, SamplingError)
    assert str(error) == (
        f'{fake_server.url} has not given a sample in 1 s of pauses asked for (last: {status}: {{"error": "slow down"}}). '
        "What was drawn is kept; rerun to go on when it has room."
    )
    assert len(said) == 2
    assert said[0] == (
        f'{fake_server.url} asked for pauses of 0 s and gave no sample since ({status}: {{"error": "slow down"}})'
    )


def test_a_pause_is_granted_however_long_it_is(fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RESTS_SECONDS", 0.1)
    monkeypatch.setattr(watching, "RESTS_PATIENCE", 1)
    fake_server.limited, fake_server.limit_headers = 1, {"Retry-After": "0.6"}
    assert len(asking(running(fake_server), samples(4), concurrency=1, patience=0.3)) == 4


def test_meanwhile_the_others_work(fake_server: FakeServer, other: FakeServer) -> None:
    fake_server.limited, fake_server.limit_headers = 1_000_000, {"Retry-After": "90"}
    said: list[str] = []
    assert len(asking(running(fake_server, other), samples(30), say=said.append)) == 30
    assert not fake_server.order
    (line,) = said
    assert line.startswith(f"{fake_server.url} asks for a pause of 90 s (429")


def test_its_requests_in_flight_are_halved_and_grow_again() -> None:
    async def halve() -> list[int]:
        limits = []
        servers = Fleet(running("http://nowhere/v1"), 8, print)
        (member,) = servers.members
        began = time.monotonic()
        for _ in range(3):  # of one burst
            servers.asked_to_wait(member, 0.01, began, "429")
        limits.append(member.limit)
        for _ in range(9):
            servers.answered(member, sample=True)
            limits.append(member.limit)
        for _ in range(5):
            servers.asked_to_wait(member, 0.01, time.monotonic(), "429")
            await asyncio.sleep(0.02)
        return [*limits, member.limit]

    assert asyncio.run(halve()) == [4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 1]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 1.5 "}, 1.5),
        (
            # Their clock is years off ours.
            {"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            30,
        ),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT"}, None),
        ({"Retry-After": "31536000"}, 3600),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 99 Foo"}, None),
        ({}, None),
    ],
)
def test_a_pause_is_read_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_quota_that_is_used_up_ends_the_run_at_once(fake_server: FakeServer) -> None:
    fake_server.limited, fake_server.limit_body = 1_000, "insufficient_quota"
    with pytest.raises(ExceptionGroup) as errors:
        asking(running(fake_server), samples(4))
    assert f"{fake_server.url}/completions has no quota left for this key (insufficient_quota)" in str(
        first_error(errors)
    )


# Keys


@pytest.mark.parametrize("key", ["sk-secret", 'sk-"secret"'])
def test_a_key_that_a_server_echoes_is_not_shown(key: str, fake_server: FakeServer) -> None:
    fake_server.key = key
    with pytest.raises(ExceptionGroup) as errors:
        asking(running(fake_server), samples(1, trouble=" (echo)"), key=key)
    error = first_error(errors)
    assert isinstance(error, Refused)
    assert "Authorization" in str(error)
    assert "secret" not in str(error)


# Servers given by URL


def test_several_urls_are_several_servers(fake_server: FakeServer, other: FakeServer, tmp_path: Path) -> None:
    given = Model.model_validate({"model": NAME, "url": [fake_server.url, other.url + "/"]})
    with serve(given, log=tmp_path / "log") as servers:
        assert [server.url for server in servers] == [fake_server.url, other.url]


def test_the_same_url_twice_is_refused(tmp_path: Path) -> None:
    given = Model(model="m", url=("http://host:1/v1", "http://host:1/v1/"))
    with pytest.raises(ModelError, match="'http://host:1/v1' is given twice; raise `concurrency`"):
        curation.model.check(given)
    with pytest.raises(ModelError, match="url: is an empty list"):
        curation.model.check(Model(model="m", url=()))


def test_every_server_has_to_serve_the_name(fake_server: FakeServer, tmp_path: Path) -> None:
    with FakeServer(name="another") as wrong:
        given = Model(model=NAME, url=(fake_server.url, wrong.url))
        with (
            pytest.raises(ModelError, match=f"{wrong.url} does not serve 'fake'; it serves another"),
            serve(given, log=tmp_path),
        ):
            pass


@pytest.mark.parametrize(
    ("address", "kind", "said"),
    [
        ("{url}", ModelError, "models.judge: model: {url} does not serve 'another'; it serves fake"),
        ("http://127.0.0.1:9/v1", ServerError, "models.judge: http://127.0.0.1:9/v1/models does not answer"),
    ],
)
def test_a_run_says_which_of_its_models_it_is(
    address: str, kind: type[Exception], said: str, fake_server: FakeServer, tmp_path: Path
) -> None:
    policy = Model(model=NAME, url=(fake_server.url,))
    judge = Model(model="another", url=(address.format(url=fake_server.url),))
    store = Store(str(tmp_path))
    work = Work(store, store.connect(), None, Progress(quiet=True), models={"policy": policy, "judge": judge})
    assert work.servers(policy)[0].reached
    with work.exits, pytest.raises(kind) as caught:
        work.servers(judge)
    assert str(caught.value).startswith(said.format(url=fake_server.url))


def test_a_server_that_does_not_answer_at_the_start_is_said_and_taken_in_later(
    fake_server: FakeServer, tmp_path: Path
) -> None:
    port, said = free_port(), []
    late = f"http://127.0.0.1:{port}/v1"

    async def begin(asked: Client) -> int:
        done = await samples(20)(asked)
        fake_server.delay = 0.02
        with FakeServer(port) as later:
            for first in range(20, 4000, 8):
                done += await samples(8, first=first)(asked)
                if later.order:
                    return len(done) - first - 8
        return -1

    given = Model(model=NAME, url=(late, fake_server.url))
    with serve(given, log=tmp_path / "log", progress=said.append) as servers:
        assert [server.reached for server in servers] == [False, True]
        assert asking(servers, begin) == 0
    (line,) = said
    assert line.startswith(f"{late}/models does not answer")
    assert line.endswith("going on with the others until it does")
