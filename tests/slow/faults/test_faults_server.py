"""A real vLLM server that is killed in the midst of sampling. Two to five minutes."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from curation.client import Client, Completion
from curation.model import Model, serve
from curation.prompt import Prompt
from curation.rollouts import Sampling

PROMPT = Prompt(style="raw", template="Question: {prompt}\nAnswer:")


@pytest.mark.model
def test_vllm_killed_while_it_samples_is_restarted_and_every_sample_comes_once(
    model_folder: Path, tmp_path: Path
) -> None:
    model = Model.model_validate({"model": str(model_folder), "serve": {"max_model_len": 512}})
    said: list[str] = []
    done: dict[str, Completion] = {}
    with serve(model, log=tmp_path / "vllm.log", progress=said.append) as servers:
        started = servers[0].started
        assert started is not None

        async def draw(client: Client, name: str) -> None:
            assert name not in done
            done[name] = await client.complete(PROMPT.render("Tell me of the sea."), PROMPT, Sampling(), 60, name)

        async def draw_all() -> None:
            async with Client(servers, None, 8, 300) as client, asyncio.TaskGroup() as tasks:
                for index in range(32):
                    tasks.create_task(draw(client, f"sea-{index}"))
                while not done:
                    await asyncio.sleep(0.1)
                os.kill(child_of(started.pid), signal.SIGKILL)

        first = started.pid
        asyncio.run(draw_all())
        assert started.pid != first
        left = started.pid
    assert len(done) == 32
    assert all(sample["tokens"] == len(sample["token_ids"]) > 0 for sample in done.values())
    # With the same seed the restarted server would repeat what the first one drew.
    assert len({bytes(sample["token_ids"]) for sample in done.values()}) == 32
    assert sum("restarting" in line for line in said) == 1
    assert processes_of(left) == []


def child_of(pid: int) -> int:
    (child, *_) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def processes_of(session: int) -> list[Any]:
    """What is left of a session; a moment after its end nothing may be."""
    time.sleep(1)
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(stat)
    return found
