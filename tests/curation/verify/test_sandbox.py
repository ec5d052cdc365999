"""The sandbox by itself, with small limits: who exceeds one is ended and told so; a busy machine ends nobody."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from curation.verify.bubblewrap import command
from curation.verify.code_literals import decode
from curation.verify.process_tree import usage
from curation.verify.sandbox import Sandbox, SandboxError, SandboxLimits
from curation.verify.syscalls import seccomp_filter

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

MODULES = ("curation.verify.code_literals", "curation.verify.code_runner")
SMALL = SandboxLimits(cpu_seconds=1, sleep_seconds=0.3, memory_bytes=100 << 20, processes=8, file_bytes=1 << 20)

HELD = """
import sys
frame = sys._getframe()
while "replies" not in frame.f_locals: frame = frame.f_back
replies = frame.f_locals["replies"].fileno()
"""
"""How a program gets hold of the pipe of its results."""


def sandbox(program: str, limits: SandboxLimits = SMALL) -> Sandbox:
    settings: dict[str, Any] = {"sources": [program], "name": None, "seconds": 9, "inputs": [""], "interpreter": []}
    return Sandbox(MODULES, settings, limits)


def ending(program: str, limits: SandboxLimits = SMALL) -> str:
    """How the run of a program ends: what is said of its sandbox, or of the program."""
    with sandbox(program, limits) as box:
        box.expect_ready()
        line = box.read_line()
        return box.how_it_ended() if line is None else str(decode(line.decode()))


def loading(program: str, limits: SandboxLimits = SMALL) -> Sandbox:
    """A program that is loaded to have its functions called, and so can find the pipe of its results."""
    return Sandbox(MODULES, {"sources": [program], "name": None, "seconds": 9, "in_place": False}, limits)


def end_of_loading(program: str, limits: SandboxLimits = SMALL) -> str:
    with loading(program, limits) as box:
        box.expect_ready()
        assert box.read_line() is None
        return box.how_it_ended()


def test_it_says_what_the_program_wrote() -> None:
    assert ending("print('hello')").startswith("{'output': 'hello\\n', 'status': 0, 'error': ''")


def test_a_sleeper_is_ended() -> None:
    assert ending("import time; time.sleep(99)") == "it slept 0.3 s"


def test_one_that_waits_for_a_cpu_is_no_sleeper() -> None:
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2 * len(os.sched_getaffinity(0)))]
    try:
        said = ending("for _ in range(6_000_000): pass")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert "'status': 0" in said


def test_memory_counts_over_all_processes() -> None:
    hoard = "import os, time\nfor _ in range(4): os.fork()\nheld = b'x' * (30 << 20)\ntime.sleep(2)"
    assert (
        ending(hoard, SandboxLimits(sleep_seconds=9, memory_bytes=100 << 20)) == "it used more than 125 MiB of memory"
    )


def test_shared_memory_is_part_of_usage() -> None:
    program = "import mmap; m = mmap.mmap(-1, 50 << 20); m.write(bytes(50 << 20)); print(); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert usage(process.pid).memory > 50 << 20
        process.kill()


DRIBBLE = f"import os, time\n{HELD}\nwhile True:\n    os.write(replies, b' ')\n    time.sleep(.02)"


def test_one_that_writes_a_line_slowly_is_a_sleeper() -> None:
    assert end_of_loading(DRIBBLE) == "it slept 0.3 s"


def test_memory_counts_while_a_line_is_written_slowly() -> None:
    hoard = f"import os\nheld = b'x' * (60 << 20)\nfor _ in range(2): os.fork()\nheld += b'x'\n{DRIBBLE}"
    said = end_of_loading(hoard, SandboxLimits(sleep_seconds=9, memory_bytes=200 << 20))
    assert said == "it used more than 250 MiB of memory"


def test_the_wall_deadline_holds_while_a_line_is_written_slowly() -> None:
    with pytest.raises(SandboxError, match=r"no end after 0\.4 s"):
        end_of_loading(DRIBBLE, SandboxLimits(wall_seconds=0.4))


def test_one_that_does_not_read_is_a_sleeper() -> None:
    with loading("import time; time.sleep(99)") as box:
        box.expect_ready()
        box.write_line(b"x" * 200_000)
        assert box.read_line() is None
        assert box.how_it_ended() == "it slept 0.3 s"


def test_sleep_before_many_lines_adds_up() -> None:
    settings: dict[str, Any] = {"sources": ["import time; time.sleep(.5)"], "name": None, "seconds": 9}
    settings |= {"inputs": [""] * 20, "interpreter": []}
    with Sandbox(MODULES, settings, SandboxLimits(all_sleep_seconds=1)) as box:
        box.expect_ready()
        lines = list(iter(box.read_line, None))
        assert len(lines) < 20
        assert box.how_it_ended() == "it slept 1 s"


@pytest.mark.parametrize(
    "program",
    [
        "import signal; signal.setitimer(signal.ITIMER_PROF, 0)\nwhile True: pass",
        "import signal; signal.signal(signal.SIGPROF, signal.SIG_IGN)\nwhile True: pass",
        "import os, signal\nif os.fork():\n    signal.setitimer(signal.ITIMER_PROF, 0)\nwhile True: pass",
    ],
)
def test_cpu_time_is_limited_from_outside(program: str) -> None:
    assert ending(program, SandboxLimits(line_cpu_seconds=0.2)) == "it ran out of CPU time"


def test_every_process_has_its_cpu_time() -> None:
    assert "'status': 24" in ending("while True: pass")  # SIGXCPU


def test_past_the_wall_deadline_nobody_knows() -> None:
    with pytest.raises(SandboxError, match=r"no end after 0\.2 s on a busy machine"):
        ending("while True: pass", SandboxLimits(wall_seconds=0.2))


def test_a_sandbox_that_cannot_be_built_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho no room for a sandbox >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("curation.verify.sandbox.command", lambda *_: (str(broken),))
    with Sandbox(MODULES, {}, SMALL) as box, pytest.raises(SandboxError, match="did not start: no room for a sandbox"):
        box.expect_ready()


def test_nothing_of_it_is_left_when_it_is_closed() -> None:
    box = sandbox("import time; time.sleep(99)", SandboxLimits())
    box.expect_ready()
    root = box._process.pid
    assert usage(root).memory > 0
    box.close()
    assert usage(root) == (0, 0, 0)


def test_the_environment_holds_nothing_of_this_machine() -> None:
    assert "['HOME', 'LC_CTYPE', 'PATH', 'PWD', 'PYTHONHASHSEED', 'PYTHONUTF8']" in ending(
        "import os; print(sorted({*os.environ, 'LC_CTYPE'}))"
    )


def test_only_libraries_can_be_seen() -> None:
    seen = ending(
        "import os; print(sorted(os.listdir('/')), sorted(os.listdir('/usr')), os.listdir('/dev'), os.listdir('/tmp'))"
    )
    for hidden in ("etc", "home", "proc", "sys", "var", "share", "sbin", "local"):
        assert f"'{hidden}'" not in seen


def test_without_bubblewrap_there_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert command.__wrapped__(True, 1) is None


def test_root_becomes_somebody_and_users_get_a_namespace() -> None:
    as_root, as_user = command(True, 1), command(False, 1)
    assert as_root is not None
    assert as_user is not None
    assert "--unshare-user" not in as_root
    assert "--unshare-user" in as_user
    assert "CAP_SETUID" not in as_user


def test_the_filter_is_made_for_machines_that_are_known() -> None:
    for machine in ("x86_64", "aarch64"):
        program = seccomp_filter(machine)
        assert program is not None
        assert len(program) % 8 == 0
    assert seccomp_filter("pdp11") is None


def test_usage_counts_cpu_time_of_a_process_and_of_its_children() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; sleep 9"]
    ) as process:
        end = time.monotonic() + 20
        while usage(process.pid).cpu < 0.02 and time.monotonic() < end:
            time.sleep(0.01)
        assert usage(process.pid).cpu >= 0.02
        process.kill()
