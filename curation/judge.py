"""A judge: a model that decides what rules cannot check, and what its measurements are filed under.

    judge = Judge(model=Model(model="judge", url="http://host:8000/v1"), twice=True)

Three kinds:

    equivalence  does the completion's final answer mean what the reference answer means? (Kimi k1.5, "Reward Modeling for
                 Math"; DeepSeek-R1, "Rejection Sampling and Supervised Fine-Tuning")
    quality      does the completion's final text meet a rubric?
    score        how well, from 1 to 10? `accept` and above is correct; the verdict's `extracted` is the score

A recipe has one judge. A problem may be of another kind than the judge's: `verifier_args` {"kind": "score"}. Nothing of the
verdicts' hash hangs on it, as a problem's id holds its arguments.

Of the completion only what `verify.extract` finds is shown. The reply is JSON that the server is made to keep to
(`response_format`), and is read strictly all the same: servers that do not know a constraint leave it out without a word.
What is not one of the words is no verdict. `judging.py` asks, `judge_prompt.py` says how.
"""

import json
from collections.abc import Sequence
from statistics import mean
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curation import judge_prompt
from curation.judge_prompt import EQUIVALENCE, QUALITY, SCORE, SCORES, Kind, Text, question
from curation.model import Model, identity
from curation.prompt import Prompt
from curation.rollouts import Sampling
from curation.store import settings_hash
from curation.verify.agreement import Outcome
from curation.verify.extract import final_text

VERSION = 1
"""Raised whenever its verdicts may change for another reason than the question (which has a version of its own)."""
WORDS: dict[str, dict[str, Outcome]] = {
    "equivalence": {"equivalent": "correct", "different": "wrong", "unsure": "error"},
    "quality": {"meets": "correct", "fails": "wrong", "unsure": "error"},
}
"""What a judge may say, and what it means; of scores that hangs on `accept`. A judge that may not be unsure guesses."""
UNSURE = "unsure"
CONTRADICTS = "the judge contradicts itself"


class Unreadable(ValueError):
    """A reply that is no verdict."""


class Constrained(Sampling):
    """Greedy sampling of JSON that follows a schema."""

    response_schema: dict[str, Any]
    """The JSON schema."""

    def sent(self) -> dict[str, Any]:
        named = {"name": "verdict", "schema": self.response_schema, "strict": True}
        sampling = self.model_dump(exclude={"thinking_budget", "response_schema"})
        return sampling | {"response_format": {"type": "json_schema", "json_schema": named}}


class Judge(BaseModel):
    """A model and what it is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: Model
    """The model that judges. Of its prompt the system text, the style and the template's arguments are used."""
    kind: Kind = "equivalence"
    """Whether a final answer means the same as the reference, whether a text meets a rubric, or how well it does, from 1 to
    10; a problem's own (`verifier_args`: `kind`) comes before it."""
    rubric: str | None = None
    """What a good text is, in words; a problem's own (`verifier_args`: `rubric`) comes before it. For `quality` and `score`."""
    accept: int = Field(default=7, ge=SCORES[0], le=SCORES[-1])
    """The least score that is correct. The judge is not told of it: one that knows where the line is scores towards it."""
    twice: bool = False
    """Asked again with the two texts in the other order; when the opinions differ there is no verdict. Two scores may differ
    when both are accepted or both are not: the verdict's is their mean."""
    reasoning: bool = False
    """Gives a reason before its verdict: better verdicts of most models, and many more tokens."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Length of a reply with what the model thinks before it; 64 by default, 1,024 with `reasoning`. A reply that is cut off
    is no verdict: a model that thinks needs more."""
    max_characters: int = Field(default=4000, gt=0)
    """Length of a text that it is shown; there is no verdict on longer ones."""

    @model_validator(mode="after")
    def _rubric_has_a_use(self) -> Self:
        if self.rubric is not None and (self.kind == "equivalence" or not self.rubric.strip()):
            raise ValueError(
                "rubric: is for kind: quality and kind: score, and says in words what a good text is; leave it out otherwise"
            )
        return self

    def of(self, kind: Kind) -> Self:
        """This judge as it is asked about problems of a kind. Not one to file verdicts under: its hash is another."""
        return self if kind == self.kind else self.model_copy(update={"kind": kind})

    @property
    def words(self) -> dict[str, Outcome]:
        """What it may say, and what that means."""
        if self.kind != "score":
            return WORDS[self.kind]
        return {**{str(score): self._outcome(score) for score in SCORES}, UNSURE: "error"}

    def _outcome(self, score: float) -> Outcome:
        return "correct" if score >= self.accept else "wrong"

    @property
    def said(self) -> str:
        """What its reply calls what it says."""
        return "score" if self.kind == "score" else "verdict"

    @property
    def reply_tokens(self) -> int:
        """Length of a reply at most."""
        return self.max_tokens or (1024 if self.reasoning else 64)

    @property
    def prompt(self) -> Prompt:
        """The model's prompt without what is meant for problems."""
        return self.model.prompt.merged({"template": None, "shots": None, "stop": None})

    @property
    def sampling(self) -> Constrained:
        reason = {"reason": {"type": "string"}} if self.reasoning else {}
        said = {"enum": [*SCORES, UNSURE]} if self.kind == "score" else {"type": "string", "enum": [*self.words]}
        properties = {**reason, self.said: said}
        schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
        return Constrained(temperature=0, response_schema=schema)

    def settings(self) -> dict[str, Any]:
        """What its measurements are filed under: the model's identity, and all that shapes its verdicts.

        Raises ModelError where the model cannot be identified.
        """
        own = self.model_dump(mode="json", exclude_defaults=True, exclude={"model"})
        prompt = self.prompt.model_dump(mode="json", exclude_defaults=True)
        versions = {"version": VERSION, "prompt_version": judge_prompt.VERSION}
        return {"name": "judge", **versions, "model": identity(self.model), "prompt": prompt, "settings": own}

    @property
    def hash(self) -> str:
        return settings_hash(self.settings())

    def question(self, about: str | None, one: Text, other: Text) -> str:
        """What it is asked about two texts, in this order. about: the problem, where it is known."""
        texts = [*([Text("problem", about)] if about else []), one, other]
        template = {"equivalence": EQUIVALENCE, "quality": QUALITY, "score": SCORE}[self.kind]
        return question(template, texts, [*self.words], self.reasoning, said=self.said)

    def read(self, reply: str) -> tuple[str, str]:
        """The word that a reply says (a score as its digits), and its reason. Raises Unreadable."""
        try:
            said = json.loads(final_text(reply) or "")
        except (ValueError, RecursionError):
            raise Unreadable("the judge's reply is no JSON") from None
        wanted = {"reason", self.said} if self.reasoning else {self.said}
        if self.kind == "score" and isinstance(said, dict) and type(number := said.get("score")) is int:
            said["score"] = str(number)
        if not isinstance(said, dict) or said.keys() != wanted or not all(isinstance(v, str) for v in said.values()):
            raise Unreadable("the judge's reply is not of the form that was asked for")
        if said[self.said] not in self.words:
            raise Unreadable(f"the judge's {self.said} is none of {', '.join(self.words)}")
        return said[self.said], said.get("reason", "")

    def settled(self, words: Sequence[str], why: str) -> tuple[Outcome, str | None, str]:
        """The outcome of one opinion or of two, the score (None where there is none), and what was said, with why.

        Opinions differ when their words do; two scores, when one is accepted and the other is not.
        """
        outcomes = {self.words[word] for word in words}
        differ = len(outcomes) > 1 if self.kind == "score" else len({*words}) > 1
        if differ:
            return "error", None, f"{CONTRADICTS}: {words[0]}, and the other way round {words[1]}"
        (outcome,) = outcomes
        said, because = f"the judge says {' and '.join(dict.fromkeys(words))}", f": {why}" if why else ""
        if self.kind != "score" or outcome == "error":
            return outcome, None, said + because
        return outcome, f"{mean(int(word) for word in words):g}", f"{said} of {SCORES[-1]}{because}"
