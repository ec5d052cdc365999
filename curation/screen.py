"""Which queries a verifier can judge, as a model says: Qwen3's query filter.

"We identify and remove queries that are not easily verifiable. This includes queries containing multiple sub-questions or
those asking for general text generation" (arXiv 2505.09388, section 4.1; there by Qwen2.5-72B-Instruct). The columns measure,
a rule decides: `verifiable and not several_questions`. `form`'s `multi_part` is the same by rules over the text.

    verifiable         it asks for one short final answer, which can be compared with a reference
    several_questions  it asks more than one thing
    screen_agreement   the share of the votes that can be read that say both as the columns do; NULL where one of them is
    screen_votes       how many votes can be read
    screen_reason      why one cannot, the first that there is

Each is what more than half of the votes say, NULL at a tie.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from curation.asked import Asked
from curation.polling import Unreadable

KEYS = ("several_questions", "verifiable")

INSTRUCTIONS = """\
You screen queries for a collection whose answers are checked by a program that knows the right answer. Say two things of a \
query.

several_questions: true when it asks for more than one thing, such as parts (a) and (b), or two questions that each need an \
answer of their own; false when one answer is asked for, also where that is a list or a pair of numbers, or takes several steps.

verifiable: true when a right answer is short and final, such as a number, a formula, a name, a choice, or a program that \
tests can run, so that any other right answer equals it; false when it asks for a proof, an explanation, an opinion, a text \
or a translation, when many different answers are right, or when what it takes to answer is missing, such as a figure."""


class Screen(Asked):
    """Whether an answer can be checked, and whether several things are asked, by a model."""

    NAME: ClassVar[str] = "screen"
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [
            ("verifiable", pa.bool_()),
            ("several_questions", pa.bool_()),
            ("screen_agreement", pa.float64()),
            ("screen_votes", pa.int64()),
            ("screen_reason", pa.string()),
        ]
    )
    VOTE: ClassVar[pa.Schema] = pa.schema([("verifiable", pa.bool_()), ("several_questions", pa.bool_())])

    @functools.cached_property
    def instructions(self) -> str:
        return INSTRUCTIONS

    @property
    def reminder(self) -> str:
        return 'Reply with JSON that has "several_questions" and "verifiable", each true or false.'

    @functools.cached_property
    def properties(self) -> dict[str, Any]:
        return {key: {"type": "boolean"} for key in KEYS}

    def says(self, reply: Mapping[str, Any]) -> dict[str, Any]:
        for key in KEYS:
            if not isinstance(reply[key], bool):
                raise Unreadable(f"{key} is neither true nor false")
        return {key: reply[key] for key in KEYS}

    def summed(self, votes: str) -> str:
        most = ", ".join(
            f"case when 2 * count(*) filter ({key}) > count({key}) then true "
            f"when 2 * count(*) filter (not {key}) > count({key}) then false end as {key}"
            for key in KEYS
        )
        return f"""
            with votes as (from {votes}),
            every as (
                select id, {most}, count(verifiable) as screen_votes,
                    arg_min(reason, vote) filter (reason is not null) as screen_reason
                from votes group by id),
            agreed as (
                select id, count(*) as said from votes join every using (id, verifiable, several_questions) group by id)
            select id, verifiable, several_questions, screen_votes, screen_reason,
                case when verifiable is not null and several_questions is not null
                     then coalesce(said, 0) / screen_votes end as screen_agreement
            from every left join agreed using (id)"""
