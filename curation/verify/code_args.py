"""What `verifier_args` of a code problem say: its tests, in one of three forms.

Programs that read standard input and write standard output (APPS, TACO, PRIME; LiveCodeBench after renaming):

    {"inputs": ["1 2\\n", …], "outputs": ["3\\n", …]}

An input or output may also be a list of lines, and either list its JSON text.

Functions with arguments and results as JSON (the same sources, LeetCode):

    {"fn_name": "add", "inputs": [[1, 2], …], "outputs": [3, …]}

`add` is a function, or else a method of a class `Solution`; "Solution().add" says so. An input is the list of arguments.
An output in a list of its own (`[[3], …]`), as APPS has them, is accepted too, and tuples are lists.

Tests that are Python (HumanEval, MBPP, KodCode):

    {"test": "def check(candidate): …", "entry_point": "add", "prefix": "def add(a, b): …"}
    {"test": ["assert add(1, 2) == 3", …]}

`test` is a text or a list of them. With `entry_point`, `check(entry_point)` is called where it is defined; otherwise the
texts are run, and then their functions `test_…`. `prefix` is the prompt that a completion continues: it is set before
the program, when the program does not stand alone, and before the tests, for the helpers it may define.

Programs have the standard library, and no packages: a completion that imports one fails.

For every form, when wanted:

    seconds     CPU time for one input or call (default 4, at most 20)
    tolerance   how far numbers may be off, absolutely or relatively (default 0; not for tests that are Python)
    in_place    true: tests in Python see what a function did to its arguments even when it returns something (default
                false: only when it returns None, as Python's own functions in place do); with `fn_name`, what it made
                of its first argument is the result
    interpreter ["/usr/bin/node"]: what runs a program that reads standard input, instead of Python; below /usr or /opt
"""

import difflib
import json
from dataclasses import dataclass
from typing import Any

_FORMS = {
    ("inputs", "outputs"): ("seconds", "tolerance", "interpreter"),
    ("fn_name", "inputs", "outputs"): ("seconds", "tolerance", "in_place"),
    ("test",): ("entry_point", "prefix", "seconds", "in_place"),
}
_MAX_SECONDS = 20
_DIGITS_AT_ONCE, _MAX_DIGITS = 4000, 100_000


class CodeArgsError(ValueError):
    """`verifier_args` of a code problem cannot be used."""


@dataclass(frozen=True, slots=True)
class Tests:
    """The tests of one problem. Of `inputs` (with `outputs`) and `test`, one is not empty."""

    inputs: list[Any]
    """Texts, or lists of arguments when there is a `name`."""
    outputs: list[Any]
    test: list[str]
    name: str | None
    """The function that is asked for."""
    prefix: str
    seconds: float
    tolerance: float
    in_place: bool
    interpreter: list[str]


def read_tests(args: dict[str, Any]) -> Tests:
    """The tests that the decoded `verifier_args` hold. Raises `CodeArgsError`, naming the key."""
    form: tuple[str, ...] = ("test",)
    if "test" not in args:
        form = ("inputs", "outputs") if args.get("fn_name") is None else ("fn_name", "inputs", "outputs")
    known = (*form, *_FORMS[form])
    for key, value in args.items():
        if key not in known and not (key == "fn_name" and value is None):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise CodeArgsError(f"verifier_args has {key!r}: with {_said(form)}, known are {', '.join(known)}{hint}")
    for key in form:
        if key not in args:
            raise CodeArgsError(f"verifier_args needs {key!r}: a code problem has {' or '.join(map(_said, _FORMS))}")
    name = args.get("fn_name") if "fn_name" in form else args.get("entry_point")
    _expect(
        "fn_name" if "fn_name" in form else "entry_point", name is None or (isinstance(name, str) and name), "a name"
    )
    tests = Tests(
        inputs=_pairs(args, "inputs", bool(name)),
        outputs=_pairs(args, "outputs", bool(name), results=True),
        test=_texts(args),
        name=name,
        prefix=args.get("prefix") or "",
        seconds=args.get("seconds", 4),
        tolerance=args.get("tolerance", 0),
        in_place=args.get("in_place", False),
        interpreter=args.get("interpreter") or [],
    )
    _expect("prefix", isinstance(tests.prefix, str), "text")
    _expect("seconds", _number(tests.seconds) and 0 < tests.seconds <= _MAX_SECONDS, f"above 0, at most {_MAX_SECONDS}")
    _expect("tolerance", _number(tests.tolerance) and 0 <= tests.tolerance < 1, "from 0 to below 1")
    _expect("in_place", isinstance(tests.in_place, bool), "true or false")
    _expect("interpreter", _is_command(tests.interpreter), 'a list like ["/usr/bin/node"], below /usr or /opt')
    if len(tests.inputs) != len(tests.outputs):
        raise CodeArgsError(f"verifier_args has {len(tests.inputs)} 'inputs' and {len(tests.outputs)} 'outputs'")
    return tests


def _said(form: tuple[str, ...]) -> str:
    return "{" + ", ".join(form) + "}"


def _expect(key: str, holds: object, what: str) -> None:
    if not holds:
        raise CodeArgsError(f"{key!r} of verifier_args must be {what}")


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_command(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(word, str) for word in value)
        and (not value or (value[0].startswith(("/usr/", "/opt/")) and ".." not in value[0]))
    )


def _texts(args: dict[str, Any]) -> list[str]:
    if "test" not in args:
        return []
    texts = [args["test"]] if isinstance(args["test"], str) else args["test"]
    _expect(
        "test", isinstance(texts, list) and all(isinstance(text, str) for text in texts), "text, or a list of texts"
    )
    _expect("test", any(text.strip() for text in texts), "more than white space")
    return list(texts)


def _whole(digits: str) -> int:
    """A whole number of any length up to a bound; Python's own bound is one for the whole process."""
    if len(digits) <= _DIGITS_AT_ONCE:
        return int(digits)
    if len(digits) > _MAX_DIGITS:
        raise CodeArgsError(f"verifier_args hold a number of {len(digits)} digits: at most {_MAX_DIGITS} are read")
    value = 0
    for at in range(sign := digits.startswith("-"), len(digits), _DIGITS_AT_ONCE):
        chunk = digits[at : at + _DIGITS_AT_ONCE]
        value = value * 10 ** len(chunk) + int(chunk)
    return -value if sign else value


def _pairs(args: dict[str, Any], key: str, function: bool, results: bool = False) -> list[Any]:
    """The inputs or outputs: of programs as texts, of functions as they are."""
    if "test" in args:
        return []
    values = json.loads(args[key], parse_int=_whole) if isinstance(args[key], str) else args[key]
    _expect(key, isinstance(values, list) and values, "a list with something in it")
    if function:
        _expect(key, results or all(isinstance(value, list) for value in values), "a list of lists of arguments")
        return list(values)
    texts = ["\n".join(map(str, value)) if isinstance(value, list) else value for value in values]
    _expect(key, all(isinstance(text, str) for text in texts), "a list of texts")
    return texts
