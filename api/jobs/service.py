"""What may happen to a job. Nothing here commits; `core.lifecycle` alone changes a status."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from api.files import queries as files
from api.files.intake import CHECKED_PURPOSE
from api.jobs import queries, series
from api.jobs.candidates import search_for, with_alpha
from api.jobs.event_feed import Place
from api.jobs.integrations import checked_integrations
from api.jobs.methods import refuse_impossible, refuse_other_kind, requested_hyperparameters
from api.jobs.queries import Curve, Filter, JobRow, JobVersion
from api.jobs.schemas import CreateJob
from api.paging import check_cursor, unknown_cursor
from core import lifecycle
from core.catalog import BaseModelEntry, Catalog
from core.datasets.check import MIN_ROWS
from core.errors import InvalidRequest, NotFound
from core.ids import kind, new_id
from core.jobspec import (
    JobSpec,
    LoraAdapter,
    TrainingOptions,
    resolve_hyperparameters,
    resolve_objective,
    usual_learning_rate,
)
from core.methods.method import MethodOptions
from core.models import Candidate, Checkpoint, Event, File, Job
from core.settings import Settings
from core.statuses import ENDED

JOB_ID = kind("ftjob-")
MAX_NAMED_FIELDS = 16


def create(
    session: Session,
    project_id: str,
    catalog: Catalog,
    settings: Settings,
    request: CreateJob,
    sweep: Mapping[str, list[Any]] | None = None,
) -> JobRow:
    """Submit a job, of one adapter or, as a `sweep`, of one for each combination of these parameters.

    Raises InvalidRequest, which names the parameter.
    """
    base_model = _base_model(catalog, request.model)
    if request.method is not None:
        refuse_impossible(request.method)
    integrations = checked_integrations(request.integrations or [], settings)
    devices = (request.training or TrainingOptions()).devices
    _refuse_devices_without_workers(devices, settings.offered_classes)
    training_file = _dataset(session, project_id, "training_file", request.training_file)
    refuse_other_kind(request.method, training_file, "training_file")
    rows = training_file.rows or 0
    if rows < MIN_ROWS:
        raise InvalidRequest(
            f"The training file has {rows} row{'' if rows == 1 else 's'}; a job needs at least {MIN_ROWS}.",
            code="invalid_n_examples",
            param="training_file",
        )
    if request.validation_file is not None:
        validation_file = _dataset(session, project_id, "validation_file", request.validation_file)
        refuse_other_kind(request.method, validation_file, "validation_file")
    spec = _spec(base_model, request, rows, sweep)
    if request.validation_file is None:
        _refuse_what_needs_validation(spec.training)
    if spec.search is not None:
        _refuse_what_one_adapter_has(spec)
    job = Job(
        id=new_id("ftjob-"),
        project_id=project_id,
        base_model=base_model.id,
        devices=spec.training.devices,
        training_file_id=training_file.id,
        validation_file_id=request.validation_file,
        suffix=request.suffix,
        client_metadata=request.metadata,
        spec=spec.model_dump(mode="json"),
        is_sweep=sweep is not None,
        integrations=[asked.model_dump(mode="json") for asked in integrations],
    )
    lifecycle.submit(session, job)
    _warn_of_unknown_fields(session, job, list(request.model_extra or {}))
    return JobRow(job, run=None, adapter_id=None, version="")


def get(session: Session, project_id: str, job_id: str) -> JobRow:
    """Raises NotFound, also for a job of another project."""
    row = queries.find_row(session, project_id, job_id)
    if row is None:
        raise _no_such_job(job_id)
    return row


def list_page(
    session: Session, project_id: str, wanted: Filter, after: str | None, limit: int
) -> tuple[list[JobRow], bool]:
    check_cursor(after, JOB_ID)
    return queries.page(session, project_id, wanted, after=after, limit=limit)


def list_versions(
    session: Session, project_id: str, wanted: Filter, after: str | None, limit: int
) -> tuple[list[JobVersion], bool]:
    check_cursor(after, JOB_ID)
    return queries.page_versions(session, project_id, wanted, after=after, limit=limit)


def cancel(session: Session, project_id: str, job_id: str) -> JobRow:
    """Raises NotFound, and InvalidRequest where the job has ended."""
    lifecycle.cancel(session, _own(session, project_id, job_id))
    return get(session, project_id, job_id)


def pause(session: Session, project_id: str, job_id: str) -> JobRow:
    """Raises NotFound, and InvalidRequest where the job has ended or is paused."""
    lifecycle.pause(session, _own(session, project_id, job_id))
    return get(session, project_id, job_id)


def resume(session: Session, project_id: str, job_id: str, device_classes: Sequence[int]) -> JobRow:
    """Raises NotFound, and InvalidRequest where the job is not paused or could only wait for ever."""
    job = _own(session, project_id, job_id)
    _refuse_devices_without_workers(job.devices, device_classes)
    lifecycle.resume(session, job)
    return get(session, project_id, job_id)


def events(
    session: Session, project_id: str, job_id: str, after: str | None, limit: int
) -> tuple[list[Event], bool]:
    job = _own(session, project_id, job_id)
    sequence = None
    if after is not None:
        sequence = queries.event_sequence(session, job.id, after)
        if sequence is None:
            raise unknown_cursor(after)
    return queries.events(session, job.id, after=sequence, limit=limit)


def place_after(session: Session, project_id: str, job_id: str, last_event_id: str | None) -> Place | None:
    """Where a stream of events is to go on. None where nothing will follow the last event."""
    job = _own(session, project_id, job_id)
    if last_event_id is None:
        return Place(job.id, 0)
    sequence = queries.event_sequence(session, job.id, last_event_id)
    if sequence is None:
        raise InvalidRequest(
            f"'Last-Event-ID' is {last_event_id[:128]!r}, which is no event of the job; without it all come.",
            code="invalid_cursor",
            param="Last-Event-ID",
        )
    newest, _ = queries.events(session, job.id, after=None, limit=1)
    is_last = job.status in ENDED and newest[0].sequence == sequence
    return None if is_last else Place(job.id, sequence)


def checkpoints(
    session: Session, project_id: str, job_id: str, after: str | None, limit: int
) -> tuple[str, list[Checkpoint], bool]:
    """The name of the job's model, its checkpoints, and whether more follow."""
    job = _own(session, project_id, job_id)
    step = None
    if after is not None:
        step = queries.checkpoint_step(session, job.id, after)
        if step is None:
            raise unknown_cursor(after)
    found, has_more = queries.checkpoints(session, job.id, after=step, limit=limit)
    return lifecycle.fine_tuned_model_name(session, job), found, has_more


def metrics(session: Session, project_id: str, job_id: str, wanted: series.Wanted) -> series.Found:
    """Of the job, or of one of its candidates."""
    return series.read(session, _own(session, project_id, job_id).id, wanted)


def candidates(session: Session, project_id: str, job_id: str) -> tuple[Job, list[Candidate]]:
    """A job, and how its candidates have fared so far."""
    job = _own(session, project_id, job_id)
    return job, queries.candidates(session, [job.id])[job.id]


def curves(session: Session, project_id: str, job_id: str) -> tuple[Job, list[Curve]]:
    """A job, and the curves of all its candidates."""
    job = _own(session, project_id, job_id)
    return job, queries.curves(session, job.id)


def _own(session: Session, project_id: str, job_id: str) -> Job:
    job = queries.find(session, project_id, job_id)
    if job is None:
        raise _no_such_job(job_id)
    return job


def _no_such_job(job_id: str) -> NotFound:
    return NotFound(
        f"Could not find fine tune: {job_id}", code="fine_tune_not_found", param="fine_tuning_job_id"
    )


def _base_model(catalog: Catalog, name: str) -> BaseModelEntry:
    entry = catalog.get(name)
    if entry is None:
        raise InvalidRequest(
            f"The model {name[:128]!r} cannot be fine-tuned here. On offer: "
            f"{', '.join(entry.id for entry in catalog)}.",
            code="model_not_available",
            param="model",
        )
    return entry


def _refuse_devices_without_workers(devices: int, classes: Sequence[int]) -> None:
    """Such a job would wait for ever."""
    if devices not in classes:
        raise InvalidRequest(
            f"No worker here trains on {devices} device{'s' if devices > 1 else ''}. On offer: "
            f"{', '.join(str(offered) for offered in classes)}.",
            code="devices_not_available",
            param="training.devices",
        )


def _dataset(session: Session, project_id: str, param: str, file_id: str) -> File:
    """The named file, which stays until the transaction ends. A foreign one looks like a missing one."""
    file = files.find_for_job(session, project_id, file_id)
    if file is None:
        raise InvalidRequest(f"No such File object: {file_id[:128]}", code="invalid_file_id", param=param)
    if file.purpose != CHECKED_PURPOSE:
        raise InvalidRequest(
            f"File {file_id} has the purpose '{file.purpose}'; upload it as '{CHECKED_PURPOSE}'.",
            code="invalid_file_purpose",
            param=param,
        )
    return file


def _spec(
    base_model: BaseModelEntry, request: CreateJob, rows: int, sweep: Mapping[str, list[Any]] | None
) -> JobSpec:
    adapter = request.adapter or LoraAdapter()
    requested = requested_hyperparameters(request)
    objective = resolve_objective(requested)
    training = _training(base_model, adapter, request.training or TrainingOptions())
    assert training.learning_rate is not None
    compared = request.validation_file is not None
    search = search_for(adapter, training.learning_rate, sweep, objective, compared)
    spec = JobSpec(
        base_model=base_model.id,
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        hyperparameters=resolve_hyperparameters(requested, rows, objective),
        objective=objective,
        adapter=search.candidates[0].adapter if search else with_alpha(adapter),
        training=training,
        search=search,
    )
    for candidate in spec.candidates:
        _refuse_contradictions(candidate.adapter)
    return spec


def _refuse_contradictions(adapter: MethodOptions) -> None:
    for name, reason in adapter.contradictions():
        raise InvalidRequest(
            f"'adapter.{name}' does not go with the other options: {reason}.",
            code="invalid_value",
            param=f"adapter.{name}",
        )


def _training(
    base_model: BaseModelEntry, adapter: MethodOptions, training: TrainingOptions
) -> TrainingOptions:
    """With `max_length` and `learning_rate` filled in: the job shows what holds, whatever catalog and release
    say later."""
    max_length = training.max_length or base_model.max_length
    if max_length > base_model.max_length:
        raise InvalidRequest(
            f"'training.max_length' is {max_length}, but rows of {base_model.id} have "
            f"{base_model.max_length} tokens at most.",
            code="invalid_value",
            param="training.max_length",
        )
    if training.fsdp is not None:
        _refuse_impossible_sharding(base_model, training.devices)
    if training.loraplus_lr_ratio is not None and adapter.type != "lora":
        raise InvalidRequest(
            f"'training.loraplus_lr_ratio' belongs to the method 'lora', and this is '{adapter.type}'.",
            code="invalid_value",
            param="training.loraplus_lr_ratio",
        )
    if training.early_stopping_threshold and training.early_stopping_patience is None:
        raise InvalidRequest(
            "'training.early_stopping_threshold' means nothing without 'training.early_stopping_patience'.",
            code="invalid_value",
            param="training.early_stopping_threshold",
        )
    learning_rate = training.learning_rate or usual_learning_rate(adapter.type)
    return training.model_copy(update={"max_length": max_length, "learning_rate": learning_rate})


def _refuse_what_needs_validation(training: TrainingOptions) -> None:
    asked = {
        "early_stopping_patience": training.early_stopping_patience is not None,
        "load_best_model_at_end": training.load_best_model_at_end,
    }
    for name in [name for name, is_asked in asked.items() if is_asked]:
        raise InvalidRequest(
            f"'training.{name}' goes by the validation loss; name a validation_file too.",
            code="invalid_value",
            param=f"training.{name}",
        )


def _refuse_what_one_adapter_has(spec: JobSpec) -> None:
    """Candidates end at their rungs, and the one that is left is published as it is in the end."""
    asked = {
        "training.early_stopping_patience": spec.training.early_stopping_patience is not None,
        "training.load_best_model_at_end": spec.training.load_best_model_at_end,
        "adapter.dynamic_rank": getattr(spec.adapter, "dynamic_rank", False),
    }
    for place in [place for place, is_asked in asked.items() if is_asked]:
        raise InvalidRequest(
            f"'{place}' does not go with several candidates; train the one that wins with it afterwards.",
            code="invalid_value",
            param=place,
        )


def _refuse_impossible_sharding(base_model: BaseModelEntry, devices: int) -> None:
    reason = None
    if devices == 1:
        reason = "it spreads the base model over several devices, so 'training.devices' must be above 1"
    elif base_model.quantization is not None:
        reason = f"{base_model.id} is quantised, and quantised weights cannot be spread"
    if reason is not None:
        raise InvalidRequest(
            f"'training.fsdp' is not possible here: {reason}.", code="invalid_value", param="training.fsdp"
        )


def _warn_of_unknown_fields(session: Session, job: Job, names: list[str]) -> None:
    """Proxies add fields, so an unknown one fails nothing; its sender still wants to know."""
    if not names:
        return
    shown = [name[:64] for name in names[:MAX_NAMED_FIELDS]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    lifecycle.record_event(
        session,
        job.id,
        f"Unknown parameters were ignored: {', '.join(shown)}{more}",
        level="warn",
        data={"unknown_parameters": shown},
    )
