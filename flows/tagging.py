"""`cuvee tags check`: how far a tagger agrees with labelled rows.

The votes are those of the annotator `tags` (curation/tags.py), and lie in the workspace: measured again, nothing is asked.
"""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from curation import problem
from curation.agreement_of_ranks import spearman
from curation.annotate import Work
from curation.decontamination.benchmarks import PROMPTS
from curation.duck import arrow, quoted
from curation.model import Model, identity, served_name
from curation.pool import Pool
from curation.progress import Progress
from curation.source import ROW, Source
from curation.sql import short
from curation.store import Store
from curation.tags import Tags
from curation.taxonomy import UNDEFINED
from curation.verify.agreement import Rate

BATCH_ROWS = 2048
KINDS = {".parquet": "parquet", ".jsonl": "jsonl", ".jsonl.zst": "jsonl", ".jsonl.gz": "jsonl"}
MODEL = "tagger"


class TagsRefused(ValueError):
    """A tagger cannot be measured as asked; nothing was asked of it."""


@dataclass(frozen=True)
class Labelled:
    """Rows that somebody tagged, as a file holds them."""

    path: str
    text: str | None = None
    """The column of problems; found by its name when it is not given."""
    domain: str = "domain"
    """The column of domains."""
    difficulty: str | None = None
    """The column of difficulties, numbers on any scale."""
    means: Mapping[str, str] = field(default_factory=dict)
    """The taxonomy's domain for labels that are called otherwise in the file."""


def check(
    labelled: Labelled,
    model: Model,
    workspace: str,
    *,
    settings: Mapping[str, Any] | None = None,
    rows: int | None = None,
    seed: int = 0,
    retry_errors: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Tags rows of a file and says how far the tags are as labelled, as plain data.

    settings: of `Tags`. rows: so many, drawn by the seed; by default all. Raises TagsRefused and what a source, a taxonomy or
    a model raises before anything is asked.
    """
    try:
        tags = Tags.model_validate({**(settings or {}), "model": MODEL})
    except ValidationError as error:
        wrong = error.errors()[0]
        where = "".join(f"{part}: " for part in wrong["loc"])
        raise TagsRefused(f"{where}{wrong['msg'].removeprefix('Value error, ')}") from error
    domains = [domain.name for domain in tags.among.domains]
    if strange := [name for name in labelled.means.values() if name not in (*domains, UNDEFINED)]:
        raise TagsRefused(f"--map: {strange[0]!r} is no domain of {tags.taxonomy}; there are {', '.join(domains)}")
    identity(model)  # a model that cannot be identified is told before it is asked
    store = Store(workspace)
    progress = progress if progress is not None else Progress()
    with store.locked(), contextlib.ExitStack() as exits:
        con = exits.enter_context(contextlib.closing(store.connect()))
        read = _read(con, labelled)
        known, others = _known(read["labels"], [*domains, UNDEFINED], labelled)
        names = {label: domain for label, domain in known.items() if read["labels"][label]}
        con.register("names", pa.table({"label": list(names), "named": list(names.values())}))
        limit = "" if rows is None else f"order by md5_number_lower('{seed}:' || row) limit {rows}"
        chosen = arrow(
            con, f"select text, named, difficulty from labelled join names using (label) {limit}"
        ).to_pylist()
        ids = [problem.digest(row["text"]) for row in chosen]
        texts = dict(zip(ids, (row["text"] for row in chosen), strict=True))
        table = pa.table({"id": [*texts], "prompt": [*texts.values()]})
        con.register("texts", table)
        con.execute(
            "create table problems as select *, []::struct(role varchar, content varchar)[] as messages from texts"
        )
        con.execute("create table wanted as select id from problems")
        work = Work(store, con, Pool("", {}), progress, exits, models={MODEL: model}, retry_errors=retry_errors)
        tagged = {row["id"]: row for row in tags.measure(work, "tags").to_pylist()}
    found = [
        {**tagged[id_], "label": row["named"], "as_labelled": row["difficulty"]}
        for id_, row in zip(ids, chosen, strict=True)
    ]
    return {
        "file": labelled.path,
        "columns": read["columns"],
        "model": served_name(model),
        "taxonomy": tags.taxonomy,
        "votes": tags.votes,
        "rows": {
            "read": read["rows"],
            "without_text_or_label": read["rows"] - sum(read["labels"].values()),
            "label_not_in_taxonomy": sum(others.values()),
            "asked": len(found),
        },
        "labels_not_in_taxonomy": [{"label": label, "rows": count} for label, count in others.most_common()],
        "asked_now": work.drawn.get("tags", {}),
        "warnings": store.warnings,
        **measured(found),
    }


def _read(con: Any, labelled: Labelled) -> dict[str, Any]:
    """Puts the rows in the table `labelled`: row, text, label, difficulty; counts them."""
    kind = next((kind for ending, kind in KINDS.items() if labelled.path.endswith(ending)), None)
    if kind is None:
        raise TagsRefused(f"{labelled.path}: is no file that ends in {', '.join(KINDS)}")
    con.execute("create table labelled (row bigint, text varchar, label varchar, difficulty double)")
    rows, columns = 0, dict[str, str]()
    for table, unreadable in Source.model_validate({kind: labelled.path}).tables(BATCH_ROWS):
        columns = columns or _columns([name for name in table.column_names if name != ROW], labelled)
        rows += table.num_rows + len(unreadable)
        con.register("batch", table)
        number = f"try_cast({quoted(columns['difficulty'])} as double)" if "difficulty" in columns else "null::double"
        hard = f"case when isfinite({number}) then {number} end"
        con.execute(
            f"""insert into labelled from (
                select {quoted(ROW)} as row, {quoted(columns["text"])}::varchar as text,
                    {quoted(columns["domain"])}::varchar as label, {hard} as difficulty from batch)
            where trim(text) <> '' and label is not null"""
        )
        con.unregister("batch")
    if not rows:
        raise TagsRefused(f"{labelled.path}: has no rows")
    counts = con.execute("select label, count(*) from labelled group by label order by 2 desc, 1").fetchall()
    return {"rows": rows, "columns": columns, "labels": Counter(dict(counts))}


def _columns(there: Sequence[str], labelled: Labelled) -> dict[str, str]:
    """The file's columns by what is in them."""
    text = labelled.text or next((name for name in PROMPTS if name in there), None)
    if text is None:
        raise TagsRefused(f"--text: say which column holds the problems (there are {', '.join(there)})")
    columns = {"text": text, "domain": labelled.domain}
    columns |= {"difficulty": labelled.difficulty} if labelled.difficulty is not None else {}
    for option, name in columns.items():
        if name not in there:
            raise TagsRefused(f"--{option}: {labelled.path} has no column {name!r} (there are {', '.join(there)})")
    return columns


def _known(labels: Counter[str], domains: Sequence[str], labelled: Labelled) -> tuple[dict[str, str], Counter[str]]:
    """What labels mean, and the rows by labels that mean none of the taxonomy."""
    if absent := [label for label in labelled.means if label not in labels]:
        raise TagsRefused(
            f"--map: no row is labelled {absent[0]!r}; there are {', '.join(map(short, list(labels)[:20]))}"
        )
    names = {label: labelled.means.get(label, label) for label in labels}
    known = {label: name for label, name in names.items() if name in domains}
    if not known:
        some = ", ".join(repr(short(label)) for label in list(labels)[:20]) or "none"
        raise TagsRefused(
            f"--domain: no label is a domain of the taxonomy. Labels are {some}; domains are {', '.join(domains)}. Say which is "
            "which with --map LABEL=DOMAIN, or give another --taxonomy"
        )
    return known, Counter({label: count for label, count in labels.items() if label not in known})


# ---- what is told


def measured(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How far tags are as labelled. rows: the columns of `Tags`, and label, as_labelled (a difficulty, or None).

    A row without a tag is unknown, and no part of a rate; `undefined` is a tag, right only where it is the label.
    """
    tagged = [row for row in rows if row["domain"] is not None]
    cells = Counter((row["label"], row["domain"]) for row in tagged)
    labels, tags = Counter(row["label"] for row in tagged), Counter(row["domain"] for row in tagged)
    commonest = labels.most_common(1)
    reasons = Counter(row["tag_reason"] for row in rows if row["domain"] is None)
    hard = [row for row in rows if row["difficulty"] is not None and row["as_labelled"] is not None]
    return {
        "unknown": Rate(len(rows) - len(tagged), len(rows)).told(),
        "unknown_because": [{"reason": reason, "rows": count} for reason, count in reasons.most_common(5)],
        "undefined": Rate(tags[UNDEFINED], len(tagged)).told(),
        "accuracy": _right(tagged).told(),
        "commonest_label": {"label": commonest[0][0], **Rate(commonest[0][1], len(tagged)).told()}
        if commonest
        else None,
        "by_domain": [
            {
                "domain": name,
                "recall": Rate(cells[name, name], labels[name]).told(),
                "precision": Rate(cells[name, name], tags[name]).told(),
            }
            for name in sorted(labels | tags, key=lambda name: (-labels[name], -tags[name], name))
        ],
        "confusion": [
            {"label": label, "tag": tag, "rows": count} for (label, tag), count in cells.most_common() if label != tag
        ],
        "by_agreement": [
            {"agreement": share, **_right([row for row in tagged if row["tag_agreement"] == share]).told()}
            for share in sorted({row["tag_agreement"] for row in tagged}, reverse=True)
        ],
        "difficulty": {
            "rows": len(hard),
            "spearman": spearman([row["difficulty"] for row in hard], [row["as_labelled"] for row in hard]),
        },
    }


def _right(rows: Sequence[Mapping[str, Any]]) -> Rate:
    return Rate(sum(row["domain"] == row["label"] for row in rows), len(rows))
