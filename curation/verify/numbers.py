r"""Plain numbers, read exactly: a fraction, and how many digits it was written with.

Read are integers, decimals, `a/b` and `\frac{a}{b}`, mixed numbers (`1\frac12`, `1 1/2`), thousands separators and
powers of ten (`1.5e3`, `1.5\times 10^{3}`, `10^{-3}`). Anything else is no plain number, nor is one that is too long
to be worth it. Texts are those that `latex.plain` gives.
"""

import re
from fractions import Fraction
from typing import NamedTuple

LONGEST = 400
_LARGEST_POWER = 400
_DIGITS_ENOUGH = 4

_INTEGER = re.compile(r"\d+")
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_SCIENTIFIC = re.compile(
    rf"(?P<sign>[+-]?)\s?(?:(?P<digits>{_DECIMAL})(?:[eE](?P<e>[+-]?\d+))?)?"
    r"(?P<times>(?<=[\d.])\s?(?:\\times|\\cdot|\*|x)\s?(?=10\s?\^))?"
    r"(?:10\s?\^\s?(?:\{\s?(?P<braced>[+-]?\s?\d+)\s?\}|(?P<bare>[+-]?\d+)|\((?P<round>[+-]?\d+)\)))?"
)
_RATIO = re.compile(
    r"(?P<sign>[+-]?)\s?(?:(?P<whole>\d+)(?:\s(?=\d)|\s?(?=\\frac)))?"
    r"(?:\\frac\s?\{\s?(?P<top>[+-]?\d+)\s?\}\s?\{\s?(?P<bottom>[+-]?\d+)\s?\}|(?P<over>\d+)\s?/\s?(?P<under>\d+))"
)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


class Number(NamedTuple):
    """A value and the place of its last written digit: 2 for "0.25", None where it was not written as a decimal."""

    value: Fraction
    places: int | None = None

    @property
    def digits(self) -> int:
        """Significant digits of a decimal; 0 of a number that is not one."""
        if self.places is None:
            return 0
        return len(str(abs(int(self.value * Fraction(10) ** self.places))))

    def rounds(self, value: Fraction) -> bool:
        """Whether a value, rounded or cut at the last written place, is this decimal."""
        if self.places is None:
            return False
        step = Fraction(1, 10) ** self.places
        apart = abs(value - self.value)
        return apart * 2 <= step or (apart < step and abs(self.value) <= abs(value))


def number(text: str) -> Number | None:
    """The value of a plain number; None for anything else."""
    if len(text) > LONGEST:
        return None
    if _INTEGER.fullmatch(text):
        return Number(Fraction(int(text)))
    if ratio := _RATIO.fullmatch(text):
        return _ratio(ratio)
    if not (written := _SCIENTIFIC.fullmatch(text)) or not re.search(r"\d", text):
        return None
    digits, power = (
        written["digits"],
        next((written[name] for name in ("braced", "bare", "round") if written[name]), None),
    )
    if digits is None and power is None:
        return None
    if digits is not None and (power is None) != (written["times"] is None):
        return None
    exponent = int((power or "0").replace(" ", "")) + int(written["e"] or 0)
    if abs(exponent) > _LARGEST_POWER:
        return None
    value = Fraction((digits or "1").replace(",", "")) * Fraction(10) ** exponent
    places = len(digits.partition(".")[2]) - exponent if digits and ("." in digits or exponent) else None
    return Number(-value if written["sign"] == "-" else value, places)


def decimal_comma(text: str) -> Number | None:
    """The value of a decimal written with a comma ("12,5"); None for anything else."""
    return number(text.replace(",", ".")) if len(text) <= LONGEST and _DECIMAL_COMMA.fullmatch(text) else None


def same(gold: Number, stated: Number, tolerance: Fraction | None = None) -> bool:
    """Whether a stated number is the reference's: equal; within a relative tolerance; or one of them the other,
    rounded, as POLICY.md has it.
    """
    if gold.value == stated.value:
        return True
    if tolerance is not None:
        return abs(gold.value - stated.value) <= tolerance * abs(gold.value)
    if gold.places is not None:
        finer = stated.places is None or stated.places > gold.places
        return finer and gold.digits >= _DIGITS_ENOUGH and _not_integers(gold, stated) and gold.rounds(stated.value)
    return stated.digits >= _DIGITS_ENOUGH and gold.value.denominator != 1 and stated.rounds(gold.value)


def _not_integers(a: Number, b: Number) -> bool:
    return a.value.denominator != 1 or b.value.denominator != 1


def _ratio(ratio: re.Match[str]) -> Number | None:
    top, bottom = int(ratio["top"] or ratio["over"]), int(ratio["bottom"] or ratio["under"])
    if bottom == 0 or (ratio["whole"] and (top < 0 or bottom < 0)):
        return None
    value = Fraction(top, bottom) + int(ratio["whole"] or 0)
    return Number(-value if ratio["sign"] == "-" else value)
