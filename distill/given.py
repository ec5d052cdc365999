"""Traces that came with the problems: a data set's own solutions, another team's distillation, written answers.

    traces:
      theirs: {text: "meta->>'$.solution'", thinking: "meta->>'$.trace'"}     # one of each problem
      many: {text: "(meta->'$.generations')::varchar[]"}                      # several

They become rollouts that no model of the recipe drew, filed under the expressions and the source as it was read: graded,
measured and decided on like any others. A problem whose `text` is NULL, empty, or cannot be computed has none. Equal
texts of one problem are one trace.
"""

from collections.abc import Iterator
from typing import ClassVar

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from curation import problem, sql
from curation.annotate import Work
from curation.duck import batches, literal, mapped, pieces
from curation.grading import grade_missing
from curation.progress import Step
from curation.prompt import Prompt
from curation.rollouts import ROLLOUTS, Rollouts, Sampling
from curation.rules import tried
from curation.settling import never
from curation.standing import NEEDED, Group, standing
from curation.store import settings_hash

VERSION = 1
UNLIMITED = (1 << 31) - 1
BATCH_ROWS = 256
PART_BATCHES = 64
TAGS = r"^\s*<think>\s*|\s*</think>\s*$"
"""What thinking that stands apart may still have around it."""
MOST = 128
"""Traces of one problem that are looked at."""


class Given(BaseModel):
    """Traces in the problems' own columns."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    NAME: ClassVar[str] = "given"

    text: str = Field(min_length=1)
    """SQL over the problem's columns: what the trained turn says, thinking in tags included, or a list of such texts."""
    thinking: str | None = None
    """SQL: what it thinks, where that stands apart; a list where `text` is one, of the same length."""
    cut_off: ClassVar[str] = "wrong"
    model: ClassVar[None] = None

    @property
    def n(self) -> int:
        return MOST

    @property
    def max_tokens(self) -> int:
        return UNLIMITED

    def mistakes(self) -> list[str]:
        """What is wrong with its expressions, as `key: what`."""
        found, kinds = [], {}
        for key in ("text", "thinking"):
            if (expression := getattr(self, key)) is not None:
                try:
                    kinds[key] = sql.check(expression, problem.SCHEMA)
                except sql.ExpressionError as error:
                    found.append(f"{key}: {sql.short(expression)!r} {error}")
        for key, kind in kinds.items():
            if kind not in ("VARCHAR", "VARCHAR[]"):
                found.append(
                    f"{key}: gives {kind}, no text; write ({getattr(self, key)})::varchar, or ::varchar[] for a list"
                )
        if not found and len({kind.endswith("[]") for kind in kinds.values()}) > 1:
            found.append(
                f"thinking: gives {kinds['thinking']} where text gives {kinds['text']}; make both a list, or neither"
            )
        return found

    def rollouts(self, work: Work, sources: list[str]) -> dict[str, Rollouts]:
        """Under what its traces are filed, by source."""
        judge = None if work.judge is None else work.judge.hash
        read = work.pool.manifest["sources"]
        about = {"text": self.text, "thinking": self.thinking, "version": VERSION}
        return {
            source: Rollouts(
                work.store,
                {"given": about, "source": settings_hash({key: read[source][key] for key in ("spec", "resolved")})},
                Prompt(),
                Sampling(),
                judge=judge,
            )
            for source in sources
        }

    def groups(self, work: Work) -> list[Group]:
        """The problems in `wanted`, a group for each source."""
        rows = "problems semi join wanted using (id)"
        sources = [
            source for (source,) in work.con.execute(f"select distinct source from {rows} order by 1").fetchall()
        ]
        columns = f"{', '.join(NEEDED)}, {literal(never(self.n))} as pattern, row"
        return [
            Group(
                rollouts,
                mapped(work.con, f"select {columns} from {rows} where source = {literal(source)}", work.folder),
            )
            for source, rollouts in self.rollouts(work, sources).items()
        ]

    def collect(self, work: Work, name: str) -> list[Group]:
        """Takes over the traces of the problems in `wanted` that the workspace does not have, and grades them."""
        groups = self.groups(work)
        for group in groups:
            self._take_over(work, name, group)
        grade_missing(work, name, groups, standing(work.con, groups, self.n, self.max_tokens, True, work.retry_errors))
        for group in groups:
            work.store.merge(group.rollouts.folder)
            work.store.merge(group.rollouts.verdict_folder)
        return groups

    def _take_over(self, work: Work, name: str, group: Group) -> None:
        rollouts = group.rollouts
        rollouts.declare()
        with work.con.cursor() as cursor:
            cursor.register("asked", group.problems.select(["id"]))
            self._tell(work, name, cursor)
            query = f"""
                with given as ({self._given()}), each as (
                    select id, texts[i] as text, thoughts[i] as reasoning, i - 1 as sample_index, names[i] as rollout
                    from (select *, unnest(range(1, len(names) + 1)) as i from (
                        select *, list_transform(range(1, least(len(texts), {MOST}) + 1), lambda i:
                            md5(concat_ws(chr(0), id, texts[i], coalesce(thoughts[i], chr(1))))) as names from given))
                    where list_position(names, names[i]) = i
                ), named as (from each where {_said("text")})
                select rollout, id as problem_id, sample_index::int as sample_index, text, nullif(reasoning, '') as reasoning,
                    null::int[] as token_ids, null::int as tokens, null::int as prompt_tokens, 'stop' as finish_reason,
                    {UNLIMITED}::int as max_tokens, null::bool as budget_hit, null::varchar as continues,
                    null::varchar as engine, null::varchar as engine_version, null::varchar as dtype,
                    date_trunc('second', now()) as drawn_at, null::double as logprob
                from named anti join {work.store.scan(rollouts.folder, ROLLOUTS)} as there using (rollout)"""
            with work.progress.step(f"{name}: given", unit="traces") as step:
                for piece in pieces(batches(cursor, query, BATCH_ROWS), PART_BATCHES):
                    work.store.append(rollouts.folder, _counted(piece.cast(ROLLOUTS), step))

    def _given(self) -> str:
        """SQL for id, texts and thoughts of the problems asked about; texts is NULL where the two do not fit together."""
        listed = sql.check(self.text, problem.SCHEMA).endswith("[]")
        texts, thoughts = tried(self.text), "null" if self.thinking is None else tried(self.thinking)
        texts = f"({texts})::varchar[]" if listed else f"[({texts})::varchar]"
        thoughts = f"({thoughts})::varchar[]" if listed and self.thinking is not None else f"[({thoughts})::varchar]"
        fit = "true" if self.thinking is None else "len(thoughts) = len(texts)"
        bare = f"list_transform(thoughts, lambda thought: regexp_replace(thought, {literal(TAGS)}, '', 'g'))"
        return f"""
            select id, case when {fit} then texts end as texts, {bare} as thoughts,
                len(texts) as texts_given, not ({fit}) as unlike
            from (select id, {texts} as texts, {thoughts} as thoughts from (
                select {", ".join(problem.SCHEMA.names)} from problems) semi join asked using (id))"""

    def _tell(self, work: Work, name: str, cursor: duckdb.DuckDBPyConnection) -> None:
        """Says which problems have no trace, or more than are looked at."""
        none = f"texts is null or len(list_filter(texts, lambda text: {_said('text')})) = 0"
        [(problems, lacking, first, unlike, odd, long, beyond)] = cursor.execute(
            f"""select count(*), count(*) filter (unlike is not true and ({none})),
                min(id) filter (unlike is not true and ({none})),
                count(*) filter (unlike), min(id) filter (unlike), count(*) filter (texts_given > {MOST}),
                coalesce(sum(texts_given - {MOST}) filter (texts_given > {MOST}), 0) from ({self._given()})"""
        ).fetchall()
        if lacking:
            work.store.warn(
                f"{name}: {lacking:,} of {problems:,} problems have no trace: their `text` is NULL, blank, or cannot be computed "
                f"(the first: {first})"
            )
        if unlike:
            work.store.warn(
                f"{name}: of {unlike:,} problems `text` and `thinking` are not equally long; they have none ({odd})"
            )
        if long:
            work.store.warn(
                f"{name}: {long:,} problems have more than {MOST} traces; {beyond:,} beyond these are not looked at"
            )


def _said(column: str) -> str:
    """SQL: whether a text is more than blanks."""
    return f"regexp_matches(coalesce({column}, ''), '\\S')"


def _counted(rows: pa.RecordBatchReader, step: Step) -> pa.RecordBatchReader:
    def each() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            step.advance(batch.num_rows)
            yield batch

    return pa.RecordBatchReader.from_batches(rows.schema, each())
