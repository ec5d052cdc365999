"""Drawing rollouts from a server that answers, refuses, stumbles or goes away."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_server import HUGE, FakeServer
from lab import Lab, decided, sums
from tokenizers import Tokenizer

from curation import annotate, client, fleet
from curation.client import SamplingError
from curation.model import RunningServer
from curation.verify import exact
from curation.verify.pool import GraderPoolError, graders
from flows.curate import Outcome, StepFailed


def drawn(outcome: Outcome) -> tuple[int, int]:
    """Samples drawn and continued by a run."""
    tally = outcome.drawn.get("pass_rate", {"drawn": 0, "continued": 0})
    return tally["drawn"], tally["continued"]


def why_it_failed(lab: Lab, **settings: Any) -> str:
    with pytest.raises(StepFailed) as failed:
        lab(**settings)
    assert isinstance(failed.value.__cause__, SamplingError), repr(failed.value.__cause__)
    return str(failed.value.__cause__)


@contextlib.contextmanager
def after(answers: int, server: FakeServer, action: Callable[[], None]) -> Iterator[None]:
    """Does something from another thread once the server has given so many answers."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while len(server.order) < answers and time.monotonic() < deadline:
            time.sleep(0.001)
        action()

    watcher = threading.Thread(target=wait)
    watcher.start()
    try:
        yield
    finally:
        watcher.join()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(fleet, "LONGEST_WAIT", 0.05)


# What is drawn


def test_every_sample_is_drawn_once_with_its_verdict(lab: Lab, fake_server: FakeServer) -> None:
    assert drawn(lab()) == (24, 0)
    rollouts, verdicts = lab.stored("rollouts"), lab.stored("verdicts", "rollout")
    assert len({(row["problem_id"], row["sample_index"]) for row in rollouts}) == len(rollouts) == 24
    assert sorted(row["rollout"] for row in rollouts) == [row["rollout"] for row in verdicts]
    assert set(fake_server.asked.values()) == {1}
    first = next(row for row in rollouts if row["text"] == " The answer is 7")
    assert first["token_ids"] == [ord(character) for character in first["text"]]
    assert {
        name: first[name] for name in ("sample_index", "tokens", "prompt_tokens", "finish_reason", "max_tokens")
    } == {
        "sample_index": 0,
        "tokens": 16,
        "prompt_tokens": len("What is 3 + 4?\nAnswer:"),
        "finish_reason": "stop",
        "max_tokens": 64,
    }
    assert (first["engine"], first["engine_version"]) == ("vllm", "1.0")


def test_a_run_over_what_is_there_draws_nothing(lab: Lab, fake_server: FakeServer) -> None:
    first = lab()
    fake_server.forget()
    second = lab()
    assert (drawn(second), second.new, fake_server.asked) == ((0, 0), False, {})
    assert decided(second) == decided(first)


def test_samples_are_drawn_breadth_first(lab: Lab, fake_server: FakeServer) -> None:
    lab.source("more", sums((1, 7), (2, 9)), prompt={"template": "{prompt}\nIn words:"})
    lab.policy["concurrency"] = 1
    lab()
    indexes = [int(name.rsplit("-", 1)[1]) for name in fake_server.order]
    assert indexes == sorted(indexes)


def test_no_more_requests_at_once_than_the_model_allows(lab: Lab, fake_server: FakeServer) -> None:
    lab.policy["concurrency"] = 3
    fake_server.delay = 0.005
    lab()
    assert fake_server.most_in_flight == 3


def test_every_sampling_parameter_is_sent_and_every_sample_has_its_own_seed(lab: Lab, fake_server: FakeServer) -> None:
    lab(temperature=0.6)
    bodies = list(fake_server.bodies.values())
    sent = {name: bodies[0][name] for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")}
    assert sent == {"temperature": 0.6, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    assert len({body["seed"] for body in bodies}) == 24


def test_with_a_larger_n_only_the_further_samples_are_drawn(lab: Lab, fake_server: FakeServer) -> None:
    lab(n=4)
    before = lab.stored("rollouts")
    fake_server.forget()
    assert drawn(lab(n=8)) == (24, 0)
    assert {name.rsplit("-", 1)[1] for name in fake_server.asked} == {"4", "5", "6", "7"}
    assert [row for row in lab.stored("rollouts") if row["sample_index"] < 4] == before


def test_with_a_smaller_n_nothing_is_drawn_and_the_rest_does_not_count(lab: Lab) -> None:
    lab(n=8)
    outcome = lab(n=4)
    assert drawn(outcome) == (0, 0)
    assert {row["drawn"] for row in decided(outcome).values()} == {4}


def test_new_problems_are_all_that_is_sampled(lab: Lab) -> None:
    lab()
    lab.source("sums", sums((3, 4), (10, 5), (2, 2), (8, 7), (6, 9), (1, 1), (5, 8)))
    assert drawn(lab()) == (4, 0)


def test_sources_with_other_shots_have_rollouts_of_their_own(lab: Lab) -> None:
    lab.source("shown", sums((3, 9)), prompt={"shots": [{"prompt": "What is 1 + 1?", "answer": "2"}]})
    assert drawn(lab()) == (28, 0)
    parts = sorted(len(list(folder.glob("part-*"))) for folder in (lab.workspace / "rollouts").iterdir())
    assert parts == [1, 1]
    assert decided(lab())["What is 3 + 9?"]["passes"] == 2


def test_two_annotators_with_equal_settings_share_their_rollouts(lab: Lab) -> None:
    lab.recipe["annotate"]["full"] = {"is": "pass_rate", "model": "policy", "n": 6, "max_tokens": 64}
    outcome = lab()
    kept = [row for row in decided(outcome).values() if row["kept"]]
    assert [outcome.drawn[key]["drawn"] for key in ("pass_rate", "full")] == [24, 2 * len(kept)]
    assert [row["full_drawn"] for row in kept] == [6, 6]


# Length


def test_a_lower_max_tokens_cuts_off_what_is_stored_and_draws_nothing(lab: Lab) -> None:
    lab()
    outcome = lab(max_tokens=20)
    assert drawn(outcome) == (0, 0)
    # 16, 19, 22 and 25 characters
    assert decided(outcome)["What is 2 + 2?"]["truncated"] == 2


def test_a_higher_max_tokens_continues_what_was_cut_off(lab: Lab, fake_server: FakeServer) -> None:
    lab.source("sums", sums((2, 2)))
    outcome = lab(max_tokens=20)
    short = {row["sample_index"]: row for row in lab.stored("rollouts") if row["finish_reason"] == "length"}
    assert sorted(short) == [2, 3]
    fake_server.forget()
    outcome = lab(max_tokens=64)
    assert drawn(outcome) == (0, 2)
    assert outcome.drawn["pass_rate"]["tokens"] == 2 + 5
    assert decided(outcome)["What is 2 + 2?"]["passes"] == 4
    whole = {row["sample_index"]: row for row in lab.stored("rollouts") if row["continues"] is not None}
    for index, row in whole.items():
        before = short[index]
        assert row["continues"] == before["rollout"]
        assert row["text"] == " hm" * index + " The answer is 4"
        assert row["text"].startswith(before["text"])
        assert row["token_ids"][:20] == before["token_ids"]
        assert (row["tokens"], row["max_tokens"], row["finish_reason"]) == (16 + 3 * index, 64, "stop")
        assert fake_server.bodies[f"{row['problem_id']}-{index}"]["max_tokens"] == 44


def test_what_is_cut_off_again_goes_on_from_there(lab: Lab) -> None:
    lab.source("sums", sums((2, 2)))
    lab(max_tokens=5)
    assert drawn(lab(max_tokens=20)) == (0, 4)
    assert drawn(lab(max_tokens=64)) == (0, 2)
    assert decided(lab(max_tokens=64))["What is 2 + 2?"]["passes"] == 4


def test_a_stop_string_at_the_seam_ends_the_sample(lab: Lab) -> None:
    """The sample is cut off after ` The answer `, so the server sees ` is 4`, which has no `answer is`."""
    lab.source("sums", sums((2, 2)))
    lab.policy["prompt"]["stop"] = ["answer is"]
    lab(n=1, max_tokens=12)
    assert drawn(lab(n=1, max_tokens=64)) == (0, 1)
    assert [row["text"] for row in lab.stored("rollouts")] == [" The answer ", " The "]
    assert lab.stored("rollouts")[1]["finish_reason"] == "stop"


def test_without_token_ids_all_samples_of_a_problem_that_was_cut_off_are_drawn_again(
    lab: Lab, fake_server: FakeServer
) -> None:
    fake_server.token_ids = False
    lab.source("sums", sums((2, 2), (20, 22)))
    lab(n=2, max_tokens=19)  # 16 and 19 characters; with a sum of two digits 17 and 20
    fake_server.forget()
    outcome = lab(n=2, max_tokens=64)
    assert drawn(outcome) == (2, 0)
    rows = decided(outcome)
    assert (rows["What is 2 + 2?"]["drawn"], rows["What is 20 + 22?"]["drawn"]) == (2, 2)
    assert {row["token_ids"] for row in lab.stored("rollouts")} == {None}


def test_a_server_that_cannot_continue_says_so(lab: Lab, fake_server: FakeServer) -> None:
    lab(max_tokens=20)
    fake_server.tokenizes = False
    assert "cut-off samples cannot be continued here" in why_it_failed(lab, max_tokens=64)


def test_a_chat_model_continues_its_thinking(
    lab: Lab, fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fake_server.answer", lambda prompt, index: "2 and 2 make 4</think>The answer is 4")
    fake_server.thinks = True
    lab.policy["prompt"] = {"style": "chat", "system": "Add."}
    lab.source("sums", sums((2, 2)))
    lab(n=1, max_tokens=5)
    cut = lab.stored("rollouts")[0]
    assert (cut["reasoning"], cut["text"]) == ("2 and", "")
    outcome = lab(n=1)
    whole = lab.stored("rollouts")[1]
    assert (whole["reasoning"], whole["text"]) == ("2 and 2 make 4", "The answer is 4")
    assert decided(outcome)["What is 2 + 2?"]["passes"] == 1


def test_a_limit_that_leaves_no_room_for_a_prompt_is_an_error_before_anything_is_asked(
    lab: Lab, fake_server: FakeServer
) -> None:
    fake_server.max_model_len = 64
    message = why_it_failed(lab)
    assert "max_tokens=64" in message
    assert "holds 64 tokens" in message
    assert not fake_server.asked


def test_prompts_that_do_not_fit_are_warned_of_with_the_numbers(lab: Lab, fake_server: FakeServer) -> None:
    fake_server.max_model_len = 64 + len("What is 10 + 5?\nAnswer:")
    lab.source("long", sums((1, 2), trouble=" Mind the step."))
    outcome = lab()
    assert any(
        "the longest prompt has 37 tokens; with max_tokens=64 that is more than the 87" in w for w in outcome.warnings
    )
    rows = decided(outcome)
    assert rows["What is 1 + 2? Mind the step."]["pass_rate"] is None
    assert rows["What is 3 + 4?"]["pass_rate"] == 0.5


# Trouble


def test_a_problem_that_the_server_refuses_stays_unknown_and_the_run_goes_on(lab: Lab, fake_server: FakeServer) -> None:
    lab.source("odd", sums((1, 2), trouble=" (refuse)"))
    lab.policy["concurrency"] = 1
    outcome = lab()
    row = decided(outcome)["What is 1 + 2? (refuse)"]
    assert (row["drawn"], row["pass_rate"], row["rule_learnable"]) == (0, None, "unknown")
    assert any("refused 1 problems" in warning and "too long" in warning for warning in outcome.warnings)
    assert fake_server.asked[f"{row['id']}-0"] == 1
    assert f"{row['id']}-1" not in fake_server.asked
    again = lab()
    assert (drawn(again), again.new) == ((0, 0), False)


@pytest.mark.parametrize("trouble", ["(fail)", "(nothing)", "(abort)"])
def test_a_problem_that_the_server_fails_at_again_and_again_stays_unknown(
    trouble: str, lab: Lab, fake_server: FakeServer
) -> None:
    lab.source("odd", sums((1, 2), trouble=trouble))
    outcome = lab(n=1)
    row = decided(outcome)[f"What is 1 + 2?{trouble}"]
    assert (row["drawn"], row["pass_rate"]) == (0, None)
    assert fake_server.asked[f"{row['id']}-0"] == client.TRIES
    assert any("refused 1 problems" in warning for warning in outcome.warnings)
    assert len(lab.stored("rollouts")) == 6


@pytest.mark.parametrize("trouble", ["(refuse)", "(fail)"])
def test_a_server_that_answers_no_problem_ends_the_run(trouble: str, lab: Lab) -> None:
    lab.source("sums", sums(*((a, 1) for a in range(30)), trouble=trouble))
    assert "answers no problem" in why_it_failed(lab)
    lab.source("sums", sums((1, 1), trouble=trouble))
    assert "answers no problem (1 refused" in why_it_failed(lab)


def test_many_problems_that_a_server_fails_at_stay_unknown_also_when_only_they_are_left(lab: Lab) -> None:
    lab.source("odd", sums(*((a, 1) for a in range(25)), trouble=" (fail)"))
    first, again = lab(n=1), lab(n=1)
    assert (drawn(first), drawn(again)) == ((6, 0), (0, 0))
    assert any("refused 25 problems" in warning for warning in again.warnings)


def test_a_server_that_is_busy_for_a_while_is_waited_for(lab: Lab, fake_server: FakeServer) -> None:
    fake_server.away = 30
    assert drawn(lab()) == (24, 0)
    assert set(fake_server.asked.values()) == {1}


def test_when_the_server_is_gone_the_run_ends_after_its_patience_and_what_was_drawn_is_kept(
    lab: Lab, fake_server: FakeServer
) -> None:
    fake_server.delay = 0.02
    with after(10, fake_server, lambda: setattr(fake_server, "down", True)):
        message = why_it_failed(lab, patience=0.3)
    assert "has not answered for" in message
    assert "503" in message
    kept = len(lab.stored("rollouts"))
    assert kept == len(fake_server.order) < 24
    fake_server.down = False
    outcome = lab()
    assert drawn(outcome) == (24 - kept, 0)
    assert {row["drawn"] for row in decided(outcome).values()} == {4}
    assert set(fake_server.asked.values()) == {1}


def test_a_wrong_key_ends_the_run_at_once(lab: Lab, fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.policy["api_key_env"] = "FAKE_KEY"
    monkeypatch.setenv("FAKE_KEY", "right")
    fake_server.key = "right"
    fake_server.delay = 0.02
    with after(10, fake_server, lambda: setattr(fake_server, "key", "another")):
        message = why_it_failed(lab)
    assert "401" in message
    assert "right" not in message


def test_odd_texts_are_samples_like_others(lab: Lab, fake_server: FakeServer) -> None:
    fake_server.max_model_len = 100_000_000
    for word in ("empty", "surrogate", "huge"):
        lab.source(word, sums((1, 2), trouble=f" ({word})"))
    lab(n=1, max_tokens=20_000_000)
    texts = {row["text"] for row in lab.stored("rollouts")}
    assert {"", "The answer is ?", HUGE} <= texts
    assert {row["outcome"] for row in lab.stored("verdicts", "rollout")} <= {"correct", "wrong"}


# Grading


def test_a_new_version_of_a_grader_grades_again_and_draws_nothing(
    lab: Lab, fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lab()
    fake_server.forget()
    monkeypatch.setattr(exact, "VERSION", exact.VERSION + 1)
    second = lab()
    assert (drawn(second), fake_server.asked) == ((0, 0), {})
    assert len(lab.stored("verdicts", "rollout")) == 48
    assert decided(second) == decided(first)


def test_rollouts_whose_verdict_was_lost_are_graded_without_the_server(lab: Lab, fake_server: FakeServer) -> None:
    first = lab()
    for part in lab.workspace.glob("verdicts/*/part-*"):
        part.unlink()
    fake_server.forget()
    fake_server.down = True
    assert decided(lab()) == decided(first)
    assert len(lab.stored("verdicts", "rollout")) == 24


def test_when_the_graders_end_the_run_ends_with_their_error_and_what_was_drawn_is_kept(
    lab: Lab, fake_server: FakeServer
) -> None:
    graders.cache_clear()
    graders().close()
    try:
        with pytest.raises(StepFailed) as failed:
            lab()
    finally:
        graders.cache_clear()
    assert isinstance(failed.value.__cause__, GraderPoolError)
    kept = len(lab.stored("rollouts"))
    assert 1 <= kept < 24
    assert drawn(lab()) == (24 - kept, 0)
    assert len(lab.stored("verdicts", "rollout")) == 24


# The end


def test_ctrl_c_commits_what_was_drawn(lab: Lab, fake_server: FakeServer) -> None:
    fake_server.delay = 0.5
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with (
        after(10, fake_server, lambda: os.kill(os.getpid(), signal.SIGINT)),
        pytest.raises(KeyboardInterrupt),
    ):
        lab()
    fake_server.delay = 0
    kept = len(lab.stored("rollouts"))
    assert 10 - 8 <= kept < 24  # eight answers may not have arrived yet
    assert drawn(lab()) == (24 - kept, 0)


def test_what_is_drawn_is_committed_every_few_seconds_while_others_are_waited_for(
    lab: Lab, fake_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotate, "SECONDS_BETWEEN_COMMITS", 0.02)
    fake_server.delay = 0.05
    lab.policy["concurrency"] = 2
    seen: list[int] = []
    with after(20, fake_server, lambda: seen.append(len(list(lab.workspace.glob("rollouts/*/part-*"))))):
        lab()
    assert seen[0] >= 3


def test_a_disk_that_cannot_be_written_ends_the_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotate, "SECONDS_BETWEEN_COMMITS", 0.01)
    (lab.workspace / "rollouts").mkdir(parents=True)
    (lab.workspace / "verdicts").write_text("in the way")
    with pytest.raises(StepFailed) as failed:
        lab()
    assert isinstance(failed.value.__cause__, OSError)


# The real thing


@pytest.fixture
def real(tmp_path: Path, vllm_server: RunningServer) -> Lab:
    """Three sums for a small real model."""
    real = Lab(tmp_path, {"model": vllm_server.name, "url": vllm_server.url})
    real.source("sums", sums((3, 4), (10, 5), (2, 2)))
    return real


@pytest.mark.model
def test_vllm_draws_only_the_further_samples(real: Lab) -> None:
    assert drawn(real(n=4, max_tokens=24)) == (12, 0)
    before = real.stored("rollouts")
    assert drawn(real(n=8, max_tokens=24)) == (12, 0)
    assert [row for row in real.stored("rollouts") if row["sample_index"] < 4] == before
    assert all(row["tokens"] == len(row["token_ids"]) for row in before)


@pytest.mark.model
def test_vllm_continues_what_was_cut_off(real: Lab, model_folder: Path) -> None:
    """Also in the middle of a character: emoji and Chinese are several tokens each."""
    tokenizer = Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    real.policy["prompt"]["stop"] = []
    real.policy["prompt"]["template"] = "Question: {prompt} Explain in Chinese, with emoji.\nAnswer:"
    real(n=8, max_tokens=9)
    before = {row["rollout"]: row for row in real.stored("rollouts")}
    cut_off = [row for row in before.values() if row["finish_reason"] == "length"]
    assert len(cut_off) >= 8
    outcome = real(n=8, max_tokens=30)
    assert drawn(outcome) == (0, len(cut_off))
    whole = [row for row in real.stored("rollouts") if row["continues"] is not None]
    assert len(whole) == len(cut_off)
    for row in whole:
        part = before[row["continues"]]
        assert row["text"].startswith(part["text"])
        assert row["text"] == tokenizer.decode(row["token_ids"]).rstrip("\ufffd")
        assert row["token_ids"][:9] == part["token_ids"]
        assert row["prompt_tokens"] == part["prompt_tokens"]
        assert 9 < row["tokens"] == len(row["token_ids"]) <= 30
