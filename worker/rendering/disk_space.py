"""The room on the trainer's disk that reading a dataset takes."""

import shutil
from pathlib import Path

from core.errors import OutsideFault

FREE_BYTES = 64 * 1024**2  # stay free, for the checkpoints of the other jobs


def require_disk_space(folder: Path, param: str, needed: int = 0) -> None:
    """Raise OutsideFault unless the disk has room for `needed` bytes beside FREE_BYTES.

    `param` is the request's field that named the file.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + FREE_BYTES:
        raise OutsideFault(
            f"The trainer's disk is too full to read the {param.replace('_', ' ')}: {free:,} bytes are free, "
            f"and {needed + FREE_BYTES:,} are needed"
        )
