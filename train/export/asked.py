"""How problems are put to the model that RL trains: as they were put to it when their difficulty was measured.

A band such as "solved 1 to 6 times of 8" holds under the prompt and the sampling that measured it, so these go with the
data. By default they are those of the first annotator `pass_rate`; another annotator that samples can be named, or `student`:
the system message and template that the SFT sets are written with, for RL that goes on from SFT.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.model import Model
from curation.prompt import Message, Prompt
from curation.rollouts import Sampling
from distill.student import Student

STUDENT = "student"
PASS_RATE = "pass_rate"


class AskedError(ValueError):
    """How problems are put to the model cannot be told, or not in a trainer's form."""


@dataclass(frozen=True)
class Frame:
    """What of a prompt is set for a whole training, not for a row."""

    style: str
    """chat: messages for the model's template; raw: one text."""
    template_kwargs: Mapping[str, Any]
    """Arguments of the chat template."""
    prefill: str
    """The beginning of the answer, where it cannot be part of the prompt."""

    @classmethod
    def of(cls, prompt: Prompt) -> Frame:
        return cls(prompt.style, prompt.chat_template_kwargs, prompt.prefill if prompt.style == "chat" else "")


@dataclass(frozen=True)
class Asked:
    """How problems are put to a model."""

    place: str
    """Where that is said: an annotator's key, `student`, a model's name, or nowhere (empty)."""
    model: str | None
    """The model's folder or Hub name."""
    prompt: Prompt
    by_source: Mapping[str, Prompt] = field(default_factory=dict)
    """Where a source has its own."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """temperature, top_p, max_tokens and the rest, as measured with; empty when nothing was."""

    def of(self, source: str) -> Prompt:
        return self.by_source.get(source, self.prompt)

    def render(self, problem: Mapping[str, Any]) -> str | list[Message]:
        """A problem (prompt, messages, source) as the model sees it: a text in raw style, else messages."""
        prompt = self.of(problem["source"])
        shown = prompt.render(problem["prompt"], problem["messages"] or ())
        return shown + prompt.prefill if isinstance(shown, str) else shown


def asked(manifest: Mapping[str, Any], place: str | None = None) -> Asked:
    """How the problems of a published dataset are asked. Raises AskedError for a place that it has not."""
    recipe = manifest["recipe"]
    sampled = {step["key"]: step["annotator"] for step in manifest.get("annotators", ()) if "rollouts" in step}
    places = [*sampled, *([STUDENT] if recipe.get("student") else [])]
    if place is None:
        measured = [key for key, kind in sampled.items() if kind == PASS_RATE]
        place = (measured or places or [None])[0]
    elif place not in places:
        near = difflib.get_close_matches(place, places, n=1)
        raise AskedError(
            f"--asked: {place!r} puts no problem to a model{f'; did you mean {near[0]}?' if near else ''}; "
            f"{manifest['name']} has {', '.join(places) or 'none that does'}"
        )
    if place == STUDENT:
        return _of_student(recipe)
    if place is None:
        only = [*recipe.get("models", {})]
        return _of_model(recipe, only[0], "", {}) if len(only) == 1 else Asked("", None, Prompt())
    return _of_model(recipe, recipe["annotate"][place]["model"], place, recipe["annotate"][place])


def _of_model(recipe: Mapping[str, Any], name: str, place: str, settings: Mapping[str, Any]) -> Asked:
    model = Model.model_validate(recipe["models"][name])
    changes = settings.get("prompt") or {}
    sources = {key: source.get("prompt") or {} for key, source in recipe["sources"].items()}
    sampling = {key: settings[key] for key in (*Sampling.model_fields, "max_tokens", "n") if key in settings}
    if place:
        sampling = Sampling().model_dump() | sampling
    return Asked(
        place or name,
        model.model,
        model.prompt.merged(changes),
        {key: model.prompt.merged({**changes, **own}) for key, own in sources.items() if own},
        sampling,
    )


def _of_student(recipe: Mapping[str, Any]) -> Asked:
    student = Student.model_validate(recipe["student"])
    model = recipe["models"].get(student.model, {}).get("model")
    return Asked(STUDENT, model, Prompt(system=student.system, template=student.template))


def front(model: str | None) -> str | None:
    """What a model's tokenizer puts in front of a text by itself, as it was sampled with; None where it is not at hand.

    model: folder or Hub name; nothing is downloaded.
    """
    folder = Path(model or "").expanduser()
    if not model or not folder.is_dir():
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        whole, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    except (OSError, ValueError):
        return None
    return str(tokenizer.decode(whole[: whole.index(bare[0])])) if bare and bare[0] in whole else None


def most(asked_: Asked, sources: Mapping[str, int]) -> Frame:
    """The frame of most rows. sources: rows by source, at least one."""
    counted: list[tuple[Frame, int]] = []
    for source, rows in sources.items():
        frame = Frame.of(asked_.of(source))
        known = next((at for at, (one, _) in enumerate(counted) if one == frame), None)
        if known is None:
            counted.append((frame, rows))
        else:
            counted[known] = (frame, counted[known][1] + rows)
    return max(counted, key=lambda one: one[1])[0]


def stops(asked_: Asked, sources: Sequence[str]) -> list[str]:
    """The strings at which samples of these sources were ended."""
    return [*dict.fromkeys(stop for source in sources for stop in asked_.of(source).stop)]
