"""How a stage of RL samples, as its recipe says: whom it asks and how, what it pays, and what its groups will be worth."""

from collections.abc import Mapping
from typing import Any

from curation.duck import arrow, parquet, quoted
from curation.prompt import Prompt
from curation.publish import Dataset
from flows.recipe import Loaded
from train.band import Band, band
from train.rl_stage import RLStage
from train.run import RunError
from train.stage import STUDENT


def rollouts(
    loaded: Loaded, name: str, stage: RLStage, dataset: Dataset, files: Mapping[str, list[str]]
) -> dict[str, Any]:
    """What a run's settings say of how RL samples and rewards."""
    parts = [file for split in files.values() for file in split]
    with dataset.store.connect() as con:

        def distinct(column: str) -> list[Any]:
            rows = f"select distinct {column} as one from {parquet(parts)} where {column} is not null order by all"
            return [row["one"] for row in arrow(con, rows).to_pylist()]

        sources, verifiers = distinct("source"), distinct("verifier")
    prompts = {source: _prompt(loaded, name, source) for source in sources}
    stops = {prompt.stop for prompt in prompts.values()}
    if len(stops) > 1:
        raise RunError(
            f"train.{name}: the sources end answers at different strings ({', '.join(map(str, sorted(stops)))}), and RL samples "
            "them together; give `stop` once, under the model's prompt"
        )
    return {
        "prompts": {source: prompt.model_dump(mode="json") for source, prompt in prompts.items()},
        "stop": list(*stops),
        "verifiers": verifiers,
        "keep_rollouts": stage.keep_rollouts,
        "rewards": stage.rewards.model_dump(mode="json"),
        "curriculum": None if stage.curriculum is None else stage.curriculum.model_dump(mode="json"),
        "mask_cut_off": bool(getattr(stage, "mask_cut_off", False)),
        "reference": stage.reference_weight > 0,
        "judge": None
        if loaded.judge is None or loaded.judge.model.url is None
        else loaded.judge.model_dump(mode="json"),
    }


def groups(loaded: Loaded, stage: RLStage, dataset: Dataset, files: list[str]) -> Band | None:
    """What is to be expected of the groups of a set, by the pass rates that the recipe measures."""
    policy = loaded.training.policy
    if policy is None or (names := policy.counts) is None:
        return None
    with dataset.store.connect() as con:

        def counts(rows: str) -> list[list[int | None]]:
            known = {*arrow(con, f"select * from {rows} limit 0").column_names}
            if not {*names} <= known:
                return [[], []]
            found = arrow(con, f"select {', '.join(map(quoted, names))} from {rows}")
            return [column.to_pylist() for column in found.columns]

        passes, fails = counts(parquet(files))
        pool = counts(dataset.decisions())
    return band(passes, fails, stage.group, (pool[0], pool[1]))


def _prompt(loaded: Loaded, name: str, source: str) -> Prompt:
    """How the model that a stage trains is asked: a student as the sets put problems to it, else as difficulty was measured."""
    student, policy = loaded.wanted.student, loaded.training.policy
    if loaded.training.root(name) == STUDENT and student is not None:
        return Prompt(system=student.system, template=student.template)
    assert policy is not None
    known = loaded.recipe.sources.get(source)
    return loaded.recipe.models[policy.model].prompt.merged(
        {**policy.prompt, **({} if known is None else known.prompt)}
    )
