"""A launch command as a bash script: variables at its top, then arguments, each with where its value is from.

Values are quoted for the shell, and texts in comments cannot end their line: recipes are written by anybody.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from train.export.settings import MEASURED, Settings

SUBMIT = r"""
# Called by itself it submits itself to the Ray cluster, as a job on the head node; the nodes have to see this folder.
RAY_ADDRESS=${RAY_ADDRESS:-http://127.0.0.1:8265}
if [ "${1:-}" != run ]; then
  runtime=$(python3 -c 'import json, sys; print(json.dumps({"env_vars": dict(a.split("=", 1) for a in sys.argv[1:])}))' \
    @VARIABLES@ "PYTHONPATH=$HERE${PYTHONPATH:+:$PYTHONPATH}")
  exec ray job submit --address "$RAY_ADDRESS" --runtime-env-json "$runtime" -- bash "$HERE/launch.sh" run
fi
"""
EVERY_NODE = r"""
# Run it on every node, with NODE_RANK 0 to NODES - 1 and MASTER the address of node 0.
NODE_RANK=${NODE_RANK:-0}
MASTER=${MASTER:-127.0.0.1}
PORT=${PORT:-29500}
export PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}"
"""
HYDRA = r"""
# A text as Hydra reads it, whatever is in it.
text() { python3 -c 'import re, sys
t = sys.argv[1].replace("${", "\\${")
print("\x27" + re.sub(r"(\\*)(\x27|$)", lambda m: m[1] * 2 + ("\\\x27" if m[2] else ""), t) + "\x27", end="")' "$1"; }
"""


class Variable(NamedTuple):
    """A line at the top of the script, that the environment overrides."""

    name: str
    value: Any
    comment: str


class Argument(NamedTuple):
    """One argument: shell text, already quoted, and where its value is from."""

    text: str
    origin: str


class Flag(NamedTuple):
    """How a trainer calls a setting of ours."""

    name: str
    text: str
    """`{}` is the value."""
    values: Mapping[Any, Any] | None = None
    """Our values in its words, where they are others; what is not among them it does not know."""

    def knows(self, value: Any) -> bool:
        return self.values is None or value in self.values


def arguments(settings: Settings, flags: Iterable[Flag]) -> list[Argument]:
    """The flags whose setting is known, in their order."""
    found = []
    for flag in flags:
        setting = settings.values.get(flag.name)
        if setting is not None and flag.knows(setting.value):
            value = setting.value if flag.values is None else flag.values[setting.value]
            found.append(Argument(flag.text.replace("{}", word(value)), setting.origin))
    return found


def untold(settings: Settings, flags: Iterable[Flag], besides: Iterable[str] = ()) -> list[str]:
    """What the recipe says, or difficulty was measured with, and launch.sh does not say: for its user to know.

    besides: settings that it says in another way.
    """
    told = {flag.name for flag in flags if flag.name in settings and flag.knows(settings[flag.name])} | {*besides}
    return [
        f"{name} {_plain(setting.value)} ({setting.origin}) is not in launch.sh: set it by hand where it matters."
        for name, setting in settings.values.items()
        if name not in told and setting.origin.startswith(("recipe", MEASURED))
    ]


def _plain(value: Any) -> str:
    return json.dumps(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)


def word(value: Any) -> str:
    """A value as one word of the shell."""
    if isinstance(value, float):
        return f"{value:g}"
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))


def comment(text: str) -> str:
    """A text as a comment of one line."""
    return "# " + "".join(one if one.isprintable() else " " for one in text)


def cluster(model: str | None) -> list[Variable]:
    """What every script asks first."""
    return [
        Variable("NODES", 1, "Nodes of the cluster."),
        Variable("GPUS", 8, "GPUs of a node."),
        Variable("MODEL", model or "", "Folder or Hub name of the model that is trained."),
        Variable("CHECKPOINTS", "checkpoints", "Folder for what is trained, seen by all nodes."),
    ]


def script(about: str, variables: Sequence[Variable], before: str, given: Sequence[Argument], command: str) -> str:
    """The whole script. about: its first comment. before: SUBMIT or EVERY_NODE, and what else `command` needs."""
    names = " ".join(f'"{one.name}=${one.name}"' for one in variables)
    lines = ["#!/usr/bin/env bash", comment(about), "set -euo pipefail", 'HERE=$(cd "$(dirname "$0")" && pwd)', ""]
    for variable in variables:
        lines += [comment(variable.comment), f"export {variable.name}=${{{variable.name}:-{word(variable.value)}}}"]
    lines += [
        ': "${MODEL:?is not set: MODEL=FOLDER bash launch.sh}"',
        before.replace("@VARIABLES@", names).rstrip("\n"),
        "",
        "args=(",
    ]
    for text, origin in given:
        lines += [f"  {comment(origin)}", f"  {text}"]
    return "\n".join([*lines, ")", command, ""])
