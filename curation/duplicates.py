"""Which problems ask the same, or nearly, and whether they agree on the answer.

Two problems ask the same when their texts are equal as they are compared (wording.py). They are near when the Jaccard
similarity of their shingles is at least `threshold` and they name the same numbers and quoted words in the same order: in a
text of 60 words another number leaves it above .8, and asks something else. Candidates come from MinHash (minhash.py), each
is compared exactly (similar.py); only confirmed pairs count.

Words alone do not tell "what is angle A?" from "what is angle B?". Answers do: near problems whose answers the verifier
finds different are not taken for duplicates, they are a `near_conflict` for a person to look at.

    has_duplicate    another problem asks the same, or nearly
    answer_conflict  they ask the same and carry answers that the verifier finds different; NULL when it could not tell
    majority_answer  what three or more sources agree on where the same is asked, against fewer; NULL when there is none
    near_conflict    a near problem has another answer: nearly always another question, else a wrong label
    cluster          the smallest id among those connected by pairs, over any number of steps (its own id when alone)
    cluster_size     how many they are
    same_text        hash of the text as it is compared: equal for problems that ask the same
    near_texts       the confirmed pairs: of each near text the smallest id, the similarity, and whether the answers are the
                     same (NULL: unknown)
    already_in       "name@version/id" of an equal or near problem that a dataset named in `against` has kept

A cluster is evidence, and what a holdout must not split: its ends may be unlike. Which row stays is decided by a rule over
`duplicate` from the pairs (preferred.py), not here.

What is compared of a text, its sketch, is stored per problem id: a pool that grew is compared without reading old texts.
"""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field

from curation.annotate import CHUNK_ROWS, Annotator, Work, commit_chunks, count, one_row_per_id
from curation.dedup.columns import columns, compare, pairs_by_id
from curation.dedup.similar import Pairs
from curation.dedup.sketches import Sketches, from_arrow, sketch, sketched, to_arrow
from curation.dedup.wording import VERSION as WORDING
from curation.duck import batches, connect, literal
from curation.problem import SCHEMA
from curation.publish import Dataset, DatasetError, find
from curation.store import settings_hash
from curation.verify import versions

NEEDED = ("id", "prompt", "messages", "source", "answer", "verifier", "verifier_args")
ANSWERED = ("id", "source", "answer", "verifier", "verifier_args")
NEAR = pa.list_(pa.struct([("id", pa.string()), ("similarity", pa.float64()), ("same_answer", pa.bool_())]))
_ID = pa.schema([SCHEMA.field("id")])
_READ_ROWS, _READ_BYTES = 1 << 15, 1 << 26
"""Texts of a table are read up to so many at a time."""


class Duplicates(Annotator):
    """Finds problems that ask the same, or nearly. Looks at the whole pool, whatever rules dropped."""

    NAME: ClassVar[str] = "duplicates"
    VERSION: ClassVar[int] = 2
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [
            ("has_duplicate", pa.bool_()),
            ("answer_conflict", pa.bool_()),
            ("majority_answer", pa.string()),
            ("near_conflict", pa.bool_()),
            ("cluster", pa.string()),
            ("cluster_size", pa.int64()),
            ("same_text", pa.string()),
            ("near_texts", NEAR),
            ("already_in", pa.string()),
        ]
    )

    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8
    """The Jaccard similarity, 0.5 to 1, from which two texts are near."""
    ngram: Annotated[int, Field(ge=1, le=50)] = 5
    """Tokens in a shingle; texts of fewer are compared whole."""
    by: Literal["words", "characters"] = "words"
    """Whether shingles are of words (and numbers, operators, LaTeX commands) or of characters."""
    ignore_numbers: bool = False
    """Whether problems that differ only in their numbers ask the same. Their answers are then no conflict."""
    against: tuple[str, ...] = ()
    """Datasets, `name`, `name@version` or a folder, whose kept problems count as there already (`already_in`)."""

    def settings(self) -> dict[str, Any]:
        """Which texts are equal depends on how they are read, which answers conflict on the verifiers."""
        return super().settings() | {"wording": WORDING, "verifiers": versions()}

    # ---- in a workspace

    def measure(self, work: Work, name: str) -> pa.Table:
        if total := count(work.con, self.missing(work)):
            tables = ["problems"] + [self._kept(work, number, d) for number, d in enumerate(self._others(work))]
            for table in tables:
                self._sketch(work, name, table)
            with connect() as con, work.progress.step(name, total) as step:
                read = (batch for table in tables for batch in self._sketched(work, table))
                counts = [count(work.con, table) for table in tables]
                pairs = compare(con, read, self.threshold, np.repeat([False, *[True] * len(tables[1:])], counts))
                work.store.append(self.declare(work), self._columns(con, pairs))
                step.advance(total)
        return self.stored(work)

    def missing(self, work: Work) -> str:
        """The whole pool, or nothing: all of it is one measurement."""
        return f"problems where {not work.store.parts(self.folder(work))}"

    def stored(self, work: Work) -> pa.Table:
        return one_row_per_id(work.con, work.store.scan(self.folder(work), self.table_schema()), self.COLUMNS)

    def inputs(self, work: Work) -> dict[str, Any]:
        found = {"pool": work.pool.version}
        return found | ({"against": [d.manifest["fingerprint"] for d in self._others(work)]} if self.against else {})

    def _others(self, work: Work) -> list[Dataset]:
        others = [find(work.store, ref) for ref in self.against]
        for ref, dataset in zip(self.against, others, strict=True):
            if dataset.manifest["name"] == work.pool.manifest["name"]:
                raise DatasetError(
                    f"against: {ref!r} is what this recipe itself publishes: every problem would be there already"
                )
        return others

    def _kept(self, work: Work, number: int, dataset: Dataset) -> str:
        """A view of the problems that a dataset kept, `source` being what it is called."""
        names = ", ".join(f"{literal(dataset.ref)} as source" if name == "source" else name for name in NEEDED)
        view = f"kept_{number}"
        work.con.execute(f"create or replace view {view} as select {names} from {dataset.decisions()} where kept")
        return view

    def _sketch(self, work: Work, name: str, table: str) -> None:
        """Computes and commits the sketches that the workspace lacks of a table's problems."""
        folder = self._sketches(work)
        missing = f"{table} anti join {work.store.scan(folder, _ID)} using (id)"
        if not (total := count(work.con, missing)):
            return
        work.store.declare(folder, self._sketch_settings())
        reader = batches(work.con.cursor(), f"select id, prompt, messages from {missing}", CHUNK_ROWS)
        with work.progress.step(f"{name}: texts", total) as step:
            chunks = (pa.Table.from_batches([batch]) for batch in reader)
            commit_chunks(work.store, folder, chunks, self._filed, step)
        work.store.merge(folder)

    def _sketches(self, work: Work) -> str:
        """Where sketches lie."""
        return work.store.path("annotations", "sketches", settings_hash(self._sketch_settings()))

    def _sketch_settings(self) -> dict[str, Any]:
        """What changes a sketch; not the threshold."""
        settings = {"by": self.by, "ngram": self.ngram, "ignore_numbers": self.ignore_numbers}
        return {"annotator": "sketches", "wording": WORDING} | settings

    def _filed(self, problems: pa.Table) -> pa.Table:
        """`id` and the sketch of every problem, good for any threshold."""
        made = sketch(_texts(problems), by=self.by, ngram=self.ngram, ignore_numbers=self.ignore_numbers)
        return pa.table(to_arrow(made)).add_column(0, "id", problems["id"])

    def _sketched(self, work: Work, table: str) -> Iterator[tuple[pa.Table, list[Sketches]]]:
        """A table's problems with their stored sketches."""
        parts = work.store.scan(self._sketches(work), _ID)
        names = ", ".join(f"{table}.{name}" for name in ANSWERED if name != "id")
        # Of two writers' rows, which are equal, one.
        query = f"""select s.* exclude (filename), {names} from {parts} as s
            semi join (select id, min(filename) as filename from {parts} group by 1) using (id, filename)
            join {table} using (id)"""
        for batch in batches(work.con.cursor(), query, CHUNK_ROWS):
            rows = pa.Table.from_batches([batch])
            yield rows.select(ANSWERED), [from_arrow(rows)]

    # ---- by itself

    def annotate(self, problems: pa.Table | pa.RecordBatchReader) -> pa.Table:
        """A whole pool in (columns NEEDED, of which `source` may lack); `id` and COLUMNS out, in no order.

        Raises similar.TooManyPairs for a pool of texts that are nearly all alike.
        """
        with connect() as con:
            return self._columns(con, compare(con, self._read(problems), self.threshold))

    def pairs(self, problems: pa.Table | pa.RecordBatchReader) -> pa.Table:
        """The confirmed pairs of a whole pool (id, prompt, messages), whatever its answers are: id, other, similarity.

        Of every two near texts their smallest ids; equal texts are no pair.
        """
        return pairs_by_id(self._read(problems), self.threshold)

    def _read(self, problems: pa.Table | pa.RecordBatchReader) -> Iterator[tuple[pa.Table, list[Sketches]]]:
        batches, total = problems, None
        if isinstance(problems, pa.Table):
            total = problems.num_rows
            rows = _READ_BYTES * total // max(1, problems["prompt"].nbytes)
            batches = problems.to_batches(min(_READ_ROWS, max(1, rows)))
        texts = ((batch, _texts(batch)) for batch in batches)
        made_of = partial(sketched, by=self.by, ngram=self.ngram, ignore_numbers=self.ignore_numbers)
        for batch, parts in made_of(texts, total=total):
            have = {name: batch[name] for name in ANSWERED if name in batch.schema.names}
            lack = {name: pa.nulls(len(batch), pa.string()) for name in ANSWERED if name not in have}
            yield pa.table(have | lack), parts

    def _columns(self, con: duckdb.DuckDBPyConnection, pairs: Pairs) -> pa.Table:
        return columns(con, pairs, compare_answers=not self.ignore_numbers).cast(self.table_schema())


def _texts(problems: pa.Table | pa.RecordBatch) -> list[str]:
    """Every problem's turns as one text."""
    prompts: list[str] = problems["prompt"].to_pylist()
    for number, turns in enumerate(problems["messages"].to_pylist() if "messages" in problems.schema.names else []):
        if turns:
            prompts[number] = "".join(f"{t['role']} || {t['content'] or ''} || " for t in turns) + prompts[number]
    return prompts
