"""Which problems ask the same, and whether they agree on the answer.

Two problems are duplicates when their texts are equal after a normalisation that keeps what carries meaning: numbers,
operators, LaTeX commands and word order. It forgets case, spacing, `$`, `\\left` and `\\right`, `\\dfrac` for `\\frac`, and
the punctuation of sentences. "Same template, other numbers" is no duplicate.

    has_duplicate    another problem asks the same
    answer_conflict  they carry answers that the verifier finds different; NULL when the verifier could not tell
    cluster          the smallest id among them (its own id when alone)
    cluster_size     how many they are
    same_text        hash of the normalised text: equal for problems that ask the same

Which one stays is decided by a rule over `duplicate` (rules.py), not here.
"""

import hashlib
import re
import unicodedata
from typing import Any, ClassVar

import duckdb
import pyarrow as pa

from curation.annotate import CHUNK_ROWS, Annotator, Work, count, one_row_per_id
from curation.duck import arrow, batches, connect
from curation.verify import as_completion, versions
from curation.verify.pool import Job, graders

NEEDED = ("id", "prompt", "messages", "answer", "verifier", "verifier_args")
_SAME = [
    (re.compile(r"\\(?:left|right|displaystyle|limits|big|Big|bigg|Bigg)(?![A-Za-z])"), " "),
    (re.compile(r"\\[dt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[,;:!> ]|\\q?quad(?![A-Za-z])|~|\$|\\\(|\\\)|\\\[|\\\]"), " "),
]
# Han and kana stand alone: blanks between them mean nothing.
_HAN = r"\u3040-\u30ff\u3400-\u9fff"
_TOKEN = re.compile(rf"\\[a-z]+|\d+(?:\.\d+)?|[{_HAN}]|[^\W\d_{_HAN}]+|[^\s.,;?\"“”，。；？]")


def normalized(text: str) -> str:
    """The text as it is compared: its tokens, joined by blanks."""
    text = unicodedata.normalize("NFKC", text)
    for pattern, replacement in _SAME:
        text = pattern.sub(replacement, text)
    return " ".join(_TOKEN.findall(text.lower())) or text


class Duplicates(Annotator):
    """Finds problems that ask the same. Looks at the whole pool, whatever rules dropped."""

    NAME: ClassVar[str] = "duplicates"
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [
            ("has_duplicate", pa.bool_()),
            ("answer_conflict", pa.bool_()),
            ("cluster", pa.string()),
            ("cluster_size", pa.int64()),
            ("same_text", pa.string()),
        ]
    )

    def settings(self) -> dict[str, Any]:
        """Which answers conflict depends on the verifiers."""
        return super().settings() | {"verifiers": versions()}

    def inputs(self, work: Work) -> dict[str, str]:
        return {"pool": work.pool.version}

    def measure(self, work: Work, name: str) -> pa.Table:
        if count(work.con, self.missing(work)):
            total = count(work.con, "problems")
            with work.progress.step(name, total) as step:
                reader = batches(work.con.cursor(), f"select {', '.join(NEEDED)} from problems", CHUNK_ROWS)
                work.store.append(self.declare(work), self.annotate(reader))
                step.advance(total)
        return self.stored(work)

    def missing(self, work: Work) -> str:
        """The whole pool, or nothing: all of it is one measurement."""
        return f"problems where {not work.store.parts(self.folder(work))}"

    def stored(self, work: Work) -> pa.Table:
        return one_row_per_id(work.con, work.store.scan(self.folder(work), self.table_schema()), self.COLUMNS)

    def annotate(self, problems: pa.Table | pa.RecordBatchReader) -> pa.Table:
        """A whole pool in (columns id, prompt, messages, answer, verifier, verifier_args); `id` and COLUMNS out."""
        con = connect()
        con.execute(
            "create table texts (id varchar, same_text varchar, answer varchar, verifier varchar, verifier_args varchar)"
        )
        for batch in problems.to_batches() if isinstance(problems, pa.Table) else problems:
            rows = batch.select(["prompt", "messages"]).to_pylist()
            texts = pa.array([_text_hash(row["prompt"], row["messages"] or []) for row in rows], pa.string())
            named = {name: batch[name] for name in ("id", "answer", "verifier", "verifier_args")}
            con.register("chunk", pa.table(named | {"same_text": texts}))
            con.execute("insert into texts by name from chunk")
        con.register("conflicts", _conflicts(con))
        found = arrow(
            con,
            """select id, cluster_size > 1 as has_duplicate,
                   case when conflicts.same_text is null then false else conflicts.conflict end as answer_conflict,
                   cluster, cluster_size, same_text
            from texts
            join (select same_text, min(id) as cluster, count(*) as cluster_size from texts group by 1)
                using (same_text)
            left join conflicts using (same_text)""",
        )
        return found.cast(self.table_schema())


def _text_hash(prompt: str, messages: list[dict[str, str]]) -> str:
    turns = [f"{turn['role']}\0{normalized(turn['content'])}" for turn in messages]
    return hashlib.blake2b("\1".join([*turns, normalized(prompt)]).encode(), digest_size=16).hexdigest()


def _conflicts(con: duckdb.DuckDBPyConnection) -> pa.Table:
    """same_text and conflict (NULL when a verifier failed) of every group whose answers differ as strings."""
    groups: dict[str, list[dict[str, Any]]] = {}
    rows = arrow(
        con,
        """select same_text, trim(answer) as answer, any_value(verifier) as verifier, any_value(verifier_args) as args
        from texts where answer is not null
          and same_text in (select same_text from texts group by 1 having count(distinct trim(answer)) > 1)
        group by 1, 2 order by 1, 2""",
    )
    for row in rows.to_pylist():
        groups.setdefault(row["same_text"], []).append(row)
    pairs = [(key, answers[0], other) for key, answers in groups.items() for other in answers[1:]]
    jobs = [_comparison(one, other) for _, one, other in pairs]
    verdicts = graders().grade_many(job for job in jobs if job is not None)
    found: dict[str, set[str]] = {}
    for (key, _, _), job in zip(pairs, jobs, strict=True):
        found.setdefault(key, set()).add("error" if job is None else next(verdicts).outcome)
    conflict = [True if "wrong" in outcomes else None if "error" in outcomes else False for outcomes in found.values()]
    return pa.table({"same_text": pa.array(found.keys(), pa.string()), "conflict": pa.array(conflict, pa.bool_())})


def _comparison(one: dict[str, Any], other: dict[str, Any]) -> Job | None:
    """Grades one answer as if it were a completion for the other; None when no verifier can."""
    if one["verifier"] is None:
        return None
    try:
        completion = as_completion(one["verifier"], other["answer"], one["args"])
    except ValueError:
        return None  # the verifier cannot write this answer down: unknown, as is any answer that it cannot read
    return Job(one["verifier"], one["answer"], completion, one["args"])
