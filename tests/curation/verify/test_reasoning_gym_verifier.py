"""reasoning-gym's scorers, over entries that went through JSON. Graded in the pool, which has paid for the import."""

import datetime
import json

import pytest

from curation.verify import Verdict, as_completion, decode_args
from curation.verify.pool import GraderPool, Job
from curation.verify.reasoning_gym import args_for

SUM = {"question": "What is 4 + 3?", "answer": "7", "metadata": {"source_dataset": "chain_sum"}}
FACTORS = {"question": "Factors of 12?", "answer": "2 × 2 × 3", "metadata": {"number": 12, "factors": [2, 2, 3]}}


def score(
    pool: GraderPool, dataset: str, entry: dict[str, object], completion: str, answer: str | None = None
) -> Verdict:
    return pool.submit(Job("reasoning-gym", answer, completion, args_for(dataset, entry))).result()


@pytest.mark.parametrize(
    ("completion", "outcome"),
    [
        (" 7", "correct"),
        ("4 + 3 is easy.\nThe answer is 7.", "correct"),
        (r"\boxed{7}", "correct"),
        ("<think>8?</think><answer>7</answer>", "correct"),
        (" 8", "wrong"),
        ("it is 7", "wrong"),  # partial credit
        ("", "wrong"),
        ("<think>7", "wrong"),
    ],
)
def test_a_sum(pool: GraderPool, completion: str, outcome: str) -> None:
    assert score(pool, "chain_sum", SUM, completion).outcome == outcome


def test_the_reason_carries_the_score(pool: GraderPool) -> None:
    assert score(pool, "chain_sum", SUM, " 7") == Verdict("correct", "7", "score 1")


def test_the_problems_answer_replaces_the_entrys(pool: GraderPool) -> None:
    assert score(pool, "chain_sum", SUM, " 7", answer="9").outcome == "wrong"


def test_text_that_a_scorer_cannot_read_is_wrong(pool: GraderPool) -> None:
    verdict = score(pool, "prime_factorization", FACTORS, "1 ⊂ 13")
    assert verdict.outcome == "wrong"
    assert verdict.reason.startswith("the answer cannot be read: ValueError")


def test_a_scorer_that_cannot_read_the_own_answer_is_broken(pool: GraderPool) -> None:
    broken = {**FACTORS, "answer": "a × b"}
    verdict = score(pool, "prime_factorization", broken, "1 ⊂ 13")
    assert verdict.outcome == "error"
    assert verdict.reason.startswith("the grader broke on the problem's own answer")


@pytest.mark.parametrize(
    ("dataset", "entry", "code"),
    [
        ("countdown", {"answer": "3 + 4", "metadata": {"numbers": [3, 4], "target": 7}}, "exec(chr(49))"),
        ("string_insertion", {"answer": "ab", "metadata": {}}, "[__import__('os').getcwd()]"),
    ],
)
def test_code_in_an_answer_is_not_run(pool: GraderPool, dataset: str, entry: dict[str, object], code: str) -> None:
    assert score(pool, dataset, {"question": "", **entry}, f"<answer>{code}</answer>").outcome == "wrong"


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # of a package that reasoning-gym imports
@pytest.mark.parametrize(
    "dataset",
    [
        "arc_1d",
        "arc_agi",
        "graph_color",
        "mini_sudoku",
        "propositional_logic",
        "rotate_matrix",
        "simple_integration",
        "word_ladder",
    ],
)
def test_entries_survive_json(pool: GraderPool, dataset: str) -> None:
    import reasoning_gym

    entries = reasoning_gym.create_dataset(dataset, size=3, seed=5)
    for entry in (entries[at] for at in range(3)):
        args = args_for(dataset, entry)
        completion = as_completion("reasoning-gym", entry["answer"], args)
        verdict = pool.submit(Job("reasoning-gym", entry["answer"], completion, args)).result()
        assert verdict.outcome == "correct", verdict


def test_args_are_canonical() -> None:
    entry = {"question": "é?", "metadata": {"b": (1, 2), "a": {3, 1}, "c": datetime.date(2026, 1, 2)}, "answer": "1"}
    args = args_for("chain_sum", entry)
    metadata = '{"a":[1,3],"b":[1,2],"c":"2026-01-02"}'
    assert args == '{"dataset":"chain_sum","entry":{"answer":"1","metadata":' + metadata + ',"question":"é?"}}'
    assert args_for("chain_sum", decode_args(args)["entry"]) == args


def test_a_problem_of_a_composite_is_graded_as_what_it_was_made_from() -> None:
    assert json.loads(args_for("composite", SUM))["dataset"] == "chain_sum"


def test_what_json_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="reasoning-gym's chain_sum cannot be kept as JSON: a object is not JSON"):
        args_for("chain_sum", {"question": "", "answer": "", "metadata": {"x": object()}})
