"""Equality of expressions by their values at random points, to many digits.

Two expressions that agree at a handful of random points are equal but for a chance that is negligible (Schwartz 1980,
Zippel 1979 for polynomials); two that differ at one are different. Unlike simplification it ends, and it does not give
up. Rational constants are compared exactly, other values with few digits first and, when these agree, with many. The
points are real and follow from the names of the variables, so the same two expressions always get the same
verdict. Where a variable can only be an integer (factorials, floors, (-1)^n), the points are integers.

What cannot be evaluated raises `Undecided`: integrals, sets, relations, functions without a definition in this table;
and values too large to compute, instead of computing them.
"""

import functools
import hashlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath

DIGITS = 50
_SURE_DIGITS = 600
_POINTS = ("positive", "positive", "real", "real")
_INTEGER_POINTS = 6
_CLOSE, _NOTHING = 0.6, 0.84
"""Shares of the digits computed with that count, relatively and absolutely; the others are noise of rounding."""
_LARGEST_EXACT = 100_000
_COUNTERS = frozenset("jklmnKLMN")
_LARGEST_EXPONENT = 10**6
_LARGEST_FACTORIAL = 3_000
_LARGEST_QUOTIENT = 10**25
_MOST_TERMS = 500

Env = dict[str, Any]


class Undecided(Exception):
    """An expression has no value here; the message says why."""


def same_values(a: Any, b: Any) -> bool:
    """Whether two sympy expressions have the same value at every point tried; raises `Undecided`."""
    if not a.free_symbols and not b.free_symbols and (x := _exact(a)) is not None and (y := _exact(b)) is not None:
        return x == y
    for digits in (DIGITS, _SURE_DIGITS):
        with mpmath.workdps(digits):
            if not _same_values(a, b):
                return False
    return True


def _same_values(a: Any, b: Any) -> bool:
    names = _names(a, b)
    if not names:
        return close(_value(a, {}), _value(b, {}))
    compared = 0
    for at, kind in enumerate(_POINTS):
        try:
            x, y = (_value(side, {name: _point(name, at, kind) for name in names}) for side in (a, b))
        except ZeroDivisionError:
            continue
        if kind == "real" and (mpmath.im(x) or mpmath.im(y)):
            continue  # outside the domain of a root or a logarithm, where branches differ
        compared += 1
        if not close(x, y):
            return (_needs_integers(a) or _needs_integers(b)) and _same_at_integers(a, b, names)
    if not compared:
        raise Undecided("no point has a value")
    return True


def ratio(a: Any, b: Any) -> Any | None:
    """The constant c with a = c·b at every point tried; None when there is none; raises `Undecided`."""
    found = None
    with mpmath.workdps(DIGITS):
        for at in range(len(_POINTS)):
            env = {name: _point(name, at, "positive") for name in _names(a, b)}
            x, y = value(a, env), value(b, env)
            if close(y, mpmath.mpf(0)) or close(x, mpmath.mpf(0)):
                return None
            if found is None:
                found = x / y
            elif not close(x / y, found):
                return None
    return found


def _exact(node: Any) -> Fraction | None:
    """The value of a rational constant; None of others, and where it has too many digits."""
    if node.is_Float:
        return Fraction(str(node))
    if node.is_Rational:
        return Fraction(int(node.p), int(node.q))
    kind, parts = type(node).__name__, []
    if kind not in ("Add", "Mul", "Pow", "factorial", "binomial", "UnevaluatedExpr"):
        return None
    for part in node.args:
        if (exact := _exact(part)) is None:
            return None
        parts.append(exact)
    if kind in ("factorial", "binomial"):
        if any(part.denominator != 1 or not 0 <= part <= _LARGEST_FACTORIAL for part in parts):
            return None
        whole = [int(part) for part in parts]
        return Fraction(math.factorial(*whole) if kind == "factorial" else math.comb(*whole))
    if kind != "Pow":
        return sum(parts, Fraction()) if kind == "Add" else math.prod(parts, start=Fraction(1))
    base, power = parts
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if power.denominator != 1 or bits * abs(power) > _LARGEST_EXACT or (not base and power < 0):
        return None
    return base ** int(power)


def _names(a: Any, b: Any) -> list[str]:
    """The variables of two expressions; `i` is the imaginary unit."""
    return sorted({symbol.name for symbol in a.free_symbols | b.free_symbols} - {"i"})


def close(x: Any, y: Any) -> bool:
    """Whether two values are one but for the rounding of their computation."""
    if not (mpmath.isfinite(x) and mpmath.isfinite(y)):
        return bool(x == y)
    relative, absolute = (mpmath.mpf(10) ** -int(share * mpmath.mp.dps) for share in (_CLOSE, _NOTHING))
    return bool(abs(x - y) <= max(relative * max(abs(x), abs(y)), absolute))


def fraction(x: Any) -> Fraction | None:
    """A computed value as a fraction; None when it is not real or not finite."""
    if not mpmath.isfinite(x) or abs(mpmath.im(x)) > mpmath.mpf(10) ** -int(_NOTHING * DIGITS):
        return None
    sign, mantissa, exponent, _ = mpmath.re(x)._mpf_
    exact = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return -exact if sign else exact


def value(expression: Any, env: Env) -> Any:
    """The value of a sympy expression as a number of mpmath; `env` has those of its variables, by name.

    Raises `Undecided`, and ZeroDivisionError at a pole.
    """
    with mpmath.workdps(DIGITS):
        return _value(expression, env)


def _value(node: Any, env: Env) -> Any:
    kind = type(node).__name__
    if kind == "Symbol":
        if node.name == "i" and "i" not in env:
            return mpmath.mpc(0, 1)
        if node.name not in env:
            raise Undecided(f"{node.name} has no value")
        return env[node.name]
    if node.is_Float:
        exact = Fraction(str(node))  # as it was written, not as it was rounded to bits
        return mpmath.mpf(exact.numerator) / exact.denominator
    if node.is_Rational:
        return mpmath.mpf(int(node.p)) / int(node.q)
    if kind in ("Sum", "Product"):
        return _series(node, env)
    if (constant := _constants().get(kind)) is not None:
        return +constant
    if (function := _functions().get(kind)) is not None:
        try:
            return function(*[_value(part, env) for part in node.args])
        except (TypeError, ValueError, OverflowError) as problem:
            raise Undecided(f"{kind}: {problem}") from problem
    if kind == "Derivative" and not node.expr.args:
        return _unknown(str(node), [])
    if getattr(node.func, "is_Function", False) and type(node).__module__ is None:  # only a name, such as f(x)
        return _unknown(str(node.func), [_value(part, env) for part in node.args])
    raise Undecided(f"{kind} is not evaluated")


@functools.cache
def _constants() -> dict[str, Any]:
    return {
        **{"Pi": mpmath.pi, "Exp1": mpmath.e, "ImaginaryUnit": mpmath.mpc(0, 1), "GoldenRatio": mpmath.phi},
        **{"Infinity": mpmath.inf, "NegativeInfinity": -mpmath.inf},
    }


@functools.cache
def _functions() -> dict[str, Callable[..., Any]]:
    """How each kind of node follows from the values of its parts, by sympy's class name."""
    return {
        "Add": lambda *parts: mpmath.fsum(parts),
        "Mul": lambda *parts: mpmath.fprod(parts),
        **{"UnevaluatedExpr": lambda x: x, "Pow": _power, "exp": lambda x: _power(mpmath.e, x)},
        **{"log": _logarithm, "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "cot": mpmath.cot},
        **{"sec": mpmath.sec, "csc": mpmath.csc, "asin": mpmath.asin, "acos": mpmath.acos, "atan": mpmath.atan},
        **{"acot": mpmath.acot, "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh},
        **{"asinh": mpmath.asinh, "acosh": mpmath.acosh, "atanh": mpmath.atanh, "Abs": abs, "re": mpmath.re},
        **{"im": mpmath.im, "conjugate": mpmath.conj, "sign": mpmath.sign, "arg": mpmath.arg},
        **{"floor": _rounded(mpmath.floor), "ceiling": _rounded(mpmath.ceil), "factorial": _factorial},
        **{"binomial": _binomial, "Max": lambda *parts: max(parts), "Min": lambda *parts: min(parts)},
        **{"Mod": _remainder, "gcd": _integers(math.gcd), "lcm": _integers(math.lcm)},
    }


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > _LARGEST_EXPONENT:
        raise Undecided("the value is too large to compute")
    result = base**exponent
    if mpmath.isfinite(result) and abs(result) and abs(mpmath.log(abs(result))) > _LARGEST_EXPONENT * 100:
        raise Undecided("the value is too large to compute")
    return result


def _logarithm(x: Any, base: Any = mpmath.e) -> Any:
    return mpmath.log(x) / mpmath.log(base)


def _factorial(x: Any) -> Any:
    if abs(x) > _LARGEST_FACTORIAL:
        raise Undecided("the value is too large to compute")
    return mpmath.factorial(x)


def _binomial(n: Any, k: Any) -> Any:
    if abs(n) > _LARGEST_EXPONENT or abs(k) > _LARGEST_EXPONENT:
        raise Undecided("the value is too large to compute")
    return mpmath.binomial(n, k)


def _remainder(x: Any, y: Any) -> Any:
    if abs(x) > abs(y) * _LARGEST_QUOTIENT:
        raise Undecided("not enough digits for a remainder")
    return x - y * _rounded(mpmath.floor)(x / y)


def _rounded(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Floor or ceiling, of a value that was computed and may be off an integer in its last digits."""

    def rounded(x: Any) -> Any:
        nearest = mpmath.nint(x)
        return nearest if close(x, nearest) else function(x)

    return rounded


def _integers(function: Callable[..., int]) -> Callable[..., Any]:
    def of_integers(*parts: Any) -> Any:
        if any(part != int(part) for part in parts):
            raise Undecided("not integers")
        return mpmath.mpf(function(*map(int, parts)))

    return of_integers


def _series(node: Any, env: Env) -> Any:
    term, *ranges = node.args
    if len(ranges) != 1 or len(ranges[0]) != 3:
        raise Undecided("a series without bounds")
    variable, low, high = ranges[0]
    first, last = _value(low, env), _value(high, env)
    if not (mpmath.isint(first) and mpmath.isint(last)) or last - first > _MOST_TERMS:
        raise Undecided("a series that is not finite")
    terms = [_value(term, env | {variable.name: mpmath.mpf(at)}) for at in range(int(first), int(last) + 1)]
    return mpmath.fsum(terms) if type(node).__name__ == "Sum" else mpmath.fprod(terms)


def _point(name: str, at: int, kind: str) -> Any:
    """A value for a variable: of its own, and the same in every run."""
    share = int.from_bytes(hashlib.blake2b(f"{name} {at}".encode(), digest_size=6).digest(), "big") / 2**48
    if kind == "integer":
        return mpmath.mpf(1 + int(share * 30))
    return mpmath.mpf(0.3 + 2.4 * share) if kind == "positive" else mpmath.mpf(4 * share - 3)


def _unknown(name: str, parts: list[Any]) -> Any:
    """The value of a function that is only a name: any number that follows from the name and the arguments."""
    return _point(f"{name} {[mpmath.nstr(part, 20) for part in parts]}", 0, "positive")


def _needs_integers(expression: Any) -> bool:
    """Whether its variables count something."""
    for node in _nodes(expression):
        kind = type(node).__name__
        names = {symbol.name for symbol in node.free_symbols}
        if kind in ("factorial", "binomial", "Sum", "Product") and names:
            return True
        if kind in ("floor", "ceiling", "Mod") and names and names <= _COUNTERS:
            return True
        if kind == "Pow" and node.exp.free_symbols and not node.base.free_symbols and node.base.is_negative:
            return True
        if kind in ("sin", "cos", "tan") and names and names <= _COUNTERS and "pi" in str(node.args[0]):
            return True
    return False


def _nodes(expression: Any) -> list[Any]:
    nodes = [expression]
    for node in nodes:
        nodes.extend(node.args)
    return nodes


def _same_at_integers(a: Any, b: Any, names: list[str]) -> bool:
    points = [{name: _point(name, at, "integer") for name in names} for at in range(_INTEGER_POINTS)]
    return all(close(_value(a, point), _value(b, point)) for point in points)
