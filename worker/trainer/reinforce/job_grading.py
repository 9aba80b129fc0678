"""Has the answers of one job graded or read, by the thread that grades for all jobs of a trainer."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from core.jobs.spec import JobSpec
from core.objectives.distillation import Distillation
from core.objectives.reinforcement import Reinforcement
from core.serving.served_model import ServedModel
from core.tables import Job
from worker.engine.sampler.rollouts import Sampled
from worker.grading.grading_thread import GradingThread, Teacher
from worker.grading.sample_grader import Graded
from worker.trainer.reading.row_items import RowItems


class JobGrading:
    """The grader or the teacher of one job. `ended` is called, in any thread, when all are graded."""

    def __init__(self, thread: GradingThread, job: Job, ended: Callable[[], object]) -> None:
        self._thread, self._job = thread, job
        self.ended = ended

    def grade(self, answers: Sequence[Sampled], items: RowItems) -> Future[list[Graded]]:
        """Begin to grade answers, or to have a teacher read them. `items` are those of their lines."""
        job, spec = self._job, JobSpec.model_validate(self._job.spec)
        models = {name: ServedModel.model_validate(each) for name, each in spec.grader_models.items()}
        by: Any
        samples: list[tuple[Any, ...]]
        if isinstance(spec.objective, Distillation):
            by = Teacher(spec.objective.teacher)
            samples = [(answer.prompt_L.tolist(), answer.tokens.tolist()) for answer in answers]
        else:
            assert isinstance(spec.objective, Reinforcement)
            by = spec.objective.grader
            samples = [(number, items[answer.line], answer.text) for number, answer in enumerate(answers)]
        return self._thread.submit(job.id, job.project_id, by, samples, models=models)

    def leave(self) -> None:
        """Give up all samples of the job."""
        self._thread.leave(self._job.id)
