"""What kind of question a problem is, by rules over its text: no model, nothing learned.

    multiple_choice  options are offered to pick from, one or several: labelled (A) to (J), 1 to 9 in circles, lower case,
                     "Options: [..]", or a closed list of words ("odd, even, or neither", "which is bigger: x or y?").
                     Read off the text alone, never off an answer's letter: most of these items have the *value* as answer.
                     False when the options were lost, and for "how many of ① to ④ hold", which asks for a number.
    true_false       one yes or no answers it fully, also with "Explain". False when more is asked ("If so, find it").
                     "True or false" is not a list of options.
    proof            a proof is demanded, wholly or as one part, even if a short answer exists ("find, with proof").
                     "Justify your answer" after a question with a short answer is no proof; nor is a bare "Find all".
    multi_part       several things are asked: numbered questions, two questions in a row, two values of different kinds.
                     False for numbered conditions, and when the earlier questions come with their answers.
    needs_figure     the text points to a picture that is not in it. [asy] code, TikZ and tables are in it. Approximate by
                     nature: many texts point to a figure and can be solved without it.
    has_link         a web address, or a Markdown link or image.
    language         an ISO 639-1 code of `languages`, or "other" (language.py). NULL: no prose, or too little to tell by.
    prompt_words     words between blanks; a Han, kana or hangul character counts as one.
    answer_kind      integer, decimal, fraction, expression, choice (one letter, where options are offered), boolean, text
                     (words), none (no answer). "1" to a yes/no question is an integer.

Booleans are NULL where nothing could be told: without text, and where no rule fired on letters of a script that the rules
do not know (neither Latin nor Han). The answer is evidence for true_false only: "No. It is not closed." supports it, "4"
contradicts it. Of a row only `prompt` and `answer` are read; earlier turns (`messages`) are not.

RE2 (in Arrow, linear in the text) finds the few rows each rule may be about; Python's `re` decides those, with patterns
whose repetitions are bounded or cannot start twice at one place. The file is long because its patterns are the rules;
they stand in the order of the columns, and tests/curation/test_form.py has the texts that each tells apart.
"""

import itertools
import re
from collections.abc import Callable
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from curation.annotate import Annotator
from curation.language import LANGUAGES, languages_in, prose, scripts

READ_SCRIPTS = ("Latin", "Han")
"""The scripts whose words the rules know."""


class Form(Annotator):
    """What kind of question it is, by rules over its text."""

    NAME: ClassVar[str] = "form"
    VERSION: ClassVar[int] = 2
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [
            ("multiple_choice", pa.bool_()),
            ("true_false", pa.bool_()),
            ("proof", pa.bool_()),
            ("multi_part", pa.bool_()),
            ("needs_figure", pa.bool_()),
            ("has_link", pa.bool_()),
            ("language", pa.string()),
            ("prompt_words", pa.int64()),
            ("answer_kind", pa.string()),
        ]
    )

    languages: tuple[str, ...] = ("en", "zh")
    """Languages that `language` tells apart; the rest is `other`."""

    @field_validator("languages")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [code for code in given if code not in LANGUAGES]:
            raise ValueError(
                f"{', '.join(unknown)}: not among the languages told apart: {', '.join(sorted(LANGUAGES))}"
            )
        return given

    def annotate(self, problems: pa.Table) -> pa.Table:
        ids, prompts, answers = (one_array(problems[name]) for name in ("id", "prompt", "answer"))
        texts = pc.fill_null(prompts, "")

        proof = decide(asks_proof, matches(texts, PROOF_GATE), texts, answers)
        words_offered = matches(texts, WORD_OPTIONS)
        choice = pc.or_(words_offered, decide(offers_options, matches(texts, LABELS_GATE), texts, answers))
        maybe_parts = pc.and_not(matches(texts, PARTS_GATE), choice)
        parts = pc.and_not(matches(texts, TWO_KINDS), choice)
        parts = pc.or_(parts, decide(asks_several, pc.and_not(maybe_parts, parts), texts, answers))
        maybe_yes_no = pc.or_(matches(texts, YES_NO_GATE), pc.fill_null(matches(answers, BOOLEAN), False))
        other_form = pc.or_(pc.or_(proof, choice), parts)
        yes_no = decide(asks_yes_no, pc.and_not(maybe_yes_no, other_form), texts, answers)
        figure = pc.and_not(matches(texts, FIGURE), matches(texts, DRAWN))

        words = prose(texts)
        script = scripts(words)
        language = languages_in(words, script)
        blank = pc.invert(matches(texts, r"\S"))
        unread = pc.or_(blank, pc.invert(pc.is_in(script, pa.array([*READ_SCRIPTS, None], pa.string()))))
        columns = [
            *(told(fired, unread) for fired in (choice, yes_no, proof, parts, figure)),
            told(matches(texts, LINK), blank),
            pc.if_else(pc.is_in(language, pa.array([*self.languages, None], pa.string())), language, "other"),
            pc.if_else(pc.is_valid(prompts), word_counts(texts), None),
            answer_kinds(answers, choice),
        ]
        return pa.table([ids, *columns], schema=self.table_schema())


def one_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([pa.array([], pa.string()), *column.cast(pa.string()).chunks])


def matches(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(texts, pattern)


def decide(rule: Callable[[str, str], bool], among: pa.Array, texts: pa.Array, answers: pa.Array) -> pa.Array:
    """`rule(question, answer)` of the rows `among` is true of; False of the others."""
    out = [False] * len(texts)
    for row in pc.indices_nonzero(among).to_pylist():
        out[row] = rule(question(texts[row].as_py()), answers[row].as_py() or "")
    return pa.array(out, pa.bool_())


def told(fired: pa.Array, unread: pa.Array) -> pa.Array:
    """What fired is true in any script; that nothing fired says something only of text that the rules can read."""
    return pc.if_else(pc.and_not(unread, fired), None, fired)


# --- text ---

ASY = re.compile(r"\[asy\][^\[]*(?:\[(?!/?asy\])[^\[]*)*\[/asy\]")
BOILERPLATE = re.compile(r"(?:let's |please )?(?:think|reason) step by step[^\n]{0,120}$", re.I)
# Fonts and math signs that dress a label: `$\textbf{(A)}\ 3 \qquad$` reads `(A) 3`. `\(` goes whole: `\(A\)` is no label.
DRESS = re.compile(
    r"\\(?:text(?:bf|rm|sf|sc|it|tt)?|math(?:bf|rm|sf|it)|mbox|rm|bf|q?quad|item|left|right)(?![a-zA-Z])"
    r"|\\[()\[\],;:! ]|<br ?/?>|[$*{}~\\]"
)
SENTENCE_END = re.compile(r"(?<=[?？。！])|(?<=[.!;])\s|\n")
FULLWIDTH = str.maketrans(
    dict(zip("）．：，；？！［］", ").:,;?![]", strict=True))
    | {"（": " ("}
    | {chr(0xFF21 + n): chr(65 + n) for n in range(10)}
)
LONGEST = 50_000
"""Characters that are read of a question, at its start and at its end; no real one has more."""


def question(text: str) -> str:
    """The question alone: without drawing code, earlier questions that come with their answers, "think step by step"."""
    if len(text) > 2 * LONGEST:
        text = text[:LONGEST] + "\n" + text[-LONGEST:]
    text = text[max(text.rfind("Context answer:"), 0) :]
    if "[asy]" in text:
        text = ASY.sub(" ", text)
    return text[:-200] + BOILERPLATE.sub("", text[-200:])


def questions(text: str) -> list[str]:
    """The sentences that end in a question mark."""
    return [sentence for sentence in SENTENCE_END.split(text) if sentence.endswith(("?", "？"))]


def undress(text: str) -> str:
    return DRESS.sub(" ", text.translate(FULLWIDTH))


# --- labels: (A) (B) (C), 1. 2. 3., ① ② ③ ---

NAMES = r"[A-Ja-j]|\d\d?|[ivxIVX]{1,4}"
LAYOUTS = {
    "paren": re.compile(rf"(?<!\w)\(\s{{0,3}}({NAMES}|[①-⑨Ⅰ-Ⅴ])\s{{0,3}}\)"),
    # Before a bare label stands a line's start or the end of a clause; before a capital any blank: `3 B. 4`.
    "bare": re.compile(
        r"(?:^|[\n.;:?!,，。；、])\s{0,9}(?:p|Problem |Question |Part )?(\d\d?|[a-j]|[ivxIVX]{1,4})\s?[).、](?!\d)"
    ),
    "capital": re.compile(r"(?<![\w(.'])([A-J])\s?(?:[).、]|:(?![A-Z]\b))"),
    "line": re.compile(r"^[ \t]*([A-J])[ \t]+(?=[^&\s][^&\n]*$)", re.MULTILINE),
    "circle": re.compile(r"([①-⑨])"),
}
CAPITALS, LETTERS = tuple("ABCDEFGHIJ"), tuple("abcdefghij")
DIGITS = tuple(str(n) for n in range(1, 31))
ROMAN, SMALL_ROMAN = ("I", "II", "III", "IV", "V", "VI"), ("i", "ii", "iii", "iv", "v", "vi")
ROMAN_SIGNS, CIRCLES = tuple("ⅠⅡⅢⅣⅤ"), tuple("①②③④⑤⑥⑦⑧⑨")
OPTION_LABELS = (
    *((layout, CAPITALS) for layout in ("paren", "capital", "line")),
    ("paren", LETTERS),
    *(("bare", names) for names in (LETTERS, DIGITS)),
)
PART_LABELS = (
    *(("paren", names) for names in (DIGITS, LETTERS, SMALL_ROMAN, ROMAN, ROMAN_SIGNS, CIRCLES, CAPITALS)),
    *(("bare", names) for names in (DIGITS, LETTERS, SMALL_ROMAN, ROMAN)),
    ("capital", CAPITALS),
    ("circle", CIRCLES),
)
STEM = 400
"""Characters before the first label that can tell what a list is."""


def lists(text: str, layout: str, names: tuple[str, ...], cache: dict[str, list[re.Match[str]]]) -> list[list[str]]:
    """Lists of at least two consecutive labels from the first name on, each as [what stands before, item, item, ..].

    A label out of turn is a mention ("under the condition of (1)") and is passed over; the first name begins anew.
    """
    if layout not in cache:
        cache[layout] = list(LAYOUTS[layout].finditer(text))
    runs: list[list[re.Match[str]]] = []
    for label in cache[layout]:
        if label[1] == names[0]:
            if runs and len(runs[-1]) == 1:
                runs.pop()
            runs.append([label])
        elif runs and len(runs[-1]) < len(names) and label[1] == names[len(runs[-1])]:
            runs[-1].append(label)
    runs = [run for run in runs if len(run) > 1]
    out = []
    for run, following in itertools.zip_longest(runs, runs[1:]):
        start = run[0].start() + 1
        cuts = [*(label.start() for label in run[1:]), following[0].start() if following else len(text)]
        items = [text[label.end() : cut] for label, cut in zip(run, cuts, strict=True)]
        out.append([text[max(start - STEM, 0) : start], *items])
    return out


ASKS = re.compile(
    r"\?|_{2,}|\b(?:find|determine|calculate|compute|prove|show that|what|how (?:many|much|long|far)|evaluate|solve|verify"
    r"|derive|estimate|simplify|factor|sketch|return|(?:write|list) (?:down|out|the|all)|please|try to|is there|explain)\b"
    r"|求|证明|判断|写出|计算|多少|是否",
    re.I,
)
OPENS_ASKING = re.compile(
    r"^\W*(?:find|determine|calculate|compute|prove|show that|what|how|solve|evaluate)\b|\?\s*$|求|证明",
    re.I,
)
# The last, unfinished sentence before a list: does it ask (`Find: (1)`), or does it set conditions (`such that (a)`)?
TAIL = re.compile(r"[^.?!。？！]*$")
ASKING_TAIL = re.compile(
    r"\b(?:find|determine|calculate|compute|prove|show|how many|what|solve|simplify|evaluate|factor|probability)\b"
    r"|求|证明|计算",
    re.I,
)
CONDITION_TAIL = re.compile(
    r"such that|satisf|condition|constraint|subject to|propert|rules?\b|hold|(?:are|is) true|where\b"
    r"|following (?:data|information|inputs)|满足|条件",
    re.I,
)
EACH_CASE = re.compile(r"\bhow many\b[^?]*\bfollowing (?:conditions|cases|situations|requirements)[^?]*\?\W*$", re.I)


# --- multiple choice ---

CLOSES = r"\W{0,3}[).:、．：）]"
LABELS_GATE = (
    rf"(?s)(?:^|[^\w])[AaＡ]{CLOSES}.*[BbＢ]{CLOSES}.*[CcＣ]{CLOSES}|\n\W{{0,9}}A{CLOSES}.*\n\W{{0,9}}B{CLOSES}"
    r"|\n\s*A[ \t].*\n\s*B[ \t].*\n\s*C[ \t]|①.*②.*③|(?i)none of the above"
)
CHOOSE = re.compile(r"\b(?:options?|letters?|choose|choices?|correct answer|answer is|as the answer)\b|选项", re.I)
MORE = (
    r"(?:bigger|greater|larger|smaller|less|more|longer|shorter|higher|lower|older|faster|closer|closest|nearest|biggest"
    r"|largest|smallest|greatest|heavier|cheaper|better)"
)
WORD_OPTIONS = (
    r"(?i)\b(?:options|choices)\s?:\s?\[\s?(?:A\b|[\"'])"
    r"|\b(?:enter|type) (?:only )?the (?:correct )?letters? of\b"
    r"|\b(?:odd|even)\b[^.?]*\bor neither\b|\b(?:is|are|does|do)\b[^.?]*, or neither\s?\?"
    r"|\b(?:is|are) [^.?]*\b(?:rational or irrational|even or odd|odd or even|positive or negative|prime or composite)\s?\?"
    rf"|\bwhich(?: [\w'-]+){{0,4}} {MORE}\b[^?]*[:,][^?]*\bor\b[^?]*\?"
    r"|\b(?:determine|state|identify|decide|tell|classify|indicate)\b[^.?\n]*\b(?:is|are|as|be)\b"
    r"[^.?\n]*,[^.?,\n]+, or [^.?,\n]+[.?]"
    r"|\b(?:enter|answer|type|write|return|output)\b[^.\n\"“]*(?:[\"“][a-z ]+[\"”],? ){2,9}or [\"“][a-z ]+[\"”]"
    r"|\bwhich (?:one )?of (?:these|the following)\b[^.?\n]*"
    r"(?:[?:]\s*\n\s*[-•] |[?:] [^.?\n,;]+[,;][^.?\n,;]+(?:[,;]|\bor\b))"
)
COUNTS = re.compile(r"how many|number of (?:the )?(?:correct|true|false|incorrect|statements)|个数", re.I)
PICKS = re.compile(r"\bwhich\b|\b(?:correct|true|incorrect|false) (?:\w+ )?(?:is|are|one)|serial|正确|序号|错误", re.I)


def offers_options(text: str, _: str) -> bool:
    """Labelled options are offered to pick from."""
    text = undress(text)
    found: dict[str, list[re.Match[str]]] = {}
    for layout, names in OPTION_LABELS:
        if any(are_options(stem, items, layout, names) for stem, *items in lists(text, layout, names, found)):
            return True
    circled = any(len(parts) > 3 for parts in lists(text, "circle", CIRCLES, found))
    return circled and bool(PICKS.search(text)) and not COUNTS.search(text) and not asks_several(text, "")


# Numbers label parts far more often than options: these words say otherwise.
NUMBERED_OPTION = re.compile(r"none of the (?:above|others)|which option|number as the answer", re.I)
ENDS_IN_NAME = re.compile(r"\w\W+(?:an?|the|of|from|at|to|by|in|on|and|or|points?) +\Z")


def are_options(stem: str, items: list[str], layout: str, names: tuple[str, ...]) -> bool:
    first, *_, last = items
    if len(items) < 3 and not (names is CAPITALS and "\n" in stem[-3:] and first.endswith("\n") and len(last) < 200):
        return False
    # `Box A: 3, Box B: 4`: the label is a name, the same word stands before each.
    before = [re.search(r"([^\W\d_]{3,}) $", text[-40:]) for text in (stem[:-1], first)]
    if layout == "capital" and before[0] and before[1] and before[0][1].lower() == before[1][1].lower():
        return False
    # `north of point A. The distance to B. ..`: the label ends a sentence.
    if layout == "capital" and any(ENDS_IN_NAME.search(item[-40:]) for item in items[:-1]):
        return False
    if sum(bool(OPENS_ASKING.search(item.strip())) for item in items) > len(items) / 2:
        return False
    after = re.search(r"[.;\n]\s[^\0]*", last.strip())
    if after and ASKS.search(after[0]) and not CHOOSE.search(last):
        return False
    tail = TAIL.search(stem.rstrip().rstrip("([:"))
    if names is CAPITALS or tail is None:
        return True
    if names is DIGITS and not NUMBERED_OPTION.search(last):
        return False
    if CONDITION_TAIL.search(tail[0]) or (ASKING_TAIL.search(tail[0]) and "?" not in tail[0]):
        return False
    return "?" in stem[-200:] or bool(re.search(r"\b(?:which|by|is|are|be|equals?|called)\W*$", stem[-200:], re.I))


# --- proof ---

PROOF_GATE = r"(?i)\b(?:dis)?prove\b|\bproof\b|show that|show:|demonstrate|verify that|justify|explain why|证明|求证"
PROOF = re.compile(
    r"(?:^|[.:;,?!)\]$\n}]|\b(?:and|then|also|please|we|you|or|(?:are|is|asked|required) to|rigorously|formally))\s{0,20}"
    r"(?:(?:dis)?prove\b|show that|show:|demonstrate|verify that|justify (?:that|why|the|this))"
    r"|\bwith (?:a )?proof\b|\b(?:give|provide|write|include) (?:a|the|your) (?:\w+ )?proof\b"
    r"|求证|(?<!身份)证明(?![书件])",
    re.I,
)
EXPLAIN_WHY = re.compile(r"(?:^|[.;\n])\s{0,20}explain why (?!or why not)", re.I)
OTHERWISE_ASKED = re.compile(r"\?|\b(?:find|determine|calculate|compute|solve)\b", re.I)


def asks_proof(text: str, _: str) -> bool:
    """A proof is demanded; "explain why" demands one when it is all that is asked."""
    text = undress(text)
    return bool(PROOF.search(text) or (EXPLAIN_WHY.search(text) and not OTHERWISE_ASKED.search(text)))


# --- several questions ---

PARTS_GATE = (
    r"(?s)\?.*\?|？.*？|①.*②|第[一1]问"
    r"|[(（]\W{0,6}[1aiIAⅠ①]\W{0,6}[)）].*[(（]\W{0,6}(?:2|b|ii|II|B|Ⅱ|②)\W{0,6}[)）]"
    r"|(?:^|[\n.;:?!,，。；、>*])\s*(?:\W{0,4}|p|Problem |Question |Part )[1aiIA]\W{0,4}[).、]"
    r".*[\s*>](?:p|[A-Z][a-z]+ )?(?:2|b|ii|II|B)\W{0,4}[).、]"
)
KINDS = (
    r"(?:mean|average|variance|standard deviation|median|mode|range|domain|maximum|minimum|max|min|largest|smallest|area"
    r"|perimeter|circumference|radius|center|volume|surface area|eigenvalues|eigenvectors|period|amplitude)"
)
TWO_KINDS = (
    rf"(?i)\b(?:find|determine|calculate|compute|what (?:is|are)|write|state)(?: both)? the (?:\w+ )?{KINDS}(?: values?)?,?"
    rf" and (?:the )?(?:\w+ )?{KINDS}\b"
    r"|[.?;,]\s*(?:and )?also,? (?:find|determine|calculate|compute|what|state)\b"
    r"|[?.]\s+and (?:find|determine|calculate|compute)\b"
    r"|\b(?:determine|decide) (?:if|whether)\b[^?]*\bif so, (?:is|are|does|must)\b"
    r"|\b(?:what|which|how (?:many|much))\b[^.?]*,? and (?:what|how (?:many|much)|which) [^.?]*\?"
)
QUOTED = re.compile(r"[\"“][^\"”]{0,300}[\"”]|``[^']{0,300}''|\([^()]{0,300}\)")
FOLLOW_UP = re.compile(r"\b(?:if (?:so|yes|not|it)|hint)\b|^\W*why\W*$", re.I)
# `.. in the form a/b. What is a + b?` asks about the same thing.
OF_THE_SAME = re.compile(
    r"^\W*(?:that is|in other words)\b"
    r"|^\W*(?:then |and )?(?:what|find) (?:is |are |does |should )?\s*(?!the\b)(?:\w{1,12}\W*){0,2}(?:equal)?\W*$",
    re.I,
)
# `How many miles is it? In feet?`
ALSO_OF = re.compile(r"^\s*(?:and |in |for |from |what about )*[\w ]{1,25}\?$", re.I)


def asks_several(text: str, _: str) -> bool:
    """More than one thing is asked."""
    text = undress(text)
    found: dict[str, list[re.Match[str]]] = {}
    for layout, names in PART_LABELS:
        if any(are_questions(stem, items) for stem, *items in lists(text, layout, names, found)):
            return True
    if "第一问" in text and "第二问" in text:
        return True
    asking = dict.fromkeys(questions(QUOTED.sub(" ", text)))
    return any(are_two_questions(first, second) for first, second in itertools.pairwise(asking))


def are_two_questions(first: str, second: str) -> bool:
    """Whether a question asks something else than the one before it."""
    if not INTERROGATIVE.search(first) or OF_THE_SAME.search(second[:60]):
        return False
    lead_in, yes_no = (bool(OPENS_YES_NO.search(sentence)) for sentence in (first, second))
    if FOLLOW_UP.search(
        second
    ):  # `Is there one? If so, what is it?` asks one thing; `If so, must it be unique?` another
        return yes_no
    return bool(INTERROGATIVE.search(second) and lead_in <= yes_no) or bool(ALSO_OF.search(second) and not lead_in)


def are_questions(stem: str, items: list[str]) -> bool:
    """Whether labelled items ask something each, and are not conditions, notes or options."""
    asking = [bool(ASKS.search(item)) for item in items]
    if sum(asking) >= 2 or (asking[0] and len(items) > 1):
        return True
    tail = TAIL.search(stem[:-1].rstrip(" \n:("))
    assert tail is not None
    if not re.search(r"\w", stem[:-1]) or EACH_CASE.search(stem[-300:]):
        return True
    return bool(ASKING_TAIL.search(tail[0])) and not CONDITION_TAIL.search(tail[0])


# --- yes or no ---

AUXILIARY = r"(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|had|may|might|must)(?:n't)?"
OPENS = rf"(?:^\W*|[,;:$)]\s{{0,9}}|\b(?:then|so|and|but) ){AUXILIARY}\s"
YES_NO_GATE = (
    rf"(?i)(?:^|[.?!,;:$)\n]\s*|\b(?:then|so|and|but) ){AUXILIARY}\s[^?]*\?"
    r"|true|false|whether|(?:determine|state|decide|tell|check) if|是否|吗|对不对|能不能"
)
INTERROGATIVE = re.compile(rf"\b(?:what|how|which|who|whom|when|where|why)\b|{OPENS}", re.I)
OPENS_YES_NO = re.compile(OPENS, re.I)
YES_NO_FORMAT = re.compile(
    r"\btrue or false\b|\b(?:true|yes|1)\b[^.?]{0,80}\b(?:false|no)\b|判断[^。]{0,20}(?:对错|正误|真假)", re.I
)
WHETHER = re.compile(
    r"\b(?:determine|decide|state|tell|check|say|judge) (?:whether|if)\b|是否|吗\s{0,9}[?？]|对不对|能不能", re.I
)
MORE_ASKED = re.compile(
    r"\b(?:find|calculate|compute|what|how (?:many|much)|which|evaluate)\b|\bif (?:so|not),? (?!why|explain)"
    r"|\blist\b|\brespective|多少|几|什么|求|哪",
    re.I,
)
YES = re.compile(
    r"^[\s\\$({*]*(?:text\s*\{\s*)?"
    r"(?:yes|no|true|false|impossible|possible|it is (?:not )?possible|cannot|是|否|不是|能|不能|对|错|正确|错误)"
    r"(?![a-z])(?! (?:solution|such|real|integer))",
    re.I,
)
PROSE = re.compile(r"\$[^$]*\$|(?<![\\a-zA-Z])([a-zA-Z]{2,})\b(?![({\]])")
BOOLEAN = r"(?i)^[^\w]*(?:text\s*\{\s*)?(?:true|false|yes|no|是|否|对|错|正确|错误|不是)[^\w]*$"
IS_BOOLEAN = re.compile(BOOLEAN)


def asks_yes_no(text: str, answer: str) -> bool:
    """One yes or no answers it fully."""
    if IS_BOOLEAN.search(answer):
        return True
    explicit = YES_NO_FORMAT.search(text)
    asking = explicit or WHETHER.search(text) or any(map(OPENS_YES_NO.search, questions(text)))
    if YES.search(answer) or not asking:
        return bool(asking)
    # No answer, a sentence ("This is not a subspace.") and the asked-for digit leave it open; another value denies it.
    sentence = sum(map(bool, PROSE.findall(answer))) > 2
    digit = explicit is not None and answer.strip() in ("0", "1")
    return (not answer.strip() or sentence or digit) and not MORE_ASKED.search(text)


# --- figures, links, length, answer: RE2 alone ---

PICTURE = r"(?:figures?|diagrams?|pictures?|drawing|illustration|sketch)"
FIGURE = (
    rf"(?i)\b(?:in|on|see|from|by) (?:the|this) (?:\w+ )?{PICTURE}\b|\bas (?:shown|pictured|illustrated|depicted)\b"
    rf"|\b(?:the|this|accompanying|following) {PICTURE} (?:\w+ )?(?:shows?|below|above)|\baccompanying {PICTURE}"
    r"|\b(?:graph|chart|map|grid|table|figure|diagram|picture|image|line|region|shape)s? (?:is |are )?"
    r"(?:shown|below|above|pictured)\b"
    r"|\bshown (?:below|above|here|at (?:the )?(?:right|left)|in the \w+)|\b(?:pictured|depicted) (?:below|above)"
    r"|如图|[下右左上]图|图中|图所示|!\[|\\includegraphics"
)
DRAWN = r"\[asy\]|\\begin\{(?:asy|tikzpicture|tabular|array)|(?m)^\s*\|.*\|\s*$"
LINK = (
    r"(?i)https?://|\bwww\.\w|!\[[^\]]*\]\(|\]\((?:/|\.\.?/|#|mailto:|[\w./-]+\.(?:png|jpe?g|gif|svg|pdf|html?|md)\b)"
)
SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"
WIDE_MARKS = r"\x{3000}-\x{303F}\x{FF00}-\x{FF0F}\x{FF1A}-\x{FF20}\x{FF3B}-\x{FF40}\x{FF5B}-\x{FF65}"
WORD = rf"[{SPACELESS}]|[^\s{SPACELESS}{WIDE_MARKS}]+"


def word_counts(texts: pa.Array) -> pa.Array:
    """Words per text: counted by WORD, and where all is ASCII by blanks, which is the same and five times as fast."""
    ascii_ = pc.string_is_ascii(texts)
    trimmed = pc.ascii_trim_whitespace(texts)
    blanks = pc.list_value_length(pc.ascii_split_whitespace(trimmed))
    counted = pc.count_substring_regex(pc.filter(texts, pc.invert(ascii_)), WORD)
    counts = pc.if_else(pc.equal(trimmed, ""), 0, pc.replace_with_mask(blanks, pc.invert(ascii_), counted))
    return pc.cast(counts, pa.int64())


NUMBER = r"(?:\d+|\d{1,3}(?:,\d{3})+)"
ANSWER_KINDS = {
    "none": r"^\s*$",
    "boolean": BOOLEAN,
    "integer": rf"^[-+]?{NUMBER}$",
    "decimal": rf"^[-+]?(?:{NUMBER})?\.\d+(?:[eE][-+]?\d+)?$|^[-+]?{NUMBER}\.?(?:[eE][-+]?\d+)$",
    "fraction": r"^[-+]?\d+/-?\d+$|^[-+]?\\[dt]?frac\{-?\d+\}\{-?\d+\}$|^[-+]?\\[dt]?frac\d\d$",
    "text": r"\p{Han}{2}|(?:^|[^\\a-zA-Z])(?:[a-zA-Z]{3,}[ ,.;:'-]+){2,}|^[^\d=<>^_+*/\\]*[a-zA-Z]{3}[^\d=<>^_+*/\\]*$",
}


def answer_kinds(answers: pa.Array, choice: pa.Array) -> pa.Array:
    """The kind of every answer; currency, percent and degree signs and LaTeX spacing do not count."""
    words = pc.replace_substring_regex(
        pc.fill_null(answers, ""), r"\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}", r" \1 "
    )
    bare = pc.replace_substring_regex(words, r"\$|\\[$%,!;: ]|%|°|\^\{?\\circ\}?", "")
    bare = pc.utf8_trim_whitespace(pc.replace_substring_regex(bare, r"\{,\}", ","))
    letter = pc.and_(choice, matches(bare, r"^\(?\s*[A-Ja-j]\s*[).]?$"))
    kind = pa.nulls(len(bare), pa.string())
    kind = pc.if_else(letter, "choice", kind)
    for name, pattern in ANSWER_KINDS.items():
        kind = pc.if_else(pc.and_(pc.is_null(kind), matches(bare, pattern)), name, kind)
    return pc.fill_null(kind, "expression")
