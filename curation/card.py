"""The card of a dataset: what `load_dataset` needs to know, and what a reader wants to."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from curation import card_sets
from curation.inspect import balanced
from curation.inspect.visible import visible
from curation.markdown import Code, cell, fenced, table

HUB_LICENCES = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 gfdl gpl-2.0
gpl-3.0 isc lgpl-2.1 lgpl-3.0 mit mpl-2.0 odbl odc-by pddl unlicense wtfpl
"""
"""Licences by the names that the Hub knows; a card with another name is refused there."""


def card(manifest: Mapping[str, Any], recipe: str) -> str:
    """The dataset card."""
    licences = sorted({row["license"] or "unknown" for row in manifest["licenses"]})
    configs = [
        {
            "config_name": config,
            # `load_dataset` caches a folder under its last name, a version's date, and this mapping: without something of
            # its own, another dataset of that day would be given in place of this one.
            "description": f"{config} of {manifest['name']} {manifest['version']}, {manifest['fingerprint'][:16]}",
            # What `load_dataset` gives when no config is named.
            "default": number == 0,
            "data_files": [
                {"split": split, "path": f"{config}/{split}-*.parquet"}
                for split, part in splits.items()
                if part["files"]
            ],
        }
        for number, (config, splits) in enumerate(manifest["sets"].items())
    ]
    counts = manifest["counts"]
    lines = [
        "---",
        # JSON is YAML, and quotes whatever a name may hold.
        f"configs: {json.dumps(configs)}",
        f"license: {json.dumps(_hub_licence(licences))}",
        'tags: ["reasoning", "cuvee"]',
        "---",
        "",
        f"# {cell(manifest['name'])}",
        "",
        f"Version {manifest['version']}, made by Cuvee {manifest['code_version']} from {counts['read']:,} rows: "
        f"{counts['kept']:,} kept, {counts['dropped']:,} dropped by rules, {counts['rejected']:,} rejected when read. "
        "`decisions.parquet`, where it is included, has every problem with all measurements and the outcome of every rule.",
        "",
        "## Rules",
        "",
        *table(
            ["rule", "keeps a problem when", "entered", "pass", "fail", "unknown"],
            [
                [r["rule"], Code(r["condition"]), r["entered"], r["pass"], r["fail"], r["unknown"]]
                for r in manifest["rules"]
            ],
        ),
        "",
        *_balance(manifest.get("balance")),
        "## Sources and licences",
        "",
        *table(
            ["source", "licence", "problems", "kept"],
            [[r["source"], r["license"] or "unknown", r["problems"], r["kept"]] for r in manifest["licenses"]],
        ),
        "",
        *_judge(manifest.get("judge")),
        *card_sets.lines(manifest),
        *[f"- {visible(' '.join(line.split()))}" for line in manifest["recipe"].get("differs", [])],
        "",
        "## Recipe",
        "",
        *fenced(recipe, "yaml"),
        "",
    ]
    return "\n".join(lines)


def _hub_licence(licences: Sequence[str]) -> str:
    """What the Hub calls the licence of all rows; `other` where they have several, or one that it does not know."""
    known = len(licences) == 1 and licences[0].lower() in HUB_LICENCES.split()
    return licences[0].lower() if known else "other"


def _balance(record: Mapping[str, Any] | None) -> list[str]:
    """Rows before and after by group and difficulty, and what could not be met."""
    if record is None:
        return []
    told = ["## Balance", ""]
    for of, rows in balanced.tables(record):
        told += [*table([Code(of), "before", "after"], [list(row) for row in rows]), ""]
    if missed := balanced.lines(record):
        told += [*(f"- {cell(line)}" for line in missed), ""]
    return told


def _judge(judge: Mapping[str, Any] | None) -> list[str]:
    """Who judged, and how far it is to be trusted."""
    if judge is None:
        return []
    measured = judge["measured"]
    if measured is None:
        trust = "This judge was **never measured** on labelled answers where this dataset was made."
    else:
        rates = (
            f"{name.replace('_', ' ')} {rate['rate']:.1%} (90 % interval {rate['low']:.1%} to {rate['high']:.1%})"
            for name in ("false_accepts", "false_rejects")
            if (rate := measured["judge"][name])["of"]
        )
        trust = f"On {measured['judge']['labelled']:,} labelled answers ({measured['date'][:10]}): {', '.join(rates)}."
    told = f"{judge['problems']:,} problems are graded by a model, {cell(judge['model'])}, not by rules. {trust}"
    return ["## Judge", "", told, ""]
