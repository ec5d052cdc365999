r"""What a chat template writes around the turns of a conversation, found by rendering words that nobody uses.

    start      <|im_start|>system\n                         before the first turn, by its role
    turns      <|im_end|>\n<|im_start|>user\n               between two turns, by their roles
    end        <|im_end|>\n                                 after the last answer
    block      <think>\nT\n</think>\n\n                     thinking, inside an answer's turn

With these a rendered conversation is read back (`ChatTemplate.parse`), whichever template it is: none is known by name.
A template that loses the thinking, or ends no turn, or asks for an answer in another way than it writes one, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jinja2.exceptions import TemplateError as JinjaError

from distill.example import Message

Field = Literal["content", "reasoning_content"]
Render = Callable[..., str]
"""`render(messages, add_generation_prompt=False, **template arguments)`: the text of a conversation."""

SYSTEM, ASKED, ANSWERED, AGAIN, THOUGHT, ANSWER = (
    "Qsyzu1 x",
    "Qusku2 x",
    "Qanwu3 x",
    "Qagau4 x",
    "Qthou5\n\nx",
    "Qlasu6\n\nx",
)
MODES = tuple({name: value} for name in ("enable_thinking", "thinking") for value in (False, True))
"""Arguments by which templates turn thinking off and on."""


class TemplateError(ValueError):
    """A chat template that a student cannot be trained through: says what was lost and what to do."""


class Turn(NamedTuple):
    """A turn as it is read back."""

    role: str
    thinking: str | None
    """None where there is no think block."""
    content: str


@dataclass(frozen=True)
class ChatTemplate:
    """What was found of a template."""

    thinking_in: Field
    """Where a message holds its thinking."""
    tags: tuple[str, str]
    between: Mapping[tuple[str, str], str]
    """What stands between two turns, by their roles; "" is the start or the end."""
    always_thinks: bool
    """Every last answer has a think block, an empty one where nothing was thought."""
    keeps_history: bool
    """Thinking in the content of earlier answers is rendered. False where thinking has a field of its own: the messages
    of a prompt have none."""
    opens_thinking: bool
    """The prompt for an answer ends with the opening tag."""
    modes: tuple[dict[str, bool], ...]
    """Template arguments that change how an answer is asked for."""

    def written(self, thinking: str | None, answer: str) -> Message:
        """The assistant's message; blanks around thinking and answer are the form's, not theirs."""
        return _written(self.thinking_in, self.tags, thinking, answer)

    def split(self, content: str) -> tuple[str | None, str]:
        """Thinking and answer of an assistant's content; a block that is not closed is no block."""
        return _split(self.tags, content)

    def parse(self, text: str) -> list[Turn] | None:
        """The turns of a rendered conversation, blanks around their texts taken off; None when it has another form.

        Where nothing but blanks stands between a system message and a question, they are one turn.
        """
        starts = [
            (len(mark), role) for (before, role), mark in self.between.items() if not before and text.startswith(mark)
        ]
        if not starts:
            return None
        at, role = max(starts)
        turns = []
        while True:
            found = [
                (place, -len(mark), after)
                for (before, after), mark in self.between.items()
                if before == role and after and (place := text.find(mark, at)) >= 0
            ]
            if not found:
                break
            place, length, after = min(found)
            turns.append(self._turn(role, text[at:place]))
            at, role = place - length, after
        end = self.between["assistant", ""]
        if role != "assistant" or not text.endswith(end) or len(text) - len(end) < at:
            return None
        return [*turns, self._turn(role, text[at : len(text) - len(end)])]

    def _turn(self, role: str, text: str) -> Turn:
        thinking, content = self.split(text) if role == "assistant" else (None, text)
        return Turn(role, thinking, content.strip())


def probe(
    render: Render, thinking_in: Literal["auto", "content", "reasoning_content"], tags: tuple[str, str]
) -> ChatTemplate:
    """Finds out what a template writes. Raises TemplateError where it cannot be trained through."""
    asked, again = {"role": "user", "content": ASKED}, {"role": "user", "content": AGAIN}
    answered = {"role": "assistant", "content": ANSWERED}
    last = {"role": "assistant", "content": ANSWER}
    earlier = [asked, answered, again]
    try:
        whole = render([*earlier, last])
        prompt = render([asked], add_generation_prompt=True)
    except JinjaError as error:
        raise TemplateError(f"it refuses a plain conversation of user and assistant: {error}") from error
    pieces = _cut(whole, [ASKED, ANSWERED, AGAIN, ANSWER])
    if pieces is None:
        raise TemplateError("it does not show every turn of a conversation of user and assistant, once and in order")
    start, _, to_user, _, end = pieces
    if not end.strip():
        raise TemplateError(
            "it ends no answer: nothing but blanks follows one, so the student would never learn to stop"
        )
    fields: tuple[Field, ...] = ("content", "reasoning_content") if thinking_in == "auto" else (thinking_in,)
    refused = {}
    for field in fields:
        block = _thinks(render, field, tags, earlier)
        if not isinstance(block, str):
            break
        refused[field] = block
    else:
        raise TemplateError("; ".join(f"of thinking in `{field}` it {reason}" for field, reason in refused.items()))
    between = {
        ("", "user"): start,
        ("user", "assistant"): block[0],
        ("assistant", "user"): to_user,
        ("assistant", ""): end,
    }
    system = {"role": "system", "content": SYSTEM}
    shown = _cut(_rendered(render, [system, asked, last]), [SYSTEM, ASKED, ANSWER])
    if shown is not None and shown[1].strip():
        between |= {("", "system"): shown[0], ("system", "user"): shown[1]}
    asks = _cut(prompt, [ASKED])
    if asks is None or not asks[1].startswith(block[0]):
        raise TemplateError(
            f"it asks for an answer with {asks[1] if asks else prompt!r}, where its answers begin with {block[0]!r}"
        )
    kept = _rendered(render, [asked, _written("content", tags, THOUGHT, ANSWERED), again, last])
    found = ChatTemplate(
        field,
        tags,
        between,
        always_thinks=tags[0] in pieces[3],
        keeps_history=field == "content" and THOUGHT in kept,
        opens_thinking=prompt.rstrip().endswith(tags[0]),
        modes=tuple(
            mode for mode in MODES if _rendered(render, [asked], add_generation_prompt=True, **mode) not in ("", prompt)
        ),
    )
    _check(render, found, earlier, prompt)
    return found


def _thinks(render: Render, field: Field, tags: tuple[str, str], earlier: list[Message]) -> tuple[str, str, str] | str:
    """What stands before, opens and closes the thinking of the last answer; or what is wrong with it."""
    try:
        whole = render([*earlier, _written(field, tags, THOUGHT, ANSWER)])
    except JinjaError as error:
        return f"says {error}"
    if THOUGHT not in whole:
        return "drops the thinking"
    pieces = _cut(whole, [ASKED, ANSWERED, AGAIN, THOUGHT, ANSWER])
    if pieces is None:
        return "loses or repeats a turn"
    opening, closing = pieces[3:5]
    before, opened, blank = opening.partition(tags[0])
    if closing.strip() != tags[1] or not opened or blank.strip():
        return f"writes {_end_of(opening)!r} before and {closing!r} after the thinking, where `tags` are {tags}"
    return before, opened + blank, closing


def _check(render: Render, found: ChatTemplate, earlier: list[Message], prompt: str) -> None:
    """What was found reads back what was rendered, and answers go on where the template's prompt ends."""
    turns = [Turn("user", None, ASKED), Turn("assistant", None, ANSWERED), Turn("user", None, AGAIN)]
    whole = render([*earlier, found.written(THOUGHT, ANSWER)])
    read = found.parse(whole)
    if read is None or _plain(read) != [*turns, Turn("assistant", THOUGHT, ANSWER)]:
        raise TemplateError(f"a conversation cannot be read back from what it writes: {_end_of(whole, 200)!r}")
    # Read from Parquet, messages without thinking have its field too, and nothing in it.
    plain = [*earlier, found.written(None, ANSWER)]
    from_parquet: list[Any] = [{"reasoning_content": None} | turn for turn in plain]
    if found.thinking_in == "reasoning_content" and render(from_parquet) != render(plain):
        raise TemplateError("it takes a message with nothing in `reasoning_content` for one with thinking")
    asked = earlier[:1]
    whole = render([*asked, found.written(THOUGHT, ANSWER)])
    prompts = [prompt, *(render(asked, add_generation_prompt=True, **mode) for mode in found.modes)]
    if not any(whole.startswith(shown) for shown in prompts):
        raise TemplateError(
            f"its prompt for an answer ends with {_end_of(prompt)!r}, with which no answer that thinks begins; the student "
            "would be trained on a context that it never sees"
        )


def _plain(turns: Sequence[Turn]) -> list[Turn]:
    """Earlier answers count by their content: some templates give them an empty block."""
    return [*(Turn(turn.role, turn.thinking or None, turn.content) for turn in turns[:-1]), *turns[-1:]]


def _written(field: Field, tags: tuple[str, str], thinking: str | None, answer: str) -> Message:
    message = {"role": "assistant", "content": answer.strip()}
    if thinking is None:
        return message
    thought = thinking.strip()
    if field == "reasoning_content":
        return message | {"reasoning_content": thought}
    block = f"{tags[0]}\n{thought}\n{tags[1]}\n\n"
    return message | {"content": block + message["content"]}


def _split(tags: tuple[str, str], content: str) -> tuple[str | None, str]:
    text = content.strip()
    thinking, closed, answer = text.removeprefix(tags[0]).partition(tags[1])
    return (thinking.strip(), answer.strip()) if text.startswith(tags[0]) and closed else (None, text)


def _rendered(render: Render, messages: list[Message], **arguments: Any) -> str:
    """As `render`; empty where the template refuses."""
    try:
        return render(messages, **arguments)
    except JinjaError:
        return ""


def _cut(text: str, words: Sequence[str]) -> list[str] | None:
    """The text around words that stand in it once each and in this order; None where they do not."""
    pieces = []
    for word in words:
        before, found, text = text.partition(word)
        if not found or word in text:
            return None
        pieces.append(before)
    return [*pieces, text]


def _end_of(text: str, length: int = 60) -> str:
    return text if len(text) <= length else "…" + text[-length:]
