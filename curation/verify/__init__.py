"""Grading: does a completion give the problem's answer?

`grade` runs one verifier in the calling process. Some verifiers need seconds to import and a few inputs never end, so
programs grade through `curation.verify.pool.GraderPool`, whose workers call `grade` in their main thread and can be
killed.

A verifier is one module with

- `VERSION`: raised whenever its verdicts change, so that stored verdicts are recomputed;
- `NEEDS_ANSWER`: whether a problem without an answer cannot be graded by it;
- `grade(answer, completion, args) -> Verdict`, `args` being the decoded `verifier_args` of the problem;
- `check(args)`, if it has any to check: raises ValueError for args that no completion can be graded with, so that a
  source's mistake is told when it is read;
- `as_completion(answer, args) -> str`: the answer as a model would write it. It serves to check that a verifier
  accepts the problem's own answer, and to compare the answers of two duplicates;
- `warm()`: pays for imports and first-use tables once, before workers are forked.

Importing this package imports none of them.
"""

import difflib
import importlib
import json
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

VERIFIERS = {
    "math": "curation.verify.math",
    "exact": "curation.verify.exact",
    "choice": "curation.verify.choice",
    "reasoning-gym": "curation.verify.reasoning_gym",
    "code": "curation.verify.code",
    "instructions": "curation.verify.instructions",
}
"""The one place where verifiers are named."""
JUDGE = "judge"
"""The `verifier` of problems that a model judges (curation/judge.py): no module, and never graded in this process."""
NO_REFERENCE = "the problem has no answer"
"""Reason of an error: there is nothing to compare with. What the completion answers is extracted all the same."""
STAND_IN = "A"
"""An answer that every verifier can read: what is extracted of a completion does not depend on the reference."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one completion. A measurement that failed is `error`, never `wrong`."""

    outcome: Literal["correct", "wrong", "error"]
    extracted: str | None
    """The part of the completion that was compared; None when there was none."""
    reason: str
    """Why, in one line; empty where the outcome says it all."""


class Verifier(Protocol):
    """The shape of a verifier module (see above)."""

    VERSION: int
    NEEDS_ANSWER: bool

    def grade(self, answer: str, completion: str, args: dict[str, Any]) -> Verdict: ...
    def as_completion(self, answer: str, args: dict[str, Any]) -> str: ...
    def warm(self) -> None: ...


class UnknownVerifierError(ValueError):
    """A verifier was named that does not exist."""

    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name, VERIFIERS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown verifier {name!r}: known are {', '.join(VERIFIERS)}{hint}")


def verifier(name: str) -> Verifier:
    """The module of a verifier; raises `UnknownVerifierError`."""
    if name not in VERIFIERS:
        raise UnknownVerifierError(name)
    return cast(Verifier, importlib.import_module(VERIFIERS[name]))


def version(name: str) -> int:
    """The version of a verifier, which is part of what a stored verdict is keyed by."""
    return verifier(name).VERSION


def versions() -> dict[str, int]:
    """Every verifier with its version."""
    return {name: version(name) for name in VERIFIERS}


def decode_args(args: str | None) -> dict[str, Any]:
    """`verifier_args` as an object; raises ValueError when it is not a JSON object."""
    decoded = json.loads(args) if args else {}
    if not isinstance(decoded, dict):
        raise ValueError(f"verifier_args must be a JSON object, not {type(decoded).__name__}")
    return decoded


def check_args(name: str, args: dict[str, Any]) -> None:
    """Raises ValueError for `verifier_args` that the verifier cannot use on any completion, where it can tell."""
    check = getattr(verifier(name), "check", None)
    if check is not None:
        check(args)


def as_completion(name: str, answer: str | None, args: str | None = None) -> str:
    """The answer in the form in which a model would write it.

    Raises `UnknownVerifierError`, and ValueError when there is no answer or `args` is not a JSON object.
    """
    return verifier(name).as_completion(answer or "", decode_args(args))


def grade(name: str, answer: str | None, completion: str, args: str | None = None) -> Verdict:
    """Grade one completion against a problem's answer, in this process and without any deadline.

    Call it in the main thread of a process that may be killed: sympy recursion and number towers can run for hours.
    `args` is the problem's `verifier_args` (JSON text). An exception inside the verifier is the verdict `error` with
    the exception as its reason; only an unknown verifier raises.
    """
    module = verifier(name)
    try:
        if module.NEEDS_ANSWER and not (answer and answer.strip()):
            return Verdict("error", module.grade(STAND_IN, completion, decode_args(args)).extracted, NO_REFERENCE)
        return module.grade(answer or "", completion, decode_args(args))
    except Exception as problem:  # noqa: BLE001 - graders run third-party parsers on model text: whatever they raise is "unknown"
        return Verdict("error", None, f"{type(problem).__name__}: {problem}"[:500])
