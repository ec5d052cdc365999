"""Traces of a set that one thing dropped, each with what was measured that it was dropped for."""

from typing import Any

from rich.console import Console

from curation.duck import arrow, literal, quoted
from curation.inspect.visible import one_line
from curation.publish import Dataset, DatasetError
from curation.rules import OUTCOME_PREFIX
from curation.sql import columns_of, short
from distill.building import TEMPLATE
from distill.inspect.files import PROBLEM, decisions_of, dropped_counts, set_of
from distill.paired import UNPAIRED
from distill.selecting.targets import TOKENS, Select

EVIDENCE = {
    "correct": ("extracted", "verdict_reason"),
    "cut_off": ("drawn_tokens", "budget_hit"),
    "well_formed": ("form_fault",),
    "repetitive": ("repetition", "repetition_in", "repetition_of"),
    "guesswork": ("guess_phrase",),
    "contradictory": ("thinking_answer", "extracted"),
    "mixed_language": ("language_share", "language_other"),
    "hard_to_read": ("longest_paragraph", "code_in_thinking"),
    "refusal": ("refusal_phrase",),
    "identity": ("refusal_phrase",),
    "trace_contaminated": ("trace_contaminated_by",),
}
"""Beside a column that rules test, those that say why it is so (traces.py)."""
OTHERS = {TEMPLATE: ("fault",), UNPAIRED: ("correct", "chosen_ok", "rejected_ok", TOKENS)}
"""The same for what drops traces and is no rule."""
SHOWN = 60


def reasons(dataset: Dataset, name: str) -> dict[str, int]:
    """What can be asked for, with how many traces it dropped: rules that dropped none among them."""
    rules = [rule["rule"] for part in _parts(set_of(dataset, name)) for rule in part.get("rules", ())]
    counts = dropped_counts(dataset, name)
    return counts | {rule: counts.get(rule, 0) for rule in rules}


def dropped(dataset: Dataset, name: str, by: str, count: int) -> list[dict[str, Any]]:
    """The first traces that `by` dropped, failed before unknown: id, rollout, sample_index, prompt, outcome, evidence.

    by: a rule of the set, `template`, `select: k`, and so on. evidence: column to value, of traces and problems. Raises
    DatasetError when nothing of that name drops traces of this set.
    """
    if by not in (known := reasons(dataset, name)):
        told = ", ".join(f"{key} ({traces:,})" for key, traces in known.items()) or "nothing"
        raise DatasetError(f"nothing called {by!r} drops traces of {name}; there are {told}")
    con, rows = dataset.store.connect(), decisions_of(dataset, name)
    there = [row[0] for row in con.execute(f"describe from {rows}").fetchall()]
    problem = [row[0] for row in con.execute(f"describe from {dataset.decisions()}").fetchall()]
    outcome = quoted(OUTCOME_PREFIX + by) if OUTCOME_PREFIX + by in there else "null"
    own = [column for column in _evidence(set_of(dataset, name), by) if column in there]
    of_problem = {column.lower(): column for column in problem if column not in [*there, "prompt"]}
    others = [of_problem[column] for column in _read(set_of(dataset, name), by) if column in of_problem]
    values = [f"{literal(column)}: t.{quoted(column)}" for column in own]
    values += [f"{literal(column)}: d.{quoted(column)}" for column in others]
    evidence = f"{{{', '.join(values)}}}" if values else "null"
    part = "t.part" if "part" in there else "null"
    found = arrow(
        con,
        f"""select t.id, t.rollout, t.sample_index, {part} as part, d.prompt, {outcome} as outcome, {evidence} as evidence
        from {rows} as t left join {dataset.decisions()} as d using (id) where t.dropped_by = {literal(by)}
        order by outcome = 'unknown', d.source, d.row, t.sample_index limit {int(count)}""",
    )
    return list(found.to_pylist())


def _parts(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [*record.get("parts", {}).values()] or [record]


def _read(record: dict[str, Any], by: str) -> list[str]:
    """Columns that a rule, or `select`, reads, in lower case."""
    conditions = [rule["condition"] for part in _parts(record) for rule in part["rules"] if rule["rule"] == by]
    names = {name for condition in conditions for name in columns_of(condition)}
    if by.startswith("select: "):
        for part in _parts(record):
            names |= Select.model_validate(part["select"]["settings"]).reads
    return sorted(names)


def _evidence(record: dict[str, Any], by: str) -> list[str]:
    """Columns of a trace that say why it was dropped, those that the rule reads first."""
    if by in OTHERS:
        return [*OTHERS[by]]
    names = _read(record, by)
    beside = [column for name in names for column in EVIDENCE.get(name, ())]
    lengths = [] if any(rule["rule"] == by for part in _parts(record) for rule in part["rules"]) else [TOKENS]
    return [*dict.fromkeys([*names, *beside, *lengths])]


def show(console: Console, by: str, found: list[dict[str, Any]], of: int) -> None:
    """Prints dropped traces, two lines each. of: how many there are."""
    for row in found:
        outcome = {"unknown": "[yellow]unknown[/]", "fail": "[red]fail[/]"}.get(row["outcome"] or "", "")
        part = f"{row['part']} " if row["part"] is not None else ""
        head = f"[bold]{one_line(row['id'][:PROBLEM])}[/] {part}#{row['sample_index']}  {outcome}".rstrip()
        console.print(f"{head}  [dim]{one_line(short(' '.join(str(row['prompt']).split()), SHOWN))}[/]")
        evidence = {name: value for name, value in (row["evidence"] or {}).items() if value not in (None, "")}
        told = "   ".join(f"[cyan]{one_line(name)}[/] {one_line(_value(value))}" for name, value in evidence.items())
        console.print(f"    {told}" if told else "    [dim]nothing was measured[/]", highlight=False, soft_wrap=True)
    more = f"\n{len(found):,} of {of:,}: --rows shows more" if len(found) < of else ""
    console.print(more if found else f"{one_line(by)} dropped no trace of this set", highlight=False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return repr(short(" ".join(value.split()), SHOWN)) if isinstance(value, str) else str(value)
