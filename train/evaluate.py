"""Evaluating models: every one is asked every task in every way, what came is measured, and each is compared with those
before it. Evaluating is sampling: what is drawn lies in the workspace as rollouts, and is never drawn twice.

One model is served at a time, and only while samples of it are missing.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curation.annotate import Work
from curation.judge import Judge
from curation.model import Model, identity
from curation.pool import Pool
from curation.progress import Progress
from curation.prompt import Prompt
from curation.sampled import CUT_OFF_WARNING
from curation.store import Store
from train.evaluation.compare import compare
from train.evaluation.drawing import Answered, Problems, answers, pose
from train.evaluation.measured import measured, wider
from train.evaluation.settings import Condition, Evaluation

FEW_PROBLEMS, MANY_SAMPLES = 100, 32
WORTH = 0.8
"""Advice is given where more samples make an interval so much narrower."""
SHOWN = 8
"""Problems a task whose answers are kept to look at."""

Key = tuple[str, str, int | None]
"""Task, mode, budget."""


def evaluate(
    models: Mapping[str, Model],
    tasks: Mapping[str, Problems],
    settings: Evaluation,
    store: Store,
    *,
    chat_template: Mapping[str, str] | None = None,
    judge: Judge | None = None,
    retry_errors: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What the models score, as plain data; the caller holds the workspace.

    models: by the name in the tables, in the order in which each is compared with the one before it, and with the first.
    tasks: what is asked, by name.
    chat_template: files of templates that models are served with in place of their own, by the model's name.

    results       one a model, task, mode and budget: see `measured`
    comparisons   one for each of them and an earlier model: see `compare`
    samples       a few problems of every task with all that the models said
    """
    progress = progress if progress is not None else Progress()
    results: list[dict[str, Any]] = []
    counts: dict[Key, dict[str, dict[str, Any]]] = {}
    samples: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    wide: dict[str, tuple[float, str]] = {}
    drawn: dict[str, Any] = {}
    for name, model in models.items():
        template = (chat_template or {}).get(name)
        with contextlib.ExitStack() as exits:
            con = exits.enter_context(contextlib.closing(store.connect()))
            served = {name: _served(model, template)}
            work = Work(
                store, con, Pool("", {}), progress, exits, models=served, judge=judge, retry_errors=retry_errors
            )
            for task, problems in tasks.items():
                pose(work, task, problems)
                for condition in settings.conditions:
                    label = " ".join(filter(None, (name, task, condition.mode, _budget(condition))))
                    found = answers(work, name, problems, settings, condition, label, template)
                    key = task, condition.mode, condition.budget
                    where = {"model": name, "task": task, "mode": condition.mode, "budget": condition.budget}
                    results.append(where | measured(found))
                    samples += _shown(where, found)
                    own = {one.id: one.counted for one in found}
                    for other, theirs in _compared(counts.setdefault(key, {})):
                        comparisons.append(where | {"against": other, **compare(theirs, own)})
                    counts[key][name] = own
                    if (said := _advice(task, name, found, settings.n)) is not None:
                        wide[task] = max(said, wide.get(task, said))
            drawn |= work.drawn
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": version("cuvee"),
        "settings": settings.model_dump(mode="json", exclude_defaults=True),
        "models": {name: {"model": model.model, "identity": identity(model)} for name, model in models.items()},
        "tasks": [*tasks],
        "modes": [*settings.modes],
        "budgets": [*settings.budgets],
        "n": settings.n,
        "max_tokens": settings.max_tokens,
        "results": results,
        "comparisons": comparisons,
        "samples": samples,
        "drawn": drawn,
        "advice": [*_cut_off(results, settings.max_tokens), *(said for _, said in wide.values())],
        "warnings": store.warnings,
    }


def _served(model: Model, template: str | None) -> Model:
    """The model, served with this chat template in place of its own."""
    if template is None or model.url is not None:
        return model
    words = (*model.serve.extra_args, "--chat-template", template)
    return model.model_copy(update={"serve": model.serve.model_copy(update={"extra_args": words})})


def _compared(before: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The first model, and the one before this."""
    names = [*before]
    return [(name, before[name]) for name in dict.fromkeys([*names[:1], *names[-1:]])]


def _budget(condition: Condition) -> str:
    return "" if condition.budget is None else f"budget {condition.budget}"


def _advice(task: str, name: str, found: list[Answered], n: int) -> tuple[float, str] | None:
    """What more samples would do for a task with few problems, behind half the width of the model's interval."""
    if len(found) >= FEW_PROBLEMS or n >= MANY_SAMPLES or (widths := wider(found, n, MANY_SAMPLES)) is None:
        return None
    now, then = widths
    if then > WORTH * now:
        return None
    return now, (
        f"{task} has {len(found)} problems: {name}'s accuracy is known to ±{100 * now:.1f} points. With n: {MANY_SAMPLES} "
        f"instead of {n} it would be about ±{100 * then:.1f}; what is there is kept"
    )


def _cut_off(results: Sequence[Mapping[str, Any]], max_tokens: int) -> list[str]:
    """What a longer limit would do, where many answers are cut off."""
    most = max(results, key=lambda one: one["cut_off"] or 0.0, default=None)
    if most is None or (most["cut_off"] or 0.0) <= CUT_OFF_WARNING:
        return []
    return [
        f"{most['cut_off']:.0%} of {most['model']}'s answers to {most['task']} are cut off at {max_tokens:,} tokens and count as "
        "wrong; with a larger max_tokens they are gone on with, not drawn again"
    ]


def _shown(where: Mapping[str, Any], found: list[Answered]) -> list[dict[str, Any]]:
    """A few problems, the same for every model: ids are hashes, so the first ones are any."""
    return [
        {
            **where,
            "id": one.id,
            "prompt": one.prompt,
            "answer": one.answer,
            "samples": [
                {
                    "index": sample.index,
                    "outcome": "cut off" if sample.cut_off else sample.outcome,
                    "extracted": sample.extracted,
                    "reason": sample.reason,
                    "tokens": sample.tokens,
                    "reasoning": sample.reasoning,
                    "text": sample.text,
                }
                for sample in one.samples
            ],
        }
        for one in found[:SHOWN]
    ]


def asked_as(model: Model, prompt: Prompt) -> Model:
    """The model, asked by this prompt whatever its own is."""
    return model.model_copy(update={"prompt": prompt})


def write(folder: Path, data: Mapping[str, Any]) -> list[Path]:
    """Writes evaluation.json, samples.jsonl and the plots; gives their paths."""
    from train.evaluation.plots import plots

    folder.mkdir(parents=True, exist_ok=True)
    whole = {key: value for key, value in data.items() if key != "samples"}
    files = {
        "evaluation.json": json.dumps(whole, indent=2, default=str),
        "samples.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in data["samples"]),
        **plots(data),
    }
    for name, text in files.items():
        (folder / name).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in files]
