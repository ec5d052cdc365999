"""What a run would do, before it does it: rows in the workspace and missing, the prompts, and what the rest would cost.

`plan` goes the way of `curate` and computes nothing but the pool: a problem whose measurement is missing counts as one
that goes on, so every figure is the most that can come. With a pilot it computes what needs no model, samples some of the
problems (they are kept, like all samples), and says from these what the others will take.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation import pool as pools
from curation.annotate import Work, count
from curation.budget import Price
from curation.client import Client, SamplingError
from curation.duck import literal
from curation.model import Model, ServerError, api_key
from curation.progress import Progress
from curation.prompt import Message, Prompt
from curation.rules import Decisions
from curation.sampled import Sampled
from curation.standing import Group
from curation.store import Store
from flows.curate import directly
from flows.recipe import AnnotatorStep, Loaded

RESAMPLED = 2000
LEVEL = 0.9


def plan(
    loaded: Loaded, workspace: str, *, pilot: int | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """What a run of the recipe would do, as plain data. pilot: so many problems are sampled for an estimate."""
    store, recipe = Store(workspace), loaded.recipe
    progress = progress if progress is not None else Progress()
    with store.locked(), contextlib.ExitStack() as exits:
        pool = directly("pool", pools.read, store, recipe.name, recipe.sources, recipe.max_rejected, progress)
        con = exits.enter_context(contextlib.closing(store.connect()))
        con.execute(f"create view problems as from {pool.problems(store)}")
        prompts = {name: source.prompt for name, source in recipe.sources.items()}
        work = Work(store, con, pool, progress, exits, models=recipe.models, prompts=prompts)
        planner = _Planner(loaded, work, pilot)
        annotators = planner.annotators()
        return {
            "recipe": recipe.name,
            "problems": count(con, "problems"),
            "annotators": annotators,
            "warnings": [*loaded.unlike_rl, *store.warnings],
        }


@dataclass
class _Planner:
    loaded: Loaded
    work: Work
    pilot: int | None

    def annotators(self) -> list[dict[str, Any]]:
        decisions = Decisions(self.work.con, "problems", list(self.loaded.recipe.sources))
        self._apply(decisions, 0)
        chosen = False
        entries = []
        for number, step in enumerate(self.loaded.steps, start=1):
            decisions.wanted()
            self.work.patterns = decisions.patterns(step.measured, self.loaded.rules)
            if isinstance(step.annotator, Sampled):
                if self.pilot and not chosen:
                    self._choose(self.pilot)
                    chosen = True
                entries.append(self._sampled(step, step.annotator))
            else:
                entries.append(self._other(step))
            decisions.add(step.measured, step.annotator.stored(self.work))
            self._apply(decisions, number)
        return entries

    def _apply(self, decisions: Decisions, after: int) -> None:
        for rule in self.loaded.rules:
            if rule.after == after:
                decisions.apply(rule)

    def _choose(self, pilot: int) -> None:
        """Makes the table `pilot`: some of the problems that are wanted, the same ones every time."""
        self.work.con.execute(
            f"""create table pilot as select id from wanted
            order by md5_number_lower({literal(str(self.loaded.recipe.seed))} || ':pilot:' || id) limit {pilot}"""
        )

    def _other(self, step: AnnotatorStep) -> dict[str, Any]:
        annotator = step.annotator
        wanted, missing = count(self.work.con, "wanted"), count(self.work.con, annotator.missing(self.work))
        if self.pilot and missing:
            directly(step.key, annotator.measure, self.work, step.key)
        return {"key": step.key, "annotator": annotator.NAME, "problems": wanted, "missing": missing}

    def _sampled(self, step: AnnotatorStep, annotator: Sampled) -> dict[str, Any]:
        work, model = self.work, self.work.models[annotator.model]
        groups = annotator.groups(work)
        known = annotator.standing(work, groups)
        outcomes = known.outcomes
        entry = {
            "key": step.key,
            "annotator": annotator.NAME,
            "problems": outcomes.problems,
            "missing": known.open,
            "samples_at_most": known.missing,
            "samples_about": round(sum(map(outcomes.left, range(outcomes.problems)))),
            "to_grade": known.ungraded.num_rows,
            "model": annotator.model,
            "sampling": {
                "n": annotator.n,
                "max_tokens": annotator.max_tokens,
                "temperature": annotator.temperature,
                "top_p": annotator.top_p,
                **annotator.sampling().model_dump(exclude_defaults=True),
            },
            "prompts": _prompts(work, annotator, groups, model),
        }
        if self.pilot and known.open:
            entry["pilot"] = self._pilot(step, annotator, known.open)
        return entry

    def _pilot(self, step: AnnotatorStep, annotator: Sampled, missing: int) -> dict[str, Any]:
        """Samples the pilot's problems, as far as they are wanted here, and says what all would take."""
        work, model = self.work, self.work.models[annotator.model]
        work.con.execute("create table all_wanted as from wanted")
        work.con.execute("create or replace table wanted as from all_wanted semi join pilot using (id)")
        reached = count(work.con, "wanted")
        work.servers(model)  # its start is no part of the time that samples take
        began = time.monotonic()
        directly(step.key, annotator.measure, work, step.key)
        seconds = time.monotonic() - began
        tokens = _tokens(annotator, work)
        work.con.execute("create or replace table wanted as from all_wanted")
        work.con.execute("drop table all_wanted")
        drawn = work.drawn.get(step.key, {"drawn": 0, "tokens": 0})
        speed = drawn["tokens"] / seconds if drawn["drawn"] else None
        return _estimate(tokens, reached / max(1, count(work.con, "pilot")), missing, speed, model)


def _prompts(work: Work, annotator: Sampled, groups: list[Group], model: Model) -> list[dict[str, str]]:
    """The first prompt of every group of sources that share one, as the model sees it."""
    shown = []
    for group in groups:
        first = group.problems.slice(0, 1).to_pylist()[0]
        text = rendered(work, model, group.rollouts.prompt, first, annotator.patience)
        shown.append({"id": first["id"], "text": text})
    return shown


def rendered(work: Work, model: Model, prompt: Prompt, problem: dict[str, Any], patience: float) -> str:
    """A problem as the model sees it: through the chat template of its tokenizer, or of its server when that tells.

    Where neither can be had, the messages, each behind its role.
    """
    put = prompt.render(problem["prompt"], problem["messages"] or [])
    if isinstance(put, str):
        return put + prompt.prefill_after(put)
    try:
        if model.url is None:
            text = _through_tokenizer(model, prompt, put)
        else:
            text = asyncio.run(_through_server(work, model, prompt, put, patience))
        return text + (prompt.prefill_after(text) if model.url is None else "")
    except (
        OSError,
        ValueError,
        ServerError,
        SamplingError,
    ):  # no such files, no template, no server, one that does not tell
        turns = "\n".join(f"[{turn['role']}] {turn['content']}" for turn in put)
        return f"{turns}\n[assistant] {prompt.prefill}".rstrip()


def _through_tokenizer(model: Model, prompt: Prompt, put: list[Message]) -> str:
    from transformers import AutoTokenizer

    folder = Path(model.model).expanduser()
    tokenizer = AutoTokenizer.from_pretrained(folder if folder.is_dir() else model.model, revision=model.revision)
    return str(
        tokenizer.apply_chat_template(put, tokenize=False, add_generation_prompt=True, **prompt.chat_template_kwargs)
    )


async def _through_server(work: Work, model: Model, prompt: Prompt, put: list[Message], patience: float) -> str:
    async with Client(work.servers(model), api_key(model), 1, min(patience, 10)) as client:
        return await client.detokenize(await client.tokenize(put, prompt, "plan"), "plan")


def _tokens(annotator: Sampled, work: Work) -> NDArray[np.float64]:
    """Samples, tokens and prompt tokens of every wanted problem: what it took, were it for these settings alone."""
    rows = []
    groups = annotator.groups(work)
    outcomes = annotator.standing(work, groups).outcomes
    first = 0
    for group in groups:
        used = [outcomes.prefix(first + number).used for number in range(group.problems.num_rows)]
        first += group.problems.num_rows
        asked = group.problems.select(["id", "verifier"]).append_column("used", [used])
        work.con.register("asked", asked)
        chosen = group.rollouts.chosen(annotator.n, annotator.max_tokens, "asked")
        rows += work.con.execute(
            f"""select count(sample_index), coalesce(sum(tokens), 0), coalesce(sum(prompt_tokens), 0)
            from asked left join {chosen} as r on r.problem_id = asked.id and r.sample_index < asked.used group by asked.id"""
        ).fetchall()
        work.con.unregister("asked")
    return np.array(rows, dtype=float).reshape(-1, 3)


def _estimate(
    spent: NDArray[np.float64], share: float, missing: int, speed: float | None, model: Model
) -> dict[str, Any]:
    """What `missing` problems will take, by those that were sampled; intervals by bootstrap over problems.

    spent: samples, tokens, prompt tokens of each sampled problem. share: of the pilot's problems came so far.
    speed: tokens a second of the pilot.
    """
    resampled = spent[np.random.default_rng(0).integers(0, len(spent), (RESAMPLED, len(spent)))].mean(axis=1)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) * missing * share
    middle = spent.mean(axis=0) * missing * share
    found: dict[str, Any] = {"problems": len(spent), "share": share}
    for name, place in (("samples", 0), ("tokens", 1), ("prompt_tokens", 2)):
        found[name] = [round(low[place]), round(middle[place]), round(high[place])]
    found["tokens_per_second"] = None if speed is None else round(speed, 1)
    found["hours"] = None if not speed else [round(t / speed / 3600, 3) for t in found["tokens"]]
    found["usd"] = _cost(model.price, model, found)
    return found


def _cost(price: Price | None, model: Model, found: dict[str, Any]) -> list[float] | None:
    if price is None or (price.gpu_hour is not None and found["hours"] is None):
        return None
    gpus = model.serve.tensor_parallel_size * max(1, len(model.urls))
    hours = found["hours"] or [0.0] * 3
    every = zip(hours, found["tokens"], found["prompt_tokens"], strict=True)
    return [round(price.of(hour * 3600, gpus, tokens, prompts), 2) for hour, tokens, prompts in every]
