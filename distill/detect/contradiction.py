"""Whether the thinking ends on another answer than the final text gives.

The thinking's answer is the last that its end states by a box, an answer tag or "the answer is" (verify/extract.py); what was
only considered is none: an answer that is taken back after it, asked about, or supposed. Nor is a remark about the answer
("the answer is correct").

Equal is what the problem's verifier calls equal, in either direction, as it reads prose more kindly than references. Only
verifiers that compare two answers can tell; of the others, and where one of the texts states none, it stays unknown.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from curation.verify import JUDGE, Verdict
from curation.verify.extract import last_boxed, last_tagged, stated_answer, unmark
from curation.verify.jobs import Job
from distill.detect.words import tokens

COMPARING = ("math", "exact", "choice")
LAST = 1500
"""Characters at the end of the thinking in which its answer is looked for."""
LONGEST = 80
"""Characters of a statement that is an answer."""
ONE_LINE = 12
"""Words of a final text that is an answer as a whole."""
FEW_WORDS = 4
"""Words of an answer that is no number, beyond which it may be said in many ways."""

Grade = Callable[[Iterable[Job]], Iterable[Verdict]]

_MARKER = re.compile(
    r"\banswers?\b(?: (?:to|of|for) [^.\n:=]{1,40}?)?[*_`\s]*(?:(?:is|are|(?:must|should|would|will) be)(?!n['’]t)|=|:|：)"
    r"(?: (?:option|choice|indeed|therefore|then|simply|just|clearly|exactly|definitely|really))*[*_`:：]*"
    r"|答案(?:就|应该|应|最终)*[*_`\s]*(?:是|为|=|:|：)+[*_`:：]*",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"\s*(?:\\\((?P<round>.+?)\\\)|\$\$?(?P<dollar>[^$]+)\$|\\\[(?P<square>.+?)\\\])", re.DOTALL)
_CONSIDERED = re.compile(
    r"\b(?:if|or|whether|suppose|assum\w+|maybe|perhaps|unless|might|not sure|why|say that|think that|could|expect\w*|wrong"
    r"|format|form|line|write|output|reply|respond)\b[^.!?\n]{0,60}\Z|[(（\"“'‘][*_ ]*\Z|(?:是否|如果|假设)[^。\n]{0,30}\Z",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|hmm+|hold on|actually|no,|but|however|mistake|error|wrong|incorrect|let me (?:re|check|verify|try|see|think)"
    r"|alternatively|on second thought|that can['’]t be|doesn['’]t|not right|unless)\b"
    r"|等等|不对|错|但是|不过|重新|再(?:检查|想|算)",
    re.IGNORECASE,
)
_END = re.compile(
    r"(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)[.!?](?=\s|$)|[。！？;；\n]"
    r"|,? (?:so|which|because|since|as|and|but|not|then|where|given|assuming|followed)\b|\s[-–—](?=\s)|\s\((?![A-J]\))"
)
_REMARK = re.compile(
    r"\W*(?:not|correct|right|wrong|consistent|confirmed|the same|same|indeed|yes|no longer|unique|clear|that|what|to be|based"
    r"|given|in the|an? |likely|probably|still|going|simply|just|needed|required|expected|also|as follows|below|above|here"
    r"|this|it|therefore|found|asking|supposed|impossible to|supported|verified|reasonable|plausible|straightforward|obvious"
    r"|正确|对的|错|一致)(?![\w=])",
    re.IGNORECASE,
)
_IN = re.compile(r"\s+in\s.*", re.DOTALL)
"""What a value is said in: "40 in total"."""
_SMALL_WORDS = frozenset(("a", "an", "the", "of", "is", "it"))
_VALUE = re.compile(r"\d|\\[a-zA-Z]|^\W*[a-zA-Z]\W*$|[=^+]")


def thinking_answer(thinking: str) -> str | None:
    """The answer on which the thinking ends; None where it states none."""
    scope = thinking[-LAST:]
    found = max(_boxed(scope), _tagged(scope), _marked(scope), key=lambda each: each[1])
    answer, end = found
    if answer is None or _TAKEN_BACK.search(scope, end):
        return None
    return _IN.sub("", answer) if _VALUE.search(answer) else answer


def final_answer(answer: str, verifier: str) -> str | None:
    """What the final text states: by a box, a tag or a marker, or all of it where it is one short line; None for nothing sure."""
    stated = stated_answer(answer, labelled=verifier != "choice")
    if stated is None or (stated.form == "last lines" and ("\n" in answer.strip() or len(answer.split()) > ONE_LINE)):
        return None
    # A sentence is no answer in words: it may hold one.
    sentence = verifier == "exact" and (len(stated.text.split()) > 2 * FEW_WORDS or stated.text.endswith((":", "：")))
    return None if sentence else stated.text


def contradictions(
    rows: Sequence[tuple[str | None, str | None, str, str, str | None]], grade: Grade | None, judged: bool = False
) -> list[bool | None]:
    """Whether thinking and final text contradict each other, a row each; None for unknown.

    rows: the answer of the thinking, that of the final text, the final text, the verifier, its arguments.
    grade: verdicts of jobs, in their order; without it only what is literally the same is known.
    judged: whether it can grade for a judge, too.
    """
    comparing = (*COMPARING, JUDGE) if judged else COMPARING
    known: list[bool | None] = [None] * len(rows)
    open_rows = []
    for at, (thought, final, _, verifier, _) in enumerate(rows):
        if thought is None or final is None or verifier not in comparing:
            continue
        if _alike(thought, final, verifier):
            known[at] = False
        elif _can_differ(thought, verifier):
            open_rows.append(at)
    if grade is None:
        return known
    differ = []
    verdicts = grade(
        [Job(verifier, thought, text, args) for thought, _, text, verifier, args in map(rows.__getitem__, open_rows)]
    )
    for at, verdict in zip(open_rows, verdicts, strict=True):
        if verdict.outcome == "correct":
            known[at] = False
        elif verdict.outcome == "wrong" and verdict.extracted is not None:
            differ.append(at)
    turned = [
        Job(verifier, final, f"\\boxed{{{thought}}}", args)
        for thought, final, _, verifier, args in map(rows.__getitem__, differ)
    ]
    for at, verdict in zip(differ, grade(turned), strict=True):
        known[at] = {"correct": False, "wrong": True, "error": None}[verdict.outcome]
    return known


def _boxed(scope: str) -> tuple[str | None, int]:
    """The last box, and where it ends."""
    at = max(scope.rfind("\\boxed"), scope.rfind("\\fbox"))
    answer = last_boxed(scope) if at >= 0 else None
    if not answer:
        return None, -1
    return answer, at + len("\\boxed{}") + len(answer.rsplit(", ", 1)[-1])


def _tagged(scope: str) -> tuple[str | None, int]:
    answer = last_tagged(scope)
    return (answer, scope.rfind("</answer>") + len("</answer>")) if answer else (None, -1)


def _marked(scope: str) -> tuple[str | None, int]:
    """What the last "the answer is" says that is an answer, and where that ends."""
    for marker in reversed([*_MARKER.finditer(scope)]):
        rest = scope[marker.end() :]
        line = rest if rest.split("\n", 1)[0].strip("* _`") else rest.lstrip("* _`\n")
        begin = len(scope) - len(line)
        if formula := _FORMULA.match(line):
            said, length = next(filter(None, formula.groups())), formula.end()
        else:
            end = _END.search(line, 1)
            length = end.start() if end else len(line)
            said = "" if end is not None and end[0] == "?" else line[:length]
        answer = unmark(said).strip(" \"'“”").rstrip(".,")
        if (
            not answer
            or len(answer) > LONGEST
            or answer.startswith(("<", "...", "["))
            or answer.endswith(" one")
            or _REMARK.match(answer)
        ):
            continue
        considered = _CONSIDERED.search(scope[max(0, marker.start() - 80) : marker.start()])
        return (None if considered else answer), begin + length
    return None, -1


def _can_differ(thought: str, verifier: str) -> bool:
    """Whether an answer is so short and plain that another spelling of it is unlikely."""
    if verifier == JUDGE:
        return True
    return _VALUE.search(thought) is not None if verifier == "math" else len(thought.split()) <= FEW_WORDS


def _alike(thought: str, final: str, verifier: str) -> bool:
    """Whether the answers are written alike; in words, whether one has all the words of the other."""
    if " ".join(thought.split()).rstrip(".") == " ".join(final.split()).rstrip("."):
        return True
    one, other = ({word for word in tokens(text)} - _SMALL_WORDS for text in (thought, final))
    return verifier == "exact" and bool(one and other) and (one <= other or other <= one)
