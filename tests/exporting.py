"""A published dataset with sets of every kind, made by hand: literal rows, no model. And what its launch commands start."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.problem import SCHEMA
from curation.publish import Dataset, find
from curation.store import Store

ROW: dict[str, Any] = {
    **{"messages": [], "tools": None, "verifier": "math", "verifier_args": None, "source": "sums"},
    **{"license": "MIT", "parent_id": None, "meta": None, "row": 0},
}
TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
TRAINED = pa.struct([*TURN, ("train", pa.bool_())])
TEXTS = [(name, pa.string()) for name in ("id", "source", "license")]
SFT = pa.schema(
    [
        *TEXTS,
        ("rollout", pa.string()),
        ("prompt", pa.list_(TURN)),
        ("completion", pa.list_(TURN)),
        ("messages", pa.list_(TRAINED)),
        ("tokens", pa.int64()),
    ]
)
PAIRS = pa.schema(
    [
        *TEXTS,
        ("prompt", pa.list_(TURN)),
        ("chosen", pa.list_(TURN)),
        ("rejected", pa.list_(TURN)),
        ("chosen_rollout", pa.string()),
        ("rejected_rollout", pa.string()),
        ("tokens", pa.int64()),
    ]
)
STEPS = pa.schema(
    [*TEXTS, ("prompt", pa.string()), ("completions", pa.list_(pa.string())), ("labels", pa.list_(pa.bool_()))]
)
SCHEMAS = {"rl": SCHEMA, "sft": SFT, "fusion": SFT, "preference": PAIRS, "process": STEPS}

RECIPE: dict[str, Any] = {
    "name": "sums",
    "seed": 7,
    "sources": {"sums": {"jsonl": "sums.jsonl"}},
    "models": {
        "policy": {
            "model": "org/base",
            "prompt": {"system": "Be brief.", "template": "{prompt}\nThink first.", "stop": ["\nQ:"]},
        }
    },
    "annotate": {"pass_rate": {"model": "policy", "n": 4, "max_tokens": 300, "temperature": 0.6, "top_p": 0.95}},
    "student": {"model": "policy"},
}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def problem(id_: str, prompt: str, answer: str | None, **others: Any) -> dict[str, Any]:
    return ROW | {"id": id_, "prompt": prompt, "answer": answer} | others


def trace(id_: str, *turns: dict[str, str], tokens: int = 40) -> dict[str, Any]:
    """A row of an SFT set: the last turn is trained."""
    return {
        **{"id": id_, "source": "sums", "license": None, "rollout": f"r-{id_}", "tokens": tokens},
        **{"prompt": [*turns[:-1]], "completion": [turns[-1]]},
        "messages": [{**turn, "train": turn is turns[-1]} for turn in turns],
    }


def pair(id_: str, asked: str, chosen: str, rejected: str) -> dict[str, Any]:
    answers = {"prompt": [user(asked)], "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}
    rollouts = {"chosen_rollout": f"c-{id_}", "rejected_rollout": f"w-{id_}"}
    return {"id": id_, "source": "sums", "license": "MIT", "tokens": 50} | answers | rollouts


PROBLEMS = [problem(f"p{n}", f"What is {n} + 1?", str(n + 1)) for n in range(6)]
SETS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "rl": {"train": PROBLEMS[:4], "test": PROBLEMS[4:]},
    "sft": {
        "train": [
            trace("p0", user("What is 0 + 1?"), assistant("<think>\nOne more.\n</think>\n\n1")),
            trace("p1", user("What is 1 + 1?"), assistant("2"), tokens=90),
        ],
        "test": [trace("p4", user("What is 4 + 1?"), assistant("5"))],
    },
    "fusion": {
        "train": [
            trace("p0", user("What is 0 + 1? /no_think"), assistant("<think>\n\n</think>\n\n1")),
            trace(
                "p1",
                user("1 + 1? /no_think"),
                assistant("2"),
                user("2 + 1? /think"),
                assistant("<think>\n3\n</think>\n\n3"),
            ),
        ],
        "test": [],
    },
    "preference": {"train": [pair("p0", "What is 0 + 1?", "1", "2")], "test": [pair("p4", "What is 4 + 1?", "5", "6")]},
    "process": {
        "train": [
            {
                "id": "p0",
                "source": "sums",
                "license": None,
                "prompt": "2?",
                "completions": ["1.", "2."],
                "labels": [True, False],
            }
        ],
        "test": [],
    },
}


def published(
    workspace: Path,
    sets: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] = SETS,
    version: str = "2026-11-22.1",
    **recipe: Any,
) -> Dataset:
    """A dataset of these sets, as a run publishes it; a set is of the kind of its name, unless the recipe says otherwise."""
    whole = RECIPE | {"sets": {name: {} for name in sets}} | recipe
    annotators = [
        {"key": key, "annotator": (settings or {}).get("is", key), "rollouts": {}}
        for key, settings in whole["annotate"].items()
    ]
    folder = workspace / "datasets" / whole["name"] / version
    listed: dict[str, dict[str, Any]] = {}
    for name, splits in sets.items():
        listed[name] = {}
        for split, rows in splits.items():
            files = [f"{name}/{split}-00000.parquet"] if rows or split == "train" else []
            kind = (whole["sets"][name] or {}).get("is", name)
            for file in files:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMAS[kind]), folder / file, row_group_size=2)
            listed[name][split] = {"rows": len(rows), "files": files}
    pq.write_table(pa.table({"id": ["p0"]}), folder / "decisions.parquet")
    (folder / "README.md").write_text("a card")
    manifest = {
        **{"name": whole["name"], "version": version, "fingerprint": f"f-{version}", "recipe": whole},
        **{"annotators": annotators, "sets": listed, "tables": [], "student": {"model": "org/base", "notes": []}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return find(Store(str(workspace)), f"{whole['name']}@{version}")


SAYS = """#!{python}
import json, sys
print(json.dumps(["{name}", *sys.argv[1:]]))
"""
PYTHON = """#!/usr/bin/env bash
if [ "$1" = -c ]; then exec {python} "$@"; fi
exec {python} -c 'import json, sys; print(json.dumps(["python3", *sys.argv[1:]]))' "$@"
"""


def launched(folder: Path, *arguments: str, **environment: str) -> list[str]:
    """What launch.sh starts: the command and its arguments."""
    tools = folder.parent / "tools"
    tools.mkdir(exist_ok=True)
    names = {"ray": SAYS, "torchrun": SAYS, "accelerate": SAYS, "python3": PYTHON}
    for name, text in names.items():
        (tools / name).write_text(text.replace("{python}", sys.executable).replace("{name}", name))
        (tools / name).chmod((tools / name).stat().st_mode | stat.S_IXUSR)
    ran = subprocess.run(
        ["bash", str(folder / "launch.sh"), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": f"{tools}:{os.environ['PATH']}", "HOME": "/nowhere", "NEMO_RL": str(tools), **environment},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: list[str] = json.loads(ran.stdout.splitlines()[-1])
    return found
