"""A trainer's row in the table of workers: its device, the memory in use, and the resident base model."""

import platform
import socket
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import structlog
import torch
from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.monitoring import declared
from core.settings import Settings
from core.tables import Worker
from worker.device.model_holder import ModelHolder
from worker.engine.base.loading import compute_dtype
from worker.engine.batch.lanes import lanes_for
from worker.process.periodic import Periodic
from worker.process.recorder import recorder

MISSED = 3  # a trainer counts as gone when it has missed this many reports in a row
SLACK_SECONDS = 10.0
CPUINFO = Path("/proc/cpuinfo")

log = structlog.get_logger()


class WorkerStatus(Periodic):
    """Writes the trainer's row every `scan_seconds`, and removes the rows of trainers that have gone."""

    def __init__(
        self, settings: Settings, sessions: sessionmaker[Session], owner: str, holder: ModelHolder
    ) -> None:
        super().__init__("worker_status", settings.scan_seconds, self._write)
        self._sessions = sessions
        self._holder = holder
        self._lasts = timedelta(seconds=MISSED * settings.scan_seconds + SLACK_SECONDS)
        self._known = {
            "owner": owner,
            "host": socket.gethostname(),
            "release": version("tunery"),
            "devices": settings.devices,
            "device_type": holder.device.type,
            "device_name": device_name(holder.device),
            "number_bytes": compute_dtype(holder.device).itemsize,
            "lanes": lanes_for(holder.device),
        }

    def end(self) -> None:
        """Stop, and remove the row at once, so that nobody has to wait until it expires."""
        self.stop()
        self.join(SLACK_SECONDS)
        try:
            with self._sessions.begin() as session:
                session.execute(delete(Worker).where(Worker.owner == self._known["owner"]))
        except SQLAlchemyError as error:
            log.warning("worker_status_not_removed", error=str(error))

    def _write(self) -> None:
        total, used = memory(self._holder.device)
        recorder.set(declared.DEVICE_MEMORY, total)
        recorder.set(declared.DEVICE_MEMORY_USED, used)
        changing = {
            "memory_bytes": total,
            "memory_used_bytes": used,
            "base_model": self._holder.resident,
            "seen_at": func.now(),
            "expires_at": func.now() + self._lasts,
        }
        row: dict[str, Any] = {**self._known, **changing}
        with self._sessions.begin() as session:
            session.execute(
                insert(Worker).values(row).on_conflict_do_update(index_elements=["owner"], set_=changing)
            )
        # A transaction of its own: otherwise two trainers could each hold their row and wait for the other's
        with self._sessions.begin() as session:
            session.execute(delete(Worker).where(Worker.expires_at < func.now()))


def memory(device: torch.device) -> tuple[int, int]:
    """Return the device's memory, and how much of it is in use by any process, in bytes.

    For a CPU, this is the machine's memory.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total, total - free
    machine = psutil.virtual_memory()
    return machine.total, machine.total - machine.available


@cache  # the number of threads changes for a moment while lanes start
def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the CPU's name with the number of threads that compute on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = CPUINFO.read_text("utf-8", "replace").splitlines() if CPUINFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.machine())}, {torch.get_num_threads()} threads"
