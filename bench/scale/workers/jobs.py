"""The projects and jobs that the measured workers claim. They are of a device class of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session, sessionmaker

from core.access.projects import find_or_create_project
from core.catalog import SMOLLM2
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.spec import Hyperparameters, JobSpec, TrainingOptions
from core.tables import File, Job, Worker

DEVICES = 64
"""No worker of the filled database has so many, so its jobs wait and nobody claims them here."""
AT_ONCE = 100


def projects(sessions: sessionmaker[Session], number: int) -> list[str]:
    """Return the ids of so many projects, which are made if they are missing."""
    with sessions.begin() as session:
        return [find_or_create_project(session, f"measured-{at}").id for at in range(number)]


def add_workers(sessions: sessionmaker[Session], number: int) -> None:
    """Write the rows of so many workers for a while: how often a janitor cleans follows from their number."""
    rows = [
        {
            **{"owner": f"measured:{at}", "host": f"measured-{at}", "release": "0", "devices": DEVICES},
            **{"device_type": "cuda", "device_name": "none", "memory_bytes": 1, "memory_used_bytes": 1},
            "expires_at": func.now() + timedelta(hours=1),
        }
        for at in range(number)
    ]
    with sessions.begin() as session:
        session.execute(delete(Worker).where(Worker.host.startswith("measured-")))
        for row in rows:
            session.execute(insert(Worker).values(**row))


def submit(sessions: sessionmaker[Session], owners: Sequence[str], waiting: int) -> int:
    """Submit jobs until each project has `waiting` of them in the queue. Return how many were submitted."""
    with sessions() as session:
        of_class = select(Job.project_id, func.count()).where(Job.status == "queued", Job.devices == DEVICES)
        queued = dict(session.execute(of_class.group_by(Job.project_id)).all())
    wanted = [owner for owner in owners for _ in range(waiting - queued.get(owner, 0))]
    for first in range(0, len(wanted), AT_ONCE):
        with sessions.begin() as session:
            for owner in wanted[first : first + AT_ONCE]:
                _submit(session, owner)
    return len(wanted)


def _submit(session: Session, project: str) -> None:
    file = session.scalars(select(File).where(File.project_id == project).limit(1)).one_or_none()
    if file is None:
        named = {
            "filename": "train.jsonl",
            "purpose": "fine-tune",
            "sha256": "0" * 64,
            "object_key": "files/0",
        }
        file = File(id=new_id("file-"), project_id=project, bytes=1000, rows=100, kind="chat", **named)
        session.add(file)
        session.flush()
    hyperparameters = Hyperparameters(n_epochs=3, batch_size=4, learning_rate_multiplier=1.0)
    spec = JobSpec(
        base_model=SMOLLM2.id,
        seed=1,
        hyperparameters=hyperparameters,
        training=TrainingOptions(devices=DEVICES),
    )
    job = Job(
        id=new_id("ftjob-"),
        project_id=project,
        base_model=SMOLLM2.id,
        devices=DEVICES,
        training_file_id=file.id,
        spec=spec.model_dump(mode="json"),
    )
    lifecycle.submit(session, job)


def running(sessions: sessionmaker[Session], owners: Sequence[str]) -> dict[str, int]:
    """Return how many jobs each of these projects runs."""
    with sessions() as session:
        query = select(Job.project_id, func.count()).where(Job.status == "running", Job.devices == DEVICES)
        found = dict(session.execute(query.group_by(Job.project_id)).all())
    return {owner: found.get(owner, 0) for owner in owners}
