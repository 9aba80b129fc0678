"""The rollouts of a job with reinforcement, whose advantages follow from rewards."""

from collections.abc import Sequence
from math import isnan
from typing import Any

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.objectives.reinforcement import (
    GRADER,
    HYPERPARAMETERS,
    IF_TOO_EASY,
    IF_TOO_HARD,
    Reinforcement,
)
from core.strict_json import finite
from worker.engine.objectives.policy.advantages import advantages
from worker.engine.step.trainee import Trainee
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answers import AnswerSampler, GradedAnswer
from worker.trainer.reinforce.episodes import SampledAnswer
from worker.trainer.reinforce.rewards import (
    details_of,
    mean_parse_error,
    mean_reward,
    rewards_GN,
    tool_measures,
)
from worker.trainer.reinforce.sampled_rollouts import FRUITLESS_STEPS, SampledRollouts


class RewardRollouts(SampledRollouts):
    """Makes rollouts of answers that a grader rewards."""

    judge, judge_failed, judge_at = "grader", "grader_failed", GRADER

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        spec: JobSpec,
        sampler: AnswerSampler,
        items: RowItems,
    ) -> None:
        super().__init__(process_group, trainee, spec, sampler, items)
        assert isinstance(spec.objective, Reinforcement)
        self._objective = spec.objective

    def _is_masked(self, answer: SampledAnswer) -> bool:
        return self._objective.mask_truncated and not answer.finished

    def _advantages(self, graded: Sequence[GradedAnswer]) -> Sequence[float]:
        rewards = rewards_GN(graded, self._generations)
        found: list[float] = advantages(rewards, self._objective.scale_rewards).flatten().tolist()
        return found

    def _nothing_to_learn(self, graded: Sequence[GradedAnswer]) -> JobError:
        """Return the error of a job whose answers all have the same reward, or none that counts."""
        if self._objective.mask_truncated and not any(one.answer.finished for one in graded):
            reason = (
                f"In the first {FRUITLESS_STEPS} steps nothing could be learnt, and all answers of the last "
                f"step were cut off at {self._objective.most_of_an_answer}. Raise "
                f"{self._objective.limits_of_an_answer}, or set mask_truncated to false to learn from such "
                "answers."
            )
            return JobError("nothing_to_learn", reason, f"{HYPERPARAMETERS}.max_completion_tokens")
        mean = mean_reward(graded)
        last = "" if isnan(mean) else f"; the mean of the last step is {mean:.3g}"
        reason = (
            f"In the first {FRUITLESS_STEPS} steps, all answers to a prompt had the same reward{last}. A job "
            "learns only from answers of which some are better than others. If the model never succeeds, "
            f"{IF_TOO_HARD}. If it always succeeds, {IF_TOO_EASY}."
        )
        return JobError("nothing_to_learn", reason, GRADER)

    def _metrics(self, graded: Sequence[GradedAnswer]) -> dict[str, Any]:
        rewards = rewards_GN(graded, self._generations)
        varied = int((advantages(rewards, scale=False) != 0).any(1).sum())
        return {
            "train_mean_reward": finite(mean_reward(graded)),
            "train_mean_parse_error": mean_parse_error(graded),
            "groups_without_variance": len(rewards) - varied,
            "groups": len(rewards),
            **tool_measures(graded, self._objective),
            **details_of(graded, "train", [self._objective.grader]),
        }
