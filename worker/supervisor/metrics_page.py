"""The worker's page for Prometheus: what the supervising process and its trainer count, and the disks.

The trainer writes its metrics into files of a folder that both share, by the way that `prometheus_client` has
for several processes. The supervisor empties the folder when a trainer has ended. Its figures
leave the page, and the counters of the next one begin at 0, as those of any program that was started again.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from core.monitoring import declared
from core.monitoring.declared import all_declared
from core.monitoring.page import MetricsPage, gauge
from core.settings import Settings
from worker.process.recorder import recorder
from worker.process.scratch import scratch_folder
from worker.supervisor.losses import REASONS

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the library reads it when it is imported
OF_TRAINERS = {metric.name for metric in all_declared() if metric.program == "trainer"}


@contextmanager
def metrics_page(settings: Settings) -> Iterator[Path | None]:
    """Show the metrics during the block. Yield the folder for the trainer's files, or None without a page.

    Raises ConfigurationError if the port cannot be used.
    """
    if settings.worker_metrics_port is None:
        yield None
        return
    _show_zeros()
    with scratch_folder("metrics") as folder:
        collectors = [recorder.registry, TrainerFiles(folder), Disks(folders_of(settings))]
        page = MetricsPage.start(settings.metrics_host, settings.worker_metrics_port, collectors)
        try:
            yield folder
        finally:
            page.close()


def empty(folder: Path) -> None:
    """Remove what an ended trainer has left."""
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)


def folders_of(settings: Settings) -> dict[str, Path]:
    """Return the folders that fill up while a worker works, by the names that the metrics have for them."""
    return {
        "models": settings.models_folder,
        "rows": settings.rows_folder,
        "temporary": Path(tempfile.gettempdir()),
    }


class TrainerFiles(Collector):
    """What the trainer has written. A server in the same process has a page of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        try:
            found = list(MultiProcessCollector(None, str(self._folder)).collect())
        except FileNotFoundError:  # the trainer has ended at this moment
            return []
        return [
            family for family in found if family.name in OF_TRAINERS or f"{family.name}_total" in OF_TRAINERS
        ]


class Disks(Collector):
    """The size of the disks of folders, and what is free there."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders

    def collect(self) -> Iterable[Metric]:
        size, free = gauge(declared.DISK), gauge(declared.DISK_FREE)
        for name, folder in self._folders.items():
            usage = shutil.disk_usage(_existing(folder))
            size.add_metric([name], usage.total)
            free.add_metric([name], usage.free)
        return [size, free]


def _existing(folder: Path) -> Path:
    folder = folder.resolve()
    return next(each for each in (folder, *folder.parents) if each.exists())


def _show_zeros() -> None:
    """Let counters that alerts watch begin at 0: Prometheus sees no increase in a series that begins at 1."""
    recorder.count(declared.TRAINER_STARTS, 0)
    for reason in REASONS:
        recorder.count(declared.LEASE_LOSSES, 0, reason=reason)
    for outcome in ("delivered", "failed"):
        recorder.count(declared.WEBHOOK_ATTEMPTS, 0, outcome=outcome)
