"""Pairs of near-duplicates: texts whose signatures agree in a band, each pair confirmed by its exact Jaccard similarity.

Only different texts are compared, one row standing for all that have its text. Candidates come band by band: rows are
sorted by the band's key, and all pairs of a run of equal keys are tried, except those that agreed in an earlier band. They
are made and compared a block at a time, so memory grows with the texts and the pairs found, not with the pairs tried.
"""

import mmap
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from curation.dedup.minhash import band_keys, bands
from curation.dedup.ragged import LAST, Hashes, Ints, Ragged, blocks, offsets, padded
from curation.dedup.sketches import THREADS, Sketches

MOST_PAIRS = 20_000_000
"""Pairs that are told, and held in memory."""
MOST_TRIED = 400_000_000
"""Pairs that are compared, some minutes."""
_TRIED = 1 << 18  # at once


class TooManyPairs(ValueError):
    """So many texts are alike that their pairs are no answer."""

    def __init__(self, count: int, row: int, alike: int, name: str = "") -> None:
        super().__init__(
            f"more than {count:,} pairs of texts are near-duplicates or have to be compared: {alike:,} look alike, for "
            f"example {name or f'text {row}'}; raise the threshold, make ngram longer, or leave out what they have in common"
        )
        self.count, self.row, self.alike = count, row, alike
        """Of pairs, the number of an example text, of texts like it."""

    def of(self, name: str) -> "TooManyPairs":
        """The same, the example called by its name."""
        return TooManyPairs(self.count, self.row, self.alike, name)


@dataclass(frozen=True)
class Pairs:
    """Texts `one[i] < other[i]`, by number, are `similarity[i]` alike; ordered."""

    one: Ints
    other: Ints
    similarity: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.one)


class _Growing:
    """An array that grows where it lies: its pages are moved, not copied, and take memory when they are written."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._dtype, self._length = np.dtype(dtype), 0
        self._pages = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def append(self, values: np.ndarray) -> None:
        last = self._length + len(values)
        if last * self._dtype.itemsize > len(self._pages):
            self._pages.resize(2 * last * self._dtype.itemsize)
        np.frombuffer(self._pages, self._dtype, last)[self._length :] = values
        self._length = last

    @property
    def values(self) -> np.ndarray:
        return np.frombuffer(self._pages, self._dtype, self._length)


def near(
    sketches: Sketches | Iterable[Sketches], threshold: float, *, old: npt.NDArray[np.bool_] | None = None
) -> Pairs:
    """Every pair of different texts whose sets have a Jaccard similarity of `threshold` at least.

    Texts whose `numbers` differ are no pair. Of several rows with one text the first stands for all. old: rows that were
    compared with each other before; a pair needs a text that has a row which is not. Batches of sketches are read one by
    one, and their signatures are not kept.
    """
    batches = [sketches] if isinstance(sketches, Sketches) else sketches
    values, lengths, numbers, first, second = (
        _Growing(t) for t in (np.uint64, np.int64, np.uint64, np.uint64, np.uint64)
    )
    keys: list[npt.NDArray[np.uint32]] = []
    chosen = None
    for batch in batches:
        chosen = chosen or bands(threshold, batch.signatures.shape[1])
        values.append(batch.sets.values)
        lengths.append(batch.sets.lengths)
        numbers.append(batch.numbers)
        first.append(batch.same[:, 0])
        second.append(batch.same[:, 1])
        keys.append(band_keys(batch.signatures, *chosen, batch.numbers))
    if chosen is None:
        return _as_pairs([])
    rows, known = _different(first.values, second.values, old)
    all_keys = np.empty((chosen[0], len(rows)), np.uint32)
    for band in range(chosen[0]):
        own = np.concatenate([part[band] for part in keys])
        all_keys[band] = own if len(rows) == len(own) else own[rows]
    del keys, first, second
    sets = Ragged(values.values, offsets(lengths.values))
    compare = partial(_band, all_keys, rows, sets, numbers.values, known, threshold)
    found, count = [], 0
    with ThreadPoolExecutor(THREADS) as threads:
        for pairs in threads.map(compare, range(chosen[0])):
            found += pairs
            count += sum(len(one) for one, _, _ in pairs)
            if count > MOST_PAIRS:
                ones = np.concatenate([one for one, _, _ in found])
                place = int(np.bincount(ones).argmax())
                raise TooManyPairs(MOST_PAIRS, place, int((ones == place).sum()) + 1)
    return _as_pairs(found)


def _different(first: Hashes, second: Hashes, old: npt.NDArray[np.bool_] | None) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The first row of every different text, and whether all its rows are old."""
    order = np.argsort(first, kind="stable")
    ordered, other = first[order], second[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (ordered[1:] != ordered[:-1]) | (other[1:] != other[:-1])
    begins = np.flatnonzero(new)
    rows = order[begins]
    known = np.zeros(len(rows), np.bool_)
    if old is not None and len(rows):
        known = np.logical_and.reduceat(np.asarray(old, np.bool_)[order], begins)
    by_row = np.argsort(rows)
    return rows[by_row], known[by_row]


_Found = list[tuple[Ints, Ints, npt.NDArray[np.float64]]]


def _band(
    keys: npt.NDArray[np.uint32],
    rows: Ints,
    sets: Ragged,
    numbers: Hashes,
    known: npt.NDArray[np.bool_],
    threshold: float,
    band: int,
) -> _Found:
    """The pairs that agree in this band and in none before."""
    found: _Found = []
    count = 0
    sizes = np.diff(sets.starts)[rows]
    for left, right in _candidates(keys[band], rows):
        # A little less than the threshold: .55 * 100 is more than 55 to a computer.
        possible = np.minimum(sizes[left], sizes[right]) >= (threshold - 1e-9) * np.maximum(sizes[left], sizes[right])
        possible &= ~(known[left] & known[right])
        place, place_of_other = left[possible], right[possible]
        new = numbers[rows[place]] == numbers[rows[place_of_other]]
        for earlier in keys[:band]:
            new &= earlier[place] != earlier[place_of_other]
        tried, tried_other = rows[place[new]], rows[place_of_other[new]]
        similarity = jaccard(sets, tried, tried_other)
        near_enough = similarity >= threshold
        one, other = tried[near_enough], tried_other[near_enough]
        found.append((np.minimum(one, other), np.maximum(one, other), similarity[near_enough]))
        count += len(one)
        if count > MOST_PAIRS:
            raise TooManyPairs(MOST_PAIRS, int(one[0]), len(np.unique(np.concatenate([part[0] for part in found]))))
    return found


def _candidates(keys: npt.NDArray[np.uint32], rows: Ints) -> Iterator[tuple[Ints, Ints]]:
    """All pairs of places with equal keys, in blocks. rows: what places are called in an error."""
    packed = keys.astype(np.uint64) << np.uint64(32) | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    ordered = packed >> np.uint64(32)
    order = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    del packed
    begins = np.flatnonzero(np.concatenate([np.ones(1, np.bool_), ordered[1:] != ordered[:-1]])[: len(keys)])
    lengths = np.diff(np.append(begins, len(keys)))
    begins, lengths = begins[lengths > 1], lengths[lengths > 1]
    if int((lengths * (lengths - 1) // 2).sum()) > MOST_TRIED:
        largest = int(lengths.argmax())
        raise TooManyPairs(MOST_TRIED, int(rows[order[begins[largest]]]), int(lengths[largest]))
    # The places that have others of their run behind them, and how many.
    starts = offsets(lengths - 1)
    paired = np.repeat(begins - starts[:-1], lengths - 1) + np.arange(starts[-1])
    behind = np.repeat(begins + lengths, lengths - 1) - paired - 1
    ends = np.cumsum(behind)
    first = 0
    while first < len(paired):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _TRIED, "right")))
        places, counts = paired[first:last], behind[first:last]
        one = np.repeat(places, counts)
        other = one + 1 + np.arange(len(one)) - np.repeat(ends[first:last] - counts - done, counts)
        yield order[one], order[other]
        first = last


def jaccard(sets: Ragged, one: Ints, other: Ints) -> npt.NDArray[np.float64]:
    """|A and B| / |A or B| of pairs of sets, which are given by number."""
    begins, sizes = sets.starts[:-1], np.diff(sets.starts)
    left, right = sizes[one], sizes[other]
    shared = np.zeros(len(one), np.int64)
    for pairs in blocks(np.maximum(left, right) * 2):
        both = [padded(sets.values, begins[side[pairs]], sizes[side[pairs]]) for side in (one, other)]
        matrix = np.concatenate(both, axis=1)
        matrix.sort(axis=1)
        shared[pairs] = ((matrix[:, 1:] == matrix[:, :-1]) & (matrix[:, 1:] != LAST)).sum(1)
    similarity: npt.NDArray[np.float64] = shared / (left + right - shared)
    return similarity


def _as_pairs(found: _Found) -> Pairs:
    if not found:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    one, other, similarity = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((other, one))
    return Pairs(one[order], other[order], similarity[order])


def components(count: int, one: Ints, other: Ints) -> Ints:
    """For each of `count` things the smallest that it is connected with by these pairs, over any number of steps."""
    smallest = np.arange(count)
    while True:
        low, high = (side(smallest[one], smallest[other]) for side in (np.minimum, np.maximum))
        if np.array_equal(low, high):
            return smallest
        np.minimum.at(smallest, high, low)
        while True:
            further = smallest[smallest]
            if np.array_equal(further, smallest):
                break
            smallest = further
