"""How an import is told: what may be wrong with it, and what it means for the recipe."""

from collections.abc import Mapping
from typing import Any

from curation.imports.gathering import Gathered
from curation.sql import short

COPIES, AGREE = 0.5, 0.9
"""Shares of samples that are warned of: equal to another one, above; of one mind with the verifier, below."""


def warnings(
    gathered: Gathered, equal: float, elsewhere: float, check: int | None, told: Mapping[str, Any]
) -> list[str]:
    """What may be wrong with samples that were imported.

    equal: the share of copies among them. elsewhere: of those that the workspace has from elsewhere too.
    """
    found = []
    if any(rollouts.sampling.temperature == 0 for rollouts in gathered.groups):
        found.append("temperature is 0: samples of a problem are one answer drawn again, and no pass rate")
    if equal > COPIES:
        found.append(
            f"{equal:.0%} of the samples are equal to another of their problem: copies count as draws, and the pass rate "
            "is that of fewer than it says"
        )
    if elsewhere > COPIES:
        found.append(
            f"{elsewhere:.0%} of the samples are word for word ones of their problem that the workspace has from another "
            "file or a run, and count twice. A file that is imported again has to be the one it was, or that with rows "
            "appended: not edited, split or converted"
        )
    if len(gathered.steps) > 1:
        shown = sorted(gathered.steps, key=lambda text: (len(text), text))
        found.append(
            f"the files hold samples of several training steps ({shown[0]} to {shown[-1]}): the model changed between "
            "them, and they count as one. Import one checkpoint's at a time, chosen with --where, --as a model of its own"
        )
    if gathered.ended_unknown:
        found.append(
            f"{gathered.ended_unknown:,} samples have neither a finish reason nor a length: those that were cut off "
            "could not be told, and count as ended"
        )
    if gathered.cut_short:
        found.append(
            f"{gathered.cut_short:,} samples were cut off (finish_reason: length) well below their max_tokens "
            f"({gathered.first_cut_short}), and count as cut off: either another max_tokens was in force (say it with "
            "--drawn max_tokens=...), or the model's context ended them"
        )
    if gathered.prompt_unknown:
        found.append(
            f"{gathered.prompt_unknown:,} samples have the id of a problem and a prompt that is no problem's; they went by "
            f"the id ({gathered.first_prompt_unknown})"
        )
    if gathered.beside is not None:
        found.append(
            f"rendered prompts hold text that the recipe's prompt does not: {short(gathered.beside, 200)!r}. That is right "
            "when the chat template puts it there by itself; else write it into the recipe (`system`)"
        )
    if gathered.ambiguous:
        found.append(
            f"{gathered.ambiguous:,} samples have the prompt of several problems: they went to the first in source order"
        )
    agreement = told["agreement"]
    if agreement is not None and agreement["agree"] < AGREE * agreement["checked"]:
        found.append(
            f"the files' scores and the recipe's verifier disagree on {1 - agreement['agree'] / agreement['checked']:.0%}: "
            "one of them misreads these completions, and pass rates follow the verifier"
        )
    if check and agreement is None:
        found.append("--check: the files have no score to compare with")
    return found


def show(told: Mapping[str, Any], recipe: str) -> list[str]:
    """What to print, line by line."""
    lines = [
        f"{told['rows']:,} rows read, {told['samples']:,} samples in them: {told['imported']:,} imported, "
        f"{told['already_there']:,} already there, {told['unmatched']:,} of no problem of the recipe, "
        f"{sum(entry['samples'] for entry in told['rejected']):,} rejected"
    ]
    if len(told["files"]) > 1:
        lines += [
            f"  {file['already_there']:,} already there: {file['path']}"
            for file in told["files"]
            if file["already_there"]
        ]
    lines += [f"  rejected {entry['samples']:,}: {entry['first']}" for entry in told["rejected"]]
    lines += [f"  no problem: {entry['at']}: {short(entry['prompt'], 160)}" for entry in told["unmatched_examples"]]
    lines.append(f"{told['problems']:,} problems are covered")
    if told["assumed"]:
        assumed = ", ".join(f"{name}={value:g}" for name, value in told["assumed"].items())
        lines.append(f"Not said, and taken as the default: {assumed}")
    if told["prompt_unsaid"]:
        lines.append(
            f"Not said of {told['prompt_unsaid']:,} samples, and taken as the recipe's: the prompt around the problem"
        )
    for one in told["sets"]:
        lengths = ", ".join(f"{length:,}" for length in one["max_tokens"])
        lines.append(
            f"rollouts/{one['rollouts']}: {one['samples']:,} samples of {one['problems']:,} problems, "
            f"{one['cut_off']:,} cut off; temperature={one['sampling']['temperature']:g}, max_tokens={lengths}"
        )
        for entry in one["counted_by"]:
            lines.append(
                f"  `cuvee run {recipe}` counts them for {entry['annotator']} (n={entry['n']}, temperature="
                f"{entry['temperature']:g}, max_tokens={entry['max_tokens']:,}), which has all {entry['n']} samples of "
                f"{entry['complete']:,} problems now"
            )
            if one["cut_off"] and one["max_tokens"][0] < entry["max_tokens"]:
                lines.append(
                    "  those cut off at a smaller max_tokens are continued from their token ids, or drawn again"
                )
        if not one["counted_by"]:
            lines.append(
                f"  no annotator of {recipe} counts them" + ("" if one["not_counted_by"] else ": it samples nothing")
            )
            for entry in one["not_counted_by"]:
                differs = "; ".join(_one_difference(name, values) for name, values in entry["differs"].items())
                lines.append(f"    {entry['annotator']}: {differs}")
    if (agreement := told["agreement"]) is not None:
        lines.append(
            f"The recipe's verifier agrees with the files' scores on {agreement['agree']:,} of {agreement['checked']:,} "
            f"({agreement['file_only']} right only by the file, {agreement['verifier_only']} only by the verifier, "
            f"{agreement['errors']} errors)"
        )
        if (example := agreement.get("example")) is not None:
            lines.append(
                f"  {example['problem']}, answer {example['answer']!r}: {example['file']} by the file, {example['verifier']} by "
                f"the verifier: {short(example['text'].replace(chr(10), ' '), 160)}"
            )
    return lines


def _one_difference(name: str, values: Any) -> str:
    if isinstance(values, str):
        return f"its {name} {values}"
    here, there = (short(str(value), 80) for value in values)
    return f"{name} is {here} here and {there} there"
