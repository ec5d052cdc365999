"""Guesses: an answer that comes out of no reasoning.

    ... I can't work this out, so I'll just guess 12.          the thinking ends on a guess, or the answer is one
    It's 42.                                                   next to no thinking, and none in the answer either

What explores is no guess: "let me guess x = 2 and check", "rather than guess", a guess that is verified after it. Where the
problem is about guessing, its words say nothing.

Qwen3 (section 4.1) drops responses that guess "without adequate reasoning" and gives no rule.
"""

import re

from distill.detect.words import count

LAST = 500
"""Characters at the end of the thinking, and of the answer, in which a guess is what the answer comes from."""
FEW_WORDS = 8
"""Words of thinking up to which there is next to none."""
PHRASE = 60
"""Characters that are shown on either side."""
SHORT_ANSWER = 25
"""Words of an answer that shows no reasoning either."""

_PICK = "pick|choose|select|picking|choosing|selecting"
_GUESSES = (
    r"\bguess(?:ing|work)?\b",
    r"\bshot in the dark\b|\btak(?:e|ing) a stab\b|\bflip(?:ping)? a coin\b|\bhope for the best\b",
    r"\bcoin toss\b|\bmy hunch is\b|\b(?:with|on) my gut\b|\bmake something up\b|\bpure luck\b|\bfeels right,? so\b",
    r"\bno (?:real|good) (?:reason|basis|justification)\b|\bjust (?:pick|choose|picking|choosing) (?:one|something)\b",
    rf"\b(?:{_PICK}|answer|going|go)(?: \S+){{0,4}} (?:at random|randomly|blindly|arbitrarily)\b",
    rf"\b(?:randomly|blindly|arbitrarily) (?:{_PICK})\b",
    r"\b(?:pick|choose|select)(?:ing)? a random (?:answer|option|choice|letter|number)\b",
    r"猜(?!想|谜|对|出|中)|蒙(?:一|个|[A-Z0-9])|瞎蒙|随便(?:选|写|填|给|挑|答|说)|凭(?:感觉|直觉|运气)(?:选|写|填|答)?|随机(?:选|挑)",
)
_GUESS = re.compile("|".join(_GUESSES), re.IGNORECASE)
_HINT_WORDS = (
    "guess|random|blind|arbitrar|in the dark|a stab|a coin|coin toss|just |hope for|luck|feels right|no real|no good|hunch|gut"
    "|something up|猜|蒙|随|凭"
)
_HINTS = tuple(_HINT_WORDS.split("|"))
_NO_GUESS = re.compile(
    r"(?:\b(?:not|n['’]t|never|without|instead of|rather than|no need to|avoid|than|initial|first|starting|earlier|original|good"
    r"|better|accurate|fair|solid|our|if|when"
    r"|you|he|she|they|we|one|who|each|students?|players?|people|could|might|can|probability|chance)\b[^.!?,\n]{0,24}"
    r"|(?:不(?:要|能|应|想|需|必|是)|而不是|我们)[^。，\n]{0,6})\Z",
    re.IGNORECASE,
)
"""What before the words makes them no guess of the one who thinks."""
_NO_GUESS_EITHER = re.compile(
    r"\A(?: (?:and check|and verify|and see|that\b|for (?:the|a|y|newton)|would (?!be)|i['’ ]|we['’ ]|[a-z] ?="
    r"|earlier|of the (?:form|solution|pattern))|s?work is)",
    re.IGNORECASE,
)
_HEDGE = re.compile(r"\bi\s\Z", re.IGNORECASE)
_HEDGED_ANSWER = re.compile(
    r"\A,? (?:that )?(?:the (?:\w+ )?(?:answer|solution|result)|it (?:is|must be)\b|\W{0,3}\d|\W{0,2}(?-i:[A-J])\b)",
    re.IGNORECASE,
)
_MAY_GUESS = re.compile(
    r"\b(?:might|could|can) (?:as well|only)\Z|\bwe(?:['’]ll|['’]d| will| would| have to| must| can only)[^.!?,\n]{0,24}\Z",
    re.IGNORECASE,
)
_VERIFIED = re.compile(
    r"\b(?:check|verif|confirm|test(?:ing)? (?:it|this)|plug|substitut|indeed|satisf|that works|works out|is correct|matches"
    r"|consistent|but the (?:correct|exact|true|actual|right)"
    r"|let me see|prove|proof|induction|iterat|but rather|rather not|not guess)|验证|检验|代入|检查|满足|符合|证明",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"guess|random|estimat|猜|随机|估", re.IGNORECASE)
_REASONED = re.compile(
    r"[=<>≤≥≠≈]|\\(?:frac|times|leq?|geq?)|\b(?:because|since|so|thus|therefore|hence)\b|因为|所以|因此",
    re.IGNORECASE,
)


def guess(prompt: str, thinking: str | None, answer: str | None) -> str | None:
    """The words that show a guess; None for none.

    thinking: None where there is no think block; answer: None where there is none yet.
    """
    for text in (thinking or "", answer or ""):
        if found := _stated(text[-LAST:]):
            return None if _ABOUT.search(prompt) else found
    if not thinking or not answer or not thinking.strip():
        return None
    words = count(thinking) if len(thinking) < 40 * FEW_WORDS else FEW_WORDS + 1
    if words > FEW_WORDS or _REASONED.search(thinking) or count(answer) > SHORT_ANSWER or _REASONED.search(answer):
        return None
    return f"{words} words of thinking"


def _stated(text: str) -> str | None:
    """The last guess that is not verified."""
    small = text.lower()
    if not any(hint in small for hint in _HINTS):
        return None
    for match in reversed([*_GUESS.finditer(text)]):
        before, after = text[max(0, match.start() - 60) : match.start()], text[match.end() :]
        if _HEDGE.search(before) and match[0].lower() == "guess":
            if not _HEDGED_ANSWER.search(after):
                continue
        elif (_NO_GUESS.search(before) and not _MAY_GUESS.search(before.rstrip())) or _NO_GUESS_EITHER.search(after):
            continue
        if not _VERIFIED.search(after):
            return _sentence(text, match.start(), match.end())
    return None


def _sentence(text: str, begin: int, end: int) -> str:
    """What stands around these places, up to the ends of the sentence."""
    first = max(text.rfind(sign, 0, begin) for sign in ".!?\n。！？") + 1
    ends = [at for sign in ".!?\n。！？" if (at := text.find(sign, end)) >= 0]
    return " ".join(text[max(first, begin - PHRASE) : min([*ends, end + PHRASE])].split())
