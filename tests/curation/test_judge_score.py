"""A judge that scores: what its scores mean, what two of them come to, and which problems it is that are scored."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from judge_server import NAME, JudgeServer, outside, texts
from lab import Lab, decided, sums
from pydantic import ValidationError

from curation.client import Client
from curation.judge import Judge, Unreadable
from curation.judging import Judging, graders_of
from curation.mapping import problems_of
from curation.model import Model, RunningServer
from curation.reach import UNKNOWN
from curation.source import Source
from curation.verify import Verdict
from curation.verify.pool import Job

RUBRIC = "The response ends in a large number"


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


def judge(**settings: Any) -> Judge:
    return Judge(model=Model(model=NAME, url=("http://127.0.0.1:1/v1",), revision="1"), **settings)


def scored(server: JudgeServer, *completions: str, args: Any = None, **settings: Any) -> list[Verdict]:
    asked_by = judge(**{"kind": "score", "rubric": RUBRIC, **settings})

    async def run() -> list[Verdict]:
        async with Client([RunningServer(server.url, NAME, None, UNKNOWN)], None, 4, 1) as client:
            judging = Judging(asked_by, client)
            jobs = [Job("judge", None, text, None if args is None else json.dumps(args)) for text in completions]
            return [await judging.grade(job) for job in jobs]

    return asyncio.run(asyncio.wait_for(run(), 60))


# ---- what a score is


def test_a_score_is_correct_from_the_accepted_one_on_and_stands_in_the_verdict(server: JudgeServer) -> None:
    assert scored(server, "<think>3</think> An 8", "A 7", "A 6", "A 10") == [
        Verdict("correct", "8", "judge: the judge says 8 of 10"),
        Verdict("correct", "7", "judge: the judge says 7 of 10"),
        Verdict("wrong", "6", "judge: the judge says 6 of 10"),
        Verdict("correct", "10", "judge: the judge says 10 of 10"),
    ]
    assert [verdict.outcome for verdict in scored(server, "A 8", "A 9", accept=9)] == ["wrong", "correct"]
    assert texts(server.prompts[0]) == {"rubric": RUBRIC, "response": " An 8"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ('{"score": "unsure"}', "the judge says unsure"),
        ('{"score": 11}', "the judge's score is none of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, unsure"),
        ('{"score": 0}', "the judge's score is none of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, unsure"),
        ('{"score": 7.5}', "the judge's reply is not of the form that was asked for"),
        ('{"score": true}', "the judge's reply is not of the form that was asked for"),
        ('{"score": null}', "the judge's reply is not of the form that was asked for"),
        ('{"verdict": "8"}', "the judge's reply is not of the form that was asked for"),
        ('{"score": 8, "verdict": "meets"}', "the judge's reply is not of the form that was asked for"),
        ("8", "the judge's reply is not of the form that was asked for"),
        ("A clear 8", "the judge's reply is no JSON"),
    ],
)
def test_what_is_no_score_is_an_error_with_nothing_that_a_rule_could_take_for_one(
    server: JudgeServer, reply: str, reason: str
) -> None:
    server.reply = reply
    assert scored(server, "A 8") == [Verdict("error", None, f"judge: {reason}")]


def test_what_cannot_be_scored_has_no_score(server: JudgeServer) -> None:
    assert scored(server, "<think> an 8", "  ") == [
        Verdict("wrong", None, "thinking was not closed"),
        Verdict("wrong", None, "no answer found"),
    ]
    (long,) = scored(server, "8" * 300, max_characters=299)
    assert (long.outcome, long.extracted) == ("error", None)
    assert scored(server, "An 8", rubric=None) == [Verdict("error", None, "judge: there is no rubric")]
    server.status = 400
    (refused,) = scored(server, "An 8")
    assert (refused.outcome, refused.extracted) == ("error", None)


def test_two_scores_on_one_side_come_to_their_mean_and_on_two_sides_to_none(server: JudgeServer) -> None:
    server.prefers_first = True  # a response that comes first gets one less
    assert scored(server, "A 9", "A 7", "A 5", twice=True) == [
        Verdict("correct", "8.5", "judge: the judge says 9 and 8 of 10"),
        Verdict("error", None, "judge: the judge contradicts itself: 7, and the other way round 6"),
        Verdict("wrong", "4.5", "judge: the judge says 5 and 4 of 10"),
    ]
    assert [[*texts(prompt)] for prompt in server.prompts[:2]] == [["rubric", "response"], ["response", "rubric"]]
    server.prefers_first = False
    assert scored(server, "A 9", twice=True) == [Verdict("correct", "9", "judge: the judge says 9 of 10")]


def test_a_reason_comes_before_the_score(server: JudgeServer) -> None:
    server.reply = '{"reason": "short", "score": 3}'
    assert scored(server, "A 8", reasoning=True) == [Verdict("wrong", "3", "judge: the judge says 3 of 10: short")]
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {
        "reason": {"type": "string"},
        "score": {"enum": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "unsure"]},
    }
    assert [*schema["properties"]] == ["reason", "score"] == schema["required"]


def test_the_judge_is_told_the_scale_and_not_the_line(server: JudgeServer) -> None:
    prompts = []
    for accept in (2, 9):
        server.prompts.clear()
        scored(server, "A 8", accept=accept)
        prompts.append(outside(server.prompts[0]))
    assert prompts[0] == prompts[1]
    assert prompts[0].endswith(
        'Answer with one of these as JSON: {"score": N}, {"score": "unsure"}, where N is a whole number from 1 to 10.'
    )


# ---- which problems


def test_a_problems_own_kind_and_rubric_come_before_the_judges(server: JudgeServer) -> None:
    assert scored(server, "A 9", args={"kind": "score", "rubric": "Ends in 9"}, kind="quality") == [
        Verdict("correct", "9", "judge: the judge says 9 of 10")
    ]
    assert texts(server.prompts[0])["rubric"] == "Ends in 9"
    (found,) = scored(server, "Ends in large number", args={"kind": "quality"})
    assert (found.outcome, found.extracted) == ("correct", "Ends in large number")
    (found,) = scored(server, "A 9", args={"kind": "beauty"})
    assert found.outcome == "error"
    assert "the kind 'beauty' is none of a judge's, which are equivalence, quality, score" in found.reason


def test_one_judge_has_verdicts_of_two_kinds_in_one_run(lab: Lab, server: JudgeServer) -> None:
    general = {"kind": "score", "rubric": "A large number"}
    rows = [row | {"answer": None, "verifier_args": general} for row in sums((3, 4), (2, 2))]
    lab.source("general", rows, verifier="judge")
    lab.source("sums", sums((10, 5)), verifier="judge")
    lab.recipe["models"]["wise"] = {"model": NAME, "url": server.url, "revision": "1"}
    lab.recipe["judge"] = {"model": "wise", "accept": 6}
    outcome = decided(lab())
    assert {row["verifier"].split("-")[0] for row in lab.stored("verdicts", "rollout")} == {"judge"}
    assert len({row["verifier"] for row in lab.stored("verdicts", "rollout")}) == 1
    asked = {texts(prompt)["problem"]: [*texts(prompt)] for prompt in server.prompts}
    assert asked == {
        "What is 3 + 4?": ["problem", "rubric", "response"],
        "What is 2 + 2?": ["problem", "rubric", "response"],
        "What is 10 + 5?": ["problem", "first answer", "second answer"],
    }
    scores = {
        (row["extracted"], row["outcome"]) for row in lab.stored("verdicts", "rollout") if " of 10" in row["reason"]
    }
    assert scores
    assert all((int(score) >= 6) == (outcome == "correct") for score, outcome in scores)
    assert all(row["errors"] == 0 for row in outcome.values())


def test_a_kind_that_no_judge_has_is_refused_when_the_source_is_read(lab: Lab) -> None:
    rows = [
        row | {"verifier_args": {"kind": kind}}
        for row, kind in zip(sums((3, 4), (2, 2)), ("score", "scored"), strict=True)
    ]
    lab.source("general", rows)
    source = Source(jsonl=[str(lab.folder / "general.jsonl")], verifier="judge")
    ((problems, rejected),) = problems_of("general", source)
    assert problems["prompt"].to_pylist() == ["What is 3 + 4?"]
    assert [(row["row"], row["reason"]) for row in rejected] == [
        (1, "verifier_args, the kind 'scored' is none of a judge's, which are equivalence, quality, score")
    ]


# ---- settings


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"accept": 0}, {"accept": 11}, {"kind": "score", "rubric": " "}, {"kind": "beauty"}):
        with pytest.raises(ValidationError):
            judge(**wrong)


def test_hashes_of_judges_are_those_of_today() -> None:
    assert {
        name: judge(**settings).hash
        for name, settings in {
            "equivalence": {},
            "twice": {"twice": True},
            "quality": {"kind": "quality", "rubric": "It is polite."},
            "score": {"kind": "score", "rubric": "It is polite."},
            "accept": {"kind": "score", "rubric": "It is polite.", "accept": 8},
        }.items()
    } == {
        "equivalence": "8540ddcbef698874acd5",
        "twice": "8dedcae0c2e2d922fcdb",
        "quality": "cc803de3de48f6e40690",
        "score": "1443c8c26169d7149f80",
        "accept": "e596319836ba5e7310d2",
    }


def test_a_score_is_read_without_a_server() -> None:
    assert judge(kind="score").read('{"score": 4}') == ("4", "")
    with pytest.raises(Unreadable):
        judge().read('{"score": 4}')


def test_vllm_keeps_to_the_scores(vllm_server: RunningServer) -> None:
    """The small model cannot judge; that its reply is a score is all that is asked of it."""
    model = Model(model=vllm_server.name, url=(vllm_server.url,))
    with graders_of(Judge(model=model, kind="score", rubric="It is polite."), [vllm_server], None) as grader:
        found = list(grader.grade_many(Job("judge", None, text) for text in ("Thank you!", "Go away.")))
    assert all(f"the judge says {verdict.extracted or 'unsure'}" in verdict.reason for verdict in found), found
    assert all(verdict.extracted is None or 1 <= int(verdict.extracted) <= 10 for verdict in found), found
