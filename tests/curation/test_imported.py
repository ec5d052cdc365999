"""Samples drawn elsewhere: rows of each layout in, rollouts out."""

import contextlib
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import problem
from curation.duck import arrow
from curation.imports.files import ImportRefused, files_of
from curation.imports.gathering import Gathered, Gatherer, _tables
from curation.imports.imported import commit, copies, elsewhere
from curation.imports.layouts import LAYOUTS, PUBLISHED
from curation.imports.matching import Problems
from curation.imports.sample import COLUMNS, Asked, Bad, sample
from curation.imports.stated import Stated
from curation.progress import Progress
from curation.prompt import Prompt
from curation.rollouts import ROLLOUTS, Rollouts, Sampling
from curation.store import Store

MODEL = {"repository": "org/name", "commit": "0" * 40}
CHAT = Prompt(system="Be brief.", template="{prompt}\nBox the answer.")
RAW = Prompt(style="raw", template="Q: {prompt}\nA:", stop=("\n",))
PLAIN = Prompt()
DRAWN = Stated({"temperature": 0.7, "max_tokens": 64}, {"temperature": "--drawn", "max_tokens": "--drawn"})
ADD, TIMES = "What is 3 + 4?", "What is 3 * 4?"


def asked(*prompts: str, source: str = "s", messages: Any = ()) -> list[dict[str, Any]]:
    return [
        {
            "id": problem.digest(prompt, messages, str(number)),
            "prompt": prompt,
            "messages": [*messages],
            "source": source,
        }
        for number, prompt in enumerate(prompts)
    ]


POOL = asked(ADD, TIMES)
ONE, TWO = (row["id"] for row in POOL)


class Desk:
    """A workspace to import into, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(str(folder / "workspace"))

    def jsonl(self, name: str, *rows: Any) -> str:
        path = self.folder / name
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return str(path)

    def parquet(self, name: str, *rows: dict[str, Any]) -> str:
        pq.write_table(pa.Table.from_pylist([*rows]), self.folder / name)
        return str(self.folder / name)

    def take(
        self, *files: str, prompt: Prompt = PLAIN, stated: Stated = DRAWN, pool: Any = None, **how: Any
    ) -> Gathered:
        """Imports; gives what the files held. `self.counts` is what was new."""
        problems = Problems(POOL if pool is None else pool, {"s": prompt, "t": prompt})
        how.setdefault("commit_bytes", 1 << 20)
        commit_bytes = how.pop("commit_bytes")
        with Progress(quiet=True).step("import") as step, self.store.connect() as con:
            out = Gatherer(self.store, problems, MODEL, stated, **how).gather(files_of(files), self.folder, step)
            self.counts, self.had = commit(self.store, con, out, step, commit_bytes)
            self.copies, self.elsewhere = copies(con, out), elsewhere(self.store, con, out)
        return out

    def rows(self, *names: str, sampling: Sampling | None = None, prompt: Prompt = PLAIN) -> list[tuple[Any, ...]]:
        rollouts = Rollouts(self.store, MODEL, prompt, sampling or Sampling(temperature=0.7))
        stored = self.store.scan(rollouts.folder, ROLLOUTS)
        query = f"select {', '.join(names)} from {stored} order by problem_id = '{TWO}', sample_index"
        return [tuple(row.values()) for row in arrow(self.store.connect(), query).to_pylist()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def sums(*texts: str, prompt: str = ADD, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": prompt, "completion": text, "finish_reason": "stop"} | more for text in texts]


# ---- the layouts


def test_a_verl_dump_whose_chat_was_read_back_without_special_tokens(desk: Desk) -> None:
    shown = f"system\nBe brief.\nuser\n{ADD}\nBox the answer.\nassistant\n"
    path = desk.jsonl(
        "10.jsonl",
        {"input": shown, "output": "7", "gts": "7", "score": 1.0, "step": 10, "acc": True},
        {"input": shown, "output": "8", "gts": "7", "score": -1.0, "step": 10, "acc": False},
    )
    out = desk.take(path, prompt=CHAT)
    assert [*out.layouts.values()] == ["verl"]
    assert desk.rows("problem_id", "sample_index", "text", "tokens", "finish_reason", "max_tokens", prompt=CHAT) == [
        (ONE, 0, "7", None, "stop", 64),
        (ONE, 1, "8", None, "stop", 64),
    ]
    assert (out.ended_unknown, out.beside, out.steps) == (2, None, {"10"})


@pytest.mark.parametrize(
    "shown",
    [
        "<|im_start|>system\n{s}<|im_end|>\n<|im_start|>user\n{u}<|im_end|>\n<|im_start|>assistant\n<think>\n",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{s}<|eot_id|><|start_header_id|>user<|end_header_id|>"
        "\n\n{u}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "system\n\n{s}user\n\n{u}assistant\n\n",
        "<s>[INST] {s}\n\n[/INST] [INST] {u} [/INST]",
        "<bos><start_of_turn>user\n{s}<end_of_turn>\n<start_of_turn>user\n{u}<end_of_turn>\n<start_of_turn>model\n",
        "<｜begin▁of▁sentence｜>{s}<｜User｜>{u}<｜Assistant｜>",
    ],
)
def test_the_last_user_turn_is_found_in_the_chats_of_known_templates(shown: str) -> None:
    problems = Problems(POOL, {"s": CHAT})
    text = shown.replace("{s}", "Be brief.").replace("{u}", f"{ADD}\nBox the answer.")
    match = problems.match(Asked(text, "sent"))
    assert match is not None
    assert (problems.ids[match.place], match.differs, match.beside) == (ONE, None, None)


def test_trl_completions_as_text_and_as_conversations(desk: Desk) -> None:
    text = {"step": 1, "prompt": f"Q: {ADD}\nA:", "completion": " 7", "accuracy_reward": 1.0, "advantage": 0.5}
    out = desk.take(desk.parquet("completions_00001.parquet", text), prompt=RAW)
    assert [*out.layouts.values()] == ["trl"]
    assert arrow(desk.store.connect(), f"select \"right\" from '{out.path}'").to_pylist() == [{"right": True}]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{ADD}\nBox the answer."}]
    talk = text | {"prompt": turns, "completion": [{"role": "assistant", "content": "It is 7."}]}
    desk.take(desk.parquet("completions_00002.parquet", talk), prompt=CHAT)
    assert desk.rows("text", prompt=RAW) == [(" 7",)]
    assert desk.rows("text", prompt=CHAT) == [("It is 7.",)]


def test_open_r1_rows_come_to_one_sample_a_generation(desk: Desk) -> None:
    row = {
        "problem": ADD,
        "generations": ["<think>so</think>7", "<think>cut"],
        "finish_reasons": ["stop", "length"],
        "correctness_math_verify": [True, False],
        "messages": [{"role": "user", "content": "something else"}],
    }
    desk.take(desk.parquet("r1.parquet", row))
    desk.take(desk.jsonl("r1.jsonl.gz", row | {"problem": TIMES}))
    assert desk.rows("problem_id", "text", "reasoning", "finish_reason") == [
        (ONE, "7", "so", "stop"),
        (ONE, "<think>cut", None, "length"),
        (TWO, "7", "so", "stop"),
        (TWO, "<think>cut", None, "length"),
    ]


def test_vllm_batches_are_joined_with_their_requests(desk: Desk) -> None:
    def request(name: str, prompt: str, temperature: float) -> dict[str, Any]:
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "temperature": temperature}
        return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body | {"max_tokens": 32}}

    def reply(name: str, *texts: str | None) -> dict[str, Any]:
        choices = [
            {"index": k, "message": {"role": "assistant", "content": text, "reasoning": "hm"}, "finish_reason": "stop"}
            for k, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 9, "completion_tokens": 5}
        body = {"model": "m", "created": 1_700_000_000, "choices": choices, "usage": usage}
        return {"id": "x", "custom_id": name, "response": {"status_code": 200, "request_id": "r", "body": body}}

    failed = {"id": "y", "custom_id": "c", "response": {"status_code": 500, "body": None}, "error": "overloaded"}
    replies = desk.jsonl("replies.jsonl", reply("a", "7"), reply("b", "12", None), failed)
    requests = desk.jsonl("requests.jsonl", request("a", ADD, 0.7), request("b", TIMES, 0.7), request("c", ADD, 0.7))
    out = desk.take(replies, requests, stated=Stated())
    assert desk.rows("problem_id", "text", "reasoning", "tokens", "prompt_tokens", "max_tokens", "drawn_at") == [
        (ONE, "7", "hm", 5, 9, 32, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (TWO, "12", "hm", None, 9, 32, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (TWO, "", "hm", None, 9, 32, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
    ]
    assert dict(out.rejected) == {"the request failed": 1}
    assert out.first_rejected["the request failed"] == "replies.jsonl row 2: the request failed: overloaded"


def test_a_vllm_request_may_be_called_by_the_problems_id(desk: Desk) -> None:
    body = {"choices": [{"text": " 7", "finish_reason": "length"}]}
    rows = [{"custom_id": name, "response": {"status_code": 200, "body": body}} for name in (ONE, f"{TWO}-3")]
    desk.take(desk.jsonl("replies.jsonl", *rows))
    assert desk.rows("problem_id", "finish_reason") == [(ONE, "length"), (TWO, "length")]


def test_vllm_request_outputs(desk: Desk) -> None:
    outputs = [
        {"index": 0, "text": " 7", "token_ids": [1, 2], "finish_reason": "stop"},
        {"index": 1, "text": " 8", "token_ids": [3], "finish_reason": "abort"},
    ]
    row = {
        "prompt": f"Q: {ADD}\nA:",
        "prompt_token_ids": [5, 6, 7],
        "outputs": outputs,
        "sampling_params": {"top_k": 0},
    }
    for path in (desk.jsonl("outputs.jsonl", row), desk.parquet("outputs.parquet", row)):
        out = desk.take(path, prompt=RAW)
        assert dict(out.rejected) == {"finish_reason is neither stop nor length": 1}
    rows = desk.rows("text", "token_ids", "tokens", "prompt_tokens", prompt=RAW)
    assert rows == [(" 7", [1, 2], 2, 3)] * 2


def test_plain_columns_conversations_and_lists(desk: Desk) -> None:
    turns = [{"from": "human", "value": ADD}, {"from": "gpt", "value": "seven", "reasoning_content": "3, 4"}]
    listed = {"question": ADD, "responses": ["a", "b"], "tokens": [1, 2], "thinking": ["x", "y"]}
    desk.take(
        desk.jsonl(
            "one.jsonl", {"question": ADD, "output": "7", "completion_tokens": 1, "thinking": "hm", "dtype": "bf16"}
        ),
        desk.jsonl("talk.jsonl", {"system": None, "conversations": turns}),
        desk.jsonl("list.jsonl", listed),
    )
    assert desk.rows("text", "tokens", "reasoning", "dtype") == [
        ("7", 1, "hm", "bf16"),
        ("seven", None, "3, 4", None),
        ("a", 1, "x", None),
        ("b", 2, "y", None),
    ]


def test_a_completion_that_is_a_list_itself_is_one_completion(desk: Desk) -> None:
    desk.take(desk.jsonl("one.jsonl", *sums('["1", "2"]')))
    assert desk.rows("text") == [('["1", "2"]',)]


def test_columns_are_named_in_sql_and_rows_chosen(desk: Desk) -> None:
    rows = [{"meta": {"q": ADD}, "said": said, "who": who} for said, who in (("7", "r1"), ("8", "other"), ("x", "r1"))]
    columns = {"prompt": "meta->>'$.q'", "completion": "said", "tokens": "said::int"}
    out = desk.take(desk.jsonl("odd.jsonl", *rows, *rows), columns=columns, where="who = 'r1'", layout="plain")
    assert desk.rows("text", "tokens") == [("7", 7), ("7", 7)]
    assert out.rejected == {"SQL failed": 2}


@pytest.mark.parametrize("sql", ["(select 1)", "read_text('/etc/passwd')", "sum(1)", "no_such_column", "random()"])
def test_columns_in_sql_reach_nothing_but_the_row(desk: Desk, sql: str) -> None:
    path = desk.jsonl("one.jsonl", *sums("7"))
    with pytest.raises(ImportRefused, match="--column completion: "):
        desk.take(path, columns={"completion": sql})


def test_a_file_of_no_known_layout_names_its_columns(desk: Desk) -> None:
    with pytest.raises(ImportRefused, match=r"odd.jsonl: no layout .* columns said, who\. Say.*--column completion="):
        desk.take(desk.jsonl("odd.jsonl", {"said": "7", "who": "me"}))


# ---- settings


def test_what_the_file_says_decides_the_set_row_by_row(desk: Desk) -> None:
    rows = [*sums("warm", temperature=1.0, max_tokens=32, top_k=0), *sums("cool", temperature=0.7, max_new_tokens=64)]
    out = desk.take(desk.jsonl("both.jsonl", *rows), stated=Stated())
    assert len(out.groups) == 2
    assert desk.rows("text", "max_tokens") == [("cool", 64)]
    assert desk.rows("text", "max_tokens", sampling=Sampling()) == [("warm", 32)]
    assert out.assumed["top_p"] == 1.0
    assert "temperature" not in out.assumed


def test_what_nobody_says_is_asked_for_with_both_remedies(desk: Desk) -> None:
    path = desk.jsonl("one.jsonl", *sums("7"))
    with pytest.raises(ImportRefused) as refusal:
        desk.take(path, stated=Stated(), likes=["pass_rate"])
    for part in ("temperature and max_tokens", "--like pass_rate", "--drawn temperature=1.0 --drawn max_tokens=4096"):
        assert part in str(refusal.value)


def test_a_file_that_says_otherwise_is_refused_with_row_and_both_values(desk: Desk) -> None:
    path = desk.jsonl("one.jsonl", *sums("7", temperature=0.7), *sums("8", temperature=1.0))
    with pytest.raises(ImportRefused, match=r"one.jsonl row 1: the file says temperature=1.0, --drawn says 0.7"):
        desk.take(path)
    assert desk.rows("text") == []


def test_more_tokens_than_max_tokens_is_a_wrong_statement(desk: Desk) -> None:
    with pytest.raises(ImportRefused, match=r"row 0: has 65 tokens, more than max_tokens=64"):
        desk.take(desk.jsonl("one.jsonl", *sums("7", tokens=65)))


def test_samples_of_two_models_are_not_pooled(desk: Desk) -> None:
    with pytest.raises(ImportRefused, match=r"row 1: its model is 'b', that of one.jsonl row 0 is 'a'"):
        desk.take(desk.jsonl("one.jsonl", *sums("7", model="a"), *sums("8", model="b")))


@pytest.mark.parametrize(
    ("prompt", "sent", "named"),
    [
        (CHAT, [{"role": "user", "content": f"{ADD}\nBox the answer."}], "system 'Be brief.'"),
        (CHAT, [{"role": "user", "content": ADD}], "Box the answer"),
        (CHAT, f"user\n{ADD}\nBox the answer.\nassistant\n", "no system turn 'Be brief.'"),
        (CHAT, f"system\nBe brief.\nuser\n{ADD}\nassistant\n", "Box the answer"),
        (RAW, [{"role": "user", "content": ADD}], "'Q: {prompt}"),
    ],
)
def test_another_prompt_than_the_recipes_is_refused(desk: Desk, prompt: Prompt, sent: Any, named: str) -> None:
    path = desk.jsonl("one.jsonl", *({**row, "prompt": sent} for row in sums("7")))
    with pytest.raises(ImportRefused, match="row 0: its prompt is not the one") as refusal:
        desk.take(path, prompt=prompt)
    assert named in str(refusal.value)


def test_a_system_text_that_the_template_may_have_put_there_is_told(desk: Desk) -> None:
    shown = f"system\nYou are Qwen.\nuser\n{ADD}\nassistant\n"
    out = desk.take(desk.jsonl("1.jsonl", {"input": shown, "output": "7", "score": 1, "step": 1}))
    assert out.beside == "You are Qwen."


# ---- problems


def test_problem_ids_come_before_prompts_and_blanks_do_not_matter(desk: Desk) -> None:
    rows = [{"problem_id": TWO, "completion": "12"}, {"prompt": " What is\n3 + 4? ", "completion": "7"}]
    desk.take(desk.jsonl("one.jsonl", *rows))
    assert desk.rows("problem_id", "text") == [(ONE, "7"), (TWO, "12")]


def test_an_id_and_a_prompt_of_two_problems_are_no_sample(desk: Desk) -> None:
    odd = {"problem_id": TWO, "prompt": "What is nine?", "completion": "b"}
    rows = [{"problem_id": TWO, "prompt": ADD, "completion": "a"}, odd, *sums("7", prompt=TIMES, problem_id=TWO)]
    out = desk.take(desk.jsonl("one.jsonl", *rows))
    assert desk.rows("problem_id", "text") == [(TWO, "b"), (TWO, "7")]
    assert dict(out.rejected) == {"problem_id and prompt are of two problems": 1}
    assert (out.prompt_unknown, out.first_prompt_unknown) == (1, f"one.jsonl row 1: 'What is nine?' for {TWO}")


def test_an_id_says_which_of_several_problems_of_one_prompt(desk: Desk) -> None:
    pool = [*POOL, *asked("x", ADD, source="t")]
    second = pool[3]["id"]
    rows = [*sums("7", problem_id=second), *sums("8", problem_id=TWO), *sums("9", problem_id=ONE)]
    out = desk.take(desk.jsonl("one.jsonl", *rows), pool=pool)
    assert sorted(desk.rows("problem_id", "text")) == sorted([(second, "7"), (ONE, "9")])
    assert (out.rejected.total(), out.ambiguous) == (1, 0)


def test_an_ambiguous_prompt_goes_to_the_first_in_source_order_and_is_counted(desk: Desk) -> None:
    pool = [*POOL, *asked("x", ADD, source="t")]
    out = desk.take(desk.jsonl("one.jsonl", *sums("7"), *sums("12", prompt=TIMES)), pool=pool)
    assert (out.ambiguous, desk.rows("problem_id")) == (1, [(ONE,), (TWO,)])


def test_what_matches_no_problem_is_counted_with_examples(desk: Desk) -> None:
    out = desk.take(desk.jsonl("one.jsonl", *sums("7"), *sums(*"abcd", prompt="What is 9 + 9?")))
    assert (out.samples, out.staged, out.unmatched) == (5, 1, 4)
    assert out.unmatched_examples[0] == {"at": "one.jsonl row 1", "prompt": "What is 9 + 9?"}
    assert len(out.unmatched_examples) == 3


def test_when_nothing_matches_a_prompt_is_shown_beside_a_problem(desk: Desk) -> None:
    with pytest.raises(ImportRefused) as refusal:
        desk.take(desk.jsonl("one.jsonl", *sums("7", prompt="What is 9 + 9?")))
    assert "What is 9 + 9?" in str(refusal.value)
    assert ADD in str(refusal.value)


# ---- bad rows


def test_bad_rows_are_counted_by_reason_with_the_first(desk: Desk) -> None:
    bad = [
        "not json",
        {"prompt": ADD, "completion": None},
        {"prompt": "  ", "completion": "7"},
        {"prompt": ADD, "completion": "7", "token_ids": "abc"},
        {"prompt": ADD, "completion": "7", "tokens": "many"},
        {"prompt": ADD, "completion": "7", "finish_reason": "content_filter"},
        {"prompt": ADD, "completion": "7", "temperature": -1},
    ]
    said = {"temperature": 0.7, "max_tokens": 64}
    rows = [said | row if isinstance(row, dict) else row for row in [*bad, *sums(*"1234567")]]
    out = desk.take(desk.jsonl("one.jsonl", *rows), stated=Stated())
    assert dict(out.rejected) == {
        "not JSON": 1,
        "no completion": 1,
        "no prompt": 1,
        "token_ids is no list": 1,
        "tokens is no number": 1,
        "finish_reason is neither stop nor length": 1,
        "temperature cannot be": 1,
    }
    assert out.first_rejected["no completion"] == "one.jsonl row 1: no completion"
    assert (out.samples, out.staged) == (14, 7)


def test_a_value_that_no_type_holds_costs_its_row(desk: Desk) -> None:
    bad: list[dict[str, Any]] = [
        {"token_ids": [10**400]},
        {"sampling_params": {"temperature": 10**400}},
        {"completion": '[{"role": "assistant", "content": "x", "reasoning_content": {"a": 1}}]'},
        {"token_ids": [1, None, 3]},
        {"drawn_at": "9999-12-31T23:59:59-23:00"},
    ]
    out = desk.take(desk.jsonl("one.jsonl", *[sums("9")[0] | row for row in bad], *sums(*"123456")))
    assert [(kind, out.first_rejected[kind].split(":")[0]) for kind in out.rejected] == [
        ("token_ids is no number", "one.jsonl row 0"),
        ("temperature is no number", "one.jsonl row 1"),
        ("reasoning_content is no text", "one.jsonl row 2"),
        ("token_ids holds what is no number", "one.jsonl row 3"),
        ("drawn_at is no time", "one.jsonl row 4"),
    ]
    assert [text for (text,) in desk.rows("text")] == [*"123456"]


def test_a_parquet_value_that_python_cannot_hold_costs_its_row(desk: Desk) -> None:
    created = pa.array([0, -(10**17), 0], pa.timestamp("us"))
    table = pa.table({"prompt": [ADD] * 3, "completion": ["1", "2", "3"], "created": created})
    pq.write_table(table, desk.folder / "one.parquet")
    for where in (None, "completion <> 'x'"):
        out = desk.take(str(desk.folder / "one.parquet"), where=where)
        assert dict(out.rejected) == {"has a value that cannot be read": 1}
        assert out.first_rejected["has a value that cannot be read"].startswith("one.parquet row 1: ")
    assert desk.rows("text") == [("1",), ("3",)]


def test_half_a_character_becomes_a_question_mark_and_bytes_are_no_text(desk: Desk) -> None:
    half = chr(0xD800)
    thought = json.dumps([{"role": "assistant", "content": f"b{half}", "reasoning_content": half}])
    rows = [
        {"prompt": ADD, "completions": json.dumps([f"a{half}"])},
        {"prompt": ADD, "completion": thought},
        {"prompt": ADD, "completions": '["c"]', "finish_reasons": json.dumps([half])},
    ]
    out = desk.take(desk.jsonl("one.jsonl", *rows))
    assert desk.rows("text", "reasoning") == [("a?", None), ("b?", "?")]
    assert [*out.first_rejected.values()] == ["one.jsonl row 2: finish_reason is neither stop nor length: ?"]
    with pytest.raises(ImportRefused, match="completion is no text"):
        desk.take(desk.parquet("bytes.parquet", {"prompt": ADD, "completion": b"7"}))


def test_what_arrow_cannot_hold_is_its_rows_rejection(desk: Desk) -> None:
    out = Gathered(desk.folder / "x", samples=3)
    rows = [(f"x row {k}", {"rollout": str(k), "tokens": tokens}) for k, tokens in enumerate((1, 2**70, 3))]
    names = [name for table in _tables(rows, out) for name in table["rollout"].to_pylist()]
    assert (names, out.samples, out.rejected.total()) == (["0", "2"], 3, 1)
    assert out.first_rejected["has a value that cannot be used"].startswith("x row 1: ")


def test_over_half_bad_is_refused_and_nothing_imported(desk: Desk) -> None:
    with pytest.raises(ImportRefused, match=r"2 of 3 samples cannot be used(.|\n)*2 x one.jsonl row 1: no completion"):
        desk.take(desk.jsonl("one.jsonl", *sums("7"), *sums(None, None)))  # type: ignore[arg-type]
    assert desk.rows("text") == []


# ---- how a sample ended


def test_without_a_finish_reason_the_length_says_how_a_sample_ended(desk: Desk) -> None:
    rows = [{"prompt": ADD, "completion": str(tokens), "tokens": tokens} for tokens in (63, 64, None)]
    out = desk.take(desk.jsonl("one.jsonl", *rows))
    assert desk.rows("text", "finish_reason") == [("63", "stop"), ("64", "length"), ("None", "stop")]
    assert out.ended_unknown == 1


def test_a_sample_cut_off_well_below_its_max_tokens_is_counted(desk: Desk) -> None:
    rows = [sums(str(tokens), tokens=tokens, finish_reason="length")[0] for tokens in (57, 58, 64)]
    out = desk.take(desk.jsonl("one.jsonl", *rows))
    assert (out.cut_short, out.first_cut_short) == (1, "one.jsonl row 0: 57 tokens of 64")


# ---- filing


def test_a_file_that_has_grown_gives_only_its_new_rows(desk: Desk) -> None:
    rows = sums("7", "7", "8", *(str(k) for k in range(100)))
    for number, end in enumerate((1, 2, 4, 80, 103)):
        path = desk.jsonl(f"{number}.jsonl" + (".gz" if end == 80 else ""), *rows[:end])
        desk.take(path)
        assert (desk.counts, desk.had[path]) == ([end - (0, 1, 2, 4, 80)[number]], (0, 1, 2, 4, 80)[number])
    more = [row | {"seed": 3} for row in sums("z")]  # a column that no row had before
    desk.take(desk.jsonl("grown.jsonl", *rows, *more))
    assert desk.counts == [1]
    assert [text for (text,) in desk.rows("text")] == [*(row["completion"] for row in rows), "z"]


def test_equal_rows_of_two_files_are_samples_from_where_the_files_differ(desk: Desk) -> None:
    desk.take(
        desk.jsonl("seed-0.jsonl", *sums("7", "8", "7", "7")), desk.jsonl("seed-1.jsonl", *sums("7", "9", "7", "7"))
    )
    assert desk.rows("text") == [("7",), ("8",), ("7",), ("7",), ("9",), ("7",), ("7",)]


def test_a_row_rewritten_behind_the_head_is_a_sample_and_no_other(desk: Desk) -> None:
    rows = sums(*(str(k) for k in range(100)))
    desk.take(desk.jsonl("one.jsonl", *rows))
    desk.take(desk.jsonl("one.jsonl", *rows[:70], *sums("new"), *rows[71:]))
    assert desk.counts == [1]


def test_rows_are_known_however_their_columns_are_read(desk: Desk) -> None:
    path = desk.jsonl("one.jsonl", *sums("7", "8"))
    desk.take(path)
    desk.take(path, columns={"completion": "completion || '!'"}, where="completion <> '9'")
    assert (desk.counts, desk.had) == ([0], {path: 2})


def test_a_file_that_was_edited_is_told_by_its_texts(desk: Desk) -> None:
    rows = sums(*(f"{k} is what it comes to, {'and so on ' * 8}" for k in range(3)))
    desk.take(desk.jsonl("one.jsonl", *rows))
    assert desk.elsewhere == 0
    desk.take(desk.jsonl("one.jsonl", *sums("first"), *rows))
    assert (desk.counts, desk.elsewhere) == ([4], 1)


def test_importing_again_adds_nothing_and_neither_does_a_copy_of_the_file(desk: Desk) -> None:
    first = desk.jsonl("one.jsonl", *sums("7", "8"))
    copy = desk.jsonl("copy.jsonl.gz", *sums("7", "8"))
    desk.take(first)
    assert desk.counts == [2]
    desk.take(first, copy)
    assert desk.counts == [0]
    assert desk.rows("sample_index", "text") == [(0, "7"), (1, "8")]


def test_free_sample_indexes_are_taken_in_file_order(desk: Desk) -> None:
    rollouts = Rollouts(desk.store, MODEL, PLAIN, Sampling(temperature=0.7))
    here = {"text": "here", "finish_reason": "stop", "max_tokens": 64, "drawn_at": datetime.now(UTC), "problem_id": ONE}
    rows = [here | {"rollout": f"r{k}", "sample_index": k} for k in (0, 2)]
    desk.store.append(rollouts.folder, pa.Table.from_pylist(rows, schema=ROLLOUTS))
    desk.take(desk.jsonl("10.jsonl", *sums("c")), desk.jsonl("9.jsonl", *sums("a", "b")))
    assert desk.rows("sample_index", "text") == [(0, "here"), (1, "c"), (2, "here"), (3, "a"), (4, "b")]


def test_a_glob_counts_numbers_up(desk: Desk) -> None:
    for number in (2, 10, 1):
        desk.jsonl(f"{number}.jsonl", *sums(str(number)))
    desk.take(str(desk.folder / "*.jsonl"))
    assert desk.rows("text") == [("1",), ("2",), ("10",)]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", range(6))
def test_a_kill_between_parts_doubles_nothing_and_loses_nothing(desk: Desk, after: int) -> None:
    path = desk.jsonl("one.jsonl", *sums(*(str(k) for k in range(2000))))
    append, parts = Store.append, 0

    def dying(store: Store, folder: str, table: Any) -> str:
        nonlocal parts
        parts += 1
        if parts > after:
            raise Killed
        return append(store, folder, table)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(Store, "append", dying)
        desk.take(path, commit_bytes=1)
    desk.store = Store(desk.store.url)
    desk.take(path)
    assert desk.rows("sample_index", "text") == [(k, str(k)) for k in range(2000)]


def test_copies_are_told_from_draws(desk: Desk) -> None:
    ids = [*range(20)]
    desk.take(desk.jsonl("copies.jsonl", *sums("a", "b", token_ids=ids), *sums("c", token_ids=[*ids, 20])))
    assert desk.copies == pytest.approx(2 / 3)
    short = desk.jsonl("short.jsonl", *sums("7", "7", prompt=TIMES, token_ids=[7]))
    desk.take(short, pool=asked("", TIMES)[1:])
    assert desk.copies == 0


# ---- hostile files

_leaf = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.sampled_from(["", "7", "[1]", "[{", "nan", '[{"role":"assistant"}]', '["\\ud800"]', 10**400])
)
_key = st.sampled_from(["role", "content", "text", "message", "choices", "body", "token_ids", "usage", "temperature"])
_json = st.recursive(_leaf, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_key, inner), max_leaves=8)
_choices = st.lists(st.dictionaries(_key, _json, max_size=3) | _json, max_size=2) | _json
_reply = st.fixed_dictionaries({"body": st.fixed_dictionaries({"choices": _choices, "usage": _json}) | _json})
_published = {"conversations", "system", "solution", *(name for names in PUBLISHED.values() for name in names)}
_column = st.sampled_from([*(name for names in COLUMNS.values() for name in names), *sorted(_published)])
_rows = st.dictionaries(_column, _json, min_size=1, max_size=6) | st.fixed_dictionaries(
    {"custom_id": _json, "response": _reply | _json}
)


@given(_rows, st.sampled_from(sorted(LAYOUTS)), st.booleans())
@settings(deadline=None)
def test_whatever_a_row_holds_it_is_a_sample_or_bad(row: dict[str, Any], layout: str, as_text: bool) -> None:
    if as_text:
        row = {name: v if v is None or isinstance(v, str) else json.dumps(v) for name, v in row.items()}
    with contextlib.suppress(Bad):
        for found in LAYOUTS[layout].spread(row):
            if not isinstance(found, Bad):
                sample(found, LAYOUTS[layout].kind).text.encode()


def test_an_object_store_takes_them_too(workspace: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.store = Store(workspace)
    path = desk.jsonl("one.jsonl", *sums("7", "8"))
    for new in (2, 0):
        desk.take(path)
        assert desk.counts == [new]
    assert desk.rows("sample_index", "text") == [(0, "7"), (1, "8")]


def test_a_file_that_cannot_be_read_to_its_end_is_named_and_nothing_imported(desk: Desk) -> None:
    path = Path(desk.jsonl("cut.jsonl.gz", *sums(*(str(k) for k in range(5000)))))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ImportRefused, match=r"cut.jsonl.gz"):
        desk.take(str(path))
    assert desk.rows("text") == []
