"""The rollouts of a job's next step: sampled, graded, and given to the trainee with their advantages."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.objectives.reinforcement import Reinforcement
from worker.engine.batch.dropout import step_seed
from worker.engine.objectives.policy.advantages import advantages
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import Trainee
from worker.rows.rollout import Rollout
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answers import AnswerSampler, GradedAnswer, Grading
from worker.trainer.reinforce.rewards import details_of, mean_parse_error, mean_reward, rewards_GN

GRADER, HYPERPARAMETERS = "method.reinforcement.grader", "method.reinforcement.hyperparameters"
FRUITLESS_STEPS = 5
"""A job ends after so many first steps in which nothing could be learnt."""


class Rollouts:
    """Makes the rollouts of one trainee, step by step. `metrics` are those of the last step's rollouts.

    A step's answers follow from the job's seed, the step and the parameters. So a job that is resumed, or
    whose sampling was abandoned, samples the same answers again.
    """

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        spec: JobSpec,
        sampler: AnswerSampler,
        items: RowItems,
    ) -> None:
        assert isinstance(spec.objective, Reinforcement)
        self._process_group, self._trainee, self._seed = process_group, trainee, spec.seed
        self._objective, self._sampler, self._items = spec.objective, sampler, items
        self._grading: Grading | None = None
        # First steps without anything to learn. None after one with it, and after a resume: perhaps all has
        # been learnt by then
        self._fruitless = 0 if trainee.step == 0 else None
        self.metrics: dict[str, Any] = {}

    @property
    def are_ready(self) -> bool:
        """Whether the trainee can make its next step."""
        return not self._trainee.needs_rollouts

    def advance(self, abandon: Callable[[], bool]) -> None:
        """Do what can be done now: sample the answers, or take them with their grades.

        What `abandon` ends is begun anew the next time. Raises JobError if nothing can be learnt from the
        grader's rewards, and what has ended the grading as a whole.
        """
        if self.are_ready:
            return
        if self._grading is None:
            trainee = self._trainee
            seed, count = step_seed(self._seed, trainee.step), self._objective.num_generations
            try:
                self._grading = self._sampler.begin(trainee.next_prompts, self._items, count, seed, abandon)
            except Abandoned:
                return
        if self._grading.done:
            grading, self._grading = self._grading, None
            self._take(grading)

    def close(self) -> None:
        """Stop waiting for grades."""
        if self._grading is not None:
            self._grading.cancel()

    def _take(self, grading: Grading) -> None:
        graded = grading.result()
        rewards = rewards_GN(graded, self._objective.num_generations)
        found = advantages(rewards, self._objective.scale_rewards).flatten().tolist()
        prompts, count = self._trainee.next_prompts, self._objective.num_generations
        rollouts = [
            self._rollout(prompts[number // count], one, advantage)
            for number, (one, advantage) in enumerate(zip(graded, found, strict=True))
        ]
        self._end_if_fruitless(graded, rollouts)
        self.metrics = self._metrics(grading, graded, rewards)
        self._process_group.take_rollouts(self._trainee.name, rollouts)

    def _rollout(self, prompt: Row, one: GradedAnswer, advantage: float) -> Rollout:
        """Return the answer behind its prompt. Of a masked one, no token is learnt."""
        answer = one.answer
        is_masked = self._objective.mask_truncated and not answer.finished
        before = len(prompt.tokens_L)
        # An adapter that the prompt does not invoke acts on no token of the answer either
        acts_from = prompt.acts_from if prompt.acts_from < before else before + len(answer.tokens)
        learnt = np.zeros_like(answer.forced) if is_masked else ~answer.forced
        return Rollout(
            line=prompt.line,
            tokens_L=np.concatenate([prompt.tokens_L, answer.tokens]),
            learnt_L=np.concatenate([np.zeros(before, np.bool_), learnt]),
            acts_from=acts_from,
            logprobs_L=np.concatenate([np.zeros(before, np.float32), np.where(learnt, answer.logprobs, 0)]),
            advantages_L=np.concatenate([np.zeros(before), np.where(learnt, advantage, 0.0)]),
        )

    def _end_if_fruitless(self, graded: Sequence[GradedAnswer], rollouts: Sequence[Rollout]) -> None:
        """Raise JobError if none of the job's first steps had anything to learn."""
        if any(rollout.is_learnt for rollout in rollouts):
            self._fruitless = None
        if self._fruitless is None:
            return
        self._fruitless += 1
        if self._fruitless == FRUITLESS_STEPS:
            raise self._nothing_to_learn(graded)

    def _nothing_to_learn(self, graded: Sequence[GradedAnswer]) -> JobError:
        """Return the error of a job whose answers all have the same reward, or none that counts."""
        failed = [one.grade for one in graded if one.grader_failed]
        if len(failed) == len(graded):
            reason = (
                f"The grader has failed for every answer of the first {FRUITLESS_STEPS} steps. The first of "
                f"the last step: {failed[0].message}"
            )
            return JobError("grader_failed", reason, GRADER)
        if self._objective.mask_truncated and not any(one.answer.finished for one in graded):
            reason = (
                f"In the first {FRUITLESS_STEPS} steps nothing could be learnt, and all answers of the last "
                f"step were cut off at {self._objective.max_completion_tokens} tokens. Raise "
                "max_completion_tokens, or set mask_truncated to false to learn from such answers."
            )
            return JobError("nothing_to_learn", reason, f"{HYPERPARAMETERS}.max_completion_tokens")
        reason = (
            f"In the first {FRUITLESS_STEPS} steps, all answers to a prompt had the same reward; the mean of "
            f"the last step is {mean_reward(graded):.3g}. A job learns only from answers of which some are "
            "better than others. If the model never succeeds, take easier prompts, a grader that also "
            "rewards a part of the task, or train it by supervised fine-tuning first. If it always succeeds, "
            "take harder prompts."
        )
        return JobError("nothing_to_learn", reason, GRADER)

    def _metrics(self, grading: Grading, graded: Sequence[GradedAnswer], rewards: Tensor) -> dict[str, Any]:
        grader = self._objective.grader.model_dump()
        varied = int((advantages(rewards, scale=False) != 0).any(1).sum())
        return {
            "train_mean_reward": mean_reward(graded),
            "train_mean_parse_error": mean_parse_error(graded),
            "groups_without_variance": len(rewards) - varied,
            "groups": len(rewards),
            "completion_tokens_mean": fmean(len(one.answer.tokens) for one in graded),
            "truncated_mean": fmean(not one.answer.finished for one in graded),
            **details_of(graded, "train", grader),
            "timing": {
                "step": {
                    "sampling": round(grading.sampling_seconds, 3),
                    "grading": round(grading.grading_seconds, 3),
                }
            },
        }
