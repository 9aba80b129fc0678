"""The rollouts of a job's next step: sampled, judged, and given to the trainee with their advantages."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.objectives.reinforcement import TOOLS
from core.objectives.sampling import SamplingOptions
from worker.engine.batch.dropout import step_seed
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import Trainee
from worker.grading.graded import Graded
from worker.rows.rollout import Rollout
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answers import Answering, AnswerSampler, GradedAnswer, judged
from worker.trainer.reinforce.episodes import SampledAnswer
from worker.trainer.reinforce.measures import repetition

FRUITLESS_STEPS = 5
"""A job ends after so many first steps in which nothing could be learnt."""


class SampledRollouts(ABC):
    """Makes the rollouts of one trainee, step by step. `metrics` are those of the last step's rollouts.

    A step's answers follow from the job's seed, the step and the parameters. So a job that is resumed, or
    whose sampling was abandoned, samples the same answers again.
    """

    judge: ClassVar[str]
    """What judges the answers, in a word"""
    judge_failed: ClassVar[str]
    """The code of a job whose judge has failed for all answers"""
    judge_at: ClassVar[str]
    """The place of the judge in the request"""

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        spec: JobSpec,
        sampler: AnswerSampler,
        items: RowItems,
    ) -> None:
        assert isinstance(spec.objective, SamplingOptions)
        self._process_group, self._trainee, self._seed = process_group, trainee, spec.seed
        self._generations, self._sampler, self._items = spec.objective.num_generations, sampler, items
        self._answering: Answering | None = None
        # Counts the first steps without anything to learn. None once a step had something, or after a resume,
        # when all may have been learnt
        self._fruitless = 0 if trainee.step == 0 else None
        self._all_failed = True  # whether the grader has failed for every answer of these steps
        self._judged: Graded | None = None  # the first grade of these steps that no tool has prevented
        self.metrics: dict[str, Any] = {}

    @property
    def are_ready(self) -> bool:
        """Whether the trainee can make its next step."""
        return not self._trainee.needs_rollouts

    def advance(self, abandon: Callable[[], bool]) -> None:
        """Do what can be done now: sample the answers, or take them with their grades.

        What `abandon` ends is begun anew the next time. Raises JobError if nothing can be learnt from the
        grades, and what has ended the grading as a whole.
        """
        if self.are_ready:
            return
        if self._answering is None:
            seed, prompts = step_seed(self._seed, self._trainee.step), self._trainee.next_prompts
            self._answering = self._sampler.begin(prompts, self._items, self._generations, seed)
        try:
            if not self._answering.advance(abandon):
                return
        except Abandoned:
            return
        answering, self._answering = self._answering, None
        self._take(answering)

    def close(self) -> None:
        """Stop waiting for grades."""
        if self._answering is not None:
            self._answering.cancel()

    def _take(self, answering: Answering) -> None:
        graded = answering.result()
        prompts, count = self._trainee.next_prompts, self._generations
        rollouts = [
            self._rollout(prompts[number // count], one.answer, found)
            for number, (one, found) in enumerate(zip(graded, self._advantages(graded), strict=True))
        ]
        self._end_if_fruitless(graded, rollouts)
        self.metrics = {
            **self._metrics(graded),
            "completion_tokens_mean": fmean(len(one.answer.written) for one in graded),
            "truncated_mean": fmean(not one.answer.finished for one in graded),
            "repetition_mean": fmean(repetition(one.answer.written) for one in graded),
            "timing": {"step": {name: round(value, 3) for name, value in answering.seconds.items()}},
        }
        self._process_group.take_rollouts(self._trainee.name, rollouts)

    def _rollout(
        self, prompt: Row, answer: SampledAnswer, advantages: float | NDArray[np.float64]
    ) -> Rollout:
        """Return the answer behind its prompt, with one advantage for all of its tokens, or one for each.

        Of a masked answer, no token is learnt, and none that the model has not chosen.
        """
        before = len(prompt.tokens_L)
        # An adapter that the prompt does not invoke acts on no token of the answer either
        acts_from = prompt.acts_from if prompt.acts_from < before else before + len(answer.tokens)
        learnt = np.zeros_like(answer.forced) if self._is_masked(answer) else ~answer.forced
        return Rollout(
            line=prompt.line,
            tokens_L=np.concatenate([prompt.tokens_L, answer.tokens]),
            learnt_L=np.concatenate([np.zeros(before, np.bool_), learnt]),
            acts_from=acts_from,
            images=prompt.images,
            logprobs_L=np.concatenate([np.zeros(before, np.float32), np.where(learnt, answer.logprobs, 0)]),
            advantages_L=np.concatenate([np.zeros(before), np.where(learnt, advantages, 0.0)]),
        )

    def _end_if_fruitless(self, graded: Sequence[GradedAnswer], rollouts: Sequence[Rollout]) -> None:
        """Raise JobError if none of the job's first steps had anything to learn."""
        if any(rollout.is_learnt for rollout in rollouts):
            self._fruitless = None
        if self._fruitless is None:
            return
        self._fruitless += 1
        self._all_failed &= all(one.grade.grader_failed for one in graded)
        self._judged = self._judged or next((one.grade for one in judged(graded)), None)
        if self._fruitless < FRUITLESS_STEPS:
            return
        if not self._all_failed:
            raise self._nothing_to_learn(graded)
        judge = (self.judge, self.judge_failed, self.judge_at)
        name, code, at = judge if self._judged else ("tool", "tool_failed", TOOLS)
        failure = self._judged or graded[0].grade
        reason = (
            f"The {name} has failed for every answer of the first {FRUITLESS_STEPS} steps. For example: "
            f"{failure.message}"
        )
        raise JobError(code, reason, at)

    def _is_masked(self, answer: SampledAnswer) -> bool:  # noqa: ARG002 - for those that mask some
        """Return whether nothing is learnt from the answer, whatever its grade is."""
        return False

    @abstractmethod
    def _advantages(self, graded: Sequence[GradedAnswer]) -> Sequence[float | NDArray[np.float64]]:
        """Return the advantage of each answer, or those of its tokens. They are 0 if the grader failed."""

    @abstractmethod
    def _metrics(self, graded: Sequence[GradedAnswer]) -> dict[str, Any]:
        """Return what a step reports of the grades."""

    @abstractmethod
    def _nothing_to_learn(self, graded: Sequence[GradedAnswer]) -> JobError:
        """Return the error of a job whose first steps had nothing to learn."""
