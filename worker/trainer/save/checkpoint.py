"""Checkpoints: the state of a job's training and, at milestones, the adapter in the form that clients get.

A checkpoint exists once its row has been committed. The commit is fenced and comes after the upload. The
files are verified whenever they are fetched.
"""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import structlog
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from torch import Tensor

from core import artifacts
from core.artifacts import GRACE, Owner
from core.errors import TuneryError
from core.ids import new_id
from core.jobs import lifecycle
from core.process.failpoints import reached
from core.storage.file_names import POSITION_NAME, STATE_NAME, WEIGHTS_NAME, DamagedFile
from core.storage.folders import fetch_folder, publish_folder
from core.storage.object_store import ObjectStore, checkpoint_prefix
from core.tables import Artifact, Checkpoint, Job
from worker.engine.adapters.adapter import Adapter
from worker.engine.adapters.saving import parameters_of
from worker.engine.step.states import PREFIX
from worker.engine.step.trainee import Trainee
from worker.process.faults import disk_fault
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.training_record import TrainingRecord

KEPT_PROMISED = 3  # the checkpoints that clients are promised: the newest or the best of them
KEPT_FOR_RESUME = 2  # the newest checkpoints of any kind

State = Mapping[str, Tensor]

log = structlog.get_logger()


class ForeignCheckpoint(TuneryError):
    """The checkpoint is whole, but the job's fingerprint (`worker/rendering/fingerprint.py`) differs."""


class Resumable(Protocol):
    """A state that a checkpoint can keep: an adapter for clients, tensors to resume from, and a record."""

    @property
    def adapter(self) -> Adapter: ...
    @property
    def step(self) -> int: ...
    @property
    def is_promised(self) -> bool:
        """Whether clients are promised a checkpoint of this state."""

    @property
    def still_promised(self) -> Collection[int] | None:
        """The only steps whose checkpoints are promised from now on; None if age decides."""

    @property
    def at_best(self) -> bool:
        """Whether this is the job's best state so far."""

    @property
    def record(self) -> TrainingRecord: ...

    def state(self) -> dict[str, Tensor]: ...
    def restore(self, step: int, state: State, record: TrainingRecord) -> None:
        """Continue after `step`. Raises DamagedFile if the state does not belong to this job."""


@dataclass(frozen=True)
class WrittenCheckpoint:
    """A state that has been written to a folder on this machine, so that the job may train on.

    `adapter_files` are the files of the adapter in the form that clients get, if they get this checkpoint.
    """

    folder: Path
    adapter_files: list[Path]
    step: int
    promised: bool
    still_promised: Collection[int] | None
    best: bool
    metrics: dict[str, Any]


def write_checkpoint(trained: Resumable, folder: Path, fingerprint: str) -> WrittenCheckpoint:
    """Write the state after `trained.step` into `folder`, with the adapter if clients get this checkpoint.

    The last state of a LoRA is its parameters. Then the adapter's file has all of it, and it is written once.
    """
    if trained.is_promised or trained.at_best:
        trained.adapter.save(folder)
    adapter_files = sorted(folder.iterdir())
    state = trained.state()
    if not _adapter_has(state, folder):
        save_file(state, folder / STATE_NAME)
    record = trained.record
    position = {"step": trained.step, "fingerprint": fingerprint, "notes": record.notes}
    (folder / POSITION_NAME).write_text(json.dumps(position), "utf-8")
    reached("checkpoint.written")
    return WrittenCheckpoint(
        folder,
        adapter_files,
        trained.step,
        trained.is_promised,
        trained.still_promised,
        trained.at_best,
        record.metrics,
    )


def ship_checkpoint(written: WrittenCheckpoint, job_lease: JobLease, store: ObjectStore) -> dict[str, str]:
    """Upload the checkpoint, commit its row, and remove its folder from the disk.

    Return the keys of its files by their SHA-256. Raises LeaseLost.
    """
    lease = job_lease.lease
    checkpoint_id = new_id("ftckpt-")
    prefix = checkpoint_prefix(lease.job_id, lease.attempt, written.step, checkpoint_id)

    def open_artifact(session: Session) -> None:
        project_id = session.get_one(Job, lease.job_id).project_id
        artifacts.open(session, Owner("job", lease.job_id), prefix, project_id, counted=False)

    job_lease.commit(open_artifact)
    files = publish_folder(store, written.folder, prefix)
    reached("checkpoint.uploaded")
    checkpoint = Checkpoint(
        id=checkpoint_id,
        job_id=lease.job_id,
        fence=lease.fence,
        step=written.step,
        promised=written.promised,
        best=written.best,
        metrics=written.metrics,
        object_prefix=prefix,
        files=files,
    )

    def commit(session: Session) -> None:
        _make_room(session, checkpoint, written.still_promised)
        artifacts.keep(session, prefix, sum(file["bytes"] for file in files))
        lifecycle.record_checkpoint(session, lease, checkpoint)

    job_lease.commit(commit)
    reached("checkpoint.recorded")
    shutil.rmtree(written.folder)
    return {file["sha256"]: prefix + file["name"] for file in files}


def restore_checkpoint(
    trained: Resumable,
    job_lease: JobLease,
    store: ObjectStore,
    folder: Path,
    fingerprint: str,
) -> None:
    """Continue from the newest checkpoint that is whole and belongs to this job, if there is one.

    If a checkpoint is damaged or foreign, report an event and try the checkpoint before it. The checkpoint is
    kept, since a worker with the right store or base model may still use it. Raises any other error of
    `trained.restore`.
    """
    checkpoints = _newest_first(job_lease)
    for checkpoint in checkpoints:
        try:
            with TemporaryDirectory(dir=folder) as scratch:
                fetch_folder(store, checkpoint.object_prefix, checkpoint.files, Path(scratch))
                step, state, notes = _load(Path(scratch), fingerprint)
                trained.restore(step, state, TrainingRecord(checkpoint.metrics, notes))
        except (DamagedFile, ForeignCheckpoint) as error:
            job_lease.event(f"Checkpoint at step {checkpoint.step} is passed over: {error}", level="warn")
            continue
        job_lease.event(f"Resumed from the checkpoint at step {checkpoint.step}")
        return
    if checkpoints:
        job_lease.event("No checkpoint can be used: the job starts over at step 0", level="warn")


def take_up_best(
    trainee: Trainee, step: int, job_lease: JobLease, store: ObjectStore, folder: Path, fingerprint: str
) -> dict[str, Any] | None:
    """Give the trainee the parameters of the job's best checkpoint, after `step`, and return its metrics.

    If the checkpoint cannot be read, report an event, leave the trainee as it is, and return None.
    """
    query = select(Checkpoint).where(
        Checkpoint.job_id == job_lease.lease.job_id, Checkpoint.best, Checkpoint.step == step
    )
    checkpoint = job_lease.commit(lambda session: session.scalars(query).one_or_none())
    try:
        if checkpoint is None:
            raise DamagedFile("it is gone")
        with TemporaryDirectory(dir=folder) as scratch:
            fetch_folder(store, checkpoint.object_prefix, checkpoint.files, Path(scratch))
            _, state, _ = _load(Path(scratch), fingerprint)
            trainee.take_state(state)
    except (DamagedFile, ForeignCheckpoint) as error:
        job_lease.event(
            f"The best checkpoint, of step {step}, cannot be published: {error}. The last state is published",
            level="warn",
        )
        return None
    return checkpoint.metrics


def drop_old_checkpoints(job_lease: JobLease) -> None:
    """Remove all but the last three promised checkpoints, the best one, and the last two of any kind.

    The last two are kept for a resume. If the database fails, the rest stays until the next time. Raises
    LeaseLost.
    """
    newest_first = _newest_first(job_lease)
    promised = [checkpoint for checkpoint in newest_first if checkpoint.promised][:KEPT_PROMISED]
    best = [checkpoint for checkpoint in newest_first if checkpoint.best]
    kept = {checkpoint.id for checkpoint in [*promised, *best, *newest_first[:KEPT_FOR_RESUME]]}
    old = [checkpoint for checkpoint in newest_first if checkpoint.id not in kept]

    def remove(session: Session) -> None:
        session.execute(delete(Checkpoint).where(Checkpoint.id.in_([each.id for each in old])))
        artifacts.doom(session, Artifact.prefix.in_([each.object_prefix for each in old]))

    if not old:
        return
    try:
        job_lease.commit(remove)
    except SQLAlchemyError as error:
        log.warning("old_checkpoints_not_removed", job=job_lease.lease.job_id, error=str(error))


def _newest_first(job_lease: JobLease) -> Sequence[Checkpoint]:
    """Return the job's checkpoints: later claims first, and within a claim later steps first.

    A later claim may have lower steps, if it passed over a foreign checkpoint.
    """
    query = (
        select(Checkpoint)
        .where(Checkpoint.job_id == job_lease.lease.job_id)
        .order_by(Checkpoint.fence.desc(), Checkpoint.step.desc())
    )
    return job_lease.commit(lambda session: session.scalars(query).all())


def _load(folder: Path, fingerprint: str) -> tuple[int, State, dict[str, Any]]:
    """Return the step, the state and the notes of a checkpoint.

    Raises ForeignCheckpoint. Raises DamagedFile if a file cannot be read, since it was cut before its
    hash was computed.
    """
    if not (folder / POSITION_NAME).exists():
        raise ForeignCheckpoint("another release wrote it")
    try:
        position: dict[str, Any] = json.loads((folder / POSITION_NAME).read_text("utf-8"))
    except ValueError as error:
        raise DamagedFile(f"{POSITION_NAME} cannot be read ({error})") from error
    if position["fingerprint"] != fingerprint:
        raise ForeignCheckpoint("it belongs to another specification, base model or rendering of the dataset")
    if (folder / STATE_NAME).exists():
        state = _load_tensors(folder / STATE_NAME)
    else:
        state = _state_of(_load_tensors(folder / WEIGHTS_NAME))
    return position["step"], state, position["notes"]


def _adapter_has(state: State, folder: Path) -> bool:
    """Return whether the adapter's file in `folder` has exactly the tensors of the state."""
    try:
        with safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
            if len(file.keys()) != len(state):  # with moments; then nothing need be read
                return False
        saved = _state_of(load_file(folder / WEIGHTS_NAME))
    except (FileNotFoundError, SafetensorError):
        return False
    return saved.keys() == state.keys() and all(
        torch.equal(tensor, state[name].cpu()) for name, tensor in saved.items()
    )


def _state_of(tensors: State) -> State:
    """Return the tensors of an adapter's file by their names in a state."""
    return {PREFIX + name: tensor for name, tensor in parameters_of(tensors).items()}


def _load_tensors(path: Path) -> State:
    try:
        return load_file(path)
    except SafetensorError as error:
        if disk_fault(error):
            raise
        raise DamagedFile(f"{path.name} cannot be read ({error})") from error


def _make_room(session: Session, checkpoint: Checkpoint, still_promised: Collection[int] | None) -> None:
    """Delete the row of an older checkpoint of the same step, and unmark those that this one surpasses.

    The older one was passed over at a resume, or was saved before the step's evaluation. A checkpoint that is
    no longer promised stays as long as a resume may need it.
    """
    others = (Checkpoint.job_id == checkpoint.job_id) & (Checkpoint.id != checkpoint.id)
    replaced = delete(Checkpoint).where(others, Checkpoint.step == checkpoint.step)
    prefixes = session.scalars(replaced.returning(Checkpoint.object_prefix)).all()
    artifacts.doom(session, Artifact.prefix.in_(prefixes), grace=GRACE)
    if checkpoint.best:
        session.execute(update(Checkpoint).where(others, Checkpoint.best).values(best=False))
    if still_promised is not None:
        surpassed = Checkpoint.promised & Checkpoint.step.not_in(still_promised)
        session.execute(update(Checkpoint).where(others, surpassed).values(promised=False))
