"""The verifier is asked about the problem's own answer before anything is sampled."""

import json

import pyarrow as pa

from curation.gold import Gold


def gold(*rows: tuple[str | None, str | None, dict[str, object] | None]) -> list[tuple[bool | None, str]]:
    """(answer, verifier, its arguments) in; (accepted, reason) out."""
    answers, verifiers, arguments = zip(*rows, strict=True)
    problems = pa.table(
        {
            "id": [str(number) for number in range(len(rows))],
            "answer": pa.array(answers, pa.string()),
            "verifier": pa.array(verifiers, pa.string()),
            "verifier_args": pa.array([None if a is None else json.dumps(a) for a in arguments], pa.string()),
        }
    )
    return [(row["gold_accepted"], row["gold_reason"]) for row in Gold().annotate(problems).to_pylist()]


def test_a_right_answer_is_accepted_by_its_verifier() -> None:
    rows = gold(("23", "math", None), (r"\frac{1}{2}", "math", None), ("B", "choice", None), ("True", "exact", None))
    assert [accepted for accepted, _ in rows] == [True, True, True, True]


def test_an_answer_that_the_scorer_finds_wrong_is_rejected() -> None:
    metadata = {"numbers": [3, 5, 2], "target": 10}
    entry = {"question": "", "answer": "3 * 5 - 2", "metadata": metadata}
    [(accepted, reason)] = gold(("3 * 5 - 2", "reasoning-gym", {"dataset": "countdown", "entry": entry}))
    assert accepted is False
    assert reason


def test_what_no_verifier_can_check_is_unknown_and_says_why() -> None:
    rows = gold(
        (None, "math", None), ("4", None, None), ("", "exact", None), ("4", "reasoning-gym", {"dataset": "no such"})
    )
    assert [accepted for accepted, _ in rows] == [None, None, None, None]
    assert rows[0][1] == "the problem has no answer"
    assert rows[1][1] == "the problem has no verifier"
    assert all(reason for _, reason in rows)


def test_a_verifier_that_hangs_is_unknown_and_the_others_are_answered() -> None:
    rows = gold(("1", "math", None), ("10^{10^{10^{10^{10}}}}+1", "math", None), ("2", "math", None))
    assert rows[0][0] is True
    assert rows[2][0] is True
    assert rows[1][0] is not False
