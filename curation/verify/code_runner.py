"""Inside the program's sandbox: load the program, then answer calls of its functions or run it on inputs.

Nothing here knows an expected output, and nothing that comes out of here is taken for more than what the program claims
to have computed: it shares this interpreter, and can do and say whatever this file can.

settings: `{"sources": […], "name", "seconds", "in_place"}` answers calls. In come lines
`[name, arguments, keywords]`, out go dicts (both as in `code_literals`), the first when the program is loaded:

    {"loaded": true}
    {"value": …}                     with "arguments" as they are after the call, where they may have been changed
    {"raised": [exception, message]}
    {"over": reason}                 the program cannot be called, or ended itself

`{"sources", "inputs": […], "seconds", "interpreter": […]}` runs the program once for each text, from standard input to
standard output: `{"output", "status": wait status, "error": its last words}`. Python programs are forks of this
interpreter, all others are started as `interpreter… /tmp/program`.

sources: the ways to read a completion. The program is the first that compiles and binds `name`, else the first that
compiles. seconds: CPU time for one call or input.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` imports enum, which takes longer than many programs run
import builtins
import os
import sys

from curation.verify.code_literals import decode, encode

TYPE_CHECKING = False  # `typing` takes longer to import than most programs run
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, BinaryIO

_MESSAGE_CHARACTERS = 300
_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}


def main(requests: BinaryIO, replies: BinaryIO, settings: dict[str, Any]) -> None:
    """See above."""
    for name in ("exit", "quit"):  # programs use them; it is the site module, not loaded here, that defines them
        setattr(builtins, name, sys.exit)
    if "inputs" in settings:
        _run_on_inputs(requests, replies, settings)
    else:
        _answer_calls(requests, replies, settings)


def _compiled(sources: list[str], name: str | None) -> CodeType:
    """The program; raises what the compiler said of the first source when none compiles."""
    programs: list[CodeType] = []
    failures: list[Exception] = []
    for source in sources:
        try:
            programs.append(compile(source, "<program>", "exec", dont_inherit=True))
        except (SyntaxError, ValueError, MemoryError, RecursionError) as problem:
            failures.append(problem)
    if not programs:
        raise failures[0]
    return next((program for program in programs if name in program.co_names), programs[0])


def _send(replies: BinaryIO, reply: dict[str, Any] | str) -> None:
    """Write a reply, which may be encoded already."""
    replies.write((reply if isinstance(reply, str) else encode(reply)).encode() + b"\n")
    replies.flush()


def _answer_calls(requests: BinaryIO, replies: BinaryIO, settings: dict[str, Any]) -> None:
    program = type(sys)("solution")
    sys.modules["solution"] = program
    _signal.setitimer(_signal.ITIMER_PROF, settings["seconds"])
    try:
        exec(_compiled(settings["sources"], settings["name"]), program.__dict__)
    except BaseException as problem:  # noqa: BLE001 - whatever the program raises
        _send(replies, {"over": f"it cannot be loaded: {_words(problem)}"})
        return
    _send(replies, {"loaded": True})
    for line in requests:
        name, arguments, keywords = decode(line.decode())
        _signal.setitimer(_signal.ITIMER_PROF, settings["seconds"])
        _send(replies, _called(program.__dict__, name, arguments, keywords, settings["in_place"]))


def _called(
    program: dict[str, Any], name: str, arguments: list[Any], keywords: dict[str, Any], in_place: bool
) -> dict[str, Any] | str:
    try:
        if name not in program and "Solution" in program and name.isidentifier():
            name = f"Solution().{name}"
        value = eval(name, program)(*arguments, **keywords)
        # Encoded here: a value that holds itself, or an iterator that raises, is the program's failure.
        return encode({"value": value, "arguments": arguments} if value is None or in_place else {"value": value})
    except Exception as problem:  # noqa: BLE001 - whatever the program raises
        known = next(kind.__name__ for kind in type(problem).__mro__ if kind.__module__ == "builtins")
        return {"raised": [known, _words(problem)]}
    except BaseException as problem:  # noqa: BLE001 - SystemExit and its like
        return {"over": f"it ended itself: {_words(problem)}"}


def _words(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"[:_MESSAGE_CHARACTERS]


def _run_on_inputs(requests: BinaryIO, replies: BinaryIO, settings: dict[str, Any]) -> None:
    program: CodeType | None = None
    if not settings["interpreter"]:
        try:
            program = _compiled(settings["sources"], None)
        except Exception as problem:  # noqa: BLE001 - whatever the compiler raises
            _send(replies, {"over": f"it cannot be loaded: {_words(problem)}"})
            return
    for text in settings["inputs"]:
        files = [os.open("/tmp", os.O_TMPFILE | os.O_RDWR) for _ in range(3)]
        with open(files[0], "wb", closefd=False) as given:
            given.write(text.encode(**_TEXT))
        os.lseek(files[0], 0, os.SEEK_SET)
        child = os.fork()
        if child == 0:
            requests.close()
            replies.close()
            for standard, file in enumerate(files):
                os.dup2(file, standard)
                os.close(file)
            _signal.setitimer(_signal.ITIMER_PROF, settings["seconds"])
            if program is None:
                _exec(settings["interpreter"], settings["sources"][0])
            module = type(sys)("__main__")
            sys.modules["__main__"], sys.argv = module, ["program.py"]
            exec(program or "", module.__dict__)
            return  # all the way up: the interpreter ends as it does after any program
        _, status = os.waitpid(child, 0)
        try:  # noqa: SIM105 - contextlib takes time to import
            os.kill(-1, _signal.SIGKILL)  # what it left running
        except ProcessLookupError:
            pass
        output, error = (_content(file) for file in files[1:])
        last = error.rstrip().rpartition("\n")[2][:_MESSAGE_CHARACTERS]
        _send(replies, {"output": output, "status": status, "error": last})
        for file in files:
            os.close(file)


def _exec(interpreter: list[str], source: str) -> None:
    with open("/tmp/program", "w", **_TEXT) as file:  # type: ignore[call-overload]
        file.write(source)
    os.execv(interpreter[0], [*interpreter, "/tmp/program"])


def _content(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", closefd=False) as written:
        return written.read().decode(**_TEXT)
