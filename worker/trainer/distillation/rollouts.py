"""The rollouts of a job with distillation, whose advantages follow from a teacher's log-probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import JobError
from core.objectives.distillation import TEACHER
from core.strict_json import finite
from worker.trainer.distillation.reverse_kl import gains_of, measures_of
from worker.trainer.reinforce.answers import GradedAnswer
from worker.trainer.reinforce.sampled_rollouts import FRUITLESS_STEPS, SampledRollouts


class DistillationRollouts(SampledRollouts):
    """Makes rollouts of answers that a teacher has read. An answer that it could not read teaches nothing."""

    judge, judge_failed, judge_at = "teacher", "teacher_failed", TEACHER

    def _advantages(self, graded: Sequence[GradedAnswer]) -> Sequence[float | NDArray[np.float64]]:
        found = [gains_of(one) for one in graded]
        return [0.0 if gains is None else gains for gains in found]

    def _metrics(self, graded: Sequence[GradedAnswer]) -> dict[str, Any]:
        return {f"train_{name}": finite(value) for name, value in measures_of(graded).items()}

    def _nothing_to_learn(self, _: Sequence[GradedAnswer]) -> JobError:
        reason = (
            f"In the first {FRUITLESS_STEPS} steps, the teacher found each token exactly as likely as the "
            "model did, or the form of the answers left the model no token to choose. Name another teacher "
            "than the model that the job begins with, or a form with room for choices."
        )
        return JobError("nothing_to_learn", reason, TEACHER)
