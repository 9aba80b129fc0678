"""Makes the evals that a job asked for, as soon as its result exists."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from core.evals.criteria import Criterion, ExactMatch, Loss
from core.evals.data_sources import CompletionsDataSource, FileSource, GeneralSource
from core.evals.evals import create_eval
from core.evals.run_request import RunRequest
from core.graders.check import judges_of
from core.jobs.adapter_row import precision_of
from core.jobs.events import record_event
from core.jobs.spec import JobSpec
from core.serving.served_model import ServedModel, StoredAdapter
from core.tables import Adapter, Job
from core.work.client import create
from core.work.kinds import EVAL_RUN

GENERAL_CRITERIA = (Loss(type="loss"), ExactMatch(type="exact_match"))


def evaluate_result(session: Session, job: Job, adapter: Adapter) -> None:
    """Create the evals of a job that has just succeeded, with a run of its base and of its tuned model each.

    To be called in the transaction that ends the job, so that the evals are made once. A run's metadata says
    whether its `model` is the `base` or the `tuned` one.
    """
    spec = JobSpec.model_validate(job.spec)
    evaluation = spec.evaluation
    if evaluation is None:
        return
    file_id = evaluation.file or job.validation_file_id
    assert file_id is not None
    file = FileSource(type="file_id", id=file_id, limit=evaluation.rows)
    judges = judges_of(evaluation.criteria, spec.grader_models)
    made = [_evaluate(session, job, adapter, "Evaluation", evaluation.criteria, file, judges)]
    if evaluation.forgetting:
        general = GeneralSource(type="general")
        made.append(_evaluate(session, job, adapter, "Forgetting", GENERAL_CRITERIA, general, {}))
    data = {"eval_ids": made}
    record_event(session, job.id, f"Evals queued: {' and '.join(made)}", data=data)


def _evaluate(
    session: Session,
    job: Job,
    adapter: Adapter,
    what: str,
    criteria: Sequence[Criterion],
    source: FileSource | GeneralSource,
    grader_models: dict[str, dict[str, Any]],
) -> str:
    """Create an eval and its two runs, and return the eval's id."""
    assert job.fine_tuned_model is not None
    tuned = StoredAdapter.of(adapter.object_prefix, adapter.files)
    precision = precision_of(job.spec)
    models = {
        "base": (job.base_model, ServedModel(base=job.base_model, precision=precision)),
        "tuned": (job.fine_tuned_model, ServedModel(base=job.base_model, adapter=tuned, precision=precision)),
    }
    eval_id = create_eval(session, job.project_id, f"{what} of {job.id}", criteria, job_id=job.id).id
    for role, (name, served) in models.items():
        request = RunRequest(
            name=name,
            metadata={"model": role},
            data_source=CompletionsDataSource(type="completions", source=source, model=name),
            model=name,
            served=served.as_sent(),
            grader_models=grader_models,
        )
        create(session, job.project_id, EVAL_RUN, request, most_open=None, eval_id=eval_id)
    return eval_id
