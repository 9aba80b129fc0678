"""Validates a job with distillation: by the reverse KL divergence of answers to the validation prompts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from core.strict_json import finite
from worker.engine.step.totals import Evaluation
from worker.trainer.distillation.reverse_kl import measures_of, reverse_kl
from worker.trainer.reinforce.answer_evaluator import AnswerEvaluator
from worker.trainer.reinforce.answers import GradedAnswer


class DistillationEvaluator(AnswerEvaluator):
    """Measures one adapter that learns from a teacher. Its best state is the nearest to the teacher."""

    told: ClassVar[Mapping[str, str]] = {
        "mean reverse KL": "train_mean_reverse_kl",
        "full validation mean reverse KL": "full_valid_mean_reverse_kl",
    }

    def _take_note(self, graded: Sequence[GradedAnswer]) -> dict[str, float]:
        return measures_of(graded)

    def _judgement(self, one: GradedAnswer) -> dict[str, Any]:
        return {"reverse_kl": finite(reverse_kl([one]))}

    def _loss_of(self, found: Evaluation) -> float:
        return found.metrics["mean_reverse_kl"]
