"""From tasks as settings name them to problems: held out by a dataset, or read from a source as a recipe's are."""

import pyarrow as pa

from curation import pool as pools
from curation.annotate import count
from curation.decontamination.benchmarks import ANSWERS, PROMPTS
from curation.duck import arrow, quoted
from curation.progress import Progress
from curation.publish import Dataset
from curation.source import Source, SourceError
from curation.sql import ExpressionError, check
from curation.store import Store
from train.evaluation.drawing import Problems, TaskError
from train.evaluation.settings import Evaluation, HeldOut

DOMAIN, DIFFICULTY, MEASURED = "domain", "difficulty", "measured_difficulty"
"""Columns of a dataset that results are told apart by, beside `source`; of difficulties the one that was tagged, or measured."""
MAX_REJECTED = 0.2
FIRST_ROWS = 256


def tasks(settings: Evaluation, dataset: Dataset | None, store: Store, progress: Progress) -> dict[str, Problems]:
    """The problems of every task. dataset: whose held-out problems are asked. Raises TaskError, and what reading raises."""
    found = {}
    for name, task in settings.tasks.items():
        if isinstance(task, Source):
            found[name] = _read(name, task, store, progress)
        elif dataset is None:
            raise TaskError(
                f"{name}: the held-out problems of which dataset? Name a recipe (--recipe), or other problems (--on NAME=FILE)"
            )
        else:
            found[name] = held_out(name, task, dataset, store)
    return found


def held_out(name: str, task: HeldOut, dataset: Dataset, store: Store) -> Problems:
    """The dataset's split `test`: what the rules keep, or everything."""
    rows = f"select * from {dataset.decisions()} where split = 'test'"
    with store.connect() as con:
        schema = arrow(con, f"{rows} limit 0").schema
        if task.where is not None:
            try:
                check(task.where, schema, boolean=True)
            except ExpressionError as error:
                raise TaskError(f"{name}.where: {task.where!r} {error}") from error
        conditions = ["verifier is not null"]
        conditions += [] if task.every else ["kept"]
        conditions += [] if task.where is None else [f"(\n{task.where}\n)"]
        chosen = f"{rows} and {' and '.join(conditions)}"
        if not count(con, f"({chosen})"):
            raise TaskError(_why_empty(name, task, dataset, count(con, f"({rows})"), count(con, f"({rows} and kept)")))
        if without := count(con, f"({rows} and kept and verifier is null)"):
            store.warn(f"{name}: {without:,} held-out problems name no verifier and are not asked")
    hard = next((column for column in (DIFFICULTY, MEASURED) if column in schema.names), None)
    if hard is not None and pa.types.is_floating(schema.field(hard).type):
        chosen = f"select * replace (round({hard})::bigint as {hard}) from ({chosen})"
    by = ("source", *([DOMAIN] if DOMAIN in schema.names else []), *([] if hard is None else [hard]))
    return Problems(chosen, by)


def _why_empty(name: str, task: HeldOut, dataset: Dataset, there: int, kept: int) -> str:
    if not there:
        return (
            f"{name}: {dataset.ref} holds out no problem. Give its recipe a `holdout`, such as 0.1, and run it again; or "
            "name other problems (--on NAME=FILE)"
        )
    if not kept and not task.every:
        return (
            f"{name}: none of the {there:,} problems that {dataset.ref} holds out is kept by its rules. Raise its recipe's "
            f"`holdout` and run it again, or ask also those that were dropped (`{name}: {{every: true}}`)"
        )
    return (
        f"{name}: none of the {kept:,} problems that {dataset.ref} holds out and keeps has a verifier and meets `where`"
    )


def _read(name: str, source: Source, store: Store, progress: Progress) -> Problems:
    try:
        pool = pools.read(store, f"task.{name}", {name: _mapped(source)}, MAX_REJECTED, progress)
    except (SourceError, pools.PoolError) as error:
        raise TaskError(f"{name}: {error}") from error
    return Problems(f"select * from {pool.problems(store)}", prompt=source.prompt)


def _mapped(source: Source) -> Source:
    """The source with its columns of problems and answers found by their usual names, where it does not say."""
    usual = {"prompt": PROMPTS, "answer": ANSWERS}
    if source.reasoning_gym is not None or all(key in source.columns for key in usual):
        return source
    first = next(iter(source.tables(FIRST_ROWS)), None)
    names = [] if first is None else [name for name in _table(first).column_names if not name.startswith("__")]
    own = {name.lower(): name for name in names}
    found = {
        key: quoted(own[known])
        for key, candidates in usual.items()
        if key not in source.columns and (known := next((one for one in candidates if one in own), None)) is not None
    }
    return source.model_copy(update={"columns": {**found, **source.columns}})


def _table(given: tuple[pa.Table, object]) -> pa.Table:
    return given[0]
