"""How problems are put to the student, and what its settings may not be."""

import pytest
from pydantic import ValidationError

from distill.student import Student


def test_a_problem_is_put_with_its_own_turns_the_system_message_and_the_template() -> None:
    student = Student(model="student", system="Be brief.", template="{prompt}\nPut {the answer} in a box.")
    assert student.asked("2 + 3?") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2 + 3?\nPut {the answer} in a box."},
    ]
    earlier = [
        {"role": "system", "content": "You add."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
    ]
    assert student.asked("2 + 3?", earlier) == [
        {"role": "system", "content": "Be brief.\n\nYou add."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2 + 3?\nPut {the answer} in a box."},
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"template": "Solve it."}, "has no {prompt}"),
        ({"tags": ("<think>", "<think>")}, "cannot be told apart"),
        ({"tags": ("<think>", "")}, "at least 1 character"),
        ({"tags": ("<think>\n", "</think>")}, "without blanks around"),
        ({"max_length": 0}, "greater than 0"),
        ({"thinking_in": "reasoning"}, "'auto', 'content' or 'reasoning_content'"),
        ({"chat_templates": "x.jinja"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told.replace("{", r"\{")):
        Student.model_validate({"model": "student"} | settings)
