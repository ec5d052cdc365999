"""What a server would refuse for its length, said before anything is sampled."""

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from curation.client import Client, NotServed, Refused, SamplingError
from curation.progress import Step
from curation.standing import Group


async def check_lengths(
    client: Client, groups: Sequence[Group], is_open: NDArray[np.bool_], max_tokens: int, step: Step
) -> None:
    """Warns of prompts that do not fit beside an answer. The longest prompt is the one with most characters.

    is_open: for every problem, through all groups, whether it is going to be sampled.
    Raises SamplingError when no prompt at all can fit.
    """
    limit = client.max_model_len
    if limit is None or not is_open.any():
        return
    if max_tokens >= limit:
        raise SamplingError(
            f"max_tokens={max_tokens} leaves no room for a prompt: {client.name} holds {limit} tokens of prompt and "
            "answer (max_model_len). Lower max_tokens, or raise serve.max_model_len."
        )
    first = 0
    for group in groups:
        asked = is_open[first : first + group.problems.num_rows]
        first += group.problems.num_rows
        if not asked.any():
            continue
        lengths = np.where(asked, pc.utf8_length(group.problems["prompt"]).to_numpy(), -1)
        longest = group.problems.slice(int(lengths.argmax()), 1).to_pylist()[0]
        prompt = group.rollouts.prompt
        rendered = prompt.render(longest["prompt"], longest["messages"])
        try:
            tokens = str(count := len(await client.tokenize(rendered, prompt, longest["id"])))
        except NotServed:
            return  # then the server's refusals have to say it
        except Refused:
            count, tokens = limit, f"more than {limit}"
        if count + max_tokens > limit:
            message = (
                f"the longest prompt has {tokens} tokens; with max_tokens={max_tokens} that is more than the {limit} that "
                f"{client.name} holds (max_model_len). What does not fit is refused, and its pass rate stays unknown: "
                "raise serve.max_model_len, or lower max_tokens"
            )
            step.progress.line(f"{step.name}: {message}")
            group.rollouts.store.warn(message)
