"""Thinking and non-thinking rows in one set: shares, conversations, flags, and the text that comes of them."""

import collections
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curation.duck import arrow, connect, literal
from distill.example import Message
from distill.fusing.conversations import FLAG_TOKENS, SYSTEM_TOKENS
from distill.fusing.flags import FlagError, TurnText, example_of, fault, last_flag, mode_of
from distill.fusing.settings import Fusion
from distill.fusion import FusionError, assign

Row = dict[str, Any]
TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces" / "long_cot_traces.jsonl.zst"
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("rollout", "problem_id", "part", "mode", "split")),
        *((name, pa.int64()) for name in ("trained_tokens", "tokens", "history_tokens")),
        ("alone", pa.bool_()),
    ]
)
CON = connect()
BOTH = {"long": {"mode": "think"}, "short": {"mode": "no_think"}}
NO_FLAGS = {"think_rate": 0, "no_think_rate": 0, "system_rate": 0}


def rows(part: str, count: int, trained: int = 100, split: str = "train", **others: Any) -> list[Row]:
    """So many rows of a part, each of a problem of its own; parts called short or general do not think."""
    mode = "no_think" if part in {"short", "general"} else "think"
    row = {
        "part": part,
        "mode": mode,
        "split": split,
        "trained_tokens": trained,
        "tokens": trained + 20,
        "alone": False,
    }
    row["history_tokens"] = 30
    return [{"rollout": f"{part}-{n}", "problem_id": f"of {part} {n}"} | row | others for n in range(count)]


def fused(given_: Sequence[Row], seed: int = 0, max_length: int | None = None, **wanted: Any) -> tuple[list[Row], Any]:
    """The turns in the order of conversations, and the record."""
    CON.register("given", pa.Table.from_pylist(list(given_), schema=SCHEMA))
    found = assign(CON, "given", Fusion.model_validate({"parts": BOTH, "multi_turn": 0} | wanted), seed, max_length)
    return arrow(CON, "from fused order by conversation, turn").to_pylist(), found


def stay(turns: Sequence[Row]) -> dict[str, int]:
    """Rows by part."""
    return dict(collections.Counter(turn["part"] for turn in turns if turn["trained"]))


def left_out() -> list[Row]:
    return arrow(CON, "from fusion_left_out order by all").to_pylist()


def conversations(turns: Sequence[Row]) -> list[list[Row]]:
    grouped = collections.defaultdict(list)
    for turn in turns:
        grouped[turn["conversation"]].append(turn)
    return [*grouped.values()]


# ---- how much of either mode


def test_the_mode_that_has_more_tokens_than_its_share_is_cut() -> None:
    turns, found = fused([*rows("long", 100, trained=50), *rows("short", 100, trained=10)])
    assert stay(turns) == {"long": 16, "short": 100}  # 16 x 50 : 100 x 10 is .8 : 1
    assert found.ratio == {"train": 0.8}
    assert found.before == {
        "train": {
            "think": {"long": {"rows": 100, "trained_tokens": 5000}},
            "no_think": {"short": {"rows": 100, "trained_tokens": 1000}},
        }
    }
    assert found.after["train"]["think"] == {"long": {"rows": 16, "trained_tokens": 800}}
    assert [row["reason"] for row in left_out()] == ["ratio"] * 84


def test_either_mode_may_be_the_one_to_be_cut() -> None:
    assert stay(fused([*rows("long", 8), *rows("short", 100)])[0]) == {"long": 8, "short": 10}


def test_the_ratio_may_be_of_rows() -> None:
    turns, found = fused([*rows("long", 100, trained=50), *rows("short", 100, trained=10)], ratio_of="rows")
    assert (stay(turns), found.ratio) == ({"long": 80, "short": 100}, {"train": 0.8})


def test_a_weight_is_a_share_of_the_mode_and_the_rest_shares_what_is_left() -> None:
    parts = {"long": {"mode": "think"}, "short": {"mode": "no_think"}, "general": {"mode": "no_think", "weight": 0.75}}
    turns, _ = fused([*rows("long", 99), *rows("short", 99), *rows("general", 30)], parts=parts)
    assert stay(turns) == {"long": 32, "short": 10, "general": 30}


def test_splits_are_cut_apart() -> None:
    train = [*rows("long", 100), *rows("short", 10)]
    test = [
        row | {"rollout": "test " + row["rollout"], "split": "test"} for row in [*rows("long", 4), *rows("short", 50)]
    ]
    turns, found = fused([*train, *test])
    assert found.after["train"]["think"]["long"]["rows"] == 8
    assert found.after["test"]["no_think"]["short"]["rows"] == 5
    assert {turn["split"] for turn in turns} == {"train", "test"}


def test_where_a_mode_is_missing_nothing_is_cut_for_it_and_it_is_told() -> None:
    turns, found = fused(rows("long", 5))
    assert stay(turns) == {"long": 5}
    assert found.ratio == {"train": None}
    assert found.missed == [
        "train: there is no row of mode no_think: the ratio cannot be kept, and the other mode is not cut for it"
    ]


def test_a_part_without_rows_leaves_its_share_to_the_others_and_is_told() -> None:
    parts = BOTH | {"general": {"mode": "no_think", "weight": 0.5}}
    turns, found = fused([*rows("long", 8), *rows("short", 10)], parts=parts)
    assert stay(turns) == {"long": 8, "short": 10}
    assert found.missed == [
        "train: there is no row of the parts general: the others of mode no_think share what is theirs"
    ]


def test_a_trace_may_be_a_row_of_each_mode_and_only_one_of_the_same() -> None:
    parts = BOTH | {"longer": {"mode": "think"}}
    long = rows("long", 4)
    again = [row | {"part": "longer"} for row in long]
    short = [row | {"part": "short", "mode": "no_think"} for row in long]
    turns, found = fused([*again, *long, *short], parts=parts, ratio_of="rows", ratio={"think": 1})
    assert stay(turns) == {"long": 4, "short": 4}
    assert found.repeated == 4
    assert [(row["part"], row["reason"]) for row in left_out()] == [("longer", "repeated")] * 4


@pytest.mark.parametrize(
    "wrong", [{"mode": "no_think"}, {"part": "unheard of"}, {"split": None}, {"trained_tokens": 0}, {"tokens": 99}]
)
def test_rows_that_are_not_whole_are_refused(wrong: Row) -> None:
    with pytest.raises(FusionError, match="1 rows are not of a part and its mode, lack a value, train on nothing"):
        fused([rows("long", 1)[0] | wrong, *rows("short", 3)])


# ---- what a recipe may say


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"parts": {"a": {"mode": "think"}, "b": {"mode": "think"}}}, "none has `mode: no_think`"),
        (
            {"parts": {"a": {"mode": "think", "weight": 0.5}, "b": {"mode": "no_think"}}},
            "sum to 0.5; make them sum to 1",
        ),
        ({"parts": BOTH | {"c": {"mode": "think", "weight": 1.0}}}, "leaves nothing for its parts without one"),
        ({"parts": BOTH, "turns": [4, 2]}, "has the most before the fewest"),
        ({"parts": BOTH, "ratio": {"think": 0}}, "greater than 0"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(wanted: Row, why: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(why)):
        Fusion.model_validate(wanted)


# ---- conversations


def test_every_row_is_trained_once_and_history_is_borrowed() -> None:
    turns, found = fused([*rows("long", 80), *rows("short", 100)], multi_turn=0.5, turns=[2, 4])
    trained = [turn["rollout"] for turn in turns if turn["trained"]]
    assert len(trained) == len(set(trained)) == 180
    assert sum(number for length, number in found.turns["train"].items() if length > 1) == 90
    assert set(found.turns["train"]) == {1, 2, 3, 4}
    for conversation in conversations(turns):
        assert [turn["turn"] for turn in conversation] == list(range(conversation[0]["turns"]))
        assert [turn["trained"] for turn in conversation] == [False] * (len(conversation) - 1) + [True]


def test_all_rows_lend_before_one_lends_again() -> None:
    turns, _ = fused([*rows("long", 40), *rows("short", 50)], multi_turn=1, turns=[3, 3], flags=NO_FLAGS)
    assert set(collections.Counter(turn["rollout"] for turn in turns if not turn["trained"]).values()) <= {1, 2, 3}


def test_no_conversation_has_two_turns_of_one_problem() -> None:
    same = rows("short", 3, problem_id="the same")
    as_is = {"ratio_of": "rows", "ratio": {"think": 1, "no_think": 3}}
    turns, found = fused([*rows("long", 1), *same], **as_is, multi_turn=1, turns=[2, 3], flags=NO_FLAGS)
    assert all(len({turn["problem_id"] for turn in one}) == len(one) for one in conversations(turns))
    assert found.turns == {"train": {2: 4}}


def test_the_history_is_not_twice_of_one_problem_either() -> None:
    as_is = {"ratio_of": "rows", "ratio": {"think": 1, "no_think": 3}, "flags": NO_FLAGS}
    same = [*rows("long", 1), *rows("short", 3, problem_id="the same")]
    assert fused(same, **as_is, multi_turn=1, turns=[3, 3])[1].turns == {"train": {1: 4}}


def test_a_row_that_is_too_long_for_a_history_is_passed_over() -> None:
    turns, _ = fused(
        [*rows("long", 8, history_tokens=101), *rows("short", 10)],
        multi_turn=1,
        turns=[2, 2],
        max_length=256,
        flags=NO_FLAGS,
    )
    assert {turn["part"] for turn in turns if not turn["trained"]} == {"short"}


def test_what_cannot_be_a_conversation_stays_a_single_turn_and_is_told() -> None:
    turns, found = fused([*rows("long", 4, alone=True), *rows("short", 5, alone=True)], multi_turn=0.5)
    assert found.turns == {"train": {1: 9}}
    assert found.missed == ["train: 5 conversations of several turns are wanted, 0 could be made"]
    assert len(turns) == 9


def test_a_conversation_is_no_longer_than_asked() -> None:
    parts = [*rows("long", 8, history_tokens=40), *rows("short", 10, history_tokens=40)]
    exactly = 120 + 40 + 2 * FLAG_TOKENS + SYSTEM_TOKENS
    assert fused(parts, multi_turn=1, turns=[2, 2], max_length=exactly)[1].turns == {"train": {2: 18}}
    assert fused(parts, multi_turn=1, turns=[2, 2], max_length=exactly - 1)[1].turns == {"train": {1: 18}}


def test_a_thinking_row_that_fills_the_length_has_no_flag_and_one_without_thinking_has_its_flag_in_any_case() -> None:
    turns, _ = fused([*rows("long", 8), *rows("short", 10)], max_length=120, flags={"think_rate": 1, "system_rate": 1})
    assert {(turn["mode"], turn["flag"], turn["flag_in"]) for turn in turns} == {
        ("think", "none", None),
        ("no_think", "no_think", "user"),
    }


# ---- where flags are


def flags(turns: Sequence[Row]) -> set[tuple[tuple[str, str, str | None], ...]]:
    return {tuple((turn["mode"], turn["flag"], turn["flag_in"]) for turn in one) for one in conversations(turns)}


def test_thinking_is_the_default_and_the_other_mode_always_has_its_flag() -> None:
    turns, _ = fused([*rows("long", 8), *rows("short", 10)], flags=NO_FLAGS)
    assert flags(turns) == {(("think", "none", None),), (("no_think", "no_think", "user"),)}


def test_the_rates_are_shares_of_rows() -> None:
    turns, found = fused([*rows("long", 800), *rows("short", 1000)], flags={"think_rate": 0.25, "system_rate": 0.4})
    number = found.flags["train"]
    assert number["think"]["none"] == pytest.approx(600, abs=40)
    assert number["no_think"]["system"] == pytest.approx(400, abs=50)
    assert sum(turn["flag"] == "think" for turn in turns) == 800 - number["think"]["none"]


def test_a_flag_holds_until_the_next() -> None:
    turns, _ = fused([*rows("long", 80), *rows("short", 100)], multi_turn=1, turns=[2, 2], flags=NO_FLAGS)
    off, on = ("no_think", "no_think", "user"), ("think", "think", "user")
    assert flags(turns) == {
        (("think", "none", None), ("think", "none", None)),
        (("think", "none", None), off),
        (off, ("no_think", "none", None)),
        (off, on),
    }


def test_in_the_system_message_a_flag_speaks_for_all_turns_which_are_of_one_mode() -> None:
    everywhere = {"think_rate": 1, "no_think_rate": 1, "system_rate": 1}
    turns, _ = fused([*rows("long", 80), *rows("short", 100)], multi_turn=1, turns=[2, 2], flags=everywhere)
    assert flags(turns) == {
        (("think", "think", "system"), ("think", "none", None)),
        (("no_think", "no_think", "system"), ("no_think", "none", None)),
    }


# ---- in text


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def turn(*prompt: Message, mode: Any = "think", flag: Any = "none", flag_in: Any = None) -> TurnText:
    return TurnText(prompt or [user("1 + 1?")], "One and one.", "2", mode, flag, flag_in)


@pytest.mark.parametrize(
    ("messages", "mode"),
    [
        ([user("1 + 1?")], "think"),
        ([user("1 + 1? /no_think")], "no_think"),
        ([user("1 + 1? /no_think /think")], "think"),
        ([system("/no_think"), user("1 + 1?")], "no_think"),
        ([system("/no_think"), user("1 + 1? /think")], "think"),
        ([user("a /no_think"), assistant("b"), user("c")], "no_think"),
        ([user("a /no_think"), assistant("/think"), user("c")], "no_think"),
        ([user("a /no_think"), assistant("b"), user("c /think"), assistant("d"), user("e")], "think"),
    ],
)
def test_the_last_flag_of_system_and_user_messages_decides(messages: list[Message], mode: str) -> None:
    assert mode_of(messages) == mode


def test_a_flag_stands_behind_the_user_message() -> None:
    assert example_of([turn(mode="no_think", flag="no_think", flag_in="user")]) == ([user("1 + 1? /no_think")], "", "2")
    assert example_of([turn(flag="think", flag_in="user")]) == ([user("1 + 1? /think")], "One and one.", "2")
    assert example_of([turn()]) == ([user("1 + 1?")], "One and one.", "2")


def test_or_in_the_system_message_which_is_made_if_there_is_none() -> None:
    off = {"mode": "no_think", "flag": "no_think", "flag_in": "system"}
    assert example_of([turn(**off)]).prompt == [system("/no_think"), user("1 + 1?")]
    assert example_of([turn(system("Be brief."), user("1 + 1?"), **off)]).prompt == [
        system("Be brief. /no_think"),
        user("1 + 1?"),
    ]


def test_history_has_no_thinking_and_the_last_flag_overrides_those_before() -> None:
    before = TurnText([system("Be brief."), user("2 + 2?")], "Two and two.", "4", "no_think", "no_think", "system")
    assert example_of([before, turn(system("Be brief."), user("1 + 1?"), flag="think", flag_in="user")]) == (
        [system("Be brief. /no_think"), user("2 + 2?"), assistant("4"), user("1 + 1? /think")],
        "One and one.",
        "2",
    )


@pytest.mark.parametrize(
    "text", ["What does /no_think do?", "/think or /no_think?", "Read a/no_think/b", "Close it: </think>"]
)
@pytest.mark.parametrize("mode", ["think", "no_think"])
def test_a_text_that_holds_a_flag_gets_that_of_its_mode_behind_it(text: str, mode: Any) -> None:
    flag, place = ("none", None) if mode == "think" else ("no_think", "system")
    assert example_of([turn(user(text), mode=mode, flag=flag, flag_in=place)]).prompt == [user(f"{text} /{mode}")]


def test_a_flag_in_the_students_own_system_message_is_overridden() -> None:
    assert example_of([turn(system("/no_think"), user("a"))]).prompt == [system("/no_think"), user("a /think")]


@pytest.mark.parametrize(
    ("turns", "why"),
    [
        ([], "a conversation needs a turn"),
        ([turn(mode="no_think")], "it asks for the other mode: turn 0 is of no_think, its text asks for think"),
        ([turn(system("a"), user("b")), turn(system("c"), user("d"))], "different system messages"),
        ([turn(), turn(flag="think", flag_in="system")], "only the flag of the first turn"),
        ([turn(assistant("a"))], "has to end with a user message"),
        ([turn()._replace(thinking=" \n")], "a thinking row has no thinking"),
        ([turn()._replace(thinking=None)], "a thinking row has no thinking"),
    ],
)
def test_what_is_not_of_its_mode_is_refused(turns: list[TurnText], why: str) -> None:
    with pytest.raises(FlagError, match=why):
        example_of(turns)


def test_what_is_published_can_be_checked_again() -> None:
    assert fault([user("a")], "Well.", "think") is None
    assert fault([user("a /no_think")], "", "no_think") is None
    assert (
        fault([user("a /no_think")], "Well.", "think")
        == "it asks for the other mode: it is of think, its text asks for no_think"
    )
    assert fault([user("a /no_think")], None, "no_think") == "a row without thinking has no empty think block"
    assert fault([user("a /no_think")], "Well.", "no_think") == "a row without thinking has some"
    assert fault([user("a"), assistant("b")], "Well.", "think") == "the trained turn answers no user message"
    assert last_flag([system("/think"), user("a")]) == ("think", "system")


# ---- whatever is there


TEXTS = ["a", "b /no_think", "c /think", "</think> d", "/no_think\n/think e", "f/no_thinking"]
PARTS = {**BOTH, "general": {"mode": "no_think", "weight": 0.4}}


@st.composite
def anything(draw: st.DrawFn) -> list[Row]:
    found = []
    for part in PARTS:
        for n in range(draw(st.integers(0, 12))):
            trained = draw(st.integers(1, 300))
            row = rows(part, 1, trained, draw(st.sampled_from(["train", "train", "test"])))[0]
            problem = f"p{draw(st.integers(0, 20))}"
            history = draw(st.integers(1, 60))
            found.append(row | {"rollout": f"{part}-{n}", "problem_id": problem, "history_tokens": history,
                                "alone": draw(st.integers(0, 9)) == 0})  # fmt: skip
    return found


def strict_mode(messages: Sequence[Message]) -> str:
    """As a reader would have it who takes only separate words for flags."""
    words = [word for one in messages if one["role"] != "assistant" for word in one["content"].split()]
    return next((word[1:] for word in reversed(words) if word in {"/think", "/no_think"}), "think")


SETTINGS = st.fixed_dictionaries(
    {
        "multi_turn": st.sampled_from([0, 0.3, 1]),
        "ratio_of": st.sampled_from(["tokens", "rows"]),
        "flags": st.fixed_dictionaries(
            {rate: st.sampled_from([0, 0.5, 1]) for rate in ("think_rate", "no_think_rate", "system_rate")}
        ),
    }
)


@settings(max_examples=10, deadline=None)
@given(
    anything(),
    SETTINGS,
    st.sampled_from([None, 350]),
)
def test_nothing_is_lost_or_mixed_and_every_text_asks_for_its_mode(
    given_: list[Row], wanted: Row, max_length: int | None
) -> None:
    turns, found = fused(given_, parts=PARTS, max_length=max_length, **wanted)
    by_key = {(row["part"], row["rollout"]): row for row in given_}
    trained = [(turn["part"], turn["rollout"]) for turn in turns if turn["trained"]]
    dropped = [(row["part"], row["rollout"]) for row in left_out()]
    assert sorted([*trained, *dropped]) == sorted(by_key)

    for one in conversations(turns):
        own = [by_key[turn["part"], turn["rollout"]] for turn in one]
        assert len({row["split"] for row in own}) == 1
        assert len({row["problem_id"] for row in own}) == len(own)
        assert len(own) == 1 or not any(row["alone"] for row in own)
        if len(own) > 1 and max_length is not None:
            assert sum(row["history_tokens"] for row in own[:-1]) + own[-1]["tokens"] <= max_length
        texts = [
            TurnText(
                [user(TEXTS[hash_of(turn) % len(TEXTS)])],
                "Well.",
                "Yes. /think",
                turn["mode"],
                turn["flag"],
                turn["flag_in"],
            )
            for turn in one
        ]
        plain = example_of([text._replace(prompt=[user("a")]) for text in texts])
        example = example_of(texts)
        assert mode_of(plain.prompt) == mode_of(example.prompt) == strict_mode(example.prompt) == one[-1]["mode"]
        assert example.thinking == ("Well." if one[-1]["mode"] == "think" else "")
        assert sum(message["content"] == "Yes. /think" for message in example.prompt) == len(one) - 1

    assert_shares_hold(given_, found, wanted["ratio_of"])


@settings(max_examples=3, deadline=None)
@given(anything(), SETTINGS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(given_: list[Row], wanted: Row, rng: random.Random) -> None:
    shuffled = rng.sample(given_, len(given_))
    assert fused(shuffled, parts=PARTS, max_length=350, **wanted) == fused(
        given_, parts=PARTS, max_length=350, **wanted
    )


def test_another_seed_chooses_others() -> None:
    given_ = [*rows("long", 40), *rows("short", 40)]
    assert fused(given_, 1)[0] != fused(given_, 2)[0]


def hash_of(turn: Row) -> int:
    return sum(map(ord, turn["rollout"]))


def assert_shares_hold(given_: list[Row], found: Any, ratio_of: str) -> None:
    """One part stays whole, the others within a row of its share."""
    of = "trained_tokens" if ratio_of == "tokens" else "rows"
    largest = 1 if ratio_of == "rows" else max((row["trained_tokens"] for row in given_), default=0)
    for split, before in found.before.items():
        if any(why.startswith(f"{split}: there is no row") for why in found.missed):
            continue
        amounts = {part: number[of] for parts in before.values() for part, number in parts.items()}
        kept = {part: 0 for part in amounts} | {
            part: number[of] for parts in found.after.get(split, {}).values() for part, number in parts.items()
        }
        shares = {"long": 0.8, "short": 0.6, "general": 0.4}
        level = min(amounts[part] / share for part, share in shares.items())
        assert all(abs(kept[part] - level * share) <= largest / 2 + 1e-6 for part, share in shares.items())
        assert any(kept[part] == amounts[part] for part in shares)


# ---- real traces


@pytest.mark.skipif(not TRACES.is_file(), reason="../shared/data is not there")
def test_real_problems_with_both_modes_become_rows_of_their_mode() -> None:
    real = arrow(
        CON,
        f"""select id as rollout, problem, thinking, response, mode, md5(problem) as problem_id, 'train' as split, false as alone,
            if(mode = 'think', 'long', 'short') as part, len(response) + if(mode = 'think', len(thinking), 0) as trained_tokens,
            trained_tokens + len(problem) as tokens, len(problem) + len(response) as history_tokens
        from read_json({literal(str(TRACES))}) where starts_with(source, 'thinking_traces') and response != ''""",
    ).to_pylist()
    texts = {(row["part"], row["rollout"]): row for row in real}
    turns, found = fused(
        [{name: row[name] for name in SCHEMA.names} for row in real], multi_turn=0.3, max_length=20_000
    )
    assert found.ratio["train"] == pytest.approx(0.8, rel=0.05)
    for one in conversations(turns):
        own = [texts[turn["part"], turn["rollout"]] for turn in one]
        example = example_of(
            [
                TurnText(
                    [user(row["problem"])],
                    row["thinking"],
                    row["response"],
                    turn["mode"],
                    turn["flag"],
                    turn["flag_in"],
                )
                for row, turn in zip(own, one, strict=True)
            ]
        )
        assert fault(example.prompt, example.thinking, one[-1]["mode"]) is None
        assert example.answer == own[-1]["response"]
