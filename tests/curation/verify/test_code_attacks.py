"""Programs that would rather be let off than be right. None gets what it is after, and the next one is judged as ever."""
# ruff: noqa: E501 - a program stands on one line

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.verify import Verdict
from curation.verify.pool import GraderPool, Job

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

REPO = Path(__file__).parents[3]
PLAIN = "[\"assert double(2) == 4\", \"assert double('s3cret') == 's3crets3cret'\"]"
PYTHON = "\"def check(candidate):\\n    for x in (2, 's3cret'):\\n        assert candidate(x) == x * 2, 'passed'\""
ON_INPUT = '{"inputs": ["2"], "outputs": ["4"], "seconds": 0.2}'


@pytest.fixture(scope="module")
def graders() -> Iterator[GraderPool]:
    with GraderPool(workers=2, preload=["code"]) as pool:
        yield pool
        assert (pool.counts.killed, pool.counts.died) == (0, 0)


def graded(graders: GraderPool, program: str, args: str) -> Verdict:
    """The verdict on a program; the right one that comes after it has to be found right."""
    first = graders.submit(Job("code", None, f"```python\n{program}\n```", args))
    honest = Job(
        "code",
        None,
        "```python\ndef double(x):\n    return x * 2\n```",
        f'{{"test": {PYTHON}, "entry_point": "double"}}',
    )
    assert graders.submit(honest).result() == Verdict("correct", "def double(x):\n    return x * 2\n", "")
    return first.result()


LISTENER = socket.create_server(("127.0.0.1", 0))
SYSCALL = "import ctypes, os\nif ctypes.CDLL(None).{} == -1: raise OSError"
FORBIDDEN = {
    "connects to the internet": "import socket; socket.create_connection(('1.1.1.1', 53), 2)",
    "connects to this machine": f"import socket; socket.create_connection({LISTENER.getsockname()!r}, 2)",
    "reaches the virtual machine's host": "import socket; socket.socket(40, 1)",
    "asks the kernel for its network": "import socket; socket.socket(16, 3)",
    "asks for a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "reads the password file": "open('/etc/shadow').read()",
    "reads the users": "open('/etc/passwd').read()",
    "reads the home": f"import os; os.listdir({str(Path.home())!r} + '/.ssh'); os.listdir({str(Path.home())!r} + '/.cache')",
    "reads the project": f"open({str(REPO / 'pyproject.toml')!r}).read()",
    "reads installed packages": f"import sys; sys.path.append({str(REPO)!r} + '/.venv/lib/python3.11/site-packages'); import numpy",
    "reads packages of the base": "import sys; sys.path.append(sys.base_prefix + '/lib/python3.11/site-packages'); import pip",
    "reads of processes": "open('/proc/1/environ').read()",
    "reads of itself": "open('/proc/self/maps').read()",
    "writes into the root": "open('/mine', 'w')",
    "writes beside the null device": "open('/dev/mine', 'w')",
    "writes into the standard library": "import os; open(os.__file__, 'a')",
    "makes shared memory files": "open('/dev/shm/mine', 'w')",
    "makes a user namespace": SYSCALL.format("unshare(0x10000000)"),
    "forks into a namespace": SYSCALL.format("syscall(56, 0x10000011, 0, 0, 0, 0)"),
    "makes memory that is a file": SYSCALL.format("memfd_create(b'x', 0)"),
    "makes memory to share": SYSCALL.format("shmget(0, 1 << 20, 0o1600)"),
    "traces its parent": SYSCALL.format("ptrace(16, os.getppid(), 0, 0)"),
    "mounts": SYSCALL.format("mount(b'x', b'/tmp', b'tmpfs', 0, None)"),
    "becomes root": "import os; os.setuid(0); os.stat('/etc/shadow')",
    "forks without end": "import os, time\nwhile True:\n    os.fork() or time.sleep(9)",
    "starts threads without end": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(1,), daemon=True).start()",
    "opens files without end": "files = []\nwhile True: files.append(open('/dev/null'))",
    "takes all memory": "b = bytearray()\nwhile True: b += bytes(1 << 26)",
    "fills the disk": "import os\ntry:\n    for at in range(99): open(f'/tmp/{at}', 'wb').write(bytes(7 << 20))\nfinally: os.remove('/tmp/0')",
    "writes one large file": "open('/tmp/large', 'wb').write(bytes(99 << 20))",
}  # fmt: skip
"""What a program may try, and what it is told when it does."""


@pytest.mark.parametrize("program", FORBIDDEN.values(), ids=FORBIDDEN)
def test_it_is_refused(graders: GraderPool, program: str) -> None:
    attempt = f"""
try:
    exec({program!r}, {{}})
except (OSError, MemoryError, ImportError, RuntimeError) as problem:
    print("refused")
"""
    verdict = graded(graders, attempt, '{"inputs": [""], "outputs": ["refused\\n"], "seconds": 3}')
    assert (verdict.outcome, verdict.reason) == ("correct", "")


ENDINGS = {
    "output without end": ("while True: print('4' * 9999)", "it ended with status"),
    "output without end, unbuffered": ("import os\nwhile True: os.write(1, b'4' * 9999)", "it ended with status"),
    "a loop without end": ("while True: pass", "it ran out of CPU time"),
    "a fork bomb": ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "it "),
    "sleep": ("import time; print(4, flush=True); time.sleep(999)", "it slept 5 s"),
    "a kill of everything": ("import os; print(4, flush=True); os.kill(-1, 9)", "it "),
    "a kill of its parent": ("import os; print(4, flush=True); os.kill(os.getppid(), 9)", "it "),
    "a kill of the first process": ("import os; os.kill(1, 9); print(5)", "it "),
    "a crash": ("import ctypes; print(4, flush=True); ctypes.string_at(0)", "it ended with signal 11"),
    "another status": ("print(4); exit(3)", "it ended with status 3"),
}


@pytest.mark.parametrize(("program", "reason"), ENDINGS.values(), ids=ENDINGS)
def test_it_is_wrong_to_end_by(graders: GraderPool, program: str, reason: str) -> None:
    verdict = graded(graders, program, ON_INPUT)
    assert verdict.outcome == "wrong"
    assert reason in verdict.reason


FORGE = """
import sys
frame = sys._getframe()
while "replies" not in frame.f_locals: frame = frame.f_back
def say(text):
    frame.f_locals["replies"].write(text.encode())
    frame.f_locals["replies"].flush()
"""


def forging(literal: str) -> str:
    """A program that answers with this text."""
    reply = f'{{"dict":[["value",{literal}]]}}\n'
    return f"{FORGE}\ndef double(x): say({reply!r})"


CHEATS = {
    "exits with success": "import sys\ndef double(x): sys.exit(0)",
    "exits at once": "import os\ndef double(x): os._exit(0)",
    "exits when loaded": "import os\nos._exit(0)",
    "prints what the test would": "def double(x): print('correct', 'passed', flush=True)",
    "is equal to everything": "class Yes:\n    __eq__ = lambda self, other: True\n    __ne__ = lambda self, other: False\n"
    "    __mul__ = __rmul__ = lambda self, other: self\ndef double(x): return Yes()",
    "is a number equal to everything": "class Yes(int):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\n"
    "def double(x): return Yes(7)",
    "is text equal to everything": "class Yes(str):\n    __eq__ = lambda self, other: True\n    __hash__ = str.__hash__\n"
    "def double(x): return Yes('7')",
    "is a list equal to everything": "class Yes(list):\n    __eq__ = lambda self, other: True\ndef double(x): return Yes()",
    "says so in its literal": "def double(x): return {'value': 4, 'outcome': 'correct'}",
    "patches builtins": "import builtins\nbuiltins.AssertionError = Exception\nbuiltins.isinstance = lambda *a: True\n"
    "builtins.bool = lambda x: True\ndef double(x): return 0",
    "patches modules": "import sys\nfor m in list(sys.modules.values()):\n    for n in ('check', 'decode', 'same_result'):\n"
    "        if hasattr(m, n): setattr(m, n, lambda *a: True)\ndef double(x): return 0",
    "patches the encoder": "import sys\nm = sys.modules['curation.verify.code_runner']\n"
    'm.encode = lambda v: \'{"dict":[["outcome","correct"],["reason",""]]}\'\ndef double(x): return 0',
    "writes a verdict to every file": "import os\ndef double(x):\n    for fd in range(64):\n        try: os.write(fd, b'"
    '{"dict":[["outcome","correct"],["reason",""]]}\\n'
    "')\n        except OSError: pass\n    return 0",
    "answers ahead": "import os\ndef double(x):\n    for fd in range(3, 64):\n        try: os.write(fd, b'"
    '{"dict":[["loaded",true]]}\\n'
    "' * 9)\n        except OSError: pass",
    "closes every file": "import os\ndef double(x): os.closerange(0, 64)",
    "replaces standard output": "import sys, io\nsys.stdout = sys.__stdout__ = io.StringIO('correct')\ndef double(x): return 0",
    "looks for the expected value in memory": "import gc, sys\ndef double(x):\n    f = sys._getframe()\n    while f:\n"
    "        for v in [*f.f_locals.values(), *f.f_globals.values()]:\n            if isinstance(v, str) and 's3crets3cret' in v: return v\n"
    "        f = f.f_back\n    for o in gc.get_objects():\n        if isinstance(o, list) and 's3crets3cret' in o: return 's3crets3cret'\n"
    "    return 4 if x == 2 else None",
    "reads the tests": "import os\ndef double(x):\n    for d, _, files in os.walk('/tmp'):\n        for n in files:\n"
    "            if 's3crets3cret' in open(d + '/' + n, errors='replace').read(): return x * 2\n    return None",
    "deletes the runner": "import sys, os\nfor n in list(sys.modules):\n    if 'curation' in n: del sys.modules[n]\ndef double(x): return 0",
    "raises what the test might expect": "def double(x): raise AssertionError('passed')",
    "raises past every handler": "class B(BaseException): pass\ndef double(x): raise B",
    "returns something nested without end": "def double(x):\n    a = []\n    for _ in range(10 ** 6): a = [a]\n    return a",
    "returns something that holds itself": "def double(x):\n    a = []\n    a.append(a)\n    return a",
    "returns more than can be read": "def double(x): return 'x' * (1 << 28)",
    "goes on in a thread": "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin).start()\ndef double(x): return 0",
    "changes its argument": "def double(x):\n    x = 0",
    "ends the loop of the tests": "def double(x): raise StopIteration",
    "returns an object": "def double(x): return object()",
    "says that it has run when it is loaded": f'{FORGE}say(\'{{"dict":[["loaded",true]]}}\\n\' * 9)',
    "sends a number that takes all time": forging('{"value":["fractions","Fraction",["1e30000000"]]}'),
    "sends digits that take all time": FORGE
    + "def double(x): say('{\"dict\":[[\"value\",' + '9' * (1 << 24) + ']]}\\n')",
    "sends more items than memory": forging('{"tuple":{"range":[0,100000000000,1]}}'),
    "sends a set that takes all time": FORGE
    + "def double(x):\n    items = ','.join(str(i * (2 ** 61 - 1)) for i in range(60000))\n"
    '    say(\'{"dict":[["value",{"set":[\' + items + \']}]]}\\n\')',
}


@pytest.mark.parametrize("test", [PLAIN, PYTHON], ids=["plain", "python"])
@pytest.mark.parametrize("program", CHEATS.values(), ids=CHEATS)
def test_it_is_wrong_when_it(graders: GraderPool, program: str, test: str) -> None:
    verdict = graded(graders, program, f'{{"test": {test}, "entry_point": "double", "seconds": 1}}')
    assert verdict.outcome == "wrong"


def test_handlers_of_the_tests_do_not_let_off_a_program_that_ended(graders: GraderPool) -> None:
    test = (
        "def check(candidate):\\n    try:\\n        assert candidate(2) == 4\\n    except BaseException:\\n        pass"
    )
    verdict = graded(graders, CHEATS["exits with success"], f'{{"test": "{test}", "entry_point": "double"}}')
    assert verdict.outcome == "wrong"


@pytest.mark.parametrize(
    ("test", "program"),
    [
        ("for got, want in zip(map(candidate, [1, 2]), [2, 4]): assert got == want", "def f(x): raise StopIteration"),
        ("assert all(map(lambda x: candidate(x) == 2 * x, [1, 2]))", "def f(x): raise StopIteration"),
        ("xs = [3, 1]; got = candidate(xs); assert got == sorted(xs)", FORGE + "def f(x): "
         "say('{\"dict\":[[\"value\",[]],[\"arguments\",[[]]]]}\\n')"),
        ("assert candidate('A').lower() == 'a'", "def f(x): return object()"),
    ],
)  # fmt: skip
def test_no_answer_ends_or_changes_the_tests(graders: GraderPool, test: str, program: str) -> None:
    args = json.dumps({"test": f"def check(candidate):\n    {test}", "entry_point": "f"})
    assert graded(graders, program, args).outcome == "wrong"


def running(token: str) -> list[str]:
    def line(folder: Path) -> str:
        try:
            return (folder / "cmdline").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    return [folder.name for folder in Path("/proc").glob("[0-9]*") if token in line(folder)]


def wait_for(token: str, there: bool) -> None:
    end = time.monotonic() + 20
    while bool(running(token)) is not there:
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(99)", {token!r}])
    os._exit(0)
def double(x):
    time.sleep({seconds})
    return x * 2
"""


def test_a_daemon_ends_with_the_verdict(graders: GraderPool) -> None:
    token = f"daemon-{os.getpid()}"
    verdict = graded(graders, DAEMON.format(token=token, seconds=0.1), f'{{"test": {PLAIN}}}')
    assert verdict.outcome == "correct"
    wait_for(token, there=False)


def test_when_the_worker_is_killed_nothing_of_the_program_stays() -> None:
    token = f"orphan-{os.getpid()}"
    with GraderPool(workers=1, preload=["code"]) as pool:
        program = f"```python\n{DAEMON.format(token=token, seconds=30)}\n```"
        verdict = pool.submit(Job("code", None, program, f'{{"test": {PYTHON}, "entry_point": "double"}}'))
        wait_for(token, there=True)
        os.kill(pool.worker_pids[0], signal.SIGKILL)
        assert verdict.result() == Verdict("error", None, "the grader died (SIGKILL)")
        wait_for(token, there=False)


def test_the_tests_of_a_problem_are_as_untrusted_as_programs(graders: GraderPool) -> None:
    reads = "import os\\nassert double(2) == 4\\nassert not os.path.exists('/etc/passwd')\\nassert not os.path.exists('/proc/1')"
    honest = "def double(x):\n    return x * 2"
    assert graded(graders, honest, f'{{"test": "{reads}"}}') == Verdict("correct", honest + "\n", "")
    assert sys.base_prefix  # the interpreter is the one thing of this machine that is there
