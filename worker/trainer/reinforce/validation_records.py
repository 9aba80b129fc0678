"""The records of a validation, as a run of an eval has them: one for each answer."""

from collections.abc import Iterator, Sequence
from typing import Any

from core.evals.results import Record, RowError
from core.jobs.spec import JobSpec
from core.objectives.reinforcement import Reinforcement
from worker.grading.row_results import result_of
from worker.tasks.evaluation.rows.items import item_of
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.answers import GradedAnswer


def records_of(graded: Sequence[GradedAnswer], items: RowItems, spec: JobSpec) -> Iterator[Record]:
    """Yield the record of each answer, in the order of the answers, with its row as its item.

    The answers to a prompt stand side by side, in all validations as many. Raises JobError for a row that a
    record cannot hold.
    """
    assert isinstance(spec.objective, Reinforcement)
    grader = spec.objective.grader
    for index, one in enumerate(graded):
        item = item_of(one.answer.line, items[one.answer.line]).item
        sample = _sample_of(one, item["messages"], spec)
        if one.grade.grader_failed:
            error = RowError(code=str(one.grade.fault), message=str(one.grade.message))
            yield Record(index=index, item=item, sample=sample, error=error)
        else:
            yield Record(index=index, item=item, sample=sample, results=[result_of(grader, one.grade)])


def _sample_of(one: GradedAnswer, messages: list[dict[str, Any]], spec: JobSpec) -> dict[str, Any]:
    """Return the answer in OpenAI's form."""
    answer, asked, written = one.answer, len(one.answer.prompt_L), len(one.answer.written)
    usage = {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}
    return {
        "input": messages,
        "output": list(answer.messages),
        "finish_reason": "stop" if answer.finished else "length",
        "usage": usage,
        "seed": spec.seed,
        "temperature": 1.0,
        "max_completion_tokens": spec.sampled_tokens,
        "error": answer.error and {"code": "not_computed", "message": answer.error},
    }
