"""From a recipe to a trained model: what a stage comes to, where it starts, and what is refused."""

import json
import re
import shutil
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from distilling import distilling
from lab import Lab
from tiny_model import tiny_model

from flows.cli import main
from flows.recipe import RecipeError, load
from flows.train import Prepared, prepare
from train.arguments import TRL, TRL_OF, StageError, config_of
from train.memory import Machine
from train.run import SETTINGS, RunError

CPU = Machine("cpu", "a test", 1, 1 << 34, 1 << 34, False)
SETS = {
    "sft": {"traces": "long", "enough": 2},
    "preference": {"traces": "long"},
}


@pytest.fixture
def trainable(lab: Lab, tmp_path: Path) -> Lab:
    """Two sets of sums in steps, written for a tiny model."""
    distilling(lab, tiny_model(tmp_path / "tiny"))
    lab.recipe["sets"] = dict(SETS)
    lab.recipe["train"] = {"sft": {"set": "sft", "epochs": 1, "batch_size": 4}}
    return lab


def published(lab: Lab) -> Any:
    dataset = lab().dataset
    assert dataset is not None
    return dataset


def loaded(lab: Lab) -> Any:
    return load(str(lab.write()))


def of_stage(lab: Lab, name: str, **machine: Any) -> Prepared:
    return prepare(loaded(lab), name, published(lab), Machine(**(vars(CPU) | machine)))


def test_every_setting_says_where_it_comes_from(trainable: Lab) -> None:
    trainable.recipe["train"] = {"dpo": {"set": "preference", "beta": 0.2, "batch_size": 8}}
    settings = {one.name: (one.value, one.origin, one.trl) for one in of_stage(trainable, "dpo").resolved.settings}

    assert settings["beta"] == (0.2, "recipe", "beta 0.1")
    assert settings["learning_rate"] == (1e-6, "DPO (2305.18290, app. B)", "")
    assert settings["optimizer"] == ("rmsprop", "DPO (2305.18290, app. B)", "optim adamw_torch_fused")
    assert settings["precision"] == ("fp32", "this machine", "bf16 True")
    assert settings["max_grad_norm"] == (1.0, "Cuvee", "")


def test_the_batch_is_the_same_on_any_number_of_devices(trainable: Lab) -> None:
    trainable.recipe["train"]["sft"] |= {"batch_size": 24, "device_batch_size": 5}
    one, four = (of_stage(trainable, "sft", device="cuda", bf16=True, devices=devices) for devices in (1, 4))

    def division(prepared: Prepared) -> tuple[int, int]:
        arguments = prepared.settings["arguments"]
        return arguments["per_device_train_batch_size"], arguments["gradient_accumulation_steps"]

    assert division(one) == (4, 6)
    assert division(four) == (3, 2)
    assert one.run.folder == four.run.folder
    with pytest.raises(StageError, match="24 rows cannot be shared out evenly to 5 devices"):
        of_stage(trainable, "sft", devices=5)


def test_what_shapes_the_result_makes_another_run_and_how_it_runs_does_not(trainable: Lab) -> None:
    first = of_stage(trainable, "sft").run.folder
    trainable.recipe["train"]["sft"] |= {"device_batch_size": 1, "save_every": 3, "log_every": 2}
    same = of_stage(trainable, "sft").run.folder
    trainable.recipe["train"]["sft"] |= {"learning_rate": 2e-5}
    other = of_stage(trainable, "sft").run.folder

    assert first == same
    assert first != other


def test_a_folder_of_another_run_is_refused_with_what_differs(trainable: Lab, tmp_path: Path) -> None:
    dataset, out = published(trainable), str(tmp_path / "out")
    prepared = prepare(loaded(trainable), "sft", dataset, CPU, out)
    prepared.run.write(SETTINGS, prepared.settings)
    trainable.recipe["train"]["sft"]["epochs"] = 2

    with pytest.raises(RunError, match=r"holds another run: settings.epochs was 1.0, is 2.0; give another --out"):
        prepare(loaded(trainable), "sft", dataset, CPU, out)


def test_a_stage_starts_from_the_one_before_it(trainable: Lab) -> None:
    trainable.recipe["train"]["dpo"] = {"set": "preference", "batch_size": 8}

    with pytest.raises(RunError, match=r"starts from sft, which is not trained yet: cuvee train .*recipe.yaml:sft"):
        of_stage(trainable, "dpo")

    looked = prepare(loaded(trainable), "dpo", published(trainable), CPU, stand_in=True)
    assert looked.settings["start"]["instead_of"] == "sft"

    done = trainable.workspace / "runs" / "lab.sft" / "0123" / "model"
    done.parent.mkdir(parents=True)
    shutil.copytree(trainable.folder / "tiny", done)
    assert of_stage(trainable, "dpo").settings["start"]["model"] == str(done)

    own = trainable.folder / "tiny"  # what the same command has just made, though another was finished later
    given = prepare(loaded(trainable), "dpo", published(trainable), CPU, made={"sft": own})
    assert given.settings["start"]["model"] == str(own)


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ({"sft": {"set": "nix"}}, "train.sft.set: 'nix' is no set of this recipe"),
        ({"sft": {"set": "preference"}}, "'preference' is a set of kind preference, and sft trains on sft or fusion"),
        ({"sft": {"set": "sft", "beta": 1}}, "train.sft.beta: unknown key"),
        ({"mine": {"set": "sft"}}, "train.mine: 'mine' is no algorithm"),
        ({"sft": {"set": "sft", "start": "dpo"}}, "train.sft.start: 'dpo' is no stage before it whose model answers"),
        ({"sft": {"set": "sft", "trl": {"learning_rate": 1}}}, "train.sft.trl: learning_rate: set by the stage itself"),
        ({"rl": {"rewards": {"lenght": {}}}}, "train.rl.rewards.lenght: unknown key; did you mean length?"),
        ({"rl": {"temperature": -1}}, "train.rl.temperature: input should be greater than 0"),
    ],
)
def test_mistakes_are_told_when_the_recipe_is_loaded(train: dict[str, Any], told: str, trainable: Lab) -> None:
    trainable.recipe["train"] = train

    with pytest.raises(RecipeError, match=re.escape(told)):
        loaded(trainable)


def test_an_empty_set_and_a_student_elsewhere_are_refused(trainable: Lab) -> None:
    trainable.recipe["sets"]["sft"]["where"] = "false"
    with pytest.raises(RunError, match=r"sft of lab@.* has no row to train on"):
        of_stage(trainable, "sft")
    trainable.recipe["sets"]["sft"]["where"] = "true"
    trainable.recipe["student"] = {"model": "policy", "tokenizer": str(trainable.folder / "tiny")}
    with pytest.raises(RunError, match="is reached by `url`, and training needs its weights"):
        of_stage(trainable, "sft")


def test_an_unknown_argument_of_trl_is_named(trainable: Lab) -> None:
    trainable.recipe["train"]["sft"]["trl"] = {"learning_rat": 1}

    with pytest.raises(StageError, match=r"train.sft.trl: learning_rat: no argument of TRL's SFTConfig"):
        of_stage(trainable, "sft")


@pytest.mark.parametrize(
    "trainer", ["sft", "dpo", "cpo", "reward", "grpo", "rloo", "online_rft", "mirror_descent", "ppo"]
)
def test_what_is_said_of_trls_defaults_is_so(trainer: str) -> None:
    fields = config_of(trainer).__dataclass_fields__

    for name, value in (TRL | TRL_OF[trainer]).items():
        default = fields[name].default_factory() if fields[name].default is MISSING else fields[name].default
        assert getattr(default, "value", default) == (None if name == "bf16" else value), name


def test_the_command_looks_trains_once_and_says_what_came_of_it(
    trainable: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(trainable)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = str(trainable.folder / "recipe.yaml")

    def train(*options: str) -> Any:
        return CliRunner().invoke(main, ["train", *options, "--workspace", str(trainable.workspace)])

    looked = train(f"{path}:sft", "--dry-run")
    assert looked.exit_code == 0, looked.output
    assert "learning_rate" in looked.output
    assert "steps:" in looked.output
    assert not (trainable.workspace / "runs").exists()

    done = train(f"{path}:sft", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["sft"]
    assert (Path(found["model"]) / "config.json").is_file()
    assert found["loss"]["last"] > 0

    again = train(f"{path}:sft")
    assert "sft is trained already" in again.output

    missing = train(f"{path}:nix")
    assert missing.exit_code == 2
    assert "has no stage 'nix'; it has sft" in missing.output
