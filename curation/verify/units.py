r"""A value and its unit: "102 kPa", "15\text{ cm}^2", "$18", "50%".

What stands behind a value in `\text{…}` is its unit, and so are bare words behind a number (of two letters and more,
or after a space one of the letters that are units). Known units have one name for all spellings, also Chinese ones; a
subscript of digits is the base they are written in, and counts as their unit. Other words ("apples") can be left out, but
two sides that have some share them; words that change the value ("or more") are no unit. Nothing is converted.
"""

import re
from typing import NamedTuple

from curation.verify.latex import NUMBER_WORDS

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
    "t": "ton tons tonne tonnes",
    "am": "am a.m",
    "pm": "pm p.m",
    PERCENT: "% percent pct percentage",
}
_CHINESE = {
    **{"米": "m", "厘米": "cm", "公分": "cm", "毫米": "mm", "千米": "km", "公里": "km", "克": "g", "千克": "kg"},
    **{
        "公斤": "kg",
        "毫克": "mg",
        "吨": "t",
        "升": "L",
        "毫升": "mL",
        "秒": "s",
        "分钟": "min",
        "小时": "h",
        "时": "h",
    },
    **{
        "天": "day",
        "周": "week",
        "月": "month",
        "年": "year",
        "度": "°",
        "元": "¥",
        "块": "¥",
        "美元": "$",
        "欧元": "€",
    },
}
_NAME_OF = _CHINESE | {spelling: name for name, spellings in _NAMES.items() for spelling in spellings.split()}
_LETTERS = "msghLlNJWVKA"
_CURRENCY = frozenset("$€£¥₹")
_LONGEST_UNIT = 200
_NOT_WORDS = frozenset(["unit", "square", "sq", "cubic", "of", "the", "a", "an", "in", "total", "each", "altogether"])
_CHANGES = re.compile(
    r"\b(?:and|or|to|not|but|no|half|halves|thirds?|quarters?|squared?|cubed?|factorial|dozens?|hundreds?|thousands?|tens"
    r"|[mbtr]+illions?|more|less|fewer|greater|times|plus|minus|divided|over|mod|modulo|maybe|perhaps|possibly|than|base"
    r"|twice|double|choose|percentage|except|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty"
    r")\b|[或和与到至以上下不大小多少于余左右约万亿百千半是非无之加减乘除]|[\d^=<>+]",
    re.IGNORECASE,
)
_BASES = {word: str(base) for base, word in enumerate(NUMBER_WORDS) if base > 1}
_BASE = re.compile(
    r"(?<=[\dA-F])(?:\s?_\s?(?:(\d)|\{[\s(]*(?:\\text\s?\{)?[\s(]*(?:base\s*)?(\d{1,2}|[a-z]{3,6})[\s)}]*\})"
    r"|\s\(?(?:\\text\s?\{\s*)?\(?(?:in )?base[\s}]*(\d{1,2}|[a-z]{3,6})[)}]*)$"
)
_DIGITS = re.compile(r"-?[A-F]*\d[\dA-F]*(?:\.[\dA-F]+)?")
_CHINESE_UNIT = re.compile(r"(?<=[\d)}])\s?([\u4e00-\u9fff]{1,8}(?:/[\u4e00-\u9fff]{1,4})?)$")
_SHORTEST_WORD = 2
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
    """The text of a value; its unit: "" where there is none or an unknown one; and the other words behind it."""

    value: str
    unit: str
    words: frozenset[str] = frozenset()


def measured(text: str) -> Measured:
    """A plain text (`latex.plain`) as value and unit. A text that is nothing but words is all value, and so is one
    that has a number among the words behind ("5 or else 7").
    """
    value, unit, words = text, "", frozenset[str]()
    while (taken := _taken_off(value)) is not None:
        value, unit, words = taken.value, taken.unit or unit, taken.words | words
    return Measured(value, unit, words)


def _taken_off(text: str) -> Measured | None:
    """A text without its last unit or its sign of money; None when it has none."""
    if text.endswith("%") and len(text) > 1:
        return Measured(text[:-1].rstrip(), PERCENT)
    if (degrees := _DEGREES.search(text)) and degrees.start():
        return Measured(text[: degrees.start()], "°")
    if (base := _BASE.search(text[-40:])) and _DIGITS.fullmatch(value := text[: len(text) - len(base[0])]):
        named = next(group for group in base.groups() if group)
        return Measured(value, f"base {_BASES.get(named, named)}") if named.isdigit() or named in _BASES else None
    if chinese := _CHINESE_UNIT.search(text[-20:]):
        return _worded(text[: len(text) - len(chinese[0])], chinese[1])
    if (behind := _TEXT_UNIT.search(text[-_LONGEST_UNIT:])) is not None:
        value, unit = text[: len(text) - len(behind[0])].rstrip(), _text_unit(behind[0])
        words = "".join(part[1] or "" for part in _TEXT_PART.finditer(behind[0]))
        whole = value and not value.endswith(("^", "_", "(", "=", ",", "+", "-", "\\", "{"))
        if not whole:
            return None
        return Measured(value, unit) if unit else _worded(value, words)
    if (bare := _BARE_UNIT.fullmatch(text)) and not _FUNCTIONS.fullmatch(bare["unit"].split()[0]):
        named, apart = bare["unit"].split()[0], bare["unit"][0].isspace()
        if name_of(bare["unit"]) or name_of(named) or (apart and len(named) > _SHORTEST_WORD):
            return _worded(bare["number"].rstrip(), bare["unit"])
    unsigned = text.removeprefix("-").lstrip()
    if unsigned[:1] in _CURRENCY and len(unsigned) > 1:
        return Measured(
            ("-" if unsigned != text else "") + unsigned[1:].lstrip(), _NAME_OF.get(unsigned[0], unsigned[0])
        )
    if text[-1:] in _CURRENCY and len(text) > 1:
        return Measured(text[:-1].rstrip(), _NAME_OF.get(text[-1], text[-1]))
    return None


def _worded(value: str, words: str) -> Measured | None:
    """A value with the words behind it; None where they change it."""
    if whole := name_of(words):
        return Measured(value, whole)
    if _CHANGES.search(words):
        return None
    first, *others = re.findall(r"\w+", words.lower()) or [""]
    known = name_of(first)
    stems = (word.removesuffix("s") for word in (others if known else [first, *others]))
    return Measured(value, known, frozenset(stem for stem in stems if stem and stem not in _NOT_WORDS))


def name_of(unit: str) -> str:
    """The one name of a unit in any spelling; "" for words that are none."""
    unit = unit.strip()
    if unit.startswith(("平方", "立方")):
        return f"{length}^{2 if unit[0] == '平' else 3}" if (length := name_of(unit[2:])) else ""
    words = _POWER_WORD.sub(_power, unit.strip().rstrip(".").lower() if len(unit.strip()) > 1 else unit.strip())
    if whole := _NAME_OF.get(words.lower()):
        return whole
    parts = [part for part in re.split(r"(\s*(?:/|\bper\b|每|\*)\s*|\s+)", words) if part.strip()]
    named = []
    for part in parts:
        if part.strip() in ("/", "per", "每", "*"):
            named.append("*" if part.strip() == "*" else "/")
            continue
        base, _, power = part.replace("{", "").replace("}", "").partition("^")
        if (name := _NAME_OF.get(base)) is None:
            return ""
        named.append(name + (f"^{power}" if power not in ("", "1") else ""))
    return " ".join(named)


def contradict(gold: Measured, stated: Measured) -> bool:
    """Whether both sides have units that differ, or words of which neither side has all of the other's."""
    if gold.unit and stated.unit and gold.unit != stated.unit:
        return True
    if gold.words and stated.words:
        return not (gold.words <= stated.words or stated.words <= gold.words)
    one, other = (gold, stated) if gold.unit else (stated, gold)
    return bool(one.unit and one.unit != PERCENT and not one.words and other.words and not other.unit)


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
