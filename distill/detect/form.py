"""Whether a trace has the form that a student is taught: one think block with something in it, closed, and an answer."""

from distill.thinking import Parts

NO_BLOCK = "no think block"
EMPTY = "empty think block"
NOT_CLOSED = "thinking was not closed"
SEVERAL = "several think blocks"
NO_ANSWER = "no answer after the thinking"
FAULTS = (NO_BLOCK, EMPTY, NOT_CLOSED, SEVERAL, NO_ANSWER)


def form_fault(parts: Parts, cut_off: bool) -> str | None:
    """What is wrong with the form; None for nothing.

    cut_off: whether the completion ended at its length. Where the server parses the thinking off, that alone tells thinking
    that was not closed from an empty answer.
    """
    if parts.thinking is None:
        return NO_BLOCK
    if not parts.closed or (cut_off and not parts.answer):
        return NOT_CLOSED
    if parts.blocks > 1:
        return SEVERAL
    if not parts.thinking:
        return EMPTY
    return None if parts.answer else NO_ANSWER
