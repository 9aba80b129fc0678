"""One job's checkpoints: written to the disk here, shipped beside the training, and restored."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from core.storage.object_store import ObjectStore
from worker.engine.adapters.adapter import Adapter
from worker.engine.step.trainee import Trainee
from worker.trainer.report.job_lease import JobLease
from worker.trainer.save.checkpoint import (
    Resumable,
    WrittenCheckpoint,
    drop_old_checkpoints,
    restore_checkpoint,
    ship_checkpoint,
    take_up_best,
    write_checkpoint,
)
from worker.trainer.save.shipping import Shipping, recorded


class JobCheckpoints:
    """Sends and restores the checkpoints of one job."""

    def __init__(
        self,
        job_lease: JobLease,
        store: ObjectStore,
        folder: Path,
        fingerprint: str,
        shipping: Shipping,
        arrived: Callable[[int], object],
    ) -> None:
        """`arrived` is called in a shipping thread with the step of each checkpoint, once it is committed."""
        self._job_lease = job_lease
        self._store = store
        self._shipping = shipping
        self._folder = folder
        self._fingerprint = fingerprint
        self._arrived = arrived
        self._last_adapter: Path | None = None
        """The folder with the adapter of the last step, if its files were written with the last checkpoint"""
        self.stored: dict[str, str] = {}
        """The keys of the last shipped checkpoint's files, by their SHA-256; shipping threads write it"""

    def restore(self, trained: Resumable) -> None:
        """Continue from the newest checkpoint that can be used; see `restore_checkpoint`."""
        restore_checkpoint(trained, self._job_lease, self._store, self._folder, self._fingerprint)

    def send(self, trained: Resumable, ends_training: bool) -> None:
        """Write the present state to the disk, and have it shipped. The job may train on at once."""
        self._job_lease.trace.end_steps()
        folder = Path(mkdtemp(prefix=f"step-{trained.step}-", dir=self._folder))
        written = write_checkpoint(trained, folder, self._fingerprint)
        if ends_training and written.adapter_files:
            self._last_adapter = self._keep(written.adapter_files)
        self._shipping.send(partial(self._ship, written))

    def drop_old(self) -> None:
        """Have the checkpoints removed that nobody needs any more, after everything that was sent before."""
        self._shipping.send(partial(drop_old_checkpoints, self._job_lease))

    def take_up_best(self, trainee: Trainee, step: int) -> dict[str, Any] | None:
        """Give `trainee` the parameters of the best checkpoint; see `take_up_best` of `checkpoint`."""
        self._last_adapter = None
        return take_up_best(trainee, step, self._job_lease, self._store, self._folder, self._fingerprint)

    def write_adapter(self, adapter: Adapter, folder: Path) -> None:
        """Write the adapter to publish into a new folder, or take the files of the last checkpoint."""
        if self._last_adapter is not None:
            self._last_adapter.rename(folder)
        else:
            adapter.save(folder)

    def _keep(self, files: Sequence[Path]) -> Path:
        """Link files into a folder of their own: those of a checkpoint are removed once it is shipped."""
        folder = Path(mkdtemp(prefix="last-", dir=self._folder))
        for file in files:
            (folder / file.name).hardlink_to(file)
        return folder

    def _ship(self, written: WrittenCheckpoint) -> None:
        known = {"tunery.step": written.step, "tunery.promised": written.promised}
        with self._job_lease.trace.part("job.checkpoint", known), recorded("checkpoint"):
            files = ship_checkpoint(written, self._job_lease, self._store)
        self.stored.clear()
        self.stored.update(files)
        self._arrived(written.step)
