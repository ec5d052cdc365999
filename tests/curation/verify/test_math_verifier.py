"""The policy (curation/verify/POLICY.md) as rows: reference, completion, verdict. Graded in the pool."""

import json

import pytest

from curation.verify import grade
from curation.verify.pool import GraderPool, Job


def outcome(pool: GraderPool, answer: str, completion: str, **args: object) -> str:
    return pool.submit(Job("math", answer, completion, json.dumps(args) if args else None)).result().outcome


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("5", " 5"),
        ("5", "The answer is 5."),
        ("5", "The answer is 5. I hope it is correct."),
        ("26", "2 * 13 = 26\nA: 26"),
        ("694", "x: 694"),
        ("18", "9 * 2 = 18\n#### 18"),
        ("7", "There are 3 dogs and 4 cats.\nThat makes 7 animals."),
        ("5", "It is 2+3"),
        ("9", "Answer $$ \n 9 \n $$"),
        ("12 and 13", "It lies between 12 and 13."),
        ("1,-2", r"\(\boxed{1}\) and \(\boxed{-2}\)."),
        ("5", r"First \boxed{4}. No, wait: \boxed{5}"),
        ("6", "The answer is not 5, it is 6."),
        ("5", "The answer is 5, not 6."),
        ("-5", "The answer is negative 5"),
        ("4,5", "(a) \\boxed{4}\n(b) \\boxed{5}"),
        ("5", r"\boxed{The answer is 5}"),
        ("5", r"\boxed{\approx 5}"),
        ("5", r"\boxed{\text{5 cm}}"),
        ("5000000", "The total is $5 million."),
        ("5", r"<thinking>\boxed{7}</thinking>The answer is 5"),
        ("7", "#### 7"),
        ("So 3 + 4 = 7.\n#### 7", "7"),
        ("13/28", "计划的比例为13/28"),
        ("220", "Since $100 and $120 add up, she pays $220 in all."),
    ],
)
def test_the_answer_is_found(pool: GraderPool, answer: str, completion: str) -> None:
    assert outcome(pool, answer, completion) == "correct"


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("5", r"\boxed{6}"),
        ("5", r"It is 5, so \boxed{7}"),
        ("5", r"\boxed{5} or \boxed{7}"),
        ("5", r"\boxed{5, 7}"),
        ("5", "The answer is 5 or 7"),
        ("5", "It is 5 or 7."),
        ("5", "The answer is $5$ or $7$."),
        ("5", r"\boxed{5 \text{ or } 7}"),
        ("5", r"\boxed{x = 5, x = 7}"),
        ("5", r"\boxed{\{5, 7\}}"),
        ("5", r"\boxed{5 \text{ (or 7)}}"),
        ("5", r"\boxed{5 perhaps 7}"),
        ("5", r"\boxed{5, perhaps 7}"),
        ("5", r"\boxed{5 \pm 2}"),
        ("5", "The answer is 5, or maybe 7."),
        ("5", "The answer is 5 or perhaps 7"),
        ("5", "The answer is 5, possibly 7."),
        ("5", "The answer is 5 but could be 7."),
        ("5", "It is 7 or maybe 5."),
        ("5", "The answer is not 5, it is 6."),
        ("5", "The answer is not 5."),
        ("5", "The answer cannot be 5."),
        ("5", "The answer isn't 5."),
        ("5", "The answer is anything but 5."),
        ("5", "答案不是5"),
        ("5", "The answer is at least 5"),
        ("5", "The answer is twice 5"),
        ("5", "The answer is the square root of 5"),
        ("5", "The answer is 5 to 7"),
        ("5", r"\boxed{6}/\boxed{5}"),
        ("5", "(a) \\boxed{4}\n(b) \\boxed{5}"),
        ("5", r"\boxed{\text{5 or 7}}"),
        ("5", r"\boxed{The answer is not 5}"),
        ("5", r"\boxed{\neq 5}"),
        ("5", r"\boxed{0/0}"),
        ("7", r"\boxed{3 4}"),
        ("5", "The answer is 5 million"),
        ("5", "<thinking>5"),
        ("5", r"\boxed{x \in [4, 6]}"),
        ("5", r"\boxed{x > 4}"),
        ("12", r"\boxed{1}, \boxed{2}"),
        ("5", "I do not know."),
        ("5", r"\boxed{\frac{1}{}"),
        ("5", r"\boxed{\text{five, or so}}"),
        ("5", ""),
        ("5", "<think>5"),
    ],
)
def test_a_hedge_or_no_answer_is_wrong(pool: GraderPool, answer: str, completion: str) -> None:
    assert outcome(pool, answer, completion) == "wrong"


@pytest.mark.parametrize(
    ("answer", "stated", "expected"),
    [
        # numbers
        ("1000", "1,000", "correct"),
        ("1000", "1{,}000", "correct"),
        ("1000", r"1\,000", "correct"),
        ("11111111100", r"11,\! 111,\! 111,\! 100", "correct"),
        ("1000.99", "1000,99", "correct"),
        ("3,5", "3.5", "wrong"),
        ("0.5", r"\frac{1}{2}", "correct"),
        ("0.5", r"\frac12", "correct"),
        ("-1/2", r"-\dfrac{1}{2}", "correct"),
        ("9/5", r"1\frac{4}{5}", "correct"),
        ("9/5", "1 4/5", "correct"),
        ("3.83e35", r"3.83\times10^{35}", "correct"),
        ("1.325e-27", "1.325×10⁻²⁷", "correct"),
        ("1.39e-10", r"1.36\times10^{-10}", "wrong"),
        ("-3", "−3", "correct"),
        ("12", "１２", "correct"),
        ("12", "1\u200b2", "correct"),
        ("12", "\u202e21", "wrong"),
        ("012", "12", "correct"),
        # approximations
        ("1/3", "0.3333", "correct"),
        ("1/3", "0.333", "wrong"),
        ("2/3", "0.6667", "correct"),
        (r"\frac{600}{7}", "85.71", "correct"),
        (r"\sqrt{2}", "1.4142", "correct"),
        (r"\sqrt{2}", "1.4143", "wrong"),
        ("0.6054", r"\cos^{10}(\frac{\pi}{10})", "correct"),
        ("3.1416", "3.14", "wrong"),
        ("3.14", r"\pi", "wrong"),
        ("1.6", r"\frac{\pi}{2}", "wrong"),
        ("100000", "100001", "wrong"),
        ("100000", "99999.9", "wrong"),
        ("1538", "1,538.46", "wrong"),
        # percent, units, money
        (r"50\%", "50", "correct"),
        ("50", r"50\%", "correct"),
        ("0.5", "50%", "correct"),
        ("0.5", "50", "wrong"),
        (r"28\%", "28 percent", "correct"),
        ("102 kPa", "102", "correct"),
        ("102", "102 kPa", "correct"),
        ("3 atm", "3.0", "correct"),
        ("5 km", "5 m", "wrong"),
        ("5 km", r"5\text{ kilometers}", "correct"),
        ("5 m", r"5\text{ m}^2", "wrong"),
        (r"15\mbox{ cm}^2", "15 square centimeters", "correct"),
        (r"\frac13 \text{ meters}", "1/3", "correct"),
        ("10", r"10\text{ units}", "correct"),
        ("18", r"\$18", "correct"),
        ("18", "18 dollars", "correct"),
        ("18 euros", r"\$18", "wrong"),
        ("90^\\circ", "90", "correct"),
        ("90^\\circ", r"\frac{\pi}{2}", "wrong"),
        ("5 km", "5 apples", "wrong"),
        ("5", "5 apples", "correct"),
        ("7 apples", "7 red apples", "correct"),
        ("5 north", "5 south", "wrong"),
        (r"10\% \text{ increase}", r"10\% \text{ decrease}", "wrong"),
        ("3", r"3 \text{ or more}", "wrong"),
        ("3", r"3 \text{ and a half}", "wrong"),
        ("3", "3 squared", "wrong"),
        ("5元", "5", "correct"),
        ("5", "5个", "correct"),
        ("12", "12平方厘米", "correct"),
        ("12平方厘米", r"12 \text{ cm}^2", "correct"),
        ("12厘米", "12米", "wrong"),
        ("5", "5 元", "correct"),
        # bases, times, ratios, words for numbers
        ("1010_2", "1010", "correct"),
        ("1010", "1010_7", "correct"),
        ("1010_2", r"1010_{\text{two}}", "correct"),
        ("1010_2", "1010_3", "wrong"),
        ("1010_2", "10", "wrong"),
        ("8:00", "9:00", "wrong"),
        ("8:00 PM", "8:00 p.m.", "correct"),
        ("8:00 PM", "8:00", "correct"),
        (r"3:45 \text{ PM}", r"3:45 \text{ AM}", "wrong"),
        ("8 pm", "8", "correct"),
        ("8 pm", "8 am", "wrong"),
        ("2:3", "4:6", "correct"),
        ("2:3", "3:2", "wrong"),
        ("1000000", "1 million", "correct"),
        ("5 million", "5", "wrong"),
        (r"\$5 million", r"\$5 billion", "wrong"),
        ("36", "3 dozen", "correct"),
        ("50000", "5万", "correct"),
        ("3", r"\text{Three}", "correct"),
        ("1,000", "1 000", "correct"),
        ("12", "3(4)", "correct"),
        ("0.64N", r"\frac{16}{25}N", "correct"),
        ("0.64N", "0.64", "wrong"),
        # equations
        ("3", "x = 3", "correct"),
        ("x = 3", "3", "correct"),
        ("x = 3", "y = 3", "wrong"),
        ("5", "7 = 5", "wrong"),
        ("5", "1=2=3=4=5", "wrong"),
        ("5", "a + b = 5", "correct"),
        ("3", r"x \not= 3", "wrong"),
        (r"x \neq 1", r"x \ne 2", "wrong"),
        ("11", "x = 5+5+1 = 7+4 = 11", "correct"),
        ("1/3", r"x = 1/3 \approx 0.33", "correct"),
        ("3.32", r"C \approx 3.32", "correct"),
        (r"x^2/4 + y^2/3 = 1", r"x^2/16 + y^2/12 = 1/4", "correct"),
        ("x = y + 2", "x - (y+2) = 0", "correct"),
        ("x^2+y^2=1", "x^2-y^2=1", "wrong"),
        ("7 = 11a+c", "11a+c", "wrong"),
        ("f(x) = 2x", "2x", "correct"),
        # lists, tuples, sets, intervals
        ("1, 2", "2, 1", "correct"),
        ("1, 2", r"2 \text{ and } 1", "correct"),
        ("1, 2", "1", "wrong"),
        ("1", "1, 1", "correct"),
        (r"\pm 3", "-3, 3", "correct"),
        (r"1 \pm \sqrt{5}", r"1+\sqrt5, 1-\sqrt5", "correct"),
        (r"\{1, 2\}", "2, 1", "correct"),
        ("x=1, y=2", "y=2, x=1", "correct"),
        ("x=1, y=2", "1, 2", "correct"),
        ("x=1, y=2", "2, 1", "wrong"),
        ("(1,2)", "(1, 2)", "correct"),
        ("(1,2)", "(2,1)", "wrong"),
        ("(1,2)", "1, 2", "correct"),
        ("(1,2)", "2, 1", "wrong"),
        ("(2,1),(3,1)", "(3,1),(2,1)", "correct"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1, 2)", "correct"),
        (r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&\frac{8}{2}\end{bmatrix}", "correct"),
        (r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}", "wrong"),
        ("[0,9)", "(0,9)", "wrong"),
        (r"(5, \infty)", "x > 5", "correct"),
        ("x > 5", r"(5, \infty)", "correct"),
        ("x > 5", "x < 5", "wrong"),
        (r"x \le 5", r"5 \ge x", "correct"),
        (r"(-\infty,2]\cup[3,\infty)", r"[3,\infty) \cup (-\infty, 2]", "correct"),
        (r"(-\infty,2)\cup(3,\infty)", r"x<2 \text{ or } x>3", "correct"),
        (r"x \in (0,1)", "(0,1)", "correct"),
        (r"(\frac{3}{5},\frac{8}{3}]", "(0.6,2.6667]", "correct"),
        ("[2, 3, 5]", "2, 3, 5", "correct"),
        (r"\{x \mid x > 5\}", r"(5, \infty)", "correct"),
        # text
        ("even", r"\text{Even}", "correct"),
        ("even", "odd", "wrong"),
        ("No solution", r"\text{no solution}.", "correct"),
        ("True", "true", "correct"),
        ("even", "4", "wrong"),
        # expressions
        ("x+1", "1+x", "correct"),
        ("x+1", "x+2", "wrong"),
        ("x^2-1", "(x-1)(x+1)", "correct"),
        (r"2\sqrt{3}", r"\sqrt{12}", "correct"),
        ("1-1/e", "1+1/e", "wrong"),
        (r"2^{2024}-1", r"2^{2024}", "wrong"),
        ("100!", "100!+1", "wrong"),
        (r"\binom{200}{100}", r"\binom{200}{100}+1", "wrong"),
        (r"1-(\frac{5}{6})^{400}", "1", "wrong"),
        (r"e^{-100}", "0", "wrong"),
        (r"\sqrt{2}+2^{-200}", r"\sqrt{2}", "wrong"),
        (r"\sqrt{2}\sqrt{3}", r"\sqrt{6}", "correct"),
        (r"3\cos(2\pi t)", "3", "wrong"),
        (r"\lceil x \rceil", r"\lfloor x \rfloor", "wrong"),
        (r"\lfloor n/2 \rfloor", r"\frac{2n-1+(-1)^n}{4}", "correct"),
        ("0", r"1/\infty", "wrong"),
        ("x^2", "x^2+C", "wrong"),
        (r"\tan^2(y)+1", r"\sec^2(y)", "correct"),
        (r"\sqrt{x^2}", "|x|", "correct"),
        (r"\sqrt{x^2}", "x", "wrong"),
        ("(-1)^n", r"\cos(\pi n)", "correct"),
        (r"\frac{n(n+1)}{2}", r"\sum_{k=1}^n k", "correct"),
        (r"\frac{n!}{k!(n-k)!}", r"\binom{n}{k}", "correct"),
        (r"\frac{e^{2it}}{2+2i}", r"(\frac14-\frac14 i)e^{2it}", "correct"),
        (r"100\sqrt{p}", r"100\sqrt{P}", "wrong"),
        ("x**2 - 1", "x^2-1", "correct"),
        (r"f(x)+1", "1+f(x)", "correct"),
    ],
)
def test_the_policy(pool: GraderPool, answer: str, stated: str, expected: str) -> None:
    assert outcome(pool, answer, f"\\boxed{{{stated}}}") == expected


@pytest.mark.parametrize(
    ("answer", "stated", "args", "expected"),
    [
        ("100", "100.5", {"tolerance": 0.01}, "correct"),
        ("100", "102", {"tolerance": 0.01}, "wrong"),
        ("100", "100.5", {"tolerance": 0}, "wrong"),
        (r"\sqrt{2}", "1.41", {"tolerance": 0.01}, "correct"),
        ("5 m", "5", {"units": "match"}, "wrong"),
        ("5 m", "5 meters", {"units": "match"}, "correct"),
        ("50", "50%", {"units": "match"}, "wrong"),
        ("0.5", "50%", {"units": "match"}, "correct"),
        ("1, 2", "2, 1", {"ordered": True}, "wrong"),
        ("1, 2", "1, 2", {"ordered": True}, "correct"),
    ],
)
def test_what_a_problem_may_switch(
    pool: GraderPool, answer: str, stated: str, args: dict[str, object], expected: str
) -> None:
    assert outcome(pool, answer, f"\\boxed{{{stated}}}", **args) == expected


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ('{"tol": 1, "unit": 2}', "unknown verifier_args of math: tol, unit; known are tolerance, units, ordered"),
        ('{"tolerance": -1}', "tolerance must be a number from 0 to below 1, not -1"),
        ('{"tolerance": true}', "tolerance must be a number from 0 to below 1, not True"),
        ('{"units": "yes"}', "units must be 'ignore' or 'match', not 'yes'"),
        ('{"ordered": 1}', "ordered must be true or false, not 1"),
    ],
)
def test_args_that_mean_nothing_are_an_error_that_names_them(args: str, reason: str) -> None:
    verdict = grade("math", "5", "5", args)
    assert verdict.outcome == "error"
    assert reason in verdict.reason


PROSE = "The function is increasing because its derivative is positive everywhere."


@pytest.mark.parametrize("completion", [PROSE, "5", "", f"\\boxed{{{PROSE}}}"])
def test_no_completion_is_measured_against_prose(completion: str) -> None:
    verdict = grade("math", PROSE, completion)
    assert (verdict.outcome, verdict.reason) == ("error", "the reference answer is prose, which no rule compares")


def test_a_reference_that_cannot_be_read_is_an_error_and_a_completion_is_wrong(pool: GraderPool) -> None:
    unreadable = pool.submit(Job("math", r"\frac{}{2}", r"\boxed{3}")).result()
    assert (unreadable.outcome, unreadable.reason) == ("error", "the reference answer cannot be read")
    nothing = pool.submit(Job("math", "3", r"\boxed{\frac{}{2}}")).result()
    assert (nothing.outcome, nothing.reason) == ("wrong", "the answer cannot be read")
    silent = pool.submit(Job("math", "5", "I do not know.")).result()
    assert (silent.outcome, silent.reason) == ("wrong", "no answer found")


@pytest.mark.parametrize("answer", ["5'6\"", "≥5", "大于5", "see solution", "N/A", "None", "C) 74%"])
def test_a_reference_that_nothing_else_could_equal_is_an_error_also_against_itself(answer: str) -> None:
    verdicts = [grade("math", answer, f"\\boxed{{{stated}}}") for stated in (answer, "5")]
    assert [verdict.outcome for verdict in verdicts] == ["error", "error"]
    assert all("the reference answer" in verdict.reason for verdict in verdicts)


def test_values_too_large_to_compute_are_undecided(pool: GraderPool) -> None:
    verdict = pool.submit(Job("math", "5", r"\boxed{x^{10^{10^{10}}}+1}")).result()
    assert (verdict.outcome, verdict.reason) == ("error", "neither algebra nor values at points decide")
