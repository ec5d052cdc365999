"""Examples in the student's own chat template: as they are published, and as TRL's trainers make tokens and labels of them.

A row is published as `prompt` and `completion`, lists of messages, which SFTTrainer takes (DPOTrainer: `prompt`, `chosen`,
`rejected`). Every row is rendered as they do it and read back; one that comes back as something else has a fault.

Rows need no `chat_template_kwargs`. A row has to begin with what asks for an answer, token by token: with the template's
plain prompt or, where templates have one, with that for thinking or for not thinking. So an answer with an empty think
block begins with what Qwen3's `enable_thinking: false` asks with, and its tokens are those of inference in that mode; the
block is trained as well, so that after `/no_think` the student writes it itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2.exceptions import TemplateError as JinjaError

from distill.chat_template import ChatTemplate, TemplateError, probe
from distill.example import Example, Message
from distill.faults import SHOWN, fault_of
from distill.student import Student
from distill.tokenized import Row, Tokenized, load_tokenizer, own_template, positions, training_variant

__all__ = ["ChatTemplate", "Rendered", "RenderedPair", "Renderer", "TemplateError"]

BATCH = 128
"""Rows that are tokens at once: lists of Python integers are large."""
ASKED: list[Message] = [{"role": "user", "content": "Two and two?"}]
FORMS = {"thinking": "Twice two.", "an empty think block": ""}
"""Answers that are tried on a template."""


class Rendered(NamedTuple):
    """A row as it is published and trained on."""

    prompt: list[Message]
    completion: list[Message]
    """One message, the assistant's."""
    tokens: int
    """Of the whole row; 0 where the template refuses it."""
    trained_tokens: int
    fault: str | None
    """Why the row may not be published."""


class RenderedPair(NamedTuple):
    """A preference: two answers to one prompt."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    chosen_tokens: int
    """Of prompt and answer together."""
    rejected_tokens: int
    fault: str | None


class Renderer:
    """Writes examples for one student. Raises TemplateError where its template cannot be trained through.

    tokenizer: a tokenizer of transformers. length: how long a sequence the model reads, where that is known.
    """

    def __init__(self, student: Student, tokenizer: Any, length: int | None = None) -> None:
        self.student = student
        self._tokenized = Tokenized(tokenizer, _template_of(student, tokenizer))
        whose = f"the chat template of the student {student.model!r}"
        try:
            self.template: ChatTemplate = probe(self._tokenized.text, student.thinking_in, student.tags)
        except TemplateError as error:
            raise TemplateError(f"{whose}: {error}. {self._advice()}") from error
        end = self.template.between["assistant", ""]
        if (stop := self._tokenized.stop(end)) is None:
            raise TemplateError(
                f"{whose} ends an answer with {end!r}, which holds no special token of its tokenizer, so no server would stop "
                "there; give a template that ends answers with one, or the tokenizer that belongs to this one"
            )
        self.end_of_turn: int = stop
        """The token that ends an answer."""
        self._marks = self._tokenized.marks(self.template)
        self.max_length: int | None = None
        """Tokens that a row may have; None where nothing says."""
        rows = self.render_many([Example(ASKED, thinking, "Four.") for thinking in FORMS.values()])
        if rows[0].fault:
            raise TemplateError(
                f"{whose} does not go with its tokenizer, of every row: {rows[0].fault}; give the template and the tokenizer "
                "of one model"
            )
        self.asked_with: dict[str, list[dict[str, bool]]] = {
            form: [] if row.fault else self._modes_of(row.prompt, self.labels(row.prompt, row.completion)[0])
            for form, row in zip(FORMS, rows, strict=True)
        }
        """How an answer with thinking and one with an empty block are asked for: template arguments, {} for none."""
        known = [limit for limit in (length, self._tokenized.limit) if limit is not None]
        self.max_length = student.max_length or min(known, default=None)

    @classmethod
    def load(cls, student: Student, source: str | Path, revision: str | None = None) -> Renderer:
        """source: the folder of the student's model, or its name on the Hub with its revision."""
        return cls(student, load_tokenizer(source, revision), positions(source, revision))

    @property
    def identity(self) -> dict[str, object]:
        """What the rows depend on: for a manifest."""
        settings = self.student.model_dump(mode="json", exclude={"model", "chat_template"})
        found = {"thinking_in": self.template.thinking_in, "max_length": self.max_length}
        return {**settings, **found, **self._tokenized.identity}

    @property
    def notes(self) -> list[str]:
        """What whoever trains or serves the student should know."""
        notes = []
        tokenizer = self._tokenized.tokenizer
        if (end := tokenizer.convert_ids_to_tokens(self.end_of_turn)) != tokenizer.eos_token:
            notes.append(
                f"answers end with {end!r}, the tokenizer's end is {tokenizer.eos_token!r}: train and serve with {end!r}"
            )
        if self.template.always_thinks:
            notes.append("every answer gets a think block, an empty one where nothing was thought")
        if self.template.opens_thinking:
            notes.append("what asks for an answer opens the thinking: the opening tag is not trained")
        for form, modes in self.asked_with.items():
            if not modes:
                notes.append(f"an answer with {form} cannot be trained: no prompt of the template leads to it")
            elif {} not in modes:
                notes.append(f"an answer with {form} is what the template asks for with {modes[0]}, not by itself")
        if not self.template.keeps_history:
            notes.append("the thinking of earlier answers is left out, as the template or its prompts do")
        if "strftime_now" in self._tokenized.template:
            notes.append("the template writes today's date")
        return notes

    def render(self, example: Example) -> Rendered:
        """One example; for many use `render_many`."""
        return self.render_many([example])[0]

    def render_many(self, examples: Sequence[Example]) -> list[Rendered]:
        """Examples as rows, in their order. Blanks around thinking and answer are not kept: templates differ on them."""
        rendered = []
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            prompts = [self._prompt_of(example) for example in batch]
            completions = [[self.template.written(example.thinking, example.answer)] for example in batch]
            rows = self._tokenized.rows(prompts, completions)
            for example, prompt, completion, row in zip(batch, prompts, completions, rows, strict=True):
                if isinstance(row, JinjaError):
                    rendered.append(Rendered(prompt, completion, 0, 0, f"the template refuses it: {row}"))
                    continue
                fault = fault_of(self.template, self._marks, example, prompt, row.text) or self._untrained(prompt, row)
                rendered.append(Rendered(prompt, completion, len(row.ids), len(row.ids) - row.given, fault))
        return rendered

    def render_pairs(self, chosen: Sequence[Example], rejected: Sequence[Example]) -> list[RenderedPair]:
        """Preferences; a fault says which of the two answers has it."""
        pairs = []
        for good, bad in zip(self.render_many(chosen), self.render_many(rejected), strict=True):
            fault = f"chosen: {good.fault}" if good.fault else f"rejected: {bad.fault}" if bad.fault else None
            if fault is None and good.prompt != bad.prompt:
                fault = "chosen and rejected answer different prompts"
            if fault is None and good.completion == bad.completion:
                fault = "chosen and rejected are the same"
            pairs.append(RenderedPair(good.prompt, good.completion, bad.completion, good.tokens, bad.tokens, fault))
        return pairs

    def labels(
        self, prompt: Sequence[Mapping[str, Any]], completion: Sequence[Mapping[str, Any]]
    ) -> tuple[list[int], list[int]]:
        """The tokens of a published row and their labels, -100 where they are not trained: those that TRL makes.

        Raises TemplateError when the template refuses the row.
        """
        (row,) = self._tokenized.rows([list(prompt)], [list(completion)])
        if isinstance(row, JinjaError):
            raise TemplateError(f"the template refuses it: {row}") from row
        return row.ids, [-100] * row.given + row.ids[row.given :]

    def segments(
        self, prompt: Sequence[Mapping[str, Any]], completion: Sequence[Mapping[str, Any]]
    ) -> list[tuple[str, bool]]:
        """The text of a published row's tokens, in pieces, each with whether it is trained. Raises as `labels` does."""
        ids, labels = self.labels(prompt, completion)
        given = labels.count(-100)
        pieces = [(self._tokenized.decoded(ids[:given]), False), (self._tokenized.decoded(ids[given:]), True)]
        return [piece for piece in pieces if piece[0]]

    def _prompt_of(self, example: Example) -> list[Message]:
        """The turns before, without thinking where it would not be rendered."""
        if self.template.keeps_history:
            return example.prompt
        return [
            turn | {"content": self.template.split(turn["content"])[1]} if turn["role"] == "assistant" else turn
            for turn in example.prompt
        ]

    def _untrained(self, prompt: list[Message], row: Row) -> str | None:
        """What is wrong with the tokens of a row."""
        if row.given < len(row.asked_ids) and not self._modes_of(prompt, row.ids):
            asked, trained = (self._tokenized.decoded(ids[row.given :][:SHOWN]) for ids in (row.asked_ids, row.ids))
            return (
                "the row does not begin with what asks for an answer, so the student is trained on another context than it "
                f"will see: {asked[:SHOWN]!r} is asked with, {trained[:SHOWN]!r} trained"
            )
        if self.end_of_turn not in row.ids[row.given :]:
            return "the end of the turn is not trained"
        if self.max_length is not None and len(row.ids) > self.max_length:
            return f"it has {len(row.ids)} tokens, more than {self.max_length}"
        return None

    def _modes_of(self, prompt: list[Message], ids: list[int]) -> list[dict[str, bool]]:
        """The template arguments with which the row's tokens begin with what asks for its answer."""
        found = []
        for mode in ({}, *self.template.modes):
            (asked,) = self._tokenized.texts([prompt], add_generation_prompt=True, **mode)
            if isinstance(asked, str):
                (asked_ids,) = self._tokenized.ids([asked])
                if ids[: len(asked_ids)] == asked_ids:
                    found.append(mode)
        return found

    def _advice(self) -> str:
        """What to do about a template that is refused."""
        advice = "Give one that does better: `student.chat_template: FILE.jinja`"
        variant = training_variant(self._tokenized.template)
        if variant is None:
            return advice
        try:
            other = Tokenized(self._tokenized.tokenizer, variant.read_text(encoding="utf-8"))
            probe(other.text, self.student.thinking_in, self.student.tags)
        except TemplateError:
            return advice
        return f"{advice}, such as TRL's training variant of this one, {variant}"


def _template_of(student: Student, tokenizer: Any) -> str:
    """The text of the student's template."""
    if student.chat_template is not None:
        file = Path(student.chat_template).expanduser()
        if not file.is_file():
            raise TemplateError(f"student.chat_template: {student.chat_template!r} is no file; give a .jinja file")
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise TemplateError(
                f"student.chat_template: {student.chat_template!r} is no UTF-8 text: {error}"
            ) from error
    if not (template := own_template(tokenizer)):
        raise TemplateError(
            f"the student {student.model!r} has no chat template, as base models do; give `student.chat_template: FILE.jinja`"
        )
    return template
