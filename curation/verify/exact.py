r"""Equality of text: for answers that are a word, a name or a code.

The final answer is what `extract.stated_answer` finds: the last `\boxed{…}`, the last `<answer>…</answer>`, what
follows the last "answer is" or "Answer:" on its line, else the last line with text (as many lines as the reference
answer has). So a raw few-shot completion " 5" gives "5", and "so the answer is: blue." gives "blue".

Both sides are compared after Unicode NFKC, with white space collapsed, and without Markdown emphasis, `$…$`,
`\text{…}` or one final full stop. `args`: `{"ignore_case": true}` compares casefolded text (default false).
"""

import re
import unicodedata
from typing import Any

from curation.verify import Verdict
from curation.verify.extract import NO_ANSWER, NOT_CLOSED, final_text, last_boxed, stated_answer, unmark

VERSION = 3
NEEDS_ANSWER = True

_WRAPPED = re.compile(r"^\$(?P<dollar>[^$]*)\$$|^\\(?:text|textbf|mathrm|mathbf|textit)\{(?P<text>[^{}]*)\}$")


def grade(answer: str, completion: str, args: dict[str, Any]) -> Verdict:
    """Correct when the final answer equals the reference answer after normalising both."""
    text = final_text(completion)
    if text is None:
        return Verdict("wrong", None, NOT_CLOSED)
    ignore_case = bool(args.get("ignore_case", False))
    gold = normalize(answer if (boxed := last_boxed(answer)) is None else boxed, ignore_case)
    if not gold:
        return Verdict("error", None, "the reference answer is empty")
    stated = stated_answer(text, lines=answer.strip().count("\n") + 1)
    if stated is None:
        return Verdict("wrong", None, NO_ANSWER)
    return Verdict("correct" if normalize(stated.text, ignore_case) == gold else "wrong", stated.text, "")


def normalize(text: str, ignore_case: bool = False) -> str:
    """The form in which two answers are compared."""
    text = unmark(" ".join(unicodedata.normalize("NFKC", text).split()))
    text = unmark(text.removesuffix("."))
    while wrapped := _WRAPPED.match(text):
        text = (wrapped["dollar"] or wrapped["text"] or "").strip()
    return text.casefold() if ignore_case else text


def as_completion(answer: str, args: dict[str, Any]) -> str:
    """The answer between answer tags, which hold any text, also several lines."""
    return f"<answer>{answer}</answer>"


def warm() -> None:
    """Nothing to pay for in advance."""
