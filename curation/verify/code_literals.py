"""Values on their way between a program and its tests: JSON text that names what JSON has no word for.

    None, booleans, numbers, text and lists are themselves
    {"int": "0x…"}                                   a large whole number; that takes linear time, and decimals do not
    {"tuple": […]}, {"set": […]}, {"frozenset": […]}, {"dict": [[key, value], …]}, {"bytes": hex}, {"complex": [a, b]}
    {"iterator": […]}, {"range": [start, stop, step]}
    {"value": ["fractions", "Fraction", […]]}        a plain value of the standard library, by its arguments
    {"opaque": "Node"}                               anything else: only the name of its type crosses

A subclass crosses as its built-in base: what it overrides (`__eq__`) stays behind. Decoding never runs code of the
sender, whatever it wrote, and takes little more than linear time: it raises ValueError (or RecursionError for text
nested too deep), also for numbers, containers and colliding hashes beyond the bounds below.

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

_MAX_CONTAINERS = 1_000_000
"""Opening brackets in a text, those inside of strings included."""
_MAX_ONE_HASH = 64
"""Items of a set, or keys of a dict, with the same hash: building it takes time quadratic in them."""
_MAX_FRACTION = 1 << (1 << 15)
_MAX_DECIMAL = 100_000
"""Characters of a Decimal, and its power of ten."""
_PLAIN_INT = 10**4000
"""From here on, whole numbers are written in hexadecimal."""

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
_BUILT_IN = (str, list, dict, set, frozenset, tuple, int, float, complex, bytes, range)


class Opaque:
    """What stands for a value that has no literal. It equals nothing, and has nothing of what built-in values have; whatever
    else is asked of it raises `NoLiteral`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"a {self._kind}, which has no literal"

    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        # Asked for by Python itself, or by tests that expect something else than the program gave.
        if name.startswith("__") or any(hasattr(kind, name) for kind in _BUILT_IN):
            raise AttributeError(f"a {self._kind} has no attribute {name!r}")
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
        return int.__repr__(value) if -_PLAIN_INT < value < _PLAIN_INT else f'{{"int":"{value:#x}"}}'
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
    if len(text) > _MAX_CONTAINERS and text.count("[") + text.count("{") > _MAX_CONTAINERS:
        raise ValueError(f"more than {_MAX_CONTAINERS} containers")
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no value") from None
    except MemoryError:
        raise ValueError("a value too large") from None
    if text[end:].strip():
        raise ValueError("more than one value")
    return value


def _named(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) != 1:
        raise ValueError("an object of a literal has one key")
    ((name, value),) = pairs
    try:
        match name:
            case "int" if type(value) is str:
                return int(value, 16)
            case "tuple":
                return tuple(_list(value))
            case "set" | "frozenset":
                items = _spread(_list(value))
                return set(items) if name == "set" else frozenset(items)
            case "dict":
                keys = [key for key, _ in _list(value)]
                return dict(zip(_spread(keys), [item for _, item in value], strict=True))
            case "bytes":
                return bytes.fromhex(value)
            case "complex":
                return complex(*_list(value, int, float))
            case "range":
                return range(*_list(value, int))
            case "iterator":
                return iter(_list(value))
            case "value":
                return _plain_value(*_list(value))
            case "opaque" if type(value) is str:
                return Opaque(value)
    except (TypeError, LookupError, ArithmeticError) as problem:
        raise ValueError(f"no {name}: {problem}") from None
    raise ValueError(f"no literal is called {name!r}")


def _list(value: Any, *kinds: type) -> list[Any]:
    """The value, which has to be a list; of these kinds, where some are given."""
    if type(value) is not list or (kinds and not all(type(item) in kinds for item in value)):
        raise TypeError("it holds something else")
    return value


def _spread(items: list[Any]) -> list[Any]:
    if len(items) > _MAX_ONE_HASH:
        hashes = sorted(map(hash, items))
        if any(one == other for one, other in zip(hashes, hashes[_MAX_ONE_HASH:], strict=False)):
            raise ValueError("too many items with one hash")
    return items


def _plain_value(module: str, name: str, arguments: list[Any]) -> Any:
    if (module, name) not in _VALUES:
        raise LookupError(name)
    if name == "Fraction":
        fits = len(arguments) == 2 and all(abs(part) < _MAX_FRACTION for part in _list(arguments, int))
    elif name == "Decimal":
        fits = len(arguments) == 1 and len(_list(arguments, str)[0]) < _MAX_DECIMAL
    elif name == "deque":
        fits = len(arguments) == 1 and bool(_list(arguments, list))
    else:
        fits = bool(_list(arguments, int))
    if not fits:
        raise ValueError(f"no {name}: its arguments are too many or too large")
    value = getattr(__import__(module), name)(*arguments)
    if name == "Decimal" and abs(value.adjusted()) > _MAX_DECIMAL:
        raise ValueError("a Decimal too large")
    return value


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
