"""Guesses: an answer that comes out of no reasoning.

    ... I can't work this out, so I'll just guess 12.          the thinking ends on a guess, or the answer is one
    It's 42.                                                   next to no thinking, and none in the answer either

What explores is no guess: "let me guess x = 2 and check", "rather than guess", a guess that is verified after it. Where the
problem is about guessing, its words say nothing.

Qwen3 (section 4.1) drops responses that guess "without adequate reasoning" and gives no rule.
"""

import re

from distill.detect.words import count

LAST = 800
"""Characters at the end of the thinking in which a guess is what the answer comes from."""
FEW_WORDS = 8
"""Words of thinking up to which there is next to none."""
SHORT_ANSWER = 25
"""Words of an answer that shows no reasoning either."""

_WILL = r"\bi(?:['’]ll| will| can| could| would| might|['’]d| have to| need to| must| should|['’]m (?:just )?going to)"
_JUST = r"(?: (?:have to|just|only|simply|now|probably|then|try to|try and))*"
_KIND = r"(?:random|wild|educated|lucky|best|blind|quick|reasonable|final)"
_GUESSES = (
    rf"{_WILL}{_JUST} guess\b(?! and (?:check|test|verify|see))",
    rf"{_WILL}{_JUST} (?:take|make|hazard|venture) (?:a|an|my)(?: {_KIND})* (?:guess|shot|stab)\b",
    rf"\b(?:my|a|an)(?: {_KIND})+ guess\b",
    r"\bjust (?:a guess|guess(?:ing)?)\b",
    r"\bi(?:['’]m| am) (?:just |only |basically |really )?guessing\b",
    r"\bi guess (?:that )?(?:the (?:final |correct )?(?:answer|solution|result) (?:is|must|would|should|might|could)|it['’]s\b|it (?:is|must be)\b)",
    r"\b(?:pick|choose|select|go|going) (?:\S+ ){0,4}(?:at random|randomly)\b",
    r"\brandomly (?:pick|choos|select|guess)\w*",
    r"\b(?:pick|choose|select) a random (?:answer|option|one|choice|letter|number)\b",
    r"\banswer(?: here)? is (?:just |only |basically )?a guess\b",
    r"\bguess(?:ing)? (?:the answer|at random|randomly|blindly)\b",
    r"(?:只能|只好|就|随便|胡乱|盲目|凭感觉|凭直觉|瞎|乱)猜|蒙一个|瞎蒙|随便(?:选|写|填|给|挑)一?个",
    r"随机(?:选择?|挑)一?个(?:答案|选项)?|我猜(?:答案|结果|应该|可能)*(?:是|为|选)",
)
_GUESS = re.compile("|".join(_GUESSES), re.IGNORECASE)
_HINTS = ("guess", "random", "shot", "stab", "猜", "蒙", "随")
_NO_GUESS = re.compile(
    r"(?:\b(?:not|n['’]t|never|without|instead of|rather than|no need to|avoid|than)\b[^.!?\n]{0,24}|不(?:要|能|应|想|需)?[^。\n]{0,4})\Z",
    re.IGNORECASE,
)
_VERIFIED = re.compile(
    r"\b(?:check|verif|confirm|test(?:ing)? (?:it|this)|plug|substitut|indeed|satisf|that works|works out|is correct|matches|consistent|let me see)"
    r"|验证|检验|代入|检查|满足|符合",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"guess|random|estimat|猜|随机|估", re.IGNORECASE)
_REASONED = re.compile(
    r"[=<>≤≥≠≈]|\\(?:frac|times|leq?|geq?)|\b(?:because|since|so|thus|therefore|hence)\b|因为|所以|因此"
)


def guess(prompt: str, thinking: str | None, answer: str | None) -> str | None:
    """The words that show a guess; None for none.

    thinking: None where there is no think block; answer: None where there is none yet.
    """
    for text, begin in ((thinking or "", max(0, len(thinking or "") - LAST)), (answer or "", 0)):
        if found := _stated(text, begin):
            return None if _ABOUT.search(prompt) else found
    if not thinking or not answer or not thinking.strip():
        return None
    words = count(thinking) if len(thinking) < 40 * FEW_WORDS else FEW_WORDS + 1
    if words > FEW_WORDS or _REASONED.search(thinking) or count(answer) > SHORT_ANSWER or _REASONED.search(answer):
        return None
    return f"{words} words of thinking"


def _stated(text: str, begin: int) -> str | None:
    """The last guess that is not verified, from this place on."""
    end = text[begin:].lower()
    if not any(hint in end for hint in _HINTS):
        return None
    for match in reversed([*_GUESS.finditer(text, begin)]):
        before, after = text[max(0, match.start() - 40) : match.start()], text[match.end() :]
        if not _NO_GUESS.search(before) and not _VERIFIED.search(after):
            return " ".join(match[0].split())
    return None
