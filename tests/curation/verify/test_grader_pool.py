"""The grader pool under fire: each job is answered exactly once, whatever its grader does."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.verify import Verdict
from curation.verify.pool import GraderPool, GraderPoolError, Job

ENDLESS = Job("math", "5", r"\boxed{\sum_{k=1}^{10^{12}} \frac{1}{k^{3}}}")
PRODUCT = Job("math", "5", r"\boxed{\prod_{k=1}^{10^{9}} k}")
RIGHT = Job("exact", "5", " 5")
WRONG = Job("exact", "5", " 6")


@pytest.fixture
def light() -> Iterator[GraderPool]:
    """A pool that starts in a tenth of a second."""
    with GraderPool(workers=2, cpu_seconds=1, wall_seconds=0.5, preload=["exact"]) as pool:
        yield pool


def wait_until(condition: object, seconds: float = 20) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_verdicts_come_in_the_order_of_the_jobs(light: GraderPool) -> None:
    jobs = [Job("exact", str(at), f" {at if at % 3 else 'x'}") for at in range(3000)]
    verdicts = list(light.grade_many(jobs))
    assert [verdict.outcome for verdict in verdicts] == ["correct" if at % 3 else "wrong" for at in range(3000)]
    assert light.counts.graded == 3000


def test_jobs_are_read_only_so_far_ahead(light: GraderPool) -> None:
    read = 0

    def jobs() -> Iterator[Job]:
        nonlocal read
        while True:
            read += 1
            yield RIGHT

    verdicts = light.grade_many(jobs())
    for _ in range(100):
        assert next(verdicts).outcome == "correct"
    assert read < 100 + 2 * 256 + 1


def test_endless_sums_are_killed_while_the_others_are_answered(pool: GraderPool) -> None:
    killed = pool.counts.killed
    verdicts = list(pool.grade_many([ENDLESS, *[RIGHT] * 20, PRODUCT, *[WRONG] * 20, ENDLESS]))
    late = Verdict("error", None, "killed after 1 s of CPU")
    assert [verdicts[0], verdicts[21], verdicts[42]] == [late] * 3
    assert [verdict.outcome for verdict in verdicts[1:21] + verdicts[22:42]] == ["correct"] * 20 + ["wrong"] * 20
    assert pool.counts.killed == killed + 3


def test_a_trivial_verdict_does_not_wait_for_an_endless_one(pool: GraderPool) -> None:
    slow = pool.submit(ENDLESS)
    assert pool.submit(RIGHT).result(timeout=0.9).outcome == "correct"
    assert not slow.done()
    assert slow.result().outcome == "error"


def test_a_worker_killed_from_outside_is_an_error_for_its_job_only(light: GraderPool) -> None:
    assert light.submit(RIGHT).result().outcome == "correct"
    (pid,) = light.worker_pids
    os.kill(pid, signal.SIGSTOP)  # so that it has jobs when it dies
    futures = [light.submit(RIGHT) for _ in range(20)]
    wait_until(lambda: any(worker.tasks for worker in light._dispatcher._workers))
    os.kill(pid, signal.SIGKILL)
    verdicts = [future.result() for future in futures]
    assert verdicts.count(Verdict("correct", "5", "")) == 19
    assert verdicts.count(Verdict("error", None, "the grader died (SIGKILL)")) == 1
    assert (light.counts.died, light.counts.killed) == (1, 0)


def test_a_grader_that_sleeps_is_killed_at_the_wall_deadline(light: GraderPool) -> None:
    light.submit(RIGHT).result()
    os.kill(light.worker_pids[0], signal.SIGSTOP)
    verdicts = list(light.grade_many([RIGHT] * 5))
    assert sorted(verdict.outcome for verdict in verdicts) == ["correct"] * 4 + ["error"]
    assert Verdict("error", None, "killed after 0.5 s") in verdicts
    assert light.counts.killed == 1


def test_a_grader_that_computes_is_not_taken_for_a_sleeper() -> None:
    spaces = Job("exact", "5", "5 " * 3_000_000)  # several tenths of a second
    with GraderPool(workers=1, cpu_seconds=0.2, wall_seconds=0.05, preload=["exact"]) as pool:
        assert pool.submit(spaces).result().reason == "killed after 0.2 s of CPU"


def test_no_memory_is_an_error_and_a_fresh_worker() -> None:
    with GraderPool(workers=1, memory_bytes=1 << 26, preload=["exact"]) as pool:
        verdicts = list(pool.grade_many([RIGHT, Job("exact", "5", "5 " * 12_000_000), RIGHT]))
        assert [verdict.outcome for verdict in verdicts] == ["correct", "error", "correct"]
        assert verdicts[1].reason.startswith("MemoryError")
        assert pool.counts.died == 0


def test_a_job_too_large_for_a_worker_is_an_error() -> None:
    with GraderPool(workers=1, memory_bytes=1 << 24, preload=["exact"]) as pool:
        assert pool.submit(Job("exact", "5", "5" * 40_000_000)).result().reason == "the grader died (exit code 1)"
        assert pool.submit(RIGHT).result().outcome == "correct"


def test_workers_are_replaced_after_so_many_verdicts() -> None:
    with GraderPool(workers=1, recycle_after=10, preload=["exact"]) as pool:
        pids = set()
        for verdict in pool.grade_many([RIGHT] * 35):
            assert verdict.outcome == "correct"
            pids.update(pool.worker_pids)
        assert pool.counts.died == 0
        assert len(pids) >= 2


def test_the_fork_server_may_die_and_no_job_is_lost(light: GraderPool) -> None:
    light.submit(RIGHT).result()
    worker = light.worker_pids[0]
    server = int(Path(f"/proc/{worker}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    os.kill(worker, signal.SIGSTOP)
    futures = [light.submit(RIGHT) for _ in range(10)]
    os.kill(server, signal.SIGKILL)
    assert [future.result().outcome for future in futures] == ["correct"] * 10
    wait_until(lambda: not alive(worker))


def test_a_verifier_that_was_not_preloaded_is_imported_outside_the_deadline() -> None:
    with GraderPool(workers=1, cpu_seconds=0.5, preload=["exact"]) as pool:  # the import takes two seconds
        assert pool.submit(Job("math", "x+1", r"\boxed{1+x}")).result().outcome == "correct"


def test_verdicts_can_be_awaited(light: GraderPool) -> None:
    async def grade() -> list[Verdict]:
        return await asyncio.gather(*[asyncio.wrap_future(light.submit(job)) for job in (RIGHT, WRONG)])

    assert [verdict.outcome for verdict in asyncio.run(grade())] == ["correct", "wrong"]


def test_a_cancelled_job_is_not_graded(light: GraderPool) -> None:
    light.submit(RIGHT).result()
    os.kill(light.worker_pids[0], signal.SIGSTOP)
    futures = [light.submit(RIGHT) for _ in range(50)]
    assert futures[-1].cancel()
    assert [future.result().outcome for future in futures[:-1]].count("correct") == 48


def test_any_text_reaches_the_grader(light: GraderPool) -> None:
    assert light.submit(Job("exact", "\ud800\n\x00é", "<answer>\ud800 \x00é</answer>")).result().outcome == "correct"


def test_closing_ends_all_processes_and_fails_what_is_unanswered() -> None:
    pool = GraderPool(workers=1, cpu_seconds=30, preload=["math"])
    pool.submit(Job("math", "5", "5")).result()
    (pid,) = pool.worker_pids
    futures = [pool.submit(ENDLESS), pool.submit(RIGHT)]
    pool.close()
    assert not alive(pid)
    for future in futures:
        with pytest.raises(GraderPoolError, match="closed"):
            future.result()
    with pytest.raises(GraderPoolError, match="closed"):
        pool.submit(RIGHT)


def test_a_pool_that_was_not_used_has_started_nothing() -> None:
    with GraderPool(workers=2) as pool:
        assert pool.worker_pids == ()
        assert pool.cpu_seconds() == 0


def test_cpu_seconds_count_dead_workers_too(pool: GraderPool) -> None:
    before = pool.cpu_seconds()
    pool.submit(ENDLESS).result()
    assert 0.5 < pool.cpu_seconds() - before < 2


@pytest.mark.parametrize("limit", ["workers", "cpu_seconds", "wall_seconds", "memory_bytes", "recycle_after"])
def test_limits_must_be_positive(limit: str) -> None:
    with pytest.raises(ValueError, match=f"{limit} must be positive, not 0"):
        GraderPool(**{limit: 0})


def test_unknown_verifiers_are_refused_when_submitted(light: GraderPool) -> None:
    with pytest.raises(ValueError, match="unknown verifier 'exakt'"):
        light.submit(Job("exakt", "5", "5"))


SCRIPT = """
import os, sys, time
from curation.verify.pool import GraderPool, Job
print("imported", flush=True)
pool = GraderPool(workers=2, cpu_seconds=60, preload=["math"])  # no `if __name__ == "__main__"` on purpose
pool.submit(Job("math", "5", "5")).result()
futures = [pool.submit(Job("math", "5", "\\\\boxed{10^{10^{10^{10}}}}")) for _ in range(2)]
while len(pool.worker_pids) < 2:
    time.sleep(.01)
print(*pool.worker_pids, flush=True)
time.sleep(60)
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    path = tmp_path / "grades.py"
    path.write_text(SCRIPT, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process
        process.kill()


def test_when_the_parent_is_killed_busy_workers_and_their_server_end(script: subprocess.Popen[str]) -> None:
    assert script.stdout is not None
    assert script.stdout.readline() == "imported\n"  # once: the children do not run the caller's script again
    workers = [int(pid) for pid in script.stdout.readline().split()]
    server = int(Path(f"/proc/{workers[0]}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    assert all(alive(pid) for pid in [*workers, server])
    os.killpg(script.pid, signal.SIGINT)  # a Ctrl-C reaches the parent only
    time.sleep(0.1)
    script.kill()
    wait_until(lambda: not any(alive(pid) for pid in [*workers, server]), seconds=10)
