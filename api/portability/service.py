"""Starts, cancels and reads measurements of an adapter's portability. Nothing here commits."""

from typing import NamedTuple

from sqlalchemy import Select, and_, select
from sqlalchemy.orm import Session

from api.adapters import service as adapters
from api.portability.schemas import MeasurementObject, PortabilityObject
from api.schemas import unix_seconds
from api.work.schemas import Row
from core.catalog import Catalog
from core.errors import Conflict
from core.jobs.adapter_row import AdapterRow
from core.portability.report import Measurement
from core.portability.rules import reports_by_rule
from core.tables import Task
from core.work import client as tasks
from core.work.kinds import PORTABILITY


class Measurements(NamedTuple):
    """The newest measurement of an adapter, and the newest one that has succeeded."""

    newest: Task | None
    succeeded: Task | None


def start(session: Session, project_id: str, adapter_id: str, most_open: int) -> Task | None:
    """Put a measurement into the queue, and return it. Older ones go, except the last success.

    If a job has started one that is not finished, that one is the client's from now on. Return None if the
    client's own is under way already.

    Raises NotFound for the adapter, and RateLimited if too many tasks of the project are unfinished.
    """
    # Nobody deletes it meanwhile, and nobody else starts a measurement of it
    adapter = adapters.held(session, project_id, adapter_id, alone=True)
    newest, succeeded = _find(session, project_id, adapter_id)
    if newest is not None and newest.finished_at is None:
        return newest if tasks.ask_for(session, newest, most_open) else None
    _forget(session, project_id, adapter_id, kept=succeeded)
    return tasks.create(session, project_id, PORTABILITY, {}, most_open, adapter_id=adapter.id)


def is_current(session: Session, project_id: str, adapter_id: str, measurement_id: str) -> bool:
    """Return whether this measurement is the adapter's newest one, and was neither cancelled nor failed."""
    newest = _find(session, project_id, adapter_id).newest
    in_vain = "cancelled", "failed"
    return newest is not None and newest.id == measurement_id and newest.status not in in_vain


def cancel(session: Session, project_id: str, adapter_id: str) -> Task:
    """End the measurement that is under way. Raises NotFound for the adapter, and Conflict without one."""
    adapters.get(session, project_id, adapter_id)
    task = _find(session, project_id, adapter_id).newest
    if task is None:
        raise Conflict(f"No measurement of {adapter_id} is under way.", code="task_ended")
    tasks.cancel(session, task)
    return task


def describe(session: Session, project_id: str, adapter_id: str, catalog: Catalog) -> PortabilityObject:
    """Return the report: what was measured, and the rules for all else. Raises NotFound for the adapter."""
    row = adapters.get(session, project_id, adapter_id)
    newest, succeeded = _find(session, project_id, adapter_id)
    found = Measurement.model_validate(succeeded.report) if succeeded is not None else None
    by_rule = reports_by_rule(row.published_options, *_base(row, catalog))
    tried = {each.runtime: each for each in found.runtimes if each.measured or each.attempts} if found else {}
    finished = succeeded.finished_at if succeeded is not None else None
    return PortabilityObject(
        adapter_id=adapter_id,
        measured_at=unix_seconds(finished) if finished else None,
        prompts=found.prompts if found else None,
        measurement=MeasurementObject.of(Row(newest)) if newest is not None else None,
        runtimes=[tried.get(each.runtime, each) for each in by_rule],
    )


def _base(row: AdapterRow, catalog: Catalog) -> tuple[str, str]:
    """Return the base model's repository and revision. A base that is not on offer any more has its id."""
    entry = catalog.get(row.base_model)
    if entry is None:
        return row.base_model, row.adapter.training["base_revision"]
    return entry.repository, entry.revision


def _find(session: Session, project_id: str, adapter_id: str) -> Measurements:
    newest = _measurements(project_id, adapter_id).order_by(Task.id.desc()).limit(1)
    succeeded = newest.where(Task.status == "succeeded")
    return Measurements(session.scalars(newest).one_or_none(), session.scalars(succeeded).one_or_none())


def _forget(session: Session, project_id: str, adapter_id: str, kept: Task | None) -> None:
    """Hide the measurements but one, so that an adapter that is measured often has few rows."""
    mine = _measurements(project_id, adapter_id).with_only_columns(Task.id)
    others = and_(Task.id.in_(mine), Task.finished_at.is_not(None))
    tasks.delete_all(session, others if kept is None else and_(others, Task.id != kept.id))


def _measurements(project_id: str, adapter_id: str) -> Select[Task]:
    of_adapter = Task.project_id == project_id, Task.adapter_id == adapter_id
    return select(Task).where(*of_adapter, Task.kind == PORTABILITY.name, Task.deleted_at.is_(None))
