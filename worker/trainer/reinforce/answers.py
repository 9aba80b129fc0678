"""The answers of a job's model to prompts: sampled at once, and graded beside the training."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from core.objectives.sampling import SamplingOptions
from worker.engine.sampler.rollouts import Generation, Sampled
from worker.engine.step.trainee import Trainee
from worker.grading.sample_grader import PARSE_FAULT, Graded
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.job_grading import JobGrading
from worker.trainer.reinforce.response_format import grammar_of


@dataclass(frozen=True)
class GradedAnswer:
    """An answer with its grade."""

    answer: Sampled
    grade: Graded

    @property
    def reward(self) -> float | None:
        """The reward; None if the grader has failed, which says nothing about the answer."""
        return None if self.grader_failed else self.grade.score

    @property
    def grader_failed(self) -> bool:
        """Whether the fault is the grader's, and not that of an answer that is not the JSON it should be."""
        return self.grade.fault not in (None, PARSE_FAULT)


class Grading:
    """Sampled answers while they are graded."""

    def __init__(self, answers: Sequence[Sampled], grades: Future[list[Graded]], sampling: float) -> None:
        """`sampling` are the seconds that sampling took."""
        self._answers, self._grades = answers, grades
        self.sampling_seconds = sampling
        self._began = self._ended = time.monotonic()
        grades.add_done_callback(self._note_end)

    def _note_end(self, _: object) -> None:
        self._ended = time.monotonic()

    @property
    def done(self) -> bool:
        return self._grades.done()

    @property
    def grading_seconds(self) -> float:
        return self._ended - self._began

    def result(self) -> list[GradedAnswer]:
        """Return the answers in their order. Raises what has ended the grading as a whole."""
        return [GradedAnswer(*both) for both in zip(self._answers, self._grades.result(), strict=True)]

    def cancel(self) -> None:
        self._grades.cancel()


class AnswerSampler:
    """Samples answers to prompts with a job's model as it is now, and has them graded."""

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        objective: SamplingOptions,
        grading: JobGrading,
    ) -> None:
        self._process_group, self._trainee, self._grading = process_group, trainee, grading
        self._max_tokens, self._grammar = objective.max_completion_tokens, grammar_of(objective)

    def begin(
        self, prompts: Sequence[Row], items: RowItems, count: int, seed: int, abandon: Callable[[], bool]
    ) -> Grading:
        """Sample `count` answers to each prompt, side by side, and begin to grade them. Raises Abandoned."""
        began = time.monotonic()
        asked = Generation(count, self._max_tokens, seed, self._grammar)
        answers = self._process_group.sample(self._trainee, prompts, asked, abandon)
        grades = self._grading.grade(answers, items)
        grading = Grading(answers, grades, time.monotonic() - began)
        grades.add_done_callback(lambda _: self._grading.ended())
        return grading
