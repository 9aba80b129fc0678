"""What a job writes: its rows on the worker's disk, its checkpoints and its result in the store."""

from api.job_estimates.rows import Rows
from core.estimates.job.report import DiskUse

TOKEN_BYTES = 4  # of a token on the worker's disk (`worker/rows/row_store.py`)
ROW_BYTES = 22
KEPT_PROMISED = 3  # checkpoints with the adapter for clients (`worker/trainer/save/checkpoint.py`)
KEPT_FOR_RESUME = 2


def disk_of(files: list[Rows], state: int, result: int, promised: int, keeps_best: bool) -> DiskUse:
    """Return the disk of a job whose parameters and moments have `state` bytes, and its result `result`.

    Clients are `promised` so many checkpoints, of which the last ones or the best ones are kept.
    """
    rows = sum(TOKEN_BYTES * file.tokens + ROW_BYTES * file.rows for file in files)
    listed = min(KEPT_PROMISED, promised) + (1 if keeps_best else 0)
    checkpoints = listed * (state + result) + KEPT_FOR_RESUME * state
    return DiskUse(
        rows_bytes=rows,
        checkpoint_bytes=state,
        checkpoints_bytes=checkpoints,
        result_bytes=result,
        total_bytes=rows + checkpoints + result,
    )
