"""A plan, printed."""

from typing import Any

from rich.console import Console
from rich.table import Table

from curation.inspect.visible import plain, visible

SHOWN = 1200
FEW = 30
"""Problems of a pilot below which its interval promises too much."""


def show(console: Console, data: dict[str, Any]) -> None:
    """Prints what `plan` gives."""
    console.print(f"[bold]{plain(data['recipe'])}[/]: {data['problems']:,} problems\n")
    piloted = any(entry.get("pilot") for entry in data["annotators"])
    missing = "missing, before the pilot" if piloted else "missing"
    table = Table("annotator", "problems", missing, "", box=None, header_style="bold", pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    for entry in data["annotators"]:
        table.add_row(plain(entry["key"]), f"{entry['problems']:,}", f"{entry['missing']:,}", _note(entry))
    console.print(table)
    for entry in data["annotators"]:
        if entry.get("pilot"):
            _show_pilot(console, entry)
    for entry in data["annotators"]:
        if entry.get("prompts"):
            _show_prompts(console, entry)


def _note(entry: dict[str, Any]) -> str:
    if "model" not in entry:
        return ""
    if "votes" in entry:
        return f"{entry['votes']:,} votes of {plain(entry['model'])}" if entry["votes"] else "nothing to ask"
    grade = f", {entry['to_grade']:,} to grade" if entry["to_grade"] else ""
    if not entry["missing"]:
        return f"nothing to sample{grade}"
    most = f"at most {entry['samples_at_most']:,} samples of {plain(entry['model'])}"
    about = f", about {entry['samples_about']:,} if all pass rates are as likely" if "samples_about" in entry else ""
    return f"{most}{about}{grade}"


def _show_pilot(console: Console, entry: dict[str, Any]) -> None:
    pilot = entry["pilot"]
    came = f"{pilot['problems']:,} problems"
    if pilot["dropped"]:
        came += f" that came so far, of {pilot['problems'] + pilot['dropped']:,}"
    console.print(
        f"\n[bold]{plain(entry['key'])}[/]: by the pilot's {came}, the other {pilot['others']:,} take (90 % interval)"
    )
    if pilot["problems"] < FEW:
        console.print(f"  [yellow]from so few problems a rough figure; give --pilot {FEW} or more[/]")
    names = {
        "samples": "samples",
        "tokens": "tokens",
        "prompt_tokens": "prompt tokens",
        "hours": "hours",
        "usd": "dollars",
    }
    for key, name in names.items():
        if pilot[key] is None:
            continue
        low, middle, high = (_number(value) for value in pilot[key])
        speed = f"  at {pilot['tokens_per_second']:,} tokens/s, as in the pilot" if key == "hours" else ""
        console.print(f"  {name:<14}{middle:>12}   ({low} to {high}){speed}", highlight=False)
    if pilot["usd"] is None:
        console.print(
            f"  dollars        unknown: models.{plain(entry['model'])} has no `price`, such as {{gpu_hour: 2.5}}"
        )


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" if value >= 1 else f"{value:.2g}"


def _show_prompts(console: Console, entry: dict[str, Any]) -> None:
    sampling = ", ".join(f"{name} {value}" for name, value in entry["sampling"].items())
    console.print(
        f"\n[bold]{plain(entry['key'])}[/] asks {plain(entry['model'])} with {plain(sampling)}", highlight=False
    )
    for number, prompt in enumerate(entry["prompts"]):
        more = f" ({len(entry['prompts'])} kinds of prompts)" if number == 0 and len(entry["prompts"]) > 1 else ""
        console.print(f"[dim]the first prompt{more}: problem {plain(prompt['id'])}[/]")
        if "trouble" in prompt:
            console.print(f"  [yellow]without the chat template, which cannot be had: {plain(prompt['trouble'])}[/]")
        text = prompt["text"]
        if len(text) > SHOWN:
            text = f"{text[: SHOWN // 2]}\n… ({len(text):,} characters) …\n{text[-SHOWN // 2 :]}"
        for line in text.splitlines():
            console.print(f"  │ {visible(line)}", markup=False, highlight=False, soft_wrap=True)
        if number == 0 and len(entry["prompts"]) > 1:
            console.print("[dim]  --json has the others[/]")
            break
