"""What the card says of the sets: of each its kind, what dropped traces, what its columns are, how to train on it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from curation.markdown import Code, cell, fenced, table

_PROBLEM = {"id, source, license": "of the problem"}
_TRACE = {
    "rollout, sample_index": "the trace, and which of the problem's samples it is",
    "prompt, completion": "messages before the trained turn, and that turn: what TRL's SFTTrainer trains on is the completion",
    "messages": "both together, `train` true of the turn that is trained on: for trainers that read conversations",
    "mode": "think or no_think",
}
_LENGTH = {
    "tokens, trained_tokens": "of the row and of its trained turn, by the student's tokenizer",
    "length": "the power of two that holds `tokens`",
}
COLUMNS = {
    "rl": {
        "prompt, messages, tools, answer": "the problem: what is asked, behind the earlier `messages`, and what is right",
        "verifier, verifier_args": "what grades an answer",
        "id, source, license, parent_id, meta": "where the problem is from",
        "the others": "what was measured of it",
    },
    "sft": _PROBLEM | _TRACE | _LENGTH,
    "fusion": _PROBLEM
    | _TRACE
    | {
        "part": "the part of the recipe that the trained turn is of",
        "turns": "how many user turns; the last is answered by what is trained, the others are history",
        "rollouts": "the traces of all turns, `rollout` that of the trained one",
        "flag": "what the last flag says: think, no_think, or none, and then it thinks",
    }
    | _LENGTH,
    "preference": _PROBLEM
    | {
        "prompt, chosen, rejected": "messages: what is asked, and the two answers to it, as TRL's DPOTrainer takes them",
        "kind, reason": "correct_wrong or long2short; in words",
        "chosen_rollout, rejected_rollout": "the traces",
        "chosen_tokens, rejected_tokens": "trained tokens of either, by the student's tokenizer",
        "tokens": "of the longer of the two with the prompt",
        "length": "the power of two that holds it",
    },
    "process": {
        "id": "of the problem",
        "prompt": "what is solved",
        "completions": "the steps of a solution",
        "labels": "of each step whether it is right",
    },
}
"""Columns by kind of set, as they are documented where they are made."""
TRAINERS = {"sft": "SFT", "fusion": "SFT", "preference": "DPO"}


def lines(manifest: Mapping[str, Any]) -> list[str]:
    """The section about sets, and about the student that they are written for."""
    built = manifest.get("built", {})
    splits = [*dict.fromkeys(split for parts in manifest["sets"].values() for split in parts)]
    rows = [
        [config, _kind(built, config), *(parts[split]["rows"] for split in splits), _trained(built.get(config, {}))]
        for config, parts in manifest["sets"].items()
    ]
    told = ["## Sets", "", *table(["config", "kind", *splits, "trained tokens"], rows), ""]
    if (student := manifest.get("student")) is not None:
        told += [*_student(student), ""]
    first: dict[str, str] = {}
    for config in manifest["sets"]:
        kind = _kind(built, config)
        told += [f"### {cell(config)}", "", *_made(manifest, built.get(config, {}))]
        if first.setdefault(kind, config) == config:
            told += [f"- {_names(names)}: {what}" for names, what in COLUMNS.get(kind, {}).items()]
        else:
            told += [f"Its columns are those of {cell(first[kind])}."]
        told += ["", *_training(manifest, config)]
    return told


def _kind(built: Mapping[str, Any], config: str) -> str:
    return str(built.get(config, {}).get("kind", "rl"))


def _trained(record: Mapping[str, Any]) -> int | str:
    return sum(split["trained_tokens"] for split in record["splits"]) if "splits" in record else ""


def _names(names: str) -> str:
    return names if " " in names.replace(", ", "") else ", ".join(f"`{name}`" for name in names.split(", "))


def _student(student: Mapping[str, Any]) -> Iterator[str]:
    identity, own = student["identity"], student["settings"].get("chat_template")
    whose = "its own chat template" if own is None else f"the chat template {cell(_name(own))}"
    most = identity.get("max_length")
    yield (
        f"Sets of traces are written for {cell(_name(student['model']))} in {whose} "
        f"(sha256 {identity['chat_template'][:16]}), rows of at most {'any number of' if most is None else f'{most:,}'} "
        "tokens of its tokenizer. Every row was rendered, read back and found the same."
    )
    if student["notes"]:
        yield ""
        yield from (f"- {cell(note)}" for note in student["notes"])


def _name(path: str) -> str:
    """The name of a model or file: of one in a folder here the last part of its path."""
    return path.rstrip("/").rpartition("/")[2] if path.startswith(("/", "~", ".")) else path


def _made(manifest: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[str]:
    """Where its traces come from, and what dropped some of them."""
    parts = record.get("parts") or ({"": record} if "traces" in record else {})
    for name, part in parts.items():
        whose = f"{cell(name)} ({part['mode']}): " if name else ""
        yield whose + _source(part, manifest["traces"][part["traces"]])
        yield ""
        yield from _rules(part["rules"])
        if "rejected_rules" in record:
            yield "What may be rejected:"
            yield ""
            yield from _rules(record["rejected_rules"])
        dropped = {f"select: {reason}": count for reason, count in part.get("select", {}).get("dropped", {}).items()}
        faults = {f"template: {fault['reason']}": fault["rows"] for fault in part["faults"]}
        if dropped | faults:
            told = ", ".join(f"{cell(reason)} {count:,}" for reason, count in (faults | dropped).items())
            yield f"Dropped behind the rules: {told}."
            yield ""
    if "fusion" in record:
        found = (f"{split} {'all' if r is None else f'{r:.2f}'}" for split, r in record["fusion"]["ratio"].items())
        yield f"Think to no_think, in {record['fusion']['settings']['ratio_of']}: {', '.join(found)}."
        yield ""
    if "pairs" in record:
        head = ["pairs", "number", "problems", "chosen tokens", "rejected tokens", "rejected is longer"]
        names = ("pairs", "problems", "chosen_tokens", "rejected_tokens", "rejected_longer")
        yield from table(
            head, [[kind, *(row[name] for name in names)] for kind, row in record["pairs"]["kinds"].items()]
        )
        yield ""


def _source(part: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    settings, name = entry["settings"], cell(part["traces"])
    problems = f"of {part['wanted']:,} problems"
    if "model" not in entry:
        return f"Traces {problems} that came with them ({name})."
    how = (
        f"temperature {settings['temperature']:g}, top_p {settings['top_p']:g}, at most {entry['max_tokens']:,} tokens"
    )
    return f"Up to {entry['n']} traces each {problems} by {cell(_name(entry['model']))} ({name}): {how}."


def _rules(rules: list[dict[str, Any]]) -> list[str]:
    if not rules:
        return []
    names = ("entered", "pass", "fail", "unknown")
    rows = [[rule["rule"], Code(rule["condition"]), *(rule[name] for name in names)] for rule in rules]
    return [*table(["rule", "keeps a trace when", *names], rows), ""]


def _training(manifest: Mapping[str, Any], config: str) -> Iterator[str]:
    """How TRL trains on it."""
    record, parts = manifest.get("built", {}).get(config, {}), manifest["sets"][config]
    trainer = TRAINERS.get(record.get("kind", ""))
    if trainer is None or not parts["train"]["rows"]:
        return
    settings = [f"max_length={max(row['up_to'] for row in record['lengths'])}"]
    student, own = manifest["student"], manifest["student"]["settings"].get("chat_template")
    if own is not None and trainer == "SFT":
        settings.append(f"chat_template_path={json.dumps(_name(own))}")
    data = [f'train_dataset=load_dataset(HERE, {json.dumps(config)}, split="train")']
    if parts.get("test", {}).get("rows"):
        data.append(f'eval_dataset=load_dataset(HERE, {json.dumps(config)}, split="test")')
    code = f"""
from datasets import load_dataset; from trl import {trainer}Config, {trainer}Trainer
args = {trainer}Config({", ".join(settings)})  # holds every row: TRL's own default cuts at 1,024 tokens
{trainer}Trainer({json.dumps(student["model"])}, args=args, {", ".join(data)}).train()
"""
    yield "`HERE` is this folder, or this repository's name:"
    yield ""
    yield from fenced(code.strip(), "python")
    if own is not None and trainer != "SFT":
        yield ""
        yield f"The tokenizer has to be given with the chat template {cell(_name(own))} (`processing_class`)."
    yield ""
