"""A teacher reads answers instead of grading them: it says how likely it finds each of their tokens."""

from collections.abc import Sequence

from core.serving.served_model import ServedModel
from worker.grading.asking import Asking
from worker.grading.graded import Graded
from worker.grading.grading_thread import Teacher
from worker.grading.prompt_logprobs import own_choice, prompt_logprobs
from worker.grading.row_failed import RowFailed
from worker.grading.usage import UsageSums


class TeacherReader:
    """Reads answers with the model of a teacher. Only the event loop may call."""

    def __init__(self, asking: Asking, teacher: Teacher, served: ServedModel) -> None:
        self._asking, self._model, self._served = asking, teacher.model, served

    async def read(self, prompt: Sequence[int], answer: Sequence[int], usage: UsageSums) -> Graded:
        """Return the log-probabilities of an answer's tokens, or the fault with which the teacher failed.

        Raises JobError and OutsideFault if no answer could be read: see `Asking.ask`.
        """
        if not answer:
            return Graded(0.0, logprobs=())
        try:
            tokens = [*prompt, *answer]
            places = await prompt_logprobs(self._asking, self._served, self._model, tokens, usage)
            found = [own_choice(places, len(prompt) + at, token) for at, token in enumerate(answer)]
        except RowFailed as error:
            return Graded(0.0, error.code, error.message)
        return Graded(0.0, logprobs=tuple(choice["logprob"] for choice in found))
