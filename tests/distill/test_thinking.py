import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.verify.extract import final_text
from distill.thinking import DEFAULT, Parts, split, tags


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\nTwo and two.\n</think>\n\nIt is 4.", Parts("Two and two.", "It is 4.", 1, True)),
        ("<think>\n\n</think>\n\nIt is 4.", Parts("", "It is 4.", 1, True)),
        ("It is 4.", Parts(None, "It is 4.", 0, True)),
        ("", Parts(None, "", 0, True)),
        ("<Thought>Two.</Thought><Output>4</Output>", Parts("Two.", "<Output>4</Output>", 1, True)),
        ("<thinking >Two.</thinking>4", Parts("Two.", "4", 1, True)),
        ("<think>Two and", Parts("Two and", None, 1, False)),
        ("<think>One.</think>4<think>Two.</think>5", Parts("One.\n\n4\n\nTwo.", "5", 2, True)),
        ("<think>One.</think>4<think>Two", Parts("One.\n\n4\n\nTwo", None, 2, False)),
        ("<think>The tag <think> opens it.</think>4", Parts("The tag\n\nopens it.", "4", 2, True)),
        ("<think>It ends with </think> they say.</think>4", Parts("It ends with\n\nthey say.", "4", 2, True)),
        ("Two.</think>4", Parts("Two.", "4", 1, True)),  # the prompt's template had opened it
        (
            "<|begin_of_thought|>\n\nTwo.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n4\n\n<|end_of_solution|>",
            Parts("Two.", "4", 1, True),
        ),
    ],
)
def test_a_text_is_parted_at_its_tags(text, parts):
    assert split(text) == parts


def test_a_block_that_the_prompt_opened_is_open_until_it_is_closed():
    assert split("Two.</think>4", opened=True) == Parts("Two.", "4", 1, True)
    assert split("Two and", opened=True) == Parts("Two and", None, 1, False)
    assert split("", opened=True) == Parts("", None, 1, False)


def test_a_model_that_repeats_the_prompts_tag_opens_no_second_block():
    assert split("<think>\nTwo.</think>4", opened=True) == Parts("Two.", "4", 1, True)


def test_reasoning_that_the_server_parsed_off_is_the_thinking():
    assert split("4", reasoning="Two.\n") == Parts("Two.", "4", 1, True)
    assert split("4", reasoning="Two.", opened=True) == Parts("Two.", "4", 1, True)
    assert split("<think>Again.</think>4", reasoning="Two.") == Parts("Two.\n\nAgain.", "4", 2, True)
    assert split("<think>Again", reasoning="Two.") == Parts("Two.\n\nAgain", None, 2, False)


def test_blank_reasoning_says_nothing():
    assert split("<think>Two.</think>4", reasoning=" ") == Parts("Two.", "4", 1, True)
    assert split("4", reasoning="") == Parts(None, "4", 0, True)


def test_other_tags_by_setting():
    known = [tags("<reason>", "</reason>")]
    assert split("<reason>Two.</reason>4", known=known) == Parts("Two.", "4", 1, True)
    assert split("<think>Two.</think>4", known=known) == Parts(None, "<think>Two.</think>4", 0, True)


@pytest.mark.parametrize(("opening", "closing"), [("", "</a>"), ("<a>", " "), ("<a>", "<a>")])
def test_tags_have_to_differ(opening, closing):
    with pytest.raises(ValueError, match="tags need an opening"):
        tags(opening, closing)


PIECES = st.lists(st.sampled_from(["<think>", "</think>", "<thought>", "</THINKING >", "a", "4", "\n"]), max_size=12)


@given(PIECES)
def test_the_answer_is_what_graders_read(pieces):
    text = "".join(pieces)
    answer = split(text).answer
    graded = final_text(text)
    assert answer == (None if graded is None else graded.strip())


@given(PIECES, st.booleans())
def test_nothing_but_tags_and_blanks_is_lost_of_a_text_that_begins_with_its_block(pieces, opened):
    text = "<think>" + "".join(pieces)
    parts = split(text, opened=opened, known=DEFAULT)
    said = "".join(f"{parts.thinking}{parts.answer or ''}".split())
    assert said == "".join("".join(piece for piece in pieces if "<" not in piece).split())


def test_a_million_tags_are_parted_at_once():
    assert split("<think>" * 500_000 + "</think>" * 500_000).blocks == 500_000
