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
import pyarrow as pa
from numpy.typing import NDArray

from curation import pool as pools
from curation.annotate import Work, count
from curation.asked import Asked, plain_prompt
from curation.budget import Price
from curation.client import Client, SamplingError
from curation.duck import arrow, literal
from curation.model import Model, ServerError, api_key
from curation.progress import Progress
from curation.prompt import Message, Prompt
from curation.rollouts import ROLLOUTS
from curation.rules import Decisions
from curation.sampled import Sampled
from curation.standing import Group, Standing, ids
from curation.store import Store
from distill.sets import sources_of
from distill.teacher import Teacher
from flows.curate import directly
from flows.distill import renderer
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
        work = Work(store, con, pool, progress, exits, models=recipe.models, prompts=prompts, judge=loaded.judge)
        if loaded.wanted.distils:
            directly("student", renderer, loaded)  # a template that cannot be used is told before anything is paid for
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
        self.work.con.execute("create table pilot (id varchar)")
        entries = []
        for number, step in enumerate(self.loaded.steps, start=1):
            decisions.wanted()
            decisions.ask(step.condition)
            self.work.patterns = decisions.patterns(step.measured, self.loaded.over_counts)
            if isinstance(step.annotator, Sampled):
                entries.append(self._sampled(step, step.annotator))
            elif isinstance(step.annotator, Asked):
                entries.append(self._asked(step, step.annotator))
            else:
                entries.append(self._other(step))
            decisions.add(step.measured, step.annotator.stored(self.work))
            self._apply(decisions, number)
        return entries + self._traces(decisions)

    def _apply(self, decisions: Decisions, after: int) -> None:
        for rule in self.loaded.rules:
            if rule.after == after:
                decisions.apply(rule)

    def _traces(self, decisions: Decisions) -> list[dict[str, Any]]:
        """What sets draw of the problems that may be kept: at most n of each, as what will be accepted is open."""
        wanted = self.loaded.wanted
        used = {taken.traces for one in wanted.sets.values() for taken in sources_of(one)}
        entries = []
        for name, drawn in wanted.traces.items():
            if name in used and isinstance(drawn, Teacher) and not drawn.elsewhere:
                decisions.wanted()
                drawn.aim_at_all(self.work)
                entry = self._looked(f"traces.{name}", drawn, *self._known(drawn))
                entry.pop("samples_about")  # no rule settles them early: what is accepted is not known before
                entries.append(entry)
        return entries

    def _known(self, annotator: Sampled) -> tuple[list[Group], Standing]:
        groups = annotator.groups(self.work)
        return groups, annotator.standing(self.work, groups)

    def _other(self, step: AnnotatorStep) -> dict[str, Any]:
        annotator = step.annotator
        wanted, missing = count(self.work.con, "wanted"), count(self.work.con, annotator.missing(self.work))
        if self.pilot and missing:
            directly(step.key, annotator.measure, self.work, step.key)
        return {"key": step.key, "annotator": annotator.NAME, "problems": wanted, "missing": missing}

    def _asked(self, step: AnnotatorStep, annotator: Asked) -> dict[str, Any]:
        """What is asked of a model about every problem; a pilot asks nothing, so what it says is open."""
        work, model, missing = self.work, self.work.models[annotator.model], annotator.missing(self.work)
        votes = f"select coalesce(sum({annotator.votes} - len(have)), 0) from {missing}"
        entry = {
            "key": step.key,
            "annotator": annotator.NAME,
            "problems": count(work.con, "wanted"),
            "missing": count(work.con, missing),
            "votes": int(work.con.execute(votes).fetchall()[0][0]),
            "model": annotator.model,
            "sampling": {"votes": annotator.votes, "max_tokens": annotator.max_tokens}
            | {"temperature": annotator.sampling.temperature},
            "prompts": [],
        }
        for first in arrow(work.con, f"select id, prompt, messages from {missing} order by id limit 1").to_pylist():
            asked = {"prompt": annotator.question(first["prompt"], first["messages"] or []), "messages": []}
            text, trouble = rendered(work, model, plain_prompt(model), asked, annotator.patience)
            entry["prompts"] = [{"id": first["id"], "text": text} | ({"trouble": trouble} if trouble else {})]
        return entry

    def _sampled(self, step: AnnotatorStep, annotator: Sampled) -> dict[str, Any]:
        groups, known = self._known(annotator)
        entry = self._looked(step.key, annotator, groups, known)
        if self.pilot and known.open:
            entry["pilot"] = self._sample(step, annotator, groups, known)
        return entry

    def _looked(self, key: str, annotator: Sampled, groups: list[Group], known: Standing) -> dict[str, Any]:
        work, model = self.work, self.work.models[annotator.model]
        outcomes = known.outcomes
        return {
            "key": key,
            "annotator": annotator.NAME,
            "problems": outcomes.problems,
            "missing": known.open,
            "samples_at_most": known.missing,
            "samples_about": min(known.missing, round(sum(map(outcomes.left, range(outcomes.problems))))),
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

    def _sample(
        self, step: AnnotatorStep, annotator: Sampled, groups: list[Group], known: Standing
    ) -> dict[str, Any] | None:
        """Samples the pilot's problems, as far as they lack samples here, and says what the other problems will take.

        Of the others some surely come here; the rest wait for what samples another annotator draws, and come as often as
        the pilot's problems do. None when there is no problem to try.
        """
        work, con = self.work, self.work.con
        lacking = ids(groups).filter(pa.array(np.frombuffer(known.outcomes.closed, np.uint8) == 0))
        con.register("lacking_ids", pa.table({"id": lacking}))
        con.execute("create or replace table lacking as select id, state from lacking_ids join state using (id)")
        chosen_before = count(con, "pilot")
        if not count(con, "lacking semi join pilot using (id)"):
            chosen_before = 0
            con.execute(
                f"""insert into pilot select id from lacking where state = 'in'
                order by md5_number_lower({literal(str(self.loaded.recipe.seed))} || ':pilot:' || id) limit {self.pilot}"""
            )
        con.execute("create or replace table here as select id from lacking semi join pilot using (id)")
        if not count(con, "here"):
            return None
        before = _spent(work, groups)
        con.execute("create or replace table all_wanted as from wanted")
        con.execute("create or replace table wanted as from here")
        work.servers(work.models[annotator.model])  # its start is no part of the time that samples take
        began = time.monotonic()
        directly(step.key, annotator.measure, work, step.key)
        seconds = time.monotonic() - began
        con.execute("create or replace table wanted as from all_wanted")
        took = _spent(work, groups) - before
        drawn = work.drawn.get(step.key)  # None: what lacked were verdicts only
        speed = drawn["tokens"] / seconds if drawn is not None and drawn["tokens"] else None
        sure, waiting = (
            count(con, f"lacking anti join pilot using (id) where state {condition} 'in'") for condition in ("=", "<>")
        )
        dropped = max(0, chosen_before - len(took))
        return _estimate(took, dropped, sure, waiting, speed, work.models[annotator.model])


def _prompts(work: Work, annotator: Sampled, groups: list[Group], model: Model) -> list[dict[str, str]]:
    """The first prompt of every group of sources that share one, as the model sees it."""
    shown = []
    for group in groups:
        first = group.problems.slice(0, 1).to_pylist()[0]
        text, trouble = rendered(work, model, group.rollouts.prompt, first, annotator.patience)
        shown.append({"id": first["id"], "text": text} | ({"trouble": trouble} if trouble else {}))
    return shown


def rendered(
    work: Work, model: Model, prompt: Prompt, problem: dict[str, Any], patience: float
) -> tuple[str, str | None]:
    """A problem as the model sees it: through the chat template of its tokenizer, or of its server when that tells.

    Where neither can be had (no such files, no template, no server, one that does not tell), the messages, each behind its
    role, and the reason.
    """
    put = prompt.render(problem["prompt"], problem["messages"] or [])
    if isinstance(put, str):
        return put + prompt.prefill_after(put), None
    try:
        if model.url is None:
            text = _through_tokenizer(model, prompt, put)
        else:
            text = asyncio.run(_through_server(work, model, prompt, put, patience))
        return text + (prompt.prefill_after(text) if model.url is None else ""), None
    except (OSError, ValueError, ServerError, SamplingError) as error:
        turns = "\n".join(f"[{turn['role']}] {turn['content']}" for turn in put)
        return f"{turns}\n[assistant] {prompt.prefill}".rstrip(), str(error).splitlines()[0]


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


def _spent(work: Work, groups: list[Group]) -> NDArray[np.float64]:
    """Samples, tokens and prompt tokens that the store holds of every problem of the table `here`, in order of id."""
    seen = " union all by name ".join(
        f"""select r.problem_id, r.tokens - coalesce(part.tokens, 0) as tokens, r.prompt_tokens
        from {group.rollouts.store.scan(group.rollouts.folder, ROLLOUTS)} as r
        left join {group.rollouts.store.scan(group.rollouts.folder, ROLLOUTS)} as part on part.rollout = r.continues
        where r.problem_id in (select id from here)
        qualify row_number() over (partition by r.rollout) = 1"""
        for group in groups
    )
    rows = work.con.execute(
        f"""select count(problem_id), coalesce(sum(tokens), 0), coalesce(sum(prompt_tokens), 0)
        from here left join ({seen}) as seen on seen.problem_id = here.id group by here.id order by here.id"""
    ).fetchall()
    return np.array(rows, dtype=float)


def _estimate(
    took: NDArray[np.float64], dropped: int, sure: int, waiting: int, speed: float | None, model: Model
) -> dict[str, Any]:
    """What other problems will take, by those of the pilot; intervals by bootstrap over these.

    took: samples, tokens, prompt tokens that each problem of the pilot lacked. dropped: problems of the pilot that did
    not come so far. sure, waiting: the other problems that surely come, and those that may. speed: tokens a second, where
    any were drawn.
    """
    padded = np.vstack([took, np.zeros((dropped, 3))])
    drawn = np.random.default_rng(0).integers(0, len(padded), (RESAMPLED, len(padded)))
    came = np.maximum(1, (drawn < len(took)).sum(axis=1))[:, None]
    totals = padded[drawn].sum(axis=1)
    low, high = np.quantile(
        totals / len(padded) * waiting + totals / came * sure, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0
    )
    middle = padded.mean(axis=0) * waiting + took.mean(axis=0) * sure
    found: dict[str, Any] = {"problems": len(took), "dropped": dropped, "others": sure + waiting}
    for name, place in (("samples", 0), ("tokens", 1), ("prompt_tokens", 2)):
        found[name] = [round(low[place]), round(middle[place]), round(high[place])]
    found["tokens_per_second"] = None if speed is None else round(speed, 1)
    found["hours"] = None if speed is None else [round(tokens / speed / 3600, 3) for tokens in found["tokens"]]
    found["usd"] = _cost(model.price, model, found)
    return found


def _cost(price: Price | None, model: Model, found: dict[str, Any]) -> list[float] | None:
    if price is None or (price.gpu_hour is not None and found["hours"] is None):
        return None
    gpus = model.serve.tensor_parallel_size * max(1, len(model.urls))
    hours = found["hours"] or [0.0] * 3
    every = zip(hours, found["tokens"], found["prompt_tokens"], strict=True)
    return [round(price.of(hour * 3600, gpus, tokens, prompts), 2) for hour, tokens, prompts in every]
