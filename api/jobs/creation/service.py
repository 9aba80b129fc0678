"""Creates a job: looks up what its request names, and submits it. Nothing here commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from api.files import queries as files
from api.files.service import names_no_file
from api.job_estimates.estimate import estimate
from api.jobs.creation.evaluation import CRITERIA, evaluation_of
from api.jobs.creation.facts import facts_of, this_machine
from api.jobs.creation.integrations import checked_integrations
from api.jobs.creation.objectives import (
    refuse_impossible,
    refuse_other_kind,
    refuse_what_the_template_lacks,
    unjudged_needs,
)
from api.jobs.creation.parent import beginning_of
from api.jobs.creation.preparation import preparation_of
from api.jobs.creation.schemas import CreateJob
from api.jobs.creation.specification import specification_of
from api.models.grader_models import finder, served_by_graders
from core.catalog import BaseModelEntry, Catalog
from core.datasets.check import MIN_ROWS
from core.datasets.kinds import PURPOSE
from core.errors import InvalidRequest
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.events import record_event
from core.jobs.integrations import Integration
from core.jobs.spec import JobSpec
from core.settings import Settings
from core.tables import File, Job

MAX_NAMED_FIELDS = 16


@dataclass(frozen=True)
class NewJob:
    """A job that a request asks for, once its files and its model are found and each default has a value."""

    id: str
    spec: JobSpec
    base_model: BaseModelEntry
    training_file: File
    validation_file: File | None
    integrations: Sequence[Integration]


def create(
    session: Session,
    project_id: str,
    catalog: Catalog,
    settings: Settings,
    request: CreateJob,
    sweep: Mapping[str, list[Any]] | None = None,
) -> Job:
    """Submit a job, and return it.

    The job trains one adapter. With `sweep`, it trains one for each combination of these values; the keys are
    places in the request, such as `adapter.r`. Raises InvalidRequest; its message names the wrong parameter.
    """
    new = resolve(session, project_id, catalog, settings, request, sweep)
    machine = this_machine(session, new.spec)
    files = (new.training_file, new.validation_file)
    facts = facts_of(session, settings, new.spec, new.base_model, *files, machine)
    job = Job(
        id=new.id,
        project_id=project_id,
        base_model=new.spec.base_model,
        devices=new.spec.training.devices,
        training_file_id=new.training_file.id,
        validation_file_id=request.validation_file,
        suffix=request.suffix,
        client_metadata=request.metadata,
        spec=new.spec.model_dump(mode="json"),
        is_sweep=sweep is not None,
        integrations=[asked.model_dump(mode="json") for asked in new.integrations],
        estimate=estimate(new.spec, facts, [machine], False).model_dump(mode="json"),
    )
    lifecycle.submit(session, job)
    _warn_of_unknown_fields(session, job, list(request.model_extra or {}))
    _warn_of_ranks_without_losses(session, job, new.spec)
    _warn_of_an_unread_template(session, job, new)
    return job


def resolve(
    session: Session,
    project_id: str,
    catalog: Catalog,
    settings: Settings,
    request: CreateJob,
    sweep: Mapping[str, list[Any]] | None = None,
) -> NewJob:
    """Return the job that a request asks for, without creating it. Raises InvalidRequest as `create` does."""
    beginning = beginning_of(session, project_id, catalog, request.model)
    if request.method is not None:
        refuse_impossible(request.method)
    integrations = checked_integrations(session, project_id, request.integrations or [], settings)
    devices = request.training_or_default.devices
    refuse_devices_without_workers(devices, settings.offered_classes)
    training_file = _dataset(session, project_id, "training_file", request.training_file)
    refuse_other_kind(request.method, training_file, "training_file")
    rows = training_file.rows or 0
    if rows < MIN_ROWS:
        raise InvalidRequest(
            f"The training file has {rows} row{'' if rows == 1 else 's'}; a job needs at least {MIN_ROWS}.",
            code="invalid_n_examples",
            param="training_file",
        )
    _refuse_too_many_rows(training_file, "training_file", settings.max_training_rows)
    validation_file = None
    if request.validation_file is not None:
        validation_file = _dataset(session, project_id, "validation_file", request.validation_file)
        _refuse_too_many_rows(validation_file, "validation_file", settings.max_validation_rows)
        refuse_other_kind(request.method, validation_file, "validation_file")
        refuse_what_the_template_lacks(session, beginning.base_model, validation_file, "validation_file")
    refuse_what_the_template_lacks(session, beginning.base_model, training_file, "training_file")
    preparation = preparation_of(request, rows, settings)
    trained = preparation.trained(rows) if preparation else rows
    spec = specification_of(beginning, request, trained, sweep)
    spec = spec.model_copy(update={"preparation": preparation})
    evaluation = evaluation_of(request, partial(_dataset, session, project_id), settings.max_eval_rows)
    job_id = new_id("ftjob-")
    if evaluation is not None:
        find = finder(session, project_id, catalog, key=job_id)
        graders = served_by_graders(find, evaluation.criteria, CRITERIA)
        spec = spec.model_copy(update={"evaluation": evaluation, "grader_models": graders})
    return NewJob(job_id, spec, beginning.base_model, training_file, validation_file, integrations)


def refuse_devices_without_workers(devices: int, classes: Sequence[int]) -> None:
    """Raise InvalidRequest if no worker has so many devices: the job would wait forever."""
    if devices not in classes:
        raise InvalidRequest(
            f"No worker of this server trains on {devices} device{'s' if devices > 1 else ''}. On offer: "
            f"{', '.join(str(offered) for offered in classes)}.",
            code="devices_not_available",
            param="training.devices",
        )


def _dataset(session: Session, project_id: str, param: str, file_id: str) -> File:
    """Return the file, and keep it from deletion until the transaction ends.

    Raises InvalidRequest, with the same message for a missing file and for one of another project.
    """
    file = files.find_for_job(session, project_id, file_id)
    if file is None:
        raise names_no_file(file_id, param)
    if file.purpose != PURPOSE:
        raise InvalidRequest(
            f"The file {file_id} has the purpose '{file.purpose}'. Upload it with the purpose '{PURPOSE}'.",
            code="invalid_file_purpose",
            param=param,
        )
    return file


def _refuse_too_many_rows(file: File, param: str, limit: int) -> None:
    if (file.rows or 0) > limit:
        raise InvalidRequest(
            f"The {param.replace('_', ' ')} has {file.rows:,} rows; a job on this server takes at most "
            f"{limit:,}. Upload a part of the rows, such as a random sample.",
            code="invalid_n_examples",
            param=param,
        )


def _warn_of_unknown_fields(session: Session, job: Job, names: list[str]) -> None:
    """Record an event that names the unknown fields of the request.

    They do not make the request fail, since proxies add fields of their own. But a client wants to know them.
    """
    if not names:
        return
    shown = [name[:64] for name in names[:MAX_NAMED_FIELDS]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    record_event(
        session,
        job.id,
        f"Unknown parameters were ignored: {', '.join(shown)}{more}",
        level="warn",
        data={"unknown_parameters": shown},
    )


def _warn_of_ranks_without_losses(session: Session, job: Job, spec: JobSpec) -> None:
    """Record an event if the job trains a dynamic rank, but has no validation file to measure the ranks on.

    This is no error: clients can download the adapter at any rank, also without a measured loss.
    """
    has_validation = job.validation_file_id is not None or (
        spec.preparation is not None and spec.preparation.validation_split is not None
    )
    if has_validation or not getattr(spec.adapter, "dynamic_rank", False):
        return
    record_event(
        session,
        job.id,
        "The job will not measure the loss at each rank of 'adapter.dynamic_rank', as this needs a "
        "validation file. Name one in 'validation_file', or try out the ranks that you download.",
        level="warn",
        data={"code": "ranks_without_losses"},
    )


def _warn_of_an_unread_template(session: Session, job: Job, new: NewJob) -> None:
    """Record an event if rows need something of a chat template that no worker could read yet."""
    for file in filter(None, (new.training_file, new.validation_file)):
        if (needs := unjudged_needs(session, new.base_model, file)) is not None:
            record_event(
                session,
                job.id,
                f"Rows of {file.id} have {needs}, and no worker has read the chat template of "
                f"{new.base_model.id} yet. If it has no place for them, the job fails when the rows are "
                "rendered, before it trains.",
                level="warn",
                data={"code": "template_not_read", "file": file.id},
            )
            return
