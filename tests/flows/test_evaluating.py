"""`cuvee evaluate`: models asked through the workspace, from a fake server that solves (a + b) % 5 of 4 samples of a + b."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_server import NAME, FakeServer
from lab import Lab, sums

from curation.progress import Progress
from curation.store import Store
from flows.cli import main
from flows.evaluating import EvaluationRefused, evaluate, resolve
from flows.named import staged

QUIET = Progress(quiet=True)
EXAM = [(1, 2), (3, 3), (5, 5), (4, 8), (9, 9), (3, 1)]
"""Solved in 3, 1, 0, 2, 3 and 4 of 4 samples."""
SETTINGS: dict[str, Any] = {"n": 4, "max_tokens": 64}


@pytest.fixture
def exam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "exam.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in sums(*EXAM)))
    return file


@pytest.fixture
def dataset(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recipe with a student and held-out problems, run; the path of its file."""
    monkeypatch.chdir(lab.folder)
    lab.source("sums", sums(*((a, b) for a in range(6) for b in range(6))))
    lab.recipe |= {"keep": {}, "annotate": {}, "holdout": 0.4, "student": {"model": "policy", "tokenizer": "org/name"}}
    lab()
    return str(lab.write())


def evaluated(*what: str, **options: Any) -> dict[str, Any]:
    options["settings"] = {**SETTINGS, **options.pop("settings", {})}
    return evaluate(what, "workspace", progress=QUIET, **options)


def rate(data: dict[str, Any], number: int = 0) -> float:
    found: float = data["results"][number]["accuracy"]["rate"]
    return found


def test_accuracy_is_the_mean_share_of_correct_samples(fake_server: FakeServer, exam: Path) -> None:
    data = evaluated(f"{fake_server.url}#{NAME}", on=["exam=exam.jsonl"])
    (told,) = data["results"]
    assert (told["model"], told["task"], told["problems"], told["known"]) == (NAME, "exam", 6, 24)
    assert told["accuracy"]["rate"] == pytest.approx((3 + 1 + 0 + 2 + 3 + 4) / 24)
    assert [(one["k"], one["rate"]) for one in told["pass_at"]] == [
        (1, pytest.approx(13 / 24)),
        (2, pytest.approx((1 + 1 / 2 + 0 + 5 / 6 + 1 + 1) / 6)),
        (4, pytest.approx(5 / 6)),
    ]
    # Majorities: right, wrong, wrong, a tie, right, right.
    assert told["majority"]["rate"] == pytest.approx(3.5 / 6)


def test_more_samples_draw_only_what_is_missing(fake_server: FakeServer, exam: Path) -> None:
    url = f"{fake_server.url}#{NAME}"
    evaluated(url, on=["exam=exam.jsonl"], settings={"n": 2})
    fake_server.forget()
    more = evaluated(url, on=["exam=exam.jsonl"])
    assert fake_server.asked.total() == 12
    fake_server.forget()
    again = evaluated(url, on=["exam=exam.jsonl"])
    assert not fake_server.asked
    assert again["results"] == more["results"]


def test_an_answer_that_is_cut_off_is_wrong_and_goes_on_at_a_longer_limit(fake_server: FakeServer, exam: Path) -> None:
    url = f"{fake_server.url}#{NAME}"
    short = evaluated(url, on=["exam=exam.jsonl"], settings={"max_tokens": 8})
    assert (rate(short), short["results"][0]["cut_off"]) == (0, 1)
    assert rate(evaluated(url, on=["exam=exam.jsonl"])) == pytest.approx(13 / 24)


def test_the_student_is_asked_the_held_out_problems(fake_server: FakeServer, dataset: str) -> None:
    data = evaluated(dataset)
    assert [*data["models"]] == ["base"]
    assert data["dataset"].startswith("lab@")
    assert 5 < data["results"][0]["problems"] < 25
    body = next(iter(fake_server.bodies.values()))
    assert body["messages"][0]["role"] == "user"  # as its sets put problems to it, whatever the policy's own prompt is


def test_models_are_compared_problem_by_problem(fake_server: FakeServer, exam: Path) -> None:
    with FakeServer(name="other") as other:
        data = evaluated(
            f"{fake_server.url}#{NAME}",
            f"{other.url}#other",
            on=["exam=exam.jsonl"],
            settings={"modes": {"plain": {}, "long": {"system": "Think of 1 + 1 first."}}},
        )
    assert [(one["model"], one["mode"]) for one in data["results"]] == [
        (NAME, "plain"),
        (NAME, "long"),
        ("other", "plain"),
        ("other", "long"),
    ]
    assert [(one["against"], one["difference"], one["p"]) for one in data["comparisons"]] == [
        (NAME, 0, 1),
        (NAME, 0, 1),
    ]


def test_thinking_is_ended_at_its_budget(fake_server: FakeServer, exam: Path) -> None:
    settings = {"budgets": [0, 10, None], "max_tokens": 400, "prompt": {"template": "{prompt} (ponder)"}}
    data = evaluated(f"{fake_server.url}#{NAME}", on=["exam=exam.jsonl"], settings=settings)
    nothing, short, free = data["results"]
    assert [one["budget"] for one in (nothing, short, free)] == [0, 10, None]
    assert nothing["thinking_tokens"]["all"] == 0
    assert short["budget_hit"] == 1
    assert free["thinking_tokens"]["all"] > 20


def test_what_was_not_answered_is_unknown(fake_server: FakeServer, exam: Path) -> None:
    exam.write_text("".join(json.dumps(row) + "\n" for row in [*sums(*EXAM), *sums((1, 1), trouble=" (refuse)")]))
    (told,) = evaluated(f"{fake_server.url}#{NAME}", on=["exam=exam.jsonl"])["results"]
    assert (told["problems"], told["not_drawn"], told["accuracy"]["problems"]) == (7, 4, 6)
    assert told["accuracy"]["rate"] == pytest.approx(13 / 24)
    assert told["accuracy"]["lowest"] == pytest.approx(13 / 28)
    assert told["accuracy"]["highest"] == pytest.approx(17 / 28)


# ---- which models are meant


def test_a_recipe_means_its_student_and_every_finished_stage(tmp_path: Path, model_folder: Path) -> None:
    store = Store(str(tmp_path))
    asked = resolve(["demo"], store, None, {})
    assert ([*asked.models], asked.unfinished) == (["base"], ["demo:sft"])
    with pytest.raises(
        EvaluationRefused, match="demo:sft: the stage is not finished here; `cuvee train demo:sft` trains it"
    ):
        resolve(["demo:sft"], store, None, {})

    model = tmp_path / "runs" / "demo.sft" / "0123" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    asked = resolve(["demo"], store, None, {})
    assert {name: one.model for name, one in asked.models.items()} == {"base": str(model_folder), "sft": str(model)}
    assert {one.prompt.style for one in asked.models.values()} == {"chat"}
    assert not asked.unfinished
    assert [*resolve(["demo:sft"], store, None, {}).models] == ["sft"]


# ---- the command


def command(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["evaluate", "--workspace", "workspace", "--quiet", *words])
    return result.exit_code, result.output


def test_the_command_prints_a_table_and_writes_results_samples_and_plots(fake_server: FakeServer, exam: Path) -> None:
    code, output = command(f"{fake_server.url}#{NAME}", "--on", "exam=exam.jsonl", "--max-tokens", "64", "--out", "out")
    assert code == 0
    assert "exam  6 problems, 4 samples each, at most 64 tokens" in output
    assert "54.2" in output
    assert sorted(file.name for file in Path("out").iterdir()) == [
        "accuracy.svg",
        "evaluation.json",
        "reliability-agreement.svg",
        "reliability-sequence.svg",
        "samples.jsonl",
    ]
    first = json.loads(Path("out/samples.jsonl").read_text().splitlines()[0])
    assert {"model", "task", "prompt", "answer", "samples"} <= first.keys()
    assert "<svg" in Path("out/accuracy.svg").read_text()


def test_json_is_the_same_as_data(fake_server: FakeServer, exam: Path) -> None:
    code, output = command(f"{fake_server.url}#{NAME}", "--on", "exam=exam.jsonl", "--max-tokens", "64", "--json")
    assert code == 0
    assert json.loads(output[output.index("{") :])["results"][0]["accuracy"]["rate"] == pytest.approx(13 / 24)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing/here/at/all"], "is none of these: a recipe"),
        (["demo:sfft"], "demo:sfft: is no stage of demo"),
        (["org/name", "--on", "what"], "--on: 'what' is not of the form NAME=FILE"),
        (["org/name", "--on", "a=b.csv"], "is no file (.parquet, .jsonl"),
        (["http://127.0.0.1:1/v1#m"], "the held-out problems of which dataset?"),
        (["http://127.0.0.1:1/v1#m", "--budgets", "few"], "'few' is neither a number of tokens nor none"),
        (["http://127.0.0.1:1/v1#m", "--temperature", "0"], "greedy samples are one and the same"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(exam: Path, words: list[str], said: str) -> None:
    code, output = command(*words)
    assert code == 2
    assert said in " ".join(output.split())


def test_problems_without_answers_are_refused(fake_server: FakeServer, exam: Path) -> None:
    exam.write_text(json.dumps({"prompt": "What is 1 + 1?"}) + "\n")
    code, output = command(f"{fake_server.url}#{NAME}", "--on", "exam=exam.jsonl")
    assert code == 2
    assert "exam: 1 of 1 problems have no answer to compare with" in output


def test_a_dataset_that_holds_nothing_out_says_what_to_do(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.folder)
    lab.recipe |= {"keep": {}, "annotate": {}, "student": {"model": "policy", "tokenizer": "org/name"}}
    lab()
    code, output = command(str(lab.write()))
    assert code == 2
    assert "holds out no problem. Give its recipe a `holdout`" in output


# ---- log-probabilities


def sequences(data: dict[str, Any]) -> Any:
    return data["results"][0]["calibration"]["sequence"]


def test_a_samples_confidence_is_its_probability_a_token(fake_server: FakeServer, exam: Path) -> None:
    told = sequences(evaluated(f"{fake_server.url}#{NAME}", on=["exam=exam.jsonl"]))
    assert (told["claims"], told["confidence"]) == (24, pytest.approx(0.5))
    assert told["right"] == pytest.approx(13 / 24)


def test_nothing_is_drawn_again_for_its_log_probability_alone(fake_server: FakeServer, exam: Path) -> None:
    url = f"{fake_server.url}#{NAME}"
    assert sequences(evaluated(url, on=["exam=exam.jsonl"], settings={"n": 2, "logprobs": False})) is None
    fake_server.forget()
    told = sequences(evaluated(url, on=["exam=exam.jsonl"]))
    assert (told["claims"], fake_server.asked.total()) == (12, 12)


def test_difficulties_are_told_in_whole_steps(
    lab: Lab, fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.folder)
    lab.source("sums", sums(*((a, b) for a in range(6) for b in range(6))))
    rate = {"model": "policy", "n": 4, "max_tokens": 64, "settle": "never"}
    lab.recipe |= {"annotate": {"pass_rate": rate, "difficulty": {"of": ["pass_rate"]}}, "keep": {}, "holdout": 0.9}
    lab.recipe |= {"student": {"model": "policy", "tokenizer": "org/name"}}
    lab()
    (told,) = evaluated(str(lab.write()))["results"]
    groups = {one["group"]: one["rate"] for one in told["by"]["measured_difficulty"]}
    assert groups == {"1": 1, "3": 0.75, "6": 0.5, "8": 0.25, "10": 0}


def test_a_stage_is_named_after_the_recipe_it_is_of(tmp_path: Path) -> None:
    recipe = tmp_path / "a:b.yaml"
    recipe.touch()
    assert staged(str(recipe)) == (str(recipe), None)
    assert staged(f"{recipe}:sft") == (str(recipe), "sft")
    assert staged("demo:sft") == ("demo", "sft")
    assert staged("org/name") is None
    assert staged("http://localhost:8000/v1#name") is None


def test_servers_with_models_of_one_name_are_told_apart(fake_server: FakeServer, exam: Path) -> None:
    with FakeServer() as other:
        evaluated(f"{fake_server.url}#{NAME}", on=["exam=exam.jsonl"])
        data = evaluated(f"{other.url}#{NAME}", on=["exam=exam.jsonl"])
        assert other.asked.total() == 24
    assert any("nobody says which weights it serves" in warning for warning in data["warnings"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"budgets": [16, 16]}, "evaluate.budgets: names a budget twice"),
        ({"modes": {"short": {"mode": 1}}}, "evaluate.modes: mode short: mode: is no key of a prompt"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    fake_server: FakeServer, exam: Path, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(EvaluationRefused, match=told):
        evaluated(f"{fake_server.url}#{NAME}", on=["exam=exam.jsonl"], settings=settings)
