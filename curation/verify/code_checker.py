"""Inside the tests' sandbox: run the tests, with functions that ask the program in the other sandbox.

settings: `{"tests": [text, …], "prefix": text, "name": entry point or None, "in_place", "pipes": [in, out]}`, `pipes`
being the file descriptors at which the program listens and speaks. One line goes out: `{"outcome": …, "reason": …}`.

The names that the tests use and nobody defines are functions of the program. A call sends its arguments as literals and
gives the literal (or raises the exception) that comes back, so nothing of the program runs here, and a test sees of a
value only what can be written down. Once the program has ended, every verdict is `wrong`, whatever the tests make of it.

When the texts are run, `check(entry point)` is called if they define `check`, else the tests of
`code_test_functions.py`. Verdicts:

    correct     nothing was raised, and the program was called at least once
    wrong       something was raised after the program was called, or the program ended
    error       the tests do not compile, lack a name, call nothing, need what cannot be sent (so also a class that the
                program defines), or have a part that cannot be run (async, generators, parameters)
"""

from __future__ import annotations

import builtins
import os
import sys

from curation.verify.code_literals import NoLiteral, decode, encode
from curation.verify.code_test_functions import run_tests

TYPE_CHECKING = False  # `typing` takes longer to import than most programs run
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, BinaryIO, NoReturn

_MAX_REPLY = 32 << 20
_REASON_CHARACTERS = 200
_TESTS = "<tests>"
_FORGED = "it wrote on the pipe of its results"
_MAX_DIGITS = 4300
"""Of a whole number in decimals: reading those takes quadratic time, and honest large ones are hexadecimal."""
_CATCHES = "catching classes that do not inherit from BaseException"


class ProgramOver(BaseException):
    """The program cannot be asked any more. Not an Exception: no test may take it for something it expects."""


class Program:
    """The program at the other end of two pipes."""

    def __init__(self, pipes: tuple[int, int], in_place: bool) -> None:
        listens, speaks = pipes
        self._in_place = in_place
        self._requests, self._replies = os.fdopen(listens, "wb"), os.fdopen(speaks, "rb")
        self.calls = 0
        self.over: str | None = None
        """Why it cannot be asked any more; empty when only the sandbox's owner knows."""

    def start(self) -> None:
        """Wait until it is loaded."""
        if self._replies.readline(64) != b"ready\n":
            raise NoLiteral("the sandbox of the program did not start")
        if "loaded" not in self._receive():
            self._end(_FORGED)

    def call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """What a function of the program returns. Raises what it raised, by the built-in exception nearest to that."""
        if self.over is not None:
            raise ProgramOver(self.over)
        self.calls += 1
        line = encode([name, list(arguments), keywords])
        if '{"opaque":' in line:  # inside of text its quotes would be escaped
            kinds = ", ".join(type(value).__name__ for value in (*arguments, *keywords.values()))
            raise NoLiteral(f"the tests call {name} with what has no literal: {kinds}")
        try:
            self._requests.write(line.encode() + b"\n")
            self._requests.flush()
        except BrokenPipeError:
            self._end("")
        reply = self._receive()
        if "raised" in reply:
            raise _exception(*reply["raised"])
        value = reply["value"]
        if value is None or self._in_place:  # whatever the program's side says
            for old, new in zip(arguments, reply.get("arguments", ()), strict=False):
                _update(old, new)
        return value

    def _receive(self) -> dict[str, Any]:
        line = self._replies.readline(_MAX_REPLY)
        if not line.endswith(b"\n"):
            self._end("" if not line else "its result is too large")
        try:
            sys.set_int_max_str_digits(_MAX_DIGITS)
            reply = decode(line.decode())
        except (ValueError, RecursionError) as problem:
            self._end(f"its result cannot be read: {problem}")
        finally:
            sys.set_int_max_str_digits(0)
        if not _well_formed(reply):
            self._end(_FORGED)
        if "over" in reply:
            self._end(reply["over"])
        return dict(reply)

    def _end(self, reason: str) -> NoReturn:
        self.over = reason
        raise ProgramOver(reason)


def _well_formed(reply: Any) -> bool:
    if type(reply) is not dict:
        return False
    if "over" in reply:
        return type(reply["over"]) is str
    if "raised" in reply:
        raised = reply["raised"]
        return type(raised) is list and [type(word) for word in raised] == [str, str]
    return "loaded" in reply or ("value" in reply and type(reply.get("arguments", [])) is list)


def _exception(name: str, message: str) -> Exception:
    kind = getattr(builtins, name, None)
    # What ends a loop of the tests is no failure there: PEP 479 makes it a RuntimeError for generators, and here too.
    if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(
        kind, (StopIteration, StopAsyncIteration)
    ):
        kind = RuntimeError
    try:
        return kind(message)
    except TypeError:  # UnicodeError and its like want more than a message
        return RuntimeError(message)


def _update(old: Any, new: Any) -> None:
    """Make a list, set or dict what the program made of its copy, in place, also inside of it."""
    if type(old) is list and type(new) is list:
        for at, (was, is_) in enumerate(zip(old, new, strict=False)):
            if type(was) is type(is_) and type(was) in (list, dict, set):
                _update(was, is_)
                new[at] = was
        old[:] = new
    elif type(old) is type(new) and type(old) in (dict, set):
        old.clear()
        old.update(new)


def main(requests: BinaryIO, replies: BinaryIO, settings: dict[str, Any]) -> None:
    """See above."""
    program = Program(settings["pipes"], settings["in_place"])
    try:
        program.start()
        _run(program, settings)
        outcome, reason = "correct", ""
        if program.over is not None:
            outcome, reason = "wrong", program.over
        elif not program.calls:
            outcome, reason = "error", "the tests call nothing of the program"
    except NoLiteral as problem:
        outcome, reason = "error", str(problem)
    except BaseException as problem:  # noqa: BLE001 - whatever tests raise
        outcome, reason = _judged(program, problem, settings["tests"])
    replies.write(encode({"outcome": outcome, "reason": reason}).encode() + b"\n")
    replies.flush()
    os._exit(0)


def _judged(program: Program, problem: BaseException, tests: list[str]) -> tuple[str, str]:
    if program.over is not None:
        return "wrong", program.over
    if isinstance(problem, TypeError) and str(problem).startswith(_CATCHES) and _raised_by_tests(problem):
        return "error", "the tests catch an exception that the program defines: only literals cross"
    words = f"{type(problem).__name__}: {problem}".rstrip(": ")[:_REASON_CHARACTERS]
    broken = isinstance(problem, (SyntaxError, ImportError)) or (isinstance(problem, NameError) and not program.calls)
    if broken or not program.calls:
        return "error", f"the tests fail by themselves: {words}"
    return "wrong", f"{_line(problem, tests)}: {words}"


def _raised_by_tests(problem: BaseException) -> bool:
    """Whether it was a line of the tests that raised, and not a call of the program."""
    trace = problem.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_TESTS)


def _line(problem: BaseException, tests: list[str]) -> str:
    """The line of the tests at which something was raised."""
    found, trace = "a test", problem.__traceback__
    while trace:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(_TESTS):
            found = tests[int(name[len(_TESTS) :])].splitlines()[trace.tb_lineno - 1].strip()[:_REASON_CHARACTERS]
        trace = trace.tb_next
    return found


def _run(program: Program, settings: dict[str, Any]) -> None:
    codes = [compile(text, f"{_TESTS}{at}", "exec", dont_inherit=True) for at, text in enumerate(settings["tests"])]
    namespace: dict[str, Any] = {"__name__": "tests"}
    name = settings["name"]
    asked = {used for code in codes for used in _names(code)} - set(dir(builtins)) - {name}
    prefix = compile(settings["prefix"], "<prefix>", "exec", dont_inherit=True)
    if asked & set(prefix.co_names):  # the imports of the prefix take time: not without need
        exec(prefix, namespace)
        asked -= set(namespace)
    for one in asked | ({name} if name and name.isidentifier() else set()):
        namespace[one] = _Name(program, one)
    solution = type(sys)("solution")
    solution.__getattr__ = lambda one: _Name(program, one)  # type: ignore[method-assign]
    sys.modules["solution"] = solution  # `from solution import f`, as in KodCode
    for code in codes:
        exec(code, namespace)
    if name and callable(namespace.get("check")):
        namespace["check"](_Name(program, name))
    else:
        run_tests(namespace)


def _names(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if type(constant) is type(code)]
    return set(code.co_names).union(*map(_names, inner))


class _Name:
    """A name that the tests leave open. Called, it is a function of the program, `Solution` an object of that class for
    one method; asked for an attribute, it is the module of the standard library (MBPP relies on the imports of its
    solutions).
    """

    def __init__(self, program: Program, name: str) -> None:
        self.__program, self.__name = program, name

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if self.__name == "Solution" and not arguments and not keywords:
            return _Name(self.__program, "Solution()")
        return self.__program.call(self.__name, arguments, keywords)

    def __instancecheck__(self, value: object) -> bool:
        raise NoLiteral(f"the tests ask for objects of {self.__name}: only literals cross")

    def __getattr__(self, attribute: str) -> Any:
        if self.__name == "Solution()":
            return _Name(self.__program, f"Solution().{attribute}")
        if self.__name not in sys.stdlib_module_names:
            raise NoLiteral(f"the tests want {attribute!r} of {self.__name}: only literals cross")
        return getattr(__import__(self.__name), attribute)
