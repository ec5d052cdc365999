import pytest

from distill.detect.readability import asks_for_code, has_code, longest_paragraph

CODE = "def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("one two three", 3),
        ("one two\nthree\n\nfour five six seven", 4),
        ("一二三四 five", 5),
        ("a" * 50 + "\nb c d", 3),
    ],
)
def test_the_longest_paragraph_is_the_one_with_the_most_words(text, words):
    assert longest_paragraph(text) == words


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"So:\n```python\n{CODE}\n```\nDone.", True),
        (f"So:\n```\n{CODE}\n```", True),
        (f"So:\n```\n{CODE}", True),
        (f"I try this:\n{CODE}\nand it works.", True),
        ("#include <stdio.h>\nint main() {\n  int x = 3;\n  return x;\n}", True),
        ("```\n  1234\n+ 5678\n------\n  6912\n```", False),
        ("for each x in the set:\nwe import the rule\nx = 3", False),
        ("x = 3\ny = 4\nz = 5", False),
        ("The public may import goods.", False),
    ],
)
def test_code_is_found_in_fences_and_without(text, code):
    assert has_code(text) is code


@pytest.mark.parametrize(
    ("prompt", "verifier", "asked"),
    [
        ("Find x.", "code", True),
        ("Write a Python function.", "exact", True),
        ("写一个程序。", None, True),
        ("Find x.", "math", False),
        ("Find x.", None, False),
    ],
)
def test_problems_about_code(prompt, verifier, asked):
    assert asks_for_code(prompt, verifier) is asked
