"""Which language a text is written in, also when it is short and full of LaTeX.

    "Calculer $\\int_0^1 x e^x dx$ pour tout $n$"  ->  "Calculer pour tout"  ->  fr
    "Let $S=\\{1,2\\}$. Find $|S|$."                ->  "Let Find"            ->  en
    "$3x+5=2$"                                     ->  ""                    ->  NULL

1. What is no prose goes: formulas, LaTeX commands, code, tags, addresses, digits, single Latin and Greek letters.
2. The script may decide: kana is Japanese, hangul Korean, Han without kana Chinese (each from a fifth of the letters on,
   as Latin names stand in such texts), Thai letters are Thai.
3. A Latin text in which every eighth word is an English one that is no word of its neighbours (`the`, `which`, `evaluate`)
   is English. Nearly all texts of a pool end here, at a microsecond each.
4. Of the languages of its script py3langid (naive Bayes over byte n-grams) names the likeliest, English and Russian
   ahead by TIMES; below CONFIDENT of the probability the answer is NULL: "Calcule" could be several languages'.

Codes are ISO 639-1. NULL: no prose, or too little of it to tell by. Near relatives are told apart as far as the text
has words that differ: a short Indonesian text may read Malay, a Norwegian one Danish.
"""

import functools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SCRIPTS = {
    "Latin": "en fr de es it pt nl sv da no fi is et lv lt pl cs sk sl hr hu ro sq tr az uz vi id ms tl sw af ca gl eu ga cy "
    "so ha yo ig zu xh",
    "Cyrillic": "ru uk be bg mk sr kk ky mn tg",
    "Arabic": "ar fa ur ps ug",
    "Devanagari": "hi mr ne",
    "Bengali": "bn as",
    "Ethiopic": "am",
    "Hebrew": "he",
    "Greek": "el",
    "Thai": "th",
    "Lao": "lo",
    "Khmer": "km",
    "Myanmar": "my",
    "Georgian": "ka",
    "Armenian": "hy",
    "Gurmukhi": "pa",
    "Gujarati": "gu",
    "Oriya": "or",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Sinhala": "si",
    "Hangul": "ko",
    "Kana": "ja",
    "Han": "zh",
}
"""The languages told apart, by script."""
LANGUAGES = tuple(" ".join(SCRIPTS.values()).split())

CONFIDENT = 0.2
"""Probability, among the languages of the script, below which nothing is said."""
AHEAD = {"Latin": "en", "Cyrillic": "ru"}
"""The language of a script that most problems are in."""
TIMES = 5
"""How many times likelier than it another one has to be."""
LONGEST = 4000
"""Characters of prose that the identifier reads; more add nothing but time."""
ONE_IN = 8
"""Of so many words at least one has to be of ENGLISH."""

NO_PROSE = (
    r"(?s)```.*?(?:```|$)|`[^`\n]*`|\[asy\].*?\[/asy\]|\$\$[^$]*\$\$|\\\(.*?\\\)|\\\[.*?\\\]",
    # What is quoted may be in another language.
    r"[\"“”„«][^\"“”„«»\n]{1,60}[\"”“»]",
    # A formula's dollars have no blank inside: "costs $5 and earns $10" has none.
    r"\$[^\s$](?:[^$]*[^\s$])?\$|\\(?:begin|end|operatorname|mathrm|includegraphics)\*?\s*(?:\[[^\]]*\])?\{[^{}]*\}",
    r"https?://\S+|www\.\S+|\\[a-zA-Z]+|</?[a-zA-Z]{1,6} ?/?>",
    r"[^\pL\pM'’]+",
)
VARIABLES = r"(?:^| )(?:[A-Za-z\p{Greek}](?: |$))+"
ENGLISH = (
    "the|and|what|how|which|that|were|with|from|does|did|this|each|many|there|when|where|who|would|could|should|given"
    "|solve|evaluate|compute|simplify|calculate|expand|multiply|express|suppose"
)
"""English words that are rare in every other language."""
SHARED = (
    "a|an|are|as|at|be|by|can|determine|divide|equals|factor|find|for|give|has|have|if|in|is|it|let|not|of|on|or|product"
    "|quotient|show|sum|to|was|will"
)
"""English words that others have too; a text of nothing else is English."""
ONE_ENGLISH = rf"(?i)\b(?:{ENGLISH})\b"
ALL_ENGLISH = rf"(?i)^(?:(?:{ENGLISH}|{SHARED})(?: |$))+$"
LETTERS = {script: rf"\p{{{script}}}" for script in SCRIPTS} | {"Kana": r"[\p{Hiragana}\p{Katakana}]"}


def languages(texts: pa.Array) -> pa.Array:
    """The language of each text, as one of LANGUAGES; NULL where there is nothing to tell by."""
    words = prose(texts)
    return languages_in(words, scripts(words))


def languages_in(words: pa.Array, script: pa.Array) -> pa.Array:
    """The same, of texts of `prose` in their script."""
    english = pc.and_(pc.fill_null(pc.equal(script, "Latin"), False), is_english(words))
    out = pc.if_else(english, "en", pa.scalar(None, pa.string()))
    rest = pc.and_not(pc.is_valid(script), english)
    told = map(likeliest, pc.filter(words, rest).to_pylist(), pc.filter(script, rest).to_pylist())
    return pc.replace_with_mask(out, rest, pa.array(told, pa.string()))


def prose(texts: pa.Array) -> pa.Array:
    """The words of each text with one blank between them: no formulas, code, addresses, digits. NULL reads as empty."""
    words = pc.fill_null(texts, "")
    for pattern in NO_PROSE:
        words = pc.replace_substring_regex(words, pattern, " ")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(words, VARIABLES, " "))


def scripts(words: pa.Array) -> pa.Array:
    """The script of each text of `prose`, as in SCRIPTS; NULL when no letter is of one of them.

    It is the one with the most letters; but kana, hangul and Han need only a fifth, and kana a fifth of the Han beside it.
    """
    out = pc.if_else(pc.equal(words, ""), pa.scalar(None, pa.string()), "Latin")
    beyond = pc.invert(pc.string_is_ascii(words))
    some = pc.filter(words, beyond)
    counts = {script: pc.count_substring_regex(some, letter).to_numpy() for script, letter in LETTERS.items()}
    letters = sum(counts.values())
    found = np.array(list(counts), dtype=object)[np.stack(list(counts.values())).argmax(axis=0)]
    han, kana = counts["Han"], counts["Kana"]
    japanese = np.where(kana * 5 >= han, kana + han, 0)
    for script, of_it in (("Hangul", counts["Hangul"]), ("Han", han), ("Kana", japanese)):
        found[of_it * 5 >= letters] = script
    found[letters == 0] = None
    return pc.replace_with_mask(out, beyond, pa.array(found, pa.string()))


def is_english(words: pa.Array) -> pa.Array:
    """Whether texts of `prose` are sure to be English by their words."""
    total = pc.add(pc.count_substring(words, " "), 1)
    sure = pc.multiply(pc.count_substring_regex(words, ONE_ENGLISH), ONE_IN)
    return pc.or_(pc.greater_equal(sure, total), pc.match_substring_regex(words, ALL_ENGLISH))


def likeliest(words: str, script: str) -> str | None:
    """The language of one text of `prose` in this script; None when none is likely enough."""
    among = set(SCRIPTS[script].split())
    if len(among) == 1:
        return among.pop()
    found = {language: share for language, share in _identifier().rank(words[:LONGEST]) if language in among}
    if (ahead := AHEAD.get(script)) in found:
        found[ahead] *= TIMES
    best = max(found, key=found.__getitem__)
    return best if found[best] >= CONFIDENT * sum(found.values()) else None


@functools.cache
def _identifier() -> Any:
    """py3langid with probabilities that are comparable over lengths; loaded in half a second."""
    import py3langid

    langid = py3langid.langid
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
