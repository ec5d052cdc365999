"""Annotators: what is measured about problems, and the one loop that measures it.

An annotation is columns about problems, stored per problem id under the hash of the settings that change its values.
Measuring is always the same: *find what is missing, compute it, commit it*. So a run that was killed, a pool that grew
and a run that changes nothing are one case.

A new annotator is one file: a class with its settings as fields, `COLUMNS`, and `annotate(problems)`; and one line where
the names are listed (`flows/recipe.py`).
"""

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curation import problem
from curation.budget import Budget
from curation.duck import arrow, batches
from curation.graders import Graders
from curation.judge import Judge
from curation.judging import Grader, graders_of
from curation.model import Model, ModelError, RunningServer, ServerError, api_key, serve
from curation.pool import Pool
from curation.progress import Progress, Step
from curation.store import Store, settings_hash
from curation.verify import JUDGE
from curation.verify.bubblewrap import INSTALL
from curation.verify.pool import graders

CHUNK_ROWS = 1024
SECONDS_BETWEEN_COMMITS = 5.0


class GraderMissing(ValueError):
    """Problems name a grader that this run cannot have."""


class HowItRuns:
    """Marks a field that says how the work runs and changes no value: `Annotated[int, HowItRuns()]`. Not hashed."""


@dataclass
class Work:
    """What measuring needs: where results lie, the problems, and how to show progress.

    `con` has a view `problems` (the pool) and a table `wanted` (column id): the problems to measure now.
    """

    store: Store
    con: duckdb.DuckDBPyConnection
    pool: Pool
    progress: Progress
    exits: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What the run has to end at its end: servers that were started for it."""
    models: Mapping[str, Model] = field(default_factory=dict)
    """The recipe's models, by name."""
    prompts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """How prompts differ by source."""
    patterns: str | None = None
    """When sampling may stop, for the annotator that measures now: SQL with id and pattern (rules.Decisions.patterns)."""
    judge: Judge | None = None
    """What grades problems whose verifier is `judge`."""
    retry_errors: bool = False
    """Whether rollouts whose grader failed are graded again."""
    budget: Budget | None = None
    """What the run may spend."""
    drawn: dict[str, dict[str, int]] = field(default_factory=dict)
    """Samples and tokens that this run drew, by the annotator's key; empty when all was there."""
    running: dict[str, tuple[RunningServer, ...]] = field(default_factory=dict)
    """Model servers that are open, by the settings of their model."""
    _grader: Grader | None = None
    """The judge, once it was needed."""

    def servers(self, model: Model) -> tuple[RunningServer, ...]:
        """The model's servers; reached or started at the first call, ended with the run.

        ModelError and ServerError say which of the recipe's models it is.
        """
        key = model.model_dump_json()
        if key not in self.running:
            try:
                self.running[key] = self.exits.enter_context(
                    serve(model, log=self._log(model), progress=self.progress.line)
                )
            except (ModelError, ServerError) as error:
                if (name := next((name for name, known in self.models.items() if known == model), None)) is not None:
                    error.args = (f"models.{name}: {error}",)
                raise
            for server in self.running[key]:
                if not server.reached:
                    self.store.warn(f"{server.url} did not answer when the run began")
        return self.running[key]

    def graders(self) -> Graders:
        """Who grades the wanted problems; a judge's servers are reached or started at the first call that needs them.

        Raises GraderMissing where problems name a judge and the recipe has none, or a tool that is not installed.
        """
        self.check_tools()
        judged = count(self.con, f"problems semi join wanted using (id) where verifier = '{JUDGE}'")
        if not judged:
            return Graders(graders())
        if self.judge is None:
            raise GraderMissing(
                f"{judged} problems name the verifier `{JUDGE}`, and the recipe has no judge: "
                f"add `{JUDGE}: {{model: ...}}` with one of its models"
            )
        if self._grader is None:
            servers = self.servers(self.judge.model)
            asked = graders_of(self.judge, servers, api_key(self.judge.model), self.progress.line)
            self._grader = self.exits.enter_context(asked)
            if self.budget is not None:
                self.budget.hire(self.judge.model.price, self.judge.model.serve.tensor_parallel_size * len(servers))
        return Graders(graders(), self._grader)

    def check_tools(self) -> None:
        """Raises GraderMissing where wanted problems need a tool that is not installed: an error for each of them would be
        stored, and samples drawn for nothing.
        """
        code = count(self.con, "problems semi join wanted using (id) where verifier = 'code'")
        if code and shutil.which("bwrap") is None:
            raise GraderMissing(f"{code} problems name the verifier `code`. {INSTALL}")

    @property
    def folder(self) -> Path:
        """A folder of this machine for files of the run that no other reads: the workspace where it is one."""
        return Path(self.store.root) if self.store.local else Path(tempfile.gettempdir()) / "cuvee"

    def _log(self, model: Model) -> Path:
        name = re.sub(r"\W+", "-", model.model.rstrip("/").rsplit("/", 1)[-1])
        return self.folder / "logs" / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"


class Annotator(BaseModel):
    """Base of all annotators: its settings are its fields, frozen; a key it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    """Raised when the same settings would give other values, or a default changes."""
    COLUMNS: ClassVar[pa.Schema]
    """The columns it adds; booleans are what rules test, NULL when unknown."""
    BESIDES: ClassVar[tuple[str, ...]] = ()
    """Columns that speak of the workspace rather than of the problem: no content of a dataset."""
    UNIT: ClassVar[str] = "rows"

    def settings(self) -> dict[str, Any]:
        """What changes the values: name, version, and fields that differ from their defaults."""
        runs = {
            name
            for name, info in type(self).model_fields.items()
            if any(isinstance(m, HowItRuns) for m in info.metadata)
        }
        changed = self.model_dump(mode="json", exclude_defaults=True, exclude=runs)
        return {"annotator": self.NAME, "version": self.VERSION, **changed}

    def annotate(self, problems: pa.Table) -> pa.Table:
        """`id` and COLUMNS for every row of `problems`, one problem at a time; needs no workspace.

        May depend only on what the id hashes: prompt, messages, answer, verifier and its arguments.
        """
        raise NotImplementedError  # those that sample, or look at the whole pool, have `measure` instead

    def measure(self, work: Work, name: str) -> pa.Table:
        """`id` and COLUMNS for every wanted problem; what the workspace lacks is computed and committed.

        name: the annotator's key in the recipe, for progress.
        """
        missing = self.missing(work)
        total = count(work.con, missing)
        if total:
            folder = self.declare(work)
            reader = batches(work.con.cursor(), f"from {missing}", CHUNK_ROWS)
            with work.progress.step(name, total, self.UNIT) as step:
                commit_chunks(
                    work.store, folder, (pa.Table.from_batches([batch]) for batch in reader), self.checked, step
                )
            work.store.merge(folder)
        return self.stored(work)

    def missing(self, work: Work) -> str:
        """SQL for the wanted problems that the workspace has no row for."""
        have = work.store.scan(self.folder(work), self.table_schema())
        return f"problems semi join wanted using (id) anti join {have} using (id)"

    def stored(self, work: Work) -> pa.Table:
        """`id` and COLUMNS of the wanted problems, as far as the workspace has them; nothing is computed."""
        rows = f"{work.store.scan(self.folder(work), self.table_schema())} semi join wanted using (id)"
        return one_row_per_id(work.con, rows, self.COLUMNS)

    def inputs(self, work: Work) -> dict[str, str]:
        """What else than the settings its values depend on."""
        return {}

    def folder(self, work: Work) -> str:
        """Where its values lie."""
        return work.store.path("annotations", self.NAME, settings_hash(self.settings() | self.inputs(work)))

    def declare(self, work: Work) -> str:
        """Writes the settings beside the values; gives the folder."""
        folder = self.folder(work)
        work.store.declare(folder, self.settings() | self.inputs(work))
        return folder

    def checked(self, problems: pa.Table) -> pa.Table:
        """`annotate`, with its promise held: the same ids in the same order, the columns it declares."""
        out = self.annotate(problems).cast(self.table_schema())
        assert out["id"].equals(problems["id"]), f"{self.NAME} changed the ids of its chunk"
        return out

    @classmethod
    def table_schema(cls) -> pa.Schema:
        return pa.schema([problem.SCHEMA.field("id"), *cls.COLUMNS])


def commit_chunks(
    store: Store,
    folder: str,
    chunks: Iterator[pa.Table],
    compute: Callable[[pa.Table], pa.Table],
    step: Step,
) -> None:
    """Computes chunk by chunk and commits a part every few seconds, so that a kill loses seconds."""
    done: list[pa.Table] = []
    committed = time.monotonic()
    try:
        for chunk in chunks:
            done.append(compute(chunk))
            step.advance(chunk.num_rows)
            if time.monotonic() - committed >= SECONDS_BETWEEN_COMMITS:
                store.append(folder, pa.concat_tables(done))
                done, committed = [], time.monotonic()
    finally:
        if done:
            store.append(folder, pa.concat_tables(done))


def one_row_per_id(con: duckdb.DuckDBPyConnection, rows: str, columns: pa.Schema) -> pa.Table:
    """Rows with one row per id: of two writers' rows, which are equal, the one in the part with the smaller name."""
    names = ", ".join(f'"{name}"' for name in columns.names)
    return arrow(
        con,
        f"select id, {names} from {rows} qualify row_number() over (partition by id order by filename) = 1",
    )


def count(con: duckdb.DuckDBPyConnection, rows: str) -> int:
    return int(con.execute(f"select count(*) from {rows}").fetchall()[0][0])
