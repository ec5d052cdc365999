"""Published sets of traces as their Parquet and JSON Lines files have them: rows in, rollouts with their thinking out."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import WRITER, HubServer, Repository
from huggingface_hub import HfFileSystem, constants

from curation import problem
from curation.duck import arrow
from curation.imports.files import ImportRefused, files_of
from curation.imports.gathering import Gathered, Gatherer
from curation.imports.imported import commit
from curation.imports.layouts import LAYOUTS, recognised
from curation.imports.matching import Problems
from curation.imports.published import apart, ended
from curation.imports.sample import Bad, sample
from curation.imports.stated import Stated
from curation.progress import Progress
from curation.prompt import Prompt
from curation.rollouts import ROLLOUTS, Rollouts, Sampling
from curation.store import Store

MODEL = {"repository": "org/teacher", "commit": "0" * 40}
DRAWN = Stated({"temperature": 0.6, "max_tokens": 64}, {"temperature": "--drawn", "max_tokens": "--drawn"})
BOXED = Prompt(template="Return your final response within \\boxed{}. {prompt}")
ADD, TIMES = "What is 3 + 4?", "What is 3 * 4?"
POOL = [
    {"id": problem.digest(prompt, (), str(n)), "prompt": prompt, "messages": [], "source": "s"}
    for n, prompt in enumerate((ADD, TIMES))
]
SKY = "Detail your reasoning process using the specified format: <|begin_of_thought|> {thought} <|end_of_thought|> ..."
TAGGED = (
    "<|begin_of_thought|>\n\n3, 4\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nIt is 7.\n\n<|end_of_solution|>"
)
TALK = pa.list_(pa.struct([("from", pa.string()), ("value", pa.large_string())]))


class Desk:
    """A workspace to import into."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(str(folder / "workspace"))

    def parquet(self, *rows: dict[str, Any], **types: pa.DataType) -> str:
        table = pa.Table.from_pylist([*rows])
        for name, kind in types.items():
            table = table.set_column(table.column_names.index(name), name, pa.array([r[name] for r in rows], kind))
        pq.write_table(table, self.folder / "train-00000-of-00001.parquet")
        return str(self.folder / "train-00000-of-00001.parquet")

    def jsonl(self, *rows: dict[str, Any]) -> str:
        (self.folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(self.folder / "train.jsonl")

    def take(self, *files: str, prompt: Prompt = BOXED, stated: Stated = DRAWN, **how: Any) -> Gathered:
        problems = Problems(POOL, {"s": prompt})
        with Progress(quiet=True).step("import") as step, self.store.connect() as con:
            out = Gatherer(self.store, problems, MODEL, stated, **how).gather(files_of(files), self.folder, step)
            commit(self.store, con, out, step, 1 << 20)
        return out

    def rows(self, *names: str, prompt: Prompt = BOXED) -> list[tuple[Any, ...]]:
        rollouts = Rollouts(self.store, MODEL, prompt, Sampling(temperature=0.6))
        stored = self.store.scan(rollouts.folder, ROLLOUTS)
        query = f"select {', '.join(names)} from {stored} order by problem_id = '{POOL[1]['id']}', sample_index"
        return [tuple(row.values()) for row in arrow(self.store.connect(), query).to_pylist()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def spread(layout: str, **row: Any) -> list[tuple[str, str | None, str | None] | str]:
    """Text, thinking and end of the samples in a row, or why it is none."""
    found: list[tuple[str, str | None, str | None] | str] = []
    for one in LAYOUTS[layout].spread(row):
        try:
            if isinstance(one, Bad):
                raise one
            read = sample(one, LAYOUTS[layout].kind)
            found.append((read.text, read.reasoning, read.finish_reason))
        except Bad as bad:
            found.append(str(bad))
    return found


# ---- tags


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        (TAGGED, "It is 7.", "3, 4"),
        ("<think>\nhm\n</think>\n\n7\n", "7", "hm"),
        ("hm</think>7", "7", "hm"),
        ("<think></think>7", "7", ""),
        ("  7, no thinking ", "7, no thinking", None),
        ("<|begin_of_solution|>7<|end_of_solution|>", "7", None),
        ("<|begin_of_thought|>hm<|end_of_thought|><|begin_of_solution|>7", "7", "hm"),
    ],
)
def test_thinking_and_answer_are_told_apart_and_no_tag_is_left(text: str, answer: str, thinking: str | None) -> None:
    assert apart(text) == (answer, thinking)
    assert ended(text) is None


@pytest.mark.parametrize(
    ("text", "whole", "end"),
    [
        ("<|begin_of_thought|>\n\nhm, 3", "<think>\n\nhm, 3", "length"),
        ("<think>hm <|begin_of_solution|>7<|end_of_solution|>", "<think>hm 7", "length"),
        ("<think>a</think>b<think>c</think>7", "<think>a</think>b<think>c</think>7", None),
        ("<think>a</think>b</think>7", "<think>a</think>b</think>7", None),
        ("<think>a<think>b</think>7", "<think>a<think>b</think>7", None),
        ("Sure. <think>a</think>7", "Sure. <think>a</think>7", None),
    ],
)
def test_a_text_without_one_block_of_thinking_stays_whole(text: str, whole: str, end: str | None) -> None:
    assert apart(text) == (whole, None)
    assert ended(text) == end


# ---- OpenThoughts


def test_open_thoughts_114k(desk: Desk) -> None:
    asked = f"Return your final response within \\boxed{{}}. {ADD}"
    turns = [{"from": "user", "value": asked}, {"from": "assistant", "value": TAGGED}]
    cut = [turns[0], {"from": "assistant", "value": "<|begin_of_thought|>\n\n3, 4, and"}]
    rows = [{"system": SKY, "conversations": talk} for talk in (turns, cut)]
    for path in (desk.parquet(*rows, conversations=TALK), desk.jsonl(*rows)):
        out = desk.take(path)
        assert [*out.layouts.values()] == ["openthoughts"]
        assert (out.samples, out.prompt_unsaid, dict(out.rejected)) == (2, 2, {})
    assert (
        desk.rows("text", "reasoning", "finish_reason")
        == [
            ("It is 7.", "3, 4", "stop"),
            ("<think>\n\n3, 4, and", None, "length"),
        ]
        * 2
    )


def test_the_metadata_of_open_thoughts_114k(desk: Desk) -> None:
    row = {"problem": ADD, "deepseek_reasoning": "3, 4", "deepseek_solution": "It is 7.", "ground_truth_solution": "7"}
    lacking = row | {"deepseek_solution": None}
    out = desk.take(desk.parquet(row, row | {"problem": TIMES}, lacking))
    assert [*out.layouts.values()] == ["openthoughts"]
    assert desk.rows("text", "reasoning") == [("It is 7.", "3, 4")] * 2
    assert dict(out.rejected) == {"no completion": 1}


def test_open_thoughts_2_and_3(desk: Desk) -> None:
    turns = [{"from": "human", "value": ADD}, {"from": "gpt", "value": "<think>\n3, 4\n</think>\n\nIt is 7."}]
    plain = [turns[0], {"from": "gpt", "value": "Seven."}]
    rows = [{"difficulty": 8, "source": "x", "domain": "math", "conversations": talk} for talk in (plain, turns)]
    desk.take(desk.parquet(*rows, conversations=TALK), prompt=Prompt())
    assert desk.rows("text", "reasoning", prompt=Prompt()) == [("Seven.", None), ("It is 7.", "3, 4")]


def test_a_system_that_does_not_ask_for_tags_was_sent(desk: Desk) -> None:
    turns = [{"from": "human", "value": ADD}, {"from": "gpt", "value": "7"}]
    row = {"system": "Be brief.", "conversations": turns}
    with pytest.raises(ImportRefused, match="its prompt is not the one that the recipe puts to the model"):
        desk.take(desk.parquet(row), prompt=Prompt())
    brief = Prompt(system="Be brief.")
    desk.take(desk.parquet(row), prompt=brief)
    assert desk.rows("text", prompt=brief) == [("7",)]


@pytest.mark.parametrize(
    "conversations",
    [
        None,
        [],
        "not JSON",
        [{"from": "human", "value": ADD}],
        [{"from": "gpt", "value": None}],
        [{"value": "7"}],
        ["7"],
        {},
    ],
)
def test_a_conversation_without_an_answer_is_no_sample(conversations: Any) -> None:
    why = ["conversations do not end with the assistant's turn"]
    assert spread("openthoughts", conversations=conversations) == why
    assert spread("openthoughts", conversations=json.dumps(conversations)) == why


# ---- open-r1


def test_open_r1_without_finish_reasons_is_told_by_its_thinking(desk: Desk) -> None:
    row = {
        "problem": ADD,
        "answer": "7",
        "is_reasoning_complete": [True, False, False, True],
        "generations": ["<think>3, 4</think>7", "3, 4, and", "<think>3", "<think>a</think>b</think>7"],
        "correctness_math_verify": [True, False, False, True],
        "correctness_llama": None,
        "finish_reasons": None,
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
    }
    for path in (desk.parquet(row), desk.jsonl(row)):
        assert [*desk.take(path).layouts.values()] == ["open-r1"]
    assert (
        desk.rows("text", "reasoning", "finish_reason")
        == [
            ("7", "3, 4", "stop"),
            ("3, 4, and", None, "length"),
            ("<think>3", None, "length"),
            ("<think>a</think>b</think>7", None, "stop"),
        ]
        * 2
    )


def test_what_an_open_r1_row_may_lack() -> None:
    some = {"problem": ADD, "generations": ["7", None], "finish_reasons": [None, "stop"]}
    assert spread("open-r1", **some) == [("7", None, None), "no completion"]
    assert spread("open-r1", **{name: json.dumps(value) for name, value in some.items()}) == [
        ("7", None, None),
        "no completion",
    ]
    assert spread("open-r1", problem=ADD, generations=[]) == ["no completion"]
    assert spread("open-r1", problem=ADD, generations=["7"], is_reasoning_complete=[True, False]) == [("7", None, None)]
    with pytest.raises(Bad, match="generations is no list"):
        spread("open-r1", problem=ADD, generations=None)


# ---- s1 and LIMO


def test_s1k(desk: Desk) -> None:
    row = {
        "solution": "7",
        "question": ADD,
        "cot_type": "math",
        "metadata": "{}",
        "cot": None,
        "thinking_trajectories": ["3, 4\n"],
        "attempt": "It is 7.",
    }
    for path in (desk.parquet(row), desk.jsonl(row)):
        assert [*desk.take(path).layouts.values()] == ["s1"]
    assert desk.rows("text", "reasoning", "finish_reason") == [("It is 7.", "3, 4", "stop")] * 2


def test_s1k_1_1_is_of_two_teachers_one_at_a_time(desk: Desk) -> None:
    row = {
        "question": ADD,
        "solution": "7",
        "gemini_thinking_trajectory": "g",
        "gemini_attempt": "It is 8.",
        "gemini_grade": "No",
        "deepseek_thinking_trajectory": "d",
        "deepseek_attempt": "It is 7.",
        "deepseek_grade": "Yes",
    }
    out = desk.take(desk.parquet(row))
    assert [*out.layouts.values()] == ["s1-deepseek"]
    assert arrow(desk.store.connect(), f"select \"right\" from '{out.path}'").to_pylist() == [{"right": True}]
    assert desk.rows("text", "reasoning") == [("It is 7.", "d")]
    assert spread("s1-gemini", **row) == [("It is 8.", "g", None)]
    of_one = {name: value for name, value in row.items() if "deepseek" not in name}
    assert recognised([*of_one], of_one) == "s1-gemini"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"thinking_trajectories": []}, "thinking_trajectories holds not one, for the one attempt: 0"),
        ({"thinking_trajectories": ["a", "b"]}, "thinking_trajectories holds not one, for the one attempt: 2"),
        ({"thinking_trajectories": [None]}, "no thinking"),
        ({"thinking_trajectories": [" "]}, "no thinking"),
        ({"attempt": None}, "no completion"),
        ({"question": None}, "no prompt"),
    ],
)
def test_a_row_of_s1k_that_lacks_something_is_no_sample(row: dict[str, Any], why: str) -> None:
    whole = {"question": ADD, "thinking_trajectories": ["3, 4"], "attempt": "7"}
    assert spread("s1", **whole) == [("7", "3, 4", None)]
    assert spread("s1", **whole | row) == [why]


def test_a_row_of_s1k_whose_list_is_none_is_no_sample() -> None:
    for value in (None, "hm", {"a": 1}):
        with pytest.raises(Bad, match="thinking_trajectories is no list"):
            spread("s1", question=ADD, thinking_trajectories=value, attempt="7")


def test_limo_keeps_its_trace_whole(desk: Desk) -> None:
    rows = [{"question": ADD, "solution": "3, 4.\n\n**Final Answer**\n\\boxed{7}", "answer": "7"}]
    rows.append({"question": TIMES, "solution": "<think>3 * 4</think>\\boxed{12}", "answer": "12"})
    out = desk.take(desk.parquet(*rows, {"question": ADD, "solution": None, "answer": "7"}))
    assert [*out.layouts.values()] == ["limo"]
    assert desk.rows("text", "reasoning") == [
        ("3, 4.\n\n**Final Answer**\n\\boxed{7}", None),
        ("\\boxed{12}", "3 * 4"),
    ]
    assert dict(out.rejected) == {"no completion": 1}


def test_a_set_of_problems_with_solutions_is_not_taken_for_traces(desk: Desk) -> None:
    row = {"question": ADD, "solution": "Add them.", "answer": "7"}
    assert recognised([*row, "temperature", "prompt"], row) == "limo"
    assert recognised([*row, "subject"], row) is None
    with pytest.raises(
        ImportRefused, match="no layout is recognised by its columns question, solution, answer, subject"
    ):
        desk.take(desk.parquet(row | {"subject": "sums"}))


# ---- settings, and SQL over nested columns


def test_how_such_a_set_was_drawn_has_to_be_stated(desk: Desk) -> None:
    path = desk.parquet({"question": ADD, "thinking_trajectories": ["3, 4"], "attempt": "7"})
    with pytest.raises(ImportRefused, match="neither the file nor the command says temperature and max_tokens"):
        desk.take(path, stated=Stated())


def test_sql_reaches_into_nested_columns(desk: Desk) -> None:
    turns = [{"from": "human", "value": f"[math] {ADD}"}, {"from": "gpt", "value": "<think>3, 4</think>7"}]
    other = [turns[0], {"from": "gpt", "value": "<think>3, 4</think>8"}]
    path = desk.parquet({"conversations": turns}, {"conversations": other}, conversations=TALK)
    columns = {"prompt": "replace(conversations[1].value, '[math] ', '')"}
    out = desk.take(path, columns=columns, where="not contains(conversations[-1].value, '8')", prompt=Prompt())
    assert [*out.layouts.values()] == ["openthoughts"]
    assert desk.rows("text", "reasoning", prompt=Prompt()) == [("7", "3, 4")]


# ---- on the Hub


def test_files_on_the_hub_are_read_from_there(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"question": ADD, "thinking_trajectories": ["3, 4"], "attempt": "It is 7."}
    data = Path(desk.parquet(row)).read_bytes()
    for name, value in {"HF_HUB_DISABLE_XET": True, "HF_HUB_OFFLINE": False}.items():
        monkeypatch.setattr(constants, name, value)
    with HubServer() as hub:
        hub.repositories["org/s1k"] = Repository(private=True)
        hub.repositories["org/s1k"].commit("first", {"train.parquet": data})
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        HfFileSystem.clear_instance_cache()
        (file,) = files_of(["hf://datasets/org/s1k/*.parquet"])
        assert (file.path, file.kind, file.modified.year) == ("hf://datasets/org/s1k/train.parquet", "parquet", 2025)
        out = desk.take(file.path)
        assert [*out.layouts.values()] == ["s1"]
        with pytest.raises(ImportRefused, match="FILE: hf://datasets/org/none/train"):
            files_of(["hf://datasets/org/none/train.parquet"])
    HfFileSystem.clear_instance_cache()
    assert desk.rows("text", "reasoning", "year(drawn_at)") == [("It is 7.", "3, 4", 2025)]
