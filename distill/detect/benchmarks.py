"""Benchmark items in a trace: their text, not just their answer.

A teacher may quote an item it knows, and a general row may be built around one. Found as in problems, whole or most of it in
its order (curation/decontamination/lexical.py), in the thinking and in the answer. What restates the trace's own problem does
not count: that the problem is on a benchmark is the problem's own column.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from curation.decontamination.benchmarks import Item
from curation.decontamination.lexical import Hit, Lexical

AT_ONCE = 1_000_000
"""Characters whose tokens are in memory together."""
OWN = 0.5
"""Share of the pairs of words of what was found that stand in the problem too: then it is the problem's."""
_WORD = re.compile(r"\w+")


class Benchmarks(NamedTuple):
    """Items, and the same ready to be looked for."""

    items: Sequence[Item]
    lexical: Lexical

    @classmethod
    def of(cls, items: Sequence[Item]) -> "Benchmarks":
        return cls(items, Lexical(items))


class Overlap(NamedTuple):
    """The surest item that a trace has: "benchmark/item", and JSON with its text and where trace and item say the same."""

    name: str
    evidence: str


Trace = tuple[str, str, str]
"""Problem (all that the model was given), thinking, answer."""


def overlaps(traces: Sequence[Trace], benchmarks: Benchmarks, line: float) -> list[Overlap | None]:
    """What every trace has of the items; None for nothing. line: the overlap, 0 to 1, from which an item is found."""
    found: list[list[tuple[str, Hit]]] = [[] for _ in traces]
    texts = [(row, part) for row in range(len(traces)) for part in (1, 2) if traces[row][part]]
    for some in _by_length(texts, traces):
        looked = benchmarks.lexical.look([traces[row][part] for row, part in some], line)
        for (row, part), closest in zip(some, looked, strict=True):
            found[row] += [("thinking" if part == 1 else "answer", hit) for hit in closest.hits]
    return [_told(trace, hits, benchmarks, line) if hits else None for trace, hits in zip(traces, found, strict=True)]


def _by_length(texts: Sequence[tuple[int, int]], traces: Sequence[Trace]) -> Iterator[list[tuple[int, int]]]:
    some: list[tuple[int, int]] = []
    length = 0
    for row, part in texts:
        some.append((row, part))
        length += len(traces[row][part])
        if length >= AT_ONCE:
            yield some
            some, length = [], 0
    if some:
        yield some


def _told(trace: Trace, hits: list[tuple[str, Hit]], benchmarks: Benchmarks, line: float) -> Overlap | None:
    """The surest of the items that are not the problem's own."""
    prompt, thinking, answer = trace
    [of_prompt] = benchmarks.lexical.look([prompt], line)
    own = {hit.item for hit in of_prompt.hits} | ({of_prompt.item} if of_prompt.overlap >= OWN else set())
    pairs = _pairs(prompt)
    others = []
    for part, hit in hits:
        text = thinking if part == "thinking" else answer
        said = _pairs(" ".join(text[begin:end] for begin, end in hit.there))
        if hit.item not in own and len(said & pairs) < OWN * max(1, len(said)):
            others.append((part, hit))
    if not others:
        return None
    part, best = max(others, key=lambda each: each[1].score)
    item = benchmarks.items[best.item]
    evidence = {"item": item.text, "kind": best.kind, "score": best.score}
    evidence["spans"] = {part: hit.there for part, hit in others if hit.item == best.item}
    evidence["item_spans"] = best.here
    if also := sorted({benchmarks.items[hit.item].name for _, hit in others} - {item.name}):
        evidence["also"] = also
    return Overlap(item.name, json.dumps(evidence, ensure_ascii=False))


def _pairs(text: str) -> set[tuple[str, str]]:
    words = _WORD.findall(text.lower())
    return set(pairwise(words))
