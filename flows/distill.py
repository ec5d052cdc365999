"""The sets of a run: the student's template looked at before anything is paid for, then every set built in its turn."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curation import problem
from curation.annotate import Work
from curation.duck import quoted
from curation.model import identity, served_name
from curation.rules import Decisions
from curation.store import TEMPORARY
from distill import fused, labelled, long_cot, paired
from distill.building import Builder, Built, Plan
from distill.chat_template import TemplateError
from distill.given import Given
from distill.rendering import Renderer
from distill.sets import AnySet, FusionSet, PreferenceSet, ProcessSet, SFTSet, sources_of
from flows.recipe import Loaded, Recipe
from flows.recipe_sets import Wanted

TRACE_DECISIONS = "trace_decisions"
"""Folder of a dataset with what became of every trace, a file a set."""


def renderer(loaded: Loaded) -> Renderer | None:
    """The student's template, ready to be written in; None where no set has traces. Raises TemplateError."""
    wanted = loaded.wanted
    if not wanted.distils:
        return None
    assert wanted.student is not None
    name, revision = tokenizer(wanted)
    try:
        return Renderer.load(wanted.student, name, revision)
    except TemplateError:
        raise
    except Exception as error:  # files of somebody else's making, read by several libraries
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise TemplateError(
            f"student: the tokenizer of {name!r} cannot be loaded ({why}). Give student.tokenizer, a folder or a Hub name with "
            "tokenizer.json, tokenizer_config.json and config.json"
        ) from error


def tokenizer(wanted: Wanted) -> tuple[str, str | None]:
    """The folder or Hub name of the student's tokenizer, and its revision."""
    assert wanted.student is not None
    assert wanted.tokenizer is not None
    name = wanted.student.tokenizer or wanted.tokenizer.model
    revision = wanted.tokenizer.revision if name == wanted.tokenizer.model and wanted.tokenizer.url is None else None
    folder = Path(name).expanduser()
    return (str(folder) if folder.is_dir() else name), revision


def builder(loaded: Loaded, work: Work, decisions: Decisions, written: Renderer | None) -> Builder:
    """Needs the view `decisions`: the rules are applied."""
    wanted = loaded.wanted
    plan = Plan(
        traces=wanted.traces,
        used=wanted.used,
        sets=wanted.sets,
        student=wanted.student,
        renderer=written,
        checks=wanted.checks,
        contamination=wanted.contamination,
        clean=wanted.clean,
        seed=loaded.recipe.seed,
    )
    temporary = work.folder / TEMPORARY
    temporary.mkdir(parents=True, exist_ok=True)
    folder = work.exits.enter_context(tempfile.TemporaryDirectory(dir=temporary, prefix="sets-"))
    return Builder(work, plan, decisions.source_order, Path(folder))


def build(builder: Builder, decisions: Decisions, recipe: Recipe, name: str) -> Built:
    """One set; what it needs of others is built."""
    wanted: AnySet = builder.plan.sets[name]
    if isinstance(wanted, SFTSet):
        built = long_cot.build(builder, name, wanted)
    elif isinstance(wanted, FusionSet):
        built = fused.build(builder, name, wanted)
    elif isinstance(wanted, PreferenceSet):
        built = paired.build(builder, name, wanted)
    elif isinstance(wanted, ProcessSet):
        built = labelled.build(builder, name, wanted)
    else:
        builder.want(wanted)
        builder.work.con.execute(f"create or replace table {quoted('rl_' + name)} as from wanted")
        built = _rl(decisions, recipe, quoted("rl_" + name))
    builder.built[name] = built
    return built


def _rl(decisions: Decisions, recipe: Recipe, ids: str) -> Built:
    """The set that RL trains on: problems that stay, with what was measured, in the order asked for."""
    order = None if recipe.balance is None else recipe.balance.ordering(recipe.seed)
    columns = [*problem.SCHEMA.names, *(name for annotator in decisions.measured for name in annotator.columns.names)]
    rows = (
        f"select {', '.join(quoted(name) for name in columns)}, split from decisions semi join {ids} using (id) "
        f"order by {order or f'{decisions.source_order}, row'}"
    )
    return Built(rows, problems=f"select id from {ids}")


def record(loaded: Loaded, builder: Builder, built: Mapping[str, Built]) -> dict[str, Any]:
    """What the manifest says of the sets made of traces: enough to trace every row."""
    plan, work = builder.plan, builder.work
    used = {taken.traces for name in built for taken in sources_of(plan.sets[name])}
    if not used or plan.renderer is None:
        return {"built": {name: one.record for name, one in built.items() if one.record}}
    sources = list(work.pool.manifest["sources"])
    traces = {}
    for name in sorted(used):
        drawn = plan.traces[name]
        rollouts = {source: one.hash for source, one in drawn.rollouts(work, sources).items()}
        traces[name] = {"settings": drawn.model_dump(mode="json"), "rollouts": rollouts, "n": drawn.n}
        traces[name] |= {"max_tokens": drawn.max_tokens, "cut_off": drawn.cut_off}
        if not isinstance(drawn, Given):
            model = work.models[drawn.model]
            traces[name] |= {"model": served_name(model), "identity": identity(model)}
    student, (name, revision) = loaded.wanted.student, tokenizer(loaded.wanted)
    assert student is not None
    return {
        "student": {
            "settings": student.model_dump(mode="json", exclude_defaults=True),
            "model": name,
            "revision": revision,
            "identity": plan.renderer.identity,
            "notes": plan.renderer.notes,
        },
        "traces": traces,
        "trace_checks": plan.checks.settings(),
        "built": {name: one.record for name, one in built.items() if one.record},
    }


def tables(built: Mapping[str, Built]) -> dict[str, str]:
    """Further tables of the dataset, SQL by path."""
    return {
        f"{TRACE_DECISIONS}/{name}.parquet": one.decisions for name, one in built.items() if one.decisions is not None
    }


__all__ = ["TRACE_DECISIONS", "build", "builder", "record", "renderer", "tables"]
