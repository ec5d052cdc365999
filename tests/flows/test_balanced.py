"""A recipe with `balance`: what is dropped, published in which order, and told."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lab import Lab, decided

from curation.duck import arrow
from curation.inspect.summary import rows
from curation.inspect.why import why
from curation.progress import Progress
from flows.cli import main
from flows.curate import Outcome, curate, stopped_early
from flows.recipe import RecipeError, load

DOMAINS = {"algebra": 60, "geometry": 30, "numbers": 10}
BALANCE: dict[str, Any] = {
    "by": "meta->>'$.domain'",
    "size": 50,
    "temperature": 0,
    "order": "easy_to_hard",
    "order_by": "(meta->>'$.difficulty')::int",
}


def run(folder: Path, **recipe: Any) -> Outcome:
    """A recipe over a hundred problems, of which a rule drops ten."""
    problems = [
        {"prompt": f"{domain} {n}", "answer": "1", "meta": {"domain": domain, "difficulty": n % 10 + 1}}
        for domain, count in DOMAINS.items()
        for n in range(count)
    ]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    source = {"jsonl": "pool.jsonl", "verifier": "exact", "license": "MIT", "columns": {"meta": "meta"}}
    whole = {
        "name": "d",
        "sources": {"pool": source},
        "keep": {"long": "prompt not like 'algebra _'"},
        "balance": BALANCE,
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(whole | recipe))
    return curate(load(str(path)), str(folder / "workspace"), progress=Progress(quiet=True))


def test_drops_carry_the_rule_balance_and_the_manifest_says_before_and_after(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    assert outcome.dataset is not None
    manifest = outcome.dataset.manifest
    assert [(r["rule"], r["entered"], r["pass"], r["fail"]) for r in manifest["rules"]] == [
        ("long", 100, 90, 10),
        ("balance", 90, 50, 40),
    ]
    assert manifest["balance"] == {
        "settings": BALANCE,
        "before": {"algebra": 50, "geometry": 30, "numbers": 10},
        "after": {"algebra": 20, "geometry": 20, "numbers": 10},
        "difficulty": manifest["balance"]["difficulty"],
        "missed": [{"target": "by.numbers", "wanted": 16, "got": 10, "why": "it has no more"}],
    }
    assert sum(manifest["balance"]["difficulty"]["after"].values()) == 50
    assert outcome.warnings == ["balance.by.numbers: 16 rows wanted, 10 got: it has no more"]
    found = decided(outcome)
    assert {(row["rule_balance"], row["dropped_by"], row["kept"]) for row in found.values()} == {
        ("pass", None, True),
        ("fail", "balance", False),
        ("unmeasured", "long", False),
    }


def published(outcome: Outcome, order: str = "") -> list[dict[str, Any]]:
    assert outcome.dataset is not None
    files = f"{outcome.dataset.folder}/rl/train-*.parquet"
    return list(arrow(outcome.dataset.store.connect(), f"from '{files}' {order}").to_pylist())


def hardness(found: list[dict[str, Any]]) -> list[int]:
    return [json.loads(row["meta"])["difficulty"] for row in found]


def test_the_set_is_in_the_order_asked_for_and_another_order_is_another_dataset(tmp_path: Path) -> None:
    easy_first = hardness(published(run(tmp_path)))
    assert easy_first == sorted(easy_first)
    hard_first = run(tmp_path, balance=BALANCE | {"order": "hard_to_easy"})
    assert hard_first.new
    assert hardness(published(hard_first)) == sorted(easy_first, reverse=True)
    assert not run(tmp_path, balance=BALANCE | {"order": "hard_to_easy"}).new
    by_chance = {"by": BALANCE["by"], "size": 50, "temperature": 0, "order": "random"}
    at_random = [row["id"] for row in published(run(tmp_path, balance=by_chance))]
    as_read = [row["id"] for row in published(run(tmp_path, balance=by_chance | {"order": "as_read"}))]
    assert at_random != as_read
    assert sorted(at_random) == sorted(as_read)


def test_an_order_alone_drops_nothing(tmp_path: Path) -> None:
    outcome = run(tmp_path, balance={"order": "hard_to_easy", "order_by": "length(prompt)"})
    assert outcome.dataset is not None
    assert [rule["rule"] for rule in outcome.dataset.manifest["rules"]] == ["long"]
    lengths = [len(row["prompt"]) for row in published(outcome)]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == 90


def test_the_holdout_is_a_share_of_what_balance_leaves(tmp_path: Path) -> None:
    # Were rows chosen and held out by the same hash, they would all be in one split.
    outcome = run(tmp_path, holdout=0.4)
    assert outcome.dataset is not None
    splits = outcome.dataset.manifest["sets"]["rl"]
    assert splits["train"]["rows"] + splits["test"]["rows"] == 50
    assert 10 <= splits["test"]["rows"] <= 30  # three standard deviations around 20


def test_it_is_shown_by_inspect_why_and_on_the_card(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    assert outcome.dataset is not None
    dropped = rows(outcome.dataset, "balance", 100)
    assert len(dropped) == 40
    workspace = ["--workspace", str(tmp_path / "workspace")]
    shown = CliRunner(env={"COLUMNS": "140"}).invoke(main, ["inspect", "d", *workspace]).output
    table = shown[shown.index("balance by ") : shown.index("set  train")].splitlines()
    assert [" ".join(word for word in line.split() if not set(word) & set("█▏▎▍▌▋▊▉")) for line in table[:4]] == [
        "balance by meta->>'$.domain' before after kept",
        "algebra 50 20 40%",
        "geometry 30 20 67%",
        "numbers 10 10 100%",
    ]
    assert "balance.by.numbers: 16 rows wanted, 10 got: it has no more" in table
    why = CliRunner(env={"COLUMNS": "140"}).invoke(main, ["why", "d", dropped[0]["id"], *workspace]).output
    assert "dropped by balance" in why
    assert "it is among 50 rows, balanced by meta->>'$.domain', temperature 0" in why
    card = outcome.dataset.store.fs.cat(f"{outcome.dataset.folder}/README.md").decode()
    section = card[card.index("## Balance") : card.index("## Sources")].splitlines()
    assert section[2:7] == [
        "| `meta->>'$.domain'` | before | after |",
        "| --- | --- | --- |",
        "| algebra | 50 | 20 |",
        "| geometry | 30 | 20 |",
        "| numbers | 10 | 10 |",
    ]
    assert "- balance.by.numbers: 16 rows wanted, 10 got: it has no more" in section


def test_a_name_in_the_data_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    outcome = run(tmp_path, balance={"by": "'[red]<b>' || chr(27) || '`|'", "caps": 5})
    assert outcome.dataset is not None
    card = outcome.dataset.store.fs.cat(f"{outcome.dataset.folder}/README.md").decode()
    assert r"| \[red\]&lt;b&gt;\\x1b\`\| | 90 | 5 |" in card
    shown = CliRunner(env={"COLUMNS": "140"}).invoke(main, ["inspect", "d", "--workspace", str(tmp_path / "workspace")])
    assert r"[red]<b>\x1b`|" in shown.output


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"balance": {"by": "doman", "size": 5}}, "balance.by: 'doman' names no known column: doman"),
        ({"balance": {"size": 5, "prefer": "prompt"}}, "balance.prefer: 'prompt' gives VARCHAR, not a number"),
        ({"balance": {"by": "source", "temperature": 0.5}}, "balance: temperature needs `size`"),
        (
            {"balance": {"by": "source", "size": 5, "temprature": 1}},
            "balance.temprature: unknown key; did you mean temp",
        ),
        ({"balance": {"by": "source", "size": 5, "rule": "s2"}}, "balance.rule: input should be 's1'; given 's2'"),
        (
            {"balance": {"by": "source", "size": 5, "caps": {"a": "many"}}},
            "balance.caps: 'many' of a is neither rows, a whole number from 1, nor a share of the size",
        ),
        ({"keep": {"balance": "true"}}, "keep.balance: is the name of what `balance` drops by; give the rule another"),
    ],
)
def test_mistakes_are_found_when_the_recipe_is_loaded(tmp_path: Path, recipe: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        run(tmp_path, **recipe)
    assert told in str(caught.value)


def test_comparing_by_rates_of_samples_that_stop_early_is_warned_of(lab: Lab) -> None:
    lab.recipe["balance"] = {"size": 2, "prefer": "pass_rate"}
    assert stopped_early(load(str(lab.write()))) == []
    (warning,) = stopped_early(load(str(lab.write()), {"annotate.pass_rate.settle": "early"}))
    assert warning.startswith("balance reads pass_rate, of samples that stop as soon as the rules are settled")


def test_a_limit_on_what_the_taxonomy_does_not_have_is_told_before_anything_starts(lab: Lab) -> None:
    lab.recipe["annotate"] = {"tags": {"model": "policy", "taxonomy": "general"}}
    lab.recipe["keep"] = {}
    lab.recipe["balance"] = {"by": "domain", "size": 3, "floors": {"fysics": 1}}
    with pytest.raises(RecipeError, match=r"balance\.floors\.fysics: is no domain of general; did you mean physics"):
        load(str(lab.write()))


def test_why_tells_the_group_of_a_row_and_how_many_of_it_stay(tmp_path: Path) -> None:
    dataset = run(tmp_path).dataset
    assert dataset is not None
    [row] = rows(dataset, "balance", 1)
    group = why(dataset, row["id"])["balance"]
    assert group["before"] == {"algebra": 50, "geometry": 30, "numbers": 10}[group["group"]]
    assert group["after"] == dataset.manifest["balance"]["after"][group["group"]]
