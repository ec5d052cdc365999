r"""Instructions that a program can check: length, format, keywords, case, language (IFEval, arXiv:2311.07911).

`args` is a row of IFEval as it is published: `{"instruction_id_list": ["punctuation:no_comma", …], "kwargs": [{…}, …]}`,
one object of settings an instruction; keys that are null say nothing. The 25 instructions of IFEval are known, by their
names. A response is correct when it follows all of them (IFEval's *strict* accuracy); the reason names those it does not.

What is checked is everything after the last `</think>`. Where this differs from IFEval's own program:

- keywords are text, not regular expressions;
- sentences are counted by the rules at `sentences`, not by a trained tokenizer; ordinary abbreviations end none;
- the language is told by py3langid (97 languages) among all it knows; text without a letter has no language.
"""

import functools
import json
import operator
import re
from collections.abc import Callable
from typing import Any

from curation.verify import Verdict
from curation.verify.extract import NOT_CLOSED, final_text

VERSION = 2
NEEDS_ANSWER = False

_RELATIONS: dict[str, Callable[[int, int], bool]] = {"at least": operator.ge, "less than": operator.lt}
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Mt|Sr|Jr|vs|etc|cf|al|approx|No|Fig|Inc|Ltd|Co|[ei]\.[ge]|[ap]\.m|[A-Z]\.[A-Z]))\.$"
)
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]*_]*+(?=\s|$)|[。！？]+[”’」』）]*|\n{2,}")
_FEW_LETTERS = 20
"""Below, no program tells the language of a text."""


class ArgsError(ValueError):
    """The instructions of a problem cannot be understood."""


def grade(answer: str, completion: str, args: dict[str, Any]) -> Verdict:
    """Correct when the response follows every instruction. Raises ArgsError for instructions that nothing checks."""
    instructions = _instructions(args)
    text = final_text(completion)
    if text is None:
        return Verdict("wrong", None, NOT_CLOSED)
    if not text.strip():
        return Verdict("wrong", None, "the response is empty")
    missed = [name for name, settings in instructions if not _follows(text, name, settings)]
    return Verdict("wrong" if missed else "correct", None, f"not followed: {', '.join(missed)}" if missed else "")


def check(args: dict[str, Any]) -> None:
    """Raises ArgsError for instructions that nothing checks."""
    for name, settings in _instructions(args):
        _follows("A text.", name, settings)


def _instructions(args: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    names, settings = args.get("instruction_id_list"), args.get("kwargs")
    if not isinstance(names, list) or not names or not isinstance(settings, list) or len(names) != len(settings):
        raise ArgsError(
            "verifier_args need `instruction_id_list`, a list of names, and `kwargs`, an object for each of them"
        )
    if unknown := [name for name in names if name not in CHECKS]:
        raise ArgsError(f"unknown instruction {unknown[0]!r}: known are {', '.join(sorted(CHECKS))}")
    return [
        (name, {key: value for key, value in (given or {}).items() if value is not None})
        for name, given in zip(names, settings, strict=True)
    ]


def _follows(text: str, name: str, settings: dict[str, Any]) -> bool:
    for key in ("keywords", "forbidden_words"):
        if key in settings and not isinstance(settings[key], list):
            raise ArgsError(f"{name}: {key!r} has to be a list, not {settings[key]!r}")
    try:
        return CHECKS[name](text, **settings)
    except (TypeError, AttributeError) as error:
        raise ArgsError(f"{name} with {json.dumps(settings)}: {error}") from error


def _compare(found: int, relation: str, wanted: int) -> bool:
    if relation not in _RELATIONS:
        raise ArgsError(f"unknown relation {relation!r}: known are {', '.join(_RELATIONS)}")
    return _RELATIONS[relation](found, wanted)


# ---- keywords


def keywords(text: str, keywords: list[str]) -> bool:
    return all(keyword.lower() in text.lower() for keyword in keywords)


def keyword_frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return _compare(text.lower().count(keyword.lower()), relation, frequency)


def forbidden_words(text: str, forbidden_words: list[str]) -> bool:
    return not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return _compare(text.lower().count(letter.lower()), let_relation, let_frequency)


# ---- length


def number_of_words(text: str, num_words: int, relation: str) -> bool:
    return _compare(len(re.findall(r"\w+", text)), relation, num_words)


def number_of_sentences(text: str, num_sentences: int, relation: str) -> bool:
    return _compare(sentences(text), relation, num_sentences)


def sentences(text: str) -> int:
    """Stretches with a letter or digit, each up to a full stop, question or exclamation mark before white space, up to a
    Chinese or Japanese one, or up to an empty line.
    """
    count, first = 0, 0
    for end in _SENTENCE_END.finditer(text):
        if end[0] == "." and _ABBREVIATION.search(text, max(0, end.start() - 8), end.end()):
            continue
        count += bool(re.search(r"\w", text[first : end.end()]))
        first = end.end()
    return count + bool(re.search(r"\w", text[first:]))


def number_of_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Paragraphs stand between lines of three asterisks."""
    paragraphs = re.split(r"\s?\*\*\*\s?", text)
    inner = [paragraph.strip() for paragraph in paragraphs[1:-1]]
    ends = [paragraph.strip() for paragraph in {0: paragraphs[0], len(paragraphs) - 1: paragraphs[-1]}.values()]
    return all(inner) and len(inner) + sum(map(bool, ends)) == num_paragraphs


def first_word_of_paragraph(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Paragraphs stand between empty lines."""
    paragraphs = [paragraph.strip() for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]
    if len(paragraphs) != num_paragraphs or not 1 <= nth_paragraph <= len(paragraphs):
        return False
    word = re.match(r"[^\w]*([^\s.,?!'\"]*)", paragraphs[nth_paragraph - 1])
    return word is not None and word[1].lower() == first_word.lower()


# ---- format and content


def placeholders(text: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[[^\[\]]+\]", text)) >= num_placeholders


def postscript(text: str, postscript_marker: str) -> bool:
    """The marker, in whatever case, with a blank between its letters or none: P.S., p. s."""
    parts = [re.escape(part) for part in re.findall(r"\w\W*", postscript_marker.replace(" ", ""))]
    return bool(parts and re.search(r"(?<!\w)" + r"\s?".join(parts), text, re.IGNORECASE))


def bullets(text: str, num_bullets: int) -> bool:
    return len(re.findall(r"^[^\S\n]*(?:\*(?!\*)|-)[^\S\n]*\S", text, re.MULTILINE)) == num_bullets


def constrained_response(text: str) -> bool:
    return any(answer in text for answer in ("My answer is yes.", "My answer is no.", "My answer is maybe."))


def highlights(text: str, num_highlights: int) -> bool:
    marked = re.findall(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*", text)
    return sum(bool((double or single).strip()) for double, single in marked) >= num_highlights


def sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections


def is_json(text: str) -> bool:
    bare = text.strip()
    if bare.startswith("```"):
        bare = bare[7:] if bare[3:7].lower() == "json" else bare[3:]
        bare = bare.removesuffix("```")
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str) -> bool:
    return any(
        line.rpartition("<<")[2].strip(" <>")
        for text_line in text.split("\n")
        for line in text_line.split(">>")[:-1]
        if "<<" in line
    )


# ---- beginning, end, combinations


def repeats_prompt(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def two_responses(text: str) -> bool:
    """Two different responses with six asterisks between them."""
    responses = [response.strip() for response in text.strip().strip("*").split("******")]
    return len(responses) == 2 and all(responses) and responses[0] != responses[1]


def ends_with(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').strip().lower().endswith(end_phrase.strip().lower())


def quoted(text: str) -> bool:
    return len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"'


# ---- case, punctuation, language


def all_capital(text: str) -> bool:
    return text.isupper() and _is_english(text)


def all_lowercase(text: str) -> bool:
    return text.islower() and _is_english(text)


def _is_english(text: str) -> bool:
    """Whether a text is English, as far as can be told: a few Latin letters are."""
    letters = [letter for letter in text if letter.isalpha()]
    return language_of(text) == "en" or (len(letters) < _FEW_LETTERS and "".join(letters).isascii())


def capital_words(text: str, capital_frequency: int, capital_relation: str) -> bool:
    """Words in capitals; `I` and `A` are words, as in IFEval."""
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text)
    return _compare(sum(word.isupper() for word in words), capital_relation, capital_frequency)


def no_comma(text: str) -> bool:
    return "," not in text


def in_language(text: str, language: str) -> bool:
    """`zh-cn` and `zh` are one."""
    return language_of(text) == language.partition("-")[0]


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of the language that a text is most likely in."""
    if not any(letter.isalpha() for letter in text):
        return None
    code, _ = _identifier()(text.lower())
    return str(code)


@functools.cache
def _identifier() -> Callable[[str], tuple[str, float]]:
    import py3langid

    return py3langid.classify  # type: ignore[no-any-return]


CHECKS: dict[str, Callable[..., bool]] = {
    "keywords:existence": keywords,
    "keywords:frequency": keyword_frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "length_constraints:number_words": number_of_words,
    "length_constraints:number_sentences": number_of_sentences,
    "length_constraints:number_paragraphs": number_of_paragraphs,
    "length_constraints:nth_paragraph_first_word": first_word_of_paragraph,
    "detectable_content:number_placeholders": placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": bullets,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": highlights,
    "detectable_format:multiple_sections": sections,
    "detectable_format:json_format": is_json,
    "detectable_format:title": title,
    "combination:repeat_prompt": repeats_prompt,
    "combination:two_responses": two_responses,
    "startend:end_checker": ends_with,
    "startend:quotation": quoted,
    "change_case:english_capital": all_capital,
    "change_case:english_lowercase": all_lowercase,
    "change_case:capital_word_frequency": capital_words,
    "punctuation:no_comma": no_comma,
    "language:response_language": in_language,
}
"""What each instruction of IFEval asks of a text; the settings are its `kwargs`."""


def as_completion(answer: str, args: dict[str, Any]) -> str:
    """The answer as it is; raises ValueError when there is none: a response that follows instructions is not one
    answer's.
    """
    if not answer.strip():
        raise ValueError("the problem has no answer of its own, only instructions")
    return answer


def warm() -> None:
    """Loads the language model of py3langid, half a second."""
    _identifier()("warm")
