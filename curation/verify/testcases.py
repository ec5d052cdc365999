"""Generated test cases for a programming problem: which are right, and whether they make a problem.

Kimi k1.5 (https://arxiv.org/abs/2501.12599, section 2.3.3 "Test case generation for coding") has a model write 50 inputs
a problem and takes the outputs from 10 submissions known to be right: a case is kept when at least 7 of them agree on
its output, the problem when at least 9 then pass every kept case. Numbers are parameters; a submission that fails on an
input agrees with nobody.

    written = reference_outputs(references, inputs)     # in the sandbox
    tests = kept_tests(inputs, written)                 # None: the problem goes
"""

from collections.abc import Sequence

from curation.verify.code import outputs
from curation.verify.code_text import same_output

Written = Sequence[Sequence[str | None]]
"""What each reference (outer) wrote for each input (inner); None where it failed."""


def reference_outputs(references: Sequence[str], inputs: Sequence[str], seconds: float = 4) -> list[list[str | None]]:
    """What each reference program (Python, standard input to standard output) writes for each input, run in the sandbox
    with `seconds` of CPU for each. Raises `SandboxError` where there is no sandbox.
    """
    return [outputs(program, list(inputs), seconds) for program in references]


def agreed(written: Written, agree: int = 7) -> list[str | None]:
    """For each input the output that at least `agree` references wrote (compared by lines and tokens), as the first of
    them wrote it; None where there is none. Raises ValueError when there are fewer references than that, or they differ
    in how many inputs they were run on.
    """
    _check(written, agree=agree)
    return [_majority([row[at] for row in written], agree) for at in range(len(written[0]))]


def kept_tests(
    inputs: Sequence[str], written: Written, agree: int = 7, passing: int = 9
) -> dict[str, list[str]] | None:
    """The tests to keep as `verifier_args` of the `code` verifier; None when the problem goes: no case is agreed upon, or
    fewer than `passing` references pass all that are. Raises ValueError as `agreed` does.
    """
    _check(written, agree=agree, passing=passing)
    if len(inputs) != len(written[0]):
        raise ValueError(f"{len(inputs)} inputs, but references were run on {len(written[0])}")
    expected = agreed(written, agree)
    kept = [at for at, output in enumerate(expected) if output is not None]
    right = sum(all(_same(row[at], expected[at]) for at in kept) for row in written)
    if not kept or right < passing:
        return None
    return {"inputs": [inputs[at] for at in kept], "outputs": [str(expected[at]) for at in kept]}


def _check(written: Written, **needed: int) -> None:
    for name, number in needed.items():
        if not 0 < number <= len(written):
            raise ValueError(f"{name}={number} of {len(written)} references: it must be from 1 to their number")
    if len({len(row) for row in written}) != 1:
        raise ValueError("every reference has to be run on every input")


def _same(ours: str | None, theirs: str | None) -> bool:
    return ours is not None and theirs is not None and same_output(ours, theirs)


def _majority(written: list[str | None], agree: int) -> str | None:
    counts = [sum(_same(text, other) for other in written) for text in written]
    most = max(counts)
    return written[counts.index(most)] if most >= agree else None
