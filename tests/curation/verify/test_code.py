"""Programs against tests: what is read from a completion, what the three forms of tests accept, what is unknown."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curation.verify import Verdict, as_completion, grade
from curation.verify.code import outputs
from curation.verify.pool import GraderPool, Job

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

BENCHMARKS = Path(__file__).parents[4] / "shared" / "data" / "benchmarks"
SUM = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
ADD = "def add(a, b):\n    return a + b\n"


def graded(completion: str, args: dict[str, Any]) -> Verdict:
    return grade("code", None, completion, json.dumps(args))


def outcome(completion: str, args: dict[str, Any]) -> str:
    return graded(completion, args).outcome


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("a, b = map(int, input().split())\nprint(a + b)", "correct"),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", "correct"),
        ("import os\nos.write(1, b'%d' % sum(map(int, os.read(0, 99).split())))", "correct"),
        ("def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()", "correct"),
        ("a, b = map(int, input().split())\nprint(f'  {a + b}  \\n\\n')\nexit()", "correct"),
        ("print(3)", "wrong"),
        ("a, b = map(int, input().split())\nprint(a + b, 'is the sum')", "wrong"),
        ("print(", "wrong"),
    ],
)
def test_programs_read_standard_input_and_write_standard_output(program: str, expected: str) -> None:
    assert outcome(program, SUM) == expected


def test_the_reason_names_the_test_and_what_was_written() -> None:
    assert graded("print(3)", SUM) == Verdict("wrong", "print(3)", r"test 2 of 2: it wrote '3\n', not '7\n'")
    assert graded("print(1 / 0)", SUM).reason == (
        "test 1 of 2: it ended with status 1: ZeroDivisionError: division by zero"
    )


def test_inputs_may_be_lists_of_lines() -> None:
    args = {"inputs": [["2", "5 6"]], "outputs": [["11", "2"]]}
    assert outcome("n = input()\nprint(sum(map(int, input().split())))\nprint(n)", args) == "correct"


def test_numbers_may_be_off_only_when_the_problem_says_so() -> None:
    args = {"inputs": [""], "outputs": ["0.333333 ok"]}
    assert outcome("print(1 / 3, 'ok')", args) == "wrong"
    assert outcome("print(1 / 3, 'ok')", {**args, "tolerance": 1e-4}) == "correct"
    assert outcome("print(1 / 3, 'no')", {**args, "tolerance": 1e-4}) == "wrong"


@pytest.mark.skipif(not os.access("/usr/bin/perl", os.X_OK), reason="there is no /usr/bin/perl")
def test_any_interpreter_of_the_system_may_run_programs() -> None:
    args = {**SUM, "interpreter": ["/usr/bin/perl"]}
    assert outcome("```perl\n($a, $b) = split ' ', <STDIN>; print $a + $b;\n```", args) == "correct"
    assert outcome("```perl\nprint 3;\n```", args) == "wrong"


@pytest.mark.skipif(not os.access("/usr/bin/node", os.X_OK), reason="there is no /usr/bin/node")
def test_node_runs_in_the_workers_of_the_grader_pool(graders: GraderPool) -> None:
    program = (
        "```js\nconsole.log(require('fs').readFileSync(0, 'utf8').trim().split(' ').reduce((a, b) => a - -b))\n```"
    )
    args = json.dumps({**SUM, "interpreter": ["/usr/bin/node"]})
    (verdict,) = graders.grade_many([Job("code", None, program, args)])
    assert (verdict.outcome, verdict.reason) == ("correct", "")


@pytest.mark.parametrize("path", ["/usr/bin/no-such", "/usr/", "/opt/"])
def test_an_interpreter_that_is_not_there_is_unknown(path: str) -> None:
    verdict = graded("x", {**SUM, "interpreter": [path]})
    assert (verdict.outcome, verdict.reason) == ("error", f"this machine has no interpreter {path}")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (ADD, "correct"),
        ("class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b", "correct"),
        ("def add(a, b):\n    return a - b", "wrong"),
        ("def plus(a, b):\n    return a + b", "wrong"),
        ("def add(a, b):\n    return str(a + b)", "wrong"),
        ("def add(a, b):\n    return a + b == 3", "wrong"),
    ],
)
def test_functions_are_called_with_json(program: str, expected: str) -> None:
    assert outcome(program, {"fn_name": "add", "inputs": [[1, 2], [0, 0]], "outputs": [3, 0]}) == expected
    assert outcome(program, {"fn_name": "add", "inputs": [[1, 2], [0, 0]], "outputs": [[3], [0]]}) == expected


def test_results_are_compared_as_json() -> None:
    args = {"fn_name": "f", "inputs": [[1]], "outputs": [[1, [2, 3], {"4": None}]]}
    assert outcome("def f(x): return x, (2, 3), {4: None}", args) == "correct"
    assert outcome("def f(x): return x, {2, 3}, {4: None}", args) == "wrong"


def test_a_function_in_place_is_judged_by_its_first_argument() -> None:
    args = {"fn_name": "f", "inputs": [[[3, 1, 2]]], "outputs": [[1, 2, 3]], "in_place": True}
    assert outcome("def f(x): x.sort()", args) == "correct"
    assert outcome("def f(x): return sorted(x)", args) == "wrong"


CHECK = {
    "test": "def check(candidate):\n    for x in range(5):\n        assert candidate(x, 1) == x + 1",
    "entry_point": "add",
}


@pytest.mark.parametrize(
    ("args", "right", "wrong"),
    [
        (CHECK, ADD, "def add(a, b): return 1"),
        ({**CHECK, "prefix": "def add(a, b):\n    '''the sum'''\n"}, "    return a + b\n", "    return a\n"),
        ({**CHECK, "prefix": "def add(a, b):\n    '''the sum'''"}, "c = a + b\n    return c", "c = a\n    return c"),
        ({**CHECK, "prefix": "import math\ndef add(a, b):\n    '''the sum'''\n"}, ADD.replace("a +", "math.floor(a) +"), "pass"),
        ({"test": ["assert add(1, 2) == 3", "assert set(add([1], [2])) == {1, 2}"]}, ADD, "def add(a, b): return 3"),
        ({"test": ["assert add(1, 2) == 3", "assert add(b=2, a=2) != 3"]}, ADD, "def add(a, b): return 3"),
        ({"test": "assert math.isclose(add(.1, .2), .3)"}, ADD, "def add(a, b): return .31"),
        ({"test": "from solution import add\ndef test_add():\n    assert add(1, 2) == 3"}, ADD, "def add(a, b): return 4"),
        ({"test": "assert Solution().add(1, 2) == 3"}, "class Solution:\n    add = lambda self, a, b: a + b", "1"),
        ({"test": "x = [3, 1]\nf(x)\nassert x == [1, 3]"}, "def f(x): x.sort()", "def f(x): x = sorted(x)"),
        ({"test": "try:\n    f(0)\n    assert 0\nexcept ZeroDivisionError: pass"}, "def f(x): return 1 / x", "def f(x): 1"),
        ({"test": "assert f(1) == (1, {2}, {'a': 1j}, b'x')"}, "def f(x): return x, {2}, {'a': 1j}, b'x'", "def f(x): 1"),
        ({"test": "assert list(f(3)) == [0, 1, 2]"}, "def f(x): yield from range(x)", "def f(x): return range(2)"),
        ({"test": "from fractions import *\nassert f(2) == Fraction(1, 2)"},
         "from fractions import *\ndef f(x): return Fraction(1, x)", "def f(x): return '1/2'"),
        ({"test": "assert f('\\ud800') == 10 ** 5000"}, "def f(x): return 10 ** 5000", "def f(x): return 10 ** 5000 + 1"),
    ],
)  # fmt: skip
def test_tests_that_are_python(args: dict[str, Any], right: str, wrong: str) -> None:
    assert graded(f"```python\n{right}\n```", args).outcome == "correct"
    assert graded(f"```python\n{wrong}\n```", args).outcome == "wrong"


def test_arguments_are_copies_when_the_function_returns_something() -> None:
    test = "x = [3, 1]\nassert f(x) == sorted(x)"
    assert outcome("def f(x):\n    x.clear()\n    return []", {"test": test}) == "wrong"
    assert outcome("def f(x):\n    x.clear()\n    return []", {"test": test, "in_place": True}) == "correct"


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("assert add(1, 2) ==", "the tests fail by themselves: SyntaxError"),
        ("import no_such_module\nassert add(1, 2) == 3", "the tests fail by themselves: ModuleNotFoundError"),
        ("assert 1 + 1 == 3", "the tests fail by themselves: AssertionError"),
        ("x = 1", "the tests call nothing of the program"),
        ("assert add(lambda: 1, 2) == 3", "the tests call add with what has no literal: function, int"),
        (
            "from solution import add, Bad\ntry: add('', 2)\nexcept Bad: pass",
            "the tests catch an exception that the program",
        ),
        ("assert isinstance(add(1, 2), Node)", "the tests ask for objects of Node: only literals cross"),
        (
            "def test_a(): assert add(1, 2) == 3\nasync def test_b(): assert add(1, 2) == 4",
            "test_b of the tests cannot be run",
        ),
        (
            "def test_a():\n    yield\n    assert add(1, 2) == 4",
            "test_a of the tests cannot be run: it is async, a gen",
        ),
        (
            "def test_a(tmp_path): assert add(1, 2) == 4",
            "test_a of the tests cannot be run: it is async, a generator or has p",
        ),
        ("assert max([1, 2]) == 2", "the tests call nothing of the program"),
        ("assert add(1, 2).real == Node.real", "the tests want 'real' of Node: only literals cross"),
    ],
)
def test_tests_that_cannot_tell_leave_it_unknown(test: str, reason: str) -> None:
    verdict = graded(ADD, {"test": test})
    assert verdict.outcome == "error"
    assert verdict.reason.startswith(reason)


def test_a_function_may_be_called_like_one_that_is_built_in() -> None:
    assert outcome("def max(a): return 5", {"test": "assert max([1, 2]) == 5"}) == "correct"
    assert outcome("def add(a): return 5", {"test": "assert max([1, 2]) == 5"}) == "wrong"


CASES = """
class TestAdd:
    def setup_method(self): self.one = 1
    def test_it(self, more=2): assert add(self.one, more) == 3
"""
UNITTEST = """
import unittest
class Case(unittest.TestCase):
    def setUp(self): self.one = 1
    def test_it(self): self.assertEqual(add(self.one, 2), 3)
"""


@pytest.mark.parametrize("test", [CASES, UNITTEST], ids=["pytest", "unittest"])
def test_methods_of_test_classes_are_run(test: str) -> None:
    assert graded(ADD, {"test": test}) == Verdict("correct", ADD, "")
    assert outcome("def add(a, b): return 4", {"test": test}) == "wrong"


def test_results_may_have_many_digits() -> None:
    power = {"fn_name": "f", "inputs": [[5000]], "outputs": f"[1{'0' * 5000}]"}
    assert outcome("def f(n): return 10 ** n", power) == "correct"
    assert graded("def f(n): return 10 ** n + 1", power).reason == "test 1 of 1: it gave something too large to show"


def test_what_is_graded_comes_after_the_thinking() -> None:
    right, wrong = f"```python\n{ADD}```", "```python\ndef add(a, b): return 0\n```"
    assert outcome(f"<think>{wrong}</think>So:\n{right}", CHECK) == "correct"
    assert outcome(f"<think>{right}</think>So:\n{wrong}", CHECK) == "wrong"
    assert graded(f"<think>{right}", CHECK) == Verdict("wrong", None, "thinking was not closed")
    assert graded("", CHECK) == Verdict("wrong", None, "no program found")


def test_a_solution_is_a_fenced_block_and_without_one_there_is_nothing_to_check() -> None:
    assert as_completion("code", ADD, "{}") == f"```python\n{ADD}\n```"
    with pytest.raises(ValueError, match="no solution"):
        as_completion("code", None, "{}")


def test_without_bubblewrap_code_is_refused_and_told_how_to_get_it() -> None:
    program = f"from curation.verify import grade; print(grade('code', None, 'print(3)', {json.dumps(SUM)!r}))"
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "outcome='error'" in said
    assert "apt-get install bubblewrap" in said


def humaneval() -> Iterator[tuple[str, dict[str, Any]]]:
    for row in _rows("humaneval"):
        extra = json.loads(row["extra"])
        yield row["answer"], {"test": extra["test"], "entry_point": extra["entry_point"], "prefix": row["problem"]}


def mbpp() -> Iterator[tuple[str, dict[str, Any]]]:
    for row in _rows("mbpp_sanitized"):
        yield row["answer"], {"test": json.loads(row["extra"])["tests"]}


def _rows(name: str) -> list[dict[str, Any]]:
    path = BENCHMARKS / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path.name} is not there")
    return list(pq.read_table(path).to_pylist()[::8])


@pytest.fixture(scope="module")
def graders() -> Iterator[GraderPool]:
    with GraderPool(workers=2, preload=["code"]) as pool:
        yield pool


@pytest.mark.parametrize("source", [humaneval, mbpp], ids=["humaneval", "mbpp"])
def test_reference_solutions_pass(graders: GraderPool, source: Any) -> None:
    jobs = [Job("code", None, as_completion("code", answer, "{}"), json.dumps(args)) for answer, args in source()]
    assert [(verdict.outcome, verdict.reason) for verdict in graders.grade_many(jobs)] == [("correct", "")] * len(jobs)


class Mutation(ast.NodeTransformer):
    """Turns the first comparison or sum around, or else the first number into the next."""

    done = False

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if not self.done:
            self.done = True
            return ast.UnaryOp(ast.Not(), node)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not self.done and type(node.value) is int:
            self.done = True
            return ast.Constant(node.value + 1)
        return node


def test_mutated_solutions_that_fail_in_one_interpreter_fail(graders: GraderPool) -> None:
    mutated = []
    for answer, args in list(mbpp())[:25]:
        program = ast.unparse(ast.fix_missing_locations(Mutation().visit(ast.parse(answer))))
        mutated.append((program, args))
    jobs = [Job("code", None, f"```python\n{program}\n```", json.dumps(args)) for program, args in mutated]
    verdicts = [verdict.outcome for verdict in graders.grade_many(jobs)]
    bare = [outputs("\n".join(["import math", program, *args["test"]]), [""]) for program, args in mutated]
    assert [verdict for verdict, (alone,) in zip(verdicts, bare, strict=True) if alone is None].count("wrong") >= 15
    assert all(verdict == "wrong" for verdict, (alone,) in zip(verdicts, bare, strict=True) if alone is None)
