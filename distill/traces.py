"""What disqualifies a trace: columns about rollouts of a teacher, for a set's own `keep` rules to test.

Nothing here drops anything. Booleans are what rules test, NULL when unknown; the rest is their evidence.

    well_formed         one think block, closed and not empty, and an answer; `form_fault` says what is wrong
    thinking_words      words of the thinking; NULL without a block. `answer_words` of what follows it
    repetitive          loops take up much of the thinking (of the answer, where there is no thinking): `repetition` is their
                        share of the words, `repetition_at` [begin, end] of the longest in characters of the thinking,
                        `repetition_in` which of the two it is, `repetition_of` one turn of it
    guesswork           the answer is guessed; `guess_phrase` says by which words
    contradictory       thinking and final text give different answers: `thinking_answer` is that of the thinking
    mixed_language      the thinking leaves its language: `language_share` of its words are in it (DeepSeek-R1's measure),
                        `language_other` shows some that are not
    hard_to_read        a very long paragraph or a block of code in the thinking (DeepSeek-R1): `longest_paragraph` in words,
                        `code_in_thinking`, which disqualifies no problem that is about code
    refusal, identity   the answer refuses; the model speaks of itself: `refusal_phrase` says by which words
    trace_contaminated  a benchmark item stands in it: `trace_contaminated_by` which, `trace_contamination` where (JSON)
    checking_words, tentative_words, connectives, limo_score     LIMO's measure of the thinking (detect/limo.py)

NULL passes no rule. A rule that lets the unknown pass says so: `contradictory is not true`, as most thinking states no answer
of its own; likewise `mixed_language is not true` where thinking may be nothing but formulas.

Whether the answer is right is the verdict's to say, and whether it was cut off the finish reason's.
"""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from curation.dedup import wording
from curation.language import LANGUAGES
from curation.problem import digest
from curation.verify import JUDGE, version
from distill import thinking
from distill.detect import contradiction, guesswork, readability, refusal
from distill.detect.benchmarks import Benchmarks, overlaps
from distill.detect.contradiction import COMPARING, Grade
from distill.detect.form import form_fault
from distill.detect.limo import limo
from distill.detect.mixed import mixed
from distill.detect.repetition import loops
from distill.detect.words import count, tokens
from distill.thinking import Parts

NEEDED = (
    "rollout",
    "prompt",
    "messages",
    "answer",
    "verifier",
    "verifier_args",
    "text",
    "reasoning",
    "opened",
    "finish_reason",
)
"""Columns that `measure` reads; `messages`, `reasoning` and `opened` may be missing."""
_OPTIONAL = {"messages", "reasoning", "opened"}


class TraceChecks(BaseModel):
    """What of a trace is measured, and from where on it counts against it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    NAME: ClassVar[str] = "traces"
    VERSION: ClassVar[int] = 1
    """Raised when the same settings would give other values, or a default changes."""
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [
            ("well_formed", pa.bool_()),
            ("form_fault", pa.string()),
            ("thinking_words", pa.int32()),
            ("answer_words", pa.int32()),
            ("text_digest", pa.string()),
            ("repetitive", pa.bool_()),
            ("repetition", pa.float64()),
            ("repetition_at", pa.list_(pa.int32())),
            ("repetition_in", pa.string()),
            ("repetition_of", pa.string()),
            ("guesswork", pa.bool_()),
            ("guess_phrase", pa.string()),
            ("contradictory", pa.bool_()),
            ("thinking_answer", pa.string()),
            ("mixed_language", pa.bool_()),
            ("language_share", pa.float64()),
            ("language_other", pa.string()),
            ("hard_to_read", pa.bool_()),
            ("longest_paragraph", pa.int32()),
            ("code_in_thinking", pa.bool_()),
            ("refusal", pa.bool_()),
            ("identity", pa.bool_()),
            ("refusal_phrase", pa.string()),
            ("trace_contaminated", pa.bool_()),
            ("trace_contaminated_by", pa.string()),
            ("trace_contamination", pa.string()),
            ("checking_words", pa.float64()),
            ("tentative_words", pa.float64()),
            ("connectives", pa.float64()),
            ("limo_score", pa.float64()),
        ]
    )

    tags: tuple[str, str] | None = None
    """What opens and closes the thinking, as it is written; by default `<think>` and its like, and OpenThoughts' tags."""
    repetition: float = Field(default=0.1, gt=0, le=1)
    """Share of the words in loops from which on a trace is repetitive."""
    loop_words: int = Field(default=200, gt=0)
    """Words of a single loop from which on a trace is repetitive, whatever the share."""
    language: str | None = None
    """Language that the thinking should be in, as an ISO 639-1 code; by default that of the problem."""
    other_words: float = Field(default=3, gt=0)
    """Words of another language from which on a thinking is mixed; two Han characters are one."""
    paragraph_words: int = Field(default=400, gt=0)
    """Words of a paragraph from which on the thinking is hard to read."""
    ngram: float = Field(default=0.75, gt=0, le=1)
    """Overlap from which on a benchmark item counts as found."""
    judge: bool = False
    """Whether the recipe's judge compares the answers of thinking and text, of problems that it grades: a call or two a trace."""

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str | None) -> str | None:
        if value is not None and value not in LANGUAGES:
            raise ValueError(f"language: {value!r} is no language that is told apart; known are {', '.join(LANGUAGES)}")
        return value

    @field_validator("tags")
    @classmethod
    def _tags_differ(cls, value: tuple[str, str] | None) -> tuple[str, str] | None:
        if value is not None:
            thinking.tags(*value)
        return value

    def settings(self) -> dict[str, Any]:
        """What changes the values: name, versions, and fields that differ from their defaults."""
        changed = self.model_dump(mode="json", exclude_defaults=True)
        verifiers = {name: version(name) for name in COMPARING}
        return {
            "checks": self.NAME,
            "version": self.VERSION,
            "verifiers": verifiers,
            "wording": wording.VERSION,
            **changed,
        }

    @classmethod
    def table_schema(cls) -> pa.Schema:
        return pa.schema([pa.field("rollout", pa.string(), nullable=False), *cls.COLUMNS])

    def parts(self, text: str, reasoning: str | None = None, opened: bool = False) -> Parts:
        """A completion's thinking and answer, by the tags that are set."""
        known = thinking.DEFAULT if self.tags is None else (thinking.tags(*self.tags),)
        return thinking.split(text, reasoning, opened, known)

    def measure(self, traces: pa.Table, grade: Grade | None = None, benchmarks: Benchmarks | None = None) -> pa.Table:
        """`rollout` and COLUMNS for every trace, in their order; a chunk at a time, as all of it is in memory.

        traces: the columns of NEEDED.
        grade: `GraderPool.grade_many`, which compares answers; without it `contradictory` is known only where both answers
            are written alike.
        benchmarks: the items to look for; without them `trace_contaminated` is NULL.
        """
        assert set(NEEDED) - _OPTIONAL <= set(traces.column_names), f"columns {traces.column_names}"
        rows = traces.select([name for name in NEEDED if name in traces.column_names]).to_pylist()
        parts = [self.parts(row["text"], row.get("reasoning"), bool(row.get("opened"))) for row in rows]
        given = [_given(row) for row in rows]
        out: list[dict[str, Any]] = [{"rollout": row["rollout"]} for row in rows]
        for column, row, each, prompt in zip(out, rows, parts, given, strict=True):
            column.update(self._of_one(row, each, prompt))
        self._contradictions(out, rows, parts, grade)
        self._languages(out, given, parts)
        self._identities(out, given, parts)
        if benchmarks is not None:
            texts = [
                (prompt, each.thinking or "", each.answer or "") for prompt, each in zip(given, parts, strict=True)
            ]
            for column, overlap in zip(out, overlaps(texts, benchmarks, self.ngram), strict=True):
                column["trace_contaminated"] = overlap is not None
                if overlap is not None:
                    column |= {"trace_contaminated_by": overlap.name, "trace_contamination": overlap.evidence}
        return pa.Table.from_pylist(out, schema=self.table_schema())

    def _of_one(self, row: dict[str, Any], parts: Parts, prompt: str) -> dict[str, Any]:
        """The columns that one trace tells by itself."""
        fault = form_fault(parts, row["finish_reason"] == "length")
        thought = parts.thinking or ""
        scope, where = (thought, "thinking") if thought else (parts.answer or "", "answer")
        words = tokens(scope)
        found = loops(scope, words)
        guess = guesswork.guess(prompt, parts.thinking, parts.answer)
        refused = refusal.refusal(prompt, parts.answer)
        out: dict[str, Any] = {
            "well_formed": fault is None,
            "form_fault": fault,
            "thinking_words": None if parts.thinking is None else count(thought),
            "answer_words": None if parts.answer is None else count(parts.answer),
            "text_digest": digest(f"{parts.thinking or ''}\0{parts.answer or ''}"),
            "repetitive": found.share >= self.repetition or found.longest >= self.loop_words,
            "repetition": found.share,
            "repetition_at": found.at,
            "repetition_in": where if found.at else None,
            "repetition_of": found.phrase,
            "guesswork": guess is not None,
            "guess_phrase": guess,
            "refusal": None if parts.answer is None else refused is not None,
            "refusal_phrase": refused,
        }
        if not thought:
            return out
        read = readability.readability(thought)
        code = read.code and not readability.asks_for_code(prompt, row["verifier"])
        shown = limo(thought, out["thinking_words"], words)
        return out | {
            "hard_to_read": read.longest_paragraph >= self.paragraph_words or code,
            "longest_paragraph": read.longest_paragraph,
            "code_in_thinking": read.code,
            "checking_words": shown.checking,
            "tentative_words": shown.tentative,
            "connectives": shown.connectives,
            "limo_score": shown.score,
        }

    def _contradictions(
        self, out: list[dict[str, Any]], rows: Sequence[dict[str, Any]], parts: Sequence[Parts], grade: Grade | None
    ) -> None:
        compared = []
        for column, row, each in zip(out, rows, parts, strict=True):
            verifier, answer = row["verifier"] or "", each.answer or ""
            stated = contradiction.thinking_answer(each.thinking) if each.thinking else None
            final = contradiction.final_answer(answer, verifier) if stated is not None and answer else None
            column["thinking_answer"] = stated
            args = row["verifier_args"]
            if verifier == JUDGE:  # whatever it judges completions by, these two are compared
                args = json.dumps({"question": row["prompt"], "kind": "equivalence"})
            compared.append((stated, final, answer, verifier, args))
        for column, known in zip(out, contradiction.contradictions(compared, grade, self.judge), strict=True):
            column["contradictory"] = known

    def _languages(self, out: list[dict[str, Any]], given: Sequence[str], parts: Sequence[Parts]) -> None:
        for column, found in zip(out, mixed(given, [each.thinking for each in parts], self.language), strict=True):
            if found.share is not None:
                column["mixed_language"] = found.words >= self.other_words
                column["language_share"], column["language_other"] = found.share, found.other

    def _identities(self, out: list[dict[str, Any]], given: Sequence[str], parts: Sequence[Parts]) -> None:
        texts = pa.array([f"{each.thinking or ''}\n{each.answer or ''}" for each in parts], pa.large_string())
        likely = refusal.may_identify(texts).to_pylist()
        for column, prompt, each, maybe in zip(out, given, parts, likely, strict=True):
            said = refusal.identity(prompt, each.thinking, each.answer) if maybe else None
            column["identity"] = said is not None
            column["refusal_phrase"] = column["refusal_phrase"] or said


def _given(row: dict[str, Any]) -> str:
    """All that the model was given: the earlier turns, then the prompt."""
    turns = [turn["content"] or "" for turn in row.get("messages") or []]
    return "\n".join([*turns, row["prompt"] or ""])
