"""The reward function that TRL's trainers call: what the policy sampled is read, graded, and paid by every reward of a stage."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from curation.graders import Graders
from curation.prompt import Prompt
from train.curriculum.measured import outcomes
from train.curriculum.problems import ProblemSampler
from train.prompting import Reader
from train.rewards.accuracy import correct, verdicts
from train.rewards.reward import Completion
from train.rewards.scoring import Rewards
from train.rewards.section import Section
from train.rollout_log import Answer, RolloutLog


class Reward:
    """The reward function that TRL calls: every reward of the stage, added up."""

    __name__ = "reward"

    def __init__(
        self, settings: Mapping[str, Any], graders: Graders, reader: Reader, kept: RolloutLog | None = None
    ) -> None:
        """settings: of the run. kept: where completions are written, if anywhere."""
        self.kept = kept
        self.prompts = {source: Prompt.model_validate(one) for source, one in settings["prompts"].items()}
        self.section = Section.model_validate(settings["rewards"])
        self.limit = settings["arguments"]["max_completion_length"]
        self.group = settings["arguments"]["num_generations"]
        self.graders, self.reader = graders, reader
        self.problems: ProblemSampler | None = None
        """Who wants to know what was solved."""
        self._rewards: Rewards | None = None

    def __call__(
        self,
        completion_ids: Sequence[Sequence[int]],
        problem: Sequence[Mapping[str, Any]],
        opened: Sequence[bool],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        """The totals; None is unknown."""
        if self._rewards is None:  # how many steps the stage has is known when it has begun
            self._rewards = _rewards(self, trainer_state.max_steps)
        answers = [self.completion(*one) for one in zip(completion_ids, problem, opened, strict=True)]
        scored = self._rewards(answers, trainer_state.global_step)
        for name, value in scored.log.items():
            log_metric(name, value)
        if self.kept is not None:
            self.kept.append(trainer_state.global_step, self._answers(answers, completion_ids, scored.correct))
        if self.problems is not None:
            for name, value in self._reported(self.problems, problem, scored.correct).items():
                log_metric(name, value)
        return scored.totals

    def _answers(
        self, given: Sequence[Completion], ids: Sequence[Sequence[int]], right: Sequence[bool | None]
    ) -> list[Answer]:
        """Completions as they are kept."""
        found = []
        for one, tokens, known in zip(given, ids, right, strict=True):
            prompt = self.prompts[one.problem["source"]]
            sent = prompt.render(one.problem["prompt"], one.problem.get("messages") or [])
            found.append(Answer(one.problem["id"], sent, one.text, tokens, not one.cut_off, known))
        return found

    def _reported(
        self, problems: ProblemSampler, asked: Sequence[Mapping[str, Any]], right: Sequence[bool | None]
    ) -> dict[str, float]:
        """Tells the curriculum what was solved, in all processes; gives its metrics."""
        from accelerate.utils import gather_object

        ids = gather_object([one["id"] for one in asked])
        known = gather_object([None if one is None else float(one) for one in right])
        problems.report(outcomes(ids, known))
        return problems.metrics()

    def completion(self, ids: Sequence[int], problem: Mapping[str, Any], opened: bool) -> Completion:
        """A sample as the rewards see it."""
        answer = self.reader.read(ids)
        return Completion(problem, answer.text, len(ids), not answer.ended, opened)

    def right(self, answers: Sequence[Completion]) -> list[bool | None]:
        """Whether the verifier accepts them; None where that is not known."""
        return [correct(one, verdict) for one, verdict in zip(answers, verdicts(answers, self.graders), strict=True)]


def _rewards(of: Reward, steps: int) -> Rewards:
    from accelerate import PartialState
    from accelerate.utils import gather_object

    return Rewards(of.section, of.graders, of.group, of.limit, steps, gather_object, PartialState().process_index)
