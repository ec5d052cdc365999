r"""Mathematical equality, as POLICY.md has it.

Which text of a completion is the answer follows from `extract.py` and, in prose, from `reading.py`; whether it is the
reference's is decided by `equality.py`: plain numbers exactly, parts one by one, the rest by algebra. A reference answer
in which nothing can be read is `error`; a completion in which nothing can be read is `wrong`; what could not be decided is
`error`.

`args`: `{"tolerance": 0.01, "units": "match", "ordered": true}`, each optional: a relative tolerance for numbers (default:
none), whether a missing unit is forgiven ("ignore", the default) or not ("match"), and whether lists and sets have an order
(default false).
"""

import re
from fractions import Fraction
from typing import Any

from curation.verify import Verdict
from curation.verify.equality import Policy, UnreadableReferenceError, equal, is_prose
from curation.verify.extract import NO_ANSWER, NOT_CLOSED, Stated, after_marker, final_text, last_boxed, stated_answer
from curation.verify.latex import undelimited
from curation.verify.reading import formula

VERSION = 3
NEEDS_ANSWER = True

_ARGS = ("tolerance", "units", "ordered")
_LONGEST_REASON = 200
_PLACEHOLDER = re.compile(
    r"None|(?i:n/?a|nan|null|unknown|tbd|-+|\?+|see (?:the )?(?:solution|above|below|explanation|proof|figure|graph)s?)\.?"
)
_WARM_UP = (
    *((r"\frac{3}{4}x", r"0.75x"), (r"x^2+1", r"1+x\cdot x"), (r"2\sqrt{3}", r"\sqrt{12}"), (r"x>5", r"(5,\infty)")),
    *(
        (r"\pi", r"2\pi/2"),
        (r"\sin(x)", r"\cos(x)"),
        (r"n!", r"n(n-1)!"),
        (r"\log_2 x", r"\ln x"),
        ("e^{2it}", "e^{it}"),
    ),
    *((r"x^2=4", r"2x=3"), (r"\begin{pmatrix}1&x\\2&3\end{pmatrix}", r"\begin{pmatrix}1&2\\2&y\end{pmatrix}")),
    *((r"\binom{n}{2}", r"\frac{n(n-1)}{2}"), (r"(-\infty,x]\cup[3,\infty)", r"x\le 2"), (r"|x-y|", r"\sqrt[3]{x+y}")),
)


def grade(answer: str, completion: str, args: dict[str, Any]) -> Verdict:
    """Correct when the stated answer equals the reference answer as mathematics; raises ValueError for unknown `args`."""
    policy = _policy(args)
    text = final_text(completion)
    if text is None:
        return Verdict("wrong", None, NOT_CLOSED)
    gold = reference(answer)
    if is_prose(gold):
        return Verdict("error", None, "the reference answer is prose, which no rule compares")
    if _PLACEHOLDER.fullmatch(gold.strip()):
        return Verdict("error", None, "the reference answer stands for one that is missing")
    if (stated := stated_answer(text)) is None or (said := formula(stated, text)) is None:
        return Verdict("wrong", None, NO_ANSWER)
    try:
        same, why = equal(gold, said, policy)
    except UnreadableReferenceError as problem:
        return Verdict("error", said, str(problem)[:_LONGEST_REASON])
    return Verdict("error" if same is None else "correct" if same else "wrong", said, why[:_LONGEST_REASON])


def check(args: dict[str, Any]) -> None:
    """Raises ValueError for unknown or impossible `args`."""
    _policy(args)


def reference(answer: str) -> str:
    """What of a reference answer is compared: what it boxes, what follows its "####" or "Answer:", or all of it."""
    if (boxed := last_boxed(answer)) is not None:
        return boxed
    bare = undelimited(after_marker(answer) or answer)
    if "$" in bare.replace("\\$", "") and not is_prose(bare):
        return formula(Stated(bare, "last lines"), "") or bare
    return bare


def _policy(args: dict[str, Any]) -> Policy:
    """The switches of a problem; raises ValueError naming what is unknown and what is allowed."""
    if unknown := sorted(set(args) - set(_ARGS)):
        raise ValueError(f"unknown verifier_args of math: {', '.join(unknown)}; known are {', '.join(_ARGS)}")
    tolerance, units, ordered = args.get("tolerance"), args.get("units", "ignore"), args.get("ordered", False)
    a_number = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if tolerance is not None and not (a_number and 0 <= tolerance < 1):
        raise ValueError(f"verifier_args of math: tolerance must be a number from 0 to below 1, not {tolerance!r}")
    if units not in ("ignore", "match"):
        raise ValueError(f"verifier_args of math: units must be 'ignore' or 'match', not {units!r}")
    if not isinstance(ordered, bool):
        raise ValueError(f"verifier_args of math: ordered must be true or false, not {ordered!r}")
    return Policy(None if tolerance is None else Fraction(str(tolerance)), units == "match", ordered)


def as_completion(answer: str, args: dict[str, Any]) -> str:
    r"""The answer in `\boxed{}`; in a sentence where its braces are unbalanced or it brings its own delimiters."""
    boxed = f"\\boxed{{{answer.strip()}}}"
    if last_boxed(boxed) == answer.strip() and "$" not in answer.replace("\\$", "").strip().strip("$"):
        return boxed
    return f"The answer is {answer.strip()}"


def warm() -> None:
    """Import math-verify and let the LaTeX parser build its tables, which takes 50 ms for every construct it has not
    met.
    """
    for a, b in _WARM_UP:
        equal(a, b, Policy())
