"""What `verifier_args` of code problems may say, and what they are told when they say something else."""

import json
from typing import Any

import pytest

from curation.verify import grade
from curation.verify.code_args import CodeArgsError, read_tests

PAIRS = {"inputs": ["1\n"], "outputs": ["2\n"]}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({}, "needs 'inputs': a code problem has {inputs, outputs} or {fn_name, inputs, outputs} or {test}"),
        ({"inputs": ["1"]}, "needs 'outputs'"),
        ({**PAIRS, "input": 1}, "has 'input': with {inputs, outputs}, known are .*; did you mean 'inputs'"),
        ({**PAIRS, "entry_point": "f"}, "has 'entry_point': with {inputs, outputs}"),
        ({"inputs": [], "outputs": []}, "'inputs' of verifier_args must be a list with something in it"),
        ({"inputs": [1], "outputs": ["2"]}, "'inputs' of verifier_args must be a list of texts"),
        ({"inputs": ["1", "2"], "outputs": ["2"]}, "2 'inputs' and 1 'outputs'"),
        ({"fn_name": "", **PAIRS}, "'fn_name' of verifier_args must be a name"),
        (
            {"fn_name": "f", "inputs": [1], "outputs": [2]},
            "'inputs' of verifier_args must be a list of lists of arguments",
        ),
        ({"test": " \n"}, "'test' of verifier_args must be more than white space"),
        ({"test": [1]}, "'test' of verifier_args must be text, or a list of texts"),
        ({"test": "assert f(1)", "tolerance": 0.1}, "has 'tolerance': with {test}"),
        ({**PAIRS, "seconds": 0}, "'seconds' of verifier_args must be above 0, at most 20"),
        ({**PAIRS, "seconds": True}, "'seconds'"),
        ({**PAIRS, "tolerance": 1}, "'tolerance' of verifier_args must be from 0 to below 1"),
        ({"test": "assert f(1)", "in_place": 1}, "'in_place' of verifier_args must be true or false"),
        ({**PAIRS, "interpreter": ["node"]}, "'interpreter' of verifier_args must be a list like"),
        ({**PAIRS, "interpreter": ["/home/me/bin/node"]}, "below /usr or /opt"),
        ({**PAIRS, "interpreter": ["/usr/../root/x"]}, "below /usr or /opt"),
    ],
)
def test_a_mistake_is_named_and_leaves_the_verdict_unknown(args: dict[str, Any], said: str) -> None:
    with pytest.raises(CodeArgsError, match=said):
        read_tests(args)
    assert grade("code", None, "print(1)", json.dumps(args)).outcome == "error"


def test_numbers_in_json_text_may_be_long() -> None:
    tests = read_tests({"fn_name": "f", "inputs": [[1], [2]], "outputs": f"[1{'0' * 5000}, -2{'0' * 9000}]"})
    assert tests.outputs == [10**5000, -2 * 10**9000]
    with pytest.raises(CodeArgsError, match="a number of 200000 digits: at most 100000"):
        read_tests({"fn_name": "f", "inputs": [[1]], "outputs": f"[{'1' * 200_000}]"})


def test_the_formats_of_data_sets_are_read_as_they_are() -> None:
    apps = read_tests({"inputs": ["1\n2\n"], "outputs": ["3\n"], "fn_name": None})
    assert (apps.inputs, apps.outputs, apps.name) == (["1\n2\n"], ["3\n"], None)
    taco = read_tests({"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]})
    assert (taco.inputs, taco.outputs, taco.name) == ([[1, 2]], [[3]], "add")
    lines = read_tests({"inputs": [["1", "2"]], "outputs": [["3"]]})
    assert (lines.inputs, lines.outputs) == (["1\n2"], ["3"])
    human = read_tests({"test": "def check(candidate): ...", "entry_point": "f", "prefix": "def f(): ..."})
    assert (human.test, human.name, human.prefix) == (["def check(candidate): ..."], "f", "def f(): ...")
    assert read_tests({"test": ["assert f(1)", "assert f(2)"]}).test == ["assert f(1)", "assert f(2)"]
