"""From sketches of texts to what is said of every problem: pairs, conflicts, clusters."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curation.annotate import count
from curation.dedup.conflicts import conflicts, near_agree
from curation.dedup.ragged import Hashes, Ints
from curation.dedup.similar import Pairs, TooManyPairs, components, near
from curation.dedup.sketches import Sketches
from curation.duck import arrow

Flags = npt.NDArray[np.bool_]
PAIRS = pa.schema([("id", pa.string()), ("other", pa.string()), ("similarity", pa.float64())])
"""Confirmed pairs: of two near texts their smallest ids, `id` < `other`, and their Jaccard similarity."""

Read = Iterable[tuple[pa.Table, list[Sketches]]]
"""Problems (id, source, answer, verifier, verifier_args), some at a time, with their sketches in parts."""


def compare(con: duckdb.DuckDBPyConnection, read: Read, threshold: float, old: Flags | None = None) -> Pairs:
    """The near pairs of different texts, which get numbers from 0.

    old: which rows are not the pool's; they are looked for, and not compared with each other. Makes the table `texts` of
    `con`: id, source, answer, verifier, verifier_args, `own` (of the pool), `same_text` (32 hex digits), `text` (the number of
    its text) and `literal` (the number of its text with its numbers).

    Raises TooManyPairs, which names a problem.
    """
    con.execute(
        "create table rows (n bigint, id varchar, source varchar, answer varchar, verifier varchar, verifier_args varchar)"
    )
    same: list[Hashes] = [np.empty((0, 2), np.uint64)]
    literal: list[Hashes] = [np.empty((0, 2), np.uint64)]

    def sketches() -> Iterator[Sketches]:
        n = 0
        for rows, parts in read:
            con.register("chunk", rows.append_column("n", pa.array(np.arange(n, n + rows.num_rows))))
            con.execute("insert into rows by name from chunk")
            n += rows.num_rows
            same.extend(part.same for part in parts)
            literal.extend(part.literal for part in parts)
            yield from parts

    try:
        pairs = near(sketches(), threshold, old=old)
    except TooManyPairs as error:
        ((id_,),) = con.execute("select id from rows where n = ?", [error.row]).fetchall()
        raise error.of(f"problem {id_}") from None
    hashes = np.concatenate(same)
    text = numbered(hashes)
    columns = {
        "n": np.arange(len(text)),
        "own": np.ones(len(text), np.bool_) if old is None else ~old,
        "text": text,
        "literal": numbered(np.concatenate(literal)),
        "same": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(text), [None, pa.py_buffer(hashes)]),
    }
    con.register("numbers", pa.table(columns))
    con.execute(
        """create table texts as select rows.* exclude (n), numbers.* exclude (n, same), lower(hex(same)) as same_text
        from rows join numbers using (n)"""
    )
    con.execute("drop table rows")
    con.unregister("numbers")
    # Rows are compared, texts are told about.
    one, other = text[pairs.one], text[pairs.other]
    return replace(pairs, one=np.minimum(one, other), other=np.maximum(one, other))


def numbered(hashes: Hashes) -> Ints:
    """Numbers equal rows of (rows, 2) alike."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    ordered = hashes[order]
    new = np.zeros(len(order), np.int64)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new)
    return numbers


def pairs_by_id(read: Read, threshold: float) -> pa.Table:
    """PAIRS of the problems that are read. Raises TooManyPairs, which names one."""
    ids: list[pa.Array] = []
    same: list[Hashes] = [np.empty((0, 2), np.uint64)]

    def sketches() -> Iterator[Sketches]:
        for rows, parts in read:
            ids.extend(rows["id"].chunks)
            same.extend(part.same for part in parts)
            yield from parts

    try:
        pairs = near(sketches(), threshold)
    except TooManyPairs as error:
        raise error.of(f"problem {pa.chunked_array(ids)[error.row]}") from None
    hashes, names = np.concatenate(same), pa.chunked_array(ids, pa.string())
    # The rows whose text is in a pair, and of each text the smallest id.
    rows = np.flatnonzero(np.isin(hashes[:, 0], hashes[np.concatenate([pairs.one, pairs.other]), 0]))
    texts, own = numbered(hashes[rows]), names.take(rows)
    by_id = pc.sort_indices(own).to_numpy()
    smallest = own.take(by_id[np.unique(texts[by_id], return_index=True)[1]])
    one, other = (smallest.take(texts[np.searchsorted(rows, side)]) for side in (pairs.one, pairs.other))
    first = pc.less(one, other)
    found = [pc.if_else(first, one, other), pc.if_else(first, other, one), pa.array(pairs.similarity)]
    return pa.table(found, schema=PAIRS).sort_by([("id", "ascending"), ("other", "ascending")])


def columns(con: duckdb.DuckDBPyConnection, pairs: Pairs, compare_answers: bool) -> pa.Table:
    """`id` and the columns of `duplicates` for every problem of the pool, after `compare`."""
    con.register("near", pa.table({"n": np.arange(len(pairs.one)), "one": pairs.one, "other": pairs.other}))
    answers = (
        near_agree(con)
        if compare_answers
        else (pa.nulls(len(pairs.one), pa.bool_()), pa.array([False] * len(pairs.one)))
    )
    found = {"similarity": pairs.similarity, "same_answer": answers[0], "unknown": answers[1]}
    con.register("compared", pa.table({"one": pairs.one, "other": pairs.other} | found))
    con.register("conflicts", conflicts(con))
    texts = count(con, "(select distinct text from texts)")
    own = np.zeros(texts, np.bool_)
    own[con.execute("select distinct text from texts where own").fetchnumpy()["text"]] = True
    inside = own[pairs.one] & own[pairs.other]
    component = components(texts, pairs.one[inside], pairs.other[inside])
    con.register("components", pa.table({"text": np.arange(texts), "component": component}))
    return arrow(con, _COLUMNS)


_COLUMNS = """
with names as (
    select text, min(id) as id, count(*) as problems from texts where own group by 1
), either as (
    select one as text, other, similarity, same_answer, unknown from compared
    union all select other, one, similarity, same_answer, unknown from compared
), near_own as (
    select either.text, list({'id': names.id, 'similarity': similarity, 'same_answer': same_answer}
                      order by similarity desc, names.id) as near_texts,
           bool_or(same_answer is distinct from false) as has_near,
           case when bool_or(same_answer is not distinct from false) then true when not bool_or(unknown) then false end
               as near_conflict
    from either join names on names.text = either.other group by 1
), others as (
    select text, min(source || '/' || id) as name from texts where not own group by 1
), already as (
    select text, first(name order by similarity desc, name) as name from (
        select text, 1.0 as similarity, name from others
        union all
        select either.text, similarity, others.name from either join others on others.text = either.other
        where same_answer is distinct from false
    ) group by 1
), clusters as (
    select component, min(id) as cluster, sum(problems)::bigint as cluster_size
    from names join components using (text) group by 1
)
select texts.id, problems > 1 or coalesce(has_near, false) as has_duplicate,
       case when conflicts.text is null then false else conflicts.answer_conflict end as answer_conflict,
       majority_answer,
       case when near_own.text is null then false else near_own.near_conflict end as near_conflict,
       cluster, cluster_size, same_text, coalesce(near_texts, []) as near_texts, already.name as already_in
from texts
join names using (text)
join components using (text)
join clusters using (component)
left join near_own using (text)
left join already using (text)
left join conflicts on conflicts.text = texts.literal
where own"""
