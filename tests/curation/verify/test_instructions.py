"""Instruction checks: literal texts in, the IFEval name of what is not followed out."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curation.verify import grade

IFEVAL = Path(__file__).parents[3].parent / "shared" / "data" / "benchmarks" / "ifeval.parquet"

FOLLOWED = [
    ("keywords:existence", {"keywords": ["story", "dog"]}, "A DOG with a story."),
    ("keywords:frequency", {"keyword": "dog", "frequency": 2, "relation": "at least"}, "Dog eats dog."),
    ("keywords:frequency", {"keyword": "a.b", "frequency": 1, "relation": "less than"}, "aXb is no a b"),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "rocks roll"),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "# a\n# b"),
    ("length_constraints:number_words", {"num_words": 4, "relation": "at least"}, "one two, three four"),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "less than"}, "Dr. No came. He left!"),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "你好。再见。"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo\n***\n"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"},
        'One.\n\n"Weekend, at last."',
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [address]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np. s. one more thing"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S. again"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye. P.S. one more thing"),
    ("keywords:forbidden_words", {"forbidden_words": ["c"]}, "cat"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n- two\n**bold**"),
    ("detectable_format:constrained_response", {}, "Well. My answer is maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\na\nSECTION 2\nb",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```'),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}```'),
    ("detectable_format:title", {}, "<<My title>>\ntext"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "say hi. Hi!"),
    ("combination:two_responses", {}, "one\n******\ntwo"),
    ("startend:end_checker", {"end_phrase": "Any questions?"}, 'That is it. "any questions?"'),
    ("startend:quotation", {}, ' "all of it" '),
    ("change_case:english_capital", {}, "THIS IS A LETTER ABOUT THE DOG."),
    ("change_case:english_lowercase", {}, "this is a letter about the dog."),
    ("change_case:english_lowercase", {}, "i like pizza."),
    ("change_case:english_capital", {}, "HELLO!"),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "less than"}, "NASA is far"),
    ("punctuation:no_comma", {}, "no such sign"),
    ("language:response_language", {"language": "kn"}, "ನಾನು ಕನ್ನಡದಲ್ಲಿ ಮಾತನಾಡುತ್ತೇನೆ"),
    ("language:response_language", {"language": "mr"}, "मी मराठी बोलतो आणि ही एक भाषा आहे"),
]

MISSED = [
    ("keywords:existence", {"keywords": ["story", "cat"]}, "A DOG with a story."),
    ("keywords:frequency", {"keyword": "dog", "frequency": 2, "relation": "less than"}, "Dog eats dog."),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "Rock and roll"),
    ("length_constraints:number_words", {"num_words": 4, "relation": "less than"}, "one two three four"),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "He left. She stayed"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\n***\ntwo"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "weekend"},
        "Weekends are short.\n\nTwo.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], []"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "PS I love you, ups. s."),
    ("keywords:forbidden_words", {"forbidden_words": ["c++"]}, "I write C++."),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "- one\n- two"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "* one\n* two"),
    ("detectable_format:json_format", {}, 'Here: {"a": 1}'),
    ("detectable_format:title", {}, "<< >>"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "Hi! Say hi."),
    ("combination:two_responses", {}, "one\n******\none"),
    ("startend:quotation", {}, '"'),
    ("change_case:english_capital", {}, "DAS IST EIN BRIEF ÜBER DEN HUND UND DIE KATZE."),
    ("punctuation:no_comma", {}, "one, two"),
    ("language:response_language", {"language": "hi"}, "This is English."),
    ("language:response_language", {"language": "hi"}, "1234"),
]


def outcome(text: str, *instructions: tuple[str, dict[str, Any]]) -> tuple[str, str]:
    args = {"instruction_id_list": [name for name, _ in instructions], "kwargs": [given for _, given in instructions]}
    verdict = grade("instructions", None, text, json.dumps(args))
    return verdict.outcome, verdict.reason


@pytest.mark.parametrize(("name", "settings", "text"), FOLLOWED)
def test_a_text_that_follows_an_instruction_is_correct(name: str, settings: dict[str, Any], text: str) -> None:
    assert outcome(text, (name, settings)) == ("correct", "")


@pytest.mark.parametrize(("name", "settings", "text"), MISSED)
def test_a_text_that_does_not_is_wrong_and_the_reason_names_it(name: str, settings: dict[str, Any], text: str) -> None:
    assert outcome(text, (name, settings)) == ("wrong", f"not followed: {name}")


def test_all_instructions_have_to_be_followed() -> None:
    both = [("punctuation:no_comma", {}), ("keywords:existence", {"keywords": ["dog"]})]
    assert outcome("a dog", *both) == ("correct", "")
    assert outcome("a, b", *both) == ("wrong", "not followed: punctuation:no_comma, keywords:existence")


def test_thinking_is_not_part_of_the_response() -> None:
    assert outcome("<think>a, b</think>a b", ("punctuation:no_comma", {})) == ("correct", "")
    assert outcome("<think>a b", ("punctuation:no_comma", {})) == ("wrong", "thinking was not closed")


def test_a_response_of_nothing_follows_nothing() -> None:
    assert outcome("  \n", ("punctuation:no_comma", {})) == ("wrong", "the response is empty")


def test_settings_that_are_null_are_not_given() -> None:
    given = {"keywords": ["dog"], "relation": None, "num_words": None}
    assert outcome("a dog", ("keywords:existence", given)) == ("correct", "")


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("punctuation:no_commas", {}, "unknown instruction 'punctuation:no_commas'"),
        ("keywords:existence", {}, "missing 1 required positional argument: 'keywords'"),
        ("keywords:existence", {"keywords": "dog"}, "'keywords' has to be a list, not 'dog'"),
        ("punctuation:no_comma", {"commas": 0}, "unexpected keyword argument 'commas'"),
        ("length_constraints:number_words", {"num_words": 3, "relation": "exactly"}, "unknown relation 'exactly'"),
    ],
)
def test_an_instruction_that_nothing_checks_is_an_error(name: str, settings: dict[str, Any], said: str) -> None:
    result, reason = outcome("text", (name, settings))
    assert result == "error"
    assert said in reason


@pytest.mark.parametrize("text", ["<<" * 60_000, "\n" * 60_000 + "x", "```" + "\n" * 60_000 + "x", "." * 60_000 + "x"])
def test_text_that_repeats_takes_linear_time(text: str) -> None:
    names = ("detectable_format:title", "detectable_format:json_format")
    all_of_them = [(name, {}) for name in names]
    all_of_them.append(("detectable_content:postscript", {"postscript_marker": "P.S."}))
    all_of_them.append(("length_constraints:number_sentences", {"num_sentences": 9, "relation": "at least"}))
    assert outcome(text, *all_of_them)[0] == "wrong"  # a quadratic pass would take minutes


@pytest.mark.skipif(not IFEVAL.exists(), reason=f"the benchmark is not here: {IFEVAL}")
def test_every_row_of_ifeval_can_be_checked() -> None:

    rows = pq.read_table(IFEVAL)["extra"].to_pylist()
    verdicts = [grade("instructions", None, "A short answer.", row) for row in rows]
    assert [verdict.reason for verdict in verdicts if verdict.outcome == "error"] == []
    assert any(verdict.outcome == "wrong" for verdict in verdicts)
