"""Thinking that leaves its language.

    share = words of the target language / words of any language

which is DeepSeek-R1's language-consistency reward (section 2.3.2). The target is the language of the problem. What counts as
words is prose (curation/language.py): no formulas, code, names of functions, and nothing that is quoted or stands in short
brackets. A Han, kana or Thai character counts as half a word.

Two things are another language:

- letters of another script: a Chinese sentence, or a few Chinese words, in English thinking; English of LATIN_RUN words or
  more in Chinese thinking (single Latin words there are names, units, terms);
- sentences of the target's script in another language: SENTENCE words or more that the identifier names, if all of them
  together are still named so.

Languages that the problem speaks of ("Translate into French") or has words of are no other language.
"""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curation.language import SCRIPTS, languages, languages_in, prose, scripts

Ints = npt.NDArray[np.int64]
LATIN_RUN, SENTENCE = 4, 6
SAMPLE = 120
"""Characters shown of what is not the target's."""
OWN, OWN_WIDE = 5, 7
"""One in so many words of a sentence, being common English ones, makes it English; the same of a longer list."""

SCRIPT_OF = {language: script for script, codes in SCRIPTS.items() for language in codes.split()}
_LETTERS = {
    "Han": "\u3400-\u4dbf\u4e00-\u9fff",
    "Kana": "\u3040-\u30ff",
    "Hangul": "\uac00-\ud7af\u1100-\u11ff",
    "Cyrillic": "\u0400-\u052f",
    "Arabic": "\u0600-\u06ff",
    "Hebrew": "\u0590-\u05ff",
    "Thai": "\u0e00-\u0e7f",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Georgian": "\u10a0-\u10ff",
    "Armenian": "\u0530-\u058f",
}
"""Letters by script, Latin and Greek apart, which formulas have, and those that are too rare in traces."""
_OTHER_LETTER = f"[{''.join(_LETTERS.values())}]"
_ONE_OF = {script: re.compile(f"[{letters}]") for script, letters in _LETTERS.items()}
_PACKED = re.compile(f"[{_LETTERS['Han']}{_LETTERS['Kana']}{_LETTERS['Thai']}]")
_WITH = {"ja": ("Han", "Kana"), "ko": ("Hangul", "Han")}
"""Scripts of a language, where it is not its own alone."""
_LATIN = re.compile(rf"(?<![a-z'’])[A-Za-z][a-z'’]*(?:[ ,]+[A-Za-z][a-z'’]*){{{LATIN_RUN - 1},}}")
_QUOTED = r"[「『《“\"‘][^」』》”\"’\n]{1,60}[」』》”\"’]|[(（【\[][^)）】\]\n]{1,40}[)）】\]]"
_LETTERED = r"\pL{2}"
_SENTENCES = r"[.!?。！？\n]+"
_COMMON = (
    "the is of to and that this we for it be are with then but which if not from by can have has was will would should "
    "could what let let's need because since each than there its they she must check wait how when where your you our their "
    "these those so "
    "it's i i'm i'll that's equals find answer value therefore"
)
"""English words that no neighbour has, or rarely."""
_MORE = (
    "usually however first next step number numbers means implies word yes many much before after calculate check good only same "
    "both just also even might right left side different between given using used two three four any all into over under about "
    "times equal still while since thus"
)
_ENGLISH = frozenset(f"{_COMMON} {_MORE}".split())
_ONE_ENGLISH = rf"(?i)\b(?:{'|'.join(word for word in _COMMON.split() if chr(39) not in word)})\b"
_NAMED = {
    "en": "english|英语|英文",
    "zh": "chinese|mandarin|cantonese|pinyin|中文|汉语|英译汉",
    "fr": "french|français|法语|法文",
    "de": "german|deutsch|德语|德文",
    "es": "spanish|español|西班牙语",
    "it": "italian|意大利语",
    "pt": "portuguese|葡萄牙语",
    "ru": "russian|俄语|俄文",
    "ja": "japanese|kanji|hiragana|katakana|日语|日文|日本語",
    "ko": "korean|hangul|韩语|韩文",
    "ar": "arabic|阿拉伯语",
    "la": "latin\\b|拉丁",
    "nl": "dutch",
    "hi": "hindi|sanskrit",
    "vi": "vietnamese",
    "th": "thai\\b",
    "he": "hebrew",
    "any": "\\b(?:translat\\w+|languages?|linguist\\w*|bilingual|etymolog\\w*)\\b|翻译|译成|译为|语言",
}
_SPOKEN_OF = {code: re.compile(names, re.IGNORECASE) for code, names in _NAMED.items()}


class Mixed(NamedTuple):
    """What of a thinking is in its language."""

    share: float | None
    """Share of its words that are; None where no language can be told."""
    words: float
    """Words that are not."""
    other: str | None
    """Some of what is not."""


def mixed(prompts: Sequence[str], thinkings: Sequence[str | None], target: str | None = None) -> list[Mixed]:
    """Of every thinking of a chunk.

    target: the code of the language they should be in; None for that of each prompt, or of the thinking itself where the
    prompt has too few words to tell.
    """
    texts = pa.array(thinkings, pa.string()).fill_null("")
    targets = [target] * len(thinkings) if target else _targets(prompts, texts)
    rules = [None if of is None else _rules(of, prompt) for of, prompt in zip(targets, prompts, strict=True)]
    parted = pc.split_pattern_regex(texts, _SENTENCES)
    rows, sentences = pc.list_parent_indices(parted).to_numpy(), pc.list_flatten(parted)
    found = [_Found([], [], 0.0) for _ in rules]
    lettered = pc.match_substring_regex(texts, _LETTERED).to_pylist()
    rules = [of if has else None for of, has in zip(rules, lettered, strict=True)]
    if len(sentences):
        look = np.flatnonzero(_suspicious(sentences, rows, rules))
        told = _prose(sentences.take(pa.array(look)))
        for row, sentence in zip(rows[look].tolist(), told, strict=True):
            if (of := rules[row]) is not None and sentence:
                found[row] = _look(sentence, of, found[row])
    return _with_languages(rows, sentences, rules, found)


def _suspicious(sentences: pa.Array, rows: Ints, rules: "Sequence[_Rules | None]") -> npt.NDArray[np.bool_]:
    """Sentences that may have another language, as they are written: all but those that letters and words show to be English."""
    foreign = pc.invert(pc.string_is_ascii(sentences)).to_numpy(zero_copy_only=False)
    foreign[foreign] = pc.match_substring_regex(sentences.filter(pa.array(foreign)), _OTHER_LETTER).to_numpy(
        zero_copy_only=False
    )
    blanks = pc.count_substring(sentences, " ").to_numpy()
    english = np.array([of is not None and of.target == "en" for of in rules])[rows]
    latin = np.array([of is None or of.latin for of in rules])[rows]
    doubtful = ~foreign & (blanks + 1 >= np.where(latin, SENTENCE, LATIN_RUN))
    sure = doubtful & english
    some = sentences.filter(pa.array(sure))
    sure[sure] = pc.count_substring_regex(some, _ONE_ENGLISH).to_numpy() * OWN > blanks[sure]
    doubtful &= ~sure
    doubtful[doubtful] = (
        pc.count_substring_regex(sentences.filter(pa.array(doubtful)), "[a-z]{3}").to_numpy() >= LATIN_RUN - 1
    )
    out: npt.NDArray[np.bool_] = foreign | doubtful
    return out


def _prose(sentences: pa.Array) -> list[str]:
    """The words of each sentence that are its own, not quoted."""
    return list(prose(pc.replace_substring_regex(sentences, _QUOTED, " ")).to_pylist())


class _Rules(NamedTuple):
    """What one trace may have."""

    target: str
    latin: bool
    """Whether the target is written in Latin letters."""
    allowed: frozenset[str]
    """Languages that are no other one."""
    foreign: re.Pattern[str] | None
    """Letters that are another language's; None when the problem allows all."""
    sentences: bool
    """Whether Latin sentences are to be told apart."""


class _Found(NamedTuple):
    """Runs of other letters, sentences whose language is still to be told, and the words of the former."""

    runs: list[str]
    open: list[str]
    words: float


def _targets(prompts: Sequence[str], texts: pa.Array) -> list[str | None]:
    """The language of each prompt; where it is too short to tell, of the thinking."""
    told = languages(pa.array(prompts, pa.string()))
    beginnings = pc.if_else(pc.is_null(told), pc.utf8_slice_codeunits(texts, 0, 4000), "")
    return list(pc.coalesce(told, languages(beginnings)).to_pylist())


@functools.lru_cache(1024)
def _rules(target: str, prompt: str) -> _Rules:
    own = _WITH.get(target, (SCRIPT_OF.get(target, "Latin"),))
    spoken = {code for code, names in _SPOKEN_OF.items() if names.search(prompt)}
    known = {
        *own,
        *(() if prompt.isascii() else (script for script, letter in _ONE_OF.items() if letter.search(prompt))),
    }
    known |= {script for code in spoken for script in _WITH.get(code, (SCRIPT_OF.get(code, "Latin"),))}
    others = "" if "any" in spoken else "".join(letters for script, letters in _LETTERS.items() if script not in known)
    foreign = _letters(others) if others else None
    latin = "Latin" in own
    sentences = "any" not in spoken and (latin or "en" not in spoken)
    return _Rules(target, latin, frozenset({target, *spoken}), foreign, sentences)


@functools.cache
def _letters(of: str) -> re.Pattern[str]:
    return re.compile(f"[{of}]+(?: ?[{of}]+)*")


def _look(sentence: str, of: _Rules, found: _Found) -> _Found:
    """What one sentence adds."""
    runs = of.foreign.findall(sentence) if of.foreign is not None and not sentence.isascii() else []
    found.runs.extend(runs)
    if of.sentences and not of.latin:
        found.open.extend(_LATIN.findall(sentence))
    elif of.sentences and sentence.count(" ") + 1 >= SENTENCE:
        lower = sentence.lower().split()
        others = {word for word in sentence.split() if len(word) > 2 and word.islower()}
        if len(others) >= SENTENCE - 1 and not (
            of.target == "en" and sum(word in _ENGLISH for word in lower) * OWN_WIDE >= len(lower)
        ):
            found.open.append(sentence)
    return found._replace(words=found.words + sum(map(_count, runs)))


def _count(words: str) -> float:
    """Words of prose; of scripts without blanks two characters are one."""
    spaced, packed = _PACKED.subn(" ", words)
    return packed / 2 + len(spaced.split())


def _with_languages(
    rows: Ints, sentences: pa.Array, rules: Sequence[_Rules | None], found: Sequence[_Found]
) -> list[Mixed]:
    """Sentences told apart, first one by one, then what seems another language, all of a trace together."""
    told = _told([sentence for each in found for sentence in each.open])
    suspects: dict[tuple[int, str], list[str]] = {}
    at = 0
    for row, (of, each) in enumerate(zip(rules, found, strict=True)):
        for sentence in each.open:
            language, at = told[at], at + 1
            if of is not None and language is not None and language not in of.allowed:
                suspects.setdefault((row, language), []).append(sentence)
    more: dict[int, list[str]] = {}
    again = _told([" ".join(foreign) for foreign in suspects.values()])
    for ((row, language), foreign), now in zip(suspects.items(), again, strict=True):
        if now == language:
            more.setdefault(row, []).extend(foreign)
    out = []
    for row, (of, each) in enumerate(zip(rules, found, strict=True)):
        if of is None or not (each.runs or row in more):
            out.append(Mixed(None if of is None else 1.0, 0.0, None))
            continue
        begin, end = np.searchsorted(rows, [row, row + 1])
        others = more.get(row, [])
        other = each.words + sum(map(_count, others))
        words = sum(_count(sentence) for sentence in _prose(sentences[begin:end]))
        sample = " | ".join([*each.runs, *others])[:SAMPLE]
        out.append(Mixed(round(max(0.0, 1 - other / words), 4), round(other, 1), sample))
    return out


def _told(texts: list[str]) -> list[str | None]:
    """The language of texts of prose."""
    words = pa.array(texts, pa.string())
    return list(languages_in(words, scripts(words)).to_pylist()) if texts else []
