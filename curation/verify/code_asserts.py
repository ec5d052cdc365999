"""Tests that are plain: asserts that compare a call of the program with a literal.

Most tests of HumanEval and MBPP are of that kind, and nothing of them needs to be run to judge by them: arguments and
expected values are read off the syntax tree, which saves the second sandbox and half of the time.
"""

import ast
import builtins
import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One call of the program, and what to make of its result."""

    name: str
    arguments: list[Any]
    keywords: dict[str, Any]
    holds: Callable[[Any], bool]
    """Whether a result is right."""
    said: str
    """How the test puts it."""


def plain_calls(tests: list[str], name: str | None) -> list[Call] | None:
    """The calls that the tests amount to; None when some part of them has to be run.

    `name` is the entry point: of `def check(candidate)` the body counts, with the parameter standing for it.
    """
    calls: list[Call | None] = []
    try:
        for statement in [statement for text in tests for statement in ast.parse(text).body]:
            match statement:
                case ast.Assign(value=value):
                    ast.literal_eval(value)  # METADATA and its like: no literal is called
                case ast.FunctionDef(name="check", args=ast.arguments(args=[parameter]), body=body) if name:
                    calls += [_call(inner, {parameter.arg: name, name: name}) for inner in body]
                case ast.Expr(value=ast.Call(func=ast.Name(id="check"))) if name:
                    pass  # it is called in any case
                case _:
                    calls.append(_call(statement, {name: name} if name else {}, others=True))
    except (_NotPlainError, SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    found = [call for call in calls if call]
    names = {call.name for call in found}
    # An assert about something built in says nothing of a program, unless that is what the program's function is called.
    if len(names) > 1 and any(hasattr(builtins, one) for one in names - {name}):
        return None
    return found or None


def _compares(expected: Any, equal: bool, result: Any) -> bool:
    return bool(result == expected) is equal


class _NotPlainError(Exception):
    pass


def _call(statement: ast.stmt, names: dict[str, str], others: bool = False) -> Call | None:
    """The call of an assert, None of a statement that asserts nothing. `names` are those of the program's functions in
    the test; with `others`, any name is one.
    """
    holds: Callable[[Any], bool]
    match statement:
        case ast.Assert(test=ast.Constant(value=True)) | ast.Expr(value=ast.Constant()) | ast.Pass():
            return None
        case ast.Assert(
            test=ast.Compare(left=ast.Call() as call, ops=[ast.Eq() | ast.NotEq() as sign], comparators=[right])
        ):
            expected, equal = ast.literal_eval(right), isinstance(sign, ast.Eq)
            holds = functools.partial(_compares, expected, equal)
        case ast.Assert(test=ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call)):
            holds = operator.not_
        case ast.Assert(test=ast.Call() as call):
            holds = operator.truth
        case _:
            raise _NotPlainError
    said = call.func.id if isinstance(call.func, ast.Name) else ""
    if said not in names and not (said and others):
        raise _NotPlainError
    keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    if len(keywords) != len(call.keywords):
        raise _NotPlainError
    arguments = [ast.literal_eval(value) for value in call.args]
    return Call(names.get(said, said), arguments, keywords, holds, ast.unparse(statement))
