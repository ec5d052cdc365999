"""Merged models: the weighted average of their weights, and what cannot be merged."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_model import tiny_model

from curation.progress import Progress
from flows.cli import main
from train.merge import Merged, MergeError, merge

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of one kind, with other weights each."""
    folder = tmp_path_factory.mktemp("models")
    return [tiny_model(folder / f"model{seed}", seed) for seed in range(3)]


@pytest.fixture
def copied(models: list[Path], tmp_path: Path) -> Path:
    """A copy of the second model, to be changed."""
    return shutil.copytree(models[1], tmp_path / "copied")


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def merged(folders: list[Path], shares: list[float], out: Path) -> Merged:
    return merge(folders, shares, out, QUIET)


def same(ours: dict[str, Any], expected: dict[str, Any]) -> bool:
    import torch

    return ours.keys() == expected.keys() and all(torch.equal(ours[name], expected[name]) for name in ours)


def save_with(folder: Path, **changed: Any) -> None:
    """Writes weights again: all in one file, some of them other ones, those given as None left out."""
    from safetensors.torch import save_file

    kept = {name: tensor for name, tensor in (weights(folder) | changed).items() if tensor is not None}
    save_file({name: tensor.contiguous() for name, tensor in kept.items()}, folder / "model.safetensors")


def change_config(folder: Path, **changed: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def test_a_model_merged_with_itself_is_itself(models: list[Path], tmp_path: Path) -> None:
    merged([models[0], models[0]], [1, 1], tmp_path / "out")

    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (models[0] / "model.safetensors").read_bytes()


def test_every_tensor_is_the_weighted_average(models: list[Path], tmp_path: Path) -> None:
    merged([models[0], models[1]], [0.25, 0.75], tmp_path / "out")

    first, second = weights(models[0]), weights(models[1])
    assert same(weights(tmp_path / "out"), {name: 0.25 * first[name] + 0.75 * second[name] for name in first})


def test_weights_are_shares_of_their_sum(models: list[Path], tmp_path: Path) -> None:
    merged(models, [1, 1, 2], tmp_path / "out")

    first, second, third = (weights(model) for model in models)
    expected = {name: 0.25 * first[name] + 0.25 * second[name] + 0.5 * third[name] for name in first}
    assert same(weights(tmp_path / "out"), expected)


def test_sums_are_fp32_and_stored_as_the_first_model_is(models: list[Path], copied: Path, tmp_path: Path) -> None:
    import torch

    save_with(copied, **{name: tensor.bfloat16() for name, tensor in weights(copied).items()})
    merged([copied, models[0]], [0.5, 0.5], tmp_path / "out")

    half, whole = weights(copied), weights(models[0])
    assert same(
        weights(tmp_path / "out"),
        {name: (0.5 * half[name].float() + 0.5 * whole[name]).to(torch.bfloat16) for name in half},
    )


def test_shards_are_those_of_the_first_model(models: list[Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    sharded = shutil.copytree(models[0], tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(models[0]).save_pretrained(sharded, max_shard_size="50KB")
    shards = [file.name for file in sorted(sharded.glob("*.safetensors"))]
    assert len(shards) > 1
    merged([sharded, models[1]], [1, 1], tmp_path / "out")

    assert [file.name for file in sorted((tmp_path / "out").glob("*.safetensors"))] == shards
    first, second = weights(models[0]), weights(models[1])
    assert same(weights(tmp_path / "out"), {name: 0.5 * first[name] + 0.5 * second[name] for name in first})
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_an_output_layer_tied_to_the_embedding_may_be_in_either_file(
    models: list[Path], copied: Path, tmp_path: Path
) -> None:
    save_with(copied, **{"lm_head.weight": weights(copied)["model.embed_tokens.weight"].clone()})
    merged([models[0], copied], [1, 1], tmp_path / "without")
    merged([copied, models[0]], [1, 1], tmp_path / "with")

    without, with_head = weights(tmp_path / "without"), weights(tmp_path / "with")
    assert same(without | {"lm_head.weight": without["model.embed_tokens.weight"]}, with_head)


def test_the_result_is_a_whole_model_that_says_what_it_was_made_of(models: list[Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "out"
    merged([models[0], models[1]], [0.3, 0.7], out)

    assert AutoModelForCausalLM.from_pretrained(out).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(models[0]).chat_template
    record = json.loads((out / "merge.json").read_text())
    assert [(one["model"], one["weight"]) for one in record["models"]] == [(str(models[0]), 0.3), (str(models[1]), 0.7)]
    assert not out.with_name("out.tmp").exists()


def test_settings_that_differ_are_told_and_the_first_are_kept(models: list[Path], copied: Path, tmp_path: Path) -> None:
    change_config(copied, max_position_embeddings=512)
    found = merged([models[0], copied], [1, 1], tmp_path / "out")

    assert found.notes == [f"max_position_embeddings is 256 and in {copied} 512: the first is kept"]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["max_position_embeddings"] == 256


def test_other_architectures_are_refused(models: list[Path], copied: Path, tmp_path: Path) -> None:
    change_config(copied, architectures=["Qwen2ForCausalLM"])

    with pytest.raises(MergeError, match=r"architectures are \['LlamaForCausalLM'\] and \['Qwen2ForCausalLM'\]"):
        merged([models[0], copied], [1, 1], tmp_path / "out")


def test_other_tensors_are_refused_by_name(models: list[Path], copied: Path, tmp_path: Path) -> None:
    save_with(copied, **{"model.norm.weight": None})

    with pytest.raises(MergeError, match=r"copied has no model.norm.weight, which .*model0 has"):
        merged([models[0], copied], [1, 1], tmp_path / "out")


def test_other_shapes_are_refused_with_both(models: list[Path], copied: Path, tmp_path: Path) -> None:
    import torch

    save_with(copied, **{"model.norm.weight": torch.ones(32)})

    with pytest.raises(MergeError, match=r"model.norm.weight is \[64\] and \[32\]"):
        merged([models[0], copied], [1, 1], tmp_path / "out")


def test_other_tokens_are_refused(models: list[Path], copied: Path, tmp_path: Path) -> None:
    file = copied / "tokenizer.json"
    words = json.loads(file.read_text())
    vocabulary = words["model"]["vocab"]
    vocabulary["7"], vocabulary["8"] = vocabulary["8"], vocabulary["7"]
    file.write_text(json.dumps(words))

    with pytest.raises(MergeError, match=r"'7' is token \d+ and token \d+, '8' is"):
        merged([models[0], copied], [1, 1], tmp_path / "out")


def test_quantized_weights_are_refused_and_nothing_is_left(models: list[Path], copied: Path, tmp_path: Path) -> None:
    import torch

    folders = [shutil.copytree(models[0], tmp_path / "quantized"), copied]
    for number, folder in enumerate(folders):
        save_with(folder, **{"model.norm.weight": torch.full((64,), number, dtype=torch.int8)})

    with pytest.raises(MergeError, match="only floating-point weights are averaged"):
        merged(folders, [1, 1], tmp_path / "out")
    assert not [*tmp_path.glob("out*")]


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.9])
def test_a_file_that_was_cut_off_is_named(models: list[Path], copied: Path, tmp_path: Path, kept: float) -> None:
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(MergeError, match=f"{file} (is no whole safetensors file|cannot be read).*download it again"):
        merge([models[0], copied], [1, 1], tmp_path / "merged", QUIET)


def test_a_file_in_the_way_of_the_folder_is_named(models: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MergeError, match=f"{tmp_path / 'file'} is a file, not a folder"):
        merge(models[:2], [1, 1], tmp_path / "file" / "merged", QUIET)


def test_what_is_there_is_not_overwritten(models: list[Path], tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="is there already; give another --out"):
        merged([models[0], models[1]], [1, 1], tmp_path)


@pytest.mark.parametrize("shares", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_every_model_has_a_weight_above_0(models: list[Path], tmp_path: Path, shares: list[float]) -> None:
    with pytest.raises(MergeError, match="give each of 2 models one above 0"):
        merged([models[0], models[1]], shares, tmp_path / "out")


def test_the_command_takes_the_share_of_the_first_of_two(models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = CliRunner().invoke(
        main, ["merge", str(models[0]), str(models[1]), "--out", str(out), "--weight", "0.25", "--quiet"]
    )

    assert told.exit_code == 0, told.output
    first, second = weights(models[0]), weights(models[1])
    assert same(weights(out), {name: 0.25 * first[name] + 0.75 * second[name] for name in first})


def test_the_command_says_what_a_model_may_be(models: list[Path], tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["merge", str(models[0]), "nowhere", "--out", str(tmp_path / "out")])

    assert told.exit_code == 2
    assert "'nowhere' is neither a folder here, nor a Hub name (ORG/NAME), nor RECIPE:STAGE" in told.output
