r"""Problems of reasoning-gym, graded by its own scorers.

`args`: `{"dataset": "chain_sum", "entry": {"question", "answer", "metadata"}, "params": {…}}`, as `args_for` writes
it. `params` is the dataset's configuration where it is not the default; the scorers of decimal_arithmetic, puzzle24
and time_intervals depend on it. The problem's answer replaces the entry's, so that a scorer that recomputes notices a
wrong reference. Scores of .99 and more are correct (partial credit is wrong); the reason carries the score.

What is graded is what `extract.stated_answer` finds, trimmed; of an answer in several lines as many last lines as the
reference has. After "answer is" a final full stop is dropped unless the reference has one.

Scorers may raise on odd text:

| raised | verdict |
|---|---|
| ValueError (json, int, float, ast, sympy), SyntaxError, LookupError, TypeError, AttributeError, ArithmeticError, TokenError, AssertionError | wrong: the answer cannot be read |
| the same, and the entry's own answer raises as well | error: the grader broke |
| everything else (MemoryError, RecursionError, OSError, ImportError, …) | error: the grader broke |

Measured with reasoning-gym 0.1.25, 8 entries of each of its 105 datasets but `composite`: after a round trip through
JSON every scorer gives the same scores except arc_agi and rearc, which compare nested tuples; their lists are turned
back into tuples here, so none is lost. Without an answer of their own are graph_color, propositional_logic and
rubiks_cube (an example in the metadata serves instead), boxnet and rush_hour (nothing to check them by). A problem of
`composite` is graded as what it was made from.

Nine scorers evaluate the answer as Python. Four of them get `ast.literal_eval` for `eval`; for the five that call
sympy's `parse_expr` an answer with any name but a letter or a function of analysis cannot be read.
"""  # noqa: E501 - a table row is one line

import ast
import datetime
import functools
import json
import re
import sys
import tokenize
from collections.abc import Callable
from typing import Any

from curation.verify import Verdict
from curation.verify.extract import NO_ANSWER, NOT_CLOSED, final_text, stated_answer

VERSION = 3
NEEDS_ANSWER = False

CORRECT_FROM = 0.99

_ODD_TEXT: tuple[type[Exception], ...] = (
    *(ValueError, SyntaxError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, tokenize.TokenError, AssertionError),
)
_COMPARES_TUPLES = frozenset({"arc_agi", "rearc"})
_EXAMPLES = ("example_answer", "example_correct_answer", "possible_answer")
_EVALS_LITERALS = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
_PARSES_EXPRESSIONS = frozenset(
    {"countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration"}
)
_NOT_IN_EXPRESSIONS = re.compile(r"[^\w\s+\-*/^().,]|_")
_NAME = re.compile(r"[^\W\d]+")
_NAMES = frozenset(
    [
        *("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
        *("exp", "log", "ln", "sqrt", "Abs", "pi", "Integral", "erf", "Si", "Ci", "Ei"),
    ]
)

Scorer = Callable[[str, dict[str, Any]], float]


def grade(answer: str, completion: str, args: dict[str, Any]) -> Verdict:
    """Correct when the dataset's scorer gives the stated answer at least .99."""
    text = final_text(completion)
    if text is None:
        return Verdict("wrong", None, NOT_CLOSED)
    dataset, entry = args["dataset"], dict(args["entry"])
    if answer:
        entry["answer"] = answer
    own = own_answer(entry)
    stated = stated_answer(text, lines=(own or "").strip().count("\n") + 1)
    if stated is None:
        return Verdict("wrong", None, NO_ANSWER)
    said = stated.text
    if stated.form == "marker" and said.endswith(".") and not (own or "").strip().endswith("."):
        said = said[:-1].rstrip()
    score_answer = scorer(dataset, json.dumps(args.get("params") or {}, sort_keys=True))
    if dataset in _COMPARES_TUPLES:
        entry["metadata"] = _tuples(entry["metadata"])
    try:
        score = score_answer(said, entry)
    except _ODD_TEXT as problem:
        try:
            score_answer(own or "", entry)
        except _ODD_TEXT as own_problem:
            return Verdict("error", said, f"the grader broke on the problem's own answer: {own_problem!r}"[:500])
        return Verdict("wrong", said, f"the answer cannot be read: {problem!r}"[:500])
    return Verdict("correct" if score >= CORRECT_FROM else "wrong", said, f"score {score:.3g}")


@functools.cache
def scorer(dataset: str, params: str = "{}") -> Scorer:
    """The scoring function of a dataset with this configuration (JSON); raises ValueError for a dataset that does not
    exist.
    """
    import reasoning_gym

    config = json.loads(params)
    made = reasoning_gym.create_dataset(dataset, **config) if config else None
    score: Callable[..., float] = made.score_answer if made else reasoning_gym.get_score_answer_fn(dataset)
    if dataset in _EVALS_LITERALS:
        setattr(sys.modules[type(score.__self__).__module__], "eval", ast.literal_eval)  # type: ignore[attr-defined]  # noqa: B010

    def score_answer(answer: str, entry: dict[str, Any]) -> float:
        if dataset in _PARSES_EXPRESSIONS:
            _refuse_code(answer)
        return float(score(answer=answer, entry=entry))

    return score_answer


def _refuse_code(answer: str) -> None:
    """Raise ValueError unless the text is an expression of numbers, letters and functions of analysis: `parse_expr`
    runs what it is given.
    """
    if odd := _NOT_IN_EXPRESSIONS.search(answer):
        raise ValueError(f"{odd[0]!r} in an expression")
    for name in _NAME.findall(answer):
        if len(name) > 1 and name not in _NAMES:
            raise ValueError(f"unknown name {name!r} in an expression")


def own_answer(entry: dict[str, Any]) -> str | None:
    """The entry's answer, or the example that its metadata holds; None when it has neither."""
    if isinstance(entry.get("answer"), str):
        return str(entry["answer"])
    example = next((entry["metadata"][key] for key in _EXAMPLES if key in entry["metadata"]), None)
    return example if example is None or isinstance(example, str) else json.dumps(example)


def args_for(dataset_name: str, entry: dict[str, Any], params: dict[str, Any] | None = None) -> str:
    """The canonical JSON that a problem keeps of a reasoning-gym entry: sorted keys, compact, Unicode as it is.

    Tuples and sets become lists (sets sorted), dates ISO text, numpy scalars numbers. Anything else that JSON cannot
    hold raises ValueError naming the dataset and the type.
    """
    if dataset_name == "composite":
        dataset_name = entry["metadata"]["source_dataset"]
    args = {"dataset": dataset_name, "entry": {key: entry[key] for key in ("question", "answer", "metadata")}}
    if params:
        args["params"] = params
    try:
        return json.dumps(args, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError) as problem:
        raise ValueError(f"an entry of reasoning-gym's {dataset_name} cannot be kept as JSON: {problem}") from problem


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if hasattr(value, "item"):  # numpy scalars
        return value.item()
    raise TypeError(f"a {type(value).__name__} is not JSON")


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value


def as_completion(answer: str, args: dict[str, Any]) -> str:
    """The answer between answer tags, as reasoning-gym's own prompts ask for it; raises ValueError for an entry that
    has none.
    """
    own = answer or own_answer(args["entry"])
    if not own:
        raise ValueError("the problem has no answer")
    return f"<answer>{own}</answer>"


def warm() -> None:
    """Import reasoning-gym, which takes seconds."""
    import reasoning_gym  # noqa: F401
