"""Programs, judged by running them on the problem's tests (forms and keys of `args`: `code_args.py`).

The program is the last fenced block of what follows the thinking, else all of it. It runs in a sandbox and never learns
what is expected of it. Outputs and plain results are compared here; tests that are Python run in a sandbox of their
own, from where they call the program's functions over a pipe:

    this process ── starts ──> program  (code_runner.py)   <── literals ──┐
                 └─ starts ──> tests    (code_checker.py) ────────────────┘ ── verdict ──> this process

So a program can say what its functions return, and nothing else: exiting, printing what a test prints, patching or
reading the tests are of no use to it.

wrong: another output, result or exception, a status other than 0, more CPU time than allowed, memory, sleep. error: no
sandbox, tests that fail by themselves or do not call the program, arguments without a literal, no end within the wall
deadline. `answer` may be a solution; it is not needed.
"""

import builtins
import dataclasses
import functools
import os
import re
import signal
from typing import Any

from curation.verify import Verdict
from curation.verify.code_args import Tests, read_tests
from curation.verify.code_asserts import Call, plain_calls
from curation.verify.code_literals import decode, encode
from curation.verify.code_text import program_in, readings, same_output, same_result
from curation.verify.extract import NOT_CLOSED, final_text
from curation.verify.sandbox import Sandbox, SandboxError, SandboxLimits

VERSION = 2
NEEDS_ANSWER = False

_RUNNER = ("curation.verify.code_literals", "curation.verify.code_runner")
_CHECKER = (
    "curation.verify.code_literals",
    "curation.verify.code_test_functions",
    "curation.verify.code_checker",
)
_LIMITS = SandboxLimits()
_CALLED = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
_FORGED = "it wrote on the pipe of its results"
_CALL_NOTHING = "the tests call nothing of the program"


def grade(answer: str, completion: str, args: dict[str, Any]) -> Verdict:
    """Correct when the program passes all tests. Raises `CodeArgsError` for `args` that hold none."""
    tests = read_tests(args)
    text = final_text(completion)
    if text is None:
        return Verdict("wrong", None, NOT_CLOSED)
    called = {(tests.name or "").rpartition(".")[2], *(name for one in tests.test for name in _CALLED.findall(one))}
    program = program_in(text, called, any_language=bool(tests.interpreter))
    if not program.strip():
        return Verdict("wrong", None, "no program found")
    try:
        if calls := plain_calls(tests.test, tests.name) if tests.test else _calls(tests) if tests.name else None:
            failure = _on_calls(program, tests, calls)
        else:
            failure = _on_tests(program, tests) if tests.test else _on_inputs(program, tests)
    except SandboxError as problem:
        return Verdict("error", program, _one_line(str(problem)))
    return Verdict("wrong" if failure else "correct", program, _one_line(failure or ""))


def check(args: dict[str, Any]) -> None:
    """Raises `CodeArgsError` for `args` that hold no tests."""
    read_tests(args)


def outputs(program: str, inputs: list[str], seconds: float = 4) -> list[str | None]:
    """What a Python program writes for each input; None where it fails. Raises `SandboxError`."""
    tests = read_tests({"inputs": inputs, "outputs": inputs, "seconds": seconds})
    with _runner(program, tests) as sandbox:
        sandbox.expect_ready()
        written: list[str | None] = []
        for _ in inputs:
            reply = _reply(sandbox)
            written.append(None if _failure(reply) else reply["output"])
        return written


def _runner(program: str, tests: Tests) -> Sandbox:
    settings: dict[str, Any] = {
        "sources": readings(program, tests.prefix),
        "name": tests.name,
        "seconds": tests.seconds,
        "in_place": tests.in_place,
    }
    host: tuple[str, ...] = ()
    if not tests.name and not tests.test:
        settings |= {"inputs": tests.inputs, "interpreter": tests.interpreter}
    if tests.interpreter:
        if not (os.path.isfile(tests.interpreter[0]) and os.access(tests.interpreter[0], os.X_OK)):
            raise SandboxError(f"this machine has no interpreter {tests.interpreter[0]}")
        root, *parts = tests.interpreter[0].strip("/").split("/")
        host = ("/usr",) if root == "usr" else ("/usr", f"/opt/{parts[0]}")
    # Tests in Python speak with it themselves: one line is all that is read of it, and `cpu_seconds` all that it has.
    limits = _LIMITS if tests.test else dataclasses.replace(_LIMITS, line_cpu_seconds=tests.seconds)
    return Sandbox(_RUNNER, settings, limits, host=host)


def _reply(sandbox: Sandbox) -> dict[str, Any]:
    """The next thing that a program's sandbox says; `{"over": reason}` when it is over."""
    line = sandbox.read_line()
    if line is None:
        return {"over": sandbox.how_it_ended()}
    try:
        reply = decode(line.decode())
    except (ValueError, RecursionError):
        reply = None
    return reply if isinstance(reply, dict) and isinstance(reply.get("over", ""), str) else {"over": _FORGED}


def _on_inputs(program: str, tests: Tests) -> str | None:
    """Why a program that reads standard input is wrong; None when it is right."""
    with _runner(program, tests) as sandbox:
        sandbox.expect_ready()
        for at, expected in enumerate(tests.outputs, 1):
            reply = _reply(sandbox)
            failure = _failure(reply)
            if failure is None and not same_output(reply["output"], expected, tests.tolerance):
                failure = f"it wrote {_short(reply['output'])}, not {_short(expected)}"
            if failure:
                return f"test {at} of {len(tests.outputs)}: {failure}"
    return None


def _failure(reply: dict[str, Any]) -> str | None:
    """Why the run of a program failed; None when it ended with status 0."""
    if "over" in reply:
        return str(reply["over"])
    status = reply.get("status")
    texts = isinstance(reply.get("output"), str) and isinstance(reply.get("error"), str)
    if not (isinstance(status, int) and 0 <= status < 1 << 16 and texts):
        return _FORGED
    if status & 0x7F in (signal.SIGPROF, signal.SIGXCPU):
        return "it ran out of CPU time"
    ended = f"signal {status & 0x7F}" if status & 0x7F else f"status {status >> 8}"
    return None if status == 0 else f"it ended with {ended}: {reply.get('error')}"


def _on_calls(program: str, tests: Tests, calls: list[Call]) -> str | None:
    """Why a program is wrong whose functions are called with literals; None when it is right."""
    with _runner(program, tests) as sandbox:
        sandbox.expect_ready()
        reply = _reply(sandbox)
        if "loaded" not in reply:
            return str(reply.get("over", _FORGED))
        for call in calls:
            sandbox.write_line(encode([call.name, call.arguments, call.keywords]).encode())
            reply = _reply(sandbox)
            if "value" not in reply:
                return f"{call.said}: {reply.get('over') or _raised(reply.get('raised'))}"
            result, changed = reply["value"], reply.get("arguments")
            if tests.in_place and not tests.test and isinstance(changed, list) and changed:
                result = changed[0]
            try:
                right = call.holds(result)
            except Exception:  # noqa: BLE001 - values that cannot be compared, as a program may have chosen them
                right = False
            if not right:
                return f"{call.said}: it gave {_short(result)}"
    if tests.test and not tests.name and not any(_binds(program, call.name) for call in calls):
        raise SandboxError(_CALL_NOTHING)
    return None


def _binds(program: str, name: str) -> bool:
    """Whether a program may give a name a meaning of its own: of names of built-in functions, by how it is written."""
    written = rf"\b(?:def|class|as|import)\s+{name}\b|\b{name}\s*(?::[^=\n]+)?=(?!=)|\bimport\b[^\n]*(?:\*|\b{name}\b)"
    return not hasattr(builtins, name) or re.search(written, program) is not None


def _calls(tests: Tests) -> list[Call]:
    """The calls of a function whose arguments and results are JSON."""
    calls = []
    for at, (arguments, expected) in enumerate(zip(tests.inputs, tests.outputs, strict=True), 1):
        wanted = [expected, *(expected if isinstance(expected, list) and len(expected) == 1 else [])]
        holds = functools.partial(_one_of, wanted, tests.tolerance)
        calls.append(Call(tests.name or "", arguments, {}, holds, f"test {at} of {len(tests.outputs)}"))
    return calls


def _raised(said: Any) -> str:
    """What a program raised: `[exception, message]`, unless it forged that."""
    honest = isinstance(said, list) and len(said) == 2 and isinstance(said[1], str)
    return f"it raised {said[1]}" if honest else _FORGED


def _one_of(wanted: list[Any], tolerance: float, result: Any) -> bool:
    return any(same_result(result, one, tolerance) for one in wanted)


def _on_tests(program: str, tests: Tests) -> str | None:
    """Why a program does not pass tests in Python; None when it does. Raises `SandboxError` when they cannot tell."""
    with _runner(program, tests) as runner:
        pipes = (runner.stdin.fileno(), runner.stdout.fileno())
        settings: dict[str, Any] = {"tests": tests.test, "prefix": tests.prefix, "name": tests.name, "pipes": pipes}
        settings["in_place"] = tests.in_place
        with Sandbox(_CHECKER, settings, _LIMITS, pass_fds=pipes) as checker:
            runner.hand_over()
            checker.expect_ready()
            line = checker.read_line(partner=runner)
            if line is None:
                raise SandboxError(f"the tests gave no verdict: {checker.how_it_ended()}")
            verdict = decode(line.decode())
            if verdict["outcome"] == "error":
                raise SandboxError(f"{verdict['reason']} {runner.complaint()}".strip())
            if verdict["outcome"] == "correct":
                return None
            return str(verdict["reason"] or runner.how_it_ended())


def _one_line(reason: str) -> str:
    """Text of programs and tests as it can be stored: no line breaks, no half characters, no end of it."""
    return " ".join(reason.encode(errors="replace").decode().split())[:500]


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers of many digits
        return "something too large to show"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def as_completion(answer: str, args: dict[str, Any]) -> str:
    """The solution in a fenced block; raises ValueError when the problem has none."""
    if not answer.strip():
        raise ValueError("the problem has no solution to run")
    return f"```python\n{answer}\n```" if not args.get("interpreter") else f"```\n{answer}\n```"


def warm() -> None:
    """Nothing to pay for in advance."""
