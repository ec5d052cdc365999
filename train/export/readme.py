"""The README of an export: what is there, what is needed on the cluster, how problems were asked, what was left out."""

from __future__ import annotations

import re
from importlib.metadata import requires, version
from typing import TYPE_CHECKING, Any

from curation.markdown import Code, cell, fenced, table
from curation.publish import Dataset
from train.export.settings import NEUTRAL
from train.export.target import Target

if TYPE_CHECKING:
    from train.export.one_set import ExportedSet
    from train.export.write import Exported

NEEDS = {
    "math": ("math-verify", "latex2sympy2-extended", "mpmath"),
    "reasoning-gym": ("reasoning-gym",),
    "instructions": ("py3langid",),
}
"""What graders import, by verifier."""
UNKNOWN = {
    "verl": "counts as 0 and is counted in `unknown` (validation metrics, dumped samples, the log of the reward workers)",
    "openrlhf": "counts as 0 and is counted in `unknown`, beside the reward in the logs",
    "nemo-rl": "counts as 0 and is counted in the metric `unknown`",
    "trl": "gets no reward (None): it has no part in its group and no advantage; `unknown` in the logs is their share",
}


def readme(done: Exported, dataset: Dataset, target: Target) -> str:
    lines = [
        f"# {cell(done.dataset)} for {target.name}",
        "",
        f"Written by Cuvee {version('cuvee')} for {target.version}. `export.json` says the same to programs.",
        "",
        *_sets(done),
        *_left_out(done),
    ]
    if graded := {verifier for one in done.sets.values() for verifier in one.verifiers}:
        lines += _reward(done, graded) if done.target in UNKNOWN else []
        lines += _asked(done)
    notes = {name: one.notes for name, one in done.sets.items() if one.notes}
    if notes:
        lines += ["## To know", ""]
        lines += [f"- {cell(name)}: {cell(note)}" for name, told in notes.items() for note in told]
        lines += [""]
    if student := dataset.manifest.get("student"):
        lines += [f"SFT and preference sets are written for {cell(student['model'])}.", ""]
        lines += [f"- {cell(note)}" for note in student.get("notes", ())]
    return "\n".join(lines).rstrip() + "\n"


def _sets(done: Exported) -> list[str]:
    rows = [
        [name, one.kind, one.rows.get("train", 0), one.rows.get("test", 0), one.stage or "none: the trainer's defaults"]
        for name, one in done.sets.items()
    ]
    lines = table(["folder", "kind", "train", "test", "stage of the recipe"], rows)
    lines += [
        "",
        "Every row keeps its id, dataset and source; `cuvee why DATASET ID` tells all that is known of it.",
        "",
    ]
    if done.target in UNKNOWN:
        lines += [
            "`launch.sh` in each folder starts the training; its variables stand at its top, each argument says where its value "
            "is from. The folder has to lie where every node sees it.",
            "",
        ]
    return lines


def _left_out(done: Exported) -> list[str]:
    rows: list[list[Any]] = [
        [name, rows, why, Code(one.examples[why])]
        for name, one in done.sets.items()
        for why, rows in one.left_out.most_common()
    ]
    lines = [f"- {cell(name)} is not here: {cell(why)}." for name, why in done.skipped.items()]
    if rows:
        lines += ["", *table(["set", "rows left out", "because", "the first"], rows)]
    return ["## Left out", "", *lines, ""] if lines else []


def _reward(done: Exported, verifiers: set[str]) -> list[str]:
    wanted = {name for verifier in verifiers for name in NEEDS.get(verifier, ())}
    specs = [one.split(";")[0].strip() for one in requires("cuvee") or [] if _name(one) in wanted]
    lines = [
        "## The reward",
        "",
        "`reward.py` grades with the extraction and the graders that curated the data, in worker processes that are killed at "
        "their deadline. It needs Cuvee's code and what its graders import on every node, in the trainer's environment:",
        "",
    ]
    install = ["pip install --no-deps --ignore-requires-python CUVEE    # its checkout or wheel"]
    install += ["pip install " + " ".join(f"'{spec}'" for spec in sorted(specs))] if specs else []
    install += (
        ["apt-get install bubblewrap    # programs run in its sandbox, or not at all"] if "code" in verifiers else []
    )
    lines += fenced("\n".join(install), "")
    lines += [
        "",
        f"An answer that could not be graded {UNKNOWN[done.target]}. An answer that was cut off at its longest is graded as it "
        "is; when difficulty was measured it counted as wrong.",
        "",
    ]
    return lines


def _asked(done: Exported) -> list[str]:
    how = done.asked
    place = f"as {cell(how.place)} puts them to the model" if how.place else "as they are, by nobody's prompt"
    lines = ["## How problems are asked", "", f"Problems are asked {place}."]
    if said := [f"{key} {value}" for key, value in how.sampling.items() if NEUTRAL.get(key, ...) != value]:
        lines += [f"Difficulty was measured with {cell(', '.join(said))}."]
    for name, one in done.sets.items():
        if one.verifiers:
            lines += ["", f"The first of {cell(name)}:", "", *fenced(_shown(one), "")]
    return [*lines, ""]


def _shown(one: ExportedSet) -> str:
    if isinstance(one.first, str):
        return one.first
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in one.first or ())


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
