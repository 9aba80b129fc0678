"""Reads of fine-tuned models and of checkpoints, by the names that clients use."""

import re
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Integer, Select, String, and_, func, literal, literal_column, or_, select
from sqlalchemy.orm import Session

from core.jobs.lifecycle import fine_tuned_model_name
from core.statuses import ENDED
from core.tables import Adapter, Alias, Checkpoint, CheckpointPermission, Job, Project
from core.tables.jobs.jobs import MODEL_ID_LENGTH

CHECKPOINT_NAME = re.compile(r"(.+):ckpt-step-(0|[1-9][0-9]{0,8})", re.DOTALL)


class TunedModel(NamedTuple):
    """A fine-tuned model, or a checkpoint of one. A checkpoint has a `step`, and no adapter of its own.

    The model of an adapter that was imported or composed has no job.
    """

    name: str
    job_id: str | None
    step: int | None
    adapter_id: str | None
    project_id: str
    owned_by: str
    created_at: datetime


def find(session: Session, name: str) -> TunedModel | None:
    """Return the model or checkpoint, whichever project owns it, or None if it is deleted or never was."""
    if checkpoint := CHECKPOINT_NAME.fullmatch(name):
        return _find_checkpoint(session, name, checkpoint[1], int(checkpoint[2]))
    for query in (_trained().where(Job.fine_tuned_model == name), _others().where(Adapter.model == name)):
        if row := session.execute(query).one_or_none():
            return TunedModel(*row)
    return None


def keep(session: Session, model: TunedModel) -> bool:
    """Keep a model or a checkpoint from deletion until the transaction ends. Return whether it will stay.

    A checkpoint stays once its job has ended. Only its own project may delete a model.
    """
    if model.adapter_id is not None:
        query = select(Adapter.id).where(Adapter.id == model.adapter_id, Adapter.deleted_at.is_(None))
        return session.scalar(query.with_for_update(read=True)) is not None
    job = select(Job.id).where(Job.id == model.job_id, Job.deleted_at.is_(None), Job.status.in_(ENDED))
    return session.scalar(job.with_for_update(read=True, of=Job)) is not None


def is_shared(session: Session, name: str, project_id: str) -> bool:
    query = select(CheckpointPermission.id).where(
        CheckpointPermission.model == name, CheckpointPermission.project_id == project_id
    )
    return session.scalar(query) is not None


def owned(session: Session, project_id: str, limit: int) -> list[TunedModel]:
    """Return the newest of the project's own fine-tuned models, newest first."""
    trained = _trained().where(Job.project_id == project_id).order_by(Job.id.desc()).limit(limit)
    others = _others().where(Adapter.project_id == project_id).order_by(Adapter.id.desc()).limit(limit)
    found = [TunedModel(*row) for query in (trained, others) for row in session.execute(query)]
    return sorted(found, key=_age, reverse=True)[:limit]


def shared(session: Session, project_id: str, limit: int) -> list[TunedModel]:
    """Return what other projects share with this one, the latest permission first."""
    step = CheckpointPermission.step
    checkpoint = and_(
        Checkpoint.job_id == Job.id, Checkpoint.step == step, Checkpoint.listed, Job.deleted_at.is_(None)
    )
    adapter = and_(Adapter.job_id == Job.id, Adapter.deleted_at.is_(None), step.is_(None))
    created_at = func.coalesce(Checkpoint.created_at, Job.finished_at)
    query = (
        select(CheckpointPermission.model, Job.id, step, Adapter.id, Project.id, Project.name, created_at)
        .select_from(CheckpointPermission)
        .join(Job, Job.id == CheckpointPermission.job_id)
        .join(Project, Project.id == Job.project_id)
        .outerjoin(Checkpoint, checkpoint)
        .outerjoin(Adapter, adapter)
        .where(CheckpointPermission.project_id == project_id, Job.project_id != project_id)
        .where(or_(Checkpoint.id.is_not(None), Adapter.id.is_not(None)))
        .order_by(CheckpointPermission.id.desc())
        .limit(limit)
    )
    return [TunedModel(*row) for row in session.execute(query)]


def aliases(session: Session, project_id: str, name: str | None = None) -> list[tuple[Alias, str]]:
    """Return the project's aliases by name, or only that of this name, each with the project's name."""
    query = select(Alias, Project.name).join(Project, Project.id == Alias.project_id)
    query = query.where(Alias.project_id == project_id).order_by(Alias.name)
    if name is not None:
        query = query.where(Alias.name == name)
    return [(alias, owner) for alias, owner in session.execute(query)]


def _find_checkpoint(session: Session, name: str, model: str, step: int) -> TunedModel | None:
    """Return a checkpoint, found by the end of the model's name, which is the end of its job's id.

    The name of the model does not suffice: a job has checkpoints before it has a model.
    """
    query = (
        select(Checkpoint, Job, Project.name)
        .join(Job, Job.id == Checkpoint.job_id)
        .join(Project, Project.id == Job.project_id)
        .where(func.right(Job.id, literal_column(str(MODEL_ID_LENGTH))) == model[-MODEL_ID_LENGTH:])
        .where(Checkpoint.step == step, Checkpoint.listed, Job.deleted_at.is_(None))
    )
    for checkpoint, job, project in session.execute(query):
        if fine_tuned_model_name(session, job) == model:
            return TunedModel(name, job.id, step, None, job.project_id, project, checkpoint.created_at)
    return None


def _age(model: TunedModel) -> str:
    """Return the part of an id by which jobs and adapters sort by the time of their creation."""
    return (model.job_id or model.adapter_id or "").partition("-")[2]


def _others() -> Select[*tuple[Any, ...]]:
    """Return the query for the models that no job has trained. A row has the fields of `TunedModel`."""
    nothing, no_step = literal(None, String), literal(None, Integer)
    return (
        select(
            Adapter.model, nothing, no_step, Adapter.id, Adapter.project_id, Project.name, Adapter.created_at
        )
        .join(Project, Project.id == Adapter.project_id)
        .where(Adapter.job_id.is_(None), Adapter.deleted_at.is_(None))
    )


def _trained() -> Select[*tuple[Any, ...]]:
    """Return the query for the models that jobs have trained. A row has the fields of `TunedModel`."""
    no_step = literal(None, Integer)
    name, finished_at = Job.fine_tuned_model, Job.finished_at
    return (
        select(name, Job.id, no_step, Adapter.id, Job.project_id, Project.name, finished_at)
        .join(Adapter, Adapter.job_id == Job.id)
        .join(Project, Project.id == Job.project_id)
        .where(Job.status == "succeeded", Adapter.deleted_at.is_(None))
    )
