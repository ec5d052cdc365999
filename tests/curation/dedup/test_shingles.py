"""Texts as sets of shingles, in flat arrays."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curation.dedup.ragged import Ragged, blocks, joined, mixed, offsets, padded
from curation.dedup.shingles import FACTOR, OTHER_FACTOR, sequence_hashes, shingles


def ragged(rows: list[list[int]]) -> Ragged:
    values = np.array([value for row in rows for value in row], np.uint64)
    return Ragged(values, offsets(np.array([len(row) for row in rows], np.int64)))


def sets(rows: list[list[int]], n: int) -> list[set[int]]:
    found = shingles(ragged(rows), n)
    return [set(found.row(row).tolist()) for row in range(len(found))]


def test_a_shingle_is_a_run_of_n_tokens() -> None:
    first, second = sets([[1, 2, 3, 4], [2, 3, 4, 1]], 2)

    assert len(first) == len(second) == 3
    assert len(first & second) == 2


def test_order_counts() -> None:
    one, other = sets([[1, 2], [2, 1]], 2)

    assert not one & other


def test_repeated_shingles_count_once_and_are_sorted() -> None:
    found = shingles(ragged([[7, 7, 7, 7, 7], [1, 2, 1, 2, 1]]), 2)

    assert found.lengths.tolist() == [1, 2]
    assert sorted(found.row(1)) == found.row(1).tolist()


def test_a_text_shorter_than_a_shingle_is_one_as_a_whole() -> None:
    short, same, other, longer = sets([[1, 2], [1, 2], [1, 3], [1, 2, 3]], 3)

    assert short == same != other
    assert [len(row) for row in (short, other, longer)] == [1, 1, 1]
    assert not short & longer


def test_no_texts_and_one_text() -> None:
    assert len(shingles(ragged([]), 5)) == 0
    assert len(shingles(ragged([[1]]), 5)) == 1


ROWS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=30), min_size=1, max_size=30)


@given(ROWS, st.integers(1, 6))
def test_sets_are_those_of_the_definition(rows: list[list[int]], n: int) -> None:
    names: dict[int, tuple[int, ...]] = {}
    small = ragged(rows)
    # Tokens are hashes. Small numbers can be made to collide: with 0 among them, (0) and (1, 0) are one.
    found = shingles(Ragged(mixed(small.values + np.uint64(1)), small.starts), n)
    for number, row in enumerate(rows):
        expected = {tuple(row[place : place + n]) for place in range(max(1, len(row) - n + 1))}
        own = found.row(number).tolist()
        assert len(own) == len(set(own)) == len(expected)
        names.update(dict.fromkeys(own))
    every = {tuple(row[place : place + n]) for row in rows for place in range(max(1, len(row) - n + 1))}
    assert len(names) == len(every)


@given(ROWS)
def test_sequence_hashes_are_equal_for_equal_rows_only(rows: list[list[int]]) -> None:
    for factor in (FACTOR, OTHER_FACTOR):
        hashes = sequence_hashes(ragged(rows), factor).tolist()
        assert (
            len(set(hashes))
            == len({tuple(row) for row in rows})
            == len(set(zip(hashes, map(tuple, rows), strict=True)))
        )


def test_two_factors_make_two_hashes() -> None:
    rows = ragged([[1, 2, 3]])

    assert sequence_hashes(rows, FACTOR) != sequence_hashes(rows, OTHER_FACTOR)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 200))
def test_blocks_hold_every_row_once_and_are_small(sizes: list[int], most: int) -> None:
    found = [rows.tolist() for rows in blocks(np.array(sizes, np.int64), most)]

    assert sorted(row for rows in found for row in rows) == list(range(len(sizes)))
    assert all(len(rows) == 1 or len(rows) * max(1, *(sizes[row] for row in rows)) <= most for rows in found)


def test_rows_are_padded_with_a_value_or_their_last_one() -> None:
    rows = ragged([[1, 2, 3], [4]])
    begins, lengths = rows.starts[:-1], rows.lengths

    assert padded(rows.values, begins, lengths, np.uint64(9)).tolist() == [[1, 2, 3], [4, 9, 9]]
    assert padded(rows.values, begins, lengths, None).tolist() == [[1, 2, 3], [4, 4, 4]]


def test_joined_rows_keep_their_order() -> None:
    both = joined([ragged([[1], [2, 3]]), ragged([]), ragged([[4]])])

    assert [both.row(row).tolist() for row in range(len(both))] == [[1], [2, 3], [4]]
    assert len(joined([])) == 0
