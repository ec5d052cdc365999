"""Inside the tests' sandbox: the tests that their texts define, found and run as pytest and unittest do.

A test is a function `test_…`, or a method `test…` of a class `Test…` or of a `unittest.TestCase`. Each method has an
object of its own, and runs between its set-up and tear-down. A test that would not run by being called makes the whole
unknown: what it asserts would be taken for passed.
"""

from __future__ import annotations

from curation.verify.code_literals import NoLiteral

TYPE_CHECKING = False  # `typing` takes longer to import than most programs run
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NOT_PLAIN = 0x20 | 0x80 | 0x200
"""CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR."""
_FUNCTION = type(lambda: None)
_SET_UP, _TEAR_DOWN = ("setUpClass", "setup_class", "setUp", "setup_method"), ("tearDown", "teardown_method")


def run_tests(namespace: dict[str, Any]) -> None:
    """Run all tests in a namespace. Raises what they raise, and `NoLiteral` that names one that cannot be run."""
    for name, one in list(namespace.items()):
        if name.startswith("test_") and type(one) is _FUNCTION:
            _check(name, one, 0)
            one()
        elif isinstance(one, type) and (name.startswith("Test") or _is_case(one)):
            for method in [method for method in dir(one) if method.startswith("test")]:
                if type(getattr(one, method)) is _FUNCTION:
                    _check(f"{name}.{method}", getattr(one, method), 1)
                    _run_method(one(method) if _is_case(one) else one(), method)


def _is_case(kind: type) -> bool:
    """Whether a class is a `unittest.TestCase`, which takes long to import."""
    return hasattr(kind, "assertEqual")


def _check(name: str, test: Callable[..., object], given: int) -> None:
    code = test.__code__
    wanted = code.co_argcount + code.co_kwonlyargcount - len(test.__defaults__ or ()) - len(test.__kwdefaults__ or ())
    if code.co_flags & _NOT_PLAIN or wanted > given:
        raise NoLiteral(f"{name} of the tests cannot be run: it is async, a generator or has parameters")


def _run_method(case: Any, method: str) -> None:
    for stage in (*_SET_UP, method, *_TEAR_DOWN):
        if hasattr(case, stage):
            getattr(case, stage)()
