r"""Mathematical text without what does not change its meaning.

Signs of Unicode become their LaTeX, delimiters, sizes, thin spaces and styles go, spelling variants (`\dfrac`,
`\frac12`, `{,}`, `\leq`) become one. Spaces between words stay: `5 m` and `5m` differ (see POLICY.md). Nothing is
parsed here, and every pass is linear in the text.
"""

import re
import unicodedata

NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋]+")
_VULGAR = re.compile("([0-9]?)([¼-¾⅐-⅞])")
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+(?:\.\d+)?|[A-Za-zπ]))")
_SIGNS = str.maketrans(
    {
        **{
            "−": "-",
            "–": "-",
            "—": "-",
            "‐": "-",
            "‑": "-",
            "×": r"\times ",
            "⋅": r"\cdot ",
            "·": r"\cdot ",
            "∙": r"\cdot ",
        },
        **{"÷": "/", "⁄": "/", "∕": "/", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne "},
        **{
            "±": r"\pm ",
            "∪": r"\cup ",
            "∩": r"\cap ",
            "∈": r"\in ",
            "∅": r"\emptyset ",
            "≈": r"\approx ",
            "°": r"^\circ ",
        },
        **{"，": ",", "；": ";", "：": ":", "（": "(", "）": ")", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta "},
        **{"’": "'", "′": "'", "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "∖": r"\setminus "},
    }
)
_SAME = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), r"\frac"),
    **{"leq": r"\le", "geq": r"\ge", "leqslant": r"\le", "geqslant": r"\ge", "lt": "<", "gt": ">", "neq": r"\ne"},
    **dict.fromkeys(
        ("left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "displaystyle"), ""
    ),
    **dict.fromkeys(("middle", "textstyle", "limits", "nolimits", "boldsymbol", "bm"), ""),
    **dict.fromkeys(("lbrace",), r"\{") | dict.fromkeys(("rbrace",), r"\}") | {"lbrack": "[", "rbrack": "]"},
    **dict.fromkeys(
        ("textbf", "textit", "textrm", "textnormal", "mbox", "mathrm", "mathbf", "mathit", "rm", "bf"), r"\text"
    ),
    **{
        "textdollar": r"\$",
        "varnothing": r"\emptyset",
        "degree": r"^\circ",
        "lor": r"\text{or}",
        "land": r"\text{and}",
    },
    **{"quad": " ", "qquad": " ", "enspace": " ", "thinspace": " ", "ldots": "...", "dots": "...", "cdots": "..."},
    **{"implies": "=", "to": r"\to", "colon": ":", "space": " ", "nobreakspace": " ", "lvert": "|", "rvert": "|"},
    **{"vert": "|", "mid": "|", "bmod": r"\mod"},
}
_COMMAND = re.compile(r"\\([A-Za-z]+)(?![A-Za-z])")
_SPACING = re.compile(r"(?<!\\)\\(?:!\s*|[,;: ])|(?<!\\)~")
_BRACED_COMMA = re.compile(r"\s*\{\s*,\s*\}\s*")
_THIN_THOUSANDS = re.compile(r"(?<![\d.])(\d{1,3})((?:(?:\\,|\\ |\{,\}|,?\\!|,\\ ?)\s*\d{3})+)(?!\d)")
_SHORT_FRACTION = re.compile(r"\\frac\s*(?:(\d)\s*([\da-zA-Z])|\{([^{}]*)\}\s*([\da-zA-Z])|(\d)\s*\{)")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z])")
_UPRIGHT = re.compile(
    r"\\(?:mathbf|mathit|bm|boldsymbol|vec)\s*\{\s*([A-Za-z])\s*\}|\\mathrm\s*\{\s*([eid])\s*\}(?=\s*[\^x-z])"
)
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d)")
_STYLED_DIGITS = re.compile(r"\\text\s*\{\s*([-+]?[\d.,]+)\s*\}")
_ORDINAL = re.compile(r"(\d)\s?(?:\^\s?\{?\s?)?(?:\\text\s?\{\s?(?:st|nd|rd|th)\s?\}\s?\}?|(?:st|nd|rd|th)\b)")
_DELIMITED = re.compile(r"(\${1,2})([^$]+)\1|\\\(((?:[^\\]|\\[^()])*)\\\)|\\\[((?:[^\\]|\\[^\[\]])*)\\\]")
_NOT_EQUAL = re.compile(r"\\not\s*=")
_INVISIBLE = {"\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u200e", "\u200f", "\u00ad", "\u2061", "\u2062"}
_SPACES = re.compile(r"\s+")
_ALL_TEXT = re.compile(r"\\text\s*\{([^{}]*\d[^{}]*)\}")
_NUMBER_WORD = re.compile(rf"(?:\\text\s*\{{\s*)?({'|'.join(NUMBER_WORDS)})\s*\}}?", re.IGNORECASE)
_SPACED_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_SET_BUILDER = re.compile(r"\\?\{\s?([A-Za-z])(?:\s?\\in\s?\\mathbb\s?\{?\s?R\s?\}?)?\s?[|:](.*\b\1\b.*?)\\?\}")
_ABOUT = re.compile(r"\\approx\s*(?=\S)")
_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "万": 4, "亿": 8}
_MAGNITUDE = re.compile(
    r"(?<![\w.,^])(\d[\d.,]*)\s*(?:(\\text\s*\{)\s*)?(?:(hundred|thousand|million|billion|trillion|dozen)s?(?![a-z])|([万亿]))\s*",
    re.IGNORECASE,
)
_TIGHT = re.compile(r"(?<![0-9A-Za-z.])\s+|\s+(?![0-9A-Za-z])")


def plain(text: str) -> str:
    r"""The text in one spelling; not stripped of words or units.

    Zero-width characters go. Those that change the direction of what follows stay: what is seen and what is stored
    then differ, and no reader accepts them.
    """
    text = undelimited(text)
    if text.isascii() and text.isalnum() and not text.isalpha():
        return text
    if not text.isascii():
        text = _ascii(text)
    if "\\\\" in text and "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)  # escaped once too often; in a matrix it ends a row
    text = _THIN_THOUSANDS.sub(lambda number: number[1] + re.sub(r"\D", "", number[2]), text)
    text = _BRACED_COMMA.sub(",", text)
    text = _UPRIGHT.sub(lambda letter: letter[1] or letter[2], text)
    text = _COMMAND.sub(lambda command: _SAME.get(command[1], command[0]), text)
    text = _SPACING.sub(lambda space: "" if "!" in space[0] else " ", text)
    text = _SHORT_FRACTION.sub(_braced, text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _STYLED_DIGITS.sub(r"\1", text)
    text = _MAGNITUDE.sub(_written_out, text)
    text = _ORDINAL.sub(r"\1", text)
    text = _NOT_EQUAL.sub(r"\\ne ", text)
    text = text.replace("\\$", "$").replace("\\%", "%").replace("<=", r"\le ").replace(">=", r"\ge ")
    text = _SPACES.sub(" ", text).strip()
    while text.endswith((".", ",", ";", "\\")) and not text.endswith("..."):
        text = text[:-1].rstrip()
    return _whole(text)


def _whole(text: str) -> str:
    """A text that is, as a whole, another way to write a formula, as that formula."""
    if about := _ABOUT.match(text):
        text = text[about.end() :]
    if styled := _ALL_TEXT.fullmatch(text):
        text = styled[1].strip()
    if word := _NUMBER_WORD.fullmatch(text):
        return str(NUMBER_WORDS.index(word[1].lower()))
    if _SPACED_THOUSANDS.fullmatch(text):
        return text.replace(" ", "")
    if builder := _SET_BUILDER.fullmatch(text):
        return builder[2].strip()
    return text


def _written_out(number: re.Match[str]) -> str:
    """A number with the word for its magnitude, as a power of ten."""
    word = (number[3] or number[4]).lower()
    times = f"{number[1]} \\times {'12' if word == 'dozen' else f'10^{{{_MAGNITUDES[word]}}}'}"
    if word == "dozen" and number[1].isdigit():
        times = str(12 * int(number[1])) if len(number[1]) < 20 else times
    return times + ("\\text{" if number[2] else " ")


def undelimited(text: str) -> str:
    """The text without the formula delimiters around all of it, and without the full stop behind them."""
    text = text.strip()
    for _ in range(3):
        inner = _DELIMITED.fullmatch(text.rstrip(" .,"))
        if not inner:
            break
        text = next(part for part in inner.groups()[1:] if part is not None).strip()
    return text


def tight(text: str) -> str:
    """A plain text without the spaces that separate nothing: the form in which two texts are compared."""
    return _TIGHT.sub("", text)


def _ascii(text: str) -> str:
    text = "".join(char for char in text if char not in _INVISIBLE)
    text = _RAISED.sub(lambda raised: "^{" + raised[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _LOWERED.sub(lambda lowered: "_{" + lowered[0].translate(_SUBSCRIPTS) + "}", text)
    text = _VULGAR.sub(_vulgar, text)
    text = _ROOT.sub(lambda root: f"\\sqrt{{{root[1] or root[2]}}}", text)
    return unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)


def _vulgar(fraction: re.Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", fraction[2]).partition("⁄")
    return f"{fraction[1]}\\frac{{{top}}}{{{bottom}}}"


def _braced(fraction: re.Match[str]) -> str:
    if fraction[1]:
        return f"\\frac{{{fraction[1]}}}{{{fraction[2]}}}"
    if fraction[4]:
        return f"\\frac{{{fraction[3]}}}{{{fraction[4]}}}"
    return f"\\frac{{{fraction[5]}}}{{"
