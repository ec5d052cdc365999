"""An evaluation as printed: a table for every task and mode, what changed between models, and all of it side by side.

Accuracies are in per cent, and so are differences (points). Names of models and groups are anybody's text: shown as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.inspect.visible import one_line, plain
from flows.telling import say
from train.evaluate import SHOWN

Condition = tuple[str, str, int | None]
"""Task, mode, budget."""
SIGNIFICANT = 0.05
GROUPS = 12
"""Groups that are shown at most."""
NOTE = (
    "* p < .05 by a paired test over problems, not corrected for the number of comparisons: of twenty without any difference "
    "one has it. Intervals hold nine times in ten."
)


def show(console: Console, data: Mapping[str, Any]) -> None:
    """Prints what `evaluate` gave; `files` and `unfinished` may be in it."""
    conditions = list(dict.fromkeys(map(_condition, data["results"])))
    for condition in conditions:
        results = [one for one in data["results"] if _condition(one) == condition]
        changes = [one for one in data["comparisons"] if _condition(one) == condition]
        asked = results[0]
        samples = "one sample" if data["n"] == 1 else f"{data['n']} samples"
        console.print(
            f"[bold]{_named(condition, bool(data['budgets']))}[/]  {asked['problems']:,} problems, {samples} each, at most "
            f"{data['max_tokens']:,} tokens"
        )
        _scores(console, results, data["n"])
        for change in changes:
            _change(console, change)
        _unknown(console, results)
        console.print()
        _groups(console, results)
    if len(conditions) > 1:
        _side_by_side(console, data, conditions)
    if data["comparisons"]:
        say(console, NOTE)
    if any(one["calibration"]["agreement"] for one in data["results"]) and data["n"] < 16:
        say(
            console,
            f"ECE is of the majority's share of {data['n']} samples: the fewer these are, the surer a model looks. Compare it at "
            "equal n only.",
        )
    for text in data["advice"]:
        say(console, text)
    for stage in data.get("unfinished", ()):
        say(console, f"{stage} has no model yet; `cuvee train {stage}` trains it")
    drawn = sum(one.get("drawn", 0) + one.get("continued", 0) for one in data["drawn"].values())
    say(console, f"Drawn now: {drawn:,} samples." if drawn else "Nothing was drawn: every sample was in the workspace.")
    for file in data.get("files", ()):
        few = f" ({SHOWN} problems of each task; the workspace has all)" if str(file).endswith(".jsonl") else ""
        say(console, f"wrote {file}{few}")


def _condition(result: Mapping[str, Any]) -> Condition:
    return result["task"], result["mode"], result["budget"]


def _named(condition: Condition, budgets: bool) -> str:
    """budgets: whether several are compared."""
    task, mode, budget = condition
    told = f"thinking budget {budget:,}" if budget is not None else "no thinking budget" if budgets else ""
    return plain(", ".join(filter(None, (task, mode, told))))


def _scores(console: Console, results: Sequence[Mapping[str, Any]], n: int) -> None:
    thinks = any((one["thinking_tokens"]["all"] or 0) > 0 for one in results)
    headers = ["", "pass@1", "90 % interval", *([f"pass@{n}"] if n > 1 else []), *(["majority"] if n > 1 else [])]
    headers += ["cut off", "tokens", "if right", "if wrong", *(["thinking"] if thinks else []), "ECE"]
    table = _table(*headers)
    for one in results:
        rate, tokens, agreement = one["accuracy"], one["tokens"], one["calibration"]["agreement"]
        cells = [one_line(one["model"]), _percent(rate["rate"]), _interval(rate)]
        if n > 1:
            most = one["pass_at"][-1]
            cells += [_percent(most["rate"] if most["k"] == n else None), _percent(one["majority"]["rate"])]
        cells += [_percent(one["cut_off"]), *(_number(tokens[of]) for of in ("all", "correct", "wrong"))]
        cells += [_number(one["thinking_tokens"]["all"])] if thinks else []
        table.add_row(*cells, "-" if agreement is None else f"{agreement['ece']:.2f}")
    console.print(table)


def _change(console: Console, change: Mapping[str, Any]) -> None:
    pair = f"{one_line(change['model'])} against {one_line(change['against'])}"
    if change["difference"] is None:
        console.print(f"{pair}: no problem is known of both")
        return
    told = f"{_points(change['difference'])} points ({_points(change['low'])} to {_points(change['high'])})"
    told += f", p {_chance(change['p'])}{_mark(change)}"
    told = f"[{style}]{told}[/]" if (style := _style(change)) else told
    left = f", without {change['left_out']:,} problems that are not known of both" if change["left_out"] else ""
    console.print(f"{pair}: {told}{left}")


def _unknown(console: Console, results: Sequence[Mapping[str, Any]]) -> None:
    for one in results:
        if one["errors"] or one["not_drawn"]:
            rate = one["accuracy"]
            said = [f"{one['errors']:,} samples have no verdict"] if one["errors"] else []
            said += [f"{one['not_drawn']:,} were not answered"] if one["not_drawn"] else []
            console.print(
                f"{one_line(one['model'])}: {' and '.join(said)}; they count as unknown. Were all of them wrong, pass@1 would be "
                f"{_percent(rate['lowest'])}, were all correct {_percent(rate['highest'])}"
            )


def _groups(console: Console, results: Sequence[Mapping[str, Any]]) -> None:
    """Accuracy by source, domain and difficulty, a column a model."""
    for column, groups in results[0]["by"].items():
        table = _table(plain(column), "problems", *(one_line(one["model"]) for one in results))
        for number, group in enumerate(groups[:GROUPS]):
            name = "unknown" if group["group"] is None else group["group"]
            cells = (f"{_percent(one['by'][column][number]['rate'])}" for one in results)
            table.add_row(one_line(name), f"{group['problems']:,}", *cells)
        console.print(table)
        if (left := len(groups) - GROUPS) > 0:
            console.print(f"and {left:,} more; --json has all")
        console.print()


def _side_by_side(console: Console, data: Mapping[str, Any], conditions: Sequence[Condition]) -> None:
    """A row a task and mode, a column a model; each accuracy with its difference to the model before."""
    names = list(data["models"])
    console.print("[bold]pass@1[/]" + (", and points to the model before" if len(names) > 1 else ""))
    table = _table(
        "", *(cell for name in names for cell in ([one_line(name), ""] if name != names[0] else [one_line(name)]))
    )
    for condition in conditions:
        row = [_named(condition, bool(data["budgets"]))]
        for before, name in zip([None, *names], names, strict=False):
            own = next(one for one in data["results"] if one["model"] == name and _condition(one) == condition)
            row.append(_percent(own["accuracy"]["rate"]))
            if before is not None:
                pairs = (one for one in data["comparisons"] if (one["model"], one["against"]) == (name, before))
                row.append(_styled(next(one for one in pairs if _condition(one) == condition)))
        table.add_row(*row)
    console.print(table)
    console.print()


def _styled(change: Mapping[str, Any]) -> str:
    """The points of a change; a loss is as visible as a gain."""
    if change["difference"] is None:
        return "-"
    told = f"{_points(change['difference'])}{_mark(change) or ' '}"
    return f"[{style}]{told}[/]" if (style := _style(change)) else told


def _style(change: Mapping[str, Any]) -> str:
    if change["p"] >= SIGNIFICANT:
        return ""
    return "green" if change["difference"] > 0 else "red"


def _chance(p: float) -> str:
    return f"= {p:.3f}" if p >= 0.0005 else "< 0.001"


def _mark(change: Mapping[str, Any]) -> str:
    return "*" if change["p"] < SIGNIFICANT else ""


def _table(*headers: str) -> Table:
    """All columns but the first are numbers."""
    table = Table(*headers, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    return table


def _interval(rate: Mapping[str, Any]) -> str:
    return "-" if rate["rate"] is None else f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _points(share: float) -> str:
    """With its sign; what rounds to nothing has none."""
    told = f"{100 * share:+.1f}"
    return "0.0" if told in ("+0.0", "-0.0") else told


def _number(count: float | None) -> str:
    return "-" if count is None else f"{count:,.0f}"
