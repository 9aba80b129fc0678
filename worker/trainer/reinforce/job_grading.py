"""Has the answers of one job graded or read, and their calls answered, by the trainer's grading thread."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from core.graders.check import judges_of
from core.jobs.spec import JobSpec
from core.objectives.distillation import Distillation
from core.objectives.reinforcement import Reinforcement
from core.serving.served_model import ServedModel
from core.tables import Job
from worker.grading.graded import Graded
from worker.grading.grading_thread import GradingThread, Teacher, Tools
from worker.grading.tool_results import ToolResults
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.episodes import Episode, SampledAnswer


class JobGrading:
    """The graders or the teacher of one job, and its tools.

    `ended` is to be called, in any thread, when they have judged answers or answered calls.
    """

    def __init__(self, thread: GradingThread, job: Job, ended: Callable[[], object]) -> None:
        self._thread, self._job = thread, job
        self.ended = ended

    def call_tools(
        self, episodes: Sequence[Episode], items: RowItems, folder: Path
    ) -> Future[list[ToolResults]]:
        """Begin to make the calls for which episodes wait. `folder` has the tokenizer."""
        objective = JobSpec.model_validate(self._job.spec).objective
        assert isinstance(objective, Reinforcement)
        tools = Tools({tool.name: tool for tool in objective.tools or ()}, folder)
        samples = [
            (items[each.prompt.line], each.messages, each.waits_for, each.trace_id, each.end_token)
            for each in episodes
        ]
        return self._submit(tools, samples, {})

    def grade(
        self, answers: Sequence[SampledAnswer], items: RowItems, *, audited: bool = False
    ) -> Sequence[Future[list[Graded]]]:
        """Begin to grade answers, or to have a teacher read them. `items` are those of their lines.

        The grades are those of the job's grader, and if `audited` those of its audit, if it has one. They
        leave out the answers of which a tool has failed.
        """
        spec = JobSpec.model_validate(self._job.spec)
        objective, models = spec.objective, spec.grader_models
        if isinstance(objective, Distillation):
            tokens = [(answer.prompt_L.tolist(), answer.tokens.tolist()) for answer in answers]
            named = {objective.teacher: models[objective.teacher]}
            return [self._submit(Teacher(objective.teacher), tokens, named)]
        assert isinstance(objective, Reinforcement)
        samples = [
            (number, items[answer.line], answer.sample)
            for number, answer in enumerate(answers)
            if answer.tool_error is None
        ]
        graders = objective.graders if audited else [objective.grader]
        return [self._submit(grader, samples, judges_of([grader], models)) for grader in graders]

    def _submit(
        self, by: Any, samples: Sequence[tuple[Any, ...]], named: Mapping[str, Any]
    ) -> Future[list[Any]]:
        """Have samples judged. `named` has what a server loads for each model that `by` names."""
        job = self._job
        models = {name: ServedModel.model_validate(each) for name, each in named.items()}
        return self._thread.submit(job.id, job.project_id, by, samples, models=models)

    def leave(self) -> None:
        """Give up all samples of the job."""
        self._thread.leave(self._job.id)
