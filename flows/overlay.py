"""Overlays: a file that changes any recipe, for another place or size (recipes/overlays/tiny.yaml).

It changes only what is there, apart from sources; `"*"` replaces all that is there; and under `annotate` its keys are
annotators, whatever their entries are called. In the sections `keep`, `models`, `traces`, `sets` and `train`, whose keys
are names, those that a recipe does not have say nothing.
"""

import difflib
from collections.abc import Collection, Mapping
from types import NoneType
from typing import Any, NamedTuple

EVERY = "*"
"""In an overlay: every key that is there."""


class Known(NamedTuple):
    """What a recipe may have; nothing is refused where it is empty."""

    sections: Collection[str] = ()
    annotators: Collection[str] = ()


def mistakes(over: Mapping[str, Any], known: Known) -> list[str]:
    """Sections and annotators of an overlay that no recipe has."""
    annotate = over.get("annotate")
    asked = [(section, section, known.sections) for section in over]
    asked += [(f"annotate.{key}", key, known.annotators) for key in (annotate if isinstance(annotate, dict) else ())]
    found = []
    for where, name, allowed in asked:
        if allowed and name not in allowed:
            near = difflib.get_close_matches(str(name), allowed, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            found.append(f"{where}: is nothing that a recipe has; {hint}There are {', '.join(allowed)}")
    return found


def overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe under an overlay."""
    result = dict(base)
    for section, changes in over.items():
        here = result.get(section)
        if isinstance(here, dict) and isinstance(changes, dict):
            result[section] = _changed(here, _about_what_is_there(section, here, changes))
        elif section in result or not isinstance(changes, (dict, list, NoneType)):
            result[section] = changes
            if changes is None:
                del result[section]
    return result


def _about_what_is_there(section: str, here: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    if section == "sources":
        return changes
    if section == "annotate":
        kinds = {key: entry.get("is", key) if isinstance(entry, dict) else key for key, entry in here.items()}
        return {key: changes[kind] for key, kind in kinds.items() if isinstance(kind, str) and kind in changes}
    if section in ("keep", "models", "traces", "sets", "train"):  # whose keys are names
        return {key: value for key, value in changes.items() if key in here or key == EVERY}
    return changes


def _changed(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` over `base`, key by key, EVERY before the other keys; null removes a key."""
    every = {key: over[EVERY] for key in base} if EVERY in over else base
    result = {key: value for key, value in every.items() if value is not None or EVERY not in over}
    for key, value in over.items():
        if key == EVERY:
            continue
        if isinstance(value, dict) and isinstance(result.get(key), (dict, type(None))):
            result[key] = _changed(result.get(key) or {}, value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result
