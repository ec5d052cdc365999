import json
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from curation.decontamination.benchmarks import Item
from curation.store import settings_hash
from curation.verify.pool import graders
from distill.detect.benchmarks import Benchmarks
from distill.traces import TraceChecks

TRACES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "traces" / "long_cot_traces.jsonl.zst"
REASONING = "We add 2 and 2, since both are given. Counting on from 2 we get 3 and then 4. So the answer is 4."
PROSE = (
    "First we look at what is given, a rectangle with two sides of unequal length whose corners lie on a circle. The centre of "
    "that circle is where the diagonals cross, hence half a diagonal is the radius. By the theorem of Pythagoras a diagonal has "
    "length five when the sides are three and four, which makes the radius two and a half. Its area then follows from the usual "
    "formula, and we subtract the rectangle from it. What remains are four pieces, two of each kind, and only one kind is asked "
    "about. Symmetry about either axis exchanges equal pieces. Therefore an integral is not needed at all: the sector minus the "
    "triangle will do. I should be careful with the angle here, as it belongs to the longer side. "
)


def traces(*rows: dict[str, object]) -> pa.Table:
    plain = {
        "prompt": "What is the sum of 2 and 2?",
        "messages": [],
        "answer": "4",
        "verifier": "math",
        "verifier_args": None,
        "reasoning": None,
        "opened": False,
        "finish_reason": "stop",
    }
    full = [{"rollout": f"r{number}", **plain, **row} for number, row in enumerate(rows)]
    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.table(
        {name: pa.array([row[name] for row in full], turns if name == "messages" else None) for name in full[0]}
    )


def columns(*names: str, checks: TraceChecks | None = None, **row: object) -> tuple[object, ...]:
    [found] = (checks or TraceChecks()).measure(traces(row)).select(names).to_pylist()
    return tuple(found[name] for name in names)


def test_a_good_trace_has_no_fault():
    table = TraceChecks().measure(traces({"text": f"<think>\n{REASONING}\n</think>\n\nThe answer is 4."}))
    assert table.schema == TraceChecks.table_schema()
    [row] = table.to_pylist()
    assert row["rollout"] == "r0"
    assert row["well_formed"] is True
    assert (row["thinking_words"], row["answer_words"]) == (24, 4)
    faults = ["repetitive", "guesswork", "contradictory", "mixed_language", "hard_to_read", "refusal", "identity"]
    assert [row[name] for name in faults] == [False] * len(faults)
    assert row["thinking_answer"] == "4"
    assert row["language_share"] == 1.0
    assert row["trace_contaminated"] is None


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"text": "4"}, "no think block"),
        ({"text": "<think>\n\n</think>\n\n4"}, "empty think block"),
        ({"text": "<think>Two and"}, "thinking was not closed"),
        ({"text": "Two and", "opened": True}, "thinking was not closed"),
        ({"text": "<think>a</think>4<think>b</think>5"}, "several think blocks"),
        ({"text": "<think>Two.</think>\n"}, "no answer after the thinking"),
        ({"text": "", "reasoning": "Two and", "finish_reason": "length"}, "thinking was not closed"),
        ({"text": "", "reasoning": "Two and"}, "no answer after the thinking"),
        ({"text": "4", "reasoning": "Two and two."}, None),
        ({"text": "Two.</think>4", "opened": True}, None),
        ({"text": "<think>Two.</think>The ans", "finish_reason": "length"}, None),
    ],
)
def test_the_fault_of_the_form(row, fault):
    assert columns("well_formed", "form_fault", **row) == (fault is None, fault)


def test_what_cannot_be_told_is_null():
    unknown = ("thinking_words", "contradictory", "mixed_language", "hard_to_read", "limo_score")
    assert columns(*unknown, text="4") == (None,) * len(unknown)
    assert columns("answer_words", "refusal", text="<think>Two and") == (None, None)


def test_loops_are_told_with_their_place():
    text = f"<think>{REASONING}\n{'Wait, let me check again. ' * 60}</think>4"
    repetitive, share, at, where, phrase = columns(
        "repetitive", "repetition", "repetition_at", "repetition_in", "repetition_of", text=text
    )
    assert repetitive is True
    assert share > 0.8
    assert phrase == "Wait, let me check again"
    assert where == "thinking"
    assert text[len("<think>") :][at[0] : at[1]].startswith(phrase)
    assert columns("repetitive", "repetition_in", text="has, " * 200) == (True, "answer")


def test_lines_are_settings():
    text = f"<think>{PROSE}{'Wait, let me check again. ' * 12}</think>4"
    [share] = columns("repetition", text=text)
    assert 0.1 < share < 0.4
    assert columns("repetitive", text=text) == (True,)
    assert columns("repetitive", text=text, checks=TraceChecks(repetition=0.5)) == (False,)
    assert columns("repetitive", text=text, checks=TraceChecks(repetition=0.5, loop_words=50)) == (True,)
    chinese = f"<think>{REASONING} 让我检查一下。</think>4"
    assert columns("mixed_language", text=chinese) == (True,)
    assert columns("mixed_language", text=chinese, checks=TraceChecks(other_words=10)) == (False,)
    long = f"<think>{'word ' * 50}</think>4"
    assert columns("hard_to_read", text=long) == (False,)
    assert columns("hard_to_read", text=long, checks=TraceChecks(paragraph_words=40)) == (True,)


def test_code_disqualifies_no_problem_about_code():
    text = f"<think>{REASONING}\n```python\nprint(2 + 2)\n```\n</think>4"
    assert columns("hard_to_read", "code_in_thinking", text=text) == (True, True)
    assert columns("hard_to_read", "code_in_thinking", text=text, verifier="code") == (False, True)


def test_thinking_and_final_answer_are_compared_by_the_grader():
    rows = [{"text": f"<think>{REASONING}</think>So \\boxed{{{final}}}."} for final in ("4.0", "5", "4")]
    table = TraceChecks().measure(traces(*rows), graders().grade_many)
    assert table["contradictory"].to_pylist() == [False, True, False]
    assert TraceChecks().measure(traces(*rows))["contradictory"].to_pylist() == [None, None, False]


def test_refusals_and_identities_share_their_evidence():
    names = ("refusal", "identity", "refusal_phrase")
    assert columns(*names, text="<think>Hm.</think>I'm sorry, but I can't help with that.")[:2] == (True, False)
    assert columns(*names, text="<think>I am ChatGPT.</think>4") == (False, True, "I am ChatGPT")


def test_earlier_turns_belong_to_what_the_model_was_given():
    item = (
        "A farmer has 17 sheep and all but nine of them run away over the hill in the night. How many sheep are left?"
    )
    benchmarks = Benchmarks.of([Item("exam", "1", item, "9")])
    turns = [{"role": "user", "content": item}, {"role": "assistant", "content": "9"}]
    text = f"<think>So before we had this: {item}</think>4"
    table = TraceChecks().measure(traces({"text": text}, {"text": text, "messages": turns}), benchmarks=benchmarks)
    assert table["trace_contaminated"].to_pylist() == [True, False]
    assert table["trace_contaminated_by"].to_pylist() == ["exam/1", None]
    assert json.loads(table["trace_contamination"][0].as_py())["item"] == item


def test_other_tags():
    checks = TraceChecks(tags=("<reason>", "</reason>"))
    assert columns("form_fault", "thinking_words", checks=checks, text="<reason>Two.</reason>4") == (None, 1)


@pytest.mark.parametrize(
    "wrong", [{"tags": ("<a>", "<a>")}, {"language": "klingon"}, {"repetition": 0}, {"other_words": -1}, {"ngrams": 3}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        TraceChecks(**wrong)


def test_settings_are_what_changes_the_values():
    settings = TraceChecks(repetition=0.1, language="en").settings()
    assert settings["checks"] == "traces"
    assert settings["language"] == "en"
    assert "repetition" not in settings
    assert settings_hash(settings) != settings_hash(TraceChecks().settings())


def test_no_trace_gives_no_row():
    table = TraceChecks().measure(traces({"text": "4"}).slice(0, 0))
    assert table.num_rows == 0
    assert table.schema == TraceChecks.table_schema()


@pytest.mark.parametrize(
    "text", ["<think>" * 50_000, "a\n" * 100_000, "(" * 200_000, "```\n" * 50_000, "“" * 100_000, "答案是" * 50_000]
)
def test_strange_texts_are_measured_in_no_time(text):
    assert TraceChecks().measure(traces({"text": f"<think>{text}</think>{text}"})).num_rows == 1


@pytest.mark.skipif(not TRACES.exists(), reason="the shared traces are not here")
def test_real_traces_are_nearly_all_without_fault():
    text = pa.CompressedInputStream(pa.OSFile(str(TRACES)), "zstd").read().decode()
    rows = [row for row in map(json.loads, text.splitlines()) if row["source"] in {"huatuo_o1_demo", "camel_star_r1"}]
    table = TraceChecks().measure(
        traces(
            *({"prompt": row["problem"], "text": row["response"], "reasoning": row["thinking"]} for row in rows[:100])
        )
    )
    for fault in ("repetitive", "mixed_language", "hard_to_read", "refusal", "identity"):
        assert table[fault].to_pylist().count(True) == 0
    assert table["guesswork"].to_pylist().count(True) <= 3
    assert table["well_formed"].to_pylist() == [True] * 100
