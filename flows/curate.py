"""The whole job, in order: read the pool, measure, decide after every annotator, publish.

`curate` calls its steps directly; `curate_flow` runs the same steps as tasks of a Prefect flow. Nothing that matters is
held by either: every step finds in the store what it did before, so a rerun goes on where the last one stopped.
"""

import contextlib
import functools
import importlib.metadata
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

import duckdb
import pyarrow as pa

from curation import balance
from curation import pool as pools
from curation.annotate import Work, count
from curation.asked import Asked
from curation.balance import Balanced
from curation.balancing.targets import RULE
from curation.budget import Budget, BudgetSpent
from curation.contamination import Contamination
from curation.duck import arrow
from curation.judge_record import record
from curation.model import served_name
from curation.progress import Progress
from curation.publish import Dataset, publish
from curation.rules import Decisions
from curation.sampled import Sampled
from curation.store import Store, WorkspaceDamaged
from curation.verify import JUDGE
from distill.building import Builder
from flows import distill
from flows.recipe import AnnotatorStep, Loaded

P = ParamSpec("P")
T = TypeVar("T")
MISSED = 10
"""Targets of the balance that were missed and are told one by one."""


class StepFailed(RuntimeError):
    """A step could not be finished; the reason is its cause."""

    def __init__(self, step: str) -> None:
        super().__init__(f"step `{step}` failed")
        self.step = step


class Call(Protocol):
    """How a step is run: directly, or as a task of a flow."""

    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


def directly(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a step; what goes wrong is told with the step's name."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        raise StepFailed(name) from error


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    dataset: Dataset | None
    """The dataset; None when the run ended before publishing (`until`)."""
    new: bool
    """Whether a version was published: False when the newest has the same content."""
    drawn: Mapping[str, Mapping[str, int]]
    """Samples and tokens drawn in this run, by annotator; empty when nothing was sampled."""
    warnings: list[str]
    so_far: Mapping[str, Any] | None = None
    """`counts`, `funnel` of the rules applied, and `sources`, when the run ended before publishing."""
    spent: str | None = None
    """What is left to do, when the run ended because its budget was spent."""


def curate(
    loaded: Loaded,
    workspace: str,
    *,
    until: str | None = None,
    measure_all: bool = False,
    budget: Budget | None = None,
    retry_errors: bool = False,
    progress: Progress | None = None,
    call: Call = directly,
) -> Outcome:
    """Runs a recipe in a workspace.

    until: stop after this annotator, or after reading the pool with `pool`; nothing is published.
    measure_all: measure also what rules have dropped already; changes no decision.
    retry_errors: grade again what a grader failed at.
    budget: what may be spent; when it is, nothing is published and `Outcome.spent` says what is left.
    """
    store = Store(workspace)
    with store.locked(), _damage_told(store):
        progress = progress if progress is not None else Progress()
        return _curate(loaded, store, until, measure_all, budget, retry_errors, progress, call)


@contextlib.contextmanager
def _damage_told(store: Store) -> Iterator[None]:
    """When a query fails because a part is damaged inside, sets that part aside and says so."""
    try:
        yield
    except (StepFailed, duckdb.Error) as error:
        cause = error.__cause__ if isinstance(error, StepFailed) else error
        damaged = store.set_damaged_aside() if isinstance(cause, (duckdb.Error, pa.ArrowException)) else []
        if not damaged:
            raise
        raise WorkspaceDamaged(
            f"{', '.join(damaged)} cannot be read to the end and is set aside (named .damaged): "
            "run the same command again, and what it held is made again"
        ) from error


def _curate(
    loaded: Loaded,
    store: Store,
    until: str | None,
    measure_all: bool,
    budget: Budget | None,
    retry_errors: bool,
    progress: Progress,
    call: Call,
) -> Outcome:
    started = time.monotonic()
    recipe = loaded.recipe
    with contextlib.ExitStack() as exits:
        pool = call("pool", pools.read, store, recipe.name, recipe.sources, recipe.max_rejected, progress)
        for key, source in pool.manifest["sources"].items():
            if not source["read"]:
                store.warn(f"sources.{key}: gave no row; look at its `where`")
        con = exits.enter_context(contextlib.closing(store.connect()))
        con.execute(f"create view problems as from {pool.problems(store)}")
        work = Work(
            store,
            con,
            pool,
            progress,
            exits,
            models=recipe.models,
            prompts={name: source.prompt for name, source in recipe.sources.items()},
            judge=loaded.judge,
            retry_errors=retry_errors,
            budget=budget,
        )
        for difference in [*loaded.unlike_rl, *stopped_early(loaded)]:
            store.warn(difference)
        if budget is not None:
            for step in loaded.steps:
                if isinstance(step.annotator, (Sampled, Asked)):
                    budget.check(step.annotator.model, recipe.models[step.annotator.model].price)
        written = call("student", distill.renderer, loaded) if loaded.wanted.distils else None
        decisions = Decisions(con, "problems", list(recipe.sources))
        _apply(decisions, loaded, after=0)
        if until == "pool":
            return _stopped(decisions, work)
        for number, step in enumerate(loaded.steps, start=1):
            decisions.wanted(everything=measure_all)
            decisions.ask(step.condition)
            work.patterns = decisions.patterns(step.measured, loaded.over_counts)
            try:
                columns = call(step.key, step.annotator.measure, work, step.key)
            except StepFailed as error:
                if isinstance(error.__cause__, BudgetSpent):
                    return _stopped(decisions, work, f"{step.key}: {error.__cause__}")
                raise
            decisions.add(step.measured, columns)
            _apply(decisions, loaded, after=number)
            if until == step.key:
                return _stopped(decisions, work)
        balanced = None
        if recipe.balance is not None:
            balanced = call(RULE, _balance, store, decisions, loaded)
        decisions.finish(recipe.holdout, recipe.seed)
        builder = distill.builder(loaded, work, decisions, written)
        for name in loaded.wanted.sets:
            try:
                call(f"sets.{name}", distill.build, builder, decisions, recipe, name)
            except StepFailed as error:
                if isinstance(error.__cause__, BudgetSpent):
                    return _stopped(decisions, work, f"sets.{name}: {error.__cause__}")
                raise
        seconds = time.monotonic() - started
        dataset, new = call("publish", _publish, store, con, decisions, balanced, loaded, work, builder, seconds)
        return Outcome(dataset, new, work.drawn, store.warnings)


def _stopped(decisions: Decisions, work: Work, spent: str | None = None) -> Outcome:
    """What is known of a run that ends early, as asked."""
    decisions.finish()
    kept, problems = work.con.execute("select count(*) filter (kept), count(*) from decisions").fetchall()[0]
    read, rejected = work.pool.manifest["read"], work.pool.manifest["rejected"]
    counts = {"read": read, "rejected": rejected, "problems": problems, "kept": kept, "dropped": problems - kept}
    so_far = {"counts": counts, "funnel": decisions.funnel(), "sources": work.pool.manifest["sources"]}
    return Outcome(None, False, work.drawn, work.store.warnings, so_far, spent)


def _apply(decisions: Decisions, loaded: Loaded, after: int) -> None:
    for rule in loaded.rules:
        if rule.after == after:
            decisions.apply(rule)


def _balance(store: Store, decisions: Decisions, loaded: Loaded) -> Balanced:
    wanted = loaded.recipe.balance
    assert wanted is not None
    balanced = balance.apply(decisions, wanted, loaded.recipe.seed)
    for missed in balanced.missed[:MISSED]:
        store.warn(str(missed))
    if (more := len(balanced.missed) - MISSED) > 0:
        store.warn(f"balance: {more:,} more targets were missed; `cuvee inspect {loaded.recipe.name}` lists all")
    return balanced


def _publish(
    store: Store,
    con: duckdb.DuckDBPyConnection,
    decisions: Decisions,
    balanced: Balanced | None,
    loaded: Loaded,
    work: Work,
    builder: Builder,
    seconds: float,
) -> tuple[Dataset, bool]:
    recipe, pool = loaded.recipe, work.pool
    kept, problems = con.execute("select count(*) filter (kept), count(*) from decisions").fetchall()[0]
    counts = {
        "read": pool.manifest["read"],
        "rejected": pool.manifest["rejected"],
        "problems": problems,
        "kept": kept,
        "dropped": problems - kept,
    }
    # A row is in one place: a pool that changed under the run, or a join that lost a row, must not be published.
    assert counts["kept"] + counts["dropped"] + counts["rejected"] == counts["read"], counts
    licences = arrow(
        con,
        """select source, license, count(*) as problems, count(*) filter (kept) as kept
        from decisions group by all order by source, license""",
    )
    manifest = {
        "name": recipe.name,
        "code_version": importlib.metadata.version("cuvee"),
        "recipe": loaded.resolved,
        "pool": {
            "name": pool.manifest["name"],
            "version": pool.version,
            "sources": pool.manifest["sources"],
        },
        "annotators": [_record(step, work, loaded) for step in loaded.steps],
        "judge": _judged(loaded, store, con),
        "unlike_rl": loaded.unlike_rl,
        "counts": counts,
        "rules": decisions.funnel(),
        "balance": None if balanced is None else balanced.record(),
        "licenses": licences.to_pylist(),
        "drawn": work.drawn,
        "seconds": round(seconds, 1),
    }
    built = {name: builder.built[name] for name in recipe.sets}
    manifest |= distill.record(loaded, builder, built)
    besides = [step.prefix + name for step in loaded.steps for name in step.annotator.BESIDES]
    sets = {name: one.rows for name, one in built.items()}
    order = f"{decisions.source_order}, row"
    return publish(store, con, sets, order, manifest, loaded.yaml, besides, distill.tables(built))


def _record(step: AnnotatorStep, work: Work, loaded: Loaded) -> dict[str, Any]:
    """What the manifest says of an annotator: enough to decide again, and to find its rollouts."""
    record: dict[str, Any] = {
        "key": step.key,
        "annotator": step.annotator.NAME,
        "prefix": step.prefix,
        "columns": step.measured.columns.names,
        "settings": step.annotator.settings(),
    }
    if isinstance(step.annotator, Sampled):
        sources = list(work.pool.manifest["sources"])
        rollouts = step.annotator.rollouts(work, sources)
        record |= {
            "n": step.annotator.n,
            "max_tokens": step.annotator.max_tokens,
            "cut_off": step.annotator.cut_off,
            "settles": _settles(step, loaded),
            "rollouts": {source: rollouts[source].hash for source in sources},
        }
    if isinstance(step.annotator, Contamination):
        record["items"] = dict(Counter(item.benchmark for item in step.annotator.items))
    return record


def _judged(loaded: Loaded, store: Store, con: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
    """The judge, the problems that name it, and the last measurement of it here; None where no problem names one."""
    judge = loaded.judge
    problems = count(con, f"decisions where verifier = '{JUDGE}'")
    if judge is None or not problems:
        return None
    measured, name = record(store, judge), served_name(judge.model)
    if measured is None:
        store.warn(
            f"the judge {name} was never measured in this workspace, and the card says so; do it on labelled rows: "
            "cuvee verify FILE --judge MODEL"
        )
    return {
        "model": name,
        "hash": judge.hash,
        "settings": judge.settings(),
        "problems": problems,
        "measured": None if measured is None else measured["measured"][-1],
    }


def stopped_early(loaded: Loaded) -> list[str]:
    """What the balance compares rows by although some of them were sampled less than others."""
    reads = loaded.recipe.balance.reads if loaded.recipe.balance is not None else set()
    early = {step.key for step in loaded.steps if _settles(step, loaded)}
    return [
        f"balance reads {', '.join(read)}, of samples that stop as soon as the rules are settled: to compare rows, measure "
        "those that are kept in full (is: pass_rate, settle: never), and read that"
        for step in loaded.steps
        if (read := sorted({name.lower() for name in step.measured.columns.names} & reads))
        and {step.key, *step.measured.of} & early
    ]


def _settles(step: AnnotatorStep, loaded: Loaded) -> list[str]:
    """The rules and conditions that sampling stopped at; none when all n samples were drawn."""
    if getattr(step.annotator, "settle", None) != "early":
        return []
    return [rule.name for rule in loaded.over_counts if step.key in rule.reads]


def curate_flow(loaded: Loaded, workspace: str, **options: Any) -> Outcome:
    """`curate` as a Prefect flow, one task a step. Needs a Prefect API (flows/server.py)."""
    import prefect
    from prefect.cache_policies import NO_CACHE

    def as_task(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        # Work and store hold locks and connections, and our store is the truth: nothing goes through Prefect's results.
        # Prefect keeps the functions it ran until the process ends; what they worked on should go before that.
        once = [functools.partial(directly, name, function, *args, **kwargs)]

        def step() -> T:
            return once.pop()()

        return prefect.task(name=name, cache_policy=NO_CACHE)(step)()

    @prefect.flow(name="curate", flow_run_name=loaded.recipe.name, validate_parameters=False)
    def curate_recipe(recipe: str, workspace: str) -> Outcome:
        return curate(loaded, workspace, call=as_task, **options)

    outcome: Outcome = curate_recipe(loaded.recipe.name, workspace)
    return outcome
