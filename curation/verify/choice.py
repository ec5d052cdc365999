r"""Multiple choice: the letter that a completion settles on, A to Z.

The final statement is what `extract.stated_answer` finds. A statement that was announced (boxed, tagged, after
"answer is") names the letter that it begins with: "C", "(C) 12", "\text{C}", "**C**", "option C", "C because …". A
last line that was not announced must name it clearly: a lone letter, "(C)", "C)", "C.", "option C", or a letter that
ends the line. Fullwidth letters and brackets count as plain ones; a small letter counts only alone.

Two different letters in the statement ("A or B", "(A) and (C)", "A B") are wrong as ambiguous. A letter that is denied
("not A") is not named.

`args`: `{"choices": [text, …]}` bounds the letters and lets the text of a choice stand for its letter.
"""

import re
import unicodedata
from typing import Any

from curation.verify import Verdict
from curation.verify.exact import normalize
from curation.verify.extract import NOT_CLOSED, final_text, last_boxed, stated_answer

VERSION = 3
NEEDS_ANSWER = True

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathsf|bf|rm)\b\s*|\\[()\[\],;! ]|[{}$*_`]")
_LONE = re.compile(r"\W*([A-Za-z])\W*")
_LEADING = re.compile(r"\W*(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter)\b\W*)?([A-Z])(?![A-Za-z0-9'])")
_CLEAR = re.compile(
    r"(?<![A-Za-z0-9])(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])[).:、](?!\w))|\b(?:[Oo]ption|[Cc]hoice)\s+\(?([A-Z])\b"
)
_LETTER = re.compile(r"(?<![A-Za-z0-9'])([A-Z])(?![A-Za-z0-9'])")
_JOINED = re.compile(
    r"[)\].:]*\s*(?:,|/|&|;|\||\\|、|和|或|\(?\s*\bor\b|\band\b|\bbut\b)+\s*(?:(?:maybe|perhaps|possibly|option|choice)\s+)*\W*([A-Z])(?![A-Za-z0-9'])"
)
_ONLY_LETTERS = re.compile(r"(?:[^\w']*[A-Z](?![A-Za-z0-9'])){2,}\W*")
_DENIED = re.compile(
    r"(?:\b(?:not|cannot|neither|nor|(?:all|anything) but|except|(?:other|rather) than|instead of)|n['’]t|不是)\s*"
    r"(?:\b(?:be|the|option|choice|answer)\s+)*\W?[A-Z](?![A-Za-z0-9'])\W?"
)
_LABEL = re.compile(r"^\W*[A-Z][).:、]\s*")


def grade(answer: str, completion: str, args: dict[str, Any]) -> Verdict:
    """Correct when the one letter that the final statement names is the reference's."""
    text = final_text(completion)
    if text is None:
        return Verdict("wrong", None, NOT_CLOSED)
    choices = [str(choice) for choice in args.get("choices") or []]
    gold = letters(answer if (boxed := last_boxed(answer)) is None else boxed, choices, announced=True)
    if len(gold) != 1:
        return Verdict(
            "error", None, f"the reference answer names {'no' if not gold else 'more than one'} choice: {answer[:80]!r}"
        )
    stated = stated_answer(text, labelled=False)
    chosen = letters(stated.text, choices, announced=stated.form != "last lines") if stated else set()
    if not chosen:
        return Verdict("wrong", stated.text if stated else None, "no choice found")
    if len(chosen) > 1:
        return Verdict("wrong", ", ".join(sorted(chosen)), "ambiguous: more than one choice is named")
    return Verdict("correct" if chosen == gold else "wrong", chosen.pop(), "")


def letters(statement: str, choices: list[str], announced: bool) -> set[str]:
    """The letters that a statement names; several when it is ambiguous."""
    plain = " ".join(_COMMAND.sub(" ", unicodedata.normalize("NFKC", statement)).split())
    texts = [normalize(_LABEL.sub("", choice), ignore_case=True) for choice in choices]
    known = set(_ALPHABET[: len(choices)] if choices else _ALPHABET)
    if (lone := _LONE.fullmatch(plain)) and lone[1].upper() in known:
        return {lone[1].upper()}
    said = {normalize(statement, ignore_case=True), normalize(plain, ignore_case=True)}
    if len(by_text := {letter for letter, text in zip(_ALPHABET, texts, strict=False) if text in said}) == 1:
        return by_text
    plain = _DENIED.sub(" ", plain)
    if _ONLY_LETTERS.fullmatch(plain):
        return set(_LETTER.findall(plain)) & known
    if announced and (leading := _LEADING.match(plain)):
        return _with_joined(plain, leading)[0] & known
    named: set[str] = set()
    for clear in _CLEAR.finditer(plain):
        named |= _with_joined(plain, clear)[0]
    if not named:
        for letter in _LETTER.finditer(plain):
            chain, end = _with_joined(plain, letter)
            if not re.search(r"\w", plain[end:]):  # the letters that end the line
                return chain & known
    return named & known


def _with_joined(plain: str, first: re.Match[str]) -> tuple[set[str], int]:
    """The letter of a match with those joined to it ("A, B or C"), and where they end."""
    named, end = {next(group for group in first.groups() if group)}, first.end()
    while joined := _JOINED.match(plain, end):
        named.add(joined[1])
        end = joined.end()
    return named, end


def as_completion(answer: str, args: dict[str, Any]) -> str:
    """The answer as models are asked to give it."""
    return f"The answer is {answer}" if len(answer.strip()) > 1 else f"The answer is ({answer.strip()})."


def warm() -> None:
    """Nothing to pay for in advance."""
