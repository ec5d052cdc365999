r"""Whether a stated answer is the reference's, by the rows of POLICY.md.

    equal("1/2", r"\frac{1}{2}", Policy())           (True, "")
    equal("(1,2)", "(2,1)", Policy())                (False, "")

From the outside in: equal text; parts (`parts.py`), one by one; equations; units (`units.py`); plain numbers, exactly
(`numbers.py`); words; the rest by algebra (`algebra.py`).
"""

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from curation.verify import algebra
from curation.verify.clock import clock, same_time
from curation.verify.latex import plain, tight
from curation.verify.numbers import Number, decimal_comma, number, same
from curation.verify.parts import Kind, Parts, parts, split
from curation.verify.units import PERCENT, contradict, measured

MOST_WORDS = 8
"""Words up to which a reference is a text answer; with more it is prose, which no rule compares."""

LONGEST = 20_000
"""Characters of an answer that is read."""

CANNOT_BE_READ = "the answer cannot be read"
UNDECIDED = "neither algebra nor values at points decide"

_MOST_UNORDERED = 24
_DEEPEST = 8
_MOST_NESTED = 50
_ANY_ORDER: frozenset[Kind] = frozenset({"list", "set", "union"})

_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f\u4e00-\u9fff]{2,}")
_FORMULA_SIGN = re.compile(r"[=<>^_\\+*/{}\d|]")
_LONG_WORD = re.compile(r"[^\W\d_]{3,}|[\u4e00-\u9fff]")
_FUNCTION_ONLY = re.compile(r"(?:sin|cos|tan|log|exp|ln|sqrt|pi|infinity|\W)*")
_PUNCTUATION = re.compile(r"[\s.,;:!?\"'`*()\[\]{}-]+")
_BRACKET = re.compile(r"[()\[\]{}]")
_RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|in|subset\w*|mathbb|emptyset|cup|cap|setminus)(?![a-zA-Z])|\bU\b")
_NAME = re.compile(
    r"(?:\\(?:angle|triangle|overline|vec|hat|bar|mathbf|mathcal|Delta|widehat)\s*)*"
    r"(?:\{?\s*[A-Za-z]{1,12}\s*\}?|\\text\s*\{[^{}]*\}|\\(?!sin|cos|tan|log|ln|exp|frac|sqrt)[a-zA-Z]+|\|[A-Za-z]+\|)'*"
    r"(?:\s?_\s?(?:\{[^{}]*\}|\w))?(?:\s?\^\s?(?:\\prime|\{\s?-1\s?\}|\{\\prime+\}))?'*(?:\s?\([^()]*\))?"
    r"|\(\s*[A-Za-z]\w?(?:\s*,\s*[A-Za-z]\w?)*\s*\)|\\frac\s*\{\s*[A-Za-z]{1,3}\s*\}\s*\{\s*[A-Za-z]{1,3}\s*\}|[A-Z]{1,2}/[A-Z]{1,2}"
)


class Policy(NamedTuple):
    """What a problem may switch; see POLICY.md."""

    tolerance: Fraction | None = None
    """Relative, for numbers; None compares exactly."""
    match_units: bool = False
    """Whether a unit on one side only is a difference."""
    ordered: bool = False
    """Whether lists and sets have an order."""


class UnreadableReferenceError(ValueError):
    """Nothing can be compared with this reference answer."""


def equal(gold: str, stated: str, policy: Policy) -> tuple[bool | None, str]:
    """Whether the texts say the same, None where that is not decided; and why, where that needs saying.

    Raises `UnreadableReferenceError`.
    """
    if len(stated) > LONGEST:
        return False, f"{CANNOT_BE_READ}: {len(stated)} characters"
    if len(gold) > LONGEST or _nested(gold):
        raise UnreadableReferenceError("the reference answer is too long or too deep to be read")
    if _nested(stated):
        return False, f"{CANNOT_BE_READ}: brackets in more than {_MOST_NESTED} brackets"
    gold, stated = plain(gold), plain(stated)
    if not gold:
        raise UnreadableReferenceError("the reference answer is empty")
    comparison = _Comparison(policy)
    decided = comparison.equal(gold, stated)
    if decided and tight(gold) == tight(stated) and not _readable(gold):
        raise UnreadableReferenceError("the reference answer cannot be read: it is comparable with nothing but itself")
    return decided, comparison.reason if decided is False else "" if decided else UNDECIDED


class _Comparison:
    """One comparison: the policy, and what could not be read on the way."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.reason, self.depth = policy, "", 0

    def equal(self, gold: str, stated: str) -> bool | None:
        """Of two plain texts, which may have parts."""
        if tight(gold) == tight(stated):
            return True
        if not tight(stated) or self.depth > _DEEPEST:
            return False
        self.depth += 1
        try:
            a, b = parts(gold), parts(stated)
            if a.kind in ("set", "square") and len(a.texts) == 1:
                return self.equal(a.texts[0], stated)
            if b.kind in ("set", "square") and len(b.texts) == 1:
                return self.equal(gold, b.texts[0])
            if a.kind == "one" and b.kind == "one":
                return self._one(a.texts[0], b.texts[0])
            if a.kind == "one" or b.kind == "one":
                return self._one_and_several(gold, stated, a, b)
            return self._several(a, b)
        finally:
            self.depth -= 1

    def _one_and_several(self, gold: str, stated: str, a: Parts, b: Parts) -> bool | None:
        if a.kind == "one" and (x := number(a.texts[0])) and (y := decimal_comma(stated)):
            return same(x, y, self.policy.tolerance)
        one, several = (a, b) if a.kind == "one" else (b, a)
        if several.kind in _ANY_ORDER and len({tight(text) for text in several.texts}) == 1:
            return self.equal(a.texts[0], b.texts[0])
        sides = _sides(one.texts[0])
        if len(sides) > 1 and _NAME.fullmatch(sides[0]):
            return self.equal(sides[-1], stated) if one is a else self.equal(gold, sides[-1])
        if "\\begin" in one.texts[0] or (_RELATION.search(one.texts[0]) and several.kind != "matrix"):
            return self._algebra(gold, stated)
        return False

    def _several(self, a: Parts, b: Parts) -> bool | None:
        if a.kind in _ANY_ORDER and b.kind in _ANY_ORDER and not self._in_order(a, b):
            x, y = (list({tight(text): text for text in side.texts}.values()) for side in (a, b))
            if len(x) != len(y):
                return self._algebra_of_sets(a, b)
            if len(x) > _MOST_UNORDERED:
                return sorted(map(tight, x)) == sorted(map(tight, y))
            return self._unordered(x, y)
        if len(a.texts) != len(b.texts) or not _comparable(a, b):
            return False
        return _all(self.equal, list(zip(a.texts, b.texts, strict=True)))

    def _algebra_of_sets(self, a: Parts, b: Parts) -> bool | None:
        """Unions of intervals may be cut into pieces differently."""
        if a.kind != "union" or b.kind != "union":
            return False
        return self._algebra(r"\cup ".join(a.texts), r"\cup ".join(b.texts))

    def _in_order(self, a: Parts, b: Parts) -> bool:
        """Whether these two lists are compared as written: when asked for, or when one side only names its parts."""
        return self.policy.ordered or (_names_several(a) != _names_several(b))

    def _unordered(self, gold: list[str], stated: list[str]) -> bool | None:
        left, undecided = list(stated), False
        for text in sorted(gold, key=lambda text: tight(text) not in {tight(other) for other in stated}):
            for at, other in enumerate(left):
                decided = self.equal(text, other)
                undecided |= decided is None
                if decided:
                    del left[at]
                    break
            else:
                return None if undecided else False
        return True

    def _one(self, gold: str, stated: str) -> bool | None:
        gold_sides, stated_sides = _sides(gold), _sides(stated)
        if len(gold_sides) > 1 or len(stated_sides) > 1:
            return self._equations(gold, stated, gold_sides, stated_sides)
        if _RELATION.search(gold) or _RELATION.search(stated):
            return self._algebra(gold, stated)
        if clock(gold) or clock(stated):
            time = clock(gold, alone=False)
            return time is not None and same_time(time, clock(stated, alone=False), self.policy.match_units)
        a, b = measured(gold), measured(stated)
        missing = self.policy.match_units and a.unit != b.unit and PERCENT not in (a.unit, b.unit)
        if missing or contradict(a, b):
            return False
        x, y = number(a.value), number(b.value)
        if x and y:
            return self._numbers(x, y, a.unit, b.unit)
        if _is_text(gold):
            return _is_text(stated) and _as_text(gold) == _as_text(stated)
        if _is_text(stated):
            self.reason = CANNOT_BE_READ
            return False
        if (a.value, b.value) != (gold, stated):
            if parts(a.value).kind != "one":
                return self.equal(a.value, b.value)
            if a.value == gold and self._algebra(gold, stated):  # the letter was a variable
                return True
        return tight(a.value) == tight(b.value) or self._algebra(a.value, b.value)

    def _numbers(self, gold: Number, stated: Number, gold_unit: str, stated_unit: str) -> bool:
        tolerance = self.policy.tolerance
        if (gold_unit == PERCENT) == (stated_unit == PERCENT):
            return same(gold, stated, tolerance)
        if not self.policy.match_units and same(gold, stated, tolerance):
            return True
        if gold_unit == PERCENT:
            return same(_hundredth(gold), stated, tolerance)
        return same(gold, _hundredth(stated), tolerance)

    def _equations(self, gold: str, stated: str, gold_sides: list[str], stated_sides: list[str]) -> bool | None:
        if _numbers_differ(stated_sides):
            return False
        if len(gold_sides) == 1:
            return self.equal(gold, stated_sides[-1])
        named = _NAME.fullmatch(gold_sides[0])
        if len(stated_sides) == 1:
            return self.equal(gold_sides[-1], stated) if named else False
        if named and {tight(side) for side in gold_sides[:-1]} & {tight(side) for side in stated_sides[:-1]}:
            return self.equal(gold_sides[-1], stated_sides[-1])
        if named and _NAME.fullmatch(stated_sides[0]) and (number(gold_sides[-1]) or number(stated_sides[-1])):
            return False
        return self._algebra(f"{gold_sides[0]}={gold_sides[-1]}", f"{stated_sides[0]}={stated_sides[-1]}")

    def _algebra(self, gold: str, stated: str) -> bool | None:
        if not algebra.readable(gold):
            raise UnreadableReferenceError("the reference answer cannot be read")
        if not algebra.readable(stated):
            self.reason = CANNOT_BE_READ
            return False
        return algebra.equal(gold, stated, self.policy.tolerance)


def _all(equal: Callable[[str, str], bool | None], pairs: list[tuple[str, str]]) -> bool | None:
    """True when all are; False as soon as one is not; else None."""
    undecided = False
    for gold, stated in pairs:
        decided = equal(gold, stated)
        if decided is False:
            return False
        undecided |= decided is None
    return None if undecided else True


def _comparable(a: Parts, b: Parts) -> bool:
    """Whether parts held together like this are compared as written."""
    kinds = {a.kind, b.kind}
    if len(kinds) == 1:
        return a.held == b.held
    if kinds <= {"list", "set", "round"}:
        return True
    return kinds <= {"list", "set", "round", "square"} and len(a.texts) != 2  # two would be an interval


def _sides(text: str) -> list[str]:
    """The sides of a chain of equations. Of "exact ≈ decimal" the decimal is left out, unless the exact is a name."""
    exact = split(text, frozenset({"\\approx"}))
    if len(exact) > 1:
        text = f"{exact[0]} = {exact[1]}" if _NAME.fullmatch(exact[0]) else exact[0]
    return split(text, frozenset({"="}))


def _readable(text: str, depth: int = 0) -> bool:
    """Whether another answer than the same text could be compared with a reference."""
    whole = parts(text)
    if whole.kind != "one":
        return depth < _DEEPEST and all(_readable(part, depth + 1) for part in whole.texts)
    text = whole.texts[0]
    sides = _sides(text)
    if len(sides) > 1:
        return all(_readable(side, depth + 1) for side in sides[int(bool(_NAME.fullmatch(sides[0]))) :])
    value = measured(text).value
    if number(value) or _is_text(text) or _is_text(value) or clock(text):
        return True
    if value != text and parts(value).kind != "one":
        return depth < _DEEPEST and _readable(value, depth + 1)
    return algebra.readable(value) or algebra.readable(text)


def _numbers_differ(sides: list[str]) -> bool:
    """Whether a chain says that two numbers are one which are not, nor one the other rounded."""
    read = [value for side in sides if (value := number(measured(side).value))]
    return any(x.value != y.value and not x.rounds(y.value) and not y.rounds(x.value) for x, y in pairwise(read))


def _names_several(side: Parts) -> bool:
    names = [tight(sides[0]) for text in side.texts if len(sides := _sides(text)) > 1 and _NAME.fullmatch(sides[0])]
    return len(names) == len(side.texts) and len(set(names)) > 1


def _hundredth(value: Number) -> Number:
    return Number(value.value / 100, None if value.places is None else value.places + 2)


def _nested(text: str) -> bool:
    """Whether brackets are nested too deep for anything that recurses."""
    if text.count("{") + text.count("(") + text.count("[") <= _MOST_NESTED:
        return False
    depth = deepest = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in "([{" else -1
        deepest = max(deepest, depth)
    return deepest > _MOST_NESTED


def is_prose(text: str) -> bool:
    """Whether a reference answer has more words than a text answer, those of its formulas apart."""
    return len(_WORD.findall(_COMMAND.sub(" ", _TEXT.sub(r" \1 ", text)))) > MOST_WORDS


def _is_text(text: str) -> bool:
    """Whether an answer is words, not a formula: a run of letters that is no function, and no sign of a formula."""
    bare = _TEXT.sub(r"\1", text)
    if _FORMULA_SIGN.search(bare):
        return False
    if bare != text and _WORD.search(bare):
        return True
    return bool(_LONG_WORD.search(bare)) and not _FUNCTION_ONLY.fullmatch(bare)


def _as_text(text: str) -> str:
    return _PUNCTUATION.sub(" ", _TEXT.sub(r"\1", text)).strip().casefold()
