"""LIMO's measure of how well a trace shows its reasoning.

LIMO (arXiv 2502.03387, section 3.2.2) scores a trace by its length (.30), by words that check ("check", "verify"; .20), words
that try ("perhaps", "might"; .25) and connectives ("therefore", "since"; .25), the last three by their frequency in the text.
It gives the weights and neither lists nor normalisation. Here each part grows linearly to 1, which it reaches at the number
below: the length that R1-like traces of competition problems have, and rates per 1,000 words that one trace in ten of long
reasoning reaches.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

WEIGHTS = {"length": 0.30, "checking": 0.20, "tentative": 0.25, "connectives": 0.25}
FULL = {"length": 4000.0, "checking": 8.0, "tentative": 12.0, "connectives": 30.0}
"""Words of thinking, and words per 1,000 of it, at which a part is 1."""

WORDS = {
    "checking": (
        "check checks checked checking recheck rechecking verify verifies verified verifying verification confirm confirms "
        "confirmed confirming validate validated validating sanity"
    ),
    "tentative": (
        "perhaps maybe might possibly probably alternatively suppose supposing hmm wonder wondering seems seem could unsure"
    ),
    "connectives": (
        "therefore thus hence since because so consequently however then first next finally implies means accordingly given"
    ),
}
CHINESE = {
    "checking": "验证 检查 检验 核对 确认 验算",
    "tentative": "也许 可能 或许 大概 不妨 似乎 假设",
    "connectives": "因此 所以 因为 由于 从而 于是 首先 然后 接着 最后 但是 不过",
}
_ENGLISH = {name: frozenset(words.split()) for name, words in WORDS.items()}
_ALL = frozenset().union(*_ENGLISH.values())
_CHINESE = {name: words.split() for name, words in CHINESE.items()}


class Limo(NamedTuple):
    """The rates, per 1,000 words of thinking, and the score, 0 to 1."""

    checking: float
    tentative: float
    connectives: float
    score: float


NONE = Limo(0.0, 0.0, 0.0, 0.0)


def limo(thinking: str, words: int, tokens: Sequence[str]) -> Limo:
    """Of a thinking that has so many words, and these tokens (words.py); all 0 for none."""
    if not words:
        return NONE
    counts, rates = Counter(filter(_ALL.__contains__, tokens)), {}
    has_chinese = max(tokens, default="") > "\u2fff"
    for name, english in _ENGLISH.items():
        found = sum(counts[word] for word in english)
        if has_chinese:
            found += sum(thinking.count(word) for word in _CHINESE[name])
        rates[name] = 1000 * found / words
    score = sum(WEIGHTS[name] * min(1.0, value / FULL[name]) for name, value in {"length": words, **rates}.items())
    checking, tentative, connectives = (round(rates[name], 3) for name in _ENGLISH)
    return Limo(checking, tentative, connectives, round(score, 4))
