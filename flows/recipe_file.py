"""A recipe's text: YAML in a file, what it `extends`, and overrides, come to plain data. What it means is recipe.py's.

`extends: NAME` inherits key by key; `null` removes a key, lists are replaced. An override is a recipe of one key on top.

YAML is 1.2: `no` and `yes` are words, 1e-6 is a number. Paths are relative to the file they stand in, those of an
override to the folder one is in.
"""

import difflib
import io
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from curation.sql import short
from curation.taxonomy import is_path
from flows.overlay import Known, mistakes, overlaid

SHIPPED = Path(__file__).parent / "recipes"
OVERLAYS = SHIPPED / "overlays"
MOST_VALUES = 100_000
"""Keys and values of a recipe, those that anchors repeat counted each time."""
DEEPEST = 100
"""Levels of a recipe."""


class RecipeError(ValueError):
    """A recipe that cannot be used: every mistake found, each with its file, key, what was given and what is allowed."""

    def __init__(self, file: str, mistakes: list[str]) -> None:
        super().__init__("\n".join(f"{file}: {mistake}" for mistake in mistakes))


def read(
    recipe: str, overrides: Mapping[str, str], overlays: Iterable[str] = (), known: Known | None = None
) -> tuple[Path, dict[str, Any]]:
    """The file of a recipe and what it says; `extends`, overlays, overrides (YAML texts by dotted key) applied in this order.

    known: what overlays may speak of.
    """
    path = locate(recipe)
    raw = _inherited(path, ())
    raw.setdefault("name", path.stem)
    for overlay in overlays:
        file = _file(overlay) or _shipped(overlay, OVERLAYS, "overlay")
        over = _inherited(file, ())
        if wrong := mistakes(over, known or Known()):
            raise RecipeError(str(file), wrong)
        raw = overlaid(raw, over)
    for key, text in overrides.items():
        raw = _overridden(raw, key, text)
    if wrong := [f"{key}: {why}" for key, why in _not_plain(raw, "")]:
        raise RecipeError(str(path), wrong)
    return path, raw


def locate(recipe: str) -> Path:
    """The file of a recipe given by path or by the name of a shipped one."""
    if (path := _file(recipe)) is not None:
        return path
    return _shipped(recipe, SHIPPED, "recipe")


def _shipped(name: str, folder: Path, kind: str) -> Path:
    names = shipped_names(folder)
    if name in names:
        return folder / f"{name}.yaml"
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise RecipeError(short(name), [f"is neither a file nor a shipped {kind}; {hint}Shipped are: {', '.join(names)}"])


def stands_alone(recipe: str) -> bool:
    """Whether a recipe extends no other."""
    path = locate(recipe)
    raw = _parse(path, str(path))
    return not (isinstance(raw, dict) and raw.get("extends"))


def written(recipe: str) -> str:
    """A recipe's text as it is written, comments and all, with whole paths, so that it can be copied anywhere."""
    path = locate(recipe)
    text = path.read_text()
    raw = _parse(path, str(path))
    assert isinstance(raw, dict), "only a mapping stands alone"
    for given, whole in zip(_strings(raw), _strings(_absolute(_parse(path, str(path)), path.parent)), strict=True):
        if given != whole and not given.startswith("~"):
            text = re.sub(rf"(?<![\w./-]){re.escape(given)}(?![\w./-])", whole.replace("\\", "\\\\"), text)
    return text


def _strings(value: Any) -> list[str]:
    if isinstance(value, (dict, list)):
        return [text for inner in (value.values() if isinstance(value, dict) else value) for text in _strings(inner)]
    return [value] if isinstance(value, str) else []


def _file(name: str, folder: Path = Path()) -> Path | None:
    """The file of that name, None where there is none."""
    try:
        path = folder / Path(name).expanduser()
        return path.resolve() if path.is_file() else None
    except (OSError, RuntimeError):  # too long a name, nobody's home
        return None


def shipped_names(folder: Path = SHIPPED) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def dump(value: Mapping[str, Any]) -> str:
    """A recipe as YAML."""
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 4096
    stream = io.StringIO()
    writer.dump(dict(value), stream)
    return stream.getvalue()


def _parse(source: Path | str, name: str) -> Any:
    try:
        return _unfolded(YAML(typ="safe", pure=True).load(source), name)
    except MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        line = f"line {place.line + 1}: " if place is not None else ""
        # Of a key that stands twice the values are not shown: one may be a secret.
        raise RecipeError(name, [f"{line}is not YAML: {str(error.problem).split(' with value')[0]}"]) from error
    except RecipeError:
        raise
    except (YAMLError, UnicodeDecodeError, ValueError) as error:
        raise RecipeError(name, [f"is not YAML: {str(error).splitlines()[0]}"]) from error
    except RecursionError as error:
        raise RecipeError(name, ["is not YAML: nested too deeply"]) from error
    except OSError as error:
        raise RecipeError(name, [f"cannot be read: {error.strerror}"]) from error


def _unfolded(value: Any, name: str) -> Any:
    """What was read without anchors; characters that JSON writes as two (`\\ud83d\\ude00`) are one."""
    numbers = itertools.count(1)

    def copied(value: Any, depth: int) -> Any:
        if depth > DEEPEST or next(numbers) > MOST_VALUES:
            limits = f"{DEEPEST} levels or {MOST_VALUES:,} values"
            raise RecipeError(name, [f"comes to more than {limits}; write out what its anchors (&, *) repeat"])
        if isinstance(value, str):
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if isinstance(value, dict):
            return {copied(key, depth): copied(inner, depth + 1) for key, inner in value.items()}
        return [copied(inner, depth + 1) for inner in value] if isinstance(value, list) else value

    return copied(value, 1)


def _inherited(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path in seen:
        raise RecipeError(str(path), [f"extends: goes in a circle: {' -> '.join(p.name for p in (*seen, path))}"])
    raw = _parse(path, str(path))
    if not isinstance(raw, dict):
        raise RecipeError(str(path), ["is no recipe: the file has to hold keys such as name, sources, annotate, keep"])
    raw = _absolute(raw, path.parent)
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise RecipeError(str(path), [f"extends: takes the name or path of one recipe, not {short(repr(parent))}"])
    try:
        base = _inherited(_file(parent, path.parent) or locate(parent), (*seen, path))
    except RecipeError as error:
        raise RecipeError(str(path), [f"extends: {error}"]) from error
    base.pop("name", None)
    return _merged(base, raw)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` over `base`, key by key; null removes a key, anything but mappings is replaced."""
    merged = dict(base)
    for key, value in over.items():
        if value is None and key in merged:
            del merged[key]
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _overridden(raw: dict[str, Any], key: str, text: str) -> dict[str, Any]:
    """A recipe with one value set by its dotted key; the text is YAML, so `8` is a number and `null` removes the key."""
    names = key.split(".")
    if not all(names) or len(names) > DEEPEST:
        raise RecipeError("--set", [f"{short(key)}: is no key; give its path, such as annotate.pass_rate.n"])
    value = _parse(text, f"--set {key}")
    place: Any = raw
    for number, name in enumerate(names[:-1], start=1):
        place = place.get(name)
        if place is None:
            if value is None:
                return raw  # nothing there to remove
            break
        if not isinstance(place, dict):
            raise RecipeError("--set", [f"{key}: {'.'.join(names[:number])} is a value, which has no keys"])
    else:
        if value is None and names[-1] not in place:
            return raw
        if isinstance(value, dict):
            place.pop(names[-1], None)  # set, not merged
    for name in reversed(names):
        value = {name: value}
    return _merged(raw, _absolute(value, Path.cwd()))


def _absolute(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths of files and of folders beside the recipe made absolute, so that `extends` does not move them."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        if not isinstance(value, str) or not value or "://" in value:
            return value
        return os.path.normpath(folder / os.path.expanduser(value))

    benchmarks = [entry for annotator in _entries(raw, "annotate") for entry in _entries(annotator, "benchmarks")]
    evaluate = raw.get("evaluate")
    tasks = _entries(evaluate, "tasks") if isinstance(evaluate, dict) else []
    for source in (*_entries(raw, "sources"), *benchmarks, *tasks):
        for kind in ("parquet", "jsonl"):
            if kind in source:
                source[kind] = moved(source[kind])
    for entries, key in (
        ([*_entries(raw, "sources"), *tasks], "hf"),
        (benchmarks, "hf"),
        (_entries(raw, "models"), "model"),
    ):
        for entry in entries:
            # org/name is one of the Hub
            if isinstance(entry.get(key), str) and entry[key].startswith((".", "/", "~")):
                entry[key] = moved(entry[key])
    for annotator in _entries(raw, "annotate"):
        if isinstance(given := annotator.get("taxonomy"), str) and is_path(given):
            annotator["taxonomy"] = moved(given)
    if isinstance(student := raw.get("student"), dict):
        for key in ("chat_template", "tokenizer"):
            # A Hub name is none of these; a template always is a file.
            if isinstance(given := student.get(key), str) and (
                key == "chat_template" or given.startswith((".", "/", "~"))
            ):
                student[key] = moved(given)
    return raw


def _entries(raw: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    entries = raw.get(section)
    return [entry for entry in entries.values() if isinstance(entry, dict)] if isinstance(entries, dict) else []


def _not_plain(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Where a recipe holds what JSON cannot: manifests record it, and hashes are taken of it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            here = (f"{key}.{name}" if key else str(name)).encode(errors="backslashreplace").decode()
            if not isinstance(name, str):
                yield here, f"a key has to be text; put it in quotes: '{name}'"
            else:
                yield from _not_plain(name, here)
                yield from _not_plain(inner, here)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _not_plain(inner, f"{key}.{number}")
    elif isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        yield key, "has half a character (a lone surrogate, \\ud800 to \\udfff); write the character itself"
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, f"{value} is no number that can be used"
    elif value is not None and not isinstance(value, (str, int, float)):
        yield key, f"is read as a {type(value).__name__}; if it is text, put it in quotes"
