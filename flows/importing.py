"""`cuvee import`: samples drawn elsewhere become samples of one of the recipe's models, and what that means is told."""

import contextlib
import difflib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from pydantic import ValidationError

from curation import pool as pools
from curation.annotate import Annotator, Work
from curation.duck import arrow, parquet
from curation.imports.files import File, ImportRefused, files_of
from curation.imports.gathering import Gathered, Gatherer
from curation.imports.imported import commit, copies, elsewhere
from curation.imports.layouts import LAYOUTS
from curation.imports.matching import Problems
from curation.imports.sample import COLUMNS, SETTINGS, canonical
from curation.imports.stated import Stated
from curation.model import ModelError
from curation.pass_rate import PassRate
from curation.progress import Progress
from curation.prompt import Prompt
from curation.rollouts import ROLLOUTS, Rollouts, Sampling
from curation.sql import short
from curation.store import Store
from curation.verify import JUDGE
from curation.verify.pool import Job, graders
from distill.teacher import Teacher
from flows.imported import warnings
from flows.recipe import Loaded

CHECKED = 200
"""Samples whose score in the file is compared with the recipe's verifier, unless another number is given."""


def import_rollouts(
    loaded: Loaded,
    workspace: str,
    patterns: Sequence[str],
    model: str,
    *,
    like: str | None = None,
    drawn: Mapping[str, str] | None = None,
    layout: str | None = None,
    columns: Mapping[str, str] | None = None,
    where: str | None = None,
    check: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Imports files and says what came of it. Raises ImportRefused, with nothing imported."""
    columns = dict(columns or {})
    _known("--as", model, loaded.recipe.models, "model of this recipe")
    for name in columns:
        _known("--column", name, COLUMNS, "field of a sample")
    if layout is not None:
        _known("--layout", layout, LAYOUTS, "layout")
    sampled: dict[str, Annotator] = {
        step.key: step.annotator for step in loaded.steps if hasattr(step.annotator, "rollouts")
    }
    # Entries of `traces` are drawn, and counted, as annotators are.
    sampled |= {
        name: drawn
        for name, drawn in loaded.wanted.traces.items()
        if isinstance(drawn, Teacher) and name not in sampled
    }
    stated = _stated(sampled, like, drawn or {})
    progress = progress if progress is not None else Progress()
    files = files_of(patterns)
    store = Store(workspace)
    with store.locked(), contextlib.ExitStack() as exits:
        recipe = loaded.recipe
        pool = pools.read(store, recipe.name, recipe.sources, recipe.max_rejected, progress)
        con = exits.enter_context(contextlib.closing(store.connect()))
        con.execute(f"create view problems as from {pool.problems(store)}")
        prompts = {name: source.prompt for name, source in recipe.sources.items()}
        work = Work(store, con, pool, progress, exits, models=recipe.models, prompts=prompts, judge=loaded.judge)
        drawn_as = _drawn_as(work, model, sampled[like] if like is not None else None)
        problems = _problems(con, {source: rollouts.prompt for source, rollouts in drawn_as.items()})
        identity = next(iter(drawn_as.values())).identity
        gatherer = Gatherer(
            store, problems, identity, stated, layout=layout, columns=columns, where=where, likes=[*sampled]
        )
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="cuvee-import-")))
        with progress.step("import", unit="rows") as step:
            gathered = gatherer.gather(files, folder, step)
        with progress.step("commit", gathered.staged, "samples") as step:
            counts, had = commit(store, con, gathered, step)
        told = _counts(con, files, gathered, counts, had)
        told["sets"] = [_set(work, sampled, gathered, number, counts[number]) for number in range(len(gathered.groups))]
        told["agreement"] = _agreement(con, gathered, CHECKED if check is None else check)
        shares = copies(con, gathered), elsewhere(store, con, gathered)
        told["warnings"] = store.warnings + warnings(gathered, *shares, check, told)
    return told


def _known(option: str, given: str, known: Mapping[str, Any], what: str) -> None:
    if given not in known:
        near = difflib.get_close_matches(given, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ImportRefused(f"{option}: {given!r} is no {what}{hint} (known: {', '.join(known) or 'none'})")


def _stated(sampled: Mapping[str, Annotator], like: str | None, drawn: Mapping[str, str]) -> Stated:
    """What --like and --drawn say; --drawn comes first."""
    values: dict[str, float | None] = {}
    by: dict[str, str] = {}
    if like is not None:
        _known("--like", like, sampled, "annotator of this recipe that samples")
        values = {name: getattr(sampled[like], name) for name in SETTINGS}
        by = dict.fromkeys(SETTINGS, f"--like {like}")
    for name, text in drawn.items():
        _known("--drawn", name, dict.fromkeys(SETTINGS), "setting that samples are drawn with")
        try:
            values[name] = canonical(name, float(text))
            by[name] = f"--drawn {name}={text}"
        except (ValueError, OverflowError):
            raise ImportRefused(f"--drawn: {name}={text!r} is no number") from None
    try:
        Sampling.model_validate({name: value for name, value in values.items() if name != "max_tokens"})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ImportRefused(f"--drawn: {wrong['loc'][0]}={wrong['input']}: {wrong['msg'].lower()}") from error
    length = values.get("max_tokens", 1) or 0
    if length != int(length) or not 0 < length < 1 << 31:
        raise ImportRefused(f"--drawn: max_tokens={length}: has to be a whole number above 0")
    return Stated(values, by)


def _drawn_as(work: Work, model: str, like: Annotator | None) -> dict[str, Rollouts]:
    """The model's identity and prompt, by source, as an annotator has them."""
    annotator = PassRate(model=model, n=1, max_tokens=1) if like is None else like.model_copy(update={"model": model})
    rollouts: dict[str, Rollouts] = annotator.rollouts(work, [*work.prompts])  # type: ignore[attr-defined]
    return rollouts


def _problems(con: duckdb.DuckDBPyConnection, prompts: Mapping[str, Prompt]) -> Problems:
    reader = con.cursor().sql("select id, prompt, messages, source from problems").to_arrow_reader(2048)
    return Problems((row for batch in reader for row in batch.to_pylist()), prompts)


# ---- telling


def _counts(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[File],
    gathered: Gathered,
    counts: Sequence[int],
    had: Mapping[str, int],
) -> dict[str, Any]:
    staged = parquet([str(gathered.path)])
    covered = con.execute(f"select count(distinct problem_id) from {staged}").fetchall()[0][0]
    return {
        "files": [
            {
                "path": file.path,
                "layout": gathered.layouts.get(file.path),
                "sha256": file.sha256,
                "already_there": had.get(file.path, 0),
            }
            for file in files
        ],
        "rows": gathered.rows,
        "samples": gathered.samples,
        "imported": sum(counts),
        "already_there": gathered.staged - sum(counts),
        "unmatched": gathered.unmatched,
        "unmatched_examples": gathered.unmatched_examples,
        "ambiguous": gathered.ambiguous,
        "rejected": [
            {"reason": reason, "samples": count, "first": gathered.first_rejected[reason]}
            for reason, count in gathered.rejected.most_common()
        ],
        "problems": covered,
        "assumed": gathered.assumed,
        "prompt_unsaid": gathered.prompt_unsaid,
        "prompt_unknown": gathered.prompt_unknown,
        "cut_short": gathered.cut_short,
    }


def _set(
    work: Work, sampled: Mapping[str, Annotator], gathered: Gathered, number: int, imported: int
) -> dict[str, Any]:
    """One set of rollouts, and which annotators count it."""
    rollouts = gathered.groups[number]
    staged = f'(from {parquet([str(gathered.path)])} where "group" = {number})'
    found = arrow(
        work.con,
        f"""select count(*) as samples, count(distinct problem_id) as problems,
            coalesce(list_sort(list(distinct max_tokens)), []) as lengths,
            coalesce(list_sort(list(distinct source)), []) as sources,
            count(*) filter (finish_reason = 'length') as cut_off
        from {staged} as staged join problems on problems.id = problem_id""",
    ).to_pylist()[0]
    counted, differs = [], []
    for key, annotator in sampled.items():
        try:
            own: dict[str, Rollouts] = annotator.rollouts(work, found["sources"])  # type: ignore[attr-defined]
        except ModelError:
            differs.append({"annotator": key, "differs": {"model": "cannot be found here"}})
            continue
        settings: Any = annotator
        if all(one.hash == rollouts.hash for one in own.values()):
            enough = _enough(work, rollouts, staged, settings.n)
            entry = {"annotator": key, "n": settings.n, "max_tokens": settings.max_tokens, "complete": enough}
            counted.append(entry | {"temperature": settings.temperature})
        else:
            other = next(one for one in own.values() if one.hash != rollouts.hash)
            differs.append({"annotator": key, "differs": _differences(rollouts, other)})
    sampling = rollouts.sampling.model_dump(exclude_none=True)
    about = {"rollouts": rollouts.hash, "sampling": sampling, "max_tokens": found.pop("lengths")}
    return {**about, **found, "imported": imported, "counted_by": counted, "not_counted_by": differs}


def _enough(work: Work, rollouts: Rollouts, staged: str, n: int) -> int:
    """Problems of these samples that have all of their first n."""
    stored = work.store.scan(rollouts.folder, ROLLOUTS)
    query = f"""select count(*) from (select problem_id from {stored}
        where sample_index < {n} and problem_id in (select problem_id from {staged})
        group by problem_id having count(distinct sample_index) = {n})"""
    return int(work.con.execute(query).fetchall()[0][0])


def _differences(one: Rollouts, other: Rollouts) -> dict[str, list[Any]]:
    """Settings that differ, by name: here, and there."""
    found: dict[str, list[Any]] = {}
    if dict(one.identity) != dict(other.identity):
        found["model"] = [_brief(one.identity), _brief(other.identity)]
    for mine, theirs in ((one.sampling, other.sampling), (one.prompt, other.prompt)):
        prefix = "prompt." if isinstance(mine, Prompt) else ""
        ours, its = mine.model_dump(mode="json"), theirs.model_dump(mode="json")
        found |= {prefix + name: [ours[name], its[name]] for name in ours if ours[name] != its[name]}
    return found


def _brief(identity: Mapping[str, Any]) -> str:
    return short(
        ", ".join(f"{name} {value}" for name, value in identity.items() if isinstance(value, str)) or "a folder"
    )


def _agreement(con: duckdb.DuckDBPyConnection, gathered: Gathered, most: int) -> dict[str, Any] | None:
    """The file's scores beside the verdicts of the recipe's verifiers, on a random part; None when there is no score.

    A sample that was cut off is left out: what it counts as is not the verifier's to say.
    """
    rows = arrow(
        con,
        f"""select n, "right", verifier, answer, text, verifier_args, problem_id
        from {parquet([str(gathered.path)])} join problems on problems.id = problem_id
        where "right" is not null and finish_reason = 'stop' and verifier is not null and verifier <> '{JUDGE}'
        order by md5(rollout) limit {most}""",
    )
    if not rows.num_rows:
        return None
    texts = [rows[name].to_pylist() for name in ("verifier", "answer", "text", "verifier_args")]
    verdicts = list(graders().grade_many(Job(*values) for values in zip(*texts, strict=True)))
    told: dict[str, Any] = {"checked": rows.num_rows, "agree": 0, "file_only": 0, "verifier_only": 0, "errors": 0}
    for row, verdict in zip(rows.to_pylist(), verdicts, strict=True):
        if verdict.outcome == "error":
            told["errors"] += 1
        elif (verdict.outcome == "correct") == row["right"]:
            told["agree"] += 1
        else:
            told["file_only" if row["right"] else "verifier_only"] += 1
            told.setdefault(
                "example", {"problem": row["problem_id"], "text": row["text"][-200:], **_said(row, verdict)}
            )
    return told


def _said(row: Mapping[str, Any], verdict: Any) -> dict[str, Any]:
    return {"answer": row["answer"], "file": "right" if row["right"] else "wrong", "verifier": verdict.outcome}
