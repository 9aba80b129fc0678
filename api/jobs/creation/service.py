"""Creates a job in three phases: finds what its request names, refuses what cannot be, builds the job.

Nothing here commits.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from api.eval_requests.check import check_endpoints
from api.job_estimates.estimate import estimate
from api.jobs.creation.distillation import refuse_teacher
from api.jobs.creation.evaluation import with_evaluation, with_grader_models
from api.jobs.creation.facts import facts_of, this_machine
from api.jobs.creation.found import CRITERIA, Found, find
from api.jobs.creation.options import refuse_options
from api.jobs.creation.refusals import refuse
from api.jobs.creation.reinforcement import (
    refuse_beside_sampling,
    refuse_long_answers,
    refuse_stop_without_audit,
    refuse_tools,
    refuse_unlike_policies,
)
from api.jobs.creation.schemas import CreateJob
from api.jobs.creation.specification import specification_of
from api.jobs.creation.try_outs import find_try_out, refuse_in_vain
from api.jobs.creation.warnings import warnings_of
from core.catalog import Catalog
from core.egress import Egress
from core.evals.validations import create_validation_eval
from core.jobs import lifecycle
from core.jobs.events import record_event
from core.jobs.spec import JobSpec
from core.secrets.endpoint_headers import with_sealed_headers
from core.secrets.vault import Vault
from core.settings import Settings
from core.tables import Job
from core.work.client import create as create_task
from core.work.kinds import TRACKING
from core.work.tracking import TrackingRequest


class NewJob(NamedTuple):
    """A job that a request asks for, before it has a row: what was found for it, and what it trains."""

    found: Found
    spec: JobSpec


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
    paths in the request, such as `adapter.r`. Raises InvalidRequest; its message names the wrong parameter.
    """
    found, spec = resolve(session, project_id, catalog, settings, request, sweep)
    try_out = find_try_out(session, project_id, request, found)
    refuse_in_vain(try_out, spec)
    machine = this_machine(session, spec)
    facts = facts_of(session, settings, spec, found, machine)
    job = Job(
        id=found.job_id,
        project_id=project_id,
        base_model=spec.base_model,
        devices=spec.training.devices,
        training_file_id=request.training_file,
        validation_file_id=request.validation_file,
        suffix=request.suffix,
        client_metadata=request.metadata,
        spec=with_sealed_headers(Vault.of(settings.secret_keys), spec).model_dump(mode="json"),
        is_sweep=sweep is not None,
        integrations=[asked.model_dump(mode="json") for asked in request.integrations or []],
        estimate=estimate(spec, facts, [machine], False).model_dump(mode="json"),
    )
    lifecycle.submit(session, job)
    create_validation_eval(session, job)
    for asked in job.integrations:
        follow = TrackingRequest(type=asked["type"])
        create_task(session, project_id, TRACKING, follow, most_open=None, job_id=job.id)
    for message, data in warnings_of(request, found, spec, try_out):
        record_event(session, job.id, message, level="warn", data=data)
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
    found = find(session, project_id, catalog, request)
    refuse(request, found, settings)
    if request.objective.samples_answers:
        refuse_beside_sampling(request, sweep is not None, settings)
        refuse_tools(request, found, settings)
    refuse_options(request, found, sweep)
    spec = specification_of(request, found, sweep)
    if spec.sampled_tokens:
        refuse_stop_without_audit(spec.objective)
        refuse_long_answers(spec)
        refuse_unlike_policies(spec)
    if request.evaluate is not None:
        egress = Egress(settings.egress_allow)
        for index, criterion in enumerate(request.evaluate.criteria or []):
            check_endpoints(egress, criterion, f"{CRITERIA}.{index}")
        spec = with_evaluation(spec, request.evaluate, request, found, settings)
    spec = with_grader_models(spec, found)
    refuse_teacher(spec, request, found, catalog, settings)
    return NewJob(found, spec)
