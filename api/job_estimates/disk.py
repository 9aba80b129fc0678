"""What a job writes: its rows on the worker's disk, its checkpoints and its result in the store."""

from dataclasses import dataclass

from api.job_estimates.rows import Rows

TOKEN_BYTES = 4  # of a token on the worker's disk (`worker/rows/row_store.py`)
ROW_BYTES = 22
KEPT_EPOCHS = (
    3  # checkpoints of the last epochs, with the adapter for clients (`worker/trainer/save/checkpoint.py`)
)
KEPT_FOR_RESUME = 2


@dataclass(frozen=True)
class Disk:
    """Bytes on disks, at most."""

    rows: int
    checkpoint: int
    """One state from which the training goes on: parameters and moments"""
    checkpoints: int
    """All that are kept at the same time"""
    result: int

    @property
    def total(self) -> int:
        return self.rows + self.checkpoints + self.result


def disk_of(files: list[Rows], state: int, result: int, epochs: int, keeps_best: bool) -> Disk:
    """Return the disk of a job whose parameters and moments have `state` bytes, and its result `result`."""
    rows = sum(TOKEN_BYTES * file.tokens + ROW_BYTES * file.rows for file in files)
    listed = min(KEPT_EPOCHS, epochs) + (1 if keeps_best else 0)
    return Disk(rows, state, listed * (state + result) + KEPT_FOR_RESUME * state, result)
