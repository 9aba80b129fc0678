"""Finds what an estimate follows from: counted tokens, the machine that trains here, and past jobs."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.job_estimates.facts import Facts
from api.job_estimates.rows import Rows
from api.jobs.creation.found import Found
from core.catalog import BaseModelEntry, Precision
from core.estimates.configuration import configuration_of
from core.estimates.job import devices
from core.estimates.job.devices import Machine
from core.estimates.memory_plan import Recompute
from core.estimates.shapes import BF16
from core.jobs import token_counts
from core.jobs.measured import rate_of
from core.jobs.spec import JobSpec
from core.objectives.registry import OBJECTIVES
from core.settings import Settings
from core.tables import File, Job, TokenCount, Worker

PAST_JOBS = 5  # the newest of a base model, whose rates an estimate follows


def facts_of(
    session: Session,
    settings: Settings,
    spec: JobSpec,
    found: Found,
    machine: Machine,
) -> Facts:
    """Return what is known of a job that `machine` would train."""
    base_model, training_file = found.base_model, found.files["training_file"]
    counted = _count(session, spec, base_model, training_file)
    training, validation = _rows(spec, base_model, training_file, counted), None
    if (validation_file := found.files.get("validation_file")) is not None:
        known = _count(session, spec, base_model, validation_file)
        validation = _rows(spec, base_model, validation_file, known)
    if (asked := spec.preparation) is not None:
        held_out = asked.held_out(training.examples)
        validation = training.part(held_out) if held_out else validation
        training = training.part(asked.trained(training.examples))
    entry = base_model.in_precision(spec.training.quantization)
    return Facts(
        entry=entry,
        source=base_model,
        configuration=configuration_of(base_model, settings.models_folder),
        training=training,
        validation=validation,
        computed_share=counted.computed_share if counted else None,
        rates=_rates(session, spec, machine, entry.precision),
        prices=settings.prices,
        currency=settings.price_currency,
        offered=tuple(Recompute) if settings.recompute == "auto" else (settings.recompute,),
        step_tokens=settings.max_step_tokens,
    )


def this_machine(session: Session, spec: JobSpec) -> Machine:
    """Return the device of the worker that has been there longest, and could train the job.

    If there is none, it is the machine of this process.
    """
    there = select(Worker).where(Worker.expires_at > func.now(), Worker.devices == spec.training.devices)
    worker = session.scalars(there.order_by(Worker.started_at, Worker.owner).limit(1)).one_or_none()
    return devices.own_cpu() if worker is None else machine_of(worker)


def machine_of(worker: Worker) -> Machine:
    """Return the device of a worker."""
    number_bytes = worker.number_bytes or BF16
    if worker.device_type == "cpu":
        return devices.cpu(worker.device_name, worker.memory_bytes, number_bytes, worker.lanes or 1)
    return devices.gpu(worker.device_name, worker.memory_bytes, number_bytes)


def _count(session: Session, spec: JobSpec, base_model: BaseModelEntry, file: File) -> TokenCount | None:
    assert spec.training.max_length is not None
    rendering = token_counts.rendering_of(spec.objective.type)
    tokenizer = token_counts.tokenizer_of(base_model)
    return token_counts.find(session, file, tokenizer, rendering, spec.training.max_length)


def _rows(spec: JobSpec, base_model: BaseModelEntry, file: File, counted: TokenCount | None) -> Rows:
    per_example = OBJECTIVES[spec.objective.type].rows_per_example
    if counted is not None:
        return Rows.counted(counted.rows, per_example, counted.tokens, counted.longest, counted.squares)
    max_length = spec.training.max_length or base_model.max_length
    return Rows.guessed(file.rows or 0, file.bytes, file.longest_line, per_example, max_length)


def _rates(session: Session, spec: JobSpec, machine: Machine, precision: Precision) -> list[float]:
    """Return the operations a second of the base model's newest jobs on such a device, in this precision."""
    past = (
        select(Job.estimate, Job.measured)
        .where(
            Job.base_model == spec.base_model,
            Job.status == "succeeded",
            Job.measured["device"].astext == machine.title,
            Job.measured["quantization"].astext == precision,
            Job.devices == spec.training.devices,
        )
        .order_by(Job.id.desc())
        .limit(PAST_JOBS)
    )
    found = (rate_of(expected, measured) for expected, measured in session.execute(past).all())
    return [rate for rate in found if rate is not None]
