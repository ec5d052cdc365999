"""Values on their way between a program and its tests: JSON text that names what JSON has no word for.

    None, booleans, numbers, text and lists are themselves; a large whole number is as long as it is
    {"tuple": […]}, {"set": […]}, {"frozenset": […]}, {"dict": [[key, value], …]}, {"bytes": hex}, {"complex": [a, b]}
    {"iterator": […]}, {"range": [start, stop, step]}
    {"value": ["fractions", "Fraction", […]]}        a plain value of the standard library, by its arguments
    {"opaque": "Node"}                               anything else: only the name of its type crosses

A subclass crosses as its built-in base: what it overrides (`__eq__`) stays behind. Decoding never runs code of the
sender, whatever it wrote: it raises ValueError (or RecursionError for text nested too deep).

The file is loaded into sandboxes as well, where an import of `json` or `collections` would take longer than most
programs run: hence the C scanner of `json` by itself.
"""

from __future__ import annotations

import itertools
from _json import encode_basestring_ascii as _quoted
from _json import make_scanner

TYPE_CHECKING = False  # `typing` takes longer to import than most programs run
if TYPE_CHECKING:
    from typing import Any

MAX_ITEMS = 100_000
"""Items that are taken from an iterator; one with more is opaque."""

_ITERATORS = ("generator", "map", "filter", "zip", "enumerate", "reversed", "list_reverseiterator", "list_iterator",
              "tuple_iterator", "range_iterator", "set_iterator", "dict_keyiterator", "str_ascii_iterator",
              "str_iterator", "islice", "chain")  # fmt: skip
_VALUES: dict[tuple[str, str], Any] = {
    ("fractions", "Fraction"): lambda value: (value.numerator, value.denominator),
    ("decimal", "Decimal"): lambda value: (str(value),),
    ("collections", "deque"): lambda value: (list(value),),
    ("datetime", "date"): lambda value: (value.year, value.month, value.day),
    ("datetime", "timedelta"): lambda value: (value.days, value.seconds, value.microseconds),
    ("datetime", "datetime"): lambda value: (*value.timetuple()[:6], value.microsecond),
}


class Opaque:
    """What stands for a value that has no literal. It equals nothing; whatever else is asked of it raises `NoLiteral`."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"a {self._kind}, which has no literal"

    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by Python itself
            raise AttributeError(name)
        raise NoLiteral(f"the program gave a {self._kind}, of which the tests want {name!r}: only literals cross")


class NoLiteral(BaseException):
    """A value cannot cross. Not an Exception, so that no test takes it for a failure of the program."""


def encode(value: Any) -> str:
    """The JSON text of a value (see above), on one line; `{"opaque": …}` at the places that cannot cross."""
    kind = type(value)
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    if kind is str:
        return str(_quoted(value))
    if kind is int:
        return int.__repr__(value)
    if kind is float:
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(text := float.__repr__(value), text)
    if kind is list:
        return "[" + ",".join([encode(item) for item in value]) + "]"
    if kind is dict:
        return '{"dict":[' + ",".join([f"[{encode(key)},{encode(item)}]" for key, item in dict.items(value)]) + "]}"
    for base in (tuple, set, frozenset):
        if kind is base:
            return f'{{"{base.__name__}":[' + ",".join([encode(item) for item in value]) + "]}"
    return _encode_rare(value, kind)


def _encode_rare(value: Any, kind: type) -> str:
    if kind in (bytes, bytearray):
        return f'{{"bytes":"{bytes(value).hex()}"}}'
    if kind is complex:
        return f'{{"complex":[{encode(value.real)},{encode(value.imag)}]}}'
    if kind is range:
        return f'{{"range":{encode([value.start, value.stop, value.step])}}}'
    if kind.__name__ in _ITERATORS and kind.__module__ in ("builtins", "itertools"):
        items = list(itertools.islice(value, MAX_ITEMS + 1))
        return f'{{"iterator":{encode(items)}}}' if len(items) <= MAX_ITEMS else _opaque(kind)
    if arguments := _VALUES.get((kind.__module__, kind.__name__)):
        return f'{{"value":{encode([kind.__module__, kind.__name__, list(arguments(value))])}}}'
    plain: Any
    for plain in (int, float, str, bytes):  # adding nothing copies the value itself, past what was overridden
        if issubclass(kind, plain):
            return encode(plain.__add__(value, plain()))
    for plain in (list, tuple, set, frozenset):
        if issubclass(kind, plain):
            return encode(plain(plain.__iter__(value)))
    return encode(dict(dict.items(value))) if issubclass(kind, dict) else _opaque(kind)


def _opaque(kind: type) -> str:
    return f'{{"opaque":{_quoted(str(type.__dict__["__name__"].__get__(kind)))}}}'


def decode(text: str) -> Any:
    """The value that a JSON text stands for. Raises ValueError for any other text."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no value") from None
    if text[end:].strip():
        raise ValueError("more than one value")
    return value


def _named(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) != 1:
        raise ValueError("an object of a literal has one key")
    ((name, value),) = pairs
    try:
        match name:
            case "tuple" | "set" | "frozenset":
                return {"tuple": tuple, "set": set, "frozenset": frozenset}[name](value)
            case "dict":
                return {key: item for key, item in value}
            case "bytes":
                return bytes.fromhex(value)
            case "complex":
                return complex(*value)
            case "range":
                return range(*value)
            case "iterator":
                return iter(value)
            case "value" if (value[0], value[1]) in _VALUES:
                return getattr(__import__(value[0]), value[1])(*value[2])
            case "opaque":
                return Opaque(str(value))
    except (TypeError, LookupError, ArithmeticError) as problem:
        raise ValueError(f"no {name}: {problem}") from None
    raise ValueError(f"no literal is called {name!r}")


class _Context:
    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_named)
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(
        {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}.__getitem__
    )
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner clears it


_scan = make_scanner(_Context())  # type: ignore[arg-type]
