"""Process sets: solutions by steps, each with its label, as TRL's PRMTrainer takes them (process.py).

A row has `id` of the problem, `prompt`, `completions` (the steps) and `labels` (of each step whether it is right).
"""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.duck import parquet
from distill.building import Builder, Built
from distill.process import STEPS, steps_of
from distill.sets import ProcessSet
from distill.staging import write_batch


def build(builder: Builder, name: str, wanted: ProcessSet) -> Built:
    """A process set; rows whose labels make no sense are left out with their reason."""
    con, path = builder.work.con.cursor(), builder.folder / f"{name}.parquet"
    problems = builder.want(wanted)
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    rows = (
        "(select d.* from decisions as d semi join wanted using (id) join placed as p on p.id = d.id order by p.place)"
    )
    with pq.ParquetWriter(path, STEPS, compression="zstd") as writer:
        for table in steps_of(con, rows, wanted):
            bad = table.filter(pc.is_valid(table["fault"]))
            for id_, fault in zip(bad["id"].to_pylist(), bad["fault"].to_pylist(), strict=True):
                reasons[fault] += 1
                examples.setdefault(fault, f"{id_}: {fault}")
            write_batch(writer, pa.table(table.filter(pc.is_null(table["fault"]))))
    sql = f"select * exclude (fault) from {parquet([str(path)])}"
    faults = [{"reason": why, "rows": n, "first": examples[why]} for why, n in reasons.most_common()]
    if faults:
        builder.work.store.warn(f"sets.{name}: {reasons.total():,} rows are left out; the first: {faults[0]['first']}")
    return Built(
        rows=sql, record={"kind": wanted.KIND, "wanted": problems, "faults": faults}, problems=f"select id from ({sql})"
    )
