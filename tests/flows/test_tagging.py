"""`cuvee tags check`, and tags in a recipe."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tagger_server import NAME, TaggerServer

from curation.agreement_of_ranks import spearman
from curation.model import Model
from curation.progress import Progress
from flows.cli import main
from flows.curate import curate
from flows.recipe import RecipeError, load
from flows.tagging import Labelled, TagsRefused, check, measured

KITCHEN = "domains: [baking, cooking, eating]\n"
DISHES = [
    {"question": "rye", "kind": "baking", "hard": 3, "label": "another"},
    {"question": "cake", "kind": "baking", "hard": 5},
    {"question": "egg", "kind": "cooking", "hard": 1},
    {"question": "soup", "kind": "stove", "hard": 2},
    {"question": "fork", "kind": "tools", "hard": None},
    {"question": "spoon", "kind": None, "hard": None},
]


def says(problem: str, vote: int) -> Any:
    """The tagger takes cake for a meal, and everything else for what it is."""
    domain = {"rye": "baking", "cake": "eating", "egg": "cooking", "soup": "cooking", "fork": "undefined"}[problem]
    return {"domain": domain, "difficulty": len(problem)}


@pytest.fixture
def server() -> Iterator[TaggerServer]:
    with TaggerServer(says) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dishes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DISHES))
    (tmp_path / "kitchen.yaml").write_text(KITCHEN)
    return tmp_path


def checked(server: TaggerServer, means: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    labelled = Labelled("dishes.jsonl", None, options.pop("domain", "kind"), "hard", means or {})
    settings = {"taxonomy": "kitchen.yaml", **options.pop("settings", {})}
    model = Model(model=NAME, url=(server.url,))
    return check(labelled, model, "w", settings=settings, progress=Progress(quiet=True), **options)


def shares(told: dict[str, Any]) -> tuple[int, int]:
    return told["count"], told["of"]


# ---- the report


def test_tags_are_compared_with_labels(server: TaggerServer, folder: Path) -> None:
    told = checked(server, {"stove": "cooking"})
    assert told["columns"] == {"text": "question", "domain": "kind", "difficulty": "hard"}
    assert told["rows"] == {"read": 6, "without_text_or_label": 1, "label_not_in_taxonomy": 1, "asked": 4}
    assert told["labels_not_in_taxonomy"] == [{"label": "tools", "rows": 1}]
    assert shares(told["accuracy"]) == (3, 4)
    assert told["confusion"] == [{"label": "baking", "tag": "eating", "rows": 1}]
    found = {row["domain"]: (shares(row["recall"]), shares(row["precision"])) for row in told["by_domain"]}
    assert found == {"baking": ((1, 2), (1, 1)), "cooking": ((2, 2), (2, 2)), "eating": ((0, 0), (0, 1))}
    # 3, 5, 1, 2 as labelled; the tagger says how long the word is.
    assert told["difficulty"] == {"rows": 4, "spearman": spearman([3, 4, 3, 4], [3, 5, 1, 2])}


def test_measured_again_nothing_is_asked(server: TaggerServer, folder: Path) -> None:
    first = checked(server)
    assert first["asked_now"]["drawn"] == 3
    server.forget()
    again = checked(server)
    assert (server.asked, again["asked_now"]) == ([], {})
    assert {**again, "asked_now": 0, "warnings": 0} == {**first, "asked_now": 0, "warnings": 0}


def test_of_many_rows_some_are_drawn_by_the_seed(server: TaggerServer, folder: Path) -> None:
    assert checked(server, rows=2)["rows"]["asked"] == 2
    checked(server, rows=2)
    assert len(server.asked) == 2
    everything = {tuple(sorted(asked_with_seed(server, seed))) for seed in range(8)}
    assert len(everything) > 1


def asked_with_seed(server: TaggerServer, seed: int) -> list[str]:
    server.forget()
    check(
        Labelled("dishes.jsonl", None, "kind"),
        Model(model=NAME, url=(server.url,)),
        f"w{seed}",
        settings={"taxonomy": "kitchen.yaml"},
        rows=2,
        seed=seed,
        progress=Progress(quiet=True),
    )
    return [problem for problem, _ in server.asked]


def row(label: str, domain: str | None, agreement: float | None = 1.0, **more: Any) -> dict[str, Any]:
    known = {"difficulty": None, "as_labelled": None, "tag_reason": None}
    return {"label": label, "domain": domain, "tag_agreement": agreement, **known, **more}


def test_what_is_unknown_is_no_mistake_and_undefined_is_one() -> None:
    told = measured(
        [
            row("a", "a"),
            row("a", "b", 2 / 3),
            row("b", "undefined", 2 / 3),
            row("b", "b", 2 / 3),
            row("a", None, None, tag_reason="the reply is no JSON"),
        ]
    )
    assert shares(told["accuracy"]) == (2, 4)
    assert shares(told["undefined"]) == (1, 4)
    assert shares(told["unknown"]) == (1, 5)
    assert told["unknown_because"] == [{"reason": "the reply is no JSON", "rows": 1}]
    assert {entry["agreement"]: shares(entry) for entry in told["by_agreement"]} == {1.0: (1, 1), 2 / 3: (1, 3)}
    assert (told["commonest_label"]["label"], shares(told["commonest_label"])) == ("a", (2, 4))


def test_of_no_tags_nothing_is_claimed() -> None:
    told = measured([row("a", None, None)])
    assert (told["accuracy"]["rate"], told["commonest_label"], told["by_domain"], told["confusion"]) == (
        None,
        None,
        [],
        [],
    )
    assert told["difficulty"] == {"rows": 0, "spearman": None}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"domain": "sort"}, "--domain: dishes.jsonl has no column 'sort' (there are question, kind, hard, label)"),
        (
            {"domain": "question"},
            "--domain: no label is a domain of the taxonomy. Labels are 'cake', 'egg', 'fork', 'rye', 'soup', 'spoon'; domains "
            "are baking, cooking, eating, undefined. Say which is which with --map LABEL=DOMAIN, or give another --taxonomy",
        ),
        ({"means": {"stove": "frying"}}, "--map: 'frying' is no domain of kitchen.yaml; there are baking, cooking, eating"),
        ({"means": {"pan": "cooking"}}, "--map: no row is labelled 'pan'; there are baking, cooking, stove, tools"),
        ({"settings": {"taxonomy": "maths"}}, "taxonomy: 'maths': is no shipped taxonomy; did you mean mathematics?"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_told_before_anything_is_asked(
    server: TaggerServer, folder: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(TagsRefused) as raised:
        checked(server, **options)
    assert str(raised.value).startswith(told)
    assert server.asked == []


# ---- the command


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["tags", "check", *arguments, "--quiet", "--workspace", "w"])
    return result.exit_code, result.output


def test_the_report_as_printed(server: TaggerServer, folder: Path) -> None:
    model = f"{server.url}#{NAME}"
    options = ["--taxonomy", "kitchen.yaml", "--domain", "kind", "--map", "stove=cooking", "--votes", "3"]
    code, said = run("dishes.jsonl", "--model", model, "--difficulty", "hard", *options)
    assert code == 0
    warning, *lines = [line.rstrip() for line in said.splitlines()]
    assert warning.startswith("warning: model 'tagger': ")  # another may answer at this address tomorrow
    assert lines == [
        "tagger on 4 of 6 rows of dishes.jsonl",
        "taxonomy kitchen.yaml, 3 votes a row",
        "",
        "                                 rate  90 % interval    rows",
        "accuracy                         0.75   0.36 to 0.94  3 of 4",
        "always 'baking'                  0.50   0.18 to 0.82  2 of 4",
        "  where 1.00 of the votes agree  0.75   0.36 to 0.94  3 of 4",
        "undefined                        0.00   0.00 to 0.40  0 of 4",
        "unknown                          0.00   0.00 to 0.40  0 of 4",
        "difficulty, Spearman             0.45                      4",
        "",
        "domain   labelled  recall  tagged  precision",
        "cooking         2    1.00       2       1.00",
        "baking          2    0.50       1       1.00",
        "eating          0       -       1       0.00",
        "",
        "labelled  tagged  rows",
        "baking    eating     1",
        "",
        "No domain of the taxonomy, and not asked about: tools (1). --map LABEL=DOMAIN says what is meant.",
        "Asked for 12 votes: 2,736 tokens read, 84 written.",
    ]


def test_a_tagger_that_says_nothing_readable_is_a_failure(server: TaggerServer, folder: Path) -> None:
    server.says = lambda problem, vote: "I think it is \x1b[31mbaking"
    code, said = run(
        "dishes.jsonl", "--model", f"{server.url}#{NAME}", "--taxonomy", "kitchen.yaml", "--domain", "kind"
    )
    assert code == 1
    assert "error: no row was tagged: no vote could be read" in said
    assert "\x1b[31m" not in said


def test_a_model_that_is_none(folder: Path) -> None:
    code, said = run("dishes.jsonl", "--model", "nobody", "--domain", "kind")
    assert code == 2
    assert (
        "--model: 'nobody' is neither a model of a --recipe, nor http://host:port/v1#name, a folder or a Hub name"
        in said
    )


# ---- in a recipe


def recipe(folder: Path, server: TaggerServer, **tags: Any) -> str:
    text = {
        "sources": {
            "dishes": {"jsonl": "dishes.jsonl", "columns": {"prompt": "question"}, "where": "kind is not null"}
        },
        "models": {"tagger": {"model": NAME, "url": server.url, "revision": "1"}},
        "annotate": {"tags": {"model": "tagger", **tags}},
        "keep": {"domain": "domain <> 'undefined'", "not_easy": "difficulty > 3"},
    }
    (folder / "r.yaml").write_text(json.dumps(text))  # JSON is YAML
    return str(folder / "r.yaml")


def test_rules_read_tags(server: TaggerServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recipe(folder, server, taxonomy="./kitchen.yaml")
    monkeypatch.chdir("/")  # a taxonomy's path is relative to the recipe
    outcome = curate(load(path), str(folder / "w"), progress=Progress(quiet=True))
    assert outcome.dataset is not None
    funnel = {row["rule"]: (row["pass"], row["fail"]) for row in outcome.dataset.manifest["rules"]}
    assert funnel == {"domain": (4, 1), "not_easy": (2, 2)}
    assert outcome.drawn["tags"]["drawn"] == 5


def test_a_taxonomy_with_a_mistake_is_told_when_the_recipe_is_loaded(server: TaggerServer, folder: Path) -> None:
    (folder / "kitchen.yaml").write_text("domains: [baking, Baking]")
    with pytest.raises(RecipeError, match=r"annotate\.tags\.taxonomy: .*kitchen\.yaml: domains: 'Baking' stands twice"):
        load(recipe(folder, server, taxonomy="./kitchen.yaml"))


# ---- orders


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40]),
        ([1, 2, 3, 4], [4, 3, 2, 1]),
        ([1, 1, 2, 2, 3], [5, 1, 4, 4, 2]),
        ([0.5, 0.5, 0.5, 9], [1, 2, 3, 3]),
    ],
)
def test_spearman_is_that_of_scipy(one: list[float], other: list[float]) -> None:
    from scipy.stats import spearmanr

    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)


def test_where_there_is_no_order_there_is_no_correlation() -> None:
    assert [spearman([], []), spearman([1], [2]), spearman([1, 1, 1], [1, 2, 3])] == [None, None, None]
