"""Reinforcement learning over TRL's trainers, and those of on_groups.py and ppo.py: what is common to all of them.

    prompts     are tokens already (prompting.py), so that the policy is asked as curation asked it
    samples     end at a stop string too, and are read as curation reads them
    rewards     are one function over all of train/rewards; unknown ones come to TRL as NaN, and have no advantage
    held out    problems are answered once each, at the beginning, every so often and at the end: the true metric
    going on    a checkpoint has the reference with it, where that changes

Importing this imports torch; the trainers import TRL, which takes seconds.
"""

import functools
import importlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from curation.prompt import Prompt
from train.curriculum.measured import Measured
from train.curriculum.sampler import CurriculumSampler, KeepsCurriculum, follow, restore
from train.curriculum.settings import Curriculum
from train.prompting import Reader, ask
from train.rewards.reward import Completion
from train.rl_reward import Reward
from train.rl_watching import HELD_OUT_PREFIX, RIGHT
from train.watching import Diverged

REFERENCE = "reference.safetensors"
"""In a checkpoint: the reference, where it is another than the stage's start."""
MISLEADING = (
    *("completions/clipped_ratio", "completions/mean_terminated_length", "completions/min_terminated_length"),
    *("completions/max_terminated_length", "rewards/reward/mean", "rewards/reward/std"),
)
"""Metrics of TRL's that know no stop string, or say again what `rewards/total` says."""


def trainer(
    watched: Any,
    kind: str,
    arguments: Mapping[str, Any],
    settings: Mapping[str, Any],
    reward: Reward,
    checkpoint: str | None,
    **given: Any,
) -> Any:
    """The trainer of a stage.

    kind: a stage's TRAINER. arguments: of its configuration. settings: of the run. reward: what its completions get.
    checkpoint: the folder that is gone on from. given: model, datasets (`rows`), tokenizer, adapters and callbacks by TRL's
    names. Raises CurriculumError where the checkpoint's curriculum does not fit.
    """
    from train.arguments import config_of

    if not arguments.get("use_vllm"):
        without_vllm()
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the lock pins its version
    # It prints the whole row of a completion that cannot be graded, in every batch; the share of them is in the metrics.
    logging.getLogger("trl.trainer").setLevel(logging.ERROR)
    made = dict(arguments)
    if settings["reference"]:  # TRL loads it by the name in the model's config
        made["model_init_kwargs"] = {"revision": settings["start"].get("revision")} | (
            made.get("model_init_kwargs") or {}
        )
    if settings["stop"] and made.get("use_vllm"):
        stop = {"stop": settings["stop"], "include_stop_str_in_output": True}
        made["generation_kwargs"] = stop | (made.get("generation_kwargs") or {})
    config = config_of(kind)(**made)
    order = _order(settings, config, checkpoint)
    if order is not None:
        reward.problems = order.problems
        given["callbacks"] = [KeepsCurriculum(order), *given["callbacks"]]
    built = watched(sampling(_trainer(kind)))(args=config, reward_funcs=reward, **given)
    built.reward, built.mask_cut_off, built.order = reward, settings["mask_cut_off"], order
    return built


def _order(settings: Mapping[str, Any], config: Any, checkpoint: str | None) -> CurriculumSampler | None:
    """Which problems come next, where the recipe says; else TRL's own sampler shuffles them."""
    if settings["curriculum"] is None:
        return None
    curriculum = Curriculum.model_validate(settings["curriculum"])
    order = follow(curriculum, Measured.of(measured_rows(settings), curriculum), config, settings["seed"])
    if checkpoint is not None:
        restore(order.problems, checkpoint)
    return order


def measured_rows(settings: Mapping[str, Any]) -> pa.Table:
    """What a curriculum goes by, of the problems that are trained on: their ids and all that was measured in numbers."""
    parts = [pq.ParquetFile(file) for file in settings["data"]["train"]]
    kinds = parts[0].schema_arrow
    columns = [one.name for one in kinds if pa.types.is_integer(one.type) or pa.types.is_floating(one.type)]
    return pa.concat_tables([part.read(["id", *columns]) for part in parts])


def without_vllm() -> None:
    """Keeps TRL from importing vLLM, which it does wherever that is installed, for seconds, used or not."""
    importlib.import_module("trl.import_utils").is_vllm_available = lambda *_, **__: False  # type: ignore[attr-defined]  # its own name


def _trainer(kind: str) -> type[Any]:
    import trl

    from train.on_groups import Aligned, MirrorDescent, OnlineRFT
    from train.ppo import PPO

    known: dict[str, Any] = {"grpo": Aligned, "rloo": trl.RLOOTrainer, "online_rft": OnlineRFT}
    found: type[Any] = (known | {"mirror_descent": MirrorDescent, "ppo": PPO})[kind]
    return found


def sampling(trainer: type[Any]) -> type[Any]:
    """The trainer, which asks with tokens, ends at stop strings, and measures held-out problems."""
    from trl import RLOOTrainer

    once = (
        () if issubclass(trainer, RLOOTrainer) else (1,)
    )  # RLOO's is not told how many completions, and gives them alone

    class Sampling(trainer):  # type: ignore[misc]  # TRL has no types
        reward: Reward
        mask_cut_off: bool
        """Whether completions that were cut off train nothing."""
        order: CurriculumSampler | None

        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return self.order if self.order is not None else super()._get_train_sampler(*args, **kwargs)

        # ---- sampling

        def _tokenize_prompts(self, prompts: list[list[int]]) -> Any:
            return prompts, None, {}

        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            reader = self.reward.reader
            if not reader.stop or self.use_vllm:
                with self._finite():
                    return super()._generate_single_turn(*args, **kwargs)
            stops = Stops(reader, max(map(len, args[0])))
            with self._finite(), _stopping(self.accelerator.unwrap_model(self.model), stops):
                found = super()._generate_single_turn(*args, **kwargs)
            ids, *rest = found if isinstance(found, tuple) else (found,)
            # Behind a completion that has ended stands padding until the longest has.
            ended = [one[: stops.ended.get(row, len(one))] for row, one in enumerate(ids)]
            return (ended, *rest) if isinstance(found, tuple) else ended

        @contextmanager
        def _finite(self) -> Iterator[None]:
            """Says of a policy whose probabilities are no numbers what it is: torch refuses to draw from them."""
            try:
                yield
            except RuntimeError as error:
                if "probability tensor contains" not in str(error):
                    raise
                raise Diverged(
                    f"the probabilities of the policy are no numbers after step {self.state.global_step}. Lower learning_rate, "
                    "raise warmup, or lower max_grad_norm"
                ) from error

        def _generate(self, prompts: list[list[int]]) -> Any:
            found = list(super()._generate(prompts))
            if self.mask_cut_off:
                # TRL's own masking knows no stop string; what a tool wrote is left out of the loss in the same way.
                found[2] = [[int(self.reward.reader.read(ids).ended)] * len(ids) for ids in found[1]]
            return tuple(found)

        # ---- held out

        def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            """Answers the held-out problems, once each; training does not see that it was done."""
            training = self.model.training
            self.model.eval()
            devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
            with torch.random.fork_rng(devices):
                torch.manual_seed(self.args.seed + self.accelerator.process_index)
                found = self._held_out()
            # While the model is in this mode TRL logs what is held out, and no loss.
            self.log(dict(found))
            self.model.train(training)
            self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
            return found

        def _held_out(self) -> dict[str, float]:
            rows, shares = self.eval_dataset, self.accelerator.num_processes
            mine = range(self.accelerator.process_index, len(rows), shares)
            size = self.args.per_device_train_batch_size
            answers: list[Completion] = []
            for first in range(0, -(-len(rows) // shares), size):
                # All processes sample as often: a model that is shared out needs them all.
                batch = [rows[place] for place in mine[first : first + size]]
                prompts = [row["prompt"] for row in batch or [rows[0]]]
                found = self._generate_single_turn(prompts, None, {}, *once)
                given = zip(batch, found[0] if isinstance(found, tuple) else found, strict=False)
                answers += [self.reward.completion(one, row["problem"], row["opened"]) for row, one in given]
            from accelerate.utils import gather_object

            right = gather_object(self.reward.right(answers))
            lengths = gather_object([(one.tokens, one.cut_off) for one in answers])
            known = [one for one in right if one is not None]
            told = {
                f"{HELD_OUT_PREFIX}completions/unknown": 1 - len(known) / len(right),
                f"{HELD_OUT_PREFIX}completions/cut_off": sum(cut for _, cut in lengths) / len(lengths),
                f"{HELD_OUT_PREFIX}completions/mean_length": sum(tokens for tokens, _ in lengths) / len(lengths),
            }
            return told | ({RIGHT: sum(known) / len(known)} if known else {})

        # ---- going on

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            for told in self._metrics.values():
                for name in MISLEADING:
                    told.pop(name, None)
            super().log(logs, start_time)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            if self.args.sync_ref_model and self.args.should_save:
                from safetensors.torch import save_model

                folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
                save_model(self.accelerator.unwrap_model(self.ref_model), str(folder / REFERENCE))

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            if self.args.sync_ref_model:
                from safetensors.torch import load_model

                load_model(self.accelerator.unwrap_model(self.ref_model), Path(resume_from_checkpoint, REFERENCE))

    Sampling.__name__ = trainer.__name__
    return Sampling


class Stops(StoppingCriteria):
    """Ends completions at a stop string, and remembers where."""

    def __init__(self, reader: Reader, asked: int) -> None:
        """asked: tokens of the longest prompt, which the completions follow."""
        self.reader, self.asked = reader, asked
        self.ended: dict[int, int] = {}
        """Of rows that have ended so, their tokens."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        length = input_ids.size(1) - self.asked
        tails = input_ids[:, max(self.asked, input_ids.size(1) - self.reader.tail) :].tolist()
        for row, tail in enumerate(tails):
            if row not in self.ended and self.reader.stopped(tail):
                self.ended[row] = length
        return torch.tensor([row in self.ended for row in range(len(tails))], device=input_ids.device)


@contextmanager
def _stopping(model: Any, stops: Stops) -> Iterator[None]:
    """While it lasts, `model.generate` heeds the stops: TRL calls it without any."""
    model.generate = functools.partial(model.generate, stopping_criteria=StoppingCriteriaList([stops]))
    try:
        yield
    finally:
        del model.generate


def ends(tokenizer: Any, model: Any) -> list[int]:
    """The tokens that end a completion, as TRL's trainers take them, and vLLM."""
    said = model.generation_config.eos_token_id
    known = [] if said is None else [said] if isinstance(said, int) else list(said)
    return known if tokenizer.eos_token_id in known else [tokenizer.eos_token_id, *known]


def rows(given: Any, tokenizer: Any, settings: Mapping[str, Any]) -> Any:
    """A split of an RL set as the trainer takes it: `prompt` as tokens, `opened`, and `problem`, its row."""
    prompts = {source: Prompt.model_validate(one) for source, one in settings["prompts"].items()}

    def asked(problem: dict[str, Any]) -> dict[str, Any]:
        found = ask(tokenizer, prompts[problem["source"]], problem)
        return {"prompt": found.ids, "opened": found.opened, "problem": problem}

    return given.map(asked, remove_columns=given.column_names, load_from_cache_file=False)
