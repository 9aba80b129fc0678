"""Checkpoints: the state of a job's training, verified when it is used, and the adapter as clients get it.

Committed by a fenced row after the upload; a folder without a row is an orphan that nobody reads.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import structlog
from safetensors.torch import load_file, save_file
from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from torch import Tensor

from core.errors import TuneryError
from core.ids import new_id
from core.jobs import lifecycle
from core.storage.artifacts import POSITION_NAME, STATE_NAME, DamagedArtifact, fetch_folder, publish_folder
from core.storage.object_store import STORE_ERRORS, ObjectStore, checkpoint_prefix
from core.tables import Checkpoint
from worker.engine.adapters.adapter import Adapter
from worker.engine.step.trainee import Trainee
from worker.report.history import Past
from worker.report.job_lease import JobLease

KEPT_EPOCHS = 3
KEPT_FOR_RESUME = 2

State = Mapping[str, Tensor]

log = structlog.get_logger()


class ForeignCheckpoint(TuneryError):
    """It is whole, but its fingerprint is another than the job has here: see `worker/save/fingerprint.py`."""


class Resumable(Protocol):
    """What a checkpoint is made of: an adapter to show, tensors to go on from, and what else is known."""

    @property
    def adapter(self) -> Adapter: ...
    @property
    def step(self) -> int: ...
    @property
    def at_epoch_end(self) -> bool: ...
    @property
    def at_best(self) -> bool:
        """Whether this is the job's best state so far."""

    @property
    def past(self) -> Past: ...

    def state(self) -> dict[str, Tensor]: ...
    def restore(self, step: int, state: State, past: Past) -> None:
        """Raises DamagedArtifact where these are not its own."""


@dataclass(frozen=True)
class WrittenCheckpoint:
    """A state in a folder on this machine, complete in itself: the job may train on."""

    folder: Path
    step: int
    ends_epoch: bool
    best: bool
    metrics: dict[str, Any]


def write_checkpoint(trained: Resumable, folder: Path, fingerprint: str) -> WrittenCheckpoint:
    """Write the state after `trained.step` into `folder`, with the adapter where clients get it."""
    if trained.at_epoch_end or trained.at_best:
        trained.adapter.save(folder)
    save_file(trained.state(), folder / STATE_NAME)
    past = trained.past
    position = {"step": trained.step, "fingerprint": fingerprint, "notes": past.notes}
    (folder / POSITION_NAME).write_text(json.dumps(position), "utf-8")
    return WrittenCheckpoint(folder, trained.step, trained.at_epoch_end, trained.at_best, past.metrics)


def ship_checkpoint(written: WrittenCheckpoint, job_lease: JobLease, store: ObjectStore) -> None:
    """Upload and commit it, and remove its folder. Raises LeaseLost."""
    lease = job_lease.lease
    checkpoint_id = new_id("ftckpt-")
    prefix = checkpoint_prefix(lease.job_id, lease.fence, written.step, checkpoint_id)
    checkpoint = Checkpoint(
        id=checkpoint_id,
        job_id=lease.job_id,
        fence=lease.fence,
        step=written.step,
        ends_epoch=written.ends_epoch,
        best=written.best,
        metrics=written.metrics,
        object_prefix=prefix,
        files=publish_folder(store, written.folder, prefix),
    )

    def commit(session: Session) -> None:
        _make_room(session, checkpoint)
        lifecycle.record_checkpoint(session, lease, checkpoint)

    job_lease.commit(commit)
    shutil.rmtree(written.folder)


def restore_checkpoint(
    trained: Resumable,
    job_lease: JobLease,
    store: ObjectStore,
    folder: Path,
    fingerprint: str,
) -> None:
    """Continue from the newest whole checkpoint, where there is one.

    One that is damaged or foreign is passed over, with an event, for the one before it. It stays: a worker
    that is set up otherwise, with the right store or base model, may go on from it. What `trained` raises
    beside DamagedArtifact goes on.
    """
    checkpoints = _newest_first(job_lease)
    for checkpoint in checkpoints:
        try:
            with TemporaryDirectory(dir=folder) as place:
                fetch_folder(store, checkpoint.object_prefix, checkpoint.files, Path(place))
                step, state, notes = _load(Path(place), fingerprint)
                trained.restore(step, state, Past(checkpoint.metrics, notes))
        except (DamagedArtifact, ForeignCheckpoint) as error:
            job_lease.event(f"Checkpoint at step {checkpoint.step} is passed over: {error}", level="warn")
            continue
        job_lease.event(f"Resumed from the checkpoint at step {checkpoint.step}")
        return
    if checkpoints:
        job_lease.event("No checkpoint can be used: the job starts over at step 0", level="warn")


def take_up_best(
    trainee: Trainee, step: int, job_lease: JobLease, store: ObjectStore, folder: Path, fingerprint: str
) -> dict[str, Any] | None:
    """Give the trainee the parameters of the job's best checkpoint, of `step`, and return its metrics.

    None, with an event, where it cannot be read: the trainee stays as it is.
    """
    query = select(Checkpoint).where(
        Checkpoint.job_id == job_lease.lease.job_id, Checkpoint.best, Checkpoint.step == step
    )
    checkpoint = job_lease.commit(lambda session: session.scalars(query).one_or_none())
    try:
        if checkpoint is None:
            raise DamagedArtifact("it is gone")
        with TemporaryDirectory(dir=folder) as place:
            fetch_folder(store, checkpoint.object_prefix, checkpoint.files, Path(place))
            _, state, _ = _load(Path(place), fingerprint)
            trainee.take_state(state)
    except (DamagedArtifact, ForeignCheckpoint) as error:
        job_lease.event(
            f"The best checkpoint, of step {step}, cannot be published: {error}. The last state is, instead",
            level="warn",
        )
        return None
    return checkpoint.metrics


def drop_old_checkpoints(job_lease: JobLease, store: ObjectStore) -> None:
    """Keep the last three of epochs, the best, and the last two of any kind for a resume.

    What cannot be removed now, for want of a server, stays until the next time. Raises LeaseLost.
    """
    newest_first = _newest_first(job_lease)
    epochs = [checkpoint for checkpoint in newest_first if checkpoint.ends_epoch][:KEPT_EPOCHS]
    best = [checkpoint for checkpoint in newest_first if checkpoint.best]
    kept = {checkpoint.id for checkpoint in [*epochs, *best, *newest_first[:KEPT_FOR_RESUME]]}
    for checkpoint in newest_first:
        if checkpoint.id in kept:
            continue
        try:
            _remove(job_lease, store, checkpoint)
        except (SQLAlchemyError, *STORE_ERRORS) as error:
            log.warning("old_checkpoint_not_removed", prefix=checkpoint.object_prefix, error=str(error))


def _newest_first(job_lease: JobLease) -> Sequence[Checkpoint]:
    """By the claim before the step: a run that passed over a foreign checkpoint stands behind its step."""
    query = (
        select(Checkpoint)
        .where(Checkpoint.job_id == job_lease.lease.job_id)
        .order_by(Checkpoint.fence.desc(), Checkpoint.step.desc())
    )
    return job_lease.commit(lambda session: session.scalars(query).all())


def _load(folder: Path, fingerprint: str) -> tuple[int, State, dict[str, Any]]:
    """Step, state and notes. Raises ForeignCheckpoint."""
    if not (folder / POSITION_NAME).exists():
        raise ForeignCheckpoint("another release wrote it")
    position: dict[str, Any] = json.loads((folder / POSITION_NAME).read_text("utf-8"))
    if position["fingerprint"] != fingerprint:
        raise ForeignCheckpoint("it belongs to another specification, base model or rendering of the dataset")
    return position["step"], load_file(folder / STATE_NAME), position.get("notes", {})


def _make_room(session: Session, checkpoint: Checkpoint) -> None:
    """Where another one, that was passed over, holds its step, and where another one was the best.

    The objects stay behind.
    """
    others = (Checkpoint.job_id == checkpoint.job_id) & (Checkpoint.id != checkpoint.id)
    session.execute(delete(Checkpoint).where(others, Checkpoint.step == checkpoint.step))
    if checkpoint.best:
        session.execute(update(Checkpoint).where(others, Checkpoint.best).values(best=False))


def _remove(job_lease: JobLease, store: ObjectStore, checkpoint: Checkpoint) -> None:
    """The row first, fenced: a row never points to objects that are gone."""

    def delete_row(session: Session) -> None:
        row = session.get(Checkpoint, checkpoint.id)
        if row is not None:  # gone already where the answer to a first commit was lost
            session.delete(row)

    job_lease.commit(delete_row)
    store.delete_prefix(checkpoint.object_prefix)
