r"""Where the answer is looked for: after the thinking, in the last box, tag, "answer is" or line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.verify.extract import final_text, last_boxed, stated_answer


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("5", "5"),
        ("<think>3? no</think>5", "5"),
        ("template opened it</think>5", "5"),
        ("<think>a</think>b<think>c</think>5", "5"),
        ("<think>so it is 5", None),
        ("<think>a</think>5 <think>wait", None),
        ("<think></think>", ""),
        (r"<thinking>\boxed{7}</thinking>The answer is 5", "The answer is 5"),
        ("<thought>7</thought>5", "5"),
        ("<THINK>5", None),
        ("<think >5", None),
    ],
)
def test_only_what_follows_the_last_closed_thinking_is_graded(completion: str, text: str | None) -> None:
    assert final_text(completion) == text


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{x = \boxed{5}}", "5"),
        (r"\boxed{\left\{1, 2\right.}", r"\left\{1, 2\right."),
        (r"\boxed{1} and cut off \boxed{2", "1"),
        (r"\boxed {7}", "7"),
        (r"\fbox{7}", "7"),
        (r"\boxed 7", "7"),
        (r"\boxed{}", ""),
        (r"} \boxed{3} {", "3"),
        (r"\(\boxed{1}\) and \(\boxed{-2}\).", "1, -2"),
        (r"$x = \boxed{3}$, and so $y = \boxed{4}$.", "3, 4"),
        (r"\boxed{5} or maybe \boxed{7}", "5, 7"),
        (r"\boxed{5}\boxed{7}", "5, 7"),
        ("\\boxed{5}\n\n\\boxed{5}", "5"),
        (r"\boxed{\frac12} = \boxed{0.5}", "0.5"),
        (r"So \boxed{4} are left. Then \boxed{5}", "5"),
        (r"\boxed{6}/\boxed{5}", "6, 5"),
        (r"\boxed{6} | \boxed{5}", "6, 5"),
        (r"\boxed{7} \neq \boxed{5}", "7, 5"),
        ("(a) \\boxed{4}\n(b) \\boxed{5}", "4, 5"),
        ("(a) It is \\boxed{4}.\n(b) So it is \\boxed{5}", "5"),
        ("We need \\boxed{4}, so\nit is \\boxed{5}", "5"),
        ("no box", None),
    ],
)
def test_the_last_complete_box(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        (r"The answer is 4. \boxed{5}", ("5", "boxed")),
        ("<answer> 5 </answer>", ("5", "tag")),
        (r"\boxed{7}<answer>5</answer>", ("5", "tag")),
        (r"<answer>5</answer>\boxed{7}", ("5", "tag")),
        ("The answer isn't 5", ("The answer isn't 5", "last lines")),
        (r"\boxed{4} <answer>so \boxed{5}</answer>", ("5", "boxed")),
        ("The answer is 4.\nNo: the answer is 5", ("5", "marker")),
        ("**Answer:** 5", ("5", "marker")),
        ("### Final Answer:\n\n5\n", ("5", "marker")),
        ("答案是5", ("5", "marker")),
        ("2 + 3\n= 5\n", ("= 5", "last lines")),
        ("13 * 2 = 26\nA: 26", ("26", "last lines")),
        ("so\nx: 694", ("694", "last lines")),
        ("9 * 2 = 18\n#### 18", ("18", "marker")),
        ("### 5 apples", ("### 5 apples", "last lines")),
        ("Ratio 2: 3", ("Ratio 2: 3", "last lines")),
        (" 5", ("5", "last lines")),
        ("", None),
        (r"\boxed{}", None),
    ],
)
def test_the_stated_answer(text: str, stated: tuple[str, str] | None) -> None:
    assert stated_answer(text) == stated


def test_a_letter_before_a_colon_may_be_the_choice() -> None:
    assert stated_answer("C: 12", labelled=False) == ("C: 12", "last lines")


def test_an_answer_of_several_lines_is_as_many_last_lines() -> None:
    assert stated_answer("Here it is:\n1 2\n3 4\n", lines=2) == ("1 2\n3 4", "last lines")


latex = st.recursive(
    st.text(alphabet="ab1+ \\n", max_size=4).map(lambda text: text.replace("\\", r"\pi ")),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: "".join("{" + part + "}" for part in parts)),
    max_leaves=8,
)


@given(before=st.text(alphabet="ab $\n", max_size=9), content=latex, after=st.text(alphabet="ab $\n", max_size=9))
def test_balanced_content_comes_back_whole(before: str, content: str, after: str) -> None:
    assert last_boxed(before + "\\boxed{" + content + "}" + after) == content.strip()


pieces = [
    "\\boxed",
    "{",
    "}",
    "\\",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "answer is",
    "**",
    "\n",
    "x",
    "\\{",
    "答案",
]


@given(st.lists(st.sampled_from(pieces) | st.text(max_size=3)).map("".join))
def test_no_text_makes_extraction_raise(text: str) -> None:
    final = final_text(text)
    assert final is None or final in text
    stated = stated_answer(final or "")
    assert stated is None or stated.text


@pytest.mark.parametrize("opening", ["\\boxed{", "\\boxed{5}", "<answer>", "{", "answer is ", "**", "#### ", "A: "])
def test_text_that_only_opens_takes_linear_time(opening: str) -> None:
    stated_answer(opening * 100_000)  # a quadratic pass would take minutes
