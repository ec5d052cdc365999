"""Whether the completion has the form that is asked for: it thinks, closes the thinking, and answers.

    "<think>2 + 2 is 4.</think> It is 4."             1
    "2 + 2 is 4.</think> It is 4."                    1 where the template has opened the block itself, else 0
    "It is 4. <think>2 + 2 is 4.</think> It is 4."    0: an answer before the thinking
    "<think></think> It is 4."                        0: nothing thought

One block with something in it, nothing before it, and an answer behind it: what is `well_formed` of a trace
(distill/detect/form.py), and begins as it should. One that was cut off has no end, so it is not of the form.
"""

import re
from typing import ClassVar

from distill.detect.form import form_fault
from distill.thinking import DEFAULT
from train.rewards.reward import Batch, Completion, Reward


class Format(Reward):
    """1 for the form of thinking and answer, else 0 (DeepSeek-R1, 2.2.2, whose weight is that of accuracy)."""

    NAME: ClassVar[str] = "format"
    OF_CORRECT: ClassVar[float] = 0.0
    OF_WRONG: ClassVar[float] = 1.0

    def rewards(self, batch: Batch) -> list[float | None]:
        return [float(in_form(one)) for one in batch.completions]


def in_form(completion: Completion) -> bool:
    """Whether a completion is one think block, closed, and an answer."""
    if completion.cut_off or form_fault(completion.parts, cut_off=False) is not None:
        return False
    return completion.opened or _opens(completion.text)


def _opens(text: str) -> bool:
    """Whether a text begins with an opening tag, of the kind that it is taken apart by."""
    kind = next((kind for kind in DEFAULT if re.search(kind.either, text)), None)
    first = None if kind is None else re.match(kind.either, text.lstrip())
    return first is not None and first["closing"] is None
