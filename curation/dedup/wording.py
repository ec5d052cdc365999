"""A text as it is compared: tokens that keep what carries meaning, and forget how it was typeset.

Kept are words, numbers, operators, LaTeX commands and their order; Han and kana stand alone. Forgotten are case, blanks,
`$`, the punctuation of sentences, braces around one token, what typesetting.py knows to say nothing, the number in a list
(`8. Find x`), and a known ending such as "Let's think step by step".

    w12 H2O x1   letters first: one word        2x   digits first: `2 x`        \\frac{1}{2}x^{10}   \\frac 1 2 x ^ 10

Tokens are found in the bytes of many texts at once, by numpy; a token is from then on a 64-bit hash.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from curation.dedup import compiled
from curation.dedup.compiled import BLANK, DIGIT, LETTER, LONG, SIGN
from curation.dedup.ragged import Hashes, Ints, Ragged, mixed, offsets
from curation.dedup.shingles import FACTOR, sequence_hashes
from curation.dedup.typesetting import ENDINGS, SAME, SILENT, SPELLED, rewritten, without_thousands

By = Literal["words", "characters"]
Flags = npt.NDArray[np.bool_]
VERSION = 1
"""Raised whenever a text may get other tokens: what was made of them is then made again."""
PIECE_CHARACTERS = 1 << 21
PIECE_TEXTS = 1 << 13
"""Texts are read up to so many together."""
NUMBER = "#0"
"""What a number is read as when numbers are ignored."""
QUOTED = 60
"""Bytes between quotes; what is longer is a passage, and no name."""
_END = "\0"


def _kinds() -> npt.NDArray[np.uint8]:
    """What a byte is. Of what is not ASCII only letters are left; blanks and signs have been set apart."""
    kinds = np.full(256, SIGN, np.uint8)
    kinds[:33] = kinds[127] = BLANK
    kinds[list(b'.,;?"$~`')] = BLANK
    kinds[list(b"0123456789")] = DIGIT
    kinds[list(b"abcdefghijklmnopqrstuvwxyz")] = LETTER
    kinds[128:] = LETTER
    return kinds


_KIND = _kinds()
_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(9)], np.uint64)


@dataclass(frozen=True)
class Tokens:
    """The tokens of some texts: token i is `data[starts[i]:ends[i]]`, text j has those from `texts[j]` to `texts[j + 1]`."""

    data: npt.NDArray[np.uint8]
    starts: Ints
    ends: Ints
    hashes: Hashes
    numbers: Flags
    values: Hashes
    """Of a number, also one that is spelled out, its hash in digits; 0 of other tokens."""
    texts: Ints

    def only(self, kept: Flags) -> "Tokens":
        texts = offsets(kept.astype(np.int64))[self.texts]
        starts, ends, hashes = self.starts[kept], self.ends[kept], self.hashes[kept]
        return Tokens(self.data, starts, ends, hashes, self.numbers[kept], self.values[kept], texts)


@dataclass(frozen=True)
class Wording:
    """Some texts, by what they say. No text has no tokens: one of punctuation alone is a token as a whole."""

    literal: Ragged
    """The tokens of each, as hashes."""
    masked: Ragged
    """The same, with numbers masked if asked."""
    compared: Ragged
    """What their shingles are made of: the masked tokens, or their characters."""
    numbers: Hashes
    """A hash of each text's numbers and quoted words in their order, `two` being 2; 0 where numbers are ignored."""


def normalized(text: str) -> str:
    """The text as it is compared: its tokens, joined by blanks."""
    return " ".join(words([text])[0])


def words(texts: Sequence[str]) -> list[list[str]]:
    """The tokens of every text; of a text without any, all of it."""
    found: list[list[str]] = []
    for piece in pieces(texts):
        tokens = _tokens(piece)
        data = tokens.data.tobytes()
        spans = zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)
        written = [data[start:end].decode(errors="surrogatepass") for start, end in spans]
        written = [SAME.get(token, token) for token in written]
        ends = tokens.texts.tolist()
        found += [
            written[first:last] or [_bare(text)] for text, first, last in zip(piece, ends[:-1], ends[1:], strict=True)
        ]
    return found


def pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, as many at a time as are read together."""
    lengths = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    begin = 0
    while begin < len(texts):
        read = lengths[begin - 1] if begin else 0
        end = int(np.searchsorted(lengths, read + PIECE_CHARACTERS, "right"))
        end = min(max(end, begin + 1), begin + PIECE_TEXTS)
        yield texts[begin:end]
        begin = end


def wording(texts: Sequence[str], by: By = "words", ignore_numbers: bool = False) -> Wording:
    """One piece of texts as tokens."""
    tokens = _tokens(texts)
    without = np.flatnonzero(np.diff(tokens.texts) == 0)
    own = np.array([_digest(_END + _bare(texts[text])) for text in without], np.uint64)
    starts = tokens.texts + np.concatenate([np.zeros(1, np.int64), np.cumsum(np.diff(tokens.texts) == 0)])

    def filled(hashes: Hashes) -> Ragged:
        return Ragged(np.insert(hashes, tokens.texts[without], own) if len(without) else hashes, starts)

    literal = masked = filled(tokens.hashes)
    if ignore_numbers:
        masked = filled(np.where(tokens.numbers, _marks().number, tokens.hashes))
    compared = _characters(texts, ignore_numbers) if by == "characters" else masked
    if ignore_numbers:
        return Wording(literal, masked, compared, np.zeros(len(texts), np.uint64))
    return Wording(literal, masked, compared, _numbers(tokens))


def _bare(text: str) -> str:
    """What is told of a text without tokens."""
    return text.replace(_END, " ").strip()


def _tokens(texts: Sequence[str]) -> Tokens:
    tokens = _told(_cut(texts))
    kept = np.ones(len(tokens.starts), np.bool_)
    _drop_list_number(tokens, kept)
    _drop_ending(tokens, kept)
    return tokens if kept.all() else tokens.only(kept)


def _cut(texts: Sequence[str]) -> Tokens:
    """Every token, as it is written."""
    joined = _END.join(texts)
    if joined.count(_END) != len(texts) - 1:
        texts = [text.replace(_END, " ") for text in texts]
        joined = _END.join(texts)
    if not joined.isascii() or "\\" in joined or "$" in joined:
        joined = _END.join(rewritten(texts, _END))
    written = without_thousands(joined).lower().encode(errors="surrogatepass")
    # Blanks before and behind, so that every byte has neighbours, and eight can be read from any.
    data = np.frombuffer(bytearray(b" " + written + b"\0" + b" " * 8), np.uint8)
    if kernels := compiled.loaded():
        begins, ends, hashes, at = _cut_by(kernels, data, len(texts))
    else:
        begins, ends, at = _cut_by_numpy(data)
        hashes = _hashes(data, begins, ends - begins)
    first = data[begins]
    numbers = (_KIND[first] == DIGIT) | (first == ord("."))
    named = numbers | _quoted(data, begins, at) if '"' in joined else numbers
    return Tokens(data, begins, ends, hashes, numbers, np.where(named, hashes, np.uint64(0)), at)


def _quoted(data: npt.NDArray[np.uint8], begins: Ints, texts: Ints) -> Flags:
    """Whether a token stands between quotes that are near each other: in `the letters of "success"` it is what is asked."""
    quotes = np.flatnonzero(data == ord('"'))
    before = np.searchsorted(quotes, begins)
    ends = np.searchsorted(quotes, np.flatnonzero(data == 0))
    firsts, counts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]), np.diff(ends, prepend=0)
    own = np.repeat(np.arange(len(counts)), np.diff(texts))
    inside: Flags = ((before - firsts[own]) % 2 == 1) & (counts[own] % 2 == 0)
    opening = np.where(inside, before - 1, 0)
    inside &= quotes[np.minimum(opening + 1, len(quotes) - 1)] - quotes[opening] <= QUOTED
    return inside


def _cut_by(kernels: compiled.Kernels, data: npt.NDArray[np.uint8], texts: int) -> tuple[Ints, Ints, Hashes, Ints]:
    """Where tokens begin and end, their hashes, and which is the first of each text."""
    begins, ends = np.empty(len(data), np.int64), np.empty(len(data), np.int64)
    hashes, at = np.empty(len(data), np.uint64), np.zeros(texts + 1, np.int64)
    count = kernels.cut(data, _KIND, begins, ends, hashes, at)
    begins, ends, hashes = begins[:count], ends[:count], hashes[:count]
    for token in np.flatnonzero(ends - begins > LONG):
        hashes[token] = _digest(data[begins[token] : ends[token]].tobytes())
    return begins, ends, hashes, at


def _cut_by_numpy(data: npt.NDArray[np.uint8]) -> tuple[Ints, Ints, Ints]:
    """Where tokens begin and end, and which is the first of each text."""
    kinds = np.frombuffer(bytearray(data.tobytes().translate(_KIND.tobytes())), np.uint8)
    commands = _commands(data, kinds) if (data == ord("\\")).any() else np.empty(0, np.int64)
    _join_decimals(data, kinds)
    letter = kinds == LETTER
    inside = letter | (kinds == DIGIT)
    starts = np.zeros(len(data), np.bool_)
    np.greater(inside[1:], inside[:-1], out=starts[1:])
    splits = _splits(data, kinds, letter, inside, np.flatnonzero(starts))
    starts |= kinds == SIGN
    inside |= kinds == SIGN
    starts[splits] = True
    starts[commands] = inside[commands] = True
    starts[commands + 1] = False
    continued = inside & ~starts
    begins = np.flatnonzero(starts)
    ends = np.flatnonzero(inside[:-1] & ~continued[1:]) + 1
    at = np.concatenate([np.zeros(1, np.int64), np.searchsorted(begins, np.flatnonzero(data == 0))])
    return begins, ends, at


def _commands(data: npt.NDArray[np.uint8], kinds: npt.NDArray[np.uint8]) -> Ints:
    """Where a LaTeX command begins. Other backslashes become blanks, with the sign behind them: `\\,` and `\\(`."""
    slashes = np.flatnonzero(data == ord("\\"))
    behind = kinds[slashes + 1]
    other = slashes[behind != LETTER]
    kinds[slashes] = BLANK
    kinds[slashes[behind == SIGN] + 1] = BLANK
    return slashes[~np.isin(slashes, other)] if len(other) else slashes


def _join_decimals(data: npt.NDArray[np.uint8], kinds: npt.NDArray[np.uint8]) -> None:
    """A point in a number is a digit: `1.5`, `.5`."""
    points = np.flatnonzero(data == ord("."))
    before = data[points - 1]
    alone = (_KIND[before] == BLANK) & (before != ord(".")) | (_KIND[before] == SIGN)
    points = points[(_KIND[data[points + 1]] == DIGIT) & ((_KIND[before] == DIGIT) | alone)]
    kinds[points] = DIGIT


def _splits(
    data: npt.NDArray[np.uint8], kinds: npt.NDArray[np.uint8], letter: Flags, inside: Flags, runs: Ints
) -> Ints:
    """Where a run of letters and digits is cut: behind the digits that it begins with, and behind a command's letters."""
    changes = np.flatnonzero((letter[1:] != letter[:-1]) & inside[1:] & inside[:-1]) + 1
    run = np.searchsorted(runs, changes, "right") - 1
    first = np.diff(run, prepend=-1) > 0
    second = ~first & np.concatenate([np.zeros(1, np.bool_), first])[:-1]
    begins = runs[run]
    command = (data[begins - 1] == ord("\\")) & letter[begins]
    # `\alpha2x3` is a command, the digits behind it, and what follows.
    splits: Ints = changes[first & ((kinds[begins] == DIGIT) | command) | second & command]
    return splits


def _hashes(data: npt.NDArray[np.uint8], starts: Ints, lengths: Ints) -> Hashes:
    """A 64-bit hash of every token, from eight of its bytes at a time."""
    eight = np.ndarray((len(data) - 7,), "<u8", data, 0, (1,))
    hashes = mixed(eight[starts] & _MASKS[np.minimum(lengths, 8)])
    longer = np.flatnonzero(lengths > 8)
    done = 8
    while len(longer):
        rest = lengths[longer] - done
        more = eight[starts[longer] + done] & _MASKS[np.minimum(rest, 8)]
        hashes[longer] = mixed(hashes[longer] * FACTOR + more)
        done += 8
        longer = longer[rest > 8]
        if done >= LONG:
            break
    for token in longer:
        hashes[token] = _digest(data[starts[token] : starts[token] + lengths[token]].tobytes())
    return hashes


def _digest(text: str | bytes) -> int:
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class _Marks:
    """Tokens that mean something else than they say, by their hash."""

    hashes: Hashes
    """Sorted."""
    silent: Flags
    same: Hashes
    """What each is instead; itself where it is a number that is spelled out."""
    spelled: Hashes
    """The number that it spells, 0 for none."""
    number: np.uint64
    maybe: Flags
    """By the low 16 bits of a hash: whether it may be one of them."""

    def find(self, hashes: Hashes) -> tuple[Ints, Ints]:
        """Which hashes are among them, and which they are."""
        some = np.flatnonzero(self.maybe[hashes & np.uint64(0xFFFF)])
        place = np.minimum(np.searchsorted(self.hashes, hashes[some]), len(self.hashes) - 1)
        true = self.hashes[place] == hashes[some]
        return some[true], place[true]


@functools.cache
def _marks() -> _Marks:
    table = [
        (token, token in SILENT, SAME.get(token, token), SPELLED.get(token)) for token in (*SILENT, *SAME, *SPELLED)
    ]
    hashes, same = _of([row[0] for row in table]), _of([row[2] for row in table])
    spelled = np.array([_of([row[3]])[0] if row[3] else 0 for row in table], np.uint64)
    order = np.argsort(hashes)
    maybe = np.zeros(1 << 16, np.bool_)
    maybe[hashes & np.uint64(0xFFFF)] = True
    silent = np.array([row[1] for row in table])
    return _Marks(hashes[order], silent[order], same[order], spelled[order], _of([NUMBER])[0], maybe)


def _of(tokens: Sequence[str]) -> Hashes:
    """The hashes of tokens."""
    written = [token.encode() for token in tokens]
    lengths = np.array([len(token) for token in written], np.int64)
    data = np.frombuffer(b"".join(written) + b" " * 8, np.uint8)
    return _hashes(data, offsets(lengths)[:-1], lengths)


def _told(tokens: Tokens) -> Tokens:
    """Commands that say the same are one, silent ones are gone, and so are braces around one token or none."""
    marks = _marks()
    found, which = marks.find(tokens.hashes)
    tokens.hashes[found] = marks.same[which]
    tokens.values[found] = marks.spelled[which]
    silent = found[marks.silent[which]]
    if len(silent):
        kept = np.ones(len(tokens.starts), np.bool_)
        kept[silent] = False
        tokens = tokens.only(kept)
    for _ in range(2):  # {{a}}
        first = tokens.data[tokens.starts]
        opening, closing = np.flatnonzero(first == ord("{")), first == ord("}")
        opening = opening[opening < len(first) - 2]
        if not len(opening):
            break
        around_none = opening[closing[opening + 1]]
        inner = first[opening + 1]
        single = (_KIND[inner] != SIGN) | (inner == ord("\\"))
        around_one = opening[closing[opening + 2] & single]
        kept = np.ones(len(first), np.bool_)
        kept[np.concatenate([around_none, around_none + 1, around_one, around_one + 2])] = False
        tokens = tokens.only(kept)
    return tokens


def _drop_list_number(tokens: Tokens, kept: Flags) -> None:
    """`8. Find x` is `Find x`."""
    first = tokens.texts[:-1][np.diff(tokens.texts) > 1]
    ends = tokens.ends[first]
    after = tokens.data[ends + 1]
    numbered = tokens.numbers[first] & (ends - tokens.starts[first] <= 3) & (tokens.data[ends] == ord("."))
    numbered &= (after == ord(" ")) | (after == ord("\n")) | (after == ord("\t"))
    kept[first[numbered & (_KIND[tokens.data[tokens.starts[first + 1]]] == LETTER)]] = False


@functools.cache
def _endings() -> tuple[Hashes, ...]:
    return tuple(sorted((_told(_cut([ending])).hashes for ending in ENDINGS), key=len, reverse=True))


def _drop_ending(tokens: Tokens, kept: Flags) -> None:
    """The ending that every problem of its data set has, unless it is the whole text."""
    ends, lengths = tokens.texts[1:], np.diff(tokens.texts)
    for ending in _endings():
        some = ends[lengths > len(ending)]
        for back, token in enumerate(ending[::-1], 1):
            some = some[tokens.hashes[some - back] == token]
            if not len(some):
                break
        kept[(some[:, None] - np.arange(1, len(ending) + 1)).ravel()] = False


def _numbers(tokens: Tokens) -> Hashes:
    """A hash of each text's numbers."""
    numbers = tokens.values > 0
    return sequence_hashes(Ragged(tokens.values[numbers], offsets(numbers.astype(np.int64))[tokens.texts]), FACTOR)


def _characters(texts: Sequence[str], ignore_numbers: bool) -> Ragged:
    """The characters of every text's tokens, as hashes."""
    number = NUMBER[0]
    written = (
        "".join(number if ignore_numbers and token.lstrip(".")[:1] in tuple("0123456789") else token for token in row)
        for row in words(texts)
    )
    encoded = "".join((text.replace(_END, " ") or " ") + _END for text in written).encode(errors="surrogatepass")
    data = np.frombuffer(encoded + b" " * 8, np.uint8)
    starts = np.flatnonzero((data[: len(encoded)] & 0xC0) != 0x80)
    lengths = np.diff(np.append(starts, len(encoded)))
    ends = data[starts] == 0
    hashes = _hashes(data, starts[~ends], lengths[~ends])
    return Ragged(hashes, np.concatenate([np.zeros(1, np.int64), np.cumsum(~ends)[ends]]))
