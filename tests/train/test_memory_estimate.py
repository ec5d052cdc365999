"""Memory that a stage needs, by what it is for."""

from pathlib import Path
from typing import Any

import pytest
from tiny_model import tiny_model

from train.memory import Estimate, Size, estimate, machine, size

MODEL = Size(parameters=1000, linear=600, adapters=50, layers=4, hidden=8, attention=8, keys=4, inner=16, words=40)


def needed(
    trainer: str = "sft",
    lora: int | None = None,
    precision: str = "fp32",
    longest: int = 16,
    devices: int = 1,
    **other: Any,
) -> Estimate:
    arguments = {"per_device_train_batch_size": 1, "gradient_checkpointing": False, "optim": "adamw_torch"} | other
    settings = {
        "arguments": arguments,
        "trainer": trainer,
        "precision": precision,
        "lora": None if lora is None else {"rank": lora},
    }
    return estimate(settings, MODEL, "cpu", devices, longest)


def fixed(found: Estimate) -> tuple[int, int, int]:
    return found.weights, found.gradients, found.optimizer


def test_adamw_takes_16_bytes_a_parameter() -> None:
    assert fixed(needed()) == (4000, 4000, 8000)


def test_other_optimizers_keep_less() -> None:
    assert needed(optim="rmsprop").optimizer == 4000
    assert needed(optim="adafactor").optimizer == 0


def test_computing_in_bf16_keeps_weights_in_fp32() -> None:
    assert fixed(needed(precision="bf16")) == (4000, 4000, 8000)


def test_adapters_alone_have_gradients_and_optimizer() -> None:
    found = needed(lora=2)

    assert (found.parameters, found.trained) == (1000, 100)
    assert fixed(found) == (4400, 400, 800)


def test_dpo_holds_the_reference_beside_but_not_with_adapters() -> None:
    assert needed("dpo").weights == 8000
    assert needed("dpo", lora=2).weights == 4400


def test_several_devices_hold_the_gradients_twice() -> None:
    assert needed(devices=2).gradients == 8000


def test_checkpointing_keeps_a_layer_and_what_goes_into_each() -> None:
    plain, again = needed(), needed(gradient_checkpointing=True)

    assert again.activations == plain.activations // MODEL.layers + MODEL.layers * 16 * MODEL.hidden * 4


def test_twice_as_long_rows_keep_twice_as_much() -> None:
    assert needed(longest=32).activations == 2 * needed(longest=16).activations


def test_only_simpo_holds_all_logits_and_a_reward_model_none() -> None:
    assert needed("cpo").head == 3 * 4 * (2 * 16) * MODEL.words
    assert needed("reward").head == 0


def test_the_size_of_a_model_is_known_without_its_weights(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    (folder / "model.safetensors").unlink()
    found = size(folder)

    assert (found.layers, found.hidden, found.inner, found.words) == (2, 64, 128, 54)
    layer = 4 * 64 * 64 + 3 * 64 * 128
    assert found.linear == 2 * layer
    assert found.parameters == 2 * (layer + 2 * 64) + 54 * 64 + 64  # input and output share their words
    assert size(folder, reward=True).parameters == found.parameters + 64


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="memory is read from /proc")
def test_a_machine_has_at_least_the_memory_that_is_free() -> None:
    found = machine()

    assert found.devices >= 1
    assert 0 < found.free <= found.memory
