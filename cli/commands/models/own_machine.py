"""This machine, as the memory model sees it. Without torch, nvidia-smi says which GPU there is."""

import shutil
import subprocess

from core.estimates.job.devices import MIB, Machine, gpu, own_cpu
from core.estimates.shapes import BF16


def own_machine() -> Machine:
    """Return this machine's first GPU as nvidia-smi names it, or else its processor."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits", "--id=0"]
    if shutil.which(command[0]) is not None:
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
            title, mebibytes = found.strip().rsplit(", ", 1)
            return gpu(f"this machine: {title}", int(mebibytes) * MIB, BF16)
        except (OSError, ValueError, subprocess.SubprocessError):
            pass  # a broken driver is what `tunery doctor` reports
    return own_cpu()
