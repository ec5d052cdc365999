"""Published sets of traces, as the Hub has them: which columns hold the question, the thinking and the answer.

    openthoughts  OpenThoughts-114k: conversations, whose last turn is <|begin_of_thought|> ... <|end_of_thought|>
                  <|begin_of_solution|> ... <|end_of_solution|>; its config `metadata`: problem, deepseek_reasoning,
                  deepseek_solution. OpenThoughts2 and 3, and other conversations of {from, value}: <think> ... </think>
    open-r1       OpenR1-Math-220k: problem, generations, finish_reasons, is_reasoning_complete, correctness_math_verify
    s1            s1K: question, thinking_trajectories (a list of one), attempt
    s1-deepseek   s1K-1.1, which has two teachers: question, deepseek_thinking_trajectory, deepseek_attempt, deepseek_grade
    s1-gemini     the other teacher of s1K-1.1
    limo          LIMO: question, solution, answer. Its traces have no tags: thinking and answer are one text

Thinking goes to `reasoning` and the rest to `text`, without the tags and the blanks around them. A text whose tags do not
enclose one block of thinking at its beginning stays whole, its tags as <think>: what it is worth is decided where traces
are measured. Thinking that was not closed was cut off, unless the file says how it ended.

None of these files says with which settings it was drawn. A `system` that asks for the tags of OpenThoughts-114k is what
the set's students are trained with; its teacher was sent another, and answered without tags: it is left out.
"""

from collections.abc import Iterator
from typing import Any

from curation.imports.sample import Bad, Row, Turns, as_list, named, turns_of

OPEN, CLOSE = "<think>", "</think>"
TAGS = {
    "<|begin_of_thought|>": OPEN,
    "<|end_of_thought|>": CLOSE,
    "<|begin_of_solution|>": "",
    "<|end_of_solution|>": "",
}
GRADES = {"yes": True, "no": False}


def apart(text: str) -> tuple[str, str | None]:
    """What a text says behind its thinking, and the thinking; the whole text and None where it has not one block of it."""
    for tag, plain in TAGS.items():
        text = text.replace(tag, plain)
    thinking, closed, answer = text.partition(CLOSE)
    # Where the chat template opens the thinking, the text only closes it.
    thinking = thinking.lstrip().removeprefix(OPEN)
    if not closed or OPEN in thinking or OPEN in answer or CLOSE in answer:
        return text.strip(), None
    return answer.strip(), thinking.strip()


def ended(text: str, complete: Any = None) -> str | None:
    """How a text ended that nothing else tells of: `length` when its thinking was not closed, else None.

    complete: false where the file says that it was not, which tells of thinking that the chat template opened.
    """
    begun = OPEN in text or "<|begin_of_thought|>" in text or complete is False
    return "length" if begun and CLOSE not in text and "<|end_of_thought|>" not in text else None


def with_thinking(row: Row, text: Any, complete: Any = None) -> Row:
    """A row with its completion taken apart. What is no text stays as it is, for its reader to refuse."""
    if not isinstance(text, str):
        return row | {"completion": text}
    answer, thinking = apart(text)
    found = {"completion": answer, "reasoning": named(row, "reasoning") if thinking is None else thinking}
    return row | found | {"finish_reason": named(row, "finish_reason") or ended(text, complete)}


def openthoughts(row: Row) -> Iterator[Row | Bad]:
    if row.get("deepseek_reasoning") is not None or row.get("deepseek_solution") is not None:
        yield row | {"completion": row.get("deepseek_solution"), "reasoning": row.get("deepseek_reasoning")}
        return
    turns = turns_of(row.get("conversations"))
    if not turns or turns[-1]["role"] != "assistant":
        yield Bad("conversations do not end with the assistant's turn")
        return
    thought = named(row, "reasoning") or turns[-1].get("reasoning_content")
    found = {"prompt": _asked(row.get("system"), turns[:-1]), "reasoning": thought}
    yield with_thinking(row | found, turns[-1]["content"])


def _asked(system: Any, turns: Turns) -> str | Turns:
    """What the teacher was sent, as turns; as text where only the question of it is known."""
    if not isinstance(system, str) or not system:
        return turns
    if any(tag in system for tag in TAGS) and [turn["role"] for turn in turns] == ["user"]:
        return turns[0]["content"]
    return [{"role": "system", "content": system}, *turns]


def s1(row: Row) -> Iterator[Row | Bad]:
    listed = as_list("thinking_trajectories", row.get("thinking_trajectories"))
    if len(listed) != 1:
        yield Bad(f"thinking_trajectories holds not one, for the one attempt: {len(listed)}")
        return
    yield _attempt(row, listed[0], row.get("attempt"), None)


def s1_deepseek(row: Row) -> Iterator[Row | Bad]:
    yield from _of_two("deepseek", row)


def s1_gemini(row: Row) -> Iterator[Row | Bad]:
    yield from _of_two("gemini", row)


def _of_two(teacher: str, row: Row) -> Iterator[Row | Bad]:
    thinking, attempt = row.get(f"{teacher}_thinking_trajectory"), row.get(f"{teacher}_attempt")
    yield _attempt(row, thinking, attempt, row.get(f"{teacher}_grade"))


def _attempt(row: Row, thinking: Any, attempt: Any, grade: Any) -> Row | Bad:
    """Thinking and attempt of a row of s1K. grade: Yes or No, what a model said of it."""
    if not isinstance(thinking, str) or not thinking.strip():
        return Bad("no thinking")
    said = {} if grade is None else {"score": GRADES.get(str(grade).lower())}
    return row | {"completion": attempt, "reasoning": thinking.strip()} | said


def limo(row: Row) -> Iterator[Row | Bad]:
    yield with_thinking(row, row.get("solution"))
