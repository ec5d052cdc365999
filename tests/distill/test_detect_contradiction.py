import pytest

from curation.verify.pool import graders
from distill.detect.contradiction import contradictions, final_answer, thinking_answer


@pytest.mark.parametrize(
    ("thinking", "answer"),
    [
        ("So x = 5. The answer is 5.", "5"),
        ("**Final Answer**\n\\[ \\boxed{\\frac{1}{2}} \\]", "\\frac{1}{2}"),
        ("Hence <answer>B</answer>", "B"),
        ("The answer to the problem must be 12 apples, since 3 * 4 is 12.", "12 apples"),
        ("So the answer is \\( (1, 2) \\).", "(1, 2)"),
        ("Answer: 7\n\nReady to write.", "7"),
        ("So the final answer is 40 in total.", "40"),
        ("所以答案是 12。", "12"),
        ("The answer is 4. Wait, that is not right.", None),
        ("The answer is 4. Wait, no. The answer is 5.", "5"),
        ("\\boxed{4}? Hmm, let me check again: 2 + 3 is 5.", None),
        ("Is the answer 4?", None),
        ("If the answer is 4, the second condition fails.", None),
        ("I have to end with 'Answer: <answer>'.", None),
        ("The answer is correct.", None),
        ("The answer is 4." + " Now a long summary follows." * 80, None),
        ("Nothing is said.", None),
        ("", None),
    ],
)
def test_the_answer_that_a_thinking_ends_on(thinking, answer):
    assert thinking_answer(thinking) == answer


@pytest.mark.parametrize(
    ("text", "verifier", "answer"),
    [
        ("We get \\boxed{5}.", "math", "5"),
        ("Adding up.\n\nAnswer: 5", "math", "5"),
        ("5", "math", "5"),
        ("First we add the two.\nThen we stop", "math", None),
        ("The answer is Ana, because she was first and nobody else can have been.", "exact", None),
    ],
)
def test_what_a_final_text_states_for_sure(text, verifier, answer):
    assert final_answer(text, verifier) == answer


def test_answers_are_compared_by_the_verifier_in_either_direction():
    rows = [
        ("1/2", "0.5", "So \\boxed{0.5}.", "math", None),
        ("12", "15", "So \\boxed{15}.", "math", None),
        ("12 apples", "12", "So \\boxed{12}.", "math", None),
        ("B", "C", "The answer is (C).", "choice", None),
        ("B", "B", "The answer is (B).", "choice", None),
        ("the ampere", "ampere", "Answer: ampere", "exact", None),
        ("Ana", "Ben", "Answer: Ben", "exact", None),
        ("5", "6", "print(6)", "code", None),
        (None, "5", "5", "math", None),
        ("5", None, "Well.", "math", None),
        ("several of them", "5", "\\boxed{5}", "math", None),
    ]
    assert contradictions(rows, graders().grade_many) == [
        False,
        True,
        False,
        True,
        False,
        False,
        True,
        None,
        None,
        None,
        None,
    ]


def test_without_a_grader_only_what_is_written_alike_is_known():
    rows = [("5", "5.", "It is 5.", "math", None), ("5", "6", "It is 6.", "math", None)]
    assert contradictions(rows, None) == [False, None]
