"""Has a file that nobody has checked read by a process with bounds of time and memory, and without secrets.

The process is `python -m worker.tasks.importing.reading FOLDER`. The folder has the file, and the order that
says how to read it. The process writes its outcome there, and the adapter where the order says.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, TypeAdapter

from core.catalog import BaseModelEntry
from core.errors import JobError, OutsideFault, TuneryError
from core.imports import Format, ImportRequest
from worker.process.without_secrets import run_without_secrets, without_secrets
from worker.tasks.importing.refusal import refusal

SECONDS = 300.0  # for reading one file: many times what the largest one takes
PROGRAM = "worker.tasks.importing.reading"
ORDER, OUTCOME = "order.json", "outcome.json"
PASSED_ON = ("CUDA_VISIBLE_DEVICES", "GOMP_SPINCOUNT", "PYTHONPATH", "TRANSFORMERS_VERBOSITY")


class Order(BaseModel):
    """The request to import, its base model, and the folder to write the adapter into."""

    request: ImportRequest
    entry: BaseModelEntry
    base: Path
    base_sha256: str
    adapter: Path
    max_bytes: int


class Read(BaseModel):
    """The format of the file, the method of the adapter with its options, and facts about it."""

    format: Format
    options: dict[str, Any]
    facts: dict[str, Any]


class Refused(BaseModel):
    """Why the file is not an adapter that can be imported."""

    code: str
    message: str
    param: str | None

    @classmethod
    def of(cls, error: JobError) -> Self:
        return cls(code=error.code, message=error.message, param=error.param)


class Fault(BaseModel):
    """What has failed, though the file may be sound."""

    fault: str


OUTCOMES: TypeAdapter[Read | Refused | Fault] = TypeAdapter(Read | Refused | Fault)


def read_in_a_process(order: Order, folder: Path, seconds: float = SECONDS) -> Read:
    """Have the file in the folder read, and the adapter written.

    Raises JobError if the file is refused, or takes too much memory or time, and OutsideFault for the disk.
    """
    (folder / ORDER).write_text(order.model_dump_json())
    command = [sys.executable, "-m", PROGRAM, str(folder)]
    try:
        status = run_without_secrets(command, without_secrets(*PASSED_ON), seconds)
    except subprocess.TimeoutExpired:
        raise too_much(f"Reading the file took more than {seconds:g} seconds") from None
    if status < 0:
        raise too_much("The process that read the file has died, most often of its memory")
    if status:
        raise TuneryError(f"the process that reads files ended with status {status}")
    match OUTCOMES.validate_json((folder / OUTCOME).read_bytes()):
        case Refused() as refused:
            raise JobError(refused.code, refused.message, refused.param)
        case Fault(fault=fault):
            raise OutsideFault(fault)
        case Read() as found:
            return found


def too_much(what: str) -> JobError:
    """Return the error for a file that costs more than an import may."""
    return refusal(
        "adapter_too_large", f"{what}. Save the adapter as safetensors, without other tensors, and try again."
    )
