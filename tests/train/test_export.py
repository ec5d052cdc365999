"""A dataset handed over: rows as each trainer reads them, what is left out and why, prompts as they were sampled."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from exporting import PROBLEMS, SETS, assistant, problem, published, trace, user

from curation.progress import Progress
from curation.publish import Dataset
from curation.verify.reference import Reference
from train.export.asked import AskedError, asked
from train.export.settings import SettingsError
from train.export.targets import TARGETS
from train.export.write import Exported, ExportError, export

QUIET = Progress(quiet=True)
STOP = ("\nQ:",)


def exported(dataset: Dataset, target: str, out: Path, only: str | None = None, place: str | None = None) -> Exported:
    return export(dataset, TARGETS[target], str(out), only, place, QUIET)


def shown(row: dict[str, Any]) -> list[dict[str, str]]:
    """How a problem was asked when its difficulty was measured, written out by hand."""
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"{row['prompt']}\nThink first."},
    ]


def reference(row: dict[str, Any], stop: tuple[str, ...] = STOP) -> str:
    return json.dumps(
        {"verifier": row["verifier"], "answer": row["answer"], "args": row["verifier_args"], "stop": [*stop]}
    )


def parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return published(tmp_path / "ws")


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The dataset exported to every trainer."""
    folder = tmp_path_factory.mktemp("exports")
    whole = published(folder / "ws")
    return {name: Path(exported(whole, name, folder / name).folder) for name in TARGETS}


# ---- rows


@pytest.mark.parametrize("split", ["train", "test"])
def test_verl_reads_every_problem_as_it_was_asked_and_its_reference(outs: dict[str, Path], split: str) -> None:
    assert parquet(outs["verl"] / "rl" / "data" / f"{split}.parquet") == [
        {
            "data_source": "sums",
            "prompt": shown(row),
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": reference(row)},
            "extra_info": {
                **{"split": split, "index": index, "dataset": "sums@2026-11-22.1"},
                **{"id": row["id"], "source": "sums", "license": "MIT"},
            },
        }
        for index, row in enumerate(SETS["rl"][split])
    ]


def test_openrlhf_and_trl_read_the_same_under_their_names(outs: dict[str, Path]) -> None:
    traced = {"dataset": "sums@2026-11-22.1", "source": "sums", "license": "MIT"}
    kept = SETS["rl"]["train"]
    assert parquet(outs["openrlhf"] / "rl/data/train.parquet") == [
        {"prompt": shown(row), "label": reference(row), "datasource": "sums", "id": row["id"], **traced} for row in kept
    ]
    assert parquet(outs["trl"] / "rl/data/train.parquet") == [
        {"prompt": shown(row), "reference": reference(row), "id": row["id"], **traced} for row in kept
    ]


def test_nemo_rl_reads_json_lines_without_nulls(outs: dict[str, Path]) -> None:
    folder = outs["nemo-rl"]
    assert lines(folder / "rl/data/train.jsonl") == [
        {
            **{"messages": shown(row), "reference": reference(row), "dataset": "sums@2026-11-22.1"},
            **{"id": row["id"], "source": "sums", "license": "MIT"},
        }
        for row in SETS["rl"]["train"]
    ]
    [sft, _] = lines(folder / "sft/data/train.jsonl")
    assert sft["license"] == ""
    assert lines(folder / "preference/data/train.jsonl")[0]["completions"] == [
        {"rank": 0, "completion": [assistant("1")]},
        {"rank": 1, "completion": [assistant("2")]},
    ]


def test_json_lines_are_the_rows_as_published_and_how_they_are_asked(outs: dict[str, Path]) -> None:
    version = {"dataset": "sums@2026-11-22.1"}
    assert lines(outs["jsonl"] / "rl/data/test.jsonl") == [
        {**row, "asked": shown(row), "stop": [*STOP], "prefill": "", "chat_template_kwargs": {}, **version}
        for row in SETS["rl"]["test"]
    ]
    for name in ("sft", "fusion", "preference", "process"):
        assert lines(outs["jsonl"] / name / "data/train.jsonl") == [row | version for row in SETS[name]["train"]]


@pytest.mark.parametrize("target", ["openrlhf", "trl"])
def test_trainers_that_train_completions_get_earlier_answers_in_the_prompt(outs: dict[str, Path], target: str) -> None:
    rows = parquet(outs[target] / "fusion/data/train.parquet")
    assert [(row["prompt"], row["completion"]) for row in rows] == [
        (row["prompt"], row["completion"]) for row in SETS["fusion"]["train"]
    ]
    assert [row["rollout"] for row in rows] == ["r-p0", "r-p1"]


@pytest.mark.parametrize(("target", "suffix"), [("verl", "parquet"), ("nemo-rl", "jsonl")])
def test_trainers_that_train_every_turn_get_no_row_with_earlier_answers(
    dataset: Dataset, tmp_path: Path, target: str, suffix: str
) -> None:
    done = exported(dataset, target, tmp_path / "out")
    path = tmp_path / f"out/fusion/data/train.{suffix}"
    rows = parquet(path) if suffix == "parquet" else lines(path)
    assert [row["messages"] for row in rows] == [
        [user("What is 0 + 1? /no_think"), assistant("<think>\n\n</think>\n\n1")]
    ]
    [(why, count)] = done.sets["fusion"].left_out.items()
    assert count == 1
    assert "trains every turn of the assistant" in why
    assert done.sets["fusion"].examples[why] == "p1"


def test_preference_pairs_keep_their_rollouts(outs: dict[str, Path]) -> None:
    for target in ("openrlhf", "trl"):
        [row] = parquet(outs[target] / "preference/data/test.parquet")
        assert {key: row[key] for key in ("prompt", "chosen", "rejected", "chosen_rollout", "rejected_rollout")} == {
            **{"prompt": [user("What is 4 + 1?")], "chosen": [assistant("5")], "rejected": [assistant("6")]},
            **{"chosen_rollout": "c-p4", "rejected_rollout": "w-p4"},
        }


def test_thinking_in_a_field_of_its_own_stays_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import exporting
    import pyarrow as pa

    apart = pa.struct([*exporting.TURN, ("reasoning_content", pa.string())])
    schema = exporting.SFT.set(exporting.SFT.get_field_index("completion"), pa.field("completion", pa.list_(apart)))
    monkeypatch.setitem(exporting.SCHEMAS, "sft", schema)
    answer = {"role": "assistant", "content": "1", "reasoning_content": "One more."}
    row = trace("p0", user("0 + 1?"), assistant("1")) | {"completion": [answer]}
    out = exported(published(tmp_path / "ws", {"sft": {"train": [row], "test": []}}), "verl", tmp_path / "out").folder
    [made] = parquet(Path(out) / "sft/data/train.parquet")
    assert made["messages"] == [{**user("0 + 1?"), "reasoning_content": None}, answer]


@pytest.mark.parametrize("target", ["verl", "openrlhf", "trl"])
def test_datasets_reads_the_folders(outs: dict[str, Path], target: str) -> None:
    found = datasets.load_dataset(str(outs[target] / "rl" / "data"))
    assert {split: rows.num_rows for split, rows in found.items()} == {"train": 4, "test": 2}


def test_long_rows_go_into_small_row_groups(tmp_path: Path) -> None:
    long = [trace(f"p{n}", user("?"), assistant("x" * 400_000)) for n in range(60)]
    out = exported(published(tmp_path / "ws", {"sft": {"train": long, "test": []}}), "verl", tmp_path / "out").folder
    metadata = pq.read_metadata(Path(out) / "sft/data/train.parquet")
    sizes = [metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)]
    assert metadata.num_rows == 60
    assert max(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)) * 400_000 < 16 << 20, sizes


# ---- what is left out


def left_out(tmp_path: Path, *rows: dict[str, Any], target: str = "verl", **recipe: Any) -> dict[str, int]:
    sets = {"rl": {"train": [PROBLEMS[0], *rows], "test": []}}
    done = exported(published(tmp_path / "ws", sets, **recipe), target, tmp_path / "out")
    assert done.sets["rl"].rows == {"train": 1}
    return dict(done.sets["rl"].left_out)


def test_problems_that_no_rule_rewards_are_left_out_with_their_reason(tmp_path: Path) -> None:
    rows = [
        problem("a", "Why?", None, verifier=None),
        problem("b", "Why?", "because", verifier="judge"),
        problem("c", "1 + 1?", " "),
        problem("d", "1 + 1?", "2", tools='[{"name": "python"}]'),
        problem("e", "1 + 1?", "2", verifier="oracle"),
    ]
    found = left_out(tmp_path, *rows)
    assert found == {
        "no verifier: nothing can reward it": 1,
        "a model judges it (verifier: judge), and reward files hold rules only": 1,
        "no answer to compare with": 1,
        "it offers tools, which need an environment that runs them": 1,
        "its verifier 'oracle' is none of this version": 1,
    }


def test_one_training_takes_one_style_of_prompt_that_of_most_rows(tmp_path: Path) -> None:
    sources = {
        "sums": {},
        "base": {"prompt": {"style": "raw"}},
        "quick": {"prompt": {"chat_template_kwargs": {"a": 1}}},
    }
    found = left_out(
        tmp_path,
        problem("a", "1 + 1?", "2", source="base"),
        problem("b", "1 + 1?", "2", source="quick"),
        sources=sources,
    )
    assert found == {
        "its prompt is raw, those of most rows are chat, and one training takes one of them": 1,
        "its prompt goes through the chat template with other arguments than those of most rows": 1,
    }


def test_json_lines_take_prompts_of_every_style_and_problems_for_a_judge(tmp_path: Path) -> None:
    rows = [problem("a", "1 + 1?", "2", source="base"), problem("b", "Why?", None, verifier="judge")]
    whole = published(
        tmp_path / "ws",
        {"rl": {"train": rows, "test": []}},
        sources={"sums": {}, "base": {"prompt": {"style": "raw"}}},
    )
    exported(whole, "jsonl", tmp_path / "out")
    raw, judged = lines(tmp_path / "out/rl/data/train.jsonl")
    assert raw["asked"] == "Be brief.\n\n1 + 1?\nThink first."
    assert judged["verifier"] == "judge"


def test_nothing_left_is_an_error_that_says_why_and_leaves_nothing_behind(tmp_path: Path) -> None:
    whole = published(tmp_path / "ws", {"rl": {"train": [problem("a", "Why?", None, verifier=None)], "test": []}})
    with pytest.raises(
        ExportError, match=r"nothing of sums@2026-11-22.1 can be exported to verl: rl: 1 rows: no verifier"
    ):
        exported(whole, "verl", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ws"]


def test_a_begun_answer_is_no_prompt_and_says_so(tmp_path: Path) -> None:
    models = {"policy": {"model": "org/base", "prompt": {"prefill": "<think>\n"}}}
    with pytest.raises(ExportError, match=r"its answer is begun for the model \('<think>"):
        exported(published(tmp_path / "ws", {"rl": SETS["rl"]}, models=models), "verl", tmp_path / "out")


def test_sets_that_a_trainer_does_not_take_are_named(dataset: Dataset, tmp_path: Path) -> None:
    done = exported(dataset, "verl", tmp_path / "out")
    assert done.skipped == {
        "preference": "verl has no trainer for preference pairs; --to trl, openrlhf and nemo-rl have",
        "process": "verl has no trainer for steps with labels",
    }
    assert [*done.sets] == ["rl", "sft", "fusion"]


def test_one_set_can_be_asked_for(dataset: Dataset, tmp_path: Path) -> None:
    assert [*exported(dataset, "trl", tmp_path / "out", only="sft").sets] == ["sft"]
    with pytest.raises(ExportError, match=r"--set: sums@2026-11-22.1 has no set 'rll'; it has rl, sft, fusion"):
        exported(dataset, "trl", tmp_path / "other", only="rll")
    with pytest.raises(ExportError, match=r"process: TRL 1.16 has no trainer for steps with labels"):
        exported(dataset, "trl", tmp_path / "other", only="process")


# ---- prompts


def test_a_raw_prompt_is_what_was_sampled_shots_prefill_and_all(tmp_path: Path) -> None:
    prompt = {
        **{"style": "raw", "template": "Q: {prompt}\nA:", "prefill": " <think>", "stop": ["\n"]},
        "shots": [{"prompt": "1 + 2?", "answer": "3"}],
    }
    whole = published(tmp_path / "ws", {"rl": SETS["rl"]}, models={"policy": {"model": "org/base", "prompt": prompt}})
    text = "Q: 1 + 2?\nA: 3\n\nQ: What is 0 + 1?\nA: <think>"
    for target in ("verl", "openrlhf", "trl", "nemo-rl"):
        exported(whole, target, tmp_path / target)
    assert parquet(tmp_path / "verl/rl/data/train.parquet")[0]["prompt"] == [user(text)]
    assert lines(tmp_path / "nemo-rl/rl/data/train.jsonl")[0]["messages"] == [user(text)]
    assert parquet(tmp_path / "openrlhf/rl/data/train.parquet")[0]["prompt"] == text
    assert parquet(tmp_path / "trl/rl/data/train.parquet")[0]["prompt"] == text
    assert not (tmp_path / "trl/rl/chat_template.jinja").exists()

    from jinja2 import Environment

    template = Environment().from_string((tmp_path / "verl/rl/chat_template.jinja").read_text())
    assert template.render(messages=[user(text)], add_generation_prompt=True) == text


def test_what_the_tokenizer_puts_in_front_of_raw_prompts_is_put_there(tmp_path: Path) -> None:
    from tiny_model import tiny_model
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    folder = tiny_model(tmp_path / "tiny")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(single="<|system|> $A", special_tokens=[("<|system|>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    models = {"policy": {"model": str(folder), "prompt": {"style": "raw"}}}
    whole = published(tmp_path / "ws", {"rl": SETS["rl"]}, models=models)
    exported(whole, "verl", tmp_path / "verl")
    exported(whole, "trl", tmp_path / "trl")
    assert parquet(tmp_path / "verl/rl/data/train.parquet")[0]["prompt"] == [user("<|system|>What is 0 + 1?")]
    assert parquet(tmp_path / "trl/rl/data/train.parquet")[0]["prompt"] == "What is 0 + 1?"


def test_who_asks_is_pass_rate_unless_another_is_named(tmp_path: Path) -> None:
    recipe = {
        "annotate": {
            "guess": {"model": "policy", "prompt": {"template": "Guess: {prompt}"}},
            "hard": {"is": "pass_rate", "model": "policy", "max_tokens": 20, "n": 2},
        },
        "student": {"model": "policy", "system": "You are a student."},
    }
    manifest = published(tmp_path / "ws", {"rl": SETS["rl"]}, **recipe).manifest
    asked_by = {place: asked(manifest, place).render(PROBLEMS[0])[-1] for place in (None, "guess", "hard", "student")}
    assert asked_by == {
        None: user("What is 0 + 1?\nThink first."),
        "hard": user("What is 0 + 1?\nThink first."),
        "guess": user("Guess: What is 0 + 1?"),
        "student": user("What is 0 + 1?"),
    }
    assert asked(manifest).sampling["max_tokens"] == 20
    with pytest.raises(
        AskedError, match=r"--asked: 'hrd' puts no problem to a model; did you mean hard\?; sums has guess, hard"
    ):
        asked(manifest, "hrd")


def test_a_source_has_the_last_word_on_its_prompts(tmp_path: Path) -> None:
    manifest = published(
        tmp_path / "ws",
        {"rl": SETS["rl"]},
        sources={"sums": {"prompt": {"template": "Source: {prompt}"}}},
        annotate={"pass_rate": {"model": "policy", "prompt": {"template": "Annotator: {prompt}", "system": None}}},
    ).manifest
    assert asked(manifest).render(PROBLEMS[0]) == [user("Source: What is 0 + 1?")]
    assert asked(manifest).render(PROBLEMS[0] | {"source": "other"}) == [user("Annotator: What is 0 + 1?")]


def test_earlier_turns_and_system_messages_of_a_problem_are_kept(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Metric."}, user("Hello"), assistant("Hi")]
    row = problem("a", "1 + 1?", "2", messages=turns)
    out = exported(published(tmp_path / "ws", {"rl": {"train": [row], "test": []}}), "verl", tmp_path / "out").folder
    [made] = parquet(Path(out) / "rl/data/train.parquet")
    assert made["prompt"] == [
        {"role": "system", "content": "Be brief.\n\nMetric."},
        *(user("Hello"), assistant("Hi"), user("1 + 1?\nThink first.")),
    ]


# ---- whole or nothing


def test_an_export_of_the_same_dataset_is_replaced_and_that_is_said(tmp_path: Path) -> None:
    first = exported(published(tmp_path / "ws"), "verl", tmp_path / "out")
    (tmp_path / "out/rl/__pycache__").mkdir()
    (tmp_path / "out/rl/__pycache__/reward.cpython-311.pyc").write_text("")
    second = exported(published(tmp_path / "ws", {"rl": SETS["rl"]}, version="2026-11-22.2"), "verl", tmp_path / "out")
    assert (first.replaced, second.replaced) == (None, "sums@2026-11-22.1")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "export.json", "rl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "ws"]


def test_anything_else_is_never_touched(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match="is there already, and is no export of Cuvee; give another OUT"):
        exported(dataset, "verl", out)
    (out / "thesis.tex").unlink()
    exported(dataset, "verl", out)

    (out / "rl/checkpoints").mkdir()
    (out / "rl/checkpoints/step-10.pt").write_text("hours of work")
    with pytest.raises(ExportError, match=r"holds a file that no export wrote: rl/checkpoints/step-10.pt"):
        exported(dataset, "verl", out)
    (out / "rl/checkpoints/step-10.pt").unlink()
    with (out / "rl/launch.sh").open("a") as file:
        file.write("# mine\n")
    with pytest.raises(ExportError, match=r"rl/launch.sh was changed since"):
        exported(dataset, "verl", out)
    other = published(tmp_path / "other", {"rl": SETS["rl"]}, name="products")
    with pytest.raises(ExportError, match=r"is an export of sums@2026-11-22.1, not of products@2026-11-22.1"):
        exported(other, "verl", out)


def test_an_export_that_fails_half_way_leaves_what_was_there(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(exported(dataset, "verl", tmp_path / "out", only="rl").folder)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    broken = published(tmp_path / "ws", version="2026-11-22.2")
    file = Path(broken.folder) / "sft/train-00000.parquet"
    data = file.read_bytes()
    file.write_bytes(data[:8] + b"\0" * 200 + data[208:])  # its footer is whole, its pages are not
    with pytest.raises(Exception, match=r"."):
        exported(broken, "verl", out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "ws"]


def test_a_dataset_that_lacks_a_file_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    (Path(dataset.folder) / "sft/train-00000.parquet").unlink()
    with pytest.raises(ExportError, match="lacks files that its manifest lists; running the recipe publishes it again"):
        exported(dataset, "verl", tmp_path / "out")


# ---- templates


def test_the_students_own_template_goes_with_the_sets_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("{% for m in messages %}it's ${{ m.content }}{% endfor %}")
    student = {"model": "policy", "chat_template": str(template)}
    whole = published(tmp_path / "ws", {"sft": SETS["sft"]}, student=student)
    out = Path(exported(whole, "verl", tmp_path / "out").folder)
    assert (out / "sft/chat_template.jinja").read_text() == template.read_text()

    manifest = json.loads((Path(whole.folder) / "manifest.json").read_text())
    manifest["student"]["identity"] = {"chat_template": "0" * 64}
    changed = Dataset(whole.store, whole.folder, manifest)
    with pytest.raises(ExportError, match=r"student.chat_template: .*mine.jinja was changed since"):
        exported(changed, "verl", tmp_path / "other")
    template.unlink()
    with pytest.raises(ExportError, match=r"mine.jinja, which the sets are written for, cannot be read \(No such file"):
        exported(whole, "verl", tmp_path / "other")


# ---- settings, told in the launch command (test_export_launch.py has the commands)


def test_a_stage_that_this_version_cannot_read_is_told_by_its_key(tmp_path: Path) -> None:
    whole = published(tmp_path / "ws", {"sft": SETS["sft"]}, train={"sft": {"set": "sft", "epochs": -1}})
    with pytest.raises(SettingsError, match=r"train.sft.epochs of the recipe in the manifest: .* \(given: -1\)"):
        exported(whole, "verl", tmp_path / "out")


# ---- README


def test_the_readme_says_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    rows = [*PROBLEMS[:2], problem("x|`y", "Why?", None, verifier=None)]
    whole = published(tmp_path / "ws", {"rl": {"train": rows, "test": []}, "process": SETS["process"]})
    text = (Path(exported(whole, "verl", tmp_path / "out").folder) / "README.md").read_text()
    assert "| rl | rl | 2 | 0 | none: the trainer's defaults |" in text
    assert "| rl | 1 | no verifier: nothing can reward it | `x\\|'y` |" in text
    assert "- process is not here: verl has no trainer for steps with labels." in text
    assert "system: Be brief.\nuser: What is 0 + 1?\nThink first." in text
    assert "Difficulty was measured with temperature 0.6, top\\_p 0.95, max\\_tokens 300, n 4." in text
    assert "'math-verify<0.10,>=0.9'" in text
    assert "reasoning-gym" not in text


def test_export_json_tells_programs(outs: dict[str, Path]) -> None:
    found = json.loads((outs["verl"] / "export.json").read_text())
    assert {key: found[key] for key in ("dataset", "target", "version", "asked", "fingerprint")} == {
        **{"dataset": "sums@2026-11-22.1", "target": "verl", "version": "verl 0.9.1"},
        **{"asked": "pass_rate", "fingerprint": "f-2026-11-22.1"},
    }
    assert found["sets"]["rl"]["rows"] == {"train": 4, "test": 2}
    assert found["sets"]["rl"]["verifiers"] == {"math": 6}
    assert set(found["files"]) == {
        path.relative_to(outs["verl"]).as_posix()
        for path in outs["verl"].rglob("*")
        if path.is_file() and path.name != "export.json"
    }


def test_importing_the_targets_loads_no_trainer() -> None:
    heavy = {"torch", "trl", "vllm", "transformers"}
    code = f"import sys, train.export.targets, train.export.write; print({heavy} & {{*sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_a_reference_is_the_same_read_back() -> None:
    one = Reference("code", None, '{"inputs": ["1\\n"], "outputs": ["2\\n"]}', ("\n", "</answer>"))
    assert Reference.read(one.text()) == one
