"""A judge: a model that decides what rules cannot check, and what its measurements are filed under.

    judge = Judge(model=Model(model="judge", url="http://host:8000/v1"), twice=True)

Two kinds:

    equivalence  does the completion's final answer mean what the reference answer means? (Kimi k1.5, "Reward Modeling for
                 Math"; DeepSeek-R1, "Rejection Sampling and Supervised Fine-Tuning")
    quality      does the completion's final text meet a rubric?

Of the completion only what `verify.extract` finds is shown. The reply is JSON that the server is made to keep to
(`response_format`), and is read strictly all the same: servers that do not know a constraint leave it out without a word.
What is not one of the words is no verdict. `judging.py` asks, `judge_prompt.py` says how.
"""

import json
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curation import judge_prompt
from curation.judge_prompt import EQUIVALENCE, QUALITY, Text, question
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
"""What a judge may say, and what it means. A judge that may not be unsure guesses."""


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
    kind: Literal["equivalence", "quality"] = "equivalence"
    """Whether a final answer means the same as the reference, or whether a text meets a rubric."""
    rubric: str | None = None
    """What a good text is, in words; a problem's own (`verifier_args`: `rubric`) comes before it. For `quality` only."""
    twice: bool = False
    """Asked again with the two texts in the other order; when the opinions differ there is no verdict."""
    reasoning: bool = False
    """Gives a reason before its verdict: better verdicts of most models, and many more tokens."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Length of a reply with what the model thinks before it; 64 by default, 1,024 with `reasoning`. A reply that is cut off
    is no verdict: a model that thinks needs more."""
    max_characters: int = Field(default=4000, gt=0)
    """Length of a text that it is shown; there is no verdict on longer ones."""

    @model_validator(mode="after")
    def _rubric_has_a_use(self) -> Self:
        if self.rubric is not None and (self.kind != "quality" or not self.rubric.strip()):
            raise ValueError(
                "rubric: is for kind: quality, and says in words what a good text is; leave it out otherwise"
            )
        return self

    @property
    def words(self) -> dict[str, Outcome]:
        """What it may say, and what that means."""
        return WORDS[self.kind]

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
        properties = {**reason, "verdict": {"type": "string", "enum": [*self.words]}}
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
        template = EQUIVALENCE if self.kind == "equivalence" else QUALITY
        return question(template, texts, [*self.words], self.reasoning)

    def read(self, reply: str) -> tuple[str, str]:
        """The word that a reply says, and its reason. Raises Unreadable."""
        try:
            said = json.loads(final_text(reply) or "")
        except (ValueError, RecursionError):
            raise Unreadable("the judge's reply is no JSON") from None
        wanted = {"reason", "verdict"} if self.reasoning else {"verdict"}
        if not isinstance(said, dict) or said.keys() != wanted or not all(isinstance(v, str) for v in said.values()):
            raise Unreadable("the judge's reply is not of the form that was asked for")
        if said["verdict"] not in self.words:
            raise Unreadable(f"the judge's verdict is none of {', '.join(self.words)}")
        return said["verdict"], said.get("reason", "")
