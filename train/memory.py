"""What a stage needs of a device's memory, estimated before it is paid for, and what the machine has. All in bytes.

    weights       4 a parameter: the optimizer's copy is fp32. Frozen ones (LoRA, a reference model) count here too
    gradients     4 a trained parameter; as much again where several devices average them (DDP's buckets)
    optimizer     8 a trained parameter for AdamW, 4 for RMSprop, next to none for Adafactor
    activations   what the backward pass reads: by layer, or one layer's and every layer's input with checkpointing; or the keys
                  and values of all completions that RL samples at once, where that is more
    head          logits: a tile of them through TRL's fused head (SFT, DPO), all of them for SimPO, none for a reward model
    process       Python, its libraries and, on a GPU, CUDA's context

Activations are counted for decoders of attention and a gated MLP, as transformers computes them: what autograd keeps of
SmolLM2 was listed tensor by tensor, and is what `_layer` says. Of a batch whose rows differ in length every layer keeps a
mask besides, quadratic in the length. Kernels that keep less (FlashAttention) are not known of here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FP32, BF16 = 4, 2
STATES = {"adamw": 8, "rmsprop": 4, "adafactor": 0}
"""Bytes of an optimizer's state, a trained parameter."""
TILE = (4096, 32768)
"""Tokens and words of a tile of logits in TRL's fused head (`trl.kernels.chunked_logprob`)."""
TILES_ON_CPU = 6
"""What is held of a tile where no Triton kernel folds it in place (`_backward_tile`, fp32)."""
LOGITS = 3
"""What SimPO's trainer holds of logits at once: they, their softmax and their gradient, fp32."""
ASK = """
import json, torch
print(json.dumps([{
    "name": torch.cuda.get_device_name(n),
    "memory": torch.cuda.mem_get_info(n),
    "bf16": torch.cuda.get_device_capability(n) >= (8, 0) or torch.version.hip is not None,
} for n in range(torch.cuda.device_count())]))
"""
"""What a process of its own says of the GPUs."""
PAIRS = ("dpo", "cpo", "reward")
"""Trainers on pairs."""
PROCESS = {"cpu": 900 << 20, "cuda": 1 << 30}


@dataclass(frozen=True)
class Machine:
    """The devices that would train."""

    device: Literal["cuda", "cpu"]
    name: str
    devices: int
    memory: int
    """Of one device; the smallest, where they differ."""
    free: int
    """Of `memory`, what nobody uses now."""
    bf16: bool
    """Whether it computes in bf16 at full speed."""


@dataclass(frozen=True)
class Size:
    """How large a model is; elements, not bytes."""

    parameters: int
    linear: int
    """Weights of its linear layers: those that autocast copies."""
    adapters: int
    """Sum of inputs and outputs of the linear layers that adapters go to; an adapter has rank times as many weights."""
    layers: int
    hidden: int
    attention: int
    """Width of all queries."""
    keys: int
    """Width of all keys."""
    inner: int
    """Width of the MLP; of experts, of all that see a token."""
    words: int


@dataclass(frozen=True)
class Estimate:
    """Bytes on one device, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    head: int
    process: int
    parameters: int
    """Of the model; a number, not bytes."""
    trained: int
    """How many of them, or of its adapters, are trained."""

    @property
    def fixed(self) -> int:
        """What no batch size and no length changes."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """At its highest: in the backward pass of a step, the optimizer's state being there."""
        return self.fixed + self.activations + self.head + self.process


def machine() -> Machine:
    """The devices of this machine: its GPUs, or else its processors with the memory that this process may use."""
    import torch

    if not torch.cuda.is_available():
        memory, free = _ram()
        return Machine("cpu", f"{os.cpu_count()} processors", 1, memory, free, bf16=False)
    # Asked in another process: one that has asked holds some of each GPU's memory until it ends.
    told = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True).stdout
    gpus = json.loads(told.splitlines()[-1])
    free, memory = (min(gpu["memory"][of] for gpu in gpus) for of in (0, 1))
    return Machine("cuda", gpus[0]["name"], len(gpus), memory, free, all(gpu["bf16"] for gpu in gpus))


def told(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _ram() -> tuple[int, int]:
    """Memory that there is and that is free, within what a control group allows."""
    said = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE))
    memory, free = int(said["MemTotal"]) << 10, int(said["MemAvailable"]) << 10
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = (int(Path("/sys/fs/cgroup", name).read_text()) for name in (limit, used))
        except (OSError, ValueError):  # there is no such group, or no limit ("max")
            continue
        if most < memory:
            memory, free = most, min(free, most - now)
    return memory, free


def size(source: str | Path, revision: str | None = None, reward: bool = False) -> Size:
    """The size of a model in a folder or on the Hub, by its config: no weight is read.

    reward: with one output in place of the words. Raises what transformers and the Hub raise.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    with torch.device("meta"):
        if reward:
            config.num_labels = 1
            model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]  # transformers
        else:
            model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers
    head = model.get_output_embeddings()
    layers = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part is not head]
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    experts = getattr(text, "num_experts_per_tok", None)
    inner = (getattr(text, "moe_intermediate_size", None) or text.intermediate_size) * (experts or 1)
    return Size(
        parameters=sum(weights.numel() for weights in model.parameters()),
        linear=sum(part.weight.numel() for part in layers),
        adapters=sum(part.in_features + part.out_features for part in layers),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        attention=heads * width,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * width,
        inner=inner,
        words=text.vocab_size,
    )


def estimate(
    settings: Mapping[str, Any], model: Size, device: Literal["cuda", "cpu"], devices: int, longest: int
) -> Estimate:
    """settings: of a run (settings.json). longest: tokens of its longest sequence, at most `max_length`."""
    arguments, trainer = settings["arguments"], settings["trainer"]
    half = settings["precision"] == "bf16"
    lora = settings["lora"]
    trained = model.parameters if lora is None else int(lora["rank"]) * model.adapters
    weights = FP32 * (model.parameters + (trained if lora else 0))
    if (trainer == "dpo" or settings.get("reference")) and lora is None:
        weights += FP32 * model.parameters  # the reference; under LoRA it is the model without its adapters
    rows = arguments["per_device_train_batch_size"] * (2 if trainer in PAIRS else 1)  # of a pair both answers
    tokens = rows * longest
    packed = bool(arguments.get("packing"))
    again = bool(arguments["gradient_checkpointing"])
    layer = tokens * _layer(model, half) + _mask(rows, longest, packed, half)
    kept = layer + model.layers * tokens * model.hidden * FP32 if again else model.layers * layer
    copies = BF16 * model.linear if half else 0
    head = _head(trainer, model, tokens, lora is None, half, device)
    sampled = arguments["per_device_train_batch_size"] * arguments.get("steps_per_generation", 0)
    cache = 0 if arguments.get("use_vllm") else sampled * longest * model.layers * 2 * model.keys * FP32
    return Estimate(
        weights=weights,
        gradients=FP32 * trained * (2 if devices > 1 else 1),
        optimizer=STATES[optimizer(arguments["optim"])] * trained,
        activations=max(kept + copies, cache),
        head=head,
        process=PROCESS[device],
        parameters=model.parameters,
        trained=trained,
    )


def _layer(model: Size, half: bool) -> int:
    """Bytes that a layer keeps of a token."""
    wide = 2 * model.attention + 2 * model.keys + 4 * model.inner
    if half:  # the residual stream and the norms stay fp32; every linear layer keeps its own copy of its input
        return 4 * FP32 * model.hidden + BF16 * (5 * model.hidden + wide)
    return FP32 * (6 * model.hidden + wide)


def _mask(rows: int, longest: int, packed: bool, half: bool) -> int:
    """Bytes of the mask that a layer keeps; a single row needs none. Packed rows stand in one sequence."""
    if packed:
        return (rows * longest) ** 2 * (BF16 if half else FP32)
    return rows * longest**2 * (BF16 if half else FP32) if rows > 1 else 0


def _head(trainer: str, model: Size, tokens: int, trained: bool, half: bool, device: str) -> int:
    """Bytes that become the loss."""
    if trainer == "reward":
        return 0
    if trainer == "cpo":
        return LOGITS * FP32 * tokens * model.words
    width = BF16 if half else FP32
    tile = min(tokens, TILE[0]) * TILE[1] * width
    if device == "cpu":
        tile += TILES_ON_CPU * min(tokens, TILE[0]) * min(TILE[1], model.words) * FP32
    weights = FP32 * model.words * model.hidden if trained else 0  # its gradient, before it is added
    return tile + weights + FP32 * tokens * model.hidden


def optimizer(name: str) -> str:
    """`adamw` of transformers' `adamw_torch_fused`."""
    return next((known for known in STATES if name.startswith(known)), "adamw")


def peak_memory() -> int:
    """The most that this process has held so far: of a GPU where there is one, else of the machine."""
    import resource

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # Linux counts in KiB
