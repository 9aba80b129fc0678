"""Decides what a project may know of the workers and the queue. Nothing here commits."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from api.admission.callers import Caller
from api.jobs.queue_positions import QueuePositions
from api.schemas import from_row
from api.workers import queries
from api.workers.queries import Held, Waiting
from api.workers.schemas import DeviceObject, HeldJob, QueueObject, WaitingJob, WorkerList, WorkerObject
from core.roles import Role
from core.tables import Job, Worker

SHOWN_WAITING = 20  # jobs of a class; the list of jobs has all


def overview(
    session: Session, caller: Caller, positions: QueuePositions, offered: Sequence[int]
) -> WorkerList:
    """Return the workers and the queues as the caller may see them. `offered` are the classes on offer."""
    project_id = caller.project_id
    workers = queries.workers(session)
    held, counts = queries.held_jobs(session, project_id), queries.held_counts(session)
    shows_hosts = caller.of_operator and caller.role is Role.ADMIN
    waiting = {entry.devices: entry for entry in queries.waiting_counts(session, project_id)}
    classes = sorted({*offered, *waiting, *(worker.devices for worker in workers)})

    def queue(devices: int) -> QueueObject:
        first = queries.waiting_jobs(session, project_id, devices, SHOWN_WAITING)
        return _queue(waiting.get(devices, Waiting(devices, 0, 0)), first, positions.of_queued(first))

    return WorkerList(
        data=[
            _worker(
                worker,
                [entry for entry in held if entry.claim.owner == worker.owner],
                counts.get(worker.owner, 0),
                shows_host=shows_hosts,
            )
            for worker in workers
        ],
        queues=[queue(devices) for devices in classes],
    )


def _worker(worker: Worker, own: Sequence[Held], held: int, *, shows_host: bool) -> WorkerObject:
    return from_row(
        WorkerObject,
        worker,
        id=worker.owner.rpartition(":")[2],  # the owner's name holds the host's before the colon
        last_seen_at=worker.seen_at,
        host=worker.host if shows_host else None,
        device=DeviceObject(
            type=worker.device_type,
            name=worker.device_name,
            memory_bytes=worker.memory_bytes,
            memory_used_bytes=worker.memory_used_bytes,
        ),
        jobs=[_held(entry) for entry in own],
        other_jobs=held - len(own),
    )


def _held(entry: Held) -> HeldJob:
    job, claim = entry
    return from_row(HeldJob, claim, id=job.id, user_provided_suffix=job.suffix, model=job.base_model)


def _queue(waiting: Waiting, first: Sequence[Job], positions: Mapping[str, int]) -> QueueObject:
    return QueueObject(
        devices=waiting.devices,
        waiting_jobs=waiting.all,
        own_waiting_jobs=waiting.own,
        jobs=[
            from_row(
                WaitingJob,
                job,
                user_provided_suffix=job.suffix,
                model=job.base_model,
                queue_position=positions.get(job.id),
            )
            for job in first
        ],
    )
