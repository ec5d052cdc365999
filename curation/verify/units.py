r"""A value and its unit: "102 kPa", "15\text{ cm}^2", "$18", "50%".

What stands behind a value in `\text{…}` is its unit, and so are bare words behind a number (of two letters and more,
or after a space one of the letters that are units). Known units have one name for all spellings; unknown ones ("apples")
are the empty name: they can be left out, and never contradict. Nothing is converted.
"""

import re
from typing import NamedTuple

PERCENT = "%"

_NAMES = {
    "m": "m meter meters metre metres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "km": "km kilometer kilometers kilometre kilometres",
    "nm": "nm nanometer nanometers",
    "in": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard yards",
    "mi": "mi mile miles",
    "g": "g gram grams",
    "kg": "kg kilogram kilograms",
    "mg": "mg milligram milligrams",
    "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces",
    "s": "s sec secs second seconds",
    "ms": "millisecond milliseconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "yr yrs year years",
    "$": "$ dollar dollars usd",
    "¢": "¢ cent cents",
    "€": "€ euro euros",
    "£": "£",
    "L": "l liter liters litre litres",
    "mL": "ml milliliter milliliters",
    "gal": "gal gallon gallons",
    "°": "deg degree degrees",
    "rad": "rad radian radians",
    "J": "j joule joules",
    "kJ": "kj kilojoule kilojoules",
    "eV": "ev",
    "cal": "cal calorie calories",
    "N": "n newton newtons",
    "Pa": "pa pascal pascals",
    "kPa": "kpa",
    "atm": "atm",
    "bar": "bar",
    "W": "w watt watts",
    "kW": "kw",
    "K": "k kelvin",
    "V": "v volt volts",
    "A": "a ampere amperes amp amps",
    "Hz": "hz hertz",
    "mol": "mol mole moles",
    "mph": "mph",
    PERCENT: "% percent pct percentage",
}
_NAME_OF = {spelling: name for name, spellings in _NAMES.items() for spelling in spellings.split()}
_LETTERS = "msghLlNJWVKA"
_CURRENCY = frozenset("$€£¥₹")
_LONGEST_UNIT = 200
_DIGIT = re.compile(r"\d")
_POWER_WORD = re.compile(r"\b(?:square|sq\.?)\s+([a-z]+)|\b(?:cubic|cu\.?)\s+([a-z]+)|\b([a-z]+)\s+(squared|cubed)")
_TEXT_UNIT = re.compile(r"(?:(?:\s|\\times|\\cdot|/)*\\text\s*\{([^{}]*)\}(?:\s?\^\s?\{?\s?(-?\d)\s?\}?)?)+$")
_TEXT_PART = re.compile(r"\\text\s*\{([^{}]*)\}(?:\s?\^\s?\{?\s?(-?\d)\s?\}?)?|\\(?:times|cdot)|/")
_BARE_UNIT = re.compile(
    rf"(?P<number>[+-]?\s?[$€£¥₹]?\s?(?:\d[\d.,]*(?:[eE][+-]?\d+)?|\.\d+)(?:\s?/\s?\d+|\s?(?:\\times|\\cdot)\s?10\s?\^\s?(?:\{{[^{{}}]*\}}|-?\d+))?)"
    rf"(?P<unit>\s?[A-Za-z]{{2,}}[A-Za-z0-9\s/^{{}}.'*-]*|\s[{_LETTERS}](?:\s?[/^*][A-Za-z0-9\s/^{{}}*-]*)?)"
)
_DEGREES = re.compile(r"\s?\^\s?\{?\s?\\circ\s?\}?(?:\s?(?:C|F|\\text\{\s?[CF]\s?\}))?$")
_FUNCTIONS = re.compile(
    r"(?:arc|a)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|exp|sqrt|max|min|gcd|lcm|lim|mod|inf(?:inity)?|and|or|pi|e|i|in|cup"
    r"|if|for|where|is"
)


class Measured(NamedTuple):
    """The text of a value, and its unit: "" where there is none or an unknown one."""

    value: str
    unit: str


def measured(text: str) -> Measured:
    """A plain text (`latex.plain`) as value and unit. A text that is nothing but words is all value, and so is one
    that has a number among the words behind ("5 or else 7").
    """
    value, unit = text, ""
    while (taken := _taken_off(value)) is not None:
        value, unit = taken.value, taken.unit or unit
    return Measured(value, unit)


def _taken_off(text: str) -> Measured | None:
    """A text without its last unit or its sign of money; None when it has none."""
    if text.endswith("%") and len(text) > 1:
        return Measured(text[:-1].rstrip(), PERCENT)
    if (degrees := _DEGREES.search(text)) and degrees.start():
        return Measured(text[: degrees.start()], "°")
    if (behind := _TEXT_UNIT.search(text[-_LONGEST_UNIT:])) is not None:
        value, unit = text[: len(text) - len(behind[0])].rstrip(), _text_unit(behind[0])
        words = "".join(part[1] or "" for part in _TEXT_PART.finditer(behind[0]))
        whole = value and not value.endswith(("^", "_", "(", "=", ",", "+", "-", "\\", "{"))
        return Measured(value, unit) if whole and (unit or not _DIGIT.search(words)) else None
    if (bare := _BARE_UNIT.fullmatch(text)) and not _FUNCTIONS.fullmatch(bare["unit"].split()[0]):
        unit = name_of(bare["unit"])
        return Measured(bare["number"].rstrip(), unit) if unit or not _DIGIT.search(bare["unit"]) else None
    unsigned = text.removeprefix("-").lstrip()
    if unsigned[:1] in _CURRENCY and len(unsigned) > 1:
        return Measured(
            ("-" if unsigned != text else "") + unsigned[1:].lstrip(), _NAME_OF.get(unsigned[0], unsigned[0])
        )
    if text[-1:] in _CURRENCY and len(text) > 1:
        return Measured(text[:-1].rstrip(), _NAME_OF.get(text[-1], text[-1]))
    return None


def name_of(unit: str) -> str:
    """The one name of a unit in any spelling; "" for words that are none."""
    words = _POWER_WORD.sub(_power, unit.strip().rstrip(".").lower() if len(unit.strip()) > 1 else unit.strip())
    if whole := _NAME_OF.get(words.lower()):
        return whole
    parts = [part for part in re.split(r"(\s*(?:/|\bper\b|\*)\s*|\s+)", words) if part.strip()]
    named = []
    for part in parts:
        if part.strip() in ("/", "per", "*"):
            named.append("*" if part.strip() == "*" else "/")
            continue
        base, _, power = part.replace("{", "").replace("}", "").partition("^")
        if (name := _NAME_OF.get(base)) is None:
            return ""
        named.append(name + (f"^{power}" if power not in ("", "1") else ""))
    return " ".join(named)


def contradict(gold: str, stated: str) -> bool:
    """Whether two units are known and differ."""
    return bool(gold and stated and gold != stated)


def _text_unit(text: str) -> str:
    parts = []
    for part in _TEXT_PART.finditer(text):
        if part[1] is None:
            parts.append("/" if part[0] == "/" else " ")
        else:
            parts.append(part[1].strip() + (f"^{part[2]}" if part[2] else ""))
    return name_of(" ".join(parts))


def _power(words: re.Match[str]) -> str:
    if words[1] or words[2]:
        return f"{words[1]}^2" if words[1] else f"{words[2]}^3"
    return f"{words[3]}^{2 if words[4] == 'squared' else 3}"
