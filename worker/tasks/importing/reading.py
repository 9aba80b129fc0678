"""Reads one file, checks it against the base model, and writes a folder as jobs publish it.

It is the program of the process that `limited_process.py` starts.
"""

import os
import sys
from pathlib import Path

from safetensors import SafetensorError
from transformers import AutoTokenizer

from core.errors import JobError
from core.imports import Format
from worker.adapter_files.folder import CARD, write_manifest, write_tokenizer
from worker.process.faults import disk_fault
from worker.process.limits import limit_memory
from worker.process.stop_requests import at_end_of_worker
from worker.tasks.importing import archive
from worker.tasks.importing.factors import LoraFactors, check_fit
from worker.tasks.importing.layers import Layers
from worker.tasks.importing.limited_process import ORDER, OUTCOME, Fault, Order, Read, Refused, too_much
from worker.tasks.importing.loralib import LoralibOptions, read_loralib
from worker.tasks.importing.model_card import import_card
from worker.tasks.importing.peft_folder import WANTED, read_peft_folder
from worker.tasks.importing.refusal import refusal
from worker.tasks.importing.tensors import Tensors, read_pickle, read_safetensors
from worker.tasks.importing.writing import write_lora

ZIP, PICKLE = (b"PK\x03\x04", b"PK\x05\x06"), b"\x80"
MAX_TORCH_RECORDS = 100_000
COPIES = 4  # of the adapter that may be in memory at once
MORE_BYTES = 1024**3


def main() -> None:
    """Read the file, and write the outcome. Any error that is not expected ends the process."""
    at_end_of_worker(lambda: os._exit(1))
    folder = Path(sys.argv[1])
    outcome = _outcome(Order.model_validate_json((folder / ORDER).read_bytes()), folder)
    (folder / OUTCOME).write_text(outcome.model_dump_json())


def _outcome(order: Order, folder: Path) -> Read | Refused | Fault:
    limit_memory(COPIES * order.max_bytes + MORE_BYTES)
    try:
        return read_file(order, folder)
    except JobError as error:
        return Refused.of(error)
    except (MemoryError, RuntimeError) as error:  # torch's allocator raises no MemoryError
        if isinstance(error, RuntimeError) and "alloc" not in str(error):
            raise
        return Refused.of(too_much("The file takes too much memory to be read"))
    except Exception as error:
        if fault := disk_fault(error):
            return Fault(fault=f"The worker's disk failed ({fault})")
        raise


def read_file(order: Order, folder: Path) -> Read:
    """Write the adapter's files into the folder that the order names. The file is `folder`/file.

    Raises JobError if the file is refused.
    """
    request, entry = order.request, order.entry
    layers = Layers(order.base)
    try:
        format_, lora = _read(order, layers, folder)
    except SafetensorError as error:
        if disk_fault(error):
            raise
        raise refusal("invalid_safetensors", f"The safetensors are damaged: {error}.") from error
    check_fit(lora, layers)
    options, facts = write_lora(lora, layers, entry, order.adapter)
    write_tokenizer(AutoTokenizer.from_pretrained(order.base, trust_remote_code=False), order.adapter)
    (order.adapter / CARD).write_text(import_card(entry, request, format_, options), "utf-8")
    described = {
        "imported": {"format": format_, "filename": request.filename, "sha256": request.sha256},
        "base_model": entry.repository,
        "base_revision": entry.revision,
        "base_sha256": order.base_sha256,
        "adapter": options,
    }
    write_manifest(order.adapter, described, entry.quantization is not None)
    return Read(format=format_, options=options, facts=facts)


def _read(order: Order, layers: Layers, folder: Path) -> tuple[Format, LoraFactors]:
    """Return the format and the adapter. The file's first bytes decide what it is read as."""
    file, request = folder / "file", order.request
    with file.open("rb") as opened:
        beginning = opened.read(9)
    options = LoralibOptions(request.lora_alpha, request.r, request.enable_lora)
    if beginning.startswith(ZIP) and not archive.is_torch_archive(file):
        unpacked = folder / "unpacked"
        unpacked.mkdir()
        archive.unpack(file, WANTED, unpacked, order.max_bytes)
        return "peft", read_peft_folder(unpacked, order.entry, layers, order.max_bytes)
    checkpoint = _checkpoint(file, beginning, request.filename, order.max_bytes)
    return "loralib", read_loralib(checkpoint, layers, options)


def _checkpoint(file: Path, beginning: bytes, name: str, max_bytes: int) -> Tensors:
    if beginning.startswith(ZIP):
        archive.check_members(file, max_bytes, most=MAX_TORCH_RECORDS)
        return read_pickle(file, max_bytes, name)
    if beginning.startswith(PICKLE):
        return read_pickle(file, max_bytes, name)
    if beginning[8:9] == b"{":
        return read_safetensors(file)
    raise refusal(
        "unsupported_format",
        "The file is neither a zip of PEFT's files, nor safetensors, nor a checkpoint of `torch.save`. Pack "
        "the folder that PEFT has saved, or send loralib's state dict.",
    )


if __name__ == "__main__":
    main()
