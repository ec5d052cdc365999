"""The curriculum under TRL's own trainer: what is trained on is what was decided, also by a run that went on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from template_tokenizers import own_tokenizer
from tiny_model import asked, pairs_of_digits, tiny_model
from torch.utils.data import BatchSampler

from train.curriculum.measured import CurriculumError, Measured, Outcome, outcomes
from train.curriculum.problems import ProblemSampler
from train.curriculum.sampler import FILE, CurriculumSampler, KeepsCurriculum, follow, restore, trained
from train.curriculum.settings import Curriculum

STEPS = 8
PROBLEMS = [
    {"id": f"{a} {b}", "prompt": asked(a, b), "larger": str(max(a, b))} for a, b in pairs_of_digits()[::5]
]  # 18 of them
SETTINGS = Curriculum(order="shuffled", prioritise_after=0.4, max_unsolved=0.5, retest_after=0.1)
LOADERS: dict[str, dict[str, Any]] = {
    "a batch of rollouts a step": {},
    "two steps a batch of rollouts": {"num_iterations": 2},
    "two batches of rollouts a step": {"steps_per_generation": 1},
    "a loader process that reads ahead": {"dataloader_num_workers": 1},
}


def right(completions: list[Any], larger: list[str], **rest: Any) -> list[float | None]:
    """None where the answer begins with a question mark."""
    said = [one[0]["content"][:1] for one in completions]
    return [None if one == "?" else float(one == digit) for one, digit in zip(said, larger, strict=True)]


def follows(
    folder: Path, checkpoint: Path | None = None, less: int = 0, restored: bool = True, **arguments: Any
) -> Any:
    """A GRPO trainer that follows a curriculum; `trained` is what it drew: the step, and the problems."""
    from trl import GRPOConfig, GRPOTrainer

    class Follows(GRPOTrainer):
        def _get_train_sampler(self, dataset: Any = None) -> CurriculumSampler:
            return self.curriculum

        def _calculate_rewards(self, inputs: list[Any], *rest: Any) -> torch.Tensor:
            rewards: torch.Tensor = super()._calculate_rewards(inputs, *rest)
            ids = [row["id"] for row in inputs]
            self.trained.append((self.state.global_step, [*dict.fromkeys(ids)]))
            self.curriculum.problems.report(outcomes(ids, rewards[:, 0].tolist()))
            return rewards

    given = GRPOConfig(
        **{
            **{"output_dir": str(folder / "checkpoints"), "max_steps": STEPS, "save_steps": 3, "logging_steps": 1},
            **{"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_generations": 2},
            **{"max_completion_length": 2, "learning_rate": 1e-3, "report_to": [], "seed": 0},
            **{"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True},
            **arguments,
        }
    )
    names, unknown = [one["id"] for one in PROBLEMS], [None] * len(PROBLEMS)
    sampler = follow(SETTINGS, Measured(names, unknown, unknown), given, seed=0)
    sampler.problems.lag -= less
    if checkpoint is not None and restored:
        restore(sampler.problems, checkpoint)
    start = str(tiny_model(folder / "start"))
    trainer = Follows(
        model=start,
        args=given,
        train_dataset=Dataset.from_list(PROBLEMS),
        reward_funcs=[right],
        processing_class=own_tokenizer(folder / "start"),
        callbacks=[KeepsCurriculum(sampler)],
    )
    trainer.curriculum, trainer.trained = sampler, []
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return trainer


def checkpoints(folder: Path) -> dict[int, Path]:
    found = {int(one.name.rpartition("-")[2]): one for one in (folder / "checkpoints").glob("checkpoint-*")}
    return dict(sorted(found.items()))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("arguments", LOADERS.values(), ids=LOADERS)
def test_a_run_that_went_on_trains_on_what_the_whole_one_did(tmp_path: Path, arguments: dict[str, Any]) -> None:
    whole = follows(tmp_path, **arguments)
    # Every batch of rollouts is drawn once, in the step that begins with it (`report` compares its problems).
    repeats, size = whole.curriculum.repeats, whole.curriculum.problems.size
    steps = [step for step, _ in whole.trained]
    assert (
        steps
        == [
            epoch * -(-loaded // 2) + batch // 2
            for epoch in range(STEPS)
            for loaded in [len(PROBLEMS) // size * repeats]
            for batch in range(0, loaded, repeats)
        ][: len(steps)]
    )
    assert len(steps) == whole.curriculum.problems.batches
    assert [len(found) for _, found in whole.trained] == [size] * len(steps)

    saved = checkpoints(tmp_path)
    # Where a batch of rollouts is trained for two steps, saving after three waits for the fourth.
    assert [*saved] == ([4, 6, 8] if "num_iterations" in arguments else [3, 6, 8])
    step, checkpoint = [*saved.items()][1]
    went_on = follows(tmp_path, checkpoint, **arguments)

    assert went_on.trained == [one for one in whole.trained if one[0] >= step]
    assert went_on.curriculum.problems.state() == whole.curriculum.problems.state()
    assert [line.get("epoch") for line in went_on.state.log_history] == [
        line.get("epoch") for line in whole.state.log_history
    ]


@pytest.mark.parametrize("name", ["a batch of rollouts a step", "a loader process that reads ahead"])
def test_a_loader_reads_no_less_ahead_than_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(CurriculumError, match="has no outcomes yet"):
        follows(tmp_path, less=1, **LOADERS[name])


def test_going_on_without_the_curriculums_state_is_refused(tmp_path: Path) -> None:
    follows(tmp_path, max_steps=2, save_steps=1)
    checkpoint = checkpoints(tmp_path)[1]
    with pytest.raises(CurriculumError, match="goes on from step 1, and the curriculum from batch 0: restore it"):
        follows(tmp_path, checkpoint, restored=False, max_steps=2)
    with pytest.raises(CurriculumError, match="ignore_data_skip"):
        follows(tmp_path, checkpoint, ignore_data_skip=True, max_steps=2)
    with pytest.raises(CurriculumError, match="does not fit: batches was 2 and is 3"):
        follows(tmp_path, checkpoint, max_steps=3)
    (checkpoint / FILE).unlink()
    with pytest.raises(CurriculumError, match=r"curriculum\.json: cannot be read"):
        follows(tmp_path, checkpoint, max_steps=2)


# ---- without a trainer


def small(repeats: int = 3) -> CurriculumSampler:
    ids = [*"abcdefg"]
    problems = ProblemSampler(
        Curriculum(order="shuffled", prioritise_after=1),
        Measured(ids, [None] * 7, [None] * 7),
        size=2,
        batches=9,
        seed=0,
        lag=2,
    )
    return CurriculumSampler(problems, generations=2, repeats=repeats)


def test_rows_come_as_trl_repeats_them() -> None:
    from trl.trainer.utils import RepeatSampler

    sampler = small()
    rows = [*sampler]
    order = [place for number in range(3) for place in sampler.problems.batch(number)]
    theirs = RepeatSampler(range(7), mini_repeat_count=2, batch_size=2, repeat_count=3, shuffle=False)
    assert rows == [order[place] for place in theirs]
    assert len(sampler) == len(theirs) == len(rows)
    assert len({*order}) == 6


def test_processes_share_out_what_one_sampler_gives() -> None:
    shares = [
        [*BatchSamplerShard(BatchSampler(small(), batch_size=2, drop_last=False), num_processes=2, process_index=one)]
        for one in (0, 1)
    ]
    whole = [row for batches in zip(*shares, strict=True) for batch in batches for row in batch]
    assert whole == [*small()]
    assert all(len({*batch}) == 1 for batches in shares for batch in batches)


def test_batches_that_are_wound_past_are_not_decided_again() -> None:
    first, again = small(), small()
    rows = [*first]
    first.problems.report({first.problems.measured.ids[place]: Outcome(1, 2) for place in rows[:4]})
    again.problems.restore(json.loads(json.dumps(first.problems.state())))
    again.done = 1
    assert [*again][12:] == rows[12:]
    assert again.problems.decided == 3


@pytest.mark.parametrize(
    ("step", "accumulation", "repeats", "expected"),
    [
        (0, 2, 2, (0, 0)),
        (2, 2, 2, (2, 0)),
        (3, 2, 2, (3, 0)),  # the epoch has 3 batches of rollouts and 3 steps
        (5, 2, 4, (2, 2)),
        (6, 2, 4, (3, 0)),
        (1, 4, 1, (3, 0)),  # an epoch of 3 is one short step
        (2, 4, 1, (6, 0)),
    ],
)
def test_steps_in_batches_of_rollouts(step: int, accumulation: int, repeats: int, expected: tuple[int, int]) -> None:
    assert trained(step, 3, repeats, accumulation) == expected
