"""Plots of an evaluation, as SVG: accuracy by model, accuracy by thinking budget, and reliability."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

INK, COLOURS = "#333333", ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")
ACROSS = 3
"""Panels in a row."""


def plots(data: Mapping[str, Any]) -> dict[str, str]:
    """SVG texts by file name; a plot that would show nothing is not among them."""
    found = {"accuracy.svg": _accuracy(data)}
    if len(data["budgets"]) > 1:
        found["budgets.svg"] = _budgets(data)
    for kind in ("agreement", "sequence"):
        if any(result["calibration"][kind] for result in data["results"]):
            found[f"reliability-{kind}.svg"] = _reliability(data, kind)
    return found


def condition(result: Mapping[str, Any], budget: bool = True, between: str = " ") -> str:
    """Task, mode and budget of a result in a few words."""
    words = [result["task"], result["mode"]]
    words += [f"budget {result['budget']}"] if budget and result["budget"] is not None else []
    return between.join(filter(None, words))


def _accuracy(data: Mapping[str, Any]) -> str:
    """A bar a model, with its interval, side by side for every task and mode."""
    conditions = list(dict.fromkeys(condition(result, between="\n") for result in data["results"]))
    names = list(data["models"])
    figure, (axes,) = _figure(max(4.5, 1.2 + 1.1 * len(conditions), 0.4 * len(conditions) * (len(names) + 1)))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        for result in data["results"]:
            rate = result["accuracy"]
            if result["model"] != name or rate["rate"] is None:
                continue
            at = conditions.index(condition(result, between="\n")) + (number - (len(names) - 1) / 2) * width
            axes.bar(at, rate["rate"], width * 0.92, color=_colour(number))
            axes.errorbar(at, rate["rate"], yerr=_error(rate), color=INK, capsize=2.5, linewidth=1)
    axes.set_xticks(range(len(conditions)), [_safe(one) for one in conditions])
    axes.set_ylim(0, 1)
    axes.set_ylabel("pass@1")
    _legend(axes, names)
    return _svg(figure)


def _budgets(data: Mapping[str, Any]) -> str:
    """Accuracy against the thinking budget (as figure 2 of the Qwen3 report, 2505.09388)."""
    budgets = data["budgets"]
    series = list(dict.fromkeys((one["model"], condition(one, budget=False)) for one in data["results"]))
    figure, (axes,) = _figure(5.5)
    for number, (name, asked) in enumerate(series):
        points = [one for one in data["results"] if (one["model"], condition(one, budget=False)) == (name, asked)]
        points = [one for one in points if one["accuracy"]["rate"] is not None]
        at = [budgets.index(one["budget"]) for one in points]
        rates = [one["accuracy"] for one in points]
        axes.plot(
            at, [rate["rate"] for rate in rates], marker="o", color=_colour(number), label=_safe(f"{name}, {asked}")
        )
        axes.fill_between(
            at, [r["low"] for r in rates], [r["high"] for r in rates], color=_colour(number), alpha=0.15, linewidth=0
        )
    axes.set_xticks(range(len(budgets)), ["none set" if one is None else f"{one:,}" for one in budgets])
    axes.set_xlabel("thinking budget (tokens)")
    axes.set_ylabel("pass@1")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def _reliability(data: Mapping[str, Any], kind: str) -> str:
    """How often what was said with some confidence was right, a panel a task and mode; a dot's area is its claims."""
    shown = [one for one in data["results"] if one["calibration"][kind]]
    conditions = list(dict.fromkeys(map(condition, shown)))
    names = list(data["models"])
    across = min(ACROSS, len(conditions))
    down = -(-len(conditions) // across)
    figure, panels = _figure(3.6 * across, 3.5 * down, down, across)
    for axes, title in zip(panels, conditions, strict=False):
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
        for result in shown:
            if condition(result) == title:
                found, number = result["calibration"][kind], names.index(result["model"])
                at = [one["confidence"] for one in found["bins"]]
                right = [one["right"] for one in found["bins"]]
                sizes = [12 + 160 * one["claims"] / found["claims"] for one in found["bins"]]
                label = _safe(f"{result['model']}: ECE {found['ece']:.2f}")
                axes.plot(at, right, color=_colour(number), linewidth=1, label=label)
                axes.scatter(at, right, s=sizes, color=_colour(number), linewidth=0)
        axes.set_title(_safe(title), fontsize=9)
        axes.set_xlim(-0.02, 1.04)
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel(
            "share of the majority answer" if kind == "agreement" else "probability a token (geometric mean)"
        )
        axes.set_ylabel("share that is right")
        axes.legend(frameon=False, fontsize=7, loc="best")
    for axes in panels[len(conditions) :]:
        axes.set_visible(False)
    return _svg(figure)


def _figure(width: float, height: float = 3.4, down: int = 1, across: int = 1) -> tuple[Any, list[Any]]:
    """A figure, and its panels row by row."""
    from matplotlib.figure import Figure  # no pyplot: no backend, nothing global

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _legend(axes: Any, names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=_colour(number), label=_safe(name)) for number, name in enumerate(names)]
    axes.legend(handles=handles, frameon=False, fontsize=8)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _error(rate: Mapping[str, float]) -> list[list[float]]:
    return [[max(0.0, rate["rate"] - rate["low"])], [max(0.0, rate["high"] - rate["rate"])]]


def _safe(text: str) -> str:
    """Text as it is: matplotlib reads what stands between dollars as mathematics."""
    return text.replace("$", r"\$")


def _svg(figure: Any) -> str:
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "cuvee"}):  # the same plot is the same file
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
