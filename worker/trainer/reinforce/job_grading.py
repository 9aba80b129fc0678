"""Has the answers of one job graded, by the thread that grades for all jobs of a trainer."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from core.graders.schemas import Grader
from core.jobs.spec import JobSpec
from core.serving.served_model import ServedModel
from core.tables import Job
from worker.grading.grading_thread import GradingThread
from worker.grading.sample_grader import Graded


class JobGrading:
    """The grading of one job. `ended` is called, in any thread, when samples have been graded."""

    def __init__(self, thread: GradingThread, job: Job, ended: Callable[[], object]) -> None:
        self._thread, self._job = thread, job
        self.ended = ended

    def grade(
        self, grader: Grader, samples: Sequence[tuple[int, dict[str, Any], str]]
    ) -> Future[list[Graded]]:
        """Begin to grade samples by a grader of the job: each is its number, the item and the text."""
        job, spec = self._job, JobSpec.model_validate(self._job.spec)
        models = {name: ServedModel.model_validate(each) for name, each in spec.grader_models.items()}
        return self._thread.submit(job.id, job.project_id, grader, samples, models=models)

    def leave(self) -> None:
        """Give up all samples of the job."""
        self._thread.leave(self._job.id)
