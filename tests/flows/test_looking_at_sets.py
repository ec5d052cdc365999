"""Sets of traces as `cuvee inspect`, `cuvee why`, the card and the end of a run show them. One run, of given traces."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from curation.card import card
from curation.progress import Progress
from curation.publish import Dataset
from distill.inspect import dropped, overview, rendered
from flows.cli import main
from flows.closing import of_traces
from flows.curate import curate
from flows.recipe import load

LOOP = " and again and again and again" * 60
COUNTED = """A hand has five fingers, and the other thumb is the sixth. Do toes help here? No: they stay in the shoe. So up
from the larger number, three steps more, slowly, each one said aloud; nothing was left out, nor taken twice."""
HOSTILE = "\x1b[31mred\x1b[0m [/b] \u202e ▌ trained"


def traces(total: int) -> list[str]:
    """Right, right and longer, wrong, in loops, with a token that ends a turn, and never closed."""
    return [
        f"<think>\n{total} it is, {HOSTILE}\n</think>\n\nThe answer is {total}",
        f"<think>\n{COUNTED} So {total}.\n</think>\n\nThe answer is {total}",
        f"<think>\nI guess high.\n</think>\n\nThe answer is {total + 1}",
        f"<think>\nI count{LOOP}\n</think>\n\nThe answer is {total}",
        f"<think>\nHm <|im_end|> hm\n</think>\n\nThe answer is {total}",
        f"<think>\nI never stop {total}",
    ]


RULES = {"reasoned": None, "one_language": None, "consistent": None}
SETS = {
    "sft": {"traces": "theirs", "max_faulty": 1.0, "keep": RULES, "select": {"by": "tokens", "k": 1}},
    "fusion": {
        "max_faulty": 1.0,
        "multi_turn": 0.5,
        "parts": {
            "slow": {"mode": "think", "traces": "theirs", "keep": RULES},
            "fast": {"mode": "no_think", "traces": "written"},
        },
    },
    "preference": {"traces": "theirs", "max_faulty": 1.0, "keep": RULES},
    "steps": {"is": "process", "completions": "meta->'$.steps'", "labels": "meta->'$.labels'"},
    "rl": {},
}


@pytest.fixture(scope="module")
def published(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("sets")
    student = folder / "student"  # the tests below take it away, and change it
    shutil.copytree(model_folder, student, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    (student / "model.safetensors").touch()  # nothing is asked of it
    steps = {"steps": ["Add.", "Done."], "labels": [True, False]}
    rows = [
        {"prompt": f"What is {n} + 3?", "answer": str(n + 3), "meta": {"traces": traces(n + 3)} | steps}
        for n in range(1, 9)
    ]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "sums",
        "sources": {"sums": {"jsonl": "sums.jsonl", "verifier": "exact", "license": "MIT"}},
        "models": {"student": {"model": str(student)}},
        "student": {"model": "student"},
        "traces": {
            "theirs": {"text": "(meta->'$.traces')::varchar[]"},
            "written": {"text": "'The answer is ' || answer"},
        },
        "annotate": {},
        "keep": {},
        "sets": SETS,
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    outcome = curate(load(str(folder / "recipe.yaml")), str(folder / "workspace"), progress=Progress(quiet=True))
    assert outcome.dataset is not None
    return outcome.dataset


def cuvee(dataset: Dataset, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "140"}).invoke(main, [*arguments, "--workspace", dataset.store.root])


def words(shown: str) -> list[list[str]]:
    return [line.split() for line in shown.splitlines()]


# At a glance


def test_a_set_is_told_from_its_traces_to_its_rows(published: Dataset) -> None:
    lines = words(cuvee(published, "inspect", "sums", "--set", "sft").output)
    assert lines[1][:5] == ["8", "rows", "of", "8", "problems,"]
    assert ["drawn", "48", "████████████████"] in lines
    assert ["right", "-16", "32", "██████████▋", "correct"] in lines
    assert ["fluent", "-8", "24", "████████", "not", "repetitive"] in lines
    assert ["template", "-8", "16", "█████▍", "the", "student's", "template", "keeps", "it"] in lines
    assert next(line for line in lines if line[:1] == ["select:"])[:4] == ["select:", "k", "-8", "8"]
    assert any(line[:3] == ["8", "left", "out:"] and "'<|im_end|>'," in line for line in lines)


def test_the_funnel_ends_with_as_many_traces_as_the_set_has_rows(published: Dataset) -> None:
    data = overview.overview(published, "sft")
    assert data["dropped"] == {"right": 16, "fluent": 8, "select: k": 8, "template": 8}
    assert sum(data["rows"].values()) == 48 - sum(data["dropped"].values())


def test_a_fusion_shows_every_part_and_what_the_ratio_left_of_it(published: Dataset) -> None:
    shown = cuvee(published, "inspect", "sums", "--set", "fusion").output
    assert "slow (think)  theirs: given with the problems" in shown
    assert "fast (no_think)  written: given with the problems" in shown
    fusion = published.manifest["built"]["fusion"]["fusion"]
    fast = [fusion[when]["train"]["no_think"]["fast"]["rows"] for when in ("before", "after")]
    assert ["train", "no_think", "fast", *map(str, fast)] == next(line for line in words(shown) if "fast" in line[2:3])[
        :5
    ]
    assert "0.80 was asked for" in shown


def test_preferences_are_counted_by_kind_with_their_lengths(published: Dataset) -> None:
    shown = cuvee(published, "inspect", "sums", "--set", "preference").output
    ((kind, row),) = published.manifest["built"]["preference"]["pairs"]["kinds"].items()
    means = [f"{row[key]:,.0f}" for key in ("chosen_tokens", "rejected_tokens")]
    assert [kind, str(row["pairs"]), str(row["problems"]), *means] in [line[:5] for line in words(shown)]
    assert "may be chosen" in shown
    assert "may be rejected" in shown


def test_the_table_of_sets_says_what_each_is_and_how_much_is_trained(published: Dataset) -> None:
    trained = sum(split["trained_tokens"] for split in published.manifest["built"]["sft"]["splits"])
    lines = words(cuvee(published, "inspect", "sums").output)
    assert ["sft", "8", "0", "8", f"{trained:,}", "sft"] in lines
    assert ["steps", "8", "0", "8", "process"] in lines
    assert ["rl", "8", "0", "8", "rl"] in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "stf"], "sums@VERSION has no set 'stf'; there are"),
        (["--set", "sft", "--rule", "right"], "for the traces of a set give --dropped RULE"),
        (["--dropped", "right"], "give --set NAME"),
        (["--set", "sft", "--dropped", "rihgt"], "there are right (16), fluent (8), select: k (8)"),
        (["--set", "rl", "--dropped", "right"], "it is not made of traces"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(published: Dataset, arguments: list[str], said: str) -> None:
    result = cuvee(published, "inspect", "sums", *arguments)
    assert result.exit_code == 2
    assert said.replace("VERSION", published.manifest["version"]) in result.output


# Rows as the student sees them


def test_rows_are_rendered_with_what_is_trained_marked(published: Dataset) -> None:
    lines = cuvee(published, "inspect", "sums", "--set", "sft", "--rows", "1").output.splitlines()
    start = lines.index("  <|im_start|>user")
    assert lines[start : start + 8] == [
        "  <|im_start|>user",
        "  What is 1 + 3?<|im_end|>",
        "  <|im_start|>assistant",
        "▌ <think>",
        "▌ 4 it is, \\x1b[31mred\\x1b[0m [/b] \\u202e ▌ trained",
        "▌ </think>",
        "▌ ",
        "▌ The answer is 4<|im_end|>↵",
    ]


def test_what_is_trained_is_coloured_on_a_terminal(published: Dataset) -> None:
    shown = on_terminal(published, "sft", whole=False)
    assert "\x1b[38;2;255;255;255;48;2;0;95;0mThe answer is 4<|im_end|>↵\x1b[0m" in shown
    assert "\x1b[2mWhat is 1 + 3?<|im_end|>\x1b[0m" in shown
    assert "\x1b[31mred" not in shown


def on_terminal(dataset: Dataset, name: str, whole: bool, why_not: str | None = None) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="truecolor", width=100, highlight=False)
    written, _ = rendered.renderer(dataset)
    rows = [row | {"segments": rendered.rendered(row, written)} for row in rendered.rows(dataset, name, 2)]
    rendered.show(console, rows, ("<think>", "</think>"), whole, why_not)
    return out.getvalue()


def test_both_answers_of_a_pair_stand_below_their_prompt(published: Dataset) -> None:
    shown = cuvee(published, "inspect", "sums", "--set", "preference", "--rows", "1").output
    assert shown.count("What is 1 + 3?") == 1
    assert shown.index("What is 1 + 3?") < shown.index("-- chosen") < shown.index("-- rejected")
    assert "▌ The answer is 4<|im_end|>↵" in shown


def test_rows_are_spread_over_the_set(published: Dataset) -> None:
    prompts = [row["prompt"][0]["content"] for row in rendered.rows(published, "sft", 3)]
    assert prompts == ["What is 1 + 3?", "What is 3 + 3?", "What is 6 + 3?"]
    assert len(rendered.rows(published, "sft", 1000)) == 8


def test_messages_are_shown_where_the_tokenizer_is_another_or_gone(published: Dataset) -> None:
    config = Path(published.manifest["student"]["model"]) / "config.json"
    kept = config.read_text()
    config.write_text(json.dumps(json.loads(kept) | {"max_position_embeddings": 99}))
    try:
        shown = cuvee(published, "inspect", "sums", "--set", "sft", "--rows", "1").output
        assert "is not as it was when the set was made: its max_length changed" in " ".join(shown.split())
        assert "<|im_start|>" not in shown
        assert shown.splitlines()[-10:-6] == ["  [user]", "  What is 1 + 3?", "  [assistant]", "▌ <think>"]
    finally:
        config.write_text(kept)
    folder = config.parent.rename(config.parent.with_name("away"))
    try:
        shown = cuvee(published, "inspect", "sums", "--set", "sft", "--rows", "1").output
        assert "the student's tokenizer cannot be read" in shown
        assert "▌ The answer is 4" in shown
    finally:
        folder.rename(config.parent)


def test_rows_of_other_sets_are_listed(published: Dataset) -> None:
    shown = cuvee(published, "inspect", "sums", "--set", "steps", "--rows", "1").output
    assert "['Add.', 'Done.']" in shown
    assert "[True, False]" in shown


def test_everything_is_there_for_programs(published: Dataset) -> None:
    def data(*more: str) -> Any:
        return json.loads(cuvee(published, "inspect", "sums", "--set", "sft", *more, "--json").output)

    assert (data()["kind"], data()["record"]["traces"]) == ("sft", "theirs")
    (row,) = data("--rows", "1")["examples"]
    ((side, segments),) = row["segments"]
    assert side == "completion"
    assert [trained for trained, _ in segments] == [False, True]
    assert segments[1][1].endswith("The answer is 4<|im_end|>\n")
    assert data("--dropped", "right", "--rows", "1")["traces_dropped"][0]["evidence"]["extracted"] == "5"


# What was dropped, and why


def test_dropped_traces_stand_with_their_evidence(published: Dataset) -> None:
    def evidence(by: str) -> dict[str, Any]:
        return dict(dropped.dropped(published, "sft", by, 1)[0]["evidence"])

    assert evidence("right") == {"correct": False, "extracted": "5", "verdict_reason": ""}
    loop = evidence("fluent")
    assert loop["repetition_of"] == "and again"
    assert (loop["repetitive"], loop["repetition_in"], loop["repetition"] > 0.9) == (True, "thinking", True)
    assert "holds '<|im_end|>'" in evidence("template")["fault"]
    assert [*evidence("select: k")] == ["tokens", "trained_tokens"]
    assert [*dropped.dropped(published, "fusion", "right", 1)[0]["evidence"]] == [
        "correct",
        "extracted",
        "verdict_reason",
    ]


def test_what_failed_is_shown_before_what_is_unknown_and_the_rest_is_counted(published: Dataset) -> None:
    shown = cuvee(published, "inspect", "sums", "--set", "sft", "--dropped", "right", "--rows", "3").output
    assert shown.count(" fail  What is") == 3
    assert "3 of 16: --rows shows more" in shown
    none = cuvee(published, "inspect", "sums", "--set", "sft", "--dropped", "whole").output
    assert none == "whole dropped no trace of this set\n"


def test_why_tells_what_became_of_every_trace_in_every_set(published: Dataset) -> None:
    first = rendered.rows(published, "sft", 1)[0]["id"]
    shown = cuvee(published, "why", "sums", first).output
    sft = shown[shown.index("sft (sft): 1 of 6 traces kept") : shown.index("fusion (fusion)")]
    assert "dropped by select: k" in sft
    assert "dropped by fluent" in sft
    assert "#4, " in sft
    assert "dropped by template (the text of thinking holds '<|im_end|>'" in sft
    assert "#5: dropped by right; fails whole, well_formed" in sft or "#5: dropped by right; fails well_formed" in sft
    assert "\\x1b[31mred" in sft
    preference = shown[shown.index("preference (preference)") :]
    assert " tokens) over #2 (" in preference
    assert "correct_wrong, wrong" in preference


# The card, and the end of a run


def test_the_card_documents_every_set_and_how_to_train_on_it(published: Dataset, tmp_path: Path) -> None:
    text = Path(f"{published.folder}/README.md").read_text()
    assert "| fluent | `not repetitive` | 32 | 24 | 8 | 0 |" in text
    assert "- `prompt`, `chosen`, `rejected`: messages" in text
    longest = published.manifest["built"]["sft"]["lengths"][-1]["up_to"]
    assert f"args = SFTConfig(max_length={longest})" in text
    model = json.dumps(published.manifest["student"]["model"])
    assert f'SFTTrainer({model}, args=args, train_dataset=load_dataset(HERE, "sft", split="train")).train()' in text
    assert f"DPOTrainer({model}" in text
    assert published.manifest["student"]["identity"]["chat_template"][:16] in text
    columns = set(datasets.load_dataset(published.folder, "sft", split="train", cache_dir=str(tmp_path)).column_names)
    told = {
        name.strip("`")
        for line in text.splitlines()
        if line.startswith("- `")
        for name in line[2:].split(":")[0].split(", ")
    }
    assert columns <= told


def test_the_card_names_a_template_that_training_has_to_use(published: Dataset) -> None:
    student = published.manifest["student"]
    settings = student["settings"] | {"chat_template": "/home/me/own.jinja"}
    notes = ["every answer gets a `think` block"]
    told = card(published.manifest | {"student": student | {"settings": settings, "notes": notes}}, "name: sums")
    assert 'chat_template_path="own.jinja")' in told
    assert "The tokenizer has to be given with the chat template own.jinja (`processing_class`)." in told
    assert "- every answer gets a \\`think\\` block" in told
    assert "/home/me" not in told


def test_two_datasets_of_one_day_are_not_mistaken_for_each_other_by_the_cache(
    published: Dataset, tmp_path: Path
) -> None:
    other = tmp_path / "datasets" / "other" / published.manifest["version"]
    shutil.copytree(published.folder, other)
    shutil.copy(other / "steps" / "train-00000.parquet", other / "rl" / "train-00000.parquet")
    text = (other / "README.md").read_text()
    (other / "README.md").write_text(text.replace(published.manifest["fingerprint"][:16], "another"))
    loaded = [
        datasets.load_dataset(str(folder), "rl", split="train", cache_dir=str(tmp_path / "cache"))
        for folder in (published.folder, other)
    ]
    assert "completions" not in loaded[0].column_names
    assert "completions" in loaded[1].column_names


def test_a_run_ends_with_a_line_for_every_set_of_traces(published: Dataset) -> None:
    built = published.manifest["built"]
    trained = {
        name: sum(split["trained_tokens"] for split in record["splits"])
        for name, record in built.items()
        if "splits" in record
    }
    lines = of_traces(published.manifest)
    assert lines[0] == f"  sft: 8 rows (8 in train), {trained['sft']:,} trained tokens"
    assert lines[-1] == "  steps: 8 rows (8 in train)"
    assert [line.split(":")[0].strip() for line in lines] == ["sft", "fusion", "preference", "steps"]
