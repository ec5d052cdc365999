"""A problem: one row, its schema and its id.

id             32 hex digits, a hash of what is asked and what is right; the k-th identical row carries `~k` (from 2)
prompt         what is asked, as text
messages       system and earlier turns, [{role, content}], usually empty
tools          JSON text of tool definitions, or NULL
answer         the reference answer, or NULL
verifier       the name of what grades a completion: math, exact, choice, reasoning-gym
verifier_args  JSON text for the verifier, or NULL
source         the name of the source in the recipe
license        SPDX name or what the source says, or NULL for unknown
parent_id      the problem it was rewritten from, or NULL
meta           JSON text that the recipe maps, or NULL
row            which row of its source it was, from 0
"""

import hashlib
from collections.abc import Sequence

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("messages", MESSAGES, nullable=False),
        pa.field("tools", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("verifier", pa.string()),
        pa.field("verifier_args", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("license", pa.string()),
        pa.field("parent_id", pa.string()),
        pa.field("meta", pa.string()),
        pa.field("row", pa.int64(), nullable=False),
    ]
)


def digest(
    prompt: str,
    messages: Sequence[dict[str, str]] = (),
    answer: str | None = None,
    verifier: str | None = None,
    verifier_args: str | None = None,
) -> str:
    """The id of a problem before identical rows are told apart: blake2b-128 over what is asked and what is right.

    Fields are framed by their length, so no two problems share a digest by moving text between fields; NULL and the
    empty text differ.
    """
    hasher = hashlib.blake2b(digest_size=16)
    turns = [text for message in messages for text in (message["role"], message["content"])]
    for text in (prompt, str(len(turns)), *turns, answer, verifier, verifier_args):
        if text is None:
            hasher.update(b"-;")
        else:
            data = text.encode("utf-8", "surrogatepass")
            hasher.update(b"%d:" % len(data))
            hasher.update(data)
    return hasher.hexdigest()
